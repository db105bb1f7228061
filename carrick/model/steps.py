"""Steps: what is done. A plan consists of them; each is a value, and `kernel/` alone carries it out.

What there is to compare a plan with, the state that the kernel is seen to hold, is in `observed`.

`describe()` gives the command an administrator would type for the same effect, which is what
`--dry-run` prints. A `netns` of "" is the daemon's own namespace. Every step may be repeated:
creating what exists as asked, or deleting what is gone, is success.
"""

from dataclasses import dataclass
from typing import Literal

ROUTE_PROTOCOL = 202
"""The protocol number (rtm_protocol) on every route, rule and neighbour of ours: nobody else's is touched."""

MAIN_TABLE = 254
ANY_MAC = "00:00:00:00:00:00"
"""The FDB row for frames whose destination has no row: broadcast, multicast, unknown unicast."""

RouteKind = Literal["unicast", "blackhole", "unreachable"]


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
class CreateVxlan:
    """A VXLAN device `name`, up, in bridge `master` ("": in none); frames to it go where its FDB says.

    `local` is this host's underlay address, of either family; its rows' destinations are of the same.
    `parent` is the underlay's link ("": whichever the route leads out of); the device goes with it.
    With `proxy` it answers ARP and neighbour solicitations from its neighbour table, and drops those that
    it cannot answer. Outer UDP checksums are zero over IPv4 unless `udp_checksum` (RFC 7348, section 5)
    and the opposite over IPv6, where a zero one is sent with `udp6_zero_tx` and taken with `udp6_zero_rx`.
    `source_ports` is the range that flows are spread over, (0, 0) the kernel's own.

    A device of that name made with other values of what `observed.VxlanState` shows is a Conflict: delete it
    first.
    """

    name: str
    vni: int
    port: int
    local: str
    alias: str
    mtu: int
    mac: str = ""
    master: str = ""
    learning: bool = False
    proxy: bool = False
    parent: str = ""
    udp_checksum: bool = False
    udp6_zero_tx: bool = False
    udp6_zero_rx: bool = True
    source_ports: tuple[int, int] = (0, 0)

    def describe(self) -> str:
        words = [f"ip link add {self.name} mtu {self.mtu}"]
        words += [f"address {self.mac}"] if self.mac else []
        words += [f"master {self.master}"] if self.master else []
        words.append(f"type vxlan id {self.vni} dstport {self.port} local {self.local}")
        words += [f"dev {self.parent}"] if self.parent else []
        words.append("learning" if self.learning else "nolearning")
        words += ["proxy"] if self.proxy else []
        words += ["srcport {} {}".format(*self.source_ports)] if any(self.source_ports) else []
        words.append("udpcsum" if self.udp_checksum else "noudpcsum")
        words.append("udp6zerocsumtx" if self.udp6_zero_tx else "noudp6zerocsumtx")
        words.append("udp6zerocsumrx" if self.udp6_zero_rx else "noudp6zerocsumrx")
        return f"{' '.join(words)}; ip link set {self.name} up"


@dataclass(frozen=True, slots=True)
class CreateWireguard:
    """A WireGuard device of the kernel, up, without key or peers; Unsupported where there is none."""

    name: str
    alias: str
    mtu: int

    def describe(self) -> str:
        return f"ip link add {self.name} mtu {self.mtu} type wireguard; ip link set {self.name} up"


@dataclass(frozen=True, slots=True)
class WireguardPeer:
    """Whoever has `public_key` (base 64) is at `endpoint` (address:port, "" unknown) and may be `allowed`.

    What goes to those prefixes is encrypted for it, and what it sends must come from there. They are
    canonical, and sorted by family and address. `keepalive_s` 0 sends none.
    """

    public_key: str
    endpoint: str = ""
    allowed: tuple[str, ...] = ()
    keepalive_s: int = 0


@dataclass(frozen=True, slots=True)
class SetWireguard:
    """Give a WireGuard device, the kernel's or `wireguard-go`'s, its key, its port, and exactly these peers.

    Sessions with peers that stay go on. The private key is read from `key_file` as the step is carried out,
    and is nowhere else; `public_key` belongs to it.
    """

    link: str
    key_file: str
    public_key: str
    port: int
    peers: tuple[WireguardPeer, ...] = ()

    def describe(self) -> str:
        command = f"wg set {self.link} listen-port {self.port} private-key {self.key_file}"
        for peer in self.peers:
            command += f" peer {peer.public_key}" + (f" endpoint {peer.endpoint}" if peer.endpoint else "")
            command += f" persistent-keepalive {peer.keepalive_s}" if peer.keepalive_s else ""
            command += f" allowed-ips {','.join(peer.allowed)}" if peer.allowed else ""
        return command


