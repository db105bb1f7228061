"""HTTP and frames, byte by byte and in one go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.doors.client.api import split_documents
from carrick.doors.client.errors import BrokenReply
from carrick.doors.client.frames import STDERR, STDOUT, SYSTEM_ERROR, FrameDecoder, encode_frame, error_text
from carrick.doors.client.wire import (
    MAX_HEAD,
    ResponseDecoder,
    encode_chunk,
    encode_query,
    encode_request,
    quote,
)

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
)
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH


def decode(data: bytes, size: int, method: str = "GET") -> tuple[ResponseDecoder, bytes]:
    decoder, body = ResponseDecoder(method), b""
    for start in range(0, len(data), size):
        decoder.feed(data[start : start + size])
        body += decoder.take()
    return decoder, body


@pytest.mark.parametrize("reply", [LENGTH, CHUNKED, CONTINUED])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_bodies_in_any_portions(reply: bytes, size: int) -> None:
    decoder, body = decode(reply, size)
    assert body == b"hello" and decoder.done
    assert decoder.head is not None and decoder.head.status == 200


@pytest.mark.parametrize(
    ("method", "head"), [("HEAD", b"200 OK\r\nContent-Length: 5"), ("GET", b"204 No"), ("GET", b"304 N")]
)
def test_no_body(method: str, head: bytes) -> None:
    decoder, body = decode(b"HTTP/1.1 " + head + b"\r\n\r\n", 1, method)
    assert decoder.done and body == b""


def test_until_close() -> None:
    decoder, body = decode(b"HTTP/1.1 200 OK\r\n\r\nabc", 1)
    assert body == b"abc" and not decoder.done
    decoder.close()
    assert decoder.done


def test_an_upgrade_leaves_the_rest() -> None:
    decoder, _ = decode(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\nraw bytes", 1000)
    assert decoder.upgraded and decoder.leftover == b"raw bytes"


@pytest.mark.parametrize("reply", [LENGTH, CHUNKED])
def test_what_is_cut_short_is_no_answer(reply: bytes) -> None:
    for size in range(len(reply) - 1):
        decoder = ResponseDecoder("GET")
        decoder.feed(reply[:size])
        if decoder.head is None or not decoder.done:
            with pytest.raises(BrokenReply):
                decoder.close()


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"x" * (MAX_HEAD + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 5000,
    ],
)
def test_what_is_not_http_is_refused(reply: bytes) -> None:
    with pytest.raises(BrokenReply):
        decode(reply, 100_000)


@given(st.binary(max_size=200), st.booleans())
def test_garbage_is_decoded_or_refused(data: bytes, with_head: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" if with_head else b""
    decoder = ResponseDecoder("GET")
    try:
        decoder.feed(head + data)
        decoder.close()
    except BrokenReply as error:
        assert error.message


@given(st.lists(st.binary(min_size=1, max_size=50)), st.integers(1, 20))
def test_chunks_round_trip(parts: list[bytes], size: int) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire = head + b"".join(map(encode_chunk, parts)) + b"0\r\n\r\n"
    decoder, body = decode(wire, size)
    assert decoder.done and body == b"".join(parts)


def test_requests() -> None:
    assert encode_request("GET", "/x", {"Host": "h"}) == b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
    with pytest.raises(ValueError, match="line break"):
        encode_request("GET", "/x", {"Host": "h\r\nX: y"})
    assert encode_query({"a b": "c&d", "é": "/"}) == "a%20b=c%26d&%C3%A9=%2F"
    assert quote("a/b:c", "/:") == "a/b:c"


@given(st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=30))))
def test_frames_byte_by_byte(frames: list[tuple[int, bytes]]) -> None:
    decoder = FrameDecoder()
    wire = b"".join(encode_frame(*frame) for frame in frames)
    got: dict[int, bytes] = {STDOUT: b"", STDERR: b""}
    order: list[int] = []
    for position in range(len(wire)):
        for stream, payload in decoder.feed(wire[position : position + 1]):
            got[stream] += payload
            order.append(stream)
    assert not decoder.mid_frame
    for stream in (STDOUT, STDERR):
        assert got[stream] == b"".join(data for kind, data in frames if kind == stream)
    assert order == [kind for kind, data in frames for _ in data]
    assert b"".join(data for _, data in FrameDecoder().feed(wire)) == b"".join(d for _, d in frames)


def test_an_error_frame_comes_whole() -> None:
    decoder = FrameDecoder()
    wire = encode_frame(STDOUT, b"out") + encode_frame(SYSTEM_ERROR, b"it broke\n")
    parts = [part for position in range(len(wire)) for part in decoder.feed(wire[position : position + 1])]
    assert parts == [*((STDOUT, bytes((byte,))) for byte in b"out"), (SYSTEM_ERROR, b"it broke\n")]
    assert error_text(b"it broke\n") == "error from daemon in stream: it broke"


@pytest.mark.parametrize("header", [b"\x04\0\0\0\0\0\0\1x", b"\1\1\0\0\0\0\0\1x", b"HTTP/1.1"])
def test_a_bad_frame_is_refused(header: bytes) -> None:
    with pytest.raises(BrokenReply, match="unrecognized stream"):
        FrameDecoder().feed(header)


def test_documents_in_any_form() -> None:
    chunks = [b'{"a":', b'1}\n{"b":2}{"c"', b':3}\r\n\x1e{"d":4}\n\n', b'{"e":5}']
    assert list(split_documents(chunks)) == [{"a": 1}, {"b": 2}, {"c": 3}, {"d": 4}, {"e": 5}]
    with pytest.raises(BrokenReply):
        list(split_documents([b"{nonsense\n"]))
