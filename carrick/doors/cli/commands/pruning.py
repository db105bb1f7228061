"""The `prune` commands, each with a warning to confirm first."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.asking import confirm
from carrick.doors.cli.command import NONE, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import FILTER, Flag, Values
from carrick.doors.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

_FORCE = Flag("force", "Do not prompt for confirmation", short="f")
_FILTER = Flag("filter", "Limit to what matches (e.g. until=24h, label=key=value)", kind=FILTER)


def _filters(values: Values) -> dict[str, list[str]]:
    return values.filters()


def _prune(app: App, path: str, filters: Mapping[str, list[str]]) -> Mapping[str, Any]:
    answer = app.client.post(f"{path}/prune", query={"filters": dict(filters) or None})
    return answer or {}


def _section(app: App, title: str, lines: Sequence[str]) -> None:
    if lines:
        app.print(title)
        for line in lines:
            app.print(line)
        app.print("")


def _containers(app: App, filters: Mapping[str, list[str]]) -> int:
    answer = _prune(app, "/containers", filters)
    _section(app, "Deleted Containers:", answer.get("ContainersDeleted") or [])
    return int(answer.get("SpaceReclaimed") or 0)


def _networks(app: App, filters: Mapping[str, list[str]]) -> int:
    _section(app, "Deleted Networks:", _prune(app, "/networks", filters).get("NetworksDeleted") or [])
    return 0


def _volumes(app: App, filters: Mapping[str, list[str]]) -> int:
    answer = _prune(app, "/volumes", filters)
    _section(app, "Deleted Volumes:", answer.get("VolumesDeleted") or [])
    return int(answer.get("SpaceReclaimed") or 0)


def _images(app: App, filters: Mapping[str, list[str]]) -> int:
    answer = _prune(app, "/images", filters)
    lines = [
        f"untagged: {entry['Untagged']}" if entry.get("Untagged") else f"deleted: {entry.get('Deleted')}"
        for entry in answer.get("ImagesDeleted") or []
    ]
    _section(app, "Deleted Images:", lines)
    return int(answer.get("SpaceReclaimed") or 0)


def _with_dangling(values: Values) -> dict[str, list[str]]:
    return {**_filters(values), "dangling": ["false" if values.on("all") else "true"]}


def _reclaimed(app: App, size: int) -> None:
    app.print(f"Total reclaimed space: {human_size(size)}")


def _one(
    warning: str, act: Callable[[App, Mapping[str, list[str]]], int], *, space: bool = True
) -> Callable[[App, Values, list[str]], None]:
    def run(app: App, values: Values, words: list[str]) -> None:
        if not values.on("force"):
            confirm(app, f"WARNING! {warning}\nAre you sure you want to continue?")
        size = act(app, _filters(values))
        if space:
            _reclaimed(app, size)

    return run


def _image_prune(app: App, values: Values, words: list[str]) -> None:
    if not values.on("force"):
        what = "without at least one container associated to them" if values.on("all") else ""
        text = f"all images {what}" if what else "all dangling images"
        confirm(app, f"WARNING! This will remove {text}.\nAre you sure you want to continue?")
    _reclaimed(app, _images(app, _with_dangling(values)))


def _volume_prune(app: App, values: Values, words: list[str]) -> None:
    filters = _filters(values)
    if values.on("all"):
        if "all" in filters:
            raise CliError("conflicting options: cannot specify both --all and --filter all=1")
        filters["all"] = ["true"]
    if not values.on("force"):
        kind = "all" if values.on("all") else "anonymous"
        confirm(
            app,
            f"WARNING! This will remove {kind} local volumes not used by at least one container."
            "\nAre you sure you want to continue?",
        )
    _reclaimed(app, _volumes(app, filters))


def _system_prune(app: App, values: Values, words: list[str]) -> None:
    filters = _filters(values)
    if values.on("volumes") and "until" in filters:
        raise CliError('ERROR: The "until" filter is not supported with "--volumes"')
    if not values.on("force"):
        parts = ["all stopped containers", "all networks not used by at least one container"]
        if values.on("volumes"):
            parts.append("all anonymous volumes not used by at least one container")
        parts.append(
            "all images without at least one container associated to them"
            if values.on("all")
            else "all dangling images"
        )
        lines = "\n".join(f"  - {part}" for part in parts)
        confirm(
            app,
            f"WARNING! This will remove:\n{lines}\n\nAre you sure you want to continue?",
        )
    size = _containers(app, filters) + _networks(app, filters)
    if values.on("volumes"):
        size += _volumes(app, filters)
    size += _images(app, _with_dangling(values))
    _reclaimed(app, size)


CONTAINER_PRUNE = Command(
    "prune",
    _one("This will remove all stopped containers.", _containers),
    summary="Remove all stopped containers",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(_FILTER, _FORCE),
    examples=("carrick container prune -f --filter until=24h",),
)
NETWORK_PRUNE = Command(
    "prune",
    _one(
        "This will remove all custom networks not used by at least one container.",
        _networks,
        space=False,
    ),
    summary="Remove all unused networks",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(_FILTER, _FORCE),
    examples=("carrick network prune -f",),
)
VOLUME_PRUNE = Command(
    "prune",
    _volume_prune,
    summary="Remove unused local volumes",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        Flag("all", "Remove all unused volumes, not just anonymous ones", short="a"),
        _FILTER,
        _FORCE,
    ),
    examples=("carrick volume prune -f --all",),
)
IMAGE_PRUNE = Command(
    "prune",
    _image_prune,
    summary="Remove unused images",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        Flag("all", "Remove all unused images, not just dangling ones", short="a"),
        _FILTER,
        _FORCE,
    ),
    examples=("carrick image prune -f",),
)
SYSTEM_PRUNE = Command(
    "prune",
    _system_prune,
    summary="Remove unused data",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        Flag("all", "Remove all unused images not just dangling ones", short="a"),
        _FILTER,
        _FORCE,
        Flag("volumes", "Prune anonymous volumes"),
    ),
    examples=("carrick system prune -af --volumes",),
)
