"""Blocks: the parts of a pool that nodes own, and what a node does about its own. Pure.

A node takes a block by creating its record in the cluster's store, and uses it only once it is confirmed
there (docs/adr/0008-clusters.md). Nothing here is written: decisions come back as values.

Sizes: 64 addresses where the subnet is large enough for 16 such blocks, smaller ones below that, so that a
/24 still serves sixteen nodes; 65 536 addresses for IPv6, where a block costs nothing.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network

from ...model.cluster import Block, BlockState, NodeId
from .intervals import IntervalSet
from .pool import Pool, host_bounds
from .types import Address, Prefix

_LENGTHS = {4: 26, 6: 112}
_FEWEST = {4: 16, 6: 65536}
"""How many blocks a pool is cut into at least, as long as its addresses suffice."""


def block_length(pool: Pool) -> int:
    """Return the prefix length of a pool's blocks, which follows from its subnet and nothing else."""
    subnet = pool.subnet
    finest = subnet.prefixlen + (_FEWEST[subnet.version].bit_length() - 1)
    return min(max(_LENGTHS[subnet.version], finest), subnet.max_prefixlen)


def block_of(pool: Pool, address: Address) -> Prefix:
    """Return the block of a pool that an address is in, owned or not."""
    return ip_network((address, block_length(pool)), strict=False)


def choose_block(pool: Pool, taken: Iterable[Prefix], seed: str) -> Prefix | None:
    """Return a free block with addresses to give out, None if there is none.

    The search begins where `seed` says: nodes with different seeds seldom want the same one, and a node
    that asks again without anything having changed gets the same answer.
    """
    length = block_length(pool)
    size_bits = pool.subnet.max_prefixlen - length
    low, high = host_bounds(pool.subnet)
    if pool.ip_range is not None:
        low = max(low, int(pool.ip_range.network_address))
        high = min(high, int(pool.ip_range.broadcast_address))
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

    `usable` are confirmed in this life. `to_confirm` are claimed in this life and seen by all; `to_reclaim`
    are the node's from a life before, nobody else's since.
    """

    usable: tuple[Block, ...] = ()
    to_confirm: tuple[Block, ...] = ()
    to_reclaim: tuple[Block, ...] = ()

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        return tuple(block.network for block in self.usable)


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
    blocks = list(usable)
    empty = [block for block in blocks if not in_use.get(block.prefix)]
    rested = [b for b in empty if b.prefix in empty_since and empty_since[b.prefix] + rest_s <= now]
    if len(rested) == len(blocks) and any(in_use.values()):
        rested = rested[1:]
    return rested
