"""A table: one prefix of the cluster's store in memory, made equal to it by its updates.

A record that cannot be decoded is reported and passed over; what it said before stands, because a node of an
older version must not drop what a newer one wrote.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

from ...host.store.contract import ABSENT, Changed, Entry, Removed, Snapshot
from ...host.store.follow import Update
from ...host.store.typed import Collection, Undecodable

T = TypeVar("T")
_log = logging.getLogger(__name__)
_AT_ONCE = 1000
"""How many records are decoded before others get their turn: some 10 ms."""


@dataclass(frozen=True, slots=True)
class TableChange(Generic[T]):
    """What an update did: records that are new or different, and those that went, as they were last.

    `broken` are the ids of those that cannot be decoded now; what they said before stands.
    """

    put: Mapping[str, T] = field(default_factory=dict)
    gone: Mapping[str, T] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.put or self.gone or self.broken)


class Table(Generic[T]):
    """The records of a collection by id. `is_loaded` once a snapshot has come."""

    def __init__(self, records: Collection[T]) -> None:
        self._records = records
        self._values: dict[str, T] = {}
        self._revisions: dict[str, int] = {}
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.is_loaded = False
        self.broken: dict[str, Undecodable] = {}
        """The records that cannot be decoded, by id."""

    @property
    def prefix(self) -> str:
        return self._records.prefix

    def encode(self, value: T) -> bytes:
        """Return a value as the store keeps it."""
        return self._records.encode(value)

    def get(self, record_id: str) -> T | None:
        return self._values.get(record_id)

    def revision_of(self, record_id: str) -> int:
        """Return the revision that a record was last seen at, ABSENT if there is none."""
        return self._revisions.get(record_id, ABSENT)

    def values(self) -> list[T]:
        return list(self._values.values())

    def live(self) -> Mapping[str, T]:
        """Return the records by id: not a copy, but a view that goes on changing."""
        return MappingProxyType(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def prefill(self, records: Mapping[str, T]) -> None:
        """Begin with what was known in an earlier life, at no revision; a snapshot replaces all of it."""
        self._values.update(records)

    async def apply(self, update: Update) -> TableChange[T]:
        """Take over an update of the prefix, and say what it changed."""
        change = await self._replace(update) if isinstance(update, Snapshot) else self._take(update)
        self._wake()
        return change

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds; it is looked at after every update."""
        if condition():
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((condition, waiting))
        try:
            await waiting
        finally:
            self._waiting = [item for item in self._waiting if item[1] is not waiting]

    async def wait_for_revision(self, record_id: str, revision: int) -> None:
        """Return once a write is seen here that we made at `revision`, or a later one of the same record."""
        await self.wait_for(lambda: self.revision_of(record_id) >= revision)

    def _wake(self) -> None:
        for condition, waiting in self._waiting:
            if not waiting.done() and condition():
                waiting.set_result(None)

    async def _replace(self, snapshot: Snapshot) -> TableChange[T]:
        fresh, revisions = await self.decode_all(snapshot)
        before = self._values
        # At the start there is nothing to compare with.
        put = {key: value for key, value in fresh.items() if before.get(key) != value} if before else fresh
        gone = {key: value for key, value in before.items() if key not in fresh}
        # Views of the dictionary are out there: it is changed, not replaced.
        for key in gone:
            del before[key]
        before.update(put)
        self._revisions, self.is_loaded = revisions, True
        return TableChange(put, gone, frozenset(self.broken))

    async def decode_all(self, snapshot: Snapshot) -> tuple[dict[str, T], dict[str, int]]:
        """Return a snapshot's records and their revisions by id; of those that are broken what we have."""
        fresh: dict[str, T] = {}
        revisions: dict[str, int] = {}
        if self.broken:
            there = {self._records.id_of(entry.key) for entry in snapshot.entries}
            self.broken = {key: error for key, error in self.broken.items() if key in there}
        for number, entry in enumerate(snapshot.entries, start=1):
            record_id = self._records.id_of(entry.key)
            value = self._decode(entry)
            if value is None:
                value = self._values.get(record_id)
            if value is not None:
                fresh[record_id] = value
            revisions[record_id] = entry.revision
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return fresh, revisions

    def _take(self, event: Changed | Removed) -> TableChange[T]:
        record_id = self._records.id_of(event.key)
        before = self._values.get(record_id)
        if isinstance(event, Removed):
            self._revisions.pop(record_id, None)
            self.broken.pop(record_id, None)
            if before is None:
                return TableChange()
            del self._values[record_id]
            return TableChange(gone={record_id: before})
        self._revisions[record_id] = event.revision
        value = self._decode(Entry(event.key, event.value, event.revision, event.revision))
        if value is None:
            return TableChange(broken=frozenset({record_id}))
        self._values[record_id] = value
        return TableChange() if before == value else TableChange(put={record_id: value})

    def _decode(self, entry: Entry) -> T | None:
        record_id = self._records.id_of(entry.key)
        try:
            value = self._records.decode(entry)
        except Undecodable as error:
            known = self.broken.get(record_id)
            if known is None or known.revision != error.revision:
                _log.error("%s; %s", error, error.remedy)
            self.broken[record_id] = error
            return None
        if self.broken.pop(record_id, None) is not None:
            _log.info("the record %s can be read again", entry.key)
        return value
