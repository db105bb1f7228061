"""What a request to the daemon can end in, as classes of the one error tree.

An `ApiError` is the daemon's own "no", in its own words; it also is the class of `model.errors`
that its status stands for, so that callers may catch either. `DaemonUnreachable` and
`BrokenReply` mean that there was no answer, or not all of one.
"""

from __future__ import annotations

from carrick.model.errors import (
    CarrickError,
    Conflict,
    Denied,
    Failed,
    InvalidRequest,
    NotFound,
    NotModified,
    Unavailable,
    Unsupported,
)


class ApiError(CarrickError):
    """The daemon answered with an error status; `message` and `remedy` are its own texts."""

    def __init__(self, status: int, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status


class ApiInvalidRequest(ApiError, InvalidRequest):
    """400: the request is wrong as it stands."""


class ApiDenied(ApiError, Denied):
    """401 or 403: not allowed."""


class ApiNotFound(ApiError, NotFound):
    """404: no such object, or no such path."""


class ApiConflict(ApiError, Conflict):
    """409: the object's state does not allow it."""


class ApiNotModified(ApiError, NotModified):
    """304: it already is as asked for."""


class ApiUnsupported(ApiError, Unsupported):
    """501: this daemon cannot."""


class ApiUnavailable(ApiError, Unavailable):
    """503: try again later."""


class ApiFailed(ApiError, Failed):
    """500 and the rest: the daemon tried and failed."""


class DaemonUnreachable(Unavailable):
    """Nobody answers at the socket. `address` names it; `denied` says that permission is missing."""

    def __init__(self, address: str, reason: str, *, denied: bool = False) -> None:
        super().__init__(f"cannot connect to the daemon at {address}: {reason}")
        self.address = address
        self.reason = reason
        self.denied = denied


class BrokenReply(Unavailable):
    """The connection ended in the middle of an answer, or what came is not HTTP."""


_BY_STATUS: dict[int, type[ApiError]] = {
    304: ApiNotModified,
    400: ApiInvalidRequest,
    401: ApiDenied,
    403: ApiDenied,
    404: ApiNotFound,
    409: ApiConflict,
    501: ApiUnsupported,
    503: ApiUnavailable,
}


def error_from_status(status: int, message: str, remedy: str | None = None) -> ApiError:
    """Return the error that `status` stands for; unknown 4xx ask to change the request."""
    known = _BY_STATUS.get(status)
    if known is None:
        known = ApiInvalidRequest if 400 <= status < 500 else ApiFailed
    return known(status, message, remedy=remedy)
