"""Two hosts joined by hand: what the underlay can do, and a static VXLAN between two bridges as the limit.

They are ports of the same segment as the lab's hosts, so that the underlay is one and the same. No firewall
and no connection tracking of their own are in the way.
"""

from dataclasses import dataclass

from ..namespaces import Namespace

_VNI, _PORT, _OVERHEAD, _MTU = 42, 4789, 50, 1500


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

    @property
    def address(self) -> str:
        return f"198.18.200.{self.number}"

    @property
    def inner(self) -> str:
        return f"198.19.200.{self.number}"

    @property
    def mac(self) -> str:
        return f"02:00:00:00:c8:{self.number:02x}"


def build_hand_made(segment: Namespace, bridge: str) -> dict[str, Way]:
    """Build both hosts as ports of a bridge in `segment`.

    Returns the ways by name: `raw` from host to host, `static` between containers.
    """
    one, two = (_build_host(number, segment, bridge) for number in (1, 2))
    hosts = (one.namespace, two.namespace)
    for here, there in ((one, two), (two, one)):
        _build_vxlan(here, there)
    return {
        "raw": Way(one.namespace, two.namespace, two.address, hosts),
        "static": Way(one.container, two.container, two.inner, hosts),
    }


def _build_host(number: int, segment: Namespace, bridge: str) -> _Host:
    host = _Host(number, Namespace.create(f"static{number}"), Namespace.create(f"static{number}c"))
    port = f"static{number}"
    segment.ip(
        "link", "add", port, "type", "veth", "peer", "name", "uplink", "netns", str(host.namespace.path)
    )
    segment.ip("link", "set", port, "master", bridge, "up")
    host.namespace.ip("address", "add", f"{host.address}/24", "dev", "uplink")
    host.namespace.ip("link", "set", "uplink", "up")
    return host


def _build_vxlan(here: _Host, there: _Host) -> None:
    mtu = str(_MTU - _OVERHEAD)
    outer, inner = here.namespace, here.container
    outer.ip("link", "add", "br0", "mtu", mtu, "type", "bridge", "forward_delay", "0")
    outer.ip(
        "link", "add", "vx0", "mtu", mtu, "type", "vxlan", "id", str(_VNI), "dstport", str(_PORT),
        "local", here.address, "dev", "uplink", "nolearning",
    )  # fmt: skip
    outer.ip("link", "set", "vx0", "master", "br0", "up")
    outer.ip(
        "link", "add", "ve0", "mtu", mtu, "type", "veth", "peer", "name", "eth0", "netns", str(inner.path)
    )
    outer.ip("link", "set", "ve0", "master", "br0", "up")
    outer.ip("link", "set", "br0", "up")
    inner.ip("link", "set", "eth0", "address", here.mac, "mtu", mtu, "up")
    inner.ip("address", "add", f"{here.inner}/24", "dev", "eth0")
    for mac in ("00:00:00:00:00:00", there.mac):
        outer.run("bridge", "fdb", "append", mac, "dev", "vx0", "dst", there.address)
