"""The node API and its client, over TLS on loopback: who is let in, and what hostile input comes to."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.doors.node import NodeServer, Throttle
from carrick.engine.cluster.values import Admission, Admitted
from carrick.host.peers import HostPort, NodeClient, Pong, fetch_authority, parse_host_port
from carrick.host.peers.client import joining_context
from carrick.host.peers.wire import (
    JOIN_PATH,
    MAX_BODY,
    PING_PATH,
    RENEW_PATH,
    Authority,
    Failure,
    Renewal,
    decode,
)
from carrick.host.pki import Authority as Signer
from carrick.host.pki import Identity, make_request
from carrick.host.pki.identity import pinned_context
from carrick.model.cluster import NodeId
from carrick.model.errors import CarrickError, Conflict, Denied, InvalidRequest, Unavailable, Unsupported

ME, YOU = "a" * 26, "b" * 26
ADMITTED = Admitted("c" * 26, "cert", "ca", ("https://192.0.2.1:2379",), "carrick/", etcd_key="KEY")


class Backend:
    """Lets in whoever says `good`."""

    cluster_id, node_id, has_authority = "c" * 26, ME, True

    def __init__(self) -> None:
        self.members = {YOU}
        self.admitted: list[Admission] = []
        self.error: Exception | None = None
        self.pause: asyncio.Event | None = None

    def is_member(self, node: str) -> bool:
        return node in self.members

    async def admit(self, request: Admission) -> Admitted:
        if self.pause is not None:
            await self.pause.wait()
        if self.error is not None:
            raise self.error
        if request.secret != "good":
            raise Denied("wrong or expired token", remedy="make one")
        self.admitted.append(request)
        return ADMITTED

    async def renew(self, node: NodeId, certificate_request: str) -> Admitted:
        assert (node, certificate_request) == (YOU, "csr")
        return ADMITTED


class Site:
    def __init__(self, directory: Path) -> None:
        self.backend = Backend()
        self.signer = Signer.create("c")
        self.directory = directory
        self.mine, self.yours = self.identity(ME), self.identity(YOU)
        self.now = 0.0
        self.server = self.serve()

    def identity(self, node: str, signer: Signer | None = None) -> Identity:
        home = self.directory / f"{node}-{id(signer)}"
        made = Identity(home)
        signer = signer or self.signer
        made.save(signer.issue(make_request(home, node), node, names=[node]), signer.certificate_pem)
        return made

    def serve(self, **limits: Any) -> NodeServer:
        return NodeServer(
            self.backend,
            self.mine,
            HostPort("127.0.0.1", 0),
            version="9",
            monotonic=lambda: self.now,
            **limits,
        )

    @property
    def at(self) -> HostPort:
        return HostPort("127.0.0.1", self.server.port)

    def request(self, secret: str = "good") -> Admission:
        return Admission(secret, NodeId(YOU), "n", ("192.0.2.1",), "csr", "9")

    async def join(self, secret: str = "good") -> Admitted:
        async with NodeClient(joining_context(self.signer.certificate_pem)) as client:
            return await client.call("POST", self.at, JOIN_PATH, Admitted, self.request(secret))

    async def raw(self, data: bytes) -> bytes:
        """Send bytes without a certificate; return all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, ssl=pinned_context())
        try:
            writer.write(data)
            async with asyncio.timeout(20):
                return await reader.read()
        except OSError:
            return b""
        finally:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    await made.server.start()
    yield made
    await made.server.stop()


async def test_join_ping_renew(site: Site) -> None:
    assert await fetch_authority(site.at, site.signer.sha256) == site.signer.certificate_pem
    assert await site.join() == ADMITTED
    assert site.backend.admitted == [site.request()]
    async with NodeClient.of(site.yours) as client:
        pong, took_s = await client.ping(site.at, ME)
        assert pong == Pong("c" * 26, ME, "9", True) and 0 < took_s < 10
        assert await client.call("POST", site.at, RENEW_PATH, Admitted, Renewal("csr"), node=ME) == ADMITTED


async def test_another_authority_than_the_token_s(site: Site) -> None:
    with pytest.raises(Denied, match="The token's secret was not sent"):
        await fetch_authority(site.at, "00" * 32)


async def test_without_a_certificate_or_with_a_stranger_s(site: Site) -> None:
    async with NodeClient(joining_context(site.signer.certificate_pem)) as client:
        for method, path, body in (("GET", PING_PATH, None), ("POST", RENEW_PATH, Renewal("csr"))):
            with pytest.raises(Denied, match="only members"):
                await client.call(method, site.at, path, Pong, body)
    stranger = site.identity(YOU, Signer.create("other"))
    context = stranger.client_context()
    context.load_verify_locations(site.mine.ca)
    async with NodeClient(context) as client:
        with pytest.raises((Denied, Unavailable)):
            await client.call("GET", site.at, PING_PATH, Pong)


