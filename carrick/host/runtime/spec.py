"""Build the OCI runtime specification of a container (opencontainers/runtime-spec 1.0.2).

Pure: what the host has comes in as `HostFacts`, who the process is as `Identity`, and the result is
the JSON object that runc reads. The defaults (mounts, masked paths, capabilities, sysctls) are
Docker's (moby/daemon/pkg/oci). Limits are never asked for above what this process has, for runc
could not set them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...model.containers import HostConfig, MountPoint, MountType, Resources
from ...model.defaults import MASKED_PATHS, READONLY_PATHS, SHM_SIZE
from ...model.errors import InvalidRequest, Unsupported
from .api import LaunchRequest
from .capabilities import ALL_CAPABILITIES, CapabilityPlan, plan_capabilities
from .hostfacts import Device, HostFacts
from .identity import Identity
from .seccomp import convert_profile

Json = dict[str, object]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT_PATH = "/sbin/docker-init"

_UNLIMITED = 2**64 - 1


@dataclass(frozen=True, slots=True)
class SpecInput:
    """Everything a specification depends on, resolved.

    `namespace_pid` is of the container whose PID (`pid`) or IPC namespace (`ipc`) is shared;
    `shm` a host directory to be mounted as /dev/shm when it is shared.
    """

    request: LaunchRequest
    rootfs: Path
    cgroup_path: str
    identity: Identity
    facts: HostFacts
    devices: tuple[Device, ...] = ()
    pid_namespace_of: int = 0
    ipc_namespace_of: int = 0
    shm: Path | None = None


@dataclass(frozen=True, slots=True)
class BuiltSpec:
    """The specification, and what the person who asked should know."""

    json: Json
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """`--security-opt`, read. `seccomp` is "" for the default, "unconfined", or a profile."""

    no_new_privileges: bool = False
    seccomp: str = ""
    apparmor: str = ""


def parse_security_options(options: Iterable[str]) -> SecurityOptions:
    """Read `key=value` or `key:value` options; a seccomp profile may be given as JSON or a path."""
    no_new_privileges, seccomp, apparmor = False, "", ""
    for option in options:
        separator = "=" if "=" in option else ":"
        key, _, value = option.partition(separator)
        if key == "no-new-privileges":
            if value not in ("", "true", "false"):
                raise InvalidRequest(f'invalid --security-opt 2: "{option}"')
            no_new_privileges = value != "false"
        elif key == "seccomp" and value:
            seccomp = "" if value == "builtin" else value
        elif key == "apparmor" and value:
            apparmor = value
        elif key not in ("label", "writable-cgroups") or not value:
            raise InvalidRequest(f'invalid --security-opt 2: "{option}"')
    return SecurityOptions(no_new_privileges, seccomp, apparmor)


def build_spec(given: SpecInput) -> BuiltSpec:
    """Return the whole specification. Raises InvalidRequest, Denied or Unsupported."""
    request, facts = given.request, given.facts
    config, host = request.config, request.host_config
    if not config.command:
        raise InvalidRequest("No command specified")
    warnings: list[str] = []
    capabilities = plan_capabilities(
        add=host.cap_add,
        drop=host.cap_drop,
        privileged=host.privileged,
        available=facts.capabilities,
    )
    security = parse_security_options(host.security_opt)
    if security.apparmor not in ("", "unconfined") and not facts.has_apparmor:
        warnings.append(f"AppArmor is not enabled on this host: {security.apparmor} is ignored")
    process: Json = {
        "terminal": config.tty,
        "user": _user(given.identity),
        "args": [*_init_args(host, facts), *config.command],
        "env": list(build_env(request)),
        "cwd": _working_dir(config.working_dir),
        "capabilities": capability_sets(capabilities, given.identity),
        "noNewPrivileges": security.no_new_privileges,
        "rlimits": _rlimits(host, facts, warnings),
    }
    if config.tty and all(host.console_size):
        rows, columns = host.console_size
        process["consoleSize"] = {"height": rows, "width": columns}
    if facts.has_apparmor and security.apparmor:
        process["apparmorProfile"] = security.apparmor
    _set_oom_score(process, host, facts, warnings)
    spec: Json = {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": str(given.rootfs), "readonly": host.read_only},
        "mounts": _mounts(given, warnings),
        "annotations": dict(host.annotations),
        "linux": _linux(given, capabilities, security, warnings),
    }
    if _has_own_uts(host):
        spec["hostname"] = request.hostname
    return BuiltSpec(spec, tuple(warnings))


# --- the process ----------------------------------------------------------------------------------


def build_env(request: LaunchRequest) -> tuple[str, ...]:
    """Return the environment: defaults, links, then the container's own, the later winning.

    An entry without `=` removes the variable, as in Docker.
    """
    entries = [f"PATH={DEFAULT_PATH}"]
    if request.hostname:
        entries.append(f"HOSTNAME={request.hostname}")
    if request.config.tty:
        entries.append("TERM=xterm")
    return merge_env([*entries, *request.extra_env], request.config.env)


def merge_env(base: Iterable[str], overrides: Iterable[str]) -> tuple[str, ...]:
    """Return `base` with `overrides` put in place of entries of the same name, or appended."""
    merged: dict[str, str] = {entry.partition("=")[0]: entry for entry in base}
    for entry in overrides:
        name, separator, _ = entry.partition("=")
        if separator:
            merged[name] = entry
        else:
            merged.pop(name, None)
    return tuple(merged.values())


def capability_sets(plan: CapabilityPlan, identity: Identity) -> Json:
    """Return the sets. Another user than root gets the bounding set alone, as execve would do."""
    names = list(plan.names)
    if identity.uid != 0:
        return {"bounding": names}
    return {"bounding": names, "effective": names, "permitted": names}


def _user(identity: Identity) -> Json:
    return {
        "uid": identity.uid,
        "gid": identity.gid,
        "additionalGids": list(identity.groups),
    }


def _working_dir(path: str) -> str:
    if not path:
        return "/"
    if not path.startswith("/"):
        raise InvalidRequest(f"the working directory '{path}' is invalid, it needs to be an absolute path")
    return path


def _init_args(host: HostConfig, facts: HostFacts) -> tuple[str, ...]:
    if not host.init:
        return ()
    if facts.init_program is None:
        raise Unsupported(
            "--init: no init program for containers is installed",
            remedy="install the Debian package tini or catatonit",
        )
    return (INIT_PATH, "--")


def _rlimits(host: HostConfig, facts: HostFacts, warnings: list[str]) -> list[Json]:
    result: list[Json] = []
    for limit in host.ulimits:
        if limit.name not in facts.limits:
            raise InvalidRequest(f"invalid ulimit type: {limit.name}")
        if limit.hard != -1 and (limit.soft == -1 or limit.soft > limit.hard):
            raise InvalidRequest(
                f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}"
            )
        soft, hard = limit.soft, limit.hard
        own = facts.limits[limit.name][1]
        if not facts.can_raise_limits and own != -1 and (hard == -1 or hard > own):
            warnings.append(f"ulimit {limit.name}: {own} instead of {hard}, the daemon's own hard limit")
            hard = own
            soft = own if soft == -1 else min(soft, own)
        result.append(
            {
                "type": f"RLIMIT_{limit.name.upper()}",
                "soft": _UNLIMITED if soft == -1 else soft,
                "hard": _UNLIMITED if hard == -1 else hard,
            }
        )
    return result


def _set_oom_score(process: Json, host: HostConfig, facts: HostFacts, warnings: list[str]) -> None:
    wanted = host.oom_score_adj
    if not -1000 <= wanted <= 1000:
        raise InvalidRequest(f"Invalid value {wanted}, range for oom score adj is [-1000, 1000]")
    if wanted < facts.oom_score_adj and not facts.can_raise_limits:
        if wanted != 0:
            warnings.append(f"oom-score-adj {wanted} is ignored: the daemon may not lower it")
        return
    process["oomScoreAdj"] = wanted


# --- mounts ---------------------------------------------------------------------------------------


def _default_mounts(given: SpecInput) -> list[Json]:
    host = given.request.host_config
    access = "rw" if host.privileged else "ro"
    shm = host.shm_size or SHM_SIZE
    mounts = [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            "/dev/pts", "devpts", "devpts",
            "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5",
        ),
        _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", access),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", access, "nosuid", "noexec", "nodev"),
    ]  # fmt: skip
    mqueue = _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
    if host.ipc_mode == "host":
        # In the host's IPC namespace this is the host's mqueue, whether the host has it mounted or not.
        mounts += [mqueue, _bind("/dev/shm", "/dev/shm")]
        return mounts
    mounts.append(mqueue)
    if given.shm is not None:
        mounts.append(_bind(str(given.shm), "/dev/shm"))
    elif host.ipc_mode != "none":
        mounts.append(
            _mount(
                "/dev/shm",
                "tmpfs",
                "shm",
                "nosuid",
                "noexec",
                "nodev",
                "mode=1777",
                f"size={shm}",
            )
        )
    return mounts


def _mounts(given: SpecInput, warnings: list[str]) -> list[Json]:
    """Return all mounts, a parent before what lies in it.

    A mount of the user's replaces the default or the engine's file at the same place.
    """
    request = given.request
    own = [_user_mount(point) for point in request.mounts]
    taken = {str(mount["destination"]) for mount in own}
    files = [
        _bind(str(entry.source), entry.destination, "rw" if entry.read_write else "ro")
        for entry in request.files
        if entry.destination not in taken
    ]
    defaults = [
        mount
        for mount in _default_mounts(given)
        if mount["destination"] not in taken
        and not ("/dev" in taken and str(mount["destination"]).startswith("/dev/"))
    ]
    if request.host_config.init and given.facts.init_program is not None:
        files.append(_bind(str(given.facts.init_program), INIT_PATH, "ro"))
    later = sorted([*files, *own], key=lambda mount: str(mount["destination"]).rstrip("/").count("/"))
    return [*defaults, *later]


def _mount(destination: str, kind: str, source: str, *options: str) -> Json:
    return {
        "destination": destination,
        "type": kind,
        "source": source,
        "options": list(options),
    }


def _bind(source: str, destination: str, *options: str) -> Json:
    return _mount(destination, "bind", source, "rbind", "rprivate", *options)


def _user_mount(point: MountPoint) -> Json:
    access = "rw" if point.read_write else "ro"
    if point.type is MountType.TMPFS:
        options = ["noexec", "nosuid", "nodev"]
        for option in filter(None, point.mode.split(",")):
            # `exec` after `noexec` must win: what contradicts a default replaces it.
            options = [known for known in options if known not in (f"no{option}", option)]
            options.append(option)
        if access == "ro":
            options.append("ro")
        return _mount(point.destination, "tmpfs", "tmpfs", *options)
    recursive = "bind" if point.non_recursive else "rbind"
    propagation = point.propagation or "rprivate"
    return _mount(point.destination, "bind", point.source, recursive, access, propagation)


# --- Linux ----------------------------------------------------------------------------------------


def _linux(
    given: SpecInput,
    capabilities: CapabilityPlan,
    security: SecurityOptions,
    warnings: list[str],
) -> Json:
    host, facts = given.request.host_config, given.facts
    linux: Json = {
        "cgroupsPath": given.cgroup_path,
        "namespaces": _namespaces(given),
        "resources": _resources(host.resources, host, given, warnings),
        "sysctl": _sysctls(given.request),
        "devices": [_device(d) for d in (facts.devices if host.privileged else given.devices)],
    }
    if not host.privileged:
        masked = MASKED_PATHS if host.masked_paths is None else host.masked_paths
        readonly = READONLY_PATHS if host.readonly_paths is None else host.readonly_paths
        linux["maskedPaths"] = list(masked)
        linux["readonlyPaths"] = list(readonly)
    profile = _seccomp(host, facts, capabilities, security, warnings)
    if profile is not None:
        linux["seccomp"] = profile
    propagations = {point.propagation for point in given.request.mounts}
    # A mount that is to receive or pass on mounts needs a root that lets them through.
    if propagations & {"shared", "rshared"}:
        linux["rootfsPropagation"] = "shared"
    elif propagations & {"slave", "rslave"}:
        linux["rootfsPropagation"] = "slave"
    return linux


def _seccomp(
    host: HostConfig,
    facts: HostFacts,
    capabilities: CapabilityPlan,
    security: SecurityOptions,
    warnings: list[str],
) -> Json | None:
    if security.seccomp == "unconfined" or (host.privileged and not security.seccomp):
        return None
    if not security.seccomp:
        text = facts.seccomp_profile
        if text is None:
            warnings.append(
                "no seccomp profile is installed, the container runs without: "
                "install the Debian package golang-github-containers-common"
            )
            return None
    elif security.seccomp.lstrip().startswith("{"):
        text = security.seccomp.encode()
    else:
        raise InvalidRequest(f"opening seccomp profile ({security.seccomp}) failed: not JSON")
    return convert_profile(
        text,
        machine=facts.machine,
        capabilities=capabilities.names,
        kernel=facts.kernel,
        absent=facts.absent_architectures,
    )


def _has_own_uts(host: HostConfig) -> bool:
    return host.uts_mode != "host"


def _namespaces(given: SpecInput) -> list[Json]:
    request, host = given.request, given.request.host_config
    namespaces: list[Json] = [{"type": "mount"}]
    if _has_own_uts(host):
        namespaces.append({"type": "uts"})
    if given.ipc_namespace_of:
        namespaces.append({"type": "ipc", "path": f"/proc/{given.ipc_namespace_of}/ns/ipc"})
    elif host.ipc_mode != "host":
        namespaces.append({"type": "ipc"})
    if given.pid_namespace_of:
        namespaces.append({"type": "pid", "path": f"/proc/{given.pid_namespace_of}/ns/pid"})
    elif host.pid_mode != "host":
        namespaces.append({"type": "pid"})
    if request.netns is not None:
        namespaces.append({"type": "network", "path": str(request.netns)})
    if host.cgroupns_mode == "private" or (
        given.facts.has_cgroup_v2_only and host.cgroupns_mode != "host" and not host.privileged
    ):
        namespaces.append({"type": "cgroup"})
    return namespaces


def _sysctls(request: LaunchRequest) -> dict[str, str]:
    """Return the sysctls; ping and low ports need no capability in a network of its own."""
    sysctls: dict[str, str] = {}
    if request.netns is not None:
        sysctls["net.ipv4.ip_unprivileged_port_start"] = "0"
        sysctls["net.ipv4.ping_group_range"] = "0 2147483647"
    if request.config.domainname and _has_own_uts(request.host_config):
        sysctls["kernel.domainname"] = request.config.domainname
    for name in request.host_config.sysctls:
        if request.netns is None and name.startswith("net."):
            raise InvalidRequest(f"sysctl '{name}' not allowed in host network namespace")
    return sysctls | request.host_config.sysctls


def _device(device: Device) -> Json:
    return {
        "path": device.path,
        "type": device.type,
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    }


def _device_rules(host: HostConfig, devices: tuple[Device, ...]) -> list[Json]:
    """Return the device cgroup's rules. runc adds those for /dev/null and its like itself."""
    if host.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[Json] = [{"allow": False, "access": "rwm"}]
    rules += [
        {
            "allow": True,
            "type": device.type,
            "major": device.major,
            "minor": device.minor,
            "access": device.permissions,
        }
        for device in devices
    ]
    for rule in host.device_cgroup_rules:
        parts = rule.split()
        numbers = parts[1].split(":") if len(parts) == 3 else []
        if (
            len(numbers) != 2
            or parts[0] not in ("a", "b", "c")
            or not set(parts[2]) <= set("rwm")
            or not all(number == "*" or number.isdigit() for number in numbers)
        ):
            raise InvalidRequest(f"invalid device cgroup rule format: '{rule}'")
        major, minor = (-1 if number == "*" else int(number) for number in numbers)
        rules.append(
            {
                "allow": True,
                "type": parts[0],
                "major": major,
                "minor": minor,
                "access": parts[2],
            }
        )
    return rules


