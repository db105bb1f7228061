"""What etcd's refusals mean: whether to try again, and which of our errors they are. Pure.

etcd tells its errors apart by text alone (`etcdserver: …`, api/v3rpc/rpctypes): one gRPC code stands for
many.
"""

from enum import Enum, auto

from ...model.errors import CarrickError, Denied, Failed, InvalidRequest, Unavailable, Unsupported
from .etcd_call import CallFailed, Code

COMPACTED = "required revision has been compacted"
FUTURE_REVISION = "required revision is a future revision"
NO_LEASE = "requested lease not found"
LEASE_EXISTS = "lease already exists"
AUTH_IS_OFF = "authentication is not enabled"
PERMISSION_DENIED = "permission denied"
TOKEN_IS_INVALID = "invalid auth token"

_TOKEN_IS_OLD = (TOKEN_IS_INVALID, "revision of auth store is old", "user name is empty")
_NOT_DONE = ("no leader", "too many requests", "not capable", "rpc not supported for learner")
_TRANSIENT = (
    # Of a lease's keepalive, which is a stream, under the code "unknown".
    "context deadline exceeded",
    "request timed out",
    "leader changed",
    "server stopped",
    "not leader",
    "raft proposal dropped",
    "re-configuration",
)


class Remedy(Enum):
    """What to do about a failed call."""

    LOG_IN_AGAIN = auto()
    REPEAT = auto()
    """It was certainly not done: repeat it, if there is a choice at another member."""
    UNCERTAIN = auto()
    """It may have been done: repeat it only if that does no harm."""
    GIVE_UP = auto()


def remedy_of(failure: CallFailed) -> Remedy:
    text = failure.text
    if any(words in text for words in _TOKEN_IS_OLD):
        return Remedy.LOG_IN_AGAIN
    if any(words in text for words in _NOT_DONE):
        return Remedy.REPEAT
    if failure.code in {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED}:
        return Remedy.REPEAT if failure.untouched else Remedy.UNCERTAIN
    if any(words in text for words in _TRANSIENT):
        return Remedy.UNCERTAIN
    return Remedy.GIVE_UP


def error_of(failure: CallFailed, where: str, user: str) -> CarrickError:
    """Return the error for a call that `where` refused and that it is no use to repeat."""
    text = failure.text.removeprefix("etcdserver: ")
    by_whom = f"the etcd at {where}"
    match failure.code:
        case Code.INVALID_ARGUMENT if "user name is empty" in text:
            return Denied(f"{by_whom} wants a user", remedy="set user and password_file for etcd")
        case Code.INVALID_ARGUMENT if "authentication failed" in text:
            return Denied(
                f"{by_whom} refuses the user {user}: wrong name or password",
                remedy="check user and password_file, and `etcdctl user list`",
            )
        case Code.UNAUTHENTICATED:
            return Denied(
                f"{by_whom} refuses the user {user or '(none)'}: {text}",
                remedy="check user and password_file",
            )
        case Code.PERMISSION_DENIED:
            return Denied(
                f"{by_whom} does not let the user {user or '(none)'} do this: {text}",
                remedy="give it a role with readwrite on our prefix: "
                "`etcdctl role grant-permission ROLE --prefix=true readwrite PREFIX`",
            )
        case Code.RESOURCE_EXHAUSTED if "space exceeded" in text:
            return Unavailable(
                f"{by_whom} is full ({text}); nothing was changed",
                remedy="compact and defragment it, then `etcdctl alarm disarm`",
            )
        case Code.INVALID_ARGUMENT | Code.RESOURCE_EXHAUSTED if (
            "too large" in text or "larger than max" in text
        ):
            return InvalidRequest(
                f"{by_whom} refuses the transaction: {text}",
                remedy="write less at once, or start etcd with a larger --max-request-bytes",
            )
        case Code.INVALID_ARGUMENT if "too many operations" in text:
            return InvalidRequest(
                f"{by_whom} refuses the transaction: {text}", remedy="start etcd with a larger --max-txn-ops"
            )
        case Code.INVALID_ARGUMENT | Code.OUT_OF_RANGE | Code.FAILED_PRECONDITION:
            return InvalidRequest(f"{by_whom} refuses the request: {text}")
        case Code.UNIMPLEMENTED:
            return Unsupported(f"{by_whom} does not know the request: {text}", remedy="use etcd 3.4 or later")
        case Code.UNAVAILABLE | Code.DEADLINE_EXCEEDED | Code.CANCELLED | Code.RESOURCE_EXHAUSTED:
            return Unavailable(f"{by_whom} cannot serve now: {text}")
    return Failed(f"{by_whom} failed: {text}", remedy="look at etcd's log and `etcdctl endpoint status`")
