"""Founding and joining over real TLS between two network namespaces, with a real etcd; and what goes wrong.

The daemons' part is played by this process: a `Joining` and a node API in a thread inside each namespace.
"""

import asyncio
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from carrick.doors.node import NodeServer
from carrick.engine.clock import SystemClock
from carrick.engine.cluster.joining import Joining
from carrick.engine.cluster.records import META, ClusterRecords
from carrick.engine.cluster.values import Admission, Admitted, InitCluster, JoinCluster
from carrick.host.etcd_server import EtcdServer
from carrick.host.peers import NodeClient, Pong, parse_host_port
from carrick.host.peers.wire import PING_PATH
from carrick.host.pki import Authority, Identity, JoinToken, make_request
from carrick.host.store.contract import Delete, DeletePrefix
from carrick.model.cluster import ClusterSettings, NodeId, NodeRecord, Underlay
from carrick.model.errors import Conflict, Denied, InvalidRequest, Unavailable
from carrick.testing.etcd import has_etcd
from carrick.testing.namespaces import Inhabitant, Namespace, Namespaces, namespaces

pytestmark = pytest.mark.skipif(not has_etcd(), reason="needs etcd-server and etcd-client")


class Host:
    """What a daemon is of a node: its files, its store, its node API."""

    def __init__(self, inhabitant: Inhabitant, directory: Path, name: str, address: str) -> None:
        self.inhabitant = inhabitant
        self.directory = directory
        self.name = name
        self.underlay = Underlay(address, "10.77.0.0/24")
        self.joining = self.make()
        self.settings: ClusterSettings | None = None
        self.store: Any = None
        self.server: NodeServer | None = None
        self.members: set[str] = set()

    def make(self, **options: Any) -> Joining:
        return Joining(directory=self.directory / "cluster", clock=SystemClock(), version="0", **options)

    def run(self, coroutine: Any) -> Any:
        return self.inhabitant.run(coroutine)

    @property
    def records(self) -> ClusterRecords:
        return ClusterRecords(self.store)

    # The server's backend

    @property
    def cluster_id(self) -> str:
        assert self.settings
        return self.settings.cluster

    @property
    def node_id(self) -> str:
        assert self.settings
        return self.settings.node

    @property
    def has_authority(self) -> bool:
        return self.joining.has_authority

    def is_member(self, node: str) -> bool:
        return node in self.members

    async def admit(self, request: Admission) -> Admitted:
        assert self.settings
        return await self.joining.admit(self.records, self.settings, request)

    async def renew(self, node: NodeId, certificate_request: str) -> Admitted:
        assert self.settings
        return await self.joining.renew(self.settings, node, certificate_request)

    # What the service does

    def found(self, **options: Any) -> ClusterSettings:
        async def found() -> ClusterSettings:
            return await self.joining.found(InitCluster(**options), self.name, self.underlay)

        return self.enter(self.run(found()))

    def join(self, other: "Host | str", token: str, *, name: str = "") -> ClusterSettings:
        host = other if isinstance(other, str) else other.underlay.address

        async def join() -> ClusterSettings:
            return await self.joining.join(JoinCluster(host, token), name or self.name, self.underlay)

        return self.enter(self.run(join()))

    def enter(self, settings: ClusterSettings) -> ClusterSettings:
        self.settings = settings

        async def enter() -> None:
            self.store = self.joining.open_store(settings)
            record = NodeRecord(
                settings.node,
                settings.name,
                1,
                (self.underlay,),
                api=f"{self.underlay.address}:{settings.api_port}",
            )
            await self.records.nodes.put(settings.node, record, expecting=0)
            await self.serve()

        self.run(enter())
        return settings

    async def serve(self) -> None:
        assert self.settings
        self.server = NodeServer(self, self.joining.identity, self.joining.listen(self.settings))
        await self.server.start()

    def token(self, ttl_s: float = 60, uses: int = 0) -> str:
        return str(self.run(self.joining.token(self.records, ttl_s, uses)))

    def close(self) -> None:
        async def close() -> None:
            if self.server:
                await self.server.stop()
            if self.store:
                await self.store.aclose()
            await self.joining.recover(None)
            await self.joining.forget()

        self.run(close())


