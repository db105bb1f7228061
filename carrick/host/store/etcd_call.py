"""One gRPC call: messages out, messages in, a status at the end. What carries its bytes is `etcd_grpc.py`'s.

Each call has a window of its own: what its reader has not taken stays with the sender, where it costs
nothing, instead of piling up here, and holds up no other call.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Protocol
from urllib.parse import unquote

from .etcd_config import Endpoint

_MAX_MESSAGE_BYTES = 256 * 1024 * 1024
_PREFIX_BYTES = 5
"""Before each message: a byte for compression and four for the length."""


class Code(IntEnum):
    """gRPC's status codes, as far as they occur."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class CallFailed(Exception):
    """A call ended without an answer. `untouched`: the server has certainly not begun with it."""

    def __init__(self, code: int, text: str, *, untouched: bool = False) -> None:
        super().__init__(f"{text} (gRPC code {code})")
        self.code = code
        self.text = text
        self.untouched = untouched
        self.where = ""
        """The endpoint, once it is known."""


class Carrier(Protocol):
    """The connection that a call is on, as the call sees it."""

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def lost(self) -> str | None: ...

    async def send(self, call: "Call", stream: int, data: bytes, *, end: bool) -> None:
        """Send all of it as the windows allow. Raises CallFailed."""

    def send_part(self, stream: int, data: bytes | bytearray) -> int:
        """Send as much as the windows allow now, and return how much that was."""

    def credit(self, stream: int, size: int) -> None:
        """Let the other side send more."""

    def reset(self, stream: int) -> None:
        """Tell the other side that nobody listens any more."""


class Call:
    """One call: messages out, messages in, a status at the end. For one reader at a time."""

    def __init__(self, connection: "Carrier", stream: int) -> None:
        self._connection = connection
        self._stream = stream
        self._inbox: deque[bytes] = deque()
        self._partial = bytearray()
        self._uncredited = 0
        self._status: int | None = None
        self._text = ""
        self._failure: CallFailed | None = None
        self._ended = False
        self._news = asyncio.Event()
        self._outgoing = bytearray()
        self._on_message: Callable[[bytes], None] | None = None
        self._on_failure: Callable[[CallFailed], None] = lambda failure: None

    @property
    def connection(self) -> "Carrier":
        return self._connection

    async def send(self, message: bytes, *, end: bool) -> None:
        """Send one message; `end` says that it is the last. Raises CallFailed."""
        await self._connection.send(self, self._stream, framed(message), end=end)

    def post(self, message: bytes) -> None:
        """Send one message as soon as the windows allow, with more to come. Not together with `send`."""
        self._outgoing += framed(message)
        self.push()

    def push(self) -> None:
        """Send what `post` could not. The connection calls this when there is room."""
        if self._outgoing and not self._ended:
            sent = self._connection.send_part(self._stream, self._outgoing)
            del self._outgoing[:sent]

    def listen(self, on_message: Callable[[bytes], None], on_failure: Callable[[CallFailed], None]) -> None:
        """Have every message handed over as it comes, and the failure at the end, instead of `receive`."""
        self._on_message, self._on_failure = on_message, on_failure

    async def receive(self) -> bytes | None:
        """Return the next message, or None at a good end. Raises CallFailed. May be cancelled."""
        while not self._inbox:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return None
            self._news.clear()
            await self._news.wait()
        message = self._inbox.popleft()
        self._credit()
        return message

    def cancel(self) -> None:
        """End the call, if it has not ended: the server stops working on it. May be repeated."""
        if not self._ended:
            self.fail(CallFailed(Code.CANCELLED, "cancelled"))
            self._connection.reset(self._stream)
        self._inbox.clear()

    @property
    def is_over(self) -> bool:
        return self._ended

    @property
    def failure(self) -> CallFailed | None:
        return self._failure

    # What the connection tells --------------------------------------------------------------------

    def take_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        found = dict(headers)
        http = found.get(":status", "200")
        if "grpc-status" in found:
            code = found["grpc-status"]
            self._status = int(code) if code.isdigit() else Code.UNKNOWN
            self._text = unquote(found.get("grpc-message", ""))
        elif http != "200":
            self.fail(CallFailed(Code.UNAVAILABLE, f"it answered with HTTP status {http}: is this an etcd?"))
            self._connection.reset(self._stream)

    def take_data(self, data: bytes, credit: int) -> None:
        self._uncredited += credit
        if self._ended:
            return
        self._partial += data
        while len(self._partial) >= _PREFIX_BYTES:
            size = int.from_bytes(self._partial[1:_PREFIX_BYTES], "big")
            if self._partial[0] or size > _MAX_MESSAGE_BYTES:
                self.fail(CallFailed(Code.UNKNOWN, f"it sent a message of {size} bytes, or a compressed one"))
                self._connection.reset(self._stream)
                return
            if len(self._partial) < _PREFIX_BYTES + size:
                break
            message = bytes(self._partial[_PREFIX_BYTES : _PREFIX_BYTES + size])
            del self._partial[: _PREFIX_BYTES + size]
            if self._on_message is None:
                self._inbox.append(message)
            else:
                self._on_message(message)
        self._news.set()
        self._credit()

    def take_end(self) -> None:
        if self._ended:
            return
        if self._status == Code.OK and self._on_message is not None:
            self.fail(CallFailed(Code.UNAVAILABLE, "it ended the call"))
        elif self._status == Code.OK:
            self._ended = True
            self._news.set()
        elif self._status is None:
            self.fail(CallFailed(Code.UNKNOWN, "it ended the call without a status"))
        else:
            self.fail(CallFailed(self._status, self._text))

    def fail(self, failure: CallFailed) -> None:
        if not self._ended:
            self._failure = failure
            self._ended = True
            self._news.set()
            self._on_failure(failure)

    def _credit(self) -> None:
        # A message that is larger than the window must be let in while it is incomplete; whole ones wait
        # at the sender until the reader has taken those before them.
        if self._uncredited and not self._inbox and not self._ended:
            self._connection.credit(self._stream, self._uncredited)
            self._uncredited = 0


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message
