"""The scale run's shape, what it reads from etcd, and what its nodes share."""

import asyncio
from ipaddress import ip_address, ip_network

from bench.scale.etcd_metrics import parse_metrics
from bench.scale.plan import Shape, make_networks, memory_of, network_of, node_id
from bench.scale.stores import DecodeCache, SharedRecords, percentile
from carrick.host.store.contract import Entry
from carrick.testing.memory_store import MemoryStore

SHAPE = Shape(nodes=45, endpoints=100, span=20)


def test_every_node_has_addresses_of_its_own_in_blocks_of_its_own() -> None:
    networks = {network.id: network for network in make_networks(SHAPE)}
    seen: set[tuple[str, str]] = set()
    for node in range(SHAPE.nodes):
        memory = memory_of(SHAPE, node)
        assert memory.blocks and memory.containers
        assert len(memory.containers) == SHAPE.endpoints
        prefixes = [block.network for block in memory.blocks.values()]
        for net, address in memory.containers.values():
            assert net == network_of(SHAPE, node)
            assert any(ip_address(address) in prefix for prefix in prefixes)
            assert ip_address(address) in ip_network(networks[net].pools[0].subnet)
            assert (net, address) not in seen
            seen.add((net, address))
        assert {block.node for block in memory.blocks.values()} == {node_id(node)}


def test_the_last_network_may_have_fewer_nodes() -> None:
    assert SHAPE.networks == 3
    assert len({network_of(SHAPE, node) for node in range(45)}) == 3
    assert len(node_id(7)) == 26


def test_metrics_are_added_up_by_method_and_compared() -> None:
    text = """
# HELP grpc_server_started_total Total number
grpc_server_started_total{grpc_method="Range",grpc_service="etcdserverpb.KV",grpc_type="unary"} %d
grpc_server_started_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 0
etcd_network_client_grpc_sent_bytes_total 1.5e+06
process_resident_memory_bytes %d
"""
    before, after = parse_metrics(text % (10, 100), 1.0), parse_metrics(text % (25, 200), 4.0)
    step = after.since(before)
    assert step.at == 3.0
    assert step.requests == {"Range": 15.0}
    assert step.values["sent_bytes"] == 0.0
    assert step.values["memory_bytes"] == 200.0


def test_nodes_of_a_process_share_what_they_decode() -> None:
    async def check() -> None:
        cache = DecodeCache()
        async with MemoryStore() as store:
            one, two = SharedRecords(store, cache), SharedRecords(store, cache)
            key = f"networks/{network_of(SHAPE, 0)}"
            value = one.networks.encode(make_networks(SHAPE)[1])
            entry, again = Entry(key, value, 1, 1), Entry(key, bytes(bytearray(value)), 1, 1)
            assert one.networks.decode(entry) is two.networks.decode(again)
            assert one.networks.id_of(key) is two.networks.id_of(key)
            narrow = one.endpoints_on(network_of(SHAPE, 0))
            place = f"endpoints/{network_of(SHAPE, 0)}/node/endpoint"
            assert narrow.id_of(place) == "node/endpoint"
            assert one.endpoints.id_of(place) == place.removeprefix("endpoints/")

    asyncio.run(check())


def test_percentiles() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([], 0.5) == 0.0
    assert percentile([1.0], 0.99) == 1.0
