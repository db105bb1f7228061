"""`carrick start` and `carrick attach`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.errors import CliError, describe
from carrick.doors.cli.flags import BOOL, STRING, Flag, Values
from carrick.doors.cli.paths import container_path
from carrick.doors.client.errors import ApiNotModified, DaemonUnreachable
from carrick.model.errors import CarrickError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_DETACH_KEYS = Flag("detach-keys", "Override the key sequence for detaching a container", kind=STRING)
_SIG_PROXY = Flag("sig-proxy", "Proxy all received signals to the process", kind=BOOL, default=True)


def _start_one(app: App, name: str) -> None:
    try:
        app.client.post(f"{container_path(name)}/start")
    except ApiNotModified:
        return  # it runs already


def _start(app: App, values: Values, words: list[str]) -> int:
    if values.on("attach") or values.on("interactive"):
        if len(words) > 1:
            raise CliError("you cannot start and attach multiple containers at once")
        return _start_attached(app, values, words[0])
    failed: list[str] = []
    for name in words:
        try:
            _start_one(app, name)
        except DaemonUnreachable:
            raise
        except CarrickError as error:
            app.complain(describe(error))
            failed.append(name)
        else:
            app.print(name)
    if failed:
        raise CliError(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _start_attached(app: App, values: Values, name: str) -> int:
    from carrick.doors.cli.session.container import Session, attach, await_exit, exit_status

    details = app.client.get(f"{container_path(name)}/json")
    config, host = details["Config"], details.get("HostConfig") or {}
    identity, tty = str(details["Id"]), bool(config.get("Tty"))
    stdin = values.on("interactive") and bool(config.get("OpenStdin"))
    keys = values.text("detach-keys")
    session = Session(app, container_path(identity), tty=tty, detach_keys=keys)
    stream = attach(app.client, identity, stdin=stdin, out=True, err=True, keys=keys)
    answer = await_exit(app.client, identity, removed=bool(host.get("AutoRemove")))

    def start() -> None:
        _start_one(app, identity)
        if tty:
            session.resize()

    try:
        ended = session.run(stream, stdin=stdin, out=True, err=not tty, sig_proxy=True, ready=start)
        return exit_status(answer) if ended else 0
    finally:
        answer.close()


def _check_attachable(state: Mapping[str, Any]) -> None:
    if not state.get("Running"):
        raise CliError("You cannot attach to a stopped container, start it first")
    if state.get("Paused"):
        raise CliError("You cannot attach to a paused container, unpause it first")
    if state.get("Restarting"):
        raise CliError("You cannot attach to a restarting container, wait until it is running")


def _attach(app: App, values: Values, words: list[str]) -> int:
    from carrick.doors.cli.session.container import (
        Session,
        attach,
        await_exit,
        exit_status,
        require_terminal,
    )

    details = app.client.get(f"{container_path(words[0])}/json")
    _check_attachable(details["State"])
    config, identity = details["Config"], str(details["Id"])
    tty = bool(config.get("Tty"))
    stdin = bool(config.get("OpenStdin")) and not values.on("no-stdin")
    require_terminal(app, stdin=stdin, tty=tty)
    keys = values.text("detach-keys")
    session = Session(app, container_path(identity), tty=tty, detach_keys=keys)
    answer = await_exit(app.client, identity, removed=False)
    stream = attach(app.client, identity, stdin=stdin, out=True, err=True, keys=keys)
    try:
        ended = session.run(
            stream,
            stdin=stdin,
            out=True,
            err=not tty,
            sig_proxy=values.on("sig-proxy"),
            ready=lambda: session.resize(jolt=True) if tty else None,
        )
        return exit_status(answer) if ended else 0
    finally:
        answer.close()


START = Command(
    "start",
    _start,
    summary="Start one or more stopped containers",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    arity=Arity(1, None, "container"),
    flags=(
        Flag("attach", "Attach STDOUT/STDERR and forward signals", short="a"),
        _DETACH_KEYS,
        Flag("interactive", "Attach container's STDIN", short="i"),
    ),
    examples=("carrick start web db", "carrick start -ai shell"),
)
ATTACH = Command(
    "attach",
    _attach,
    summary="Attach local standard input, output, and error streams to a running container",
    usage="[OPTIONS] CONTAINER",
    arity=Arity(1, 1, "container"),
    flags=(_DETACH_KEYS, Flag("no-stdin", "Do not attach STDIN"), _SIG_PROXY),
    examples=("carrick attach shell", "carrick attach --no-stdin --sig-proxy=false web"),
)
