"""stop, restart, kill, pause, unpause, rename, rm, wait: a request for each container."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.commands.targets import for_each
from carrick.doors.cli.errors import CliError, describe
from carrick.doors.cli.flags import INT, STRING, Flag, Values
from carrick.doors.cli.paths import container_path
from carrick.doors.client.errors import ApiError, ApiNotFound, ApiNotModified
from carrick.model.errors import CarrickError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_SOME = Arity(1, None, "container")
_USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"

_SIGNAL = Flag("signal", "Signal to send to the container", kind=STRING, short="s")
_TIMEOUT = Flag(
    "timeout",
    "Seconds to wait before killing the container",
    kind=INT,
    short="t",
    aliases=("time",),
)


def _post_each(app: App, words: list[str], action: str, query: Mapping[str, Any] | None = None) -> int:
    def act(name: str) -> str:
        try:
            app.client.post(f"{container_path(name)}/{action}", query=query)
        except ApiNotModified:
            return name  # it is as asked for already
        return name

    return for_each(app, words, act)


def _stopping(action: str) -> Callable[[App, Values, list[str]], int]:
    def run(app: App, values: Values, words: list[str]) -> int:
        seconds = values.number("timeout") if values.given("timeout") else None
        return _post_each(app, words, action, {"signal": values.text("signal") or None, "t": seconds})

    return run


def _plain(action: str) -> Callable[[App, Values, list[str]], int]:
    def run(app: App, values: Values, words: list[str]) -> int:
        return _post_each(app, words, action)

    return run


def _kill(app: App, values: Values, words: list[str]) -> int:
    return _post_each(app, words, "kill", {"signal": values.text("signal") or None})


def _rm(app: App, values: Values, words: list[str]) -> int:
    query = {
        "v": values.on("volumes"),
        "link": values.on("link"),
        "force": values.on("force"),
    }

    def act(name: str) -> str:
        name = name.strip("/")
        if not name:
            raise CliError("Container name cannot be empty")
        app.client.delete(container_path(name), query)
        return name

    def forgive(error: CarrickError) -> bool:
        return values.on("force") and isinstance(error, ApiNotFound)

    return for_each(app, words, act, forgive=forgive)


def _rename(app: App, values: Values, words: list[str]) -> None:
    old, new = (word.strip() for word in words)
    if not old or not new:
        raise CliError("Error: Neither old nor new names may be empty")
    try:
        app.client.post(f"{container_path(old)}/rename", query={"name": new})
    except ApiError as error:
        app.complain(describe(error))
        raise CliError(f"Error: failed to rename container named {old}") from None


def _wait(app: App, values: Values, words: list[str]) -> int:
    def act(name: str) -> str:
        result = app.client.post(f"{container_path(name)}/wait") or {}
        return str(result.get("StatusCode", 0))

    return for_each(app, words, act)


STOP = Command(
    "stop",
    _stopping("stop"),
    summary="Stop one or more running containers",
    usage=_USAGE,
    arity=_SOME,
    flags=(_SIGNAL, _TIMEOUT),
    examples=("carrick stop web", "carrick stop -t 30 db"),
)
RESTART = Command(
    "restart",
    _stopping("restart"),
    summary="Restart one or more containers",
    usage=_USAGE,
    arity=_SOME,
    flags=(_SIGNAL, _TIMEOUT),
    examples=("carrick restart web",),
)
KILL = Command(
    "kill",
    _kill,
    summary="Kill one or more running containers",
    usage=_USAGE,
    arity=_SOME,
    flags=(_SIGNAL,),
    examples=("carrick kill web", "carrick kill -s HUP web"),
)
PAUSE = Command(
    "pause",
    _plain("pause"),
    summary="Pause all processes within one or more containers",
    usage="CONTAINER [CONTAINER...]",
    arity=_SOME,
    examples=("carrick pause web",),
)
UNPAUSE = Command(
    "unpause",
    _plain("unpause"),
    summary="Unpause all processes within one or more containers",
    usage="CONTAINER [CONTAINER...]",
    arity=_SOME,
    examples=("carrick unpause web",),
)
RENAME = Command(
    "rename",
    _rename,
    summary="Rename a container",
    usage="CONTAINER NEW_NAME",
    arity=Arity(2, 2, "container", ""),
    examples=("carrick rename web web-old",),
)
RM = Command(
    "rm",
    _rm,
    summary="Remove one or more containers",
    usage=_USAGE,
    arity=_SOME,
    flags=(
        Flag("force", "Force the removal of a running container (uses SIGKILL)", short="f"),
        Flag("link", "Remove the specified link", short="l"),
        Flag("volumes", "Remove anonymous volumes associated with the container", short="v"),
    ),
    examples=("carrick rm web", "carrick rm -f $(carrick ps -aq)"),
)
WAIT = Command(
    "wait",
    _wait,
    summary="Block until one or more containers stop, then print their exit codes",
    usage="CONTAINER [CONTAINER...]",
    arity=_SOME,
    examples=("carrick wait job",),
)
