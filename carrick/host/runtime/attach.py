"""Sessions on a process's streams: for containers, and for exec.

conmon writes to every attached client in turn and waits for each. A client of a container's that
does not read would thus stall the container and all its other readers, and so would a daemon that
is busy for a moment. Hence a container's output is read from its log, which conmon writes in any case: every
session has its own place there, however far behind, and misses nothing. conmon's socket is
used for standard input alone (we shut the other direction).

An exec has no log and one client only, so its session uses the socket both ways: who does not read
holds up nobody but this process, as a pipe would.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from .api import ConsoleSize, Output, Stream
from .conmon import resize_terminal
from .logs import LogCursor, LogFollower
from .processes import ProcessHandle, kill_session

_PACKET = 8192
"""Standard input in pieces that conmon takes in one read."""
_RECEIVE = 1 << 16


def connect_attach(directory: Path) -> socket.socket:
    """Connect to conmon's attach socket in a bundle or session directory."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # By the directory's descriptor: a socket's address holds 107 bytes, a path may be longer.
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            connection.connect(f"/proc/self/fd/{descriptor}/attach")
        finally:
            os.close(descriptor)
        connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    return connection


@dataclass(slots=True)
class StandardInput:
    """The sending half of an attach socket."""

    connection: socket.socket

    async def write(self, data: bytes) -> None:
        """Hand bytes on; a process that has ended or closed its input takes them silently."""
        loop = asyncio.get_running_loop()
        for start in range(0, len(data), _PACKET):
            try:
                await loop.sock_sendall(self.connection, data[start : start + _PACKET])
            except OSError:
                return

    def end(self) -> None:
        """Half-close: the process reads the end of its input."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)


class Signal:
    """Wakes one waiter when something may have changed; a change before the wait is not missed."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the waiter, or the next one."""
        self._event.set()

    async def wait(self) -> None:
        """Return after the next change."""
        await self._event.wait()
        self._event.clear()


@dataclass(eq=False, slots=True)
class ContainerSession:
    """One client of a container. Made before the container runs, it waits for the run.

    `bind` is called by the runtime when the run exists and its command has not started, or at
    once for one that runs; `fail` if there will be none. `on_close` lets the runtime forget it.
    """

    wants_stdin: bool
    wants_logs: bool
    on_close: Callable[["ContainerSession"], None]
    signal: Signal = field(default_factory=Signal)
    _cursor: LogCursor | None = None
    _stdin: StandardInput | None = None
    _is_ended: Callable[[], bool] = lambda: False
    _bound: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False

    @property
    def is_bound(self) -> bool:
        """True once it belongs to a run."""
        return self._bound.is_set()

    def bind(self, cursor: LogCursor, directory: Path, is_ended: Callable[[], bool]) -> None:
        """Join a run: output from `cursor` on, input through conmon in `directory`."""
        if self._bound.is_set() or self._closed:
            cursor.close()
            return
        self._cursor = cursor
        self._is_ended = is_ended
        if self.wants_stdin:
            # Gone already if the process was quick; then there is nobody to write to.
            with contextlib.suppress(OSError):
                connection = connect_attach(directory)
                connection.shutdown(socket.SHUT_RD)
                self._stdin = StandardInput(connection)
        self._bound.set()

    def fail(self) -> None:
        """End the session without any output."""
        self._is_ended = lambda: True
        self._bound.set()
        self.signal.set()

    async def output(self) -> AsyncIterator[Output]:
        """Yield output, adjacent pieces of one stream joined."""
        await self._bound.wait()
        if self._cursor is None:
            return
        follower = LogFollower(self._cursor, self.signal.wait, lambda: self._closed or self._is_ended())
        async for records in follower.records():
            if self._closed:
                return
            pieces: list[bytes] = []
            stream = records[0].stream
            for record in records:
                if record.stream is not stream:
                    yield Output(stream, b"".join(pieces))
                    pieces, stream = [], record.stream
                pieces.append(record.data)
            yield Output(stream, b"".join(pieces))

    async def write(self, data: bytes) -> None:
        """Write to standard input, waiting for the run if there is none yet."""
        await self._bound.wait()
        if self._stdin is not None:
            await self._stdin.write(data)

    async def close_stdin(self) -> None:
        """Half-close."""
        await self._bound.wait()
        if self._stdin is not None:
            self._stdin.end()

    async def close(self) -> None:
        """Leave the container alone from now on."""
        if self._closed:
            return
        self._closed = True
        self._bound.set()
        self.signal.set()
        if self._stdin is not None:
            self._stdin.connection.close()
        self.on_close(self)


@dataclass(eq=False, slots=True)
class RunningExec:
    """One exec session. `exit_code` is set by the runtime when conmon has written it."""

    directory: Path
    pid: int
    connection: socket.socket | None
    exit_code: "asyncio.Future[int]"
    on_close: Callable[["RunningExec"], None]
    process: ProcessHandle | None = None
    """What `pid` stood for when it was started."""
    _closed: bool = False
    _is_read: bool = False

    async def output(self) -> AsyncIterator[Output]:
        """Yield output until the process has ended."""
        if self.connection is None or self._closed:
            return
        loop = asyncio.get_running_loop()
        self._is_read = True
        try:
            while packet := await loop.sock_recv(self.connection, _RECEIVE):
                # The first byte of each packet says which stream (conmon's attach protocol).
                stream = Stream.STDERR if packet[0] == 3 else Stream.STDOUT
                if len(packet) > 1:
                    yield Output(stream, packet[1:])
            if not self._closed:
                # Clients ask for the exit code when the stream ends: by then it has to be there.
                await self.wait()
        except OSError:
            return
        finally:
            self._is_read = False
            self._close_socket_once_unused()

    async def write(self, data: bytes) -> None:
        """Write to standard input."""
        if self.connection is not None and not self._closed:
            await StandardInput(self.connection).write(data)

    async def close_stdin(self) -> None:
        """Half-close."""
        if self.connection is not None and not self._closed:
            StandardInput(self.connection).end()

    async def wait(self) -> int:
        """Return the exit code."""
        return await asyncio.shield(self.exit_code)

    async def resize(self, size: ConsoleSize) -> None:
        """Set the terminal's size."""
        resize_terminal(self.directory, size.rows, size.columns)

    async def kill(self) -> None:
        """Kill the process's session; conmon reaps it and writes the exit code."""
        if self.process is not None and not self.exit_code.done():
            kill_session(self.process)

    async def close(self) -> None:
        """Let go; the process runs on."""
        if not self._closed:
            self._closed = True
            if self.connection is not None:
                # Shut it, so that a reader in `output` wakes; the last one closes it.
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
            self._close_socket_once_unused()
            self.on_close(self)

    def _close_socket_once_unused(self) -> None:
        if self._closed and not self._is_read and self.connection is not None:
            self.connection.close()
