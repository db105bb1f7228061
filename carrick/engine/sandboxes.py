"""Sandboxes: bring a container's network up and down, connect and disconnect it, keep its names.

A sandbox is one namespace with its endpoints. What should be is written first (`plan_up`), then made
(`bring_up`); what a killed daemon left half made, the same steps finish at its next start. Endpoint ids are
new at every start, so that a link of the last run, which the kernel may still be taking down, is never in
the way; addresses and MAC addresses belong to the sandbox and stay.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..domains.sandboxes.interfaces import choose_mac, next_index
from ..domains.sandboxes.routes import plan_default_routes, plan_route_change
from ..drivers.contract import Announcing, Driver, HostView
from ..drivers.registry import DriverRegistry
from ..host.config import Config
from ..host.kernel import Kernel
from ..model.delegation import is_remote_ipam
from ..model.errors import CarrickError, Denied, Failed, InvalidRequest, NotFound, Unavailable
from ..model.ids import EndpointId, NetworkId, SandboxId, short
from ..model.networks import Endpoint, EndpointSettings, Network, Sandbox
from ..model.observed import NamespaceState
from ..model.steps import Announce, CreateNetns, DeleteLink, DeleteNetns, SetLink, SetSysctl, Step
from .addresses import Addresses, Transaction
from .clock import new_id
from .delegation import Delegation
from .delegation.wishes import plan_wishes
from .events import EventBus
from .host import Host
from .names import NameService
from .presence import Presence
from .state import State, Write
from .surroundings import Surroundings, dns_names, own_entries
from .tasks import TaskOwner
from .values import Attachment, ContainerRecord

_log = logging.getLogger(__name__)

Provider = Callable[[Network, str, EndpointSettings], Awaitable[None]]
"""Given a network, who is to have an address on it, and what was asked for."""


class SandboxService:
    def __init__(
        self,
        *,
        config: Config,
        state: State,
        addresses: Addresses,
        drivers: DriverRegistry,
        kernel: Kernel,
        host: Host,
        surroundings: Surroundings,
        names: NameService,
        presence: Presence,
        events: EventBus,
        tasks: TaskOwner,
        delegation: Delegation | None = None,
    ) -> None:
        self._presence = presence
        self._delegation = delegation
        self.provide: Provider = _provide_nothing
        """Sees to it that a global network has addresses here; the cluster part sets it."""
        self._config = config
        self._state = state
        self._addresses = addresses
        self._drivers = drivers
        self._kernel = kernel
        self._host = host
        self._surroundings = surroundings
        self._names = names
        self._events = events
        self._tasks = tasks

    # Where things are ------------------------------------------------------------------------

    def netns_path(self, sandbox_id: SandboxId) -> Path:
        return self._config.run_dir / "netns" / short(sandbox_id)

    def driver_of(self, endpoint: Endpoint) -> tuple[Network, Driver]:
        network = self._state.networks[endpoint.network_id]
        return network, self._drivers.get(network.driver)

    # Deciding what should be -----------------------------------------------------------------

    def resolve(self, attachment: Attachment) -> Network:
        """Return the network that a container wishes to be on; NotFound as Docker says it."""
        name = "bridge" if attachment.network == "default" else attachment.network
        network = self._state.find_network(name)
        if network.config_only:
            raise Denied("cannot create endpoint on configuration-only network")
        return network

    def plan_endpoint(
        self,
        record: ContainerRecord,
        sandbox: Sandbox,
        network: Network,
        settings: EndpointSettings,
        transaction: Transaction,
        leased: tuple[str, str] | None = None,
    ) -> Endpoint:
        """Return a new endpoint with everything it is given, its addresses in `transaction`.

        An endpoint that the sandbox had on this network before gives it its place and its address. `leased`
        are addresses that an IPAM plugin gave.
        """
        before = sandbox.endpoint(network.id)
        driver = self._drivers.get(network.driver)
        is_default = network.name == "bridge"
        asked4, asked6 = settings.ipv4_address, settings.ipv6_address
        if is_default and (asked4 or asked6):
            raise InvalidRequest(
                "invalid endpoint settings:\nuser-specified IP address is supported on user-defined "
                "networks only"
            )
        if is_default and settings.aliases:
            raise InvalidRequest(
                "invalid endpoint settings:\nnetwork-scoped aliases are only supported for "
                "user-defined networks"
            )
        ipv4, ipv6 = leased or ("", "")
        if driver.capabilities.addressed and leased is None:
            ipv4, ipv6 = self._addresses.assign(network, sandbox.id, asked4, asked6, transaction)
        index = before.index if before else next_index(sandbox.endpoints)
        endpoint = Endpoint(
            id=EndpointId(new_id()),
            network_id=network.id,
            network_name=network.name,
            index=index,
            settings=settings,
            ipv4=ipv4,
            ipv6=ipv6,
            # Seeded by what stays, so that neighbours' caches stay right over a restart.
            mac_address=choose_mac(f"{sandbox.id} {network.id}"),
            dns_names=dns_names(record, settings),
        )
        return driver.complete_endpoint(network, endpoint)

    async def plan_up(self, record: ContainerRecord, sandbox: Sandbox, write: Write) -> Sandbox:
        """Give every attachment an endpoint, and write the sandbox, now active, with `write`.

        Endpoints that somebody else makes are made here already: what they are given, and with it names,
        files and ports, is known when they are made.
        """
        networks = [(self.resolve(item), item.settings) for item in record.attachments]
        for network, settings in networks:
            await self.provide(network, sandbox.id, settings)
        leases: dict[NetworkId, tuple[str, str]] = {}
        try:
            for network, settings in networks:
                if (leased := await self._lease(record, sandbox, network, settings)) is not None:
                    leases[network.id] = leased
            current = await self._write_up(record, sandbox, networks, leases, write)
        except CarrickError:
            for network_id in leases:
                await self._end_leases(network_id, sandbox)
            raise
        return await self._have_made(record, current)

    async def _write_up(
        self,
        record: ContainerRecord,
        sandbox: Sandbox,
        networks: Sequence[tuple[Network, EndpointSettings]],
        leases: Mapping[NetworkId, tuple[str, str]],
        write: Write,
    ) -> Sandbox:
        async with self._addresses.transaction(write) as transaction:
            current = sandbox
            endpoints: list[Endpoint] = []
            for network, settings in networks:
                if network.driver == "null":
                    continue
                endpoint = self.plan_endpoint(
                    record, current, network, settings, transaction, leases.get(network.id)
                )
                endpoints.append(endpoint)
                kept = tuple(e for e in current.endpoints if e.network_id != network.id)
                current = replace(current, endpoints=(*kept, endpoint))
            wanted = {network.id for network, _ in networks}
            for stale in sandbox.endpoints:
                if stale.network_id not in wanted and (old := self._state.networks.get(stale.network_id)):
                    self._addresses.release(old, sandbox.id, transaction)
            _check_interfaces(endpoints)
            current = replace(
                sandbox,
                netns=str(self.netns_path(sandbox.id)),
                active=True,
                endpoints=tuple(sorted(endpoints, key=lambda item: item.index)),
            )
            write.sandboxes.append(current)
        return current

    # What others make ------------------------------------------------------------------------

    async def _lease(
        self, record: ContainerRecord, sandbox: Sandbox, network: Network, settings: EndpointSettings
    ) -> tuple[str, str] | None:
        """Return the addresses that an IPAM plugin gives, None if a network's are ours to give."""
        if not is_remote_ipam(network) or not self._drivers.get(network.driver).capabilities.addressed:
            return None
        if self._delegation is None:
            raise NotFound(f"IPAM driver {network.ipam_driver} of network {network.name} is not known here")
        return await self._delegation.addresses.lease(network, sandbox.id, settings, record.name)

    async def _end_leases(self, network_id: NetworkId, sandbox: Sandbox) -> None:
        if self._delegation is not None:
            await self._delegation.addresses.end_leases(network_id, sandbox.id)

    async def _have_made(self, record: ContainerRecord, sandbox: Sandbox) -> Sandbox:
        """Have the endpoints made that others make; write and return the sandbox with what they gave.

        On failure `bring_down` undoes it.
        """
        namespace_is_there = False
        for endpoint in sandbox.endpoints:
            network = self._state.networks[endpoint.network_id]
            if self._delegation is None or not self._delegation.makes(network):
                continue
            if not namespace_is_there:
                await self.open(sandbox)
                namespace_is_there = True
            try:
                made = await self._delegation.add(
                    network, sandbox, endpoint, plan_wishes(record, sandbox, endpoint)
                )
            except (Failed, Unavailable) as error:
                text = f"failed to set up container networking: {error.message}"
                raise type(error)(text, remedy=error.remedy) from error
            sandbox = _with_endpoint(sandbox, made)
            await self._state.save(Write(sandboxes=[sandbox]))
            _check_interfaces(sandbox.endpoints)
        return sandbox

    # Making it so ----------------------------------------------------------------------------

    async def open(self, sandbox: Sandbox) -> None:
        """Create the namespace itself, so that the runtime can put a process into it."""
        await self._kernel.apply(_namespace_steps(sandbox))

    async def bring_up(self, sandbox: Sandbox) -> None:
        """Make every endpoint, in a namespace that is new (`open`), in one visit to the kernel."""
        await self._presence.ensure(self.driver_of(endpoint)[0] for endpoint in sandbox.endpoints)
        await self._kernel.apply(self.plan(sandbox, self._host.hot_view, NamespaceState()))
        self.announce(sandbox)

    def plan(self, sandbox: Sandbox, view: HostView, inside: NamespaceState) -> list[Step]:
        """Return the steps that make a sandbox's endpoints and routes as they should be."""
        steps: list[Step] = []
        for endpoint in sandbox.endpoints:
            network, driver = self.driver_of(endpoint)
            steps += driver.plan_endpoint(network, endpoint, sandbox, view, inside).steps
        # A link that is made anew, or has its address changed, loses the routes through it.
        routes = () if steps else inside.routes
        return steps + plan_default_routes(sandbox, routes)

    async def bring_down(self, sandbox: Sandbox, *, keep_namespace: bool) -> list[Exception]:
        """Remove a sandbox's endpoints; return what went wrong.

        With `keep_namespace` others live in it. Without, it goes whole: its links are cut at once and the
        kernel takes them down in its own time, which saves the grace period that deleting a link waits for.
        """
        errors: list[Exception] = []
        for endpoint in reversed(sandbox.endpoints):
            # First of all: who made an endpoint finds its namespace as it was.
            errors += await self._have_removed(sandbox, endpoint)
        steps: list[Step] = []
        for endpoint in sandbox.endpoints:
            if endpoint.network_id not in self._state.networks:
                continue
            network, driver = self.driver_of(endpoint)
            planned = driver.plan_endpoint_removal(network, endpoint, sandbox, self._host.hot_view).steps
            for step in planned:
                # A macvlan's MAC address is taken until its link is gone: the next start needs it.
                if keep_namespace or not isinstance(step, DeleteLink) or step.netns:
                    steps.append(step)
                else:
                    steps.append(SetLink(step.name, up=False))
        if not keep_namespace and sandbox.netns:
            steps.append(DeleteNetns(sandbox.netns))
        errors += await self._kernel.remove(steps)
        return errors + await self._presence.release(self._networks_of(sandbox))

    async def _have_removed(self, sandbox: Sandbox, endpoint: Endpoint) -> list[Exception]:
        """Have an endpoint removed by who made it, and its addresses given back; what is left comes later."""
        if self._delegation is None:
            return []
        return await self._delegation.remove(sandbox.id, endpoint)

    def _networks_of(self, sandbox: Sandbox) -> list[Network]:
        known = self._state.networks
        return [known[e.network_id] for e in sandbox.endpoints if e.network_id in known]

    def announce(self, sandbox: Sandbox) -> None:
        for endpoint in sandbox.endpoints:
            self._announce(sandbox, endpoint)

    def _announce(self, sandbox: Sandbox, endpoint: Endpoint) -> None:
        """Repeat, behind the answer, what the kernel has told the neighbours once."""
        network, driver = self.driver_of(endpoint)
        addresses = tuple(filter(None, (endpoint.ipv4_address, endpoint.ipv6_address)))
        if not isinstance(driver, Announcing) or not addresses:
            return
        wanted = driver.announcements(network)
        step = Announce(endpoint.interface, endpoint.mac_address, addresses, sandbox.netns)

        async def repeat() -> None:
            for _ in range(wanted.count - 1):
                await asyncio.sleep(wanted.pause_s)
                current = self._state.sandboxes.get(sandbox.id)
                if current is None or not current.active or endpoint not in current.endpoints:
                    return
                for error in await self._kernel.remove([step]):
                    _log.info("announcing %s: %s", addresses, error)

        if wanted.count > 1:
            self._tasks.start(repeat(), f"announce {short(endpoint.id)}")

    async def has_namespace(self, sandbox_id: SandboxId) -> bool:
        return await self._kernel.has_netns(str(self.netns_path(sandbox_id)))

    async def let_go(self, sandbox_id: SandboxId) -> None:
        """Delete a namespace that nobody is in any more."""
        for error in await self._kernel.remove([DeleteNetns(str(self.netns_path(sandbox_id)))]):
            _log.warning("deleting the namespace of sandbox %s: %s", short(sandbox_id), error)

    # Names and files -------------------------------------------------------------------------

    def publish_names(self, record: ContainerRecord, sandbox: Sandbox) -> None:
        """Queue the sandbox's names for the resolver; `NameService.flush` sends them."""
        for endpoint in sandbox.endpoints:
            self._names.put_endpoint(self._state.networks[endpoint.network_id], endpoint)
        self._names.put_sandbox(self._surroundings.view(record, sandbox))

    def withdraw_names(self, sandbox: Sandbox) -> None:
        for endpoint in sandbox.endpoints:
            self._names.remove_endpoint(endpoint.network_id, endpoint.id)
        self._names.remove_sandbox(sandbox.id)

    async def rename(self, record: ContainerRecord) -> None:
        """Give a renamed container's endpoints their new names, at once if it runs."""
        sandbox = self._state.sandboxes.get(record.sandbox_id) if record.sandbox_id else None
        if sandbox is None or sandbox.container_id != record.id:
            return
        endpoints = tuple(replace(e, dns_names=dns_names(record, e.settings)) for e in sandbox.endpoints)
        after = replace(sandbox, endpoints=endpoints)
        await self._state.save(Write(sandboxes=[after]))
        if after.active:
            self.publish_names(record, after)
            await self._names.flush()

    # Connecting a running container ----------------------------------------------------------

    async def connect(
        self, record: ContainerRecord, sandbox: Sandbox, network: Network, settings: EndpointSettings
    ) -> Sandbox:
        """Add an endpoint to a running sandbox; on failure everything is as before."""
        await self.provide(network, sandbox.id, settings)
        leased = await self._lease(record, sandbox, network, settings)
        write = Write()
        try:
            async with self._addresses.transaction(write) as transaction:
                endpoint = self.plan_endpoint(record, sandbox, network, settings, transaction, leased)
                _check_interfaces((*sandbox.endpoints, endpoint))
                after = replace(sandbox, endpoints=(*sandbox.endpoints, endpoint))
                write.sandboxes.append(after)
                write.containers.append(
                    replace(record, attachments=(*record.attachments, Attachment(network.name, settings)))
                )
        except CarrickError:
            if leased is not None:
                await self._end_leases(network.id, sandbox)
            raise
        driver = self._drivers.get(network.driver)
        try:
            await self._presence.ensure([network])
            if self._delegation is not None and self._delegation.makes(network):
                wishes = plan_wishes(record, after, endpoint)
                endpoint = await self._delegation.add(network, after, endpoint, wishes)
                after = _with_endpoint(after, endpoint)
                await self._state.save(Write(sandboxes=[after]))
                _check_interfaces(after.endpoints)
            steps: list[Step] = list(
                driver.plan_endpoint(network, endpoint, after, self._host.hot_view, NamespaceState()).steps
            )
            steps += plan_route_change(sandbox, after)
            await self._kernel.apply(steps)
        except CarrickError:
            await self.drop_endpoint(record, after, endpoint)
            raise
        self._announce(after, endpoint)
        self._surroundings.edit_hosts(after, add=own_entries(record, [endpoint]))
        self.publish_names(record, after)
        await self._names.flush()
        return after

    async def disconnect(self, record: ContainerRecord, sandbox: Sandbox, endpoint: Endpoint) -> Sandbox:
        """Remove an endpoint from a running sandbox."""
        self._names.remove_endpoint(endpoint.network_id, endpoint.id)
        after = await self.drop_endpoint(record, sandbox, endpoint)
        self._surroundings.edit_hosts(after, remove=own_entries(record, [endpoint]))
        self._names.put_sandbox(self._surroundings.view(record, after))
        await self._names.flush()
        return after

    async def drop_endpoint(self, record: ContainerRecord, sandbox: Sandbox, endpoint: Endpoint) -> Sandbox:
        """Take an endpoint out of the kernel, then out of the records, its address last of all."""
        network, driver = self.driver_of(endpoint)
        after = replace(sandbox, endpoints=tuple(e for e in sandbox.endpoints if e.id != endpoint.id))
        for problem in await self._have_removed(sandbox, endpoint):
            _log.warning("removing endpoint %s of %s: %s", short(endpoint.id), record.name, problem)
        steps: list[Step] = []
        if sandbox.active:
            steps += driver.plan_endpoint_removal(network, endpoint, sandbox, self._host.hot_view).steps
            steps += plan_route_change(sandbox, after)
        for error in await self._kernel.remove(steps):
            _log.warning("removing endpoint %s of %s: %s", short(endpoint.id), record.name, error)
        current = self._state.containers.get(record.id, record)
        write = Write(
            sandboxes=[after],
            containers=[
                replace(
                    current,
                    attachments=tuple(a for a in current.attachments if not self._is_on(a, network)),
                )
            ],
        )
        async with self._addresses.transaction(write) as transaction:
            self._addresses.release(network, sandbox.id, transaction)
        for error in await self._presence.release([network]):
            _log.warning("taking network %s off this host: %s", network.name, error)
        return after

    def _is_on(self, attachment: Attachment, network: Network) -> bool:
        found = self._state.network_or_none(
            "bridge" if attachment.network == "default" else attachment.network
        )
        return found is not None and found.id == network.id

    async def forget(self, sandbox: Sandbox, write: Write) -> None:
        """Give back a sandbox's addresses and its record, together with `write`."""
        write.gone_sandboxes.append(sandbox.id)
        async with self._addresses.transaction(write) as transaction:
            for endpoint in sandbox.endpoints:
                network = self._state.networks.get(endpoint.network_id)
                if network is not None:
                    self._addresses.release(network, sandbox.id, transaction)

    async def reserve(self, record: ContainerRecord, sandbox: Sandbox, write: Write) -> None:
        """At create: hold the addresses that were asked for by number, where that is possible now.

        Where it is not (the network is not there yet, the address is taken) the start says so.
        """
        async with self._addresses.transaction(write) as transaction:
            for attachment in record.attachments:
                settings = attachment.settings
                network = self._state.network_or_none(attachment.network)
                if network is None or not (settings.ipv4_address or settings.ipv6_address):
                    continue
                if network.name == "bridge" or not network.pools or is_remote_ipam(network):
                    continue
                try:
                    self._addresses.assign(
                        network, sandbox.id, settings.ipv4_address, settings.ipv6_address, transaction
                    )
                except CarrickError as error:
                    _log.info("container %s: %s", record.name, error)


