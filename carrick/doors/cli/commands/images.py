"""`carrick images`, `rmi`, `tag`, `history`."""

from __future__ import annotations

import time

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.commands.targets import for_each
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import BOOL, FILTER, Flag, Values
from carrick.doors.cli.listing import FORMAT, NO_TRUNC, show_records
from carrick.doors.cli.paths import image_path
from carrick.doors.cli.records.images import ImageRecord, LayerRecord, image_records
from carrick.doors.cli.specs.images import parse_image
from carrick.doors.client.errors import ApiNotFound
from carrick.model.errors import CarrickError

_COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size")
_DIGEST_COLUMNS = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")
_HISTORY_COLUMNS = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")


def _images(app: App, values: Values, words: list[str]) -> None:
    filters = values.filters()
    if words:
        filters.setdefault("reference", []).append(words[0])
    query = {"all": values.on("all"), "filters": filters or None}
    truncate, digests = not values.on("no-trunc"), values.on("digests")
    answer = app.client.get("/images/json", query)
    records = list(image_records(answer, digests=digests, truncate=truncate, now_s=time.time()))
    if values.on("quiet"):
        # An image with several names is one image still.
        records = list({str(record.data.get("Id")): record for record in records}.values())
    show_records(
        app,
        ImageRecord,
        records,
        values.text("format"),
        columns=_DIGEST_COLUMNS if digests else _COLUMNS,
        quiet="ID" if values.on("quiet") else "",
    )


def _rmi(app: App, values: Values, words: list[str]) -> int:
    query = {"force": values.on("force"), "noprune": values.on("no-prune")}

    def act(name: str) -> str | None:
        lines = []
        for entry in app.client.delete(image_path(name), query) or ():
            if deleted := entry.get("Deleted"):
                lines.append(f"Deleted: {deleted}")
            else:
                lines.append(f"Untagged: {entry.get('Untagged')}")
        return "\n".join(lines) or None

    def forgive(error: CarrickError) -> bool:
        return values.on("force") and isinstance(error, ApiNotFound)

    return for_each(app, words, act, forgive=forgive)


def _tag(app: App, values: Values, words: list[str]) -> None:
    source, target = words
    try:
        name = parse_image(target)
        if name.digest:
            raise ValueError("refusing to create a tag with a digest reference")
    except ValueError as error:
        prefix = f'Error parsing reference: "{target}" is not a valid repository/tag: '
        raise CliError(f"{prefix}{error}") from None
    query = {"repo": name.repository, "tag": name.tag or "latest"}
    app.client.post(f"{image_path(source)}/tag", query=query)


def _history(app: App, values: Values, words: list[str]) -> None:
    now = time.time()
    records = [
        LayerRecord(entry, truncate=not values.on("no-trunc"), human=values.on("human"), now_s=now)
        for entry in app.client.get(f"{image_path(words[0])}/history")
    ]
    columns = list(_HISTORY_COLUMNS)
    if not values.on("human"):
        columns[1] = "CreatedAt"
    quiet = "ID" if values.on("quiet") else ""
    show_records(app, LayerRecord, records, values.text("format"), columns=columns, quiet=quiet)


IMAGES = Command(
    "images",
    _images,
    summary="List images",
    usage="[OPTIONS] [REPOSITORY[:TAG]]",
    arity=Arity(0, 1, "image"),
    flags=(
        Flag("all", "Show all images (default hides intermediate images)", short="a"),
        Flag("digests", "Show digests"),
        Flag("filter", "Filter output based on conditions provided", kind=FILTER, short="f"),
        FORMAT,
        NO_TRUNC,
        Flag("quiet", "Only show image IDs", short="q"),
    ),
    examples=("carrick images", "carrick images --filter dangling=true -q"),
)
RMI = Command(
    "rmi",
    _rmi,
    summary="Remove one or more images",
    usage="[OPTIONS] IMAGE [IMAGE...]",
    arity=Arity(1, None, "image"),
    flags=(
        Flag("force", "Force removal of the image", short="f"),
        Flag("no-prune", "Do not delete untagged parents"),
    ),
    examples=("carrick rmi busybox:latest",),
)
TAG = Command(
    "tag",
    _tag,
    summary="Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    usage="SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    arity=Arity(2, 2, "image"),
    examples=("carrick tag busybox:latest registry.example:5000/busybox:1.36",),
)
HISTORY = Command(
    "history",
    _history,
    summary="Show the history of an image",
    usage="[OPTIONS] IMAGE",
    arity=Arity(1, 1, "image"),
    flags=(
        FORMAT,
        Flag(
            "human",
            "Print sizes and dates in human readable format",
            kind=BOOL,
            short="H",
            default=True,
        ),
        NO_TRUNC,
        Flag("quiet", "Only show image IDs", short="q"),
    ),
    examples=("carrick history busybox", "carrick history --no-trunc --human=false busybox"),
)
