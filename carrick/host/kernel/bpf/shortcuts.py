"""Shortcuts of VXLAN devices: what their programs know, and where these are attached.

The kernel holds all of it: a program stays as long as the link that it is at, and its maps with it. So
traffic does not depend on this process, nothing is left when the links have gone, and the next process takes
the maps over from the programs.

What is behind other hosts is the device's own FDB, copied. A row is taken out of the map before the FDB's is
changed and put in again after that: killed in between, its packets take the plain path.
"""

import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address
from threading import RLock
from typing import Final

from ....model import steps
from ....model.errors import NotFound
from ....model.observed import LinkState, ShortcutState, VxlanState
from ....model.steps import ANY_MAC, Step
from . import syscall
from .assembler import Assembler
from .ingress import Ingress, try_out
from .programs import (
    LOCAL,
    REMOTE,
    SENT,
    VXLAN_PORT,
    build_receive,
    build_send,
    name_of,
    pack_mac,
    pack_remote,
)
from .syscall import MapKind

_SEND, _RECEIVE = "ck_send_", "ck_recv_"
_KEY_SIZE, _REMOTE_SIZE, _INDEX_SIZE, _PEER_SIZE, _COUNT_SIZE = 8, 16, 4, 4, 8
_MOST_ROWS: Final = 1 << 17
_MOST_PEERS: Final = 1 << 14

_log = logging.getLogger(__name__)

_Maps = dict[str, int]
"""Descriptors by name."""


@dataclass(slots=True, eq=False)
class _Shortcut:
    """One device's: its index and what it was made with, and the descriptors of what belongs to it."""

    index: int
    vxlan: VxlanState
    maps: _Maps
    send: int
    receive: int
    maps_id: int
    """The kernel's number of the map of local MAC addresses, which both programs have."""
    ports: dict[int, bytes] = field(default_factory=dict)
    """By the index of a container's link that takes part: its key in the map of local MAC addresses."""

    def close(self) -> None:
        for descriptor in (*self.maps.values(), self.send, self.receive):
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Attached:
    """A program of ours at a link."""

    name: str
    maps: tuple[int, ...]


