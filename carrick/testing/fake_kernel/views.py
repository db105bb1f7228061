"""What a reader is shown of a namespace: its links and routes as the kernel's own answers have them."""

from collections.abc import Iterator
from ipaddress import ip_interface

from ...model.observed import LinkState, NamespaceState, RouteState
from .namespace import Link, Namespace
from .sysctls import dotted

_BRIDGE_SYSCTLS = {
    "ipv4.route_localnet": "net.ipv4.conf.{}.route_localnet",
    "ipv6.accept_ra": "net.ipv6.conf.{}.accept_ra",
    "ipv6.disable_ipv6": "net.ipv6.conf.{}.disable_ipv6",
}
_KERNEL = 2
"""The protocol number of routes that the kernel makes for an address."""


def namespace_state(namespace: Namespace) -> NamespaceState:
    links = {link.name: _link_state(namespace, link) for link in namespace.links.values()}
    return NamespaceState(links, tuple(_route_states(namespace)))


def _link_state(namespace: Namespace, link: Link) -> LinkState:
    return LinkState(
        name=link.name,
        index=link.index,
        kind=link.kind,
        mac=link.mac,
        mtu=link.mtu,
        up=link.up,
        carrier=link.up and (link.peer is None or link.peer.up),
        master=link.master.name if link.master else "",
        alias=link.alias,
        addresses=frozenset(link.addresses),
        peer_index=other.index if (other := link.peer or link.parent) else 0,
        sysctls={
            key: namespace.sysctls[path.format(dotted(link.name))]
            for key, path in _BRIDGE_SYSCTLS.items()
            if link.kind == "bridge"
        },
        vxlan=link.vxlan,
        neigh_suppress=link.port.get("neigh_suppress", False),
        shortcut="set" if link.shortcut else "",
    )


def _route_states(namespace: Namespace) -> Iterator[RouteState]:
    """The kernel's own routes to each subnet on a link, then those that were added."""
    for link in namespace.links.values():
        if not link.up or link.name == "lo":
            continue
        for network in dict.fromkeys(ip_interface(item).network for item in link.addresses):
            if network.prefixlen < network.max_prefixlen or network.version == 6:
                metric = 256 if network.version == 6 else 0
                yield RouteState(str(network), link.name, metric=metric, protocol=_KERNEL)
    for route in namespace.routes:
        shown = str(route.destination)
        yield RouteState(
            "default" if shown == "0.0.0.0/0" else shown,
            route.link.name if route.link else "",
            route.via,
            metric=route.metric,
            table=route.table,
            protocol=route.protocol,
            kind=route.kind,
            source=route.source,
            onlink=route.onlink,
        )
