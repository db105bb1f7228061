"""Shortcuts of VXLAN devices: what their programs know, and where these are attached.

The kernel holds all of it: a program stays as long as the link that it is at, and its maps with it. So
traffic does not depend on this process, nothing is left when the links have gone, and the next process takes
the maps over from the programs.

What is behind other hosts is the device's own FDB, copied. A row is taken out of the map before the FDB's is
changed and put in again after that: killed in between, its packets take the plain path.
"""

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
from .programs import LOCAL, REMOTE, SENT, build_receive, build_send, name_of, pack_mac, pack_remote
from .syscall import MapKind

_SEND, _RECEIVE = "ck_send_", "ck_recv_"
_KEY_SIZE, _REMOTE_SIZE, _INDEX_SIZE, _PEER_SIZE, _COUNT_SIZE = 8, 16, 4, 4, 8
_MOST_ROWS: Final = 1 << 17
_MOST_PEERS: Final = 1 << 14

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
    """By the index of a container's link here, its key in the map of local MAC addresses."""

    def close(self) -> None:
        for descriptor in (*self.maps.values(), self.send, self.receive):
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Attached:
    """A program of ours at a link."""

    number: int
    name: str
    maps: tuple[int, ...]


class Shortcuts:
    """Those of the calling threads' network namespace; all of them are in the same one."""

    def __init__(self) -> None:
        self._there: dict[str, _Shortcut] = {}
        # Guards it, and keeps the maps in step with the FDB.
        self._lock = RLock()

    def close(self) -> None:
        with self._lock:
            while self._there:
                self._there.popitem()[1].close()

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
                found = self._there[tunnel.name] = _make(tunnel, indexes)
            found.index, found.vxlan = tunnel.index, tunnel.vxlan
            self._fill(found, fdb)
            found.ports = {}
            for key in list(syscall.keys(found.maps[LOCAL], _KEY_SIZE)):
                value = syscall.look_up(found.maps[LOCAL], key, _INDEX_SIZE)
                (index,) = struct.unpack("=I", value or bytes(_INDEX_SIZE))
                if index in indexes:
                    found.ports[index] = key
                else:
                    syscall.delete(found.maps[LOCAL], key)
            _put(found.index, _RECEIVE, found.receive, found.maps_id)

    def add(self, tunnel: str, port: LinkState, mac: str) -> None:
        """Let a container's link take part in a device's shortcut, if it has one. Raises OSError."""
        with self._lock:
            found = self._there.get(tunnel)
            if found is None:
                return
            found.ports[port.index] = pack_mac(mac)
            syscall.update(found.maps[LOCAL], pack_mac(mac), struct.pack("=I", port.index))
            _put(port.index, _SEND, found.send, found.maps_id)

    def remove(self, tunnel: LinkState, ports: Iterable[LinkState]) -> None:
        """Have every packet take the plain path. Raises OSError."""
        with self._lock:
            for port in ports:
                _take_off(port.index, _SEND)
            _take_off(tunnel.index, _RECEIVE)
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
                if link.kind == "vxlan" and link.master and (ours := _ours(link.index, _RECEIVE)):
                    if link.name not in self._there and any(
                        item.name == _current_name(_RECEIVE) for item in ours
                    ):
                        with suppress(OSError, NotFound):
                            ports = [port for port in there if port.master == link.master]
                            self.set(link, ports, read_fdb(link.name))
                            ours = _ours(link.index, _RECEIVE)
                    states[link.name] = self._state(link, ours)
                    bridges.add(link.master)
                    self._forget_dead(link.name, there)
            current_maps = {found.maps_id for found in self._there.values()}
            for link in there:
                if link.kind == "veth" and link.master in bridges and (ours := _ours(link.index, _SEND)):
                    known = any(_is_current(item, number) for item in ours for number in current_maps)
                    states[link.name] = "set" if known else "stale"
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

    def _state(self, tunnel: LinkState, programs: Sequence[_Attached]) -> ShortcutState:
        found = self._there.get(tunnel.name)
        if found is None or (found.index, found.vxlan) != (tunnel.index, tunnel.vxlan):
            return "stale"
        return "set" if any(_is_current(item, found.maps_id) for item in programs) else "stale"

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
        # A full map, or one that the kernel has no memory for: the plain path is there. So it is for IPv6.
        if ":" in end or ":" in found.vxlan.local:
            return
        peer = IPv4Address(end).packed
        with suppress(OSError):
            if syscall.look_up(found.maps[SENT], peer, _COUNT_SIZE * syscall.possible_cpus()) is None:
                syscall.update(found.maps[SENT], peer, bytes(_COUNT_SIZE * syscall.possible_cpus()))
        row = pack_remote(end, found.vxlan.local, found.vxlan.vni)
        with suppress(OSError):
            syscall.update(found.maps[REMOTE], pack_mac(mac), row)


def are_supported() -> bool:
    """Tell whether the kernel lets such programs in, and has a place for them at links (TCX, Linux 6.6)."""
    try:
        maps = _make_maps()
        try:
            for program, title in ((_send(), _SEND), (_receive(), _RECEIVE)):
                os.close(syscall.load(program.assemble(maps), name_of(program, title, maps)))
            syscall.attached(1)
        finally:
            for descriptor in maps.values():
                os.close(descriptor)
    except OSError:
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


def _make(tunnel: LinkState, ports: Iterable[int]) -> _Shortcut:
    if tunnel.vxlan is None:
        raise NotFound(f"{tunnel.name} is no VXLAN device")
    maps = _inherit(ports) or _make_maps()
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


def _inherit(ports: Iterable[int]) -> _Maps | None:
    """Return the maps of programs of this version that somebody before us attached, if there is one.

    Those of the ports have all, and outlive the device.
    """
    for index in ports:
        for program in _ours(index, _SEND):
            if program.name == _current_name(_SEND):
                descriptors = [syscall.open_map(number) for number in program.maps]
                return {syscall.map_name(descriptor): descriptor for descriptor in descriptors}
    return None


def _ours(index: int, title: str) -> list[_Attached]:
    found = []
    for number in syscall.attached(index):
        # It may have gone since it was listed.
        with suppress(OSError):
            descriptor = syscall.open_program(number)
            try:
                _, name, maps = syscall.program_info(descriptor)
            finally:
                os.close(descriptor)
            if name.startswith(title):
                found.append(_Attached(number, name, tuple(maps)))
    return found


def _is_current(program: _Attached, map_number: int) -> bool:
    return program.name in {_current_name(_SEND), _current_name(_RECEIVE)} and map_number in program.maps


def _put(index: int, title: str, program: int, map_number: int) -> None:
    """Attach a program in place of one of ours, unless that one does the same."""
    ours = _ours(index, title)
    if any(_is_current(item, map_number) for item in ours):
        return
    if not ours:
        syscall.attach(index, program)
        return
    replaced = syscall.open_program(ours[0].number)
    try:
        syscall.attach(index, program, replaced)
    finally:
        os.close(replaced)


def _take_off(index: int, title: str) -> None:
    for item in _ours(index, title):
        with suppress(OSError):
            descriptor = syscall.open_program(item.number)
            try:
                syscall.detach(index, descriptor)
            finally:
                os.close(descriptor)


def _count(descriptor: int) -> dict[str, int]:
    counts = {}
    for key in syscall.keys(descriptor, _PEER_SIZE):
        values = syscall.look_up(descriptor, key, _COUNT_SIZE * syscall.possible_cpus())
        if values is not None:
            counts[str(IPv4Address(key))] = sum(struct.unpack(f"={len(values) // _COUNT_SIZE}Q", values))
    return counts
