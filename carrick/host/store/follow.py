"""Follow a prefix: a snapshot first, then each change, and a snapshot again after falling behind.

A reader that makes its state equal to every snapshot, and applies every change, is always right.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .contract import Changed, Compacted, Removed, Snapshot, Store, Watch

Update = Snapshot | Changed | Removed


@asynccontextmanager
async def follow(store: Store, prefix: str) -> AsyncIterator[AsyncIterator[Update]]:
    """Yield the updates of `prefix`; they end when the store is closed."""
    snapshot = await store.list(prefix)
    async with store.watch(prefix, after=snapshot.revision) as watch:
        yield _updates(store, prefix, snapshot, watch)


async def _updates(store: Store, prefix: str, snapshot: Snapshot, watch: Watch) -> AsyncIterator[Update]:
    yield snapshot
    async for event in watch:
        if isinstance(event, Compacted):
            snapshot = await store.list(prefix)
            yield snapshot
        elif event.revision > snapshot.revision:
            yield event
