"""What is measured, in which unit, and what the project set out to reach. Pure, one table.

A key names the figure in the JSON file and never changes its meaning.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from .options import Options


class Better(StrEnum):
    """Which way a figure should go."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True, slots=True)
class RatioTarget:
    """Carrick's median over that of `peer`: at most `limit` if lower is better, else at least.

    `by_round`: the mean of each round's ratio instead, where rounds are many and lie far apart.
    """

    peer: str
    limit: float
    by_round: bool = False


@dataclass(frozen=True, slots=True)
class ValueTarget:
    """Carrick's own median: below `limit`."""

    limit: float


@dataclass(frozen=True, slots=True)
class FlatTarget:
    """Carrick's median over its own at `baseline` (a key): at most `limit`."""

    baseline: str
    limit: float


Target = RatioTarget | ValueTarget | FlatTarget


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the result."""

    key: str
    group: str
    title: str
    unit: str
    better: Better = Better.LOWER
    targets: tuple[Target, ...] = ()


#: "Flat" in figures. Repeated runs of one operation at one size differ by as much on a shared machine.
FLAT = 1.25

DOORS = {"api": "API", "cli": "CLI"}
OPERATIONS: dict[str, tuple[str, tuple[RatioTarget, ...]]] = {
    "floor": ("client and nothing else (ping, version)", ()),
    "network_create": ("network create", ()),
    "network_rm": ("network rm", ()),
    "connect": ("network connect", (RatioTarget("docker", 0.4),)),
    "disconnect": ("network disconnect", (RatioTarget("docker", 0.3),)),
    "run": ("run -d", ()),
    "rm": ("rm -f", (RatioTarget("docker", 0.6), RatioTarget("podman", 0.6))),
    "run_publish": ("run -d -p", (RatioTarget("docker", 0.6), RatioTarget("podman", 0.6))),
    "rm_publish": ("rm -f, port published", (RatioTarget("docker", 0.6), RatioTarget("podman", 0.6))),
}
PATHS = {
    "containers": "container to container",
    "outside": "published port, from outside",
    "loopback": "published port, host via 127.0.0.1",
    "own": "published port, host via its own address",
}
NAME_COUNTS = (1, 500)


def all_metrics(options: Options) -> tuple[Metric, ...]:
    """Return every row of a run with these options, in the order of the report."""
    groups = {
        "control": _control,
        "client": _client,
        "traffic": _traffic,
        "names": _names,
        "memory": _memory,
        "recovery": _recovery,
        "growth": _growth,
        "across": _across,
        "cni": _cni,
    }
    return tuple(
        metric for name, make in groups.items() if name in options.measures for metric in make(options)
    )


def _control(options: Options) -> Iterator[Metric]:
    del options
    for door, label in DOORS.items():
        for operation, (title, wanted) in OPERATIONS.items():
            # Podman has its command alone; to hold a raw API against that would flatter the API.
            targets = tuple(target for target in wanted if door == "cli" or target.peer != "podman")
            yield Metric(f"control.{door}.{operation}", f"Control, {label}", title, "ms", targets=targets)


CLIENT_OPERATIONS = {
    "floor": ("version", ()),
    "run": ("run -d", (RatioTarget("docker", 1.0),)),
    "exec": ("exec true", (RatioTarget("docker", 1.0),)),
    "rm": ("rm -f", (RatioTarget("docker", 1.0),)),
    "connect": ("network connect", (RatioTarget("docker", 1.0),)),
    "disconnect": ("network disconnect", (RatioTarget("docker", 1.0),)),
    "ps_full": ("ps, {fill} containers", (RatioTarget("docker", 1.0),)),
    "exec_full": ("exec true, {fill} containers", (RatioTarget("docker", 1.0),)),
}


def _client(options: Options) -> Iterator[Metric]:
    for operation, (title, targets) in CLIENT_OPERATIONS.items():
        yield Metric(
            f"client.{operation}", "The docker client for both", title.format(fill=options.fill), "ms",
            targets=targets,
        )  # fmt: skip


def _traffic(options: Options) -> Iterator[Metric]:
    del options
    for path, title in PATHS.items():
        at_least = (RatioTarget("docker", 1.0),)
        twice = (RatioTarget("docker", 2.0),) if path == "loopback" else at_least
        key, group, higher = f"traffic.{path}", f"Traffic, {title}", Better.HIGHER
        yield Metric(f"{key}.throughput", group, "TCP throughput", "Gbit/s", higher, at_least)
        yield Metric(f"{key}.rtt_p50", group, "request/response, p50", "µs", targets=at_least)
        yield Metric(f"{key}.rtt_p99", group, "request/response, p99", "µs", targets=at_least)
        yield Metric(f"{key}.connections", group, "new connections", "1/s", higher, twice)


def _names(options: Options) -> Iterator[Metric]:
    del options
    for count in NAME_COUNTS:
        key, group = f"names.{count}", f"DNS, {count} name{'s' if count > 1 else ''}"
        higher = Better.HIGHER
        targets = (RatioTarget("docker", 1.0),) if count == 500 else ()
        yield Metric(f"{key}.rate", group, "dnsperf -c 10 -q 100, queries", "1/s", higher, targets)
        yield Metric(f"{key}.latency", group, "dnsperf -c 10 -q 100, mean latency", "ms")
        yield Metric(f"{key}.sequential", group, "one at a time, queries", "1/s", higher)
        yield Metric(f"{key}.p50", group, "one at a time, p50", "µs")
        yield Metric(f"{key}.p99", group, "one at a time, p99", "µs")


MEMORY_PARTS = {
    "control": "daemon and DNS",
    "ports": "processes for ports",
    "container": "per container (shim, conmon), sum",
}


def _memory(options: Options) -> Iterator[Metric]:
    for stage, label in (("fresh", "fresh"), ("full", f"{options.fill} containers")):
        for part, title in MEMORY_PARTS.items():
            targets = (ValueTarget(120.0),) if part == "control" else ()
            yield Metric(f"memory.{stage}.{part}", f"Resident memory, {label}", title, "MiB", targets=targets)
        yield Metric(
            f"memory.{stage}.pss",
            f"Resident memory, {label}",
            "all of these, shared pages divided (PSS)",
            "MiB",
        )


def _recovery(options: Options) -> Iterator[Metric]:
    title = f"kill -9 until the API lists {options.fill} running"
    yield Metric("recovery.ready", "Recovery", title, "ms")


GROWN = {"run_publish": "run -d -p", "rm_publish": "rm -f", "connect": "network connect"}


def _growth(options: Options) -> Iterator[Metric]:
    first = options.growth[0]
    for operation, title in GROWN.items():
        for there in options.growth:
            flat = (
                (FlatTarget(growth_key(operation, first), FLAT),)
                if there == options.growth[-1] != first
                else ()
            )
            yield Metric(
                growth_key(operation, there), "Growth: one more endpoint", f"{title}, {there} there", "ms",
                targets=flat,
            )  # fmt: skip


#: Networks across hosts, by key: title, driver, options.
ACROSS = {
    "overlay": ("overlay (VXLAN)", "overlay", {}),
    "routed_vxlan": ("routed, by VXLAN", "routed", {"backend": "vxlan"}),
    "routed_direct": ("routed, by plain routes", "routed", {"backend": "direct"}),
    "routed_wireguard": ("routed, by WireGuard", "routed", {"backend": "wireguard"}),
}
#: One of them once more, ours and the static VXLAN, with `bridge-nf-call-iptables` on: key, network. Then
#: what crosses a bridge passes the host's firewall as well, as it does beside Docker's or Kubernetes' rules.
FILTERED = ("overlay_filtered", "overlay")
#: Those that are compared with the limit more closely than the others.
LIMITED = ("overlay", "routed_vxlan")
#: What the networks across hosts are held against, in the place of other engines.
ACROSS_PEERS = ("static", "static-routed", "raw")
NAMES_ACROSS = (50, 5000)
NAMES_NODES = 50


def _across(options: Options) -> Iterator[Metric]:
    del options
    higher = Better.HIGHER
    titles = {path: title for path, (title, _, _) in ACROSS.items()}
    titles[FILTERED[0]] = f"{titles[FILTERED[1]]}, bridge-nf-call-iptables on"
    for path, title in titles.items():
        key, group = f"across.{path}", f"Across hosts, {title}"
        # An overlay is the very thing that is made by hand, and what is routed by VXLAN takes the same
        # shortcuts. Other ways are judged by their throughput alone.
        alike = path in (*FILTERED, *LIMITED)
        # What is encrypted has no equal that is made by hand here.
        targets = () if path == "routed_wireguard" else (RatioTarget("static", 0.95, by_round=alike),)
        latency, rate = ((RatioTarget("static", 1.05, by_round=True),), targets) if alike else ((), ())
        yield Metric(f"{key}.throughput", group, "TCP throughput", "Gbit/s", higher, targets)
        yield Metric(f"{key}.rtt_p50", group, "request/response, p50", "µs", targets=latency)
        yield Metric(f"{key}.rtt_p99", group, "request/response, p99", "µs")
        yield Metric(f"{key}.connections", group, "new connections", "1/s", higher, rate)
        yield Metric(f"{key}.busy", group, "cores in use during the throughput", "cores")
    for count in NAMES_ACROSS:
        group = f"DNS, {count} names on {NAMES_NODES} nodes"
        flat = (FlatTarget(names_key("latency", NAMES_ACROSS[0]), FLAT),) if count != NAMES_ACROSS[0] else ()
        yield Metric(names_key("rate", count), group, "dnsperf -c 10 -q 100, queries", "1/s", higher)
        yield Metric(
            names_key("latency", count), group, "dnsperf -c 10 -q 100, mean latency", "ms", targets=flat
        )
        yield Metric(names_key("appear", count), group, "until the last of them is found", "s")


#: The reference plugins in the order that Podman's own configuration has them.
CNI_PEER = "chain"
CNI_CASES = {"port": "one port published", "bare": "no port"}
_CNI_TARGETS = {"add": 0.3, "del": 0.15}


def _cni(options: Options) -> Iterator[Metric]:
    first, last = options.growth[0], options.growth[-1]
    for case, title in CNI_CASES.items():
        for operation, limit in _CNI_TARGETS.items():
            for there in options.growth:
                targets: tuple[Target, ...] = (RatioTarget(CNI_PEER, limit),)
                if there == last != first:
                    targets += (FlatTarget(cni_key(operation, case, first), FLAT),)
                yield Metric(
                    cni_key(operation, case, there), f"CNI, {title}",
                    f"{operation.upper()}, {there} endpoints there", "ms", targets=targets,
                )  # fmt: skip
    yield Metric("cni.version", "CNI, what is in all of these", "VERSION of one plugin", "ms")


def cni_key(operation: str, case: str, there: int) -> str:
    """Return the key of an operation (`add`, `del`) with `there` endpoints already there."""
    return f"cni.{operation}.{case}.{there}"


def names_key(figure: str, count: int) -> str:
    """Return the key of a figure of the names of a cluster."""
    return f"across_names.{figure}.{count}"


def growth_key(operation: str, there: int) -> str:
    """Return the key of `operation` with `there` endpoints already there."""
    return f"growth.{operation}.{there}"
