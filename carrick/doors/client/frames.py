"""The multiplexed stream of attach, exec and logs without a terminal (reference, section 7).

Each frame is `[type][0 0 0][length, 32 bit big-endian]` and the payload; type 1 is stdout, 2 is
stderr, 3 is an error of the daemon's. Sans-I/O: bytes in any portions in, frames out.
"""

from __future__ import annotations

from carrick.doors.client.errors import BrokenReply

STDIN, STDOUT, STDERR, SYSTEM_ERROR = 0, 1, 2, 3
_HEADER = 8


class FrameDecoder:
    """Split a multiplexed stream. A payload is handed on as it comes, not once it is whole.

    But an error of the daemon's is: its text is shown in one piece, and then nothing follows.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._stream = STDOUT
        self._remaining = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return `(stream, payload part)` in order. Raises BrokenReply for a bad header."""
        self._buffer += data
        parts: list[tuple[int, bytes]] = []
        while True:
            if self._remaining:
                if not self._buffer or (self._stream == SYSTEM_ERROR and len(self._buffer) < self._remaining):
                    return parts
                payload = bytes(self._buffer[: self._remaining])
                del self._buffer[: len(payload)]
                self._remaining -= len(payload)
                parts.append((self._stream, payload))
                continue
            if len(self._buffer) < _HEADER:
                return parts
            if self._buffer[0] > SYSTEM_ERROR or any(self._buffer[1:4]):
                raise BrokenReply(f"unrecognized stream: {self._buffer[0]}")
            self._stream = self._buffer[0]
            self._remaining = int.from_bytes(self._buffer[4:_HEADER], "big")
            del self._buffer[:_HEADER]

    @property
    def mid_frame(self) -> bool:
        """Whether the stream would be cut short if it ended here."""
        return bool(self._remaining or self._buffer)


def error_text(payload: bytes) -> str:
    """Return what to say of an error frame's payload, as Docker says it."""
    return f"error from daemon in stream: {payload.decode('utf-8', 'replace').strip()}"


def encode_frame(stream: int, payload: bytes) -> bytes:
    """Return `payload` as one frame (what a daemon does; for tests and fakes)."""
    return bytes((stream, 0, 0, 0)) + len(payload).to_bytes(4, "big") + payload
