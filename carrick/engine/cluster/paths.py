"""The ways to other nodes: asked again and again, of those that we have anything to do with.

What is found is for people (`carrick peer ls`), and for the MTU of networks: a way that takes less than both
ends' links would (a tunnel in between, a badly set switch) is seen here and nowhere else.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from typing import Protocol

from ...host.probing import Path
from ...model.cluster import NodeId, NodeRecord
from ..clock import Clock

_log = logging.getLogger(__name__)
_EVERY_S = 30.0
_AT_ONCE = 8
_ALL_UP_TO = 32
"""In a small cluster every node is asked; in a large one those with endpoints on our networks."""


class Prober(Protocol):
    def open(self) -> None: ...
    def close(self) -> None: ...
    async def measure(self, address: str, mtu: int, *, timeout_s: float = 1.0) -> Path | None: ...


class PathWatch:
    """`wanted` gives the nodes that matter, `changed` is told when what they take has become another size."""

    def __init__(
        self,
        *,
        prober: Prober,
        clock: Clock,
        me: Callable[[], NodeRecord],
        nodes: Callable[[], Mapping[NodeId, NodeRecord]],
        wanted: Callable[[], set[NodeId]],
        changed: Callable[[], None],
    ) -> None:
        self._prober = prober
        self._clock = clock
        self._me = me
        self._nodes = nodes
        self._wanted = wanted
        self._changed = changed
        self._news = asyncio.Event()
        self.found: dict[NodeId, Path | None] = {}
        """What came of the last question to each node; None: it did not answer."""

    def mtus(self) -> Mapping[NodeId, int]:
        """Return the sizes that are known to get through, by node."""
        return {node: path.mtu for node, path in self.found.items() if path is not None and path.mtu}

    async def run(self) -> None:
        try:
            self._prober.open()
        except OSError as error:
            _log.warning("the ways to other nodes are not measured: %s", error)
            return
        try:
            while True:
                await self.look()
                await self._pause(random.uniform(0.7, 1.3) * _EVERY_S)
        finally:
            self._prober.close()

    def notice(self) -> None:
        """A node came, or changed: ask soon."""
        self._news.set()

    async def _pause(self, seconds: float) -> None:
        """Wait for so long; on news for a moment more, because nodes come in crowds."""
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        hearing = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait({sleeping, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if self._news.is_set():
                await self._clock.sleep(random.uniform(0.3, 1.0))
        finally:
            self._news.clear()
            sleeping.cancel()
            hearing.cancel()

    async def look(self) -> None:
        """Ask every node that matters once."""
        me, nodes = self._me(), dict(self._nodes())
        nodes.pop(me.id, None)
        if len(nodes) > _ALL_UP_TO:
            nodes = {key: nodes[key] for key in self._wanted() & nodes.keys()}
        before = self.mtus()
        self.found = {key: path for key, path in self.found.items() if key in nodes}
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(node: NodeRecord) -> None:
            mine = me.underlays[0] if me.underlays else None
            theirs = node.underlay(mine.version) if mine else None
            if mine is None or theirs is None:
                return
            async with gate:
                path = await self._prober.measure(theirs.address, min(mine.mtu, theirs.mtu))
            known = self.found.get(node.id)
            if path is None and known is not None and known.mtu:
                # It is away, which says nothing of the way: the size stays.
                path = Path(0.0, known.mtu)
            self.found[node.id] = path

        async with asyncio.TaskGroup() as group:
            for node in nodes.values():
                group.create_task(ask(node), name=f"path to {node.name}")
        if self.mtus() != before:
            self._changed()