class Pair:
    """Two hosts on one wire."""

    def __init__(self, made: Namespaces, directory: Path) -> None:
        self.defer = made.defer
        self.namespaces = (made.new(), made.new())
        one, two = self.namespaces
        made.wire(one, "eth0", two, "eth0")
        self.hosts = []
        for number, namespace in enumerate(self.namespaces, start=1):
            namespace.ip(f"addr add 10.77.0.{number}/24 dev eth0")
            home = directory / f"host{number}"
            home.mkdir()
            host = Host(made.inhabit(namespace), home, f"host{number}", f"10.77.0.{number}")
            made.defer(host.close)
            self.hosts.append(host)


@pytest.fixture
def pair() -> Iterator[Pair]:
    directory = Path(tempfile.mkdtemp(prefix="ck-join-"))
    with namespaces() as made:
        yield Pair(made, directory)
    shutil.rmtree(directory)


def etcds(directory: Path) -> list[int]:
    return EtcdServer(directory, "127.0.0.1", Identity(directory)).pids()


def test_found_token_join_ping_renew(pair: Pair) -> None:
    one, two = pair.hosts
    founded = one.found()
    assert founded.own_etcd and founded.endpoints == ("https://10.77.0.1:2379",)
    assert one.joining.has_authority
    token = one.token(uses=1)
    joined = two.join(one, token)
    assert (joined.cluster, joined.ca_sha256) == (founded.cluster, founded.ca_sha256)
    assert not two.joining.has_authority and not joined.own_etcd
    nodes = two.run(two.records.nodes.list())
    assert sorted(record.name for record in nodes.values) == ["host1", "host2"]

    async def ping() -> tuple[Pong, float]:
        async with NodeClient.of(two.joining.identity) as client:
            return await client.ping(parse_host_port("10.77.0.1", "host"), founded.node)

    with pytest.raises(Denied, match=f"node {joined.node} is not a member"):
        two.run(ping())
    one.members.add(joined.node)
    pong, took_s = two.run(ping())
    assert (pong.cluster, pong.node, pong.has_authority) == (founded.cluster, founded.node, True)
    assert 0 < took_s < 5

    async def ping_as(node: str) -> None:
        async with NodeClient.of(two.joining.identity) as client:
            await client.ping(parse_host_port("10.77.0.1", "host"), node)

    with pytest.raises(Denied, match="is not node"):
        two.run(ping_as("a" * 26))

    before = two.joining.identity.certificate.read_bytes()
    two.run(two.joining.renew_own(two.records, joined))
    assert two.joining.identity.certificate.read_bytes() != before
    two.run(ping())
    one.run(one.joining.renew_own(one.records, founded))
    # Its certificate is another one now, etcd's too: new connections go on.
    assert one.server
    one.inhabitant.call(one.server.reload)
    two.run(ping())

    async def read_store() -> Any:
        async with two.joining.open_store(joined) as store:
            return await store.get("meta/cluster")

    assert two.run(read_store())


def test_tokens_that_are_wrong_expired_and_used(pair: Pair) -> None:
    one, two = pair.hosts
    one.found()
    good = JoinToken.parse(one.token())
    wrong = JoinToken(good.ca_sha256, "a" * 32)
    with pytest.raises(Denied, match="wrong or expired token") as refused:
        two.join(one, wrong.render())
    assert refused.value.remedy == "make one on a member with: carrick cluster token"
    short = one.token(ttl_s=2)
    until(lambda: not one.run(one.records.tokens.list(hash_of(short))).records)
    with pytest.raises(Denied, match="wrong or expired token"):
        two.join(one, short)
    once = one.token(uses=1)
    two.join(one, once)
    assert not one.run(one.records.tokens.list(hash_of(once))).records
    assert listdir(two.directory) == ["cluster"]
    with pytest.raises(Conflict, match=f"this node is in cluster {one.cluster_id} as host2 already"):
        two.join(one, once)


def test_a_token_of_another_authority_and_a_name_that_is_taken(pair: Pair) -> None:
    one, two = pair.hosts
    one.found()
    other = JoinToken("00" * 32, JoinToken.parse(one.token()).secret)
    with pytest.raises(Denied, match="is not of the cluster that the token is for"):
        two.join(one, other.render())
    with pytest.raises(Conflict, match="there is a node named host1") as taken:
        two.join(one, one.token(), name="host1")
    assert "--name" in (taken.value.remedy or "")
    assert listdir(two.directory) == []


