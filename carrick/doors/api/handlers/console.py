"""Attach and exec: connections that become a process's terminal or pipes."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from ....engine.values import ExecView
from ....host.runtime.api import CannotStart, ConsoleSession, ConsoleSize, LogQuery, Stream
from ....model.errors import CarrickError, InvalidRequest
from ..call import Call
from ..errors import reply_to
from ..hijack import Hijacked, HijackedResponse, take_over, wants_upgrade
from ..parse.containers import parse_console_size, parse_exec, parse_exec_start
from ..render.containers import render_exec
from ..routing import Kind, Route
from ..streams import RAW_STREAM, SYSTEM_ERROR, DetachFilter, begin, frame, parse_detach_keys
from .watching import render_log, stream_type

log = logging.getLogger(__name__)


def routes() -> tuple[Route, ...]:
    return (
        Route("POST", "/containers/{id}/attach", attach, Kind.STREAM),
        Route("GET", "/containers/{id}/attach/ws", attach_websocket, Kind.STREAM),
        Route("POST", "/containers/{id}/exec", exec_create, Kind.CHANGE),
        Route("POST", "/exec/{id}/start", exec_start, Kind.STREAM),
        Route("POST", "/exec/{id}/resize", exec_resize, Kind.CHANGE),
        Route("GET", "/exec/{id}/json", exec_inspect),
    )


class Connection(Protocol):
    """What a session is carried over: a hijacked connection or a WebSocket."""

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def wait_gone(self) -> None: ...


class _WebSocket:
    """A WebSocket as a Connection: binary frames out, binary or text in; closing it is its end."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        message = await self._socket.receive()
        if message.type is WSMsgType.BINARY:
            return bytes(message.data)
        return str(message.data).encode() if message.type is WSMsgType.TEXT else b""

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def wait_gone(self) -> None:
        return


class Console:
    """Carries a session over a connection.

    `tty` sends raw bytes, otherwise each piece is framed (unless `framed` is off). With `stdin`, the
    client's end of input becomes the process's if `closes_stdin`; else it ends the connection, as
    in Docker. `detach_keys` are looked for on terminals only.
    """

    def __init__(
        self,
        session: ConsoleSession,
        *,
        tty: bool,
        stdin: bool,
        closes_stdin: bool,
        detach_keys: bytes,
        streams: frozenset[Stream],
        framed: bool = True,
    ) -> None:
        self._session = session
        self._framed = framed and not tty
        self._stdin = stdin
        self._closes_stdin = closes_stdin and not tty
        self._filter = DetachFilter(detach_keys) if tty else None
        self._streams = streams

    async def run(self, connection: Connection) -> None:
        """Return when the process has ended, or the client has left or detached."""
        await first_of(self._send_output(connection), self._take_input(connection))

    async def _send_output(self, connection: Connection) -> None:
        try:
            async for output in self._session.output():
                if output.stream in self._streams:
                    data = frame(output.stream, output.data) if self._framed else output.data
                    await connection.write(data)
        except CarrickError as error:
            message = f"{error.message}\n".encode()
            await connection.write(frame(SYSTEM_ERROR, message) if self._framed else message)

    async def _take_input(self, connection: Connection) -> None:
        """Pass input on. Returns when the connection should end from the client's side."""
        while data := await connection.read():
            if not self._stdin:
                continue
            detached = False
            if self._filter is not None:
                data, detached = self._filter.feed(data)
            if data:
                await self._session.write(data)
            if detached:
                return
        if self._stdin and not self._closes_stdin:
            return
        if self._stdin:
            await self._session.close_stdin()
        await connection.wait_gone()


