"""Ownership and names under partition, by random histories: no address is ever published twice, no node ever
knows two containers by one address, and all converge.

Containers start and stop, wires are cut and healed, daemons are killed and started, time goes by, also enough
of it for nodes to be given up. Whatever happened: once all wires are whole, what is published is what runs.
CARRICK_FULL=1 runs sixty histories.
"""

import asyncio
import os
import random
from collections import Counter

import pytest

from carrick.model.errors import CarrickError
from carrick.testing.cluster import Memory, SimulatedNode
from tests.unit.cluster.cluster_harness import NET, Cluster, assert_unique, network

NODES = ("one", "two", "three", "four")


def view(node: SimulatedNode) -> dict[str, str]:
    """Return what names resolve to on a node."""
    table = node.mirror.want_endpoints(NET)
    return {name: item.ipv4 for item in table.values() for name in item.names}


async def step(cluster: Cluster, chance: random.Random, dead: dict[str, Memory], number: int) -> None:
    name = chance.choice(NODES)
    node = cluster.nodes.get(name)
    kind = chance.choices(
        ("start", "stop", "cut", "heal", "kill", "revive", "wait", "long"), (10, 5, 2, 3, 1, 2, 5, 1)
    )[0]
    if kind == "start" and node is not None:
        task = asyncio.create_task(node.start(NET, f"{name}-{number}"))
        try:
            await cluster.during(task)
        except CarrickError:
            pass  # cut off without a block, or a full pool: refused is as good as done
        except AssertionError:
            task.cancel()  # it waits for a store that is away, as `docker run` would
    elif kind == "stop" and node is not None and node.containers:
        node.stop(chance.choice(sorted(node.containers)))
    elif kind == "cut" and node is not None:
        node.wire.cut()
    elif kind == "heal" and node is not None:
        node.wire.heal()
    elif kind == "kill" and node is not None and len(cluster.nodes) > 1:
        dead[name] = await cluster.kill(name)
    elif kind == "revive" and name in dead:
        await cluster.start(name, dead.pop(name))
    elif kind == "wait":
        await cluster.advance(chance.uniform(0, 40))
    elif kind == "long":
        await cluster.advance(700)


@pytest.mark.parametrize("seed", range(60 if os.environ.get("CARRICK_FULL") else 4))
async def test_no_address_is_published_twice_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    cluster = Cluster(seed)
    for name in NODES:
        await cluster.start(name)
    # A /26 has sixteen blocks of four: nodes run out and compete.
    await cluster.nodes["one"].add_network(network("10.0.0.0/26"))
    dead: dict[str, Memory] = {}
    for number in range(60):
        await step(cluster, chance, dead, number)
        published = Counter((await cluster.published()).values())
        assert not [address for address, count in published.items() if count > 1]
        for node in cluster.nodes.values():
            # Cut off it may know what is no more, and never two things at once.
            known = Counter(view(node).values())
            assert not [address for address, count in known.items() if count > 1], node.id
    for name, memory in dead.items():
        await cluster.start(name, memory)
    for node in cluster.nodes.values():
        node.wire.heal()
        view(node)
    await cluster.advance(120)
    assert_unique(cluster.nodes)
    running = {name: at for node in cluster.nodes.values() for name, (_, at) in node.containers.items()}
    assert await cluster.published() == running
    for node in cluster.nodes.values():
        assert view(node) == running, node.id
    await cluster.close()
    await cluster.store.aclose()
