"""Choose the subnet of a network, so that it clashes with nothing, and say what was avoided. Pure.

Docker avoids its own networks, name servers and routes on the link; a route through a VPN's gateway it
does not see, and a network on top of one cuts the host off from it. Here every route counts, and every
address of the host. Only the default route does not, and its two halves 0.0.0.0/1 and 128.0.0.0/1
(and IPv6's), which VPN clients use to override it: those say where everything else goes.

Prefixes either nest or are disjoint. So the outermost of what is occupied are disjoint and sorted,
and a search jumps over each at most once, however many subnets a pool holds.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network

from ...model.errors import InvalidRequest
from .errors import PoolOverlap, PoolsExhausted
from .types import Address, HostAddress, NamedPrefix, Prefix, Route, overlaps

_DEFAULT_ROUTE_BITS = 1


@dataclass(frozen=True, slots=True)
class BasePool:
    """A range to cut subnets from: each a /`size` of `base`."""

    base: Prefix
    size: int

    def __post_init__(self) -> None:
        if not self.base.prefixlen <= self.size <= self.base.max_prefixlen:
            raise InvalidRequest(
                f"invalid default address pool {self.base} with size {self.size}",
                remedy=f"give a size from {self.base.prefixlen} to {self.base.max_prefixlen}",
            )


DEFAULT_POOLS_V4 = (
    BasePool(IPv4Network("172.17.0.0/16"), 16),
    BasePool(IPv4Network("172.18.0.0/16"), 16),
    BasePool(IPv4Network("172.19.0.0/16"), 16),
    BasePool(IPv4Network("172.20.0.0/14"), 16),
    BasePool(IPv4Network("172.24.0.0/14"), 16),
    BasePool(IPv4Network("172.28.0.0/14"), 16),
    BasePool(IPv4Network("192.168.0.0/16"), 20),
)


def default_pools_v6(host_id: str) -> tuple[BasePool, ...]:
    """Return the unique local /48 that belongs to a host (RFC 4193), to be cut into /64s.

    40 bits of a hash of the host's id take the place of RFC 4193's random ones: the same after a
    reinstallation of the daemon, different on every host.
    """
    digest = hashlib.sha256(host_id.encode()).digest()
    global_id = int.from_bytes(digest[3:8])
    base = IPv6Address((0xFD << 120) | (global_id << 80))
    return (BasePool(IPv6Network((base, 48)), 64),)


def parse_base_pool(base: str, size: int) -> BasePool:
    """Parse an entry of `default-address-pools`. Raises InvalidRequest."""
    try:
        return BasePool(ip_network(base), size)
    except ValueError as error:
        raise InvalidRequest(f"invalid default address pool {base}: {error}") from None


@dataclass(frozen=True, slots=True)
class HostState:
    """What addresses the host knows already, as the caller has read it."""

    routes: tuple[Route, ...] = ()
    addresses: tuple[HostAddress, ...] = ()
    nameservers: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """Subnets that were passed over for one reason: `count` of them, from `first` to `last`."""

    first: Prefix
    last: Prefix
    count: int
    reason: str

    def __str__(self) -> str:
        if self.count == 1:
            return f"{self.first} skipped: overlaps {self.reason}"
        return f"{self.first} to {self.last} ({self.count} subnets) skipped: overlap {self.reason}"


@dataclass(frozen=True, slots=True)
class Choice:
    subnet: Prefix
    skipped: tuple[Skipped, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(str(item) for item in self.skipped)


def choose_subnet(
    pools: Sequence[BasePool],
    networks: Sequence[NamedPrefix],
    host: HostState,
    *,
    size: int | None = None,
) -> Choice:
    """Choose the first subnet that overlaps nothing.

    `pools` are those of one family, in the order to try; `size` asks for a /size instead of each
    pool's own (`--subnet 0.0.0.0/24`). Raises PoolsExhausted with every reason, InvalidRequest if no
    pool is large enough for `size`.
    """
    skipped: list[Skipped] = []
    occupied = _outermost(_occupied(networks, host))
    for pool in _of_size(pools, size):
        found = _search(pool, occupied[pool.base.version], skipped)
        if found is not None:
            return Choice(found, tuple(skipped))
    raise PoolsExhausted([str(item) for item in skipped])


def check_explicit(subnet: Prefix, networks: Sequence[NamedPrefix], host: HostState) -> tuple[str, ...]:
    """Return warnings about a subnet that the user named.

    Raises PoolOverlap if another network has any of its addresses. The host's own are allowed, as in
    Docker: who names a subnet may mean it (a bridge on the LAN); but it is said.
    """
    for network in networks:
        if overlaps(subnet, network.prefix):
            raise PoolOverlap(str(subnet), f"network {network.name} ({network.prefix})")
    return tuple(
        f"{subnet} overlaps {reason}: containers of this network cannot reach that"
        for prefix, reason in _occupied((), host)
        if overlaps(subnet, prefix)
    )


_Occupied = tuple[Prefix, str]


def _occupied(networks: Sequence[NamedPrefix], host: HostState) -> list[_Occupied]:
    """List what may not be overlapped with its description, the most telling first.

    A network has a route and an address on the host too: the network is what people should read.
    """
    found: list[_Occupied] = [(n.prefix, f"network {n.name} ({n.prefix})") for n in networks]
    for route in host.routes:
        if route.destination.prefixlen > _DEFAULT_ROUTE_BITS:
            via = f"{route.via} on {route.interface}" if route.via else route.interface
            found.append((route.destination, f"route {route.destination} via {via}"))
    for own in host.addresses:
        found.append((ip_network(own.address), f"address {own.address} of {own.interface}"))
    for server in host.nameservers:
        found.append((ip_network(server), f"name server {server} of the host"))
    return found


def _outermost(occupied: Sequence[_Occupied]) -> dict[int, list[_Occupied]]:
    """Return by IP version the prefixes that lie in no other, sorted; of equal ones the first."""
    outermost: dict[int, list[_Occupied]] = {4: [], 6: []}
    ranked = sorted(occupied, key=lambda item: (int(item[0].network_address), item[0].prefixlen))
    for prefix, reason in ranked:
        same_version = outermost[prefix.version]
        if not same_version or not overlaps(same_version[-1][0], prefix):
            same_version.append((prefix, reason))
    return outermost


def _of_size(pools: Sequence[BasePool], size: int | None) -> Sequence[BasePool]:
    """Return the pools to cut a /size from, in Docker's order.

    First those whose own subnets are at least that large, the closest fit before the others: a /24 comes
    out of 192.168.0.0/16 with its /20s and leaves the /16s whole.
    """
    if size is None:
        return pools
    fitting = [pool for pool in pools if pool.base.prefixlen <= size <= pool.base.max_prefixlen]
    if not fitting:
        raise InvalidRequest(
            f"invalid address pool: no default address pool is large enough for a /{size}",
            remedy="name a whole subnet, or add a larger pool to default-address-pools",
        )
    fitting.sort(key=lambda pool: (0, -pool.size) if pool.size <= size else (1, pool.size))
    return [BasePool(pool.base, size) for pool in fitting]


def _search(pool: BasePool, occupied: Sequence[_Occupied], skipped: list[Skipped]) -> Prefix | None:
    """Return the first free subnet of `pool`; append what was passed over to `skipped`."""
    step = 1 << (pool.base.max_prefixlen - pool.size)
    candidate, end = int(pool.base.network_address), int(pool.base.broadcast_address)
    starts = [int(prefix.network_address) for prefix, _ in occupied]
    while candidate <= end:
        # The last prefix that begins in or before the candidate is the only one that need be looked at:
        # if it ends before the candidate, so do all the others.
        at = bisect_right(starts, candidate + step - 1) - 1
        blocker = occupied[at] if at >= 0 else None
        if blocker is None or int(blocker[0].broadcast_address) < candidate:
            return _subnet(pool, candidate)
        prefix, reason = blocker
        last = min(int(prefix.broadcast_address), end) // step * step
        skipped.append(
            Skipped(_subnet(pool, candidate), _subnet(pool, last), (last - candidate) // step + 1, reason)
        )
        candidate = last + step
    return None


def _subnet(pool: BasePool, number: int) -> Prefix:
    return type(pool.base)((number, pool.size))
