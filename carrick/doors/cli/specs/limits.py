"""Limits and policies: `--ulimit`, `--device`, `--restart`, `--sysctl` and their like."""

from __future__ import annotations

from carrick.doors.cli.flags import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_ULIMITS = frozenset(
    (
        *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile"),
        *("nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
    )
)
_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in (*("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"),)
)


def _is_integer(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= 18


def parse_ulimit(text: str) -> dict[str, Any]:
    """Return `name=soft[:hard]` as the API's Ulimit. Raises ValueError."""
    name, separator, limits = text.partition("=")
    if not separator:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    parts = limits.split(":")
    if len(parts) > 2:
        raise ValueError(f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`")
    values = []
    for part in parts:
        if not _is_integer(part):
            raise ValueError(f'strconv.ParseInt: parsing "{part}": invalid syntax')
        values.append(int(part))
    soft, hard = values[0], values[-1]
    if hard != -1 and (soft > hard or soft == -1):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return {"Name": name, "Soft": soft, "Hard": hard}


ULIMIT = Kind("ulimit", parse_ulimit, many=True)


def parse_sysctl(text: str) -> tuple[str, str]:
    """Return key and value of a sysctl that has a namespace of its own. Raises ValueError."""
    key, separator, value = text.partition("=")
    allowed = key in _SYSCTLS or key.startswith(("net.", "fs.mqueue."))
    if not separator or not allowed:
        raise ValueError(f"sysctl '{text}' is not allowed")
    return key, value


SYSCTL = Kind("map", parse_sysctl, many=True)


def parse_device(text: str) -> dict[str, str]:
    """Return `path[:path in container][:rwm]` as the API's DeviceMapping. Raises ValueError."""
    parts = text.split(":")
    if len(parts) > 3 or not parts[0]:
        raise ValueError(f"invalid device specification: {text}")
    host = container = parts[0]
    permissions = "rwm"
    if len(parts) == 3:
        container, permissions = parts[1] or host, parts[2]
    elif len(parts) == 2 and parts[1]:
        if _is_device_mode(parts[1]):
            permissions = parts[1]
        else:
            container = parts[1]
    if not container.startswith("/"):
        raise ValueError(f"{container} is not an absolute path")
    if not _is_device_mode(permissions):
        raise ValueError(f"bad mode specified: {permissions}")
    return {"PathOnHost": host, "PathInContainer": container, "CgroupPermissions": permissions}


def _check_device_rule(text: str) -> str:
    import re

    if not re.fullmatch(r"[acb] (\d+|\*):(\d+|\*) [rwm]{1,3}", text, re.ASCII):
        raise ValueError(f"invalid device cgroup format '{text}'")
    return text


DEVICE_RULE = Kind("list", _check_device_rule, many=True)


def _is_device_mode(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def capability(text: str) -> str:
    """Return a capability's full name: `net_admin` → `CAP_NET_ADMIN`; ALL and RESET stay."""
    name = text.strip().upper()
    return name if name in ("ALL", "RESET") or name.startswith("CAP_") else f"CAP_{name}"


def parse_restart(text: str) -> dict[str, Any]:
    """Return `no|always|unless-stopped|on-failure[:n]` as the API's RestartPolicy.

    Whether there is such a policy is for the daemon to say. Raises ValueError.
    """
    name, separator, count = text.partition(":")
    if separator and not name:
        raise ValueError("invalid restart policy format: no policy provided before colon")
    retries = 0
    if count:
        if not _is_integer(count):
            raise ValueError("invalid restart policy format: maximum retry count must be an integer")
        retries = int(count)
    return {"Name": name, "MaximumRetryCount": retries}


def parse_security_options(specs: Iterable[str], read_profile: Any) -> tuple[list[str], bool]:
    """Return `--security-opt` for the API, and whether system paths are left unmasked.

    A seccomp profile is sent as its text: `read_profile(path)` returns that. Raises ValueError.
    """
    options: list[str] = []
    unconfined_paths = False
    for spec in specs:
        separator = "=" if "=" in spec else ":"
        key, found, value = spec.partition(separator)
        if not found and key != "no-new-privileges":
            raise ValueError(f'Invalid --security-opt: "{spec}"')
        if key == "systempaths" and value == "unconfined":
            unconfined_paths = True
        elif key == "seccomp" and value not in ("unconfined", "builtin"):
            options.append(f"seccomp={read_profile(value)}")
        else:
            options.append(spec)
    return options, unconfined_paths
