"""The wire codec: round trips, hostile bytes, EDNS, truncation, framing."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.domains.dns.framing import StreamBuffer, frame
from carrick.domains.dns.message import (
    QR,
    RD,
    TC,
    Edns,
    Message,
    Question,
    Record,
    RecordType,
    ResponseCode,
    parse_message,
    render_message,
)
from carrick.domains.dns.names import (
    MalformedMessage,
    parse_name,
    parse_reverse,
    read_name,
    render_text,
    reverse_name,
    write_name,
)
from carrick.domains.dns.query import Query, Rejected, build_body, parse_query, truncate
from carrick.domains.dns.resolvconf import parse_nameservers

labels = st.binary(min_size=1, max_size=20)
names = st.lists(labels, max_size=6).map(tuple)
u16 = st.integers(0, 0xFFFF)
opaque_types = st.sampled_from([RecordType.A, RecordType.TXT, RecordType.AAAA, 999])
name_records = st.builds(
    Record,
    names,
    st.sampled_from([RecordType.PTR, RecordType.CNAME, RecordType.NS]),
    u16,
    st.integers(0, 2**32 - 1),
    names.map(write_name),
)
records = (
    st.builds(Record, names, opaque_types, u16, st.integers(0, 2**32 - 1), st.binary(max_size=40))
    | name_records
)
sections = st.lists(records, max_size=4).map(tuple)
messages = st.builds(
    Message,
    u16,
    u16,
    st.lists(st.builds(Question, names, u16, u16), max_size=2).map(tuple),
    sections,
    sections,
    sections,
)


def ask(name: str, qtype: int = RecordType.A, edns: Edns | None = None, **header: int) -> bytes:
    labels = parse_name(name) or ()
    extra = (edns.record(),) if edns else ()
    flags = header.get("flags", RD)
    question = Question(labels, qtype, header.get("qclass", 1))
    return render_message(Message(0x1234, flags, (question,), additional=extra))


@given(messages)
def test_parsing_what_was_rendered_gives_the_same_message(message: Message) -> None:
    assert parse_message(render_message(message)) == message


@given(st.binary(max_size=200))
def test_parsing_garbage_raises_nothing_but_its_own_error(wire: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        parse_message(wire)
    result = parse_query(wire)
    assert isinstance(result, Query | Rejected)


@given(messages, st.data())
def test_parsing_mutated_messages_raises_nothing_but_its_own_error(
    message: Message, data: st.DataObject
) -> None:
    wire = bytearray(render_message(message))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedMessage):
        parse_message(bytes(wire))
    parse_query(bytes(wire))


def test_a_name_is_compressed_against_one_that_stood_before() -> None:
    name = (b"db", b"example", b"org")
    message = Message(1, QR, (Question(name, 1),), (Record(name, 1, 1, 1, b"\x01\x02\x03\x04"),))
    assert render_message(message).count(b"example") == 1


def test_compression_keeps_the_case_of_each_name() -> None:
    message = Message(1, QR, (Question((b"Db",), 1), Question((b"dB",), 1)))
    assert parse_message(render_message(message)) == message


@pytest.mark.parametrize(
    "wire",
    [
        b"\xc0\x00",  # points at itself
        b"\x01a\xc0\x00",  # a loop of two
        b"\xc0\x10",  # forwards
        b"\x41aaa",  # reserved label type
        b"\x3faa",  # ends early
        b"",
        b"\x3f" + b"a" * 63 + (b"\x3f" + b"b" * 63) * 3 + b"\x00",  # 257 bytes
    ],
)
def test_a_bad_name_is_refused(wire: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_name(wire, 0)


@pytest.mark.parametrize("name", [(b"",), (b"a" * 64,), (b"a" * 60,) * 5])
def test_a_name_that_does_not_fit_is_not_written(name: tuple[bytes, ...]) -> None:
    with pytest.raises(MalformedMessage):
        write_name(name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("web", (b"web",)),
        ("a.b.", (b"a", b"b")),
        ("bücher", ("bücher".encode(),)),
        ("", None),
        ("a..b", None),
        ("a" * 64, None),
        (".".join(["a" * 60] * 5), None),
    ],
)
def test_names_that_users_give(text: str, name: tuple[bytes, ...] | None) -> None:
    assert parse_name(text) == name


def test_text_escapes_what_is_not_plain() -> None:
    assert render_text((b"a.b", b"c d", b"\xff")) == "a\\.b.c\\032d.\\255."
    assert render_text(()) == "."


@given(st.ip_addresses())
def test_reverse_names_come_back(address: object) -> None:
    found = parse_reverse(reverse_name(address))  # type: ignore[arg-type]
    assert found == (address, address.max_prefixlen)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text",
    ["1.2.3.4.5.in-addr.arpa", "01.2.3.4.in-addr.arpa", "256.in-addr.arpa", "g.ip6.arpa", "x.arpa"],
)
def test_what_is_no_reverse_name(text: str) -> None:
    name = parse_name(text)
    assert name is not None
    assert parse_reverse(name) is None


def test_a_partial_reverse_name_gives_its_bits() -> None:
    name = parse_name("18.172.in-addr.arpa")
    assert name is not None
    found = parse_reverse(name)
    assert found is not None
    assert (str(found[0]), found[1]) == ("172.18.0.0", 16)


def rejected(wire: bytes) -> Message | None:
    result = parse_query(wire)
    assert isinstance(result, Rejected)
    return None if result.reply is None else parse_message(result.reply)


def test_a_response_is_dropped_and_so_is_a_fragment() -> None:
    assert rejected(ask("web", flags=QR)) is None
    assert rejected(b"\x00" * 11) is None


@pytest.mark.parametrize(
    ("wire", "rcode"),
    [
        (ask("web", flags=0x2000), ResponseCode.NOTIMP),
        (b"\x12\x34\x01\x00\x00\x00" + b"\x00" * 6, ResponseCode.FORMERR),
        (b"\x12\x34\x01\x00\x00\x02" + b"\x00" * 6, ResponseCode.FORMERR),
        (b"\x12\x34\x01\x00\x00\x01" + b"\x00" * 6 + b"\xc0\x0c\0\1\0\1", ResponseCode.FORMERR),
        (ask("web")[:-1], ResponseCode.FORMERR),
        (ask("web", edns=Edns(1232, version=1)), ResponseCode.BADVERS),
    ],
)
def test_what_is_no_plain_query_gets_its_error(wire: bytes, rcode: ResponseCode) -> None:
    reply = rejected(wire)
    assert reply is not None
    assert reply.rcode == rcode
    assert reply.id == 0x1234


def test_two_opt_records_are_a_format_error() -> None:
    opt = Edns(1232).record()
    wire = render_message(Message(1, RD, (Question((b"a",), 1),), additional=(opt, opt)))
    reply = rejected(wire)
    assert reply is not None
    assert reply.rcode == ResponseCode.FORMERR


def parsed(wire: bytes) -> Query:
    query = parse_query(wire)
    assert isinstance(query, Query)
    return query


def test_a_query_is_read_with_its_case_kept_and_its_edns() -> None:
    query = parsed(ask("WeB.Net", RecordType.AAAA, Edns(4096, dnssec_ok=True, options=b"\0\1\0\0")))
    assert query.name == (b"web", b"net")
    assert b"WeB" in query.question
    assert (query.udp_size, query.edns, query.dnssec_ok) == (4096, True, True)
    assert query.has_options
    assert parsed(ask("web", edns=Edns(100))).udp_size == 512
    assert parsed(ask("web")).udp_size == 512


@given(st.integers(1, 200), st.sampled_from([None, 512, 1232, 4096]))
def test_a_reply_never_exceeds_the_clients_size(count: int, size: int | None) -> None:
    query = parsed(ask("many.example", edns=Edns(size) if size else None))
    body = build_body(query, 0, [(1, b"\x0a\0\0\1")] * count, ttl_s=1, limit=query.udp_size)
    assert len(body) + 2 <= query.udp_size
    reply = parse_message(query.id + body)
    assert bool(reply.flags & TC) == (len(reply.answers) < count)
    assert (reply.edns is not None) == query.edns
    # It is cut only where one more would not have fitted.
    if reply.flags & TC:
        assert len(body) + 2 + 16 > query.udp_size


def test_a_cut_reply_keeps_the_question() -> None:
    query = parsed(ask("Big.example"))
    full = Message(7, QR, (Question((b"Big", b"example"), 1),), (Record((), 1, 1, 1, b"1234"),) * 99)
    reply = parse_message(truncate(render_message(full), query))
    assert reply.flags & TC
    assert (reply.id, reply.answers) == (0x1234, ())
    assert reply.questions[0].name == (b"Big", b"example")


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_framing_cuts_any_split_of_the_stream_the_same(sent: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(frame, sent))
    buffer = StreamBuffer()
    received = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received += buffer.feed(stream[:size])
        stream = stream[size:]
    assert received == sent
    assert buffer.is_empty


def test_name_servers_of_a_resolv_conf() -> None:
    text = """# comment
nameserver 127.0.0.53
nameserver   fe80::1%eth0
search example.org
nameserver nonsense
nameserver 127.0.0.53
options ndots:1
nameserver 9.9.9.9
nameserver 8.8.8.8
"""
    assert parse_nameservers(text) == ("127.0.0.53", "fe80::1%eth0", "9.9.9.9")
    assert parse_nameservers("") == ()
