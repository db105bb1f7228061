"""Choose this node's underlay addresses: where the others reach it. Pure, over what the kernel shows.

Without a word from anybody it is the link of the default route. Links that containers hang on are never
chosen, whoever made them: their addresses are the same on every host.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_interface, ip_network

from ...model.cluster import Underlay
from ...model.errors import InvalidRequest
from ...model.observed import LinkState, NamespaceState, RouteState
from ...model.steps import MAIN_TABLE

_CONTAINERS = re.compile(
    r"(lo|docker\d+|docker_gwbridge|br-[0-9a-f]{12}|cni\w*|podman\d+|virbr\d+|lxcbr\d+|lxdbr\d+|flannel[.\w-]*"
    r"|cali\w*|vxlan[.\w-]*|weave|kube-\w+|nodelocaldns)\Z"
)
_TUNNELS = frozenset(("vxlan", "geneve", "dummy", "ifb", "ipip", "sit", "gre"))
_REACH = "reach:"
_REMEDY = "give --address an address, an interface, a prefix, or reach:ADDRESS"


def choose_underlays(state: NamespaceState, asked: str = "", *, own_mark: str = "") -> tuple[Underlay, ...]:
    """Return the underlay addresses, the preferred one first, the other family's of the same link after it.

    `asked` is an address, an interface's name, a prefix, or `reach:ADDRESS`. `own_mark` begins the alias of
    every link that is ours. Raises InvalidRequest naming the candidates.
    """
    links = [link for link in state.links.values() if _usable(link)]
    candidates = [link for link in links if not _is_containers(link, own_mark)]
    if not asked:
        return _by_default(state, candidates)
    if asked.startswith(_REACH):
        return _by_reach(state, candidates, asked.removeprefix(_REACH))
    if asked in state.links:
        return _by_name(state, asked, own_mark)
    try:
        network = ip_network(asked, strict=False)
    except ValueError:
        raise InvalidRequest(
            f"--address {asked!r}: there is no such interface, and it is no address or prefix; "
            f"there {_listed(candidates)}",
            remedy=_REMEDY,
        ) from None
    exact = ip_address(asked) if "/" not in asked else None
    for link in [*candidates, *(link for link in links if link not in candidates and link.name != "lo")]:
        for text in _ordered(link):
            address = ip_interface(text).ip
            if address == exact or (
                exact is None and address.version == network.version and address in network
            ):
                return _of_link(state, link, str(address))
    what = "is no address of this host" if exact else "holds no address of this host"
    raise InvalidRequest(f"--address {asked} {what}; there {_listed(candidates)}", remedy=_REMEDY)


def _by_default(state: NamespaceState, candidates: list[LinkState]) -> tuple[Underlay, ...]:
    names = {link.name: link for link in candidates}
    for default in ("default", "::/0"):
        routes = [item for item in _main(state) if item.destination == default and item.link in names]
        for route in sorted(routes, key=lambda item: item.metric):
            if found := _of_link(state, names[route.link], _source(names[route.link], route)):
                return found
    if len(candidates) == 1:
        return _of_link(state, candidates[0])
    why = "there is no default route to tell which is the underlay"
    raise InvalidRequest(f"{why}; there {_listed(candidates)}", remedy=_REMEDY)


def _by_reach(state: NamespaceState, candidates: list[LinkState], text: str) -> tuple[Underlay, ...]:
    try:
        target = ip_address(text)
    except ValueError:
        raise InvalidRequest(
            f"--address {_REACH}{text}: {text!r} is not an address", remedy=_REMEDY
        ) from None
    names = {link.name: link for link in candidates}

    def length(route: RouteState) -> int:
        if route.destination in ("default", "::/0"):
            return 0 if (route.destination == "default") == (target.version == 4) else -1
        network = ip_network(route.destination)
        return network.prefixlen if network.version == target.version and target in network else -1

    routes = [item for item in _main(state) if item.link in names and length(item) >= 0]
    for route in sorted(routes, key=lambda item: (-length(item), item.metric)):
        if found := _of_link(state, names[route.link], _source(names[route.link], route, target.version)):
            return found
    raise InvalidRequest(f"no route leads to {target}; there {_listed(candidates)}", remedy=_REMEDY)


def _by_name(state: NamespaceState, name: str, own_mark: str) -> tuple[Underlay, ...]:
    link = state.links[name]
    if name == "lo" or (own_mark and link.alias.startswith(own_mark)):
        raise InvalidRequest(f"--address {name}: nobody else reaches that interface", remedy=_REMEDY)
    if not link.up:
        raise InvalidRequest(f"--address {name}: the interface is down", remedy=f"ip link set {name} up")
    if not _ordered(link):
        raise InvalidRequest(
            f"--address {name}: the interface has no address that others can use", remedy=_REMEDY
        )
    return _of_link(state, link)


def _usable(link: LinkState) -> bool:
    return link.up and bool(_ordered(link))


def _is_containers(link: LinkState, own_mark: str) -> bool:
    return (
        bool(_CONTAINERS.match(link.name))
        or link.kind in _TUNNELS
        or (bool(own_mark) and link.alias.startswith(own_mark))
    )


def _main(state: NamespaceState) -> Iterable[RouteState]:
    return (route for route in state.routes if route.table == MAIN_TABLE and route.kind == "unicast")


def _ordered(link: LinkState) -> list[str]:
    """Return a link's addresses that others can use, IPv4 first, in an order that does not change."""
    found = [ip_interface(text) for text in link.addresses]
    usable = [
        item for item in found if not (item.ip.is_link_local or item.ip.is_loopback or item.ip.is_multicast)
    ]
    return [str(item) for item in sorted(usable, key=lambda item: (item.version, int(item.ip)))]


def _source(link: LinkState, route: RouteState, version: int = 0) -> str:
    """Return the address that a route's packets leave with, "" if nothing tells."""
    addresses = [ip_interface(text) for text in _ordered(link)]
    if route.source and any(str(item.ip) == route.source for item in addresses):
        return route.source
    if route.via:
        gateway = ip_address(route.via)
        near = [item for item in addresses if item.version == gateway.version and gateway in item.network]
        if near:
            return str(near[0].ip)
    wanted = version or (4 if route.destination == "default" else 6)
    return next((str(item.ip) for item in addresses if item.version == wanted), "")


def _of_link(state: NamespaceState, link: LinkState, first: str = "") -> tuple[Underlay, ...]:
    """Return the link's address `first`, or its first, and the best one of the other family."""
    found: list[Underlay] = []
    for text in sorted(_ordered(link), key=lambda item: str(ip_interface(item).ip) != first):
        address = ip_interface(text)
        if all(item.version != address.version for item in found):
            chosen = text
            if str(address.ip) != first:
                chosen = _preferred(state, link, address.version) or text
            interface = ip_interface(chosen)
            found.append(Underlay(str(interface.ip), str(interface.network), link.mtu or 1500))
    return tuple(found)


def _preferred(state: NamespaceState, link: LinkState, version: int) -> str:
    """Return the address that the link's default route of a family uses, if there is one."""
    default = "default" if version == 4 else "::/0"
    for route in _main(state):
        if route.link == link.name and route.destination == default and (source := _source(link, route)):
            return next((text for text in _ordered(link) if str(ip_interface(text).ip) == source), "")
    return ""


def _listed(candidates: list[LinkState]) -> str:
    shown = [
        f"{ip_interface(text).ip} on {link.name}"
        for link in sorted(candidates, key=lambda item: item.name)
        for text in _ordered(link)
    ]
    if not shown:
        return "is no address to choose from"
    return ("is " if len(shown) == 1 else "are ") + ", ".join(shown[:12])
