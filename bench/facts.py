"""What the machine is, for the reader of the figures. No names, addresses or paths of it."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[1]


def read_facts(versions: Mapping[str, str]) -> dict[str, str]:
    """Return facts by name, in the order to print them. `versions` are those of the systems."""
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _first_line(("git", "-C", str(_REPOSITORY), "describe", "--always", "--dirty"))
        or "unknown",
        "kernel": platform.release(),
        "distribution": _field("/etc/os-release", r'^PRETTY_NAME="?([^"\n]*)'),
        "processor": _field("/proc/cpuinfo", r"^model name\s*:\s*(.*)"),
        "cores": str(os.cpu_count() or 0),
        "memory": f"{_kib('MemTotal') / 2**20:.1f} GiB",
        "python": platform.python_version(),
    }
    facts |= versions
    for name, command in _TOOLS.items():
        if shutil.which(command[0]) and (line := _first_line(command)):
            facts[name] = line
    return facts


def read_load() -> str:
    """Return the load averages: what else the machine was doing."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


_TOOLS: Mapping[str, Sequence[str]] = {
    "iperf3": ("/usr/bin/iperf3", "--version"),
    "dnsperf": ("/usr/bin/dnsperf", "-h"),
    "containerd": ("/usr/bin/containerd", "--version"),
    "runc": ("/usr/sbin/runc", "--version"),
    "conmon": ("/usr/bin/conmon", "--version"),
    "docker client": ("/usr/bin/docker", "--version"),
    "CNI plugins": ("dpkg-query", "-W", "containernetworking-plugins"),
    "iptables": ("/usr/sbin/iptables", "--version"),
}


def _first_line(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout or done.stderr).splitlines()
    # dnsperf says its name first and its version in the next line.
    return next((line.strip() for line in lines if any(letter.isdigit() for letter in line)), "")


def _field(path: str, pattern: str) -> str:
    try:
        match = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        return "unknown"
    return match.group(1).strip() if match else "unknown"


def _kib(name: str) -> int:
    return int(re.sub(r"\D", "", _field("/proc/meminfo", rf"^{name}:\s*(.*)")) or 0)
