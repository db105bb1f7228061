"""Founding, joining, recovering, renewing over a store in memory, with the node API on loopback."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from carrick.doors.node import NodeServer
from carrick.engine.clock import SystemClock
from carrick.engine.cluster.admission import authorities
from carrick.engine.cluster.joining import Joining, is_unprotected
from carrick.engine.cluster.records import META, ClusterRecords
from carrick.engine.cluster.values import Admission, Admitted, InitCluster, JoinCluster
from carrick.host.peers import HostPort
from carrick.host.pki import JoinToken, fingerprint
from carrick.host.store.contract import Delete, Put, Store
from carrick.model.cluster import ClusterMeta, ClusterSettings, NodeId, NodeRecord, Underlay
from carrick.model.errors import Conflict, Denied, Failed, InvalidRequest, Unavailable, Unsupported
from carrick.testing.fake_clock import FakeClock
from carrick.testing.memory_store import MemoryStore

UNDERLAY = Underlay("192.0.2.7", "192.0.2.0/24")
GIVEN = InitCluster(endpoints=("http://192.0.2.1:2379",))


class Shared:
    """The store that all are given, which they may close."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.away = False
        self.opened: list[ClusterSettings] = []

    def open(self, settings: ClusterSettings) -> Store:
        self.opened.append(settings)
        return _View(self)  # type: ignore[return-value]

    @property
    def records(self) -> ClusterRecords:
        return ClusterRecords(self.store)


class _View:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def __getattr__(self, name: str) -> Any:
        if self._shared.away:
            raise Unavailable("no etcd endpoint answers: http://192.0.2.1:2379")
        return getattr(self._shared.store, name)

    async def __aenter__(self) -> "_View":
        return self

    async def __aexit__(self, *_: object) -> None:
        return


class Node:
    def __init__(self, directory: Path, shared: Shared, **options: Any) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.shared = shared
        clock = options.pop("clock", SystemClock())
        self.joining = Joining(
            directory=directory / "cluster", clock=clock, version="9", open_store=shared.open, **options
        )
        self.settings: ClusterSettings | None = None
        self.server: NodeServer | None = None

    cluster_id = node_id = ""
    has_authority = True

    def is_member(self, node: str) -> bool:
        return True

    async def admit(self, request: Admission) -> Admitted:
        assert self.settings
        return await self.joining.admit(self.shared.records, self.settings, request)

    async def renew(self, node: NodeId, certificate_request: str) -> Admitted:
        assert self.settings
        return await self.joining.renew(self.settings, node, certificate_request)

    async def found(self, request: InitCluster = GIVEN) -> ClusterSettings:
        self.settings = await self.joining.found(request, "one", UNDERLAY)
        return self.settings

    async def serve(self) -> str:
        """Serve the node API, put the node's record; return where it is."""
        assert self.settings
        self.server = NodeServer(self, self.joining.identity, HostPort("127.0.0.1", 0))
        await self.server.start()
        where = f"127.0.0.1:{self.server.port}"
        record = NodeRecord(self.settings.node, self.settings.name, 1, (UNDERLAY,), api=where)
        await self.shared.records.nodes.put(self.settings.node, record, expecting=None)
        return where

    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


MakeNode = Callable[..., Node]


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[MakeNode]:
    shared, made = Shared(), []

    def make(name: str = "one", **options: Any) -> Node:
        made.append(Node(tmp_path / name, shared, **options))
        return made[-1]

    yield make
    for node in made:
        if node.server:
            await node.server.stop()


