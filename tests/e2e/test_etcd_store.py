"""The etcd store when etcd has its bad days: killed, frozen, partitioned, compacted, full, locked,
misconfigured.

Real members on loopback addresses of their own. What a healthy etcd does is in the contract suite.
"""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from carrick.host.store import (
    ABSENT,
    Changed,
    Compacted,
    Condition,
    Delete,
    Event,
    Put,
    Snapshot,
    Watch,
    follow,
)
from carrick.host.store.contract import OutcomeUnknown
from carrick.host.store.etcd import EtcdStore, open_etcd
from carrick.host.store.etcd_config import Endpoint, EtcdConfig
from carrick.host.store.etcd_grpc import ConnectFailed, GrpcConnection, connect
from carrick.host.store.etcd_transport import EtcdTransport
from carrick.host.store.lease import hold_lease
from carrick.model.errors import CarrickError, Denied, InvalidRequest, Unavailable
from carrick.testing.certificates import Authority, Certificate
from carrick.testing.etcd import EtcdCluster, has_etcd

pytestmark = pytest.mark.skipif(not has_etcd(), reason="needs etcd-server and etcd-client")

_PATIENCE_S = 90.0


class Connector:
    """Connects, counts, and looks for a sign of life more often than is usual."""

    def __init__(self) -> None:
        self.attempts: list[tuple[float, Endpoint]] = []

    async def __call__(self, endpoint: Endpoint, tls: ssl.SSLContext | None) -> GrpcConnection:
        self.attempts.append((time.monotonic(), endpoint))
        return await connect(endpoint, tls, timeout_s=1.0, ping_after_s=1.0, ping_timeout_s=1.0)


@asynccontextmanager
async def impatient(config: EtcdConfig, connector: Connector | None = None) -> AsyncIterator[EtcdStore]:
    """A store that notices a dead member within a few seconds."""
    transport = EtcdTransport(config, connect=connector or Connector())
    async with EtcdStore(config, transport=transport) as store:
        yield store


async def take(watch: Watch, number: int) -> list[Event]:
    async with asyncio.timeout(_PATIENCE_S):
        return [await anext(watch) for _ in range(number)]


