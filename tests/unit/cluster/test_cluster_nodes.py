"""Nodes of a cluster over a store in memory: what each sees, and what becomes of those that are away."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network

import pytest

from carrick.domains.ipam.errors import AddressInUse, PoolFull
from carrick.engine.cluster.records import ClusterRecords
from carrick.model.cluster import NodeState
from carrick.model.errors import Unavailable
from carrick.model.ids import NetworkId
from carrick.model.networks import Network, PoolConfig
from carrick.testing.cluster import SimulatedNode
from tests.unit.cluster.cluster_harness import NET, Cluster, assert_unique, network


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    for name in ("one", "two", "three"):
        await made.start(name)
    await made.nodes["one"].add_network(network())
    await made.advance(1)
    yield made
    await made.close()
    await made.store.aclose()


async def test_nodes_see_each_other_and_each_others_containers(cluster: Cluster) -> None:
    await cluster.run("one", "web")
    await cluster.run("two", "db")
    watched = cluster.nodes["three"].mirror.want_endpoints(NET)
    await cluster.advance(1)
    assert sorted(node.name for node in cluster.nodes["three"].mirror.nodes.values()) == [
        "one",
        "three",
        "two",
    ]
    assert sorted(item.container_name for item in watched.values()) == ["db", "web"]
    cluster.nodes["one"].stop("web")
    await cluster.advance(1)
    assert [item.container_name for item in watched.values()] == ["db"]
    assert_unique(cluster.nodes)


async def test_many_containers_on_many_nodes_take_many_blocks(cluster: Cluster) -> None:
    for number in range(40):
        for node in ("one", "two", "three"):
            await cluster.run(node, f"{node}-{number}")
    assert_unique(cluster.nodes)
    published = await cluster.published()
    assert len(published) == 120
    blocks = await ClusterRecords(cluster.store).blocks.list()
    owners = [block.node for block in blocks.values]
    assert all(owners.count(node) >= 3 for node in cluster.nodes)


async def test_a_full_pool_says_so(cluster: Cluster) -> None:
    small = Network(
        NetworkId("b" * 64), "tiny", "overlay", 0, pools=(PoolConfig("10.9.0.0/30", gateway="10.9.0.1"),)
    )
    await cluster.nodes["one"].add_network(small)
    await cluster.advance(1)
    only = asyncio.create_task(cluster.nodes["one"].start(small.id, "first"))
    assert await cluster.during(only) == "10.9.0.2"
    second = asyncio.create_task(cluster.nodes["two"].start(small.id, "second"))
    with pytest.raises(PoolFull, match="no available IPv4 addresses on this network's address pools: tiny"):
        await cluster.during(second)


async def test_an_address_in_somebody_elses_block_is_refused_with_the_name(cluster: Cluster) -> None:
    address = await cluster.run("one", "web")
    other = str(ip_address(address) + 1)
    asking = asyncio.create_task(cluster.nodes["two"].start(NET, "db", other))
    with pytest.raises(AddressInUse) as refused:
        await cluster.during(asking)
    assert "of node one" in (refused.value.remedy or "")
    own = ip_network(f"{address}/28", strict=False)
    free = next(
        f"10.0.0.{number}" for number in range(40, 250, 16) if ip_address(f"10.0.0.{number}") not in own
    )
    assert await cluster.run("two", "static", free) == free


async def test_a_node_that_is_cut_off_goes_on_from_its_own_blocks(cluster: Cluster) -> None:
    await cluster.run("one", "before")
    cluster.nodes["one"].wire.cut()
    for number in range(10):
        await cluster.run("one", f"alone{number}")
    assert "alone0" not in await cluster.published()
    assert_unique(cluster.nodes)
    cluster.nodes["one"].wire.heal()
    await cluster.advance(30)
    assert {"before", "alone0", "alone9"} <= (await cluster.published()).keys()


async def test_what_needs_the_store_is_refused_while_it_is_away(cluster: Cluster) -> None:
    cluster.nodes["one"].wire.cut()
    asking = asyncio.create_task(cluster.nodes["one"].start(NET, "new"))
    with pytest.raises(Unavailable):
        await cluster.during(asking)
    assert await cluster.published() == {}


async def test_a_short_absence_is_seen_and_costs_nothing(cluster: Cluster) -> None:
    address = await cluster.run("one", "web")
    cluster.nodes["one"].wire.cut()
    await cluster.advance(120)
    mirror = cluster.nodes["two"].mirror
    assert mirror.alive.get("one") is None
    assert mirror.lost.get("one") is not None
    assert (await cluster.published())["web"] == address
    cluster.nodes["one"].wire.heal()
    await cluster.advance(30)
    assert mirror.alive.get("one") is not None
    assert mirror.lost.get("one") is None
    assert cluster.nodes["one"].memory.epoch == 1
    assert cluster.nodes["one"].containers["web"][1] == address


async def test_a_dead_nodes_belongings_go_after_the_stated_time(cluster: Cluster) -> None:
    await cluster.run("one", "web")
    await cluster.kill("one")
    await cluster.advance(550)
    assert "web" in await cluster.published()
    await cluster.advance(200)
    assert await cluster.published() == {}
    records = ClusterRecords(cluster.store)
    assert (await records.blocks.list()).values == []
    assert (await records.nodes.get("one")) is None
    assert (await records.lost.list()).values == []


async def test_a_node_that_comes_back_after_it_was_given_up_moves_its_containers(cluster: Cluster) -> None:
    kept_by_one = [await cluster.run("one", f"mine{number}") for number in range(3)]
    cluster.nodes["one"].wire.cut()
    await cluster.advance(800)
    assert await cluster.published() == {}
    # Another node takes just that block, and an address in it.
    taken = await cluster.run("two", "thief", kept_by_one[1])
    assert taken == kept_by_one[1]
    cluster.nodes["one"].wire.heal()
    await cluster.advance(60)
    published = await cluster.published()
    assert published["thief"] == taken
    assert {f"mine{number}" for number in range(3)} <= published.keys()
    assert_unique(cluster.nodes)
    assert cluster.nodes["one"].memory.epoch == 2


async def test_a_node_killed_as_it_comes_back_takes_its_blocks_in_its_next_life(cluster: Cluster) -> None:
    address = await cluster.run("one", "web")
    memory = await cluster.kill("one")
    await cluster.advance(700)
    assert await cluster.published() == {}
    # It has begun its new epoch, and done nothing else yet.
    node = SimulatedNode("one", cluster.store, cluster.clock, memory=memory, seed=1)
    membership = asyncio.create_task(node.membership.run())
    await node.membership.joined()
    membership.cancel()
    assert (memory.epoch, node.membership.epoch) == (2, 2)
    await cluster.start("one", memory)
    await cluster.advance(5)
    assert await cluster.published() == {"web": address}


async def test_a_node_that_comes_back_keeps_its_addresses_if_nobody_wanted_them(cluster: Cluster) -> None:
    address = await cluster.run("one", "web")
    cluster.nodes["one"].wire.cut()
    await cluster.advance(800)
    cluster.nodes["one"].wire.heal()
    await cluster.advance(60)
    assert (await cluster.published())["web"] == address


async def test_a_daemon_killed_and_started_again_goes_on_where_it_was(cluster: Cluster) -> None:
    address = await cluster.run("one", "web")
    memory = await cluster.kill("one")
    await cluster.advance(10)
    await cluster.start("one", memory)
    assert memory.epoch == 1
    assert (await cluster.published())["web"] == address
    second = await cluster.run("one", "db")
    assert second != address
    assert len((await ClusterRecords(cluster.store).blocks.list()).values) == 1


async def test_a_node_is_removed_at_once_when_told_and_comes_back_as_new(cluster: Cluster) -> None:
    await cluster.run("one", "web")
    await cluster.nodes["two"].sweeper.evict(cluster.nodes["one"].id, at_once=True)
    await cluster.advance(20)
    # It is alive and well: it begins a new epoch and publishes what it has.
    assert cluster.nodes["one"].memory.epoch == 2
    assert "web" in await cluster.published()
    assert_unique(cluster.nodes)


async def test_what_a_node_had_given_up_cannot_be_written_by_it_any_more(cluster: Cluster) -> None:
    await cluster.run("one", "web")
    records = ClusterRecords(cluster.store)
    record = await records.nodes.get("one")
    assert record is not None
    gone = record.value.__class__(**{**_fields(record.value), "state": NodeState.GONE})
    await records.nodes.put("one", gone, expecting=record.revision)
    await cluster.run("one", "late")
    assert "late" not in await cluster.published()
    # Half an eviction is finished by whoever finds it; then the node is back with all it has.
    await cluster.advance(180)
    assert {"web", "late"} <= (await cluster.published()).keys()


def _fields(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}  # type: ignore[attr-defined]


async def test_empty_blocks_go_back_and_one_stays_while_the_network_is_used(cluster: Cluster) -> None:
    for number in range(20):
        await cluster.run("one", f"c{number}")
    records = ClusterRecords(cluster.store)
    assert len((await records.blocks.list()).values) == 2
    for number in range(1, 20):
        cluster.nodes["one"].stop(f"c{number}")
    await cluster.advance(180)
    assert len((await records.blocks.list()).values) == 1
    cluster.nodes["one"].stop("c0")
    await cluster.advance(180)
    assert (await records.blocks.list()).values == []
    assert await cluster.run("one", "again")
