"""A store in memory, which passes the store's contract suite: for tests that need state, not a disk."""

import time
from collections.abc import Sequence

from ..host.store.contract import (
    ABSENT,
    Change,
    Changed,
    Delete,
    DeletePrefix,
    Entry,
    LeaseId,
    NoneBelow,
    Put,
    Removed,
    Requirement,
    StaleRevision,
)
from ..host.store.embedded import Clock, EmbeddedStore
from ..host.store.feed import BACKLOG_EVENTS, HISTORY_EVENTS


class MemoryStore(EmbeddedStore):
    """A `Store` that forgets everything when it is closed."""

    def __init__(
        self,
        *,
        clock: Clock = time.monotonic,
        history_events: int = HISTORY_EVENTS,
        backlog_events: int = BACKLOG_EVENTS,
    ) -> None:
        super().__init__(
            MemoryBackend(), clock=clock, history_events=history_events, backlog_events=backlog_events
        )


class MemoryBackend:
    """Entries in a dictionary. Written to be plainly right, as what other backends are compared with."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._revision = 0
        self._leases: dict[LeaseId, float] = {}
        self._last_lease = 0

    @property
    def revision(self) -> int:
        return self._revision

    def read(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def scan(self, prefix: str) -> tuple[Entry, ...]:
        return tuple(self._entries[key] for key in sorted(self._entries) if key.startswith(prefix))

    def write(self, changes: Sequence[Change], conditions: Sequence[Requirement]) -> list[Changed | Removed]:
        for condition in conditions:
            if isinstance(condition, NoneBelow):
                if found := self.scan(condition.prefix):
                    raise StaleRevision(found[0].key, expected=ABSENT, actual=found[0].revision)
                continue
            entry = self._entries.get(condition.key)
            actual = entry.revision if entry else ABSENT
            if actual != condition.revision:
                raise StaleRevision(condition.key, expected=condition.revision, actual=actual)
        revision = self._revision + 1
        events: list[Changed | Removed] = []
        for change in changes:
            match change:
                case Put(key, value, lease):
                    before = self._entries.get(key)
                    created = before.created if before else revision
                    self._entries[key] = Entry(key, value, created, revision, lease)
                    events.append(Changed(key, value, revision))
                case Delete(key):
                    events.extend(self._remove([key], revision))
                case DeletePrefix(prefix):
                    events.extend(self._remove([entry.key for entry in self.scan(prefix)], revision))
        if events:
            self._revision = revision
        return events

    def leases(self) -> dict[LeaseId, float]:
        return dict(self._leases)

    def add_lease(self, ttl_s: float) -> LeaseId:
        self._last_lease += 1
        lease = LeaseId(self._last_lease)
        self._leases[lease] = ttl_s
        return lease

    def drop_lease(self, lease: LeaseId) -> list[Changed | Removed]:
        del self._leases[lease]
        keys = sorted(entry.key for entry in self._entries.values() if entry.lease == lease)
        return self.write([Delete(key) for key in keys], ())

    def close(self) -> None:
        self._entries.clear()
        self._leases.clear()

    def _remove(self, keys: Sequence[str], revision: int) -> list[Removed]:
        return [Removed(key, revision) for key in keys if self._entries.pop(key, None)]
