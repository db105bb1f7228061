"""Volumes."""

from aiohttp import web

from ..call import Call
from ..render.system import render_volume
from ..routing import Kind, Route


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
    volume = await call.engine.volumes.create(
        body.text("Name"),
        driver=body.text("Driver") or "local",
        options=body.text_map("DriverOpts"),
        labels=body.text_map("Labels"),
    )
    return call.json(render_volume(volume), 201)


async def inspect(call: Call) -> web.StreamResponse:
    return call.json(render_volume(await call.engine.volumes.get(call.parameter("name"))))


async def remove(call: Call) -> web.StreamResponse:
    await call.engine.volumes.remove(call.parameter("name"), force=call.flag("force"))
    return call.empty()


async def prune(call: Call) -> web.StreamResponse:
    removed, gained = await call.engine.volumes.prune(call.filters())
    return call.json({"VolumesDeleted": list(removed) or None, "SpaceReclaimed": gained})
