"""The cluster, its nodes, and this node's peers."""

from .kinds import (
    FLAG,
    INTEGER,
    NUMBER,
    TEXT,
    TEXT_MAP,
    TEXTS,
    TIME,
    Array,
    Null,
    Object,
    Plain,
    asked,
    choice,
)
from .operations import Operation, Operations, document, done, flag, json

_NODE_ID = Plain({"type": "string", "pattern": "^[a-z2-7]{26}$"})
_FORCE = "Also if that hurts"
CLUSTER = Object(
    "Cluster",
    {
        "ID": _NODE_ID,
        "NodeID": _NODE_ID,
        "Name": TEXT,
        "Endpoints": TEXTS,
        "Nodes": INTEGER,
        "Problem": TEXT,
        "OwnEtcd": FLAG,
        "HasAuthority": FLAG,
        "CertificateEnds": TIME,
        "Warnings": TEXTS,
    },
)
_UNDERLAY = Object("Underlay", {"Address": TEXT, "Prefix": TEXT, "MTU": INTEGER})
NODE = Object(
    "Node",
    {
        "ID": _NODE_ID,
        "Name": TEXT,
        "Status": TEXT,
        "State": choice("active", "draining", "gone"),
        "Self": FLAG,
        "Underlays": Array(_UNDERLAY),
        "API": TEXT,
        "Version": TEXT,
        "Transports": TEXTS,
        "Labels": TEXT_MAP,
        "Epoch": INTEGER,
        "Joined": TIME,
        "Blocks": Array(Object("NodeBlock", {"NetworkID": TEXT, "Prefix": TEXT})),
        "Endpoints": INTEGER,
    },
)
PEER = Object(
    "Peer",
    {
        "ID": _NODE_ID,
        "Name": TEXT,
        "Address": TEXT,
        "Status": TEXT,
        "Transport": TEXT,
        "Why": TEXT,
        "Encrypted": FLAG,
        "MTU": INTEGER,
        "RTT": Null(NUMBER),
        "BytesSent": Null(INTEGER),
        "BytesReceived": Null(INTEGER),
        "Problem": TEXT,
    },
)
INIT = Object(
    "ClusterInit",
    {
        "Name": asked(TEXT),
        "Endpoints": asked(TEXTS),
        "Prefix": asked(TEXT),
        "EtcdCACert": asked(TEXT),
        "EtcdCert": asked(TEXT),
        "EtcdKey": asked(TEXT),
        "EtcdUser": asked(TEXT),
        "EtcdPasswordFile": asked(TEXT),
        "Address": asked(TEXT),
        "Listen": asked(TEXT),
        "GoneAfter": asked(INTEGER),
    },
)
JOIN = Object(
    "ClusterJoin",
    {
        "Host": asked(TEXT),
        "Token": asked(TEXT),
        "Name": asked(TEXT),
        "Address": asked(TEXT),
        "Listen": asked(TEXT),
    },
)
TOKEN = Object("TokenRequest", {"TTL": asked(INTEGER), "Uses": asked(INTEGER)})
UPDATE = Object("NodeUpdate", {"Address": asked(TEXT), "Labels": asked(TEXT_MAP), "Drain": asked(FLAG)})

OPERATIONS: Operations = {
    "GET /carrick/v1/cluster": Operation(
        "Look at the cluster that this host is in", {200: json(CLUSTER)}, errors=(404,)
    ),
    "POST /carrick/v1/cluster": Operation(
        "Found a cluster on this host",
        {201: json(CLUSTER, "Founded; its networks and containers are as they were")},
        errors=(403, 404, 409, 501),
        body=document(INIT, required=False),
        text="Without `Endpoints` an etcd is started here. The files are the daemon's host's. "
        "`GoneAfter` is in seconds.",
    ),
    "DELETE /carrick/v1/cluster": Operation(
        "Leave the cluster",
        {204: done("This host is on its own again")},
        errors=(403, 404, 409, 501),
        parameters=(flag("force", _FORCE),),
    ),
    "POST /carrick/v1/cluster/join": Operation(
        "Join the cluster that a host is in",
        {201: json(CLUSTER, "Joined")},
        errors=(403, 404, 409, 501),
        body=document(JOIN),
        text="The token's secret is sent only to a host that proves to be of the token's cluster.",
    ),
    "POST /carrick/v1/cluster/token": Operation(
        "Make a token to join with",
        {201: json(Object("JoinToken", {"Token": TEXT}), "It is shown this once")},
        errors=(403, 404, 409, 501),
        body=document(TOKEN, required=False),
        text="`TTL` is in seconds, an hour without; `Uses` 0 is any number.",
    ),
    "POST /carrick/v1/cluster/recover": Operation(
        "Write the cluster again to a store that has lost it",
        {200: json(Object("Recovered", {"Records": INTEGER}), "How many records were written")},
        errors=(403, 404, 409, 501),
        text="From what this node knows. 409 if the store holds a cluster: there is nothing to recover.",
    ),
    "POST /carrick/v1/cluster/keys": Operation(
        "Replace this node's WireGuard key",
        {200: json(Object("NodeKey", {"WireguardKey": TEXT}), "The public key, once the cluster has it")},
        errors=(403, 404, 409, 501),
        text="If the store does not take it, the old one stays (503). 501 where there is none.",
    ),
    "GET /carrick/v1/nodes": Operation(
        "List the cluster's nodes", {200: json(Array(NODE))}, errors=(403, 404, 409, 501)
    ),
    "GET /carrick/v1/nodes/{id}": Operation("Inspect a node", {200: json(NODE)}, errors=(403, 404, 409, 501)),
    "POST /carrick/v1/nodes/{id}": Operation(
        "Change a node's labels, drain it, or change this node's address",
        {204: done("Changed")},
        errors=(403, 404, 409, 501),
        body=document(UPDATE),
    ),
    "DELETE /carrick/v1/nodes/{id}": Operation(
        "Take another node out of the cluster at once",
        {204: done("Removed")},
        errors=(403, 404, 409, 501),
        parameters=(flag("force", _FORCE),),
    ),
    "GET /carrick/v1/peers": Operation(
        "List the other nodes, and how packets get there",
        {
            200: json(
                Array(PEER),
                "`RTT` is in milliseconds, null if it was not measured; bytes are null if some go uncounted",
            )
        },
        errors=(403, 404, 409, 501),
    ),
}
