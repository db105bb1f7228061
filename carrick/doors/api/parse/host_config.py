"""HostConfig: how a container runs on this host; also the body of an update."""

from dataclasses import replace

from ....engine.values import UpdateContainer
from ....model.containers import (
    DeviceMapping,
    HostConfig,
    LogConfig,
    Resources,
    RestartPolicy,
    RestartPolicyName,
    Ulimit,
)
from ....model.errors import InvalidRequest, Unsupported
from .fields import Fields
from .mounts import parse_mount
from .ports import parse_port_bindings
from .query import quoted
from .units import parse_size

_IGNORED = (
    "BlkioWeightDevice",
    "BlkioDeviceReadBps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
)
"""Fields that Docker honours and we do not: a person who sets one is told."""

_NULLABLE = (
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "PortBindings",
    "SecurityOpt",
    "Ulimits",
    "VolumesFrom",
)
"""Lists and maps that `inspect` shows as null unless they were given."""

_ROTATION = {"local": (20 * 1024**2, "5")}
"""How large a log driver's files get, and how many there are, unless its options say so."""

_NAMESPACE_MODES = (
    ("IpcMode", "IPC", ("", "none", "private", "shareable", "host")),
    ("PidMode", "PID", ("", "host")),
    ("UTSMode", "UTS", ("", "host")),
)
_RUNTIMES = frozenset(("", "runc", "io.containerd.runc.v2"))
_MINIMUM_MEMORY = 6 * 1024 * 1024


def parse_host_config(body: Fields) -> HostConfig:
    """Translate a HostConfig. An absent network mode is Docker's default network."""
    mode = body.text("NetworkMode")
    masked = body.optional_texts("MaskedPaths")
    read_only_paths = body.optional_texts("ReadonlyPaths")
    rows, columns = _console_size(body)
    _refuse_device_requests(body)
    _check_choices(body)
    restart = body.child("RestartPolicy")
    given_empty = body.given_empty(_NULLABLE)
    if body.optional_flag("Init") is False:
        given_empty += ("Init",)
    return HostConfig(
        binds=body.texts("Binds"),
        mounts=tuple(parse_mount(mount) for mount in body.children("Mounts")),
        tmpfs=body.text_map("Tmpfs"),
        volumes_from=body.texts("VolumesFrom"),
        network_mode="bridge" if mode in ("", "default") else mode,
        port_bindings=parse_port_bindings(body),
        publish_all_ports=body.flag("PublishAllPorts"),
        links=body.texts("Links"),
        dns=body.texts("Dns"),
        dns_search=body.texts("DnsSearch"),
        dns_options=body.texts("DnsOptions"),
        extra_hosts=body.texts("ExtraHosts"),
        sysctls=body.text_map("Sysctls"),
        restart_policy=parse_restart_policy(restart),
        auto_remove=body.flag("AutoRemove"),
        privileged=body.flag("Privileged"),
        cap_add=body.command("CapAdd") or (),
        cap_drop=body.command("CapDrop") or (),
        security_opt=body.texts("SecurityOpt"),
        read_only=body.flag("ReadonlyRootfs"),
        init=body.flag("Init"),
        resources=_with_defaults(parse_resources(body)),
        ulimits=tuple(_parse_ulimit(item) for item in body.children("Ulimits")),
        devices=tuple(_parse_device(item) for item in body.children("Devices")),
        device_cgroup_rules=body.texts("DeviceCgroupRules"),
        group_add=body.texts("GroupAdd"),
        pid_mode=body.text("PidMode"),
        ipc_mode=body.text("IpcMode"),
        uts_mode=body.text("UTSMode"),
        cgroupns_mode=body.text("CgroupnsMode"),
        userns_mode=body.text("UsernsMode"),
        shm_size=_not_negative(body.integer("ShmSize"), "SHM size can not be less than 0"),
        log_config=parse_log_config(body.child("LogConfig")),
        oom_score_adj=_oom_score(body.integer("OomScoreAdj")),
        cgroup_parent=body.text("CgroupParent"),
        masked_paths=masked,
        readonly_paths=read_only_paths,
        annotations=body.text_map("Annotations"),
        container_id_file=body.text("ContainerIDFile"),
        volume_driver=body.text("VolumeDriver"),
        isolation=body.text("Isolation"),
        console_size=(rows, columns),
        given_empty=given_empty if restart.text("Name") else (*given_empty, "RestartPolicy"),
    )


