"""Notice that somebody else changed the network, by netlink's notifications.

An address, a rule, a route, a link of ours, or a row of its FDB or neighbour table that a foreign process
took away is reason to look (`Reconciler.converge` does). That others change what rules there are is told
apart: it may be reason to pass them by no longer. Addresses, rules and routes come with the port id of
the socket that changed them. A link that goes or goes down, and a row that goes, is reported by the kernel in
its own name, so the kernel's side remembers what was our doing (`own`); links without our mark are passed
over, for on a busy host most are none of ours. (A port taken out of its bridge is reported without its mark,
and is left to the next look.)

A filter in the kernel keeps back what does not matter: tens of thousands of rows may come at a time.
"""

import asyncio
import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Protocol

from ...model.steps import ROUTE_PROTOCOL
from . import netlink
from .netlink import Netlink, Refusal, parse_attributes
from .own import bridge_row, fdb_row, neighbour_row
from .readings import LINK_HEADER, parse_link
from .rows import (
    AF_BRIDGE,
    NDA_DST,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_PROTOCOL,
    NEIGHBOUR_HEADER,
    NUD_NOARP,
    NUD_PERMANENT,
    ROUTE_HEADER,
)

_NETLINK_ROUTE = 0
_NETLINK_NETFILTER = 12
_RTMGRP_LINK, _RTMGRP_NEIGH = 0x1, 0x4
_RTMGRP_IPV4_IFADDR, _RTMGRP_IPV4_ROUTE = 0x10, 0x40
_RTMGRP_IPV6_IFADDR, _RTMGRP_IPV6_ROUTE = 0x100, 0x400
_ROUTE_GROUPS = (
    _RTMGRP_LINK
    | _RTMGRP_NEIGH
    | _RTMGRP_IPV4_IFADDR
    | _RTMGRP_IPV4_ROUTE
    | _RTMGRP_IPV6_IFADDR
    | _RTMGRP_IPV6_ROUTE
)
_NFNLGRP_NFTABLES = 7
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_HEADER = struct.Struct("=LHHLL")
_NFT_MSG_DELTABLE = (10 << 8) | 2
_NFT_MSG_NEWCHAIN = (10 << 8) | 3
_NFT_MSG_DELCHAIN = (10 << 8) | 5
_NFT_MSG_NEWRULE = (10 << 8) | 6
_NFT_MSG_DELRULE = (10 << 8) | 8
_NFT_MSG_DELSET = (10 << 8) | 11
_NFT_MSG_DELSETELEM = (10 << 8) | 14
_NFT_MSG_NEWGEN = (10 << 8) | 15
_DELETIONS = {_NFT_MSG_DELTABLE, _NFT_MSG_DELCHAIN, _NFT_MSG_DELRULE, _NFT_MSG_DELSET, _NFT_MSG_DELSETELEM}
_CHANGES_OF_RULES = {
    _NFT_MSG_DELTABLE,
    _NFT_MSG_NEWCHAIN,
    _NFT_MSG_DELCHAIN,
    _NFT_MSG_NEWRULE,
    _NFT_MSG_DELRULE,
}
_IFF_UP = 0x1
_MOST = 1 << 16
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_RECEIVE_BUFFER = 4 << 20


class IsOwn(Protocol):
    """`Kernel.is_own_change`."""

    def __call__(self, port_id: int, link: str = "", row: str = "") -> bool: ...


