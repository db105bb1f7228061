"""What the command line itself can refuse, and the one function from error to exit code."""

from __future__ import annotations

from carrick.doors.client.errors import ApiError
from carrick.model.errors import (
    CarrickError,
    Conflict,
    Denied,
    Failed,
    InvalidRequest,
    KernelRefused,
    NotFound,
    NotModified,
    Unavailable,
    Unsupported,
)


class CliError(CarrickError):
    """Print the message as it stands and exit with `code`."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class UsageProblem(CarrickError):
    """The command line is wrong: the message, the usage line, and where to read more.

    `prefix` puts the program's name before the message, as Docker does for a wrong number of
    arguments but not for a wrong flag.
    """

    def __init__(self, message: str, *, code: int, prefix: bool) -> None:
        super().__init__(message)
        self.code = code
        self.prefix = prefix


class Quit(CarrickError):
    """End now with `code`; everything there is to say has been said."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit status {code}")
        self.code = code


# House codes, for the commands that Docker has no word for; the most specific class first.
_OWN_CODES: tuple[tuple[type[CarrickError], int], ...] = (
    (InvalidRequest, 2),
    (NotFound, 3),
    (Conflict, 4),
    (NotModified, 4),
    (Unavailable, 5),
    (Denied, 6),
    (Unsupported, 7),
    (KernelRefused, 8),
    (Failed, 1),
)


def exit_code(error: CarrickError, *, own: bool = False) -> int:
    """Return the exit code for `error`.

    Docker's commands end in 1 for whatever the daemon refuses, because scripts know that; `own`
    is for Carrick's own commands, whose codes tell the kinds of refusal apart.
    """
    if isinstance(error, CliError | UsageProblem | Quit):
        return error.code
    if own:
        for kind, code in _OWN_CODES:
            if isinstance(error, kind):
                return code
    return 1


def describe(error: CarrickError) -> str:
    """Return what to print for `error`: the daemon's words are marked as such, as by Docker.

    The daemon's remedy stands on a line of its own, so that the first line is what Docker prints.
    """
    if isinstance(error, ApiError):
        text = f"Error response from daemon: {error.message}"
        return f"{text}\n{error.remedy}" if error.remedy else text
    if error.remedy:
        return f"{error.message}. {error.remedy}"
    return error.message
