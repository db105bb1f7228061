"""What every store must do, and what the SQLite store must survive besides.

The first part runs over each implementation through the `store` fixture: SQLite, memory, and a real etcd
(skipped where Debian's `etcd-server` is not installed), of which each test has a prefix of its own. An etcd
is never at revision 0, so revisions are compared with the one at the beginning. Time is a number that the
tests move, except in etcd, where it takes its time.
"""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path, PurePosixPath
from time import monotonic
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from carrick.domains.ipam import Address, Lease, LeaseKind, PoolId, PoolState, Prefix
from carrick.host.store import (
    ABSENT,
    Changed,
    Collection,
    Compacted,
    Condition,
    Delete,
    DeletePrefix,
    Entry,
    Event,
    LeaseId,
    NoneBelow,
    Put,
    Removed,
    Requirement,
    Snapshot,
    SqliteStore,
    StaleRevision,
    Store,
    Undecodable,
    Watch,
    follow,
)
from carrick.host.store.checks import prefix_end
from carrick.host.store.contract import (
    MAX_KEY_BYTES,
    MAX_OPERATIONS,
    MAX_TRANSACTION_BYTES,
    MAX_VALUE_BYTES,
)
from carrick.host.store.etcd import open_etcd
from carrick.host.store.lease import hold_lease
from carrick.host.store.schema import MIGRATIONS
from carrick.model.errors import CarrickError, Conflict, Denied, Failed, InvalidRequest, NotFound, Unavailable
from carrick.model.networks import Network, PoolConfig
from carrick.testing.etcd import EtcdCluster, has_etcd
from carrick.testing.memory_store import MemoryStore


class Clock:
    """Seconds that pass when a test says so."""

    ttl_s = 10.0

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def advance(self, share: float) -> None:
        """Let a share of `ttl_s` pass."""
        self.now += self.ttl_s * share


class RealClock(Clock):
    ttl_s = 3.0

    async def advance(self, share: float) -> None:
        await asyncio.sleep(self.ttl_s * share)