async def test_who_has_the_authority_says_so_again_once_the_store_is_its_cluster_s(nodes: MakeNode) -> None:
    clock = FakeClock()
    node = nodes(clock=clock)
    settings = await node.found()
    records, store = node.shared.records, node.shared.store
    known = {entry.key: entry.value for entry in (await store.list("")).entries}
    keeping = asyncio.create_task(node.joining.run(records, settings))
    await store.commit([Delete(key) for key in known])
    await clock.advance(7200)
    # To a store that is not our cluster's nothing is said.
    assert (await store.list("")).entries == ()
    await store.commit([Put(f"meta/{META}", known[f"meta/{META}"])])
    await clock.advance(61)
    assert await authorities(records).get(settings.node)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_founding(nodes: MakeNode) -> None:
    node = nodes()
    settings = await node.found(replace(GIVEN, listen="192.0.2.7:2400", address="eth0", gone_after_s=5.0))
    found = await node.shared.records.meta.get(META)
    assert found and (found.value.id, found.value.ca_sha256) == (settings.cluster, settings.ca_sha256)
    assert settings.ca_sha256 == fingerprint(node.joining.ca_pem())
    assert (settings.endpoints, settings.address, settings.gone_after_s) == (GIVEN.endpoints, "eth0", 5.0)
    assert node.joining.listen(settings) == HostPort("192.0.2.7", 2400)
    assert node.joining.has_authority and not settings.own_etcd and is_unprotected(settings.endpoints)
    assert node.files() == ["cluster"]
    with pytest.raises(Conflict, match=f"this node is in cluster {settings.cluster} as one already"):
        await node.found()
    assert await node.joining.recover(None) == settings
    assert await node.joining.recover(replace(settings, epoch=3)) == replace(settings, epoch=3)
    assert await node.joining.recover(replace(settings, cluster="before")) == settings
    await node.joining.forget()
    assert await node.joining.recover(settings) is None


async def test_without_tls_there_is_a_warning(nodes: MakeNode, caplog: pytest.LogCaptureFixture) -> None:
    await nodes().found()
    assert "etcd is reached without TLS (http://192.0.2.1:2379)" in caplog.text


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (InitCluster(endpoints=("ftp://x",)), InvalidRequest, "is not of the form"),
        (replace(GIVEN, listen="x:y"), InvalidRequest, "--listen"),
        (replace(GIVEN, gone_after_s=0), InvalidRequest, "more than 0"),
        (replace(GIVEN, etcd_cacert="/nowhere/ca.pem"), InvalidRequest, "cannot read /nowhere/ca.pem"),
        (replace(GIVEN, etcd_cert="/x"), InvalidRequest, "go together"),
        (replace(GIVEN, etcd_user="x"), InvalidRequest, "go together"),
        (replace(GIVEN, etcd_cacert="/etc/hostname"), InvalidRequest, "no certificate"),
    ],
)
async def test_founding_wrongly_leaves_nothing(
    nodes: MakeNode, request_: InitCluster, error: type[Exception], message: str
) -> None:
    node = nodes()
    with pytest.raises(error, match=message):
        await node.found(request_)
    assert node.files() == [] and not (await node.shared.store.list("")).entries


async def test_without_an_etcd_to_start(nodes: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node = nodes()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unsupported, match="there is no etcd on this host") as refused:
        await node.found(InitCluster())
    assert "apt-get install etcd-server" in (refused.value.remedy or "")
    assert node.files() == []


@pytest.mark.parametrize(("form", "error"), [(1, Conflict), (99, Unsupported)])
async def test_a_store_that_holds_a_cluster(nodes: MakeNode, form: int, error: type[Exception]) -> None:
    node = nodes()
    await node.shared.records.meta.put(META, ClusterMeta("other", "", 0, form), expecting=0)
    with pytest.raises(error, match="other"):
        await node.found()
    assert node.files() == []
    found = await node.shared.records.meta.get(META)
    assert found and found.value.id == "other"


async def test_a_store_that_is_away(nodes: MakeNode) -> None:
    node = nodes()
    node.shared.away = True
    with pytest.raises(Unavailable, match="no etcd endpoint answers"):
        await node.found()
    assert node.files() == []


