"""Sysctls, as files under /proc/sys; `net.*` ones are those of the calling thread's namespace."""

import errno
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...model.errors import InvalidRequest, KernelRefused

_ROOT = Path("/proc/sys")
_NET = Path("/proc/thread-self/net")
_AT_BOOT = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d")


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


def find_sysctl(keys: Sequence[str], value: str, root: Path = Path("/")) -> list[str]:
    """Return the files below `root` from which one of these sysctls gets that value at boot (sysctl.d(5))."""
    names = "|".join(re.escape(key).replace(r"\.", "[./]") for key in keys)
    line = re.compile(rf"^\s*-?\s*({names})\s*=\s*{re.escape(value)}\s*$", re.MULTILINE)
    files = [root / "etc/sysctl.conf"]
    for directory in _AT_BOOT:
        files += sorted((root / directory).glob("*.conf"))
    found = []
    for file in files:
        with suppress(OSError):
            if line.search(file.read_text(errors="replace")):
                found.append(str(file))
    return found


def list_legacy_tables() -> list[str]:
    """Return the tables of iptables-legacy in the calling thread's network namespace."""
    found = []
    for name, prefix in (("ip_tables_names", ""), ("ip6_tables_names", "ip6 ")):
        with suppress(OSError):
            found += [prefix + table for table in (_NET / name).read_text().split()]
    return found
