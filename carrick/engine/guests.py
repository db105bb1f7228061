"""Guests: interfaces in containers that other engines run (CNI runtimes, Docker).

The same records, plans and services as for containers of ours, but for one thing: the namespace is somebody
else's. It is never made or deleted here; it may go at any moment, and its path may come to mean another one,
which is why its kernel-given number is kept. A guest whose namespace is gone is let go by `gc`.

With `staged` the interface is left in the host's namespace for the other engine to take: libnetwork moves,
renames, addresses and routes it itself.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address

from ..domains.guests import (
    HOST_NETNS,
    as_fixed,
    in_namespace,
    plan_rates,
    plan_routes,
    planned_mtu,
    seen_with_mtu,
    staged_steps,
    with_mtu,
)
from ..domains.sandboxes.interfaces import IFNAME_OPTION, check_interface_name, choose_mac
from ..drivers.contract import Delegating, Driver, HostView
from ..drivers.registry import DriverRegistry
from ..host.kernel import Kernel
from ..model.containers import PortBinding
from ..model.delegation import is_remote_ipam
from ..model.errors import CarrickError, Conflict, Denied, InvalidRequest, NotFound, Unsupported
from ..model.guests import GuestDns, GuestSpec
from ..model.ids import ContainerId, EndpointId, NetworkId, SandboxId, short
from ..model.networks import Endpoint, EndpointSettings, Network, Sandbox
from ..model.observed import NamespaceState
from ..model.steps import AddShortcut, DeleteLink, SetLink, Step
from .addresses import Addresses
from .checks import check_settings
from .clock import Clock, as_datetime, new_id
from .events import EventBus
from .guest_names import GuestNames
from .host import Host
from .names import NameService
from .ports import PortService
from .presence import Presence
from .sandboxes import SandboxService
from .state import State, Write
from .values import GuestRecord, GuestView

_log = logging.getLogger(__name__)


class GuestService:
    """Implements `contract.Guests`."""

    def __init__(
        self,
        *,
        state: State,
        addresses: Addresses,
        drivers: DriverRegistry,
        kernel: Kernel,
        host: Host,
        sandboxes: SandboxService,
        ports: PortService,
        names: NameService,
        presence: Presence,
        events: EventBus,
        clock: Clock,
    ) -> None:
        self._state = state
        self._addresses = addresses
        self._drivers = drivers
        self._kernel = kernel
        self._host = host
        self._sandboxes = sandboxes
        self._ports = ports
        self.names = GuestNames(state, names)
        self._presence = presence
        self._events = events
        self._clock = clock

    # Attaching -------------------------------------------------------------------------------

    async def add(self, spec: GuestSpec) -> GuestView:
        check_interface_name(spec.interface)
        check_settings(spec.settings)
        network, driver = self._find_network(spec.network)
        spec = replace(spec, network=network.id)
        async with self._state.lock(spec.id):
            if (before := self._state.guests.get(spec.id)) is not None:
                if await self._is_in_its_namespace(before):
                    raise Conflict(
                        f"{_said(spec)} is on network {network.name} already",
                        remedy="remove that attachment first",
                    )
                # The same attachment in a new namespace: nobody said that the old one went.
                await self._remove(before)
            inside, netns_id = NamespaceState(), 0
            if not spec.staged:
                netns_id = await self._kernel.netns_id(spec.netns)
                if not netns_id:
                    raise NotFound(f"network namespace {spec.netns} of {_said(spec)} does not exist")
                inside = await self._kernel.read(spec.netns)
                if spec.interface in inside.links:
                    raise Conflict(
                        f"{_said(spec)}: there is an interface {spec.interface} in {spec.netns} already"
                    )
            record = GuestRecord(
                spec,
                as_datetime(self._clock.now_ns()),
                has_default_route=_takes_default_route(spec, inside),
                netns_id=netns_id,
            )
            if not spec.lease and not spec.addresses and not spec.unaddressed:
                await self._sandboxes.provide(network, spec.id, spec.settings)
            # Whoever asked may go in the middle; what is written then is taken back whole.
            writing = asyncio.ensure_future(self._write(record, network, driver))
            try:
                sandbox = await asyncio.shield(writing)
                mtu = await self._make(record, sandbox, network, inside)
            except BaseException:
                await asyncio.wait([writing])
                if spec.id in self._state.guests:
                    await self._remove(self._state.guests[spec.id])
                raise
        self._emit(spec, network, "connect")
        return replace(self._view(self._state.guests[spec.id]), mtu=mtu)

    def _find_network(self, reference: str) -> tuple[Network, Driver]:
        network = self._state.find_network(reference)
        if network.config_only:
            raise Denied("cannot create endpoint on configuration-only network")
        if network.driver in {"host", "null"}:
            raise InvalidRequest(
                f"network {network.name} has no interfaces to give: its driver is {network.driver}"
            )
        driver: object = self._drivers.get(network.driver)
        if isinstance(driver, Delegating) or is_remote_ipam(network):
            raise Unsupported(
                f"network {network.name} is made by a plugin, not by Carrick",
                remedy="have the other engine use that plugin itself",
            )
        return network, self._drivers.get(network.driver)

    async def _write(self, record: GuestRecord, network: Network, driver: Driver) -> Sandbox:
        """Give a guest its endpoint, and write both."""
        spec = record.spec
        write = Write(guests=[record])
        async with self._addresses.transaction(write) as transaction:
            ipv4 = ipv6 = ""
            if spec.addresses:
                ipv4, ipv6 = as_fixed(spec.addresses)
            elif driver.capabilities.addressed and not spec.unaddressed:
                owner = spec.lease or spec.id
                asked = spec.settings
                ranges = [(ip_address(first), ip_address(last)) for first, last in spec.ranges]
                ipv4, ipv6 = self._addresses.assign(
                    network, owner, asked.ipv4_address, asked.ipv6_address, transaction, ranges
                )
            endpoint = self._plan_endpoint(record, network, driver, ipv4, ipv6)
            sandbox = Sandbox(SandboxId(spec.id), spec.id, spec.netns, active=True, endpoints=(endpoint,))
            write.sandboxes.append(sandbox)
        return sandbox

    @staticmethod
    def _plan_endpoint(
        record: GuestRecord, network: Network, driver: Driver, ipv4: str, ipv6: str
    ) -> Endpoint:
        spec = record.spec
        options = spec.settings.driver_opts | {IFNAME_OPTION: spec.interface}
        endpoint = Endpoint(
            id=EndpointId(new_id()),
            network_id=network.id,
            network_name=network.name,
            index=0,
            settings=replace(spec.settings, driver_opts=options),
            ipv4=ipv4,
            ipv6=ipv6,
            mac_address=choose_mac(f"{spec.id} {network.id}"),
            dns_names=record.dns_names,
        )
        endpoint = driver.complete_endpoint(network, endpoint)
        if spec.addresses or spec.unaddressed:
            gateways = {6 if ":" in item else 4: item for item in spec.gateways}
            endpoint = replace(endpoint, gateway4=gateways.get(4, ""), gateway6=gateways.get(6, ""))
        if not record.has_default_route:
            endpoint = replace(endpoint, gateway4="", gateway6="")
        return endpoint

    async def _make(
        self, record: GuestRecord, sandbox: Sandbox, network: Network, inside: NamespaceState
    ) -> int:
        """Make it so; return the MTU that its interface got."""
        record = await self._take_ports(record, sandbox)
        await self._presence.ensure([network])
        steps = self._plan(record, sandbox, self._host.hot_view, inside)
        await self._kernel.apply(steps)
        await self._ports.publish(self._ports.publishing(record, sandbox))
        self.names.publish(sandbox)
        await self.names.flush()
        if not record.spec.staged:
            self._sandboxes.announce(sandbox)
        return planned_mtu(steps)

    async def _take_ports(self, record: GuestRecord, sandbox: Sandbox) -> GuestRecord:
        """Take what a guest wishes to publish, write it, and return the guest with it."""
        if record.spec.hold_ports:
            ports = await self._ports.hold(record, sandbox, record.spec.ports)
        else:
            ports = self._ports.claim(record, sandbox)
        if ports != record.ports:
            record = replace(record, ports=ports)
            await self._state.save(Write(guests=[record]))
        return record

    # Planning --------------------------------------------------------------------------------

    def _plan(
        self, record: GuestRecord, sandbox: Sandbox, view: HostView, inside: NamespaceState
    ) -> Sequence[Step]:
        endpoint = sandbox.endpoints[0]
        network, driver = self._sandboxes.driver_of(endpoint)
        if record.spec.staged:
            staged = replace(sandbox, netns=HOST_NETNS)
            outer = view.state.links.get(endpoint.host_interface)
            return staged_steps(
                driver.plan_endpoint(network, endpoint, staged, view, in_namespace(endpoint, outer)).steps
            )
        if endpoint.interface in inside.links:
            fresh = driver.plan_endpoint(network, endpoint, sandbox, view, NamespaceState()).steps
            usual = planned_mtu(fresh)
            inside = seen_with_mtu(inside, endpoint.interface, usual)
            if record.spec.mtu:
                view = replace(view, state=seen_with_mtu(view.state, endpoint.host_interface, usual))
        planned = driver.plan_endpoint(network, endpoint, sandbox, view, inside).steps
        steps = with_mtu(planned, record.spec.mtu)
        loopback = inside.links.get("lo")
        if loopback is not None and not loopback.up:
            steps.insert(0, SetLink("lo", sandbox.netns, up=True))
        if record.spec.bandwidth.ingress_rate:
            # What is limited waits at the host's end, which a shortcut passes by.
            steps = [step for step in steps if not isinstance(step, AddShortcut)]
        made_anew = endpoint.interface not in inside.links
        steps += plan_routes(
            record.spec.routes, endpoint, network, sandbox.netns, () if steps else inside.routes
        )
        if made_anew:
            steps += plan_rates(record.spec.bandwidth, endpoint, sandbox.netns)
        return steps

    async def plan_repair(self, sandbox: Sandbox) -> Sequence[Step]:
        """Return what a guest's sandbox lacks; nothing if its namespace is not there any more (see `gc`)."""
        record = self._state.guests[sandbox.container_id]
        if record.spec.staged:
            return self._plan(record, sandbox, self._host.view, NamespaceState())
        if not await self._is_in_its_namespace(record):
            return []
        return self._plan(record, sandbox, self._host.view, await self._kernel.read(sandbox.netns))

    async def _is_in_its_namespace(self, record: GuestRecord) -> bool:
        sandbox = self._state.sandboxes[SandboxId(record.id)]
        return record.spec.staged or await self._kernel.netns_id(sandbox.netns) == record.netns_id

    async def _looks_gone(self, record: GuestRecord) -> bool:
        """Tell by the last look at the host whether nothing of a guest can be alive.

        While its link on the host is there, its namespace is, whatever became of the path.
        """
        sandbox = self._state.sandboxes[SandboxId(record.id)]
        host_end = sandbox.endpoints[0].host_interface
        links = self._host.view.state.links
        if host_end in links:
            return False
        if record.spec.staged and not sandbox.netns:
            return bool(host_end) or record.spec.interface not in links
        return await self._kernel.netns_id(sandbox.netns) != record.netns_id

    # Detaching -------------------------------------------------------------------------------

    async def remove(self, guest: ContainerId) -> bool:
        async with self._state.lock(guest):
            record = self._state.guests.get(guest)
            if record is None:
                return False
            await self._remove(record)
        return True

    async def _remove(self, record: GuestRecord) -> None:
        sandbox = self._state.sandboxes.get(SandboxId(record.id))
        network = self._state.networks.get(NetworkId(record.spec.network))
        write = Write(gone_guests=[record.id], gone_sandboxes=[SandboxId(record.id)])
        if sandbox is None or network is None:
            await self._forget(record, network, write)
            return
        self.names.withdraw(sandbox)
        publishing = self._ports.publishing(record, sandbox)
        for error in await self._kernel.remove(await self._plan_removal(record, sandbox)):
            _log.warning("%s: %s", _said(record.spec), error)
        await self._forget(record, network, write)
        await self._ports.unpublish(publishing)
        if record.ports and record.spec.hold_ports:
            await self._ports.release(record)
        await self.names.flush()
        for error in await self._presence.release([network]):
            _log.warning("taking network %s off this host: %s", network.name, error)
        self._emit(record.spec, network, "disconnect")

    async def _forget(self, record: GuestRecord, network: Network | None, write: Write) -> None:
        """Strike a guest off, with the addresses that it was given itself."""
        async with self._addresses.transaction(write) as transaction:
            if network is not None:
                self._addresses.release(network, record.id, transaction)

    async def _plan_removal(self, record: GuestRecord, sandbox: Sandbox) -> Sequence[Step]:
        endpoint = sandbox.endpoints[0]
        network, driver = self._sandboxes.driver_of(endpoint)
        at_home = replace(sandbox, netns="") if record.spec.staged else sandbox
        steps = list(driver.plan_endpoint_removal(network, endpoint, at_home, self._host.hot_view).steps)
        if record.spec.staged and not endpoint.host_interface:
            steps.append(DeleteLink(endpoint.interface))
        inside = any(getattr(step, "netns", "") for step in steps)
        if inside and not await self._is_in_its_namespace(record):
            # What it had there went with it. Whatever has its name in the namespace there now is another's.
            steps = [step for step in steps if not getattr(step, "netns", "")]
        return steps

    async def gc(self, keep: Callable[[GuestView], bool] | None = None) -> tuple[GuestView, ...]:
        if not self._state.guests:
            return ()
        await self._host.refresh()
        removed = []
        for record in list(self._state.guests.values()):
            if not self._is_whole(record):
                _log.error("%s is let go: its records are not whole", _said(record.spec))
                await self.remove(record.id)
                continue
            view = self._view(record)
            unwanted = keep is not None and not keep(view)
            if not unwanted and not await self._looks_gone(record):
                continue
            if await self._let_go(record.id, unless_there=not unwanted):
                removed.append(view)
                _log.info("%s is let go", _said(record.spec))
        return tuple(removed)

    async def _let_go(self, guest: ContainerId, *, unless_there: bool) -> bool:
        """Remove a guest, but for one that is there after all: it may just have been added."""
        async with self._state.lock(guest):
            record = self._state.guests.get(guest)
            if record is None:
                return False
            if unless_there:
                await self._host.refresh()
                if not await self._looks_gone(record):
                    return False
            await self._remove(record)
        return True

    def _is_whole(self, record: GuestRecord) -> bool:
        """Tell whether a guest has its sandbox, and that its network: a record may have been unreadable."""
        sandbox = self._state.sandboxes.get(SandboxId(record.id))
        return sandbox is not None and NetworkId(record.spec.network) in self._state.networks

    # Looking ---------------------------------------------------------------------------------

    async def check(self, guest: ContainerId) -> tuple[str, ...]:
        record = self._get(guest)
        sandbox = self._state.sandboxes[SandboxId(guest)]
        await self._host.refresh()
        inside = NamespaceState()
        if not record.spec.staged:
            if not await self._is_in_its_namespace(record):
                return (f"network namespace {sandbox.netns} is not the one that {_said(record.spec)} was in",)
            inside = await self._kernel.read(sandbox.netns)
        return tuple(step.describe() for step in self._plan(record, sandbox, self._host.view, inside))

    async def get(self, guest: ContainerId) -> GuestView:
        return self._view(self._get(guest))

    async def list(self, engine: str = "") -> tuple[GuestView, ...]:
        return tuple(
            self._view(record)
            for record in self._state.guests.values()
            if self._is_whole(record) and (not engine or record.spec.engine == engine)
        )

    def _get(self, guest: ContainerId) -> GuestRecord:
        record = self._state.guests.get(guest)
        if record is None or not self._is_whole(record):
            raise NotFound(f"no such guest: {short(guest)}")
        return record

    def _view(self, record: GuestRecord) -> GuestView:
        sandbox = self._state.sandboxes[SandboxId(record.id)]
        endpoint = sandbox.endpoints[0]
        network = self._state.networks[endpoint.network_id]
        link = self._host.view.state.links.get(endpoint.host_interface)
        return GuestView(record, network, endpoint, link.mtu if link else 0)

    # What becomes known later ----------------------------------------------------------------

    async def address(
        self, guest: ContainerId, addresses: tuple[str, ...], gateways: tuple[str, ...] = ()
    ) -> GuestView:
        async with self._state.lock(guest):
            record = self._get(guest)
            if not record.spec.unaddressed:
                raise Conflict(f"{_said(record.spec)} has its addresses already")
            spec = replace(record.spec, addresses=addresses, gateways=gateways, unaddressed=False)
            record = replace(record, spec=spec)
            sandbox = self._state.sandboxes[SandboxId(guest)]
            network, driver = self._sandboxes.driver_of(sandbox.endpoints[0])
            endpoint = replace(
                self._plan_endpoint(record, network, driver, *as_fixed(addresses)),
                id=sandbox.endpoints[0].id,
                host_interface=sandbox.endpoints[0].host_interface,
            )
            sandbox = replace(sandbox, endpoints=(endpoint,))
            await self._state.save(Write(guests=[record], sandboxes=[sandbox]))
            await self._make(record, sandbox, network, await self._kernel.read(sandbox.netns))
            return self._view(self._get(guest))

    async def publish(self, guest: ContainerId, ports: tuple[PortBinding, ...]) -> GuestView:
        async with self._state.lock(guest):
            record = self._get(guest)
            sandbox = self._state.sandboxes[SandboxId(guest)]
            if ports == record.spec.ports and bool(ports) == bool(record.ports):
                return self._view(record)
            before = self._ports.publishing(record, sandbox)
            cleared = replace(record, ports=(), spec=replace(record.spec, ports=()))
            await self._state.save(Write(guests=[cleared]))
            await self._ports.unpublish(before)
            if record.ports and record.spec.hold_ports:
                await self._ports.release(record)
            if not ports:
                return self._view(cleared)
            record = await self._take_ports(
                replace(cleared, spec=replace(cleared.spec, ports=ports)), sandbox
            )
            try:
                await self._ports.publish(self._ports.publishing(record, sandbox))
            except CarrickError:
                await self._state.save(Write(guests=[cleared]))
                if record.spec.hold_ports:
                    await self._ports.release(record)
                raise
            return self._view(record)

    async def settle(
        self,
        guest: ContainerId,
        *,
        netns: str | None = None,
        name: str | None = None,
        hostname: str | None = None,
        aliases: tuple[str, ...] | None = None,
        dns: GuestDns | None = None,
        container_id: str | None = None,
    ) -> GuestView:
        async with self._state.lock(guest):
            before = self._get(guest)
            old = self._state.sandboxes[SandboxId(guest)]
            spec = before.spec
            if aliases is not None:
                spec = replace(spec, settings=replace(spec.settings, aliases=aliases))
                check_settings(spec.settings)
            spec = replace(
                spec,
                name=spec.name if name is None else name,
                hostname=spec.hostname if hostname is None else hostname,
                dns=spec.dns if dns is None else dns,
                container_id=spec.container_id if container_id is None else container_id,
            )
            netns_id = before.netns_id
            sandbox = old
            if netns is not None and spec.staged:
                netns_id = await self._kernel.netns_id(netns) if netns else 0
                sandbox = replace(sandbox, netns=netns)
            record = replace(before, spec=spec, netns_id=netns_id)
            endpoint = replace(sandbox.endpoints[0], dns_names=record.dns_names)
            sandbox = replace(sandbox, endpoints=(endpoint,))
            if (record, sandbox) == (before, old):
                return self._view(record)
            if sandbox.netns != old.netns:
                self.names.withdraw(old)
            await self._state.save(Write(guests=[record], sandboxes=[sandbox]))
            self.names.publish(sandbox)
            await self.names.flush()
            return self._view(record)

    # Leases ----------------------------------------------------------------------------------

    async def lease(self, network: str, owner: str, address: str = "") -> str:
        found, driver = self._find_network(network)
        version = 6 if ":" in address or address == "6" else 4
        asked = "" if address == "6" else address
        if not driver.capabilities.addressed or found.pool(version) is None:
            raise InvalidRequest(f"network {found.name} has no IPv{version} addresses to give")
        wish = EndpointSettings(ipv4_address=asked) if version == 4 else EndpointSettings(ipv6_address=asked)
        await self._sandboxes.provide(found, owner, wish)
        async with self._addresses.transaction(Write()) as transaction:
            given = self._addresses.assign_one(found, owner, version, asked, transaction)
            endpoint = Endpoint(EndpointId(new_id()), found.id, found.name, 0)
            if version == 4:
                return driver.complete_endpoint(found, replace(endpoint, ipv4=given)).ipv4
            return driver.complete_endpoint(found, replace(endpoint, ipv6=given)).ipv6

    async def end_lease(self, network: str, owner: str) -> None:
        found = self._state.network_or_none(network)
        if found is not None:
            async with self._addresses.transaction(Write()) as transaction:
                self._addresses.release(found, owner, transaction)

    def _emit(self, spec: GuestSpec, network: Network, action: str) -> None:
        attributes = {
            "name": network.name,
            "type": network.driver,
            "container": spec.container_id,
            "engine": spec.engine,
        }
        self._events.emit("network", action, network.id, attributes)


def _said(spec: GuestSpec) -> str:
    return f"{spec.engine} container {spec.name or spec.container_id[:12]} ({spec.interface})"


def _takes_default_route(spec: GuestSpec, inside: NamespaceState) -> bool:
    if spec.default_route is not None:
        return spec.default_route
    return not any(route.destination in {"default", "::/0"} for route in inside.routes)
