"""Which capabilities a container's process gets (Docker's default set, `--cap-add`, `--cap-drop`).

Pure. What the daemon itself may hand on is given in: a container cannot get more than that.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ...model.errors import Denied, InvalidRequest

_ALL = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP "
    "LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER "
    "SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
    "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
    "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF "
    "CHECKPOINT_RESTORE"
)
_DEFAULT = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
    "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
)

ALL_CAPABILITIES = tuple(f"CAP_{name}" for name in _ALL.split())
"""In the order of their numbers (capabilities(7))."""

DEFAULT_CAPABILITIES = tuple(f"CAP_{name}" for name in _DEFAULT.split())


@dataclass(frozen=True, slots=True)
class CapabilityPlan:
    """The capabilities to give, in the kernel's order, and what could not be given of "ALL"."""

    names: tuple[str, ...]
    withheld: tuple[str, ...] = ()


def capabilities_of_mask(mask: int) -> frozenset[str]:
    """Return the names in a mask as /proc/PID/status writes it."""
    return frozenset(name for bit, name in enumerate(ALL_CAPABILITIES) if mask >> bit & 1)


def plan_capabilities(
    *, add: Iterable[str], drop: Iterable[str], privileged: bool, available: Collection[str]
) -> CapabilityPlan:
    """Return what the container gets.

    Docker's rules: `ALL` in either list; adding ALL and dropping some is all but these; dropping ALL
    and adding some is these alone. What is asked for by name but not available is Denied, what
    only ALL asked for is withheld.
    """
    adds, drops = _normalised("CapAdd", add), _normalised("CapDrop", drop)
    if privileged:
        wanted = set(ALL_CAPABILITIES)
    elif "ALL" in adds:
        wanted = set(ALL_CAPABILITIES) - drops
    elif "ALL" in drops:
        wanted = adds - {"ALL"}
    else:
        wanted = (set(DEFAULT_CAPABILITIES) - drops) | adds
    if not privileged:
        for name in sorted(adds - {"ALL"}):
            if name not in available:
                raise Denied(
                    f"cannot add capability {name}: the daemon does not have it itself",
                    remedy="start the daemon with this capability, or leave it out",
                )
    return CapabilityPlan(
        names=tuple(name for name in ALL_CAPABILITIES if name in wanted and name in available),
        withheld=tuple(name for name in ALL_CAPABILITIES if name in wanted and name not in available),
    )


def _normalised(field: str, names: Iterable[str]) -> set[str]:
    result = set()
    for given in names:
        name = given.upper()
        if name != "ALL":
            name = name if name.startswith("CAP_") else f"CAP_{name}"
            if name not in ALL_CAPABILITIES:
                raise InvalidRequest(f'invalid {field}: unknown capability: "{name}"')
        result.add(name)
    return result
