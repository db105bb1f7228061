"""DNS as a container asks for it: one name, and the 500 aliases of a container, on a user network."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import BenchError
from ..metrics import NAME_COUNTS
from ..namespaces import Namespace
from ..parse import parse_dnsperf, parse_loop
from ..programs import run
from ..recorder import interleaved
from ..systems.contract import ContainerSpec, Resolver, System
from .context import Context, container, network


@dataclass(frozen=True, slots=True)
class _Asker:
    """A container to ask from, the names to ask for, and where."""

    client: Namespace
    resolver: Resolver
    count: int
    names: tuple[str, ...]
    file: Path


def measure_names(context: Context) -> None:
    """Ask each system's resolver with one name and with 500, once per round."""
    recorder, options = context.recorder, context.options
    with ExitStack() as stack:
        askers: list[tuple[System, _Asker]] = []
        for system in context.systems:
            for count in NAME_COUNTS:
                with recorder.attempt(system.name, f"names, {count}", f"names.{count}."):
                    askers.append((system, stack.enter_context(_prepared(context, system, count))))
        for number in range(options.rounds):
            recorder.note(f"names: round {number + 1} of {options.rounds}")
            for count in NAME_COUNTS:
                for system, asker in interleaved([pair for pair in askers if pair[1].count == count], number):
                    what = f"names, {count}"
                    if not recorder.has_failed(system.name, what):
                        with recorder.attempt(system.name, what, f"names.{count}."):
                            _ask(context, system, asker)


@contextmanager
def _prepared(context: Context, system: System, count: int) -> Iterator[_Asker]:
    aliases = tuple(f"name-{number}" for number in range(count)) if count > 1 else ()
    with (
        network(system, f"names{count}") as net,
        container(system, ContainerSpec(f"named{count}", net, aliases=aliases)) as named,
        container(system, ContainerSpec(f"asker{count}", net)) as asker,
    ):
        resolver = system.resolver_of(asker)
        names = tuple(name + resolver.suffix for name in aliases or (named,))
        file = context.logs / f"{system.name}-names-{count}.txt"
        file.write_text("".join(f"{name} A\n" for name in names))
        yield _Asker(Namespace.of_process(system.pid_of(asker)), resolver, count, names, file)


def _ask(context: Context, system: System, asker: _Asker) -> None:
    seconds = context.options.names_s
    command = (
        "/usr/bin/dnsperf", "-s", asker.resolver.address, "-d", str(asker.file),
        "-c", "10", "-q", "100", "-l", f"{max(seconds, 1):.0f}",
    )  # fmt: skip
    report = parse_dnsperf(run(command, namespace=asker.client, timeout_s=seconds + 30))
    if report.lost or report.failed:
        raise BenchError(f"dnsperf lost {report.lost} queries, {report.failed} answers were not NOERROR")
    key = f"names.{asker.count}"
    context.recorder.add(f"{key}.rate", system.name, report.rate)
    context.recorder.add(f"{key}.latency", system.name, report.latency_ms)
    sequential = (str(context.dnsseq), asker.resolver.address, "53", str(seconds / 2))
    text = "".join(f"{name}\n" for name in asker.names)
    loop = parse_loop(run(sequential, namespace=asker.client, text=text, timeout_s=seconds + 30))
    context.recorder.add(f"{key}.sequential", system.name, loop.rate)
    context.recorder.add(f"{key}.p50", system.name, loop.p50_us)
    context.recorder.add(f"{key}.p99", system.name, loop.p99_us)
