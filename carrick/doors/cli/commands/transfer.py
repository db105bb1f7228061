"""Images in and out: pull, push, load, import, save."""

from __future__ import annotations

import os
from pathlib import Path

from carrick.doors.cli.app import App, is_terminal
from carrick.doors.cli.command import NONE, Arity, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import LIST, STRING, Flag, Values
from carrick.doors.cli.paths import image_path
from carrick.doors.cli.progress import show_progress
from carrick.doors.cli.specs.images import ImageName, parse_image
from carrick.doors.client import Response
from carrick.doors.client.wire import encode_query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, TextIO

_PART = 256 * 1024
_PLATFORM = Flag("platform", "Set platform if the image has several", kind=STRING)


def _named(text: str) -> ImageName:
    try:
        return parse_image(text)
    except ValueError as error:
        raise CliError(str(error)) from None


def pull_image(
    app: App, text: str, *, platform: str, quiet: bool, stream: TextIO, all_tags: bool = False
) -> None:
    """Pull an image, telling `stream` how it goes. Raises Failed where the registry says no."""
    name = _named(text)
    tag = "" if all_tags else name.digest or name.tag or "latest"
    query = {"fromImage": name.repository, "tag": tag or None, "platform": platform or None}
    with app.client.request("POST", "/images/create", query=query, headers=_auth(app, name)) as response:
        show_progress(app, response.documents(), stream, quiet=quiet)


def _auth(app: App, name: ImageName) -> dict[str, str]:
    """Return the header with the credentials for an image's registry."""
    from carrick.doors.cli.commands.registries import auth_headers

    return auth_headers(app, name.full_repository().partition("/")[0])


def _push(app: App, values: Values, words: list[str]) -> None:
    name, all_tags = _named(words[0]), values.on("all-tags")
    if name.digest:
        raise CliError("cannot push a digest reference")
    if all_tags and name.tag:
        raise CliError("tag can't be used with --all-tags/-a")
    quiet = values.on("quiet")
    if not (name.tag or all_tags or quiet):
        app.print("Using default tag: latest")
    app.out.flush()
    query = {"tag": None if all_tags else name.tag or "latest"}
    headers = _auth(app, name)
    path = f"{image_path(name.repository)}/push"
    with app.client.request("POST", path, query=query, headers=headers) as response:
        messages = (message for message in response.documents() if "aux" not in message)
        show_progress(app, messages, app.out, quiet=quiet)
    if quiet:
        full = ImageName(name.full_repository(), name.tag, "")
        app.print(name.full_repository() if all_tags else full.with_default_tag())


def _pull(app: App, values: Values, words: list[str]) -> None:
    name, all_tags = _named(words[0]), values.on("all-tags")
    if all_tags and (name.tag or name.digest):
        raise CliError("tag can't be used with --all-tags/-a")
    quiet = values.on("quiet")
    if not (name.tag or name.digest or all_tags or quiet):
        app.print("Using default tag: latest")
    app.out.flush()
    platform = values.text("platform")
    pull_image(app, words[0], platform=platform, quiet=quiet, stream=app.out, all_tags=all_tags)
    if all_tags:
        app.print(name.full_repository())
    else:
        full = ImageName(name.full_repository(), name.tag, name.digest)
        app.print(full.with_default_tag())


def read_parts(source: BinaryIO) -> Iterator[bytes]:
    """Yield a file in parts."""
    while part := source.read(_PART):
        yield part