class Shortcuts:
    """Those of the calling threads' network namespace; all of them are in the same one."""

    def __init__(self) -> None:
        self._there: dict[str, _Shortcut] = {}
        self._ingress: Ingress | None = None
        # Guards both, and keeps the maps in step with the FDB.
        self._lock = RLock()

    def close(self) -> None:
        with self._lock:
            while self._there:
                self._there.popitem()[1].close()
            if self._ingress is not None:
                self._ingress.close()
            self._ingress = None

    def set(self, tunnel: LinkState, ports: Sequence[LinkState], fdb: Mapping[str, frozenset[str]]) -> None:
        """Have a device's shortcut as its FDB says; `ports` are the other links of its bridge.

        Raises OSError if the kernel does not let it.
        """
        if tunnel.vxlan is None:
            raise NotFound(f"{tunnel.name} is no VXLAN device")
        indexes = {port.index for port in ports}
        with self._lock:
            found = self._there.get(tunnel.name)
            if found is None:
                found = self._there[tunnel.name] = _make(tunnel, indexes, self._links())
            found.index, found.vxlan = tunnel.index, tunnel.vxlan
            self._fill(found, fdb)
            found.ports = {}
            for key in list(syscall.keys(found.maps[LOCAL], _KEY_SIZE)):
                value = syscall.look_up(found.maps[LOCAL], key, _INDEX_SIZE)
                (index,) = struct.unpack("=I", value or bytes(_INDEX_SIZE))
                if index not in indexes:
                    syscall.delete(found.maps[LOCAL], key)
                elif self._is_current(found, index, _SEND):
                    found.ports[index] = key
            if not self._is_current(found, found.index, _RECEIVE):
                self._links().attach(found.index, found.receive, _current_name(_RECEIVE))

    def add(self, tunnel: str, port: LinkState, mac: str) -> None:
        """Let a container's link take part in a device's shortcut, if it has one. Raises OSError."""
        with self._lock:
            found = self._there.get(tunnel)
            if found is None:
                return
            key = pack_mac(mac)
            if (before := found.ports.pop(port.index, key)) != key:
                syscall.delete(found.maps[LOCAL], before)
            syscall.update(found.maps[LOCAL], key, struct.pack("=I", port.index))
            self._links().attach(port.index, found.send, _current_name(_SEND))
            found.ports[port.index] = key

    def remove(self, tunnel: LinkState, ports: Iterable[LinkState]) -> None:
        """Have every packet take the plain path. Raises OSError."""
        with self._lock:
            for link, title in (*((port, _SEND) for port in ports), (tunnel, _RECEIVE)):
                if any(item.name.startswith(title) for item in self._links().filters(link.index)):
                    self._links().detach(link.index)
            if (found := self._there.pop(tunnel.name, None)) is not None:
                found.close()

    def forget(self, name: str, index: int) -> None:
        """A link is about to go. Nothing is sent past its FDB, and nothing is put into it, any more."""
        with self._lock:
            found = self._there.pop(name, None)
            if found is not None:
                for key in list(syscall.keys(found.maps[REMOTE], _KEY_SIZE)):
                    syscall.delete(found.maps[REMOTE], key)
                found.close()
                return
            for shortcut in self._there.values():
                if index in shortcut.ports:
                    syscall.delete(shortcut.maps[LOCAL], shortcut.ports.pop(index))

    @contextmanager
    def following(self, batch: Sequence[Step]) -> Iterator[None]:
        """In the body FDB rows are changed; those of a shortcut leave it before, and come back after that."""
        changed = [
            step
            for step in batch
            if isinstance(step, steps.SetFdb | steps.RemoveFdb)
            and not step.netns
            and step.mac != ANY_MAC
            and step.link in self._there
        ]
        if not changed:
            yield
            return
        with self._lock:
            for step in changed:
                if (found := self._there.get(step.link)) is not None:
                    syscall.delete(found.maps[REMOTE], pack_mac(step.mac))
            yield
            for step in changed:
                found = self._there.get(step.link)
                if found is not None and isinstance(step, steps.SetFdb):
                    self._write(found, step.mac, step.destination)

    def states(
        self, links: Iterable[LinkState], read_fdb: Callable[[str], Mapping[str, frozenset[str]]]
    ) -> dict[str, ShortcutState]:
        """Return how links take part in shortcuts, by name: those that do.

        What an earlier process of this version left is taken over, and compared with the FDB once.
        """
        there = tuple(links)
        states: dict[str, ShortcutState] = {}
        bridges: set[str] = set()
        with self._lock:
            for link in there:
                if link.kind != "vxlan" or not link.master:
                    continue
                names = {item.name for item in self._links().filters(link.index)}
                if not any(name.startswith(_RECEIVE) for name in names):
                    continue
                if link.name not in self._there and _current_name(_RECEIVE) in names:
                    with suppress(OSError, NotFound):
                        ports = [port for port in there if port.master == link.master]
                        self.set(link, ports, read_fdb(link.name))
                states[link.name] = self._state(link)
                bridges.add(link.master)
                self._forget_dead(link.name, there)
            known = {index for found in self._there.values() for index in found.ports}
            for link in there:
                if link.kind != "veth" or link.master not in bridges:
                    continue
                if link.index in known:
                    states[link.name] = "set"
                elif any(item.name.startswith(_SEND) for item in self._links().filters(link.index)):
                    states[link.name] = "stale"
        return states

    def sent(self) -> dict[str, dict[str, int]]:
        """Return the bytes that were sent to each peer, by device."""
        with self._lock:
            return {name: _count(found.maps[SENT]) for name, found in self._there.items()}

    def _forget_dead(self, tunnel: str, links: Iterable[LinkState]) -> None:
        """A container's link may have gone with its namespace, or by another's hand."""
        if (found := self._there.get(tunnel)) is not None:
            for index in found.ports.keys() - {link.index for link in links}:
                syscall.delete(found.maps[LOCAL], found.ports.pop(index))

    def _state(self, tunnel: LinkState) -> ShortcutState:
        found = self._there.get(tunnel.name)
        if found is None or (found.index, found.vxlan) != (tunnel.index, tunnel.vxlan):
            return "stale"
        return "set" if self._is_current(found, tunnel.index, _RECEIVE) else "stale"

    def _is_current(self, shortcut: _Shortcut, index: int, title: str) -> bool:
        """Tell whether a link has the program of this version, with a shortcut's own maps."""
        return any(
            item.name == _current_name(title) and shortcut.maps_id in item.maps
            for item in _ours(self._links(), index, title)
        )

    def _links(self) -> Ingress:
        if self._ingress is None:
            self._ingress = Ingress()
        return self._ingress

    def _fill(self, found: _Shortcut, fdb: Mapping[str, frozenset[str]]) -> None:
        wanted = {
            pack_mac(mac): (mac, next(iter(ends))) for mac, ends in fdb.items() if mac != ANY_MAC and ends
        }
        for key in list(syscall.keys(found.maps[REMOTE], _KEY_SIZE)):
            if key not in wanted:
                syscall.delete(found.maps[REMOTE], key)
        for mac, end in wanted.values():
            self._write(found, mac, end)

    def _write(self, found: _Shortcut, mac: str, end: str) -> None:
        # A full map, or one that the kernel has no memory for: the plain path is there. So it is for what
        # the program does not write.
        if ":" in end or ":" in found.vxlan.local or found.vxlan.port != VXLAN_PORT:
            return
        peer = IPv4Address(end).packed
        with suppress(OSError):
            if syscall.look_up(found.maps[SENT], peer, _COUNT_SIZE * syscall.possible_cpus()) is None:
                syscall.update(found.maps[SENT], peer, bytes(_COUNT_SIZE * syscall.possible_cpus()))
        row = pack_remote(end, found.vxlan.local, found.vxlan.vni)
        with suppress(OSError):
            syscall.update(found.maps[REMOTE], pack_mac(mac), row)


