"""What a lab consists of: names, addresses, who is behind which port. Pure.

Segment S is the S-th /24 of the underlay (10.99.S.0/24) and fd99:S::/64. In each, .1 is the router; .2 to .4
are etcd's (in segment 1), .11 and on the hosts'. A host's number is that of its name in every segment, so
host3 is 10.99.S.13 wherever it stands. The hosts are dealt out to the segments in turn.
"""

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

from ..model.errors import InvalidRequest, NotFound

ROUTER = "router"
ETCD_CLIENT_PORT, ETCD_PEER_PORT = 2379, 2380
MAX_HOSTS, MAX_SEGMENTS = 200, 64
_FIRST_HOST, _FIRST_ETCD = 11, 2
_MTU_RANGE = range(1280, 65522)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


class Kind(StrEnum):
    """What runs on a node."""

    ROUTER = "router"
    ETCD = "etcd"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class LabSpec:
    """What was asked for. `configuration` is TOML, the beginning of each host's `carrickd.toml`."""

    hosts: int = 3
    segments: int = 1
    etcd: int = 1
    underlay: str = "10.99.0.0/16"
    mtu: int = 1500
    configuration: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """A subnet of the underlay, which is a bridge in the router."""

    number: int
    link: str
    ipv4: ipaddress.IPv4Network
    ipv6: ipaddress.IPv6Network

    @property
    def router4(self) -> ipaddress.IPv4Address:
        return self.ipv4[1]

    @property
    def router6(self) -> ipaddress.IPv6Address:
        return self.ipv6[1]

    @property
    def mac(self) -> str:
        """The router's, fixed: a bridge takes on its ports', which come and go, and neighbours remember."""
        return f"02:99:{self.number:02x}:00:00:01"


@dataclass(frozen=True, slots=True)
class Node:
    """A host, an etcd or the router; only the router has no segment. `mark` is its number in the faults."""

    name: str
    kind: Kind
    mark: int
    segment: Segment | None = None
    last: int = 0

    @property
    def ipv4(self) -> ipaddress.IPv4Interface:
        network = self._segment.ipv4
        return ipaddress.IPv4Interface((network[self.last], network.prefixlen))

    @property
    def ipv6(self) -> ipaddress.IPv6Interface:
        # The same digits as in IPv4, so that people recognise them: fd99:1::11 is host1.
        network = self._segment.ipv6
        return ipaddress.IPv6Interface((network[int(str(self.last), 16)], network.prefixlen))

    @property
    def mac(self) -> str:
        return f"02:99:{self._segment.number:02x}:00:01:{self.last:02x}"

    @property
    def _segment(self) -> Segment:
        assert self.segment is not None, "the router has an address in each segment"
        return self.segment


@dataclass(frozen=True, slots=True)
class Topology:
    """All of a lab's nodes: the router, then etcd's, then the hosts."""

    segments: tuple[Segment, ...]
    nodes: tuple[Node, ...]

    @property
    def router(self) -> Node:
        return self.nodes[0]

    @property
    def members(self) -> tuple[Node, ...]:
        """Everyone on the underlay but the router."""
        return self.nodes[1:]

    @property
    def etcd(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.kind is Kind.ETCD)

    @property
    def hosts(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.kind is Kind.HOST)

    @property
    def etcd_endpoints(self) -> tuple[str, ...]:
        """The URLs for etcd's clients."""
        return tuple(f"http://{node.ipv4.ip}:{ETCD_CLIENT_PORT}" for node in self.etcd)

    def node(self, name: str) -> Node:
        """Return a node. Raises NotFound, naming those there are."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise NotFound(f"no host {name} in this lab", remedy=f"There are {_listed(self.nodes)}.")

    def member(self, name: str) -> Node:
        """Return a node that has a place on the underlay and can be stopped: not the router."""
        node = self.node(name)
        if node.kind is Kind.ROUTER:
            raise InvalidRequest(
                "the router is what holds the lab together: it can be entered with 'lab exec', and no more",
                remedy=f"Name one of {_listed(self.members)}.",
            )
        return node


def _listed(nodes: tuple[Node, ...]) -> str:
    return ", ".join(node.name for node in nodes)


def check_name(name: str) -> str:
    """Return a lab's name. Raises InvalidRequest: it becomes a part of paths and of cgroups' names."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot be a lab's name", remedy="Use small letters, digits and '-', at most 31."
        )
    return name


def plan_lab(spec: LabSpec) -> Topology:
    """Return the topology. Raises InvalidRequest."""
    if not 1 <= spec.hosts <= MAX_HOSTS:
        raise InvalidRequest(f"a lab has 1 to {MAX_HOSTS} hosts, not {spec.hosts}")
    if not 1 <= spec.segments <= MAX_SEGMENTS:
        raise InvalidRequest(f"a lab has 1 to {MAX_SEGMENTS} segments, not {spec.segments}")
    if spec.etcd not in (0, 1, 3):
        raise InvalidRequest("a lab has no etcd, 1, or 3 that form a cluster")
    if spec.mtu not in _MTU_RANGE:
        raise InvalidRequest(
            f"an MTU of {spec.mtu} is not possible here: IPv6 needs {_MTU_RANGE[0]}, links end at"
            f" {_MTU_RANGE[-1]}"
        )
    segments = _plan_segments(spec)
    nodes = [Node(ROUTER, Kind.ROUTER, 0)]
    for number in range(spec.etcd):
        name = "etcd" if spec.etcd == 1 else f"etcd{number + 1}"
        nodes.append(Node(name, Kind.ETCD, len(nodes), segments[0], _FIRST_ETCD + number))
    for number in range(spec.hosts):
        segment = segments[number % spec.segments]
        nodes.append(Node(f"host{number + 1}", Kind.HOST, len(nodes), segment, _FIRST_HOST + number))
    return Topology(segments, tuple(nodes))


def _plan_segments(spec: LabSpec) -> tuple[Segment, ...]:
    try:
        underlay = ipaddress.IPv4Network(spec.underlay)
    except ValueError as error:
        raise InvalidRequest(
            f"underlay {spec.underlay!r}: {error}", remedy="For example 10.99.0.0/16."
        ) from None
    subnets = () if underlay.prefixlen > 24 else tuple(underlay.subnets(new_prefix=24))[: spec.segments + 1]
    if len(subnets) < spec.segments + 1:
        raise InvalidRequest(
            f"underlay {underlay} is too small for {spec.segments} segments",
            remedy="Each takes a /24, and the first one is left out. Use a /16, for example 10.99.0.0/16.",
        )
    return tuple(
        Segment(number, f"seg{number}", subnets[number], ipaddress.IPv6Network(f"fd99:{number}::/64"))
        for number in range(1, spec.segments + 1)
    )


def hosts_file(topology: Topology, hostname: str) -> str:
    """Return /etc/hosts: everyone on the underlay is known to everyone, without a name server."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", f"127.0.1.1 {hostname}"]
    if any(node.name == hostname for node in topology.members):
        lines.pop()
    for node in topology.members:
        lines += [f"{node.ipv4.ip} {node.name}", f"{node.ipv6.ip} {node.name}"]
    return "\n".join(lines) + "\n"
