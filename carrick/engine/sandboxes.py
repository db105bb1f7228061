"""Sandboxes: bring a container's network up and down, connect and disconnect it, keep its files and names.

A sandbox is one namespace with its endpoints. What should be is written first (`plan_up`), then made
(`bring_up`); what a killed daemon left half made, the same steps finish at its next start. Endpoint ids are
new at every start, so that a link of the last run, which the kernel may still be taking down, is never in
the way; addresses and MAC addresses belong to the sandbox and stay.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..domains.dns.zone import HostRecord, LinkAlias, SandboxView, UpstreamServer
from ..domains.sandboxes.files import (
    HostEntry,
    host_names,
    parse_extra_host,
    render_hosts,
    render_resolv_conf,
)
from ..domains.sandboxes.interfaces import choose_mac, elect_gateways, gateway_order, next_index
from ..domains.sandboxes.links import parse_link
from ..drivers.contract import Driver, HostView
from ..drivers.registry import DriverRegistry
from ..host.config import Config
from ..host.kernel import Kernel
from ..model.errors import CarrickError, Denied, InvalidRequest
from ..model.ids import EndpointId, NetworkId, SandboxId, short
from ..model.networks import Endpoint, EndpointSettings, Network, Sandbox
from ..model.steps import (
    AddRoute,
    CreateNetns,
    DeleteLink,
    DeleteNetns,
    NamespaceState,
    RemoveRoute,
    RouteState,
    SetLink,
    SetSysctl,
    Step,
)
from .addresses import Addresses, Transaction
from .clock import new_id
from .events import EventBus
from .host import Host
from .names import NameService
from .state import State, Write
from .values import Attachment, ContainerRecord

_log = logging.getLogger(__name__)
_HOST_NAMES = ("host.docker.internal", "host.carrick.internal")


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
        names: NameService,
        events: EventBus,
    ) -> None:
        self._config = config
        self._state = state
        self._addresses = addresses
        self._drivers = drivers
        self._kernel = kernel
        self._host = host
        self._names = names
        self._events = events

    # Where things are ------------------------------------------------------------------------

    def netns_path(self, sandbox_id: SandboxId) -> Path:
        return self._config.run_dir / "netns" / short(sandbox_id)

    def directory(self, sandbox_id: SandboxId) -> Path:
        """Return the directory of the sandbox's hosts, resolv.conf and hostname."""
        return self._config.state_dir / "sandboxes" / sandbox_id

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
    ) -> Endpoint:
        """Return a new endpoint with everything it is given, its addresses in `transaction`.

        An endpoint that the sandbox had on this network before gives it its place and its address.
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
        ipv4 = ipv6 = ""
        if driver.capabilities.addressed:
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
        """Give every attachment an endpoint, and write the sandbox, now active, with `write`."""
        networks = [(self.resolve(item), item.settings) for item in record.attachments]
        async with self._addresses.transaction(write) as transaction:
            current = sandbox
            endpoints: list[Endpoint] = []
            for network, settings in networks:
                if network.driver == "null":
                    continue
                endpoint = self.plan_endpoint(record, current, network, settings, transaction)
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

    # Making it so ----------------------------------------------------------------------------

    async def open(self, sandbox: Sandbox) -> None:
        """Create the namespace itself, so that the runtime can put a process into it."""
        await self._kernel.apply(_namespace_steps(sandbox))

    async def bring_up(self, sandbox: Sandbox) -> None:
        """Make every endpoint, in a namespace that is new (`open`), in one visit to the kernel."""
        await self._kernel.apply(self.plan(sandbox, self._host.hot_view, NamespaceState()))

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
        return await self._kernel.remove(steps)

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
        self._names.put_sandbox(self.sandbox_view(record, sandbox))

    def withdraw_names(self, sandbox: Sandbox) -> None:
        for endpoint in sandbox.endpoints:
            self._names.remove_endpoint(endpoint.network_id, endpoint.id)
        self._names.remove_sandbox(sandbox.id)

    def sandbox_view(self, record: ContainerRecord, sandbox: Sandbox) -> SandboxView:
        """Return what the resolver must know of one sandbox."""
        host = record.host_config
        order = gateway_order(sandbox.endpoints)
        options = host.dns_options or self._config.dns_options
        servers = host.dns or self._config.dns
        extra = [HostRecord(name, (address,)) for name, address in self.extra_hosts(record, sandbox)]
        extra += [HostRecord(name, self.host_addresses(sandbox)) for name in _HOST_NAMES]
        links = [
            LinkAlias(alias, target=target.name, network_id=str(endpoint.network_id))
            for target, alias, endpoint in self.links(record, sandbox)
        ]
        return SandboxView(
            sandbox_id=sandbox.id,
            netns_path=sandbox.netns,
            networks=tuple(endpoint.network_id for endpoint in order),
            links=tuple(links),
            extra_hosts=tuple(item for item in extra if item.addresses),
            servers=tuple(UpstreamServer(server) for server in servers),
            use_host_servers=not servers,
            ndots_set=any(item.startswith("ndots:") for item in options),
            external=any(item.gateway4 or item.gateway6 for item in sandbox.endpoints),
        )

    def links(self, record: ContainerRecord, sandbox: Sandbox) -> list[tuple[ContainerRecord, str, Endpoint]]:
        """Return the linked containers that exist, with alias and the endpoint of ours that links."""
        found = []
        for endpoint in sandbox.endpoints:
            texts = endpoint.settings.links
            if endpoint.network_name == "bridge" or not texts:
                texts = texts or record.host_config.links
            for text in texts:
                name, alias = parse_link(text)
                target = self._state.container_named(name) or self._state.containers.get(name)  # type: ignore[call-overload]
                if target is not None:
                    found.append((target, alias, endpoint))
        return found

    def host_addresses(self, sandbox: Sandbox) -> tuple[str, ...]:
        """Return the host's addresses as this sandbox can reach them: its gateways."""
        if self._config.host_gateway_ips:
            return self._config.host_gateway_ips
        gateways = elect_gateways(sandbox.endpoints)
        found = []
        for network_id, version in ((gateways.ipv4, 4), (gateways.ipv6, 6)):
            network = self._state.networks.get(network_id) if network_id else None
            pool = network.pool(version) if network and network.driver == "bridge" else None
            if pool is not None and pool.gateway:
                found.append(pool.gateway)
        return tuple(found)

    def extra_hosts(self, record: ContainerRecord, sandbox: Sandbox) -> list[tuple[str, str]]:
        """Return `--add-host` names with their addresses, `host-gateway` resolved."""
        found = []
        for item in record.host_config.extra_hosts:
            name, address = parse_extra_host(item)
            if address == "host-gateway":
                found += [(name, gateway) for gateway in self.host_addresses(sandbox)]
            else:
                found.append((name, address))
        return found

    def write_files(self, record: ContainerRecord, sandbox: Sandbox | None) -> None:
        """Write hosts, resolv.conf and hostname; with no sandbox, those of the host's namespace."""
        directory = self.directory(sandbox.id if sandbox else SandboxId(record.id))
        directory.mkdir(parents=True, exist_ok=True)
        _write_in_place(directory / "hostname", hostname(record) + "\n")
        _write_in_place(directory / "hosts", self._render_hosts(record, sandbox))
        host = self._host.resolv_conf()
        host_config, config = record.host_config, self._config
        text = render_resolv_conf(
            host,
            dns=host_config.dns or config.dns,
            search=host_config.dns_search or config.dns_search,
            options=host_config.dns_options or config.dns_options,
            internal_resolver=sandbox is not None and bool(sandbox.endpoints),
        )
        self._write_resolv_conf(directory, text)

    def _render_hosts(self, record: ContainerRecord, sandbox: Sandbox | None) -> str:
        if sandbox is None:
            if record.host_config.extra_hosts:
                pairs = [parse_extra_host(item) for item in record.host_config.extra_hosts]
                return render_hosts(HostEntry(address, name) for name, address in pairs)
            try:
                return Path("/etc/hosts").read_text()
            except OSError:
                return render_hosts(())
        entries = [HostEntry(address, name) for name, address in self.extra_hosts(record, sandbox)]
        entries += self._link_entries(record, sandbox)
        entries += own_entries(record, sandbox.endpoints)
        return render_hosts(entries)

    def _link_entries(self, record: ContainerRecord, sandbox: Sandbox) -> list[HostEntry]:
        """Lines for links on the default network, which have been in hosts since before there was DNS."""
        entries = []
        for target, alias, endpoint in self.links(record, sandbox):
            if endpoint.network_name != "bridge":
                continue
            other = self._state.sandboxes.get(target.sandbox_id) if target.sandbox_id else None
            theirs = other.endpoint(endpoint.network_id) if other else None
            if theirs is not None:
                names = dict.fromkeys((alias, hostname(target), target.name))
                entries.append(HostEntry(theirs.ipv4_address, " ".join(names)))
        return entries

    @staticmethod
    def _write_resolv_conf(directory: Path, text: str) -> None:
        """Write resolv.conf unless it was edited from inside: then it is the container's own."""
        path, written = directory / "resolv.conf", directory / "resolv.conf.written"
        if path.exists() and written.exists() and path.read_text() != written.read_text():
            return
        _write_in_place(path, text)
        _write_in_place(written, text)

    def remove_files(self, record: ContainerRecord) -> None:
        """Delete the files that `write_files` made for a container."""
        self.remove_directory(self.directory(SandboxId(record.id)))

    @staticmethod
    def remove_directory(path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)

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
        write = Write()
        async with self._addresses.transaction(write) as transaction:
            endpoint = self.plan_endpoint(record, sandbox, network, settings, transaction)
            _check_interfaces((*sandbox.endpoints, endpoint))
            after = replace(sandbox, endpoints=(*sandbox.endpoints, endpoint))
            write.sandboxes.append(after)
            write.containers.append(
                replace(record, attachments=(*record.attachments, Attachment(network.name, settings)))
            )
        driver = self._drivers.get(network.driver)
        steps: list[Step] = list(
            driver.plan_endpoint(network, endpoint, after, self._host.hot_view, NamespaceState()).steps
        )
        steps += plan_route_change(sandbox, after)
        try:
            await self._kernel.apply(steps)
        except CarrickError:
            await self.drop_endpoint(record, after, endpoint)
            raise
        self._edit_hosts(after, add=own_entries(record, [endpoint]))
        self.publish_names(record, after)
        await self._names.flush()
        return after

    async def disconnect(self, record: ContainerRecord, sandbox: Sandbox, endpoint: Endpoint) -> Sandbox:
        """Remove an endpoint from a running sandbox."""
        self._names.remove_endpoint(endpoint.network_id, endpoint.id)
        after = await self.drop_endpoint(record, sandbox, endpoint)
        self._edit_hosts(after, remove=own_entries(record, [endpoint]))
        self._names.put_sandbox(self.sandbox_view(record, after))
        await self._names.flush()
        return after

    async def drop_endpoint(self, record: ContainerRecord, sandbox: Sandbox, endpoint: Endpoint) -> Sandbox:
        """Take an endpoint out of the kernel, then out of the records, its address last of all."""
        network, driver = self.driver_of(endpoint)
        after = replace(sandbox, endpoints=tuple(e for e in sandbox.endpoints if e.id != endpoint.id))
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
        return after

    def _is_on(self, attachment: Attachment, network: Network) -> bool:
        found = self._state.network_or_none(
            "bridge" if attachment.network == "default" else attachment.network
        )
        return found is not None and found.id == network.id

    def _edit_hosts(
        self, sandbox: Sandbox, add: Sequence[HostEntry] = (), remove: Sequence[HostEntry] = ()
    ) -> None:
        """Add and remove whole lines, leaving what a container wrote itself."""
        path = self.directory(sandbox.id) / "hosts"
        try:
            lines = path.read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return
        gone = {entry.render() for entry in remove}
        lines = [line for line in lines if line not in gone]
        lines += [entry.render() for entry in add if entry.render() not in lines]
        _write_in_place(path, "".join(lines))

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
                if network.name == "bridge" or not network.pools:
                    continue
                try:
                    self._addresses.assign(
                        network, sandbox.id, settings.ipv4_address, settings.ipv6_address, transaction
                    )
                except CarrickError as error:
                    _log.info("container %s: %s", record.name, error)


