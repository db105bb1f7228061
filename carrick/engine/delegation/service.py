"""Have endpoints and addresses made by CNI plugins and Docker's plugins, and undone again, come what may.

Each is written down before it is asked for and struck off when it is undone. What is in the records and
belongs to no active sandbox is to be undone: at once where that is possible, else again and again, and by the
next daemon too.

A plugin may hang. So no lock of the whole engine is held while one is waited for: there is one per sandbox
and one per network, and every call ends by itself.
"""

import asyncio
import logging
from dataclasses import replace

from ...domains.cni import parse_configuration
from ...drivers import cni as cni_driver
from ...drivers.contract import Delegating
from ...drivers.registry import DriverRegistry
from ...drivers.remote import RemoteDriver
from ...host.cni import CniRunner
from ...host.kernel import Kernel
from ...host.plugins import Plugins
from ...host.plugins.contract import NETWORK_DRIVER
from ...host.store.contract import Store
from ...host.store.typed import Collection
from ...model.delegation import (
    OWN_IPAM,
    DelegatedEndpoint,
    DelegatedNetwork,
    DelegateKind,
    EndpointCall,
    Made,
    Wishes,
)
from ...model.errors import (
    CarrickError,
    Failed,
    InvalidRequest,
    NotFound,
    Unavailable,
    Unsupported,
)
from ...model.ids import EndpointId, NetworkId, SandboxId
from ...model.networks import Endpoint, Network, Sandbox
from ...model.steps import Announce, DeleteLink
from ..clock import Clock
from ..state import State
from ..tasks import TaskOwner
from ..values import CreateNetwork
from .addresses import DelegatedAddresses
from .cni import CniDelegate
from .contract import Delegate
from .locks import Locks
from .remote import RemoteDelegate

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


