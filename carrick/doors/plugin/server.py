"""The plugin's socket: calls to handlers, errors to answers, and an orderly end.

Every call is a POST to `/OBJECT.METHOD` with a JSON object, or nothing, as its body. Docker gives up after
half a minute and repeats a call whose connection broke, so a call runs to its end whoever is listening, and
all of them may be repeated.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from ...engine.contract import Engine
from ...model.errors import InvalidRequest
from ...model.networks import Scope
from ..api.errors import PageNotFound
from ..api.parse.fields import Fields, decode_document
from ..api.server import open_socket
from . import parse
from .bindings import Bindings
from .endpoints import EndpointCalls, Joined
from .engine_api import DockerApi
from .ipam import GLOBAL_SPACE, LOCAL_SPACE, Ipam
from .names import DockerNames
from .networks import NetworkCalls
from .render import ACTIVATION, CONTENT_TYPE, NOTHING, Document, render_capabilities, render_error

log = logging.getLogger(__name__)
Handler = Callable[[Fields], Awaitable[Document]]
_MAX_BODY = 1024 * 1024
_STOP_GRACE_S = 15.0


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """`socket` is where dockerd looks, and its file's name the driver's. `docker` is the socket of the
    Docker Engine, to be asked for containers' names, None for not at all."""

    socket: Path = Path("/run/docker/plugins/carrick.sock")
    group: str = ""
    scope: Scope = Scope.LOCAL
    docker: Path | None = Path("/var/run/docker.sock")


class PluginServer:
    """Answers Docker Engines on a Unix socket: `start`, `run` as a task of its own, in the end `stop`."""

    def __init__(self, engine: Engine, settings: PluginSettings) -> None:
        self._settings = settings
        docker = DockerApi(settings.docker) if settings.docker is not None else None
        self._names = DockerNames(engine.guests, docker)
        self._routes = _routes(engine, settings.scope, self._names.joined)
        self._web: web.Server | None = None
        self._listener: asyncio.AbstractServer | None = None
        self._identity: tuple[int, int] | None = None
        self._calls: set[asyncio.Task[Document]] = set()

    async def start(self) -> None:
        """Listen. Raises Conflict if someone else does, Failed if the socket cannot be made."""
        listening = open_socket(self._settings.socket, self._settings.group)
        try:
            self._web = web.Server(self._handle, access_log=None)
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_unix_server(self._web, sock=listening)
        except BaseException:
            listening.close()
            raise
        found = self._settings.socket.stat()
        self._identity = (found.st_dev, found.st_ino)
        log.info("Docker plugin: %s", self._settings.socket)

    async def run(self) -> None:
        """Learn the names of containers as long as it is let."""
        await self._names.run()

    async def stop(self) -> None:
        """Stop listening, let calls come to their end, and close. Repeatable."""
        listener, self._listener = self._listener, None
        server, self._web = self._web, None
        if listener is None or server is None:
            return
        listener.close()
        self._unlink()
        server.pre_shutdown()
        await server.shutdown(_STOP_GRACE_S)
        if self._calls:
            await asyncio.wait(self._calls, timeout=_STOP_GRACE_S)
        for call in self._calls:
            call.cancel()
        await listener.wait_closed()

    def _unlink(self) -> None:
        """Remove the socket, unless another daemon has put its own there meanwhile."""
        with suppress(FileNotFoundError):
            found = self._settings.socket.stat()
            if (found.st_dev, found.st_ino) == self._identity:
                self._settings.socket.unlink()

    # --- calls

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path
        try:
            handler = self._routes.get(path) if request.method == "POST" else None
            if handler is None:
                raise PageNotFound
            body = await _read(request, path)
            return _answer(await self._call(path, handler, body))
        except ConnectionError:
            raise  # the client is gone; aiohttp closes the connection quietly
        except Exception as error:
            status, document = render_error(error, path)
            log.info("%s: %s", path[1:], document["Err"])
            return _answer(document, status)

    async def _call(self, path: str, handler: Handler, body: Fields) -> Document:
        """Run a call in a task of its own, which a client that goes away does not take along."""

        async def run() -> Document:
            return await handler(body)

        task = asyncio.create_task(run(), name=f"plugin {path}")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return await asyncio.shield(task)


