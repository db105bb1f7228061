"""The cache: what the cluster said last, in the node's own store.

A node that starts while the cluster's store is away begins with it: its containers are started, their names
and the ways to others' containers put, as they were. Written behind, in batches; what a kill loses comes with
the next snapshot.
"""

import asyncio
import logging
from typing import Any

from ...host.store.contract import Change, Delete, DeletePrefix, Put, Store
from ...host.store.typed import Collection
from ...model.errors import CarrickError
from ...model.ids import NetworkId
from ..clock import Clock
from .mirror import Mirror
from .records import ClusterRecords
from .table import Table, TableChange

_log = logging.getLogger(__name__)
_PREFIX = "cluster-cache/"
_PAUSE_S = 1.0
_PER_TRANSACTION = 100


class Cache:
    """Fill the mirror from it with `load` before the mirror runs; `run` keeps it."""

    def __init__(self, store: Store, mirror: Mirror, clock: Clock) -> None:
        self._store = store
        self._mirror = mirror
        self._clock = clock
        self._pending: dict[str, bytes | None] = {}
        self._changed = asyncio.Event()

    async def load(self) -> None:
        """Fill the mirror with what was kept; what cannot be read is as if it was not there."""
        mirror = self._mirror
        kept = ClusterRecords(self._store, _PREFIX)
        for collection, table in (
            (kept.nodes, mirror.nodes),
            (kept.networks, mirror.networks),
            (kept.blocks, mirror.blocks),
        ):
            await _prefill(collection, table)
        endpoints = await kept.endpoints.list()
        by_network: dict[NetworkId, dict[str, Any]] = {}
        for record in endpoints.values:
            # The mirror's tables of endpoints begin below the network.
            own = record.key.partition("/")[2]
            by_network.setdefault(record.network_id, {})[own] = record
        for network_id, records in by_network.items():
            mirror.want_endpoints(network_id).prefill(records)
        mirror.listen(self._note)

    def _note(self, table: Table[Any], change: TableChange[Any]) -> None:
        mirror = self._mirror
        if table in (mirror.alive, mirror.lost, mirror.timers):
            return
        for key, value in change.put.items():
            self._pending[_PREFIX + table.prefix + key] = table.encode(value)
        for key in change.gone:
            self._pending[_PREFIX + table.prefix + key] = None
        self._changed.set()

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._clock.sleep(_PAUSE_S)
            pending, self._pending = self._pending, {}
            changes: list[Change] = [
                Delete(key) if value is None else Put(key, value) for key, value in pending.items()
            ]
            try:
                for start in range(0, len(changes), _PER_TRANSACTION):
                    await self._store.commit(changes[start : start + _PER_TRANSACTION])
            except CarrickError as error:
                _log.warning("what the cluster said could not be kept: %s", error)

    async def clear(self) -> None:
        """Forget everything: the node has left."""
        self._pending.clear()
        await self._store.commit([DeletePrefix(_PREFIX)])


async def _prefill(collection: Collection[Any], table: Table[Any]) -> None:
    listing = await collection.list()
    table.prefill({key: record.value for key, record in listing.records.items()})
