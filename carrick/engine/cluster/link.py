"""The link: what ties this node's networks, containers and names to the cluster's records.

In one direction it says what is here (`desired`), in the other it takes over what others say: networks appear
and go, endpoints elsewhere get their rows and names. A worker does the second, one batch at a time: what
comes while it works is the next batch.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

from ...domains.ipam import Prefix
from ...drivers.contract import ClusterView as DriverView
from ...drivers.contract import Explaining, Reserving, Spanning, Way
from ...drivers.registry import DriverRegistry
from ...host.kernel import Kernel
from ...host.store.contract import (
    DeletePrefix,
    Store,
)
from ...host.store.typed import Collection
from ...model.cluster import Block, BlockState, ClusterSettings, NodeId, NodeRecord, RemoteEndpoint, Underlay
from ...model.errors import CarrickError, NotFound, Unavailable
from ...model.ids import NetworkId
from ...model.networks import EndpointSettings, Network, Scope
from ...model.steps import RemoveFdb, RemoveNeighbour, RemoveRoute, Step
from ..addresses import Addresses
from ..clock import Clock
from ..host import Host
from ..names import NameService
from ..presence import Presence
from ..state import State, Write
from .paths import PathWatch, Prober
from .runtime import ClusterRuntime, Ties
from .sealing import SealService
from .table import Table, TableChange
from .traffic import PeerTraffic, Reached, Sums

_log = logging.getLogger(__name__)
_Changes = tuple[dict[str, RemoteEndpoint], dict[str, RemoteEndpoint]]
"""Of a network's endpoints, by key: those that are new or different, and those that went."""

_REMOVALS = (RemoveFdb, RemoveNeighbour, RemoveRoute)
_BEGIN_AGAIN_S = 5.0
_OWNERS_S = 2.0
"""How soon those who own addresses of a network are sent what nobody knows: needed once one is cut off."""
_RECALL_S = 0.5
_KEY_LOOK_S = 30.0
_PUBLISH_S = 15.0
_REST_S = 60.0
"""How long a network's endpoints are watched here after the last of ours."""
_FIRST_LOOK_S = 3.0
"""How long a start waits for what is elsewhere on a network before it goes on without."""


