"""`carrick inspect`, for anything or for one kind of object."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.errors import CliError, describe
from carrick.doors.cli.flags import STRING, Flag, Values
from carrick.doors.cli.listing import unescape
from carrick.doors.cli.paths import container_path, image_path, network_path, volume_path
from carrick.doors.cli.template.values import TemplateError
from carrick.doors.client.errors import ApiNotFound
from carrick.model.errors import CarrickError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from carrick.doors.cli.command import Run

    Find = Callable[[App, Values, str], Any]

_FORMAT = Flag("format", "Format the output: 'json', or a Go template", kind=STRING, short="f")
_SIZE = Flag("size", "Display total file sizes of a container", short="s")


def _container(app: App, values: Values, name: str) -> Any:
    return app.client.get(f"{container_path(name)}/json", {"size": values.on("size")})


def _image(app: App, values: Values, name: str) -> Any:
    return app.client.get(f"{image_path(name)}/json")


def _network(app: App, values: Values, name: str) -> Any:
    return app.client.get(network_path(name))


def _network_verbose(app: App, values: Values, name: str) -> Any:
    return app.client.get(network_path(name), {"verbose": values.on("verbose")})


def _volume(app: App, values: Values, name: str) -> Any:
    return app.client.get(volume_path(name))


# In the order in which a name of unknown kind is looked up.
_KINDS: Mapping[str, Find] = {
    "container": _container,
    "image": _image,
    "network": _network,
    "volume": _volume,
}


def _anything(app: App, values: Values, name: str) -> Any:
    for find in _KINDS.values():
        try:
            return find(app, values, name)
        except ApiNotFound:
            continue
    raise NotFound(f"Error: No such object: {name}")


def _show(app: App, values: Values, names: list[str], find: Find) -> None:
    """Print what is found, then say what is not, as Docker does: the one does not hide the other."""
    render = _renderer(values.text("format"))
    found: list[Any] = []
    problems: list[str] = []
    for name in names:
        if not name:
            problems.append("Error: No such object: ")
            continue
        try:
            found.append(find(app, values, name))
        except NotFound as error:
            problems.append(describe(error))
        except CarrickError as error:
            if not isinstance(error, CliError) and len(names) > 1:
                problems.append(describe(error))
            else:
                raise
    try:
        app.out.write(render(found))
    except TemplateError as error:
        app.print("")
        problems.append(f"template parsing error: {error.message}")
    if problems:
        raise CliError("\n".join(problems))


def _renderer(layout: str) -> Callable[[list[Any]], str]:
    import json

    if not layout:
        # An empty list is `[]`, in one line.
        return lambda found: json.dumps(found, indent=4, ensure_ascii=False) + "\n"
    if layout == "json":
        return lambda found: json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n"
    from carrick.doors.cli.template.evaluator import parse

    try:
        template = parse(unescape(layout))
    except TemplateError as error:
        raise CliError(f"template parsing error: {error.message}", 64) from None
    return lambda found: "".join(template.render(item) + "\n" for item in found)


def _inspect(app: App, values: Values, words: list[str]) -> None:
    kind = values.text("type")
    if kind and kind not in _KINDS:
        known = ", ".join(f'"{name}"' for name in _KINDS)
        raise CliError(f'unknown type: "{kind}": must be one of {known}')
    if values.on("size") and kind not in ("", "container"):
        raise CliError(f"--size is not supported for {kind}s")
    _show(app, values, words, _KINDS[kind] if kind else _anything)


def _of(find: Find) -> Run:
    def run(app: App, values: Values, words: list[str]) -> None:
        _show(app, values, words, find)

    return run


INSPECT = Command(
    "inspect",
    _inspect,
    summary="Return low-level information on Carrick objects",
    usage="[OPTIONS] NAME|ID [NAME|ID...]",
    arity=Arity(1, None, "any"),
    flags=(_FORMAT, _SIZE, Flag("type", "Only inspect objects of this type", kind=STRING)),
    examples=(
        "carrick inspect web",
        "carrick inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web",
    ),
)
CONTAINER_INSPECT = Command(
    "inspect",
    _of(_container),
    summary="Display detailed information on one or more containers",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    arity=Arity(1, None, "container"),
    flags=(_FORMAT, _SIZE),
    examples=("carrick container inspect -f '{{.State.Status}}' web",),
)
IMAGE_INSPECT = Command(
    "inspect",
    _of(_image),
    summary="Display detailed information on one or more images",
    usage="[OPTIONS] IMAGE [IMAGE...]",
    arity=Arity(1, None, "image"),
    flags=(_FORMAT,),
    examples=("carrick image inspect -f '{{json .Config.Cmd}}' busybox",),
)
NETWORK_INSPECT = Command(
    "inspect",
    _of(_network_verbose),
    summary="Display detailed information on one or more networks",
    usage="[OPTIONS] NETWORK [NETWORK...]",
    arity=Arity(1, None, "network"),
    flags=(_FORMAT, Flag("verbose", "Verbose output for diagnostics", short="v")),
    examples=("carrick network inspect bridge",),
)
VOLUME_INSPECT = Command(
    "inspect",
    _of(_volume),
    summary="Display detailed information on one or more volumes",
    usage="[OPTIONS] VOLUME [VOLUME...]",
    arity=Arity(1, None, "volume"),
    flags=(_FORMAT,),
    examples=("carrick volume inspect data",),
)
