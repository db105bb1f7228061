"""The kernel's refusals of steps, as our errors: each names the step, and the remedy where there is one."""

import errno

from ...model import steps
from ...model.errors import CarrickError, Conflict, KernelRefused, Unsupported
from .netlink import Refusal

LACKING = frozenset((errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT))
"""What the kernel answers for a link kind that it lacks (for a mode that it lacks, EINVAL)."""

_OF_A_KIND = (
    steps.CreateSlave,
    steps.CreateVlan,
    steps.CreateDummy,
    steps.CreateVxlan,
    steps.CreateWireguard,
)


def explain(error: Refusal, step: steps.Step, others: int = 0) -> CarrickError:
    """Return our error for what the kernel said about a step, and about `others` of the same batch."""
    code = error.code
    what = f"{step.describe()}: {error}" + (f" (and {others} more like it)" if others else "")
    if isinstance(step, steps.CreateVxlan):
        if code == errno.EADDRINUSE:
            return Conflict(
                f"UDP port {step.port} for {step.name} is held by another program",
                remedy=f"stop that program (ss -lunp sport = :{step.port}), or choose another port",
            )
        if code == errno.EEXIST:
            return Conflict(
                f"{what} (something else holds that name, or VNI {step.vni} on UDP port {step.port})",
                remedy="choose another VNI or port, or delete that device (ip -d link show type vxlan)",
            )
    if code == errno.EEXIST:
        return Conflict(f"{what} (something else holds that name or address)")
    if code in LACKING and isinstance(step, steps.CreateWireguard):
        return Unsupported(
            f"this kernel has no wireguard links (creating {step.name} was refused: {error})",
            remedy="load the kernel's wireguard module, or install wireguard-go and wireguard-tools",
        )
    if code in LACKING and isinstance(step, _OF_A_KIND):
        kind, module = {
            steps.CreateVlan: ("802.1q vlan", "8021q"),
            steps.CreateDummy: ("dummy", "dummy"),
            steps.CreateVxlan: ("vxlan", "vxlan"),
        }.get(type(step), (getattr(step, "kind", ""), getattr(step, "kind", "")))
        instead = "the direct transport" if isinstance(step, steps.CreateVxlan) else "the bridge driver"
        return Unsupported(
            f"this kernel has no {kind} links (creating {step.name} was refused: {error})",
            remedy=f"load the kernel's {module} module, or use {instead}",
        )
    return KernelRefused(what, errno=code, subject=step.describe())
