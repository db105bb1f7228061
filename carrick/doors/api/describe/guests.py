"""Containers of other engines."""

from .kinds import ID, INTEGER, TEXT, TIME, Array, Object
from .operations import Operation, Operations, flag, json, word

_PORT = Object("GuestPort", {"PrivatePort": INTEGER, "Type": TEXT, "IP": TEXT, "PublicPort": INTEGER})
GUEST = Object(
    "Guest",
    {
        "ID": ID,
        "Engine": TEXT,
        "ContainerID": TEXT,
        "Name": TEXT,
        "NetworkID": ID,
        "Network": TEXT,
        "Interface": TEXT,
        "Netns": TEXT,
        "MacAddress": TEXT,
        "IPv4Address": TEXT,
        "IPv6Address": TEXT,
        "Ports": Array(_PORT),
        "Created": TIME,
    },
)

OPERATIONS: Operations = {
    "GET /carrick/v1/guests": Operation(
        "List interfaces of containers that other engines run",
        {200: json(Array(GUEST))},
        parameters=(word("engine", "Of this engine alone (`podman`, `docker`, `cni` …)"),),
    ),
    "POST /carrick/v1/guests/prune": Operation(
        "Let go of guests that are no more",
        {200: json(Array(GUEST), "Those that were let go")},
        parameters=(
            word("engine", "With `all`: the engine that is gone"),
            flag("all", "Also every guest of `engine`, whether or not its namespace is there"),
        ),
    ),
}
