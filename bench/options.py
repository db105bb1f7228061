"""The command line, and what `--quick` means in figures."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SYSTEMS = ("carrick", "docker", "podman")
_RESULTS = Path(__file__).parent / "results"
MEASURES = ("control", "client", "traffic", "names", "memory", "recovery", "growth", "across", "cni")


@dataclass(frozen=True, slots=True)
class Options:
    """One run. `fill` is how many containers "full" means for memory and recovery; `growth` are the
    numbers of endpoints already there, ascending, at which one more is timed."""

    systems: tuple[str, ...] = SYSTEMS
    measures: tuple[str, ...] = MEASURES
    quick: bool = False
    repetitions: int = 20
    rounds: int = 5
    throughput_s: float = 3.0
    latency_s: float = 1.5
    names_s: float = 3.0
    fill: int = 100
    growth: tuple[int, ...] = (0, 100, 250)
    growth_repetitions: int = 20
    recoveries: int = 5
    podman_backend: str = "netavark"
    results: Path = _RESULTS
    keep: bool = False


def parse_options(arguments: Sequence[str]) -> Options:
    """Turn the command line into Options; ends the program on bad input, as argparse does."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter: under five minutes")
    parser.add_argument(
        "--only", metavar="NAME", help=f"only these measures, joined by commas: {', '.join(MEASURES)}"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of traffic and names (default 5)")
    parser.add_argument("--repetitions", type=int, metavar="N", help="of each operation (default 20)")
    parser.add_argument(
        "--systems", metavar="LIST", default=",".join(SYSTEMS), help="joined by commas (default: %(default)s)"
    )
    parser.add_argument("--growth", metavar="LIST", help="endpoints already there (default 0,100,250)")
    parser.add_argument("--podman-backend", choices=("netavark", "cni"), default="netavark")
    parser.add_argument("--results", type=Path, default=_RESULTS, metavar="DIRECTORY")
    parser.add_argument("--keep", action="store_true", help="keep the logs and say where they are")
    found = parser.parse_args(arguments)

    quick = bool(found.quick)
    default = Options(
        repetitions=5, rounds=2, throughput_s=1.0, latency_s=0.7, names_s=1.0, fill=40, growth=(0, 40),
        growth_repetitions=5, recoveries=2,
    ) if quick else Options()  # fmt: skip
    try:
        growth = _numbers(found.growth) if found.growth else default.growth
        measures = _chosen(found.only, MEASURES) if found.only else MEASURES
        systems = _chosen(found.systems, SYSTEMS)
    except ValueError as error:
        parser.error(str(error))
    repetitions = found.repetitions or default.repetitions
    return Options(
        systems=systems,
        measures=measures,
        quick=quick,
        repetitions=repetitions,
        rounds=found.rounds or default.rounds,
        throughput_s=default.throughput_s,
        latency_s=default.latency_s,
        names_s=default.names_s,
        fill=default.fill,
        growth=growth,
        growth_repetitions=found.repetitions or default.growth_repetitions,
        recoveries=default.recoveries,
        podman_backend=found.podman_backend,
        results=found.results.resolve(),
        keep=found.keep,
    )


def _chosen(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    wanted = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := [word for word in wanted if word not in known]:
        raise ValueError(f"no such name: {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(word for word in known if word in wanted)


def _numbers(text: str) -> tuple[int, ...]:
    numbers = sorted({int(word) for word in text.split(",")})
    if not numbers or numbers[0] < 0:
        raise ValueError(f"--growth wants numbers from 0 up, joined by commas, not {text!r}")
    return tuple(numbers)
