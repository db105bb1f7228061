"""The daemon itself; and what it refuses to be."""

from ..routing import ApiVersion
from .containers import ENTRY as CONTAINER_ENTRY
from .images import ENTRY as IMAGE_ENTRY
from .kinds import (
    FLAG,
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
    before,
    choice,
    maybe,
    since,
)
from .operations import (
    AUTH_CONFIG,
    Answer,
    Operation,
    Operations,
    document,
    filters,
    json,
    lines,
    moment,
    several,
)
from .volumes import VOLUME

_PING = Operation(
    "Ask whether anybody is there",
    {
        200: Answer(
            "OK",
            {"text/plain": Plain({"type": "string", "const": "OK"})},
            headers={
                "Builder-Version": "Empty: nothing is built here",
                "Swarm": "inactive",
                "Cache-Control": "Not to be kept",
                "Pragma": "Not to be kept",
            },
        )
    },
)
_COMPONENT = Object("Component", {"Name": TEXT, "Version": TEXT, "Details": TEXT_MAP})
VERSION = Object(
    "Version",
    {
        "Platform": Object("PlatformName", {"Name": TEXT}),
        "Components": Array(_COMPONENT),
        "Version": TEXT,
        "ApiVersion": TEXT,
        "MinAPIVersion": TEXT,
        "GitCommit": TEXT,
        "GoVersion": TEXT,
        "Os": TEXT,
        "Arch": TEXT,
        "KernelVersion": TEXT,
        "BuildTime": TEXT,
    },
)
_PLUGINS = Object(
    "PluginsInfo", {"Volume": TEXTS, "Network": TEXTS, "Authorization": Null(TEXTS), "Log": TEXTS}
)
_INDEX = Object("IndexInfo", {"Name": TEXT, "Mirrors": TEXTS, "Secure": FLAG, "Official": FLAG})
_TRIMMED: ApiVersion = (1, 50)
_REGISTRY = Object(
    "RegistryConfig",
    {
        "AllowNondistributableArtifactsCIDRs": before(TEXTS, *_TRIMMED),
        "AllowNondistributableArtifactsHostnames": before(TEXTS, *_TRIMMED),
        "InsecureRegistryCIDRs": TEXTS,
        "IndexConfigs": Map(_INDEX),
        "Mirrors": TEXTS,
    },
)
_SWARM = Object(
    "SwarmInfo",
    {
        "NodeID": TEXT,
        "NodeAddr": TEXT,
        "LocalNodeState": choice("inactive"),
        "ControlAvailable": FLAG,
        "Error": TEXT,
        "RemoteManagers": NOTHING,
    },
)
_COMMIT = Object("Commit", {"ID": TEXT, "Expected": before(TEXT, *_TRIMMED)})
INFO = Object(
    "Info",
    {
        "ID": TEXT,
        "Containers": INTEGER,
        "ContainersRunning": INTEGER,
        "ContainersPaused": INTEGER,
        "ContainersStopped": INTEGER,
        "Images": INTEGER,
        "Driver": TEXT,
        "DriverStatus": Array(TEXTS),
        "Plugins": _PLUGINS,
        "MemoryLimit": FLAG,
        "SwapLimit": FLAG,
        "KernelMemory": before(FLAG, 1, 42),
        "KernelMemoryTCP": before(FLAG, 1, 42),
        "BridgeNfIptables": before(FLAG, *_TRIMMED),
        "BridgeNfIp6tables": before(FLAG, *_TRIMMED),
        "CpuCfsPeriod": FLAG,
        "CpuCfsQuota": FLAG,
        "CPUShares": FLAG,
        "CPUSet": FLAG,
        "PidsLimit": FLAG,
        "IPv4Forwarding": FLAG,
        "Debug": FLAG,
        "NFd": INTEGER,
        "OomKillDisable": FLAG,
        "NGoroutines": INTEGER,
        "SystemTime": TIME,
        "LoggingDriver": TEXT,
        "CgroupDriver": TEXT,
        "CgroupVersion": TEXT,
        "NEventsListener": INTEGER,
        "KernelVersion": TEXT,
        "OperatingSystem": TEXT,
        "OSVersion": TEXT,
        "OSType": TEXT,
        "Architecture": TEXT,
        "IndexServerAddress": TEXT,
        "RegistryConfig": _REGISTRY,
        "NCPU": INTEGER,
        "MemTotal": INTEGER,
        "GenericResources": NOTHING,
        "DockerRootDir": TEXT,
        "HttpProxy": TEXT,
        "HttpsProxy": TEXT,
        "NoProxy": TEXT,
        "Name": TEXT,
        "Labels": TEXTS,
        "ExperimentalBuild": FLAG,
        "ServerVersion": TEXT,
        "Runtimes": Map(Object("Runtime", {"path": TEXT})),
        "DefaultRuntime": TEXT,
        "Swarm": _SWARM,
        "LiveRestoreEnabled": FLAG,
        "Isolation": TEXT,
        "InitBinary": TEXT,
        "ContainerdCommit": _COMMIT,
        "RuncCommit": _COMMIT,
        "InitCommit": _COMMIT,
        "SecurityOptions": TEXTS,
        "CDISpecDirs": since(TEXTS, 1, 46),
        "Warnings": Null(TEXTS),
    },
)
EVENT = Object(
    "Event",
    {
        "status": maybe(TEXT),
        "id": maybe(TEXT),
        "from": maybe(TEXT),
        "Type": choice("builder", "config", "container", "daemon", "image", "network", "plugin", "volume"),
        "Action": TEXT,
        "Actor": Object("Actor", {"ID": TEXT, "Attributes": TEXT_MAP}),
        "scope": choice("local"),
        "time": INTEGER,
        "timeNano": INTEGER,
    },
)
USAGE = Object(
    "DiskUsage",
    {
        "LayersSize": INTEGER,
        "Images": Null(Array(IMAGE_ENTRY)),
        "Containers": Null(Array(CONTAINER_ENTRY)),
        "Volumes": Null(Array(VOLUME)),
        "BuilderSize": before(INTEGER, 1, 42),
        "BuildCache": Null(Array(Plain({"type": "object"}))),
    },
)
_BUILD = Operation("Refused: build with buildah or docker buildx", {}, errors=(501,))
_SWARM_OBJECT = Operation("Refused: there is no swarm", {}, text="As of an engine that is in no swarm.")
_NO_SWARM_MODE = Operation("Refused: Carrick has no swarm mode", {}, errors=(501,))
_SWARM_OBJECTS = ("nodes", "services", "tasks", "secrets", "configs")

