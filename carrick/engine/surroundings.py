"""What the processes in a sandbox find around them: hosts, resolv.conf, hostname, and their view of names.

The files are bind-mounted into containers, so they are written in place; what a container writes into them
itself is left alone.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from ..domains.dns.zone import HostRecord, LinkAlias, SandboxView, UpstreamServer
from ..domains.sandboxes.files import (
    HostEntry,
    host_names,
    parse_extra_host,
    render_hosts,
    render_resolv_conf,
)
from ..domains.sandboxes.interfaces import elect_gateways, gateway_order
from ..domains.sandboxes.links import parse_link
from ..host.config import Config
from ..model.ids import SandboxId, short
from ..model.networks import Endpoint, EndpointSettings, Sandbox
from .host import Host
from .state import State
from .values import ContainerRecord

_HOST_NAMES = ("host.docker.internal", "host.carrick.internal")


class Surroundings:
    def __init__(self, config: Config, state: State, host: Host) -> None:
        self._config = config
        self._state = state
        self._host = host

    def directory(self, sandbox_id: SandboxId) -> Path:
        """Return the directory of the sandbox's hosts, resolv.conf and hostname."""
        return self._config.state_dir / "sandboxes" / sandbox_id

    def view(self, record: ContainerRecord, sandbox: Sandbox) -> SandboxView:
        """Return what the resolver must know of one sandbox."""
        host = record.host_config
        order = gateway_order(sandbox.endpoints)
        options = host.dns_options or self._config.dns_options
        servers = host.dns or tuple(item for e in order for item in e.dns) or self._config.dns
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

    def write(self, record: ContainerRecord, sandbox: Sandbox | None) -> None:
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

    def remove(self, record: ContainerRecord) -> None:
        """Delete the files that `write` made for a container."""
        self.remove_directory(self.directory(SandboxId(record.id)))

    @staticmethod
    def remove_directory(path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)

    def edit_hosts(
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


def _write_in_place(path: Path, text: str) -> None:
    """Overwrite the file itself: it is bind-mounted into containers, which would keep a replaced one."""
    with path.open("r+" if path.exists() else "w") as file:
        file.write(text)
        file.truncate()