async def first_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all until one returns or raises; the others are cancelled and awaited."""
    tasks = [asyncio.create_task(item, name="api console") for item in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for task, result in zip(tasks, results, strict=True):
        if task in done and isinstance(result, Exception):
            raise result


async def _serve(call: Call, console: Console, content_type: str) -> web.StreamResponse:
    """Take the connection over and run the console on it."""
    connection = take_over(call.request, content_type, call.site.headers)
    try:
        await _run(console, connection)
    finally:
        connection.close()
    return HijackedResponse()


async def _run(console: Console, connection: Connection) -> None:
    try:
        await console.run(connection)
    except ConnectionError:
        return  # the client is gone; there is nobody to tell
    except Exception as error:
        # The head is sent, so that no status can tell the client: its stream just ends.
        reply_to(error)


def _content_type(call: Call, tty: bool) -> str:
    return stream_type(tty, call.version) if wants_upgrade(call.request) else RAW_STREAM


def _wanted_streams(call: Call) -> frozenset[Stream]:
    wanted = ((Stream.STDOUT, call.flag("stdout")), (Stream.STDERR, call.flag("stderr")))
    return frozenset(stream for stream, is_wanted in wanted if is_wanted)


async def attach(call: Call) -> web.StreamResponse:
    detach_keys = parse_detach_keys(call.query("detachKeys"))
    view = await call.engine.containers.get(call.parameter("id"))
    config = view.record.config
    streams = _wanted_streams(call)
    if not call.flag("stream"):
        return await _attach_to_past(call, view.record.id, config.tty, streams)
    stdin = call.flag("stdin") and config.open_stdin
    session = await call.engine.containers.attach(view.record.id, stdin=stdin, logs=call.flag("logs"))
    try:
        console = Console(
            session,
            tty=config.tty,
            stdin=stdin,
            closes_stdin=config.stdin_once,
            detach_keys=detach_keys,
            streams=streams,
        )
        return await _serve(call, console, _content_type(call, config.tty))
    finally:
        await session.close()


async def _attach_to_past(
    call: Call, container_id: str, tty: bool, streams: frozenset[Stream]
) -> web.StreamResponse:
    """Attach without `stream`: with `logs`, what has been written; else nothing."""
    query = LogQuery(stdout=Stream.STDOUT in streams, stderr=Stream.STDERR in streams)
    entries = None
    if call.flag("logs"):
        entries = await begin(call.engine.containers.logs(container_id, query), endless=False)
    connection = take_over(call.request, _content_type(call, tty), call.site.headers)
    try:
        if entries is not None:
            with suppress(ConnectionError):
                async for part in render_log(entries, tty=tty):
                    await connection.write(part)
    finally:
        connection.close()
        if entries is not None:
            await entries.aclose()
    return HijackedResponse()


async def attach_websocket(call: Call) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    if not socket.can_prepare(call.request):
        raise InvalidRequest("bad request: this is not a WebSocket handshake of version 13")
    detach_keys = parse_detach_keys(call.query("detachKeys"))
    view = await call.engine.containers.get(call.parameter("id"))
    config = view.record.config
    stdin = call.flag("stdin") and config.open_stdin
    session = await call.engine.containers.attach(view.record.id, stdin=stdin, logs=call.flag("logs"))
    try:
        socket.headers.update(call.site.headers)
        await socket.prepare(call.request)
        console = Console(
            session,
            tty=config.tty,
            stdin=stdin,
            closes_stdin=config.stdin_once,
            detach_keys=detach_keys,
            streams=_wanted_streams(call),
            framed=False,
        )
        await _run(console, _WebSocket(socket))
        await socket.close()
        return socket
    finally:
        await session.close()


async def exec_create(call: Call) -> web.StreamResponse:
    config = parse_exec(await call.document("ExecConfig"))
    parse_detach_keys(config.detach_keys)
    identifier = await call.engine.containers.exec_create(call.parameter("id"), config)
    return call.json({"Id": identifier}, 201)


async def exec_start(call: Call) -> web.StreamResponse:
    asked = parse_exec_start(await call.document("ExecStartConfig", required=False))
    view = await call.engine.containers.exec_get(call.parameter("id"))
    if asked.detach:
        # Begun is begun: whether the client still waits does not matter to the process.
        await asyncio.shield(call.engine.containers.exec_start_detached(view.id))
        return call.empty(200)
    # As in Docker, the head goes out before the process starts: clients that read heads through a
    # buffer (docker-py) lose output that arrives together with it.
    connection = take_over(call.request, _content_type(call, view.config.tty), call.site.headers)
    try:
        await _exec(call, view, asked.size, connection)
    except ConnectionError:
        pass  # the client is gone; there is nobody to tell
    finally:
        connection.close()
    return HijackedResponse()


async def _exec(call: Call, view: ExecView, size: ConsoleSize | None, connection: Hijacked) -> None:
    config = view.config
    try:
        session = await call.engine.containers.exec_start(view.id, size=size)
    except CannotStart as error:
        # Told as output: that is where `docker exec` looks, before it asks for the exit code.
        message = f"{error.message}\r\n".encode()
        await connection.write(message if config.tty else frame(Stream.STDOUT, message))
        return
    except Exception as error:
        message = f"{reply_to(error).message}\r\n".encode()
        await connection.write(message if config.tty else frame(Stream.STDOUT, message))
        return
    shown = ((Stream.STDOUT, config.attach_stdout), (Stream.STDERR, config.attach_stderr))
    try:
        console = Console(
            session,
            tty=config.tty,
            stdin=config.attach_stdin,
            closes_stdin=True,
            detach_keys=parse_detach_keys(config.detach_keys),
            streams=frozenset(stream for stream, is_shown in shown if is_shown),
        )
        await _run(console, connection)
    finally:
        await session.close()


async def exec_resize(call: Call) -> web.StreamResponse:
    size = parse_console_size(call.integer("h") or 0, call.integer("w") or 0)
    if size is not None:
        await call.engine.containers.exec_resize(call.parameter("id"), size)
    return call.empty(200)


async def exec_inspect(call: Call) -> web.StreamResponse:
    return call.json(render_exec(await call.engine.containers.exec_get(call.parameter("id"))))
