"""The mirror: what the cluster's store says, kept in memory by watching it.

Nodes, signs of life, networks and blocks are watched by every node; the endpoints of a network only where
somebody wants them. While the store cannot be reached everything stays as it was last: that is what being
cut off means here.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from ...host.store.contract import Snapshot
from ...host.store.follow import follow
from ...host.store.typed import Collection, Undecodable
from ...model.cluster import Block, NodeRecord, RemoteEndpoint, Sign
from ...model.errors import Unavailable
from ...model.ids import NetworkId
from ...model.networks import Network
from ..clock import Clock
from .records import ClusterRecords
from .table import Table, TableChange

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 15.0

Listener = Callable[[Table[Any], TableChange[Any]], None]
"""Is told of every change, at once and in order. It must not wait."""


class Mirror:
    """Run `run` as a task; `ready` returns once everything that all nodes watch has been seen."""

    def __init__(
        self,
        records: ClusterRecords,
        clock: Clock,
        choose: random.Random | None = None,
        make_table: Callable[[Collection[Any]], Table[Any]] = Table,
    ) -> None:
        self.records = records
        self._clock = clock
        self._random = choose or random.Random()
        self._make_table = make_table
        self.nodes: Table[NodeRecord] = make_table(records.nodes)
        self.alive: Table[Sign] = make_table(records.alive)
        self.lost: Table[Sign] = make_table(records.lost)
        self.timers: Table[Sign] = make_table(records.timers)
        self.networks: Table[Network] = make_table(records.networks)
        self.blocks: Table[Block] = make_table(records.blocks)
        self.endpoints: dict[NetworkId, Table[RemoteEndpoint]] = {}
        self._following: dict[NetworkId, asyncio.Task[None]] = {}
        self._listeners: list[Listener] = []
        self._group: asyncio.TaskGroup | None = None
        self._away: dict[str, Unavailable] = {}
        self._unheard: Unavailable | None = None
        self.verify: Callable[[], Awaitable[None]] = _trust
        """Raises Unavailable if the store is not the cluster's any more. It is asked before what the store
        has no more is dropped here: an etcd that has lost its data must not have everybody forget theirs."""

    @property
    def is_running(self) -> bool:
        return self._group is not None

    @property
    def problem(self) -> str:
        """Return why the store cannot be reached now, "" if it can."""
        if (error := self._error) is not None:
            return error.message
        # A store that knows by itself knows first.
        outage: str = getattr(self.records.store, "outage", "")
        return outage

    @property
    def remedy(self) -> str:
        """Return what can be done about the problem, "" if nobody has said."""
        error = self._error
        return (error.remedy or "") if error is not None else ""

    @property
    def _error(self) -> Unavailable | None:
        return self._unheard or next(iter(self._away.values()), None)

    @property
    def broken(self) -> list[Undecodable]:
        """Return what is wrong with each record that cannot be read, by its key."""
        every: list[Table[Any]] = [self.nodes, self.alive, self.lost, self.timers, self.networks, self.blocks]
        every += self.endpoints.values()
        found = [error for table in every for error in table.broken.values()]
        return sorted(found, key=lambda error: error.key)

    def note(self, problem: Unavailable | None) -> None:
        """Note whether the store answered whoever asked it last; a watch that is broken only waits."""
        if problem is not None and self._unheard is None:
            _log.warning("the cluster's store does not answer: %s", _in_full(problem))
        elif self._unheard is not None and problem is None:
            _log.info("the cluster's store answers again")
        self._unheard = problem

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    async def run(self) -> None:
        """Watch until cancelled, or until the store is closed."""
        tables = (self.nodes, self.alive, self.lost, self.timers, self.networks, self.blocks)
        async with asyncio.TaskGroup() as group:
            self._group = group
            for table in tables:
                group.create_task(self._follow(table), name=f"mirror {table.prefix}")
            for network_id in list(self.endpoints):
                self._start(network_id)
        self._group = None

    async def ready(self) -> None:
        """Return once every table that all nodes watch has its first snapshot."""
        for table in (self.nodes, self.alive, self.lost, self.timers, self.networks, self.blocks):
            await table.wait_for(lambda table=table: table.is_loaded)  # type: ignore[misc]

    def want_endpoints(self, network_id: NetworkId) -> Table[RemoteEndpoint]:
        """Watch a network's endpoints from now on; return their table, which may still be empty."""
        if network_id not in self.endpoints:
            self.endpoints[network_id] = self._make_table(self.records.endpoints_on(network_id))
            self._start(network_id)
        return self.endpoints[network_id]

    async def drop_endpoints(self, network_id: NetworkId) -> None:
        """Stop watching a network's endpoints and forget them."""
        table = self.endpoints.pop(network_id, None)
        task = self._following.pop(network_id, None)
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if table is not None and len(table):
            self._tell(table, TableChange(gone=dict(table.live())))

    def _start(self, network_id: NetworkId) -> None:
        if self._group is not None and network_id not in self._following:
            work = self._follow(self.endpoints[network_id])
            self._following[network_id] = self._group.create_task(work, name=f"mirror {network_id[:12]}")

    async def _follow(self, table: Table[Any]) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                # Before and after: in between, it may be given its data back.
                await self.verify()
                newest = 0
                async with follow(self.records.store, table.prefix) as updates:
                    async for update in updates:
                        if isinstance(update, Snapshot):
                            await self.verify()
                            if update.revision < newest:
                                raise Unavailable(f"the store has gone back to revision {update.revision}")
                        newest = max(newest, update.revision)
                        pause = _FIRST_PAUSE_S
                        if self._away.pop(table.prefix, None) is not None:
                            _log.info("watching %s again", table.prefix)
                        change = await table.apply(update)
                        if change:
                            self._tell(table, change)
                return
            except Unavailable as error:
                if table.prefix not in self._away:
                    _log.warning("cannot watch %s: %s", table.prefix, _in_full(error))
                self._away[table.prefix] = error
            # Jitter over the whole pause: thousands come back when the store does.
            await self._clock.sleep(self._random.uniform(0, pause))
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _tell(self, table: Table[Any], change: TableChange[Any]) -> None:
        for listener in self._listeners:
            listener(table, change)


def _in_full(error: Unavailable) -> str:
    return f"{error.message}; {error.remedy}" if error.remedy else error.message


async def _trust() -> None:
    """Nobody has said which cluster it is."""


async def patiently(
    attempt: Callable[[], Awaitable[None]],
    clock: Clock,
    what: str,
    *,
    choose: random.Random,
    longest_s: float = _LONGEST_PAUSE_S,
) -> None:
    """Try until it succeeds, while the store is Unavailable; pauses grow, with full jitter."""
    pause = _FIRST_PAUSE_S
    while True:
        try:
            await attempt()
            return
        except Unavailable as error:
            _log.info("%s waits for the cluster's store: %s", what, error)
        await clock.sleep(choose.uniform(0, pause))
        pause = min(pause * 2, longest_s)
