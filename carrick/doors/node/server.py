"""Serve the node API over TLS 1.3: joining for whoever has a token, the rest for members of the cluster.

A peer is who its certificate says; that it still is a member is asked of the engine each time. Whoever is not
one yet is nobody's friend: what it may cost is bounded, in bytes, time, connections, and joins at once.
"""

import asyncio
import errno
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from aiohttp import web
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from ... import __version__
from ...engine.cluster.values import Admission, Admitted
from ...host.peers import wire
from ...host.peers.addresses import HostPort
from ...host.pki import Identity
from ...host.pki.identity import peer_of
from ...model.cluster import NodeId
from ...model.errors import Conflict, Denied, Failed, InvalidRequest, Unavailable
from ..api.errors import ErrorReply, PageNotFound, reply_to
from .throttle import Throttle

_log = logging.getLogger(__name__)
T = TypeVar("T")
_BACKLOG = 256
_MAX_LINE = 4096
_MAX_HEADERS = 32
_HANDSHAKE_S = 5.0
_STRANGER_S = 15.0
"""How long a connection without a client certificate may last, all in all: a join is one request."""

_MEMBER_S = 90.0
"""How long a member's connection may be idle or be busy with one request."""

_BODY_S = 5.0
_JOIN_S = 12.0
_STOP_GRACE_S = 5.0
_MOST_CONNECTIONS = 1024
_MOST_STRANGERS_OF_ONE = 16
_MOST_JOINS = 8
_MOST_WAITING_JOINS = 64


class Backend(Protocol):
    """What the server needs of the engine."""

    @property
    def cluster_id(self) -> str: ...
    @property
    def node_id(self) -> str: ...
    @property
    def has_authority(self) -> bool: ...
    def is_member(self, node: str) -> bool:
        """Tell whether a node has a record in the cluster that is not gone."""
        ...

    async def admit(self, request: Admission) -> Admitted: ...
    async def renew(self, node: NodeId, certificate_request: str) -> Admitted: ...


Handler = Callable[[web.BaseRequest, str], Awaitable[object]]


class NodeServer:
    """The node API on `listen`; an empty host means every address, of both families."""

    def __init__(
        self,
        backend: Backend,
        identity: Identity,
        listen: HostPort,
        *,
        version: str = __version__,
        monotonic: Callable[[], float] = time.monotonic,
        stranger_s: float = _STRANGER_S,
        most_connections: int = _MOST_CONNECTIONS,
        most_strangers_of_one: int = _MOST_STRANGERS_OF_ONE,
    ) -> None:
        self._backend = backend
        self._identity = identity
        self._listen = listen
        self._version = version
        self._now = monotonic
        self._throttle = Throttle()
        self._joins = asyncio.Semaphore(_MOST_JOINS)
        self._waiting = 0
        self._context: ssl.SSLContext | None = None
        self._listener: asyncio.Server | None = None
        self._web: _Connections | None = None
        self._limits = (stranger_s, most_connections, most_strangers_of_one)
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", wire.CA_PATH): self._ca,
            ("POST", wire.JOIN_PATH): self._join,
            ("POST", wire.RENEW_PATH): self._renew,
            ("GET", wire.PING_PATH): self._ping,
        }

    @property
    def port(self) -> int:
        """Return the port that it listens on, 0 if it does not."""
        return int(self._listener.sockets[0].getsockname()[1]) if self._listener else 0

    async def start(self) -> None:
        """Listen. Conflict if the port is taken, Failed if the address is not there."""
        self._context = self._identity.server_context(anonymous=True)
        self._web = _Connections(self._handle, *self._limits)
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(
                self._web,
                self._listen.host or None,
                self._listen.port,
                backlog=_BACKLOG,
                ssl=self._context,
                ssl_handshake_timeout=_HANDSHAKE_S,
                ssl_shutdown_timeout=1.0,
                reuse_address=True,
            )
        except OSError as error:
            self._web = None
            if _is_taken(error):
                raise Conflict(
                    f"cannot serve the node API: somebody listens on {self._listen} already",
                    remedy="choose another one with --listen",
                ) from error
            raise Failed(
                f"cannot serve the node API on {self._listen}: {error.strerror or error}",
                remedy="choose another one with --listen",
            ) from error

    def reload(self) -> None:
        """Use the certificate as it is now, for connections from now on."""
        if self._context is not None:
            self._context.load_cert_chain(self._identity.certificate, self._identity.key)

    async def stop(self) -> None:
        """Stop listening and close what is open. May be repeated."""
        listener, self._listener = self._listener, None
        connections, self._web = self._web, None
        if listener is None or connections is None:
            return
        listener.close()
        connections.pre_shutdown()
        await connections.shutdown(_STOP_GRACE_S)
        await listener.wait_closed()

    # Requests ------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            handler = self._routes.get((request.method, request.rel_url.raw_path))
            if handler is None:
                raise PageNotFound
            return _json(wire.encode(await handler(request, self._peer(request))))
        except ConnectionError:
            raise
        except Exception as error:
            return _error(error)

    def _peer(self, request: web.BaseRequest) -> str:
        """Return the node that the connection's certificate names, "" without one."""
        transport = request.transport
        return peer_of(transport.get_extra_info("peercert")) if transport is not None else ""

    def _member(self, peer: str) -> NodeId:
        """Return the peer as a member. Denied if it is not one, or not any more."""
        if not peer:
            raise Denied("only members of the cluster may ask this", remedy="show a node's certificate")
        if not self._backend.is_member(peer):
            raise Denied(
                f"node {peer} is not a member of this cluster",
                remedy="if it was removed: leave the cluster there with --force, and join again",
            )
        return NodeId(peer)

    async def _ca(self, request: web.BaseRequest, peer: str) -> object:
        return wire.Authority(self._identity.ca.read_text())

    async def _ping(self, request: web.BaseRequest, peer: str) -> object:
        self._member(peer)
        backend = self._backend
        return wire.Pong(backend.cluster_id, backend.node_id, self._version, backend.has_authority)

    async def _renew(self, request: web.BaseRequest, peer: str) -> object:
        node = self._member(peer)
        body = await _read(request, wire.Renewal, "the renewal")
        return await self._backend.renew(node, body.certificate_request)

    async def _join(self, request: web.BaseRequest, peer: str) -> object:
        # A member passes on what a node asked of it, which it has looked at.
        address = "" if peer and self._backend.is_member(peer) else (request.remote or "?")
        if address:
            self._throttle.check(address, self._now())
        admission = await _read(request, Admission, "the request to join")
        if self._waiting >= _MOST_WAITING_JOINS:
            raise Unavailable("too many nodes are joining at once", remedy="try again in a few seconds")
        self._waiting += 1
        try:
            async with asyncio.timeout(_JOIN_S), self._joins:
                admitted = await self._backend.admit(admission)
        except Denied:
            if address:
                _log.warning(
                    "%s tried to join as %.64r with a wrong or expired token", address, admission.name
                )
                self._throttle.failed(address, self._now())
            raise
        except TimeoutError as error:
            raise Unavailable(
                "the cluster's store takes too long to answer", remedy="see `carrick cluster info` here"
            ) from error
        finally:
            self._waiting -= 1
        if address:
            self._throttle.succeeded(address)
        return admitted


