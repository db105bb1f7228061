"""The cluster of the fake engine: one other node, tokens that are good once, and a store that may be away."""

import base64
from collections.abc import Sequence
from dataclasses import replace

from ..engine.cluster.values import (
    Admission,
    Admitted,
    ClusterView,
    InitCluster,
    JoinCluster,
    NodeView,
    PeerView,
    UpdateNode,
)
from ..model.cluster import Block, BlockState, NodeId, NodeRecord, NodeState, Underlay
from ..model.errors import (
    CarrickError,
    Conflict,
    Denied,
    InvalidRequest,
    NotFound,
    Unavailable,
    Unsupported,
)
from ..model.ids import NetworkId

SELF, OTHER = NodeId("a" * 26), NodeId("b" * 26)
CLUSTER = "c" * 26
_JOINED_NS = 1_700_000_000_000_000_000


class FakeCluster:
    """`problem` makes the store be away, and with `is_lost` empty; `tokens` are good for joining."""

    def __init__(self) -> None:
        self.problem = ""
        self.is_lost = False
        self.has_wireguard = True
        self.keys: list[str] = []
        self.broken: list[CarrickError] = []
        self.tokens = {f"CKJ1-{'a' * 52}-{'b' * 32}"}
        self.records: dict[NodeId, NodeRecord] = {}
        self.requests: list[object] = []
        self._endpoints: tuple[str, ...] = ()

    async def init(self, request: InitCluster) -> ClusterView:
        self.requests.append(request)
        return await self._enter(request.name or "fake-host", request.endpoints)

    async def join(self, request: JoinCluster) -> ClusterView:
        self.requests.append(request)
        if not request.token.startswith("CKJ1-"):
            raise InvalidRequest("this is not a join token: one reads CKJ1-…-… and has 90 characters")
        if request.token not in self.tokens:
            raise Denied("wrong or expired token", remedy="make one on a member with: carrick cluster token")
        self.tokens.discard(request.token)
        return await self._enter(request.name or "fake-host", ("https://192.0.2.1:2379",))

    async def _enter(self, name: str, endpoints: tuple[str, ...]) -> ClusterView:
        if self.records:
            raise Conflict(
                f"this node is in cluster {CLUSTER} already", remedy="leave it first: carrick leave"
            )
        self._endpoints = endpoints or ("https://192.0.2.7:2379",)
        for node, title, address in ((SELF, name, "192.0.2.7"), (OTHER, "other", "192.0.2.8")):
            self.records[node] = NodeRecord(
                node,
                title,
                1,
                (Underlay(address, "192.0.2.0/24"),),
                api=f"{address}:2377",
                version="0.1.0",
                joined_ns=_JOINED_NS,
            )
        return await self.get()

    def _require(self) -> None:
        if not self.records:
            raise NotFound(
                "this host is not in a cluster",
                remedy="found one with: carrick cluster init; or join one: carrick join HOST --token …",
            )

    async def leave(self, *, force: bool = False) -> None:
        self._require()
        if self.problem and not force:
            raise Unavailable(f"the cluster's store is away: {self.problem}")
        self.records.clear()

    async def get(self) -> ClusterView:
        self._require()
        return ClusterView(
            CLUSTER,
            SELF,
            self.records[SELF].name,
            self._endpoints,
            len(self.records),
            problem=self.problem,
            own_etcd=True,
            has_authority=True,
            certificate_ends_ns=_JOINED_NS + 10**15,
        )

    async def token(self, ttl_s: float, uses: int = 0) -> str:
        self._require()
        if ttl_s < 1:
            raise InvalidRequest(f"a token is good for 1 second to 365 days, not {ttl_s:g} seconds")
        self.requests.append((ttl_s, uses))
        token = f"CKJ1-{'a' * 52}-{len(self.requests):b>32}"
        self.tokens.add(token)
        return token

    async def recover(self) -> int:
        self._require()
        if not self.problem:
            raise Conflict(
                "the store holds a cluster below carrick/: there is nothing to recover",
                remedy="see what it says: carrick cluster info",
            )
        if not self.is_lost:
            raise Unavailable(f"the cluster's store is away: {self.problem}")
        self.problem, self.is_lost = "", False
        return 3 + len(self.records)

    async def rotate_key(self) -> str:
        self._require()
        if self.problem:
            raise Unavailable(self.problem, remedy="try again when it answers")
        if not self.has_wireguard:
            raise Unsupported(
                "this node has no WireGuard key", remedy="apt-get install wireguard-go wireguard-tools"
            )
        self.keys.append(base64.b64encode(bytes([len(self.keys)]) * 32).decode())
        return self.keys[-1]

    def unreadable(self) -> Sequence[CarrickError]:
        return self.broken

    async def admit(self, request: Admission) -> Admitted:
        raise Denied("wrong or expired token")

    async def renew(self, node: NodeId, certificate_request: str) -> Admitted:
        raise Denied(f"node {node} is not a member of this cluster")

    async def nodes(self) -> list[NodeView]:
        self._require()
        return [self._view(record) for record in self.records.values()]

    async def node(self, reference: str) -> NodeView:
        return self._view(self._find(reference))

    async def update_node(self, reference: str, request: UpdateNode) -> None:
        self.requests.append(request)
        record = self._find(reference)
        if request.address is not None and record.id != SELF:
            raise InvalidRequest(f"the address of {record.name} can only be changed there")
        if request.labels is not None:
            record = replace(record, labels=dict(request.labels))
        if request.drain is not None:
            record = replace(record, state=NodeState.DRAINING if request.drain else NodeState.ACTIVE)
        self.records[record.id] = record

    async def remove_node(self, reference: str, *, force: bool = False) -> None:
        record = self._find(reference)
        if not force:
            raise Conflict(f"node {record.name} is alive", remedy="use --force")
        del self.records[record.id]

    async def peers(self) -> list[PeerView]:
        self._require()
        return [
            PeerView(
                record,
                "ready",
                "vxlan",
                "the default of overlay networks",
                verified_mtu=1450,
                rtt_ms=0.25,
                bytes_sent=1_500_000,
                bytes_received=20,
            )
            for record in self.records.values()
            if record.id != SELF
        ]

    def _find(self, reference: str) -> NodeRecord:
        self._require()
        for record in self.records.values():
            if reference == record.name or record.id.startswith(reference):
                return record
        raise NotFound(f"node {reference} not found", remedy="carrick node ls shows them")

    def _view(self, record: NodeRecord) -> NodeView:
        block = Block(NetworkId("d" * 64), "10.9.0.0/27", record.id, 1, BlockState.CONFIRMED)
        return NodeView(record, "ready", record.id == SELF, (block,), 2)
