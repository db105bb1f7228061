"""Serve the CNI executable on a Unix socket: one connection, one call, one task.

What a client may cost is bounded in bytes, time and number. A client that is gone ends its ADD, which then
undoes itself; removals are finished for whoever asked.

Removals that were asked for while no daemon answered wait in a directory beside the socket, written there by
the executable, and are carried out before the first call.
"""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from .calls import Answer, CniCalls, render_error
from .errors import CniError, Code
from .frames import MAX_HEADER, parse_environment, parse_header, render_answer, split_request

_log = logging.getLogger(__name__)
SOCKET_NAME = "cni.sock"
_RECEIVE_S = 10.0
_SEND_S = 10.0
_MOST_AT_ONCE = 64
_FINISHED_ANYWAY = frozenset({"DEL", "GC"})


def waiting_directory(socket: Path) -> Path:
    """Return where the executable puts removals while nobody answers on `socket`."""
    return socket.with_name(f"{socket.name}.deleted")


class CniServer:
    """Serves `calls` on `socket`."""

    def __init__(
        self,
        calls: CniCalls,
        socket: Path,
        *,
        receive_s: float = _RECEIVE_S,
        most_at_once: int = _MOST_AT_ONCE,
    ) -> None:
        self._calls = calls
        self._socket = socket
        self._receive_s = receive_s
        self._slots = asyncio.Semaphore(most_at_once)
        self._caught_up = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, and carry out what waited. Calls that come meanwhile wait for that."""
        waiting = waiting_directory(self._socket)
        waiting.mkdir(mode=0o700, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        self._caught_up.clear()
        self._listener = await asyncio.start_unix_server(
            self._serve, str(self._socket), limit=MAX_HEADER, backlog=512
        )
        self._socket.chmod(0o600)
        # Whoever finds nobody here writes its removal before it has tried once more: after this point none
        # is added that would not be asked for in the ordinary way too.
        try:
            await self._catch_up(waiting)
        finally:
            self._caught_up.set()

    async def stop(self) -> None:
        """Stop listening, end the calls that run, and wait for them. May be repeated."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await listener.wait_closed()
        self._socket.unlink(missing_ok=True)

    async def _catch_up(self, waiting: Path) -> None:
        for path in sorted(waiting.iterdir()):
            if path.suffix == ".new":
                continue
            try:
                environment, data = split_request(path.read_bytes())
                if environment.get("CNI_COMMAND") == "DEL":
                    answer = await self._calls.answer(environment, data)
                    if answer.exit_code:
                        _log.warning("a removal that waited failed: %s", answer.output.decode())
            except (CniError, OSError) as error:
                _log.warning("a removal that waited, %s, is of no use: %s", path.name, error)
            path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("cni call")
        self._tasks.add(task)
        try:
            await self._converse(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            pass  # it went away, or says nothing
        except asyncio.CancelledError:
            # The stream's own callback would log it; `stop` knows.
            if self._listener is not None:
                raise
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._receive_s):
                environment, data = await _receive(reader)
        except CniError as error:
            answer: Answer | None = Answer(1, render_error(error, ""))
        else:
            await self._caught_up.wait()
            async with self._slots:
                answer = await self._while_there(reader, environment, data)
        if answer is None:
            return
        writer.write(render_answer(answer.exit_code, answer.output))
        async with asyncio.timeout(_SEND_S):
            await writer.drain()

    async def _while_there(
        self, reader: asyncio.StreamReader, environment: dict[str, str], data: bytes
    ) -> Answer | None:
        """Carry out a call as long as its client waits; None if it went."""
        call = asyncio.create_task(self._calls.answer(environment, data), name="cni answer")
        gone = asyncio.create_task(reader.read(1), name="cni client")
        try:
            finished_anyway = environment.get("CNI_COMMAND") in _FINISHED_ANYWAY
            await asyncio.wait(
                {call} if finished_anyway else {call, gone}, return_when=asyncio.FIRST_COMPLETED
            )
            return call.result() if call.done() else None
        finally:
            for task in (call, gone):
                task.cancel()
            with suppress(Exception):
                await asyncio.gather(call, gone, return_exceptions=True)


async def _receive(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        raise CniError(Code.IO_FAILURE, "a request's first line is too long") from error
    length, size = parse_header(line)
    environment = parse_environment(await reader.readexactly(length))
    return environment, await reader.readexactly(size)