async def test_a_claim_that_cannot_be_taken_back_yet(nodes: MakeNode) -> None:
    """The store answers until the record is written, and then no more; later it does again."""
    node = nodes()
    commit = node.shared.store.commit

    async def commit_and_vanish(*arguments: Any) -> int:
        await commit(*arguments)
        node.shared.away = True
        raise Unavailable("gone")

    node.shared.store.commit = commit_and_vanish  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await node.found()
    node.shared.store.commit = commit  # type: ignore[method-assign]
    assert node.files() == ["cluster.new"] and await node.shared.records.meta.get(META)
    again = nodes()  # the daemon, started anew
    assert await again.joining.recover(None) is None and again.files() == ["cluster.new"]
    node.shared.away = False
    assert await again.joining.recover(None) is None
    assert again.files() == [] and await node.shared.records.meta.get(META) is None


async def test_a_claim_left_behind_is_taken_over_by_the_next_attempt(nodes: MakeNode) -> None:
    node = nodes()
    settings = await node.found()
    # As if killed before the last step.
    home = node.directory / "cluster"
    (home / "claiming").touch()
    home.rename(node.directory / "cluster.new")
    node.shared.away = True
    again = nodes()
    with pytest.raises(Unavailable):
        await again.found()
    node.shared.away = False
    second = await again.found()
    found = await node.shared.records.meta.get(META)
    assert found and found.value.id == second.cluster != settings.cluster


async def test_joining(nodes: MakeNode) -> None:
    one, two = nodes("one"), nodes("two")
    founded = await one.found()
    where = await one.serve()
    token = await one.joining.token(one.shared.records, 60, 1)
    settings = await two.joining.join(JoinCluster(where, token, listen=":9"), "two", UNDERLAY)
    assert settings == ClusterSettings(
        founded.cluster,
        settings.node,
        "two",
        founded.endpoints,
        api_port=9,
        ca_sha256=founded.ca_sha256,
        gone_after_s=founded.gone_after_s,
    )
    assert not two.joining.has_authority and two.files() == ["cluster"]
    assert two.joining.identity.ends() and two.joining.certificate_ends_ns() > 0
    with pytest.raises(Conflict, match="already"):
        await two.joining.join(JoinCluster(where, token), "two", UNDERLAY)
    await two.joining.forget()
    assert two.files() == []


async def test_a_join_that_fails_late_costs_the_token_once(nodes: MakeNode) -> None:
    one, two = nodes("one"), nodes("two")
    await one.found()
    where = await one.serve()
    token = await one.joining.token(one.shared.records, 60, 1)
    meta = await one.shared.records.meta.get(META)
    assert meta
    await one.shared.records.meta.put(META, replace(meta.value, format=99), expecting=None)
    with pytest.raises(Unsupported, match="format 99"):
        await two.joining.join(JoinCluster(where, token), "two", UNDERLAY)
    assert two.files() == []
    await one.shared.records.meta.put(META, replace(meta.value, id="x"), expecting=None)
    with pytest.raises(Conflict, match="does not hold cluster"):
        await two.joining.join(JoinCluster(where, token), "two", UNDERLAY)
    await one.shared.records.meta.put(META, meta.value, expecting=None)
    await two.joining.join(JoinCluster(where, token), "two", UNDERLAY)


async def test_two_at_once_in_one_daemon(nodes: MakeNode) -> None:
    node = nodes()
    results = await asyncio.gather(node.found(), node.found(), return_exceptions=True)
    assert sum(isinstance(item, Conflict) for item in results) == 1


