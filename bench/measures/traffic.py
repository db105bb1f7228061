"""Data path: throughput, latency and new connections, between containers and through published ports.

Servers and clients are the same programs for all, run on this machine inside the containers' namespaces.
Each path has server ports of its own: one port reached through several addresses meets TIME_WAIT with
foreign timestamps, stalls, and yields a false rate.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ..errors import BenchError
from ..metrics import PATHS
from ..namespaces import Namespace
from ..parse import parse_iperf3, parse_loop
from ..programs import Background, run
from ..recorder import interleaved
from ..systems.contract import ContainerSpec, Port, System
from .context import Context, container, network

_IPERF, _LOOP = 5201, 7201
#: Published as container port + this, as people do; two paths would hide behind equal numbers.
_SHIFT = 10000

_KEYS = {"_throughput": ("throughput",), "_latency": ("rtt_p50", "rtt_p99"), "_connections": ("connections",)}


@dataclass(frozen=True, slots=True)
class _Path:
    """From where, to which address and ports."""

    client: Namespace
    address: str
    iperf_port: int
    loop_port: int


def measure_traffic(context: Context) -> None:
    """Run every path of every system once per round."""
    recorder, options = context.recorder, context.options
    with ExitStack() as stack:
        ways: list[tuple[System, str, _Path]] = []
        for system in context.systems:
            with recorder.attempt(system.name, "traffic", "traffic."):
                paths = stack.enter_context(_prepared(context, system))
                ways += [(system, name, path) for name, path in paths.items()]
        for number in range(options.rounds):
            recorder.note(f"traffic: round {number + 1} of {options.rounds}")
            for kind in (_throughput, _latency, _connections):
                # The same path of each system in direct succession: neighbours in time are what is compared.
                for name in PATHS:
                    for system, _, path in interleaved([way for way in ways if way[1] == name], number):
                        what = f"traffic, {name}, {kind.__name__.strip('_')}"
                        if recorder.has_failed(system.name, what):
                            continue
                        keys = (f"traffic.{name}.{key}" for key in _KEYS[kind.__name__])
                        with recorder.attempt(system.name, what, *keys):
                            kind(context, system, name, path)


@contextmanager
def _prepared(context: Context, system: System) -> Iterator[dict[str, _Path]]:
    count = len(PATHS)
    ports = tuple(
        Port(base + _SHIFT + number, base + number) for base in (_IPERF, _LOOP) for number in range(count)
    )
    with (
        ExitStack() as stack,
        network(system, "traffic") as net,
        container(system, ContainerSpec("server", net, ports)) as server,
        container(system, ContainerSpec("client", net)) as client,
    ):
        inside = Namespace.of_process(system.pid_of(server))
        log = context.logs / f"{system.name}-servers.log"
        for port in ports:
            program = (
                ("/usr/bin/iperf3", "-s", "-p", str(port.container))
                if port.container < _LOOP
                else (str(context.tcploop), "server", str(port.container))
            )
            stack.callback(Background(program, log, namespace=inside).kill)
        host = system.host
        places = {
            "containers": (Namespace.of_process(system.pid_of(client)), system.address_of(server, net), 0),
            "outside": (context.outside, host.address, _SHIFT),
            "loopback": (host.namespace, "127.0.0.1", _SHIFT),
            "own": (host.namespace, host.address, _SHIFT),
        }
        yield {
            name: _Path(place, address, _IPERF + shift + number, _LOOP + shift + number)
            for number, (name, (place, address, shift)) in enumerate(places.items())
        }


def _throughput(context: Context, system: System, name: str, path: _Path) -> None:
    seconds = context.options.throughput_s
    command = (
        "/usr/bin/iperf3", "-c", path.address, "-p", str(path.iperf_port), "-C", "cubic", "-J",
        "-t", f"{max(seconds, 1):.0f}", "--connect-timeout", "5000",
    )  # fmt: skip
    printed = run(command, namespace=path.client, timeout_s=seconds + 20)
    context.recorder.add(f"traffic.{name}.throughput", system.name, parse_iperf3(printed))


def _latency(context: Context, system: System, name: str, path: _Path) -> None:
    report = parse_loop(_loop(context, "rr", path))
    context.recorder.add(f"traffic.{name}.rtt_p50", system.name, report.p50_us)
    context.recorder.add(f"traffic.{name}.rtt_p99", system.name, report.p99_us)


def _connections(context: Context, system: System, name: str, path: _Path) -> None:
    report = parse_loop(_loop(context, "crr", path))
    context.recorder.add(f"traffic.{name}.connections", system.name, report.rate)


def _loop(context: Context, mode: str, path: _Path) -> str:
    seconds = context.options.latency_s
    command = (str(context.tcploop), mode, path.address, str(path.loop_port), str(seconds))
    try:
        return run(command, namespace=path.client, timeout_s=seconds + 80)
    except BenchError as error:
        raise BenchError(f"{mode} to {path.address}:{path.loop_port}: {error}") from error