def _resources(wanted: Resources, host: HostConfig, given: SpecInput, warnings: list[str]) -> Json:
    memory: Json = {}
    if wanted.memory:
        memory["limit"] = wanted.memory
        # Docker: as much swap as memory unless said otherwise; the figure is their sum.
        swap = wanted.memory_swap or 2 * wanted.memory
        if swap != -1 and swap < wanted.memory:
            raise InvalidRequest("Minimum memoryswap limit should be larger than memory limit, see usage")
        if given.facts.has_swap_accounting:
            memory["swap"] = swap
        elif wanted.memory_swap:
            warnings.append(
                "Your kernel does not support swap limit capabilities or the cgroup is not "
                "mounted. Memory limited without swap."
            )
    elif wanted.memory_swap > 0:
        raise InvalidRequest("You should always set the Memory limit when using Memoryswap limit, see usage")
    if wanted.memory_reservation:
        memory["reservation"] = wanted.memory_reservation
    if wanted.memory_swappiness is not None and wanted.memory_swappiness >= 0:
        memory["swappiness"] = wanted.memory_swappiness
    if wanted.oom_kill_disable:
        memory["disableOOMKiller"] = True
    cpu: Json = {}
    if wanted.cpu_shares:
        cpu["shares"] = wanted.cpu_shares
    if wanted.nano_cpus:
        if wanted.cpu_quota or wanted.cpu_period:
            raise InvalidRequest("Conflicting options: Nano CPUs and CPU Period/Quota cannot both be set")
        cpu["period"] = 100_000
        cpu["quota"] = wanted.nano_cpus // 10_000
    if wanted.cpu_quota:
        cpu["quota"] = wanted.cpu_quota
    if wanted.cpu_period:
        cpu["period"] = wanted.cpu_period
    if wanted.cpuset_cpus:
        cpu["cpus"] = wanted.cpuset_cpus
    if wanted.cpuset_mems:
        cpu["mems"] = wanted.cpuset_mems
    resources: Json = {"devices": _device_rules(host, given.devices)}
    if memory:
        resources["memory"] = memory
    if cpu:
        resources["cpu"] = cpu
    if wanted.pids_limit is not None and wanted.pids_limit != 0:
        resources["pids"] = {"limit": wanted.pids_limit}
    if wanted.blkio_weight:
        resources["blockIO"] = {"weight": wanted.blkio_weight}
    return resources


