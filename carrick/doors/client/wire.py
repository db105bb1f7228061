"""HTTP/1.1 as a client of the daemon needs it: bytes of a request, and a decoder for the reply.

Sans-I/O: `ResponseDecoder` is fed whatever a socket gave and says what it has got. It covers
RFC 9112's framings (Content-Length, chunked, until close), and 101 after an upgrade, where all
that follows the head belongs to the new protocol. Header names are kept in lower case.
"""

from __future__ import annotations

from carrick.doors.client.errors import BrokenReply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# A daemon's head is a few hundred bytes; a peer that sends more without end is no daemon.
MAX_HEAD = 256 * 1024
_MAX_CHUNK_LINE = 4096
_FORBIDDEN_IN_HEADERS = frozenset("\r\n\0")


_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quote(text: str, safe: str = "") -> str:
    """Percent-encode `text` but for RFC 3986's unreserved characters and `safe`.

    As urllib's, whose import would cost more than all of this module.
    """
    plain = _UNRESERVED.union(safe.encode())
    return "".join(
        chr(byte) if byte in plain else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape")
    )


def encode_query(query: Mapping[str, str]) -> str:
    """Return `query` as the part after the question mark, percent-encoded."""
    return "&".join(f"{quote(key)}={quote(value)}" for key, value in query.items())


def encode_request(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return the head of a request, blank line included. The body follows separately.

    Raises ValueError for a line break in a header, which would smuggle a second one in.
    """
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in headers.items():
        if not _FORBIDDEN_IN_HEADERS.isdisjoint(name + value):
            raise ValueError(f"header {name!r} holds a line break")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")


def encode_chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body; for empty `data`, which would end it, nothing."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


LAST_CHUNK = b"0\r\n\r\n"


class Head:
    """Status line and headers of a reply."""

    __slots__ = ("headers", "reason", "status")

    def __init__(self, status: int, reason: str, headers: Mapping[str, str]) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers

    def keeps_alive(self) -> bool:
        """Say whether the peer means to serve another request on this connection."""
        return "close" not in self.headers.get("connection", "").lower()


class ResponseDecoder:
    """Decode one reply. Feed bytes; read `head`, `take()` and `done`.

    `done` is set once the whole reply has been seen; bytes beyond it are in `leftover`.
    `close()` tells that the peer has ended the connection: it completes a body that lasts until
    close, and raises BrokenReply for one that was cut short.
    """

    def __init__(self, method: str) -> None:
        self.head: Head | None = None
        self.done = False
        self.upgraded = False
        self._method = method
        self._buffer = bytearray()
        self._body: list[bytes] = []
        self._remaining: int | None = None  # bytes left of the body, None: until close
        self._chunked = False
        self._chunk_state = "size"

    @property
    def leftover(self) -> bytes:
        """Bytes fed that are not part of this reply (after an upgrade: the new protocol's)."""
        return bytes(self._buffer) if self.done else b""

    def feed(self, data: bytes) -> None:
        """Take what the socket gave. Raises BrokenReply where it is not HTTP."""
        self._buffer += data
        while self.head is None or (100 <= self.head.status < 200 and not self.done):
            if not self._read_head():
                return
        if not self.done:
            self._read_body()

    def close(self) -> None:
        """The peer will send no more."""
        if self.done:
            return
        if self.head is not None and not self._chunked and self._remaining is None:
            self.done = True
            return
        raise BrokenReply("the daemon closed the connection in the middle of its answer")

    def take(self) -> bytes:
        """Return the body bytes decoded since the last call."""
        if not self._body:
            return b""
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        return data

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise BrokenReply("the answer's headers have no end: this is no Carrick daemon")
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        self.head = head = _parse_head(lines)
        status = head.status
        if status == 101:
            self.upgraded = self.done = True
            return True
        if 100 <= status < 200:
            return True  # informational: the real head follows
        if self._method == "HEAD" or status in (204, 304):
            self.done = True
        elif "chunked" in head.headers.get("transfer-encoding", "").lower():
            self._chunked = True
        elif (length := head.headers.get("content-length")) is not None:
            if not length.isascii() or not length.isdigit():
                raise BrokenReply(f"the answer has a bad Content-Length: {length[:40]!r}")
            self._remaining = int(length)
        return True

    def _read_body(self) -> None:
        if self._chunked:
            while self._read_chunk():
                pass
        elif self._remaining is None:
            self._emit(len(self._buffer))
        else:
            self._remaining -= self._emit(min(self._remaining, len(self._buffer)))
            self.done = self._remaining == 0

    def _emit(self, size: int) -> int:
        if size:
            self._body.append(bytes(self._buffer[:size]))
            del self._buffer[:size]
        return size

    def _read_chunk(self) -> bool:
        """Make one step through a chunked body; False when more bytes are needed or it ended."""
        if self._chunk_state == "data":
            assert self._remaining is not None
            size = self._emit(min(self._remaining, len(self._buffer)))
            self._remaining -= size
            if self._remaining:
                return False
            self._chunk_state = "data-end"
        line = self._line()
        if line is None:
            return False
        if self._chunk_state == "data-end":
            if line:
                raise BrokenReply("a chunk of the answer is longer than it says")
            self._chunk_state = "size"
        elif self._chunk_state == "size":
            size_text = line.split(b";", 1)[0].strip()
            try:
                # int() alone would also take "-1", "+1" and "1_0".
                if not size_text.isalnum():
                    raise ValueError
                self._remaining = int(size_text, 16)
            except ValueError:
                raise BrokenReply(f"the answer has a bad chunk size: {line[:40]!r}") from None
            self._chunk_state = "data" if self._remaining else "trailer"
        elif not line:  # the blank line that ends the trailers
            self.done = True
            return False
        return True

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_CHUNK_LINE:
                raise BrokenReply("the answer's chunking is broken")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line


def _parse_head(lines: list[str]) -> Head:
    parts = lines[0].split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
        raise BrokenReply(f"not an HTTP answer: {lines[0][:60]!r}")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, separator, value = line.partition(":")
        if not separator:
            raise BrokenReply(f"bad header in the answer: {line[:60]!r}")
        headers[name.strip().lower()] = value.strip()
    return Head(int(parts[1]), parts[2] if len(parts) == 3 else "", headers)