class Impostor:
    """Answers as a node API would, with a certificate of its own making, and keeps what it hears."""

    def __init__(self, directory: Path, shown_ca: bytes | None = None) -> None:
        self.heard = b""
        authority = Authority.create("impostor")
        self.identity = Identity(directory)
        request = make_request(directory, "a" * 26)
        self.identity.save(
            authority.issue(request, "a" * 26, addresses=["10.77.0.1"]), authority.certificate_pem
        )
        self._ca = shown_ca or authority.certificate_pem
        self._server: Any = None

    async def start(self, port: int) -> None:
        context = self.identity.server_context(anonymous=True)
        self._server = await asyncio.start_server(self._serve, "0.0.0.0", port, ssl=context)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while data := await reader.read(65536):
                self.heard += data
                body = b'{"ca":' + json.dumps(self._ca.decode()).encode() + b"}"
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
                writer.write(head.encode() + b"\r\n\r\n" + body)
                await writer.drain()
        writer.close()

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()


@pytest.mark.parametrize("shows_the_true_authority", [False, True])
def test_a_man_in_the_middle_hears_no_secret(pair: Pair, shows_the_true_authority: bool) -> None:
    one, two = pair.hosts
    one.found()
    token = one.token()
    true = one.joining.ca_pem() if shows_the_true_authority else None
    made = Impostor(one.directory / "impostor", true)
    one.run(made.start(2500))
    try:
        with pytest.raises(Denied) as refused:
            two.join("10.77.0.1:2500", token)
    finally:
        one.run(made.stop())
    secret = JoinToken.parse(token).secret
    assert b"GET /v1/ca" in made.heard and b"/v1/join" not in made.heard
    assert secret.encode() not in made.heard and secret not in str(refused.value)
    assert ("is not a node of the cluster" if true else "The token's secret was not sent") in str(
        refused.value
    )
    assert listdir(two.directory) == []


def test_unreachable_hosts_and_stores(pair: Pair) -> None:
    one, two = pair.hosts
    token = JoinToken("00" * 32, "a" * 32).render()
    with pytest.raises(Unavailable, match=r"cannot reach the node API at 10\.77\.0\.1:2377: Connect") as away:
        two.join(one, token)
    assert "firewall" in (away.value.remedy or "")
    with pytest.raises(InvalidRequest, match="this is not a join token"):
        two.join(one, "secret")
    with pytest.raises(Unavailable, match=r"https://10\.77\.0\.1:9"):
        two.found(endpoints=("https://10.77.0.1:9",))
    assert listdir(one.directory) == listdir(two.directory) == []


def test_an_expired_certificate_is_refused(pair: Pair) -> None:
    one, two = pair.hosts
    one.joining = one.make(certificate_lasts=timedelta(days=90))
    founded = one.found()
    # The authority's, dated back: what a node has that was off for months.
    home = two.directory / "cluster"
    authority = Authority.load(one.directory / "cluster")
    certificate = authority.issue(
        make_request(home, "b" * 26), "b" * 26, lasts=timedelta(days=-0.5), names=["b" * 26]
    )
    Identity(home).save(certificate, authority.certificate_pem)
    one.members.add("b" * 26)

    async def ask(client: NodeClient) -> Pong:
        async with client:
            server = parse_host_port("10.77.0.1", "host")
            return await client.call("GET", server, PING_PATH, Pong, node=founded.node)

    with pytest.raises(Denied, match="this node's certificate ended at") as ended:
        two.run(ask(NodeClient.of(Identity(home))))
    assert "join again" in (ended.value.remedy or "")

    # A node that does not know better, as its clock is wrong, is refused by the other side.
    with pytest.raises((Denied, Unavailable), match=r"refuses this node|without an answer"):
        two.run(ask_anyway(Identity(home)))
    one.run(one.joining.renew_own(one.records, founded))
    assert not one.server or one.server.port == 2377


async def ask_anyway(identity: Identity) -> Pong:
    """Ask with a certificate that we do not look at ourselves."""
    async with NodeClient(identity.client_context()) as client:
        return await client.call("GET", parse_host_port("10.77.0.1", "host"), PING_PATH, Pong)


