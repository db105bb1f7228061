"""Watches of an embedded store: a bounded history of changes, and a queue for each watch.

The history lives in memory alone. Every watch of an embedded store is a reader in this process, and
after a restart a reader begins with a snapshot anyway: writing each change to disk twice would buy
nothing. What has left the history counts as compacted.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Self

from .contract import Changed, Compacted, Event, Removed

HISTORY_EVENTS = 4096
HISTORY_BYTES = 8 * 1024 * 1024
BACKLOG_EVENTS = 8192
"""Changes that wait for one slow reader, before it is told to take a snapshot instead."""


class Feed:
    """Hands every published change to the watches of its key. Calls must come from one event loop."""

    def __init__(
        self,
        revision: int,
        *,
        history_events: int = HISTORY_EVENTS,
        history_bytes: int = HISTORY_BYTES,
        backlog_events: int = BACKLOG_EVENTS,
    ) -> None:
        self._revision = revision
        self._compacted = revision
        self._history: deque[Changed | Removed] = deque()
        self._bytes = 0
        self._history_events = history_events
        self._history_bytes = history_bytes
        self._backlog_events = backlog_events
        self._watches: set[FeedWatch] = set()
        self._closed = False

    def publish(self, revision: int, events: Sequence[Changed | Removed]) -> None:
        """Record the changes that made `revision`, and hand them to their watches."""
        self._revision = revision
        self._history.extend(events)
        self._bytes += sum(map(_size, events))
        while len(self._history) > self._history_events or self._bytes > self._history_bytes:
            self.compact(self._history[0].revision)
        for watch in tuple(self._watches):
            watch.offer(events)

    def compact(self, revision: int) -> None:
        """Forget the changes up to `revision`. Watches keep what already waits for them."""
        while self._history and self._history[0].revision <= revision:
            self._bytes -= _size(self._history.popleft())
        self._compacted = max(self._compacted, revision)

    def watch(self, prefix: str, after: int) -> "FeedWatch":
        watch = FeedWatch(self, prefix, after, self._backlog_events)
        if self._closed:
            watch.end()
            return watch
        if after < self._compacted:
            watch.fall_behind(self._revision)
        else:
            watch.offer(self._history)
        self._watches.add(watch)
        return watch

    def forget(self, watch: "FeedWatch") -> None:
        self._watches.discard(watch)

    def close(self) -> None:
        """End every watch, after what already waits for it."""
        self._closed = True
        for watch in self._watches:
            watch.end()
        self._watches.clear()


class FeedWatch:
    """A watch with a queue of its own. For one reader at a time."""

    def __init__(self, feed: Feed, prefix: str, after: int, backlog_events: int) -> None:
        self._feed = feed
        self._prefix = prefix
        self._after = after
        self._backlog_events = backlog_events
        self._waiting: deque[Event] = deque()
        self._news = asyncio.Event()
        self._ended = False

    def offer(self, events: Sequence[Changed | Removed]) -> None:
        """Queue those of `events` that are this watch's. The feed calls this."""
        fitting = [e for e in events if e.revision > self._after and e.key.startswith(self._prefix)]
        if not fitting:
            return
        if len(self._waiting) + len(fitting) > self._backlog_events:
            self.fall_behind(fitting[-1].revision)
            return
        self._waiting.extend(fitting)
        self._news.set()

    def fall_behind(self, revision: int) -> None:
        """Replace all that waits by the request to take a snapshot. The feed calls this."""
        self._waiting.clear()
        self._waiting.append(Compacted(revision))
        self._after = max(self._after, revision)
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()

    async def aclose(self) -> None:
        self._feed.forget(self)
        self._waiting.clear()
        self.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()


def _size(event: Changed | Removed) -> int:
    return len(event.key) + (len(event.value) if isinstance(event, Changed) else 0)
