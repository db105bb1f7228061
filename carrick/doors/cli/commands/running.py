"""`carrick run` and `carrick create`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.errors import CliError, Quit, describe
from carrick.doors.cli.flags import BOOL, STRING, Flag, Values
from carrick.doors.cli.paths import container_path
from carrick.doors.cli.specs.create_body import Surroundings, build_body
from carrick.doors.cli.specs.images import parse_image
from carrick.doors.cli.specs.run_flags import CREATE_FLAGS
from carrick.doors.client.errors import ApiError, ApiNotFound
from carrick.model.errors import CarrickError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from carrick.doors.client import Response

_NOT_FOUND = ("executable file not found", "no such file or directory")
_NOT_EXECUTABLE = ("permission denied", "is a directory")


def read_file(path: str) -> bytes:
    """Return a file's bytes. Raises ValueError with Docker's words."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ValueError(f"open {path}: {(error.strerror or str(error)).lower()}") from None


def _absolute(path: str) -> str:
    from pathlib import Path

    return str(Path(path).absolute().resolve())


def _usage_error(app: App, message: str) -> CliError:
    """Return an error of the flags', which ends `run` and `create` in 125."""
    return CliError(f"carrick: {message}\n\nRun '{app.command_path} --help' for more information", 125)


def make_body(app: App, values: Values, words: list[str]) -> dict[str, Any]:
    """Return the body to create from flags and words. Raises CliError with Docker's words."""
    around = Surroundings(app.environ, read_file, _absolute)
    if values.text("pull") not in ("always", "missing", "never", ""):
        raise _usage_error(
            app,
            f'invalid pull option: \'{values.text("pull")}\': must be one of "always", "missing" or "never"',
        )
    try:
        return build_body(values, words[0], words[1:], around)
    except ValueError as error:
        raise _usage_error(app, str(error)) from None


def create(app: App, values: Values, body: Mapping[str, Any]) -> str:
    """Create the container, pulling its image if it is missing; return its id."""
    image = str(body["Image"])
    try:
        named = image if _is_id(image) else parse_image(image).with_default_tag()
    except ValueError as error:
        raise _usage_error(app, str(error)) from None
    cidfile = _new_cidfile(app, values.text("cidfile")) if values.given("cidfile") else None
    policy = values.text("pull") or "missing"
    if policy == "always":
        _pull(app, values, named)
    query = {"name": values.text("name") or None, "platform": values.text("platform") or None}
    try:
        answer = app.client.post("/containers/create", body, query)
    except ApiNotFound as error:
        if policy != "missing" or not _is_of_image(error):
            raise
        if not values.on("quiet"):
            app.warn(f"Unable to find image '{named}' locally")
        _pull(app, values, named)
        answer = app.client.post("/containers/create", body, query)
    for warning in answer.get("Warnings") or ():
        app.warn(f"WARNING: {warning}")
    identity = str(answer["Id"])
    if cidfile is not None:
        try:
            cidfile.write_text(identity)
        except OSError as error:
            raise CliError(f"failed to create the container ID file: {error.strerror}", 125) from None
    return identity


def _new_cidfile(app: App, text: str) -> Path:
    from pathlib import Path

    path = Path(text)
    if path.exists():
        raise _usage_error(
            app,
            f"container ID file found, make sure the other container isn't running or delete {path}",
        )
    return path


def _is_of_image(error: ApiNotFound) -> bool:
    """Say whether it is the image that is not there, or not for the wanted platform."""
    return any(text in error.message.lower() for text in ("no such image", "the specified platform"))


def _is_id(image: str) -> bool:
    return image.startswith("sha256:") and "/" not in image


def _pull(app: App, values: Values, named: str) -> None:
    from carrick.doors.cli.commands.transfer import pull_image

    platform = values.text("platform")
    # To standard error: `run`'s standard output is the container's.
    pull_image(app, named, platform=platform, quiet=values.on("quiet"), stream=app.err)


def _create(app: App, values: Values, words: list[str]) -> None:
    body = make_body(app, values, words)
    app.print(create(app, values, body))


def _run(app: App, values: Values, words: list[str]) -> int:
    body = make_body(app, values, words)
    if values.on("detach"):
        if values.texts("attach"):
            raise CliError("conflicting options: cannot specify both --attach and --detach")
        body.update(AttachStdin=False, AttachStdout=False, AttachStderr=False, StdinOnce=False)
        identity = create(app, values, body)
        # Before the start, as Docker does: also of what does not start the id is wanted.
        app.print(identity)
        _start(app, identity)
        return 0
    return _run_attached(app, values, body)


def _run_attached(app: App, values: Values, body: dict[str, Any]) -> int:
    from carrick.doors.cli.session.container import (
        Session,
        attach,
        await_exit,
        exit_status,
        require_terminal,
    )

    stdin, out, err = body["AttachStdin"], body["AttachStdout"], body["AttachStderr"]
    tty, keys = body["Tty"], values.text("detach-keys")
    require_terminal(app, stdin=stdin, tty=tty)
    removed = bool(body["HostConfig"].get("AutoRemove"))
    identity = create(app, values, body)
    session = Session(app, container_path(identity), tty=tty, detach_keys=keys)
    stream = attach(app.client, identity, stdin=stdin, out=out, err=err, keys=keys)
    # Asked before the start, so that a container that ends at once is not missed.
    answer = await_exit(app.client, identity, removed=removed)

    def start() -> None:
        try:
            _start(app, identity)
        except CarrickError:
            if removed:
                _await_removal(answer)
            raise
        if tty:
            session.resize()

    try:
        ended = session.run(
            stream,
            stdin=stdin,
            out=out,
            err=err and not tty,
            sig_proxy=values.on("sig-proxy"),
            ready=start,
        )
        return exit_status(answer) if ended else 0
    finally:
        answer.close()


def _await_removal(answer: Response) -> None:
    """Let the daemon finish the removal of what failed to start, before we say that it failed."""
    try:
        answer.read()
    except CarrickError:
        return


def _start(app: App, identity: str) -> None:
    """Start; a command that is not there or cannot run ends in Docker's 127 and 126."""
    try:
        app.client.post(f"/containers/{identity}/start")
    except ApiError as error:
        lowered = error.message.lower()
        if any(text in lowered for text in _NOT_FOUND):
            code = 127
        elif any(text in lowered for text in _NOT_EXECUTABLE):
            code = 126
        else:
            raise
        app.complain(f"carrick: {describe(error)}")
        app.warn(f"\nRun '{app.command_path} --help' for more information")
        raise Quit(code) from None


_USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
_ARITY = Arity(1, None, "image", "")

CREATE = Command(
    "create",
    _create,
    summary="Create a new container",
    usage=_USAGE,
    arity=_ARITY,
    flags=CREATE_FLAGS,
    passthrough=True,
    examples=(
        "carrick create --name web --network front -p 8080:80 busybox httpd -f -p 80",
        "carrick start web",
    ),
)

RUN = Command(
    "run",
    _run,
    summary="Create and run a new container from an image",
    usage=_USAGE,
    arity=_ARITY,
    flags=(
        *CREATE_FLAGS,
        Flag("detach", "Run container in background and print container ID", short="d"),
        Flag("detach-keys", "Override the key sequence for detaching a container", kind=STRING),
        Flag("sig-proxy", "Proxy received signals to the process", kind=BOOL, default=True),
    ),
    passthrough=True,
    examples=(
        "carrick run -it --rm busybox sh",
        "carrick run -d --name web --network front -p 8080:80 busybox httpd -f -p 80",
        "carrick run --rm --network name=front,alias=db,ip=10.9.0.5 busybox ip addr",
    ),
)
