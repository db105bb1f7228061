"""Containers of other engines on networks of ours: look at them, and let go of those that are no more."""

from aiohttp import web

from ....engine.values import GuestView
from ....model.errors import InvalidRequest
from ..call import Call
from ..render.guests import render_guest
from ..routing import Kind, Route


def routes() -> tuple[Route, ...]:
    return (
        Route("GET", "/carrick/v1/guests", list_guests),
        Route("POST", "/carrick/v1/guests/prune", prune, Kind.CHANGE),
    )


async def list_guests(call: Call) -> web.StreamResponse:
    views = await call.engine.guests.list(call.query("engine"))
    return call.json([render_guest(view) for view in sorted(views, key=_order)])


async def prune(call: Call) -> web.StreamResponse:
    engine, all_of_it = call.query("engine"), call.flag("all")
    if all_of_it and not engine:
        raise InvalidRequest("all: whose containers? Name the engine that is gone", remedy="add engine=NAME")

    def keep(view: GuestView) -> bool:
        return not (all_of_it and view.spec.engine == engine)

    removed = await call.engine.guests.gc(keep)
    return call.json([render_guest(view) for view in sorted(removed, key=_order)])


def _order(view: GuestView) -> tuple[str, str, str]:
    return view.spec.engine, view.record.name, view.spec.interface
