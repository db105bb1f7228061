"""`carrick exec`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.commands.running import read_file
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import LIST, STRING, Flag, Values
from carrick.doors.cli.paths import container_path
from carrick.doors.cli.specs.environment import ENV, fill_in, parse_pairs_file
from carrick.doors.client.wire import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def exec_body(app: App, values: Values, command: list[str]) -> dict[str, Any]:
    """Return the body of POST /containers/{id}/exec. Raises CliError."""
    stdin, tty, detach = values.on("interactive"), values.on("tty"), values.on("detach")
    env: list[str] = []
    try:
        for path in values.texts("env-file"):
            env += parse_pairs_file(path, read_file(path), app.environ)
    except ValueError as error:
        raise CliError(str(error)) from None
    env += fill_in(values.texts("env"), app.environ)
    return {
        "User": values.text("user"),
        "Privileged": values.on("privileged"),
        "Tty": tty,
        "AttachStdin": stdin and not detach,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "Env": env,
        "WorkingDir": values.text("workdir"),
        "Cmd": command,
    }


def _exec(app: App, values: Values, words: list[str]) -> int:
    body = exec_body(app, values, words[1:])
    keys, tty = values.text("detach-keys"), bool(body["Tty"])
    stdin = bool(body["AttachStdin"])
    if keys:
        body["DetachKeys"] = keys
    if not values.on("detach"):
        from carrick.doors.cli.session.container import require_terminal

        require_terminal(app, stdin=stdin, tty=tty)
    answer = app.client.post(f"{container_path(words[0])}/exec", body)
    path = f"/exec/{quote(str(answer['Id']))}"
    if values.on("detach"):
        app.client.post(f"{path}/start", {"Detach": True, "Tty": tty})
        return 0
    from carrick.doors.cli.session.container import Session

    session = Session(app, path, tty=tty, detach_keys=keys)
    stream = app.client.hijack(f"{path}/start", body={"Detach": False, "Tty": tty})
    ended = session.run(
        stream,
        stdin=stdin,
        out=True,
        err=not tty,
        sig_proxy=False,
        ready=session.resize if tty else None,
    )
    if not ended:
        return 0
    return int(app.client.get(f"{path}/json").get("ExitCode") or 0)


EXEC = Command(
    "exec",
    _exec,
    summary="Execute a command in a running container",
    usage="[OPTIONS] CONTAINER COMMAND [ARG...]",
    arity=Arity(2, None, "container", ""),
    passthrough=True,
    flags=(
        Flag("detach", "Detached mode: run command in the background", short="d"),
        Flag("detach-keys", "Override the key sequence for detaching a container", kind=STRING),
        Flag("env", "Set environment variables", kind=ENV, short="e"),
        Flag("env-file", "Read in a file of environment variables", kind=LIST, complete="file"),
        Flag("interactive", "Keep STDIN open even if not attached", short="i"),
        Flag("privileged", "Give extended privileges to the command"),
        Flag("tty", "Allocate a pseudo-TTY", short="t"),
        Flag("user", "Username or UID (format: <name|uid>[:<group|gid>])", kind=STRING, short="u"),
        Flag("workdir", "Working directory inside the container", kind=STRING, short="w"),
    ),
    examples=("carrick exec -it web sh", "carrick exec -e DEBUG=1 web ip route"),
)