class Hurried(SystemClock):
    """Sleeps no longer than a moment."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.01)


async def test_renewing_when_it_is_due(nodes: MakeNode) -> None:
    one = nodes("one", certificate_lasts=timedelta(days=20))
    two = nodes("two", clock=Hurried())
    await one.found()
    where = await one.serve()
    token = await one.joining.token(one.shared.records, 60, 1)
    settings = await two.joining.join(JoinCluster(where, token), "two", UNDERLAY)
    renewed: list[Admitted] = []
    twice = asyncio.Event()

    async def note(admitted: Admitted) -> None:
        renewed.append(admitted)
        if len(renewed) == 2:
            twice.set()

    before = two.joining.identity.certificate.read_bytes()
    # Twenty days are less than a third of ninety: it is due at once, and again.
    task = asyncio.create_task(two.joining.keep_renewed(one.shared.records, settings, note))
    async with asyncio.timeout(30):
        await twice.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert two.joining.identity.certificate.read_bytes() != before


async def test_a_certificate_that_is_not_due_is_left_alone(nodes: MakeNode) -> None:
    one = nodes("one", clock=Hurried())
    settings = await one.found()
    before = one.joining.identity.certificate.read_bytes()
    task = asyncio.create_task(one.joining.run(one.shared.records, settings))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert one.joining.identity.certificate.read_bytes() == before


async def test_renewing_without_anybody_to_ask(nodes: MakeNode, caplog: pytest.LogCaptureFixture) -> None:
    one, two = nodes("one"), nodes("two")
    await one.found()
    where = await one.serve()
    token = await one.joining.token(one.shared.records, 60, 1)
    settings = await two.joining.join(JoinCluster(where, token), "two", UNDERLAY)
    assert one.server
    await one.server.stop()
    with pytest.raises(Unavailable, match="no node with the cluster's authority can be reached: one: cannot"):
        await two.joining.renew_own(one.shared.records, settings)
    with pytest.raises(Unsupported, match="does not have the cluster's authority"):
        await two.joining.renew(settings, settings.node, "csr")


async def test_an_authority_that_was_copied_is_announced(nodes: MakeNode) -> None:
    one, two = nodes("one"), nodes("two")
    await one.found()
    where = await one.serve()
    token = await one.joining.token(one.shared.records, 60, 0)
    settings = await two.joining.join(JoinCluster(where, token), "two", UNDERLAY)
    key = one.directory / "cluster" / "ca.key"
    (two.directory / "cluster" / "ca.key").write_bytes(key.read_bytes())
    assert two.joining.has_authority
    before = two.joining.identity.certificate.read_bytes()
    await two.joining.renew_own(one.shared.records, settings)
    assert two.joining.identity.certificate.read_bytes() != before
    await two.joining.withdraw(one.shared.records, settings)


async def test_files_that_are_broken(nodes: MakeNode) -> None:
    node = nodes()
    await node.found()
    kept = node.directory / "cluster" / "membership.json"
    kept.write_text("{")
    with pytest.raises(Failed, match="cannot be read") as refused:
        await node.joining.recover(None)
    assert "leave" in (refused.value.remedy or "")
    assert node.settings and await node.joining.recover(node.settings) == node.settings
    await node.joining.forget()
    assert node.files() == []


async def test_a_removal_that_was_killed_is_finished(nodes: MakeNode) -> None:
    node = nodes()
    await node.found()
    (node.directory / "cluster").rename(node.directory / "cluster.gone")
    assert await node.joining.recover(node.settings) is None
    assert node.files() == []


async def test_no_repr_shows_a_secret(nodes: MakeNode, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("s3cret")
    node = nodes()
    settings = await node.found(replace(GIVEN, etcd_user="u", etcd_password_file=str(password)))
    token = await node.joining.token(node.shared.records, 60)
    request = JoinCluster("h", token)
    admitted = node.joining._home.admitted(settings, b"")
    assert admitted.etcd_password == "s3cret"
    shown = f"{settings} {request} {admitted} {JoinToken.parse(token)}"
    assert "s3cret" not in shown and JoinToken.parse(token).secret not in shown


async def test_wrong_tokens_are_not_repeated(nodes: MakeNode, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    node = nodes()
    with pytest.raises(InvalidRequest) as refused:
        await node.joining.join(JoinCluster("127.0.0.1:1", "hunter2"), "two", UNDERLAY)
    assert "hunter2" not in str(refused.value) + caplog.text
    with pytest.raises(Denied):
        other = nodes("other")
        await other.found()
        where = await other.serve()
        good = JoinToken.parse(await other.joining.token(other.shared.records, 60))
        await node.joining.join(
            JoinCluster(where, JoinToken(good.ca_sha256, "a" * 32).render()), "two", UNDERLAY
        )
    assert "a" * 32 not in caplog.text
