"""Whole engines under random histories: containers come and go, daemons restart, wires are cut and healed.

At no time do two containers have one address, nor does one have the gateway's or a host's own; and once all
wires are whole, what is published is what runs. CARRICK_FULL=1 runs a hundred histories of each driver.
"""

import os
import random
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from carrick.domains.ipam import Prefix
from carrick.drivers.routed import reserved
from carrick.engine.values import CreateNetwork
from carrick.model.errors import CarrickError
from carrick.model.networks import PoolConfig
from carrick.testing.members import ClusterMember
from carrick.testing.memory_store import MemoryStore
from carrick.testing.waiting import until

SUBNET = "10.5.0.0/26"
"""Four blocks for three nodes: the first, which has the gateway, is nearly always somebody's."""
STEPS = 30


@pytest.fixture
async def members(tmp_path: Path) -> AsyncIterator[list[ClusterMember]]:
    store = MemoryStore()
    made = [
        ClusterMember(name, tmp_path / name, store, n) for n, name in enumerate(("one", "two", "three"), 11)
    ]
    for member in made:
        await member.start()
    yield made
    for member in made:
        await member.stop()
    await store.aclose()


def addresses(members: list[ClusterMember]) -> dict[str, str]:
    """Return the address of every container that is on the network, by its node and its name."""
    found = {}
    for member in members:
        state = member.engine.state
        network = state.network_or_none("blue")
        for sandbox, position in state.endpoints_on(network.id) if network else ():
            name = f"{member.name} {state.find_container(sandbox.container_id).name}"
            found[name] = sandbox.endpoints[position].ipv4_address
    return found


async def own_prefixes(members: list[ClusterMember]) -> list[Prefix]:
    """Return what is no container's: the gateway of all bridges, or what hosts have of their blocks."""
    state = members[0].engine.state
    network = state.find_network("blue")
    if network.driver == "overlay":
        return [ip_network(network.pools[0].gateway)]
    keys = [entry.key for entry in (await members[0].store.list("blocks/")).entries]
    blocks = [ip_network(key.rpartition("/")[2].replace("_", "/")) for key in keys]
    return [prefix for block in blocks for prefix in reserved(network, block)]


async def check(members: list[ClusterMember]) -> None:
    found, not_theirs = addresses(members), await own_prefixes(members)
    taken = [address for address in found.values() if address]
    assert len(set(taken)) == len(taken), found
    for address in map(ip_address, taken):
        assert address in ip_network(SUBNET), found
        assert not [prefix for prefix in not_theirs if address in prefix], found


async def step(member: ClusterMember, kind: str, number: int) -> None:
    """Take a step. What is refused, in a full pool or cut off without a block, is as good as done."""
    state = member.engine.state
    if kind == "run":
        try:
            await member.run(f"c{number}", "blue")
        except CarrickError:
            await member.engine.containers.remove(f"c{number}", force=True)
    elif kind == "stop" and state.containers:
        await member.engine.containers.remove(
            sorted(state.containers)[number % len(state.containers)], force=True
        )
    elif kind == "restart":
        await member.stop()
        await member.start()
    elif kind == "cut":
        member.wire.cut()
    elif kind == "heal":
        member.wire.heal()


@pytest.mark.parametrize("seed", range(100 if os.environ.get("CARRICK_FULL") else 10))
@pytest.mark.parametrize("driver", ["overlay", "routed"])
async def test_no_address_is_given_twice_whatever_happens(
    members: list[ClusterMember], driver: str, seed: int
) -> None:
    chance = random.Random(seed)
    await members[0].engine.networks.create(CreateNetwork("blue", driver, pools=(PoolConfig(SUBNET),)))

    async def is_everywhere() -> bool:
        return all(member.engine.state.network_or_none("blue") for member in members)

    await until(is_everywhere, "a network is seen")
    for number in range(STEPS):
        kind = chance.choices(("run", "stop", "restart", "cut", "heal"), (10, 4, 2, 1, 2))[0]
        await step(chance.choice(members), kind, number)
        await check(members)
    for member in members:
        member.wire.heal()
    store = members[0].store

    async def is_published() -> bool:
        listed = await store.list("endpoints/")
        return len(listed.entries) == len(addresses(members))

    await until(is_published, "what runs is published")
    await check(members)
    assert addresses(members), "something ran"