async def _read(request: web.BaseRequest, kind: type[T], what: str) -> T:
    """Return a request's body, which must be small, whole and soon there."""
    if (request.content_length or 0) > wire.MAX_BODY:
        raise InvalidRequest(f"{what} is larger than {wire.MAX_BODY} bytes")
    data = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.content.iter_any():
                data += chunk
                if len(data) > wire.MAX_BODY:
                    raise InvalidRequest(f"{what} is larger than {wire.MAX_BODY} bytes")
    except TimeoutError:
        raise InvalidRequest(f"{what} did not come within {_BODY_S:g} seconds") from None
    except RequestPayloadError as error:
        raise InvalidRequest(f"{what} is cut short or badly framed") from error
    return wire.decode(bytes(data), kind, what)


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(
        body=body, status=status, content_type="application/json", headers={"Server": "carrick"}
    )


def _error(error: Exception) -> web.Response:
    """Return an error as an answer: the one place where that is decided is the Engine API's."""
    reply = reply_to(error)
    response = _json(wire.encode(wire.Failure(reply.message, reply.remedy or "")), reply.status)
    if reply.status in (400, 403):
        # Of its body there may be a rest, and whoever is refused has no more to say.
        response.force_close()
    return response


def _is_taken(error: OSError) -> bool:
    return error.errno == errno.EADDRINUSE or "address already in use" in str(error)


# Connections ----------------------------------------------------------------------------------------


class _Connections(web.Server):
    """aiohttp's server, with bounds on how many connections there are, whose, and for how long."""

    def __init__(self, handler: Any, stranger_s: float, most: int, most_of_one: int) -> None:
        super().__init__(handler, handler_cancellation=True)
        self.stranger_s = stranger_s
        self._most = most
        self._most_of_one = most_of_one
        self._strangers: dict[str, int] = {}
        self._count = 0

    def __call__(self) -> RequestHandler:
        return _Connection(self)

    def admit(self, stranger: str) -> bool:
        """Take in a connection, of a stranger's address or of a member (""); tell whether there is room."""
        if self._count >= self._most:
            return False
        if stranger and (
            self._strangers.get(stranger, 0) >= self._most_of_one
            # Half of the room is the members'.
            or sum(self._strangers.values()) >= self._most // 2
        ):
            return False
        self._count += 1
        if stranger:
            self._strangers[stranger] = self._strangers.get(stranger, 0) + 1
        return True

    def release(self, stranger: str) -> None:
        self._count -= 1
        if stranger:
            left = self._strangers.get(stranger, 0) - 1
            if left > 0:
                self._strangers[stranger] = left
            else:
                self._strangers.pop(stranger, None)


class _Connection(RequestHandler):
    """One connection, its handshake behind it. Garbage on it is not worth a traceback."""

    __slots__ = ("_connections", "_deadline", "_stranger", "_taken")

    def __init__(self, connections: _Connections) -> None:
        super().__init__(
            connections,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=_MEMBER_S,
            lingering_time=0.0,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
            max_headers=_MAX_HEADERS,
            auto_decompress=False,
        )
        self._connections = connections
        self._stranger = ""
        self._taken = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = peer_of(transport.get_extra_info("peercert"))
        name = transport.get_extra_info("peername")
        self._stranger = "" if peer else str(name[0] if name else "?")
        self._taken = self._connections.admit(self._stranger)
        if not self._taken:
            transport.abort()  # type: ignore[attr-defined]
            return
        if self._stranger:
            # Members are bounded by the keep-alive; a request that never ends, by the server's own timeouts.
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(self._connections.stranger_s, transport.abort)  # type: ignore[attr-defined]

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._taken:
            self._taken = False
            self._connections.release(self._stranger)
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            raise exc
        if status == 400:
            reply = ErrorReply(400, "malformed HTTP request")
        else:
            reply = reply_to(exc if isinstance(exc, Exception) else Failed("request failed"))
        if request.writer.output_size > 0:
            raise ConnectionError("part of an answer has been sent")
        response = _json(wire.encode(wire.Failure(reply.message)), reply.status)
        response.force_close()
        return response
