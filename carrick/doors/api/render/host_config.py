"""Config and HostConfig, in full, as `inspect` shows them."""

from collections.abc import Iterable
from typing import Any

from ....model.containers import (
    ContainerConfig,
    Healthcheck,
    HostConfig,
    ImageConfig,
    Mount,
    MountType,
    PortBinding,
)
from ....model.defaults import MASKED_PATHS, READONLY_PATHS, SHM_SIZE
from ..routing import MAX_VERSION, ApiVersion
from . import Json

NANOSECONDS = 10**9
_NO_KERNEL_MEMORY: ApiVersion = (1, 42)


def _or_null(items: Iterable[Any], name: str = "", given_empty: tuple[str, ...] = ()) -> list[Any] | None:
    """Return a list; null for an empty one, unless it was given as such under `name`."""
    return list(items) or ([] if name in given_empty else None)


def _listed(items: tuple[str, ...] | None) -> list[str] | None:
    return None if items is None else list(items)


def render_config(config: ContainerConfig) -> Json:
    document: Json = {
        "Hostname": config.hostname,
        "Domainname": config.domainname,
        "User": config.user,
        "AttachStdin": config.attach_stdin,
        "AttachStdout": config.attach_stdout,
        "AttachStderr": config.attach_stderr,
    }
    if config.exposed_ports:
        document["ExposedPorts"] = {port: {} for port in config.exposed_ports}
    document |= {
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.stdin_once,
        "Env": _or_null(config.env),
        "Cmd": _listed(config.cmd),
    }
    if config.healthcheck:
        document["Healthcheck"] = render_healthcheck(config.healthcheck)
    document |= {
        "Image": config.image,
        "Volumes": {path: {} for path in config.volumes} or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": _or_null(config.entrypoint or (), "Entrypoint", config.given_empty),
        "OnBuild": _or_null(config.on_build, "OnBuild", config.given_empty),
        "Labels": config.labels,
    }
    if config.network_disabled:
        document["NetworkDisabled"] = True
    if config.mac_address:
        document["MacAddress"] = config.mac_address
    if config.stop_signal:
        document["StopSignal"] = config.stop_signal
    if config.stop_timeout_s is not None:
        document["StopTimeout"] = config.stop_timeout_s
    if config.shell:
        document["Shell"] = list(config.shell)
    return document


def render_image_config(config: ImageConfig) -> Json:
    """Return an image's Config: the same shape, without what only containers have."""
    document = render_config(
        ContainerConfig(
            env=config.env,
            cmd=config.cmd,
            entrypoint=config.entrypoint,
            user=config.user,
            working_dir=config.working_dir,
            exposed_ports=config.exposed_ports,
            volumes=config.volumes,
            labels=config.labels,
            stop_signal=config.stop_signal,
            healthcheck=config.healthcheck,
            on_build=config.on_build,
            shell=config.shell,
        )
    )
    return document | {"Labels": config.labels or None}


def render_healthcheck(check: Healthcheck) -> Json:
    document: Json = {}
    if check.test:
        document["Test"] = list(check.test)
    durations = {
        "Interval": check.interval_s,
        "Timeout": check.timeout_s,
        "StartPeriod": check.start_period_s,
        "StartInterval": check.start_interval_s,
    }
    document |= {name: round(value * NANOSECONDS) for name, value in durations.items() if value}
    if check.retries:
        document["Retries"] = check.retries
    return document


def render_port_bindings(bindings: Iterable[PortBinding]) -> dict[str, list[Json]]:
    """Return bindings by container port, those of one port together."""
    document: dict[str, list[Json]] = {}
    for binding in bindings:
        key = f"{binding.container_port}/{binding.protocol}"
        document.setdefault(key, []).append({"HostIp": binding.host_ip, "HostPort": binding.host_port})
    return document


