"""Simulated nodes: the real cluster code over any store, without a kernel underneath.

For model-based tests of ownership under partition, and for scale runs with thousands of nodes.
"""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any, Self

from ..domains.ipam import Allocator, Pool, PoolId
from ..domains.ipam.errors import PoolFull
from ..domains.ipam.types import Address
from ..engine.clock import Clock
from ..engine.cluster.records import ClusterRecords
from ..engine.cluster.runtime import ClusterRuntime, Ties
from ..engine.cluster.table import Table
from ..host.store.contract import Change, Entry, Event, LeaseId, Requirement, Snapshot, Store, Watch
from ..host.store.typed import Collection
from ..model.cluster import Block, ClusterSettings, NodeId, NodeRecord, RemoteEndpoint, Underlay
from ..model.errors import Unavailable
from ..model.ids import ContainerId, EndpointId, NetworkId
from ..model.networks import Network


class Wire:
    """A store behind a wire that can be cut: calls fail, watches hold their events back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._up = asyncio.Event()
        self._up.set()

    @property
    def is_cut(self) -> bool:
        return not self._up.is_set()

    def cut(self) -> None:
        self._up.clear()

    def heal(self) -> None:
        self._up.set()

    def _check(self) -> None:
        if self.is_cut:
            raise Unavailable("the cluster's store does not answer: the wire is cut")

    async def get(self, key: str) -> Entry | None:
        self._check()
        return await self._store.get(key)

    async def list(self, prefix: str) -> Snapshot:
        self._check()
        return await self._store.list(prefix)

    async def commit(self, changes: Sequence[Change], conditions: Sequence[Requirement] = ()) -> int:
        self._check()
        return await self._store.commit(changes, conditions)

    async def grant(self, ttl_s: float) -> LeaseId:
        self._check()
        return await self._store.grant(ttl_s)

    async def keep_alive(self, lease: LeaseId) -> None:
        self._check()
        await self._store.keep_alive(lease)

    async def revoke(self, lease: LeaseId) -> None:
        self._check()
        await self._store.revoke(lease)

    def watch(self, prefix: str, *, after: int) -> Watch:
        self._check()
        return _WireWatch(self._store.watch(prefix, after=after), self._up)

    async def compact(self, revision: int) -> None:
        self._check()
        await self._store.compact(revision)

    async def run(self) -> None:
        """The store's own work is done elsewhere."""

    async def aclose(self) -> None:
        """The store outlives its wires."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Nothing to release."""


class _WireWatch:
    def __init__(self, watch: Watch, up: asyncio.Event) -> None:
        self._watch = watch
        self._up = up

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        event = await self._watch.__anext__()
        await self._up.wait()
        return event

    async def aclose(self) -> None:
        await self._watch.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


@dataclass(slots=True)
class Memory:
    """What outlives a simulated node's daemon: its own store, as it were.

    `is_published` says that the cluster's store is known to hold all the containers' endpoints.
    """

    epoch: int = 0
    blocks: dict[str, Block] | None = None
    containers: dict[str, tuple[NetworkId, str]] | None = None
    is_published: bool = False