class Delegation:
    def __init__(
        self,
        *,
        store: Store,
        state: State,
        drivers: DriverRegistry,
        kernel: Kernel,
        clock: Clock,
        tasks: TaskOwner,
        cni: CniRunner | None = None,
        plugins: Plugins | None = None,
        cni_path: tuple[str, ...] = (),
    ) -> None:
        self._state = state
        self._drivers = drivers
        self._kernel = kernel
        self._clock = clock
        self._tasks = tasks
        self._cni = cni
        self._plugins = plugins
        self._cni_path = cni_path
        self._endpoint_records = Collection(store, "delegated/endpoints/", DelegatedEndpoint)
        self._endpoints: dict[EndpointId, DelegatedEndpoint] = {}
        self._delegates: dict[DelegateKind, Delegate] = {}
        if cni is not None:
            self._delegates[DelegateKind.CNI] = CniDelegate(cni)
        if plugins is not None:
            self._delegates[DelegateKind.PLUGIN] = RemoteDelegate(plugins, self._known)
        self._lock = Locks()
        self.addresses = DelegatedAddresses(
            store=store, state=state, plugins=plugins, locks=self._lock, sweep_soon=self._sweep_soon
        )
        self._is_started = False
        self._sweeping: asyncio.Task[None] | None = None
        self._sweep_again = False

    # Starting --------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read the records, and know the plugins that networks were made with. Calls nobody."""
        endpoints = await self._endpoint_records.list()
        for problem in (*endpoints.broken, *await self.addresses.load()):
            _log.error("%s", problem)
        self._endpoints = {item.id: item for item in endpoints.values}
        for network in self._state.networks.values():
            if self.addresses.known(network.id) and network.driver not in self._drivers:
                self._drivers.add(RemoteDriver(network.driver))

    def start(self) -> None:
        """Tell plugins again what they have to know, and undo what is left to undo, all behind our start."""
        self._is_started = True
        for network in self._state.networks.values():
            if self.addresses.known(network.id) is not None:
                self._tasks.start(self._replay(network), f"replay network {network.name}")
        self.addresses.start()
        self._sweep_soon()

    async def _replay(self, network: Network) -> None:
        async with self._lock(network.id):
            try:
                await self.addresses.replay(network)
                driver: object = self._drivers.get(network.driver)
                if isinstance(driver, Delegating):
                    await self._delegate(driver.delegate).create_network(network)
            except CarrickError as error:
                # One that has not been restarted knows its networks, and may say so.
                _log.info("network %s, told to its plugin again: %s", network.name, error)

    # Networks --------------------------------------------------------------------------------

    async def prepare(self, request: CreateNetwork) -> CreateNetwork:
        """Return a request for a network with what it names looked up: a plugin, a configuration's file."""
        if request.config_only:
            return request
        if request.driver == "cni" and self._cni is not None:
            return self._prepare_cni(request)
        plugins = self._plugins
        if request.driver not in self._drivers and plugins is not None and plugins.knows(request.driver):
            if NETWORK_DRIVER not in await plugins.activate(request.driver):
                raise Failed(
                    f'plugin "{request.driver}" does not implement the requested driver {NETWORK_DRIVER}'
                )
            await self._check_scope(plugins, request.driver)
            if request.driver not in self._drivers:
                self._drivers.add(RemoteDriver(request.driver))
        return request

    @staticmethod
    async def _check_scope(plugins: Plugins, name: str) -> None:
        """Ask a plugin how far it reaches; the answer must make sense, and changes nothing.

        Networks are this host's either way: a plugin that spans several does so by itself.
        """
        try:
            found = await plugins.call(name, f"{NETWORK_DRIVER}.GetCapabilities", {})
        except Unsupported:
            return  # as Docker does with plugins from before there was that call
        if (scope := found.get("Scope")) not in {"local", "global"}:
            raise Failed(f'invalid capability: expecting "local" or "global", got {scope}')

    def _prepare_cni(self, request: CreateNetwork) -> CreateNetwork:
        assert self._cni is not None
        options = dict(request.options)
        source = options.get(cni_driver.CONFLIST, "")
        if source and options.get(cni_driver.CONF):
            raise InvalidRequest(
                f"driver cni takes {cni_driver.CONFLIST} or {cni_driver.CONF}, not both of them"
            )
        if source:
            options[cni_driver.CONF] = self._cni.read_configuration(source)
        if not options.get(cni_driver.PATH):
            options[cni_driver.PATH] = ":".join(self._cni_path)
        if options.get(cni_driver.CONF):
            configuration = parse_configuration(options[cni_driver.CONF], name=request.name)
            path = tuple(filter(None, options[cni_driver.PATH].split(":")))
            for kind in configuration.programs:
                self._cni.find(kind, path)
        return replace(request, options=options)

    def concerns(self, driver: str, ipam_driver: str) -> bool:
        """Tell whether somebody else has a say in a network with these drivers."""
        if ipam_driver not in OWN_IPAM:
            return True
        return driver in self._drivers and isinstance(self._drivers.get(driver), Delegating)

    async def create_network(self, network: Network) -> None:
        """Tell a network's plugin of it. Raises what the plugin says."""
        driver: object = self._drivers.get(network.driver)
        if isinstance(driver, Delegating):
            async with self._lock(network.id):
                await self._delegate(driver.delegate).create_network(network)

    async def remove_network(self, network: Network) -> None:
        """Have a network's plugin remove it. Failed if it will not; one that is gone has nothing left."""
        driver: object = self._drivers.get(network.driver) if network.driver in self._drivers else None
        if not isinstance(driver, Delegating):
            return
        try:
            async with self._lock(network.id):
                await self._delegate(driver.delegate).remove_network(network)
        except NotFound as error:
            _log.warning("network %s goes without its plugin: %s", network.name, error)
        except Unavailable as error:
            raise Unavailable(
                f"error while removing network: {error.message}",
                remedy="start the plugin; or remove its socket or file, and the network goes without it",
            ) from error
        except CarrickError as error:
            raise Failed(f"error while removing network: {error.message}", remedy=error.remedy) from error

    def _known(self, identifier: NetworkId) -> tuple[Network | None, DelegatedNetwork | None]:
        return self._state.networks.get(identifier), self.addresses.known(identifier)

    # Endpoints -------------------------------------------------------------------------------

    def makes(self, network: Network) -> bool:
        """Tell whether the endpoints of a network are made by somebody else."""
        return network.driver in self._drivers and isinstance(self._drivers.get(network.driver), Delegating)

    async def add(self, network: Network, sandbox: Sandbox, endpoint: Endpoint, wishes: Wishes) -> Endpoint:
        """Have an endpoint made and put it into its sandbox, whose namespace is there; return it as it is.

        On failure `remove` undoes it.
        """
        driver: object = self._drivers.get(network.driver)
        assert isinstance(driver, Delegating)
        delegate = self._delegate(driver.delegate)
        call = driver.plan_call(network, endpoint, sandbox, wishes)
        # While a plugin is told of the network, or asked to remove it, it is not asked for anything in it.
        async with self._lock(network.id):
            pass
        async with self._lock(sandbox.id):
            await self._finish_removals(sandbox.id, network.id)
            await self._write(DelegatedEndpoint(call))
            made = await delegate.add(call)
            await self._write(DelegatedEndpoint(call, made))
            after, plan = driver.plan_made(call, endpoint, made)
            await self._kernel.apply(plan.steps)
            if after.interface and not after.mac_address:
                after = await self._with_mac(after, sandbox)
            await self._announce(after, sandbox)
            await delegate.publish(call)
        return after

    async def _announce(self, endpoint: Endpoint, sandbox: Sandbox) -> None:
        """Tell the neighbours where the endpoint's addresses are now; who made it may not have done so."""
        addresses = tuple(filter(None, (endpoint.ipv4_address, endpoint.ipv6_address)))
        if endpoint.interface and endpoint.mac_address and addresses:
            step = Announce(endpoint.interface, endpoint.mac_address, addresses, sandbox.netns)
            for error in await self._kernel.remove([step]):
                _log.info("announcing %s: %s", addresses, error)

    async def _with_mac(self, endpoint: Endpoint, sandbox: Sandbox) -> Endpoint:
        """Return the endpoint with the MAC address that its link has."""
        link = (await self._kernel.read(sandbox.netns)).links.get(endpoint.interface)
        return replace(endpoint, mac_address=link.mac) if link else endpoint

    async def _finish_removals(self, sandbox_id: SandboxId, network_id: NetworkId) -> None:
        """Undo what an earlier run of the sandbox has left: what it is known by is about to be used again."""
        for record in list(self._endpoints.values()):
            if (record.call.sandbox_id, record.call.network_id) == (sandbox_id, network_id):
                await self._undo(record)

    async def remove(self, sandbox_id: SandboxId, endpoint: Endpoint) -> list[Exception]:
        """Have an endpoint removed, with its addresses; what cannot be done now is done later.

        Returns what went wrong. Nothing of it is known any more, or was ever made: no error.
        """
        record = self._endpoints.get(endpoint.id)
        if record is None and not self.addresses.of(sandbox_id, endpoint.network_id):
            return []
        if not self._is_started and (record is None or record.call.kind is DelegateKind.PLUGIN):
            # Plugins may come after us; `start` sees to it, and the daemon's start waits for nobody.
            return []
        async with self._lock(sandbox_id):
            try:
                if record is not None and record.id in self._endpoints:
                    await self._undo(record)
                await self.addresses.release(sandbox_id, endpoint.network_id)
            except CarrickError as error:
                self.addresses.release_later(sandbox_id, endpoint.network_id)
                return [error]
        return []

    async def check(self, endpoint_id: EndpointId) -> None:
        """Raise what is wrong with an endpoint, as its maker sees it; nothing for one of our own."""
        record = self._endpoints.get(endpoint_id)
        if record is not None and record.made is not None:
            await self._delegate(record.call.kind).check(record.call, record.made)

    async def _undo(self, record: DelegatedEndpoint) -> None:
        """Undo one endpoint and strike it off. The sandbox's lock is held."""
        call, made = record.call, record.made
        delegate = self._delegate(call.kind)
        await delegate.leave(call, made or Made())
        if made is not None:
            for error in await self._kernel.remove(self._driver_of(call).plan_return(call, made).steps):
                _log.debug("network %s: %s", call.network_name, error)
        if not await delegate.remove(call, made) and made is not None and made.source:
            await self._kernel.remove([DeleteLink(made.source)])
        await self._endpoint_records.delete(record.id, expecting=None)
        self._endpoints.pop(record.id, None)

    def _driver_of(self, call: EndpointCall) -> Delegating:
        """Return the driver that a call was planned by; its network may be gone by now."""
        if call.kind is DelegateKind.PLUGIN:
            return RemoteDriver(call.name)
        return cni_driver.CniDriver()

    async def _write(self, record: DelegatedEndpoint) -> None:
        await self._endpoint_records.put(record.id, record, expecting=None)
        self._endpoints[record.id] = record

    def _delegate(self, kind: DelegateKind) -> Delegate:
        found = self._delegates.get(kind)
        if found is None:
            what = "CNI plugins" if kind is DelegateKind.CNI else "Docker's plugins"
            raise Unavailable(f"this daemon was built without what calls {what}")
        return found

    # Undoing what is left --------------------------------------------------------------------

    def _sweep_soon(self) -> None:
        self._sweep_again = True
        if self._is_started and (self._sweeping is None or self._sweeping.done()):
            self._sweeping = self._tasks.start(self._sweep(), "undo delegated endpoints")

    async def _sweep(self) -> None:
        """Undo what no active sandbox has any more, with growing pauses, until nothing is left."""
        pause = _FIRST_PAUSE_S
        while self._sweep_again:
            self._sweep_again = False
            for problem in [*await self._sweep_endpoints(), *await self.addresses.sweep()]:
                _log.warning("%s; it is tried again in %g s", problem, pause)
                self._sweep_again = True
            if self._sweep_again:
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _sweep_endpoints(self) -> list[CarrickError]:
        problems: list[CarrickError] = []
        for record in list(self._endpoints.values()):
            async with self._lock(record.call.sandbox_id):
                if record.id in self._endpoints and not self._is_live(record):
                    try:
                        await self._undo(self._endpoints[record.id])
                    except CarrickError as error:
                        problems.append(error)
        return problems

    def _is_live(self, record: DelegatedEndpoint) -> bool:
        sandbox = self._state.sandboxes.get(record.call.sandbox_id)
        return (
            sandbox is not None and sandbox.active and any(item.id == record.id for item in sandbox.endpoints)
        )
