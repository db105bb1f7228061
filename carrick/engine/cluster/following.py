"""Following: what this node does about what others say in the cluster's records.

The mirror tells every change to `listen`, which notes it. A worker takes over what was noted, one batch at a
time: networks appear and go, endpoints elsewhere get their rows and names, standing networks are planned anew
when nodes or their blocks change. What comes while it works is the next batch. What this node says of itself,
its own blocks among it, is the link's.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from ...drivers.contract import Spanning
from ...drivers.registry import DriverRegistry
from ...host.kernel import Kernel
from ...model.cluster import Block, BlockState, NodeId, RemoteEndpoint
from ...model.errors import CarrickError, Unavailable
from ...model.ids import NetworkId
from ...model.networks import Network, Scope
from ...model.steps import RemoveFdb, RemoveNeighbour, RemoveRoute, Step
from ..addresses import Addresses
from ..clock import Clock
from ..host import Host
from ..names import NameService
from ..presence import Presence
from ..state import State, Write
from .mirror import Mirror
from .table import Table, TableChange

_log = logging.getLogger(__name__)
_Changes = tuple[dict[str, RemoteEndpoint], dict[str, RemoteEndpoint]]
"""Of a network's endpoints, by key: those that are new or different, and those that went."""

_REMOVALS = (RemoveFdb, RemoveNeighbour, RemoveRoute)
_OWNERS_S = 2.0
"""How soon those who own addresses of a network are sent what nobody knows: needed once one is cut off."""
_RECALL_S = 0.5
_REST_S = 60.0
"""How long a network's endpoints are watched here after the last of ours."""
_FIRST_LOOK_S = 3.0
"""How long a start waits for what is elsewhere on a network before it goes on without."""


