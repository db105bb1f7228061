"""The server: the socket, requests to handlers, errors to answers, and an orderly end.

Requests are served by aiohttp's low-level server; routing is ours, as every path exists with a version
and without. What a request may cost its neighbours is limited: bodies by size, streams by running
at their client's pace.
"""

import asyncio
import errno
import grp
import logging
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ... import __version__
from ...engine.contract import Engine
from ...model.errors import Conflict, Failed, InvalidRequest
from .call import Call, Site, encode, error_response
from .describe import Description
from .errors import ErrorReply, reply_to
from .handlers import (
    archive,
    carrick,
    cluster,
    console,
    containers,
    guests,
    images,
    lending,
    networks,
    system,
    volumes,
    watching,
)
from .hijack import HijackedResponse
from .routing import Kind, Route, Router, Target

log = logging.getLogger(__name__)

_SOCKET_MODE = 0o660
_BACKLOG = 1024
# A filter or a registry token may be long; Go's server takes a mebibyte of headers.
_MAX_LINE = 64 * 1024
# How long to go on taking a body whose request has been refused, so that its client comes to read why.
_LINGER_S = 2.0
_STOP_GRACE_S = 15.0
_MAX_PATH = 98  # of the 107 that the kernel takes, some are for the name it is made under
_HANDLERS = (
    archive,
    carrick,
    cluster,
    console,
    containers,
    guests,
    images,
    lending,
    networks,
    system,
    volumes,
    watching,
)


def all_routes() -> tuple[Route, ...]:
    """Return everything that is served."""
    return tuple(route for module in _HANDLERS for route in module.routes())


class ApiServer:
    """Serves an engine on a Unix socket.

    `group` is the name or number of the group that may use it; without, the process's own.
    """

    def __init__(
        self,
        engine: Engine,
        socket_path: Path | str,
        *,
        group: str = "",
        release: str = __version__,
        stats_interval_s: float = 1.0,
        stop_grace_s: float = _STOP_GRACE_S,
    ) -> None:
        routes = all_routes()
        description = Description(routes, release)
        self._site = Site(engine, release, description, stats_interval_s=stats_interval_s)
        self._path = Path(socket_path)
        self._group = group
        self._stop_grace_s = stop_grace_s
        self._router = Router(routes)
        self._web: _WebServer | None = None
        self._listener: asyncio.AbstractServer | None = None
        self._identity: tuple[int, int] | None = None
        self._streams: set[asyncio.Task[Any]] = set()
        self._changes: set[asyncio.Task[web.StreamResponse]] = set()

    async def start(self) -> None:
        """Listen. Raises Conflict if someone else does, Failed if the socket cannot be made."""
        listening = open_socket(self._path, self._group)
        try:
            self._web = _WebServer(
                self._handle,
                site=self._site,
                handler_cancellation=True,
                access_log=None,
                max_line_size=_MAX_LINE,
                max_field_size=_MAX_LINE,
                auto_decompress=False,
                lingering_time=_LINGER_S,
            )
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_unix_server(self._web, sock=listening, backlog=_BACKLOG)
        except BaseException:
            listening.close()
            raise
        found = self._path.stat()
        self._identity = (found.st_dev, found.st_ino)

    async def stop(self) -> None:
        """Stop listening, end the streams, let changes come to their end, and close. Repeatable."""
        listener, self._listener = self._listener, None
        server, self._web = self._web, None
        if listener is None or server is None:
            return
        listener.close()
        self._unlink()
        for task in self._streams:
            task.cancel()
        server.pre_shutdown()
        await server.shutdown(self._stop_grace_s)
        if self._changes:
            await asyncio.wait(self._changes, timeout=self._stop_grace_s)
        for change in self._changes:
            change.cancel()
        await listener.wait_closed()

    def _unlink(self) -> None:
        """Remove the socket, unless another daemon has put its own there meanwhile."""
        with suppress(FileNotFoundError):
            found = self._path.stat()
            if (found.st_dev, found.st_ino) == self._identity:
                self._path.unlink()

    # --- requests

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.version < (1, 0):
            # The parser takes a line without a version for HTTP 0.9, and would answer in kind.
            return _refuse_version(request)
        try:
            target = self._router.resolve(request.method, unquote(request.rel_url.raw_path))
            call = Call(request, self._site, target.version, target.parameters)
            return await self._run(target, call)
        except ConnectionError:
            raise  # the client is gone; aiohttp closes the connection quietly
        except Exception as error:
            if _is_gone(request):
                raise ConnectionResetError("the client is gone") from error
            return self._failure(error)

    def _failure(self, error: Exception) -> web.Response:
        return error_response(self._site, reply_to(error))

    async def _run(self, target: Target, call: Call) -> web.StreamResponse:
        kind = target.route.kind
        if kind is Kind.STREAM:
            task = asyncio.current_task()
            assert task is not None
            self._streams.add(task)
            try:
                return await target.route.handler(call)
            finally:
                self._streams.discard(task)
        if kind is Kind.CHANGE:
            return await self._run_change(target, call)
        return await target.route.handler(call)

    async def _run_change(self, target: Target, call: Call) -> web.StreamResponse:
        """Run a change in a task of its own, which a client that goes away does not take along."""

        async def run() -> web.StreamResponse:
            return await target.route.handler(call)

        task = asyncio.create_task(run(), name=f"api {target.route.method} {target.route.template}")
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_note_orphan)
            raise


