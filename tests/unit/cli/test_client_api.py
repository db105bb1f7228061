"""The client against a daemon that does what daemons do, and what they should not."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_daemon import FakeDaemon, Reply

from carrick.doors.client import BrokenReply, Client, DaemonUnreachable
from carrick.doors.client.connection import parse_address
from carrick.doors.client.errors import ApiError, error_from_status
from carrick.model.errors import (
    CarrickError,
    Conflict,
    Denied,
    Failed,
    InvalidRequest,
    NotFound,
    NotModified,
    Unavailable,
    Unsupported,
)


@pytest.fixture
def client(daemon: FakeDaemon) -> Iterator[Client]:
    client = Client(daemon.address)
    yield client
    client.close()


def test_requests_reuse_one_connection(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET /a", {"x": 1})
    daemon.on("POST /b", Reply(204))
    daemon.on("GET /c", Reply(chunks=[b'{"y"', b":2}"]))
    assert client.get("/a", {"all": True, "none": None, "no": False, "n": 3}) == {"x": 1}
    assert client.post("/b", {"k": "v"}, {"filters": {"a": ["b"]}}) is None
    assert client.get("/c") == {"y": 2}
    assert {request.connection for request in daemon.requests} == {1}
    assert daemon.requests[0].target == "/a?all=1&n=3"
    assert daemon.requests[1].json == {"k": "v"}
    assert daemon.requests[1].headers["content-type"] == "application/json"
    assert daemon.requests[1].query == {"filters": '{"a":["b"]}'}


def test_a_restarted_daemon_is_connected_to_again(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET /a", {"x": 1})
    daemon.on("POST /b", Reply(204))
    assert client.get("/a") == {"x": 1}
    daemon.drop_connections()
    assert client.get("/a") == {"x": 1}
    daemon.drop_connections()
    assert client.post("/b") is None
    assert daemon.seen() == ["GET /a", "GET /a", "POST /b"]


def test_a_connection_to_be_closed_is_not_kept(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET /a", Reply(value=1, headers={"Connection": "close"}, close=True))
    assert client.get("/a") == 1
    assert client.get("/a") == 1
    assert [request.connection for request in daemon.requests] == [1, 2]


def test_a_version_prefixes_paths(daemon: FakeDaemon) -> None:
    daemon.on("GET /v1.48/a", 1)
    client = Client(daemon.address, version="1.48")
    assert client.get("/a") == 1
    client.close()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (304, NotModified),
        (400, InvalidRequest),
        (401, Denied),
        (403, Denied),
        (404, NotFound),
        (409, Conflict),
        (418, InvalidRequest),
        (500, Failed),
        (501, Unsupported),
        (502, Failed),
        (503, Unavailable),
    ],
)
def test_statuses_are_the_classes_of_the_error_tree(
    daemon: FakeDaemon, client: Client, status: int, kind: type[CarrickError]
) -> None:
    daemon.on("GET /a", Reply(status, {"message": "why"}))
    with pytest.raises(kind) as caught:
        client.get("/a")
    assert isinstance(caught.value, ApiError) and caught.value.status == status
    assert status == 304 or caught.value.message == "why"
    assert isinstance(error_from_status(status, "x"), kind)


def test_an_error_may_bring_its_remedy(daemon: FakeDaemon, client: Client) -> None:
    for remedy, expected in (("do this", "do this"), ("", ""), (None, None), (7, None)):
        daemon.on("GET /a", Reply(409, {"message": "taken", "remedy": remedy}))
        with pytest.raises(ApiError) as caught:
            client.get("/a")
        assert (caught.value.message, caught.value.remedy) == ("taken", expected)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"plain text\n", "plain text"),
        (b"", "the daemon answered with status 500 and no explanation"),
        (b'{"message":1}', '{"message":1}'),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_errors_without_dockers_json(daemon: FakeDaemon, client: Client, body: bytes, message: str) -> None:
    daemon.on("GET /a", Reply(500, body=body))
    with pytest.raises(ApiError) as caught:
        client.get("/a")
    assert caught.value.message == message


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="No such file") as caught:
        Client(f"unix://{tmp_path}/none.sock").get("/a")
    assert caught.value.address.endswith("none.sock")


@pytest.mark.parametrize(
    "address", ["", "tcp://1.2.3.4:5", "unix://", "unix://rel", "/a", "unix:///" + "x" * 200]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_address(address)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"junk\r\n\r\n",
    ],
)
def test_half_an_answer_is_none(daemon: FakeDaemon, client: Client, raw: bytes) -> None:
    daemon.on("GET /a", Reply(raw=raw))
    with pytest.raises(BrokenReply):
        client.get("/a")


def test_what_is_not_json_is_refused(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET /a", Reply(body=b"<html>"))
    with pytest.raises(BrokenReply, match="not JSON"):
        client.get("/a")


def test_documents_come_one_by_one(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET /events", Reply(chunks=[b'{"a":1}\n', b'{"a":2}\n{"a"', b":3}\n"]))
    with client.request("GET", "/events") as response:
        assert [document["a"] for document in response.documents()] == [1, 2, 3]
    assert response.fileno() == -1


def test_uploads(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("PUT /archive", Reply(200))
    parts = [b"abc", b"", b"d" * 100_000]
    client.request("PUT", "/archive", upload=parts).close()
    assert daemon.requests[0].body == b"".join(parts)
    assert daemon.requests[0].headers["content-type"] == "application/x-tar"


def test_an_upload_refused_early_says_why(daemon: FakeDaemon, client: Client) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.close()

    message = b'{"message":"no such container"}'
    head = f"HTTP/1.1 404 X\r\nContent-Length: {len(message)}\r\n\r\n".encode()

    class EarlyDaemon(FakeDaemon):
        @staticmethod
        def _body(reader, headers):
            return b""

    early = EarlyDaemon(daemon.path.with_name("early.sock"))
    early.on("PUT /archive", Reply(raw=head + message, takeover=refuse))
    try:
        with pytest.raises((NotFound, BrokenReply)):
            Client(early.address).request("PUT", "/archive", upload=(b"x" * 100_000 for _ in range(500)))
    finally:
        early.close()


def test_a_hijacked_connection_is_raw_both_ways(daemon: FakeDaemon, client: Client) -> None:
    def echo(connection: socket.socket) -> None:
        connection.sendall(b"hello ")
        while data := connection.recv(100):
            connection.sendall(data.upper())
        connection.sendall(b" bye")

    daemon.on("POST /attach", Reply(takeover=echo, headers={"Content-Type": "raw"}))
    stream = client.hijack("/attach", query={"stdin": True})
    assert daemon.requests[0].headers["upgrade"] == "tcp"
    assert stream.content_type == "raw"
    stream.send(b"abc")
    stream.close_write()
    received = b""
    while data := stream.receive():
        received += data
    stream.close()
    assert received == b"hello ABC bye"


def test_a_hijack_refused(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("POST /attach", Reply(409, {"message": "not running"}))
    with pytest.raises(Conflict, match="not running"):
        client.hijack("/attach")
    daemon.on("POST /attach", Reply(200, 1))
    with pytest.raises(BrokenReply, match="unable to upgrade to tcp, received 200"):
        client.hijack("/attach")
