"""One connection to the daemon's Unix socket.

The C module under `socket` is enough for it: the one above adds TLS's and Windows' needs, and
imports enum and selectors for them, at each start of a command.
"""

from __future__ import annotations

import _socket as socket

from carrick.doors.client.errors import DaemonUnreachable
from carrick.model.errors import InvalidRequest

_READ_SIZE = 256 * 1024


def parse_address(address: str) -> str:
    """Return the path in `unix:///path`. Raises InvalidRequest for anything else."""
    path = address.removeprefix("unix://")
    if path == address or not path.startswith("/") or "\0" in path:
        raise InvalidRequest(
            f"invalid daemon address {address!r}: it should look like unix:///path/to/socket"
        )
    if len(path.encode()) > 107:  # sun_path, less its terminating zero
        raise InvalidRequest(f"the daemon's socket path is longer than 107 bytes: {path}")
    return path


class Connection:
    """A connected stream socket.

    `reused` says that it has served a request before, `spoiled` that it must serve no other.
    """

    __slots__ = ("_socket", "reused", "spoiled")

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.reused = False
        self.spoiled = False

    @classmethod
    def open(cls, address: str) -> Connection:
        """Connect. Raises DaemonUnreachable, which names the socket and the reason."""
        path = parse_address(address)
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            raw.connect(path)
        except OSError as error:
            raw.close()
            raise DaemonUnreachable(
                address,
                error.strerror or str(error),
                denied=isinstance(error, PermissionError),
            ) from error
        return cls(raw)

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self._socket.sendall(data)

    def send_some(self, data: bytes) -> int:
        """Send what fits without waiting; return its length, or -1 if nobody reads any more."""
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except ConnectionError:
            return -1

    def receive(self) -> bytes:
        """Return what is there, waiting for at least a byte; empty at the end of the stream."""
        return self._socket.recv(_READ_SIZE)

    def shutdown_write(self) -> None:
        """Half-close: the peer sees our end of stream, and may still send."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the peer has gone already: there is no one left to tell

    def is_open(self) -> bool:
        """Say whether an idle connection still is one: the peer has neither closed nor spoken."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # end of stream, or bytes that nobody asked for

    def fileno(self) -> int:
        """Return the descriptor, for select."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close. May be repeated."""
        self._socket.close()