async def test_a_node_that_was_removed(site: Site) -> None:
    site.backend.members.clear()
    async with NodeClient.of(site.yours) as client:
        with pytest.raises(Denied, match=f"node {YOU} is not a member") as refused:
            await client.ping(site.at, ME)
    assert "join again" in (refused.value.remedy or "")


async def test_a_server_that_is_another_node_or_of_another_cluster(site: Site) -> None:
    async with NodeClient.of(site.yours) as client:
        with pytest.raises(Denied, match=f"is not node {YOU}"):
            await client.ping(site.at, YOU)
    async with NodeClient.of(site.identity(YOU, Signer.create("other"))) as client:
        with pytest.raises(Denied, match="is not a node of the cluster"):
            await client.call("GET", site.at, PING_PATH, Pong)


async def test_a_version_that_does_not_know_a_path(site: Site) -> None:
    async with NodeClient.of(site.yours) as client:
        with pytest.raises(Unsupported, match="runs another version"):
            await client.call("GET", site.at, "/v2/what", Pong)


async def test_errors_cross_with_their_kind_and_remedy(site: Site) -> None:
    site.backend.error = Conflict("taken\x1b[31m", remedy="--name")
    with pytest.raises(Conflict, match="taken") as refused:
        await site.join()
    assert refused.value.remedy == "--name" and "\x1b" not in str(refused.value)


async def test_a_bug_of_ours_is_not_told(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.backend.error = RuntimeError("the secret is good")
    with pytest.raises(CarrickError, match="internal error") as refused:
        await site.join()
    assert "secret" not in str(refused.value)
    assert "unexpected error" in caplog.text


async def test_who_guesses_waits_and_others_do_not(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(6):
        with pytest.raises(Denied, match="wrong or expired"):
            await site.join("bad-secret")
    with pytest.raises(Unavailable, match=r"too many failed attempts from 127\.0\.0\.1"):
        await site.join()
    assert "bad-secret" not in caplog.text
    site.now = 2.0
    await site.join()
    with pytest.raises(Denied):
        await site.join("bad-secret")


async def test_a_member_that_passes_on_is_not_slowed_down(site: Site) -> None:
    async with NodeClient.of(site.yours) as client:
        for _ in range(10):
            with pytest.raises(Denied, match="wrong or expired"):
                await client.call("POST", site.at, JOIN_PATH, Admitted, site.request("bad"), node=ME)
    await site.join()


async def test_one_host_has_so_many_connections_and_no_more(site: Site) -> None:
    await site.server.stop()
    site.server = site.serve(most_strangers_of_one=3)
    await site.server.start()
    port = site.server.port
    writers = []
    for _ in range(3):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=pinned_context())
        writer.write(b"GET /v1/ca HTTP/1.1\r\n")
        writers.append(writer)
    await asyncio.sleep(0.1)
    assert await site.raw(b"GET /v1/ca HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    # A member is not a stranger.
    async with NodeClient.of(site.yours) as client:
        await client.ping(site.at, ME)
    for writer in writers:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
    await site.join()


async def test_a_stranger_s_connection_ends_after_its_time(site: Site) -> None:
    await site.server.stop()
    site.server = site.serve(stranger_s=0.2)
    await site.server.start()
    assert await site.raw(b"POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{") == b""


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (b"nonsense\r\n\r\n", 400, b"malformed HTTP"),
        (b"GET /v1/ca HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 400, b"malformed HTTP"),
        (b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404, b"page not found"),
        (b"DELETE /v1/ca HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404, b"page not found"),
        (b"POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 400, b"is not JSON"),
        (b"POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 400, b"malformed"),
        (b"POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n", 400, b"larger than"),
        (
            b"POST /v1/join HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"11170\r\n" + b"[" * 70000 + b"\r\n0\r\n\r\n",
            400,
            b"larger than",
        ),
        (
            b"POST /v1/join HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            400,
            b"",
        ),
    ],
)
async def test_malformed_requests(site: Site, sent: bytes, status: int, words: bytes) -> None:
    answer = await site.raw(sent)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()) or answer.startswith(
        f"HTTP/1.0 {status} ".encode()
    )
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert words in body["message"].encode() and site.backend.admitted == []
    await site.join()


async def test_too_many_joins_at_once_are_refused_and_others_still_served(site: Site) -> None:
    site.backend.pause = asyncio.Event()
    await site.server.stop()
    site.server = site.serve(most_strangers_of_one=200)
    await site.server.start()
    joins = [asyncio.create_task(site.join()) for _ in range(70)]
    async with asyncio.timeout(30):
        while sum(task.done() for task in joins) < 6:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    async with NodeClient.of(site.yours) as client:
        await client.ping(site.at, ME)
    site.backend.pause.set()
    results = await asyncio.gather(*joins, return_exceptions=True)
    refused = [item for item in results if isinstance(item, Unavailable)]
    assert len(refused) == 6 and "at once" in str(refused[0])
    assert sum(isinstance(item, Admitted) for item in results) == 64


async def test_a_port_that_is_taken(site: Site) -> None:
    other = NodeServer(site.backend, site.mine, site.at)
    with pytest.raises(Conflict, match=r"somebody listens on 127\.0\.0\.1:"):
        await other.start()
    await other.stop()


async def test_a_renewed_certificate_is_used_from_then_on(site: Site) -> None:
    async def serial() -> Any:
        context = joining_context(site.signer.certificate_pem)
        _, writer = await asyncio.open_connection("127.0.0.1", site.server.port, ssl=context)
        try:
            return writer.get_extra_info("peercert")["serialNumber"]
        finally:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    before = await serial()
    site.identity(ME)
    assert await serial() == before
    site.server.reload()
    assert await serial() != before


async def test_a_server_that_is_no_node(site: Site) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000)
        with suppress(OSError):
            await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=site.mine.server_context(anonymous=True))
    try:
        at = HostPort("127.0.0.1", listener.sockets[0].getsockname()[1])
        with pytest.raises(Unavailable, match="does not speak the node API"):
            await fetch_authority(at, site.signer.sha256)
    finally:
        listener.close()
        await listener.wait_closed()
        await asyncio.sleep(0.05)


# Pure parts


@given(st.binary(max_size=300) | st.text(alphabet='{}[]":,secretnodeam012 ', max_size=80).map(str.encode))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    for kind in (Admission, Admitted, Renewal, Authority, Pong, Failure):
        with suppress(InvalidRequest):
            assert isinstance(decode(data, kind, "it"), kind)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_FIELDS = ("secret", "node", "name", "addresses", "certificate_request", "version")


@given(st.dictionaries(st.sampled_from(_FIELDS), _VALUES))
def test_fields_of_any_kind_are_a_request_or_refused(value: dict[str, Any]) -> None:
    data = json.dumps(value, allow_nan=True).encode()
    try:
        assert isinstance(decode(data, Admission, "the request"), Admission)
    except InvalidRequest as error:
        secret = value.get("secret")
        assert not (isinstance(secret, str) and len(secret) > 6) or secret not in str(error)


def test_what_is_too_large_or_too_deep() -> None:
    for data in (b'"' + b"x" * MAX_BODY + b'"', b"[" * 60_000):
        with pytest.raises(InvalidRequest):
            decode(data, Admission, "it")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("alpha", "alpha", 2377),
        ("alpha.example:80", "alpha.example", 80),
        ("192.0.2.1", "192.0.2.1", 2377),
        ("[2001:DB8::1]:5", "2001:db8::1", 5),
        ("2001:db8::1", "2001:db8::1", 2377),
    ],
)
def test_host_and_port(text: str, host: str, port: int) -> None:
    parsed = parse_host_port(text, "it")
    assert parsed == HostPort(host, port) and parse_host_port(str(parsed), "it") == parsed


