"""One epoll loop with timers: all that runs in `carrick-dns` runs as its callbacks.

Not asyncio: a datagram there costs a transport, a protocol call and a loop pass of 20 µs, five
times what the rest of an answer costs.
"""

import heapq
import itertools
import logging
import select
import signal
import socket
import time
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
_HUNG_UP = select.EPOLLHUP | select.EPOLLERR

Handler = Callable[[int], None]
"""Called with the epoll events of its descriptor; hang-ups come as READ."""

_LOG = logging.getLogger(__name__)


class Reactor:
    """Dispatches readiness and timers until it is stopped. An error in a callback is logged."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._running = False

    def add(self, fd: int, handler: Handler, events: int = READ) -> None:
        """Call the handler whenever the descriptor is ready (level-triggered)."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Wait for other events."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Forget a descriptor; call it before closing it."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Call back once, at or after `when`. There is no cancelling: let it find nothing to do."""
        heapq.heappush(self._timers, (when, next(self._serial), callback))

    def call_every(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back again and again, with that pause in between."""

        def again() -> None:
            try:
                callback()
            finally:
                self.call_at(self.now() + seconds, again)

        self.call_at(self.now() + seconds, again)

    def stop(self) -> None:
        """Return from `run` after the present callback."""
        self._running = False

    def stop_on_signals(self, *numbers: signal.Signals) -> None:
        """Stop when one of the signals comes. For the main thread."""
        near, far = socket.socketpair()
        for end in (near, far):
            end.setblocking(False)
        signal.set_wakeup_fd(far.fileno())
        for number in numbers:
            signal.signal(number, lambda *_: None)

        def woken(_events: int) -> None:
            near.recv(64)
            far.fileno()  # keeps the other end alive as long as this handler
            self.stop()

        self.add(near.fileno(), woken)

    def run(self) -> None:
        """Dispatch until stopped."""
        self._running = True
        poll, handlers, timers, now = self._epoll.poll, self._handlers, self._timers, self.now
        while self._running:
            timeout = max(0.0, timers[0][0] - now()) if timers else None
            for fd, events in poll(timeout):
                handler = handlers.get(fd)  # gone, if an earlier callback of this round closed it
                if handler is None:
                    continue
                try:
                    handler(events | READ if events & _HUNG_UP else events)
                except Exception:
                    _LOG.exception("a callback failed; going on")
            while timers and timers[0][0] <= now():
                callback = heapq.heappop(timers)[2]
                try:
                    callback()
                except Exception:
                    _LOG.exception("a timer failed; going on")

    def close(self) -> None:
        """Free the epoll descriptor."""
        self._epoll.close()
