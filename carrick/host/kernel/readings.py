"""Read what a namespace holds: dumps, taken apart into the model's values."""

import struct
from dataclasses import replace
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, AF_UNSPEC

from ...model.observed import LinkState, NamespaceState, Neighbour, RouteState
from ...model.steps import ROUTE_PROTOCOL, RouteKind, Rule
from . import netlink
from .netlink import Netlink, number, parse_attributes, string, u32
from .rows import (
    AF_BRIDGE,
    FRA_DST,
    FRA_FWMARK,
    FRA_FWMASK,
    FRA_IIFNAME,
    FRA_PRIORITY,
    FRA_PROTOCOL,
    FRA_SRC,
    FRA_TABLE,
    NDA_DST,
    NDA_IFINDEX,
    NDA_LLADDR,
    NDA_PROTOCOL,
    NEIGHBOUR_HEADER,
    NEXT_HOP_ONLINK,
    NTF_ROUTER,
    NTF_SELF,
    NUD_NOARP,
    NUD_PERMANENT,
    ROUTE_HEADER,
    ROUTE_TYPES,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_TABLE,
    RTA_VIA,
    RULE_INVERT,
    RULE_TO_TABLE,
)
from .vxlan import parse_vxlan

LINK_HEADER = struct.Struct("=BxHlLL")
ADDRESS_HEADER = struct.Struct("=BBBBL")
_NEXT_HOP = struct.Struct("=HBBl")

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_NET_NS_FD, _IFLA_EXT_MASK = 18, 20, 26, 28, 29
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_DATA = 1, 2, 5
BRPORT_NEIGH_SUPPRESS = 32
IFA_ADDRESS, IFA_LOCAL = 1, 2
_RTA_METRICS, _RTA_MULTIPATH = 8, 9
_RTAX_MTU = 2
_SKIP_STATISTICS = 8
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000
_LOCAL_TABLE = 255
# Places in the arrays of an interface's settings: linux/ip.h (from 1 there) and linux/ipv6.h.
_INET_CONF, _ROUTE_LOCALNET = 1, 25
_INET6_CONF, _ACCEPT_RA, _DISABLE_IPV6 = 2, 3, 26


def read_namespace(source: Netlink) -> NamespaceState:
    """Read links with their addresses, and the unicast routes of every table, of both families."""
    header = LINK_HEADER.pack(AF_UNSPEC, 0, 0, 0, 0)
    raw = source.dump(netlink.GETLINK, header + u32(_IFLA_EXT_MASK, _SKIP_STATISTICS))
    addresses: dict[int, set[str]] = {}
    for body in source.dump(netlink.GETADDR, ADDRESS_HEADER.pack(AF_UNSPEC, 0, 0, 0, 0)):
        _, prefix_length, _, _, index = ADDRESS_HEADER.unpack_from(body)
        attributes = parse_attributes(body, ADDRESS_HEADER.size)
        # IFA_LOCAL is the address itself; IFA_ADDRESS is the far end of a point-to-point link.
        packed = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
        if packed:
            addresses.setdefault(index, set()).add(f"{ip_address(packed)}/{prefix_length}")
    parsed = [_parse_link(body) for body in raw]
    names = {link.index: link.name for link, _ in parsed}
    links = {
        link.name: replace(
            link, master=names.get(master, ""), addresses=frozenset(addresses.get(link.index, ()))
        )
        for link, master in parsed
    }
    return NamespaceState(links, tuple(_read_routes(source, names)))


def parse_link(body: bytes) -> LinkState:
    """Return a link as one message shows it: without addresses, and without its master's name."""
    return _parse_link(body)[0]


def _parse_link(body: bytes) -> tuple[LinkState, int]:
    """Return a link and the index of its master, 0 if it has none."""
    _, _, index, flags, _ = LINK_HEADER.unpack_from(body)
    attributes = parse_attributes(body, LINK_HEADER.size)
    info = parse_attributes(attributes.get(IFLA_LINKINFO, b""))
    kind = string(info, IFLA_INFO_KIND)
    port = parse_attributes(info.get(IFLA_INFO_SLAVE_DATA, b""))
    link = LinkState(
        name=string(attributes, IFLA_IFNAME),
        index=index,
        kind=kind,
        mac=attributes.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=number(attributes, IFLA_MTU),
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_LOWER_UP),
        alias=string(attributes, IFLA_IFALIAS),
        peer_index=number(attributes, IFLA_LINK),
        sysctls=_sysctls(attributes.get(IFLA_AF_SPEC, b"")) if kind == "bridge" else {},
        vxlan=parse_vxlan(parse_attributes(info.get(IFLA_INFO_DATA, b""))) if kind == "vxlan" else None,
        neigh_suppress=any(port.get(BRPORT_NEIGH_SUPPRESS, b"")),
    )
    return link, number(attributes, IFLA_MASTER)


def _sysctls(spec: bytes) -> dict[str, str]:
    families = parse_attributes(spec)
    found = {}
    for family, kind, places in (
        (AF_INET, _INET_CONF, {"ipv4.route_localnet": _ROUTE_LOCALNET}),
        (AF_INET6, _INET6_CONF, {"ipv6.accept_ra": _ACCEPT_RA, "ipv6.disable_ipv6": _DISABLE_IPV6}),
    ):
        values = parse_attributes(families.get(int(family), b"")).get(kind, b"")
        for key, place in places.items():
            if len(values) >= 4 * place + 4:
                found[key] = str(struct.unpack_from("=l", values, 4 * place)[0])
    return found


