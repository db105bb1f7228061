"""A cluster of simulated nodes on a store in memory, in a time of its own."""

import asyncio
from contextlib import AsyncExitStack

from carrick.engine.cluster.records import ClusterRecords
from carrick.model.ids import NetworkId
from carrick.model.networks import Network, PoolConfig, Scope
from carrick.testing.cluster import Memory, SimulatedNode
from carrick.testing.fake_clock import FakeClock, settle
from carrick.testing.memory_store import MemoryStore

NET = NetworkId("a" * 64)


def network(subnet: str = "10.0.0.0/24") -> Network:
    return Network(
        NET, "blue", "overlay", 0, scope=Scope.GLOBAL, pools=(PoolConfig(subnet, gateway="10.0.0.1"),)
    )


class Cluster:
    """Nodes, their store and their time."""

    def __init__(self, seed: int = 1) -> None:
        self.seed = seed
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock.monotonic)
        self.nodes: dict[str, SimulatedNode] = {}
        self._stacks: dict[str, AsyncExitStack] = {}

    async def start(self, name: str, memory: Memory | None = None) -> SimulatedNode:
        node = SimulatedNode(name, self.store, self.clock, memory=memory, seed=self.seed)
        stack = AsyncExitStack()
        await stack.enter_async_context(node.running())
        self.nodes[name], self._stacks[name] = node, stack
        await self.advance(1)
        return node

    async def kill(self, name: str) -> Memory:
        """End a node's daemon; return what it keeps."""
        node = self.nodes.pop(name)
        await self._stacks.pop(name).aclose()
        return node.memory

    async def advance(self, seconds: float) -> None:
        """Let time go by in steps, so that the store ends its leases on the way."""
        done = 0.0
        while done < seconds:
            step = min(1.0, seconds - done)
            await self.clock.advance(step)
            await self.store.list("alive/")
            await settle()
            done += step

    async def during(self, work: asyncio.Task[str]) -> str:
        """Let time go by until `work` is done."""
        for _ in range(200):
            await self.advance(0.1)
            if work.done():
                return work.result()
        raise AssertionError("it takes for ever")

    async def run(self, node: str, name: str, address: str = "") -> str:
        task = asyncio.create_task(self.nodes[node].start(NET, name, address))
        found = await self.during(task)
        await self.advance(1)
        return found

    async def published(self) -> dict[str, str]:
        listing = await ClusterRecords(self.store).endpoints.list()
        return {item.container_name: item.ipv4 for item in listing.values}

    async def close(self) -> None:
        for name in list(self.nodes):
            await self.kill(name)


def assert_unique(nodes: dict[str, SimulatedNode]) -> None:
    seen: dict[str, str] = {}
    for node in nodes.values():
        for name, (_, address) in node.containers.items():
            assert address not in seen, f"{name} and {seen[address]} have {address}"
            seen[address] = name
