"""The cluster's authority, nodes' identities and join tokens, over real TLS in this process."""

import asyncio
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.host.pki import Authority, Identity, JoinToken, fingerprint, hash_secret, make_request, new_token
from carrick.host.pki.identity import peer_of
from carrick.model.errors import Failed, InvalidRequest


def identity(directory: Path, authority: Authority, name: str, **options: object) -> Identity:
    request = make_request(directory, name)
    mine = Identity(directory)
    mine.save(authority.issue(request, name, addresses=["127.0.0.1"], **options), authority.certificate_pem)  # type: ignore[arg-type]
    return mine


async def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str, str]:
    """Return whom the server and the client saw."""
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(peer_of(writer.get_extra_info("peercert")))
        writer.write(b"x")
        await writer.drain()
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
    try:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        try:
            if await reader.read(1) != b"x":
                raise ConnectionError("closed")
            return await seen, peer_of(writer.get_extra_info("peercert"))
        finally:
            writer.close()
    finally:
        listener.close()


async def test_nodes_know_each_other_by_their_certificates(tmp_path: Path) -> None:
    authority = Authority.create("c1")
    one = identity(tmp_path / "one", authority, "node-one")
    two = identity(tmp_path / "two", authority, "node-two")
    assert await handshake(one.server_context(), two.client_context()) == ("node-two", "node-one")


async def test_a_stranger_is_refused(tmp_path: Path) -> None:
    one = identity(tmp_path / "one", Authority.create("c1"), "node-one")
    stranger = identity(tmp_path / "two", Authority.create("c1"), "node-two")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await handshake(one.server_context(), stranger.client_context())


async def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    authority = Authority.create("c1")
    past = datetime.now(UTC) - timedelta(days=100)
    one = identity(tmp_path / "one", authority, "node-one")
    late = identity(tmp_path / "two", authority, "node-two", now=past)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await handshake(one.server_context(), late.client_context())
    assert late.is_due()
    assert not one.is_due()
    assert one.is_due(datetime.now(UTC) + timedelta(days=61))


async def test_a_clock_that_is_hours_behind_is_no_reason_to_refuse(tmp_path: Path) -> None:
    authority = Authority.create("c1", now=datetime.now(UTC) + timedelta(hours=5))
    ahead = identity(tmp_path / "one", authority, "one", now=datetime.now(UTC) + timedelta(hours=5))
    assert await handshake(ahead.server_context(), ahead.client_context()) == ("one", "one")


def test_an_authority_is_kept_with_its_key_for_root_alone(tmp_path: Path) -> None:
    authority = Authority.create("c1")
    authority.save(tmp_path)
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    again = Authority.load(tmp_path)
    assert again.sha256 == authority.sha256 == fingerprint(authority.certificate_pem)
    (tmp_path / "ca.key").write_text("nonsense")
    with pytest.raises(Failed, match="cannot be read"):
        Authority.load(tmp_path)


def test_a_node_keeps_its_key_over_requests_and_nobody_elses_name_is_believed(tmp_path: Path) -> None:
    authority = Authority.create("c1")
    first = make_request(tmp_path, "me")
    key = (tmp_path / "node.key").read_bytes()
    second = make_request(tmp_path, "somebody else")
    assert (tmp_path / "node.key").read_bytes() == key
    assert stat.S_IMODE((tmp_path / "node.key").stat().st_mode) == 0o600
    for request in (first, second):
        issued = authority.issue(request, "me")
        assert b"BEGIN CERTIFICATE" in issued
    with pytest.raises(InvalidRequest):
        authority.issue(
            b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "me"
        )


def test_a_token_round_trips_and_hides_its_secret() -> None:
    authority = Authority.create("c1")
    token = new_token(authority.sha256)
    text = token.render()
    assert JoinToken.parse(f" {text}\n") == token
    assert len(text) == 90
    assert token.secret not in repr(token)
    assert hash_secret(token.secret) != hash_secret(new_token(authority.sha256).secret)


@given(st.text(max_size=120))
def test_what_is_no_token_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        JoinToken.parse(text)
    if len(text) > 12:
        assert text not in str(refused.value)
