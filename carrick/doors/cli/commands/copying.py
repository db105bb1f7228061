"""`carrick cp`: files between a container and here, with the rules of `cp -a` for names.

A directory's name ending in `/.` means what is in it. A destination that is a directory receives
the source; one that does not exist becomes it.
"""

from __future__ import annotations

import base64
import json
import posixpath
from dataclasses import dataclass
from pathlib import Path

from carrick.doors.cli.app import App, is_terminal
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.commands.transfer import read_parts
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import Flag, Values
from carrick.doors.cli.paths import container_path
from carrick.doors.cli.session.archive import copy_stream, pack, unpack
from carrick.doors.cli.units import human_size
from carrick.doors.client import Response
from carrick.doors.client.errors import ApiNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Of Go's os.FileMode, which the API's stat header holds.
_GO_DIRECTORY = 1 << 31
_GO_SYMLINK = 1 << 27
_MAX_LINKS = 20


@dataclass(frozen=True, slots=True)
class Place:
    """One end of a copy: a path here (`container` empty), or in a container."""

    container: str
    path: str


def parse_place(text: str) -> Place:
    """Take `CONTAINER:PATH` apart; a path with a slash before the colon is one of ours."""
    name, colon, path = text.partition(":")
    if not colon or not name or "/" in name or name == ".":
        return Place("", text)
    return Place(name, path)


def _copy(app: App, values: Values, words: list[str]) -> None:
    source, target = (parse_place(word) for word in words)
    if source.container and target.container:
        raise CliError("copying between containers is not supported")
    if not source.container and not target.container:
        raise CliError("must specify at least one container source")
    for place in (source, target):
        if place.container and not place.path:
            raise CliError("the path in the container is empty: name one after the colon")
    if source.container:
        _copy_out(app, values, source, target.path)
    else:
        _copy_in(app, values, source.path, target)


def _stat(response: Response) -> dict[str, Any]:
    """Return the stat that the archive calls put into a header."""
    try:
        value = json.loads(base64.b64decode(response.headers["x-docker-container-path-stat"]))
    except (KeyError, ValueError):
        raise CliError("the daemon did not say what kind of file it is") from None
    return value if isinstance(value, dict) else {}


def _absolute(path: str) -> str:
    """Return a container's path from its root, a final `/` or `/.` kept: it means something."""
    ending = "/." if path.endswith("/.") else "/" if path.endswith("/") else ""
    # POSIX gives two leading slashes a meaning of their own, and normpath keeps them.
    plain = posixpath.normpath("/" + path.lstrip("/"))
    return plain if plain == "/" else plain + ending


def _stat_path(app: App, container: str, path: str) -> dict[str, Any] | None:
    """Return the stat of a container's path, or None where there is nothing."""
    try:
        with app.client.request(
            "HEAD", f"{container_path(container)}/archive", query={"path": path}
        ) as response:
            return _stat(response)
    except ApiNotFound:
        # An answer to HEAD has no text: if it is the container that is missing, this says so.
        app.client.get(f"{container_path(container)}/json")
        return None


def _resolve(app: App, container: str, path: str) -> tuple[str, dict[str, Any] | None]:
    """Follow links at the end of a container's path; return it with its stat."""
    for _ in range(_MAX_LINKS):
        stat = _stat_path(app, container, path)
        if stat is None or not int(stat.get("mode") or 0) & _GO_SYMLINK:
            return path, stat
        link = str(stat.get("linkTarget") or "")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path.rstrip("/")), link))
    raise CliError(f"too many links in a row at {path}")


def _is_directory(stat: dict[str, Any] | None) -> bool:
    return bool(stat and int(stat.get("mode") or 0) & _GO_DIRECTORY)


def _copy_out(app: App, values: Values, source: Place, target: str) -> None:
    path = _absolute(source.path)
    if values.on("follow-link"):
        path, _ = _resolve(app, source.container, path)
    archive = f"{container_path(source.container)}/archive"
    with app.client.request("GET", archive, query={"path": path}) as response:
        stat = _stat(response)
        if target == "-":
            copy_stream(response.chunks(), app.raw_out())
            return
        directory = _is_directory(stat)
        contents = path.endswith("/.") or path == "/"
        name = "" if contents else posixpath.basename(path.rstrip("/"))
        parent, new = _local_target(target, name, directory=directory, contents=contents)
        # The archive's names begin with the source's own; for contents with a dot.
        size = unpack(response.chunks(), parent, name or ".", new, keep_owner=values.on("archive"))
    _done(app, values, size, target)


def _local_target(target: str, name: str, *, directory: bool, contents: bool) -> tuple[Path, str]:
    """Return where to unpack, and as what; empty for straight into it. Raises CliError."""
    path = Path(target)
    if path.is_dir():
        return path, "" if contents else name
    if path.exists() and directory:
        raise CliError("cannot copy directory")
    if target.endswith(("/", "/.")) and not directory:
        raise CliError(f"no such directory: {target}")
    if not path.absolute().parent.is_dir():
        raise CliError(f'invalid output path: directory "{path.absolute().parent}" does not exist')
    return path.absolute().parent, path.absolute().name


def _copy_in(app: App, values: Values, source: str, target: Place) -> None:
    path, stat = _resolve(app, target.container, _absolute(target.path))
    into = _is_directory(stat)
    query = {
        "noOverwriteDirNonDir": True,
        "copyUIDGID": values.on("archive"),
    }
    archive = f"{container_path(target.container)}/archive"
    if source == "-":
        if not into:
            raise CliError(f'destination "{target.container}:{target.path}" must be a directory')
        parts = read_parts(app.raw_in())
        app.client.request("PUT", archive, query={"path": path, **query}, upload=parts).close()
        return
    local = Path(source)
    if not local.exists() and not local.is_symlink():
        raise CliError(f"lstat {source}: no such file or directory")
    directory = local.is_dir() and (values.on("follow-link") or not local.is_symlink())
    contents = directory and source.endswith("/.")
    if stat is not None and not into and directory:
        raise CliError(f'cannot copy directory to "{target.container}:{target.path}": not a directory')
    if into:
        folder, name = path, local.absolute().name if not contents else ""
    else:
        if target.path.endswith("/") and not directory:
            raise CliError(f"no such directory: {target.path}")
        folder, name = posixpath.dirname(path.rstrip("/")) or "/", posixpath.basename(path.rstrip("/"))
        contents = False
    size = 0

    def counted(more: int) -> None:
        nonlocal size
        size += more

    upload = pack(local, name, contents=contents, follow=values.on("follow-link"), counted=counted)
    app.client.request("PUT", archive, query={"path": folder, **query}, upload=upload).close()
    _done(app, values, size, f"{target.container}:{target.path}")


def _done(app: App, values: Values, size: int, target: str) -> None:
    if not values.on("quiet") and is_terminal(app.err):
        app.warn(f"Successfully copied {human_size(size, 3)} to {target}")


CP = Command(
    "cp",
    _copy,
    summary="Copy files/folders between a container and the local filesystem",
    usage="[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    arity=Arity(2, 2, "path"),
    flags=(
        Flag("archive", "Archive mode (copy all uid/gid information)", short="a"),
        Flag("follow-link", "Always follow symbol link in SRC_PATH", short="L"),
        Flag("quiet", "Suppress the message at the end", short="q"),
    ),
    notes="With '-', a tar archive is read from standard input or written to standard output.",
    examples=("carrick cp web:/etc/hosts .", "carrick cp ./site/. web:/srv/www"),
)
