"""Blocks: the parts of a pool that nodes own, and what a node does about its own. Pure.

A node takes a block by creating its record in the cluster's store, and uses it only once it is confirmed
there (docs/adr/0008-clusters.md). Nothing here is written: decisions come back as values.

Sizes: 64 addresses where the subnet is large enough for 16 such blocks, smaller ones below that, so that a
/24 still serves sixteen nodes; 65 536 addresses for IPv6, where a block costs nothing. A network may say
otherwise, in flannel's words (`division_of`).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from types import MappingProxyType

from ...model.cluster import Block, BlockState, NodeId
from ...model.errors import InvalidRequest
from ...model.networks import Network
from .intervals import IntervalSet
from .pool import Pool, host_bounds
from .types import Address, Prefix

_LENGTHS = {4: 26, 6: 112}
_FEWEST = {4: 16, 6: 65536}
"""How many blocks a pool is cut into at least, as long as its addresses suffice."""

SUBNET_LEN, SUBNET_MIN, SUBNET_MAX = (
    MappingProxyType({4: f"carrick.routed.subnet-{key}", 6: f"carrick.routed.ipv6-subnet-{key}"})
    for key in ("len", "min", "max")
)
"""Options that say how a network is divided, by IP version: flannel's SubnetLen, SubnetMin and SubnetMax."""
DIVIDING = frozenset(key for keys in (SUBNET_LEN, SUBNET_MIN, SUBNET_MAX) for key in keys.values())


@dataclass(frozen=True, slots=True)
class Division:
    """How a pool is divided: into blocks of `length`, of which those from `first` to `last` are given.

    None for a bound is the pool's own.
    """

    length: int
    first: Prefix | None = None
    last: Prefix | None = None

    def allows(self, block: Prefix) -> bool:
        """Tell whether a block is within the bounds."""
        address = int(block.network_address)
        return (self.first is None or int(self.first.network_address) <= address) and (
            self.last is None or address <= int(self.last.network_address)
        )


def division_of(network: Network, version: int) -> Division | None:
    """Return how a network's options divide its pool of an IP version, None if they leave that to us.

    Raises InvalidRequest naming the option, its value and the rule.
    """
    names = SUBNET_LEN[version], SUBNET_MIN[version], SUBNET_MAX[version]
    asked = [network.options.get(name, "") for name in names]
    config = network.pool(version)
    if not any(asked):
        return None
    if config is None:
        given = next(name for name, text in zip(names, asked, strict=True) if text)
        raise InvalidRequest(f"{given}: network {network.name} has no IPv{version} subnet")
    pool = config.network
    if not (asked[0].isascii() and asked[0].isdigit()):
        raise InvalidRequest(
            f"{names[0]}: {asked[0]!r} is no prefix length", remedy=f"say how long blocks of {pool} are"
        )
    length = int(asked[0])
    if not pool.prefixlen < length <= pool.max_prefixlen:
        raise InvalidRequest(
            f"{names[0]}: {length} is not between {pool.prefixlen + 1} and {pool.max_prefixlen}, in {pool}"
        )
    bounds: list[Prefix | None] = []
    for name, text in zip(names[1:], asked[1:], strict=True):
        bounds.append(_bound(name, text, pool, length) if text else None)
    first, last = bounds
    if first is not None and last is not None and int(first.network_address) > int(last.network_address):
        raise InvalidRequest(f"{names[1]}: {asked[1]} is behind {names[2]}: {asked[2]}")
    return Division(length, first, last)


def _bound(name: str, text: str, pool: Prefix, length: int) -> Prefix:
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidRequest(f"{name}: {text} is no address") from None
    if address.version != pool.version or address not in pool:
        raise InvalidRequest(f"{name}: {text} is not in {pool}")
    if int(address) % (1 << (pool.max_prefixlen - length)):
        raise InvalidRequest(f"{name}: {text} is not the beginning of a /{length}")
    return ip_network((address, length))


def block_length(pool: Pool, division: Division | None = None) -> int:
    """Return the prefix length of a pool's blocks: its division's, or what follows from its subnet."""
    if division is not None:
        return division.length
    subnet = pool.subnet
    finest = subnet.prefixlen + (_FEWEST[subnet.version].bit_length() - 1)
    return min(max(_LENGTHS[subnet.version], finest), subnet.max_prefixlen)


