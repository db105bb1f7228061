"""DNS over TCP in a sandbox: many questions on a connection, answered as they are ready (RFC 7766).

A client that does not read its answers is not read from either. A connection is closed after
`IDLE_S` in which nothing moved, when too much waits for its client (`MAX_UNSENT`), or to make room
for a new one when the sandbox has `MAX_CONNECTIONS`.
"""

import errno
import socket
from collections import deque

from .contract import Names
from .reactor import READ, WRITE, Reactor

IDLE_S = 10.0
MAX_CONNECTIONS = 64
MAX_PENDING = 128
"""Questions of one connection that are being answered; it is not read from while there are more."""
ENOUGH_UNSENT = 1 << 16
"""With that many bytes unsent no further question of the connection is taken up."""
MAX_UNSENT = 1 << 20
_CHUNK = 65536
_PAUSE_S = 0.2


class TcpClient:
    """The asker of one question on a connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: "_Connection") -> None:
        self._connection: _Connection | None = connection

    def reply(self, message: bytes) -> None:
        """Send it, once; if the connection is gone, nothing happens."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.answer(message)


class TcpListener:
    """Accepts and keeps one sandbox's connections."""

    def __init__(self, sock: socket.socket, sandbox_id: str, names: Names, reactor: Reactor) -> None:
        self._socket = sock
        self._sandbox_id = sandbox_id
        self._names = names
        self._reactor = reactor
        self._connections: dict[_Connection, None] = {}
        self._paused = False
        self._closed = False
        reactor.add(sock.fileno(), self._on_ready)

    def close(self) -> None:
        """Stop listening and close every connection."""
        if self._closed:
            return
        self._closed = True
        if not self._paused:
            self._reactor.remove(self._socket.fileno())
        self._socket.close()
        for connection in list(self._connections):
            connection.close()

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        for connection in list(self._connections):
            if connection.last_use + IDLE_S <= now:
                connection.close()

    def forget(self, connection: "_Connection") -> None:
        """Called by a connection that has closed itself."""
        self._connections.pop(connection, None)

    def _on_ready(self, _events: int) -> None:
        try:
            sock, _ = self._socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._pause()
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            idle = (c for c in self._connections if c.is_idle)
            oldest = min(idle, key=lambda c: c.last_use, default=None)
            if oldest is None:
                sock.close()
                return
            oldest.close()
        sock.setblocking(False)
        connection = _Connection(sock, self, self._sandbox_id, self._names, self._reactor)
        self._connections[connection] = None

    def _pause(self) -> None:
        """Out of descriptors: the listener would be ready, and fail, all the time."""
        self._paused = True
        self._reactor.remove(self._socket.fileno())

        def resume() -> None:
            if not self._closed:
                self._paused = False
                self._reactor.add(self._socket.fileno(), self._on_ready)

        self._reactor.call_at(self._reactor.now() + _PAUSE_S, resume)


class _Connection:
    """One client's connection."""

    def __init__(
        self,
        sock: socket.socket,
        listener: TcpListener,
        sandbox_id: str,
        names: Names,
        reactor: Reactor,
    ) -> None:
        self.last_use = reactor.now()
        self._socket = sock
        self._listener = listener
        self._sandbox_id = sandbox_id
        self._names = names
        self._reactor = reactor
        self._stream = names.new_stream()
        self._waiting: deque[bytes] = deque()
        self._pending = 0
        self._unsent = bytearray()
        self._at_end = False
        self._closed = False
        self._asking = False
        self._events = READ
        reactor.add(sock.fileno(), self._on_ready)

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for anything on it."""
        return not (self._pending or self._waiting or self._unsent)

    def close(self) -> None:
        """Close it; replies that come later go nowhere."""
        if self._closed:
            return
        self._closed = True
        self._reactor.remove(self._socket.fileno())
        self._socket.close()
        self._listener.forget(self)

    def answer(self, message: bytes) -> None:
        """Send one reply and go on with the questions that waited for room."""
        if self._closed:
            return
        self._pending -= 1
        self._unsent += len(message).to_bytes(2) + message
        self._flush()
        self._ask()
        self._settle()

    def _on_ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & READ and not self._closed:
            self._read()
        self._ask()
        self._settle()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            if self._at_end:
                self.close()  # reported again after the end: the client is gone altogether
            self._at_end = True
            return
        self.last_use = self._reactor.now()
        self._waiting += self._stream.feed(data)

    def _ask(self) -> None:
        if self._asking:
            return  # an answer given at once comes back here
        self._asking = True
        while self._waiting and self._pending < MAX_PENDING and not self._closed:
            self._pending += 1
            self._names.on_query(self._sandbox_id, self._waiting.popleft(), TcpClient(self), tcp=True)
        self._asking = False

    def _flush(self) -> None:
        if self._closed or not self._unsent:
            return
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent:
            self.last_use = self._reactor.now()
        del self._unsent[:sent]
        if len(self._unsent) > MAX_UNSENT:
            self.close()

    def _settle(self) -> None:
        """Wait for what there is still to wait for, or close."""
        if self._closed:
            return
        if self._at_end and self.is_idle:
            self.close()
            return
        events = WRITE if self._unsent else 0
        if not self._at_end and not self._waiting:
            events |= READ
        if events != self._events:
            self._events = events
            self._reactor.change(self._socket.fileno(), events)
