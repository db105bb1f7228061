"""All ports that are held: who has which, and the sockets behind them.

Everything happens in one thread and without waiting, so what is seen between two requests is whole.
"""

import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ...model.errors import CarrickError
from ..resolver.reactor import Reactor
from .contract import HeldPort, PortKey, PortTaken, checked, overlaps
from .descriptors import Descriptors
from .occupants import find_holder
from .sockets import InUse, has_sctp, open_reserved, out_of_descriptors
from .tcp_relay import RelayLoop, TcpRelay
from .udp_relay import UdpRelay

_TEXTS = 3
_LOG = logging.getLogger(__name__)


class _Clash(Exception):
    """Somebody has the port; who, is looked for once and only if somebody wants to know."""

    def __init__(self, port: HeldPort) -> None:
        super().__init__(str(port))
        self.port = port


class _Held:
    """A held port. `sock` is None for SCTP where the kernel has none: then it is on our list, no more."""

    __slots__ = ("owner", "port", "relay", "sock")

    def __init__(self, owner: str, port: HeldPort, sock: socket.socket | None) -> None:
        self.owner = owner
        self.port = port
        self.sock = sock
        self.relay: TcpRelay | UdpRelay | None = None


class Holdings:
    """Carries out `PortHolder`, synchronously. `changed` is called after each change of what is wanted.

    What is *wanted* outlives failures: a port that a sync could not get is tried again by `retry`.
    """

    def __init__(
        self,
        reactor: Reactor,
        descriptors: Descriptors,
        *,
        changed: Callable[[], None] = lambda: None,
        find_holder: Callable[[HeldPort], str] = find_holder,
    ) -> None:
        self._reactor = reactor
        self._descriptors = descriptors
        self._changed = changed
        self._find_holder = find_holder
        self._loop = RelayLoop(reactor, descriptors)
        self._held: dict[PortKey, _Held] = {}
        self._owners: dict[str, set[PortKey]] = {}
        self._missing: dict[tuple[str, PortKey], HeldPort] = {}
        self._has_sctp: bool | None = None

    @property
    def count(self) -> int:
        return len(self._held)

    def wanted(self) -> dict[str, tuple[HeldPort, ...]]:
        """Return everything that is to be held, whether it is or not."""
        result: dict[str, list[HeldPort]] = {}
        for held in self._held.values():
            result.setdefault(held.owner, []).append(held.port)
        for (owner, _), port in self._missing.items():
            result.setdefault(owner, []).append(port)
        return {owner: tuple(ports) for owner, ports in result.items()}

    def hold(self, owner: str, ports: Sequence[HeldPort]) -> None:
        """See `PortHolder`."""
        try:
            self._hold(owner, ports)
        except _Clash as clash:
            raise self._taken(clash.port) from clash

    def release(self, owner: str, ports: Sequence[HeldPort] | None = None) -> None:
        """See `PortHolder`."""
        chosen = None if ports is None else {checked(port).key for port in ports}
        keys = self._owners.get(owner, set())
        gone = set(keys) if chosen is None else keys & chosen
        for key in gone:
            self._close(self._held[key])
        lost = [
            (holder, key)
            for holder, key in self._missing
            if holder == owner and (chosen is None or key in chosen)
        ]
        for item in lost:
            del self._missing[item]
        if gone or lost:
            self._changed()

    def sync(self, everything: Mapping[str, Sequence[HeldPort]]) -> dict[str, str]:
        """See `PortHolder`."""
        problems: dict[str, list[str]] = {}
        wanted: dict[PortKey, tuple[str, HeldPort]] = {}
        twice: list[tuple[str, HeldPort]] = []
        for owner, ports in everything.items():
            for given in ports:
                try:
                    port = checked(given)
                except CarrickError as error:
                    problems.setdefault(owner, []).append(error.message)
                    continue
                if wanted.setdefault(port.key, (owner, port))[0] != owner:
                    twice.append((owner, port))
        for key, held in list(self._held.items()):
            if key not in wanted:
                self._close(held)
            elif held.owner != wanted[key][0]:
                self._give(held, wanted[key][0])
        self._missing.clear()
        for owner, port in [*wanted.values(), *twice]:
            try:
                self.hold(owner, (port,))
            except CarrickError as error:
                problems.setdefault(owner, []).append(error.message)
                self._missing[owner, port.key] = port
        self._changed()
        return {owner: _joined(texts) for owner, texts in problems.items()}

    def retry(self) -> None:
        """Try again what is missing: an address may have come up, another program may have ended."""
        for (owner, key), port in list(self._missing.items()):
            try:
                self._hold(owner, (port,))  # not `hold`: who has it was said before
            except (_Clash, CarrickError):
                continue
            self._missing.pop((owner, key), None)
            _LOG.info("%s is held now for %s", port, owner)

    def sweep(self) -> None:
        """Forget silent UDP clients; see `UdpRelay.sweep`."""
        for held in self._held.values():
            if isinstance(held.relay, UdpRelay):
                held.relay.sweep()

    def close(self) -> None:
        """Let go of everything, and still want it."""
        for held in list(self._held.values()):
            self._close(held)
        self._loop.close()

    def _hold(self, owner: str, ports: Sequence[HeldPort]) -> None:
        """All or nothing. Raises _Clash and CarrickError."""
        opened: list[_Held] = []
        repointed: list[tuple[_Held, HeldPort]] = []
        ports = [checked(port) for port in ports]
        try:
            for port in ports:
                held = self._held.get(port.key)
                if held is None:
                    held = self._open(owner, port)
                    opened.append(held)
                    self._point(held, port)
                elif held.owner != owner:
                    raise _Clash(port)
                elif held.port.relay_to != port.relay_to:
                    repointed.append((held, held.port))
                    self._point(held, port)
        except (_Clash, CarrickError):
            for held in opened:
                self._close(held)
            for held, before in reversed(repointed):
                # To go back is never refused: the socket has been there before.
                with suppress(_Clash, CarrickError):
                    self._point(held, before)
            raise
        for port in ports:
            self._missing.pop((owner, port.key), None)
        if opened or repointed:
            self._changed()

    def _open(self, owner: str, port: HeldPort) -> _Held:
        sock: socket.socket | None = None
        if port.protocol == "sctp" and not self._kernel_has_sctp():
            if self._own_holder(port) is not None:
                raise _Clash(port)
        else:
            if not self._descriptors.take_for_port():
                raise out_of_descriptors(port, f"all {self._descriptors.limit} descriptors are in use")
            try:
                sock = open_reserved(port)
            except InUse as error:
                self._descriptors.give_back(1)
                raise _Clash(port) from error
            except CarrickError:
                self._descriptors.give_back(1)
                raise
        held = self._held[port.key] = _Held(owner, port, sock)
        self._owners.setdefault(owner, set()).add(port.key)
        return held

    def _point(self, held: _Held, port: HeldPort) -> None:
        if held.sock is not None and held.relay is None and port.relay_to is not None:
            held.relay = (
                TcpRelay(held.sock, port, self._loop)
                if port.protocol == "tcp"
                else UdpRelay(held.sock, port, self._reactor, self._descriptors, self._loop.scratch)
            )
        if held.relay is not None:
            try:
                held.relay.point_to(port.relay_to)
            except InUse as error:
                raise _Clash(port) from error
        held.port = port

    def _give(self, held: _Held, owner: str) -> None:
        self._disown(held)
        held.owner = owner
        self._owners.setdefault(owner, set()).add(held.port.key)

    def _close(self, held: _Held) -> None:
        if held.relay is not None:
            held.relay.close()
        if held.sock is not None:
            held.sock.close()
            self._descriptors.give_back(1)
        del self._held[held.port.key]
        self._disown(held)

    def _disown(self, held: _Held) -> None:
        keys = self._owners[held.owner]
        keys.discard(held.port.key)
        if not keys:
            del self._owners[held.owner]

    def _taken(self, port: HeldPort) -> PortTaken:
        if (owner := self._own_holder(port)) is not None:
            return PortTaken(port, owner, owner)
        return PortTaken(port, self._find_holder(port))

    def _own_holder(self, port: HeldPort) -> str | None:
        return next((held.owner for held in self._held.values() if overlaps(held.port, port)), None)

    def _kernel_has_sctp(self) -> bool:
        if self._has_sctp is None:
            self._has_sctp = has_sctp()
            if not self._has_sctp:
                _LOG.warning("this kernel has no SCTP: its ports are listed, but cannot be bound")
        return self._has_sctp


def _joined(texts: Sequence[str]) -> str:
    """A range that is taken is one sentence, not ten thousand."""
    more = f"; and {len(texts) - _TEXTS} more ports" if len(texts) > _TEXTS else ""
    return "; ".join(texts[:_TEXTS]) + more
