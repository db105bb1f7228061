"""Where we listen: one pair of sockets and one redirection in each sandbox's namespace.

`reconcile` makes it so for what the daemon says; `check` looks now and then whether a namespace
has gone or another stands at its path, since our own sockets keep a dead namespace alive.
"""

import errno
import logging
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from ...model.errors import CarrickError, KernelRefused, NotFound
from ._netns import Namespaces
from ._redirect import LISTEN_ADDRESS, Redirection, Redirector
from .contract import Names
from .reactor import Reactor
from .tcp import TcpListener
from .udp import UdpListener

_BACKLOG = 128
_PORT_TRIES = 16
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Open:
    path: str
    inode: int
    port: int
    udp: UdpListener
    tcp: TcpListener


class Sandboxes:
    """All listeners of the process."""

    def __init__(
        self, names: Names, reactor: Reactor, namespaces: Namespaces, redirector: Redirector
    ) -> None:
        self._names = names
        self._reactor = reactor
        self._namespaces = namespaces
        self._redirector = redirector
        self._wanted: dict[str, str] = {}
        self._open: dict[str, _Open] = {}
        self.problems: dict[str, str] = {}

    @property
    def serves_home(self) -> bool:
        """Whether one of the sandboxes is the namespace that this process itself runs in."""
        home = self._namespaces.home_inode
        return any(listening.inode == home for listening in self._open.values())

    def reconcile(self, wanted: Mapping[str, str], suspects: Collection[str]) -> dict[str, str]:
        """Listen in exactly these sandboxes (id → namespace path).

        `suspects` are looked at closely: their redirection is read and put right. Returns what
        does not work, by sandbox; `check` goes on trying it.
        """
        for gone in self._open.keys() - wanted.keys():
            self._close(gone)
        self._wanted = dict(wanted)
        self.problems = {key: text for key, text in self.problems.items() if key in wanted}
        for sandbox_id in wanted:
            if sandbox_id not in self._open or sandbox_id in suspects:
                self._ensure(sandbox_id, closely=True)
        return {key: self.problems[key] for key in suspects if key in self.problems}

    def check(self) -> None:
        """Notice namespaces that went, came, or were replaced; close idle connections."""
        for sandbox_id in list(self._wanted):
            self._ensure(sandbox_id, closely=False)
        now = self._reactor.now()
        for listening in self._open.values():
            listening.tcp.sweep(now)

    def remove_redirect(self, path: str) -> None:
        """Take our table out of a namespace that goes on without us; gone is fine."""
        try:
            with self._namespaces.inside(path):
                self._redirector.remove()
        except NotFound:
            pass
        except CarrickError as error:
            _LOG.warning("cannot clean the namespace %s: %s", path, error.message)

    def close(self) -> None:
        """Stop listening. The redirections stay, for the process that comes after us."""
        for sandbox_id in list(self._open):
            self._close(sandbox_id)

    def _ensure(self, sandbox_id: str, *, closely: bool) -> None:
        path = self._wanted[sandbox_id]
        listening = self._open.get(sandbox_id)
        inode = self._namespaces.inode(path)
        if listening is not None and (listening.inode != inode or listening.path != path):
            self._close(sandbox_id)
            listening = None
        if listening is not None and not closely:
            return
        if inode is None and not closely and sandbox_id in self.problems:
            return  # still not there, and said so
        try:
            if listening is None:
                self._listen(sandbox_id, path)
            else:
                with self._namespaces.inside(path):
                    self._redirect(listening.port, self._redirector.read())
        except (CarrickError, OSError) as error:
            text = error.message if isinstance(error, CarrickError) else str(error)
            if self.problems.get(sandbox_id) != text:
                _LOG.warning("sandbox %s: %s", sandbox_id[:12], text)
            self.problems[sandbox_id] = text
        else:
            self.problems.pop(sandbox_id, None)

    def _listen(self, sandbox_id: str, path: str) -> None:
        with self._namespaces.inside(path) as inode:
            # What the kernel holds is the memory: after a restart the same port is taken again,
            # and the redirection needs no change.
            found = self._redirector.read()
            udp, tcp, port = _bind_pair(found.port or 0)
            try:
                self._redirect(port, found)
            except BaseException:
                udp.close()
                tcp.close()
                raise
        self._open[sandbox_id] = _Open(
            path,
            inode,
            port,
            UdpListener(udp, sandbox_id, self._names, self._reactor),
            TcpListener(tcp, sandbox_id, self._names, self._reactor),
        )

    def _redirect(self, port: int, found: Redirection) -> None:
        if found.port != port:
            self._redirector.write(port, fresh=not found.has_table)

    def _close(self, sandbox_id: str) -> None:
        listening = self._open.pop(sandbox_id)
        listening.udp.close()
        listening.tcp.close()


def _bind_pair(preferred: int) -> tuple[socket.socket, socket.socket, int]:
    """Bind UDP and TCP to one port; the preferred one if it is free, else any."""
    for attempt in range(_PORT_TRIES):
        udp = _socket(socket.SOCK_DGRAM)
        tcp = _socket(socket.SOCK_STREAM)
        try:
            udp.bind((LISTEN_ADDRESS, preferred if attempt == 0 else 0))
            port = udp.getsockname()[1]
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((LISTEN_ADDRESS, port))
            tcp.listen(_BACKLOG)
        except OSError as error:
            with suppress(OSError):
                udp.close()
                tcp.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return udp, tcp, port
    raise KernelRefused(f"no port is free on {LISTEN_ADDRESS}", errno=errno.EADDRINUSE)


def _socket(kind: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    # The sandbox's loopback may not be up yet.
    sock.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND, which the module does not name
    return sock
