"""Images: pull, push, load, import, save, and looking at them, here and in registries."""

import base64
import binascii
from contextlib import suppress
from dataclasses import replace

import msgspec
from aiohttp import web

from ....host.runtime.image_store import Progress, ProgressCallback, RegistryAuth
from ....model.errors import InvalidRequest, NotFound
from ..call import Call, encode
from ..parse.fields import Fields
from ..render.images import (
    render_history,
    render_image,
    render_image_entry,
    render_pushed,
    render_remote,
    render_removals,
    render_search_result,
)
from ..routing import Kind, Route
from ..streams import begin, stream_progress


def routes() -> tuple[Route, ...]:
    change, stream = Kind.CHANGE, Kind.STREAM
    return (
        Route("GET", "/images/json", list_images),
        Route("GET", "/images/search", search),
        Route("GET", "/images/get", save, stream),
        Route("POST", "/images/create", create, stream),
        Route("POST", "/images/load", load, stream),
        Route("POST", "/images/prune", prune, change),
        Route("GET", "/images/{name:path}/json", inspect),
        Route("GET", "/images/{name:path}/history", history),
        Route("GET", "/images/{name:path}/get", save, stream),
        Route("POST", "/images/{name:path}/tag", tag, change),
        Route("POST", "/images/{name:path}/push", push, stream),
        Route("DELETE", "/images/{name:path}", remove, change),
        Route("GET", "/distribution/{name:path}/json", distribution),
    )


async def list_images(call: Call) -> web.StreamResponse:
    images = await call.engine.images.list(all=call.flag("all"), filters=call.filters())
    return call.json([render_image_entry(image, call.version) for image in images])


async def inspect(call: Call) -> web.StreamResponse:
    image = await call.engine.images.get(call.parameter("name"))
    return call.json(render_image(image, call.version, await call.engine.images.place(image.id)))


async def history(call: Call) -> web.StreamResponse:
    name = call.parameter("name")
    images = [await call.engine.images.get(name)]
    with suppress(NotFound):
        while parent := images[-1].parent:
            images.append(await call.engine.images.get(parent))
    return call.json(render_history(images, await call.engine.images.history(images[0].id)))


async def create(call: Call) -> web.StreamResponse:
    """Pull (`fromImage`) or import (`fromSrc`)."""
    if call.query("fromImage"):
        return await _pull(call)
    if call.query("fromSrc"):
        return await _import(call)
    raise InvalidRequest("one of fromImage and fromSrc must be given")


def join_reference(name: str, tag: str) -> str:
    """Return `name:tag`, or `name@digest` where the tag is a digest. A tag in the name gives way."""
    if not tag:
        return name
    name = name.partition("@")[0]
    if ":" in name.rpartition("/")[2]:
        name = name.rpartition(":")[0]
    return f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"


async def _pull(call: Call) -> web.StreamResponse:
    name = call.query("fromImage")
    reference = join_reference(name, call.query("tag"))
    auth = parse_auth(call.header("X-Registry-Auth"))
    return await stream_progress(
        call,
        lambda report: call.engine.images.pull(
            reference,
            report,
            platform=call.query("platform"),
            auth=auth,
            all_tags=names_repository(reference),
        ),
        lambda image: b"",
    )


def names_repository(reference: str) -> bool:
    """True for a name with neither tag nor digest: of a pull and a push, all tags."""
    return ":" not in reference.rpartition("/")[2] and "@" not in reference


async def push(call: Call) -> web.StreamResponse:
    reference = join_reference(call.parameter("name"), call.query("tag"))
    auth = parse_auth(call.header("X-Registry-Auth"))
    return await stream_progress(
        call,
        lambda report: call.engine.images.push(
            reference, report, auth=auth, all_tags=names_repository(reference)
        ),
        lambda results: b"".join(encode(render_pushed(result)) for result in results),
    )


