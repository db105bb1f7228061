"""What keeps thousands of nodes cheap, and must not change what they decide."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.domains.membership import is_responsible, responsible
from carrick.engine.cluster import sweeper
from carrick.host.store.contract import Entry
from carrick.model.cluster import NodeId
from tests.unit.cluster.cluster_harness import NET, Cluster, network


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


@given(st.sets(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=40), st.integers(1, 5))
def test_asking_for_oneself_gives_what_asking_for_all_does(names: set[str], count: int) -> None:
    ready = [NodeId(name) for name in sorted(names)]
    for target in (NodeId("target"), ready[0]):
        chosen = responsible(target, ready, count)
        for node in (*ready, NodeId("stranger")):
            assert is_responsible(node, target, ready, count) == (node in chosen)


async def test_nodes_at_rest_think_of_nothing_and_ask_for_little(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cluster.run("one", "web")
    await cluster.advance(60)
    planned: list[object] = []
    plan = sweeper.plan_sweep
    monkeypatch.setattr(
        sweeper, "plan_sweep", lambda *args, **kw: (planned.append(args), plan(*args, **kw))[1]
    )
    asked = Counter[str]()
    get = cluster.store.get

    async def counted(key: str) -> Entry | None:
        asked[key.partition("/")[0]] += 1
        return await get(key)

    monkeypatch.setattr(cluster.store, "get", counted)
    await cluster.advance(300)
    # Each helps out once a minute, and reads its own record in one round of ten: 33 rounds in 300 s.
    assert len(planned) <= 3 * 6
    assert asked["nodes"] <= 3 * 12


async def test_a_node_takes_note_of_its_record_even_if_it_hears_nothing(cluster: Cluster) -> None:
    """Its mirror stands still, as if the watch had died without a word; the record is read all the same."""
    node = cluster.nodes["one"]
    node.mirror.nodes.apply = _deaf  # type: ignore[method-assign,assignment]
    await cluster.nodes["two"].sweeper.evict(node.id, at_once=True)
    await cluster.advance(600)
    assert node.memory.epoch == 2


async def _deaf(update: object) -> Sequence[object]:
    return ()


async def test_the_blocks_of_a_node_are_filed_as_they_come_and_go(cluster: Cluster) -> None:
    for number in range(20):
        await cluster.run("one", f"c{number}")
    blocks = cluster.nodes["one"].blocks
    own = blocks.own(NET, 4)
    everything = [block for block in blocks.on_network(NET) if block.node == "one"]
    assert sorted(block.prefix for block in own.usable) == sorted(block.prefix for block in everything)
    for number in range(20):
        cluster.nodes["one"].stop(f"c{number}")
    await cluster.advance(180)
    assert blocks.own(NET, 4).usable == ()


async def test_a_node_that_joins_is_heard_of_once(cluster: Cluster) -> None:
    heard: list[str] = []
    mirror = cluster.nodes["one"].mirror
    mirror.listen(lambda table, change: heard.extend(change.put) if table is mirror.alive else None)
    await cluster.start("four")
    await cluster.advance(30)
    assert heard == ["four"]


async def test_a_node_leaves_with_all_it_had(cluster: Cluster) -> None:
    await cluster.run("one", "web")
    leaving = asyncio.create_task(cluster.nodes["one"].leave())
    while not leaving.done():
        await cluster.advance(0.1)
    await leaving
    await cluster.kill("one")
    await cluster.advance(5)
    assert await cluster.published() == {}
    assert (await cluster.store.list("blocks/")).entries == ()
    assert (await cluster.store.list("nodes/one")).entries == ()
    assert (await cluster.store.list("alive/one")).entries == ()
