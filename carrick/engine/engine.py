"""The engine as doors see it: its services together, and its life from start to stop."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from .. import __version__
from ..drivers.registry import DriverRegistry
from ..host.cni import CniRunner
from ..host.config import Config
from ..host.kernel import Kernel
from ..host.lending import LendingHost
from ..host.plugins import Plugins
from ..host.portholder.contract import PortHolder
from ..host.probing import PathProber
from ..host.runtime.api import Runtime
from ..host.runtime.image_store import ImageStore
from ..host.runtime.volume_store import VolumeStore
from ..host.store.contract import Store
from ..model.cluster import Block, ClusterSettings, Underlay
from ..model.errors import CarrickError, InvalidRequest
from ..model.networks import EndpointSettings, Network, PoolConfig
from ..model.steps import Plan
from .addresses import Addresses
from .bridge_filter import BridgeFilter
from .clock import Clock, as_datetime
from .cluster.directory import NetworkDirectory
from .cluster.hooks import HookService
from .cluster.lending import LendingService
from .cluster.link import ClusterLink
from .cluster.paths import Prober
from .cluster.sealing import Seal, SealService
from .cluster.service import ClusterService
from .cluster.underlay import choose_underlays
from .committing import Committer
from .connections import ConnectionService
from .containers import ContainerService
from .delegation import Delegation
from .doctor import Doctor
from .events import EventBus
from .execs import ExecService
from .firewall import FirewallService
from .guests import GuestService
from .health import HealthService
from .host import Host
from .lifecycle import Lifecycle
from .mounts import VolumeMounts
from .names import NameService
from .networks import NetworkService
from .objects import ImageService, VolumeService
from .ports import PortService
from .presence import Presence
from .reconcile import Reconciler
from .sandboxes import SandboxService
from .shortcuts import ShortcutPolicy
from .state import State
from .surroundings import Surroundings
from .system import SystemService
from .tasks import TaskOwner
from .values import Created, CreateNetwork, Filters, NetworkView

_log = logging.getLogger(__name__)
_DRIFT_PAUSE_S = 0.3
_INSPECT_EVERY_S = 60.0


class NetworksDoor:
    """Networks and connections as one object, as doors want them."""

    def __init__(self, networks: NetworkService, connections: ConnectionService) -> None:
        self._networks = networks
        self._connections = connections

    async def create(self, request: CreateNetwork) -> Created:
        return await self._networks.create(request)

    async def plan(self, request: CreateNetwork) -> Plan:
        return await self._networks.plan(request)

    async def choose(self, request: CreateNetwork, avoid: Sequence[str] = ()) -> tuple[PoolConfig, ...]:
        return await self._networks.choose(request, avoid)

    def find(self, reference: str) -> Network:
        return self._networks.find(reference)

    async def get(self, reference: str) -> NetworkView:
        return await self._networks.get(reference)

    async def list(self, filters: Filters) -> list[NetworkView]:
        return await self._networks.list(filters)

    async def remove(self, reference: str) -> None:
        await self._networks.remove(reference)

    async def prune(self, filters: Filters) -> tuple[str, ...]:
        return await self._networks.prune(filters)

    async def connect(self, reference: str, container: str, settings: EndpointSettings) -> None:
        await self._connections.connect(reference, container, settings)

    async def disconnect(self, reference: str, container: str, *, force: bool = False) -> None:
        await self._connections.disconnect(reference, container, force=force)


class CarrickEngine:
    """Builds every service from the effects it is given; implements `contract.Engine`."""

    def __init__(
        self,
        *,
        config: Config,
        store: Store,
        kernel: Kernel,
        runtime: Runtime,
        images: ImageStore,
        volumes: VolumeStore,
        holder: PortHolder,
        drivers: DriverRegistry,
        clock: Clock,
        host_id: str,
        resolv_conf: Path = Path("/etc/resolv.conf"),
        prober: Prober | None = None,
        make_seal: Callable[[], Seal] | None = None,
        open_cluster_store: Callable[[ClusterSettings], Store] | None = None,
        cni: CniRunner | None = None,
        plugins: Plugins | None = None,
        resolver_is_up: Callable[[], bool] = lambda: True,
        holder_is_up: Callable[[], bool] = lambda: True,
    ) -> None:
        self._clock = clock
        self._runtime = runtime
        self._image_store = images
        self._tasks = TaskOwner()
        self._changed = asyncio.Event()
        self.state = State(store)
        self.names = NameService(default_network_names=config.default_network_names)
        self._bus = EventBus(clock)
        self._addresses = Addresses(self.state, clock)
        self._host = Host(kernel, config.name, resolv_conf)
        self._delegation = Delegation(
            store=store,
            state=self.state,
            drivers=drivers,
            kernel=kernel,
            clock=clock,
            tasks=self._tasks,
            cni=cni,
            plugins=plugins,
            cni_path=config.cni_path,
        )
        self._presence = Presence(
            table=config.name,
            state=self.state,
            drivers=drivers,
            kernel=kernel,
            host=self._host,
            names=self.names,
        )
        self.link = ClusterLink(
            state=self.state,
            local=store,
            addresses=self._addresses,
            drivers=drivers,
            kernel=kernel,
            host=self._host,
            names=self.names,
            presence=self._presence,
            clock=clock,
            version=__version__,
            seal=SealService(make_seal, self._tasks, key_lasts_s=config.key_lasts_days * 86400),
            prober=prober or PathProber(),
            underlays=self._underlays,
            readdress=self._readdress,
        )
        self._network_service = NetworkService(
            config=config,
            state=self.state,
            addresses=self._addresses,
            drivers=drivers,
            kernel=kernel,
            host=self._host,
            names=self.names,
            events=self._bus,
            clock=clock,
            host_id=host_id,
            directory=NetworkDirectory(self.link, self.state),
            delegation=self._delegation,
        )
        surroundings = Surroundings(config, self.state, self._host)
        sandboxes = SandboxService(
            config=config,
            state=self.state,
            addresses=self._addresses,
            drivers=drivers,
            kernel=kernel,
            host=self._host,
            surroundings=surroundings,
            names=self.names,
            presence=self._presence,
            events=self._bus,
            tasks=self._tasks,
            delegation=self._delegation,
        )
        self.hooks = HookService(
            allowed=config.allow_hooks,
            state=self.state,
            link=self.link,
            presence=self._presence,
            clock=clock,
        )
        sandboxes.provide = self.hooks.provide
        self.ports = PortService(
            config=config, state=self.state, drivers=drivers, kernel=kernel, holder=holder
        )
        firewall = FirewallService(
            config=config,
            state=self.state,
            drivers=drivers,
            kernel=kernel,
            ports=self.ports,
            surroundings=surroundings,
            presence=self._presence,
            clustered=lambda: self.link.settings is not None,
        )
        self.lending = LendingService(
            state=self.state,
            local=store,
            link=self.link,
            drivers=drivers,
            host=self._host,
            presence=self._presence,
            firewall=firewall,
            hooks=self.hooks,
            clock=clock,
            effects=LendingHost(f"{config.name}: lent"),
        )
        execs = ExecService(self.state, runtime, self._bus, self._tasks)
        self._health = HealthService(
            state=self.state,
            runtime=runtime,
            execs=execs,
            events=self._bus,
            clock=clock,
            tasks=self._tasks,
        )
        self._lifecycle = Lifecycle(
            state=self.state,
            runtime=runtime,
            sandboxes=sandboxes,
            surroundings=surroundings,
            ports=self.ports,
            firewall=firewall,
            names=self.names,
            health_service=self._health,
            volume_mounts=VolumeMounts(volumes, self.state, self._bus),
            events=self._bus,
            tasks=self._tasks,
        )
        self.containers = ContainerService(
            state=self.state,
            runtime=runtime,
            images=images,
            volumes=volumes,
            lifecycle=self._lifecycle,
            sandboxes=sandboxes,
            surroundings=surroundings,
            ports=self.ports,
            execs=execs,
            events=self._bus,
            clock=clock,
        )
        self.guests = GuestService(
            state=self.state,
            addresses=self._addresses,
            drivers=drivers,
            kernel=kernel,
            host=self._host,
            sandboxes=sandboxes,
            ports=self.ports,
            names=self.names,
            presence=self._presence,
            events=self._bus,
            clock=clock,
        )
        self._bridge_filter = BridgeFilter(config, kernel, self.state)
        self.shortcuts = shortcuts = ShortcutPolicy(config, kernel, clock)
        self._host.shortcutting = shortcuts.recall
        self.reconciler = Reconciler(
            config=config,
            state=self.state,
            drivers=drivers,
            kernel=kernel,
            host=self._host,
            runtime=runtime,
            sandboxes=sandboxes,
            surroundings=surroundings,
            firewall=firewall,
            presence=self._presence,
            lifecycle=self._lifecycle,
            containers=self.containers,
            ports=self.ports,
            guests=self.guests,
            names=self.names,
            clock=clock,
            tasks=self._tasks,
        )
        self._last_underlays: tuple[Underlay, ...] = ()
        self._connections = ConnectionService(
            state=self.state, sandboxes=sandboxes, ports=self.ports, events=self._bus
        )
        self.networks = NetworksDoor(self._network_service, self._connections)
        self.cluster = ClusterService(
            link=self.link,
            state=self.state,
            tasks=self._tasks,
            clock=clock,
            directory=config.state_dir / "cluster",
            version=__version__,
            open_store=open_cluster_store,
            host_name=socket.gethostname().partition(".")[0],
            underlays=lambda asked: choose_underlays(
                self._host.seen.state, asked, own_mark=self._host.seen.mark
            ),
        )
        self.cluster.guard = self.reconciler.replace_firewall
        self.images = ImageService(
            state=self.state,
            images=images,
            committer=Committer(state=self.state, images=images, runtime=runtime, events=self._bus),
            events=self._bus,
            clock=clock,
        )
        self.volumes = VolumeService(state=self.state, volumes=volumes, events=self._bus)
        self.system = SystemService(
            config=config,
            state=self.state,
            drivers=drivers,
            events=self._bus,
            doctor=Doctor(
                config=config,
                state=self.state,
                kernel=kernel,
                host=self._host,
                drivers=drivers,
                stands=self._presence.stands,
                stray_links=self.reconciler.stray_links,
                converge=self.reconciler.converge,
                enable_forwarding=self.reconciler.enable_forwarding,
                bridge_filter=self._bridge_filter,
                shortcuts=shortcuts,
                resolver_is_up=resolver_is_up,
                holder_is_up=holder_is_up,
                trouble=self.cluster.trouble,
                unreadable=self.cluster.unreadable,
            ),
            started=as_datetime(clock.now_ns()),
            host_id=host_id,
            runtime=runtime,
        )

    def _underlays(self, settings: ClusterSettings) -> tuple[Underlay, ...]:
        """Return this host's underlay addresses; while it has none (a cable is out), the last ones."""
        try:
            self._last_underlays = choose_underlays(
                self._host.seen.state, settings.address, own_mark=self._host.seen.mark
            )
        except InvalidRequest as error:
            _log.warning("no underlay address: %s", error)
        return self._last_underlays

    async def _readdress(self, lost: list[Block]) -> None:
        await self._connections.readdress(lost)

    async def prepare(self) -> None:
        """Read the records and make the host as they say. After this, requests may come."""
        leases, pools, broken = await self.state.load()
        for problem in broken:
            _log.error("%s", problem)
        self._addresses.load(self.state.networks.values(), leases, pools)
        await self._delegation.load()
        await self._image_store.open()
        await self._runtime.open()
        await self.ports.read_range()
        await self._host.refresh()
        await self.cluster.load()
        await self.lending.load()
        await self._presence.load()
        await self.reconciler.replace_firewall()
        await self._network_service.ensure_predefined()
        await self.reconciler.enable_forwarding()
        await self._bridge_filter.settle()
        await self.reconciler.adopt_containers()
        # What was attached in namespaces that did not outlive a reboot.
        await self.guests.gc()
        await self.reconciler.converge()
        self.reconciler.announce_names()
        self.reconciler.remove_leftover_files()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the engine's own tasks for the length of the block."""
        async with asyncio.TaskGroup() as group:
            watchers = [
                group.create_task(self._lifecycle.watch_exits(), name="exits"),
                group.create_task(self._watch_drift(), name="drift"),
                group.create_task(self._inspect_regularly(), name="inspection"),
                group.create_task(self.shortcuts.watch(self._is_in_cluster, self.notice), name="shortcuts"),
                group.create_task(self.hooks.run(), name="hooks"),
                group.create_task(self.lending.run(), name="lending"),
            ]
            # Not before now: ports are held by a process of its own, which may have come after us.
            await self.reconciler.settle_ports()
            self._health.resume()
            try:
                await self.cluster.start()
            except CarrickError as error:
                # What is on this host goes on without; the next start tries again.
                _log.error("the cluster part does not serve: %s", error)
            self._delegation.start()
            self.reconciler.start_wanted()
            try:
                yield
            finally:
                for task in watchers:
                    task.cancel()
                await self._tasks.close()
                await self._runtime.close()

    def notice(self, reason: str) -> None:
        """Somebody else changed the network of the host: look soon."""
        _log.info("looking for drift: %s", reason)
        self._changed.set()

    def _is_in_cluster(self) -> bool:
        return self._host.cluster() is not None

    async def _watch_drift(self) -> None:
        pause = _DRIFT_PAUSE_S
        repaired_at = self._clock.monotonic()
        while True:
            await self._changed.wait()
            if self._clock.monotonic() - repaired_at > 2 * pause:
                pause = _DRIFT_PAUSE_S
            # What changes comes in crowds (a firewall's reload); and whoever changes for ever is
            # answered ever less often.
            await asyncio.sleep(pause)
            self._changed.clear()
            repaired: Sequence[str] = ()
            try:
                repaired = await self.reconciler.converge()
                repaired = [*repaired, *await self.reconciler.inspect_sandboxes()]
            except Exception:
                _log.exception("repairing after drift failed")
            pause = min(pause * 2, 5.0) if repaired else _DRIFT_PAUSE_S
            repaired_at = self._clock.monotonic()

    async def _inspect_regularly(self) -> None:
        while True:
            await asyncio.sleep(_INSPECT_EVERY_S)
            try:
                await self.guests.gc()
                await self.reconciler.converge()
                for line in await self.reconciler.inspect_sandboxes():
                    _log.warning("repaired: %s", line)
            except Exception:
                _log.exception("the regular inspection failed")
