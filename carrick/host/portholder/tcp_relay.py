"""Relays TCP: two sockets to a connection, bytes from each to the other, ends and resets included.

Both sockets are watched edge-triggered and with all events from the start: a connection costs two calls to
epoll in its whole life. An edge is told once, so a half goes on until a call would block, and a busy one
gives way to the others by arming its edge again.

Little goes through memory. A half that has moved much gets a pipe, and its bytes stay in the kernel.
"""

import errno
import fcntl
import logging
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress

from ..resolver.reactor import READ, WRITE, Reactor
from .contract import HeldPort
from .descriptors import Descriptors
from .sockets import family_of, listen, socket_address, unlisten

CHUNK = 64 << 10
PIPE_SIZE = 128 << 10
BULK_AFTER = 512 << 10
"""A half that has moved as much at one go is worth a pipe."""
_MAX_PIPES = 256
_ROUNDS = 16
_ACCEPT_AT_ONCE = 64
_RDHUP = select.EPOLLRDHUP
_ERROR = select.EPOLLERR
_EVENTS = READ | WRITE | _RDHUP | select.EPOLLET
_SPLICE = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
_RESET_ON_CLOSE = b"\x01\0\0\0\0\0\0\0"
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_LOG = logging.getLogger(__name__)

Pipe = tuple[int, int]