async def eventually(call: Callable[[], Any]) -> Any:
    """Repeat a call until the store is available again."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                return await call()
            except Unavailable:
                await asyncio.sleep(0.05)


async def count_up(store: EtcdStore, key: str) -> int:
    """Add one to a number, exactly once, whatever happens on the way; return the revision."""
    while True:
        entry = await eventually(lambda: store.get(key))
        before = int(entry.value) if entry else 0
        try:
            condition = Condition(key, entry.revision if entry else ABSENT)
            return await store.commit([Put(key, str(before + 1).encode())], [condition])
        except OutcomeUnknown:
            # Nobody else writes this key, so its value says whether it was made. It may still come: a write
            # on the condition of what was read settles it.
            found = await eventually(lambda: store.get(key))
            if found is not None and int(found.value) == before + 1:
                return int(found.revision)
        except CarrickError:
            await asyncio.sleep(0.05)


@pytest.fixture
def one() -> Iterator[EtcdCluster]:
    with EtcdCluster() as cluster:
        yield cluster


@pytest.fixture
def three() -> Iterator[EtcdCluster]:
    with EtcdCluster(3) as cluster:
        yield cluster


# Outages


async def test_a_watch_outlives_etcd_being_killed_and_started_again(one: EtcdCluster) -> None:
    async with impatient(one.config(request_timeout_s=2.0)) as store:
        first = await store.commit([Put("n/a", b"1")])
        async with store.watch("n/", after=first - 1) as watch:
            assert await take(watch, 1) == [Changed("n/a", b"1", first)]
            (member,) = one.members
            member.kill()
            with pytest.raises(Unavailable, match="connection refused") as caught:
                await store.get("n/a")
            assert str(one.endpoints[0]) in str(caught.value)
            assert caught.value.remedy
            assert store.outage
            member.start()
            revision = await count_up(store, "n/b")
            assert await take(watch, 1) == [Changed("n/b", b"1", revision)]
            assert not store.outage


async def test_an_outage_costs_few_attempts_however_many_wait(one: EtcdCluster) -> None:
    connector = Connector()
    async with impatient(one.config(request_timeout_s=1.0), connector) as store:
        after = await store.commit([Put("n/a", b"")])
        watches = [store.watch("n/", after=after) for _ in range(30)]

        async def ask() -> None:
            while True:
                try:
                    await store.get("n/a")
                except Unavailable:
                    await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(anext(watch)) for watch in watches]
            callers = [group.create_task(ask()) for _ in range(10)]
            await asyncio.sleep(0.5)
            one.members[0].kill()
            before, busy_s = len(connector.attempts), time.process_time()
            await asyncio.sleep(6)
            attempts, busy_s = len(connector.attempts) - before, time.process_time() - busy_s
            for caller in callers:
                caller.cancel()
            one.members[0].start()
            revision = await count_up(store, "n/b")
            async with asyncio.timeout(_PATIENCE_S):
                assert {await reader for reader in readers} == {Changed("n/b", b"1", revision)}
        assert 1 <= attempts <= 25, "each round waits longer, for everybody together"
        assert busy_s < 3


async def test_the_pauses_grow_and_are_never_the_same() -> None:
    """Without an etcd at all: the moments of the attempts of many clients."""

    async def refuse(endpoint: Endpoint, tls: ssl.SSLContext | None) -> GrpcConnection:
        raise ConnectFailed("refused for the test")

    pauses: list[list[float]] = []
    now = [0.0]
    for seed in range(20):
        now[0] = 0.0
        config = EtcdConfig((Endpoint("h", 1, tls=False),))
        transport = EtcdTransport(config, rng=random.Random(seed), clock=lambda: now[0], connect=refuse)
        mine = []
        for _ in range(10):
            with pytest.raises(Unavailable, match=r"http://h:1 \(refused for the test\)"):
                await transport.call("/m", b"", repeatable=True)
            mine.append(transport._next_round - now[0])
            now[0] = transport._next_round
        pauses.append(mine)
        await transport.aclose()
    assert max(mine[0] for mine in pauses) <= 1.0
    assert max(max(mine) for mine in pauses) <= 10.0
    assert sum(mine[-1] for mine in pauses) > 3 * sum(mine[0] for mine in pauses)
    assert len({mine[-1] for mine in pauses}) == len(pauses)


async def test_an_answer_that_is_lost_is_said_to_be(one: EtcdCluster) -> None:
    async with impatient(one.config(request_timeout_s=1.0)) as store:
        revision = await store.commit([Put("a", b"1")])
        one.members[0].freeze()
        with pytest.raises(OutcomeUnknown, match="has not answered whether the transaction was made"):
            await store.commit([Put("a", b"2")], [Condition("a", revision)])
        with pytest.raises(Unavailable) as caught:
            await store.get("a")
        assert not isinstance(caught.value, OutcomeUnknown), "reading has no outcome"
        one.members[0].thaw()
        await count_up(store, "a")
        entry = await store.get("a")
        assert entry is not None
        assert entry.value in {b"2", b"3"}


async def test_compaction_during_an_outage_gives_a_new_snapshot(one: EtcdCluster) -> None:
    async with impatient(one.config()) as store, open_etcd(one.config()) as other:
        await store.commit([Put("n/a", b"1"), Put("n/gone", b"")])
        async with follow(store, "n/") as updates:
            assert isinstance(await anext(updates), Snapshot)
            assert await other.commit([Put("n/b", b"")]) == getattr(await anext(updates), "revision", 0)
            assert store.transport._current is not None
            store.transport._current.close("cut for the test")
            for number in range(20):
                revision = await other.commit([Put("n/a", str(number).encode())])
            await other.commit([Delete("n/gone")])
            one.ctl("compact", str(revision + 1))
            async with asyncio.timeout(_PATIENCE_S):
                snapshot = await anext(updates)
            assert isinstance(snapshot, Snapshot)
            assert [(entry.key, entry.value) for entry in snapshot.entries] == [("n/a", b"19"), ("n/b", b"")]
            last = await other.commit([Put("n/c", b"")])
            assert await anext(updates) == Changed("n/c", b"", last)


async def test_an_etcd_restored_from_a_backup_gives_a_new_snapshot(one: EtcdCluster, tmp_path: Path) -> None:
    (member,) = one.members
    async with impatient(one.config()) as store:
        await store.commit([Put("a", b"1")])
        one.ctl("snapshot", "save", str(tmp_path / "backup"))
        for number in range(5):
            last = await store.commit([Put("a", str(number).encode())])
        async with store.watch("", after=last - 1) as watch:
            assert len(await take(watch, 1)) == 1
            member.stop()
            (member.directory / "data").rename(member.directory / "lost")
            peer = f"http://{member.address}:2380"
            restore = ["snapshot", "restore", str(tmp_path / "backup"), "--name", member.name]
            restore += ["--initial-cluster", f"{member.name}={peer}", "--initial-advertise-peer-urls", peer]
            restore += ["--initial-cluster-token", one.directory.name]
            one.ctl(*restore, "--data-dir", str(member.directory / "data"))
            member.start()
            one.wait_ready()
            (event,) = await take(watch, 1)
            assert isinstance(event, Compacted)
            assert event.revision < last
            revision = await count_up(store, "b")
            assert await take(watch, 1) == [Changed("b", b"1", revision)]


# Several members


async def test_no_change_is_lost_when_the_leader_moves(three: EtcdCluster) -> None:
    stores = [open_etcd(three.config(endpoints=(endpoint,))) for endpoint in three.endpoints]
    async with stores[0], stores[1], stores[2], asyncio.TaskGroup() as group:
        base = (await stores[0].list("")).revision
        readers = [group.create_task(take(store.watch("n", after=base), 60)) for store in stores]
        for number in range(60):
            if number % 20 == 10:
                await asyncio.to_thread(three.move_leader)
            await count_up(stores[number % 3], "n")
    for reader in readers:
        events = reader.result()
        assert [event.value for event in events if isinstance(event, Changed)] == [
            str(number).encode() for number in range(1, 61)
        ]


async def test_no_change_is_lost_when_the_leader_is_killed(three: EtcdCluster) -> None:
    async with impatient(three.config()) as store, impatient(three.config()) as other:
        base = (await store.list("")).revision
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(take(other.watch("n", after=base), 60))
            for number in range(60):
                if number in {20, 40}:
                    leader = await asyncio.to_thread(three.leader)
                    three.members[leader].kill()
                elif number in {30, 50}:
                    three.members[leader].start()
                    await asyncio.to_thread(three.wait_ready)
                await count_up(store, "n")
        values = [event.value for event in reader.result() if isinstance(event, Changed)]
        assert values == [str(number).encode() for number in range(1, 61)]


async def test_a_member_that_is_a_black_hole_is_left(three: EtcdCluster) -> None:
    async with impatient(three.config(request_timeout_s=6.0)) as store:
        base = await store.commit([Put("a", b"0")])
        async with store.watch("a", after=base) as watch:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await anext(watch)
            assert store.transport._current is not None
            hole = store.transport._current.endpoint
            member = three.members[three.endpoints.index(hole)]
            member.freeze()
            entry = await store.get("a")
            assert entry is not None, "one request, answered by another member"
            assert store.transport._current is not None
            assert store.transport._current.endpoint != hole
            revision = await count_up(store, "a")
            assert await take(watch, 1) == [Changed("a", b"1", revision)], "the watch has moved, too"
            member.thaw()


async def test_without_a_majority_nothing_is_served_and_then_all(three: EtcdCluster) -> None:
    async with impatient(three.config(request_timeout_s=3.0)) as store:
        base = await store.commit([Put("a", b"0")])
        for member in three.members[:2]:
            member.kill()
        async with asyncio.timeout(_PATIENCE_S):
            for _ in range(3):
                with pytest.raises(Unavailable):
                    await store.get("a")
                with pytest.raises(Unavailable):
                    await store.commit([Put("a", b"x")], [Condition("a", base + 1000)])
        for member in three.members[:2]:
            member.start()
        await count_up(store, "a")
        assert (await store.get("a")) is not None


# Leases


async def test_a_held_lease_outlives_a_short_outage_and_knows_of_a_long_one(one: EtcdCluster) -> None:
    async with impatient(one.config(request_timeout_s=1.0)) as store:
        async with hold_lease(store, 9) as held:
            await store.commit([Put("nodes/a", b"", held.id)])
            one.members[0].kill()
            await asyncio.sleep(1)
            one.members[0].start()
            await asyncio.sleep(10)
            assert await eventually(lambda: store.get("nodes/a")) is not None
            assert not held.is_lost
        async with hold_lease(store, 3) as held:
            one.members[0].kill()
            async with asyncio.timeout(_PATIENCE_S):
                await held.wait_lost()


# A slow reader


async def test_what_a_slow_reader_has_not_taken_waits_at_etcd(one: EtcdCluster) -> None:
    async with open_etcd(one.config()) as store:
        base = await store.commit([Put("n", b"0")])
        async with store.watch("n", after=base - 1) as watch:
            await take(watch, 1)
            for _ in range(40):
                await store.commit([Put("n", b"x" * 1024 * 1024)])
            await asyncio.sleep(0.5)
            lane = watch._lane  # type: ignore[attr-defined]
            assert lane.waiting_bytes <= 2 * 1024 * 1024
            assert await store.get("n") is not None, "others are not held up"
            events = await take(watch, 40)
            assert [event.revision for event in events] == list(range(base + 1, base + 41))


async def test_a_large_store_is_listed(one: EtcdCluster) -> None:
    async with open_etcd(one.config()) as store:
        for number in range(30):
            await store.commit([Put(f"big/{number:03}", bytes(1024 * 1024))])
        assert [len(entry.value) for entry in (await store.list("big/")).entries] == [1024 * 1024] * 30


# Limits


async def test_what_etcd_finds_too_large_is_an_invalid_request() -> None:
    with EtcdCluster(options=["--max-request-bytes", "10000", "--max-txn-ops", "3"]) as cluster:
        async with open_etcd(cluster.config()) as store:
            with pytest.raises(InvalidRequest, match="too large") as caught:
                await store.commit([Put("a", bytes(20_000))])
            assert "--max-request-bytes" in str(caught.value.remedy)
            with pytest.raises(InvalidRequest, match=r"larger than max"):
                await store.commit([Put("a", bytes(1_000_000))])
            with pytest.raises(InvalidRequest, match="too many operations"):
                await store.commit([Put(key, b"") for key in "abcd"])
            await store.commit([Put("a", b"")])


async def test_a_full_etcd_is_said_and_survived() -> None:
    with EtcdCluster(options=["--quota-backend-bytes", str(16 * 1024 * 1024)]) as cluster:
        async with open_etcd(cluster.config()) as store:
            with pytest.raises(Unavailable, match="is full") as caught:
                for number in range(40):
                    await store.commit([Put(f"n/{number}", bytes(1024 * 1024))])
            assert "alarm disarm" in str(caught.value.remedy)
            assert await store.get("n/0") is not None


# Who may


async def test_users_passwords_and_tokens(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")
    with EtcdCluster(options=["--auth-token-ttl", "1"]) as cluster:
        mine = cluster.config("mine/", user="carrick", password_file=password)
        async with open_etcd(mine) as early:
            await early.commit([Put("a", b"1")])  # the user is there before authentication is on
            cluster.enable_auth("carrick", "secret", prefix="mine/")
            await early.commit([Put("a", b"2")])
        async with open_etcd(mine) as store:
            base = await store.commit([Put("a", b"3")])
            async with store.watch("", after=base - 1) as watch:
                assert len(await take(watch, 1)) == 1
                await asyncio.sleep(3)  # longer than the token lives
                assert await store.get("a") is not None
                last = await store.commit([Put("a", b"4")])
                assert await take(watch, 1) == [Changed("a", b"4", last)]
            await asyncio.sleep(3)
            async with store.watch("", after=base - 1) as watch:
                assert len(await take(watch, 2)) == 2, "a watch, too, logs in again"
            lease = await store.grant(10)
            await store.commit([Put("b", b"", lease)])
            await store.keep_alive(lease)
            await store.revoke(lease)
        async with open_etcd(cluster.config("theirs/", user="carrick", password_file=password)) as store:
            with pytest.raises(Denied, match="does not let the user carrick") as caught:
                await store.get("a")
            assert "grant-permission" in str(caught.value.remedy)
            with pytest.raises(Denied, match="does not let the user carrick"):
                await anext(store.watch("", after=0))
        async with open_etcd(cluster.config("mine/")) as store:
            with pytest.raises(Denied, match="wants a user"):
                await store.get("a")
        password.write_text("wrong")
        async with open_etcd(mine) as store:
            with pytest.raises(Denied, match="refuses the user carrick: wrong name or password"):
                await store.get("a")
            password.write_text("secret")
            assert await store.get("a") is not None, "a password that was put right needs no restart"
        password.unlink()
        async with open_etcd(mine) as store:
            with pytest.raises(Denied, match="cannot read the password file"):
                await store.get("a")


async def test_many_calls_log_in_once(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    with EtcdCluster() as cluster:
        cluster.enable_auth("carrick", "secret", prefix="mine/")
        async with open_etcd(cluster.config("mine/", user="carrick", password_file=password)) as store:
            asked: list[str] = []
            ask = store.transport._ask

            async def counted(connection: GrpcConnection, method: str, *rest: Any, **more: Any) -> bytes:
                asked.append(method)
                return await ask(connection, method, *rest, **more)

            store.transport._ask = counted  # type: ignore[method-assign]
            await asyncio.gather(*(store.get(str(number)) for number in range(50)))
            (member,) = cluster.members
            member.stop()
            member.start()
            await asyncio.to_thread(cluster.wait_ready)
            await asyncio.gather(*(eventually(lambda: store.get("a")) for _ in range(50)))
            assert sum(method.endswith("/Authenticate") for method in asked) <= 3


# TLS


@pytest.fixture(scope="module")
def secure() -> Iterator[EtcdCluster]:
    with EtcdCluster(tls=True) as cluster:
        yield cluster


async def refusal(config: EtcdConfig) -> CarrickError:
    async with open_etcd(config) as store:
        with pytest.raises(CarrickError) as caught:
            await store.check()
        return caught.value


async def settled_refusal(config: EtcdConfig) -> CarrickError:
    """Return why an etcd that is just starting does not serve."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            error = await refusal(config)
            if "connection refused" not in str(error):
                return error