def dns_names(record: ContainerRecord, settings: EndpointSettings) -> tuple[str, ...]:
    """Return an endpoint's names in Docker's order: name, aliases, short id, host name."""
    names = (record.name, *settings.aliases, short(record.id), hostname(record))
    return tuple(dict.fromkeys(filter(None, names)))


def hostname(record: ContainerRecord) -> str:
    return record.config.hostname or short(record.id)


def own_entries(record: ContainerRecord, endpoints: Sequence[Endpoint]) -> list[HostEntry]:
    names = host_names(hostname(record), record.config.domainname)
    return [
        HostEntry(address, names)
        for endpoint in endpoints
        for address in (endpoint.ipv4_address, endpoint.ipv6_address)
        if address
    ]


def plan_default_routes(sandbox: Sandbox, routes: Sequence[RouteState]) -> list[Step]:
    """Return the steps that put the default routes where the election says, none where they are."""
    gateways = elect_gateways(sandbox.endpoints)
    steps: list[Step] = []
    for version, network_id in ((4, gateways.ipv4), (6, gateways.ipv6)):
        destination = "default" if version == 4 else "::/0"
        current = next((route for route in routes if route.destination == destination), None)
        wanted = _default_route(sandbox, network_id, version)
        if wanted is None:
            if current is not None:
                steps.append(RemoveRoute("default", sandbox.netns, version))
        elif current is None or (current.link, current.via) != (wanted.link, wanted.via):
            steps.append(wanted)
    return steps