def are_supported() -> bool:
    """Tell whether the kernel lets such programs in, and has filters of kind bpf for links."""
    try:
        maps = _make_maps()
        try:
            for program, title in ((_send(), _SEND), (_receive(), _RECEIVE)):
                loaded = syscall.load(program.assemble(maps), _current_name(title))
                try:
                    try_out(loaded)
                finally:
                    os.close(loaded)
        finally:
            for descriptor in maps.values():
                os.close(descriptor)
    except OSError as error:
        _log.info("no shortcuts: %s", error)
        return False
    return True


@cache
def _send() -> Assembler:
    return build_send()


@cache
def _receive() -> Assembler:
    return build_receive()


@cache
def _current_name(title: str) -> str:
    program = _send() if title == _SEND else _receive()
    return name_of(program, title, dict.fromkeys((REMOTE, LOCAL, SENT), 0))


def _make(tunnel: LinkState, ports: Iterable[int], ingress: Ingress) -> _Shortcut:
    if tunnel.vxlan is None:
        raise NotFound(f"{tunnel.name} is no VXLAN device")
    maps = _inherit(ports, ingress) or _make_maps()
    held = list(maps.values())
    try:
        for program, title in ((_send(), _SEND), (_receive(), _RECEIVE)):
            held.append(syscall.load(program.assemble(maps), _current_name(title)))
        number = syscall.map_number(maps[LOCAL])
    except BaseException:
        for descriptor in held:
            os.close(descriptor)
        raise
    send, receive = held[-2:]
    return _Shortcut(tunnel.index, tunnel.vxlan, maps, send, receive, number)


def _make_maps() -> _Maps:
    maps: _Maps = {}
    try:
        for kind, name, key_size, value_size, most in (
            (MapKind.HASH, REMOTE, _KEY_SIZE, _REMOTE_SIZE, _MOST_ROWS),
            (MapKind.HASH, LOCAL, _KEY_SIZE, _INDEX_SIZE, _MOST_ROWS),
            (MapKind.PER_CPU_HASH, SENT, _PEER_SIZE, _COUNT_SIZE, _MOST_PEERS),
        ):
            maps[name] = syscall.create_map(kind, name, key_size, value_size, most)
    except BaseException:
        for descriptor in maps.values():
            os.close(descriptor)
        raise
    return maps


def _inherit(ports: Iterable[int], ingress: Ingress) -> _Maps | None:
    """Return the maps of programs of this version that somebody before us attached, if there is one.

    Those of the ports have all, and outlive the device.
    """
    for index in ports:
        for program in _ours(ingress, index, _SEND):
            if program.name == _current_name(_SEND):
                descriptors = [syscall.open_map(number) for number in program.maps]
                return {syscall.map_name(descriptor): descriptor for descriptor in descriptors}
    return None


def _ours(ingress: Ingress, index: int, title: str) -> list[_Attached]:
    found = []
    for item in ingress.filters(index):
        if not item.name.startswith(title):
            continue
        # It may have gone since it was listed.
        with suppress(OSError):
            descriptor = syscall.open_program(item.program)
            try:
                found.append(_Attached(item.name, tuple(syscall.program_maps(descriptor))))
            finally:
                os.close(descriptor)
    return found


def _count(descriptor: int) -> dict[str, int]:
    counts = {}
    for key in syscall.keys(descriptor, _PEER_SIZE):
        values = syscall.look_up(descriptor, key, _COUNT_SIZE * syscall.possible_cpus())
        if values is not None:
            counts[str(IPv4Address(key))] = sum(struct.unpack(f"={len(values) // _COUNT_SIZE}Q", values))
    return counts
