"""Rtnetlink's tables of rows: routes, rules, FDB, neighbours. Each step becomes messages; `Rtnl` sends them.

Rows of one kind do not depend on each other, so that hundreds go in one system call. `plan_messages` is pure
but for looking up the indexes of links, in the calling thread's namespace.
"""

import errno
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6
from types import MappingProxyType
from typing import Any

from ...model import steps
from ...model.errors import NotFound
from ...model.steps import ANY_MAC, ROUTE_PROTOCOL
from . import netlink
from .netlink import Message, attribute, mac, text, u8, u32

# Destination length, source length, TOS, table, protocol, scope, type, flags; a rule's header has its shape.
ROUTE_HEADER = struct.Struct("=BBBBBBBBL")
NEIGHBOUR_HEADER = struct.Struct("=BxHlHBB")

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 1, 4, 5, 6, 7
RTA_TABLE, RTA_VIA = 15, 18
ROUTE_TYPES: Mapping[steps.RouteKind, int] = MappingProxyType(
    {"unicast": 1, "blackhole": 6, "unreachable": 7}
)
NEXT_HOP_ONLINK = 4
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_ANY = 0, 253, 255

FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_FWMARK = 1, 2, 3, 6, 10
FRA_TABLE, FRA_FWMASK, FRA_PROTOCOL = 15, 16, 21
RULE_TO_TABLE = 1
RULE_INVERT = 0x2

NDA_DST, NDA_LLADDR, NDA_IFINDEX, NDA_MASTER, NDA_PROTOCOL = 1, 2, 8, 9, 12
NTF_SELF, NTF_MASTER, NTF_ROUTER = 0x02, 0x04, 0x80
NUD_REACHABLE, NUD_NOARP, NUD_PERMANENT = 0x02, 0x40, 0x80
AF_BRIDGE = 7
_UNICAST = 1


@dataclass(frozen=True, slots=True)
class RowMessage:
    """A message, and the refusals that mean it is as asked already."""

    message: Message
    tolerated: frozenset[int] = frozenset()


class Indexes:
    """Looks up links' indexes, each once. For one batch: the name may be another link's afterwards."""

    def __init__(self) -> None:
        self._found: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        index = self._found.get(name)
        if index is None:
            index = self._found[name] = index_of(name)
        return index


def index_of(name: str) -> int:
    """Return a link's index in the calling thread's namespace; NotFound if there is none of that name."""
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise no_link(name) from error


def no_link(name: str) -> NotFound:
    return NotFound(f"link {name} does not exist")


def is_row(step: steps.Step) -> bool:
    """Tell whether a step is about rows; consecutive ones of one type may go together."""
    return type(step) in _BUILDERS


def plan_messages(step: steps.Step, indexes: Indexes) -> Iterator[RowMessage]:
    """Yield the messages for one row; NotFound if its link is not there, nothing if that is as good."""
    build, goes_with_link = _BUILDERS[type(step)]
    try:
        yield from build(step, indexes)
    except NotFound:
        if not goes_with_link:
            raise


# Routes and rules ----------------------------------------------------------------------------


def _add_route(step: steps.AddRoute, indexes: Indexes) -> Iterator[RowMessage]:
    kind = ROUTE_TYPES[step.kind]
    scope = _SCOPE_LINK if step.version == 4 and kind == _UNICAST and not step.via else _SCOPE_UNIVERSE
    flags = NEXT_HOP_ONLINK if step.onlink else 0
    body = _route(step.destination, step.version, step.table, ROUTE_PROTOCOL, scope, kind, flags)
    if step.link:
        body += u32(RTA_OIF, indexes(step.link))
    if step.via:
        gateway = ip_address(step.via)
        if gateway.version == step.version:
            body += attribute(RTA_GATEWAY, gateway.packed)
        else:
            body += attribute(RTA_VIA, struct.pack("=H", _family(gateway.version)) + gateway.packed)
    if step.source:
        body += attribute(RTA_PREFSRC, ip_address(step.source).packed)
    if step.metric:
        body += u32(RTA_PRIORITY, step.metric)
    yield RowMessage(Message(netlink.NEWROUTE, netlink.CREATE | netlink.REPLACE, body))


def _remove_route(step: steps.RemoveRoute, indexes: Indexes) -> Iterator[RowMessage]:
    protocol = ROUTE_PROTOCOL if step.own else 0
    body = _route(step.destination, step.version, step.table, protocol, _SCOPE_ANY, 0, 0)
    if step.link:
        body += u32(RTA_OIF, indexes(step.link))
    if step.metric:
        body += u32(RTA_PRIORITY, step.metric)
    # ENOENT: nobody has ever put a route into this family's table.
    yield RowMessage(Message(netlink.DELROUTE, 0, body), frozenset((errno.ESRCH, errno.ENOENT)))


def _route(
    destination: str, version: int, table: int, protocol: int, scope: int, kind: int, flags: int
) -> bytes:
    everything = destination in {"default", "::/0", "0.0.0.0/0"}
    network = None if everything else ip_network(destination)
    small = table if table < 256 else 0
    body = ROUTE_HEADER.pack(
        _family(version), network.prefixlen if network else 0, 0, 0, small, protocol, scope, kind, flags
    )
    if network:
        body += attribute(RTA_DST, network.network_address.packed)
    return body if small else body + u32(RTA_TABLE, table)