@dataclass(frozen=True, slots=True)
class SetLink:
    """Change an existing link; None leaves a property alone.

    The last five are a bridge port's: `flood` is about frames to an unknown unicast address; with
    `neigh_suppress` the bridge answers ARP and neighbour solicitations that would leave by this port,
    as far as it knows the answer; an `isolated` port's frames never leave by another isolated one.
    """

    name: str
    netns: str = ""
    up: bool | None = None
    mtu: int | None = None
    master: str | None = None
    alias: str | None = None
    new_name: str | None = None
    mac: str | None = None
    hairpin: bool | None = None
    learning: bool | None = None
    flood: bool | None = None
    neigh_suppress: bool | None = None
    isolated: bool | None = None

    def describe(self) -> str:
        words = [f"{_in(self.netns)}ip link set {self.name}"]
        if self.mtu is not None:
            words.append(f"mtu {self.mtu}")
        if self.mac is not None:
            words.append(f"address {self.mac}")
        if self.master is not None:
            words.append(f"master {self.master}" if self.master else "nomaster")
        if self.new_name is not None:
            words.append(f"name {self.new_name}")
        if self.up is not None:
            words.append("up" if self.up else "down")
        port = [
            f"{option} {'on' if value else 'off'}"
            for option, value in (
                ("hairpin", self.hairpin),
                ("learning", self.learning),
                ("flood", self.flood),
                ("neigh_suppress", self.neigh_suppress),
                ("isolated", self.isolated),
            )
            if value is not None
        ]
        if not port:
            return " ".join(words)
        bridge = f"{_in(self.netns)}bridge link set dev {self.name} {' '.join(port)}"
        return f"{' '.join(words)}; {bridge}" if len(words) > 1 else bridge


@dataclass(frozen=True, slots=True)
class DeleteLink:
    """Delete a link; with `wait` False return when nobody sees it any more, before it is freed."""

    name: str
    netns: str = ""
    wait: bool = True

    def describe(self) -> str:
        return f"{_in(self.netns)}ip link delete {self.name}"


@dataclass(frozen=True, slots=True)
class MoveLink:
    """Put a link that is in `netns` into the namespace `target`, under the name `new_name`; it is down then.

    Either namespace is "" for the daemon's own. A link that somebody else made has no mark of ours.
    """

    name: str
    target: str
    new_name: str
    netns: str = ""

    def describe(self) -> str:
        target = self.target or "/proc/self/ns/net"
        return f"{_in(self.netns)}ip link set {self.name} netns {target} name {self.new_name}"


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

    It takes the place of the route that has the same destination, table and metric. Without `via` the
    route is on the link (a device-scoped default, as ipvlan l3 has). `via` may be of the other family.
    With `onlink` the gateway is taken to be on the link though no address there says so. `source` is the
    address that this host's own packets get. A blackhole or unreachable route has neither link nor `via`.
    """

    destination: str
    link: str
    via: str = ""
    netns: str = ""
    version: int = 4
    metric: int = 0
    onlink: bool = False
    source: str = ""
    table: int = MAIN_TABLE
    kind: RouteKind = "unicast"

    def describe(self) -> str:
        kind = "" if self.kind == "unicast" else f"{self.kind} "
        family = "-6 " if self.version == 6 else ""
        words = [f"{_in(self.netns)}ip {family}route replace {kind}{self.destination}"]
        if self.via:
            words.append(
                f"via inet6 {self.via}" if self.version == 4 and ":" in self.via else f"via {self.via}"
            )
        words += [f"dev {self.link}"] if self.link else []
        words += ["onlink"] if self.onlink else []
        words += [f"src {self.source}"] if self.source else []
        words += [f"metric {self.metric}"] if self.metric else []
        words += [f"table {self.table}"] if self.table != MAIN_TABLE else []
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Remove the first route to `destination` that matches; a `link` of "" and a `metric` of 0 match any.

    With `own` only a route of ours is removed.
    """

    destination: str
    netns: str = ""
    version: int = 4
    link: str = ""
    metric: int = 0
    table: int = MAIN_TABLE
    own: bool = False

    def describe(self) -> str:
        family = "-6 " if self.version == 6 else ""
        words = [f"{_in(self.netns)}ip {family}route delete {self.destination}"]
        words += [f"dev {self.link}"] if self.link else []
        words += [f"metric {self.metric}"] if self.metric else []
        words += [f"table {self.table}"] if self.table != MAIN_TABLE else []
        words += [f"proto {ROUTE_PROTOCOL}"] if self.own else []
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Rule:
    """A routing rule: packets that match are looked up in `table`, unless a lower `priority` decided.

    `source` and `destination` are prefixes, "" any; `fwmark` 0 any, else compared under `fwmask`
    (0: all bits). With `invert` it is for the packets that do *not* match.
    """

    priority: int
    table: int
    version: int = 4
    source: str = ""
    destination: str = ""
    fwmark: int = 0
    fwmask: int = 0
    iif: str = ""
    invert: bool = False

    def words(self) -> str:
        words = [f"priority {self.priority}"]
        words += ["not"] if self.invert else []
        words.append(f"from {self.source or 'all'}")
        words += [f"to {self.destination}"] if self.destination else []
        if self.fwmark:
            words.append(f"fwmark {self.fwmark:#x}" + (f"/{self.fwmask:#x}" if self.fwmask else ""))
        words += [f"iif {self.iif}"] if self.iif else []
        return " ".join([*words, f"table {self.table}"])


