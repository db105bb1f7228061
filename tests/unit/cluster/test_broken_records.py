"""Records in the cluster's store that nobody can read: who goes on, who says what, who mends what is its."""

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from carrick.engine.cluster.claims import check_same
from carrick.engine.cluster.records import META, ClusterRecords
from carrick.host.store.contract import Delete, Put
from carrick.host.store.typed import Undecodable
from carrick.model.cluster import Block, ClusterMeta, ClusterSettings, NodeId
from carrick.model.errors import Unavailable
from carrick.model.networks import PoolConfig
from tests.unit.cluster.cluster_harness import NET, Cluster, assert_unique, network

GARBAGE = (b"", b"{", b'{"id": "o', b"[]", b"null", b"7", b"\xff\xfe", b'{"id": 5}', b'{"epoch": "x"}')


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    for name in ("one", "two", "three"):
        await made.start(name)
    await made.nodes["one"].add_network(network())
    await made.advance(1)
    for name in ("one", "two", "three"):
        made.nodes[name].mirror.want_endpoints(NET)
        await made.run(name, f"c-{name}")
    yield made
    await made.close()
    await made.store.aclose()


async def everything(cluster: Cluster) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in (await cluster.store.list("")).entries}


def views(cluster: Cluster) -> list[tuple[list[str], list[str], list[str]]]:
    """Return what each node knows: nodes, endpoints, blocks."""
    return [
        (
            sorted(node.mirror.nodes.live()),
            sorted(item.container_name for item in node.mirror.endpoints[NET].values()),
            sorted(node.mirror.blocks.live()),
        )
        for node in cluster.nodes.values()
    ]


@pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
async def test_every_record_spoilt_at_once(
    cluster: Cluster, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    before, known = await everything(cluster), views(cluster)
    caplog.set_level(logging.ERROR)
    # Those of one, and all that are nobody's.
    spoilt = [
        key
        for key in before
        if "one" in key or key.startswith("networks/") or before[key].find(b'"node":"one"') > 0
    ]
    kinds = {key.partition("/")[0] for key in spoilt}
    assert kinds == {"nodes", "alive", "networks", "blocks", "endpoints"}
    for key in spoilt:
        await cluster.store.commit([Put(key, garbage)])
    await cluster.advance(1)
    # All go on with what they knew.
    assert views(cluster) == known
    await cluster.run("two", "another")
    assert_unique(cluster.nodes)
    for key in spoilt:
        assert any(f"the record {key} in the store cannot be read" in text for text in caplog.messages), key
    assert any("repair or remove the record" in text for text in caplog.messages)
    # What is one's it has written again, as it was; nobody missed it.
    await cluster.advance(60)
    after = await everything(cluster)
    mended = {key for key in spoilt if after[key] != garbage}
    assert {key.partition("/")[0] for key in mended} == kinds - {"networks"}
    assert {key: after[key] for key in mended if not key.startswith("alive/")} == {
        key: before[key] for key in mended if not key.startswith("alive/")
    }
    assert not [key for key in after if key.startswith("lost")]
    # A network is nobody's, and may be a newer version's: it is reported until somebody repairs it.
    two = cluster.nodes["two"].mirror
    assert len(two.broken) == 1 and f"networks/{NET}" in str(two.broken[0])
    await cluster.store.commit([Put(f"networks/{NET}", before[f"networks/{NET}"])])
    await cluster.advance(1)
    assert not two.broken
    await cluster.run("one", "late")
    await cluster.advance(1)
    assert {item.container_name for item in two.endpoints[NET].values()} >= {"late", "another", "c-one"}


@pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
async def test_records_of_nobody_change_nothing(cluster: Cluster, garbage: bytes) -> None:
    known = views(cluster)
    prefixes = (
        "nodes",
        "alive",
        "lost",
        "lost-timers",
        "networks",
        "blocks",
        "addresses",
        f"endpoints/{NET}",
    )
    for prefix in prefixes:
        for name in ("strange", "one", "10.0.0.0_28", "a/b/c", "one/two", "\n"):
            key = f"{prefix}/{name}"
            if key not in await everything(cluster):
                await cluster.store.commit([Put(key, garbage)])
    await cluster.advance(2)
    assert views(cluster) == known
    await cluster.kill("three")
    await cluster.start("four")
    await cluster.run("four", "c-four")
    assert_unique(cluster.nodes)
    await cluster.advance(40)
    assert "three" in {item.id for item in cluster.nodes["one"].mirror.nodes.values()}
    # It is missed, garbage or none.
    assert cluster.nodes["one"].mirror.lost.get("three") is not None


async def test_a_spoilt_block_of_another_s_is_not_taken_by_who_never_knew_it(cluster: Cluster) -> None:
    cluster.nodes["one"].wire.cut()
    blocks = [block for block in cluster.nodes["two"].mirror.blocks.values() if block.node == "one"]
    for block in blocks:
        await cluster.store.commit([Put(f"blocks/{block.key}", b"{")])
    await cluster.start("four")
    for number in range(60):
        await cluster.run("four", f"four-{number}")
    assert_unique(cluster.nodes)


async def test_a_node_that_is_removed_takes_its_spoilt_blocks_along(cluster: Cluster) -> None:
    keys = [f"blocks/{b.key}" for b in cluster.nodes["two"].mirror.blocks.values() if b.node == "one"]
    await cluster.kill("one")
    for key in keys:
        await cluster.store.commit([Put(key, b"")])
    await cluster.advance(1)
    await cluster.nodes["two"].sweeper.evict(NodeId("one"), at_once=True)
    assert not set(keys) & set(await everything(cluster))


async def test_older_and_newer_records_are_read(cluster: Cluster) -> None:
    node = json.loads((await everything(cluster))["nodes/one"])
    old = {key: node[key] for key in ("id", "name", "epoch", "underlays")}
    new = node | {"colour": "green", "tunnels": [{"kind": "light"}], "labels": {"a": "b"}}
    for name, fields in (("old", old), ("new", new)):
        record = json.dumps(fields | {"id": name, "name": name}).encode()
        await cluster.store.commit([Put(f"nodes/{name}", record)])
    await cluster.advance(1)
    nodes = cluster.nodes["two"].mirror.nodes
    assert not nodes.broken
    read = nodes.get("old"), nodes.get("new")
    assert read[0] is not None and read[0].transports == ("vxlan", "direct") and read[0].wireguard_key == ""
    assert read[1] is not None and read[1].labels == {"a": "b"}


async def test_what_types_cannot_tell_is_broken_too(cluster: Cluster) -> None:
    records = ClusterRecords(cluster.store)
    node = cluster.nodes["one"].mirror.nodes.get("one")
    endpoint = next(iter(cluster.nodes["one"].mirror.endpoints[NET].values()))
    assert node is not None
    wrong = [
        records.nodes.putting("two", node),
        *(
            records.nodes.putting("one", replace(node, underlays=(replace(node.underlays[0], **change),)))
            for change in (
                {"address": "here"},
                {"prefix": "10.0.0.0/8/8"},
                {"address": "9.9.9.9"},
                {"mtu": 0},
            )
        ),
        records.nodes.putting("one", replace(node, wireguard_key="short")),
        records.nodes.putting("one", replace(node, wireguard_port=65536)),
        records.networks.putting(NET, network("10.0.0.1/24")),
        records.networks.putting(NET, replace(network(), pools=(PoolConfig("10.0.0.0/24", gateway="x"),))),
        records.networks.putting("b" * 64, network()),
        records.blocks.putting(f"{NET}/10.0.0.0_28", Block(NET, "10.0.0.16/28", NodeId("one"), 1)),
        records.blocks.putting(f"{NET}/all", Block(NET, "all", NodeId("one"), 1)),
        records.endpoints.putting(endpoint.key, replace(endpoint, mac_address="02:00")),
        records.endpoints.putting(endpoint.key, replace(endpoint, ipv4="10.0.0.300")),
        records.endpoints.putting(endpoint.key, replace(endpoint, ipv6="10.0.0.3")),
        records.endpoints.putting(endpoint.key + "x", endpoint),
    ]
    for number, put in enumerate(wrong):
        prefix = put.key.partition("/")[0]
        entry = await _written(cluster, put)
        with pytest.raises(Undecodable, match="cannot be read"):
            {"nodes": records.nodes, "networks": records.networks, "blocks": records.blocks}.get(
                prefix, records.endpoints
            ).decode(entry)  # type: ignore[attr-defined]
        assert number >= 0


async def _written(cluster: Cluster, put: Put) -> object:
    """Return an entry as it would be in a store."""
    await cluster.store.commit([Put("scratch/" + put.key, put.value)])
    entry = await cluster.store.get("scratch/" + put.key)
    await cluster.store.commit([Delete("scratch/" + put.key)])
    assert entry is not None
    return replace(entry, key=put.key)


async def test_the_cluster_s_own_record_spoilt_is_as_if_the_store_were_away(cluster: Cluster) -> None:
    records = ClusterRecords(cluster.store)
    settings = ClusterSettings("simulated", NodeId("one"), "one", ("http://127.0.0.1:2379",))
    await records.meta.put(META, ClusterMeta("simulated", "", 0), expecting=None)
    await check_same(records, settings)
    await cluster.store.commit([Put(f"meta/{META}", b"{")])
    with pytest.raises(Unavailable, match="the record meta/cluster in the store cannot be read") as raised:
        await check_same(records, settings)
    assert "repair or remove" in (raised.value.remedy or "")
