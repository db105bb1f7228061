"""Blocks: their sizes, their choice, whose they are, and when they go back."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.domains.ipam import Allocator, Pool, PoolId
from carrick.domains.ipam.blocks import (
    block_length,
    block_of,
    blocks_to_return,
    choose_block,
    sort_own,
)
from carrick.domains.ipam.errors import AddressInUse, PoolFull
from carrick.model.cluster import Block, BlockState, NodeId
from carrick.model.ids import NetworkId
from carrick.model.networks import PoolConfig

NET = NetworkId("n" * 64)


def pool(subnet: str, ip_range: str = "", gateway: str = "") -> Pool:
    return Pool.of(PoolId("p"), PoolConfig(subnet, ip_range, gateway))


@pytest.mark.parametrize(
    ("subnet", "length"),
    [("10.0.0.0/8", 26), ("10.0.0.0/20", 26), ("10.0.0.0/24", 28), ("10.0.0.0/29", 32), ("fd00::/64", 112)],
)
def test_a_pool_is_cut_so_that_many_nodes_can_share_it(subnet: str, length: int) -> None:
    assert block_length(pool(subnet)) == length


@given(st.integers(8, 30), st.sets(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=40))
def test_nodes_that_claim_one_after_the_other_never_get_the_same(length: int, nodes: set[str]) -> None:
    one = pool(str(ip_network((int(ip_address("10.0.0.0")), length))))
    taken = []
    for node in sorted(nodes):
        block = choose_block(one, taken, node)
        if block is None:
            assert length >= 20, "a large pool has room for forty nodes"
            assert all(any(host in block for block in taken) for host in one.subnet.hosts())
            return
        assert not any(block.overlaps(other) for other in taken)
        assert block.subnet_of(one.subnet)
        assert block.prefixlen == block_length(one)
        taken.append(block)


def test_every_block_of_a_small_pool_can_be_given_and_the_gateways_own_is_not() -> None:
    small = pool("10.0.0.0/29", gateway="10.0.0.1")
    taken = []
    while (block := choose_block(small, taken, "seed")) is not None:
        taken.append(block)
    assert sorted(str(block) for block in taken) == [f"10.0.0.{n}/32" for n in range(2, 7)]


def test_blocks_stay_in_the_dynamic_range() -> None:
    ranged = pool("10.0.0.0/16", ip_range="10.0.4.0/24")
    taken = []
    while (block := choose_block(ranged, taken, "x")) is not None:
        taken.append(block)
    assert len(taken) == 4
    assert all(block.subnet_of(ip_network("10.0.4.0/24")) for block in taken)


def test_the_same_seed_gives_the_same_block_and_others_differ() -> None:
    large = pool("10.0.0.0/8")
    assert choose_block(large, [], "a") == choose_block(large, [], "a")
    assert len({choose_block(large, [], f"node{n}") for n in range(50)}) > 45


def test_an_allocator_gives_addresses_of_its_blocks_alone() -> None:
    shared = pool("10.0.0.0/24", gateway="10.0.0.1")
    allocator = Allocator(shared)
    allocator.apply(allocator.plan_setup())
    allocator.limit_to(())
    with pytest.raises(PoolFull):
        allocator.plan_allocate("a", now=0)
    allocator.limit_to((ip_network("10.0.0.0/28"), ip_network("10.0.0.64/28")))
    given_out = []
    for number in range(30):
        change = allocator.plan_allocate(f"owner{number}", now=0)
        allocator.apply(change)
        assert change.lease is not None
        given_out.append(int(change.lease.address) & 255)
    assert given_out == [*range(2, 16), *range(64, 80)]
    with pytest.raises(PoolFull):
        allocator.plan_allocate("one more", now=0)
    with pytest.raises(AddressInUse) as refused:
        allocator.plan_allocate("other", now=0, address=ip_address("10.0.0.130"))
    assert refused.value.holder == "in no block of this node"
    allocator.limit_to((ip_network("10.0.0.0/28"), ip_network("10.0.0.128/28")))
    allocator.apply(allocator.plan_allocate("static", now=0, address=ip_address("10.0.0.130")))
    assert len(allocator.leases()) == 32, "those in a block that went stay with their owners"
    released = allocator.lease_of("owner20")
    assert released is not None
    allocator.apply(allocator.plan_release(released.address, released.sequence, now=1))
    assert allocator.lease_of("owner20") is None


def test_the_block_of_an_address() -> None:
    assert str(block_of(pool("10.0.0.0/24"), ip_address("10.0.0.37"))) == "10.0.0.32/28"


def block(prefix: str, node: str, epoch: int, state: BlockState = BlockState.CONFIRMED) -> Block:
    return Block(NET, prefix, NodeId(node), epoch, state)


def test_own_blocks_are_sorted_by_what_is_to_be_done() -> None:
    blocks = [
        block("10.0.0.0/28", "me", 2),
        block("10.0.0.16/28", "me", 2, BlockState.PENDING),
        block("10.0.0.32/28", "me", 1),
        block("10.0.0.48/28", "you", 2),
        block("fd00::/112", "me", 2),
    ]
    own = sort_own(blocks, NodeId("me"), 2, 4)
    assert [b.prefix for b in own.usable] == ["10.0.0.0/28"]
    assert [b.prefix for b in own.to_confirm] == ["10.0.0.16/28"]
    assert [b.prefix for b in own.to_reclaim] == ["10.0.0.32/28"]


def test_blocks_go_back_when_they_have_rested_but_for_one_while_the_network_is_used() -> None:
    mine = [block("10.0.0.0/28", "me", 1), block("10.0.0.16/28", "me", 1)]
    since = {"10.0.0.0/28": 0.0, "10.0.0.16/28": 0.0}
    assert blocks_to_return(mine, {"10.0.0.0/28": 1}, since, 100) == mine[1:]
    assert blocks_to_return(mine, {}, since, 30) == []
    assert blocks_to_return(mine, {}, since, 60) == mine
    assert blocks_to_return(mine, {"elsewhere": 1}, since, 60) == mine[1:]
