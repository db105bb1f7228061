"""Questions to upstream servers: a new connected socket for each, closed with its flight.

A new socket takes a random source port from the kernel, and being connected it hears from nobody
but the server it asked.
"""

import logging
import socket
from contextlib import nullcontext

from ...model.errors import CarrickError
from ._netns import Namespaces
from .contract import Names
from .reactor import READ, WRITE, Reactor

_MAX_REPLY = 65535
_LOG = logging.getLogger(__name__)


class Upstream:
    """All sockets towards upstream servers."""

    def __init__(self, names: Names, reactor: Reactor, namespaces: Namespaces) -> None:
        self._names = names
        self._reactor = reactor
        self._namespaces = namespaces
        self._sockets: dict[int, list[socket.socket]] = {}

    def ask(
        self,
        flight: int,
        attempt: int,
        *,
        netns_path: str | None,
        address: str,
        port: int,
        tcp: bool,
        payload: bytes,
    ) -> None:
        """Send a question from the namespace at the path, or from our own."""
        try:
            place = self._namespaces.inside(netns_path) if netns_path else nullcontext()
            with place:
                sock, connected = _connect(address, port, tcp=tcp)
        except (OSError, CarrickError) as error:
            _LOG.debug("cannot ask name server %s: %s", address, error)
            self._fail_soon(flight, attempt)
            return
        self._sockets.setdefault(flight, []).append(sock)
        if tcp:
            _TcpQuestion(self, sock, flight, attempt, payload)
        else:
            assert connected
            self._send_datagram(sock, flight, attempt, payload)

    def close(self, flight: int) -> None:
        """Close the flight's sockets."""
        for sock in self._sockets.pop(flight, ()):
            self._reactor.remove(sock.fileno())
            sock.close()

    def close_all(self) -> None:
        """Close every socket."""
        for flight in list(self._sockets):
            self.close(flight)

    def _send_datagram(self, sock: socket.socket, flight: int, attempt: int, data: bytes) -> None:
        def on_ready(_events: int) -> None:
            try:
                reply = sock.recv(_MAX_REPLY)
            except BlockingIOError:
                return
            except OSError:  # its port is closed, or it cannot be reached
                self._drop(sock)
                self._names.on_upstream_error(flight, attempt)
                return
            self._names.on_upstream_reply(flight, attempt, reply)

        self._reactor.add(sock.fileno(), on_ready)
        try:
            sock.send(data)
        except OSError:
            self._drop(sock)
            self._fail_soon(flight, attempt)

    def _drop(self, sock: socket.socket) -> None:
        # Stays in its flight's list, which closes it; only the events end here.
        self._reactor.remove(sock.fileno())

    def _fail_soon(self, flight: int, attempt: int) -> None:
        # Not at once: we are inside the step that asked.
        self._reactor.call_at(self._reactor.now(), lambda: self._names.on_upstream_error(flight, attempt))


class _TcpQuestion:
    """One question over a connection of its own."""

    def __init__(
        self, upstream: Upstream, sock: socket.socket, flight: int, attempt: int, payload: bytes
    ) -> None:
        self._upstream = upstream
        self._socket = sock
        self._flight = flight
        self._attempt = attempt
        self._unsent = len(payload).to_bytes(2) + payload
        self._stream = upstream._names.new_stream()
        upstream._reactor.add(sock.fileno(), self._on_ready, WRITE)

    def _on_ready(self, _events: int) -> None:
        names = self._upstream._names
        try:
            if self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
                if not self._unsent:
                    self._upstream._reactor.change(self._socket.fileno(), READ)
                return
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError
        except BlockingIOError:
            return
        except OSError:
            self._upstream._drop(self._socket)
            names.on_upstream_error(self._flight, self._attempt)
            return
        for reply in self._stream.feed(data):
            names.on_upstream_reply(self._flight, self._attempt, reply)


def _connect(address: str, port: int, *, tcp: bool) -> tuple[socket.socket, bool]:
    """Return a socket that is connected, or for TCP about to be; raises OSError."""
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    # Numeric, so nothing is looked up; it resolves an IPv6 zone in the present namespace.
    family, kind, _, _, target = socket.getaddrinfo(address, port, type=kind, flags=socket.AI_NUMERICHOST)[0]
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        sock.connect(target)
    except BlockingIOError:
        return sock, False
    except OSError:
        sock.close()
        raise
    return sock, True
