"""Whole DNS messages: parse and render (RFC 1035, section 4; RFC 6891 for the OPT record).

This is the complete codec, for tools, diagnostics and tests. The server's own path reads only what
it needs of a query, in `query`, and shares the primitives of `names`.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from .names import MalformedMessage, Name, fold, read_name, write_name

HEADER = Struct("!HHHHHH")
_FIXED = Struct("!HHIH")

QR = 0x8000
AA = 0x0400
TC = 0x0200
RD = 0x0100
RA = 0x0080
AD = 0x0020
CD = 0x0010

CLASS_IN = 1


class RecordType(IntEnum):
    """The record types that we have something to say about."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    MX = 15
    TXT = 16
    AAAA = 28
    SRV = 33
    OPT = 41
    IXFR = 251
    AXFR = 252
    ANY = 255


class ResponseCode(IntEnum):
    """RFC 1035, section 4.1.1, and BADVERS of RFC 6891."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


@dataclass(frozen=True, slots=True)
class Question:
    """One entry of the question section; the name keeps the case it came in."""

    name: Name
    qtype: int
    qclass: int = CLASS_IN


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record. Names inside `rdata` are uncompressed."""

    name: Name
    rtype: int
    rclass: int
    ttl: int
    rdata: bytes


@dataclass(frozen=True, slots=True)
class Edns:
    """What an OPT record says: the sender's UDP size, version, DO bit, and its raw options."""

    size: int
    version: int = 0
    dnssec_ok: bool = False
    extended_rcode: int = 0
    options: bytes = b""

    def record(self) -> Record:
        """Return the OPT record that carries this."""
        ttl = self.extended_rcode << 24 | self.version << 16 | (0x8000 if self.dnssec_ok else 0)
        return Record((), RecordType.OPT, self.size, ttl, self.options)

    @classmethod
    def of(cls, record: Record) -> "Edns":
        """Read an OPT record."""
        return cls(
            size=record.rclass,
            version=record.ttl >> 16 & 0xFF,
            dnssec_ok=bool(record.ttl & 0x8000),
            extended_rcode=record.ttl >> 24,
            options=record.rdata,
        )


@dataclass(frozen=True, slots=True)
class Message:
    """A DNS message; `flags` is the header's second word."""

    id: int
    flags: int
    questions: tuple[Question, ...] = ()
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()

    @property
    def edns(self) -> Edns | None:
        """The OPT record's content, if there is one."""
        for record in self.additional:
            if record.rtype == RecordType.OPT:
                return Edns.of(record)
        return None

    @property
    def rcode(self) -> int:
        """The response code, with EDNS's upper bits."""
        edns = self.edns
        return self.flags & 0xF | (edns.extended_rcode << 4 if edns else 0)


def parse_message(wire: bytes) -> Message:
    """Parse a whole message; bytes after the last record are ignored.

    Raises MalformedMessage and nothing else, whatever the bytes.
    """
    if len(wire) < HEADER.size:
        raise MalformedMessage("a DNS message has at least 12 bytes")
    identifier, flags, *counts = HEADER.unpack_from(wire)
    offset = HEADER.size
    questions = []
    for _ in range(counts[0]):
        name, offset = read_name(wire, offset)
        if offset + 4 > len(wire):
            raise MalformedMessage("the message ends inside a question")
        questions.append(
            Question(
                name,
                int.from_bytes(wire[offset : offset + 2]),
                int.from_bytes(wire[offset + 2 : offset + 4]),
            )
        )
        offset += 4
    sections: list[tuple[Record, ...]] = []
    for count in counts[1:]:
        records = []
        for _ in range(count):
            record, offset = _read_record(wire, offset)
            records.append(record)
        sections.append(tuple(records))
    return Message(identifier, flags, tuple(questions), *sections)


def _read_record(wire: bytes, offset: int) -> tuple[Record, int]:
    name, rtype, rclass, ttl, start, end = read_record_head(wire, offset)
    return Record(name, rtype, rclass, ttl, _expand(wire, rtype, start, end)), end


def read_record_head(wire: bytes, offset: int) -> tuple[Name, int, int, int, int, int]:
    """Return a record's name, type, class, TTL, and where its data begins and ends."""
    name, offset = read_name(wire, offset)
    if offset + _FIXED.size > len(wire):
        raise MalformedMessage("the message ends inside a record")
    rtype, rclass, ttl, length = _FIXED.unpack_from(wire, offset)
    start = offset + _FIXED.size
    if start + length > len(wire):
        raise MalformedMessage("a record's data goes past the end of the message")
    return name, rtype, rclass, ttl, start, start + length


def _expand(wire: bytes, rtype: int, start: int, end: int) -> bytes:
    """Return the data with the names in it uncompressed (RFC 3597, section 4, lists the types)."""
    prefix = {RecordType.MX: 2, RecordType.SRV: 6}.get(rtype, 0)  # type: ignore[call-overload]
    names = {
        RecordType.NS: 1,
        RecordType.CNAME: 1,
        RecordType.PTR: 1,
        RecordType.MX: 1,
        RecordType.SRV: 1,
        RecordType.SOA: 2,
    }.get(rtype, 0)  # type: ignore[call-overload]
    if not names:
        return wire[start:end]
    out = bytearray(wire[start : start + prefix])
    offset = start + prefix
    for _ in range(names):
        if offset >= end:
            raise MalformedMessage("a record's data ends before its name")
        name, offset = read_name(wire, offset)
        out += write_name(name)
    if offset > end:
        raise MalformedMessage("a name goes past the end of its record")
    return bytes(out + wire[offset:end])


def render_message(message: Message) -> bytes:
    """Render a message; owner names are compressed against every name before them.

    Raises MalformedMessage for what the wire cannot carry (a name or data that is too long).
    """
    sections = (message.answers, message.authority, message.additional)
    out = bytearray(HEADER.pack(message.id, message.flags, len(message.questions), *map(len, sections)))
    known: dict[Name, int] = {}
    for question in message.questions:
        _write_compressed(out, question.name, known)
        out += question.qtype.to_bytes(2) + question.qclass.to_bytes(2)
    for section in sections:
        for record in section:
            _write_compressed(out, record.name, known)
            if len(record.rdata) > 0xFFFF:
                raise MalformedMessage("a record's data is longer than 65535 bytes")
            out += _FIXED.pack(record.rtype, record.rclass, record.ttl, len(record.rdata))
            out += record.rdata
    return bytes(out)


def _write_compressed(out: bytearray, name: Name, known: dict[Name, int]) -> None:
    write_name(name)  # checks the lengths
    for index, label in enumerate(name):
        # The exact bytes, not the folded ones: a pointer must not change a name's case (0x20).
        rest = name[index:]
        target = known.get(rest)
        if target is not None:
            out += (0xC000 | target).to_bytes(2)
            return
        if len(out) < 0x4000:
            known[rest] = len(out)
        out.append(len(label))
        out += label
    out.append(0)


__all__ = [
    "AA",
    "AD",
    "CD",
    "CLASS_IN",
    "HEADER",
    "QR",
    "RA",
    "RD",
    "TC",
    "Edns",
    "MalformedMessage",
    "Message",
    "Question",
    "Record",
    "RecordType",
    "ResponseCode",
    "fold",
    "parse_message",
    "read_record_head",
    "render_message",
]