async def _provide_nothing(network: Network, owner: str, settings: EndpointSettings) -> None:
    """There is no cluster: all of a network's addresses are here."""


def _namespace_steps(sandbox: Sandbox) -> list[Step]:
    netns = sandbox.netns
    return [
        CreateNetns(netns),
        # The kernel tells the neighbours when an interface comes up with its addresses.
        SetSysctl("net.ipv4.conf.default.arp_notify", "1", netns, optional=True),
        SetSysctl("net.ipv6.conf.default.ndisc_notify", "1", netns, optional=True),
        SetSysctl("net.ipv6.conf.default.accept_dad", "0", netns, optional=True),
        SetLink("lo", netns, up=True),
    ]


def _with_endpoint(sandbox: Sandbox, endpoint: Endpoint) -> Sandbox:
    """Return the sandbox with an endpoint in the place of the one of that id."""
    return replace(
        sandbox, endpoints=tuple(endpoint if e.id == endpoint.id else e for e in sandbox.endpoints)
    )


def _check_interfaces(endpoints: Sequence[Endpoint]) -> None:
    seen: dict[str, str] = {}
    for endpoint in endpoints:
        if endpoint.interface and endpoint.interface in seen:
            raise InvalidRequest(
                f"networks {seen[endpoint.interface]} and {endpoint.network_name} would both use the "
                f"interface name {endpoint.interface} in this container"
            )
        seen[endpoint.interface] = endpoint.network_name
