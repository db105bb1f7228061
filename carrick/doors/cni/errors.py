"""Errors as CNI has them: a number, a message, details (spec, section "Error").

Numbers below 100 are the specification's, the others Carrick's own; docs/reference/cni.md has the table.
"""

import enum
import logging

from ...model.errors import (
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

_log = logging.getLogger(__name__)


class Code(enum.IntEnum):
    """Why a call failed."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODING_FAILURE = 6
    INVALID_CONFIG = 7
    INVALID_NETNS = 8
    TRY_AGAIN_LATER = 11
    NOT_AVAILABLE = 50
    LIMITED = 51
    NOT_FOUND = 100
    CONFLICT = 101
    DENIED = 102
    UNSUPPORTED = 103
    KERNEL_REFUSED = 104
    FAILED = 105
    INTERNAL = 999


class CniError(Exception):
    """A call's failure, as the runtime is told of it."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


_CODES: tuple[tuple[type[CarrickError], Code], ...] = (
    (InvalidRequest, Code.INVALID_CONFIG),
    (NotFound, Code.NOT_FOUND),
    (Conflict, Code.CONFLICT),
    (NotModified, Code.CONFLICT),
    (Unavailable, Code.TRY_AGAIN_LATER),
    (Denied, Code.DENIED),
    (Unsupported, Code.UNSUPPORTED),
    (KernelRefused, Code.KERNEL_REFUSED),
    (Failed, Code.FAILED),
)


def error_of(error: Exception) -> CniError:
    """Return what the runtime is told of an error: the one place where that is decided."""
    if isinstance(error, CniError):
        return error
    if isinstance(error, CarrickError):
        if isinstance(error, Failed) and isinstance(error.__cause__, Unavailable):
            # For Docker's clients a full pool is a plain failure; a runtime may try again.
            return CniError(Code.TRY_AGAIN_LATER, error.message, error.remedy or "")
        code = next((code for kind, code in _CODES if isinstance(error, kind)), Code.INTERNAL)
        return CniError(code, error.message, error.remedy or "")
    _log.error("a CNI call failed", exc_info=error)
    return CniError(Code.INTERNAL, "internal error, see carrickd's log", f"{type(error).__name__}: {error}")