def open_input(path: str) -> BinaryIO:
    """Open a file to send. Raises CliError with Docker's words."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or str(error)).lower()}") from None


def _load(app: App, values: Values, words: list[str]) -> None:
    path = values.text("input")
    if not path and is_terminal(app.stdin):
        raise CliError("requested load from stdin, but stdin is empty")
    source = open_input(path) if path else app.raw_in()
    quiet = values.on("quiet") or not is_terminal(app.out)
    query = {"quiet": quiet, "platform": values.text("platform") or None}
    try:
        with app.client.request("POST", "/images/load", query=query, upload=read_parts(source)) as response:
            show_progress(app, response.documents(), app.out)
    finally:
        if path:
            source.close()


def _import(app: App, values: Values, words: list[str]) -> None:
    source, repository = words[0], words[1] if len(words) > 1 else ""
    name = _named(repository) if repository else ImageName("", "", "")
    parameters = {
        "fromSrc": source if "://" in source else "-",
        "repo": name.repository,
        "tag": name.tag,
        "message": values.text("message"),
        "platform": values.text("platform"),
    }
    query = encode_query({key: value for key, value in parameters.items() if value})
    for change in values.texts("change"):
        query += "&" + encode_query({"changes": change})
    if "://" in source:
        with app.client.request("POST", f"/images/create?{query}") as response:
            show_progress(app, response.documents(), app.out)
        return
    tar = app.raw_in() if source == "-" else open_input(source)
    with app.client.request("POST", f"/images/create?{query}", upload=read_parts(tar)) as response:
        show_progress(app, response.documents(), app.out)


def write_body(app: App, response: Response, path: str, what: str) -> None:
    """Write a reply's body to a file, which appears once it is whole, or to standard output."""
    if not path:
        out = app.raw_out()
        for chunk in response.chunks():
            out.write(chunk)
        out.flush()
        return
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if target.exists() and not target.is_file():
            with target.open("wb") as file:  # a pipe or a device: nothing to replace
                file.writelines(response.chunks())
            return
        # Images hold secrets more often than they should: for the owner's eyes, as Docker has it.
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.writelines(response.chunks())
        partial.replace(target)
    except OSError as error:
        raise CliError(f"failed to {what}: {path}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def refuse_terminal(app: App, path: str, what: str) -> None:
    """Refuse to print a tar archive onto a terminal."""
    if not path and is_terminal(app.out):
        raise CliError(f"cowardly refusing to {what} to a terminal. Use the -o flag or redirect")


def _save(app: App, values: Values, words: list[str]) -> None:
    path = values.text("output")
    refuse_terminal(app, path, "save")
    if path and not Path(path).absolute().parent.is_dir():
        parent = Path(path).absolute().parent
        raise CliError(f'invalid output path: directory "{parent}" does not exist')
    query = "&".join(encode_query({"names": word}) for word in words)
    with app.client.request("GET", f"/images/get?{query}") as response:
        write_body(app, response, path, "save image")


PULL = Command(
    "pull",
    _pull,
    summary="Download an image from a registry",
    usage="[OPTIONS] NAME[:TAG|@DIGEST]",
    arity=Arity(1, 1, "image"),
    flags=(
        Flag("all-tags", "Download all tagged images in the repository", short="a"),
        Flag("disable-content-trust", "Skip image verification", default=True, hidden=True),
        _PLATFORM,
        Flag("quiet", "Suppress verbose output", short="q"),
    ),
    examples=("carrick pull busybox", "carrick pull registry.example:5000/team/web:1.2"),
)
PUSH = Command(
    "push",
    _push,
    summary="Upload an image to a registry",
    usage="[OPTIONS] NAME[:TAG]",
    arity=Arity(1, 1, "image"),
    flags=(
        Flag("all-tags", "Push all tags of an image to the repository", short="a"),
        Flag("disable-content-trust", "Skip image signing", default=True, hidden=True),
        Flag("quiet", "Suppress verbose output", short="q"),
    ),
    examples=("carrick push registry.example:5000/team/web:1.2",),
)
LOAD = Command(
    "load",
    _load,
    summary="Load an image from a tar archive or STDIN",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        Flag(
            "input",
            "Read from tar archive file, instead of STDIN",
            kind=STRING,
            short="i",
            complete="file",
        ),
        _PLATFORM,
        Flag("quiet", "Suppress the load output", short="q"),
    ),
    examples=("carrick load -i web.tar", "ssh host carrick save web | carrick load"),
)
IMPORT = Command(
    "import",
    _import,
    summary="Import the contents from a tarball to create a filesystem image",
    usage="[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    arity=Arity(1, 2, "file", "image"),
    flags=(
        Flag("change", "Apply Dockerfile instruction to the image", kind=LIST, short="c"),
        Flag("message", "Set commit message for imported image", kind=STRING, short="m"),
        _PLATFORM,
    ),
    examples=("tar -C rootfs -c . | carrick import -c 'CMD [\"sh\"]' - busybox",),
)
SAVE = Command(
    "save",
    _save,
    summary="Save one or more images to a tar archive (streamed to STDOUT by default)",
    usage="[OPTIONS] IMAGE [IMAGE...]",
    arity=Arity(1, None, "image"),
    flags=(Flag("output", "Write to a file, instead of STDOUT", kind=STRING, short="o", complete="file"),),
    examples=("carrick save -o web.tar web:1.2",),
)
