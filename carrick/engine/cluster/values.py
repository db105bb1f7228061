"""What doors ask of the cluster part of the engine, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...model.cluster import Block, NodeId, NodeRecord


@dataclass(frozen=True, slots=True)
class InitCluster:
    """Found a cluster on this host, with networks and containers as they are.

    `endpoints` are those of an etcd that is there (`https:…` or `http:…`); with none, one is started here.
    The files belong to it: its authority, and a certificate, key or user that it lets in. `address` is this
    node's underlay address: an address, an interface's name, a prefix, or "reach:ADDRESS" (whatever leads
    there); "" means that of the default route. `listen` is host:port of the node API.
    """

    name: str = ""
    endpoints: tuple[str, ...] = ()
    prefix: str = "carrick/"
    etcd_cacert: str = ""
    etcd_cert: str = ""
    etcd_key: str = ""
    etcd_user: str = ""
    etcd_password_file: str = ""
    address: str = ""
    listen: str = ""
    gone_after_s: float = 600.0


@dataclass(frozen=True, slots=True)
class JoinCluster:
    """Join the cluster that `host` (host[:port] of a member's node API) is in."""

    host: str
    token: str = field(repr=False)
    name: str = ""
    address: str = ""
    listen: str = ""


@dataclass(frozen=True, slots=True)
class Admission:
    """What a joining node tells a member, with the token's secret and a certificate request (PEM)."""

    secret: str = field(repr=False)
    node: NodeId
    name: str
    addresses: tuple[str, ...]
    certificate_request: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a member answers: a certificate, and where the cluster's store is. PEM throughout."""

    cluster: str
    certificate: str
    ca: str
    endpoints: tuple[str, ...]
    prefix: str
    etcd_ca: str = ""
    etcd_certificate: str = ""
    etcd_key: str = field(default="", repr=False)
    etcd_user: str = ""
    etcd_password: str = field(default="", repr=False)
    gone_after_s: float = 600.0


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The cluster as this node sees it. `problem` says why the store cannot be reached now, "" if it can."""

    id: str
    node: NodeId
    name: str
    endpoints: tuple[str, ...]
    node_count: int
    problem: str = ""
    own_etcd: bool = False
    has_authority: bool = False
    certificate_ends_ns: int = 0


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node: `status` is ready, unreachable or leaving; `blocks` are the confirmed ones."""

    record: NodeRecord
    status: str
    is_self: bool = False
    blocks: tuple[Block, ...] = ()
    endpoint_count: int = 0


@dataclass(frozen=True, slots=True)
class PeerView:
    """Another node, and how packets get there. `transport` and `why` by network driver.

    `verified_mtu` 0 and `rtt_ms` None: not measured yet, or it did not answer; `problem` then says so. Bytes
    are those of containers' packets by whatever transport, with a tunnel's headers; None where some of them
    go by plain routes that nobody asked to have counted.
    """

    record: NodeRecord
    status: str
    transport: str
    why: str
    encrypted: bool = False
    verified_mtu: int = 0
    rtt_ms: float | None = None
    bytes_sent: int | None = 0
    bytes_received: int | None = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class UpdateNode:
    """New facts about a node; None leaves them alone. Only this node's own address can be changed."""

    address: str | None = None
    labels: Mapping[str, str] | None = None
    drain: bool | None = None