def _read_routes(source: Netlink, names: dict[int, str]) -> list[RouteState]:
    kinds: dict[int, RouteKind] = {number: kind for kind, number in ROUTE_TYPES.items()}
    routes = []
    for family in (AF_INET, AF_INET6):
        for body in source.dump(netlink.GETROUTE, ROUTE_HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
            _, length, _, _, table, protocol, _, type_, flags = ROUTE_HEADER.unpack_from(body)
            kind = kinds.get(type_)
            if kind is None or table == _LOCAL_TABLE or (kind != "unicast" and protocol != ROUTE_PROTOCOL):
                continue
            attributes = parse_attributes(body, ROUTE_HEADER.size)
            destination = attributes.get(RTA_DST)
            everything = "default" if family == AF_INET else "::/0"
            hop = attributes
            index = number(attributes, RTA_OIF) if kind == "unicast" else 0
            if several := attributes.get(_RTA_MULTIPATH):
                # The first of several next hops stands for all.
                length_, flags, _, index = _NEXT_HOP.unpack_from(several)
                hop = parse_attributes(several[:length_], _NEXT_HOP.size)
            routes.append(
                RouteState(
                    destination=f"{ip_address(destination)}/{length}" if destination else everything,
                    link=names.get(index, ""),
                    # A gateway of the other family stands behind its family's number.
                    via=_shown(hop.get(RTA_GATEWAY) or hop.get(RTA_VIA, b"")[2:]),
                    mtu=number(parse_attributes(attributes.get(_RTA_METRICS, b"")), _RTAX_MTU),
                    metric=number(attributes, RTA_PRIORITY),
                    table=number(attributes, RTA_TABLE) or table,
                    protocol=protocol,
                    kind=kind,
                    source=_shown(attributes.get(RTA_PREFSRC)),
                    onlink=bool(flags & NEXT_HOP_ONLINK),
                )
            )
    return routes


def read_rules(source: Netlink) -> tuple[Rule, ...]:
    """Read the routing rules of ours, of both families, as they were asked for."""
    found = []
    for family, version in ((AF_INET, 4), (AF_INET6, 6)):
        for body in source.dump(netlink.GETRULE, ROUTE_HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
            _, to_length, from_length, _, table, _, _, action, flags = ROUTE_HEADER.unpack_from(body)
            attributes = parse_attributes(body, ROUTE_HEADER.size)
            protocol = attributes.get(FRA_PROTOCOL, b"\0")[0]
            if action != RULE_TO_TABLE or protocol != ROUTE_PROTOCOL:
                continue
            mask = number(attributes, FRA_FWMASK)
            found.append(
                Rule(
                    priority=number(attributes, FRA_PRIORITY),
                    table=number(attributes, FRA_TABLE) or table,
                    version=version,
                    source=_prefix(attributes.get(FRA_SRC), from_length),
                    destination=_prefix(attributes.get(FRA_DST), to_length),
                    fwmark=number(attributes, FRA_FWMARK),
                    fwmask=0 if mask == 0xFFFFFFFF else mask,
                    iif=string(attributes, FRA_IIFNAME),
                    invert=bool(flags & RULE_INVERT),
                )
            )
    return tuple(found)


def read_fdb(source: Netlink, index: int) -> dict[str, frozenset[str]]:
    """Read the rows of a VXLAN device that do not age: by MAC, the VTEPs."""
    found: dict[str, set[str]] = {}
    # A link's header, not a neighbour's: it picks out one device on every kernel.
    for body in source.dump(netlink.GETNEIGH, LINK_HEADER.pack(AF_BRIDGE, 0, index, 0, 0)):
        _, _, at, state, flags, _ = NEIGHBOUR_HEADER.unpack_from(body)
        if at != index or not flags & NTF_SELF or not state & (NUD_PERMANENT | NUD_NOARP):
            continue
        attributes = parse_attributes(body, NEIGHBOUR_HEADER.size)
        if destination := attributes.get(NDA_DST):
            mac = attributes.get(NDA_LLADDR, b"").hex(":")
            found.setdefault(mac, set()).add(_shown(destination))
    return {mac: frozenset(destinations) for mac, destinations in found.items()}


def read_neighbours(source: Netlink, index: int) -> dict[str, Neighbour]:
    """Read the permanent neighbours of ours on a link, of both families, by address."""
    found = {}
    request = NEIGHBOUR_HEADER.pack(AF_UNSPEC, 0, 0, 0, 0, 0) + u32(NDA_IFINDEX, index)
    for body in source.dump(netlink.GETNEIGH, request):
        family, _, at, state, flags, _ = NEIGHBOUR_HEADER.unpack_from(body)
        if at != index or family not in {AF_INET, AF_INET6} or not state & NUD_PERMANENT:
            continue
        attributes = parse_attributes(body, NEIGHBOUR_HEADER.size)
        address = attributes.get(NDA_DST)
        if address and attributes.get(NDA_PROTOCOL, b"\0")[0] == ROUTE_PROTOCOL:
            mac = attributes.get(NDA_LLADDR, b"").hex(":")
            found[_shown(address)] = Neighbour(mac, bool(flags & NTF_ROUTER))
    return found


def _shown(packed: bytes | None) -> str:
    return str(ip_address(packed)) if packed else ""


def _prefix(packed: bytes | None, length: int) -> str:
    return f"{ip_address(packed)}/{length}" if packed else ""
