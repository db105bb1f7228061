"""`carrick network ls`."""

from __future__ import annotations

from itertools import groupby

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Command
from carrick.doors.cli.flags import FILTER, Flag, Values
from carrick.doors.cli.listing import FORMAT, NO_TRUNC, show_records
from carrick.doors.cli.records.networks import NetworkRecord

_DIGITS = frozenset("0123456789")


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Return a key under which `net10` comes after `net9`."""
    parts = [(number, "".join(run)) for number, run in groupby(text, _DIGITS.__contains__)]
    return [(0, int(part), "") if number and len(part) < 1000 else (1, 0, part) for number, part in parts]


def _ls(app: App, values: Values, words: list[str]) -> None:
    networks = app.client.get("/networks", {"filters": values.filters() or None})
    networks.sort(key=lambda network: natural_key(str(network.get("Name") or "")))
    truncate = not values.on("no-trunc")
    show_records(
        app,
        NetworkRecord,
        [NetworkRecord(network, truncate=truncate) for network in networks],
        values.text("format"),
        columns=("ID", "Name", "Driver", "Scope"),
        quiet="ID" if values.on("quiet") else "",
    )


LS = Command(
    "ls",
    _ls,
    summary="List networks",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        Flag(
            "filter",
            "Filter by dangling, driver, id, label, name, scope or type (custom, builtin)",
            kind=FILTER,
            short="f",
        ),
        FORMAT,
        NO_TRUNC,
        Flag("quiet", "Only display network IDs", short="q"),
    ),
    examples=("carrick network ls", "carrick network ls --filter driver=bridge -q"),
)