Factory = Callable[..., Store]
KINDS = ["sqlite", "memory", "etcd"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def etcd() -> Iterator[EtcdCluster]:
    if not has_etcd():
        pytest.skip("etcd is not installed: apt-get install etcd-server etcd-client")
    with EtcdCluster(options=["--heartbeat-interval", "20", "--election-timeout", "200"]) as cluster:
        yield cluster


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def time(kind: str, clock: Clock) -> Clock:
    return RealClock() if kind == "etcd" else clock


@pytest.fixture
def make_store(request: pytest.FixtureRequest, kind: str, tmp_path: Path, clock: Clock) -> Iterator[Factory]:
    def make(**options: object) -> Store:
        match kind:
            case "sqlite":
                return SqliteStore(tmp_path / "store.db", **({"clock": clock} | options))  # type: ignore[arg-type]
            case "memory":
                return MemoryStore(**({"clock": clock} | options))  # type: ignore[arg-type]
        return open_etcd(cluster.config(prefix))

    prefix = f"test-{uuid4().hex}/"
    cluster = request.getfixturevalue("etcd") if kind == "etcd" else None
    yield make
    if cluster:
        # A lease that ends later would otherwise take its keys in the midst of another test's revisions.
        cluster.ctl("del", "--prefix", prefix)


@pytest.fixture
def make_embedded(kind: str, make_store: Factory) -> Factory:
    """For what only the embedded stores promise, as their watches are in the same process."""
    if kind == "etcd":
        pytest.skip("a promise of the embedded stores alone")
    return make_store


@pytest.fixture
async def store(make_store: Factory) -> AsyncIterator[Store]:
    async with make_store() as made:
        yield made


async def read(store: Store, key: str) -> bytes | None:
    entry = await store.get(key)
    return entry.value if entry else None


async def now(store: Store) -> int:
    return (await store.list("")).revision


async def gone(store: Store, key: str) -> None:
    """Wait until the key has gone. An etcd ends a lease within a second or so of its time."""
    async with asyncio.timeout(60):
        while await store.get(key) is not None:  # noqa: ASYNC110 - it need not be watched to go
            await asyncio.sleep(0.02)


async def expect(watch: Watch, *events: Event) -> None:
    """The watch gives these events, and then no more."""
    async with asyncio.timeout(60):
        assert [await anext(watch) for _ in events] == list(events)
    assert await waiting(watch) == []


async def waiting(watch: Watch) -> list[Event]:
    """Return the events that are there already."""
    events = []
    while True:
        try:
            async with asyncio.timeout(0.01):
                events.append(await anext(watch))
        except TimeoutError:
            return events


# Reading and writing


async def test_what_is_put_is_found_with_its_revisions(store: Store) -> None:
    assert await store.get("networks/a") is None
    first = await store.commit([Put("networks/a", b"one")])
    second = await store.commit([Put("networks/a", b"two")])
    entry = await store.get("networks/a")
    assert entry is not None
    assert (entry.value, entry.created, entry.revision) == (b"two", first, second)
    assert second == first + 1


async def test_a_list_is_sorted_and_says_when_it_was(store: Store) -> None:
    for key in ["b/2", "a/1", "b/10", "b/é", "c", "b"]:
        revision = await store.commit([Put(key, key.encode())])
    snapshot = await store.list("b/")
    assert [entry.key for entry in snapshot.entries] == ["b/10", "b/2", "b/é"]
    assert snapshot.revision == revision
    assert [entry.key for entry in (await store.list("")).entries] == ["a/1", "b", "b/10", "b/2", "b/é", "c"]
    assert (await store.list("nothing")).entries == ()


async def test_one_transaction_is_one_revision(store: Store) -> None:
    await store.commit([Put("old", b"")])
    before = await now(store)
    revision = await store.commit([Put("a", b"1"), Put("b", b"2"), Delete("old")])
    assert revision == before + 1
    assert {entry.revision for entry in (await store.list("")).entries} == {revision}
    assert await store.get("old") is None


async def test_what_changes_nothing_makes_no_revision(store: Store) -> None:
    revision = await store.commit([Put("a", b"")])
    assert await store.commit([Delete("missing"), DeletePrefix("missing/")]) == revision
    assert await store.commit([]) == revision
    assert await store.commit([], [Condition("a", revision)]) == revision


async def test_a_deleted_key_begins_anew(store: Store) -> None:
    await store.commit([Put("a", b"1")])
    await store.commit([Delete("a")])
    revision = await store.commit([Put("a", b"2")])
    entry = await store.get("a")
    assert entry is not None
    assert entry.created == entry.revision == revision


async def test_a_prefix_can_be_deleted_with_other_changes(store: Store) -> None:
    await store.commit([Put(f"leases/n/{i}", b"") for i in range(5)])
    await store.commit([Put("leases/no", b""), Put("networks/n", b"")])
    await store.commit([DeletePrefix("leases/n/"), Delete("networks/n"), Put("log", b"")])
    assert [entry.key for entry in (await store.list("")).entries] == ["leases/no", "log"]


@pytest.mark.parametrize("value", [b"", b"\x00\xff" * 10, b"x" * MAX_VALUE_BYTES])
async def test_any_bytes_come_back_as_they_were(store: Store, value: bytes) -> None:
    await store.commit([Put("a", value)])
    assert await read(store, "a") == value


@pytest.mark.parametrize(
    ("changes", "conditions", "message"),
    [
        ([Put("a", b""), Put("a", b"")], [], "names a twice"),
        ([Put("a", b""), Delete("a")], [], "names a twice"),
        ([Put("a/b", b""), DeletePrefix("a/")], [], "names a/b and deletes all of a/"),
        ([DeletePrefix("")], [], "must not be empty"),
        ([Put("", b"")], [], "must not be empty"),
        ([Put("\ud800", b"")], [], "not valid Unicode"),
        ([Put("a\0b", b"")], [], "NUL"),
        ([Put("k" * (MAX_KEY_BYTES + 1), b"")], [], "at most 1024"),
        ([Put("a", b"x" * (MAX_VALUE_BYTES + 1))], [], "at most 1048576"),
        ([], [Condition("a", 1), Condition("a", 2)], "two conditions on a"),
        ([], [Condition("a", -1)], "negative revision"),
        ([Delete(str(number)) for number in range(MAX_OPERATIONS)], [], "129 changes; at most 128"),
        (
            [],
            [Condition(str(number), 0) for number in range(MAX_OPERATIONS + 1)],
            "129 conditions; at most 128",
        ),
        ([Put(key, b"x" * (MAX_TRANSACTION_BYTES // 2)) for key in "ab"], [], "bytes; at most 1310720"),
    ],
)
async def test_a_bad_request_changes_nothing(
    store: Store, changes: list[Put], conditions: list[Condition], message: str
) -> None:
    await store.commit([Put("before", b"")])
    with pytest.raises(InvalidRequest, match=message):
        await store.commit([Put("other", b""), *changes], conditions)
    assert [entry.key for entry in (await store.list("")).entries] == ["before"]


async def test_a_transaction_may_be_as_large_as_the_contract_says(store: Store) -> None:
    keys = [f"{number:0>1024}" for number in range(MAX_OPERATIONS)]
    size = MAX_TRANSACTION_BYTES // MAX_OPERATIONS - 3 * MAX_KEY_BYTES
    await store.commit([Put(key, b"x" * size) for key in keys], [Condition(key, ABSENT) for key in keys])
    snapshot = await store.list("")
    assert [entry.key for entry in snapshot.entries] == keys
    with pytest.raises(StaleRevision):
        await store.commit([Delete(key) for key in keys], [Condition(key, ABSENT) for key in keys])


async def test_a_list_of_many_is_of_one_moment(store: Store) -> None:
    for start in range(0, 1000, 100):
        await store.commit([Put(f"n/{number:05}", b"x" * 100) for number in range(start, start + 100)])

    ends = ("n/00000", "n/00999")
    await store.commit([Put(key, b"") for key in ends])

    async def disturb() -> None:
        for number in range(50):
            await store.commit([Put(key, str(number).encode()) for key in ends])

    async with asyncio.TaskGroup() as group:
        group.create_task(disturb())
        for _ in range(5):
            entries = (await store.list("n/")).entries
            assert len(entries) == 1000
            assert entries[0].value == entries[-1].value, "half a transaction"
            await asyncio.sleep(0)


# Compare and swap


async def test_conditions_hold_or_nothing_is_written(store: Store) -> None:
    revision = await store.commit([Put("a", b"1")])
    await store.commit([Put("b", b"1")], [Condition("a", revision), Condition("b", ABSENT)])
    with pytest.raises(StaleRevision) as caught:
        await store.commit(
            [Put("c", b""), Put("b", b"2")], [Condition("a", revision), Condition("b", ABSENT)]
        )
    assert isinstance(caught.value, Conflict)
    assert caught.value.key == "b"
    assert "b exists already" in str(caught.value)
    with pytest.raises(StaleRevision, match=f"^a is at revision {revision}, not 999999$"):
        await store.commit([Put("c", b"")], [Condition("a", 999999)])
    with pytest.raises(StaleRevision, match=r"^gone does not exist any more$"):
        await store.commit([Put("c", b"")], [Condition("gone", 1)])
    assert await store.get("c") is None
    assert await read(store, "b") == b"1"


async def test_none_may_be_below_a_prefix(store: Store) -> None:
    await store.commit([Put("a/1", b""), Put("ab", b""), Put("b/2", b"old")])
    revision = await store.commit([Put("b/1", b"")])
    # Not what begins alike, nor the prefix itself.
    await store.commit([Put("done", b"")], [NoneBelow("a/1/"), NoneBelow("c/"), NoneBelow("aa")])
    with pytest.raises(StaleRevision, match=r"^b/1 exists already$") as caught:
        await store.commit([Put("c/1", b"")], [NoneBelow("b/")])
    assert (caught.value.key, caught.value.actual) == ("b/1", revision)
    with pytest.raises(StaleRevision, match=r"^a/1 is at revision"):
        await store.commit([Put("c/1", b"")], [NoneBelow("c/"), Condition("a/1", 2**40)])
    assert await store.get("c/1") is None
    await store.commit([DeletePrefix("b/")])
    await store.commit([Put("b/3", b"")], [NoneBelow("b/")])
    with pytest.raises(InvalidRequest, match="two conditions on b/"):
        await store.commit([], [NoneBelow("b/"), NoneBelow("b/")])
    with pytest.raises(InvalidRequest):
        await store.commit([], [NoneBelow("")])


async def test_either_something_is_below_or_it_is_taken(store: Store) -> None:
    """Of who puts something there and who takes all away because there is nothing, one comes first."""
    for number in range(20):
        base = f"n{number}"
        await store.commit([Put(base, b"")])

        async def remove(base: str = base) -> bool:
            try:
                await store.commit([Delete(base)], [NoneBelow(f"{base}/")])
            except StaleRevision:
                return False
            return True

        async def use(base: str = base) -> bool:
            known = await store.get(base)
            if known is None:
                return False
            try:
                await store.commit([Put(f"{base}/1", b"")], [Condition(base, known.revision)])
            except StaleRevision:
                return False
            return True

        removed, used = await asyncio.gather(remove(), use())
        assert removed is not used
        assert (await store.get(base) is None) is removed


async def test_two_writers_lose_no_update(store: Store) -> None:
    await store.commit([Put("counter", b"0")])
    conflicts = 0

    async def count_up() -> None:
        nonlocal conflicts
        for _ in range(50):
            while True:
                entry = await store.get("counter")
                assert entry is not None
                await asyncio.sleep(0)
                try:
                    await store.commit(
                        [Put("counter", str(int(entry.value) + 1).encode())],
                        [Condition("counter", entry.revision)],
                    )
                except StaleRevision:
                    conflicts += 1
                    continue
                break

    async with asyncio.TaskGroup() as group:
        group.create_task(count_up())
        group.create_task(count_up())
    assert await read(store, "counter") == b"100"
    assert conflicts > 0, "the writers never met, so nothing was shown"


# Leases


async def test_keys_of_a_lease_vanish_when_it_runs_out(store: Store, time: Clock) -> None:
    lease = await store.grant(time.ttl_s)
    await store.commit([Put("nodes/a", b"", lease), Put("nodes/b", b"", lease), Put("nodes/c", b"")])
    revision = await now(store)
    async with store.watch("nodes/", after=revision) as watch:
        await time.advance(0.3)
        assert await store.get("nodes/a") is not None
        await time.advance(0.7)
        await gone(store, "nodes/a")
        assert [entry.key for entry in (await store.list("")).entries] == ["nodes/c"]
        await expect(watch, Removed("nodes/a", revision + 1), Removed("nodes/b", revision + 1))
    with pytest.raises(NotFound, match="no lease"):
        await store.keep_alive(lease)
    with pytest.raises(NotFound, match="no lease"):
        await store.commit([Put("nodes/a", b"", lease)])


async def test_a_lease_is_kept_alive(store: Store, time: Clock) -> None:
    lease = await store.grant(time.ttl_s)
    await store.commit([Put("a", b"", lease)])
    for _ in range(3):
        await time.advance(0.4)
        await store.keep_alive(lease)
    assert await store.get("a") is not None
    await time.advance(1)
    await gone(store, "a")


async def test_an_embedded_lease_ends_to_the_moment(make_embedded: Factory, clock: Clock) -> None:
    async with make_embedded() as store:
        lease = await store.grant(10)
        await store.commit([Put("a", b"", lease)])
        clock.now += 9.9
        assert await store.get("a") is not None
        clock.now += 0.1
        assert await store.get("a") is None


async def test_revoking_deletes_at_once_and_never_gives_the_id_again(store: Store) -> None:
    lease = await store.grant(10)
    await store.commit([Put("a", b"", lease)])
    await store.revoke(lease)
    assert await store.get("a") is None
    with pytest.raises(NotFound):
        await store.revoke(lease)
    assert await store.grant(10) != lease


async def test_the_last_put_decides_on_the_lease(store: Store, time: Clock) -> None:
    short, long = await store.grant(time.ttl_s), await store.grant(time.ttl_s * 5)
    await store.commit([Put("freed", b"", short), Put("moved", b"", short), Put("short", b"", short)])
    await store.commit([Put("freed", b""), Put("moved", b"", long)])
    entry = await store.get("moved")
    assert entry is not None
    assert entry.lease == long
    await time.advance(1)
    await gone(store, "short")
    assert [entry.key for entry in (await store.list("")).entries] == ["freed", "moved"]
    await store.revoke(long)
    assert [entry.key for entry in (await store.list("")).entries] == ["freed"]


@pytest.mark.parametrize("ttl_s", [0, -1, float("inf"), float("nan")])
async def test_a_lease_needs_a_time(store: Store, ttl_s: float) -> None:
    with pytest.raises(InvalidRequest, match="time to live"):
        await store.grant(ttl_s)


async def test_an_unknown_lease_is_refused(store: Store) -> None:
    with pytest.raises(NotFound, match="no lease 77"):
        await store.commit([Put("a", b"", LeaseId(77))])
    assert await store.get("a") is None


async def test_leases_end_on_time_without_any_call(make_store: Factory) -> None:
    async with make_store(clock=monotonic) as store, asyncio.TaskGroup() as group:
        group.create_task(store.run(), name="store")
        await asyncio.sleep(0)  # it waits now, without a lease, and has to be woken
        lease = await store.grant(0.05)
        revision = await store.commit([Put("a", b"", lease)])
        async with store.watch("", after=revision) as watch:
            await expect(watch, Removed("a", revision + 1))
        await store.aclose()


async def test_a_held_lease_lives_as_long_as_its_holder(make_store: Factory, time: Clock) -> None:
    async with make_store(clock=monotonic) as store:
        ttl_s = time.ttl_s if isinstance(time, RealClock) else 0.5
        async with hold_lease(store, ttl_s) as held:
            await store.commit([Put("a", b"", held.id)])
            await asyncio.sleep(ttl_s * 1.5)
            assert await store.get("a") is not None
            assert not held.is_lost
        assert await store.get("a") is None
        async with hold_lease(store, ttl_s) as held:
            await store.revoke(held.id)
            async with asyncio.timeout(60):
                await held.wait_lost()


# Watches


async def test_a_watch_gives_every_later_change_once_and_in_order(store: Store) -> None:
    first = await store.commit([Put("n/a", b"1"), Put("other", b"")])
    second = await store.commit([Put("n/b", b"2"), Delete("other")])
    async with store.watch("n/", after=first) as watch:
        await expect(watch, Changed("n/b", b"2", second))
        third = await store.commit([Put("n/a", b"3"), Delete("n/b"), Put("m", b"")])
        await store.commit([Delete("n/missing")])
        await expect(watch, Changed("n/a", b"3", third), Removed("n/b", third))
        fourth = await store.commit([DeletePrefix("n/")])
        await expect(watch, Removed("n/a", fourth))


async def test_a_watch_may_begin_in_the_future(store: Store) -> None:
    revision = await store.commit([Put("a", b"0")])
    async with store.watch("", after=revision + 1) as watch:
        await store.commit([Put("a", b"1")])
        await store.commit([Put("a", b"2")])
        await expect(watch, Changed("a", b"2", revision + 2))


async def test_watches_do_not_disturb_each_other(store: Store) -> None:
    revision = await store.commit([Put("a", b"")])
    one, other = store.watch("", after=revision), store.watch("", after=revision)
    await one.aclose()
    await one.aclose()
    await store.commit([Put("a", b"1")])
    await expect(other, Changed("a", b"1", revision + 1))
    assert [event async for event in one] == []
    await other.aclose()


async def test_a_waiting_reader_is_woken_and_can_be_cancelled(store: Store) -> None:
    async with store.watch("", after=await now(store)) as watch:
        for pause_s in (0.001, 0.01, 0.1):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await anext(watch)
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(anext(watch))
            await asyncio.sleep(0)
            revision = await store.commit([Put("a", b"")])
        assert reader.result() == Changed("a", b"", revision)


async def test_closing_the_store_ends_its_watches_and_everything_else(store: Store) -> None:
    watch = store.watch("", after=await now(store))
    unread = store.watch("", after=0)
    revision = await store.commit([Put("a", b"")])
    await expect(watch, Changed("a", b"", revision))
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(_collect(watch))
        await asyncio.sleep(0)
        await store.aclose()
        await store.aclose()
    assert reader.result() == []
    async with asyncio.timeout(60):
        await _collect(unread)
    for call in (store.get("a"), store.list(""), store.commit([]), store.grant(1), store.compact(0)):
        with pytest.raises(Unavailable, match="the store is closed"):
            await call
    with pytest.raises(Unavailable, match="the store is closed"):
        store.watch("", after=0)


async def test_an_embedded_watch_gives_what_waits_before_it_ends(make_embedded: Factory) -> None:
    async with make_embedded() as store, asyncio.TaskGroup() as group:
        reader = group.create_task(_collect(store.watch("", after=0)))
        await asyncio.sleep(0)
        await store.commit([Put("a", b"")])
        await store.aclose()
    assert reader.result() == [Changed("a", b"", 1)]


async def _collect(watch: Watch) -> list[Event]:
    return [event async for event in watch]


# Compaction


async def test_a_watch_from_before_the_compaction_is_told_and_goes_on(store: Store) -> None:
    base = await now(store)
    for number in range(5):
        revision = await store.commit([Put("a", str(number).encode())])
    await store.compact(base + 3)
    async with store.watch("", after=base + 2) as late, store.watch("", after=base + 3) as enough:
        await expect(late, Compacted(revision))
        await expect(enough, Changed("a", b"3", base + 4), Changed("a", b"4", base + 5))
        await store.commit([Put("a", b"new")])
        await expect(late, Changed("a", b"new", revision + 1))
        await expect(enough, Changed("a", b"new", revision + 1))
    assert await read(store, "a") == b"new"


async def test_a_deletion_at_the_compacted_revision_is_not_lost(store: Store) -> None:
    """A watch of etcd 3.4.23 itself, from a compacted revision on, leaves out the deletions in it."""
    await store.commit([Put("a", b"")])
    removed = await store.commit([Delete("a"), Put("b", b"")])
    await store.compact(removed)
    async with store.watch("", after=removed - 1) as watch:
        await expect(watch, Compacted(removed))


async def test_a_watch_that_is_open_survives_compaction(store: Store) -> None:
    async with store.watch("", after=await now(store)) as watch:
        base = await store.commit([Put("a", b"0")])
        await expect(watch, Changed("a", b"0", base))  # it is open now
        await store.commit([Put("a", b"1")])
        await store.compact(base + 1)
        await store.commit([Put("a", b"2")])
        await store.compact(base + 2)
        await store.compact(base + 1)
        await expect(watch, Changed("a", b"1", base + 1), Changed("a", b"2", base + 2))
    with pytest.raises(
        InvalidRequest, match=f"cannot compact to revision 999999: the store is at {base + 2}"
    ):
        await store.compact(999999)


async def test_history_is_bounded_by_whole_revisions(make_embedded: Factory) -> None:
    async with make_embedded(history_events=4) as store:
        await store.commit([Put("a", b""), Put("b", b""), Put("c", b"")])
        await store.commit([Put("a", b""), Put("b", b"")])
        async with store.watch("", after=0) as early, store.watch("", after=1) as later:
            assert await waiting(early) == [Compacted(2)]
            assert await waiting(later) == [Changed("a", b"", 2), Changed("b", b"", 2)]


async def test_a_reader_that_falls_behind_is_told_instead_of_filling_memory(make_embedded: Factory) -> None:
    async with make_embedded(backlog_events=10) as store, store.watch("", after=0) as watch:
        for number in range(25):
            await store.commit([Put("a", str(number).encode())])
        events = await waiting(watch)
        told = [event for event in events if isinstance(event, Compacted)]
        assert len(told) == 1
        assert events[0] is told[0]
        assert [event.revision for event in events[1:]] == list(range(told[0].revision + 1, 26))
        assert len(events) <= 11


async def test_following_gives_snapshots_and_changes(make_store: Factory) -> None:
    async with make_store(backlog_events=3) as store:
        await store.commit([Put("n/a", b"1")])
        async with follow(store, "n/") as updates:
            first = await anext(updates)
            assert isinstance(first, Snapshot)
            assert [entry.key for entry in first.entries] == ["n/a"]
            # Not read until all this has happened, and been forgotten: the reader has to begin anew.
            for number in range(9):
                await store.commit([Put("n/c", str(number).encode())])
            await store.compact(await store.commit([Put("n/b", b"2"), Put("m", b"")]))
            again = await anext(updates)
            assert isinstance(again, Snapshot)
            assert [entry.key for entry in again.entries] == ["n/a", "n/b", "n/c"]
            last = await store.commit([Delete("n/a")])
            assert await anext(updates) == Removed("n/a", last), "nothing of the snapshot twice"
            revision = await store.commit([Put("n/b", b"3"), Put("m", b"")])
            assert await anext(updates) == Changed("n/b", b"3", revision)
            await store.aclose()
            assert [update async for update in updates] == []


# Two stores side by side

keys = st.sampled_from(
    ["a", "b", "b/1", "b/2", "b/20", "é", "\U0010ffff", "\U0010ffff\U0010ffff", "\ud7ff", "b\U0010ffff"]
)
values = st.binary(max_size=3)
some_changes = st.lists(
    st.one_of(
        st.builds(Put, keys, values),
        st.builds(Delete, keys),
        st.builds(DeletePrefix, st.sampled_from(["b", "b/", "b/2", "\U0010ffff", "\ud7ff", "z"])),
    ),
    max_size=4,
)


conditions = st.sampled_from(["no", "right", "wrong", "absent", "none below"])


async def requirements(store: Store, key: str, conditioned: str) -> list[Requirement]:
    """Return what one of `conditions` requires of a key."""
    entry = await store.get(key)
    actual = entry.revision if entry else ABSENT
    match conditioned:
        case "right":
            return [Condition(key, actual)]
        case "wrong":
            return [Condition(key, actual + 1)]
        case "absent":
            return [Condition(key, ABSENT)]
        case "none below":
            return [NoneBelow(key)]
    return []


class SideBySide(RuleBasedStateMachine):
    """The same calls to the SQLite store and the memory store give the same answers."""

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.runner = asyncio.Runner()
        self.path = Path(self.directory.name) / "store.db"
        self.sqlite: Store = SqliteStore(self.path, clock=self.clock)
        self.memory: Store = MemoryStore(clock=self.clock)
        self.revision = 0
        self.leases: list[LeaseId] = []
        self.open_watches()

    def open_watches(self) -> None:
        self.watches = (
            self.sqlite.watch("b", after=self.revision),
            self.memory.watch("b", after=self.revision),
        )

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.sqlite.aclose())
            self.runner.run(self.memory.aclose())
            self.runner.close()
            self.directory.cleanup()

    def both(self, call: Callable[[Store], object]) -> object:
        answers = []
        for store in (self.sqlite, self.memory):
            try:
                answers.append(self.runner.run(call(store)))  # type: ignore[arg-type]
            except CarrickError as error:
                answers.append((type(error), str(error)))
        assert answers[0] == answers[1]
        return answers[0]

    @rule(changes=some_changes, key=keys, conditioned=conditions)
    def commit(self, changes: list[Put], key: str, conditioned: str) -> None:
        async def call(store: Store) -> int:
            return await store.commit(changes, await requirements(store, key, conditioned))

        revision = self.both(call)
        if isinstance(revision, int):
            assert revision >= self.revision
            self.revision = revision

    @rule(ttl_s=st.sampled_from([5.0, 20.0]), key=keys, value=values)
    def put_with_lease(self, ttl_s: float, key: str, value: bytes) -> None:
        async def call(store: Store) -> tuple[LeaseId, int]:
            lease = await store.grant(ttl_s)
            return lease, await store.commit([Put(key, value, lease)])

        answer = self.both(call)
        assert isinstance(answer, tuple)
        self.leases.append(answer[0])
        self.revision = answer[1]

    @rule(data=st.data(), verb=st.sampled_from(["keep_alive", "revoke"]))
    def use_lease(self, data: st.DataObject, verb: str) -> None:
        if self.leases:
            lease = data.draw(st.sampled_from(self.leases))
            self.both(lambda store: getattr(store, verb)(lease))

    @rule(seconds=st.sampled_from([1.0, 5.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(prefix=st.sampled_from(["", "b", "b/", "b/2", "\U0010ffff", "\ud7ff", "é"]))
    def look(self, prefix: str) -> None:
        snapshot = self.both(lambda store: store.list(prefix))
        assert isinstance(snapshot, Snapshot)
        self.revision = snapshot.revision

    @rule(after=st.integers(0, 5))
    def compact_and_watch_from_before(self, after: int) -> None:
        async def call(store: Store) -> list[Event]:
            await store.compact(max(0, (await store.list("")).revision - 2))
            async with store.watch("", after=after) as watch:
                return [await anext(watch)] if after < (await store.list("")).revision else []

        if self.watches_are_fresh:
            self.both(call)

    watches_are_fresh = True

    @rule()
    def watched_alike(self) -> None:
        async def drain(watch: Watch) -> list[Event]:
            events: list[Event] = []
            while watch._waiting:  # type: ignore[attr-defined]
                events.append(await anext(watch))
            return events

        one, other = (self.runner.run(drain(watch)) for watch in self.watches)
        assert one == other

    @rule()
    def reopen(self) -> None:
        # Every lease begins anew on reopening, in the memory store by asking for it.
        self.look("")
        self.runner.run(self.sqlite.aclose())
        self.sqlite = SqliteStore(self.path, clock=self.clock)
        self.watches_are_fresh = False
        for lease in self.leases:
            self.both(lambda store, lease=lease: store.keep_alive(lease))  # type: ignore[misc]
        self.runner.run(self.watches[1].aclose())
        self.open_watches()


Step = tuple[str, list[Put], str, str]
steps = st.lists(
    st.tuples(
        st.sampled_from(["commit"] * 4 + ["lease", "revoke", "list", "get", "compact"]),
        some_changes,
        keys,
        conditions,
    ),
    max_size=25,
)


async def transcript(store: Store, steps: list[Step]) -> list[object]:
    """Take the steps and return all that can be seen of it, with revisions counted from the beginning."""
    base = await now(store)
    leases: list[LeaseId] = []

    def entry(found: Entry | None) -> object:
        lease = leases.index(found.lease) if found and found.lease else None
        return found and (found.key, found.value, found.created - base, found.revision - base, lease)

    async def take(verb: str, changes: list[Put], key: str, conditioned: str) -> object:
        match verb:
            case "commit":
                return await store.commit(changes, await requirements(store, key, conditioned)) - base
            case "lease":
                leases.append(await store.grant(1000))
                return await store.commit([Put(key, b"leased", leases[-1])]) - base
            case "revoke" if leases:
                return await store.revoke(leases[len(changes) % len(leases)])
            case "list":
                snapshot = await store.list(key)
                return [entry(item) for item in snapshot.entries], snapshot.revision - base
            case "compact":
                return await store.compact(max(base, await now(store) - 2))
        return entry(await store.get(key))

    seen: list[object] = []
    for step in steps:
        try:
            seen.append(await take(*step))
        except StaleRevision as error:
            seen.append((error.key, bool(error.expected), error.actual - base if error.actual else 0))
        except CarrickError as error:
            seen.append(type(error))
    end = await now(store)
    last = await store.commit([Put("b/mark", b"")])
    for after in range(base, end):
        async with store.watch("b", after=after) as watch:
            events: list[tuple[object, ...]] = []
            async for event in watch:
                value = event.value if isinstance(event, Changed) else None
                events.append((type(event), getattr(event, "key", ""), value, event.revision - base))
                if event.revision == last:
                    break
        seen.append(events)
    return seen


def test_etcd_and_memory_give_the_same(etcd: EtcdCluster) -> None:
    """Nobody else may use the etcd meanwhile, because revisions are compared."""

    async def compare(taken: list[Step]) -> None:
        prefix = f"same-{uuid4().hex}/"
        async with MemoryStore() as memory, open_etcd(etcd.config(prefix)) as remote:
            expected = await transcript(memory, taken)
            assert await transcript(remote, taken) == expected
            await remote.commit([DeletePrefix(chr(code)) for code in (ord("a"), ord("b"))])

    @settings(max_examples=60, deadline=None)
    @given(taken=steps)
    def check(taken: list[Step]) -> None:
        asyncio.run(compare(taken))

    check()


SideBySide.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSideBySide = SideBySide.TestCase


@pytest.mark.parametrize("prefix", ["a", "b/", "é", "\ud7ff", "a\U0010ffff", "\U0010fffe"])
def test_the_end_of_a_prefix(prefix: str) -> None:
    end = prefix_end(prefix)
    assert end is not None
    end.encode()
    inside = [prefix, prefix + "\0", prefix + "zz", prefix + "\U0010ffff" * 3]
    assert all(prefix.encode() <= key.encode() < end.encode() for key in inside)
    assert not end.startswith(prefix)
    assert prefix_end("\U0010ffff\U0010ffff") is None


# The SQLite store: restarts, kills and broken files


@asynccontextmanager
async def opened(path: Path, **options: object) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, **options)  # type: ignore[arg-type]
    async with store:
        yield store


async def test_a_restart_keeps_entries_revisions_and_leases(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "new" / "store.db"
    async with opened(path, clock=clock) as store:
        lease = await store.grant(10)
        await store.commit([Put("a", b"1")])
        await store.commit([Put("b", b"", lease)])
        await store.commit([Delete("a")])
        clock.now += 9
    async with opened(path, clock=clock) as store:
        assert (await store.list("")).revision == 3, "not the largest revision of an entry, which is 2"
        clock.now += 9
        assert await store.get("b") is not None, "the lease has its whole time again"
        async with store.watch("", after=1) as watch:
            assert await waiting(watch) == [Compacted(3)], "history ends with the process"
        clock.now += 1
        assert await store.get("b") is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


CHILD = """
import asyncio, sys
from pathlib import Path
from carrick.host.store import Delete, Put, SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    number = 0
    while True:
        number += 1
        text = str(number).encode()
        revision = await store.commit(
            [Delete(f"n/{number - 1}"), Put("one", text), Put("two", text * 300), Put(f"n/{number}", text)]
        )
        print(number, revision, flush=True)

asyncio.run(main())
"""


def start_child(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE)


async def test_kill_9_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    for _ in range(3):
        with start_child(path) as child:
            assert child.stdout is not None
            try:
                for _ in range(300):
                    line = child.stdout.readline()
            finally:
                child.kill()
            said = [line, *child.stdout.read().splitlines(keepends=True)]
        last = [text for text in said if text.endswith(b"\n")][-1]
        number, revision = map(int, last.split())
        async with opened(path) as store:
            entries = {entry.key: entry for entry in (await store.list("")).entries}
            found = int(entries["one"].value)
            assert found in (number, number + 1), "every answered commit is there, at most one more"
            assert (await store.list("")).revision == revision + found - number
            assert entries["two"].value == str(found).encode() * 300, "half a transaction"
            assert set(entries) == {"one", "two", f"n/{found}"}
            await store.commit([DeletePrefix("n/"), Delete("one"), Delete("two")])


async def test_a_second_process_is_refused_with_the_holders_pid(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with start_child(path) as child:
        assert child.stdout is not None
        try:
            child.stdout.readline()
            with pytest.raises(Conflict, match=f"{path} is in use by process {child.pid}$") as caught:
                SqliteStore(path)
            assert "--state-dir" in str(caught.value.remedy)
        finally:
            child.send_signal(signal.SIGKILL)
    async with opened(path):
        with pytest.raises(Conflict, match=f"in use by process {os.getpid()}$"):
            SqliteStore(path)


async def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.db") as store:
        await store.commit([Put("a", b"kept")])
        connection = store._backend._connection  # type: ignore[attr-defined]
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(Unavailable, match="the disk is full; nothing was changed") as caught:
            await store.commit([Put("a", b"lost"), Put("b", b"x" * 100_000)])
        assert str(tmp_path) in str(caught.value.remedy)
        snapshot = await store.list("")
        assert [(entry.key, entry.value, entry.revision) for entry in snapshot.entries] == [("a", b"kept", 1)]
        connection.execute("PRAGMA max_page_count = 100000")
        assert await store.commit([Put("b", b"x" * 100_000)]) == 2


async def test_a_failure_half_way_undoes_the_first_half(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.db") as store:
        connection = store._backend._connection  # type: ignore[attr-defined]
        connection.execute(
            "CREATE TEMP TRIGGER refuse BEFORE INSERT ON entries WHEN NEW.key = 'b' "
            "BEGIN SELECT RAISE(ABORT, 'refused for the test'); END"
        )
        with pytest.raises(Failed, match="refused for the test"):
            await store.commit([Put("a", b""), Put("b", b"")])
        assert await store.list("") == Snapshot((), 0)
        assert await store.commit([Put("a", b"")]) == 1


async def test_reading_goes_on_when_a_lease_cannot_be_ended(tmp_path: Path, clock: Clock) -> None:
    async with opened(tmp_path / "store.db", clock=clock) as store:
        lease = await store.grant(1)
        await store.commit([Put("a", b"", lease), Put("b", b"")])
        connection = store._backend._connection  # type: ignore[attr-defined]
        connection.execute("PRAGMA query_only = 1")  # writing fails as on a read-only disk
        clock.now += 2
        with pytest.raises(CarrickError):
            await store.commit([Put("c", b"")])
        assert await store.get("b") is not None
        connection.execute("PRAGMA query_only = 0")
        assert await store.get("a") is None


@pytest.mark.parametrize("damage", ["garbage", "half", "page", "foreign"])
async def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "store.db"
    async with opened(path) as store:
        for number in range(200):
            await store.commit([Put(f"key/{number}", b"x" * 500)])
    content = path.read_bytes()
    match damage:
        case "garbage":
            path.write_bytes(b"no database at all " * 400)
        case "half":
            path.write_bytes(content[: len(content) // 2])
        case "page":
            path.write_bytes(content[:8192] + bytes(range(256)) * 16 + content[12288:])
        case "foreign":
            path.unlink()
            other = sqlite3.connect(path)
            other.execute("CREATE TABLE recipes (name TEXT)")
            other.close()
    broken = path.read_bytes()
    with pytest.raises(Failed, match=str(path)) as caught:
        SqliteStore(path)
    assert caught.value.remedy
    assert path.read_bytes()[100:] == broken[100:], "evidence is not tidied away"
    async with opened(tmp_path / "other.db"):
        pass  # the lock of the first attempt is gone, too
    path.unlink()
    for rest in tmp_path.glob("store.db-*"):
        rest.unlink()
    async with opened(path) as store:
        assert (await store.list("")).entries == ()


async def test_a_newer_layout_is_refused_and_an_older_one_migrated(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(path) as store:
        await store.commit([Put("a", b"1")])
    newer = (*MIGRATIONS, ("ALTER TABLE entries ADD COLUMN extra TEXT", "UPDATE entries SET value = X'32'"))
    failing = (*newer, ("UPDATE entries SET value = X'33'", "this is no SQL"))
    with pytest.raises(Failed, match="syntax error"):
        SqliteStore(path, migrations=failing)
    async with opened(path) as store:
        assert await read(store, "a") == b"1", "a failed migration leaves everything"
    store = SqliteStore(path, migrations=newer)
    assert await read(store, "a") == b"2"
    await store.aclose()
    with pytest.raises(Failed, match="newer Carrick: it has layout 2, and this one knows layouts up to 1"):
        SqliteStore(path)


def test_a_directory_that_cannot_be_written_is_named() -> None:
    # Not even root may make a file in /sys, so this needs no user of its own.
    with pytest.raises(Denied, match=r"/sys/store\.db") as caught:
        SqliteStore(Path("/sys/store.db"))
    assert "--state-dir" in str(caught.value.remedy)
    with pytest.raises(Denied, match="/dev/null"):
        SqliteStore(Path("/dev/null/state/store.db"))


# Typed collections


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    address: Address
    subnets: tuple[Prefix, ...] = ()
    only_v4: IPv4Address | None = None
    path: PurePosixPath | None = None


async def test_records_keep_their_types(store: Store) -> None:
    samples = Collection(store, "samples/", Sample)
    record = Sample(
        "é",
        ip_address("fd00::1"),
        (ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
        IPv4Address("1.2.3.4"),
        PurePosixPath("/run/x"),
    )
    revision = await samples.put("x", record, expecting=ABSENT)
    found = await samples.get("x")
    assert found is not None
    assert (found.value, found.revision) == (record, revision)
    assert type(found.value.path) is PurePosixPath
    assert await samples.get("y") is None


async def test_the_records_of_the_domains_can_be_kept(store: Store) -> None:
    leases = Collection(store, "leases/", Lease)
    lease = Lease(ip_address("fd00::5"), PoolId("net/6"), "ep", LeaseKind.DYNAMIC, 7, released_at=1.5)
    await leases.put(lease.id, lease, expecting=ABSENT)
    assert (await leases.list("net/6/")).values == [lease]
    states = Collection(store, "pools/", PoolState)
    state = PoolState(PoolId("net/6"), 8, ip_address("fd00::5"))
    networks = Collection(store, "networks/", Network)
    network = Network("n" * 64, "web", "bridge", 1, pools=(PoolConfig("10.0.0.0/8"),), labels={"a": "b"})  # type: ignore[arg-type]
    await store.commit([states.putting(state.id, state), networks.putting(network.id, network)])
    assert (await states.list()).values == [state]
    assert (await networks.list()).values == [network]


async def test_writes_expect_a_revision(store: Store) -> None:
    samples = Collection(store, "samples/", Sample)
    one = Sample("one", ip_address("1.2.3.4"))
    revision = await samples.put("x", one, expecting=ABSENT)
    with pytest.raises(StaleRevision, match="samples/x exists already"):
        await samples.put("x", one, expecting=ABSENT)
    later = await samples.put("x", one, expecting=revision)
    with pytest.raises(StaleRevision):
        await samples.delete("x", expecting=revision)
    await samples.put("x", one, expecting=None)
    await samples.delete("x", expecting=later + 1)
    await samples.delete("x", expecting=None)
    assert (await samples.list()).records == {}


async def test_several_collections_change_together(store: Store) -> None:
    left, right = Collection(store, "left/", Sample), Collection(store, "right/", Sample)
    sample = Sample("s", ip_address("1.2.3.4"))
    revision = await left.put("x", sample, expecting=ABSENT)
    await store.commit([left.deleting("x"), right.putting("x", sample)], [left.expecting("x", revision)])
    assert (await left.list()).values == []
    assert list((await right.list()).records) == ["x"]


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[]", b'{"name": 1, "address": "1.2.3.4"}', b'{"name": "x", "address": "1.2.3"}', b"\xff"],
)
async def test_a_record_that_cannot_be_read_is_kept_and_hides_nothing(store: Store, value: bytes) -> None:
    samples = Collection(store, "samples/", Sample)
    good = Sample("good", ip_address("1.2.3.4"))
    await samples.put("good", good, expecting=ABSENT)
    revision = await store.commit([Put("samples/bad", value)])
    with pytest.raises(Undecodable, match=r"the record samples/bad in the store cannot be read") as caught:
        await samples.get("bad")
    listing = await samples.list()
    assert listing.values == [good]
    assert [(b.key, b.value, b.revision) for b in listing.broken] == [("samples/bad", value, revision)]
    assert await read(store, "samples/bad") == value
    kept_at = await samples.set_aside(caught.value)
    assert await read(store, kept_at) == value
    assert (await samples.list()).broken == ()
    with pytest.raises(StaleRevision):
        await samples.set_aside(caught.value)


async def test_unknown_fields_of_a_newer_daemon_are_read_over(store: Store) -> None:
    samples = Collection(store, "samples/", Sample)
    await store.commit([Put("samples/x", b'{"name": "x", "address": "1.2.3.4", "colour": "red"}')])
    found = await samples.get("x")
    assert found is not None
    assert found.value == Sample("x", ip_address("1.2.3.4"))


def test_a_collection_needs_a_prefix_of_its_own(store: Store) -> None:
    with pytest.raises(InvalidRequest, match="ends in a slash"):
        Collection(store, "samples", Sample)
