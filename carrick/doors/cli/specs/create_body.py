"""From the flags of `run` and `create` to the body of POST /containers/create.

The body holds what was asked for; what was not is left to the daemon's defaults. Raises ValueError
with Docker's words. Files are read through the `Surroundings`, so that this needs none of its own.
"""

from __future__ import annotations

from carrick.doors.cli.flags import Values
from carrick.doors.cli.specs.environment import fill_in, parse_pairs_file, to_map
from carrick.doors.cli.specs.limits import capability, parse_device, parse_restart, parse_security_options
from carrick.doors.cli.specs.mounts import split_tmpfs, split_volumes
from carrick.doors.cli.specs.networks import Attachment, check_mac, networking_config
from carrick.doors.cli.specs.ports import parse_expose, parse_publishes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


class Surroundings:
    """What a command line refers to: the environment, files, the working directory."""

    __slots__ = ("absolute", "environ", "read_file")

    def __init__(
        self,
        environ: Mapping[str, str],
        read_file: Callable[[str], bytes],
        absolute: Callable[[str], str],
    ) -> None:
        self.environ = environ
        self.read_file = read_file
        self.absolute = absolute


def build_body(values: Values, image: str, command: Sequence[str], around: Surroundings) -> dict[str, Any]:
    """Return the body: Config's fields, `HostConfig`, `NetworkingConfig`."""
    if values.given("mac-address"):
        check_mac(values.text("mac-address"))
    _check_modes(values)
    config = _config(values, image, command, around)
    host = _host_config(values, around)
    mode, endpoints = networking_config(
        values.value("network"),
        Attachment(
            "",
            aliases=values.texts("network-alias"),
            links=values.texts("link"),
            ipv4=values.text("ip"),
            ipv6=values.text("ip6"),
            link_local=values.texts("link-local-ip"),
            mac=values.text("mac-address"),
        ),
    )
    host["NetworkMode"] = mode
    return {**config, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": endpoints}}


def _check_modes(values: Values) -> None:
    for flag, word in (("pid", "PID"), ("uts", "UTS"), ("userns", "USER")):
        mode = values.text(flag)
        shared = flag == "pid" and mode.startswith("container:") and mode != "container:"
        if mode not in ("", "host") and not shared:
            raise ValueError(f"--{flag}: invalid {word} mode")
    swappiness = values.number("memory-swappiness")
    if not -1 <= swappiness <= 100:
        raise ValueError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    if values.on("rm") and values.text("restart") not in ("", "no"):
        raise ValueError("conflicting options: cannot specify both --restart and --rm")


def _config(values: Values, image: str, command: Sequence[str], around: Surroundings) -> dict[str, Any]:
    streams = values.texts("attach")
    stdin, tty = values.on("interactive"), values.on("tty")
    attach_in = "stdin" in streams or (stdin and not streams)
    env: list[str] = []
    for path in values.texts("env-file"):
        env += parse_pairs_file(path, around.read_file(path), around.environ)
    env += fill_in(values.texts("env"), around.environ)
    labels: list[str] = []
    for path in values.texts("label-file"):
        labels += parse_pairs_file(path, around.read_file(path), None)
    labels += values.texts("label")
    bindings = parse_publishes(values.texts("publish"))
    exposed = [*bindings, *parse_expose(values.texts("expose"))]
    _, anonymous = split_volumes(values.texts("volume"), around.absolute)
    config: dict[str, Any] = {
        "Image": image,
        "AttachStdin": attach_in,
        "AttachStdout": not streams or "stdout" in streams,
        "AttachStderr": not streams or "stderr" in streams,
        "OpenStdin": stdin,
        "StdinOnce": stdin and attach_in,
        "Tty": tty,
        "Env": env,
        "Labels": to_map(labels),
        "ExposedPorts": {port: {} for port in exposed},
    }
    if command:
        config["Cmd"] = list(command)
    if values.given("entrypoint"):
        config["Entrypoint"] = [values.text("entrypoint")]
    if anonymous:
        config["Volumes"] = anonymous
    for flag, field in (
        ("hostname", "Hostname"),
        ("domainname", "Domainname"),
        ("user", "User"),
        ("workdir", "WorkingDir"),
        ("stop-signal", "StopSignal"),
    ):
        if text := values.text(flag):
            config[field] = text
    if values.given("stop-timeout"):
        config["StopTimeout"] = values.number("stop-timeout")
    if health := _health(values):
        config["Healthcheck"] = health
    return config


def _health(values: Values) -> dict[str, Any]:
    names: tuple[str, ...] = ("health-cmd", "health-interval", "health-retries", "health-start-interval")
    names += ("health-start-period", "health-timeout")
    if values.on("no-healthcheck"):
        if any(values.given(name) and values.value(name) for name in names):
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    health: dict[str, Any] = {}
    if command := values.text("health-cmd"):
        health["Test"] = ["CMD-SHELL", command]
    for flag, field in (
        ("health-interval", "Interval"),
        ("health-timeout", "Timeout"),
        ("health-retries", "Retries"),
        ("health-start-period", "StartPeriod"),
        ("health-start-interval", "StartInterval"),
    ):
        number = values.number(flag)
        if number < 0:
            raise ValueError(f"--{flag} cannot be negative")
        if number:
            health[field] = number
    return health


# Flags that go into HostConfig as they are, if given.
_TEXTS = (
    ("cgroup-parent", "CgroupParent"),
    ("cgroupns", "CgroupnsMode"),
    ("cpuset-cpus", "CpusetCpus"),
    ("cpuset-mems", "CpusetMems"),
    ("ipc", "IpcMode"),
    ("pid", "PidMode"),
    ("runtime", "Runtime"),
    ("userns", "UsernsMode"),
    ("uts", "UTSMode"),
    ("volume-driver", "VolumeDriver"),
    ("cidfile", "ContainerIDFile"),
)
_LISTS = (
    ("add-host", "ExtraHosts"),
    ("device-cgroup-rule", "DeviceCgroupRules"),
    ("dns", "Dns"),
    ("dns-option", "DnsOptions"),
    ("group-add", "GroupAdd"),
    ("link", "Links"),
    ("volumes-from", "VolumesFrom"),
)
_NUMBERS = (
    ("blkio-weight", "BlkioWeight"),
    ("cpu-period", "CpuPeriod"),
    ("cpu-quota", "CpuQuota"),
    ("cpu-shares", "CpuShares"),
    ("cpus", "NanoCpus"),
    ("memory", "Memory"),
    ("memory-reservation", "MemoryReservation"),
    ("memory-swap", "MemorySwap"),
    ("memory-swappiness", "MemorySwappiness"),
    ("oom-score-adj", "OomScoreAdj"),
    ("pids-limit", "PidsLimit"),
    ("shm-size", "ShmSize"),
)
_SWITCHES = (
    ("init", "Init"),
    ("oom-kill-disable", "OomKillDisable"),
    ("privileged", "Privileged"),
    ("publish-all", "PublishAllPorts"),
    ("read-only", "ReadonlyRootfs"),
    ("rm", "AutoRemove"),
)


def _host_config(values: Values, around: Surroundings) -> dict[str, Any]:
    host: dict[str, Any] = {"RestartPolicy": parse_restart(values.text("restart"))}
    for flag, field in _TEXTS:
        if text := values.text(flag):
            host[field] = text
    for flag, field in _LISTS:
        if texts := values.texts(flag):
            host[field] = list(texts)
    for flag, field in _NUMBERS:
        if values.given(flag):
            host[field] = values.number(flag)
    for flag, field in _SWITCHES:
        if values.given(flag):
            host[field] = values.on(flag)
    if search := values.texts("dns-search"):
        host["DnsSearch"] = [domain.strip() for domain in search]
    if bindings := parse_publishes(values.texts("publish")):
        host["PortBindings"] = bindings
    if sysctls := values.pairs("sysctl"):
        host["Sysctls"] = sysctls
    if annotations := values.pairs("annotation"):
        host["Annotations"] = annotations
    if devices := [parse_device(spec) for spec in values.texts("device")]:
        host["Devices"] = devices
    if ulimits := values.value("ulimit"):
        host["Ulimits"] = list(ulimits)
    _storage(values, around, host)
    _security(values, around, host)
    _logging(values, host)
    return host


def _storage(values: Values, around: Surroundings, host: dict[str, Any]) -> None:
    binds, _ = split_volumes(values.texts("volume"), around.absolute)
    if binds:
        host["Binds"] = binds
    if mounts := values.value("mount"):
        host["Mounts"] = list(mounts)
    if tmpfs := split_tmpfs(values.texts("tmpfs")):
        host["Tmpfs"] = tmpfs
    if options := values.texts("storage-opt"):
        if not all("=" in option for option in options):
            raise ValueError("invalid storage option")
        host["StorageOpt"] = to_map(options)


def _security(values: Values, around: Surroundings, host: dict[str, Any]) -> None:
    def read_profile(path: str) -> str:
        import json

        try:
            return json.dumps(json.loads(around.read_file(path)), separators=(",", ":"))
        except ValueError as error:
            raise ValueError(f"compacting json for seccomp profile ({path}) failed: {error}") from None

    for flag, field in (("cap-add", "CapAdd"), ("cap-drop", "CapDrop")):
        if names := values.texts(flag):
            host[field] = [capability(name) for name in names]
    options, unconfined = parse_security_options(values.texts("security-opt"), read_profile)
    if options:
        host["SecurityOpt"] = options
    if unconfined:
        host["MaskedPaths"] = []
        host["ReadonlyPaths"] = []


def _logging(values: Values, host: dict[str, Any]) -> None:
    driver, options = values.text("log-driver"), values.texts("log-opt")
    if driver == "none" and options:
        raise ValueError(f"invalid logging opts for driver {driver}")
    if driver or options:
        host["LogConfig"] = {"Type": driver, "Config": to_map(options)}
