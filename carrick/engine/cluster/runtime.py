"""A node's life in its cluster: the parts that make it up, built for one membership and run together.

Everything that the rest of the engine gives to and takes from the cluster goes through `Ties`, so that
simulated nodes and the daemon run the same parts.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from ...host.store.contract import Store
from ...host.store.typed import Collection
from ...model.cluster import Block, ClusterSettings, NodeRecord, RemoteEndpoint
from ...model.ids import NetworkId
from ..clock import Clock
from .blocks import BlockService
from .cache import Cache
from .membership import Membership
from .mending import Mender
from .mirror import Listener, Mirror
from .ownership import Ownership
from .publisher import Publisher
from .records import ClusterRecords
from .sweeper import Sweeper
from .table import Table

_log = logging.getLogger(__name__)


class Part(Protocol):
    """What runs until it is cancelled."""

    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ties:
    """What a node's cluster parts need of the node.

    `describe`: its record, as it should be. `desired`: its endpoints on global networks, by key. `limit`: own
    blocks of a network changed. `in_use`: leases by block. `exclusively`: no address is given meanwhile.
    `kept`, `keep` and `forget`: own blocks as remembered. `readdress`: containers in blocks that are lost
    must move. `save_epoch`: is awaited before an epoch is used. `listen`: every change of the mirror.
    """

    describe: Callable[[], NodeRecord]
    desired: Callable[[], Mapping[str, RemoteEndpoint]]
    limit: Callable[[NetworkId], None]
    in_use: Callable[[NetworkId], Mapping[str, int]]
    exclusively: Callable[[], AbstractAsyncContextManager[Any]]
    kept: Callable[[], Mapping[str, Block]]
    forget: Callable[[Block], None]
    readdress: Callable[[list[Block]], Awaitable[None]]
    save_epoch: Callable[[int], Awaitable[None]]
    listen: Listener


class ClusterRuntime:
    """The parts of one membership. `store` is the cluster's, `local` the node's own (None: no cache).

    `records` and `make_table` may let many nodes of one process share what they decode; `published` is what
    the store is known to hold of us.
    """

    def __init__(
        self,
        *,
        settings: ClusterSettings,
        store: Store,
        local: Store | None,
        ties: Ties,
        clock: Clock,
        choose: random.Random | None = None,
        records: Callable[[Store], ClusterRecords] = ClusterRecords,
        make_table: Callable[[Collection[Any]], Table[Any]] = Table,
        published: Mapping[str, RemoteEndpoint] | None = None,
    ) -> None:
        self.settings = settings
        self._limit = ties.limit
        self.store = store
        self.records = records(store)
        self.mirror = Mirror(self.records, clock, choose, make_table)
        self.cache = Cache(local, self.mirror, clock) if local is not None else None
        self.membership = Membership(
            node=settings.node,
            epoch=settings.epoch,
            records=self.records,
            mirror=self.mirror,
            clock=clock,
            describe=ties.describe,
            save_epoch=ties.save_epoch,
            on_new_epoch=self._new_epoch,
            choose=choose,
        )
        self.publisher = Publisher(
            records=self.records,
            mirror=self.mirror,
            membership=self.membership,
            clock=clock,
            desired=ties.desired,
            choose=choose,
            ready=self._settled,
            published=published,
        )
        self.blocks = BlockService(
            records=self.records,
            mirror=self.mirror,
            membership=self.membership,
            clock=clock,
            on_change=ties.limit,
            on_released=ties.forget,
            in_use=ties.in_use,
            exclusively=ties.exclusively,
            choose=choose,
        )
        self.ownership = Ownership(
            blocks=self.blocks,
            membership=self.membership,
            publisher=self.publisher,
            clock=clock,
            kept=ties.kept,
            readdress=ties.readdress,
            choose=choose,
        )
        self.sweeper = Sweeper(
            node=settings.node,
            records=self.records,
            mirror=self.mirror,
            clock=clock,
            gone_after_s=settings.gone_after_s,
            choose=choose,
        )
        self.mender = Mender(self.records, self.mirror, self.membership, self.publisher, clock)
        self.mirror.listen(ties.listen)

    async def _settled(self) -> None:
        # An address in a block that somebody else has by now must not be said even for a moment.
        await self.ownership.settled()

    def _new_epoch(self) -> None:
        self.ownership.new_epoch()
        # Nothing is ours until it is taken again.
        for network_id in self.mirror.networks.live():
            self._limit(NetworkId(network_id))

    async def load(self) -> None:
        """Begin with what the cluster said last."""
        if self.cache is not None:
            await self.cache.load()

    async def forget(self) -> None:
        """Forget what the cluster said: this node has left."""
        if self.cache is not None:
            await self.cache.clear()

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return what runs while this node is a member."""
        found: tuple[Part, ...] = (
            self.store,
            self.mirror,
            self.membership,
            self.publisher,
            self.blocks,
            self.ownership,
            self.sweeper,
            self.mender,
        )
        return found if self.cache is None else (*found, self.cache)

    async def run(self) -> None:
        """Run every part until cancelled."""
        async with asyncio.TaskGroup() as group:
            for part in self.parts:
                group.create_task(part.run(), name=f"cluster {type(part).__name__}")
