"""Being in a cluster, as doors ask for it: founding, joining, leaving, and looking at nodes and peers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...domains.membership import LifeStatus, status_of
from ...drivers.contract import Way
from ...host.store.contract import StaleRevision, Store
from ...host.store.typed import Undecodable
from ...model.cluster import BlockState, ClusterSettings, NodeId, NodeRecord, NodeState, Underlay
from ...model.errors import CarrickError, Conflict, Denied, InvalidRequest, NotFound, Unavailable
from ...model.networks import Network, Scope
from ..clock import Clock
from ..state import State
from ..tasks import TaskOwner
from .link import ClusterLink
from .runtime import ClusterRuntime
from .traffic import Sums
from .values import (
    Admission,
    Admitted,
    ClusterView,
    InitCluster,
    JoinCluster,
    NodeView,
    PeerView,
    UpdateNode,
)

if TYPE_CHECKING:
    from .joining import Joining

_log = logging.getLogger(__name__)
_JOIN_TIMEOUT_S = 30.0
_UNDO_TIMEOUT_S = 5.0


class ClusterService:
    """Implements `contract.Cluster`. `underlays` gives this host's addresses by what was asked for."""

    def __init__(
        self,
        *,
        link: ClusterLink,
        state: State,
        tasks: TaskOwner,
        clock: Clock,
        directory: Path,
        version: str,
        host_name: str,
        underlays: Callable[[str], tuple[Underlay, ...]],
        open_store: Callable[[ClusterSettings], Store] | None = None,
    ) -> None:
        self._link = link
        self._state = state
        self._tasks = tasks
        self._clock = clock
        self._directory = directory
        self._version = version
        self._host_name = host_name
        self._underlays = underlays
        self._open_store = open_store
        self._made: Joining | None = None
        self._changing = asyncio.Lock()
        self._lives: list[asyncio.Task[None]] = []
        self.on_member: Callable[[ClusterSettings | None], Awaitable[None]] = _nobody
        """Is told of a membership that begins, and (None) of its end: the node API serves as long."""
        self.on_renewed: Callable[[Admitted], Awaitable[None]] = _nothing
        self.guard: Callable[[], Awaitable[None]] = _unguarded
        """Has the firewall know that this host is, or no longer is, in a cluster."""

    @property
    def joining(self) -> "Joining":
        """Return the way into clusters; what it needs is imported only by hosts that go it."""
        if self._made is None:
            from .joining import Joining

            self._made = Joining(
                directory=self._directory,
                clock=self._clock,
                version=self._version,
                open_store=self._open_store,
            )
        return self._made

    # Life ------------------------------------------------------------------------------------

    async def load(self) -> None:
        """At start, before anything of the network is made: take up the membership that there is."""
        await self._link.load()
        if self._link.settings is None and not any(self._directory.parent.glob(f"{self._directory.name}*")):
            return
        settings = await self.joining.recover(self._link.settings)
        if settings is None:
            if self._link.settings is not None:
                await self._link.forget()
            return
        if settings != self._link.settings:
            await self._link.adopt_settings(settings)
        await self._attach(settings)

    async def start(self) -> None:
        """Run the parts, if this host is in a cluster. The store may come later."""
        runtime, settings = self._link.runtime, self._link.settings
        if runtime is None or settings is None:
            return
        self._lives = [
            self._tasks.start(self._link.live(), "cluster"),
            self._tasks.start(self.joining.run(runtime.records, settings, self.on_renewed), "certificate"),
        ]
        await self.on_member(settings)

    async def _attach(self, settings: ClusterSettings) -> ClusterRuntime:
        runtime = await self._link.attach(self.joining.open_store(settings))
        from .claims import check_same

        runtime.mirror.verify = partial(check_same, runtime.records, settings)
        return runtime

    async def _enter(self, settings: ClusterSettings) -> ClusterView:
        """Begin the membership that has been prepared; wait until the cluster knows of it."""
        await self._link.adopt_settings(settings)
        runtime = await self._attach(settings)
        try:
            await self.guard()
            await self.start()
            async with asyncio.timeout(_JOIN_TIMEOUT_S):
                await runtime.mirror.ready()
                await runtime.membership.joined()
                nodes = runtime.mirror.nodes
                await nodes.wait_for(lambda: nodes.get(settings.node) is not None)
                await self._link.settled()
        except TimeoutError:
            problem = runtime.mirror.problem or "it does not answer"
            await self._undo(settings)
            raise Unavailable(
                f"the cluster's store let this node in, and then was away: {problem}",
                remedy="try again when it answers",
            ) from None
        except BaseException:
            await self._undo(settings)
            raise
        return await self.get()

    async def _undo(self, settings: ClusterSettings) -> None:
        """Take back a membership that did not come about, as far as the store lets us."""
        runtime = self._link.require()
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_UNDO_TIMEOUT_S):
                    await stack.enter_async_context(runtime.membership.at_rest())
                    await self.joining.withdraw(runtime.records, settings)
                    with suppress(NotFound):
                        await runtime.sweeper.evict(settings.node, at_once=True)
                    await self.joining.dissolve(runtime.records)
            except (TimeoutError, CarrickError) as error:
                _log.warning("what was written of cluster %s stays in its store: %s", settings.cluster, error)
            await self._exit()

    async def _exit(self) -> None:
        runtime = self._link.runtime
        await self.on_member(None)
        for task in self._lives:
            task.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        self._lives = []
        if runtime is not None:
            await runtime.store.aclose()
        # The files first: they say whether this host is in a cluster, to a daemon that starts after a kill.
        await self.joining.forget()
        await self._link.forget()
        await self.guard()

    # Founding, joining, leaving --------------------------------------------------------------

    async def init(self, request: InitCluster) -> ClusterView:
        async with self._changing:
            self._refuse_if_member()
            underlay = self._underlay(request.address)
            settings = await self.joining.found(request, request.name or self._host_name, underlay)
            return await self._enter(settings)

    async def join(self, request: JoinCluster) -> ClusterView:
        async with self._changing:
            self._refuse_if_member()
            underlay = self._underlay(request.address)
            settings = await self.joining.join(request, request.name or self._host_name, underlay)
            return await self._enter(settings)

    def _underlay(self, asked: str) -> Underlay:
        found = self._underlays(asked)
        if not found:
            raise InvalidRequest(
                "this host has no address that others could reach it by", remedy="name one with --address"
            )
        return found[0]

    def _refuse_if_member(self) -> None:
        if self._link.settings is not None:
            raise Conflict(
                f"this host is in cluster {self._link.settings.cluster} already",
                remedy="leave it first: carrick leave",
            )

    async def recover(self) -> int:
        """Write the cluster again to a store that has lost it; return how many records that were."""
        from .recovery import recover

        async with self._changing:
            runtime, settings = self._link.require(), self._link.settings
            assert settings is not None
            count = await recover(
                runtime.records,
                runtime.mirror,
                settings,
                self._clock.now_ns(),
                has_authority=self.joining.has_authority,
            )
            _log.warning("cluster %s is recovered: %d records are written again", settings.cluster, count)
            runtime.membership.notice()
            return count

    async def rotate_key(self) -> str:
        """Put a new WireGuard key in this node's old one's place; return the public one."""
        return await self._link.rotate_key()

    async def leave(self, *, force: bool = False) -> None:
        async with self._changing:
            runtime = self._link.require()
            settings = self._link.settings
            assert settings is not None
            used = [
                network.name
                for network in self._state.networks.values()
                if network.scope is Scope.GLOBAL
                and any(sandbox.active for sandbox, _ in self._state.endpoints_on(network.id))
            ]
            if used:
                raise Conflict(
                    f"containers here are on the cluster's networks: {', '.join(sorted(used))}",
                    remedy="stop them, or disconnect them: carrick network disconnect",
                )
            lent = [network.name for network in self._state.networks.values() if self._link.is_lent(network)]
            if lent:
                raise Conflict(
                    f"bridges of other engines here have blocks of networks: {', '.join(sorted(lent))}",
                    remedy="give them back: carrick flannel release NETWORK",
                )
            others = [node for node in runtime.mirror.nodes.live() if node != settings.node]
            if settings.own_etcd and others and not force:
                raise Conflict(
                    "the cluster's store runs on this node, and others use it",
                    remedy="let the others leave first, or use --force and end the cluster for all",
                )
            async with runtime.membership.at_rest():
                try:
                    await self.joining.withdraw(runtime.records, settings)
                    await runtime.sweeper.evict(settings.node, at_once=True)
                    await self.joining.dissolve(runtime.records)
                except (Unavailable, NotFound) as error:
                    if not force and isinstance(error, Unavailable):
                        raise
                    _log.warning("leaving without the cluster's store: %s", error)
                await self._exit()

    # Tokens and admission --------------------------------------------------------------------

    async def token(self, ttl_s: float, uses: int = 0) -> str:
        return await self.joining.token(self._link.require().records, ttl_s, uses)

    async def admit(self, request: Admission) -> Admitted:
        records = self._link.require().records
        assert self._link.settings is not None
        return await self.joining.admit(records, self._link.settings, request)

    async def renew(self, node: NodeId, certificate_request: str) -> Admitted:
        runtime = self._link.require()
        assert self._link.settings is not None
        if runtime.mirror.nodes.get(node) is None:
            raise Denied(f"node {node} is not in this cluster", remedy="let it join again")
        return await self.joining.renew(self._link.settings, node, certificate_request)

    # What the node API asks ------------------------------------------------------------------

    @property
    def cluster_id(self) -> str:
        return self._link.settings.cluster if self._link.settings else ""

    @property
    def node_id(self) -> str:
        return self._link.settings.node if self._link.settings else ""

    @property
    def has_authority(self) -> bool:
        return self.joining.has_authority

    def is_member(self, node: str) -> bool:
        """Tell whether a node has a record that is not gone, as far as this node has seen."""
        record = self._link.runtime.mirror.nodes.get(node) if self._link.runtime else None
        return record is not None and record.state is not NodeState.GONE

    # Looking ---------------------------------------------------------------------------------

    async def get(self) -> ClusterView:
        runtime, settings = self._link.require(), self._link.settings
        assert settings is not None
        return ClusterView(
            id=settings.cluster,
            node=settings.node,
            name=settings.name,
            endpoints=settings.endpoints,
            node_count=len(runtime.mirror.nodes),
            problem="; ".join(filter(None, self.trouble())),
            own_etcd=settings.own_etcd,
            has_authority=self.joining.has_authority,
            certificate_ends_ns=self.joining.certificate_ends_ns(),
        )

    def trouble(self) -> tuple[str, str]:
        """Return what keeps this node from the cluster's store, and what can be done about it."""
        return self._link.require().membership.trouble()

    def unreadable(self) -> Sequence[Undecodable]:
        """Return the records of the cluster's store that nobody here can read; none without a cluster."""
        return self._link.runtime.mirror.broken if self._link.runtime is not None else ()

    async def nodes(self) -> list[NodeView]:
        mirror = self._link.require().mirror
        return [self._view(node) for node in sorted(mirror.nodes.values(), key=_name)]

    async def node(self, reference: str) -> NodeView:
        return self._view(self._find(reference))

    def _find(self, reference: str) -> NodeRecord:
        nodes = self._link.require().mirror.nodes.live()
        if (exact := nodes.get(reference)) is not None:
            return exact
        for matching in (
            [node for node in nodes.values() if node.name == reference],
            [node for node in nodes.values() if reference and node.id.startswith(reference)],
        ):
            if len(matching) > 1:
                raise InvalidRequest(f"{len(matching)} nodes are called {reference}", remedy="use the id")
            if matching:
                return matching[0]
        raise NotFound(f"node {reference} not found", remedy="carrick node ls shows them")

    def _view(self, record: NodeRecord) -> NodeView:
        runtime, settings = self._link.require(), self._link.settings
        assert settings is not None
        mirror = runtime.mirror
        alive = {NodeId(key): sign for key, sign in mirror.alive.live().items()}
        blocks = tuple(
            block
            for block in mirror.blocks.values()
            if block.node == record.id and block.state is BlockState.CONFIRMED
        )
        if record.id == settings.node:
            count = len(self._link.desired())
        else:
            count = sum(
                item.node == record.id for table in mirror.endpoints.values() for item in table.values()
            )
        return NodeView(record, status_of(record, alive).value, record.id == settings.node, blocks, count)

    async def peers(self) -> list[PeerView]:
        views = await self.nodes()
        me = self._link.me()
        family = me.underlays[0].version if me.underlays else 4
        await self._link.seal.look()
        ways = self._link.ways()
        traffic = await self._link.traffic(ways)
        return [
            self._peer(view, family, ways.get(view.record.id, []), traffic.get(view.record.id, Sums()))
            for view in views
            if not view.is_self
        ]

    def _peer(
        self,
        view: NodeView,
        family: int,
        ways: list[tuple[Network, Way]],
        traffic: Sums,
    ) -> PeerView:
        node, found = view.record, self._link.paths.found
        path = found.get(node.id)
        if node.underlay(family) is None:
            problem = f"it has no IPv{family} underlay address"
        elif view.status != LifeStatus.READY:
            problem = "it gives the cluster's store no sign of life"
        elif node.id in found and path is None:
            problem = "it does not answer ICMP echo"
        elif path is not None and not path.mtu:
            problem = "small packets get through, and none of the size that IP asks for"
        else:
            problem = ""
        all_counted = all(way.counted for _, way in ways)
        return PeerView(
            node,
            view.status,
            ", ".join(dict.fromkeys(way.transport for _, way in ways)) or "none",
            "; ".join(f"{network.name}: {way.why}" for network, way in ways) or "no network here needs it",
            encrypted=bool(ways) and all(way.encrypted for _, way in ways),
            bytes_sent=traffic.sent if all_counted else None,
            bytes_received=traffic.received if all_counted else None,
            verified_mtu=path.mtu if path else 0,
            rtt_ms=path.rtt_ms if path else None,
            problem=problem,
        )

    # Changing --------------------------------------------------------------------------------

    async def update_node(self, reference: str, request: UpdateNode) -> None:
        record = self._find(reference)
        runtime, settings = self._link.require(), self._link.settings
        assert settings is not None
        if request.address is not None:
            if record.id != settings.node:
                raise InvalidRequest(
                    f"the address of {record.name} can only be changed there",
                    remedy=f"on {record.name}: carrick node update --address …",
                )
            self._underlay(request.address)
            await self._link.adopt_settings(replace(settings, address=request.address))
            runtime.membership.notice()
        if request.drain is None and request.labels is None:
            return
        for _ in range(5):
            found = await runtime.records.nodes.get(record.id)
            if found is None or found.value.state is NodeState.GONE:
                raise NotFound(f"node {reference} not found")
            wanted = found.value
            if request.drain is not None:
                wanted = replace(wanted, state=NodeState.DRAINING if request.drain else NodeState.ACTIVE)
            if request.labels is not None:
                wanted = replace(wanted, labels=dict(request.labels))
            try:
                await runtime.records.nodes.put(record.id, wanted, expecting=found.revision)
                return
            except StaleRevision:
                continue
        raise Unavailable(f"the record of node {record.name} keeps changing", remedy="try again")

    async def remove_node(self, reference: str, *, force: bool = False) -> None:
        record = self._find(reference)
        settings = self._link.settings
        assert settings is not None
        if record.id == settings.node:
            raise InvalidRequest("this node removes itself with: carrick leave")
        if self._view(record).status == LifeStatus.READY and not force:
            raise Conflict(
                f"node {record.name} is alive",
                remedy=f"let it leave (on {record.name}: carrick leave), or use --force",
            )
        runtime = self._link.require()
        await self.joining.remove(runtime.records, record.id)
        await runtime.sweeper.evict(record.id, at_once=True)
        await runtime.mirror.nodes.wait_for(lambda: runtime.mirror.nodes.get(record.id) is None)


def _name(node: NodeRecord) -> tuple[str, str]:
    return (node.name, node.id)


async def _nobody(settings: ClusterSettings | None) -> None:
    """Nobody wants to know."""


async def _nothing(admitted: Admitted) -> None:
    """Nobody uses the certificate."""


async def _unguarded() -> None:
    """There is no firewall."""
