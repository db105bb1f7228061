"""What this host and this process allow a container: read once, then given to the pure `spec`.

The only place of the runtime that looks at /proc and /dev on behalf of a specification.
"""

import os
import resource
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...model.containers import DeviceMapping
from ...model.errors import InvalidRequest
from . import syscalls
from .capabilities import capabilities_of_mask

RLIMITS = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"
}
"""Limits by the short names that `--ulimit` uses."""

_INIT_PROGRAMS = ("tini-static", "docker-init", "catatonit")
_INIT_PLACES = ("/usr/bin", "/usr/libexec/podman", "/usr/libexec/docker", "/usr/lib/podman")


@dataclass(frozen=True, slots=True)
class Device:
    """A device node for the container."""

    path: str
    type: str
    """`c`, `b` or `p`."""
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the host gives. Limits are (soft, hard) with -1 for unlimited."""

    machine: str = "x86_64"
    kernel: tuple[int, int] = (5, 10)
    capabilities: frozenset[str] = frozenset()
    limits: dict[str, tuple[int, int]] = field(default_factory=dict)
    can_raise_limits: bool = False
    oom_score_adj: int = 0
    has_cgroup_v2_only: bool = False
    has_swap_accounting: bool = False
    has_apparmor: bool = False
    seccomp_profile: bytes | None = None
    absent_architectures: frozenset[str] = frozenset()
    """System call interfaces that this kernel is built without, by libseccomp's names."""
    init_program: Path | None = None
    devices: tuple[Device, ...] = ()
    """Every device of the host, for privileged containers."""


def read_host_facts(seccomp_profile: Path | None) -> HostFacts:
    """Look at this host. A missing seccomp profile file is not an error here."""
    uname = os.uname()
    major, minor, *_ = (*uname.release.split("."), "0")
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own = capabilities_of_mask(int(status["CapBnd"], 16) & int(status["CapPrm"], 16))
    apparmor = Path("/sys/module/apparmor/parameters/enabled")
    swap = Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
    v2_only = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    return HostFacts(
        machine=uname.machine,
        kernel=(int(major), int("".join(c for c in minor if c.isdigit()) or 0)),
        capabilities=own,
        limits={name: resource.getrlimit(number) for name, number in RLIMITS.items()},
        can_raise_limits="CAP_SYS_RESOURCE" in own,
        oom_score_adj=int(Path("/proc/self/oom_score_adj").read_text()),
        has_cgroup_v2_only=v2_only,
        has_swap_accounting=v2_only or swap.exists(),
        has_apparmor=apparmor.exists() and apparmor.read_text().startswith("Y"),
        seccomp_profile=(
            seccomp_profile.read_bytes() if seccomp_profile is not None and seccomp_profile.exists() else None
        ),
        absent_architectures=_absent_architectures(uname.machine),
        init_program=_find_init(),
        devices=tuple(_walk_devices(Path("/dev"))),
    )


def _absent_architectures(machine: str) -> frozenset[str]:
    if machine != "x86_64":
        return frozenset()
    absent = set()
    if not syscalls.has_x32():
        absent.add("SCMP_ARCH_X32")
    if not Path("/proc/sys/abi/vsyscall32").exists():
        absent.add("SCMP_ARCH_X86")
    return frozenset(absent)


def _find_init() -> Path | None:
    # A dynamic binary would need the host's loader inside the container: static ones only.
    for name in _INIT_PROGRAMS:
        found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(_INIT_PLACES))
        if found:
            return Path(found)
    return None


def resolve_devices(mappings: tuple[DeviceMapping, ...]) -> tuple[Device, ...]:
    """Look at the devices a container is to get; a directory gives all devices in it.

    Raises InvalidRequest in Docker's words for what is not there or no device.
    """
    found: list[Device] = []
    for mapping in mappings:
        if not set(mapping.permissions) <= set("rwm") or not mapping.permissions:
            raise InvalidRequest(f"invalid device mode: {mapping.permissions}")
        source = Path(mapping.host_path)
        target = mapping.container_path or mapping.host_path
        if source.is_dir():
            found += [
                _at(device, target + device.path[len(str(source)) :], mapping.permissions)
                for device in _walk_devices(source)
            ]
            continue
        problem = "error gathering device information while adding custom device"
        try:
            device = _read_device(source.resolve(strict=True))
        except OSError as error:
            raise InvalidRequest(f'{problem} "{mapping.host_path}": {str(error.strerror).lower()}') from error
        if device is None:
            raise InvalidRequest(f'{problem} "{mapping.host_path}": not a device node')
        found.append(_at(device, target, mapping.permissions))
    return tuple(found)


def _at(device: Device, path: str, permissions: str) -> Device:
    return Device(
        path, device.type, device.major, device.minor, device.mode, device.uid, device.gid,
        permissions,
    )  # fmt: skip


def _read_device(path: Path) -> Device | None:
    status = path.lstat()
    if stat.S_ISCHR(status.st_mode):
        kind = "c"
    elif stat.S_ISBLK(status.st_mode):
        kind = "b"
    else:
        return None
    return Device(
        path=str(path),
        type=kind,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
    )


def _walk_devices(directory: Path) -> Iterator[Device]:
    """Yield the device nodes below a directory, but for those every container has its own of."""
    for entry in sorted(directory.iterdir()):
        if entry.name in ("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"):
            continue
        try:
            if entry.is_dir() and not entry.is_symlink():
                yield from _walk_devices(entry)
            elif (device := _read_device(entry)) is not None:
                yield device
        except OSError:
            continue  # It went away while we looked.
