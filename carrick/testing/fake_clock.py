"""A clock that goes on only when a test says so."""

import asyncio
import heapq
from itertools import count

_START_NS = 1_700_000_000_000_000_000


class FakeClock:
    """Whoever sleeps wakes in the order of time while `advance` goes over it."""

    def __init__(self) -> None:
        self._elapsed_ns = 0
        self._numbers = count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now_ns(self) -> int:
        return _START_NS + self._elapsed_ns

    def monotonic(self) -> float:
        return self._elapsed_ns / 1e9

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wakes_at = self._elapsed_ns + round(seconds * 1e9)
        heapq.heappush(self._sleepers, (wakes_at, next(self._numbers), future))
        await future

    @property
    def pauses(self) -> list[float]:
        """How long each sleeper has yet to sleep, the first to wake first."""
        waiting = sorted(item for item in self._sleepers if not item[2].done())
        return [(wakes_at - self._elapsed_ns) / 1e9 for wakes_at, _, _ in waiting]

    async def advance(self, seconds: float) -> None:
        """Let time go by; whoever wakes runs until it waits again."""
        await settle()
        end = self._elapsed_ns + round(seconds * 1e9)
        while self._sleepers and self._sleepers[0][0] <= end:
            wakes_at, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                self._elapsed_ns = max(self._elapsed_ns, wakes_at)
                future.set_result(None)
                await settle()
        self._elapsed_ns = end


async def settle() -> None:
    """Let all tasks that are ready run."""
    for _ in range(50):
        await asyncio.sleep(0)
