"""DNS with the names of a whole cluster: two real hosts, and what 48 others would have written.

The others are records in the cluster's etcd and nothing else. The host whose container asks takes them over
as it does real ones: names, FDB rows and neighbours.
"""

import json
import sys
import time
from pathlib import Path

from carrick.testing.watching import query

from ..errors import BenchError
from ..metrics import NAMES_ACROSS, NAMES_NODES, names_key
from ..namespaces import Namespace
from ..parse import parse_dnsperf
from ..programs import run
from ..recorder import interleaved
from ..systems.hosts import Hosts, namespace_of
from .context import Context

_PATIENCE_S = 120.0
_AT_ONCE_S = 0.05
_REPOSITORY = Path(__file__).resolve().parents[2]


def measure_names_across(context: Context, hosts: Hosts) -> None:
    """Ask with few names and with many, once per round."""
    recorder, options = context.recorder, context.options
    files: dict[int, Path] = {}
    for count in NAMES_ACROSS:
        recorder.note(f"across: {count} names on {NAMES_NODES} nodes")
        with recorder.attempt("carrick", f"names across, {count}", *_keys(count)):
            files[count] = _prepare(context, hosts, count)
    for number in range(options.rounds):
        for count in interleaved(list(files), number):
            with recorder.attempt("carrick", f"names across, {count}", *_keys(count)):
                _ask(context, hosts, count, files[count])


def _prepare(context: Context, hosts: Hosts, count: int) -> Path:
    """Have a network with so many names on it; return the file of questions."""
    net = f"names{count}"
    subnet = f"10.{20 + NAMES_ACROSS.index(count)}.0.0/16"
    hosts.one.do("carrick", "network", "create", "-d", "overlay", "--subnet", subnet, net)
    asker = _asker(count)
    hosts.one.do("carrick", "run", "-d", "--name", asker, "--network", net, "busybox", "sleep", "1d")
    identity = json.loads(hosts.one.do("carrick", "network", "inspect", net))[0]["Id"]
    names = hosts.one.do(
        "env", f"PYTHONPATH={_REPOSITORY}", sys.executable, "-m", "bench.systems.crowd",
        ",".join(hosts.lab.plan.etcd_endpoints), identity, subnet, str(NAMES_NODES - 2), str(count),
        timeout_s=_PATIENCE_S,
    ).split()  # fmt: skip
    began = time.monotonic()
    client = namespace_of(hosts.one, asker)
    while not _is_found(client, names[-1]):
        if time.monotonic() > began + _PATIENCE_S:
            raise BenchError(f"{names[-1]} is not found within {_PATIENCE_S:.0f} s")
    context.recorder.add(names_key("appear", count), "carrick", time.monotonic() - began)
    file = context.logs / f"across-names-{count}.txt"
    file.write_text("".join(f"{name} A\n" for name in names))
    return file


def _is_found(client: Namespace, name: str) -> bool:
    """Ask once, and wait no longer for who asks servers elsewhere: the name is not there yet."""
    with client.entered():
        try:
            return bool(query(name, wait_s=_AT_ONCE_S))
        except OSError:
            return False


def _ask(context: Context, hosts: Hosts, count: int, file: Path) -> None:
    seconds = max(context.options.names_s, 1)
    # What nobody has asked yet is worked out, and then kept until something changes: that is asked for first.
    once = ("/usr/bin/dnsperf", "-s", "127.0.0.11", "-d", str(file), "-n", "1")
    command = (
        "/usr/bin/dnsperf", "-s", "127.0.0.11", "-d", str(file), "-c", "10", "-q", "100",
        "-l", f"{seconds:.0f}",
    )  # fmt: skip
    client = namespace_of(hosts.one, _asker(count))
    run(once, namespace=client, timeout_s=seconds + 30)
    report = parse_dnsperf(run(command, namespace=client, timeout_s=seconds + 30))
    if report.lost or report.failed:
        raise BenchError(f"dnsperf lost {report.lost} queries, {report.failed} answers were not NOERROR")
    context.recorder.add(names_key("rate", count), "carrick", report.rate)
    context.recorder.add(names_key("latency", count), "carrick", report.latency_ms)


def _keys(count: int) -> tuple[str, ...]:
    return tuple(names_key(figure, count) for figure in ("rate", "latency", "appear"))


def _asker(count: int) -> str:
    return f"asker{count}"
