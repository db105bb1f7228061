"""Make links, change them, move them between namespaces, and delete them."""

from dataclasses import dataclass

from .namespaces import inside


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
        words = [f"{inside(self.netns)}ip link set {self.name}"]
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
        bridge = f"{inside(self.netns)}bridge link set dev {self.name} {' '.join(port)}"
        return f"{' '.join(words)}; {bridge}" if len(words) > 1 else bridge


@dataclass(frozen=True, slots=True)
class DeleteLink:
    """Delete a link; with `wait` False return when nobody sees it any more, before it is freed."""

    name: str
    netns: str = ""
    wait: bool = True

    def describe(self) -> str:
        return f"{inside(self.netns)}ip link delete {self.name}"


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
        return f"{inside(self.netns)}ip link set {self.name} netns {target} name {self.new_name}"
