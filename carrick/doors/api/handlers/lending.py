"""Blocks of networks that bridges of other engines on this node have (`carrick flannel`)."""

from aiohttp import web

from ..call import Call
from ..parse.lending import parse_import, parse_lend
from ..render.lending import render_import, render_lent
from ..routing import Kind, Route


def routes() -> tuple[Route, ...]:
    return (
        Route("POST", "/carrick/v1/networks/flannel", create, Kind.CHANGE),
        Route("GET", "/carrick/v1/lent", list_lent),
        Route("GET", "/carrick/v1/lent/{id}", inspect),
        Route("POST", "/carrick/v1/lent/{id}", lend, Kind.CHANGE),
        Route("DELETE", "/carrick/v1/lent/{id}", release, Kind.CHANGE),
    )


async def create(call: Call) -> web.StreamResponse:
    """Create the network that a `net-conf.json` asks for, or say which that is."""
    asked = parse_import(await call.document("FlannelRequest"))
    if asked.dry_run:
        return call.json(render_import(asked.request, "", asked.notes))
    created = await call.engine.networks.create(asked.request)
    return call.json(render_import(asked.request, created.id, (*asked.notes, *created.warnings)), 201)


async def list_lent(call: Call) -> web.StreamResponse:
    return call.json([render_lent(view) for view in await call.engine.lending.views()])


async def inspect(call: Call) -> web.StreamResponse:
    return call.json(render_lent(await call.engine.lending.get(call.parameter("id"))))


async def lend(call: Call) -> web.StreamResponse:
    request = parse_lend(await call.document("LendRequest", required=False))
    return call.json(render_lent(await call.engine.lending.lend(call.parameter("id"), request)))


async def release(call: Call) -> web.StreamResponse:
    await call.engine.lending.release(call.parameter("id"), force=call.flag("force"))
    return call.empty()
