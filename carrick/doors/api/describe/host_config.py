"""Config and HostConfig: in requests, in `inspect`, and (Config) in images."""

from .kinds import (
    FLAG,
    INTEGER,
    NO_ITEMS,
    SET,
    TEXT,
    TEXT_MAP,
    TEXTS,
    WORDS,
    Array,
    Field,
    Kind,
    Map,
    Null,
    Object,
    Plain,
    Sided,
    asked,
    before,
    choice,
    maybe,
)

HEALTHCHECK = Object(
    "Healthcheck",
    {
        "Test": maybe(TEXTS),
        "Interval": maybe(INTEGER),
        "Timeout": maybe(INTEGER),
        "StartPeriod": maybe(INTEGER),
        "StartInterval": maybe(INTEGER),
        "Retries": maybe(INTEGER),
    },
)
CONFIG = Object(
    "ContainerConfig",
    {
        "Hostname": TEXT,
        "Domainname": TEXT,
        "User": TEXT,
        "AttachStdin": FLAG,
        "AttachStdout": FLAG,
        "AttachStderr": FLAG,
        "ExposedPorts": maybe(SET),
        "Tty": FLAG,
        "OpenStdin": FLAG,
        "StdinOnce": FLAG,
        "Env": Null(TEXTS),
        "Cmd": WORDS,
        "Healthcheck": maybe(HEALTHCHECK),
        "ArgsEscaped": asked(FLAG),
        "Image": TEXT,
        "Volumes": Null(SET),
        "WorkingDir": TEXT,
        "Entrypoint": WORDS,
        "OnBuild": Null(TEXTS),
        "Labels": TEXT_MAP,
        "NetworkDisabled": maybe(FLAG),
        "MacAddress": maybe(TEXT),
        "StopSignal": maybe(TEXT),
        "StopTimeout": maybe(INTEGER),
        "Shell": maybe(TEXTS),
    },
)
IMAGE_CONFIG = Object("ImageConfig", {**CONFIG.fields, "Labels": Null(TEXT_MAP)})

BINDING = Object("PortBinding", {"HostIp": TEXT, "HostPort": TEXT})
PORT_MAP = Map(Array(BINDING))
RESTART_POLICY = Object(
    "RestartPolicy",
    {
        "Name": choice("", "no", "always", "on-failure", "unless-stopped"),
        "MaximumRetryCount": INTEGER,
    },
)
DEVICE = Object("Device", {"PathOnHost": TEXT, "PathInContainer": TEXT, "CgroupPermissions": TEXT})
ULIMIT = Object("Ulimit", {"Name": TEXT, "Hard": INTEGER, "Soft": INTEGER})
# Docker honours these; we take them with a warning and show none.
_NONE = Sided(shown=Null(NO_ITEMS), asked=Array(Plain({"type": "object"})))

RESOURCES: dict[str, Field | Kind] = {
    "KernelMemory": before(INTEGER, 1, 42),
    "KernelMemoryTCP": before(INTEGER, 1, 42),
    "CpuShares": INTEGER,
    "Memory": INTEGER,
    "NanoCpus": INTEGER,
    "CgroupParent": TEXT,
    "BlkioWeight": INTEGER,
    "BlkioWeightDevice": _NONE,
    "BlkioDeviceReadBps": _NONE,
    "BlkioDeviceWriteBps": _NONE,
    "BlkioDeviceReadIOps": _NONE,
    "BlkioDeviceWriteIOps": _NONE,
    "CpuPeriod": INTEGER,
    "CpuQuota": INTEGER,
    "CpuRealtimePeriod": INTEGER,
    "CpuRealtimeRuntime": INTEGER,
    "CpusetCpus": TEXT,
    "CpusetMems": TEXT,
    "Devices": Null(Array(DEVICE)),
    "DeviceCgroupRules": Null(TEXTS),
    "DeviceRequests": Null(Array(Plain({"type": "object"}))),
    "MemoryReservation": INTEGER,
    "MemorySwap": INTEGER,
    "MemorySwappiness": Null(INTEGER),
    "OomKillDisable": Null(FLAG),
    "PidsLimit": Null(INTEGER),
    "Ulimits": Null(Array(ULIMIT)),
    "CpuCount": INTEGER,
    "CpuPercent": INTEGER,
    "IOMaximumIOps": INTEGER,
    "IOMaximumBandwidth": INTEGER,
}

_BIND_OPTIONS = Object(
    "BindOptions",
    {"Propagation": maybe(TEXT), "NonRecursive": maybe(FLAG), "CreateMountpoint": maybe(FLAG)},
)
_VOLUME_OPTIONS = Object(
    "VolumeOptions",
    {
        "NoCopy": maybe(FLAG),
        "Labels": maybe(TEXT_MAP),
        "Subpath": maybe(TEXT),
        "DriverConfig": maybe(Object("VolumeDriverConfig", {"Name": TEXT, "Options": TEXT_MAP})),
    },
)
_TMPFS_OPTIONS = Object("TmpfsOptions", {"SizeBytes": maybe(INTEGER), "Mode": maybe(INTEGER)})
MOUNT = Object(
    "Mount",
    {
        "Type": choice("bind", "volume", "tmpfs"),
        "Source": maybe(TEXT),
        "Target": TEXT,
        "ReadOnly": maybe(FLAG),
        "Consistency": maybe(TEXT),
        "BindOptions": maybe(_BIND_OPTIONS),
        "VolumeOptions": maybe(_VOLUME_OPTIONS),
        "TmpfsOptions": maybe(_TMPFS_OPTIONS),
    },
)
LOG_CONFIG = Object("LogConfig", {"Type": TEXT, "Config": TEXT_MAP})

HOST_CONFIG = Object(
    "HostConfig",
    {
        "Binds": Null(TEXTS),
        "ContainerIDFile": TEXT,
        "LogConfig": LOG_CONFIG,
        "NetworkMode": TEXT,
        "PortBindings": Null(PORT_MAP),
        "RestartPolicy": RESTART_POLICY,
        "AutoRemove": FLAG,
        "VolumeDriver": TEXT,
        "VolumesFrom": Null(TEXTS),
        "ConsoleSize": Plain({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}),
        "Annotations": maybe(TEXT_MAP),
        "CapAdd": WORDS,
        "CapDrop": WORDS,
        "CgroupnsMode": TEXT,
        "Dns": Null(TEXTS),
        "DnsOptions": Null(TEXTS),
        "DnsSearch": Null(TEXTS),
        "ExtraHosts": Null(TEXTS),
        "GroupAdd": Null(TEXTS),
        "IpcMode": TEXT,
        "Cgroup": TEXT,
        "Links": Null(TEXTS),
        "OomScoreAdj": INTEGER,
        "PidMode": TEXT,
        "Privileged": FLAG,
        "PublishAllPorts": FLAG,
        "ReadonlyRootfs": FLAG,
        "SecurityOpt": Null(TEXTS),
        "StorageOpt": asked(TEXT_MAP),
        "Tmpfs": maybe(TEXT_MAP),
        "UTSMode": TEXT,
        "UsernsMode": TEXT,
        "ShmSize": INTEGER,
        "Sysctls": maybe(TEXT_MAP),
        "Runtime": TEXT,
        "Isolation": TEXT,
        **RESOURCES,
        "Mounts": maybe(Array(MOUNT)),
        "MaskedPaths": Null(TEXTS),
        "ReadonlyPaths": Null(TEXTS),
        "Init": maybe(FLAG),
    },
)