class RelayLoop:
    """What all TCP relays of a process share."""

    def __init__(self, reactor: Reactor, descriptors: Descriptors) -> None:
        self.reactor = reactor
        self.descriptors = descriptors
        self.scratch = memoryview(bytearray(CHUNK))
        self._idle_pipes: list[Pipe] = []
        self._pipes = 0
        self._waiting: list[Callable[[], None]] = []

    def take_pipe(self) -> Pipe | None:
        """Return an empty pipe, or None: then bytes go through memory, which works as well."""
        if self._idle_pipes:
            return self._idle_pipes.pop()
        if self._pipes >= _MAX_PIPES or not self.descriptors.take_for_relay(2):
            return None
        try:
            pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self.descriptors.give_back(2)
            return None
        self._pipes += 1
        with suppress(OSError):  # above the user's share; the pipe is then a smaller one
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        return pipe

    def give_pipe(self, pipe: Pipe, *, is_empty: bool) -> None:
        """Take a pipe back; it is kept for the next one if nothing is left in it."""
        if is_empty and len(self._idle_pipes) < 8:
            self._idle_pipes.append(pipe)
            return
        for end in pipe:
            os.close(end)
        self._pipes -= 1
        self.descriptors.give_back(2)

    def wait_for_descriptors(self, resume: Callable[[], None]) -> None:
        """Call back once a connection has ended."""
        self._waiting.append(resume)

    def connection_ended(self) -> None:
        """Let those go on that wait for descriptors."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for resume in waiting:
                resume()

    def close(self) -> None:
        """Close the pipes that are kept."""
        while self._idle_pipes:
            self.give_pipe(self._idle_pipes.pop(), is_empty=False)


class TcpRelay:
    """Accepts on one held port. The socket is the holder's, and bound before and after."""

    def __init__(self, sock: socket.socket, port: HeldPort, loop: RelayLoop) -> None:
        self._socket = sock
        self._port = port
        self._loop = loop
        self._connections: set[_Connection] = set()
        self._is_listening = False
        self._target: tuple[str, int] | None = None

    @property
    def connection_count(self) -> int:
        return len(self._connections)

    def point_to(self, target: tuple[str, int] | None) -> None:
        """Relay new connections there; None: take none. Raises InUse and CarrickError."""
        if target is not None and not self._is_listening:
            listen(self._socket, self._port)
            self._loop.reactor.add(self._socket.fileno(), self._on_ready)
            self._is_listening = True
        elif target is None and self._is_listening:
            self._loop.reactor.remove(self._socket.fileno())
            unlisten(self._socket)
            self._is_listening = False
        self._target = target

    def close(self) -> None:
        """Take no more, and reset what goes on."""
        self.point_to(None)
        for connection in list(self._connections):
            connection.abort()

    def forget(self, connection: "_Connection") -> None:
        """Called by a connection that has ended."""
        self._connections.discard(connection)
        self._loop.descriptors.give_back(2)
        self._loop.connection_ended()

    def _on_ready(self, _events: int) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            if self._target is None:
                return
            if not self._loop.descriptors.take_for_relay(2):
                self._pause()
                return
            try:
                client, _ = self._socket.accept()
            except BlockingIOError:
                self._loop.descriptors.give_back(2)
                return
            except OSError as error:
                self._loop.descriptors.give_back(2)
                if error.errno in _NO_DESCRIPTOR:
                    self._pause()
                    return
                continue  # that one client has gone; there may be others
            self._serve(client, self._target)

    def _serve(self, client: socket.socket, target: tuple[str, int]) -> None:
        client.setblocking(False)
        try:
            upstream = socket.socket(family_of(target[0]), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            _LOG.warning("%s: cannot open a socket to %s:%d: %s", self._port, *target, error.strerror)
            _reset(client)
            self._loop.descriptors.give_back(2)
            return
        connection = _Connection(client, upstream, self, self._loop)
        self._connections.add(connection)
        connection.start(target)

    def _pause(self) -> None:
        """Leave clients in the backlog until a descriptor is free."""
        _LOG.warning(
            "%s: clients wait, because all %d descriptors are in use; raise LimitNOFILE= of carrick-ports",
            self._port,
            self._loop.descriptors.limit,
        )
        self._loop.reactor.change(self._socket.fileno(), 0)
        self._loop.wait_for_descriptors(self._resume)
        # Were there no connection whose end resumes it, time has to.
        self._loop.reactor.call_at(self._loop.reactor.now() + 1.0, self._loop.connection_ended)

    def _resume(self) -> None:
        if self._is_listening:
            self._loop.reactor.change(self._socket.fileno(), READ)


class _Half:
    """One direction. At most one of `unsent` and `in_pipe` has something in it."""

    __slots__ = ("blocked", "ended", "finished", "hung_up", "in_pipe", "pipe", "sink", "source", "unsent")

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.unsent: memoryview | None = None
        self.pipe: Pipe | None = None
        self.in_pipe = 0
        self.hung_up = False
        """The source said that nothing more is to come, so a short read is not the last."""
        self.ended = False
        self.finished = False
        self.blocked = False
        """Waits for the sink to be writable."""


class _Connection:
    __slots__ = ("_client", "_is_connected", "_loop", "_relay", "_to_client", "_to_upstream", "_upstream")

    def __init__(
        self, client: socket.socket, upstream: socket.socket, relay: TcpRelay, loop: RelayLoop
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._relay = relay
        self._loop = loop
        self._to_upstream = _Half(client, upstream)
        self._to_client = _Half(upstream, client)
        self._is_connected = False

    def start(self, target: tuple[str, int]) -> None:
        upstream = self._upstream
        try:
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            upstream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            result = upstream.connect_ex(socket_address(*target))
        except OSError as error:
            result = error.errno or errno.EINVAL
        if result not in (0, errno.EINPROGRESS):
            _LOG.debug("cannot relay to %s:%d: %s", *target, os.strerror(result))
            self.abort()
            return
        add = self._loop.reactor.add
        add(self._client.fileno(), self._on_client, _EVENTS)
        add(upstream.fileno(), self._on_upstream, _EVENTS)

    def abort(self) -> None:
        """End it with a reset, but for a side to which everything has been sent already."""
        if not self._to_client.finished:
            _set_reset(self._client)
        if not self._to_upstream.finished:
            _set_reset(self._upstream)
        self._close()

    def _close(self) -> None:
        if self._client.fileno() < 0:
            return
        for half in (self._to_upstream, self._to_client):
            self._free_pipe(half)
        for sock in (self._client, self._upstream):
            self._loop.reactor.remove(sock.fileno())
            sock.close()
        self._relay.forget(self)

    def _on_client(self, events: int) -> None:
        if self._is_connected:
            self._on_ready(events, self._to_upstream, self._to_client)
        else:
            self._to_upstream.hung_up |= bool(events & _RDHUP)
            if events & _ERROR and self._client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.abort()

    def _on_upstream(self, events: int) -> None:
        if self._is_connected:
            self._on_ready(events, self._to_client, self._to_upstream)
            return
        try:
            self._upstream.getpeername()
        except OSError:
            # Either refused, or an event meant for an earlier owner of this descriptor.
            if self._upstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.abort()
            return
        self._is_connected = True
        self._to_upstream.blocked = True  # what the client has sent meanwhile
        self._on_ready(events | WRITE, self._to_client, self._to_upstream)

    def _on_ready(self, events: int, incoming: _Half, outgoing: _Half) -> None:
        """`incoming` is read from the socket that is ready, `outgoing` written to it."""
        try:
            if events & _RDHUP:
                incoming.hung_up = True
            if events & READ and not incoming.finished and not incoming.blocked:
                self._pump(incoming)
            elif events & _ERROR:  # reading, which would have told, is over or has to wait
                code = incoming.source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, os.strerror(code))
            if outgoing.blocked and events & WRITE:
                outgoing.blocked = False
                self._pump(outgoing)
        except OSError:
            self.abort()
            return
        if incoming.finished and outgoing.finished:
            self._close()

    def _pump(self, half: _Half) -> None:
        """Move what can be moved; gives way after a while. Raises OSError if a side is broken."""
        moved = 0
        for _ in range(_ROUNDS):
            if half.unsent is not None:
                try:
                    half.unsent = half.unsent[half.sink.send(half.unsent) :] or None
                except BlockingIOError:
                    half.blocked = True
                    return
            elif half.ended:
                half.finished = True
                self._free_pipe(half)
                half.sink.shutdown(socket.SHUT_WR)
                return
            elif half.pipe is not None:
                if not self._splice(half, half.pipe):
                    return
            else:
                scratch = self._loop.scratch
                try:
                    count = half.source.recv_into(scratch)
                except BlockingIOError:
                    return
                if not count:
                    half.ended = True
                    continue
                try:
                    sent = half.sink.send(scratch[:count])
                except BlockingIOError:
                    sent = 0
                if sent < count:
                    half.unsent = memoryview(bytes(scratch[sent:count]))
                elif count < CHUNK and not half.hung_up:
                    return  # a short read: the next byte makes a new edge
                moved += count
                if moved >= BULK_AFTER:
                    half.pipe = self._loop.take_pipe()
        # An edge that is armed again is told at once if there is still something to read.
        if half.unsent is not None or half.in_pipe:
            half.blocked = True
            self._loop.reactor.change(half.sink.fileno(), _EVENTS)
        else:
            self._loop.reactor.change(half.source.fileno(), _EVENTS)

    def _splice(self, half: _Half, pipe: Pipe) -> bool:
        """Move one pipe's worth; returns whether to go on."""
        if not half.in_pipe:
            # Only into an empty pipe: a full one would block as well, and could not be told apart.
            try:
                half.in_pipe = os.splice(half.source.fileno(), pipe[1], PIPE_SIZE, flags=_SPLICE)
            except BlockingIOError:
                self._free_pipe(half)
                return False
            if not half.in_pipe:
                half.ended = True
                return True
        try:
            half.in_pipe -= os.splice(pipe[0], half.sink.fileno(), half.in_pipe, flags=_SPLICE)
        except BlockingIOError:
            half.blocked = True
            return False
        return True

    def _free_pipe(self, half: _Half) -> None:
        if half.pipe is not None:
            self._loop.give_pipe(half.pipe, is_empty=not half.in_pipe)
            half.pipe = None


def _set_reset(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def _reset(sock: socket.socket) -> None:
    _set_reset(sock)
    sock.close()