class ClusterLink:
    """This node's membership, while it lasts. Without settings it does nothing, and says so where asked.

    `readdress` moves the containers of lost blocks; `underlays` gives this node's underlay addresses now.
    """

    def __init__(
        self,
        *,
        state: State,
        local: Store,
        addresses: Addresses,
        drivers: DriverRegistry,
        kernel: Kernel,
        host: Host,
        names: NameService,
        presence: Presence,
        clock: Clock,
        version: str,
        seal: SealService,
        prober: Prober,
        underlays: Callable[[ClusterSettings], tuple[Underlay, ...]],
        readdress: Callable[[list[Block]], Any],
    ) -> None:
        self._state = state
        self._local = local
        self._settings_records = Collection(local, "cluster-settings/", ClusterSettings)
        self._own_records = Collection(local, "own-blocks/", Block)
        self._addresses = addresses
        self._drivers = drivers
        self._kernel = kernel
        self._host = host
        self._names = names
        self._presence = presence
        self._clock = clock
        self._version = version
        self.seal = seal
        self._underlays = underlays
        self._readdress = readdress
        self.settings: ClusterSettings | None = None
        self.runtime: ClusterRuntime | None = None
        self._own: dict[str, Block] = {}
        self._dirty_own: dict[str, Block | None] = {}
        # Of each network the confirmed ones, filed as they change: all of them are many.
        self._filed: dict[NetworkId, dict[str, Block]] = {}
        self._blocks: dict[NetworkId, tuple[Block, ...]] = {}
        self._network_changes: dict[NetworkId, Network | None] = {}
        self._endpoint_changes: dict[NetworkId, _Changes] = {}
        self._nodes_changed = False
        self._owners_changed: set[NetworkId] = set()
        self._replanned: set[NetworkId] = set()
        self._random = random.Random()
        self._resting: dict[NetworkId, float] = {}
        self.put_back: Callable[[Network], Awaitable[None]] = _cannot_put_back
        """Writes a network that is used here and gone from the cluster; the directory sets it."""
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._traffic = PeerTraffic(kernel)
        self.paths = PathWatch(
            prober=prober,
            clock=clock,
            me=self.me,
            nodes=lambda: cast("Mapping[NodeId, NodeRecord]", self.require().mirror.nodes.live()),
            wanted=self._partners,
            changed=self._paths_changed,
        )
        host.cluster = self._driver_view
        presence.watch = self._watch
        presence.unwatch = self._unwatch
        presence.seal = seal.ensure
        presence.unseal = seal.rest
        host.sealed = lambda: seal.device
        host.look = seal.look
        seal.on_restart = self._follow_nodes
        state.on_endpoints = self.notice

    # Life ------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read whether this host is in a cluster, and what it knew of it."""
        listing = await self._settings_records.list()
        self.settings = next(iter(listing.values), None)
        own = await self._own_records.list()
        self._own = {block.key: block for block in own.values}

    async def attach(self, store: Store) -> ClusterRuntime:
        """Build the parts for the settings that there are; they begin with what was known last."""
        assert self.settings is not None
        self.runtime = ClusterRuntime(
            settings=self.settings, store=store, local=self._local, ties=self._ties(), clock=self._clock
        )
        await self.runtime.load()
        # What is ours is kept at once, what the cluster said a little later: a kill may come in between.
        known = self.runtime.mirror.blocks
        known.prefill({key: block for key, block in self._own.items() if known.get(key) is None})
        await self.seal.open()
        self._filed.clear()
        self._blocks.clear()
        self._file_blocks(TableChange(put=self.runtime.mirror.blocks.live()))
        for network in self._state.networks.values():
            if network.scope is Scope.GLOBAL:
                self._limit(network.id)
        return self.runtime

    async def adopt_settings(self, settings: ClusterSettings) -> None:
        """Keep settings: from now on this host is in a cluster."""
        await self._settings_records.put("own", settings, expecting=None)
        self.settings = settings

    async def forget(self) -> None:
        """Forget the cluster, and the networks that were its."""
        assert self.settings is not None
        await self.seal.close()
        if self.runtime is not None:
            await self.runtime.forget()
        self.runtime = None
        self.settings = None
        for network in list(self._state.networks.values()):
            if network.scope is Scope.GLOBAL:
                await self._drop_network(network)
        self._own.clear()
        self._filed.clear()
        self._blocks.clear()
        await self._local.commit([DeletePrefix("own-blocks/"), DeletePrefix("cluster-settings/")])

    def _ties(self) -> Ties:
        return Ties(
            describe=self.describe,
            desired=self.desired,
            limit=self._limit,
            in_use=self._in_use,
            exclusively=self._addresses.exclusively,
            kept=lambda: self._own,
            forget=self._forget_block,
            readdress=self._readdress,
            save_epoch=self._save_epoch,
            listen=self._listen,
        )

    def require(self) -> ClusterRuntime:
        """Return the runtime; NotFound on a host that is in no cluster."""
        if self.runtime is None:
            raise NotFound(
                "this host is in no cluster",
                remedy="make one with `carrick cluster init`, or join one with `carrick join HOST --token …`",
            )
        return self.runtime

    def me(self) -> NodeRecord:
        """Return this node's record, as the cluster has it or will have it."""
        assert self.settings is not None
        return self.require().mirror.nodes.get(self.settings.node) or self.describe()

    # What this node says ---------------------------------------------------------------------

    def describe(self) -> NodeRecord:
        """Return this node's record as it should be."""
        assert self.settings is not None
        settings, sealed = self.settings, self.seal.device
        underlays = self._underlays(settings)
        address = underlays[0].address if underlays else ""
        shown = f"[{address}]" if ":" in address else address
        return NodeRecord(
            settings.node,
            settings.name,
            settings.epoch,
            underlays,
            api=f"{shown}:{settings.api_port}" if shown else "",
            version=self._version,
            transports=("vxlan", "direct", "wireguard") if sealed else ("vxlan", "direct"),
            wireguard_key=sealed.public_key if sealed else "",
            wireguard_port=sealed.port if sealed else 0,
        )

    def desired(self) -> Mapping[str, RemoteEndpoint]:
        """Return our endpoints on global networks whose addresses are ours for certain."""
        assert self.settings is not None
        found: dict[str, RemoteEndpoint] = {}
        for sandbox in self._state.sandboxes.values():
            record = self._state.occupant(sandbox)
            if not sandbox.active or record is None:
                continue
            for endpoint in sandbox.endpoints:
                network = self._state.networks.get(endpoint.network_id)
                if network is None or network.scope is not Scope.GLOBAL:
                    continue
                addresses = [item for item in (endpoint.ipv4_address, endpoint.ipv6_address) if item]
                if not all(self._addresses.is_ours(network, item) for item in addresses):
                    continue
                said = RemoteEndpoint(
                    endpoint.id,
                    network.id,
                    self.settings.node,
                    record.container_id,
                    record.name,
                    endpoint.mac_address,
                    endpoint.ipv4_address,
                    endpoint.ipv6_address,
                    endpoint.dns_names,
                    record.engine,
                )
                found[said.key] = said
        return found

    async def rotate_key(self) -> str:
        """Put a new WireGuard key in the old one's place; return the public one once the cluster has it.

        Unavailable, with the old key as before, if the cluster's store cannot be told.
        """
        runtime, settings = self.require(), self.settings
        assert settings is not None
        nodes = runtime.mirror.nodes
        # While the store is away nobody could learn it. Whether it is there is asked first.
        runtime.membership.condition()
        await runtime.records.nodes.get(settings.node)

        def is_known(key: str) -> bool:
            seen = nodes.get(settings.node)
            return seen is not None and seen.wireguard_key == key

        async def publish(key: str) -> None:
            runtime.membership.notice()
            try:
                async with asyncio.timeout(_PUBLISH_S):
                    await nodes.wait_for(lambda: is_known(key))
            except TimeoutError:
                raise Unavailable(
                    runtime.mirror.problem
                    or "the cluster's store did not take the new WireGuard key in time",
                    remedy="try again when it answers",
                ) from None

        try:
            return await self.seal.rotate(self._follow_nodes, publish)
        finally:
            runtime.membership.notice()

    async def _rotate_keys(self) -> None:
        while True:
            await self._clock.sleep(self._random.uniform(0.2, 1.0) * _KEY_LOOK_S)
            if self.seal.is_due and self.runtime is not None and not self.runtime.mirror.problem:
                try:
                    await self.rotate_key()
                except CarrickError as error:
                    _log.warning("this node's WireGuard key stays for now: %s", error)

    def notice(self) -> None:
        """Something about our endpoints changed."""
        if self.runtime is not None:
            self.runtime.publisher.notice()

    def notice_host(self) -> None:
        """The host's addresses may have changed."""
        if self.runtime is not None:
            self.runtime.membership.notice()

    # Addresses -------------------------------------------------------------------------------

    async def provide(self, network: Network, owner: str, settings: EndpointSettings) -> None:
        """See to it that a container can be given an address: claim a block where none of ours has one."""
        if network.scope is not Scope.GLOBAL:
            return
        runtime = self.require()
        asked = {4: settings.ipv4_address, 6: settings.ipv6_address}
        for config in network.pools:
            version = config.version
            if self._addresses.needs_block(network, version, owner, asked[version]):
                await self._addresses.release_foreign(network, version, owner)
                await runtime.blocks.claim(network, version, self._addresses.parse(asked[version]))
                await self.settled()

    def _limit(self, network_id: NetworkId) -> None:
        network = self._state.networks.get(network_id)
        if self.runtime is None:
            return
        for version in (4, 6):
            own = self.runtime.blocks.own(network_id, version)
            for block in own.usable:
                if self._own.get(block.key) != block:
                    self._own[block.key] = block
                    self._dirty_own[block.key] = block
            if network is not None:
                self._addresses.limit(network, version, own.prefixes, self._reserved(network, own.prefixes))
        self._work.set()
        self.runtime.publisher.notice()

    def _reserved(self, network: Network, blocks: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
        if network.driver not in self._drivers:
            return ()
        driver: object = self._drivers.get(network.driver)
        if not isinstance(driver, Reserving):
            return ()
        return tuple(prefix for block in blocks for prefix in driver.reserved(network, block))

    def _forget_block(self, block: Block) -> None:
        self._own.pop(block.key, None)
        self._dirty_own[block.key] = None
        self._work.set()

    def _in_use(self, network_id: NetworkId) -> Mapping[str, int]:
        network = self._state.networks.get(network_id)
        if network is None or self.runtime is None:
            return {}
        prefixes: list[Prefix] = []
        for version in (4, 6):
            prefixes += self.runtime.blocks.own(network_id, version).prefixes
        return self._addresses.in_use(network, prefixes)

    async def _save_epoch(self, epoch: int) -> None:
        assert self.settings is not None
        await self.adopt_settings(replace(self.settings, epoch=epoch))

    # What others say -------------------------------------------------------------------------

    def _driver_view(self) -> DriverView | None:
        runtime = self.runtime
        if runtime is None or self.settings is None:
            return None
        mirror = runtime.mirror
        return DriverView(
            me=self.me(),
            nodes=cast("Mapping[NodeId, NodeRecord]", mirror.nodes.live()),
            blocks=self._blocks,
            endpoints={network_id: table.live() for network_id, table in mirror.endpoints.items()},
            path_mtus=self.paths.mtus(),
            recalled=self._recalled(),
        )

    def _recalled(self) -> frozenset[NetworkId]:
        """Return the networks of which the cluster has not said yet, in this life, what is elsewhere."""
        mirror = self.require().mirror
        heard = mirror.nodes.is_loaded and mirror.blocks.is_loaded
        return frozenset(key for key, table in mirror.endpoints.items() if not (heard and table.is_loaded))

    async def _settle(self) -> None:
        """Once the cluster has said what there is, take away what is left of an earlier life."""
        if self._recalled():
            await self.require().mirror.ready()
            while self._recalled():
                await self._clock.sleep(_RECALL_S)
        self._paths_changed()

    async def _follow_owners(self) -> None:
        while True:
            await self._clock.sleep(_OWNERS_S)
            if self._owners_changed:
                self._replanned |= self._owners_changed
                self._owners_changed.clear()
                self._idle.clear()
                self._work.set()

    def stands(self, network: Network) -> bool:
        """Tell whether a network is to be on this host now: containers are on it, or it is lent."""
        return self._presence.stands(network)

    def is_lent(self, network: Network) -> bool:
        """Tell whether a bridge of another engine here has a part of a network."""
        return self._presence.is_lent(network.id)

    def ways(self) -> dict[NodeId, list[tuple[Network, Way]]]:
        """Return how packets get to each other node, network by network that stands here."""
        found: dict[NodeId, list[tuple[Network, Way]]] = {}
        for network in sorted(self._state.networks.values(), key=lambda item: item.name):
            if network.scope is not Scope.GLOBAL or not self._presence.stands(network):
                continue
            driver: object = self._drivers.get(network.driver)
            if isinstance(driver, Explaining):
                for way in driver.ways(network, self._host.view):
                    found.setdefault(way.node.id, []).append((network, way))
        return found

    async def traffic(self, ways: Mapping[NodeId, list[tuple[Network, Way]]]) -> Mapping[NodeId, Sums]:
        """Return the bytes to and from each other node, by the `ways` there are to it."""
        nodes = cast("Mapping[NodeId, NodeRecord]", self.require().mirror.nodes.live())
        reached = [
            Reached(
                node,
                tuple(
                    str(block.network.network_address)
                    for network, way in ways.get(node.id, ())
                    if way.plain
                    for block in self._blocks.get(network.id, ())
                    if block.node == node.id
                ),
            )
            for node in list(nodes.values())
            if node.id != self.me().id
        ]
        device = self.seal.device
        peers = device.state.peers if device is not None and device.state is not None else ()
        sealed = {item.peer.public_key: item for item in peers}
        return self._traffic.add(await self._traffic.read(self._host.view.table), sealed, reached)

    def _partners(self) -> set[NodeId]:
        """Return the nodes that have endpoints on networks that stand here."""
        tables = self.runtime.mirror.endpoints.values() if self.runtime else ()
        return {endpoint.node for table in tables for endpoint in table.values()}

    def _paths_changed(self) -> None:
        """A way takes packets of another size than was thought: networks are planned anew."""
        self._nodes_changed = True
        self._idle.clear()
        self._work.set()

    async def _watch(self, network_id: NetworkId) -> None:
        if self.runtime is None:
            return
        self._resting.pop(network_id, None)
        table = self.runtime.mirror.want_endpoints(network_id)
        if self.runtime.mirror.problem or not self.runtime.mirror.is_running:
            return  # at the daemon's start it is what was said last that networks begin with
        try:
            async with asyncio.timeout(_FIRST_LOOK_S):
                await table.wait_for(lambda: table.is_loaded)
        except TimeoutError:
            _log.warning("network %s starts without knowing what is elsewhere on it", network_id[:12])

    async def _unwatch(self, network_id: NetworkId) -> None:
        """Let a network's endpoints go a while after its last one here, and never while the store is away: a
        container that is started again then is to find the others'."""
        if self.runtime is not None:
            self._resting[network_id] = self._clock.monotonic()

    async def _drop_rested(self) -> None:
        while True:
            await self._clock.sleep(_REST_S / 2)
            runtime, before = self.require(), self._clock.monotonic() - _REST_S
            for network_id in [key for key, since in self._resting.items() if since <= before]:
                if not runtime.mirror.problem:
                    del self._resting[network_id]
                    await runtime.mirror.drop_endpoints(network_id)

    def _listen(self, table: Table[Any], change: TableChange[Any]) -> None:
        assert self.runtime is not None
        mirror = self.runtime.mirror
        if table is mirror.networks:
            self._network_changes |= {NetworkId(key): item for key, item in change.put.items()}
            self._network_changes |= {NetworkId(key): None for key in change.gone}
        elif table is mirror.blocks:
            self._file_blocks(change)
            self._note_owners((*change.put.values(), *change.gone.values()))
        elif table is mirror.nodes:
            self._nodes_changed = True
            self.paths.notice()
        elif table not in (mirror.alive, mirror.lost, mirror.timers):
            self._note_endpoints(change)
        else:
            return
        self._idle.clear()
        self._work.set()

    def _note_owners(self, blocks: Iterable[Block]) -> None:
        """Routes go by blocks. Of an overlay's rows only one does, and it has time."""
        assert self.settings is not None
        for block in blocks:
            network = self._state.networks.get(block.network_id)
            if network is not None and network.driver != "overlay":
                self._nodes_changed = True
            elif network is not None and block.node != self.settings.node:
                self._owners_changed.add(network.id)

    def _note_endpoints(self, change: TableChange[RemoteEndpoint]) -> None:
        assert self.settings is not None
        for kind, records in (("put", change.put), ("gone", change.gone)):
            for key, endpoint in records.items():
                if endpoint.node == self.settings.node:
                    continue
                put, gone = self._endpoint_changes.setdefault(endpoint.network_id, ({}, {}))
                put.pop(key, None)
                (put if kind == "put" else gone)[key] = endpoint

    def _file_blocks(self, change: TableChange[Block]) -> None:
        changed: set[NetworkId] = set()
        for key, block in (*change.gone.items(), *change.put.items()):
            filed = self._filed.setdefault(block.network_id, {})
            filed.pop(key, None)
            if key in change.put and block.state is BlockState.CONFIRMED:
                filed[key] = block
            changed.add(block.network_id)
        for network_id in changed:
            self._blocks[network_id] = tuple(self._filed[network_id].values())
            if not self._filed[network_id]:
                del self._filed[network_id], self._blocks[network_id]

    async def run(self) -> None:
        """Take over what others say, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._take_over()
            except CarrickError as error:
                _log.error("taking over what the cluster says: %s", error)
            if not self._work.is_set():
                self._idle.set()

    async def settled(self) -> None:
        """Return once all that the mirror has shown is taken over."""
        await self._idle.wait()

    async def _take_over(self) -> None:
        own, self._dirty_own = self._dirty_own, {}
        if own:
            await self._local.commit(
                [
                    self._own_records.deleting(key)
                    if block is None
                    else self._own_records.putting(key, block)
                    for key, block in own.items()
                ]
            )
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
            await self._follow_nodes(None if nodes_changed else replanned)
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
        if self._presence.stands(network) and self.runtime is not None:
            _log.warning("network %s was removed while it is in use here: it is put back", network.name)
            try:
                await self.put_back(network)
            except CarrickError as error:
                _log.error("network %s cannot be put back: %s", network.name, error)
            return
        await self._drop_network(network)

    async def _drop_network(self, network: Network) -> None:
        write = Write(gone_networks=[network.id])
        async with self._addresses.transaction(write) as transaction:
            write.sandboxes += [
                replace(sandbox, endpoints=tuple(e for e in sandbox.endpoints if e.network_id != network.id))
                for sandbox, _ in self._state.endpoints_on(network.id)
            ]
            self._addresses.tear_down(network, transaction)
        for error in await self._presence.release([network]):
            _log.warning("taking network %s off this host: %s", network.name, error)
        for key in [key for key, block in self._own.items() if block.network_id == network.id]:
            del self._own[key]
            self._dirty_own[key] = None
            self._work.set()

    async def _follow_nodes(self, only: set[NetworkId] | None = None) -> None:
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
                self._work.set()
                await self._clock.sleep(0.2)

    async def _apply(self, steps: tuple[Step, ...]) -> None:
        await self._kernel.apply([step for step in steps if not isinstance(step, _REMOVALS)])
        for error in await self._kernel.remove([step for step in steps if isinstance(step, _REMOVALS)]):
            _log.info("removing what is not there any more: %s", error)

    def remote_endpoints(self, network_id: NetworkId) -> list[RemoteEndpoint]:
        """Return the endpoints of a network on other nodes, as far as they are watched here."""
        if self.runtime is None or self.settings is None:
            return []
        table = self.runtime.mirror.endpoints.get(network_id)
        mine = self.settings.node
        return [item for item in table.values() if item.node != mine] if table else []

    async def live(self) -> None:
        """Run the parts and the worker until cancelled; a bug ends all of them, and all begin again."""
        runtime = self.require()
        while True:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(runtime.run(), name="cluster")
                    group.create_task(self.run(), name="cluster worker")
                    group.create_task(self._drop_rested(), name="cluster rest")
                    group.create_task(self._follow_owners(), name="cluster owners")
                    group.create_task(self._settle(), name="cluster settles")
                    group.create_task(self._rotate_keys(), name="cluster keys")
                    group.create_task(self.paths.run(), name="cluster paths")
            except* Exception:
                _log.exception("the cluster part failed; it begins again in %g s", _BEGIN_AGAIN_S)
            await self._clock.sleep(_BEGIN_AGAIN_S)


async def _cannot_put_back(network: Network) -> None:
    raise Unavailable(f"network {network.name} cannot be written")
