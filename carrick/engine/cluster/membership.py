"""This node's place in the cluster: its record, and its sign of life.

The record is desired state that the node publishes about itself; the sign hangs on a lease that is kept every
ten seconds. A node whose record is gone, or marked so, was given up by the others: it begins a new epoch, and
whoever has something in the cluster under the old one is told (`on_new_epoch`).
"""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from ...host.store.contract import ABSENT, Condition, LeaseId, StaleRevision
from ...host.store.typed import Undecodable, Versioned
from ...model.cluster import NodeId, NodeRecord, NodeState, Sign
from ...model.errors import NotFound, Unavailable
from ..clock import Clock
from .mirror import Mirror
from .records import ClusterRecords
from .table import Table, TableChange

_log = logging.getLogger(__name__)
ALIVE_TTL_S = 30.0
_RETRY_S = 2.0
_LOOK_SHARE = 0.1
"""In what share of the rounds our record is read although the mirror shows it as we wrote it."""


class Membership:
    """`describe` gives the node's record as it should be now, with any epoch; it is asked again by `notice`.

    `epoch` is the one that was kept from the last life, 0 for a node that never was in the cluster.
    `save_epoch` is awaited before an epoch is used.
    """

    def __init__(
        self,
        *,
        node: NodeId,
        epoch: int,
        records: ClusterRecords,
        mirror: Mirror,
        clock: Clock,
        describe: Callable[[], NodeRecord],
        save_epoch: Callable[[int], Awaitable[None]],
        on_new_epoch: Callable[[], None] = lambda: None,
        choose: random.Random | None = None,
        ttl_s: float = ALIVE_TTL_S,
    ) -> None:
        self.node = node
        self.epoch = epoch
        self.revision = ABSENT
        """The revision of our record as we wrote it, ABSENT while we have none in force."""
        self.is_barred = False
        """Somebody has taken this node out (`node rm`): it may not come back by itself."""
        self._removed_key = f"removed/{node}"
        self._records = records
        self._mirror = mirror
        self._clock = clock
        self._describe = describe
        self._save_epoch = save_epoch
        self._on_new_epoch = on_new_epoch
        self._random = choose or random.Random()
        self._ttl_s = ttl_s
        self._run = secrets.token_hex(8)
        self._changed = asyncio.Event()
        self._joined = asyncio.Event()
        self._keeping = asyncio.Lock()
        self._lease: LeaseId | None = None
        self._sign_is_due = False
        self._was_lost = False

    @property
    def is_member(self) -> bool:
        """Tell whether our record is in force, as far as we know."""
        return self.revision != ABSENT

    @property
    def problem(self) -> str:
        """Why the store is of no use now, "" if it is of use."""
        return self._mirror.problem

    @property
    def remedy(self) -> str:
        """What can be done about it, "" if nobody has said."""
        return self._mirror.remedy

    @property
    def is_draining(self) -> bool:
        record = self._mirror.nodes.get(self.node)
        return record is not None and record.state is NodeState.DRAINING

    async def joined(self) -> None:
        """Return once our record is in the store."""
        await self._joined.wait()

    def notice(self) -> None:
        """The record may have to say something else now (an address changed), or may have been touched."""
        self._changed.set()

    def repair_sign(self) -> None:
        """Somebody has written over our sign of life."""
        self._sign_is_due = True
        self._changed.set()

    def trouble(self) -> tuple[str, str]:
        """Return what keeps this node from the cluster, "" if nothing does, and what can be done about it."""
        if self.is_barred:
            return "this node was removed from the cluster", "carrick leave --force, then carrick join"
        return self._mirror.problem, self._mirror.remedy

    def condition(self) -> Condition:
        """Return what everything that we write is conditional on. Unavailable while we are no member."""
        if not self.is_member:
            problem, remedy = self.trouble()
            raise Unavailable(
                problem or "this node is not a member of its cluster at the moment",
                remedy=remedy
                or "it joins again by itself once the cluster's store answers; see `carrick node ls`",
            )
        return self._records.nodes.expecting(self.node, self.revision)

    def refused(self, error: StaleRevision) -> bool:
        """Take note of a write that was refused; tell whether it was because of our record."""
        if error.key != self._records.nodes.key(self.node):
            return False
        self.revision = ABSENT
        self._joined.clear()
        self._changed.set()
        return True

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """Keep nothing meanwhile: whose record is taken away because it leaves is not to begin an epoch."""
        async with self._keeping:
            yield

    # The node's own task -----------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the record and the sign of life until cancelled."""
        self._mirror.listen(self._look)
        while True:
            # Two thirds of the time to live may pass without the store before anybody misses us.
            pause = self._random.uniform(0.8, 1.0) * self._ttl_s / 3
            try:
                async with self._keeping:
                    await self._keep()
                self._mirror.note(None)
            except Unavailable as error:
                _log.info("no sign of life to the cluster: %s", error)
                self._mirror.note(error)
                pause = self._random.uniform(0.5, 1.0) * _RETRY_S
            except (StaleRevision, NotFound) as error:
                _log.info("the cluster's records of this node changed: %s", error)
                self.revision = ABSENT
                pause = self._random.uniform(0.1, 0.5)
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        """Wait for so long, or until there is something to do."""
        waiting = [
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self._changed.wait()),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for item in waiting:
                item.cancel()

    def _look(self, table: Table[Any], change: TableChange[Any]) -> None:
        """Notice at once when our record is taken away, or written by somebody else (labels, draining)."""
        if table is not self._mirror.nodes or not self.is_member:
            return
        current = self._mirror.nodes.get(self.node)
        if self.node in change.gone or (current is not None and current.state is NodeState.GONE):
            self.revision = ABSENT
            self._joined.clear()
            self._changed.set()
        elif self.node in change.put and table.revision_of(self.node) > self.revision:
            self._changed.set()

    async def _keep(self) -> None:
        self._changed.clear()
        await self._keep_lease()
        await self._keep_record()

    async def _keep_lease(self) -> None:
        if self._lease is not None:
            try:
                await self._records.store.keep_alive(self._lease)
                if self._sign_is_due:
                    await self._put_sign()
                return
            except NotFound:
                _log.warning("this node was missed by its cluster for more than %g s", self._ttl_s)
                self._lease = None
                self._was_lost = True
        await self._verify()
        self._lease = await self._records.store.grant(self._ttl_s)
        # A sign from a life before is overwritten: its lease would take it away under us. Who begins its
        # first epoch gives it together with that, so that all others need not hear of it twice.
        if self.epoch:
            await self._put_sign()

    async def _verify(self) -> None:
        """Raise Unavailable if the store is not our cluster's any more: we are no member of what it holds."""
        try:
            await self._mirror.verify()
        except Unavailable:
            self.revision = ABSENT
            self._joined.clear()
            self._was_lost = True
            raise

    async def _put_sign(self) -> None:
        assert self._lease is not None
        sign = Sign(self.epoch, self._run)
        lost = self._records.lost.deleting(self.node)
        timer = self._records.timers.deleting(self.node)
        await self._records.store.commit(
            [self._records.alive.putting(self.node, sign, self._lease), lost, timer]
        )
        self._sign_is_due = False

    def _shows_as_written(self) -> bool:
        """Tell whether the mirror has our record as we wrote it, and it says what it should."""
        seen = self._mirror.nodes.get(self.node)
        return (
            self.is_member
            and seen is not None
            and not self._mirror.problem
            and self.node not in self._mirror.nodes.broken
            and self._mirror.nodes.revision_of(self.node) == self.revision
            and seen.epoch == self.epoch
            and self._wanted(seen) == seen
        )

    def _wanted(self, found: NodeRecord) -> NodeRecord:
        """Return our record as it should be: what others may say in it stays."""
        return replace(
            self._describe(),
            epoch=self.epoch,
            state=found.state,
            labels=found.labels,
            joined_ns=found.joined_ns,
        )

    async def _keep_record(self) -> None:
        if not self._was_lost and self._shows_as_written() and self._random.random() >= _LOOK_SHARE:
            # Thousands of nodes need not read every ten seconds what they are told when it changes.
            return
        found = await self._read_record()
        if found is None:
            await self._verify()
            await self._begin_epoch()
            return
        if found.value.state is NodeState.GONE:
            # Its removal is under way, by whoever began it or whoever finds it. A record that is gone is
            # where the next epoch begins; until then nothing of us is in the cluster.
            self.revision = ABSENT
            return
        if found.value.epoch != self.epoch:
            # Our own memory of the epoch is older: it was restored from a copy.
            _log.warning("this node's epoch is %d, not %d", found.value.epoch, self.epoch)
            await self._save_epoch(found.value.epoch)
            self.epoch = found.value.epoch
            await self._put_sign()
            self._on_new_epoch()
        wanted = self._wanted(found.value)
        if wanted == found.value:
            self.revision = found.revision
        else:
            self.revision = await self._records.nodes.put(self.node, wanted, expecting=found.revision)
        self._joined.set()
        if self._was_lost:
            # What the store holds of us since it is our cluster's again, nobody knows.
            self._was_lost = False
            self._on_new_epoch()

    async def _read_record(self) -> Versioned[NodeRecord] | None:
        """Return our record. One that nobody can read is ours to write anew, as we knew it last."""
        try:
            return await self._records.nodes.get(self.node)
        except Undecodable as error:
            _log.warning("%s; it is this node's own, and is written again", error)
            known = self._mirror.nodes.get(self.node) or replace(self._describe(), epoch=self.epoch)
            revision = await self._records.nodes.put(self.node, known, expecting=error.revision)
            return Versioned(known, revision)

    async def _begin_epoch(self) -> None:
        if self.is_barred and await self._records.store.get(self._removed_key) is not None:
            return
        epoch = self.epoch + 1
        await self._save_epoch(epoch)
        record = replace(
            self._describe(), epoch=epoch, state=NodeState.ACTIVE, joined_ns=self._clock.now_ns()
        )
        try:
            self.revision = await self._records.store.commit(
                [self._records.nodes.putting(self.node, record)],
                [self._records.nodes.expecting(self.node, ABSENT), Condition(self._removed_key, ABSENT)],
            )
        except StaleRevision as error:
            if error.key != self._removed_key:
                raise
            if not self.is_barred:
                _log.error(
                    "this node was removed from its cluster; it comes back only with a token: "
                    "carrick leave --force, then carrick join"
                )
            self.is_barred = True
            return
        self.is_barred = False
        self.epoch = epoch
        await self._put_sign()
        if epoch > 1:
            _log.warning("the cluster had given this node up: it begins epoch %d", epoch)
        self._joined.set()
        self._on_new_epoch()

    async def leave(self) -> None:
        """Take our record and sign away; what we had must be gone already."""
        revision = self.revision
        self.revision = ABSENT
        await self._records.store.commit(
            [
                self._records.nodes.deleting(self.node),
                self._records.alive.deleting(self.node),
                self._records.lost.deleting(self.node),
                self._records.timers.deleting(self.node),
            ],
            [self._records.nodes.expecting(self.node, revision)] if revision else [],
        )
