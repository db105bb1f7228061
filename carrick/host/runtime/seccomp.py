"""Turn a seccomp profile in Docker's form into the OCI form, for one architecture and capability set.

Docker's profiles have rules that hold only with or without a capability (`includes`, `excludes`) and a map
of architectures; the OCI runtime specification (config-linux, Seccomp) knows neither, so both are
decided here. Pure: the profile's text is given in.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import cast

import msgspec

from ...model.errors import InvalidRequest

_MACHINES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "armv7l": ("arm", "SCMP_ARCH_ARM"),
    "i686": ("386", "SCMP_ARCH_X86"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
}


def go_architecture(machine: str) -> str:
    """Return the name that images and profiles have for `uname -m`."""
    return _MACHINES.get(machine, (machine, ""))[0]


@dataclass(frozen=True, slots=True)
class _Condition:
    caps: list[str] = field(default_factory=list)
    arches: list[str] = field(default_factory=list)
    minKernel: str = ""  # noqa: N815 (the profile's own name)


@dataclass(frozen=True, slots=True)
class _Argument:
    index: int
    value: int
    op: str
    valueTwo: int = 0  # noqa: N815


@dataclass(frozen=True, slots=True)
class _Rule:
    action: str
    names: list[str] = field(default_factory=list)
    name: str = ""
    args: list[_Argument] | None = None
    includes: _Condition | None = None
    excludes: _Condition | None = None
    errnoRet: int | None = None  # noqa: N815


@dataclass(frozen=True, slots=True)
class _Architecture:
    architecture: str
    subArchitectures: list[str] | None = None  # noqa: N815


@dataclass(frozen=True, slots=True)
class _Profile:
    defaultAction: str  # noqa: N815
    syscalls: list[_Rule] = field(default_factory=list)
    defaultErrnoRet: int | None = None  # noqa: N815
    archMap: list[_Architecture] | None = None  # noqa: N815
    architectures: list[str] | None = None


def convert_profile(
    text: bytes,
    *,
    machine: str,
    capabilities: Collection[str],
    kernel: tuple[int, int],
    absent: Collection[str] = (),
) -> dict[str, object]:
    """Return the OCI `seccomp` object. Raises InvalidRequest for what is no profile.

    `absent` are architectures whose system calls this kernel does not have at all. They are left
    out, for each costs some milliseconds of compiling at every start and protects from nothing.
    """
    try:
        profile = msgspec.json.decode(text, type=_Profile)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"decoding seccomp profile failed: {error}") from error
    arch, native = _MACHINES.get(machine, (machine, ""))
    result: dict[str, object] = {"defaultAction": profile.defaultAction}
    if profile.defaultErrnoRet is not None:
        result["defaultErrnoRet"] = profile.defaultErrnoRet
    architectures = list(profile.architectures or ())
    for entry in profile.archMap or ():
        if entry.architecture == native:
            architectures += [native, *(entry.subArchitectures or ())]
    if architectures:
        result["architectures"] = [name for name in architectures if name not in absent]
    # Rules alike in all but their names become one: runc spends its time per rule.
    merged: dict[str, dict[str, object]] = {}
    for rule in profile.syscalls:
        if not _applies(rule, arch, capabilities, kernel):
            continue
        names = rule.names or [rule.name]
        converted: dict[str, object] = {"names": list(names), "action": rule.action}
        if rule.errnoRet is not None:
            converted["errnoRet"] = rule.errnoRet
        if rule.args:
            converted["args"] = msgspec.to_builtins(rule.args)
            merged[f"{len(merged)}"] = converted
            continue
        same = merged.setdefault(f"{rule.action} {rule.errnoRet}", converted)
        if same is not converted:
            cast("list[str]", same["names"]).extend(names)
    result["syscalls"] = list(merged.values())
    return result


def _applies(rule: _Rule, arch: str, capabilities: Collection[str], kernel: tuple[int, int]) -> bool:
    """Decide a rule's conditions as Docker does: all of `includes`, none of `excludes`."""
    wanted, unwanted = rule.includes or _Condition(), rule.excludes or _Condition()
    return (
        (not wanted.arches or arch in wanted.arches)
        and all(name in capabilities for name in wanted.caps)
        and (not wanted.minKernel or kernel >= _version(wanted.minKernel))
        and arch not in unwanted.arches
        and not any(name in capabilities for name in unwanted.caps)
        and not (unwanted.minKernel and kernel >= _version(unwanted.minKernel))
    )


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    try:
        return int(major), int(minor.partition(".")[0] or 0)
    except ValueError as error:
        raise InvalidRequest(f"seccomp profile: {text!r} is no kernel version") from error
