"""Sysctls, as files under /proc/sys; `net.*` ones are those of the calling thread's namespace."""

import errno
from pathlib import Path

from ...model.errors import InvalidRequest, KernelRefused

_ROOT = Path("/proc/sys")


def sysctl_path(key: str) -> Path:
    """Turn a dotted key into a path; a `/` in the key stands for a dot in an interface's name."""
    parts = [part.replace("/", ".") for part in key.split(".")]
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise InvalidRequest(f"{key!r} is not the name of a sysctl")
    return _ROOT.joinpath(*parts)


def read_sysctl(key: str) -> str | None:
    """Return a sysctl's value, or None where this kernel has no such sysctl."""
    try:
        return sysctl_path(key).read_text().strip()
    except OSError:
        return None


def write_sysctl(key: str, value: str) -> None:
    """Set a sysctl unless it already has that value (writing some has side effects)."""
    path = sysctl_path(key)
    if read_sysctl(key) == value:
        return
    try:
        path.write_text(value)
    except OSError as error:
        number = error.errno or errno.EIO
        raise KernelRefused(f"sysctl {key}={value}: {error.strerror}", errno=number, subject=key) from error