async def test_both_sides_show_certificates(secure: EtcdCluster) -> None:
    async with open_etcd(secure.config("tls/")) as store:
        revision = await store.commit([Put("a", bytes(1024 * 1024))])
        async with store.watch("", after=revision - 1) as watch:
            assert len(await take(watch, 1)) == 1
        await asyncio.gather(*(store.get("a") for _ in range(20)))


async def test_a_foreign_authority_is_not_trusted(secure: EtcdCluster, tmp_path: Path) -> None:
    foreign = Authority(tmp_path, "foreign")
    error = await refusal(secure.config(cacert=foreign.ca))
    assert isinstance(error, Unavailable)
    assert "its certificate is refused" in str(error)
    assert str(secure.endpoints[0]) in str(error)
    assert "cacert" in str(error.remedy)
    stranger = foreign.issue("client")
    error = await refusal(secure.config(cert=stranger.cert, key=stranger.key))
    assert "refused our certificate" in str(error)


async def test_without_a_certificate_of_ours(secure: EtcdCluster) -> None:
    error = await refusal(secure.config(cert=None, key=None))
    assert "refused our certificate or our lack of one" in str(error)


async def test_an_expired_certificate_of_ours(secure: EtcdCluster) -> None:
    assert secure.authority is not None
    old = secure.authority.issue("client", starts=timedelta(days=-2), ends=timedelta(hours=-1))
    error = await refusal(secure.config(cert=old.cert, key=old.key))
    assert "refused our certificate" in str(error)
    assert "dates" in str(error.remedy)


