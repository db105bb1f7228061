"""The control socket: lines in, lines out, one reply for each request, in order."""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .reactor import READ, WRITE, Reactor

MAX_LINE = 64 << 20
"""A snapshot of 100 000 endpoints is about 20 MiB."""
_CHUNK = 1 << 18
_LOG = logging.getLogger(__name__)

Session = Callable[[bytes], bytes]
"""Handles the requests of one connection; never raises."""


class ControlServer:
    """Listens on a Unix socket that only its owner may open."""

    def __init__(self, path: Path, reactor: Reactor, new_session: Callable[[], Session]) -> None:
        self._path = path
        self._reactor = reactor
        self._new_session = new_session
        self._connections: set[_Connection] = set()
        path.unlink(missing_ok=True)  # the lock says that nobody else answers there
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        # Made unreachable first and opened up by a rename: no moment with looser rights.
        fresh = path.with_name(f".{path.name}.new")
        fresh.unlink(missing_ok=True)
        self._socket.bind(str(fresh))
        fresh.chmod(0o600)
        self._socket.listen(16)
        fresh.rename(path)
        reactor.add(self._socket.fileno(), self._on_ready)

    def close(self) -> None:
        """Close every connection and remove the socket."""
        self._reactor.remove(self._socket.fileno())
        self._socket.close()
        for connection in list(self._connections):
            connection.close()
        self._path.unlink(missing_ok=True)

    def forget(self, connection: "_Connection") -> None:
        """Called by a connection that has closed itself."""
        self._connections.discard(connection)

    def _on_ready(self, _events: int) -> None:
        try:
            sock, _ = self._socket.accept()
        except OSError:
            return
        sock.setblocking(False)
        self._connections.add(_Connection(sock, self, self._reactor, self._new_session()))


class _Connection:
    def __init__(
        self, sock: socket.socket, server: ControlServer, reactor: Reactor, session: Session
    ) -> None:
        self._socket = sock
        self._server = server
        self._reactor = reactor
        self._session = session
        self._received = bytearray()
        self._unsent = bytearray()
        reactor.add(sock.fileno(), self._on_ready)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.remove(self._socket.fileno())
            self._socket.close()
            self._server.forget(self)

    def _on_ready(self, events: int) -> None:
        try:
            if events & READ and not self._read():
                self.close()
                return
            self._flush()
        except OSError:
            self.close()

    def _read(self) -> bool:
        """Take what there is; returns whether the connection goes on."""
        with suppress(BlockingIOError):
            data = self._socket.recv(_CHUNK)
            if not data:
                return False
            scanned = len(self._received)
            self._received += data
            end = self._received.find(b"\n", scanned)
            while end >= 0:
                line = bytes(self._received[:end])
                del self._received[: end + 1]
                self._unsent += self._session(line) + b"\n"
                end = self._received.find(b"\n")
            if len(self._received) > MAX_LINE:
                _LOG.warning("a control request is longer than %d bytes; closing", MAX_LINE)
                return False
        return True

    def _flush(self) -> None:
        if self._unsent:
            with suppress(BlockingIOError):
                del self._unsent[: self._socket.send(self._unsent)]
        self._reactor.change(self._socket.fileno(), READ | (WRITE if self._unsent else 0))
