"""Refuse limits that this host cannot keep, and options that nothing here understands, in Docker's words.

What is wrong with a limit by itself the API's parsing says; here is what depends on the host.
"""

import os
from pathlib import Path

from ..model.containers import HostConfig, LogConfig, Resources
from ..model.errors import InvalidRequest

_MEMORY_NODES = Path("/sys/devices/system/node/online")
_MINIMUM_MEMORY = 6 * 1024 * 1024
_LOG_OPTIONS = {
    "json-file": frozenset(
        (
            *("max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag"),
            *(
                "mode",
                "max-buffer-size",
                "cache-disabled",
                "cache-max-size",
                "cache-max-file",
                "cache-compress",
            ),
        )
    ),
    "local": frozenset(("max-size", "max-file", "compress")),
    "none": None,
}
"""What each driver takes; None is whatever there is."""
_SECURITY_OPTIONS = frozenset(
    ("label", "apparmor", "seccomp", "no-new-privileges", "systempaths", "writable-cgroups")
)


def check_limits(host: HostConfig) -> None:
    """Raise InvalidRequest for what this host has no room for, and for unknown logs and security options."""
    check_resources(host.resources)
    _check_log(host.log_config)
    for option in host.security_opt:
        name, separator, _ = option.replace(":", "=", 1).partition("=")
        if name not in _SECURITY_OPTIONS or (
            not separator and name not in {"no-new-privileges", "writable-cgroups"}
        ):
            raise InvalidRequest(f'invalid --security-opt 1: "{option}"')


def check_resources(limits: Resources) -> None:
    """Raise InvalidRequest for limits that are none on this host."""
    cpus = os.cpu_count() or 1
    if not 0 <= limits.nano_cpus <= cpus * 10**9:
        raise InvalidRequest(
            f"Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )
    if 0 < limits.memory_reservation < _MINIMUM_MEMORY:
        raise InvalidRequest("Minimum memory reservation allowed is 6MB")
    if 0 < limits.memory < limits.memory_reservation:
        raise InvalidRequest("Minimum memory limit can not be less than memory reservation limit, see usage")
    _check_set("CPUs", "cpuset cpus", limits.cpuset_cpus, f"0-{cpus - 1}" if cpus > 1 else "0")
    if limits.cpuset_mems:
        try:
            nodes = _MEMORY_NODES.read_text().strip()
        except OSError:
            nodes = "0"
        _check_set("memory nodes", "cpuset mems", limits.cpuset_mems, nodes)


def _check_set(what: str, field: str, text: str, available: str) -> None:
    if not text:
        return
    try:
        wanted = _parse_set(text)
    except ValueError:
        raise InvalidRequest(f"Invalid value {text} for {field}: invalid format: {text}") from None
    if not wanted <= _parse_set(available):
        raise InvalidRequest(f"Requested {what} are not available - requested {text}, available: {available}")


def _parse_set(text: str) -> frozenset[int]:
    """Return the numbers of `0-2,7`. ValueError for anything else."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, separator, last = part.partition("-")
        if len(first) > 4 or len(last) > 4:
            raise ValueError(part)
        numbers.update(range(int(first), int(last if separator else first) + 1))
    return frozenset(numbers)


def _check_log(log: LogConfig) -> None:
    if log.driver not in _LOG_OPTIONS:
        raise InvalidRequest(
            f'error looking up logging plugin {log.driver}: plugin "{log.driver}" not found',
            remedy=f"use one of these log drivers: {', '.join(sorted(_LOG_OPTIONS))}",
        )
    known = _LOG_OPTIONS[log.driver]
    for name in sorted(log.options):
        if known is not None and name not in known:
            words = f"log driver {log.driver}" if log.driver == "local" else f"{log.driver} log driver"
            raise InvalidRequest(f"unknown log opt '{name}' for {words}")