def _refuse_version(request: web.BaseRequest) -> web.StreamResponse:
    body = encode(ErrorReply(400, "malformed HTTP request: no HTTP/1.x in its first line").document())
    head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    if request.transport is not None:
        request.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head.encode() + body)
    return HijackedResponse()


def _is_gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()


def _note_orphan(task: asyncio.Task[web.StreamResponse]) -> None:
    """A change whose client went away has ended: an error of it reaches the log at least."""
    if not task.cancelled() and (error := task.exception()) and not isinstance(error, ConnectionError):
        log.info("%s, whose client had left, failed: %s", task.get_name(), error)


class _WebServer(web.Server):
    """aiohttp's server, with connections that answer malformed HTTP as we answer everything else."""

    def __init__(self, handler: Any, *, site: Site, handler_cancellation: bool, **options: Any) -> None:
        super().__init__(handler, handler_cancellation=handler_cancellation)
        self._site = site
        self._options = options

    def __call__(self) -> RequestHandler:
        return _Protocol(self, self._site, self._options)


class _Protocol(RequestHandler):
    """One connection. Garbage on the socket is the client's fault: it is not worth a traceback."""

    __slots__ = ("_site",)

    def __init__(self, server: web.Server, site: Site, options: dict[str, Any]) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._site = site

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            raise exc  # the client is gone: the connection is closed, and nothing else has happened
        if status == 400:
            summary = " ".join((message or "").split())[:200]
            reply = ErrorReply(
                400, f"malformed HTTP request: {summary}" if summary else "malformed HTTP request"
            )
        else:
            reply = reply_to(exc if isinstance(exc, Exception) else Failed("request failed"))
        if request.writer.output_size > 0:
            raise ConnectionError("part of an answer has been sent")
        response = error_response(self._site, reply)
        response.force_close()
        return response


# --- the socket -------------------------------------------------------------------------------------


def open_socket(path: Path, group: str) -> socket.socket:
    """Return a listening socket at `path` with mode 0660, in place of a stale one.

    It is made under another name and moved into place, so that nobody meets it with other rights.
    """
    if len(os.fsencode(path)) > _MAX_PATH:
        raise InvalidRequest(f"the socket's path is longer than {_MAX_PATH} bytes: {path}")
    group_id = find_group(group)
    path.parent.mkdir(parents=True, exist_ok=True)
    _refuse_if_in_use(path)
    fresh = path.with_name(f"{path.name[:16]}.{os.getpid()}")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        fresh.unlink(missing_ok=True)
        listening.bind(str(fresh))
        fresh.chmod(_SOCKET_MODE)
        if group_id is not None:
            os.chown(fresh, -1, group_id)
        listening.listen(_BACKLOG)
        fresh.replace(path)
    except OSError as error:
        listening.close()
        fresh.unlink(missing_ok=True)
        raise Failed(f"cannot listen on {path}: {error.strerror}") from error
    return listening


def find_group(group: str) -> int | None:
    """Return a group's number. Raises InvalidRequest for one that does not exist."""
    if not group:
        return None
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise InvalidRequest(f"no such group: {group}", remedy=f"groupadd --system {group}") from error


def _refuse_if_in_use(path: Path) -> None:
    """Raise Conflict if someone listens there, or if what is there is no socket."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Conflict(f"{path} exists and is not a socket", remedy="move it away or choose another path")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        probe.connect(str(path))
    except OSError as error:
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            return  # nobody: left behind by a daemon that was killed
        if error.errno != errno.EAGAIN:  # a full backlog is somebody
            raise Failed(f"cannot tell whether {path} is in use: {error.strerror}") from error
    finally:
        probe.close()
    raise Conflict(f"another daemon listens on {path}", remedy="stop it, or choose another socket")
