"""The link: what ties this node's networks, containers and addresses to the cluster's records.

It holds the membership while it lasts, and what this node says of itself: its record (`describe`), its
endpoints (`desired`), the blocks that are its own. What it does about what others say is the follower's.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from ...domains.ipam import Prefix
from ...drivers.contract import ClusterView as DriverView
from ...drivers.contract import Explaining, Reserving, Way
from ...drivers.registry import DriverRegistry
from ...host.kernel import Kernel
from ...host.store.contract import DeletePrefix, Store
from ...host.store.typed import Collection
from ...model.cluster import Block, ClusterSettings, NodeId, NodeRecord, RemoteEndpoint, Underlay
from ...model.errors import NotFound
from ...model.ids import NetworkId
from ...model.networks import EndpointSettings, Network, Scope
from ..addresses import Addresses
from ..clock import Clock
from ..host import Host
from ..names import NameService
from ..presence import Presence
from ..state import State
from .following import Follower
from .paths import PathWatch, Prober
from .runtime import ClusterRuntime, Ties
from .sealing import KeyRotation, SealService
from .traffic import PeerTraffic, Reached, Sums

_log = logging.getLogger(__name__)
_BEGIN_AGAIN_S = 5.0


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
        self._host = host
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
        self._traffic = PeerTraffic(kernel)
        self.follower = Follower(
            state=state,
            addresses=addresses,
            drivers=drivers,
            kernel=kernel,
            host=host,
            names=names,
            presence=presence,
            clock=clock,
            limit=self._limit,
            write_own=self._write_own,
            disown=self._disown,
        )
        self._keys = KeyRotation(seal, clock, self.follower.plan_anew)
        self.paths = PathWatch(
            prober=prober,
            clock=clock,
            me=self.me,
            nodes=lambda: cast("Mapping[NodeId, NodeRecord]", self.require().mirror.nodes.live()),
            wanted=self.follower.partners,
            changed=self.follower.paths_changed,
        )
        self.follower.on_nodes = self.paths.notice
        host.cluster = self._driver_view
        presence.watch = self.follower.watch
        presence.unwatch = self.follower.unwatch
        presence.seal = seal.ensure
        presence.unseal = seal.rest
        host.sealed = lambda: seal.device
        host.look = seal.look
        seal.on_restart = self.follower.plan_anew
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
        self.follower.begin(self.runtime.mirror, self.settings.node)
        await self.runtime.load()
        # What is ours is kept at once, what the cluster said a little later: a kill may come in between.
        known = self.runtime.mirror.blocks
        known.prefill({key: block for key, block in self._own.items() if known.get(key) is None})
        await self.seal.open()
        self.follower.file_blocks()
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
        self.follower.end()
        for network in list(self._state.networks.values()):
            if network.scope is Scope.GLOBAL:
                await self.follower.drop_network(network)
        self._own.clear()
        self._dirty_own.clear()
        await self._local.commit([DeletePrefix("own-blocks/"), DeletePrefix("cluster-settings/")])

    async def live(self) -> None:
        """Run the parts and the worker until cancelled; a bug ends all of them, and all begin again."""
        runtime = self.require()
        while True:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(runtime.run(), name="cluster")
                    group.create_task(self.follower.run(), name="cluster follower")
                    group.create_task(self._keys.run(runtime), name="cluster keys")
                    group.create_task(self.paths.run(), name="cluster paths")
            except* Exception:
                _log.exception("the cluster part failed; it begins again in %g s", _BEGIN_AGAIN_S)
            await self._clock.sleep(_BEGIN_AGAIN_S)

    async def settled(self) -> None:
        """Return once all that the mirror has shown is taken over."""
        await self.follower.settled()

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
            listen=self.follower.listen,
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

    def notice(self) -> None:
        """Something about our endpoints changed."""
        if self.runtime is not None:
            self.runtime.publisher.notice()

    def notice_host(self) -> None:
        """The host's addresses may have changed."""
        if self.runtime is not None:
            self.runtime.membership.notice()

    async def rotate_key(self) -> str:
        """Put a new WireGuard key in the old one's place, as `KeyRotation.rotate` does."""
        return await self._keys.rotate(self.require())

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
        self.follower.wake()
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
        self.follower.wake()

    def _disown(self, network_id: NetworkId) -> None:
        for block in [block for block in self._own.values() if block.network_id == network_id]:
            self._forget_block(block)

    async def _write_own(self) -> None:
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

    # How others are reached ------------------------------------------------------------------

    def _driver_view(self) -> DriverView | None:
        runtime = self.runtime
        if runtime is None or self.settings is None:
            return None
        mirror = runtime.mirror
        return DriverView(
            me=self.me(),
            nodes=cast("Mapping[NodeId, NodeRecord]", mirror.nodes.live()),
            blocks=self.follower.blocks,
            endpoints={network_id: table.live() for network_id, table in mirror.endpoints.items()},
            path_mtus=self.paths.mtus(),
            recalled=self.follower.recalled(),
        )

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
                    for block in self.follower.blocks.get(network.id, ())
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
