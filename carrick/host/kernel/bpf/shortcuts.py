"""Shortcuts of VXLAN devices: what their programs know, and where these are attached.

Those of an overlay network have a device that is a port of the bridge, and pass both by. Those of a routed
network have one that is not, and take what would be forwarded between the two past the host as well.

The kernel holds all of it: a program stays as long as the link that it is at, and its maps with it. So
traffic does not depend on this process, nothing is left when the links have gone, and the next process takes
the maps over from the programs.

What is behind other hosts is the device's own FDB, copied. A row is taken out of the map before the FDB's is
changed and put in again after that: killed in between, its packets take the plain path.
"""

import logging
import os
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from threading import RLock
from typing import Final

from ....model import steps
from ....model.errors import NotFound
from ....model.observed import LinkState, ShortcutState, VxlanState
from ....model.steps import ANY_MAC, Step
from . import syscall
from .assembler import Assembler
from .ingress import Ingress, try_out
from .parts import VXLAN_PORT
from .programs import build_receive, build_routed_receive, build_routed_send, build_send, name_of
from .rows import (
    LINK_SIZE,
    LOCAL,
    REMOTE,
    ROUTER,
    ROUTER_SIZE,
    SENT,
    pack_address,
    pack_link,
    pack_mac,
    pack_remote,
    pack_router,
    unpack_link,
    unpack_router,
)
from .syscall import MapKind

_KEY_SIZE, _REMOTE_SIZE, _PEER_SIZE, _COUNT_SIZE = 8, 16, 4, 8
_MOST_ROWS: Final = 1 << 17
_MOST_PEERS: Final = 1 << 14

_log = logging.getLogger(__name__)

_Maps = dict[str, int]
"""Descriptors by name."""
_ROUTER_KEY: Final = bytes(4)
_LAYOUTS: Final = {
    REMOTE: (MapKind.HASH, _KEY_SIZE, _REMOTE_SIZE, _MOST_ROWS),
    LOCAL: (MapKind.HASH, _KEY_SIZE, LINK_SIZE, _MOST_ROWS),
    SENT: (MapKind.PER_CPU_HASH, _PEER_SIZE, _COUNT_SIZE, _MOST_PEERS),
    ROUTER: (MapKind.ARRAY, len(_ROUTER_KEY), ROUTER_SIZE, 1),
}
"""Kinds of maps, the bytes of keys and values, and the most rows."""


