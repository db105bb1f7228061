"""What etcd says of itself at `/metrics`: requests by kind, bytes, watchers, processor and memory."""

import re
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

_LINE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$")
_PLAIN = {
    "etcd_network_client_grpc_sent_bytes_total": "sent_bytes",
    "etcd_network_client_grpc_received_bytes_total": "received_bytes",
    "process_cpu_seconds_total": "cpu_s",
    "process_resident_memory_bytes": "memory_bytes",
    "etcd_debugging_mvcc_watcher_total": "watchers",
    "etcd_debugging_mvcc_watch_stream_total": "streams",
    "etcd_debugging_mvcc_slow_watcher_total": "slow_watchers",
    "etcd_debugging_mvcc_keys_total": "keys",
    "etcd_debugging_mvcc_events_total": "events",
    "etcd_mvcc_db_total_size_in_bytes": "database_bytes",
    "process_open_fds": "descriptors",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters at one moment; `requests` by the method's name."""

    at: float
    values: Mapping[str, float]
    requests: Mapping[str, float]

    def since(self, before: "Sample") -> "Sample":
        """Return what was added since `before`; of what is no counter, what there is now."""
        level = {
            "memory_bytes",
            "watchers",
            "streams",
            "slow_watchers",
            "keys",
            "database_bytes",
            "descriptors",
        }
        return Sample(
            self.at - before.at,
            {
                key: value if key in level else value - before.values.get(key, 0.0)
                for key, value in self.values.items()
            },
            {key: value - before.requests.get(key, 0.0) for key, value in self.requests.items()},
        )

    @property
    def total(self) -> float:
        return sum(self.requests.values())


def read_metrics(url: str) -> Sample:
    """Ask an etcd. Raises OSError where it does not answer."""
    at = time.monotonic()
    with urllib.request.urlopen(f"{url}/metrics", timeout=20) as answer:
        text: str = answer.read().decode()
    return parse_metrics(text, at)


def parse_metrics(text: str, at: float) -> Sample:
    """Parse the exposition format, as far as it is needed."""
    values: dict[str, float] = dict.fromkeys(_PLAIN.values(), 0.0)
    requests: dict[str, float] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name, labels, number = match.groups()
        if name in _PLAIN:
            values[_PLAIN[name]] = float(number)
        elif name == "grpc_server_started_total" and labels:
            method = dict(re.findall(r'(\w+)="([^"]*)"', labels))["grpc_method"]
            requests[method] = requests.get(method, 0.0) + float(number)
    return Sample(at, values, {key: value for key, value in requests.items() if value})