class Follower:
    """Between `begin` and `end` it follows a mirror; before and after, there is nothing to follow.

    `limit`: our blocks of a network may be others now. `write_own`: is awaited before anything is taken over,
    so that our own blocks are written down first. `disown`: a network is gone, and with it our blocks of it.
    """

    def __init__(
        self,
        *,
        state: State,
        addresses: Addresses,
        drivers: DriverRegistry,
        kernel: Kernel,
        host: Host,
        names: NameService,
        presence: Presence,
        clock: Clock,
        limit: Callable[[NetworkId], None],
        write_own: Callable[[], Awaitable[None]],
        disown: Callable[[NetworkId], None],
    ) -> None:
        self._state = state
        self._addresses = addresses
        self._drivers = drivers
        self._kernel = kernel
        self._host = host
        self._names = names
        self._presence = presence
        self._clock = clock
        self._limit = limit
        self._write_own = write_own
        self._disown = disown
        self._mirror: Mirror | None = None
        self._me: NodeId | None = None
        # Of each network the confirmed ones, filed as they change: all of them are many.
        self._filed: dict[NetworkId, dict[str, Block]] = {}
        self.blocks: dict[NetworkId, tuple[Block, ...]] = {}
        """The confirmed blocks of each network, everybody's."""
        self._network_changes: dict[NetworkId, Network | None] = {}
        self._endpoint_changes: dict[NetworkId, _Changes] = {}
        self._nodes_changed = False
        self._owners_changed: set[NetworkId] = set()
        self._replanned: set[NetworkId] = set()
        self._resting: dict[NetworkId, float] = {}
        self.put_back: Callable[[Network], Awaitable[None]] = _cannot_put_back
        """Writes a network that is used here and gone from the cluster; the directory sets it."""
        self.on_nodes: Callable[[], None] = _nothing
        """Is told that a node came, went or changed; the link sets it."""
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    # Life ------------------------------------------------------------------------------------

    def begin(self, mirror: Mirror, me: NodeId) -> None:
        """Follow `mirror` from now on, as node `me`."""
        self._mirror, self._me = mirror, me

    def file_blocks(self) -> None:
        """File the blocks that the mirror begins with: it tells of none that it had before it ran."""
        self._filed.clear()
        self.blocks.clear()
        self._file(TableChange(put=self._followed().blocks.live()))

    def end(self) -> None:
        """Follow nobody any more. What was noted and not taken over is nothing to the next cluster."""
        self._mirror = self._me = None
        self._filed.clear()
        self.blocks.clear()
        self._network_changes.clear()
        self._endpoint_changes.clear()
        self._owners_changed.clear()
        self._replanned.clear()
        self._resting.clear()
        self._nodes_changed = False
        self._idle.set()

    def _followed(self) -> Mirror:
        assert self._mirror is not None
        return self._mirror

    async def run(self) -> None:
        """Take over what others say, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._work_off(), name="cluster worker")
            group.create_task(self._drop_rested(), name="cluster rest")
            group.create_task(self._follow_owners(), name="cluster owners")
            group.create_task(self._settle(), name="cluster settles")

    def wake(self) -> None:
        """Have the worker look: there is something of ours to write down. Nobody waits for it."""
        self._work.set()

    async def settled(self) -> None:
        """Return once all that the mirror has shown is taken over."""
        await self._idle.wait()

    # What there is ---------------------------------------------------------------------------

    def recalled(self) -> frozenset[NetworkId]:
        """Return the networks of which the cluster has not said yet, in this life, what is elsewhere."""
        mirror = self._followed()
        heard = mirror.nodes.is_loaded and mirror.blocks.is_loaded
        return frozenset(key for key, table in mirror.endpoints.items() if not (heard and table.is_loaded))

    def partners(self) -> set[NodeId]:
        """Return the nodes that have endpoints on networks that stand here."""
        tables = self._mirror.endpoints.values() if self._mirror else ()
        return {endpoint.node for table in tables for endpoint in table.values()}

    def remote_endpoints(self, network_id: NetworkId) -> list[RemoteEndpoint]:
        """Return the endpoints of a network on other nodes, as far as they are watched here."""
        table = self._mirror.endpoints.get(network_id) if self._mirror else None
        return [item for item in table.values() if item.node != self._me] if table else []

    # What is watched -------------------------------------------------------------------------

    async def watch(self, network_id: NetworkId) -> None:
        """Watch a network's endpoints, as it is to stand here; wait a moment for what is known of them."""
        mirror = self._mirror
        if mirror is None:
            return
        self._resting.pop(network_id, None)
        table = mirror.want_endpoints(network_id)
        if mirror.problem or not mirror.is_running:
            return  # at the daemon's start it is what was said last that networks begin with
        try:
            async with asyncio.timeout(_FIRST_LOOK_S):
                await table.wait_for(lambda: table.is_loaded)
        except TimeoutError:
            _log.warning("network %s starts without knowing what is elsewhere on it", network_id[:12])

    async def unwatch(self, network_id: NetworkId) -> None:
        """Let a network's endpoints go a while after its last one here, and never while the store is away: a
        container that is started again then is to find the others'."""
        if self._mirror is not None:
            self._resting[network_id] = self._clock.monotonic()

    async def _drop_rested(self) -> None:
        while True:
            await self._clock.sleep(_REST_S / 2)
            mirror, before = self._followed(), self._clock.monotonic() - _REST_S
            for network_id in [key for key, since in self._resting.items() if since <= before]:
                if not mirror.problem:
                    del self._resting[network_id]
                    await mirror.drop_endpoints(network_id)

    # Noting ----------------------------------------------------------------------------------

    def listen(self, table: Table[Any], change: TableChange[Any]) -> None:
        """Note a change that the mirror tells of, for the worker."""
        mirror = self._followed()
        if table is mirror.networks:
            self._network_changes |= {NetworkId(key): item for key, item in change.put.items()}
            self._network_changes |= {NetworkId(key): None for key in change.gone}
        elif table is mirror.blocks:
            self._file(change)
            self._note_owners((*change.put.values(), *change.gone.values()))
        elif table is mirror.nodes:
            self._nodes_changed = True
            self.on_nodes()
        elif table not in (mirror.alive, mirror.lost, mirror.timers):
            self._note_endpoints(change)
        else:
            return
        self._begin_work()

    def paths_changed(self) -> None:
        """A way takes packets of another size than was thought: networks are planned anew."""
        self._nodes_changed = True
        self._begin_work()

    def _begin_work(self) -> None:
        self._idle.clear()
        self._work.set()

    def _note_owners(self, blocks: Iterable[Block]) -> None:
        """Routes go by blocks. Of an overlay's rows only one does, and it has time."""
        for block in blocks:
            network = self._state.networks.get(block.network_id)
            if network is not None and network.driver != "overlay":
                self._nodes_changed = True
            elif network is not None and block.node != self._me:
                self._owners_changed.add(network.id)

    def _note_endpoints(self, change: TableChange[RemoteEndpoint]) -> None:
        for kind, records in (("put", change.put), ("gone", change.gone)):
            for key, endpoint in records.items():
                if endpoint.node == self._me:
                    continue
                put, gone = self._endpoint_changes.setdefault(endpoint.network_id, ({}, {}))
                put.pop(key, None)
                (put if kind == "put" else gone)[key] = endpoint

    def _file(self, change: TableChange[Block]) -> None:
        changed: set[NetworkId] = set()
        for key, block in (*change.gone.items(), *change.put.items()):
            filed = self._filed.setdefault(block.network_id, {})
            filed.pop(key, None)
            if key in change.put and block.state is BlockState.CONFIRMED:
                filed[key] = block
            changed.add(block.network_id)
        for network_id in changed:
            self.blocks[network_id] = tuple(self._filed[network_id].values())
            if not self._filed[network_id]:
                del self._filed[network_id], self.blocks[network_id]

    async def _settle(self) -> None:
        """Once the cluster has said what there is, take away what is left of an earlier life."""
        if self.recalled():
            await self._followed().ready()
            while self.recalled():
                await self._clock.sleep(_RECALL_S)
        self.paths_changed()

    async def _follow_owners(self) -> None:
        while True:
            await self._clock.sleep(_OWNERS_S)
            if self._owners_changed:
                self._replanned |= self._owners_changed
                self._owners_changed.clear()
                self._begin_work()

    # Taking over -----------------------------------------------------------------------------

    async def _work_off(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._take_over()
            except CarrickError as error:
                _log.error("taking over what the cluster says: %s", error)
            if not self._work.is_set():
                self._idle.set()

    async def _take_over(self) -> None:
        await self._write_own()
        networks, self._network_changes = self._network_changes, {}
        for network_id, network in networks.items():
            if network is not None:
                await self._adopt_network(network)
            elif (gone := self._state.networks.get(network_id)) is not None:
                await self._lose_network(gone)
        nodes_changed, self._nodes_changed = self._nodes_changed, False
        replanned, self._replanned = self._replanned, set()
        changes, self._endpoint_changes = self._endpoint_changes, {}
        if nodes_changed or replanned:
            await self.plan_anew(None if nodes_changed else replanned)
        for network_id, (fresh, old) in changes.items():
            await self._follow_endpoints(network_id, TableChange(fresh, old))
        if changes:
            await self._names.flush()

    async def _adopt_network(self, network: Network) -> None:
        before = self._state.networks.get(network.id)
        if before == network:
            return
        if network.driver not in self._drivers:
            _log.error("network %s needs driver %s, which is not here", network.name, network.driver)
        self._addresses.adopt(network)
        await self._state.save(Write(networks=[network]))
        self._limit(network.id)

    async def _lose_network(self, network: Network) -> None:
        """Drop a network that the cluster has no more; one that is in use here is put back."""
        if self._presence.stands(network) and self._mirror is not None:
            _log.warning("network %s was removed while it is in use here: it is put back", network.name)
            try:
                await self.put_back(network)
            except CarrickError as error:
                _log.error("network %s cannot be put back: %s", network.name, error)
            return
        await self.drop_network(network)

    async def drop_network(self, network: Network) -> None:
        """Take a network off this host, its record and its addresses too."""
        write = Write(gone_networks=[network.id])
        async with self._addresses.transaction(write) as transaction:
            write.sandboxes += [
                replace(sandbox, endpoints=tuple(e for e in sandbox.endpoints if e.network_id != network.id))
                for sandbox, _ in self._state.endpoints_on(network.id)
            ]
            self._addresses.tear_down(network, transaction)
        for error in await self._presence.release([network]):
            _log.warning("taking network %s off this host: %s", network.name, error)
        self._disown(network.id)

    async def plan_anew(self, only: set[NetworkId] | None = None) -> None:
        """Plan standing networks anew: a node's address changed, or it came or went."""
        for network in list(self._state.networks.values()):
            if only is not None and network.id not in only:
                continue
            if network.scope is Scope.GLOBAL and self._presence.stands(network):
                try:
                    async with self._state.lock("networks"):
                        plan = await self._presence.plan(network)
                        await self._apply(plan.steps)
                except CarrickError as error:
                    _log.error("network %s: %s", network.name, error)

    async def _follow_endpoints(self, network_id: NetworkId, change: TableChange[RemoteEndpoint]) -> None:
        network = self._state.networks.get(network_id)
        # One that is appearing is waited for: its plan may have been made before this change.
        if network is None or not await self._presence.has_appeared(network):
            return
        for endpoint in change.gone.values():
            self._names.remove_endpoint(network_id, endpoint.id)
        for endpoint in change.put.values():
            self._names.put_remote(endpoint)
        driver = self._drivers.get(network.driver)
        if isinstance(driver, Spanning):
            view = self._host.hot_view
            plan = driver.plan_change(network, change.put.values(), change.gone.values(), view)
            try:
                await self._apply(plan.steps)
            except CarrickError as error:
                # What is wrong is repaired as drift is: compared as a whole.
                _log.warning("network %s: %s", network.name, error)
                self._nodes_changed = True
                self._begin_work()
                await self._clock.sleep(0.2)

    async def _apply(self, steps: tuple[Step, ...]) -> None:
        await self._kernel.apply([step for step in steps if not isinstance(step, _REMOVALS)])
        for error in await self._kernel.remove([step for step in steps if isinstance(step, _REMOVALS)]):
            _log.info("removing what is not there any more: %s", error)


def _nothing() -> None:
    """Nobody asks for the ways to nodes."""


async def _cannot_put_back(network: Network) -> None:
    raise Unavailable(f"network {network.name} cannot be written")
