"""The event bus: whatever changes through any door is told here, in Docker's words.

Keeps the last thousand events, as Docker does, so that `events --since` can look back. A subscriber that
does not read is cut off rather than allowed to hold memory.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping

from ..model.errors import Unavailable
from .clock import Clock
from .values import ContainerRecord, Event

_KEPT = 1000
_QUEUE = 10_000


class EventBus:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._past: deque[Event] = deque(maxlen=_KEPT)
        self._queues: set[asyncio.Queue[Event | None]] = set()

    def emit(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        event = Event(kind, action, actor_id, dict(sorted(attributes.items())), self._clock.now_ns())
        self._past.append(event)
        for queue in tuple(self._queues):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self._queues.discard(queue)
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)

    async def stream(self, since_ns: int | None, until_ns: int | None) -> AsyncIterator[Event]:
        """Yield kept events from `since_ns` on, then new ones, until `until_ns` (None: for ever)."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_QUEUE)
        self._queues.add(queue)
        try:
            last = 0
            if since_ns is not None:
                for event in tuple(self._past):
                    if event.time_ns >= since_ns and (until_ns is None or event.time_ns <= until_ns):
                        last = event.time_ns
                        yield event
            while True:
                left = None if until_ns is None else (until_ns - self._clock.now_ns()) / 1e9
                if left is not None and left <= 0:
                    return
                try:
                    async with asyncio.timeout(left):
                        received = await queue.get()
                except TimeoutError:
                    return
                if received is None:
                    raise Unavailable("events came faster than they were read; subscribe again")
                if received.time_ns > last:
                    yield received
        finally:
            self._queues.discard(queue)


def emit_container(events: EventBus, record: ContainerRecord, action: str, **extra: str) -> None:
    """Emit a container's event with Docker's attributes: labels, image, name."""
    attributes = record.config.labels | {"image": record.asked_image, "name": record.name} | extra
    events.emit("container", action, record.id, attributes)
