"""Mending: records of this node's own that somebody has spoilt are written again, as they should be.

Each record has one writer, so nobody else can know what belongs there. What is not ours is reported by its
table, with key and remedy, and stays until somebody decides.
"""

import asyncio
import logging
from typing import Any

from ...host.store.contract import StaleRevision
from ...model.errors import CarrickError
from ..clock import Clock
from .membership import Membership
from .mirror import Mirror
from .publisher import Publisher
from .records import ClusterRecords
from .table import Table, TableChange

_log = logging.getLogger(__name__)
_AGAIN_S = 2.0


class Mender:
    """Run `run` as a task beside the mirror."""

    def __init__(
        self,
        records: ClusterRecords,
        mirror: Mirror,
        membership: Membership,
        publisher: Publisher,
        clock: Clock,
    ) -> None:
        self._records = records
        self._mirror = mirror
        self._membership = membership
        self._publisher = publisher
        self._clock = clock
        self._blocks: set[str] = set()
        self._due = asyncio.Event()
        mirror.listen(self._look)

    async def run(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            keys, self._blocks = self._blocks, set()
            for key in keys:
                try:
                    await self._mend_block(key)
                except CarrickError as error:
                    _log.info("block %s is not mended yet: %s", key, error)
                    if isinstance(error, StaleRevision):
                        self._membership.refused(error)
                    self._blocks.add(key)
            if self._blocks:
                await self._clock.sleep(_AGAIN_S)
                self._due.set()

    def _look(self, table: Table[Any], change: TableChange[Any]) -> None:
        if not change.broken:
            return
        mirror, node = self._mirror, self._membership.node
        if table is mirror.nodes:
            if node in change.broken:
                self._membership.notice()
        elif table is mirror.alive:
            if node in change.broken:
                self._membership.repair_sign()
        elif table is mirror.blocks:
            self._blocks |= change.broken
            self._due.set()
        elif table in mirror.endpoints.values() and any(key.startswith(f"{node}/") for key in change.broken):
            self._publisher.start_again()

    async def _mend_block(self, key: str) -> None:
        known, broken = self._mirror.blocks.get(key), self._mirror.blocks.broken.get(key)
        if known is None or broken is None or known.node != self._membership.node:
            return
        await self._records.store.commit(
            [self._records.blocks.putting(key, known)],
            [self._records.blocks.expecting(key, broken.revision), self._membership.condition()],
        )
        _log.warning("block %s is this node's own, and is written again", key)