@pytest.mark.parametrize(
    "text", ["", ":80", "a:", "a:0", "a:65536", "a:b", "[::1", "[x]:1", "a b", "a/b", "-a", "::x"]
)
def test_host_and_port_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_host_port(text, "it")


def test_where_to_listen() -> None:
    assert parse_host_port("", "it", wildcard=True) == HostPort("", 2377)
    assert parse_host_port(":9", "it", wildcard=True) == HostPort("", 9)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    with suppress(InvalidRequest):
        assert parse_host_port(text, "it").port


def test_the_throttle() -> None:
    throttle = Throttle()
    for _ in range(5):
        throttle.failed("192.0.2.1", 0.0)
    throttle.check("192.0.2.1", 0.0)
    waits = []
    for _ in range(9):
        throttle.failed("192.0.2.1", 100.0)
        waits.append(next(wait for wait in range(1, 100) if _passes(throttle, "192.0.2.1", 100.0 + wait)))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    throttle.check("192.0.2.2", 100.0)
    throttle.failed("192.0.2.1", 1000.0)
    throttle.check("192.0.2.1", 1000.0)
    throttle.succeeded("192.0.2.1")
    assert len(throttle) == 0


def test_the_throttle_is_bounded_and_knows_networks() -> None:
    throttle = Throttle()
    for number in range(10_000):
        throttle.failed(f"10.{number % 200}.{number // 200}.1", 0.0)
    assert len(throttle) == 4096
    for number in range(6):
        throttle.failed(f"2001:db8::{number}", 0.0)
    assert not _passes(throttle, "2001:db8::ffff", 0.5) and _passes(throttle, "2001:db8:0:1::1", 0.5)
    for _ in range(6):
        throttle.failed("::ffff:192.0.2.9", 0.0)
    assert not _passes(throttle, "192.0.2.9", 0.5)
    throttle.failed("nonsense", 0.0)


def _passes(throttle: Throttle, address: str, now: float) -> bool:
    try:
        throttle.check(address, now)
    except Unavailable:
        return False
    return True
