"""Sample what a container uses, from cgroupfs (version 1 or 2, whichever is there) and /proc.

A file that is missing (a controller not mounted, an accounting not compiled in) leaves its figures at 0.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .api import BlockCounter, ContainerStats, NetworkCounters

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60
_NS = 1_000_000_000


def read_stats(cgroup_path: str, pid: int, root: Path = _CGROUP_ROOT) -> ContainerStats:
    """Return one sample; `pid` is a process in the container's network namespace."""
    relative = cgroup_path.lstrip("/")
    is_v2 = (root / "cgroup.controllers").exists()
    sample = _read_v2(root / relative) if is_v2 else _read_v1(root, relative)
    total = memory_total()
    return ContainerStats(
        read_at=datetime.now(UTC),
        cpu_total_ns=sample.cpu_total_ns,
        cpu_user_ns=sample.cpu_user_ns,
        cpu_kernel_ns=sample.cpu_kernel_ns,
        cpu_per_core_ns=sample.per_core_ns,
        system_cpu_ns=_system_cpu_ns(),
        online_cpus=os.cpu_count() or 1,
        throttled_periods=sample.throttling.get("nr_periods", 0),
        throttled_count=sample.throttling.get("nr_throttled", 0),
        throttled_ns=sample.throttling.get("throttled_time", 0)
        or sample.throttling.get("throttled_usec", 0) * 1000,
        memory_usage=sample.memory_usage,
        memory_max_usage=sample.memory_max,
        memory_limit=min(sample.memory_limit or _NO_LIMIT, total),
        memory_stats=sample.memory_stats,
        memory_failures=sample.memory_failures,
        pids_current=sample.pids,
        pids_limit=sample.pids_limit,
        networks=read_network(pid),
        block_bytes=sample.block_bytes,
        block_operations=sample.block_operations,
    )


@dataclass(frozen=True, slots=True)
class _Sample:
    cpu_total_ns: int
    cpu_user_ns: int
    cpu_kernel_ns: int
    per_core_ns: tuple[int, ...]
    throttling: dict[str, int]
    memory_usage: int
    memory_max: int
    memory_limit: int
    memory_stats: dict[str, int]
    memory_failures: int
    pids: int
    pids_limit: int
    block_bytes: tuple[BlockCounter, ...]
    block_operations: tuple[BlockCounter, ...]


def _read_v1(root: Path, relative: str) -> _Sample:
    cpuacct, memory = root / "cpuacct" / relative, root / "memory" / relative
    pids, blkio = root / "pids" / relative, root / "blkio" / relative
    tick_ns = _NS // os.sysconf("SC_CLK_TCK")
    cpu = _pairs(cpuacct / "cpuacct.stat")
    return _Sample(
        cpu_total_ns=_number(cpuacct / "cpuacct.usage"),
        cpu_user_ns=cpu.get("user", 0) * tick_ns,
        cpu_kernel_ns=cpu.get("system", 0) * tick_ns,
        per_core_ns=tuple(int(n) for n in _text(cpuacct / "cpuacct.usage_percpu").split()),
        throttling=_pairs(root / "cpu" / relative / "cpu.stat"),
        memory_usage=_number(memory / "memory.usage_in_bytes"),
        memory_max=_number(memory / "memory.max_usage_in_bytes"),
        memory_limit=_number(memory / "memory.limit_in_bytes"),
        memory_stats=_pairs(memory / "memory.stat"),
        memory_failures=_number(memory / "memory.failcnt"),
        pids=_number(pids / "pids.current"),
        pids_limit=_number(pids / "pids.max"),
        block_bytes=parse_blkio_v1(_text(blkio / "blkio.throttle.io_service_bytes")),
        block_operations=parse_blkio_v1(_text(blkio / "blkio.throttle.io_serviced")),
    )


def _read_v2(directory: Path) -> _Sample:
    cpu = _pairs(directory / "cpu.stat")
    io = _text(directory / "io.stat")
    events = _pairs(directory / "memory.events")
    return _Sample(
        cpu_total_ns=cpu.get("usage_usec", 0) * 1000,
        cpu_user_ns=cpu.get("user_usec", 0) * 1000,
        cpu_kernel_ns=cpu.get("system_usec", 0) * 1000,
        per_core_ns=(),
        throttling=cpu,
        memory_usage=_number(directory / "memory.current"),
        memory_max=_number(directory / "memory.peak"),
        memory_limit=_number(directory / "memory.max"),
        memory_stats=_pairs(directory / "memory.stat"),
        memory_failures=events.get("max", 0),
        pids=_number(directory / "pids.current"),
        pids_limit=_number(directory / "pids.max"),
        block_bytes=parse_io_v2(io, {"rbytes": "Read", "wbytes": "Write"}),
        block_operations=parse_io_v2(io, {"rios": "Read", "wios": "Write"}),
    )


def parse_blkio_v1(text: str) -> tuple[BlockCounter, ...]:
    """Read lines like `8:0 Read 4096`; the lines of totals have no device."""
    counters = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3 and ":" in fields[0]:
            major, minor = fields[0].split(":")
            counters.append(BlockCounter(int(major), int(minor), fields[1], int(fields[2])))
    return tuple(counters)


def parse_io_v2(text: str, names: dict[str, str]) -> tuple[BlockCounter, ...]:
    """Read lines like `8:0 rbytes=4096 wbytes=0 rios=1 …`."""
    counters = []
    for line in text.splitlines():
        device, *fields = line.split()
        major, _, minor = device.partition(":")
        for field in fields:
            key, _, value = field.partition("=")
            if key in names:
                counters.append(BlockCounter(int(major), int(minor), names[key], int(value)))
    return tuple(counters)


def read_network(pid: int) -> tuple[NetworkCounters, ...]:
    """Return the counters of all interfaces but `lo` in a process's network namespace."""
    return parse_net_dev(_text(Path(f"/proc/{pid}/net/dev")))


def parse_net_dev(text: str) -> tuple[NetworkCounters, ...]:
    """Read /proc/net/dev: eight figures received, eight transmitted."""
    counters = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        figures = [int(figure) for figure in rest.split()]
        if name.strip() != "lo" and len(figures) >= 12:
            counters.append(NetworkCounters(name.strip(), *figures[:4], *figures[8:12]))
    return tuple(sorted(counters, key=lambda counter: counter.interface))


def memory_total() -> int:
    """Return the host's memory in bytes."""
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return _NO_LIMIT


def start_time(start_ticks: int) -> datetime:
    """Return when a process started, from the ticks since boot that /proc/PID/stat has."""
    boot = next(
        (int(line.split()[1]) for line in _text(Path("/proc/stat")).splitlines() if line[:5] == "btime"),
        0,
    )
    return datetime.fromtimestamp(boot + start_ticks / os.sysconf("SC_CLK_TCK"), tz=UTC)


def _system_cpu_ns() -> int:
    first = _text(Path("/proc/stat")).partition("\n")[0].split()
    # user nice system idle iowait irq softirq steal; guest time is in user already.
    ticks = sum(int(figure) for figure in first[1:9])
    return ticks * (_NS // os.sysconf("SC_CLK_TCK"))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int:
    """Return a file's number; 0 for "max" and for limits so high that they are none."""
    text = _text(path).strip()
    value = int(text) if text.isdigit() else 0
    return 0 if value >= _NO_LIMIT else value


def _pairs(path: Path) -> dict[str, int]:
    pairs = {}
    for line in _text(path).splitlines():
        key, _, value = line.partition(" ")
        if value.strip().isdigit():
            pairs[key] = int(value)
    return pairs
