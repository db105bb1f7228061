"""The index of names: takes snapshots and changes in, finds addresses by name and back.

A change set is checked whole before the first of it is made, so a bad one changes nothing.
`touched` results tell which sandboxes' cached answers are stale.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from types import MappingProxyType
from typing import TypeVar

from ...model.errors import InvalidRequest, NotFound
from .names import Address, Name, Subnet, fold, parse_address, parse_name
from .protocol import (
    Change,
    PutEndpoint,
    PutNetwork,
    PutSandbox,
    RemoveEndpoint,
    RemoveNetwork,
    RemoveSandbox,
    Snapshot,
)
from .zone import EndpointRecord, LocalFirst, NetworkZone, SandboxView

_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class _Endpoint:
    record: EndpointRecord
    names: tuple[Name, ...]
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A name's addresses, each once. The first `near` of them stay ahead of the others."""

    addresses: tuple[Address, ...] = ()
    near: int = 0


@dataclass(slots=True)
class NetworkIndex:
    """One network's names, both ways. Endpoints stand in order of arrival."""

    zone: NetworkZone
    suffix: Name | None
    subnets: tuple[Subnet, ...]
    endpoints: dict[str, _Endpoint] = field(default_factory=dict)
    by_name: dict[Name, dict[str, None]] = field(default_factory=dict)
    by_address: dict[Address, dict[str, None]] = field(default_factory=dict)

    def addresses(self, name: Name) -> Found:
        """Return the addresses behind a folded name; none if the name is unknown."""
        wish = self.zone.local_first
        near: dict[Address, None] = {}
        far: dict[Address, None] = {}
        for endpoint_id in self.by_name.get(name, ()):
            endpoint = self.endpoints[endpoint_id]
            ahead = wish is not LocalFirst.OFF and endpoint.record.local
            (near if ahead else far).update(dict.fromkeys(endpoint.addresses))
        if not near:
            return Found(tuple(far))
        if wish is LocalFirst.ONLY:
            return Found(tuple(near))
        return Found((*near, *(address for address in far if address not in near)), len(near))

    def knows(self, name: Name) -> bool:
        """Whether some endpoint bears the folded name."""
        return name in self.by_name

    def first_name(self, address: Address) -> str | None:
        """Return the first name of the endpoint that has the address."""
        for endpoint_id in sorted(self.by_address.get(address, ())):
            if names := self.endpoints[endpoint_id].record.names:
                return names[0]
        return None

    def put(self, endpoint: _Endpoint) -> None:
        key = endpoint.record.endpoint_id
        self.remove(key)
        self.endpoints[key] = endpoint
        for name in endpoint.names:
            self.by_name.setdefault(name, {})[key] = None
        for address in endpoint.addresses:
            self.by_address.setdefault(address, {})[key] = None

    def remove(self, endpoint_id: str) -> None:
        endpoint = self.endpoints.pop(endpoint_id, None)
        if endpoint is None:
            return
        for name in endpoint.names:
            _drop(self.by_name, name, endpoint_id)
        for address in endpoint.addresses:
            _drop(self.by_address, address, endpoint_id)