def plan_route_change(before: Sandbox, after: Sandbox) -> list[Step]:
    """Return the steps for default routes when endpoints changed, without looking at the kernel."""
    old, new = elect_gateways(before.endpoints), elect_gateways(after.endpoints)
    steps: list[Step] = []
    for version, was, now in ((4, old.ipv4, new.ipv4), (6, old.ipv6, new.ipv6)):
        # A route through an interface that is gone is gone with it; only a new one has to be put.
        wanted = _default_route(after, now, version) if now != was else None
        if wanted is not None:
            steps.append(wanted)
    return steps


def _default_route(sandbox: Sandbox, network_id: NetworkId | None, version: int) -> AddRoute | None:
    endpoint = sandbox.endpoint(network_id) if network_id else None
    if endpoint is None:
        return None
    via = endpoint.gateway6 if version == 6 else endpoint.gateway4
    # The unspecified address stands for "on the link" (ipvlan's l3 modes).
    return AddRoute(
        "default", endpoint.interface, "" if via in {"0.0.0.0", "::"} else via, sandbox.netns, version
    )


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


def _check_interfaces(endpoints: Sequence[Endpoint]) -> None:
    seen: dict[str, str] = {}
    for endpoint in endpoints:
        if endpoint.interface in seen:
            raise InvalidRequest(
                f"networks {seen[endpoint.interface]} and {endpoint.network_name} would both use the "
                f"interface name {endpoint.interface} in this container"
            )
        seen[endpoint.interface] = endpoint.network_name


def _write_in_place(path: Path, text: str) -> None:
    """Overwrite the file itself: it is bind-mounted into containers, which would keep a replaced one."""
    with path.open("r+" if path.exists() else "w") as file:
        file.write(text)
        file.truncate()
