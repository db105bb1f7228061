"""Take an HTTP connection over: raw bytes both ways, as attach and exec need (reference, section 7).

aiohttp hands connections over to its own WebSockets only. asyncio, however, lets a transport change
its protocol, and that is all that is done here: `take_over` puts an ordinary asyncio stream between the
transport and aiohttp, and the answer's head is written on it. aiohttp's protocol object is told
when the connection is lost, so that its own bookkeeping (and the cancellation of our handler) works as ever.

Half-close is why the stream has a protocol of its own: a client ends its standard input by shutting
down its side, and goes on reading. On a Unix socket that looks the same as a client that is gone;
`wait_gone` tells the two apart.

Bytes that a client sends before it has seen our head are not ours (RFC 9110, section 7.8, forbids
them); aiohttp drops them.
"""

import asyncio
import os
import select
from collections.abc import Mapping
from contextlib import suppress

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

_LIMIT = 64 * 1024


class Hijacked:
    """A connection that has left HTTP. Use `close` in a `finally`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """Return what the client sent; empty once it has ended its side."""
        try:
            return await self._reader.read(_LIMIT)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        """Send at the client's pace. Raises ConnectionError if it is gone."""
        self._writer.write(data)
        await self._writer.drain()

    async def wait_gone(self) -> None:
        """Return when the client has closed both sides.

        After a half-close asyncio no longer watches the socket. An epoll that asks for nothing
        still reports a hang-up, and can itself be watched.
        """
        raw = self._writer.get_extra_info("socket")
        if raw is None or raw.fileno() < 0:
            return
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        # A duplicate, so that the number cannot come to mean another socket under us.
        duplicate = os.dup(raw.fileno())
        poll = select.epoll()
        try:
            poll.register(duplicate, 0)
            loop.add_reader(poll.fileno(), gone.set)
            try:
                await gone.wait()
            finally:
                loop.remove_reader(poll.fileno())
        finally:
            poll.close()
            os.close(duplicate)

    def close(self) -> None:
        """End the connection; what was written is still delivered."""
        self._writer.close()


class _Protocol(asyncio.StreamReaderProtocol):
    """The stream's protocol. `eof_received` is StreamReaderProtocol's: it keeps our side open."""

    def __init__(
        self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop, before: asyncio.BaseProtocol
    ) -> None:
        super().__init__(reader, loop=loop)
        self._before = before

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._before.connection_lost(exc)


class HijackedResponse(web.StreamResponse):
    """What a handler returns to aiohttp after a hijack: nothing is to be sent any more."""

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


def wants_upgrade(request: web.BaseRequest) -> bool:
    """Say whether the client asked for 101; without, the answer is 200 on the same raw stream."""
    connection = request.headers.get("Connection", "").lower()
    return "upgrade" in connection and bool(request.headers.get("Upgrade"))


def take_over(request: web.BaseRequest, content_type: str, headers: Mapping[str, str]) -> Hijacked:
    """Answer, and return the connection. The request's body must have been read.

    Raises ConnectionResetError if the client is gone already.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LIMIT, loop=loop)
    protocol = _Protocol(reader, loop, transport.get_protocol())
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    with suppress(RuntimeError):  # aiohttp may have paused it; asyncio minds if it has not
        transport.resume_reading()
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    writer.write(_head(request, content_type, headers))
    return Hijacked(reader, writer)


def _head(request: web.BaseRequest, content_type: str, headers: Mapping[str, str]) -> bytes:
    if wants_upgrade(request):
        lines = ["HTTP/1.1 101 UPGRADED", "Connection: Upgrade", "Upgrade: tcp"]
    else:
        lines = ["HTTP/1.1 200 OK"]
    lines.append(f"Content-Type: {content_type}")
    lines += (f"{name}: {value}" for name, value in headers.items())
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
