"""Read what a namespace holds: three dumps, taken apart into the model's values."""

import struct
from dataclasses import replace
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, AF_UNSPEC

from ...model.steps import LinkState, NamespaceState, RouteState
from . import netlink
from .netlink import Netlink, number, parse_attributes, string, u32

LINK_HEADER = struct.Struct("=BxHlLL")
ADDRESS_HEADER = struct.Struct("=BBBBL")
ROUTE_HEADER = struct.Struct("=BBBBBBBBL")
_NEXT_HOP = struct.Struct("=HBBl")

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_NET_NS_FD, _IFLA_EXT_MASK = 18, 20, 26, 28, 29
IFLA_INFO_KIND = 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, _RTA_METRICS, _RTA_MULTIPATH = 1, 4, 5, 6, 8, 9
_RTAX_MTU = 2
_SKIP_STATISTICS = 8
_IFF_UP = 0x1
_UNICAST = 1
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
    link = LinkState(
        name=string(attributes, IFLA_IFNAME),
        index=index,
        kind=kind,
        mac=attributes.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=number(attributes, IFLA_MTU),
        up=bool(flags & _IFF_UP),
        alias=string(attributes, IFLA_IFALIAS),
        peer_index=number(attributes, IFLA_LINK),
        sysctls=_sysctls(attributes.get(IFLA_AF_SPEC, b"")) if kind == "bridge" else {},
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
    routes = []
    for family in (AF_INET, AF_INET6):
        for body in source.dump(netlink.GETROUTE, ROUTE_HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
            _, length, _, _, table, _, _, kind, _ = ROUTE_HEADER.unpack_from(body)
            if kind != _UNICAST or table == _LOCAL_TABLE:
                continue
            attributes = parse_attributes(body, ROUTE_HEADER.size)
            destination = attributes.get(RTA_DST)
            everything = "default" if family == AF_INET else "::/0"
            hop = attributes
            index = number(attributes, RTA_OIF)
            if several := attributes.get(_RTA_MULTIPATH):
                # The first of several next hops stands for all.
                index = _NEXT_HOP.unpack_from(several)[3]
                hop = parse_attributes(several[: _NEXT_HOP.unpack_from(several)[0]], _NEXT_HOP.size)
            gateway = hop.get(RTA_GATEWAY)
            routes.append(
                RouteState(
                    destination=f"{ip_address(destination)}/{length}" if destination else everything,
                    link=names.get(index, ""),
                    via=str(ip_address(gateway)) if gateway else "",
                    mtu=number(parse_attributes(attributes.get(_RTA_METRICS, b"")), _RTAX_MTU),
                    metric=number(attributes, RTA_PRIORITY),
                )
            )
    return routes
