"""Hold a lease: keep it alive until its holder has finished, and tell when it is lost all the same.

For what says "I am here": a node's record is put with the lease and vanishes when the node does. Whoever
cannot reach the store for longer than the time to live must take it that its records are gone and that
others act on that; back again, it takes a new lease and puts its records anew:

    while True:
        async with hold_lease(store, 30) as held:
            await store.commit([Put("nodes/a", record, held.id)])
            await held.wait_lost()
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ...model.errors import CarrickError, NotFound
from .contract import LeaseId, Store

_REVOKE_TIMEOUT_S = 2.0


class HeldLease:
    """A lease that is being kept alive."""

    def __init__(self, lease: LeaseId) -> None:
        self.id = lease
        self._lost = asyncio.Event()

    @property
    def is_lost(self) -> bool:
        return self._lost.is_set()

    async def wait_lost(self) -> None:
        """Wait until the lease has run out, or must have: not renewed for its whole time to live."""
        await self._lost.wait()

    def lose(self) -> None:
        self._lost.set()


@asynccontextmanager
async def hold_lease(
    store: Store, ttl_s: float, *, rng: random.Random | None = None
) -> AsyncIterator[HeldLease]:
    """Take a lease and keep it alive; at the end revoke it, so that its keys go at once.

    Raises what `grant` raises. Errors of the store on the way are waited out as long as the lease can last.
    """
    held = HeldLease(await store.grant(ttl_s))
    keeper = asyncio.create_task(_keep(store, held, ttl_s, rng or random.SystemRandom()), name="lease")
    try:
        yield held
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])
        if not held.is_lost:
            # It ends by itself if this fails; nobody should have to wait for a store that is not there.
            with suppress(CarrickError, TimeoutError):
                async with asyncio.timeout(_REVOKE_TIMEOUT_S):
                    await store.revoke(held.id)


async def _keep(store: Store, held: HeldLease, ttl_s: float, rng: random.Random) -> None:
    """Renew three times in a time to live, each at a moment of its own."""
    now = asyncio.get_running_loop().time
    ends_at = now() + ttl_s
    while True:
        await asyncio.sleep(max(0.0, min(ends_at - now(), ttl_s / 3 * rng.uniform(0.75, 1.0))))
        if now() >= ends_at:
            held.lose()
            return
        asked_at = now()
        try:
            async with asyncio.timeout(ends_at - asked_at):
                await store.keep_alive(held.id)
        except NotFound:
            held.lose()
            return
        except (CarrickError, TimeoutError):
            continue
        # The store counts from when it was asked, at the earliest.
        ends_at = asked_at + ttl_s
