"""`python -m bench.scale`: simulated nodes against a real etcd, in figures."""

import argparse
import asyncio
import json
import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from carrick.testing.etcd import EtcdCluster, has_etcd

from ..facts import read_facts, read_load
from .plan import Shape
from .report import render_markdown
from .run import Options, Outcome, ScaleRun

_RESULTS = Path(__file__).resolve().parents[1] / "results"


def main(arguments: list[str]) -> int:
    """Run once for each number of nodes. Returns 2 if there is no etcd."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--nodes", default="50,200,1000", metavar="LIST", help="(default: %(default)s)")
    parser.add_argument("--endpoints", type=int, default=100, help="on each node (default 100)")
    parser.add_argument("--span", type=int, default=20, help="nodes that a network is on (default 20)")
    parser.add_argument("--processes", type=int, default=2, help="that the nodes are in (default 2)")
    parser.add_argument("--share", type=int, default=1, help="nodes on one connection to etcd (default 1)")
    parser.add_argument("--repetitions", type=int, default=5, help="of each event (default 5)")
    parser.add_argument("--rest", type=float, default=30.0, metavar="S", help="seconds at rest (default 30)")
    parser.add_argument("--away", type=float, default=15.0, metavar="S", help="etcd's outage; 0: none")
    parser.add_argument("--no-kill", action="store_true", help="let no node die (it takes 30 s)")
    parser.add_argument("--profile", type=float, default=0.0, metavar="S", help="profile a worker at rest")
    parser.add_argument("--results", type=Path, default=_RESULTS, metavar="DIRECTORY")
    found = parser.parse_args(arguments)
    if not has_etcd():
        print("bench.scale: etcd is missing: apt-get install etcd-server etcd-client", file=sys.stderr)
        return 2
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    facts = read_facts({}) | {"load before": read_load()}
    runs = {}
    for nodes in map(int, found.nodes.split(",")):
        options = Options(
            shape=Shape(nodes, found.endpoints, found.span),
            processes=found.processes,
            share=found.share,
            repetitions=found.repetitions,
            rest_s=found.rest,
            away_s=found.away,
            profile_s=found.profile,
            kill=not found.no_kill,
        )
        runs[nodes] = run_once(options)
    write(found.results, facts | {"load after": read_load()}, vars(found), runs)
    return 0


def run_once(options: Options) -> Outcome:
    """Run with an etcd of its own, which is gone afterwards."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    with EtcdCluster(options=("--max-txn-ops=128", "--auto-compaction-retention=1h")) as etcd:
        run = ScaleRun(options, etcd, say)
        return asyncio.run(run.run())


def write(
    directory: Path, facts: dict[str, str], options: dict[str, object], runs: dict[int, Outcome]
) -> None:
    """Write all figures as JSON and as a table."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{datetime.now(UTC).strftime('%Y-%m-%d-%H%M')}-scale.json"
    document: dict[str, Any] = {
        "facts": facts,
        "options": {key: str(value) for key, value in options.items() if key != "results"},
        "runs": {
            str(nodes): {"figures": outcome.figures, "reconnect": outcome.reconnect}
            for nodes, outcome in runs.items()
        },
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    path.with_suffix(".md").write_text(render_markdown(facts, document["runs"]))
    print(f"written: {path} and .md")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
