"""What a cluster knows: nodes, blocks, endpoints elsewhere. The records that its store keeps.

docs/adr/0008-clusters.md says who writes which, and when. All are frozen and encodable; addresses are
canonical text, as in `networks.py`.
"""

import enum
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import NewType

from .ids import ContainerId, EndpointId, NetworkId
from .networks import IPNetwork

NodeId = NewType("NodeId", str)
"""A node's identity: random, made once, never an address. 26 characters of base 32, lower case."""

FORMAT = 1
"""The number of the records' format; a node refuses a cluster with a higher one."""


@dataclass(frozen=True, slots=True)
class ClusterMeta:
    """The cluster itself. `ca_sha256` is the hash of its CA's public key (SPKI, DER), in hex."""

    id: str
    ca_sha256: str
    created_ns: int
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Underlay:
    """Where a node is reached: an address of its own, and the prefix that is on the link with it.

    Two nodes whose prefixes are the same share a segment, and may use plain routes.
    """

    address: str
    prefix: str
    mtu: int = 1500

    @property
    def version(self) -> int:
        return 6 if ":" in self.address else 4


class NodeState(enum.StrEnum):
    """What a node is for. A draining one takes no new blocks; one that is gone is being removed."""

    ACTIVE = "active"
    DRAINING = "draining"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as it describes itself.

    `epoch` grows with every life that the cluster had given up before. `vtep_mac` is that of its VXLAN
    devices without a bridge. `wireguard_key` is its public key in base 64, "" if it cannot.
    `transports` are those that its kernel and programs can do. `api` is host:port of its node API.
    """

    id: NodeId
    name: str
    epoch: int
    underlays: tuple[Underlay, ...]
    api: str = ""
    version: str = ""
    state: NodeState = NodeState.ACTIVE
    transports: tuple[str, ...] = ("vxlan", "direct")
    vtep_mac: str = ""
    wireguard_key: str = ""
    wireguard_port: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    joined_ns: int = 0

    def underlay(self, version: int) -> Underlay | None:
        """Return the first underlay of an IP version."""
        return next((item for item in self.underlays if item.version == version), None)


class BlockState(enum.StrEnum):
    """`PENDING` is claimed, and counts for nobody else; only `CONFIRMED` is used and routed."""

    PENDING = "pending"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a network's pool that one node gives addresses from.

    `epoch` is the owner's when it claimed; a block of an older epoch is not the owner's any more. `bridge` is
    the owner's link that has the block where another engine gives its addresses, "" where Carrick does.
    `data` is what the owner's hooks say to those of the others, None before they have said anything.
    """

    network_id: NetworkId
    prefix: str
    node: NodeId
    epoch: int
    state: BlockState = BlockState.PENDING
    bridge: str = ""
    data: str | None = None

    @property
    def network(self) -> IPNetwork:
        return IPv6Network(self.prefix) if ":" in self.prefix else IPv4Network(self.prefix)

    @property
    def key(self) -> str:
        """Return its key below `blocks/`: a prefix's slash would be a level of its own."""
        return f"{self.network_id}/{self.prefix.replace('/', '_')}"


@dataclass(frozen=True, slots=True)
class RemoteEndpoint:
    """An endpoint as its node tells the others. Addresses are without prefix length; "" for no such family.

    `names` are the DNS names that it answers to on the network, its own first.
    """

    id: EndpointId
    network_id: NetworkId
    node: NodeId
    container_id: ContainerId
    container_name: str
    mac_address: str
    ipv4: str = ""
    ipv6: str = ""
    names: tuple[str, ...] = ()
    engine: str = "carrick"

    @property
    def key(self) -> str:
        """Return its key below `endpoints/`."""
        return f"{self.network_id}/{self.node}/{self.id}"

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.ipv4, self.ipv6)))


@dataclass(frozen=True, slots=True)
class StaticAddress:
    """An address outside the dynamic range that a node has taken, for whom."""

    network_id: NetworkId
    address: str
    node: NodeId
    owner: str


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of life, or of its absence: of which life of the node. `run` tells two daemons apart."""

    epoch: int
    run: str = ""


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What a join token allows; its key is the secret's hash, its lease the expiry."""

    created_ns: int
    expires_ns: int
    uses_left: int = 0
    """0: any number of times until it expires."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What a node keeps of its membership, in its own store. Its existence is what being in a cluster means.

    `endpoints` are etcd's, `prefix` where the cluster's keys begin. `address` is the underlay address that
    was asked for, "" to find it; `api` is host:port of our node API. `secure` is whether the cluster has an
    authority, so that everything is mutual TLS; without (an etcd by plain http in a lab) there is none.
    """

    cluster: str
    node: NodeId
    name: str
    endpoints: tuple[str, ...]
    prefix: str = "carrick/"
    epoch: int = 0
    address: str = ""
    api_port: int = 2377
    ca_sha256: str = ""
    own_etcd: bool = False
    gone_after_s: float = 600.0