def _with_defaults(resources: Resources) -> Resources:
    """Return the limits of a new container: where memory alone is limited, there is as much swap again."""
    if resources.memory > 0 and resources.memory_swap == 0:
        resources = replace(resources, memory_swap=2 * resources.memory)
    return resources if (resources.pids_limit or 0) > 0 else replace(resources, pids_limit=None)


def unhonoured(body: Fields) -> tuple[str, ...]:
    """Return warnings for limits and options that are accepted and have no effect."""
    warnings = [f"{name} is not supported and was ignored." for name in _IGNORED if body.raw(name)]
    if body.flag("OomKillDisable") and body.integer("Memory") <= 0:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, "
            "this can result in the system running out of resources."
        )
    return tuple(warnings)


def parse_resources(body: Fields) -> Resources:
    """Translate the limits, with Docker's checks of those that contradict each other."""
    memory = body.integer("Memory")
    swap = body.integer("MemorySwap")
    if memory and memory < _MINIMUM_MEMORY:
        raise InvalidRequest("Minimum memory limit allowed is 6MB")
    if memory > 0 and 0 < swap < memory:
        raise InvalidRequest("Minimum memoryswap limit should be larger than memory limit, see usage")
    if memory == 0 and swap > 0:
        raise InvalidRequest("You should always set the Memory limit when using Memoryswap limit, see usage")
    swappiness = body.optional_integer("MemorySwappiness")
    if swappiness == -1:
        swappiness = None
    if swappiness is not None and not 0 <= swappiness <= 100:
        raise InvalidRequest(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    nano_cpus = body.integer("NanoCpus") or body.integer("NanoCPUs")
    quota, period = body.integer("CpuQuota"), body.integer("CpuPeriod")
    _check_cpu(nano_cpus, quota, period)
    weight = body.integer("BlkioWeight")
    if weight and not 10 <= weight <= 1000:
        raise InvalidRequest("Range of blkio weight is from 10 to 1000")
    pids = body.optional_integer("PidsLimit")
    return Resources(
        memory=memory,
        memory_swap=swap,
        memory_reservation=body.integer("MemoryReservation"),
        memory_swappiness=swappiness,
        nano_cpus=nano_cpus,
        cpu_quota=quota,
        cpu_period=period,
        cpu_shares=body.integer("CpuShares"),
        cpuset_cpus=body.text("CpusetCpus"),
        cpuset_mems=body.text("CpusetMems"),
        pids_limit=pids,
        blkio_weight=weight,
        oom_kill_disable=body.flag("OomKillDisable"),
    )


def _check_cpu(nano_cpus: int, quota: int, period: int) -> None:
    if nano_cpus and period:
        raise InvalidRequest("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if nano_cpus and quota:
        raise InvalidRequest("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidRequest(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < quota < 1000:
        raise InvalidRequest("CPU cfs quota can not be less than 1ms (i.e. 1000)")


def parse_restart_policy(body: Fields) -> RestartPolicy:
    """Translate a restart policy. Raises InvalidRequest, in Docker's words."""
    name = body.text("Name")
    retries = body.integer("MaximumRetryCount")
    try:
        policy = RestartPolicyName(name or "no")
    except ValueError as error:
        raise InvalidRequest(
            f"invalid restart policy: unknown policy '{name}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        ) from error
    if policy is RestartPolicyName.ON_FAILURE:
        if retries < 0:
            raise InvalidRequest("invalid restart policy: maximum retry count cannot be negative")
    elif retries:
        negative = " and cannot be negative" if retries < 0 else ""
        raise InvalidRequest(
            f"invalid restart policy: maximum retry count can only be used with 'on-failure'{negative}"
        )
    return RestartPolicy(policy, retries)


def parse_log_config(body: Fields) -> LogConfig:
    """Translate a LogConfig; as in Docker, `10m` is ten million bytes, but 10 MiB to `local`."""
    options = body.text_map("Config")
    driver = body.text("Type") or "json-file"
    default_size, default_files = _ROTATION.get(driver, (0, "1"))
    try:
        kilo = 1024 if driver == "local" else 1000
        max_size = parse_size(options["max-size"], kilo) if "max-size" in options else default_size
    except ValueError as error:
        raise InvalidRequest(f'invalid value for "max-size": {error}') from error
    files = options.get("max-file", default_files)
    if not files.isascii() or not files.isdigit() or int(files[:9]) < 1:
        raise InvalidRequest("max-file cannot be less than 1")
    return LogConfig(driver, max_size, int(files[:9]), options)


def parse_update(body: Fields) -> UpdateContainer:
    """Translate POST /containers/{id}/update. Zeros leave a limit as it is; all zeros leave all."""
    resources = parse_resources(body) if body.has("MemorySwap") or any(body.names()) else Resources()
    policy = body.child("RestartPolicy")
    return UpdateContainer(
        resources=None if resources == Resources() else resources,
        restart_policy=parse_restart_policy(policy) if policy.text("Name") else None,
    )


def _parse_ulimit(body: Fields) -> Ulimit:
    name, soft, hard = body.text("Name"), body.integer("Soft"), body.integer("Hard")
    if not name:
        raise InvalidRequest("invalid ulimit: the name is empty")
    if soft > hard >= 0 or (soft == -1 and hard != -1):
        raise InvalidRequest(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Ulimit(name, soft, hard)


def _parse_device(body: Fields) -> DeviceMapping:
    host, permissions = body.text("PathOnHost"), body.text("CgroupPermissions") or "rwm"
    if set(permissions) - set("rwm"):
        raise InvalidRequest(f"invalid device mode: {permissions}")
    return DeviceMapping(host, body.text("PathInContainer") or host, permissions)


def _refuse_device_requests(body: Fields) -> None:
    for request in body.children("DeviceRequests"):
        capabilities = request.raw("Capabilities")
        lists = capabilities if isinstance(capabilities, list) else []
        shown = " ".join(f"[{' '.join(map(str, entry))}]" for entry in lists if isinstance(entry, list))
        raise Unsupported(
            f"could not select device driver {quoted(request.text('Driver'))} with capabilities: [{shown}]"
        )


def _check_choices(body: Fields) -> None:
    """Raise InvalidRequest for what there is no choice of here, in Docker's words."""
    if (runtime := body.text("Runtime")) not in _RUNTIMES:
        raise InvalidRequest(f"Unknown runtime specified {runtime}")
    if (mode := body.text("CgroupnsMode")) not in ("", "host", "private"):
        raise InvalidRequest(f"invalid cgroup namespace mode: {mode}")
    for name, what, modes in _NAMESPACE_MODES:
        mode = body.text(name)
        if mode not in modes and not (name != "UTSMode" and mode.startswith("container:")):
            raise InvalidRequest(f"invalid {what} mode: {mode}")
    if (isolation := body.text("Isolation")) not in ("", "default"):
        raise InvalidRequest(f"Invalid isolation: {quoted(isolation)} - linux only supports 'default'")
    if body.text_map("StorageOpt"):
        raise InvalidRequest(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
        )


def _console_size(body: Fields) -> tuple[int, int]:
    size = body.raw("ConsoleSize")
    if size is None:
        return 0, 0
    if not isinstance(size, list) or len(size) != 2:
        raise InvalidRequest("console size must be [height, width]")
    rows, columns = size
    if not all(isinstance(item, int) and 0 <= item <= 65535 for item in (rows, columns)):
        raise InvalidRequest("console size must be two numbers between 0 and 65535")
    return rows, columns


def _oom_score(score: int) -> int:
    if not -1000 <= score <= 1000:
        raise InvalidRequest(f"Invalid value {score}, range for oom score adj is [-1000, 1000]")
    return score


def _not_negative(value: int, problem: str) -> int:
    if value < 0:
        raise InvalidRequest(problem)
    return value
