"""`carrick ps`."""

from __future__ import annotations

import time

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Command
from carrick.doors.cli.flags import FILTER, INT, Flag, Values
from carrick.doors.cli.listing import FORMAT, NO_TRUNC, show_records
from carrick.doors.cli.records.containers import ContainerRecord

_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


def _ps(app: App, values: Values, words: list[str]) -> None:
    layout = values.text("format")
    size = values.on("size") or (".Size" in layout and not values.on("quiet"))
    limit = values.number("last") if values.given("last") else -1
    if values.on("latest"):
        limit = 1
    query = {
        "all": values.on("all"),
        "limit": limit if limit > 0 else None,
        "size": size,
        "filters": values.filters() or None,
    }
    now = time.time()
    records = [
        ContainerRecord(entry, truncate=not values.on("no-trunc"), now_s=now)
        for entry in app.client.get("/containers/json", query)
    ]
    columns = (*_COLUMNS, "Size") if values.on("size") else _COLUMNS
    quiet = "ID" if values.on("quiet") else ""
    show_records(app, ContainerRecord, records, layout, columns=columns, quiet=quiet)


PS = Command(
    "ps",
    _ps,
    summary="List containers",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        Flag("all", "Show all containers (default shows just running)", short="a"),
        Flag(
            "filter",
            "Filter output by condition, such as name=web, status=exited or network=front",
            kind=FILTER,
            short="f",
        ),
        FORMAT,
        Flag("last", "Show the n last created containers, all states", kind=INT, short="n", default=-1),
        Flag("latest", "Show the latest created container, all states", short="l"),
        NO_TRUNC,
        Flag("quiet", "Only display container IDs", short="q"),
        Flag("size", "Display total file sizes", short="s"),
    ),
    examples=(
        "carrick ps -a",
        "carrick ps --filter network=front --format 'table {{.Names}}\\t{{.Ports}}'",
    ),
)
