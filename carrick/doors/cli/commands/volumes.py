"""`carrick volume create`, `ls`, `rm`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Arity, Command
from carrick.doors.cli.commands.targets import for_each
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import FILTER, MAP, STRING, Flag, Values
from carrick.doors.cli.listing import FORMAT, show_records
from carrick.doors.cli.paths import volume_path
from carrick.doors.cli.records.networks import VolumeRecord
from carrick.doors.cli.specs.environment import LABEL, to_map
from carrick.doors.client.errors import ApiNotFound
from carrick.model.errors import CarrickError


def _create(app: App, values: Values, words: list[str]) -> None:
    name = values.text("name")
    if words and name:
        raise CliError(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
        )
    body = {
        "Name": words[0] if words else name,
        "Driver": values.text("driver"),
        "DriverOpts": values.pairs("opt"),
        "Labels": to_map(values.texts("label")),
    }
    app.print(str(app.client.post("/volumes/create", body)["Name"]))


def _ls(app: App, values: Values, words: list[str]) -> None:
    answer = app.client.get("/volumes", {"filters": values.filters() or None})
    volumes = sorted(answer.get("Volumes") or (), key=lambda volume: str(volume.get("Name")))
    show_records(
        app,
        VolumeRecord,
        [VolumeRecord(volume) for volume in volumes],
        values.text("format"),
        columns=("Driver", "Name"),
        quiet="Name" if values.on("quiet") else "",
    )


def _rm(app: App, values: Values, words: list[str]) -> int:
    def act(name: str) -> str:
        app.client.delete(volume_path(name), {"force": values.on("force")})
        return name

    def forgive(error: CarrickError) -> bool:
        return values.on("force") and isinstance(error, ApiNotFound)

    return for_each(app, words, act, forgive=forgive)


CREATE = Command(
    "create",
    _create,
    summary="Create a volume",
    usage="[OPTIONS] [VOLUME]",
    arity=Arity(0, 1, ""),
    flags=(
        Flag("driver", "Specify volume driver name", kind=STRING, short="d", default="local"),
        Flag("label", "Set metadata for a volume", kind=LABEL),
        Flag("name", "Specify volume name", kind=STRING, hidden=True),
        Flag("opt", "Set driver specific options", kind=MAP, short="o"),
    ),
    examples=("carrick volume create data",),
)
LS = Command(
    "ls",
    _ls,
    summary="List volumes",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        Flag("filter", "Provide filter values (e.g. dangling=true)", kind=FILTER, short="f"),
        FORMAT,
        Flag("quiet", "Only display volume names", short="q"),
    ),
    examples=("carrick volume ls", "carrick volume ls -q --filter dangling=true"),
)
RM = Command(
    "rm",
    _rm,
    summary="Remove one or more volumes that no container uses",
    usage="[OPTIONS] VOLUME [VOLUME...]",
    arity=Arity(1, None, "volume"),
    flags=(Flag("force", "Do not error if the volume does not exist", short="f"),),
    examples=("carrick volume rm data",),
)
