"""What the socket loop needs from the names behind it, and what they may ask of it."""

from collections.abc import Iterator
from typing import Protocol


class Client(Protocol):
    """Where a reply goes. Replying to a client that has gone is harmless."""

    def reply(self, message: bytes) -> None:
        """Send the whole reply, id included."""


class Stream(Protocol):
    """Cuts what comes over TCP into messages."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes as they come; return every message that is now complete."""


class Names(Protocol):
    """The name server without its sockets."""

    def answers(self, sandbox_id: str) -> dict[bytes, Iterator[bytes]]:
        """Answers that may be repeated: query without its id → endless reply bodies without it.

        The same mapping for as long as the sandbox is known; whoever changes names empties it.
        """

    def new_stream(self) -> Stream:
        """Return the framing for one TCP connection, of a client or to a server."""

    def count_repeated(self, count: int) -> None:
        """Add to the counters what was answered without `on_query`."""

    def on_query(self, sandbox_id: str, wire: bytes, client: Client, *, tcp: bool) -> None:
        """Take a query. Never raises."""

    def on_upstream_reply(self, flight: int, attempt: int, reply: bytes) -> None:
        """Take what an upstream server sent."""

    def on_upstream_error(self, flight: int, attempt: int) -> None:
        """An upstream server could not be asked, or hung up."""