def _drop(index: dict[_K, dict[str, None]], key: _K, member: str) -> None:
    members = index[key]
    del members[member]
    if not members:
        del index[key]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A view with its names and addresses parsed. Keys are folded."""

    view: SandboxView
    hosts: Mapping[Name, tuple[Address, ...]]
    links: Mapping[Name, tuple["Link", ...]]


@dataclass(frozen=True, slots=True)
class Link:
    """A parsed link alias; an empty `network_id` is any network."""

    target: Name | None
    addresses: tuple[Address, ...]
    network_id: str


@dataclass(frozen=True, slots=True)
class Touched:
    """What an update changed.

    `everything` is a snapshot, or a network that came or went: its reverse zone is everybody's.
    """

    networks: frozenset[str] = frozenset()
    sandboxes: frozenset[str] = frozenset()
    everything: bool = False


class ZoneTable:
    """All networks and sandboxes. Not thread-safe; the process has one thread."""

    def __init__(self) -> None:
        self._networks: dict[str, NetworkIndex] = {}
        self._sandboxes: dict[str, Sandbox] = {}

    @property
    def networks(self) -> Mapping[str, NetworkIndex]:
        """The networks by id."""
        return MappingProxyType(self._networks)

    @property
    def sandboxes(self) -> Mapping[str, Sandbox]:
        """The sandboxes by id."""
        return MappingProxyType(self._sandboxes)

    def sandbox(self, sandbox_id: str) -> Sandbox:
        """Return a sandbox or raise NotFound."""
        try:
            return self._sandboxes[sandbox_id]
        except KeyError:
            raise NotFound(f"no sandbox {sandbox_id} is known to carrick-dns") from None

    def load(self, snapshot: Snapshot) -> Touched:
        """Replace everything. Raises InvalidRequest and then has changed nothing."""
        networks = {zone.network_id: _index(zone) for zone in snapshot.networks}
        sandboxes = {view.sandbox_id: _sandbox(view) for view in snapshot.sandboxes}
        self._networks, self._sandboxes = networks, sandboxes
        return Touched(everything=True)

    def apply(self, changes: Iterable[Change]) -> Touched:
        """Make the changes in order. Raises InvalidRequest and then has changed nothing."""
        steps = self._check(changes)
        networks: set[str] = set()
        sandboxes: set[str] = set()
        everything = False
        for change, parsed in steps:
            match change:
                case PutNetwork():
                    assert isinstance(parsed, NetworkIndex)
                    self._networks[change.network.network_id] = parsed
                    everything = True
                case RemoveNetwork():
                    self._networks.pop(change.network_id, None)
                    everything = True
                case PutEndpoint():
                    assert isinstance(parsed, _Endpoint)
                    self._networks[change.network_id].put(parsed)
                    networks.add(change.network_id)
                case RemoveEndpoint():
                    if index := self._networks.get(change.network_id):
                        index.remove(change.endpoint_id)
                        networks.add(change.network_id)
                case PutSandbox():
                    assert isinstance(parsed, Sandbox)
                    self._sandboxes[change.view.sandbox_id] = parsed
                    sandboxes.add(change.view.sandbox_id)
                case RemoveSandbox():
                    self._sandboxes.pop(change.sandbox_id, None)
                    sandboxes.add(change.sandbox_id)
        return Touched(frozenset(networks), frozenset(sandboxes), everything)

    def snapshot(self, revision: int) -> Snapshot:
        """Return everything, so that `load` of it gives an equal table."""
        networks = tuple(
            replace(index.zone, endpoints=tuple(endpoint.record for endpoint in index.endpoints.values()))
            for index in self._networks.values()
        )
        return Snapshot(revision, networks, tuple(box.view for box in self._sandboxes.values()))

    def is_ours(self, prefix: Address, bits: int) -> bool:
        """Whether a reverse name of that many bits lies in a subnet whose reverse zone is ours."""
        return any(
            bits >= subnet.prefixlen and prefix in subnet
            for index in self._networks.values()
            for subnet in index.subnets
            if subnet.version == prefix.version
        )

    def _check(
        self, changes: Iterable[Change]
    ) -> list[tuple[Change, NetworkIndex | _Endpoint | Sandbox | None]]:
        known = set(self._networks)
        steps: list[tuple[Change, NetworkIndex | _Endpoint | Sandbox | None]] = []
        for change in changes:
            parsed: NetworkIndex | _Endpoint | Sandbox | None = None
            match change:
                case PutNetwork():
                    parsed = _index(change.network)
                    known.add(change.network.network_id)
                case RemoveNetwork():
                    known.discard(change.network_id)
                case PutEndpoint():
                    if change.network_id not in known:
                        raise InvalidRequest(
                            f"endpoint {change.endpoint.endpoint_id}: network {change.network_id}"
                            " is not known to carrick-dns; put the network first"
                        )
                    parsed = _endpoint(change.endpoint)
                case PutSandbox():
                    parsed = _sandbox(change.view)
                case RemoveEndpoint() | RemoveSandbox():
                    pass
            steps.append((change, parsed))
        return steps


def _index(zone: NetworkZone) -> NetworkIndex:
    suffix = parse_name(zone.name)
    subnets = []
    for text in zone.subnets:
        try:
            subnets.append(ip_network(text, strict=False))
        except ValueError as error:
            raise InvalidRequest(f"network {zone.name}: {text!r} is not a subnet") from error
    index = NetworkIndex(replace(zone, endpoints=()), fold(suffix) if suffix else None, tuple(subnets))
    for record in zone.endpoints:
        index.put(_endpoint(record))
    return index


def _endpoint(record: EndpointRecord) -> _Endpoint:
    parsed = (parse_name(name) for name in record.names)
    names = tuple(dict.fromkeys(fold(name) for name in parsed if name))
    what = f"endpoint {record.endpoint_id}"
    return _Endpoint(record, names, _addresses(record.addresses, what))


def _addresses(texts: Iterable[str], what: str) -> tuple[Address, ...]:
    return tuple(dict.fromkeys(parse_address(text, what) for text in texts))


def _sandbox(view: SandboxView) -> Sandbox:
    what = f"sandbox {view.sandbox_id}"
    if not view.sandbox_id or not view.netns_path.startswith("/"):
        raise InvalidRequest(f"{what}: netns_path {view.netns_path!r} must be an absolute path")
    hosts: dict[Name, tuple[Address, ...]] = {}
    for host in view.extra_hosts:
        if name := parse_name(host.name):
            more = _addresses(host.addresses, f"{what}: host {host.name}")
            hosts[fold(name)] = tuple(dict.fromkeys(hosts.get(fold(name), ()) + more))
    links: dict[Name, tuple[Link, ...]] = {}
    for link in view.links:
        if name := parse_name(link.alias):
            target = parse_name(link.target) if link.target else None
            addresses = _addresses(link.addresses, f"{what}: link {link.alias}")
            parsed = Link(fold(target) if target else None, addresses, link.network_id)
            links[fold(name)] = (*links.get(fold(name), ()), parsed)
    for server in view.servers:
        parse_address(server.address, f"{what}: server")
        if not (0 < server.port < 65536 and 0 <= server.tcp_port < 65536):
            raise InvalidRequest(f"{what}: {server.port}/{server.tcp_port} is not a port")
    return Sandbox(view, hosts, links)
