"""The part that embedded stores share: requests checked, leases timed, changes handed to watches.

A `Backend` keeps the entries and does one transaction at a time, at once and without awaiting; this
makes it a `Store`. Because no call awaits between its first and last look at the backend, no lock is
needed: what a call sees and does is one step for every other task.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol, Self

from ...model.errors import Denied, InvalidRequest, NotFound, Unavailable
from .checks import check_key, check_prefix, check_transaction
from .contract import (
    Change,
    Changed,
    Entry,
    LeaseId,
    Put,
    Removed,
    Requirement,
    Snapshot,
    Watch,
)
from .feed import BACKLOG_EVENTS, HISTORY_EVENTS, Feed

Clock = Callable[[], float]
"""Seconds that only ever grow."""

_RETRY_S = 1.0
"""Between attempts to end a lease on a full or read-only disk."""


class Backend(Protocol):
    """Entries and leases, in memory or in a file. Its caller has checked what it passes."""

    @property
    def revision(self) -> int: ...

    def read(self, key: str) -> Entry | None: ...

    def scan(self, prefix: str) -> tuple[Entry, ...]:
        """Return the entries below `prefix`, sorted by key."""

    def write(self, changes: Sequence[Change], conditions: Sequence[Requirement]) -> list[Changed | Removed]:
        """Make all the changes or, on any exception, none; return what really changed.

        Raises StaleRevision as `Store.commit` does. The revision grows by one if the list is not empty.
        """

    def leases(self) -> dict[LeaseId, float]:
        """Return every lease with its time to live."""

    def add_lease(self, ttl_s: float) -> LeaseId:
        """Keep a lease under an id that was never given before."""

    def drop_lease(self, lease: LeaseId) -> list[Changed | Removed]:
        """Forget a lease and remove its keys, as one transaction, and return what changed."""

    def close(self) -> None: ...


class EmbeddedStore:
    """A `Store` over a backend in this process."""

    def __init__(
        self,
        backend: Backend,
        *,
        clock: Clock = time.monotonic,
        history_events: int = HISTORY_EVENTS,
        backlog_events: int = BACKLOG_EVENTS,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._feed = Feed(backend.revision, history_events=history_events, backlog_events=backlog_events)
        self._ttl_s = backend.leases()
        now = clock()
        self._ends = {lease: now + ttl_s for lease, ttl_s in self._ttl_s.items()}
        self._next_end = min(self._ends.values(), default=float("inf"))
        self._leases_changed = asyncio.Event()
        self._closed = False

    async def get(self, key: str) -> Entry | None:
        check_key(key)
        self._begin_read()
        return self._backend.read(key)

    async def list(self, prefix: str) -> Snapshot:
        check_prefix(prefix)
        self._begin_read()
        return Snapshot(self._backend.scan(prefix), self._backend.revision)

    async def commit(self, changes: Sequence[Change], conditions: Sequence[Requirement] = ()) -> int:
        check_transaction(changes, conditions)
        self._begin()
        for change in changes:
            if isinstance(change, Put) and change.lease:
                self._check_lease(change.lease)
        self._publish(self._backend.write(changes, conditions))
        return self._backend.revision

    async def grant(self, ttl_s: float) -> LeaseId:
        if not 0 < ttl_s < float("inf"):
            raise InvalidRequest(f"a lease needs a time to live of more than 0 seconds, not {ttl_s}")
        self._begin()
        lease = self._backend.add_lease(ttl_s)
        self._ttl_s[lease] = ttl_s
        self._set_end(lease)
        return lease

    async def keep_alive(self, lease: LeaseId) -> None:
        self._begin()
        self._check_lease(lease)
        self._set_end(lease)

    async def revoke(self, lease: LeaseId) -> None:
        self._begin()
        self._check_lease(lease)
        self._drop(lease)

    def watch(self, prefix: str, *, after: int) -> Watch:
        check_prefix(prefix)
        self._check_open()
        return self._feed.watch(prefix, after)

    async def compact(self, revision: int) -> None:
        self._begin()
        if revision > self._backend.revision:
            raise InvalidRequest(
                f"cannot compact to revision {revision}: the store is at {self._backend.revision}"
            )
        self._feed.compact(revision)

    async def run(self) -> None:
        while not self._closed:
            self._leases_changed.clear()
            pause_s = self._next_end - self._clock()
            if pause_s <= 0:
                try:
                    self._end_leases()
                except (Unavailable, Denied):
                    pause_s = _RETRY_S
            if pause_s > 0:
                try:
                    async with asyncio.timeout(None if pause_s == float("inf") else pause_s):
                        await self._leases_changed.wait()
                except TimeoutError:
                    pass

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._feed.close()
            self._leases_changed.set()
            self._backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the store is closed")

    def _begin(self) -> None:
        self._check_open()
        if self._next_end <= self._clock():
            self._end_leases()

    def _begin_read(self) -> None:
        # Ending a lease writes. Where that fails (a full or read-only disk), reading goes on: an entry that
        # lives a little longer harms less than a daemon that cannot see its own state.
        try:
            self._begin()
        except (Unavailable, Denied):
            self._check_open()

    def _check_lease(self, lease: LeaseId) -> None:
        if lease not in self._ends:
            raise NotFound(
                f"the store has no lease {lease}; it may have run out", remedy="ask for a new lease"
            )

    def _set_end(self, lease: LeaseId) -> None:
        self._ends[lease] = self._clock() + self._ttl_s[lease]
        self._next_end = min(self._ends.values())
        self._leases_changed.set()

    def _end_leases(self) -> None:
        now = self._clock()
        for lease in [lease for lease, end in self._ends.items() if end <= now]:
            self._drop(lease)

    def _drop(self, lease: LeaseId) -> None:
        events = self._backend.drop_lease(lease)
        del self._ends[lease], self._ttl_s[lease]
        self._next_end = min(self._ends.values(), default=float("inf"))
        self._publish(events)

    def _publish(self, events: Sequence[Changed | Removed]) -> None:
        if events:
            self._feed.publish(self._backend.revision, events)
