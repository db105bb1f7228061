"""What containers use, in `carrick stats`."""

from __future__ import annotations

from carrick.doors.cli.records.text import ellipsis, short_id
from carrick.doors.cli.template.values import Record
from carrick.doors.cli.units import binary_size, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar

_NAME_WIDTH = 20
_UNKNOWN = "--"


def cpu_percent(sample: Mapping[str, Any]) -> float:
    """Return the share of one CPU used since the sample before: 250 is two and a half CPUs."""
    now, before = sample.get("cpu_stats") or {}, sample.get("precpu_stats") or {}
    used = _total(now) - _total(before)
    passed = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
    per_cpu = (now.get("cpu_usage") or {}).get("percpu_usage") or ()
    cpus = now.get("online_cpus") or len(per_cpu)
    return used / passed * cpus * 100 if used > 0 and passed > 0 else 0.0


def _total(stats: Mapping[str, Any]) -> int:
    return int((stats.get("cpu_usage") or {}).get("total_usage") or 0)


def memory_used(memory: Mapping[str, Any]) -> int:
    """Return the memory in use, without the page cache that could be dropped (cgroup 1 and 2)."""
    usage = int(memory.get("usage") or 0)
    stats = memory.get("stats") or {}
    inactive = int(stats.get("total_inactive_file") or stats.get("inactive_file") or 0)
    return usage - inactive if inactive < usage else usage


def block_io(sample: Mapping[str, Any]) -> tuple[int, int]:
    """Return bytes read and written."""
    read = written = 0
    for entry in (sample.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ():
        operation = str(entry.get("op") or "")[:1].lower()
        if operation == "r":
            read += int(entry.get("value") or 0)
        elif operation == "w":
            written += int(entry.get("value") or 0)
    return read, written


class UsageRecord(Record):
    """The latest sample of one container; None before the first."""

    TYPE = "*container.statsContext"

    def __init__(self, container: str, sample: Mapping[str, Any] | None, *, truncate: bool) -> None:
        self.container = container
        self.sample = sample
        self.truncate = truncate

    def _id(self) -> str:
        identity = str((self.sample or {}).get("id") or self.container)
        return short_id(identity) if self.truncate else identity

    def _name(self) -> str:
        name = str((self.sample or {}).get("name") or "").removeprefix("/")
        if not name:
            return _UNKNOWN
        return ellipsis(name, _NAME_WIDTH) if self.truncate else name

    def _cpu(self) -> str:
        return f"{cpu_percent(self.sample):.2f}%" if self.sample else _UNKNOWN

    def _memory(self) -> str:
        if not self.sample:
            return f"{_UNKNOWN} / {_UNKNOWN}"
        memory = self.sample.get("memory_stats") or {}
        return f"{binary_size(memory_used(memory))} / {binary_size(memory.get('limit') or 0)}"

    def _memory_percent(self) -> str:
        memory = (self.sample or {}).get("memory_stats") or {}
        limit = memory.get("limit")
        if not self.sample:
            return _UNKNOWN
        return f"{memory_used(memory) / limit * 100:.2f}%" if limit else "0.00%"

    def _network(self) -> str:
        if not self.sample:
            return _UNKNOWN
        networks = (self.sample.get("networks") or {}).values()
        received = sum(int(network.get("rx_bytes") or 0) for network in networks)
        sent = sum(int(network.get("tx_bytes") or 0) for network in networks)
        return f"{human_size(received, 3)} / {human_size(sent, 3)}"

    def _block(self) -> str:
        if not self.sample:
            return _UNKNOWN
        read, written = block_io(self.sample)
        return f"{human_size(read, 3)} / {human_size(written, 3)}"

    def _pids(self) -> str:
        if not self.sample:
            return _UNKNOWN
        return str((self.sample.get("pids_stats") or {}).get("current") or 0)

    FIELDS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "Container": lambda self: self.container,
        "ID": _id,
        "Name": _name,
        "CPUPerc": _cpu,
        "MemUsage": _memory,
        "MemPerc": _memory_percent,
        "NetIO": _network,
        "BlockIO": _block,
        "PIDs": _pids,
    }
    HEADERS: ClassVar[Mapping[str, str]] = {
        "ID": "CONTAINER ID",
        "CPUPerc": "CPU %",
        "MemUsage": "MEM USAGE / LIMIT",
        "MemPerc": "MEM %",
        "NetIO": "NET I/O",
        "BlockIO": "BLOCK I/O",
    }