OPERATIONS: Operations = {
    "GET /_ping": _PING,
    "HEAD /_ping": _PING,
    "GET /version": Operation("Ask for versions", {200: json(VERSION)}),
    "GET /info": Operation("Describe the daemon and its host", {200: json(INFO)}),
    "GET /events": Operation(
        "Watch what happens",
        {200: lines(EVENT, "Without `until`, for as long as the client stays")},
        parameters=(
            moment("since", "Also what happened from then on"),
            moment("until", "End then"),
            filters("`type`, `event`, `container`, `image`, `network`, `volume`, `label`, `scope`, `daemon`"),
        ),
    ),
    "GET /system/df": Operation(
        "Measure what takes up space",
        {200: json(USAGE)},
        parameters=(several("type", "`container`, `image`, `volume` or `build-cache` only"),),
    ),
    "POST /auth": Operation(
        "Check credentials with their registry",
        {200: json(Object("LoggedIn", {"Status": TEXT, "IdentityToken": TEXT}))},
        errors=(401, 403, 501),
        body=document(AUTH_CONFIG),
    ),
    "GET /plugins": Operation(
        "List plugins: none",
        {200: json(Plain({"type": "array", "maxItems": 0}))},
        parameters=(filters("any"),),
    ),
    "GET /plugins/{name:path}/json": Operation("Refused: there are no plugins", {}, errors=(404,)),
    "POST /build": _BUILD,
    "POST /build/prune": Operation(
        "Clear the cache of builds: there is none",
        {200: json(Object("BuildPruned", {"CachesDeleted": Null(TEXTS), "SpaceReclaimed": INTEGER}))},
        parameters=(filters("any"),),
    ),
    "POST /session": _BUILD,
    "POST /grpc": _BUILD,
    **{f"GET /{name}": _SWARM_OBJECT for name in ("swarm", *_SWARM_OBJECTS)},
    **{
        f"{method} /{name}/{{rest:path}}": _SWARM_OBJECT
        for name in _SWARM_OBJECTS
        for method in ("GET", "POST", "DELETE")
    },
    **{f"POST /swarm/{name}": _SWARM_OBJECT for name in ("leave", "update", "unlock")},
    **{f"POST /swarm/{name}": _NO_SWARM_MODE for name in ("init", "join")},
    "GET /swarm/unlockkey": _SWARM_OBJECT,
}