@pytest.mark.parametrize(
    ("starts", "ends", "words"),
    [
        (timedelta(days=-2), timedelta(hours=-1), "certificate has expired"),
        (timedelta(hours=1), timedelta(days=1), "certificate is not yet valid"),
    ],
    ids=["expired", "from tomorrow's clock"],
)
async def test_dates_of_the_certificate_and_of_the_clock(
    starts: timedelta, ends: timedelta, words: str
) -> None:
    server: Certificate | None = None
    with EtcdCluster(tls=True) as cluster:
        assert cluster.authority is not None
        (member,) = cluster.members
        server = cluster.authority.issue("server", [member.address], starts=starts, ends=ends)
        member.stop()
        member.start("--cert-file", str(server.cert), "--key-file", str(server.key))
        error = await settled_refusal(cluster.config())
        assert words in str(error)
        assert "clock" in str(error.remedy)


async def test_a_name_that_is_not_in_the_certificate() -> None:
    with EtcdCluster(tls=True) as other:
        assert other.authority is not None
        wrong = other.authority.issue("elsewhere", ["127.0.0.99"])
        other.members[0].stop()
        other.members[0].start("--cert-file", str(wrong.cert), "--key-file", str(wrong.key))
        error = await settled_refusal(other.config())
        assert "not valid for" in str(error)


