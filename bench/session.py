"""One run, inside its namespaces: start the systems, measure, write the report."""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from .confine import prepare_mounts
from .errors import BenchError
from .facts import read_facts, read_load
from .materials import build_image, compile_tool
from .measures.across import measure_across
from .measures.client import measure_client
from .measures.cni import measure_cni
from .measures.context import Context
from .measures.control import measure_control
from .measures.filling import measure_filling
from .measures.memory import measure_fresh_memory
from .measures.names import measure_names
from .measures.traffic import measure_traffic
from .metrics import ACROSS_PEERS, CNI_PEER, all_metrics
from .namespaces import Lab
from .options import Options
from .recorder import Recorder
from .report import Result, print_table, render_json, render_markdown
from .systems import open_system
from .systems.contract import System
from .verdicts import OURS

#: Measures with peers of their own, so with reports of their own too: their columns.
_APART = {"across": (OURS, *ACROSS_PEERS), "cni": (OURS, CNI_PEER)}


def run_session(options: Options, workspace: Path) -> int:
    """Run everything that was asked for. Returns 1 if a system failed at something, else 0."""
    prepare_mounts(workspace)
    recorder = Recorder()
    before = read_load()
    lab = Lab()
    image = workspace / "image.tar"
    build_image(image)
    with ExitStack() as stack:
        systems: list[System] = []
        versions: dict[str, str] = {}
        engines = options.systems if set(options.measures) - set(_APART) else ()
        for number, name in enumerate(engines, start=1):
            with recorder.attempt(name, "start"):
                system = open_system(
                    name, lab.add_host(name, number), workspace / name, options.podman_backend
                )
                recorder.note(f"{name}: starting")
                stack.callback(_stop, recorder, system)
                system.start()
                versions[name] = system.version()
                system.import_image(image)
                systems.append(system)
        context = Context(
            options=options,
            systems=systems,
            recorder=recorder,
            lab=lab,
            tcploop=compile_tool("tcploop", workspace),
            dnsseq=compile_tool("dnsseq", workspace),
            logs=workspace,
        )
        for wanted, measure in _measures(options):
            if wanted:
                measure(context)
        facts = read_facts(versions) | {
            "congestion control": f"cubic; of proxies {lab.outside.congestion_control()}",
            "load before and after": f"{before} / {read_load()}",
            "run": _describe(options),
        }
        now = datetime.now(UTC)
        for stem, columns, measures in _reports(options, versions):
            result = Result(
                facts=facts,
                systems=columns,
                metrics=all_metrics(replace(options, measures=measures)),
                figures=recorder.figures(),
                samples=recorder.samples,
                failures=recorder.failures,
            )
            _write(result, options, f"{now.strftime('%Y-%m-%d-%H%M')}{stem}")
    return 1 if recorder.failures else 0


def _reports(options: Options, started: Collection[str]) -> Iterator[tuple[str, list[str], tuple[str, ...]]]:
    """Yield what each file is called, and its columns and measures: some have other peers."""
    if engines := tuple(measure for measure in options.measures if measure not in _APART):
        yield "", [name for name in options.systems if name in started], engines
    for measure, columns in _APART.items():
        if measure in options.measures:
            yield f"-{measure}", list(columns), (measure,)


def _measures(options: Options) -> list[tuple[bool, Callable[[Context], None]]]:
    wanted = set(options.measures)
    return [
        ("memory" in wanted, measure_fresh_memory),
        ("control" in wanted, measure_control),
        ("client" in wanted, measure_client),
        ("traffic" in wanted, measure_traffic),
        ("names" in wanted, measure_names),
        (bool(wanted & {"memory", "client", "recovery", "growth"}), measure_filling),
        ("across" in wanted, measure_across),
        ("cni" in wanted, measure_cni),
    ]


def _stop(recorder: Recorder, system: System) -> None:
    with recorder.attempt(system.name, "stop"):
        system.stop()


def _write(result: Result, options: Options, stem: str) -> None:
    directory = options.results
    directory.mkdir(parents=True, exist_ok=True)
    stem += "-quick" if options.quick else ""
    (directory / f"{stem}.json").write_text(render_json(result))
    (directory / f"{stem}.md").write_text(render_markdown(result))
    console = Console(width=None if sys.stdout.isatty() else 400)
    print_table(result, console)
    console.print(f"written: {directory / stem}.md and .json", highlight=False, markup=False)


def _describe(options: Options) -> str:
    return (
        f"{'quick, ' if options.quick else ''}{options.repetitions} repetitions, {options.rounds} rounds, "
        f"{', '.join(options.measures)}"
    )


def check_tools() -> None:
    """Raise BenchError, naming the remedy, if a program is missing."""
    missing = [path for path in _TOOLS if not Path(path).exists()]
    if missing:
        raise BenchError(f"missing: {', '.join(missing)}; `bench/install.sh` installs them")


_TOOLS = (
    "/usr/bin/gcc", "/usr/bin/iperf3", "/usr/bin/dnsperf", "/bin/busybox", "/usr/sbin/dockerd",
    "/usr/bin/containerd", "/usr/bin/podman", "/usr/sbin/runc", "/usr/bin/etcd", "/usr/bin/wireguard-go",
    "/usr/lib/cni/bridge",
)  # fmt: skip
