"""The store's contract: keys with revisions, transactions, leases, watches. What etcd v3 can keep.

Every implementation passes `tests/contract/test_store_contract.py`. The rules:

- One revision counts for the whole store. A transaction that changes anything raises it by one, and
  all that it changed carries the new revision; one that changes nothing (deleting what is absent)
  leaves it alone. It never goes back, also not over a restart. Where others share the store's server
  their changes raise it too, so two revisions in a row need not be neighbours, nor the first one 1.
- A transaction is all or nothing, and durable when `commit` returns as far as the implementation
  says (docs/adr/0002-store.md). It may name a key once only, and keys, values and the whole have limits.
- A lease's keys vanish, in one revision, once it has not been kept alive for its time to live. A
  restart gives every lease its whole time again. `lease.py` keeps one alive.
- A watch gives every change after a revision once and in order, or says `Compacted` where it no
  longer can; it goes on after that. `follow.py` turns this into snapshots and changes. A watch outlives
  an outage of the store: it says nothing meanwhile, and then what has happened.

Keys are paths without a leading slash (`networks/<id>`); a prefix ends in a slash by custom, not by
rule. Values are bytes; `typed.py` puts types on them.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NewType, Protocol, Self

from ...model.errors import Conflict, Unavailable

LeaseId = NewType("LeaseId", int)
NO_LEASE = LeaseId(0)
ABSENT = 0
"""The revision of a key that does not exist, for conditions."""

MAX_KEY_BYTES = 1024
MAX_VALUE_BYTES = 1024 * 1024
"""Below etcd's 1.5 MiB for a request, so that what one store takes the other takes too."""

MAX_TRANSACTION_BYTES = 1280 * 1024
"""All keys and values of a transaction together, a condition's key counting twice, as it is sent so.
What etcd allows beyond this is for the prefix and the rest of the request."""

MAX_OPERATIONS = 128
"""Of changes, and of conditions, in one transaction: etcd's own limit (`--max-txn-ops`)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as stored: `created` and `revision` are those of its first and its last write."""

    key: str
    value: bytes
    created: int
    revision: int
    lease: LeaseId = NO_LEASE


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The entries below a prefix, sorted by key, as they stood at `revision`."""

    entries: tuple[Entry, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Condition:
    """The key must be at this revision, or must not exist if that is `ABSENT`."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class NoneBelow:
    """No key may start with the prefix, which must not be empty. One that does is named by StaleRevision."""

    prefix: str


Requirement = Condition | NoneBelow


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key; a key that was attached to another lease, or to none, now has this one."""

    key: str
    value: bytes
    lease: LeaseId = NO_LEASE


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key; its absence is no error."""

    key: str


@dataclass(frozen=True, slots=True)
class DeletePrefix:
    """Remove every key that starts with a prefix, which must not be empty."""

    prefix: str


Change = Put | Delete | DeletePrefix


@dataclass(frozen=True, slots=True)
class Changed:
    """A key was written."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Removed:
    """A key was deleted, or its lease ran out."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """Changes up to `revision` may be missing from this watch: take a snapshot.

    The watch goes on with what came after `revision`; skip what the snapshot already holds.
    """

    revision: int


Event = Changed | Removed | Compacted


class StaleRevision(Conflict):
    """A condition did not hold: somebody else changed `key` meanwhile. Nothing was written."""

    def __init__(self, key: str, *, expected: int, actual: int) -> None:
        super().__init__(
            f"{key} is at revision {actual}, not {expected}"
            if expected and actual
            else (f"{key} does not exist any more" if expected else f"{key} exists already"),
            remedy="read it again and repeat the change",
        )
        self.key = key
        self.expected = expected
        self.actual = actual


class OutcomeUnknown(Unavailable):
    """The answer to a commit was lost: either all of it was made, or nothing. Only a remote store raises it.

    Never repeat the commit blindly. Read its keys again: a value of one's own there says that it was made.
    One that is not there yet may still come (a proposal can outlive its caller), so what is repeated must
    carry the conditions of the new reading; then the late one and the repeated one cannot both be made.
    """

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(
            f"{subject} has not answered whether the transaction was made: {reason}",
            remedy="read what it was to change, and repeat it if it was not made",
        )


class Watch(Protocol):
    """One reader's view of the changes. Iteration ends when the store or the watch is closed.

    May raise Denied or InvalidRequest where the store refuses it from the beginning. `__anext__` may be
    cancelled and called again without losing an event.
    """

    def __aiter__(self) -> AsyncIterator[Event]: ...

    async def __anext__(self) -> Event: ...

    async def aclose(self) -> None:
        """Stop watching. May be repeated."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...


class Store(Protocol):
    """What every store does.

    Unavailable means that it cannot serve now. Nothing was changed then, except that OutcomeUnknown, which
    only `commit` raises, leaves that open.
    """

    async def get(self, key: str) -> Entry | None:
        """Return the entry, or None if there is none."""

    async def list(self, prefix: str) -> Snapshot:
        """Return all entries whose key starts with `prefix`; "" means all there are."""

    async def commit(self, changes: Sequence[Change], conditions: Sequence[Requirement] = ()) -> int:
        """Make all the changes, if every condition holds, and return the store's revision.

        Raises StaleRevision naming the first key whose condition failed, NotFound if a lease is
        unknown or has run out (one of the two, if both are so), InvalidRequest if a key is named twice or a
        limit is passed, OutcomeUnknown.
        """

    async def grant(self, ttl_s: float) -> LeaseId:
        """Return a new lease. The time to live may be rounded up to what the store can measure."""

    async def keep_alive(self, lease: LeaseId) -> None:
        """Give the lease its whole time again. Raises NotFound if it has run out."""

    async def revoke(self, lease: LeaseId) -> None:
        """End the lease and delete its keys. Raises NotFound if there is no such lease."""

    def watch(self, prefix: str, *, after: int) -> Watch:
        """Watch the keys below `prefix` for changes later than revision `after`.

        A remote store begins with the first `__anext__`; what happened in between is not lost.
        """

    async def compact(self, revision: int) -> None:
        """Forget the changes up to `revision`; the entries stay. Only watches from before notice."""

    async def run(self) -> None:
        """Do the store's own work (ending leases on time) until it is closed.

        The composition root owns this as a task. Without it a lease of an embedded store ends at the next
        call instead.
        """

    async def aclose(self) -> None:
        """Release everything and end the watches. May be repeated; other calls then raise."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...
