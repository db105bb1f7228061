"""Notice that somebody else changed the network, by netlink's notifications.

An address, a rule or a link of ours that a foreign process took away is reason to look (`Reconciler.converge`
does). Addresses and rules come with the port id of the socket that changed them. A link that goes or
goes down is reported by the kernel in its own name, so the kernel's side remembers what was our doing
(`own`); links without our mark are passed over, for on a busy host most are none of ours. (A port taken out
of its bridge is reported without its mark, and is left to the next look.)
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from .readings import LINK_HEADER, parse_link

_NETLINK_ROUTE = 0
_NETLINK_NETFILTER = 12
_RTMGRP_LINK = 0x1
_RTMGRP_IPV4_IFADDR = 0x10
_RTMGRP_IPV6_IFADDR = 0x100
_NFNLGRP_NFTABLES = 7
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_HEADER = struct.Struct("=LHHLL")
_RTM_DELLINK, _RTM_NEWLINK, _RTM_DELADDR = 17, 16, 21
_NFT_MSG_DELTABLE = (10 << 8) | 2
_NFT_MSG_DELCHAIN = (10 << 8) | 5
_NFT_MSG_DELRULE = (10 << 8) | 8
_NFT_MSG_DELSET = (10 << 8) | 11
_NFT_MSG_DELSETELEM = (10 << 8) | 14
_NFT_MSG_NEWGEN = (10 << 8) | 15
_DELETIONS = {_NFT_MSG_DELTABLE, _NFT_MSG_DELCHAIN, _NFT_MSG_DELRULE, _NFT_MSG_DELSET, _NFT_MSG_DELSETELEM}
_IFF_UP = 0x1
_MOST = 1 << 16


class IsOwn(Protocol):
    """`Kernel.is_own_change`."""

    def __call__(self, port_id: int, link: str = "") -> bool: ...


class Monitor:
    """Calls `on_change` (in the event loop) when a foreign process took links, addresses or rules away."""

    def __init__(self, is_own: IsOwn, on_change: Callable[[str], None], *, table: str = "carrick") -> None:
        self._is_own = is_own
        self._table = table
        self._mark = f"{table}:"
        self._on_change = on_change
        self._sockets: list[socket.socket] = []
        self._rules_went = False

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        route = self._open(_NETLINK_ROUTE, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR)
        loop.add_reader(route, self._drain, route, self._judge_route)
        rules = self._open(_NETLINK_NETFILTER, 0)
        rules.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        loop.add_reader(rules, self._drain, rules, self._judge_rules)

    def _open(self, protocol: int, groups: int) -> socket.socket:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        opened.setblocking(False)
        opened.bind((0, groups))
        self._sockets.append(opened)
        return opened

    def stop(self) -> None:
        for opened in self._sockets:
            asyncio.get_running_loop().remove_reader(opened)
            opened.close()
        self._sockets.clear()

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
        if kind == _RTM_DELADDR and port_id and not self._is_own(port_id):
            return "an address was removed"
        if kind == _RTM_DELLINK:
            what = "removed"
        elif kind == _RTM_NEWLINK and _went_down(body):
            what = "set down"
        else:
            return ""
        link = parse_link(body)
        if not link.alias.startswith(self._mark) or self._is_own(port_id, link.name):
            return ""
        return f"link {link.name} was {what}"

    def _judge_rules(self, kind: int, port_id: int, body: bytes) -> str:
        """A transaction's messages end in NEWGEN; only deletions from our tables matter.

        Another daemon in this namespace replaces its own tables, as every firewall does at a reload.
        """
        if kind in _DELETIONS and _table_of(body) == self._table:
            self._rules_went = True
        if kind != _NFT_MSG_NEWGEN:
            return ""
        went, self._rules_went = self._rules_went, False
        return "nftables rules were deleted" if went and not self._is_own(port_id) else ""


def _went_down(body: bytes) -> bool:
    _, _, _, flags, changed = LINK_HEADER.unpack_from(body)
    return bool(changed & _IFF_UP and not flags & _IFF_UP)


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
