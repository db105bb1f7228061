"""Processes in memory, for fakes that need something to attach to.

A `FakeProcess` understands a few commands: `echo WORD…`, `warn WORD…` (to stderr), `cat` (stdin to
stdout), `flood BYTES`, `exit CODE`, `sleep`/`sh`/`top` (until a signal); others cannot be started.
"""

import asyncio
import time
from collections.abc import AsyncIterator

from ..host.runtime.api import CannotStart, ConsoleSession, ConsoleSize, LogEntry, Output, Stream

_ENDLESS = ("sleep", "sh", "top", "/bin/sh")
_COMMANDS = (*_ENDLESS, "echo", "warn", "cat", "flood", "exit")
_FLOOD_PIECE = 32 * 1024


class FakeProcess:
    """A process that runs its command in the event loop, in a task that `kill` ends."""

    def __init__(self, args: tuple[str, ...], *, tty: bool = False, stdin: bool = False) -> None:
        self.args = args
        self.tty = tty
        self.log: list[LogEntry] = []
        self.sizes: list[ConsoleSize] = []
        self.sessions: set[FakeSession] = set()
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._stdin: asyncio.Queue[bytes] = asyncio.Queue()
        self._stdin_open = stdin
        self._task: asyncio.Task[None] | None = None

    def attach(self, *, logs: bool = False) -> "FakeSession":
        session = FakeSession(self)
        if logs:
            for entry in self.log:
                session.deliver(Output(entry.stream, entry.data))
        self.sessions.add(session)
        if self.exited.done():
            session.deliver(None)
        return session

    def start(self) -> None:
        """Run the command. Raises CannotStart if there is no such."""
        if not self.args or self.args[0] not in _COMMANDS:
            name = self.args[0] if self.args else ""
            raise CannotStart(f'exec: "{name}": executable file not found in $PATH: unknown', exit_code=127)
        self._task = asyncio.create_task(self._run(), name=f"fake {self.args[0]}")

    def kill(self, code: int) -> None:
        if self._task is not None:
            self._task.cancel()
        self._end(code)

    def write_stdin(self, data: bytes) -> None:
        if self._stdin_open:
            self._stdin.put_nowait(data)

    def close_stdin(self) -> None:
        self.write_stdin(b"")
        self._stdin_open = False

    async def _run(self) -> None:
        self._end(await self._execute(self.args[0], self.args[1:]))

    async def _execute(self, name: str, words: tuple[str, ...]) -> int:
        if name in ("echo", "warn"):
            text = " ".join(words).encode() + (b"\r\n" if self.tty else b"\n")
            self.emit(Stream.STDERR if name == "warn" and not self.tty else Stream.STDOUT, text)
        elif name == "cat":
            while self._stdin_open or not self._stdin.empty():
                data = await self._stdin.get()
                if not data:
                    break
                self.emit(Stream.STDOUT, data)
        elif name == "flood":
            left = int(words[0])
            while left > 0:
                piece = min(left, _FLOOD_PIECE)
                self.emit(Stream.STDOUT, b"x" * piece)
                left -= piece
                await asyncio.sleep(0)
        elif name == "exit":
            return int(words[0])
        else:
            await asyncio.Event().wait()
        return 0

    def emit(self, stream: Stream, data: bytes) -> None:
        self.log.append(LogEntry(stream, time.time_ns(), data))
        for session in self.sessions:
            session.deliver(Output(stream, data))

    def _end(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)
            for session in self.sessions:
                session.deliver(None)


class FakeSession(ConsoleSession):
    """A ConsoleSession, and an ExecSession as far as a fake needs one."""

    def __init__(self, process: FakeProcess) -> None:
        self._process = process
        self._queue: asyncio.Queue[Output | None] = asyncio.Queue()

    def deliver(self, output: Output | None) -> None:
        self._queue.put_nowait(output)

    async def output(self) -> AsyncIterator[Output]:
        while (item := await self._queue.get()) is not None:
            yield item

    async def write(self, data: bytes) -> None:
        self._process.write_stdin(data)

    async def close_stdin(self) -> None:
        self._process.close_stdin()

    async def close(self) -> None:
        self._process.sessions.discard(self)

    @property
    def pid(self) -> int:
        return 4242

    async def wait(self) -> int:
        return await asyncio.shield(self._process.exited)

    async def resize(self, size: ConsoleSize) -> None:
        self._process.sizes.append(size)
