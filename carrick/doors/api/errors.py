"""From an error to an answer, in one place: status, Docker's `{"message": …}`, and the remedy.

Messages are passed on as they are, because scripts match on Docker's words. What an error offers as a
remedy goes into a second key, which Docker's clients do not look at and ours prints.
"""

import logging
import secrets
from dataclasses import dataclass

from ...model.errors import (
    CarrickError,
    Conflict,
    Denied,
    InvalidRequest,
    NotFound,
    NotModified,
    Unavailable,
    Unsupported,
)

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[CarrickError], int], ...] = (
    (InvalidRequest, 400),
    (NotFound, 404),
    (Conflict, 409),
    (NotModified, 304),
    (Denied, 403),
    (Unavailable, 503),
    (Unsupported, 501),
)


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """What a client is told. 304 has no body, whatever the message."""

    status: int
    message: str
    remedy: str | None = None

    def document(self) -> dict[str, str]:
        """Return the JSON body."""
        body = {"message": self.message}
        if self.remedy:
            body["remedy"] = self.remedy
        return body


class PageNotFound(NotFound):
    """No such path, or not with this method: Docker answers both alike."""

    def __init__(self) -> None:
        super().__init__("page not found")


def status_of(error: CarrickError) -> int:
    """Return the HTTP status of an error; 500 for the classes that are about our side."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def reply_to(error: Exception) -> ErrorReply:
    """Return the answer to `error`. An error that is not ours is a bug: it is logged with an id,
    and the client gets the id instead of our innards."""
    if isinstance(error, CarrickError):
        return ErrorReply(status_of(error), error.message, error.remedy)
    incident = secrets.token_hex(4)
    log.error("unexpected error %s", incident, exc_info=error)
    message = f"internal error {incident}: {type(error).__name__}; the daemon's log has the details"
    return ErrorReply(500, message)
