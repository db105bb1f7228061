"""A pool: one subnet of a network, which of its addresses may be given, and where its gateway is. Pure.

Docker's rules: the network address and the IPv4 broadcast address are nobody's, except in a /31 (RFC
3021) and a /32; an IPv6 subnet keeps its first address for the routers' anycast (RFC 4291, section
2.6.1), except in a /127 (RFC 6164) and a /128. `ip_range` limits what is given out by itself, not
what may be asked for. The gateway, unless named, is the first address that would be given out, which
is in `ip_range` if there is one.

In a cluster a node owns blocks of a pool (`blocks.py`); an allocator over them is one over this same pool
with those `blocks`, which limit both what is given out and what may be asked for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from ...model.errors import InvalidRequest
from ...model.networks import PoolConfig
from .errors import PoolFull
from .intervals import IntervalSet
from .types import Address, PoolId, Prefix


@dataclass(frozen=True, slots=True)
class Pool:
    """One subnet. `label` is what messages call its network; `reserved` is never given out by itself.

    `blocks` is None where all of the subnet is this host's to give.
    """

    id: PoolId
    subnet: Prefix
    ip_range: Prefix | None = None
    gateway: Address | None = None
    auxiliary: Mapping[str, Address] = field(default_factory=dict)
    reserved: tuple[Prefix, ...] = ()
    label: str = ""
    blocks: tuple[Prefix, ...] | None = None

    @classmethod
    def of(
        cls, pool_id: PoolId, config: PoolConfig, *, label: str = "", reserved: tuple[Prefix, ...] = ()
    ) -> "Pool":
        """Build a pool from a checked configuration with a whole subnet."""
        return cls(
            pool_id,
            ip_network(config.subnet),
            ip_network(config.ip_range) if config.ip_range else None,
            ip_address(config.gateway) if config.gateway else None,
            {name: ip_address(text) for name, text in config.aux_addresses.items()},
            reserved,
            label,
        )

    def to_config(self) -> PoolConfig:
        return PoolConfig(
            str(self.subnet),
            str(self.ip_range) if self.ip_range else "",
            str(self.gateway) if self.gateway else "",
            {name: str(address) for name, address in self.auxiliary.items()},
        )

    @property
    def version(self) -> int:
        return self.subnet.version

    @property
    def container_gateway(self) -> Address | None:
        """Where containers send what is not for the subnet: `DefaultGatewayIPv4`/`6` if it is set."""
        return self.auxiliary.get(f"DefaultGatewayIPv{self.version}", self.gateway)

    def contains(self, address: Address) -> bool:
        return address.version == self.version and address in self.subnet

    def is_host(self, address: Address) -> bool:
        """Say whether a host may have the address: in the subnet, and not the subnet's own."""
        first, last = host_bounds(self.subnet)
        return address.version == self.version and first <= int(address) <= last

    def dynamic(self) -> IntervalSet:
        """Return the addresses, as numbers, that may be given out without being asked for.

        The gateway and the auxiliary addresses are among them; leases keep those from being given.
        """
        first, last = host_bounds(self.subnet)
        if self.ip_range is not None:
            first = max(first, int(self.ip_range.network_address))
            last = min(last, int(self.ip_range.broadcast_address))
        numbers = IntervalSet(first, last)
        for prefix in self.reserved:
            if prefix.version == self.version:
                numbers.remove(int(prefix.network_address), int(prefix.broadcast_address))
        if self.blocks is not None:
            following = first
            for block in sorted(self.blocks, key=lambda block: int(block.network_address)):
                numbers.remove(following, int(block.network_address) - 1)
                following = int(block.broadcast_address) + 1
            numbers.remove(following, last)
        return numbers

    def is_ours(self, address: Address) -> bool:
        """Say whether this host may give the address: it is in no block of somebody else's."""
        return self.blocks is None or any(address in block for block in self.blocks)

    def address(self, number: int) -> Address:
        return type(self.subnet.network_address)(number)


def host_bounds(subnet: Prefix) -> tuple[int, int]:
    """Return the first and last number that a host in `subnet` may have."""
    first, last = int(subnet.network_address), int(subnet.broadcast_address)
    if subnet.max_prefixlen - subnet.prefixlen > 1:
        first += 1
        if subnet.version == 4:
            last -= 1
    return first, last


def complete_pool(pool: Pool) -> Pool:
    """Return the pool with a gateway: its own, or the first address that is not an auxiliary one.

    Raises PoolFull if none is left.
    """
    if pool.gateway is not None:
        return pool
    numbers = pool.dynamic()
    for address in pool.auxiliary.values():
        if address.version == pool.version:
            numbers.remove(int(address))
    first = numbers.at_or_after(0)
    if first is None:
        raise PoolFull(pool.version, pool.label)
    return replace(pool, gateway=pool.address(first))


def pool_for(pools: Iterable[Pool], address: Address) -> Pool:
    """Return the pool that an address asked for belongs to.

    Raises InvalidRequest in Docker's words; the caller puts `invalid endpoint settings:` before it.
    """
    for pool in pools:
        if pool.contains(address):
            return pool
    raise no_subnet_contains(address)


def no_subnet_contains(address: Address) -> InvalidRequest:
    return InvalidRequest(
        f"no configured subnet contains IP address {address}",
        remedy="ask for an address in a subnet of the network",
    )