def render_host_config(config: HostConfig, version: ApiVersion = MAX_VERSION, name: str = "") -> Json:
    """Return a HostConfig with all of Docker's fields, in its order; `name` is the container's, for links."""
    given_empty = config.given_empty
    name_left_open = "RestartPolicy" in given_empty and not config.restart_policy.maximum_retries

    def listed(name: str, items: Iterable[Any]) -> list[Any] | None:
        return _or_null(items, name, given_empty)

    document: Json = {
        "Binds": listed("Binds", config.binds),
        "ContainerIDFile": config.container_id_file,
        "LogConfig": {"Type": config.log_config.driver, "Config": config.log_config.options},
        "NetworkMode": config.network_mode,
        "PortBindings": render_port_bindings(config.port_bindings)
        or ({} if "PortBindings" in given_empty else None),
        "RestartPolicy": {
            "Name": "" if name_left_open else config.restart_policy.name.value,
            "MaximumRetryCount": config.restart_policy.maximum_retries,
        },
        "AutoRemove": config.auto_remove,
        "VolumeDriver": config.volume_driver,
        "VolumesFrom": listed("VolumesFrom", config.volumes_from),
        "ConsoleSize": list(config.console_size),
    }
    if config.annotations:
        document["Annotations"] = config.annotations
    document |= {
        "CapAdd": listed("CapAdd", config.cap_add),
        "CapDrop": listed("CapDrop", config.cap_drop),
        "CgroupnsMode": config.cgroupns_mode or "private",
        "Dns": listed("Dns", config.dns),
        "DnsOptions": listed("DnsOptions", config.dns_options),
        "DnsSearch": listed("DnsSearch", config.dns_search),
        "ExtraHosts": listed("ExtraHosts", config.extra_hosts),
        "GroupAdd": listed("GroupAdd", config.group_add),
        "IpcMode": config.ipc_mode or "private",
        "Cgroup": "",
        "Links": _or_null(_shown_link(link, name) for link in config.links),
        "OomScoreAdj": config.oom_score_adj,
        "PidMode": config.pid_mode,
        "Privileged": config.privileged,
        "PublishAllPorts": config.publish_all_ports,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": listed("SecurityOpt", config.security_opt or _label_options(config)),
    }
    if config.tmpfs:
        document["Tmpfs"] = config.tmpfs
    document |= {
        "UTSMode": config.uts_mode,
        "UsernsMode": config.userns_mode,
        "ShmSize": config.shm_size or SHM_SIZE,
    }
    if config.sysctls:
        document["Sysctls"] = config.sysctls
    document["Runtime"] = "runc"
    document["Isolation"] = config.isolation
    document |= _render_resources(config, version)
    if config.mounts:
        document["Mounts"] = [_render_mount(mount) for mount in config.mounts]
    masked, read_only = config.masked_paths, config.readonly_paths
    if config.privileged:
        document |= {"MaskedPaths": _or_null(masked or ()), "ReadonlyPaths": _or_null(read_only or ())}
    else:
        document["MaskedPaths"] = list(MASKED_PATHS if masked is None else masked)
        document["ReadonlyPaths"] = list(READONLY_PATHS if read_only is None else read_only)
    if config.init or "Init" in given_empty:
        document["Init"] = config.init
    return document


def _label_options(config: HostConfig) -> tuple[str, ...]:
    """What Docker adds for a container that shares the host's processes: no label of SELinux."""
    shares = config.privileged or "host" in (config.pid_mode, config.ipc_mode)
    return ("label=disable",) if shares and "SecurityOpt" not in config.given_empty else ()


def _shown_link(link: str, name: str) -> str:
    target, _, alias = link.partition(":")
    target = target.removeprefix("/")
    return f"/{target}:/{name}/{alias or target}"


def _render_resources(config: HostConfig, version: ApiVersion) -> Json:
    limits = config.resources

    def listed(name: str, items: Iterable[Any] = ()) -> list[Any] | None:
        return _or_null(items, name, config.given_empty)

    kernel_memory = {"KernelMemory": 0, "KernelMemoryTCP": 0} if version < _NO_KERNEL_MEMORY else {}
    return kernel_memory | {
        "CpuShares": limits.cpu_shares,
        "Memory": limits.memory,
        "NanoCpus": limits.nano_cpus,
        "CgroupParent": config.cgroup_parent,
        "BlkioWeight": limits.blkio_weight,
        "BlkioWeightDevice": listed("BlkioWeightDevice"),
        "BlkioDeviceReadBps": listed("BlkioDeviceReadBps"),
        "BlkioDeviceWriteBps": listed("BlkioDeviceWriteBps"),
        "BlkioDeviceReadIOps": listed("BlkioDeviceReadIOps"),
        "BlkioDeviceWriteIOps": listed("BlkioDeviceWriteIOps"),
        "CpuPeriod": limits.cpu_period,
        "CpuQuota": limits.cpu_quota,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": limits.cpuset_cpus,
        "CpusetMems": limits.cpuset_mems,
        "Devices": listed(
            "Devices",
            (
                {
                    "PathOnHost": device.host_path,
                    "PathInContainer": device.container_path,
                    "CgroupPermissions": device.permissions,
                }
                for device in config.devices
            ),
        ),
        "DeviceCgroupRules": listed("DeviceCgroupRules", config.device_cgroup_rules),
        "DeviceRequests": listed("DeviceRequests"),
        "MemoryReservation": limits.memory_reservation,
        "MemorySwap": limits.memory_swap,
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids_limit,
        "Ulimits": listed(
            "Ulimits",
            ({"Name": item.name, "Hard": item.hard, "Soft": item.soft} for item in config.ulimits),
        ),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    }


def _render_mount(mount: Mount) -> Json:
    document: Json = {"Type": mount.type.value}
    if mount.source:
        document["Source"] = mount.source
    document["Target"] = mount.target
    if mount.read_only:
        document["ReadOnly"] = True
    if mount.consistency:
        document["Consistency"] = mount.consistency
    if mount.type is MountType.BIND:
        options = {
            "Propagation": mount.propagation,
            "NonRecursive": mount.non_recursive,
            "CreateMountpoint": mount.create_source,
        }
        name = "BindOptions"
    elif mount.type is MountType.VOLUME:
        driver: Json = {"Name": mount.driver} if mount.driver else {}
        if mount.driver_options:
            driver["Options"] = mount.driver_options
        options = {
            "NoCopy": mount.no_copy,
            "Labels": mount.labels,
            "Subpath": mount.subpath,
            "DriverConfig": driver,
        }
        name = "VolumeOptions"
    else:
        options = {"SizeBytes": mount.tmpfs_size, "Mode": mount.tmpfs_mode}
        name = "TmpfsOptions"
    if given := {key: value for key, value in options.items() if value}:
        document[name] = given
    return document
