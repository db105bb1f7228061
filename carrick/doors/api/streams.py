"""Streams of the API: multiplexed frames, detach keys, and lines of JSON with progress in them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from aiohttp import web

from ...host.runtime.image_store import Progress
from ...model.errors import InvalidRequest
from .call import Call, encode
from .errors import reply_to
from .render.images import render_late_failure, render_progress

T = TypeVar("T")

RAW_STREAM = "application/vnd.docker.raw-stream"
MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream"
SYSTEM_ERROR = 3


def frame(stream: int, payload: bytes) -> bytes:
    """Return `payload` with the header that says which stream it is of, and how long."""
    return bytes((stream, 0, 0, 0)) + len(payload).to_bytes(4, "big") + payload


# --- detach keys ------------------------------------------------------------------------------------

_NAMED_CONTROLS = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}
DEFAULT_DETACH_KEYS = bytes((16, 17))


def parse_detach_keys(text: str) -> bytes:
    """Return the bytes of `ctrl-p,ctrl-q`; nothing given is that, too."""
    if not text:
        return DEFAULT_DETACH_KEYS
    keys = bytearray()
    for key in text.split(","):
        letter = key.removeprefix("ctrl-").lower()
        if len(key) == 1 and key.isascii():
            keys.append(ord(key))
        elif key.startswith("ctrl-") and len(letter) == 1 and "a" <= letter <= "z":
            keys.append(ord(letter) - ord("a") + 1)
        elif key.startswith("ctrl-") and letter in _NAMED_CONTROLS:
            keys.append(_NAMED_CONTROLS[letter])
        else:
            raise InvalidRequest(f"Invalid detach keys ({text}) provided")
    return bytes(keys)


class DetachFilter:
    """Look for the detach keys in standard input. What only began like them is passed on late."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what to pass on, and whether the keys were pressed; then the rest is dropped."""
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(passed), True
                continue
            passed += self._keys[: self._matched]
            self._matched = 0
            if byte == self._keys[0]:
                self._matched = 1
            else:
                passed.append(byte)
        return bytes(passed), False


# --- progress ---------------------------------------------------------------------------------------


class _Pending:
    """Progress not yet sent. Of a layer's byte counts the newest counts, so that a slow client
    makes nobody wait and no memory grow."""

    def __init__(self) -> None:
        self._lines: dict[object, Progress] = {}
        self._arrived = asyncio.Event()
        self._serial = 0

    def add(self, progress: Progress) -> None:
        key: object = (progress.id, progress.status)
        if not (progress.total or progress.current):
            self._serial += 1
            key = self._serial
        self._lines[key] = progress
        self._arrived.set()

    async def take(self) -> bytes:
        """Wait for lines and return them, encoded."""
        await self._arrived.wait()
        return self.rest()

    def rest(self) -> bytes:
        self._arrived.clear()
        lines = b"".join(encode(render_progress(progress)) for progress in self._lines.values())
        self._lines.clear()
        return lines


_LOOK_S = 1.0
"""How often to look whether the client is still there."""


async def stream_progress(
    call: Call,
    work: Callable[[Callable[[Progress], None]], Coroutine[Any, Any, T]],
    finish: Callable[[T], bytes],
    *,
    quiet: bool = False,
) -> web.StreamResponse:
    """Run `work` and stream its progress as JSON lines, then what `finish` makes of its result.

    The status is sent with the first line. A failure before that is an ordinary error; one after
    it becomes the stream's last line.
    """
    pending = _Pending()

    def report(progress: Progress) -> None:
        if progress.stream or not quiet:
            pending.add(progress)

    response: web.StreamResponse | None = None
    task = asyncio.create_task(work(report), name="api progress")
    try:
        while not task.done():
            lines = asyncio.create_task(pending.take(), name="api progress lines")
            try:
                done: set[asyncio.Task[Any]] = set()
                while not done:
                    done, _ = await asyncio.wait(
                        (task, lines), timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED
                    )
                    # While there is nothing to write, nothing else would tell us. As in Docker, what
                    # a client has asked for ends with it.
                    if call.request.transport is None or call.request.transport.is_closing():
                        raise ConnectionResetError("the client is gone")
                if lines.done():
                    response = response or await call.stream("application/json")
                    await response.write(lines.result())
            finally:
                lines.cancel()
        try:
            result = task.result()
        except Exception as error:
            if response is None and not (early := pending.rest()):
                raise
            if response is None:
                response = await call.stream("application/json")
                await response.write(early)
            await response.write(pending.rest() + encode(render_late_failure(reply_to(error))))
            return response
        response = response or await call.stream("application/json")
        await response.write(pending.rest() + finish(result))
        return response
    finally:
        await _end(task)


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task that is not done, and wait for it; its own failure no longer interests."""
    if not task.done():
        task.cancel()
        await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()


# --- beginning a stream -----------------------------------------------------------------------------

_FIRST_ITEM_S = 0.05


class Begun(AsyncIterator[T]):
    """The items of a source whose first one has been asked for. `aclose` it in a `finally`.

    A class, as closing a generator that nobody has begun to read would leave the first request alive.
    """

    def __init__(self, first: "asyncio.Task[T]", items: AsyncIterator[T]) -> None:
        self._first: asyncio.Task[T] | None = first
        self._items = items

    async def __anext__(self) -> T:
        first, self._first = self._first, None
        if first is None:
            return await anext(self._items)
        try:
            return await first
        except _Empty:
            raise StopAsyncIteration from None
        except BaseException:
            await _end(first)
            raise

    async def aclose(self) -> None:
        """Let go of the source, wherever it is."""
        if self._first is not None:
            await _end(self._first)
        if isinstance(self._items, AsyncGenerator):
            await self._items.aclose()


async def begin(items: AsyncIterator[T], *, endless: bool) -> Begun[T]:
    """Return the same items, once it is known whether the source refuses.

    A generator raises with its first item, and by then the status may have been sent. So the first
    one is awaited; where it may be long in coming (`endless`), for a moment only.
    """
    first: asyncio.Task[T] = asyncio.create_task(_first_of(items), name="api first item")
    try:
        await asyncio.wait((first,), timeout=_FIRST_ITEM_S if endless else None)
    except BaseException:
        await _end(first)
        raise
    if first.done() and (error := first.exception()) and not isinstance(error, _Empty):
        raise error
    return Begun(first, items)


class _Empty(Exception):
    """The source had nothing. A task cannot raise StopAsyncIteration meaningfully."""


async def _first_of(items: AsyncIterator[T]) -> T:
    try:
        return await anext(items)
    except StopAsyncIteration:
        raise _Empty from None