def _add_rule(step: steps.AddRule, _: Indexes) -> Iterator[RowMessage]:
    # Without EXCLUSIVE the kernel would put the same rule there twice.
    flags = netlink.CREATE | netlink.EXCLUSIVE
    yield RowMessage(Message(netlink.NEWRULE, flags, _rule(step.rule)), frozenset((errno.EEXIST,)))


def _remove_rule(step: steps.RemoveRule, _: Indexes) -> Iterator[RowMessage]:
    yield RowMessage(Message(netlink.DELRULE, 0, _rule(step.rule)), frozenset((errno.ENOENT,)))


def _rule(rule: steps.Rule) -> bytes:
    source = ip_network(rule.source) if rule.source else None
    destination = ip_network(rule.destination) if rule.destination else None
    body = ROUTE_HEADER.pack(
        _family(rule.version),
        destination.prefixlen if destination else 0,
        source.prefixlen if source else 0,
        0,
        rule.table if rule.table < 256 else 0,
        0,
        0,
        RULE_TO_TABLE,
        RULE_INVERT if rule.invert else 0,
    )
    body += u32(FRA_PRIORITY, rule.priority) + u32(FRA_TABLE, rule.table) + u8(FRA_PROTOCOL, ROUTE_PROTOCOL)
    if source:
        body += attribute(FRA_SRC, source.network_address.packed)
    if destination:
        body += attribute(FRA_DST, destination.network_address.packed)
    if rule.fwmark:
        body += u32(FRA_FWMARK, rule.fwmark) + u32(FRA_FWMASK, rule.fwmask or 0xFFFFFFFF)
    if rule.iif:
        body += text(FRA_IIFNAME, rule.iif)
    return body


# FDB and neighbours --------------------------------------------------------------------------


def _set_fdb(step: steps.SetFdb, indexes: Indexes) -> Iterator[RowMessage]:
    # The kernel replaces unicast rows only, and appends to the others only.
    verb = netlink.APPEND if step.mac == ANY_MAC else netlink.REPLACE
    flags, state = NTF_SELF, NUD_PERMANENT
    if step.bridge:
        # PERMANENT would tell the bridge that the address is its own. The device wants one of its own two.
        flags, state = NTF_SELF | NTF_MASTER, NUD_NOARP | NUD_REACHABLE
    body = NEIGHBOUR_HEADER.pack(AF_BRIDGE, 0, indexes(step.link), state, flags, 0)
    body += mac(NDA_LLADDR, step.mac) + attribute(NDA_DST, ip_address(step.destination).packed)
    yield RowMessage(Message(netlink.NEWNEIGH, netlink.CREATE | verb, body))


def _remove_fdb(step: steps.RemoveFdb, indexes: Indexes) -> Iterator[RowMessage]:
    # Two messages: were the bridge's row gone, a single one would leave the device's.
    for flag in (NTF_SELF, NTF_MASTER) if step.bridge else (NTF_SELF,):
        body = NEIGHBOUR_HEADER.pack(AF_BRIDGE, 0, indexes(step.link), 0, flag, 0)
        body += mac(NDA_LLADDR, step.mac)
        tolerated = {errno.ENOENT}
        if flag == NTF_MASTER:
            # The device is in no bridge any more.
            tolerated |= {errno.EOPNOTSUPP, errno.EINVAL}
        elif step.destination:
            body += attribute(NDA_DST, ip_address(step.destination).packed)
        yield RowMessage(Message(netlink.DELNEIGH, 0, body), frozenset(tolerated))


def _add_neighbour(step: steps.AddNeighbour, indexes: Indexes) -> Iterator[RowMessage]:
    address = ip_address(step.address)
    state = NUD_PERMANENT if step.permanent else NUD_REACHABLE
    flags = NTF_ROUTER if step.router else 0
    body = NEIGHBOUR_HEADER.pack(_family(address.version), 0, indexes(step.link), state, flags, 0)
    body += attribute(NDA_DST, address.packed) + mac(NDA_LLADDR, step.mac)
    body += u8(NDA_PROTOCOL, ROUTE_PROTOCOL)
    yield RowMessage(Message(netlink.NEWNEIGH, netlink.CREATE | netlink.REPLACE, body))


def _remove_neighbour(step: steps.RemoveNeighbour, indexes: Indexes) -> Iterator[RowMessage]:
    address = ip_address(step.address)
    body = NEIGHBOUR_HEADER.pack(_family(address.version), 0, indexes(step.link), 0, 0, 0)
    body += attribute(NDA_DST, address.packed)
    yield RowMessage(Message(netlink.DELNEIGH, 0, body), frozenset((errno.ENOENT,)))


def _family(version: int) -> int:
    return AF_INET6 if version == 6 else AF_INET


# For each step its builder, and whether a missing link means that there is nothing to do.
_BUILDERS: Mapping[type, tuple[Callable[[Any, Indexes], Iterator[RowMessage]], bool]] = MappingProxyType(
    {
        steps.AddRoute: (_add_route, False),
        steps.RemoveRoute: (_remove_route, True),
        steps.AddRule: (_add_rule, False),
        steps.RemoveRule: (_remove_rule, True),
        steps.SetFdb: (_set_fdb, False),
        steps.RemoveFdb: (_remove_fdb, True),
        steps.AddNeighbour: (_add_neighbour, False),
        steps.RemoveNeighbour: (_remove_neighbour, True),
    }
)