def block_of(pool: Pool, address: Address, division: Division | None = None) -> Prefix:
    """Return the block of a pool that an address is in, owned or not."""
    return ip_network((address, block_length(pool, division)), strict=False)


def choose_block(
    pool: Pool, taken: Iterable[Prefix], seed: str, division: Division | None = None
) -> Prefix | None:
    """Return a free block with addresses to give out, None if there is none.

    The search begins where `seed` says: nodes with different seeds seldom want the same one, and a node
    that asks again without anything having changed gets the same answer.
    """
    length = block_length(pool, division)
    size_bits = pool.subnet.max_prefixlen - length
    low, high = host_bounds(pool.subnet)
    if pool.ip_range is not None:
        low = max(low, int(pool.ip_range.network_address))
        high = min(high, int(pool.ip_range.broadcast_address))
    if division is not None and division.first is not None:
        low = max(low, int(division.first.network_address))
    if division is not None and division.last is not None:
        high = min(high, int(division.last.broadcast_address))
    if low > high:
        return None
    first, last = low >> size_bits, high >> size_bits
    free = IntervalSet(first, last)
    for block in taken:
        if block.version == pool.version:
            free.remove(int(block.network_address) >> size_bits, int(block.broadcast_address) >> size_bits)
    digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
    start = first + int.from_bytes(digest, "big") % (last - first + 1)
    # Blocks whose every address is the network's own are passed over: with /32 blocks there may be some.
    for begin in (start, first):
        number = free.at_or_after(begin)
        while number is not None:
            block = ip_network((pool.address(number << size_bits), length))
            if replace(pool, blocks=(block,)).dynamic().count > _owned_by_pool(pool, block):
                return block
            number = free.at_or_after(number + 1)
    return None


def _owned_by_pool(pool: Pool, block: Prefix) -> int:
    """Count the addresses in a block that are the gateway or auxiliary ones."""
    own = {*pool.auxiliary.values(), *([pool.gateway] if pool.gateway else [])}
    return sum(address in block for address in own)


@dataclass(frozen=True, slots=True)
class OwnBlocks:
    """A node's blocks of one pool, by what is to be done with them.

    `usable` are confirmed in this life, `lent` those of them that another engine gives addresses from.
    `to_confirm` are claimed in this life and seen by all; `to_reclaim`
    are the node's from a life before, nobody else's since.
    """

    usable: tuple[Block, ...] = ()
    to_confirm: tuple[Block, ...] = ()
    to_reclaim: tuple[Block, ...] = ()

    @property
    def lent(self) -> tuple[Block, ...]:
        return tuple(block for block in self.usable if block.bridge)

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """Return those that we give addresses from."""
        return tuple(block.network for block in self.usable if not block.bridge)


def sort_own(blocks: Iterable[Block], node: NodeId, epoch: int, version: int) -> OwnBlocks:
    """Sort out which of a network's blocks are a node's, and in which state."""
    usable, pending, old = [], [], []
    for block in sorted(blocks, key=lambda block: block.prefix):
        if block.node != node or block.network.version != version:
            continue
        if block.epoch != epoch:
            old.append(block)
        elif block.state is BlockState.CONFIRMED:
            usable.append(block)
        else:
            pending.append(block)
    return OwnBlocks(tuple(usable), tuple(pending), tuple(old))


def blocks_to_return(
    usable: Iterable[Block],
    in_use: Mapping[str, int],
    empty_since: Mapping[str, float],
    now: float,
    *,
    rest_s: float = 60.0,
) -> list[Block]:
    """Return the blocks that have had no lease for `rest_s`; `in_use` counts leases by prefix.

    A network that is in use at all keeps one block, so that stopping and starting its last container
    asks nobody.
    """
    # Whoever has a block lent counts by himself what he gives of it.
    blocks = [block for block in usable if not block.bridge]
    empty = [block for block in blocks if not in_use.get(block.prefix)]
    rested = [b for b in empty if b.prefix in empty_since and empty_since[b.prefix] + rest_s <= now]
    if len(rested) == len(blocks) and any(in_use.values()):
        rested = rested[1:]
    return rested
