"""Data path between hosts: Carrick's networks beside the bare underlay and a static VXLAN made by hand.

All of them stand at the same time, and each round goes once through all in turn. Those that are not
Carrick's are in every group of rows, so that what is compared was measured in the same run.

Carrick takes a bridge's packets past the host's firewall where nobody else needs them there, and past the
bridge itself; those of the static VXLAN pass no firewall either. The two are measured once more with
`bridge-nf-call-iptables` on, as it is where Docker or Kubernetes asks for it: then every packet of Carrick's
passes its bridge, as soon as it has noticed.

Single rounds lie far apart, and nearly the same as of the static VXLAN is wanted of the overlay, and of the
network that is routed by VXLAN: these go round eight times as often as the others, and are compared round by
round.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from carrick.host.kernel.bpf.ingress import Ingress

from ..errors import BenchError
from ..metrics import ACROSS, ACROSS_PEERS, FILTERED, LIMITED
from ..namespaces import Namespace
from ..parse import parse_iperf3, parse_loop
from ..processes import BusyCores
from ..programs import Background, run
from ..recorder import interleaved
from ..systems.hand_made import BRIDGE_FILTERS, Way, build_hand_made, set_bridge_filter
from ..systems.hosts import Hosts, NotThere, two_hosts
from .across_names import measure_names_across
from .context import Context

_IPERF, _LOOP = 5201, 7201
_NOTICED_S = 150.0
_LONGER, _FILTERED_TIMES = 7, 2
OURS = "carrick"


@dataclass(frozen=True, slots=True)
class _Subject:
    """One way under test: whose it is, and which rows its figures are in."""

    name: str
    way: Way
    filtered: bool = False

    @property
    def system(self) -> str:
        return self.name if self.name in ACROSS_PEERS else OURS

    @property
    def title(self) -> str:
        return f"{self.name}, filtered" if self.filtered else self.name

    def rows(self, there: tuple[str, ...]) -> tuple[str, ...]:
        """Return the groups of rows: its own, or all that there are."""
        if self.filtered:
            return (FILTERED[0],)
        return there if self.name in ACROSS_PEERS else (self.name,)


def measure_across(context: Context) -> None:
    """Build every way that can be built, and measure each once per round."""
    recorder = context.recorder
    with ExitStack() as stack:
        recorder.note("across: two hosts by hand, two hosts of a lab")
        with recorder.attempt(OURS, "across", "across."):
            hosts = stack.enter_context(two_hosts())
            subjects = [_Subject(name, way) for name, way in build_hand_made(*hosts.segment).items()]
            subjects += _build_ours(context, hosts)
            for subject in subjects:
                stack.enter_context(_served(context, subject))
            there = tuple(subject.name for subject in subjects if subject.system == OURS)
            _measure_rounds(context, subjects, there)
            limited = [item for item in subjects if item.name in ("static", *LIMITED)]
            _measure_rounds(context, limited, there, times=_LONGER)
            if BRIDGE_FILTERS[0].exists():
                filtered = [
                    _Subject(item.name, item.way, True)
                    for item in limited
                    if item.name in ("static", FILTERED[1])
                ]
                with _filtering(hosts, filtered):
                    _measure_rounds(context, filtered, there, times=_FILTERED_TIMES)
            measure_names_across(context, hosts)


def _measure_rounds(
    context: Context, subjects: list[_Subject], there: tuple[str, ...], times: int = 1
) -> None:
    recorder, rounds = context.recorder, context.options.rounds * times
    names = ", ".join(subject.title for subject in subjects)
    for number in range(rounds):
        recorder.note(f"across: round {number + 1} of {rounds}: {names}")
        for kind in (_throughput, _latency, _connections):
            for subject in interleaved(subjects, number):
                what = f"across, {subject.title}, {kind.__name__.strip('_')}"
                if not recorder.has_failed(subject.system, what):
                    rows = (f"across.{row}." for row in subject.rows(there))
                    with recorder.attempt(subject.system, what, *rows):
                        kind(context, subject, there)


def _build_ours(context: Context, hosts: Hosts) -> list[_Subject]:
    found: list[_Subject] = []
    for name, (_, driver, wanted) in ACROSS.items():
        what = f"across, {name}"
        with context.recorder.attempt(OURS, what, f"across.{name}."):
            try:
                found.append(_Subject(name, hosts.build_way(name.replace("_", "-"), driver, wanted)))
            except NotThere as reason:
                context.recorder.note(f"{what} is left out: {reason}")
    return found


def _is_filtered(host: Namespace) -> bool:
    with host.entered():
        return any(path.read_text().strip() != "0" for path in BRIDGE_FILTERS)


@contextmanager
def _filtering(hosts: Hosts, subjects: list[_Subject]) -> Iterator[None]:
    """Have bridges pass their hosts' firewalls for the length of the body, with no shortcuts past them.

    Raises BenchError if Carrick had left that on, or goes on taking shortcuts.
    """
    for host in hosts.namespaces:
        if _is_filtered(host):
            raise BenchError("Carrick left bridge-nf-call-iptables on, on a host of its own")
    touched = {host.path: host for subject in subjects for host in subject.way.hosts}
    for host in touched.values():
        set_bridge_filter(host, "1")
    try:
        end = time.monotonic() + _NOTICED_S
        while any(_takes_shortcuts(host) for host in hosts.namespaces):
            if time.monotonic() > end:
                raise BenchError("shortcuts are taken although bridge-nf-call-iptables is on")
            time.sleep(1)
        yield
    finally:
        for host in touched.values():
            set_bridge_filter(host, "0")


def _takes_shortcuts(host: Namespace) -> bool:
    with host.entered(), closing(Ingress()) as ingress:
        links = [index for index, name in socket.if_nameindex() if name.startswith("vx-")]
        return any(ingress.filters(index) for index in links)


@contextmanager
def _served(context: Context, subject: _Subject) -> Iterator[None]:
    """Have the servers running at the far end."""
    log = context.logs / f"across-{subject.name}.log"
    servers = (("/usr/bin/iperf3", "-s", "-p", str(_IPERF)), (str(context.tcploop), "server", str(_LOOP)))
    with ExitStack() as stack:
        for server in servers:
            stack.callback(Background(server, log, namespace=subject.way.server).kill)
        yield


def _throughput(context: Context, subject: _Subject, there: tuple[str, ...]) -> None:
    seconds = context.options.throughput_s
    command = (
        "/usr/bin/iperf3", "-c", subject.way.address, "-p", str(_IPERF), "-C", "cubic", "-J",
        "-t", f"{max(seconds, 1):.0f}", "--connect-timeout", "5000",
    )  # fmt: skip
    with BusyCores() as busy:
        printed = run(command, namespace=subject.way.client, timeout_s=seconds + 20)
    rate = parse_iperf3(printed)
    _add(context, subject, there, throughput=rate, busy=busy.cores)


def _latency(context: Context, subject: _Subject, there: tuple[str, ...]) -> None:
    report = parse_loop(_loop(context, "rr", subject.way))
    _add(context, subject, there, rtt_p50=report.p50_us, rtt_p99=report.p99_us)


def _connections(context: Context, subject: _Subject, there: tuple[str, ...]) -> None:
    report = parse_loop(_loop(context, "crr", subject.way))
    _add(context, subject, there, connections=report.rate)


def _add(context: Context, subject: _Subject, there: tuple[str, ...], **figures: float) -> None:
    for row in subject.rows(there):
        for name, value in figures.items():
            context.recorder.add(f"across.{row}.{name}", subject.system, value)


def _loop(context: Context, mode: str, way: Way) -> str:
    seconds = context.options.latency_s
    command = (str(context.tcploop), mode, way.address, str(_LOOP), str(seconds))
    try:
        return run(command, namespace=way.client, timeout_s=seconds + 80)
    except BenchError as error:
        raise BenchError(f"{mode} to {way.address}: {error}") from error
