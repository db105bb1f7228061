"""Networks, in Docker's paths and, for the plan, in ours."""

from aiohttp import web

from ....model.errors import InvalidRequest, NotFound
from ..call import Call
from ..parse.networks import parse_connect, parse_create_network, parse_disconnect
from ..render.networks import render_network, render_network_entry
from ..routing import Kind, Route

_BOOLEANS = frozenset(("", "0", "1", "f", "t", "false", "true"))


def routes() -> tuple[Route, ...]:
    change = Kind.CHANGE
    return (
        Route("GET", "/networks", list_networks),
        Route("GET", "/networks/", list_networks),
        Route("POST", "/networks/create", create, change),
        Route("POST", "/networks/prune", prune, change),
        Route("GET", "/networks/{id}", inspect),
        Route("POST", "/networks/{id}/connect", connect, change),
        Route("POST", "/networks/{id}/disconnect", disconnect, change),
        Route("DELETE", "/networks/{id}", remove, change),
        Route("POST", "/carrick/v1/networks/plan", plan),
    )


async def list_networks(call: Call) -> web.StreamResponse:
    views = await call.engine.networks.list(call.filters())
    return call.json([render_network_entry(view, call.version) for view in views])


async def inspect(call: Call) -> web.StreamResponse:
    verbose = call.query("verbose")
    if verbose.lower() not in _BOOLEANS:
        raise InvalidRequest(
            f'invalid value for verbose: {verbose}: strconv.ParseBool: parsing "{verbose}": invalid syntax'
        )
    view = await call.engine.networks.get(call.parameter("id"))
    if call.query("scope") not in ("", view.network.scope.value):
        raise NotFound(f"network {call.parameter('id')} not found")
    return call.json(render_network(view, call.version, verbose=call.flag("verbose")))


async def create(call: Call) -> web.StreamResponse:
    request = parse_create_network(await call.document("CreateRequest"))
    created = await call.engine.networks.create(request)
    return call.json({"Id": created.id, "Warning": "\n".join(created.warnings)}, 201)


async def plan(call: Call) -> web.StreamResponse:
    """Say what `create` with the same body would do."""
    request = parse_create_network(await call.document("CreateRequest"))
    planned = await call.engine.networks.plan(request)
    steps = [{"description": step.describe()} for step in planned.steps]
    return call.json({"steps": steps, "notes": list(planned.notes)})


async def connect(call: Call) -> web.StreamResponse:
    asked = parse_connect(await call.document("ConnectOptions"))
    _check_container(asked.container)
    await call.engine.networks.connect(call.parameter("id"), asked.container, asked.settings)
    return call.empty(200)


async def disconnect(call: Call) -> web.StreamResponse:
    asked = parse_disconnect(await call.document("DisconnectOptions"))
    _check_container(asked.container)
    await call.engine.networks.disconnect(call.parameter("id"), asked.container, force=asked.force)
    return call.empty(200)


def _check_container(reference: str) -> None:
    if not reference:
        raise InvalidRequest("invalid container name or ID: value is empty")


async def remove(call: Call) -> web.StreamResponse:
    await call.engine.networks.remove(call.parameter("id"))
    return call.empty()


async def prune(call: Call) -> web.StreamResponse:
    return call.json({"NetworksDeleted": list(await call.engine.networks.prune(call.filters())) or None})
