"""Blocks of networks that bridges of other engines on this node have."""

from .kinds import FLAG, INTEGER, TEXT, TEXT_MAP, TEXTS, Array, Object, asked
from .operations import Operation, Operations, document, done, flag, json

LENT = Object(
    "LentBlock",
    {
        "NetworkID": TEXT,
        "Network": TEXT,
        "Bridge": TEXT,
        "File": TEXT,
        "Subnet": TEXT,
        "IPv6Subnet": TEXT,
        "MTU": INTEGER,
        "IPMasq": FLAG,
        "Env": TEXT,
        "DockerOptions": TEXTS,
        "DockerEnv": TEXT,
        "Problem": TEXT,
    },
)
IMPORT = Object(
    "FlannelRequest",
    {"Name": TEXT, "Config": TEXT, "IPMasq": asked(FLAG), "DryRun": asked(FLAG)},
)
IMPORTED = Object(
    "FlannelNetwork",
    {
        "Id": TEXT,
        "Name": TEXT,
        "Driver": TEXT,
        "Subnets": TEXTS,
        "Options": TEXT_MAP,
        "Notes": TEXTS,
    },
)
LEND = Object("LendRequest", {"Bridge": asked(TEXT), "File": asked(TEXT)})

OPERATIONS: Operations = {
    "POST /carrick/v1/networks/flannel": Operation(
        "Create a routed network from flannel's configuration",
        {
            200: json(IMPORTED, "What would be created, as `DryRun` asks"),
            201: json(IMPORTED, "Created; `Notes` say what is otherwise here"),
        },
        errors=(403, 404, 409, 501),
        body=document(IMPORT),
        text="`Config` is the text of a net-conf.json. What leaves the network is masqueraded unless "
        "`IPMasq` is false.",
    ),
    "GET /carrick/v1/lent": Operation(
        "List the networks of which bridges of other engines here have a part",
        {200: json(Array(LENT))},
        errors=(403, 404, 409, 501),
    ),
    "GET /carrick/v1/lent/{id}": Operation(
        "Inspect what a bridge here has of a network", {200: json(LENT)}, errors=(403, 404, 409, 501)
    ),
    "POST /carrick/v1/lent/{id}": Operation(
        "Lend this node's part of a routed network to a bridge of another engine",
        {200: json(LENT, "`Env` is what was written to `File`, in flannel's format")},
        errors=(403, 404, 409, 501),
        body=document(LEND, required=False),
        text="The node claims a block of each family and keeps it until it is released. `Bridge` is docker0 "
        "and `File` /run/flannel/subnet.env unless they are named. May be repeated.",
    ),
    "DELETE /carrick/v1/lent/{id}": Operation(
        "Give back what a bridge here had of a network",
        {204: done("Given back")},
        errors=(403, 404, 409, 501),
        parameters=(flag("force", "Also while a link has addresses of it"),),
    ),
}
