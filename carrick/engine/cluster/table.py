"""A table: one prefix of the cluster's store in memory, made equal to it by its updates.

A record that cannot be decoded is reported and passed over; what it said before stands, because a node of an
older version must not drop what a newer one wrote.
"""

import asyncio
import logging
from collections.abc import Callable, ItemsView, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ...host.store.contract import ABSENT, Changed, Entry, Removed, Snapshot
from ...host.store.follow import Update
from ...host.store.typed import Collection, Undecodable, Versioned

T = TypeVar("T")
_log = logging.getLogger(__name__)
_AT_ONCE = 1000
"""How many records are decoded before others get their turn: some 10 ms."""


@dataclass(frozen=True, slots=True)
class TableChange(Generic[T]):
    """What an update did: records that are new or different, and those that went, as they were last."""

    put: Mapping[str, T] = field(default_factory=dict)
    gone: Mapping[str, T] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.put or self.gone)


class Table(Generic[T]):
    """The records of a collection by id. `is_loaded` once a snapshot has come."""

    def __init__(self, records: Collection[T]) -> None:
        self._records = records
        self._versions: dict[str, Versioned[T]] = {}
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.is_loaded = False

    @property
    def prefix(self) -> str:
        return self._records.prefix

    def get(self, record_id: str) -> T | None:
        found = self._versions.get(record_id)
        return found.value if found else None

    def revision_of(self, record_id: str) -> int:
        """Return the revision that a record was last seen at, ABSENT if there is none."""
        found = self._versions.get(record_id)
        return found.revision if found else ABSENT

    def values(self) -> list[T]:
        return [item.value for item in self._versions.values()]

    def items(self) -> ItemsView[str, Versioned[T]]:
        return self._versions.items()

    def __len__(self) -> int:
        return len(self._versions)

    def as_dict(self) -> dict[str, T]:
        return {key: item.value for key, item in self._versions.items()}

    def prefill(self, records: Mapping[str, T]) -> None:
        """Begin with what was known in an earlier life, at no revision; a snapshot replaces all of it."""
        self._versions = {key: Versioned(value, ABSENT) for key, value in records.items()}

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
        fresh: dict[str, Versioned[T]] = {}
        for number, entry in enumerate(snapshot.entries, start=1):
            record_id = self._records.id_of(entry.key)
            decoded = self._decode(entry)
            if decoded is not None:
                fresh[record_id] = decoded
            elif (before := self._versions.get(record_id)) is not None:
                fresh[record_id] = before
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        put = {
            key: item.value
            for key, item in fresh.items()
            if (before := self._versions.get(key)) is None or before.value != item.value
        }
        gone = {key: item.value for key, item in self._versions.items() if key not in fresh}
        self._versions, self.is_loaded = fresh, True
        return TableChange(put, gone)

    def _take(self, event: Changed | Removed) -> TableChange[T]:
        record_id = self._records.id_of(event.key)
        before = self._versions.get(record_id)
        if isinstance(event, Removed):
            if before is None:
                return TableChange()
            del self._versions[record_id]
            return TableChange(gone={record_id: before.value})
        decoded = self._decode(Entry(event.key, event.value, event.revision, event.revision))
        if decoded is None:
            return TableChange()
        self._versions[record_id] = decoded
        if before is not None and before.value == decoded.value:
            return TableChange()
        return TableChange(put={record_id: decoded.value})

    def _decode(self, entry: Entry) -> Versioned[T] | None:
        try:
            return Versioned(self._records.decode(entry), entry.revision)
        except Undecodable as error:
            _log.error("%s", error)
            return None
