"""`carrick diff`, `export`, `commit`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.commands.transfer import refuse_terminal, write_body
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import BOOL, LIST, STRING, Flag, Values
from carrick.doors.cli.paths import container_path
from carrick.doors.cli.specs.images import parse_image
from carrick.doors.client.wire import encode_query

_CHANGES = {0: "C", 1: "A", 2: "D"}


def _diff(app: App, values: Values, words: list[str]) -> None:
    for change in app.client.get(f"{container_path(words[0])}/changes") or ():
        app.print(f"{_CHANGES.get(change.get('Kind'), '?')} {change.get('Path')}")


def _export(app: App, values: Values, words: list[str]) -> None:
    path = values.text("output")
    refuse_terminal(app, path, "save")
    with app.client.request("GET", f"{container_path(words[0])}/export") as response:
        write_body(app, response, path, "export container")


def _commit(app: App, values: Values, words: list[str]) -> None:
    parameters = {
        "container": words[0],
        "comment": values.text("message"),
        "author": values.text("author"),
        "pause": "true" if values.on("pause") else "false",
    }
    if len(words) > 1:
        try:
            name = parse_image(words[1])
        except ValueError as error:
            raise CliError(str(error)) from None
        if name.digest:
            raise CliError("cannot commit to digest reference")
        parameters |= {"repo": name.repository, "tag": name.tag or "latest"}
    query = encode_query({key: value for key, value in parameters.items() if value})
    for change in values.texts("change"):
        query += "&" + encode_query({"changes": change})
    app.print(str(app.client.post(f"/commit?{query}", {})["Id"]))


DIFF = Command(
    "diff",
    _diff,
    summary="Inspect changes to files or directories on a container's filesystem",
    usage="CONTAINER",
    arity=Arity(1, 1, "container"),
    examples=("carrick diff web",),
)
EXPORT = Command(
    "export",
    _export,
    summary="Export a container's filesystem as a tar archive",
    usage="[OPTIONS] CONTAINER",
    arity=Arity(1, 1, "container"),
    flags=(Flag("output", "Write to a file, instead of STDOUT", kind=STRING, short="o", complete="file"),),
    examples=("carrick export -o web.tar web",),
)
COMMIT = Command(
    "commit",
    _commit,
    summary="Create a new image from a container's changes",
    usage="[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    arity=Arity(1, 2, "container", "image"),
    flags=(
        Flag("author", "Author (e.g., 'Ada <ada@example.org>')", kind=STRING, short="a"),
        Flag("change", "Apply Dockerfile instruction to the created image", kind=LIST, short="c"),
        Flag("message", "Commit message", kind=STRING, short="m"),
        Flag("pause", "Pause container during commit", kind=BOOL, short="p", default=True),
    ),
    examples=("carrick commit -m 'with tools' web web:tools",),
)
