"""What a node owns over its epochs: blocks are remembered, taken again, or mourned.

The blocks that are ours are kept in the node's own store, so that a node starting while the cluster's store
is away knows what it may give. When the cluster has given us up, they are claimed again; containers in those
that somebody else has by now get new addresses (`readdress`), before anything of us is published.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping

from ...model.cluster import Block
from ...model.errors import Unavailable
from ..clock import Clock
from .blocks import BlockService
from .membership import Membership
from .publisher import Publisher

_log = logging.getLogger(__name__)


class Ownership:
    """`kept` gives the blocks that we had when last we knew, by key."""

    def __init__(
        self,
        *,
        blocks: BlockService,
        membership: Membership,
        publisher: Publisher,
        clock: Clock,
        kept: Callable[[], Mapping[str, Block]],
        readdress: Callable[[list[Block]], Awaitable[None]],
        choose: random.Random | None = None,
    ) -> None:
        self._blocks = blocks
        self._membership = membership
        self._publisher = publisher
        self._clock = clock
        self._kept = kept
        self._readdress = readdress
        self._random = choose or random.Random()
        self._changed = asyncio.Event()
        self._done = asyncio.Event()
        if any(block.epoch != membership.epoch for block in kept().values()):
            # An earlier life ended between its new epoch and taking its blocks again.
            self._changed.set()
        else:
            self._done.set()

    @property
    def is_settled(self) -> bool:
        """Tell whether the blocks that we think are ours are so in this epoch."""
        return not self._changed.is_set()

    async def settled(self) -> None:
        """Return once the blocks that we think are ours are so in this epoch, and nobody is in others."""
        await self._done.wait()

    def new_epoch(self) -> None:
        """The cluster has given us up, or never knew us: what we had is to be taken again."""
        self._done.clear()
        self._changed.set()
        self._publisher.start_again()

    async def run(self) -> None:
        pause = 0.2
        while True:
            await self._changed.wait()
            try:
                await self._membership.joined()
                before = [block for block in self._kept().values() if block.epoch != self._membership.epoch]
                lost = await self._blocks.reclaim({block.key: block for block in before})
                for block in lost:
                    _log.warning("block %s is somebody else's now: its containers move", block.prefix)
                if lost:
                    await self._readdress(lost)
            except Unavailable as error:
                _log.info("taking our blocks again: %s", error)
                await self._clock.sleep(self._random.uniform(0, pause))
                pause = min(pause * 2, 15.0)
                continue
            pause = 0.2
            self._changed.clear()
            self._done.set()
            self._publisher.start_again()
