"""The daemon's client for `carrick-dns`.

Generic over the messages, which are `carrick.domains.dns.protocol`'s: this module moves lines. The
daemon gives it `snapshot`, called at each connection, so that after a restart of either side the
resolver has exactly what the daemon wants it to have.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

from ...model.errors import CarrickError, Unavailable

_RETRY_S = 0.1
_MAX_RETRY_S = 2.0
_MAX_LINE = 64 << 20
_LOG = logging.getLogger(__name__)

Q = TypeVar("Q")
R = TypeVar("R")


class ResolverClient(Generic[Q, R]):
    """A connection to `carrick-dns` that comes back by itself.

    `run` is the one task; the owner starts it in its task group. `request` may be called by many
    tasks at once; requests go out in the order of the calls.
    """

    def __init__(
        self,
        socket_path: Path,
        *,
        encode: Callable[[Q], bytes],
        decode: Callable[[bytes], R],
        snapshot: Callable[[], Awaitable[Q]],
        on_synced: Callable[[R], None] | None = None,
    ) -> None:
        self._path = socket_path
        self._encode = encode
        self._decode = decode
        self._snapshot = snapshot
        self._on_synced = on_synced
        self._writer: asyncio.StreamWriter | None = None
        self._replies: deque[asyncio.Future[R]] = deque()
        self._synced = asyncio.Event()
        self._was_synced = False

    @property
    def is_synced(self) -> bool:
        """Whether the resolver is connected and has acknowledged the snapshot."""
        return self._synced.is_set()

    async def wait_synced(self, timeout: float) -> None:
        """Wait until it is; raises Unavailable."""
        try:
            async with asyncio.timeout(timeout):
                await self._synced.wait()
        except TimeoutError as error:
            raise Unavailable(
                f"carrick-dns does not answer at {self._path}", remedy="see its log, or restart it"
            ) from error

    async def request(self, message: Q, *, timeout: float = 5.0) -> R:
        """Send one message and return its reply. Waits for the snapshot to be through first.

        Raises Unavailable if there is no connection in that time, or it breaks; what was sent is
        then part of the next connection's snapshot, so nobody needs to send it again.
        """
        await self.wait_synced(timeout)
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(message)
        except TimeoutError as error:
            raise Unavailable(f"carrick-dns at {self._path} has not replied in time") from error

    async def run(self) -> None:
        """Connect, send the snapshot, and do so again whenever the connection ends. Never ends."""
        pause = _RETRY_S
        while True:
            try:
                await self._serve_connection()
            except (OSError, ValueError, CarrickError) as error:
                _LOG.debug("carrick-dns at %s: %s", self._path, error)
            pause = _RETRY_S if self._was_synced else min(pause * 2, _MAX_RETRY_S)
            await asyncio.sleep(pause)

    async def _serve_connection(self) -> None:
        self._was_synced = False
        reader, writer = await asyncio.open_unix_connection(self._path, limit=_MAX_LINE)
        self._writer = writer
        try:
            # Nobody else writes before this is acknowledged, so the first line is its reply.
            # What changes after the snapshot was taken is requested by whoever changes it.
            writer.write(self._encode(await self._snapshot()) + b"\n")
            await writer.drain()
            if not (line := await reader.readline()):
                return
            reply = self._decode(line)
            if self._on_synced is not None:
                self._on_synced(reply)
            self._was_synced = True
            self._synced.set()
            while line := await reader.readline():
                if self._replies and not (waiter := self._replies.popleft()).done():
                    waiter.set_result(self._decode(line))
        finally:
            self._synced.clear()
            self._writer = None
            while self._replies:
                if not (waiter := self._replies.popleft()).done():
                    waiter.set_exception(Unavailable("the connection to carrick-dns was lost"))
            writer.close()

    async def _exchange(self, message: Q) -> R:
        if self._writer is None:
            raise Unavailable(f"carrick-dns is not connected at {self._path}")
        waiter: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._replies.append(waiter)
        self._writer.write(self._encode(message) + b"\n")
        await self._writer.drain()
        return await waiter