def test_joining_by_way_of_a_node_without_the_authority(pair: Pair) -> None:
    one, two = pair.hosts
    one.found()
    joined = two.join(one, one.token())
    one.members.add(joined.node)
    token = two.token(uses=1)
    three = Host(one.inhabitant, one.directory / "three", "host3", "10.77.0.1")
    three.directory.mkdir()

    async def join(text: str) -> ClusterSettings:
        return await three.joining.join(
            JoinCluster("10.77.0.2", text, listen=":2399"), "host3", three.underlay
        )

    wrong = JoinToken(JoinToken.parse(token).ca_sha256, "a" * 32).render()
    with pytest.raises(Denied, match="wrong or expired token"):
        three.run(join(wrong))
    try:
        settings = three.run(join(token))
        assert settings.cluster == joined.cluster
        assert three.joining.listen(settings).port == 2399
    finally:
        three.run(three.joining.forget())


def test_hostile_connections_do_not_disturb_others(pair: Pair) -> None:
    one, two = pair.hosts
    one.found()
    token = one.token()

    async def raw(data: bytes, *, tls: bool, wait: bool = True) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("10.77.0.1", 2377, ssl=context if tls else None)
        opened.append(writer)
        writer.write(data)
        with suppress(OSError):
            return await asyncio.wait_for(reader.read(), 20) if wait else b""
        return b""

    opened: list[asyncio.StreamWriter] = []
    head = b"POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

    async def attack() -> list[bytes]:
        # Slow ones that stay, up to the bound for one host …
        for _ in range(12):
            await raw(head + b"Content-Length: 1000\r\n\r\n{", tls=True, wait=False)
        for _ in range(50):
            await raw(b"\x16\x03\x01", tls=False, wait=False)
        # … and some that are answered or cut.
        return [
            await raw(b"GET / HTTP/1.1\r\n\r\n", tls=False),
            await raw(os.urandom(300), tls=True),
            await raw(head + b"Content-Length: 99999999\r\n\r\n", tls=True),
            await raw(head + b"Content-Length: 2\r\n\r\n[]", tls=True),
            await raw(head + b"Content-Length: 200000\r\n\r\n" + b"[" * 200000, tls=True),
            await raw(b"GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n", tls=True, wait=True),
        ]

    answers = two.run(attack())
    assert b"400" in answers[1] and b"larger than" in answers[2] and b"malformed" in answers[3]
    assert b"403" in answers[5]
    two.join(one, token)

    async def close() -> None:
        for writer in opened:
            writer.transport.abort()
        await asyncio.sleep(0.05)

    two.run(close())


def hash_of(token: str) -> str:
    from carrick.host.pki import hash_secret

    return hash_secret(JoinToken.parse(token).secret)


def listdir(path: Path) -> list[str]:
    return sorted(item.name for item in path.iterdir() if item.name != "impostor")


def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.1)


# Killed in the middle

_PROGRAM = """
import asyncio, sys
from pathlib import Path
from carrick.engine.clock import SystemClock
from carrick.engine.cluster import joining
from carrick.engine.cluster.homes import Home
from carrick.engine.cluster.values import InitCluster, JoinCluster
from carrick.model.cluster import Underlay

directory, address, what, argument, step = sys.argv[1:]
joining_ = joining.Joining(directory=Path(directory), clock=SystemClock(), version="0")
calls = 0

def trace(frame, event, arg):
    # Stops for ever at the so-many-th line of the work, to be killed there.
    global calls
    if event == "line" and frame.f_code.co_name in ("_found", "_join", "_claim", "become"):
        calls += 1
        if calls == int(step):
            print("here", flush=True)
            import time
            time.sleep(60)
    return trace

def watched(frame, event, arg):
    name = frame.f_code.co_filename
    return trace(frame, event, arg) if "cluster/joining" in name or "cluster/homes" in name else None

async def main():
    underlay = Underlay(address, "10.77.0.0/24")
    sys.settrace(watched)
    if what == "found":
        endpoints = (argument,) if argument else ()
        await joining_.found(InitCluster(endpoints=endpoints), "n", underlay)
    else:
        host, token = argument.split(" ")
        await joining_.join(JoinCluster(host, token), "n2", underlay)
    print("done", flush=True)

asyncio.run(main())
"""