# --- exec -----------------------------------------------------------------------------------------


def build_exec_process(
    container: Json,
    *,
    args: tuple[str, ...],
    tty: bool,
    env: tuple[str, ...],
    working_dir: str,
    identity: Identity | None,
    privileged: bool,
    facts: HostFacts,
) -> Json:
    """Return the process object for a further process beside the container's own.

    It starts from the container's `process`; `identity` is None for the container's own user.
    """
    if not args:
        raise InvalidRequest("No exec command specified")
    process = {key: value for key, value in container.items() if key != "consoleSize"}
    own_env = container["env"]
    assert isinstance(own_env, list)
    added = (("TERM=xterm",) if tty else ()) + env
    process |= {"args": list(args), "terminal": tty, "env": list(merge_env(own_env, added))}
    if working_dir:
        process["cwd"] = _working_dir(working_dir)
    if identity is not None:
        process["user"] = _user(identity)
    sets = container["capabilities"]
    assert isinstance(sets, dict)
    names = tuple(sets["bounding"])
    if privileged:
        names = tuple(name for name in ALL_CAPABILITIES if name in facts.capabilities)
    if identity is not None or privileged:
        user = container["user"]
        assert isinstance(user, dict)
        who = identity or Identity(uid=int(user["uid"]))
        process["capabilities"] = capability_sets(CapabilityPlan(names), who)
    return process
