"""The store in an etcd v3 cluster (docs/adr/0007-etcd-client.md): many daemons, one state.

The contract is etcd's own semantics, so this translates and no more: keys get the cluster's prefix, a
transaction is one `Txn`, a snapshot is read in pages at one revision. What goes wrong on the way is
`etcd_transport.py`'s, what happens to a watch `etcd_watch.py`'s.
"""

import asyncio
import math
import random
from collections.abc import Sequence
from typing import Self

from ...model.errors import InvalidRequest, NotFound, Unavailable
from . import etcd_wire as wire
from .checks import check_key, check_prefix, check_transaction
from .contract import (
    ABSENT,
    Change,
    Condition,
    Entry,
    LeaseId,
    Put,
    Requirement,
    Snapshot,
    StaleRevision,
    Watch,
)
from .etcd_call import CallFailed
from .etcd_config import EtcdConfig
from .etcd_errors import COMPACTED, FUTURE_REVISION, LEASE_EXISTS, NO_LEASE
from .etcd_mux import WatchMux
from .etcd_transport import EtcdTransport
from .etcd_watch import EtcdWatch

_FIRST_PAGE = 200
_LARGEST_PAGE = 4000
_PAGE_BYTES = 2 * 1024 * 1024
"""What a page should come to, as far as the entries before it tell."""

_LISTING_ATTEMPTS = 5
_MAX_TTL_S = 9_000_000_000
_MAX_LEASE = (1 << 63) - 1