class SimulatedNode:
    """A node with containers that are addresses and nothing else. `running` is its daemon's life."""

    def __init__(
        self,
        name: str,
        store: Store,
        clock: Clock,
        *,
        memory: Memory | None = None,
        seed: int | None = None,
        gone_after_s: float = 600.0,
        records: Callable[[Store], ClusterRecords] = ClusterRecords,
        make_table: Callable[[Collection[Any]], Table[Any]] = Table,
    ) -> None:
        """`records` and `make_table` may let many nodes of one process share what they decode."""
        self.id = NodeId(name)
        self.wire = Wire(store)
        self.memory = memory or Memory()
        self._clock = clock
        choose = random.Random(f"{name} {seed}")
        self.containers: dict[str, tuple[NetworkId, str]] = dict(self.memory.containers or {})
        self._kept: dict[str, Block] = dict(self.memory.blocks or {})
        self._allocators: dict[NetworkId, Allocator] = {}
        self._giving = asyncio.Lock()
        # The very parts that a daemon runs, tied to containers that are addresses.
        self.runtime = ClusterRuntime(
            settings=ClusterSettings(
                "simulated", self.id, self.id, (), epoch=self.memory.epoch, gone_after_s=gone_after_s
            ),
            store=self.wire,
            local=None,
            ties=Ties(
                describe=self._describe,
                desired=self.desired,
                limit=self._limit,
                in_use=self._in_use,
                exclusively=lambda: self._giving,
                kept=lambda: self._kept,
                forget=self._forget,
                readdress=self._readdress,
                save_epoch=self._save_epoch,
                listen=lambda table, change: None,
            ),
            clock=clock,
            choose=choose,
            records=records,
            make_table=make_table,
            published=self._published() if self.memory.is_published else None,
        )
        self.records = self.runtime.records
        self.mirror = self.runtime.mirror
        self.membership = self.runtime.membership
        self.publisher = self.runtime.publisher
        self.blocks = self.runtime.blocks
        self.ownership = self.runtime.ownership
        self.sweeper = self.runtime.sweeper

    @asynccontextmanager
    async def running(self, gate: asyncio.Event | None = None) -> AsyncIterator[Self]:
        """Run the daemon's tasks; leaving is its kill, the containers stay.

        With a `gate` the membership alone is kept until it opens: where thousands start at once, nobody
        watches the others' signs of life appear one by one.
        """

        async def run(part: Any) -> None:
            if gate is not None and part is not self.membership:
                await gate.wait()
            await part.run()

        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(asyncio.TaskGroup())
            tasks = [
                group.create_task(run(part), name=f"{self.id} {type(part).__name__}")
                for part in self.runtime.parts
            ]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                self.memory.containers = dict(self.containers)

    async def add_network(self, network: Network) -> None:
        """Create a network in the cluster; what the engine does once it has planned one."""
        await self.records.networks.put(network.id, network, expecting=0)

    async def start(self, network_id: NetworkId, name: str, address: str = "") -> str:
        """Start a container: give it an address of ours, claiming a block where that is needed."""
        table = self.mirror.networks
        await table.wait_for(lambda: table.get(network_id) is not None)
        asked = ip_address(address) if address else None
        for _ in range(3):
            allocator = self._allocator(network_id)
            try:
                if asked is not None and not allocator.pool.is_ours(asked):
                    raise PoolFull(4, allocator.pool.label)
                async with self._giving:
                    given = self._give(allocator, name, asked)
            except PoolFull:
                network = table.get(network_id)
                assert network is not None
                await self.blocks.claim(network, 4, asked)
                continue
            self.containers[name] = (network_id, given)
            self.publisher.notice()
            return given
        raise PoolFull(4, network_id)

    def stop(self, name: str) -> None:
        network_id, _ = self.containers.pop(name)
        allocator = self._allocator(network_id)
        lease = allocator.lease_of(name)
        assert lease is not None
        allocator.apply(allocator.plan_release(lease.address, lease.sequence, now=self._clock.monotonic()))
        self.publisher.notice()

    def desired(self) -> Mapping[str, RemoteEndpoint]:
        """Return what is published: containers whose addresses are ours for certain."""
        found = {}
        for name, (network_id, address) in self.containers.items():
            if self._allocator(network_id).pool.is_ours(ip_address(address)):
                endpoint = self.endpoint(name, network_id, address)
                found[endpoint.key] = endpoint
        return found

    def _published(self) -> dict[str, RemoteEndpoint]:
        made = (self.endpoint(name, *place) for name, place in self.containers.items())
        return {endpoint.key: endpoint for endpoint in made}

    def history(self) -> list[Change]:
        """Return what the store would hold of this node, had it been there with its `memory` for long.

        Without its sign of life, and without its networks.
        """
        record = replace(self._describe(), epoch=self.memory.epoch, joined_ns=1)
        changes: list[Change] = [self.records.nodes.putting(self.id, record)]
        changes += [self.records.blocks.putting(block.key, block) for block in self._kept.values()]
        changes += [self.records.endpoints.putting(key, item) for key, item in self._published().items()]
        return changes

    async def leave(self) -> None:
        """Stop every container, give every block back, and take the record away. Ends nothing itself."""
        for name in list(self.containers):
            self.stop(name)
        await self.publisher.settled()
        for block in list(self._kept.values()):
            await self.blocks.release(block)
        await self.membership.leave()

    def endpoint(self, name: str, network_id: NetworkId, address: str) -> RemoteEndpoint:
        # As long as real ones, for what is measured in bytes.
        return RemoteEndpoint(
            EndpointId(hashlib.sha256(f"endpoint {self.id} {name}".encode()).hexdigest()),
            network_id,
            self.id,
            ContainerId(hashlib.sha256(f"container {self.id} {name}".encode()).hexdigest()),
            name,
            "02:00:00:00:00:01",
            ipv4=address,
            names=(name,),
        )

    def _give(self, allocator: Allocator, name: str, asked: Address | None = None) -> str:
        change = allocator.plan_allocate(name, now=self._clock.monotonic(), address=asked)
        allocator.apply(change)
        assert change.lease is not None
        return str(change.lease.address)

    def _allocator(self, network_id: NetworkId) -> Allocator:
        if network_id not in self._allocators:
            network = self.mirror.networks.get(network_id)
            config = network.pool(4) if network else None
            if network is None or config is None:
                return Allocator(Pool(PoolId(network_id), ip_network("10.0.0.0/8"), blocks=()))
            allocator = Allocator(Pool.of(PoolId(network_id), config, label=network.name))
            allocator.apply(allocator.plan_setup())
            for name, (where, address) in self.containers.items():
                if where == network_id:
                    self._give(allocator, name, ip_address(address))
            self._allocators[network_id] = allocator
            self._limit(network_id)
        return self._allocators[network_id]

    def _limit(self, network_id: NetworkId) -> None:
        own = self.blocks.own(network_id, 4)
        for block in own.usable:
            self._kept[block.key] = block
        self.memory.blocks = dict(self._kept)
        if network_id in self._allocators:
            self._allocators[network_id].limit_to(own.prefixes)
        self.publisher.notice()

    def _in_use(self, network_id: NetworkId) -> Mapping[str, int]:
        counts: Counter[str] = Counter()
        own = [(block.prefix, block.network) for block in self.blocks.own(network_id, 4).usable]
        if own:
            for where, address in self.containers.values():
                if where == network_id:
                    number = ip_address(address)
                    counts.update(prefix for prefix, network in own if number in network)
        return counts

    async def _readdress(self, lost: list[Block]) -> None:
        for block in lost:
            for name, (network_id, address) in list(self.containers.items()):
                if network_id == block.network_id and ip_address(address) in block.network:
                    self.stop(name)
                    await self.start(network_id, name)
            self._forget(block)

    def _forget(self, block: Block) -> None:
        self._kept.pop(block.key, None)
        self.memory.blocks = dict(self._kept)

    def _describe(self) -> NodeRecord:
        return NodeRecord(
            self.id,
            self.id,
            0,
            (Underlay("10.99.1.1", "10.99.1.0/24"),),
            api="10.99.1.1:2377",
            version="0.0.0",
            vtep_mac="02:00:00:00:00:02",
        )

    async def _save_epoch(self, epoch: int) -> None:
        self.memory.epoch = epoch
