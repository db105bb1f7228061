"""A sample of resources as GET /containers/{id}/stats shows it, with the one before for CPU percentages."""

from collections.abc import Iterable

from ....host.runtime.api import BlockCounter, ContainerStats, NetworkCounters
from . import Json
from .times import ZERO, render_time


def render_stats(
    stats: ContainerStats, previous: ContainerStats | None, *, container_id: str, name: str, is_running: bool
) -> Json:
    """Return the document; of a container that does not run, Docker's empty one."""
    if not is_running:
        return _render_empty(container_id, name)
    document: Json = {
        "read": render_time(stats.read_at),
        "preread": render_time(previous.read_at) if previous else ZERO,
        "pids_stats": {"current": stats.pids_current}
        | ({"limit": stats.pids_limit} if stats.pids_limit else {}),
        "blkio_stats": _render_block(
            stats.block_bytes, stats.block_operations, others=[] if stats.memory_max_usage else None
        ),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _render_cpu(stats),
        "precpu_stats": _render_cpu(previous) if previous else _EMPTY_CPU,
        "memory_stats": _render_memory(stats),
        "name": f"/{name}",
        "id": container_id,
    }
    if stats.networks:
        document["networks"] = {item.interface: _render_network(item) for item in stats.networks}
    return document


_EMPTY_CPU: Json = {
    "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
    "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
}


def _render_empty(container_id: str, name: str) -> Json:
    return {
        "read": ZERO,
        "preread": ZERO,
        "pids_stats": {},
        "blkio_stats": _render_block(None, None),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _EMPTY_CPU,
        "precpu_stats": _EMPTY_CPU,
        "memory_stats": {},
        "name": f"/{name}",
        "id": container_id,
    }


def _render_cpu(stats: ContainerStats) -> Json:
    usage: Json = {"total_usage": stats.cpu_total_ns}
    if stats.cpu_per_core_ns:
        usage["percpu_usage"] = list(stats.cpu_per_core_ns)
    return {
        "cpu_usage": usage
        | {"usage_in_kernelmode": stats.cpu_kernel_ns, "usage_in_usermode": stats.cpu_user_ns},
        "system_cpu_usage": stats.system_cpu_ns,
        "online_cpus": stats.online_cpus,
        "throttling_data": {
            "periods": stats.throttled_periods,
            "throttled_periods": stats.throttled_count,
            "throttled_time": stats.throttled_ns,
        },
    }


def _render_memory(stats: ContainerStats) -> Json:
    document: Json = {"usage": stats.memory_usage}
    if stats.memory_max_usage:
        document["max_usage"] = stats.memory_max_usage
    document["stats"] = stats.memory_stats
    if stats.memory_failures:
        document["failcnt"] = stats.memory_failures
    document["limit"] = stats.memory_limit
    return document


def _render_network(item: NetworkCounters) -> Json:
    return {
        "rx_bytes": item.rx_bytes,
        "rx_packets": item.rx_packets,
        "rx_errors": item.rx_errors,
        "rx_dropped": item.rx_dropped,
        "tx_bytes": item.tx_bytes,
        "tx_packets": item.tx_packets,
        "tx_errors": item.tx_errors,
        "tx_dropped": item.tx_dropped,
    }


def _render_block(
    moved: Iterable[BlockCounter] | None,
    operations: Iterable[BlockCounter] | None,
    others: list[Json] | None = None,
) -> Json:
    """Return the counters; `others` stands for those that only cgroup v1 has, and nobody fills."""

    def entries(counters: Iterable[BlockCounter] | None) -> list[Json] | None:
        if counters is None:
            return None
        return [
            {"major": item.major, "minor": item.minor, "op": item.operation, "value": item.value}
            for item in counters
        ]

    return {
        "io_service_bytes_recursive": entries(moved),
        "io_serviced_recursive": entries(operations),
        "io_queue_recursive": others,
        "io_service_time_recursive": others,
        "io_wait_time_recursive": others,
        "io_merged_recursive": others,
        "io_time_recursive": others,
        "sectors_recursive": others,
    }
