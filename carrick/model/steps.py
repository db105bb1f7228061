"""Steps: what a plan consists of. Each is a value; `kernel/` alone carries it out.

`describe()` gives the command an administrator would type for the same effect, which is what
`--dry-run` prints. A `netns` of "" is the daemon's own namespace. Every step may be repeated:
creating what exists as asked, or deleting what is gone, is success.
"""

from dataclasses import dataclass, field


def _in(netns: str) -> str:
    return f"nsenter --net={netns} " if netns else ""


@dataclass(frozen=True, slots=True)
class CreateNetns:
    path: str

    def describe(self) -> str:
        return f"ip netns add {self.path}"


@dataclass(frozen=True, slots=True)
class DeleteNetns:
    path: str

    def describe(self) -> str:
        return f"ip netns delete {self.path}"


@dataclass(frozen=True, slots=True)
class CreateBridge:
    name: str
    alias: str
    mtu: int
    mac: str = ""

    def describe(self) -> str:
        return f"ip link add {self.name} type bridge; ip link set {self.name} mtu {self.mtu} up"


@dataclass(frozen=True, slots=True)
class CreateVeth:
    """A pair: `name` here, up and in bridge `master` ("": in none); `peer` in `peer_netns`, still down.

    With `hairpin` a frame may leave the bridge by the port that it came in by.
    """

    name: str
    alias: str
    mtu: int
    master: str
    peer: str
    peer_netns: str
    peer_mac: str
    hairpin: bool = False

    def describe(self) -> str:
        master = f"master {self.master} " if self.master else ""
        return (
            f"ip link add {self.name} mtu {self.mtu} {master}type veth "
            f"peer name {self.peer} netns {self.peer_netns}"
            + (f" address {self.peer_mac}" if self.peer_mac else "")
            + (f"; bridge link set dev {self.name} hairpin on" if self.hairpin else "")
        )


@dataclass(frozen=True, slots=True)
class CreateSlave:
    """A macvlan or ipvlan child of `parent`, made straight inside `netns`, still down.

    `mode` and `flag` are the kernel's names: macvlan bridge|private|vepa|passthru; ipvlan
    l2|l3|l3s with flag bridge|private|vepa.
    """

    kind: str
    name: str
    netns: str
    parent: str
    mode: str
    flag: str = ""
    mac: str = ""
    mtu: int = 0
    alias: str = ""

    def describe(self) -> str:
        flag = f" {self.flag}" if self.flag else ""
        return (
            f"ip link add link {self.parent} name {self.name} netns {self.netns} "
            f"type {self.kind} mode {self.mode}{flag}"
        )


@dataclass(frozen=True, slots=True)
class CreateVlan:
    """An 802.1q sub-interface `name` of `parent`, up."""

    name: str
    parent: str
    vlan_id: int
    alias: str

    def describe(self) -> str:
        return f"ip link add link {self.parent} name {self.name} type vlan id {self.vlan_id}"


@dataclass(frozen=True, slots=True)
class CreateDummy:
    name: str
    alias: str

    def describe(self) -> str:
        return f"ip link add {self.name} type dummy; ip link set {self.name} up"


