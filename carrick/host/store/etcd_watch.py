"""A watch of etcd that outlives connections, members, leaders and compaction.

Nothing runs in the background: the reader's own `__anext__` opens it in the call that all watches share
(`etcd_mux.py`), waits for its answers, and opens it again, from where it stood, when it breaks. Changes that
the reader has not taken wait at etcd.

A watch begins *at* the last revision it knows and skips what it has had of it, rather than after it. It costs
one revision's events, and it is needed twice: an answer in fragments can break off inside a revision, and
older etcds, Debian 12's 3.4.23 among them, give a watch that begins right at a compacted revision all but the
deletions in it, without a word (etcd-io/etcd#19179, #18089). Beginning one revision earlier, it says that it
was compacted.
"""

import asyncio
import logging
import random
from collections import deque
from typing import Protocol, Self

from ...model.errors import CarrickError, Unavailable
from . import etcd_wire as wire
from .contract import Changed, Compacted, Event, Removed
from .etcd_call import CallFailed, Code
from .etcd_errors import PERMISSION_DENIED, TOKEN_IS_INVALID, Remedy, remedy_of
from .etcd_mux import Lane, LaneFull, WatchMux
from .etcd_transport import EtcdTransport

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0


class Place(Protocol):
    """What a watch needs of its store."""

    @property
    def transport(self) -> EtcdTransport: ...

    @property
    def mux(self) -> WatchMux: ...

    @property
    def rng(self) -> random.Random: ...

    def key_of(self, raw: bytes) -> str:
        """Return the store's key for one of etcd."""

    async def newest_revision(self) -> int:
        """Return etcd's revision as the majority has it."""

    def forget(self, watch: "EtcdWatch") -> None: ...


