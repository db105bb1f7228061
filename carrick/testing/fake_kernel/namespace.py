"""What one namespace of the fake holds, and what of it comes and goes with a link's state."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface

from ...model.errors import NotFound
from ...model.observed import Neighbour, VxlanState, WireguardState
from ...model.steps import MAIN_TABLE, ROUTE_PROTOCOL, RouteKind, Rule
from .sysctls import Sysctls


@dataclass(slots=True, eq=False)
class Link:
    name: str
    kind: str
    index: int
    mac: str = ""
    mtu: int = 1500
    up: bool = False
    alias: str = ""
    master: "Link | None" = None
    parent: "Link | None" = None
    peer: "Link | None" = None
    addresses: list[str] = field(default_factory=list)
    mode: str = ""
    vxlan: VxlanState | None = None
    wireguard: WireguardState | None = None
    port: dict[str, bool] = field(default_factory=dict)
    fdb: dict[str, list[str]] = field(default_factory=dict)
    bridge_rows: set[str] = field(default_factory=set)
    rate: int = 0
    shortcut: str = ""
    """The tunnel whose shortcut it takes part in."""
    neighbours: dict[str, Neighbour] = field(default_factory=dict)

    def set_mac(self, mac: str) -> None:
        """Change the MAC; a link that has another one forgets its neighbours."""
        if mac != self.mac:
            self.neighbours.clear()
        self.mac = mac

    def drop_ipv6(self) -> None:
        """Remove the IPv6 addresses."""
        self.addresses = [item for item in self.addresses if ip_interface(item).version == 4]

    @property
    def link_local(self) -> str:
        """The IPv6 address that it gets of itself."""
        if self.name == "lo":
            return "::1/128"
        packed = bytes.fromhex(self.mac.replace(":", ""))
        host = bytes((packed[0] ^ 2, *packed[1:3], 0xFF, 0xFE, *packed[3:]))
        return f"{ip_address(bytes.fromhex('fe80000000000000') + host)}/64"


@dataclass(slots=True, eq=False)
class Route:
    destination: IPv4Network | IPv6Network
    link: Link | None
    via: str = ""
    metric: int = 0
    onlink: bool = False
    source: str = ""
    table: int = MAIN_TABLE
    kind: RouteKind = "unicast"
    protocol: int = ROUTE_PROTOCOL

    @property
    def key(self) -> tuple[object, ...]:
        return (self.destination, self.table, self.metric)


@dataclass(slots=True, eq=False)
class Namespace:
    number: int = 0
    links: dict[str, Link] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    sysctls: Sysctls = field(default_factory=Sysctls)

    def link(self, name: str) -> Link:
        try:
            return self.links[name]
        except KeyError:
            raise NotFound(f"link {name} does not exist") from None

    def put_in(self, link: Link) -> None:
        """Put a link here that is in no namespace."""
        self.links[link.name] = link
        self.sysctls.add_link(link.name)

    def rename(self, link: Link, name: str) -> None:
        del self.links[link.name]
        self.sysctls.rename_link(link.name, name)
        link.name = name
        self.links[name] = link

    def set_up(self, link: Link, up: bool) -> None:
        """Set a link up or down: what the kernel gives it, or takes from it, comes and goes with that."""
        was, link.up = link.up, up
        if up and not was:
            if link.name == "lo":
                link.addresses = ["127.0.0.1/8"]
            self.give_link_local(link)
        elif was and not up:
            link.drop_ipv6()
            link.neighbours.clear()
            self.drop_routes(link)

    def give_link_local(self, link: Link) -> None:
        if self.sysctls.has_ipv6(link.name) and link.link_local not in link.addresses:
            link.addresses.append(link.link_local)

    def drop_routes(self, link: Link, versions: Iterable[int] = (4, 6)) -> None:
        self.routes = [
            route
            for route in self.routes
            if route.link is not link or route.destination.version not in versions
        ]
