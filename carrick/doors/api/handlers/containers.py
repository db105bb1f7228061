"""The life of containers, and looking at them."""

from collections.abc import AsyncIterator

from aiohttp import web

from ....engine.values import ContainerView, WaitCondition
from ....model.errors import InvalidRequest, NotFound
from ..call import Call, encode
from ..errors import reply_to
from ..parse.containers import parse_console_size, parse_create
from ..parse.host_config import parse_update
from ..render.containers import render_container, render_container_entry
from ..routing import ApiVersion, Kind, Route

_NO_NULL_ERROR: ApiVersion = (1, 42)


def routes() -> tuple[Route, ...]:
    change, stream = Kind.CHANGE, Kind.STREAM
    return (
        Route("POST", "/containers/create", create, change),
        Route("POST", "/containers/prune", prune, change),
        Route("GET", "/containers/json", list_containers),
        Route("GET", "/containers/{id}/json", inspect),
        Route("GET", "/containers/{id}/top", top),
        Route("GET", "/containers/{id}/changes", changes),
        Route("POST", "/containers/{id}/start", start, change),
        Route("POST", "/containers/{id}/stop", stop, change),
        Route("POST", "/containers/{id}/restart", restart, change),
        Route("POST", "/containers/{id}/kill", kill, change),
        Route("POST", "/containers/{id}/pause", pause, change),
        Route("POST", "/containers/{id}/unpause", unpause, change),
        Route("POST", "/containers/{id}/rename", rename, change),
        Route("POST", "/containers/{id}/update", update, change),
        Route("POST", "/containers/{id}/resize", resize, change),
        Route("POST", "/containers/{id}/wait", wait, stream),
        Route("DELETE", "/containers/{id}", remove, change),
    )


async def create(call: Call) -> web.StreamResponse:
    body = await call.document("ContainerCreateRequest")
    parsed = parse_create(
        body, name=call.query("name"), platform=call.query("platform"), version=call.version
    )
    created = await call.engine.containers.create(parsed.request)
    warnings = list(parsed.warnings + created.warnings)
    return call.json({"Id": created.id, "Warnings": warnings}, 201)


async def start(call: Call) -> web.StreamResponse:
    # Ancient clients sent the host configuration here; seven bytes are what an empty one may take.
    if (call.request.content_length or 0) > 7:
        raise InvalidRequest(
            "starting container with non-empty request body was deprecated since API v1.22 "
            "and removed in v1.24"
        )
    await call.engine.containers.start(call.parameter("id"))
    return call.empty()


async def stop(call: Call) -> web.StreamResponse:
    await call.engine.containers.stop(
        call.parameter("id"), timeout_s=call.integer("t"), signal=call.query("signal")
    )
    return call.empty()


async def restart(call: Call) -> web.StreamResponse:
    await call.engine.containers.restart(
        call.parameter("id"), timeout_s=call.integer("t"), signal=call.query("signal")
    )
    return call.empty()


async def kill(call: Call) -> web.StreamResponse:
    await call.engine.containers.kill(call.parameter("id"), call.query("signal") or "SIGKILL")
    return call.empty()


async def pause(call: Call) -> web.StreamResponse:
    await call.engine.containers.pause(call.parameter("id"))
    return call.empty()


async def unpause(call: Call) -> web.StreamResponse:
    await call.engine.containers.unpause(call.parameter("id"))
    return call.empty()


async def rename(call: Call) -> web.StreamResponse:
    name = call.query("name")
    if not name:
        raise InvalidRequest("Neither old nor new names may be empty")
    await call.engine.containers.rename(call.parameter("id"), name.removeprefix("/") or name)
    return call.empty()


async def update(call: Call) -> web.StreamResponse:
    request = parse_update(await call.document("UpdateConfig"))
    warnings = await call.engine.containers.update(call.parameter("id"), request)
    return call.json({"Warnings": list(warnings) or None})


async def remove(call: Call) -> web.StreamResponse:
    await call.engine.containers.remove(
        call.parameter("id"), force=call.flag("force"), volumes=call.flag("v"), link=call.flag("link")
    )
    return call.empty()


async def prune(call: Call) -> web.StreamResponse:
    removed, gained = await call.engine.containers.prune(call.filters())
    return call.json({"ContainersDeleted": list(removed) or None, "SpaceReclaimed": gained})


async def resize(call: Call) -> web.StreamResponse:
    height, width = call.integer("h"), call.integer("w")
    for name, value in (("h", height), ("w", width)):
        if value is None:
            raise InvalidRequest(f'invalid value for {name}: strconv.Atoi: parsing "": invalid syntax')
    size = parse_console_size(height or 0, width or 0)
    if size is not None:
        await call.engine.containers.resize(call.parameter("id"), size)
    return call.empty(200)


async def wait(call: Call) -> web.StreamResponse:
    """Answer with headers at once: `docker run` starts the container only once it has them."""
    text = call.query("condition") or WaitCondition.NOT_RUNNING.value
    try:
        condition = WaitCondition(text)
    except ValueError as error:
        raise InvalidRequest(f'invalid condition: "{text}"') from error
    ended = await call.engine.containers.wait(call.parameter("id"), condition)
    response = await call.stream("application/json")
    try:
        document: dict[str, object] = {"StatusCode": await ended}
        if call.version < _NO_NULL_ERROR:
            document["Error"] = None
    except Exception as error:
        document = {"StatusCode": -1, "Error": {"Message": reply_to(error).message}}
    await response.write(encode(document))
    return response


async def list_containers(call: Call) -> web.StreamResponse:
    limit = call.integer("limit") or 0
    views = await call.engine.containers.list(
        all=call.flag("all"), limit=max(limit, 0), filters=call.filters()
    )
    sized = call.flag("size")
    now = call.site.now()

    async def entries() -> AsyncIterator[object]:
        views.reverse()
        while views:
            view = views.pop()  # nobody needs it afterwards, and ten thousand take up space
            try:
                size = await call.engine.containers.size(view.record.id) if sized else None
            except NotFound:
                continue  # removed since it was listed
            yield render_container_entry(view, call.version, now, size)

    return await call.json_list(entries())


async def inspect(call: Call) -> web.StreamResponse:
    view: ContainerView = await call.engine.containers.get(call.parameter("id"))
    size = await call.engine.containers.size(view.record.id) if call.flag("size") else None
    return call.json(render_container(view, call.version, size))


async def top(call: Call) -> web.StreamResponse:
    table = await call.engine.containers.top(call.parameter("id"), call.query("ps_args") or "-ef")
    return call.json({"Titles": list(table.titles), "Processes": [list(row) for row in table.processes]})


async def changes(call: Call) -> web.StreamResponse:
    found = await call.engine.containers.changes(call.parameter("id"))
    return call.json([{"Path": change.path, "Kind": int(change.kind)} for change in found] or None)
