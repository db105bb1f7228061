"""The environment of a CNI call (spec, section "Parameters"), checked. Pure."""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import CniError, Code

_CONTAINER_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*", re.ASCII)
_MAX_CONTAINER_ID = 256
_MAX_INTERFACE = 15
_KNOWN_ARGS = frozenset(
    {
        *("IgnoreUnknown", "IP", "MAC", "GATEWAY"),
        *("K8S_POD_NAME", "K8S_POD_NAMESPACE", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID"),
    }
)
_TRUE = frozenset({"1", "t", "true", "True", "TRUE", "T"})
_FALSE = frozenset({"0", "f", "false", "False", "FALSE", "F", ""})


class Command(enum.StrEnum):
    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


_CONTAINER, _NETNS, _INTERFACE, _PATH = "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"
# CNI_PATH is asked for where a delegated plugin is looked for, by whoever looks.
_REQUIRED = {
    Command.ADD: (_CONTAINER, _NETNS, _INTERFACE),
    Command.CHECK: (_CONTAINER, _NETNS, _INTERFACE),
    Command.DEL: (_CONTAINER, _INTERFACE),
    Command.GC: (_PATH,),
    Command.STATUS: (),
    Command.VERSION: (),
}


@dataclass(frozen=True, slots=True)
class Call:
    """What a call's environment says; "" is what was not given. `environment` is all of it, for plugins
    that we call in turn."""

    command: Command
    container_id: str = ""
    netns: str = ""
    interface: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    may_be_own_netns: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


def parse_call(environment: Mapping[str, str]) -> Call:
    """Check a call's environment. CniError 4, in the words of the reference implementation."""
    name = environment.get("CNI_COMMAND", "")
    if not name:
        raise CniError(Code.INVALID_ENVIRONMENT, "required env variables [CNI_COMMAND] missing")
    if name not in Command.__members__:
        raise CniError(
            Code.INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {name[:40]}", f"known: {', '.join(Command)}"
        )
    command = Command(name)
    if missing := [item for item in _REQUIRED[command] if not environment.get(item)]:
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"required env variables [{','.join(missing)}] missing",
            f"{command} needs {', '.join(_REQUIRED[command])}",
        )
    container_id, interface = environment.get(_CONTAINER, ""), environment.get(_INTERFACE, "")
    if command in (Command.ADD, Command.CHECK, Command.DEL):
        _check_container_id(container_id)
        _check_interface(interface)
    netns = environment.get(_NETNS, "")
    if command in (Command.ADD, Command.CHECK) and not netns.startswith("/"):
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_NETNS is not an absolute path: {netns[:200]!r}")
    return Call(
        command,
        container_id,
        netns,
        interface,
        # Whoever deletes must be able to, whatever else was in the arguments.
        _parse_args(environment.get("CNI_ARGS", ""), lenient=command is not Command.ADD),
        tuple(item for item in environment.get(_PATH, "").split(":") if item),
        environment.get("CNI_NETNS_OVERRIDE", "") in ("1", "true"),
        dict(environment),
    )


def _check_container_id(identifier: str) -> None:
    if not _CONTAINER_ID.fullmatch(identifier) or len(identifier) > _MAX_CONTAINER_ID:
        raise CniError(Code.INVALID_ENVIRONMENT, "invalid characters in containerID", identifier[:300])


def _check_interface(name: str) -> None:
    """As the kernel's dev_valid_name()."""
    problem = ""
    if len(name.encode()) > _MAX_INTERFACE:
        problem = "interface name is too long"
    elif name in (".", ".."):
        problem = "interface name is . or .."
    elif any(character in "/:" or character.isspace() or not character.isprintable() for character in name):
        problem = "interface name contains / or : or whitespace characters"
    if problem:
        raise CniError(Code.INVALID_ENVIRONMENT, problem, f"CNI_IFNAME is {name[:40]!r}")


def _parse_args(text: str, *, lenient: bool) -> dict[str, str]:
    """Parse `K=V;K=V`. Unknown keys are an error unless IgnoreUnknown is true (spec, CNI_ARGS)."""
    found: dict[str, str] = {}
    for item in text.split(";") if text else ():
        key, equals, value = item.partition("=")
        if key and equals:
            found[key] = value
        elif not lenient:
            raise CniError(Code.INVALID_ENVIRONMENT, f"ARGS: invalid pair {item[:80]!r}", "write KEY=VALUE;…")
    ignore = found.get("IgnoreUnknown", "")
    if ignore not in _TRUE | _FALSE and not lenient:
        raise CniError(Code.INVALID_ENVIRONMENT, f"ARGS: IgnoreUnknown is {ignore[:40]!r}, not a boolean")
    unknown = sorted(found.keys() - _KNOWN_ARGS)
    if unknown and ignore not in _TRUE and not lenient:
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"ARGS: unknown args {unknown[:8]}",
            f"known: {', '.join(sorted(_KNOWN_ARGS))}; or add IgnoreUnknown=1",
        )
    return {key: value for key, value in found.items() if key in _KNOWN_ARGS}
