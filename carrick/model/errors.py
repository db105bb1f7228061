"""The one tree of errors. Each front end maps it to its own codes in one function.

CarrickError
 ├─ InvalidRequest   the caller must change the request
 ├─ NotFound         no such object; for a removal this is success
 ├─ Conflict         exists, in use, overlaps, stale revision
 ├─ NotModified      the object already is in the state asked for
 ├─ Unavailable      try later: store, peer, empty pool
 ├─ Denied           not allowed, or a capability is missing
 ├─ Unsupported      this kernel, driver or build cannot
 ├─ KernelRefused    netlink or nft said no; carries errno and object
 └─ Failed           a step of the request failed for the reason given (Docker's plain 500)

Messages name the object and, where there is one, the remedy. An error that Docker's clients match
on carries Docker's own words; comparing with a real engine keeps them so.
"""


class CarrickError(Exception):
    """Base of every error that Carrick raises on purpose."""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class InvalidRequest(CarrickError):
    """The caller must change the request."""


class NotFound(CarrickError):
    """No such object."""


class Conflict(CarrickError):
    """The object exists, is in use, overlaps another, or has changed meanwhile."""


class NotModified(CarrickError):
    """The object is already as asked for."""


class Unavailable(CarrickError):
    """Try again later: the store, a peer or a pool cannot serve this now."""


class Denied(CarrickError):
    """Not allowed, or this process lacks a capability."""


class Unsupported(CarrickError):
    """This kernel, driver or build cannot do it."""


class KernelRefused(CarrickError):
    """Netlink, nftables or a system call said no.

    `errno` is the kernel's code (positive) or 0 where it gave none; `subject` names the object.
    """

    def __init__(self, message: str, *, errno: int = 0, subject: str = "") -> None:
        super().__init__(message)
        self.errno = errno
        self.subject = subject


class Failed(CarrickError):
    """A step of the request failed; the message says which and why."""
