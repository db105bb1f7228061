"""The cluster, its nodes, and this node's peers."""

from ....engine.cluster.values import ClusterView, NodeView, PeerView
from . import Json
from .times import ZERO, render_time_ns


def render_cluster(view: ClusterView) -> Json:
    return {
        "ID": view.id,
        "NodeID": view.node,
        "Name": view.name,
        "Endpoints": list(view.endpoints),
        "Nodes": view.node_count,
        "Problem": view.problem,
        "OwnEtcd": view.own_etcd,
        "HasAuthority": view.has_authority,
        "CertificateEnds": _time(view.certificate_ends_ns),
        "Warnings": _warnings(view),
    }


def _warnings(view: ClusterView) -> list[str]:
    if any(endpoint.startswith("http://") for endpoint in view.endpoints):
        return ["etcd is reached without TLS: whoever can reach it rules the cluster"]
    return []


def render_node(view: NodeView) -> Json:
    record = view.record
    return {
        "ID": record.id,
        "Name": record.name,
        "Status": view.status,
        "State": record.state.value,
        "Self": view.is_self,
        "Underlays": [
            {"Address": item.address, "Prefix": item.prefix, "MTU": item.mtu} for item in record.underlays
        ],
        "API": record.api,
        "Version": record.version,
        "Transports": list(record.transports),
        "Labels": dict(record.labels),
        "Epoch": record.epoch,
        "Joined": _time(record.joined_ns),
        "Blocks": [{"NetworkID": block.network_id, "Prefix": block.prefix} for block in view.blocks],
        "Endpoints": view.endpoint_count,
    }


def render_peer(view: PeerView) -> Json:
    underlays = view.record.underlays
    return {
        "ID": view.record.id,
        "Name": view.record.name,
        "Address": underlays[0].address if underlays else "",
        "Status": view.status,
        "Transport": view.transport,
        "Why": view.why,
        "Encrypted": view.encrypted,
        "MTU": view.verified_mtu,
        "RTT": view.rtt_ms,
        "BytesSent": view.bytes_sent,
        "BytesReceived": view.bytes_received,
        "Problem": view.problem,
    }


def _time(time_ns: int) -> str:
    return render_time_ns(time_ns) if time_ns > 0 else ZERO
