"""Plan the routes to other hosts' blocks: through a tunnel's link or straight over the underlay.

Only routes of ours are looked at, and of those only the ones that the caller says are this network's;
whatever else stands in the table is nobody's business here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from ...model.errors import InvalidRequest
from ...model.observed import RouteState
from ...model.steps import MAIN_TABLE, AddRoute, RemoveRoute, RouteKind, Step

_IPV6_METRIC = 1024
_DEFAULTS = {"default": "0.0.0.0/0"}


@dataclass(frozen=True, slots=True)
class BlockRoute:
    """Where a block (a prefix) is: at the host `via` on `link`, or (blackhole, unreachable) nowhere.

    `source` is the address that this host's own packets get. A `metric` of 0 is the family's own (0; 1024).
    """

    prefix: str
    link: str = ""
    via: str = ""
    onlink: bool = False
    source: str = ""
    metric: int = 0
    table: int = MAIN_TABLE
    kind: RouteKind = "unicast"


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """Changes in the order to make them: every `replace`, then every `remove`."""

    replace: tuple[BlockRoute, ...] = ()
    remove: tuple[BlockRoute, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.replace or self.remove)

    def steps(self) -> tuple[Step, ...]:
        return (*map(_add, self.replace), *map(_remove, self.remove))


def own_block_routes(
    routes: Iterable[RouteState],
    within: Iterable[IPv4Network | IPv6Network],
    tables: Iterable[int] = (MAIN_TABLE,),
) -> tuple[BlockRoute, ...]:
    """Return the routes of ours to prefixes inside those of a network, in the tables it uses."""
    networks, wanted = tuple(within), frozenset(tables)
    return tuple(
        BlockRoute(
            route.destination,
            route.link,
            route.via,
            route.onlink,
            route.source,
            route.metric,
            route.table,
            route.kind,
        )
        for route in routes
        if route.is_own and route.table in wanted and _is_within(_network(route.destination), networks)
    )


def plan_block_routes(desired: Iterable[BlockRoute], actual: Iterable[BlockRoute]) -> RoutePlan:
    """Return the changes that turn `actual` into `desired`, sorted by prefix.

    A block that moved to another host, or has none any more (a blackhole), is one replace. Raises
    InvalidRequest if two desired routes have the same prefix, table and metric.
    """
    wanted: dict[_Key, BlockRoute] = {}
    for route in map(_normalised, desired):
        if (other := wanted.setdefault(_key(route), route)) != route:
            raise InvalidRequest(
                f"{route.prefix} has two routes: {_add(other).describe()}, and {_add(route).describe()}"
            )
    there = {_key(route): route for route in map(_normalised, actual)}
    return RoutePlan(
        replace=tuple(wanted[key] for key in sorted(wanted) if there.get(key) != wanted[key]),
        remove=tuple(there[key] for key in sorted(there.keys() - wanted.keys())),
    )


_Key = tuple[int, bytes, int, int, int]


def _key(route: BlockRoute) -> _Key:
    """What the kernel tells routes apart by, in the order of prefixes."""
    network = _network(route.prefix)
    address = network.network_address.packed
    return (network.version, address, network.prefixlen, route.table, route.metric)


def _normalised(route: BlockRoute) -> BlockRoute:
    """Write a route as the kernel shows it."""
    network = _network(route.prefix)
    return BlockRoute(
        str(network),
        route.link,
        str(ip_address(route.via)) if route.via else "",
        route.onlink,
        str(ip_address(route.source)) if route.source else "",
        route.metric or (_IPV6_METRIC if network.version == 6 else 0),
        route.table,
        route.kind,
    )


def _add(route: BlockRoute) -> AddRoute:
    return AddRoute(
        route.prefix,
        route.link,
        route.via,
        version=_network(route.prefix).version,
        metric=route.metric,
        onlink=route.onlink,
        source=route.source,
        table=route.table,
        kind=route.kind,
    )


def _remove(route: BlockRoute) -> RemoveRoute:
    return RemoveRoute(
        route.prefix,
        version=_network(route.prefix).version,
        link=route.link,
        metric=route.metric,
        table=route.table,
        own=True,
    )


def _network(prefix: str) -> IPv4Network | IPv6Network:
    return ip_network(_DEFAULTS.get(prefix, prefix))


def _is_within(network: IPv4Network | IPv6Network, others: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(
        network.version == other.version
        and network.prefixlen >= other.prefixlen
        and int(network.network_address) >> (network.max_prefixlen - other.prefixlen)
        == int(other.network_address) >> (other.max_prefixlen - other.prefixlen)
        for other in others
    )
