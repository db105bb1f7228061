"""Plan what a guest needs beyond its driver's steps: routes, rates, an interface left on the host."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from ...model.errors import InvalidRequest
from ...model.guests import Bandwidth
from ...model.networks import Endpoint, Network
from ...model.observed import LinkState, NamespaceState, RouteState
from ...model.steps import AddRoute, CreateSlave, CreateVeth, SetLink, SetRate, Step

HOST_NETNS = "/proc/self/ns/net"
"""The daemon's own namespace by a path, for what is made *into* a namespace and is to stay here."""

_DEFAULTS = {4: "default", 6: "::/0"}


def as_fixed(addresses: Sequence[str]) -> tuple[str, str]:
    """Return the IPv4 and the IPv6 address, with prefix length, of those that another IPAM gave."""
    found = {4: "", 6: ""}
    for text in addresses:
        try:
            interface = ip_interface(text)
        except ValueError:
            raise InvalidRequest(f"{text} is not an address with prefix length") from None
        if found[interface.version]:
            raise InvalidRequest(f"more than one IPv{interface.version} address: {', '.join(addresses)}")
        found[interface.version] = str(interface)
    return found[4], found[6]


def server_of(text: str) -> tuple[str, int, int]:
    """Parse `ADDRESS`, `ADDRESS#PORT` or `ADDRESS#UDP/TCP`; a port for TCP of 0 is the same one."""
    address, _, ports = text.partition("#")
    udp, _, tcp = ports.partition("/")
    try:
        return str(ip_address(address.partition("%")[0])), int(udp or 53), int(tcp or 0)
    except ValueError:
        raise InvalidRequest(f"invalid DNS server {text!r}: it must be an IP address") from None


def plan_routes(
    further: Iterable[tuple[str, str]],
    endpoint: Endpoint,
    network: Network,
    netns: str,
    there: Sequence[RouteState],
) -> list[Step]:
    """Return the routes that a guest lacks: the default ones that fell to it, and what it asked for.

    A default route that is there is left alone: it may be another interface's.
    """
    steps: list[Step] = []
    gateways = {4: endpoint.gateway4, 6: endpoint.gateway6}
    for version, gateway in gateways.items():
        if gateway and not any(route.destination == _DEFAULTS[version] for route in there):
            via = "" if gateway in {"0.0.0.0", "::"} else gateway
            steps.append(AddRoute("default", endpoint.interface, via, netns, version))
    for text, asked in further:
        destination = ip_network(text, strict=False)
        pool = network.pool(destination.version)
        gateway = asked or gateways[destination.version] or (pool.gateway if pool else "")
        default = destination.prefixlen == 0
        if default and gateways[destination.version] == gateway:
            continue
        name = "default" if default else str(destination)
        if not any(_leads(route, name, destination.version, endpoint.interface) for route in there):
            steps.append(AddRoute(name, endpoint.interface, gateway, netns, destination.version))
    return steps


def _leads(route: RouteState, destination: str, version: int, link: str) -> bool:
    wanted = _DEFAULTS[version] if destination == "default" else destination
    return route.destination == wanted and route.link == link


def plan_rates(bandwidth: Bandwidth, endpoint: Endpoint, netns: str) -> list[Step]:
    """Return the steps that limit a guest: what leaves the host's end goes in, what leaves its own out."""
    steps: list[Step] = []
    if bandwidth.ingress_rate:
        if not endpoint.host_interface:
            raise InvalidRequest(
                f"network {endpoint.network_name}: traffic into an interface without an end on the host "
                "cannot be limited"
            )
        steps.append(SetRate(endpoint.host_interface, bandwidth.ingress_rate, bandwidth.ingress_burst))
    if bandwidth.egress_rate:
        steps.append(SetRate(endpoint.interface, bandwidth.egress_rate, bandwidth.egress_burst, netns))
    return steps


def in_namespace(endpoint: Endpoint, outer: LinkState | None) -> NamespaceState:
    """Return a namespace with the endpoint in it as it should be, if the host's end of it is there.

    Where a staged interface went, the other engine looks after it; ours is the end on the host.
    """
    if outer is None:
        return NamespaceState()
    addresses = frozenset(filter(None, (endpoint.ipv4, endpoint.ipv6)))
    link = LinkState(
        name=endpoint.interface,
        index=outer.peer_index,
        kind="veth",
        up=True,
        mtu=outer.mtu,
        mac=endpoint.mac_address,
        peer_index=outer.index,
        addresses=addresses,
    )
    return NamespaceState(links={endpoint.interface: link})


def staged_steps(planned: Iterable[Step]) -> list[Step]:
    """Return the steps that make an interface and leave it in the host's namespace, bare, of those that
    a driver planned for the namespace `HOST_NETNS`."""
    steps: list[Step] = []
    for step in planned:
        if isinstance(step, CreateVeth | CreateSlave) or getattr(step, "netns", "") != HOST_NETNS:
            steps.append(step)
        elif isinstance(step, SetLink) and step.alias is not None:
            steps.append(replace(step, netns="", up=None, mtu=None))
    return steps


def with_mtu(planned: Iterable[Step], mtu: int) -> list[Step]:
    """Return the steps with links made of this MTU; 0 for that of the network."""
    return [
        replace(step, mtu=mtu) if mtu and isinstance(step, CreateVeth | CreateSlave) else step
        for step in planned
    ]


def seen_with_mtu(state: NamespaceState, name: str, mtu: int) -> NamespaceState:
    """Return a namespace as it would be with this MTU on a link, if it is there.

    A guest's interface keeps the MTU that it has: it may have asked for one, and the next plugin of a chain
    may have set another. Neither is drift, so the driver is not shown it.
    """
    link = state.links.get(name)
    if link is None or not mtu:
        return state
    return replace(state, links={**state.links, name: replace(link, mtu=mtu)})


def planned_mtu(steps: Iterable[Step]) -> int:
    """Return the MTU of the interface that the steps make; 0 if that is its parent's, or none is made."""
    return next((step.mtu for step in steps if isinstance(step, CreateVeth | CreateSlave)), 0)
