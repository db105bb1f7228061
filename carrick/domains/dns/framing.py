"""DNS over TCP: every message has its length before it (RFC 1035, section 4.2.2; RFC 7766)."""


class StreamBuffer:
    """Cuts a byte stream into messages. Holds at most one incomplete message (65537 bytes)."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes as they come; return every message that is now complete, in order."""
        messages = []
        self._data += data
        start = 0
        held = self._data
        while len(held) - start >= 2:
            end = start + 2 + (held[start] << 8 | held[start + 1])
            if end > len(held):
                break
            messages.append(bytes(held[start + 2 : end]))
            start = end
        del held[:start]
        return messages

    @property
    def is_empty(self) -> bool:
        """Whether the stream stands between two messages."""
        return not self._data


def frame(message: bytes) -> bytes:
    """Return the message with its length before it."""
    return len(message).to_bytes(2) + message
