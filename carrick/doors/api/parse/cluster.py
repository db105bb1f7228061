"""Requests about the cluster. What is secret in them is in no message."""

from ....engine.cluster.values import InitCluster, JoinCluster, UpdateNode
from ....model.errors import InvalidRequest
from .fields import Fields

_DEFAULT_TTL_S = 3600
_MOST_LABELS = 64


def parse_init(body: Fields) -> InitCluster:
    """Return what `POST /carrick/v1/cluster` asks for."""
    default = InitCluster()
    return InitCluster(
        name=body.text("Name"),
        endpoints=body.texts("Endpoints"),
        prefix=body.text("Prefix") or default.prefix,
        etcd_cacert=body.text("EtcdCACert"),
        etcd_cert=body.text("EtcdCert"),
        etcd_key=body.text("EtcdKey"),
        etcd_user=body.text("EtcdUser"),
        etcd_password_file=body.text("EtcdPasswordFile"),
        address=body.text("Address"),
        listen=body.text("Listen"),
        gone_after_s=float(body.integer("GoneAfter") or default.gone_after_s),
    )


def parse_join(body: Fields) -> JoinCluster:
    """Return what `POST /carrick/v1/cluster/join` asks for."""
    for name in ("Host", "Token"):
        if not body.text(name):
            raise InvalidRequest(f"{name} is missing: expected the host to join and a token of its cluster")
    return JoinCluster(
        body.text("Host"),
        body.text("Token"),
        name=body.text("Name"),
        address=body.text("Address"),
        listen=body.text("Listen"),
    )


def parse_token(body: Fields) -> tuple[float, int]:
    """Return a token's time to live in seconds, and its number of uses (0: any)."""
    ttl = body.optional_integer("TTL")
    return float(_DEFAULT_TTL_S if ttl is None else ttl), body.integer("Uses")


def parse_update(body: Fields) -> UpdateNode:
    """Return what `POST /carrick/v1/nodes/{id}` asks to change."""
    labels = body.text_map("Labels") if body.has("Labels") else None
    if labels is not None and len(labels) > _MOST_LABELS:
        raise InvalidRequest(f"a node has at most {_MOST_LABELS} labels, not {len(labels)}")
    return UpdateNode(
        address=body.text("Address") if body.has("Address") else None,
        labels=labels,
        drain=body.optional_flag("Drain"),
    )