@dataclass(frozen=True, slots=True)
class SetLink:
    """Change an existing link; None leaves a property alone."""

    name: str
    netns: str = ""
    up: bool | None = None
    mtu: int | None = None
    master: str | None = None
    alias: str | None = None
    new_name: str | None = None

    def describe(self) -> str:
        words = [f"{_in(self.netns)}ip link set {self.name}"]
        if self.mtu is not None:
            words.append(f"mtu {self.mtu}")
        if self.master is not None:
            words.append(f"master {self.master}" if self.master else "nomaster")
        if self.new_name is not None:
            words.append(f"name {self.new_name}")
        if self.up is not None:
            words.append("up" if self.up else "down")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class DeleteLink:
    """Delete a link; with `wait` False return when nobody sees it any more, before it is freed."""

    name: str
    netns: str = ""
    wait: bool = True

    def describe(self) -> str:
        return f"{_in(self.netns)}ip link delete {self.name}"


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Give `link` an address with prefix length, without duplicate address detection."""

    link: str
    address: str
    netns: str = ""

    def describe(self) -> str:
        return f"{_in(self.netns)}ip address add {self.address} dev {self.link} nodad"


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    link: str
    address: str
    netns: str = ""

    def describe(self) -> str:
        return f"{_in(self.netns)}ip address delete {self.address} dev {self.link}"


@dataclass(frozen=True, slots=True)
class AddRoute:
    """A route; `destination` "default" means everything of the gateway's family.

    Without `via` the route is on the link (a device-scoped default, as ipvlan l3 has).
    """

    destination: str
    link: str
    via: str = ""
    netns: str = ""
    version: int = 4
    metric: int = 0

    def describe(self) -> str:
        via = f" via {self.via}" if self.via else ""
        family = "-6 " if self.version == 6 else ""
        return f"{_in(self.netns)}ip {family}route replace {self.destination}{via} dev {self.link}"


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    destination: str
    netns: str = ""
    version: int = 4
    link: str = ""

    def describe(self) -> str:
        family = "-6 " if self.version == 6 else ""
        return f"{_in(self.netns)}ip {family}route delete {self.destination}"


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the neighbours once more where addresses are: by ARP, or by a neighbour advertisement."""

    link: str
    mac: str
    addresses: tuple[str, ...]
    netns: str = ""

    def describe(self) -> str:
        return f"{_in(self.netns)}arping -U -c 1 -I {self.link} {' '.join(self.addresses)}"


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """Write one sysctl. `key` is dotted, with `/` inside an interface name that contains dots."""

    key: str
    value: str
    netns: str = ""
    optional: bool = False

    def describe(self) -> str:
        return f"{_in(self.netns)}sysctl -w {self.key}={self.value}"


@dataclass(frozen=True, slots=True)
class Nft:
    """One nftables transaction: all of `commands` or none."""

    commands: tuple[str, ...]

    def describe(self) -> str:
        return "nft -f - <<< '" + "; ".join(self.commands) + "'"


@dataclass(frozen=True, slots=True)
class ForgetFlows:
    """Delete conntrack entries, so that flows made before a change follow it (UDP lives on).

    Matches `protocol` and the original destination port, in IP `version` 4 or 6.
    """

    protocol: str
    port: int
    version: int = 4

    def describe(self) -> str:
        return f"conntrack -D -f ipv{self.version} -p {self.protocol} --orig-port-dst {self.port}"


Step = (
    CreateNetns
    | DeleteNetns
    | CreateBridge
    | CreateVeth
    | CreateSlave
    | CreateVlan
    | CreateDummy
    | SetLink
    | DeleteLink
    | AddAddress
    | RemoveAddress
    | AddRoute
    | RemoveRoute
    | Announce
    | SetSysctl
    | Nft
    | ForgetFlows
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order to take them, and remarks for whoever reads the plan."""

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: "Plan") -> "Plan":
        return Plan(self.steps + other.steps, self.notes + other.notes)

    def __bool__(self) -> bool:
        return bool(self.steps)


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link as the kernel shows it.

    `sysctls` are read of bridges alone: `ipv4.route_localnet`, `ipv6.accept_ra` and `ipv6.disable_ipv6`,
    those that this kernel has.
    """

    name: str
    index: int
    kind: str = ""
    mac: str = ""
    mtu: int = 0
    up: bool = False
    master: str = ""
    alias: str = ""
    addresses: frozenset[str] = frozenset()
    peer_index: int = 0
    sysctls: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RouteState:
    """A route, of whatever table; `destination` is "default", "::/0" or a prefix."""

    destination: str
    link: str = ""
    via: str = ""
    mtu: int = 0
    metric: int = 0


@dataclass(frozen=True, slots=True)
class NamespaceState:
    """What one namespace holds: links by name, and routes."""

    links: dict[str, LinkState] = field(default_factory=dict)
    routes: tuple[RouteState, ...] = ()
