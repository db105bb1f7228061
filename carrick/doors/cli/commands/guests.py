"""`carrick guest ls` and `carrick gc`: containers of other engines on networks of ours."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import STRING, Flag, Values
from carrick.doors.cli.listing import FORMAT, NO_TRUNC, show_records
from carrick.doors.cli.records.guests import GuestRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_GUESTS = "/carrick/v1/guests"
_COLUMNS = ("ContainerID", "Name", "Engine", "Network", "Interface", "Addresses", "Ports", "RunningFor")


def _show(app: App, values: Values, guests: list[Any]) -> None:
    import time

    now_s = time.time()
    show_records(
        app,
        GuestRecord,
        [GuestRecord(item, now_s, truncate=not values.on("no-trunc")) for item in guests],
        values.text("format"),
        columns=_COLUMNS,
        quiet="ContainerID" if values.on("quiet") else "",
    )


def _ls(app: App, values: Values, words: list[str]) -> None:
    _show(app, values, app.client.get(_GUESTS, query={"engine": values.text("engine") or None}))


def _gc(app: App, values: Values, words: list[str]) -> None:
    engine, all_of_it = values.text("engine"), values.on("all")
    if all_of_it and not engine:
        raise CliError("--all: name the engine that is gone with --engine", 2)
    query = {"engine": engine or None, "all": "1" if all_of_it else None}
    removed = app.client.post(f"{_GUESTS}/prune", query=query) or []
    _show(app, values, removed)


_QUIET = Flag("quiet", "Only display container IDs", short="q")
_ENGINE = Flag("engine", "Of this engine alone: docker, podman, kubernetes, cni", kind=STRING)
LS = Command(
    "ls",
    _ls,
    summary="List containers of other engines",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(_ENGINE, FORMAT, NO_TRUNC, _QUIET),
    own=True,
    examples=("carrick guest ls", "carrick guest ls --engine podman --format json"),
)
GC = Command(
    "gc",
    _gc,
    summary="Let go of containers of other engines that are no more",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        Flag("all", "With --engine: all of its containers, as when it was uninstalled", short="a"),
        _ENGINE,
        FORMAT,
        NO_TRUNC,
        _QUIET,
    ),
    own=True,
    notes="Those whose network namespace is gone are let go by themselves at the daemon's start and once a"
    " minute: addresses, names and ports. This does it at once, and says which.",
    examples=("carrick gc", "carrick gc --engine docker --all"),
)
