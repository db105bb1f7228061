"""The daemon's way to `carrick-ports`: a connection that is made when it is needed, and made again."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from pathlib import Path

from ...model.errors import Unavailable
from .contract import HeldPort
from .protocol import Done, Hold, Refused, Release, Reply, Request, Sync, decode_reply, encode, raise_error

TIMEOUT_S = 30.0
"""Generous: ten thousand ports take a second on a busy machine."""
_RETRY_S = 0.1
_MAX_RETRY_S = 2.0


class PortHolderClient:
    """The `PortHolder` that is another process. Requests of many tasks go out at once, in order.

    `on_connect` is called on every new connection before anything else is sent, and is expected to call
    `sync` with all that is published: then the process holds that, whatever it held. Requests wait for it
    meanwhile; if it fails they fail with it, and the next one calls it again.
    """

    def __init__(
        self,
        socket_path: Path,
        *,
        on_connect: Callable[[], Awaitable[object]] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._path = socket_path
        self._on_connect = on_connect
        self._timeout_s = timeout_s
        self._numbers = count(1)
        self._connection: _Connection | None = None
        self._opening = asyncio.Lock()
        self._preparing = asyncio.Lock()
        self._is_closed = False

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and not self._connection.is_lost

    async def hold(self, owner: str, ports: Sequence[HeldPort]) -> None:
        """See `PortHolder`."""
        if ports:
            await self._ask(await self._ready(), Hold(next(self._numbers), owner, tuple(ports)))

    async def release(self, owner: str, ports: Sequence[HeldPort] | None = None) -> None:
        """See `PortHolder`."""
        wanted = None if ports is None else tuple(ports)
        if wanted != ():
            await self._ask(await self._ready(), Release(next(self._numbers), owner, wanted))

    async def sync(self, everything: Mapping[str, Sequence[HeldPort]]) -> Mapping[str, str]:
        """See `PortHolder`. On a new connection this takes the place of `on_connect`."""
        connection = await self._open()
        wanted = {owner: tuple(ports) for owner, ports in everything.items()}
        done = await self._ask(connection, Sync(next(self._numbers), wanted))
        connection.is_prepared = True
        return done.problems

    async def run(self) -> None:
        """Keep connected, so that a process that was started again is synced at once. Never ends.

        Optional: without it the next request connects. The owner starts it in its task group.
        """
        pause_s = _RETRY_S
        while True:
            try:
                connection = await self._ready()
            except Unavailable:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _MAX_RETRY_S)
            else:
                pause_s = _RETRY_S
                await connection.lost.wait()

    async def close(self) -> None:
        """See `PortHolder`. Requests under way fail with Unavailable."""
        self._is_closed = True
        if self._connection is not None:
            self._connection.close()

    async def _ready(self) -> "_Connection":
        connection = self._connection
        if connection is not None and connection.is_prepared and not connection.is_lost:
            return connection
        async with self._preparing:
            connection = await self._open()
            if not connection.is_prepared:
                if self._on_connect is not None:
                    await self._on_connect()
                connection.is_prepared = True
        return connection

    async def _open(self) -> "_Connection":
        async with self._opening:
            if self._is_closed:
                raise Unavailable("the connection to carrick-ports has been closed")
            if self._connection is None or self._connection.is_lost:
                loop = asyncio.get_running_loop()
                try:
                    _, self._connection = await loop.create_unix_connection(_Connection, str(self._path))
                except OSError as error:
                    raise Unavailable(
                        f"carrick-ports does not answer at {self._path}: {error.strerror or error}",
                        remedy="start it (carrick-ports.service), or see its log",
                    ) from error
            return self._connection

    async def _ask(self, connection: "_Connection", request: Request) -> Done:
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await connection.ask(request)
        except TimeoutError as error:
            connection.close()  # what it has done with the request is for the next sync to settle
            raise Unavailable(
                f"carrick-ports at {self._path} has not answered in {self._timeout_s:g} s",
                remedy="see its log, or restart it",
            ) from error
        if isinstance(reply, Refused):
            raise_error(reply)
        return reply


class _Connection(asyncio.Protocol):
    """Joins replies to requests. A protocol, not streams: no task of its own has to be looked after."""

    def __init__(self) -> None:
        self.is_prepared = False
        self.lost = asyncio.Event()
        self._transport: asyncio.WriteTransport | None = None
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._received = bytearray()

    @property
    def is_lost(self) -> bool:
        return self.lost.is_set()

    async def ask(self, request: Request) -> Reply:
        """Raises Unavailable if the connection ends before the reply."""
        if self._transport is None or self.is_lost:
            raise Unavailable("the connection to carrick-ports was lost")
        waiter: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[request.number] = waiter
        try:
            self._transport.write(encode(request) + b"\n")
            return await waiter
        finally:
            self._waiting.pop(request.number, None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._lose()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        searched = len(self._received)
        self._received += data
        while (end := self._received.find(b"\n", searched)) >= 0:
            line = bytes(self._received[:end])
            del self._received[: end + 1]
            searched = 0
            try:
                reply = decode_reply(line)
            except ValueError:
                self.close()  # not carrick-ports, or one of another version
                return
            waiter = self._waiting.get(reply.number)
            if waiter is not None and not waiter.done():
                waiter.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self._lose()

    def _lose(self) -> None:
        self.lost.set()
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(Unavailable("the connection to carrick-ports was lost"))