async def _import(call: Call) -> web.StreamResponse:
    source = call.query("fromSrc")
    changes = tuple(line for text in call.query_all("changes") for line in text.splitlines() if line.strip())
    reference = join_reference(call.query("repo"), call.query("tag"))

    async def work(report: ProgressCallback) -> str:
        images, message = call.engine.images, call.query("message")
        if source == "-":
            return await images.import_tar(call.body(), reference, changes, message)
        return await images.import_url(source, reference, changes, message, report)

    return await stream_progress(call, work, lambda identifier: encode({"status": identifier}))


async def load(call: Call) -> web.StreamResponse:
    """Take images in. The line `Loaded image: NAME` is the answer, in whatever way it comes about."""
    told: set[str] = set()

    async def work(report: object) -> tuple[str, ...]:
        assert callable(report)

        def note(progress: Progress) -> None:
            told.add(progress.stream.strip())
            report(progress)

        return await call.engine.images.load(call.body(), note)

    def finish(names: tuple[str, ...]) -> bytes:
        lines = (f"Loaded image{' ID' if name.startswith('sha256:') else ''}: {name}" for name in names)
        return b"".join(encode({"stream": f"{line}\n"}) for line in lines if line not in told)

    return await stream_progress(call, work, finish, quiet=call.flag("quiet"))


async def save(call: Call) -> web.StreamResponse:
    """Send a docker-archive of one image in the path, or of several in `names`."""
    names = (call.parameter("name"),) if "name" in call.parameters else call.query_all("names")
    names = tuple(name for text in names for name in text.split(",") if name)
    if not names:
        raise InvalidRequest("no images given: 'names' cannot be empty")
    parts = await begin(call.engine.images.save(names), endless=False)
    try:
        return await call.send_all(await call.stream("application/x-tar"), parts)
    finally:
        await parts.aclose()


async def tag(call: Call) -> web.StreamResponse:
    repository = call.query("repo")
    if not repository:
        raise InvalidRequest("invalid reference format: repository name must not be empty")
    await call.engine.images.tag(call.parameter("name"), join_reference(repository, call.query("tag")))
    return call.empty(201)


async def remove(call: Call) -> web.StreamResponse:
    removals = await call.engine.images.remove(call.parameter("name"), force=call.flag("force"))
    return call.json(render_removals(removals))


async def prune(call: Call) -> web.StreamResponse:
    removals, gained = await call.engine.images.prune(call.filters())
    return call.json({"ImagesDeleted": render_removals(removals) or None, "SpaceReclaimed": gained})


async def search(call: Call) -> web.StreamResponse:
    limit = call.integer("limit")
    found = await call.engine.images.search(
        call.query("term"),
        limit=25 if limit is None else limit,
        filters=call.filters(),
        auth=parse_auth(call.header("X-Registry-Auth")),
    )
    return call.json([render_search_result(result) for result in found])


async def distribution(call: Call) -> web.StreamResponse:
    """Tell what a registry has under a name."""
    auth = parse_auth(call.header("X-Registry-Auth"))
    return call.json(render_remote(await call.engine.images.remote(call.parameter("name"), auth)))


def parse_auth(header: str) -> RegistryAuth | None:
    """Return the credentials of X-Registry-Auth (base64url JSON). As in Docker, nonsense is none."""
    if not header:
        return None
    try:
        value = msgspec.json.decode(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return auth_of(Fields(value, "AuthConfig"))


def auth_of(body: Fields) -> RegistryAuth | None:
    auth = RegistryAuth(
        body.text("username"), body.text("password"), body.text("identitytoken"), body.text("registrytoken")
    )
    if not auth.username and (pair := body.text("auth")):
        # How config.json has it; the Python SDK passes it on like that.
        username, _, password = _decoded(pair).partition(":")
        auth = replace(auth, username=username, password=password)
    return None if auth == RegistryAuth() else auth


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode()
    except (binascii.Error, ValueError):
        return ""
