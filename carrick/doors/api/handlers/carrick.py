"""What Docker has no word for: ports of containers that exist, the doctor, and the API's description."""

from aiohttp import web

from ....model.containers import PortBinding
from ....model.errors import InvalidRequest
from ..call import Call
from ..parse.ports import parse_port_bindings
from ..render.system import render_findings
from ..routing import Kind, Route


def routes() -> tuple[Route, ...]:
    return (
        Route("POST", "/carrick/v1/containers/{id}/ports", add_ports, Kind.CHANGE),
        Route("POST", "/carrick/v1/containers/{id}/ports/remove", remove_ports, Kind.CHANGE),
        Route("GET", "/carrick/v1/doctor", doctor),
        Route("POST", "/carrick/v1/doctor/fix", fix, Kind.CHANGE),
        Route("GET", "/carrick/v1/openapi.json", openapi),
    )


async def _bindings(call: Call) -> tuple[PortBinding, ...]:
    bindings = parse_port_bindings(await call.document("PortsRequest"))
    if not bindings:
        raise InvalidRequest('no ports given: expected {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}')
    return bindings


async def add_ports(call: Call) -> web.StreamResponse:
    await call.engine.containers.add_ports(call.parameter("id"), await _bindings(call))
    return call.empty()


async def remove_ports(call: Call) -> web.StreamResponse:
    await call.engine.containers.remove_ports(call.parameter("id"), await _bindings(call))
    return call.empty()


async def doctor(call: Call) -> web.StreamResponse:
    return call.json(render_findings(await call.engine.system.doctor()))


async def fix(call: Call) -> web.StreamResponse:
    return call.json(render_findings(await call.engine.system.fix()))


async def openapi(call: Call) -> web.StreamResponse:
    """Describe the API in the version of the path."""
    return call.json(call.site.description.document(call.version))