class EtcdWatch:
    """A `Watch`. For one reader at a time."""

    def __init__(self, place: Place, start: bytes, end: bytes, after: int) -> None:
        self._place = place
        self._start = start
        self._end = end
        # All changes up to and including this revision are done with, but for those of it beyond `_had`.
        self._revision = max(0, after)
        self._had: float = float("inf")
        self._lane: Lane | None = None
        self._skip: float = 0
        self._skip_revision = 0
        self._waiting: deque[Event] = deque()
        self._closed = False
        self._wake = asyncio.Event()
        # The newest revision that etcd is known to have had; `after` may lie in the future.
        self._seen = 0
        self._check_due = False
        self._is_behind = False
        self._failures = 0
        self._opened_at = 0.0
        self._was_open = False
        self._logged_in_again = False

    async def __anext__(self) -> Event:
        while True:
            if self._waiting:
                return self._waiting.popleft()
            if self._is_closed():
                raise StopAsyncIteration
            try:
                if self._is_behind:
                    await self._fall_behind()
                elif self._lane is None:
                    await self._open()
                elif self._check_due:
                    await self._check_not_reset()
                else:
                    await self._receive(self._lane)
            except LaneFull:
                self._lane = None  # all that waited is taken; go on from there
            except CallFailed as failure:
                lane = self._lane
                self._drop_lane()
                if not self._is_closed():
                    await self._recover(failure, lane)
            except CarrickError as error:
                self._drop_lane()
                if self._is_closed():
                    continue
                if not self._was_open and not isinstance(error, Unavailable):
                    raise
                await self._pause(str(error))

    async def aclose(self) -> None:
        self._waiting.clear()
        self.end()
        self._place.forget(self)

    def end(self) -> None:
        """End after what already waits. The store calls this when it is closed."""
        self._closed = True
        self._wake.set()
        self._drop_lane()

    def wake(self) -> None:
        """There is a new connection: do not wait any longer. The store calls this."""
        self._wake.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def _open(self) -> None:
        # 0 would mean "from now on"; and nothing ever happens at revision 1, with which etcd is born.
        lane = await self._place.mux.open(self._start, self._end, max(1, self._revision))
        if self._is_closed():
            lane.cancel()
            return
        self._lane = lane
        self._opened_at = asyncio.get_running_loop().time()
        self._skip, self._skip_revision = self._had, self._revision

    async def _receive(self, lane: Lane) -> None:
        answer = await lane.receive()
        if answer.canceled:
            self._canceled(answer)
            return
        if answer.created:
            self._was_open = True
            self._logged_in_again = False
            self._check_due = answer.header.revision < self._seen
            self._seen = max(self._seen, answer.header.revision)
            return
        self._failures = 0
        self._seen = max(self._seen, answer.header.revision)
        for event in answer.events:
            self._take(event)
        if not answer.events and not answer.fragment and answer.header.revision > self._revision:
            # News of progress: begin from here another time, which keeps ahead of compaction.
            self._revision, self._had = answer.header.revision, float("inf")

    def _take(self, event: wire.WatchEvent) -> None:
        entry = event.entry
        if entry.revision < self._skip_revision:
            return
        if entry.revision == self._skip_revision and self._skip > 0:
            self._skip -= 1
            return
        self._had = self._had + 1 if entry.revision == self._revision else 1
        self._revision = entry.revision
        key = self._place.key_of(entry.key)
        self._waiting.append(
            Removed(key, entry.revision) if event.deleted else Changed(key, entry.value, entry.revision)
        )

    def _canceled(self, answer: wire.WatchResponse) -> None:
        if answer.compact_revision:
            self._drop_lane()
            self._is_behind = True
            return
        reason = answer.cancel_reason or "it cancelled the watch"
        if PERMISSION_DENIED in reason or TOKEN_IS_INVALID in reason:
            # Some versions say the first of a token that has expired, too.
            if not self._logged_in_again:
                self._logged_in_again = True
                raise CallFailed(Code.UNAUTHENTICATED, TOKEN_IS_INVALID)
            raise CallFailed(Code.PERMISSION_DENIED, PERMISSION_DENIED)
        raise CallFailed(Code.UNAVAILABLE, reason)

    async def _fall_behind(self) -> None:
        """Go on from now: the snapshot that the reader has to take will hold all there was before."""
        newest = await self._place.newest_revision()
        self._is_behind = False
        self._waiting.append(Compacted(newest))
        self._revision, self._had = newest, float("inf")

    async def _check_not_reset(self) -> None:
        """Tell a member that lags behind, which catches up, from an etcd that was restored from a backup."""
        newest = await self._place.newest_revision()
        self._check_due = False
        if newest < self._seen:
            _log.warning("etcd has gone back from revision %d to %d: was it restored?", self._seen, newest)
            self._seen = newest
            self._drop_lane()
            self._is_behind = True

    async def _recover(self, failure: CallFailed, lane: Lane | None) -> None:
        transport = self._place.transport
        match remedy_of(failure):
            case Remedy.LOG_IN_AGAIN:
                transport.forget_token()
                self._place.mux.renew()
            case Remedy.GIVE_UP:
                if lane is not None:
                    failure.where = str(lane.connection.endpoint)
                error = transport.refusal(failure)
                if not self._was_open:
                    raise error from failure
                _log.warning("a watch is interrupted: %s", error)
            case _ if lane is not None:
                transport.distrust(lane.connection, failure.text)
        await self._pause(failure.text)

    async def _pause(self, reason: str) -> None:
        """Wait a random share of a time that doubles; less if there is a new connection or the watch is
        closed.

        The transport has spread the connections of all nodes over time; a node's few watches need no more.
        """
        if asyncio.get_running_loop().time() - self._opened_at > 2 * _LONGEST_PAUSE_S:
            self._failures = 0
        longest_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._failures, 16))
        self._failures += 1
        _log.debug("etcd: the watch of %r is interrupted: %s", self._start, reason)
        self._wake.clear()
        if self._is_closed():
            return
        try:
            async with asyncio.timeout(self._place.rng.uniform(0, longest_s)):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _is_closed(self) -> bool:
        return self._closed

    def _drop_lane(self) -> None:
        if self._lane is not None:
            self._lane.cancel()
            self._lane = None