def killed_at(
    namespace: Namespace, directory: Path, address: str, what: str, argument: str, step: int
) -> bool:
    """Do something in a process of its own, which is killed at a step; tell whether it came so far."""
    process = subprocess.Popen(
        [
            *("nsenter", f"--net={namespace.path}", sys.executable, "-c", _PROGRAM),
            *(str(directory), address, what, argument, str(step)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout
    try:
        line = process.stdout.readline()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert line in ("here\n", "done\n")
    return line == "here\n"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("given", [False, True])
def test_a_kill_in_the_middle_of_founding_leaves_nothing_half_done(pair: Pair, given: bool) -> None:
    one, two = pair.hosts
    argument = ""
    if given:
        two.found()
        # An etcd that others have, too: theirs is another prefix, ours the same each time.
        argument = start_plain_etcd(pair)
    done = 0
    for step in steps(given):
        came = killed_at(pair.namespaces[0], one.directory / "cluster", "10.77.0.1", "found", argument, step)
        kept = one.run(one.joining.recover(None))
        left = listdir(one.directory)
        if kept is None:
            assert left == [], f"step {step}"
            assert etcds(one.directory / "cluster" / "etcd") == []
        else:
            # It was done, though nobody was told: the membership holds.
            done += 1
            assert left == ["cluster"], f"step {step}"
            one.run(one.joining.start(kept))
            assert one.run(meta_of(one.joining, kept)) == kept.cluster
            one.run(unmake(one.joining, kept))
        # And it can be done anew, at the same place.
        if given or step % 5 == 0 or kept is not None:
            request = InitCluster(endpoints=(argument,) if given else ())
            made = one.run(one.joining.found(request, "n", one.underlay))
            one.run(unmake(one.joining, made))
        if not came:
            break
    assert done


@pytest.mark.timeout(600)
def test_a_kill_in_the_middle_of_joining_leaves_nothing_half_done(pair: Pair) -> None:
    one, two = pair.hosts
    one.found()
    done = 0
    for step in range(1, 60, 4):
        argument = f"10.77.0.1 {one.token(uses=1)}"
        came = killed_at(pair.namespaces[1], two.directory / "cluster", "10.77.0.2", "join", argument, step)
        kept = two.run(two.joining.recover(None))
        assert listdir(two.directory) == ([] if kept is None else ["cluster"]), f"step {step}"
        if kept is not None:
            done += 1
            assert two.run(meta_of(two.joining, kept)) == one.cluster_id
            two.run(two.joining.forget())
        # The name is free at once for the next attempt here: what was reserved is not waited for.
        one.run(one.records.store.commit([Delete("joining/n2")]))
        if not came:
            break
    assert done
    two.join(one, one.token())


def steps(given: bool) -> Iterator[int]:
    """Every third line; each is a process, and an etcd."""
    yield from range(1, 60, 4 if not given else 3)


async def meta_of(joining: Joining, settings: ClusterSettings) -> str:
    async with joining.open_store(settings) as store:
        found = await ClusterRecords(store).meta.get(META)
        assert found
        return found.value.id


async def unmake(joining: Joining, settings: ClusterSettings) -> None:
    """End a cluster, in the store as well."""
    if not settings.own_etcd:
        async with joining.open_store(settings) as store:
            await store.commit([DeletePrefix("meta/"), DeletePrefix("authorities/")])
    await joining.forget()


def start_plain_etcd(pair: Pair) -> str:
    """Start an etcd without TLS beside the hosts, in the second's namespace; return its endpoint."""
    directory = pair.hosts[1].directory / "impostor"
    directory.mkdir(exist_ok=True)
    url = "http://10.77.0.2:2479"
    process = subprocess.Popen(
        [
            *("nsenter", f"--net={pair.namespaces[1].path}", "etcd", "--data-dir", "data"),
            *("--listen-client-urls", url, "--advertise-client-urls", url, "--log-level", "error"),
            *("--listen-peer-urls", "unix://peer:0", "--initial-advertise-peer-urls", "unix://peer:0"),
            *("--initial-cluster", "default=unix://peer:0", "--logger", "zap"),
        ],
        cwd=directory,
        stderr=subprocess.DEVNULL,
    )

    def end() -> None:
        process.kill()
        process.wait()

    pair.defer(end)

    async def answers() -> bool:
        try:
            _, writer = await asyncio.open_connection("10.77.0.2", 2479)
        except OSError:
            return False
        writer.close()
        return True

    until(lambda: bool(pair.hosts[1].run(answers())))
    return url


def test_our_etcd_outlives_us_and_is_started_again(pair: Pair) -> None:
    one, _ = pair.hosts
    settings = one.found()
    (pid,) = etcds(one.directory / "cluster" / "etcd")
    assert Path(f"/proc/{pid}/stat").read_text().split()[3] != str(os.getpid())
    line = Path(f"/proc/{pid}/cmdline").read_text()
    assert "--client-cert-auth" in line and "--auto-compaction-retention" in line

    async def keep() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(one.joining.run(one.records, settings))
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(60):
                while etcds(one.directory / "cluster" / "etcd") in ([], [pid]):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            await one.joining.start(settings)
            task.cancel()

    one.run(keep())
    assert one.run(meta_of(one.joining, settings)) == settings.cluster


def test_etcd_lets_in_nodes_and_nobody_else(pair: Pair) -> None:
    one, two = pair.hosts
    one.found()

    async def shake(directory: Path | None) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        if directory:
            context.load_cert_chain(directory / "node.pem", directory / "node.key")
        reader, writer = await asyncio.open_connection("10.77.0.1", 2379, ssl=context)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        try:
            return await asyncio.wait_for(reader.read(9), 10)
        except OSError:
            return b""
        finally:
            writer.transport.abort()

    assert two.run(shake(None)) == b""
    stranger = two.directory / "impostor"
    other = Authority.create("other")
    Identity(stranger).save(other.issue(make_request(stranger, "x"), "x"), other.certificate_pem)
    assert two.run(shake(stranger)) == b""
    assert two.run(shake(one.directory / "cluster"))[3:4] == b"\4"


def test_nothing_secret_is_seen_from_outside(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    one, two = pair.hosts
    caplog.set_level(0)
    one.found()
    token = one.token()
    two.join(one, token)
    secret = JoinToken.parse(token).secret
    assert secret not in caplog.text
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(secret.encode() in line for line in lines)
    for host in (one, two):
        for path in host.directory.rglob("*"):
            if path.suffix == ".key":
                assert path.stat().st_mode & 0o077 == 0, path
        assert (host.directory / "cluster").stat().st_mode & 0o077 == 0


def test_a_node_that_was_taken_out_is_let_in_nowhere(pair: Pair) -> None:
    one, two = pair.hosts
    founded = one.found()
    joined = two.join(one, one.token())
    assert two.run(meta_of(two.joining, joined)) == founded.cluster

    async def put_out() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(one.joining.run(one.records, founded))
            (pid,) = etcds(one.directory / "cluster" / "etcd")
            await one.joining.remove(one.records, joined.node)
            async with asyncio.timeout(60):
                while etcds(one.directory / "cluster" / "etcd") in ([], [pid]):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            await one.joining.start(founded)
            task.cancel()

    one.run(put_out())
    assert one.run(one.joining.is_removed(one.records, joined.node))
    with pytest.raises((Denied, Unavailable)):
        two.run(meta_of(two.joining, joined))
    # The others are let in, and the host may come back as another node.
    assert one.run(meta_of(one.joining, founded)) == founded.cluster
    two.run(two.store.aclose())
    two.run(two.joining.forget())
    assert two.server
    two.run(two.server.stop())
    again = two.join(one, one.token(), name="again")
    assert two.run(meta_of(two.joining, again)) == founded.cluster


def test_an_underlay_of_ipv6_alone(pair: Pair) -> None:
    one, two = pair.hosts
    for number, (namespace, host) in enumerate(zip(pair.namespaces, pair.hosts, strict=True), start=1):
        namespace.ip("addr flush dev eth0 scope global")
        namespace.ip(f"addr add fd77::{number}/64 dev eth0 nodad")
        host.underlay = Underlay(f"fd77::{number}", "fd77::/64")
    founded = one.found()
    assert founded.endpoints == ("https://[fd77::1]:2379",)
    joined = two.join(one, one.token())
    assert two.run(meta_of(two.joining, joined)) == founded.cluster


def test_a_port_of_etcd_that_is_taken(pair: Pair) -> None:
    one, _ = pair.hosts

    async def occupied() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "10.77.0.1", 2379)
        async with server:
            with pytest.raises(Conflict, match=r"somebody listens on 10\.77\.0\.1:2379 already"):
                await one.joining.found(InitCluster(), "n", one.underlay)

    one.run(occupied())
    assert listdir(one.directory) == []
