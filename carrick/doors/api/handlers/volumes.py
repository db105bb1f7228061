"""Volumes."""

from aiohttp import web

from ....model.errors import InvalidRequest
from ..call import Call
from ..parse.query import quoted
from ..render.system import render_volume
from ..routing import ApiVersion, Kind, Route

_LOCAL_OPTIONS = frozenset(("device", "o", "size", "type"))
_ANONYMOUS_ALONE: ApiVersion = (1, 42)


def routes() -> tuple[Route, ...]:
    change = Kind.CHANGE
    return (
        Route("GET", "/volumes", list_volumes),
        Route("POST", "/volumes/create", create, change),
        Route("POST", "/volumes/prune", prune, change),
        Route("GET", "/volumes/{name}", inspect),
        Route("DELETE", "/volumes/{name}", remove, change),
    )


async def list_volumes(call: Call) -> web.StreamResponse:
    volumes = await call.engine.volumes.list(call.filters())
    return call.json({"Volumes": [render_volume(volume) for volume in volumes], "Warnings": None})


async def create(call: Call) -> web.StreamResponse:
    body = await call.document("VolumeCreateOptions")
    name, options = body.text("Name"), body.text_map("DriverOpts")
    if len(name) == 1:
        raise InvalidRequest(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    for option in ("device", "type"):
        # Of an option that does not exist the engine says so.
        if options.keys() <= _LOCAL_OPTIONS and options and option not in options:
            raise InvalidRequest(f"create {name}: missing required option: {quoted(option)}")
    volume = await call.engine.volumes.create(
        name,
        driver=body.text("Driver") or "local",
        options=options,
        labels=body.text_map("Labels"),
    )
    return call.json(render_volume(volume), 201)


async def inspect(call: Call) -> web.StreamResponse:
    return call.json(render_volume(await call.engine.volumes.get(call.parameter("name"))))


async def remove(call: Call) -> web.StreamResponse:
    await call.engine.volumes.remove(call.parameter("name"), force=call.flag("force"))
    return call.empty()


async def prune(call: Call) -> web.StreamResponse:
    filters = call.filters()
    if call.version < _ANONYMOUS_ALONE:
        # Then, unused volumes were pruned whether they had a name or not.
        if "all" in filters:
            raise InvalidRequest("invalid filter 'all'")
        filters = {**filters, "all": ("true",)}
    removed, gained = await call.engine.volumes.prune(filters)
    return call.json({"VolumesDeleted": list(removed), "SpaceReclaimed": gained})
