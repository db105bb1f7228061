"""The sweeper: carries out what is to be done about nodes that are away.

Which nodes, and whether it is for this one to do, `domains/membership` decides. Each step is conditional on
what was decided from, so that sweepers may overlap, and be killed anywhere.
"""

import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar, cast

from ...domains.membership import LifeStatus, Missing, plan_sweep, status_of
from ...host.store.contract import ABSENT, Change, Condition, Delete, DeletePrefix, StaleRevision
from ...host.store.typed import Versioned
from ...model.cluster import NodeId, NodeRecord, NodeState, Sign
from ...model.errors import CarrickError, NotFound
from ..clock import Clock
from .mirror import Mirror
from .records import RESERVATIONS, ClusterRecords
from .table import Table, TableChange

_log = logging.getLogger(__name__)
T = TypeVar("T")
GONE_AFTER_S = 600.0
_EVERY_S = 5.0
_HELP_EVERY = 12
_HELP_WITH = 16
"""How many others one helps with at a time."""

_PER_TRANSACTION = 60


class Sweeper:
    """`gone_after_s` is the stated time: how long a node may be missed before it is given up."""

    def __init__(
        self,
        *,
        node: NodeId,
        records: ClusterRecords,
        mirror: Mirror,
        clock: Clock,
        gone_after_s: float = GONE_AFTER_S,
        every_s: float = _EVERY_S,
        choose: random.Random | None = None,
    ) -> None:
        self._node = node
        self._records = records
        self._mirror = mirror
        self._clock = clock
        self._gone_after_s = gone_after_s
        self._every_s = every_s
        self._random = choose or random.Random()
        # What is to be done follows from what the mirror shows: while that stays the same, and nothing was
        # left to do, there is nothing to think about again. Who is away is kept as it changes: thousands
        # would otherwise look through thousands each time that one of them comes or goes.
        self._due = True
        self._away: set[NodeId] | None = None
        mirror.listen(self._look)

    async def run(self) -> None:
        await self._mirror.ready()
        rounds = self._random.randrange(_HELP_EVERY)
        while True:
            await self._clock.sleep(self._random.uniform(0.5, 1.5) * self._every_s)
            rounds += 1
            try:
                await self.sweep(help_out=rounds % _HELP_EVERY == 0)
            except CarrickError as error:
                _log.info("seeing to nodes that are away: %s", error)

    async def sweep(self, *, help_out: bool = False) -> None:
        """Look once at who is away, and do what is for this node to do."""
        if self._mirror.problem or not self._mirror.nodes.is_loaded or not (self._due or help_out):
            return
        self._due = False
        if self._away is None:
            self._away = set()
            self._judge(self._mirror.nodes.live())
        if not self._away:
            return
        plan = plan_sweep(
            self._node,
            _by_node(self._mirror.nodes),
            _by_node(self._mirror.alive),
            _by_node(self._mirror.lost),
            _by_node(self._mirror.timers),
            help_out=help_out,
            away=self._away,
        )
        # Until it is seen to be done.
        self._due = bool(plan)
        for missing in _few(plan.report, self._random) if help_out else plan.report:
            noted = self._mirror.lost.get(missing.node)
            # Somebody else may have been quicker, or it is back, by the time that its turn comes.
            if missing.node in self._away and (noted is None or noted.epoch != missing.epoch):
                await self._report(missing)
        for missing in _few(plan.evict, self._random) if help_out else plan.evict:
            if missing.node in self._away:
                await self.evict(missing.node)

    def _look(self, table: Table[Any], change: TableChange[Any]) -> None:
        mirror = self._mirror
        if table in (mirror.nodes, mirror.alive):
            self._judge((*change.put, *change.gone))
        elif table not in (mirror.lost, mirror.timers):
            return
        self._due = True

    def _judge(self, nodes: Iterable[str]) -> None:
        """See which of these nodes are away now."""
        if self._away is None:
            return
        alive = _by_node(self._mirror.alive)
        for node in map(NodeId, nodes):
            record = self._mirror.nodes.get(node)
            if record is None or status_of(record, alive) is LifeStatus.READY:
                self._away.discard(node)
            else:
                self._away.add(node)

    async def _report(self, missing: Missing) -> None:
        """Say that a node is missed, and start the clock."""
        sign = Sign(missing.epoch)
        lease = await self._records.store.grant(self._gone_after_s)
        try:
            await self._records.store.commit(
                [
                    self._records.lost.putting(missing.node, sign),
                    self._records.timers.putting(missing.node, sign, lease),
                ],
                [
                    self._records.alive.expecting(missing.node, self._mirror.alive.revision_of(missing.node)),
                    self._records.lost.expecting(missing.node, self._mirror.lost.revision_of(missing.node)),
                ],
            )
            _log.warning("node %s is unreachable", self._name(missing.node))
        except StaleRevision:
            await self._records.store.revoke(lease)  # somebody else was first, or it is back

    async def evict(self, node: NodeId, *, at_once: bool = False) -> None:
        """Remove a node with all it had. Unless `at_once`, only if it still shows no sign of life.

        Raises NotFound if there is no such node.
        """
        record = await self._records.nodes.get(node)
        if record is None:
            raise NotFound(f"node {node} not found")
        fence = record.revision
        if record.value.state is not NodeState.GONE:
            alive = await self._records.alive.get(node)
            if alive is not None and not at_once:
                return  # it is back
            fence = await self._mark_gone(record, at_once=at_once)
        await self._remove_belongings(node, self._records.nodes.expecting(node, fence))
        await self._free_name(record.value)
        _log.warning("node %s was given up: its endpoints and blocks are free", record.value.name)

    async def _free_name(self, node: NodeRecord) -> None:
        """End what reserves a name for a node that has just joined: it may join again under another id."""
        entry = await self._records.store.get(f"{RESERVATIONS}{node.name}")
        if entry is not None and node.id.encode() in entry.value:
            with suppress(StaleRevision):
                await self._records.store.commit([Delete(entry.key)], [Condition(entry.key, entry.revision)])

    async def _mark_gone(self, record: Versioned[NodeRecord], *, at_once: bool) -> int:
        """End a node's right to write, as all its writes are conditional on its record."""
        node = record.value
        conditions = [self._records.nodes.expecting(node.id, record.revision)]
        if not at_once:
            conditions.append(self._records.alive.expecting(node.id, ABSENT))
        gone = replace(node, state=NodeState.GONE)
        return await self._records.store.commit([self._records.nodes.putting(node.id, gone)], conditions)

    async def _remove_belongings(self, node: NodeId, fence: Condition) -> None:
        """Remove what a node had, its record last.

        Each transaction is fenced by the record as it was marked: a sweeper that fell behind must not remove
        what the node has taken in its next epoch.
        """
        changes: list[Change] = [
            DeletePrefix(self._records.endpoints.key(f"{network_id}/{node}/"))
            for network_id in self._mirror.networks.live()
        ]
        blocks = await self._records.blocks.list()
        changes += [
            self._records.blocks.deleting(key)
            for key, block in blocks.records.items()
            if block.value.node == node
        ]
        # And those that cannot be read any more.
        known = self._mirror.blocks
        changes += [
            self._records.blocks.deleting(key)
            for error in blocks.broken
            if (block := known.get(key := self._records.blocks.id_of(error.key))) and block.node == node
        ]
        statics = await self._records.addresses.list()
        changes += [
            self._records.addresses.deleting(key)
            for key, static in statics.records.items()
            if static.value.node == node
        ]
        for start in range(0, len(changes), _PER_TRANSACTION):
            await self._records.store.commit(changes[start : start + _PER_TRANSACTION], [fence])
        await self._records.store.commit(
            [
                self._records.nodes.deleting(node),
                self._records.lost.deleting(node),
                self._records.timers.deleting(node),
                self._records.alive.deleting(node),
            ],
            [fence],
        )

    def _name(self, node: NodeId) -> str:
        record = self._mirror.nodes.get(node)
        return record.name if record else node


def _few(items: Sequence[Missing], choose: random.Random) -> list[Missing]:
    """Return some of what others should have done: where thousands are away, not everybody helps with all."""
    return choose.sample(items, min(_HELP_WITH, len(items)))


def _by_node(table: Table[T]) -> Mapping[NodeId, T]:
    return cast("Mapping[NodeId, T]", table.live())
