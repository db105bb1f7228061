"""The server's half of the protocol: read one query, build the reply to it.

A reply repeats the question's bytes as they came (0x20 case included), so every owner name is the
two-byte pointer to it and nothing is rendered twice. A reply's *body* is everything after the id:
bodies are what `core` caches, because the id is all that differs between two equal queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .message import (
    AA,
    CD,
    CLASS_IN,
    HEADER,
    QR,
    RA,
    RD,
    TC,
    MalformedMessage,
    RecordType,
    ResponseCode,
    read_record_head,
)
from .names import Name, fold, read_name

PLAIN_UDP_SIZE = 512
"""What a client without EDNS can take (RFC 1035, section 2.3.4)."""
OUR_UDP_SIZE = 1232
"""What we advertise: fits every path's MTU (dnsflagday.net/2020)."""
MAX_MESSAGE = 65535
MAX_UDP_SIZE = 65507
"""The most that one IPv4 datagram carries."""

_OPCODE = 0x7800
_OWNER = b"\xc0\x0c"


@dataclass(frozen=True, slots=True)
class Query:
    """A well-formed query with one question.

    `name` is folded; `question` the question section's raw bytes; `udp_size` what the client
    accepts over UDP; `edns` whether it spoke EDNS, `has_options` whether with options in it.
    """

    id: bytes
    flags: int
    name: Name
    qtype: int
    qclass: int
    question: bytes
    udp_size: int = PLAIN_UDP_SIZE
    edns: bool = False
    dnssec_ok: bool = False
    has_options: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """Not a query to answer: `reply` is the error to send, or None to stay silent."""

    reply: bytes | None


def parse_query(wire: bytes) -> Query | Rejected:
    """Read a client's message. Never raises.

    Silent for what is no query (too short, or a response: answering one would let two servers
    talk to each other for ever).
    """
    if len(wire) < HEADER.size or wire[2] & 0x80:
        return Rejected(None)
    flags = wire[2] << 8 | wire[3]
    if flags & _OPCODE:
        return Rejected(_bare(wire, flags, ResponseCode.NOTIMP))
    _, _, questions, answers, authority, additional = HEADER.unpack_from(wire)
    if questions != 1:
        return Rejected(_bare(wire, flags, ResponseCode.FORMERR))
    try:
        name, offset = read_name(wire, HEADER.size)
        end = offset + 4
        # A question is never compressed: there is nothing before it to point to.
        if end > len(wire) or offset - HEADER.size != sum(map(len, name)) + len(name) + 1:
            raise MalformedMessage("the message ends inside its question")
        opt: tuple[int, int, int] | None = None
        offset = end
        for index in range(answers + authority + additional):
            owner, rtype, rclass, ttl, start, offset = read_record_head(wire, offset)
            if rtype == RecordType.OPT:
                if opt is not None or owner or index < answers + authority:
                    raise MalformedMessage("OPT must stand once, at the root, in the last section")
                opt = (rclass, ttl, offset - start)
    except MalformedMessage:
        return Rejected(_bare(wire, flags, ResponseCode.FORMERR))
    query = Query(
        id=wire[:2],
        flags=flags,
        name=fold(name),
        qtype=int.from_bytes(wire[end - 4 : end - 2]),
        qclass=int.from_bytes(wire[end - 2 : end]),
        question=wire[HEADER.size : end],
    )
    if opt is None:
        return query
    size, ttl, option_bytes = opt
    query = Query(
        query.id,
        flags,
        query.name,
        query.qtype,
        query.qclass,
        query.question,
        udp_size=min(max(PLAIN_UDP_SIZE, size), MAX_UDP_SIZE),
        edns=True,
        dnssec_ok=bool(ttl & 0x8000),
        has_options=option_bytes > 0,
    )
    if ttl >> 16 & 0xFF:
        return Rejected(query.id + build_body(query, ResponseCode.BADVERS))
    return query


def _bare(wire: bytes, flags: int, rcode: ResponseCode) -> bytes:
    """A reply of a header alone, for what could not be read any further."""
    reply = QR | flags & (_OPCODE | RD) | RA | rcode
    return HEADER.pack(wire[0] << 8 | wire[1], reply, 0, 0, 0, 0)


def build_body(
    query: Query,
    rcode: int,
    records: Sequence[tuple[int, bytes]] = (),
    *,
    ttl_s: int = 0,
    limit: int = MAX_MESSAGE,
    authoritative: bool = False,
) -> bytes:
    """Return the reply without its id. `records` are (type, data) owned by the question's name.

    As many records as fit into `limit` bytes are kept, and TC says that some were not.
    """
    tail = b""
    if query.edns:
        high = (rcode >> 4) << 8
        tail = b"".join(
            (
                b"\0\0\x29",
                OUR_UDP_SIZE.to_bytes(2),
                high.to_bytes(2),
                b"\x80\0" if query.dnssec_ok else b"\0\0",
                b"\0\0",
            )
        )
    room = limit - HEADER.size - len(query.question) - len(tail)
    lifetime = ttl_s.to_bytes(4)
    parts = []
    flags = QR | query.flags & (RD | CD) | RA | rcode & 0xF
    if authoritative:
        flags |= AA
    for rtype, data in records:
        room -= 12 + len(data)
        if room < 0:
            flags |= TC
            break
        parts.append(
            b"".join(
                (
                    _OWNER,
                    rtype.to_bytes(2),
                    CLASS_IN.to_bytes(2),
                    lifetime,
                    len(data).to_bytes(2),
                    data,
                )
            )
        )
    header = HEADER.pack(0, flags, 1, len(parts), 0, 1 if tail else 0)
    return b"".join((header[2:], query.question, *parts, tail))


def truncate(reply: bytes, query: Query) -> bytes:
    """Return an upstream's reply cut to its header and question, with TC, for a small client."""
    flags = int.from_bytes(reply[2:4]) | TC
    return query.id + flags.to_bytes(2) + b"\0\1\0\0\0\0\0\0" + query.question