class Monitor:
    """Calls `on_change` (in the event loop) when a foreign process took something of ours away.

    And `on_rules` when one changed nftables' rules or chains, ours or not; elements of sets are none.
    """

    def __init__(
        self,
        is_own: IsOwn,
        on_change: Callable[[str], None],
        *,
        table: str = "carrick",
        on_rules: Callable[[], None] | None = None,
    ) -> None:
        self._is_own = is_own
        self._table = table
        self._mark = f"{table}:"
        self._on_change = on_change
        self._on_rules = on_rules
        self._sockets: list[socket.socket] = []
        self._rules_went = self._rules_changed = False
        self._links: Netlink | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._links = Netlink()
        route = self._open(_NETLINK_ROUTE, _ROUTE_GROUPS)
        loop.add_reader(route, self._drain, route, self._judge_route)
        rules = self._open(_NETLINK_NETFILTER, 0)
        rules.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        loop.add_reader(rules, self._drain, rules, self._judge_rules)

    def _open(self, protocol: int, groups: int) -> socket.socket:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        opened.setblocking(False)
        if protocol == _NETLINK_ROUTE:
            # Both spare work, no more: what is let through is judged all the same.
            with suppress(OSError):
                _attach_filter(opened)
                opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        opened.bind((0, groups))
        self._sockets.append(opened)
        return opened

    def stop(self) -> None:
        for opened in self._sockets:
            asyncio.get_running_loop().remove_reader(opened)
            opened.close()
        self._sockets.clear()
        if self._links is not None:
            self._links.close()
        self._links = None

    def _drain(self, source: socket.socket, judge: Callable[[int, int, bytes], str]) -> None:
        """Read all that is there; a queue that overflowed is itself a reason to look."""
        reason = ""
        while True:
            try:
                data = source.recv(_MOST)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                reason = reason or "notifications were lost"
                continue
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, _, _, port_id = _HEADER.unpack_from(data, offset)
                if length < _HEADER.size:
                    break
                reason = judge(kind, port_id, data[offset + _HEADER.size : offset + length]) or reason
                offset += (length + 3) & ~3
        if reason:
            self._on_change(reason)

    def _judge_route(self, kind: int, port_id: int, body: bytes) -> str:
        match kind:
            case netlink.DELADDR if port_id and not self._is_own(port_id):
                return "an address was removed"
            case netlink.DELROUTE if port_id and not self._is_own(port_id):
                protocol = ROUTE_HEADER.unpack_from(body)[5]
                return "a route was removed" if protocol == ROUTE_PROTOCOL else ""
            case netlink.DELNEIGH:
                return self._judge_row(port_id, body)
            case netlink.DELLINK:
                what = "removed"
            case netlink.NEWLINK if _went_down(body):
                what = "set down"
            case _:
                return ""
        link = parse_link(body)
        if not link.alias.startswith(self._mark) or self._is_own(port_id, link.name):
            return ""
        return f"link {link.name} was {what}"

    def _judge_row(self, port_id: int, body: bytes) -> str:
        row = _row_of(body)
        if not row:
            return ""
        index = NEIGHBOUR_HEADER.unpack_from(body)[2]
        try:
            name = socket.if_indextoname(index)
        except OSError:
            # It went with its link, and that is another notification.
            return ""
        if self._is_own(port_id, name, row) or not self._alias(index).startswith(self._mark):
            return ""
        return f"row {row} of link {name} was removed"

    def _alias(self, index: int) -> str:
        if self._links is None:
            return ""
        try:
            bodies = self._links.request(netlink.GETLINK, 0, LINK_HEADER.pack(0, 0, index, 0, 0))
        except Refusal:
            return ""
        return parse_link(bodies[0]).alias

    def _judge_rules(self, kind: int, port_id: int, body: bytes) -> str:
        """A transaction's messages end in NEWGEN; only deletions from our tables are reason to look.

        Another daemon in this namespace replaces its own tables, as every firewall does at a reload.
        """
        if kind in _DELETIONS and _table_of(body) == self._table:
            self._rules_went = True
        self._rules_changed = self._rules_changed or kind in _CHANGES_OF_RULES
        if kind != _NFT_MSG_NEWGEN:
            return ""
        went, changed = self._rules_went, self._rules_changed
        self._rules_went = self._rules_changed = False
        if (not changed and not went) or self._is_own(port_id):
            return ""
        if changed and self._on_rules is not None:
            self._on_rules()
        return "nftables rules were deleted" if went else ""


def _went_down(body: bytes) -> bool:
    _, _, _, flags, changed = LINK_HEADER.unpack_from(body)
    return bool(changed & _IFF_UP and not flags & _IFF_UP)


def _row_of(body: bytes) -> str:
    """Return the row of an FDB or neighbour table that a message is about, "" if we make none of its sort."""
    family, _, _, state, _, _ = NEIGHBOUR_HEADER.unpack_from(body)
    attributes = parse_attributes(body, NEIGHBOUR_HEADER.size)
    destination = attributes.get(NDA_DST)
    if family != AF_BRIDGE:
        ours = attributes.get(NDA_PROTOCOL, b"\0")[0] == ROUTE_PROTOCOL
        return neighbour_row(str(ip_address(destination))) if ours and destination else ""
    mac = attributes.get(NDA_LLADDR, b"").hex(":")
    if destination and state & (NUD_PERMANENT | NUD_NOARP):
        return fdb_row(mac, str(ip_address(destination)))
    # A bridge's own addresses are PERMANENT, and come and go with its ports.
    return bridge_row(mac) if NDA_MASTER in attributes and state & NUD_NOARP else ""


def _attach_filter(opened: socket.socket) -> None:
    """Let only deletions through (and links): of rows that do not age, of routes with our protocol."""

    def load(place: int, size: int) -> tuple[int, int, int, int]:
        return (0x28 if size == 2 else 0x30, 0, 0, place)

    def jump(value: int, yes: int, no: int = 0, *, any_bit: bool = False) -> tuple[int, int, int, int]:
        return (0x45 if any_bit else 0x15, yes, no, value)

    def type_is(kind: int, yes: int) -> tuple[int, int, int, int]:
        # The filter reads in network order what netlink writes in the host's.
        return jump(socket.htons(kind), yes)

    header = _HEADER.size
    state = header + 8 + (0 if sys.byteorder == "little" else 1)
    drop, accept = (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)
    program = [
        load(4, 2),
        type_is(netlink.NEWLINK, 11),
        type_is(netlink.DELLINK, 10),
        type_is(netlink.DELADDR, 9),
        type_is(netlink.DELROUTE, 2),
        type_is(netlink.DELNEIGH, 3),
        drop,
        load(header + 5, 1),
        jump(ROUTE_PROTOCOL, 4, 5),
        load(header, 1),
        jump(AF_BRIDGE, 0, 2),
        load(state, 1),
        jump(NUD_PERMANENT | NUD_NOARP, 0, 1, any_bit=True),
        accept,
        drop,
    ]
    # Each jump counts from the instruction after it.
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBL", *line) for line in program))
    opened.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code))
    )


def _table_of(body: bytes) -> str:
    """Return the table that an nftables message is about: in all of them it is attribute 1."""
    offset = 4  # After nfgenmsg.
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4:
            return ""
        if kind & 0x3FFF == 1:
            return body[offset + 4 : offset + length].split(b"\0")[0].decode(errors="replace")
        offset += (length + 3) & ~3
    return ""
