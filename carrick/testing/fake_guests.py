"""Guests in memory: they get addresses of the fake networks' pools, and no kernel."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING

from ..domains.sandboxes.interfaces import choose_mac
from ..engine.values import GuestRecord, GuestView, PublishedPort
from ..model.containers import PortBinding
from ..model.errors import Conflict, Failed, NotFound
from ..model.guests import GuestDns, GuestSpec
from ..model.ids import ContainerId, EndpointId, NetworkId, short
from ..model.networks import Endpoint, Network
from .fake_ids import make_id

if TYPE_CHECKING:
    from .fake_engine import FakeEngine


class FakeGuests:
    """`missing` are namespaces that do not exist, `taken` host ports that somebody has; `problems` is what
    `check` finds. `failure`, if set, is raised by the next `add`."""

    def __init__(self, engine: "FakeEngine") -> None:
        self._engine = engine
        self.views: dict[ContainerId, GuestView] = {}
        self.leases: dict[tuple[str, str, int], str] = {}
        self.missing: set[str] = set()
        self.taken: set[int] = set()
        self.problems: tuple[str, ...] = ()
        self.failure: Exception | None = None

    async def add(self, spec: GuestSpec) -> GuestView:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if spec.id in self.views:
            raise Conflict(
                f"{spec.engine} container {spec.container_id} ({spec.interface}) is attached already"
            )
        network = (await self._engine.networks.get(spec.network)).network
        if spec.netns in self.missing:
            raise NotFound(f"network namespace {spec.netns} does not exist")
        if any(
            v.spec.netns == spec.netns and v.spec.interface == spec.interface for v in self.views.values()
        ):
            raise Conflict(f"there is an interface {spec.interface} in {spec.netns} already")
        has_default = spec.default_route is not False
        endpoint = self._endpoint(spec, network, has_default)
        ports = self._ports(spec.ports)
        now = datetime.now(UTC)
        view = GuestView(GuestRecord(spec, now, has_default, ports, 1), network, endpoint, spec.mtu or 1500)
        self.views[spec.id] = view
        self._engine.journal.append(f"guest add {spec.engine} {spec.key} {network.name}")
        return view

    def _endpoint(self, spec: GuestSpec, network: Network, has_default: bool) -> Endpoint:
        found = {4: "", 6: ""}
        for text in spec.addresses:
            found[ip_interface(text).version] = text
        if not spec.addresses and not spec.unaddressed:
            asked = {4: spec.settings.ipv4_address, 6: spec.settings.ipv6_address}
            for pool in network.pools:
                owner = spec.lease or spec.id
                wish = asked[pool.version] or self._first_in(spec.ranges, pool.version)
                found[pool.version] = self._assign(network, owner, pool.version, wish)
        gateways = {pool.version: pool.gateway for pool in network.pools if has_default}
        return Endpoint(
            EndpointId(make_id("endpoint", next(self._engine.serial))),
            NetworkId(network.id),
            network.name,
            0,
            spec.settings,
            interface=spec.interface,
            host_interface=f"ck{spec.id[:12]}",
            mac_address=spec.settings.mac_address or choose_mac(spec.id),
            ipv4=found[4],
            ipv6=found[6],
            gateway4=gateways.get(4, ""),
            gateway6=gateways.get(6, ""),
        )

    def _first_in(self, ranges: tuple[tuple[str, str], ...], version: int) -> str:
        taken = {ip_interface(item).ip for item in self.leases.values()}
        for first, last in ranges:
            low, high = ip_address(first), ip_address(last)
            if low.version == version:
                wanted = (low + offset for offset in range(int(high) - int(low) + 1))
                return str(next(address for address in wanted if address not in taken))
        return ""

    def _assign(self, network: Network, owner: str, version: int, asked: str) -> str:
        key = (network.id, owner, version)
        if key in self.leases:
            return self.leases[key]
        pool = network.pool(version)
        if pool is None:
            raise NotFound(f"network {network.name} has no IPv{version} pool")
        subnet = ip_network(pool.subnet)
        taken = {ip_interface(item).ip for item in self.leases.values()}
        if asked:
            if ip_interface(asked).ip in taken:
                raise Failed("Address already in use")
            chosen = str(ip_interface(asked).ip)
        else:
            gateway = pool.gateway
            chosen = next(str(ip) for ip in subnet.hosts() if str(ip) != gateway and ip not in taken)
        self.leases[key] = f"{chosen}/{subnet.prefixlen}"
        return self.leases[key]

    def _ports(self, bindings: tuple[PortBinding, ...]) -> tuple[PublishedPort, ...]:
        made = []
        for item in bindings:
            port = int(item.host_port or 32768 + next(self._engine.serial))
            if port in self.taken:
                raise Failed(f"Bind for 0.0.0.0:{port} failed: port is already allocated")
            made.append(PublishedPort(item.container_port, item.protocol, item.host_ip or "0.0.0.0", port))
        return tuple(made)

    async def remove(self, guest: ContainerId) -> bool:
        view = self.views.pop(guest, None)
        if view is None:
            return False
        for version in (4, 6):
            self.leases.pop((view.network.id, guest, version), None)
        self._engine.journal.append(f"guest remove {view.spec.engine} {view.spec.key}")
        return True

    async def check(self, guest: ContainerId) -> tuple[str, ...]:
        self._find(guest)
        return self.problems

    async def get(self, guest: ContainerId) -> GuestView:
        return self._find(guest)

    async def list(self, engine: str = "") -> tuple[GuestView, ...]:
        return tuple(view for view in self.views.values() if not engine or view.spec.engine == engine)

    async def address(
        self, guest: ContainerId, addresses: tuple[str, ...], gateways: tuple[str, ...] = ()
    ) -> GuestView:
        view = self._find(guest)
        spec = replace(view.spec, addresses=addresses, gateways=gateways, unaddressed=False)
        endpoint = self._endpoint(spec, view.network, view.record.has_default_route)
        self.views[guest] = replace(view, record=replace(view.record, spec=spec), endpoint=endpoint)
        return self.views[guest]

    async def publish(self, guest: ContainerId, ports: tuple[PortBinding, ...]) -> GuestView:
        view = self._find(guest)
        record = replace(view.record, ports=self._ports(ports), spec=replace(view.spec, ports=ports))
        self.views[guest] = replace(view, record=record)
        return self.views[guest]

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
        view = self._find(guest)
        spec = view.spec
        if aliases is not None:
            spec = replace(spec, settings=replace(spec.settings, aliases=aliases))
        spec = replace(
            spec,
            name=spec.name if name is None else name,
            hostname=spec.hostname if hostname is None else hostname,
            dns=spec.dns if dns is None else dns,
            container_id=spec.container_id if container_id is None else container_id,
            netns=spec.netns if netns is None else netns,
        )
        self.views[guest] = replace(view, record=replace(view.record, spec=spec))
        return self.views[guest]

    async def gc(self, keep: Callable[[GuestView], bool] | None = None) -> tuple[GuestView, ...]:
        gone = tuple(
            view
            for view in self.views.values()
            if view.spec.netns in self.missing or (keep is not None and not keep(view))
        )
        for view in gone:
            await self.remove(view.record.id)
        return gone

    async def lease(self, network: str, owner: str, address: str = "") -> str:
        found = (await self._engine.networks.get(network)).network
        version = 6 if ":" in address or address == "6" else 4
        return self._assign(found, owner, version, "" if address == "6" else address)

    async def end_lease(self, network: str, owner: str) -> None:
        for key in [key for key in self.leases if key[1] == owner]:
            del self.leases[key]

    def _find(self, guest: ContainerId) -> GuestView:
        try:
            return self.views[guest]
        except KeyError:
            raise NotFound(f"no such guest: {short(guest)}") from None