async def test_encryption_on_one_side_only(secure: EtcdCluster, one: EtcdCluster, tmp_path: Path) -> None:
    plain = tuple(Endpoint(item.host, item.port, tls=False) for item in secure.endpoints)
    error = await refusal(EtcdConfig(plain))
    assert "write https://" in str(error.remedy), str(error)
    encrypted = tuple(Endpoint(item.host, item.port, tls=True) for item in one.endpoints)
    error = await refusal(EtcdConfig(encrypted))
    assert "write http://" in str(error.remedy), str(error)
    error = await refusal(secure.config(cacert=tmp_path / "missing.pem"))
    assert isinstance(error, Denied)
    assert "missing.pem" in str(error)


async def test_a_certificate_may_be_renewed_without_a_restart(secure: EtcdCluster, tmp_path: Path) -> None:
    assert secure.authority is not None
    old = secure.authority.issue("client", starts=timedelta(days=-2), ends=timedelta(hours=-1))
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(old.cert.read_bytes())
    key.write_bytes(old.key.read_bytes())
    async with open_etcd(secure.config("renewed/", cert=cert, key=key)) as store:
        with pytest.raises(Unavailable):
            await store.check()
        assert secure.client is not None
        cert.write_bytes(secure.client.cert.read_bytes())
        key.write_bytes(secure.client.key.read_bytes())
        await eventually(store.check)


async def test_what_is_not_an_etcd_is_said(one: EtcdCluster) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, one.members[0].address, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await refusal(EtcdConfig((Endpoint(one.members[0].address, port, tls=False),)))
    assert "does not speak HTTP/2" in str(error)


async def test_closing_does_not_wait_for_an_etcd_that_is_away(one: EtcdCluster) -> None:
    one.members[0].kill()
    store = open_etcd(one.config(request_timeout_s=30.0))
    for _ in range(4):  # until the next round is seconds away
        with pytest.raises(Unavailable):
            await store.get("a")
    async with asyncio.timeout(_PATIENCE_S), asyncio.TaskGroup() as group:
        reader = group.create_task(take_all(store.watch("", after=0)))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await store.aclose()
    assert reader.result() == []
    assert time.monotonic() - began < 20


async def take_all(watch: Watch) -> list[Event]:
    return [event async for event in watch]
