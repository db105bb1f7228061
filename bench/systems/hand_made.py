"""Two hosts joined by hand: what the underlay can do, and a static VXLAN between two bridges as the limit.

They are ports of the same segment as the lab's hosts, so that the underlay is one and the same. No firewall
and no connection tracking of their own are in the way, nor does the bridge look for one. A second static
VXLAN joins two more bridges by routes, as a network does that has a part of its subnet on each host.
"""

from dataclasses import dataclass
from pathlib import Path

from ..namespaces import Namespace

_VNI, _VNI_ROUTED, _PORT, _OVERHEAD, _MTU = 42, 43, 4789, 50, 1500
BRIDGE_FILTERS = tuple(
    Path(f"/proc/sys/net/bridge/bridge-nf-call-{kind}") for kind in ("iptables", "ip6tables")
)
"""Whether a bridge's packets pass the firewall of the namespace; of a kernel with br_netfilter alone."""


@dataclass(frozen=True, slots=True)
class Way:
    """From where to where: the two ends' namespaces, the server's address, and the hosts they are on."""

    client: Namespace
    server: Namespace
    address: str
    hosts: tuple[Namespace, ...]


@dataclass(frozen=True, slots=True)
class _Host:
    number: int
    namespace: Namespace
    container: Namespace
    routed: Namespace

    @property
    def address(self) -> str:
        return f"198.18.200.{self.number}"

    @property
    def inner(self) -> str:
        return f"198.19.200.{self.number}"

    @property
    def mac(self) -> str:
        return f"02:00:00:00:c8:{self.number:02x}"

    @property
    def part(self) -> str:
        """What its part of the routed network begins with."""
        return f"198.19.{200 + self.number}"

    @property
    def tunnel_mac(self) -> str:
        return f"02:00:00:00:c9:{self.number:02x}"


def build_hand_made(segment: Namespace, bridge: str) -> dict[str, Way]:
    """Build both hosts as ports of a bridge in `segment`.

    Returns the ways by name: `raw` from host to host, `static` between containers of one subnet,
    `static-routed` between containers of two.
    """
    one, two = (_build_host(number, segment, bridge) for number in (1, 2))
    hosts = (one.namespace, two.namespace)
    for here, there in ((one, two), (two, one)):
        _build_vxlan(here, there)
        _build_routes(here, there)
    return {
        "raw": Way(one.namespace, two.namespace, two.address, hosts),
        "static": Way(one.container, two.container, two.inner, hosts),
        "static-routed": Way(one.routed, two.routed, f"{two.part}.2", hosts),
    }


def _build_host(number: int, segment: Namespace, bridge: str) -> _Host:
    made = (Namespace.create(f"static{number}{end}") for end in ("", "c", "r"))
    host = _Host(number, *made)
    set_bridge_filter(host.namespace, "0")
    port = f"static{number}"
    segment.ip(
        "link", "add", port, "type", "veth", "peer", "name", "uplink", "netns", str(host.namespace.path)
    )
    segment.ip("link", "set", port, "master", bridge, "up")
    host.namespace.ip("address", "add", f"{host.address}/24", "dev", "uplink")
    host.namespace.ip("link", "set", "uplink", "up")
    return host


def set_bridge_filter(host: Namespace, value: str) -> None:
    """Have the packets of a host's bridges pass its firewall ("1") or not ("0"), if its kernel has that."""
    with host.entered():
        for path in BRIDGE_FILTERS:
            if path.exists():
                path.write_text(value)


def _build_vxlan(here: _Host, there: _Host) -> None:
    outer, inner = here.namespace, here.container
    _build_bridge(here, inner, "br0", "ve0", "vx0", _VNI)
    outer.ip("link", "set", "vx0", "master", "br0")
    inner.ip("link", "set", "eth0", "address", here.mac)
    inner.ip("address", "add", f"{here.inner}/24", "dev", "eth0")
    for mac in ("00:00:00:00:00:00", there.mac):
        outer.run("bridge", "fdb", "append", mac, "dev", "vx0", "dst", there.address)


def _build_routes(here: _Host, there: _Host) -> None:
    outer, inner = here.namespace, here.routed
    _build_bridge(here, inner, "br1", "ve1", "vx1", _VNI_ROUTED)
    with outer.entered():
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    outer.ip("link", "set", "vx1", "address", here.tunnel_mac)
    outer.ip("address", "add", f"{here.part}.0/32", "dev", "vx1")
    outer.ip("address", "add", f"{here.part}.1/24", "dev", "br1")
    inner.ip("address", "add", f"{here.part}.2/24", "dev", "eth0")
    inner.ip("route", "add", "default", "via", f"{here.part}.1")
    outer.run("bridge", "fdb", "append", there.tunnel_mac, "dev", "vx1", "dst", there.address)
    far = f"{there.part}.0"
    outer.ip("neighbour", "add", far, "lladdr", there.tunnel_mac, "dev", "vx1", "nud", "permanent")
    outer.ip("route", "add", f"{far}/24", "via", far, "dev", "vx1", "onlink")


def _build_bridge(here: _Host, inner: Namespace, bridge: str, port: str, tunnel: str, vni: int) -> None:
    """Make a bridge with a port into `inner`, and a tunnel beside it."""
    mtu = str(_MTU - _OVERHEAD)
    outer = here.namespace
    outer.ip("link", "add", bridge, "mtu", mtu, "type", "bridge", "forward_delay", "0")
    outer.ip(
        "link", "add", tunnel, "mtu", mtu, "type", "vxlan", "id", str(vni), "dstport", str(_PORT),
        "local", here.address, "dev", "uplink", "nolearning",
    )  # fmt: skip
    outer.ip(
        "link", "add", port, "mtu", mtu, "type", "veth", "peer", "name", "eth0", "netns", str(inner.path)
    )
    outer.ip("link", "set", port, "master", bridge)
    for name in (tunnel, port, bridge):
        outer.ip("link", "set", name, "up")
    inner.ip("link", "set", "eth0", "mtu", mtu, "up")