async def _read(request: web.BaseRequest, path: str) -> Fields:
    """Return the body's object; an empty body is an empty object, as some calls have nothing to say."""
    data = bytearray()
    try:
        async for chunk in request.content.iter_any():
            data += chunk
            if len(data) > _MAX_BODY:
                raise InvalidRequest(f"the body is larger than {_MAX_BODY} bytes")
    except RequestPayloadError as error:
        raise InvalidRequest("the body is cut short or badly framed") from error
    if not data.strip():
        return Fields(where=path[1:])
    return decode_document(bytes(data), path[1:])


def _answer(document: Document, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(document) + b"\n", status=status, headers={"Content-Type": CONTENT_TYPE}
    )


def _routes(engine: Engine, scope: Scope, joined: Joined) -> dict[str, Handler]:
    """Return every call by its path."""
    bindings, lock = Bindings(engine.networks), asyncio.Lock()
    ipam = Ipam(engine, bindings, lock)
    networks = NetworkCalls(engine, ipam, bindings, lock)
    endpoints = EndpointCalls(engine, ipam, bindings, joined)

    async def discover(body: Fields) -> Document:
        parse.parse_discovery(body)
        return NOTHING

    return {
        "/Plugin.Activate": _constant(ACTIVATION),
        "/NetworkDriver.GetCapabilities": _constant(render_capabilities(scope)),
        "/NetworkDriver.GwAllocCheck": _parsed(parse.parse_options_alone, networks.check_gateways),
        "/NetworkDriver.AllocateNetwork": _parsed(parse.parse_network, networks.allocate),
        "/NetworkDriver.FreeNetwork": _parsed(parse.parse_network_id, networks.delete),
        "/NetworkDriver.CreateNetwork": _parsed(parse.parse_network, networks.create),
        "/NetworkDriver.DeleteNetwork": _parsed(parse.parse_network_id, networks.delete),
        "/NetworkDriver.CreateEndpoint": _parsed(parse.parse_create_endpoint, endpoints.create),
        "/NetworkDriver.EndpointOperInfo": _parsed(parse.parse_endpoint, endpoints.details),
        "/NetworkDriver.DeleteEndpoint": _parsed(parse.parse_endpoint, endpoints.delete),
        "/NetworkDriver.Join": _parsed(parse.parse_join, endpoints.join),
        "/NetworkDriver.Leave": _parsed(parse.parse_endpoint, endpoints.leave),
        "/NetworkDriver.ProgramExternalConnectivity": _parsed(parse.parse_connectivity, endpoints.publish),
        "/NetworkDriver.RevokeExternalConnectivity": _parsed(parse.parse_endpoint, endpoints.unpublish),
        "/NetworkDriver.DiscoverNew": discover,
        "/NetworkDriver.DiscoverDelete": discover,
        "/IpamDriver.GetCapabilities": _constant(
            {"RequiresMACAddress": False, "RequiresRequestReplay": False}
        ),
        "/IpamDriver.GetDefaultAddressSpaces": _constant(
            {"LocalDefaultAddressSpace": LOCAL_SPACE, "GlobalDefaultAddressSpace": GLOBAL_SPACE}
        ),
        "/IpamDriver.RequestPool": _parsed(parse.parse_pool_request, ipam.request_pool),
        "/IpamDriver.ReleasePool": _parsed(parse.parse_pool_id, ipam.release_pool),
        "/IpamDriver.RequestAddress": _parsed(parse.parse_address, ipam.request_address),
        "/IpamDriver.ReleaseAddress": _parsed(parse.parse_address, ipam.release_address),
    }


def _constant(document: Document) -> Handler:
    async def answer(body: Fields) -> Document:
        return document

    return answer


def _parsed(parser: Callable[[Fields], Any], run: Callable[[Any], Awaitable[Document]]) -> Handler:
    async def answer(body: Fields) -> Document:
        return await run(parser(body))

    return answer
