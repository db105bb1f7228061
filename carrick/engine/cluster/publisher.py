"""The publisher: makes what the cluster says of this node's endpoints what the node says itself.

Desired is the node's own records; actual is what was written here, read again whenever that is not certain
(at the start, after an error whose outcome nobody knows, after a new epoch). One path for a container's
start, a rename, and coming back after a week alone.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from ...host.store.contract import Change, Delete, StaleRevision
from ...model.cluster import RemoteEndpoint
from ...model.errors import Unavailable
from ...model.ids import NetworkId
from ..clock import Clock
from .membership import Membership
from .mirror import Mirror
from .records import ClusterRecords

_log = logging.getLogger(__name__)
T = TypeVar("T")
_PER_TRANSACTION = 100
"""Below etcd's 128 operations, with room for the condition."""


class Publisher:
    """`desired` gives this node's endpoints on global networks, by key.

    `published` is what the store is known to hold of us, None where that is to be read. Nothing is said
    before `ready` returns.
    """

    def __init__(
        self,
        *,
        records: ClusterRecords,
        mirror: Mirror,
        membership: Membership,
        clock: Clock,
        desired: Callable[[], Mapping[str, RemoteEndpoint]],
        choose: random.Random | None = None,
        published: Mapping[str, RemoteEndpoint] | None = None,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._records = records
        self._mirror = mirror
        self._membership = membership
        self._clock = clock
        self._desired = desired
        self._ready = ready
        self._random = choose or random.Random()
        self._actual = dict(published) if published is not None else None
        # The networks that may hold something of us; None where it may be any of them.
        self._touched = _networks_of(published) if published is not None else None
        self._changed = asyncio.Event()
        self._changed.set()
        self._settled = asyncio.Event()

    def notice(self) -> None:
        """Something that we publish changed."""
        self._settled.clear()
        self._changed.set()

    def start_again(self) -> None:
        """What the store holds of us is not certain any more."""
        self._actual = None
        self._touched = None
        self.notice()

    async def settled(self) -> None:
        """Return once the store says what we said at the last `notice`."""
        await self._settled.wait()

    async def run(self) -> None:
        pause = 0.2
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._mirror.ready()
                await self._membership.joined()
                if self._ready is not None:
                    await self._ready()
                await self._publish()
            except StaleRevision as error:
                self._actual = None
                if not self._membership.refused(error):
                    _log.error("publishing endpoints: %s", error)
            except Unavailable as error:
                # Whether the last transaction was done is not known: it is looked up next time.
                self._actual = None
                _log.info("endpoints will be published when the cluster's store answers: %s", error)
            else:
                pause = 0.2
                if not self._changed.is_set():
                    self._settled.set()
                continue
            self._changed.set()
            await self._clock.sleep(self._random.uniform(0, pause))
            pause = min(pause * 2, 15.0)

    async def _publish(self) -> None:
        if self._actual is None:
            self._actual = await self._read_own()
        actual = self._actual
        # Of now: what is desired in this epoch must not be written in the next one.
        condition = self._membership.condition()
        desired = dict(self._desired())
        self._touched = _networks_of(actual) | _networks_of(desired)
        put, gone = difference(desired, actual)
        changes: list[Change] = [self._records.endpoints.putting(key, item) for key, item in put.items()]
        changes += [self._records.endpoints.deleting(key) for key in gone]
        for start in range(0, len(changes), _PER_TRANSACTION):
            part = changes[start : start + _PER_TRANSACTION]
            await self._records.store.commit(part, [condition])
        self._actual = desired

    async def _read_own(self) -> dict[str, RemoteEndpoint]:
        found: dict[str, RemoteEndpoint] = {}
        networks = self._touched
        if networks is None:
            networks = {NetworkId(key) for key in self._mirror.networks.live()}
        networks = networks | _networks_of(self._desired())
        for network_id in sorted(networks):
            listing = await self._records.endpoints.list(f"{network_id}/{self._membership.node}/")
            found |= {key: item.value for key, item in listing.records.items()}
            if listing.broken:
                # What is to be there is written again in a moment, as it is not among what is.
                await self._records.store.commit(
                    [Delete(error.key) for error in listing.broken], [self._membership.condition()]
                )
        return found


def _networks_of(endpoints: Mapping[str, RemoteEndpoint]) -> set[NetworkId]:
    return {item.network_id for item in endpoints.values()}


def difference(desired: Mapping[str, T], actual: Mapping[str, T]) -> tuple[dict[str, T], list[str]]:
    """Return what is to be put and what is to be deleted, so that `actual` becomes `desired`."""
    put = {key: value for key, value in desired.items() if actual.get(key) != value}
    return put, [key for key in actual if key not in desired]
