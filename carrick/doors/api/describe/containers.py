"""Containers: their life, what `inspect` and `ps` show, their files."""

from .host_config import CONFIG, HOST_CONFIG, PORT_MAP, RESOURCES, RESTART_POLICY
from .kinds import (
    BYTES,
    FLAG,
    ID,
    ID_OR_NONE,
    IMAGE_ID,
    INTEGER,
    NOTHING,
    TEXT,
    TEXT_MAP,
    TEXTS,
    TIME,
    Array,
    Map,
    Null,
    Object,
    Plain,
    asked,
    choice,
    maybe,
)
from .networks import ENDPOINT
from .operations import (
    JSON,
    OCTETS,
    TAR,
    Answer,
    Operation,
    Operations,
    archive,
    document,
    done,
    filters,
    flag,
    json,
    moment,
    number,
    output,
    query,
    several,
    word,
)
from .statistics import STATISTICS

_FILTERS = (
    "`id`, `name`, `label`, `status`, `exited`, `ancestor`, `before`, `since`, `volume`, `network`, "
    "`publish`, `expose`, `health`, `is-task`, `isolation`"
)
_NETWORKING = Object("NetworkingConfig", {"EndpointsConfig": asked(Map(ENDPOINT))})
CREATE = CONFIG.with_fields(
    "ContainerCreate", {"HostConfig": asked(HOST_CONFIG), "NetworkingConfig": asked(_NETWORKING)}
)
UPDATE = Object("ContainerUpdate", {**RESOURCES, "RestartPolicy": RESTART_POLICY})

_HEALTH_RESULT = Object("HealthResult", {"Start": TIME, "End": TIME, "ExitCode": INTEGER, "Output": TEXT})
HEALTH = Object(
    "Health",
    {
        "Status": choice("none", "starting", "healthy", "unhealthy"),
        "FailingStreak": INTEGER,
        "Log": Null(Array(_HEALTH_RESULT)),
    },
)
_STATUS = choice("created", "running", "paused", "restarting", "removing", "exited", "dead")
STATE = Object(
    "ContainerState",
    {
        "Status": _STATUS,
        "Running": FLAG,
        "Paused": FLAG,
        "Restarting": FLAG,
        "OOMKilled": FLAG,
        "Dead": FLAG,
        "Pid": INTEGER,
        "ExitCode": INTEGER,
        "Error": TEXT,
        "StartedAt": TIME,
        "FinishedAt": TIME,
        "Health": maybe(HEALTH),
    },
)
MOUNT_POINT = Object(
    "MountPoint",
    {
        "Type": choice("bind", "volume", "tmpfs"),
        "Name": maybe(TEXT),
        "Source": TEXT,
        "Destination": TEXT,
        "Driver": maybe(TEXT),
        "Mode": TEXT,
        "RW": FLAG,
        "Propagation": TEXT,
    },
)
NETWORK_SETTINGS = Object(
    "NetworkSettings",
    {
        "Bridge": TEXT,
        "SandboxID": ID_OR_NONE,
        "SandboxKey": TEXT,
        "Ports": Map(Null(PORT_MAP.value)),
        "HairpinMode": FLAG,
        "LinkLocalIPv6Address": TEXT,
        "LinkLocalIPv6PrefixLen": INTEGER,
        "SecondaryIPAddresses": NOTHING,
        "SecondaryIPv6Addresses": NOTHING,
        "EndpointID": ID_OR_NONE,
        "Gateway": TEXT,
        "GlobalIPv6Address": TEXT,
        "GlobalIPv6PrefixLen": INTEGER,
        "IPAddress": TEXT,
        "IPPrefixLen": INTEGER,
        "IPv6Gateway": TEXT,
        "MacAddress": TEXT,
        "Networks": Map(ENDPOINT),
    },
)
GRAPH_DRIVER = Object("GraphDriver", {"Data": Null(TEXT_MAP), "Name": TEXT})
CONTAINER = Object(
    "Container",
    {
        "Id": ID,
        "Created": TIME,
        "Path": TEXT,
        "Args": TEXTS,
        "State": STATE,
        "Image": IMAGE_ID,
        "ResolvConfPath": TEXT,
        "HostnamePath": TEXT,
        "HostsPath": TEXT,
        "LogPath": TEXT,
        "Name": Plain({"type": "string", "pattern": "^/"}),
        "RestartCount": INTEGER,
        "Driver": TEXT,
        "Platform": TEXT,
        "MountLabel": TEXT,
        "ProcessLabel": TEXT,
        "AppArmorProfile": TEXT,
        "ExecIDs": Null(Array(ID)),
        "HostConfig": HOST_CONFIG,
        "GraphDriver": GRAPH_DRIVER,
        "SizeRw": maybe(INTEGER),
        "SizeRootFs": maybe(INTEGER),
        "Mounts": Array(MOUNT_POINT),
        "Config": CONFIG,
        "NetworkSettings": NETWORK_SETTINGS,
    },
)
_ENTRY_PORT = Object(
    "EntryPort",
    {
        "IP": maybe(TEXT),
        "PrivatePort": INTEGER,
        "PublicPort": maybe(INTEGER),
        "Type": choice("tcp", "udp", "sctp"),
    },
)
ENTRY = Object(
    "ContainerEntry",
    {
        "Id": ID,
        "Names": TEXTS,
        "Image": TEXT,
        "ImageID": IMAGE_ID,
        "Command": TEXT,
        "Created": INTEGER,
        "Ports": Array(_ENTRY_PORT),
        "SizeRw": maybe(INTEGER),
        "SizeRootFs": maybe(INTEGER),
        "Labels": TEXT_MAP,
        "State": _STATUS,
        "Status": TEXT,
        "HostConfig": Object("EntryHostConfig", {"NetworkMode": TEXT, "Annotations": maybe(TEXT_MAP)}),
        "NetworkSettings": Object("EntryNetworkSettings", {"Networks": Map(ENDPOINT)}),
        "Mounts": Array(MOUNT_POINT),
    },
)
CHANGE = Object("Change", {"Path": TEXT, "Kind": Plain({"type": "integer", "enum": [0, 1, 2]})})
WAITED = Object(
    "WaitResult", {"StatusCode": INTEGER, "Error": maybe(Null(Object("WaitError", {"Message": TEXT})))}
)
_STAT = {"X-Docker-Container-Path-Stat": "base64 of JSON: name, size, mode, mtime, linkTarget"}
_PATH = word("path", "An absolute path in the container", required=True)
_SIGNAL = word("signal", "The signal to send first; without, the container's own")
_GRACE = number("t", "Seconds until SIGKILL; -1 is never. Without, the container's own")

