"""A sandbox's UDP listener: the fast path."""

import contextlib
import socket
from typing import Final

from .contract import Names
from .reactor import Reactor

MAX_QUERY = 4096
BATCH: Final = 64
"""How many datagrams one sandbox gets before it is another's turn."""
_RECEIVE_BUFFER = 1 << 20

Peer = tuple[str, int]


class UdpClient:
    """The sender of one datagram."""

    __slots__ = ("_peer", "_socket")

    def __init__(self, sock: socket.socket, peer: Peer) -> None:
        self._socket = sock
        self._peer = peer

    def reply(self, message: bytes) -> None:
        """Send it; a full buffer, a closed listener or a gone client lose it, as UDP may."""
        with contextlib.suppress(OSError):
            self._socket.sendto(message, self._peer)


class UdpListener:
    """Answers one sandbox's datagrams."""

    def __init__(self, sock: socket.socket, sandbox_id: str, names: Names, reactor: Reactor) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._socket = sock
        self._sandbox_id = sandbox_id
        self._names = names
        self._reactor = reactor
        self._answers = names.answers(sandbox_id)
        reactor.add(sock.fileno(), self._on_ready)

    def close(self) -> None:
        """Stop listening."""
        self._reactor.remove(self._socket.fileno())
        self._socket.close()

    def _on_ready(self, _events: int) -> None:
        sock = self._socket
        receive, send, find = sock.recvfrom, sock.sendto, self._answers.get
        repeated = 0
        try:
            for _ in range(BATCH):
                query, peer = receive(MAX_QUERY)
                bodies = find(query[2:])
                if bodies is None:
                    client = UdpClient(sock, peer)
                    self._names.on_query(self._sandbox_id, query, client, tcp=False)
                    if sock.fileno() < 0:
                        return
                else:
                    repeated += 1
                    send(query[:2] + next(bodies), peer)
        except OSError:
            # Nothing more to read; or a client went away (its ICMP error comes with this call)
            # or is too slow: what is lost then is that one reply.
            pass
        finally:
            self._names.count_repeated(repeated)