@dataclass(frozen=True, slots=True)
class AddRule:
    rule: Rule
    netns: str = ""

    def describe(self) -> str:
        return f"{_in(self.netns)}ip -{self.rule.version} rule add {self.rule.words()}"


@dataclass(frozen=True, slots=True)
class RemoveRule:
    """Remove a rule of ours; one that differs in anything stays."""

    rule: Rule
    netns: str = ""

    def describe(self) -> str:
        return f"{_in(self.netns)}ip -{self.rule.version} rule delete {self.rule.words()}"


@dataclass(frozen=True, slots=True)
class SetFdb:
    """Frames to `mac` leave VXLAN device `link` for the VTEP at `destination`; they never age.

    A MAC has one destination: another one takes its place in one step. `ANY_MAC` has several, and gets one
    more: such a frame is sent to each (head-end replication). With `bridge` the device's bridge is told as
    well that `mac` is behind this port, so that it neither floods for it nor has to learn it.
    """

    link: str
    mac: str
    destination: str
    netns: str = ""
    bridge: bool = False

    def describe(self) -> str:
        verb = "append" if self.mac == ANY_MAC else "replace"
        where = " self master static" if self.bridge else " self permanent"
        prefix = f"{_in(self.netns)}bridge fdb {verb} {self.mac} dev {self.link}"
        return f"{prefix} dst {self.destination}{where}"


@dataclass(frozen=True, slots=True)
class RemoveFdb:
    """Remove a row; without `destination` whatever it is. `bridge` as at `SetFdb`."""

    link: str
    mac: str
    destination: str = ""
    netns: str = ""
    bridge: bool = False

    def describe(self) -> str:
        where = f" dst {self.destination}" if self.destination else ""
        prefix = f"{_in(self.netns)}bridge fdb delete {self.mac} dev {self.link}"
        return f"{prefix}{where} self" + (" master" if self.bridge else "")


@dataclass(frozen=True, slots=True)
class AddNeighbour:
    """`address`, of either family, is at `mac` on `link`: permanent, or else until it is not confirmed.

    All of a link's neighbours go when it goes down, and when its MAC changes (a bridge's does with its
    ports, unless it was given one). `router`: the neighbour is a router, as it advertises itself (IPv6).
    """

    link: str
    address: str
    mac: str
    permanent: bool = True
    router: bool = False
    netns: str = ""

    def describe(self) -> str:
        state = "permanent" if self.permanent else "reachable"
        router = " router" if self.router else ""
        prefix = f"{_in(self.netns)}ip neighbour replace {self.address} dev {self.link}"
        return f"{prefix} lladdr {self.mac} nud {state}{router}"


@dataclass(frozen=True, slots=True)
class RemoveNeighbour:
    link: str
    address: str
    netns: str = ""

    def describe(self) -> str:
        return f"{_in(self.netns)}ip neighbour delete {self.address} dev {self.link}"


@dataclass(frozen=True, slots=True)
class SetRate:
    """Let no more than `rate` bits per second leave a link, but for bursts of `burst` bits (a token bucket).

    `burst` 0 is as much as the kernel needs to reach the rate.
    """

    link: str
    rate: int
    burst: int = 0
    netns: str = ""

    def describe(self) -> str:
        burst = f" burst {self.burst // 8}b" if self.burst else ""
        limit = f"rate {self.rate}bit{burst} latency 25ms"
        return f"{_in(self.netns)}tc qdisc replace dev {self.link} root tbf {limit}"


@dataclass(frozen=True, slots=True)
class SetShortcut:
    """Have what goes by a VXLAN device, one of a bridge's ports, pass that bridge by: see `host.kernel.bpf`.

    What its FDB says is copied to where the kernel looks first, and is kept in step with it from then on. A
    kernel that refuses is told of in the log, and everything goes the plain way.
    """

    tunnel: str

    def describe(self) -> str:
        return f"bpftool net attach tcx_ingress name carrick-receive dev {self.tunnel}"


@dataclass(frozen=True, slots=True)
class AddShortcut:
    """Let a container's link, by its end on the host, take part in the shortcut of `tunnel`, if there is one.

    `mac` is the container's end's.
    """

    tunnel: str
    port: str
    mac: str

    def describe(self) -> str:
        return f"bpftool net attach tcx_ingress name carrick-send dev {self.port}"


@dataclass(frozen=True, slots=True)
class RemoveShortcut:
    """Have all that goes by a VXLAN device go the plain way."""

    tunnel: str

    def describe(self) -> str:
        return f"bpftool net detach tcx_ingress dev {self.tunnel}"


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
    | CreateVxlan
    | CreateWireguard
    | SetWireguard
    | SetLink
    | DeleteLink
    | MoveLink
    | AddAddress
    | RemoveAddress
    | AddRoute
    | RemoveRoute
    | AddRule
    | RemoveRule
    | SetFdb
    | RemoveFdb
    | AddNeighbour
    | RemoveNeighbour
    | SetShortcut
    | AddShortcut
    | RemoveShortcut
    | Announce
    | SetRate
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