OPERATIONS: Operations = {
    "POST /containers/create": Operation(
        "Create a container",
        {201: json(Object("ContainerCreated", {"Id": ID, "Warnings": TEXTS}), "Created")},
        errors=(403, 404, 409, 501),
        parameters=(word("name", "A name; without, one is made up"), word("platform", "os[/arch[/variant]]")),
        body=document(CREATE),
    ),
    "POST /containers/prune": Operation(
        "Remove the containers that do not run",
        {
            200: json(
                Object("ContainersPruned", {"ContainersDeleted": Null(TEXTS), "SpaceReclaimed": INTEGER})
            )
        },
        parameters=(filters("`until`, `label`, `label!`"),),
    ),
    "GET /containers/json": Operation(
        "List containers",
        {200: json(Array(ENTRY), "The newest first")},
        errors=(404,),
        parameters=(
            flag("all", "Also those that do not run"),
            number("limit", "The newest so many, running or not"),
            flag("size", "Add SizeRw and SizeRootFs"),
            filters(_FILTERS),
        ),
    ),
    "GET /containers/{id}/json": Operation(
        "Inspect a container",
        {200: json(CONTAINER)},
        errors=(404,),
        parameters=(flag("size", "Add SizeRw and SizeRootFs"),),
    ),
    "GET /containers/{id}/top": Operation(
        "List a container's processes",
        {200: json(Object("ProcessTable", {"Titles": TEXTS, "Processes": Null(Array(TEXTS))}))},
        errors=(404, 409),
        parameters=(word("ps_args", "Options of ps; -ef without"),),
    ),
    "GET /containers/{id}/changes": Operation(
        "List what a container has changed in its file system",
        {200: json(Null(Array(CHANGE)), "Kind 0: modified, 1: added, 2: deleted")},
        errors=(404,),
    ),
    "POST /containers/{id}/start": Operation(
        "Start a container",
        {204: done("Started"), 304: done("It ran already")},
        errors=(403, 404, 409, 501),
        parameters=(word("detachKeys", "Read by nobody: the one of attach counts"),),
    ),
    "POST /containers/{id}/stop": Operation(
        "Stop a container",
        {204: done("Stopped"), 304: done("It did not run")},
        errors=(404, 409),
        parameters=(_GRACE, _SIGNAL),
    ),
    "POST /containers/{id}/restart": Operation(
        "Stop and start a container",
        {204: done("Restarted")},
        errors=(403, 404, 409, 501),
        parameters=(_GRACE, _SIGNAL),
    ),
    "POST /containers/{id}/kill": Operation(
        "Send a signal to a container",
        {204: done("Sent")},
        errors=(404, 409),
        parameters=(word("signal", "A name or a number; SIGKILL without"),),
    ),
    "POST /containers/{id}/pause": Operation("Freeze", {204: done("Frozen")}, errors=(404, 409)),
    "POST /containers/{id}/unpause": Operation("Thaw", {204: done("Thawed")}, errors=(404, 409)),
    "POST /containers/{id}/rename": Operation(
        "Rename a container",
        {204: done("Renamed")},
        errors=(404, 409),
        parameters=(word("name", "The new name", required=True),),
    ),
    "POST /containers/{id}/update": Operation(
        "Change limits and the restart policy",
        {200: json(Object("ContainerUpdated", {"Warnings": Null(TEXTS)}))},
        errors=(404, 409, 501),
        body=document(UPDATE),
    ),
    "POST /containers/{id}/resize": Operation(
        "Resize a container's terminal",
        {200: done("Resized")},
        errors=(404, 409),
        parameters=(number("h", "Rows"), number("w", "Columns")),
    ),
    "POST /containers/{id}/wait": Operation(
        "Wait until a container ends",
        {200: json(WAITED, "The head is sent at once, the body at the end")},
        errors=(404,),
        parameters=(query("condition", choice("not-running", "next-exit", "removed"), "What to wait for"),),
    ),
    "DELETE /containers/{id}": Operation(
        "Remove a container",
        {204: done("Removed")},
        errors=(403, 404, 409),
        parameters=(
            flag("force", "Kill it first if it runs"),
            flag("v", "Also its anonymous volumes"),
            flag("link", "Remove the link of that name, not the container"),
        ),
    ),
    "GET /containers/{id}/logs": Operation(
        "Read a container's log",
        {200: output("The log; with `follow`, until the container ends")},
        errors=(404, 501),
        parameters=(
            flag("stdout", "Standard output"),
            flag("stderr", "Standard error; at least one of both must be asked for"),
            flag("follow", "Go on with what is written from now on"),
            moment("since", "Only what is younger"),
            moment("until", "Only what is older"),
            flag("timestamps", "Begin every line with its time"),
            word("tail", "Only the last so many lines; `all` without"),
            flag("details", "Begin every line with the labels and variables that the log's options name"),
        ),
    ),
    "GET /containers/{id}/stats": Operation(
        "Measure what a container uses",
        {200: Answer("A sample a second; one with `stream=0`", {JSON: STATISTICS}, lines=True)},
        errors=(404, 409),
        parameters=(
            flag("stream", "Go on until the client leaves; true without"),
            flag("one-shot", "With `stream=0`: do not take a second sample for the percentages"),
        ),
    ),
    "HEAD /containers/{id}/archive": Operation(
        "Look at a file in a container",
        {200: Answer("It is there", headers=_STAT)},
        errors=(404,),
        parameters=(_PATH,),
    ),
    "GET /containers/{id}/archive": Operation(
        "Copy files out of a container",
        {200: Answer("A tar archive", {TAR: BYTES}, headers=_STAT)},
        errors=(404,),
        parameters=(_PATH,),
    ),
    "PUT /containers/{id}/archive": Operation(
        "Copy files into a container",
        {200: done("Unpacked")},
        errors=(403, 404, 409),
        parameters=(
            _PATH,
            flag("noOverwriteDirNonDir", "Refuse to replace a directory by a file, and the reverse"),
            flag("copyUIDGID", "Keep the owners of the archive"),
        ),
        body=archive(),
    ),
    "GET /containers/{id}/export": Operation(
        "Save a container's file system",
        {200: Answer("A tar archive", {OCTETS: BYTES, TAR: BYTES})},
        errors=(404,),
    ),
    "POST /commit": Operation(
        "Make an image of a container",
        {201: json(Object("Committed", {"Id": IMAGE_ID}), "Made")},
        errors=(404, 409),
        parameters=(
            word("container", "The container", required=True),
            word("repo", "The image's name"),
            word("tag", "Its tag"),
            word("author", "Who made it"),
            word("comment", "Why"),
            flag("pause", "Freeze the container meanwhile; true without"),
            several("changes", "Instructions of a Dockerfile, one per line"),
        ),
    ),
}
