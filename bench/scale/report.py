"""The scale run's figures as a table. `python -m bench.scale.report FILE…` joins several results.

Pure but for `main`.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Runs = Mapping[str, Mapping[str, Any]]
Value = Callable[[Mapping[str, Any]], float]

EVENTS = {
    "container_run_narrow": "a container starts, seen by the nodes of its network",
    "container_stop_narrow": "it stops",
    "container_run_wide": "a container starts, on a network that all nodes are on",
    "container_stop_wide": "it stops",
    "node_join": "a node joins",
    "node_leave": "a node leaves, having stopped its containers",
    "node_dies": "a node's power is cut (its lease ends after 20 to 30 s)",
}


def render_markdown(facts: Mapping[str, str], runs: Runs) -> str:
    """Render all runs, a column for each number of nodes."""
    columns = sorted(runs, key=int)
    figures = {name: runs[name]["figures"] for name in columns}
    parts = ["# Simulated nodes against a real etcd", ""]
    parts += [f"- {name}: {value}" for name, value in facts.items()]
    parts += ["", _line(["", *(f"{name} nodes" for name in columns)]), _line(["---"] * (len(columns) + 1))]
    for title, read, shape in _rows():
        cells = []
        for name in columns:
            try:
                cells.append(shape.format(read(figures[name])))
            except KeyError:
                cells.append("-")
        parts.append(_line([title, *cells]))
    parts.append("")
    for name in columns:
        if steps := runs[name].get("reconnect"):
            parts += [f"## Once etcd is back, {name} nodes", "", *_reconnect(figures[name], steps), ""]
    return "\n".join(parts)


def _rows() -> Iterator[tuple[str, Value, str]]:
    """Yield a row's title, where its figure is, and how it is written."""
    for event, title in EVENTS.items():
        yield f"{title}: half have seen it, s", _at(event, "p50_s"), "{:.3f}"
        yield "… 99 % have, s", _at(event, "p99_s"), "{:.3f}"
        yield "… all have; the slowest repetition, s", _at(event, "worst_s"), "{:.3f}"
        if event != "node_dies":
            yield "… etcd's processor time, s", _at(event, "etcd_cpu_s"), "{:.2f}"
            yield "… the nodes' processor time, all together, s", _at(event, "worker_cpu_s"), "{:.2f}"
    yield "at rest: requests per second", _at("rest", "requests_per_s"), "{:.0f}"
    yield "… keepalives", _at("rest", "by_method", "LeaseKeepAlive"), "{:.0f}"
    yield "… bytes per node and second", _at("rest", "received_bytes_per_node_s"), "{:.0f}"
    yield "… etcd's cores", _at("rest", "etcd_cores"), "{:.3f}"
    yield "… processor time per node, ms/s", _at("rest", "worker_ms_per_node_s"), "{:.2f}"
    yield "… etcd's memory, MiB", _at("rest", "etcd_mib"), "{:.0f}"
    yield "… watches", _at("rest", "watchers"), "{:.0f}"
    yield (
        "in the run, memory per node (decoded records shared), MiB",
        _at("build_up", "workers_mib_per_node"),
        "{:.2f}",
    )
    yield "a node for itself joins: ready after, s", _at("lone_node", "ready_s"), "{:.2f}"
    yield "… received, KiB", lambda found: found["lone_node"]["received_bytes"] / 1024, "{:.0f}"
    yield "… its processor time, s", _at("lone_node", "cpu_s"), "{:.2f}"
    yield "… memory that it needs more, MiB", _at("lone_node", "mib_more"), "{:.1f}"
    yield (
        "… its first container has an address (a block is claimed), s",
        _at("lone_node", "start_s"),
        "{:.2f}",
    )
    yield "etcd away: attempts per second", _at("etcd_restart", "attempts_while_away_per_s"), "{:.0f}"
    yield "… back: half are connected, s after its start", _at("etcd_restart", "connections_p50_s"), "{:.1f}"
    yield "… all are, s", _at("etcd_restart", "connections_last_s"), "{:.1f}"
    yield "… all have seen what was written then, s", _at("etcd_restart", "last_s"), "{:.1f}"
    yield "… most connections in a second", _at("etcd_restart", "most_connections_per_s"), "{:.0f}"
    yield "… most requests per second", _at("etcd_restart", "most_requests_per_s"), "{:.0f}"
    yield "… nodes that were given up", _at("etcd_restart", "new_epochs"), "{:.0f}"


def _at(*path: str) -> Value:
    def read(figures: Mapping[str, Any]) -> float:
        found: Any = figures
        for key in path:
            found = found[key]
        return float(found)

    return read


def _reconnect(figures: Mapping[str, Any], steps: Sequence[Mapping[str, float]]) -> Iterator[str]:
    per_s = figures["etcd_restart"]["connections_per_s"]
    yield "Connections in each second: " + ", ".join(map(str, per_s)) + "."
    yield ""
    yield _line(["s", "requests/s", "etcd's cores", "watches"])
    yield _line(["---"] * 4)
    for step in steps:
        yield _line(
            [
                f"{step['at_s']:.1f}",
                f"{step['requests_per_s']:.0f}",
                f"{step['etcd_cores']:.2f}",
                f"{step['watchers']:.0f}",
            ]
        )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(paths: Sequence[str]) -> None:
    documents = [json.loads(Path(path).read_text()) for path in paths]
    runs = {name: run for document in documents for name, run in document["runs"].items()}
    print(render_markdown(documents[-1]["facts"], runs))


if __name__ == "__main__":
    main(sys.argv[1:])
