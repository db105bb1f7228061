"""Many watches in one call: etcd numbers them, and each is a lane of its own here.

A call of its own for every watch would cost etcd 80 KB each, where a lane costs it a few. What the call
brings is put into the lanes as it comes. A lane whose reader does not keep up is closed when it is full;
its watch opens another once it has taken what waited, from where that ended. So etcd keeps what nobody
reads, and a slow reader holds up nobody else.
"""

import asyncio
from collections import deque

from . import etcd_wire as wire
from .etcd_call import Call, CallFailed, Carrier, Code
from .etcd_transport import EtcdTransport

LANE_BYTES = 1024 * 1024
"""What may wait in one lane, beyond its first answer."""

_REFUSED = -1
"""What some versions call a watch that they refuse."""


class LaneFull(Exception):
    """The reader has taken all that fitted; the rest is to be asked for again."""


class Lane:
    """The answers to one watch. For one reader at a time."""

    def __init__(self, stream: "_Stream", number: int) -> None:
        self._stream = stream
        self._number = number
        self._inbox: deque[bytes] = deque()
        self._bytes = 0
        self._end: CallFailed | LaneFull | None = None
        self._news = asyncio.Event()

    @property
    def connection(self) -> Carrier:
        return self._stream.call.connection

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    async def receive(self) -> wire.WatchResponse:
        """Return the next answer. Raises CallFailed, and LaneFull. May be cancelled."""
        while not self._inbox:
            if self._end is not None:
                raise self._end
            self._news.clear()
            await self._news.wait()
        message = self._inbox.popleft()
        self._bytes -= len(message)
        return wire.read_watch(message)

    def cancel(self) -> None:
        """Stop watching. May be repeated."""
        self._inbox.clear()
        self.end(CallFailed(Code.CANCELLED, "cancelled"))
        self._stream.remove(self._number)

    def offer(self, message: bytes) -> None:
        if self._inbox and self._bytes + len(message) > LANE_BYTES:
            self.end(LaneFull())
            self._stream.remove(self._number)
            return
        self._inbox.append(message)
        self._bytes += len(message)
        self._news.set()

    def end(self, reason: CallFailed | LaneFull) -> None:
        self._end = reason
        self._news.set()


class WatchMux:
    """The watches of one store."""

    def __init__(self, transport: EtcdTransport) -> None:
        self._transport = transport
        self._stream: _Stream | None = None
        self._opening = asyncio.Lock()

    async def open(self, start: bytes, end: bytes, revision: int) -> Lane:
        """Begin to watch a range from a revision on. Raises what `EtcdTransport.open` raises."""
        async with self._opening:
            stream = self._stream
            if stream is None or stream.is_over or not self._transport.is_current(stream.call.connection):
                stream = self._stream = _Stream(await self._transport.open(wire.WATCH))
        return stream.add(start, end, revision)

    def renew(self) -> None:
        """Use a new call for the next watch, with a new token; those in the old one stay there."""
        self._stream = None


class _Stream:
    def __init__(self, call: Call) -> None:
        self.call = call
        self._lanes: dict[int, Lane] = {}
        self._unanswered: deque[int] = deque()
        self._last = 0
        call.listen(self._take, self._fail)

    @property
    def is_over(self) -> bool:
        return self.call.is_over

    def add(self, start: bytes, end: bytes, revision: int) -> Lane:
        self._last += 1
        lane = Lane(self, self._last)
        if (failure := self.call.failure) is not None:
            lane.end(failure)
            return lane
        self._lanes[self._last] = lane
        self._unanswered.append(self._last)
        self.call.post(wire.watch_request(start, end, revision, self._last))
        return lane

    def remove(self, number: int) -> None:
        if self._lanes.pop(number, None) is None:
            return
        if self._lanes:
            self.call.post(wire.watch_cancel_request(number))
        else:
            self.call.cancel()

    def _take(self, message: bytes) -> None:
        number = wire.read_watch_id(message)
        if self._unanswered and number in {self._unanswered[0], _REFUSED}:
            # Requests are answered in their order, which tells what is refused without its number.
            number = self._unanswered.popleft()
        if (lane := self._lanes.get(number)) is not None:
            lane.offer(message)

    def _fail(self, failure: CallFailed) -> None:
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            lane.end(failure)
