"""A sample of what a container uses."""

from .kinds import EMPTY, ID, INTEGER, NO_ITEMS, TEXT, TIME, Array, Map, Null, Object, Plain, maybe

_CPU_USAGE = Object(
    "CpuUsage",
    {
        "total_usage": INTEGER,
        "percpu_usage": maybe(Array(INTEGER)),
        "usage_in_kernelmode": INTEGER,
        "usage_in_usermode": INTEGER,
    },
)
_THROTTLING = Object(
    "Throttling", {"periods": INTEGER, "throttled_periods": INTEGER, "throttled_time": INTEGER}
)
_CPU = Object(
    "CpuStats",
    {
        "cpu_usage": _CPU_USAGE,
        "system_cpu_usage": maybe(INTEGER),
        "online_cpus": maybe(INTEGER),
        "throttling_data": _THROTTLING,
    },
)
_MEMORY = Object(
    "MemoryStats",
    {
        "usage": maybe(INTEGER),
        "max_usage": maybe(INTEGER),
        "stats": maybe(Map(INTEGER)),
        "failcnt": maybe(INTEGER),
        "limit": maybe(INTEGER),
    },
)
_COUNTER = Object("BlockCounter", {"major": INTEGER, "minor": INTEGER, "op": TEXT, "value": INTEGER})
_COUNTERS = Null(Array(_COUNTER))
_BLOCK = Object(
    "BlockStats",
    {
        "io_service_bytes_recursive": _COUNTERS,
        "io_serviced_recursive": _COUNTERS,
        "io_queue_recursive": Null(NO_ITEMS),
        "io_service_time_recursive": Null(NO_ITEMS),
        "io_wait_time_recursive": Null(NO_ITEMS),
        "io_merged_recursive": Null(NO_ITEMS),
        "io_time_recursive": Null(NO_ITEMS),
        "sectors_recursive": Null(NO_ITEMS),
    },
)
_NETWORK = Object(
    "InterfaceStats",
    {f"{way}_{what}": INTEGER for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "dropped")},
)
STATISTICS = Object(
    "Statistics",
    {
        "read": TIME,
        "preread": TIME,
        "pids_stats": Object("PidsStats", {"current": maybe(INTEGER), "limit": maybe(INTEGER)}),
        "blkio_stats": _BLOCK,
        "num_procs": INTEGER,
        "storage_stats": EMPTY,
        "cpu_stats": _CPU,
        "precpu_stats": _CPU,
        "memory_stats": _MEMORY,
        "name": Plain({"type": "string", "pattern": "^/"}),
        "id": ID,
        "networks": maybe(Map(_NETWORK)),
    },
)