class EtcdStore:
    """A `Store` in etcd, below a prefix of its own.

    Times to live are whole seconds, and at least what etcd's election timeout allows (2 s by default).
    Closing the store leaves its leases alone: `lease.py` revokes those that it holds.
    """

    def __init__(
        self, config: EtcdConfig, *, transport: EtcdTransport | None = None, rng: random.Random | None = None
    ) -> None:
        self._prefix = config.prefix.encode()
        self._rng = rng or random.SystemRandom()
        self._transport = transport or EtcdTransport(config, rng=self._rng)
        self._transport.on_connected = self._wake_watches
        self._mux = WatchMux(self._transport)
        self._watches: set[EtcdWatch] = set()
        self._closed = asyncio.Event()

    @property
    def outage(self) -> str:
        """Why etcd cannot be reached, as of the last attempt; "" if it can."""
        return self._transport.outage

    async def check(self) -> None:
        """Read something, so that what is wrong with the configuration shows. Raises as `get` does."""
        self._check_open()
        await self.newest_revision()

    async def get(self, key: str) -> Entry | None:
        check_key(key)
        self._check_open()
        answer = await self._read(wire.range_request(self._prefix + key.encode(), b""))
        return self._entry(answer.entries[0]) if answer.entries else None

    async def list(self, prefix: str) -> Snapshot:
        check_prefix(prefix)
        self._check_open()
        for _ in range(_LISTING_ATTEMPTS):
            try:
                return await self._list(prefix)
            except CallFailed as failure:
                if COMPACTED not in failure.text:
                    raise self._transport.refusal(failure) from failure
        raise Unavailable(
            f"etcd is compacted faster than {prefix or 'the store'} can be listed",
            remedy="let etcd keep more history (--auto-compaction-retention)",
        )

    async def commit(self, changes: Sequence[Change], conditions: Sequence[Requirement] = ()) -> int:
        check_transaction(changes, conditions)
        self._check_open()
        request = wire.txn_request(self._prefix, changes, conditions)
        try:
            # What changes nothing may be asked twice.
            data = await self._transport.call(wire.TXN, request, repeatable=not changes)
        except CallFailed as failure:
            if NO_LEASE in failure.text:
                leases = sorted({item.lease for item in changes if isinstance(item, Put) and item.lease})
                raise _no_lease(" or ".join(map(str, leases))) from failure
            raise self._transport.refusal(failure) from failure
        answer = wire.read_txn(data)
        if answer.succeeded:
            return answer.header.revision
        for condition, read in zip(conditions, answer.reads, strict=True):
            found = read.entries[0] if read.entries else None
            actual = found.revision if found is not None else ABSENT
            if isinstance(condition, Condition):
                if actual != condition.revision:
                    raise StaleRevision(condition.key, expected=condition.revision, actual=actual)
            elif found is not None:
                key = found.key.removeprefix(self._prefix).decode(errors="replace")
                raise StaleRevision(key, expected=ABSENT, actual=actual)
        raise Unavailable("etcd refused a transaction whose conditions hold", remedy="try again")

    async def grant(self, ttl_s: float) -> LeaseId:
        if not 0 < ttl_s < _MAX_TTL_S:
            raise InvalidRequest(
                f"a lease needs a time to live of more than 0 seconds, and at most {_MAX_TTL_S}, not {ttl_s}"
            )
        self._check_open()
        # The id is ours to choose. So a lost answer does no harm: asking again cannot make a second lease.
        lease = LeaseId(self._rng.randint(1, _MAX_LEASE))
        request = wire.lease_grant_request(math.ceil(ttl_s), lease)
        try:
            await self._transport.call(wire.LEASE_GRANT, request, repeatable=True)
        except CallFailed as failure:
            if LEASE_EXISTS not in failure.text:
                raise self._transport.refusal(failure) from failure
        return lease

    async def keep_alive(self, lease: LeaseId) -> None:
        self._check_open()
        try:
            data = await self._transport.call(
                wire.LEASE_KEEP_ALIVE, wire.lease_request(lease), repeatable=True
            )
        except CallFailed as failure:
            raise self._lease_failure(failure, lease) from failure
        if wire.read_lease(data).ttl_s <= 0:
            raise _no_lease(str(lease))

    async def revoke(self, lease: LeaseId) -> None:
        self._check_open()
        try:
            await self._transport.call(wire.LEASE_REVOKE, wire.lease_request(lease), repeatable=True)
        except CallFailed as failure:
            raise self._lease_failure(failure, lease) from failure

    def watch(self, prefix: str, *, after: int) -> Watch:
        check_prefix(prefix)
        self._check_open()
        watch = EtcdWatch(self, *wire.prefix_range(self._prefix, prefix), after)
        self._watches.add(watch)
        return watch

    async def compact(self, revision: int) -> None:
        """Compact all of etcd: its other users' watches notice, too."""
        self._check_open()
        if revision <= 0:
            return
        try:
            await self._transport.call(wire.COMPACT, wire.compaction_request(revision), repeatable=True)
        except CallFailed as failure:
            if COMPACTED in failure.text:
                return
            if FUTURE_REVISION in failure.text:
                raise InvalidRequest(
                    f"cannot compact to revision {revision}: the store is at {await self.newest_revision()}"
                ) from failure
            raise self._transport.refusal(failure) from failure

    async def run(self) -> None:
        # etcd ends leases itself, and a watch does its own work when it is read.
        await self._closed.wait()

    async def aclose(self) -> None:
        self._closed.set()
        for watch in tuple(self._watches):
            watch.end()
        self._watches.clear()
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    # For the watches ----------------------------------------------------------------------------

    @property
    def transport(self) -> EtcdTransport:
        return self._transport

    @property
    def mux(self) -> WatchMux:
        return self._mux

    @property
    def rng(self) -> random.Random:
        return self._rng

    def key_of(self, raw: bytes) -> str:
        # A key that is not text was not written by us; shown like this it hides no other and fits no record.
        return raw[len(self._prefix) :].decode("utf-8", "backslashreplace")

    async def newest_revision(self) -> int:
        answer = await self._read(wire.range_request(self._prefix, b"", count_only=True))
        return answer.header.revision

    def forget(self, watch: EtcdWatch) -> None:
        self._watches.discard(watch)

    # --------------------------------------------------------------------------------------------

    async def _list(self, prefix: str) -> Snapshot:
        """Read page by page, all at the first page's revision. Raises CallFailed if that was compacted."""
        start, end = wire.prefix_range(self._prefix, prefix)
        entries: list[Entry] = []
        revision = size = 0
        limit = _FIRST_PAGE
        while True:
            request = wire.range_request(start, end, limit=limit, revision=revision)
            answer = wire.read_range(await self._transport.call(wire.RANGE, request, repeatable=True))
            revision = revision or answer.header.revision
            for item in answer.entries:
                entries.append(self._entry(item))
                size += len(item.key) + len(item.value)
            if not answer.more or not answer.entries:
                return Snapshot(tuple(entries), revision)
            start = answer.entries[-1].key + b"\0"
            limit = max(1, min(_LARGEST_PAGE, _PAGE_BYTES * len(entries) // size))

    async def _read(self, request: bytes) -> wire.RangeResponse:
        try:
            return wire.read_range(await self._transport.call(wire.RANGE, request, repeatable=True))
        except CallFailed as failure:
            raise self._transport.refusal(failure) from failure

    def _entry(self, item: wire.KeyValue) -> Entry:
        return Entry(self.key_of(item.key), item.value, item.created, item.revision, LeaseId(item.lease))

    def _lease_failure(self, failure: CallFailed, lease: LeaseId) -> Exception:
        return _no_lease(str(lease)) if NO_LEASE in failure.text else self._transport.refusal(failure)

    def _wake_watches(self) -> None:
        for watch in self._watches:
            watch.wake()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise Unavailable("the store is closed")


def open_etcd(config: EtcdConfig) -> EtcdStore:
    """Return a store in that etcd. It connects at the first call, so a daemon can start without it."""
    return EtcdStore(config)


def _no_lease(which: str) -> NotFound:
    return NotFound(f"the store has no lease {which}; it may have run out", remedy="ask for a new lease")
