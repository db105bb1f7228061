"""`carrick update`: the limits of a container that exists."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.commands.targets import for_each
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import BYTES, DECIMAL, INT, STRING, Flag, Kind, Values
from carrick.doors.cli.paths import container_path
from carrick.doors.cli.specs.limits import parse_restart
from carrick.doors.cli.units import parse_memory_swap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NUMBERS = (
    ("blkio-weight", "BlkioWeight"),
    ("cpu-period", "CpuPeriod"),
    ("cpu-quota", "CpuQuota"),
    ("cpu-shares", "CpuShares"),
    ("cpus", "NanoCpus"),
    ("memory", "Memory"),
    ("memory-reservation", "MemoryReservation"),
    ("memory-swap", "MemorySwap"),
    ("pids-limit", "PidsLimit"),
)
_TEXTS = (("cpuset-cpus", "CpusetCpus"), ("cpuset-mems", "CpusetMems"))


def update_body(values: Values) -> dict[str, Any]:
    """Return the body of POST /containers/{id}/update: what was given. Raises ValueError."""
    body: dict[str, Any] = {}
    for flag, field in _NUMBERS:
        if values.given(flag):
            body[field] = values.number(flag)
    for flag, field in _TEXTS:
        if values.given(flag):
            body[field] = values.text(flag)
    if values.given("restart"):
        body["RestartPolicy"] = parse_restart(values.text("restart"))
    return body


def _update(app: App, values: Values, words: list[str]) -> int:
    try:
        body = update_body(values)
    except ValueError as error:
        raise CliError(str(error)) from None
    if not body:
        raise CliError("you must provide one or more flags when using this command")

    def act(name: str) -> str:
        answer = app.client.post(f"{container_path(name)}/update", body) or {}
        for warning in answer.get("Warnings") or ():
            app.warn(f"WARNING: {warning}")
        return name

    return for_each(app, words, act)


UPDATE = Command(
    "update",
    _update,
    summary="Update configuration of one or more containers",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    arity=Arity(1, None, "container"),
    flags=(
        Flag("blkio-weight", "Block IO weight, 10 to 1000, or 0 to disable", kind=INT),
        Flag("cpu-period", "Limit CPU CFS (Completely Fair Scheduler) period", kind=INT),
        Flag("cpu-quota", "Limit CPU CFS (Completely Fair Scheduler) quota", kind=INT),
        Flag("cpu-shares", "CPU shares (relative weight)", kind=INT, short="c"),
        Flag("cpus", "Number of CPUs", kind=DECIMAL),
        Flag("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)", kind=STRING),
        Flag("cpuset-mems", "Memory nodes in which to allow execution (0-3, 0,1)", kind=STRING),
        Flag("memory", "Memory limit", kind=BYTES, short="m"),
        Flag("memory-reservation", "Memory soft limit", kind=BYTES),
        Flag(
            "memory-swap",
            "Limit of memory plus swap: -1 for unlimited swap",
            kind=Kind("bytes", parse_memory_swap, default=0),
        ),
        Flag("pids-limit", "Tune container pids limit (set -1 for unlimited)", kind=INT),
        Flag("restart", "Restart policy to apply when a container exits", kind=STRING),
    ),
    examples=("carrick update --memory 256m --memory-swap 512m web", "carrick update --restart always web"),
)