@dataclass(frozen=True, slots=True)
class _Program:
    """One of the programs: what its name begins with, and its instructions."""

    title: str
    build: Callable[[], Assembler]

    def load(self, maps: _Maps) -> int:
        """Have the kernel let it in; return its descriptor. Raises OSError."""
        return syscall.load(_assembled(self).assemble(maps), self.name)

    @property
    def name(self) -> str:
        """The name of this version of it."""
        return _named(self)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a kind of shortcuts consists of."""

    send: _Program
    receive: _Program


_BRIDGED = _Kind(_Program("ck_send_", build_send), _Program("ck_recv_", build_receive))
_ROUTED = _Kind(_Program("ck_rsnd_", build_routed_send), _Program("ck_rrcv_", build_routed_receive))
_KINDS: Final = (_BRIDGED, _ROUTED)
_SENDING: Final = tuple(kind.send.title for kind in _KINDS)
_RECEIVING: Final = tuple(kind.receive.title for kind in _KINDS)


@dataclass(slots=True, eq=False)
class _Shortcut:
    """One device's: its index and what it was made with, and the descriptors of what belongs to it."""

    kind: _Kind
    index: int
    vxlan: VxlanState
    maps: _Maps
    send: int
    receive: int
    maps_id: int
    """The kernel's number of the map of what is here, which both programs have."""
    router: bytes = b""
    """Of a routed network, the row that says what it is here."""
    ports: dict[int, set[bytes]] = field(default_factory=dict)
    """By the index of a container's link that takes part: its keys in the map of what is here."""

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

    def set(
        self,
        tunnel: LinkState,
        bridge: LinkState,
        ports: Sequence[LinkState],
        fdb: Mapping[str, frozenset[str]],
        subnet: IPv4Network | None = None,
    ) -> None:
        """Have a device's shortcut as its FDB says; `ports` are the links of its network's bridge.

        With `subnet` the network is a routed one. Raises OSError if the kernel does not let it.
        """
        if tunnel.vxlan is None:
            raise NotFound(f"{tunnel.name} is no VXLAN device")
        kind = _ROUTED if subnet is not None else _BRIDGED
        indexes = {port.index for port in ports}
        with self._lock:
            found = self._there.get(tunnel.name)
            if found is None:
                found = self._there[tunnel.name] = _make(kind, tunnel, indexes, self._links())
            found.index, found.vxlan = tunnel.index, tunnel.vxlan
            if subnet is not None:
                found.router = pack_router(subnet, bridge.index, tunnel.index, bridge.mac)
                syscall.update(found.maps[ROUTER], _ROUTER_KEY, found.router)
            self._fill(found, fdb)
            found.ports = {}
            for key in list(syscall.keys(found.maps[LOCAL], _KEY_SIZE)):
                index = unpack_link(syscall.look_up(found.maps[LOCAL], key, LINK_SIZE) or bytes(LINK_SIZE))
                if index not in indexes:
                    syscall.delete(found.maps[LOCAL], key)
                elif index in found.ports or self._is_current(found, index, kind.send):
                    found.ports.setdefault(index, set()).add(key)
            if not self._is_current(found, found.index, kind.receive):
                self._links().attach(found.index, found.receive, kind.receive.name)

    def add(self, tunnel: str, port: LinkState, mac: str, address: str = "") -> None:
        """Let a container's link take part in a device's shortcut, if it has one. Raises OSError.

        `address` is what packets are routed to it by, IPv4, where the shortcut routes.
        """
        with self._lock:
            found = self._there.get(tunnel)
            if found is None:
                return
            keys = {pack_mac(mac), *([pack_address(IPv4Address(address))] if address else [])}
            self._forget_port(found, port.index, keys)
            for key in keys:
                syscall.update(found.maps[LOCAL], key, pack_link(port.index, mac))
            self._links().attach(port.index, found.send, found.kind.send.name)
            found.ports[port.index] = keys

    def remove(self, tunnel: LinkState, ports: Iterable[LinkState]) -> None:
        """Have every packet take the plain path. Raises OSError."""
        with self._lock:
            for link, titles in (*((port, _SENDING) for port in ports), (tunnel, _RECEIVING)):
                if any(item.name.startswith(titles) for item in self._links().filters(link.index)):
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
                self._forget_port(shortcut, index)

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
        there = {link.index: link for link in links}
        by_name = {link.name: link for link in there.values()}
        states: dict[str, ShortcutState] = {}
        bridges: set[str] = set()
        with self._lock:
            for link in there.values():
                if link.kind != "vxlan":
                    continue
                names = {item.name for item in self._links().filters(link.index)}
                if not any(name.startswith(_RECEIVING) for name in names):
                    continue
                subnet, bridge = None, by_name.get(link.master)
                if bridge is None and (row := self._router(link.index)) is not None:
                    subnet, bridge = row[0], there.get(row[1])
                states[link.name] = "stale"
                if bridge is None:
                    continue
                bridges.add(bridge.name)
                if link.name not in self._there and names & {kind.receive.name for kind in _KINDS}:
                    with suppress(OSError, NotFound):
                        ports = [port for port in there.values() if port.master == bridge.name]
                        self.set(link, bridge, ports, read_fdb(link.name), subnet)
                states[link.name] = self._state(link, bridge, subnet)
                self._forget_dead(link.name, there)
            known = {index for found in self._there.values() for index in found.ports}
            for link in there.values():
                if link.kind != "veth" or link.master not in bridges:
                    continue
                if link.index in known:
                    states[link.name] = "set"
                elif any(item.name.startswith(_SENDING) for item in self._links().filters(link.index)):
                    states[link.name] = "stale"
        return states

    def _router(self, index: int) -> tuple[IPv4Network, int] | None:
        """Return what the program at a device knows of its routed network: subnet and bridge."""
        for item in _ours(self._links(), index, _ROUTED.receive):
            with ExitStack() as held:
                for number in item.maps:
                    descriptor = syscall.open_map(number)
                    held.callback(os.close, descriptor)
                    if syscall.map_name(descriptor) == ROUTER:
                        row = syscall.look_up(descriptor, _ROUTER_KEY, ROUTER_SIZE)
                        return unpack_router(row) if row is not None else None
        return None

    def sent(self) -> dict[str, dict[str, int]]:
        """Return the bytes that were sent to each peer, by device."""
        with self._lock:
            return {name: _count(found.maps[SENT]) for name, found in self._there.items()}

    def _forget_dead(self, tunnel: str, links: Collection[int]) -> None:
        """A container's link may have gone with its namespace, or by another's hand."""
        if (found := self._there.get(tunnel)) is not None:
            for index in found.ports.keys() - links:
                self._forget_port(found, index)

    def _forget_port(self, shortcut: _Shortcut, index: int, kept: Collection[bytes] = ()) -> None:
        for key in shortcut.ports.pop(index, set()).difference(kept):
            syscall.delete(shortcut.maps[LOCAL], key)

    def _state(self, tunnel: LinkState, bridge: LinkState, subnet: IPv4Network | None) -> ShortcutState:
        found = self._there.get(tunnel.name)
        if found is None or (found.index, found.vxlan) != (tunnel.index, tunnel.vxlan):
            return "stale"
        if subnet is not None and found.router != pack_router(subnet, bridge.index, tunnel.index, bridge.mac):
            return "stale"
        return "set" if self._is_current(found, tunnel.index, found.kind.receive) else "stale"

    def _is_current(self, shortcut: _Shortcut, index: int, program: _Program) -> bool:
        """Tell whether a link has the program of this version, with a shortcut's own maps."""
        return any(
            item.name == program.name and shortcut.maps_id in item.maps
            for item in _ours(self._links(), index, program)
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
            for program in (program for kind in _KINDS for program in (kind.send, kind.receive)):
                loaded = program.load(maps)
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
def _assembled(program: _Program) -> Assembler:
    return program.build()


@cache
def _named(program: _Program) -> str:
    layouts = {name: repr(layout) for name, layout in _LAYOUTS.items()}
    return name_of(_assembled(program), program.title, layouts)


def _make(kind: _Kind, tunnel: LinkState, ports: Iterable[int], ingress: Ingress) -> _Shortcut:
    if tunnel.vxlan is None:
        raise NotFound(f"{tunnel.name} is no VXLAN device")
    maps = _inherit(kind, ports, ingress) or _make_maps()
    held = list(maps.values())
    try:
        for program in (kind.send, kind.receive):
            held.append(program.load(maps))
        number = syscall.map_number(maps[LOCAL])
    except BaseException:
        for descriptor in held:
            os.close(descriptor)
        raise
    send, receive = held[-2:]
    return _Shortcut(kind, tunnel.index, tunnel.vxlan, maps, send, receive, number)


def _make_maps() -> _Maps:
    maps: _Maps = {}
    try:
        for name, (kind, key_size, value_size, most) in _LAYOUTS.items():
            maps[name] = syscall.create_map(kind, name, key_size, value_size, most)
    except BaseException:
        for descriptor in maps.values():
            os.close(descriptor)
        raise
    return maps


def _inherit(kind: _Kind, ports: Iterable[int], ingress: Ingress) -> _Maps | None:
    """Return the maps of programs of this version that somebody before us attached, if there is one.

    Those of the ports have all, and outlive the device.
    """
    for index in ports:
        for program in _ours(ingress, index, kind.send):
            if program.name == kind.send.name:
                descriptors = [syscall.open_map(number) for number in program.maps]
                return {syscall.map_name(descriptor): descriptor for descriptor in descriptors}
    return None


def _ours(ingress: Ingress, index: int, program: _Program) -> list[_Attached]:
    """Return the programs of that name at a link, of whatever version."""
    found = []
    for item in ingress.filters(index):
        if not item.name.startswith(program.title):
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
