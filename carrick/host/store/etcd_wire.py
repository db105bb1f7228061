"""etcd's API v3 as bytes: the few messages that the store needs, in protobuf's wire format. Pure.

Field numbers are those of etcd's published API (https://etcd.io/docs/v3.4/dev-guide/api_reference_v3/); the
format is https://protobuf.dev/programming-guides/encoding/. Written by hand because a dozen flat messages
need neither a code generator nor its run-time library. Unknown fields are read over, so a newer etcd may
add some.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...model.errors import Failed
from .contract import (
    Change,
    Delete,
    DeletePrefix,
    NoneBelow,
    Put,
    Requirement,
)

RANGE = "/etcdserverpb.KV/Range"
TXN = "/etcdserverpb.KV/Txn"
COMPACT = "/etcdserverpb.KV/Compact"
WATCH = "/etcdserverpb.Watch/Watch"
LEASE_GRANT = "/etcdserverpb.Lease/LeaseGrant"
LEASE_REVOKE = "/etcdserverpb.Lease/LeaseRevoke"
LEASE_KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
AUTHENTICATE = "/etcdserverpb.Auth/Authenticate"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_COMPARE_CREATE, _COMPARE_MOD = 1, 2
_NO_END = b"\0"
"""As the end of a range: every key from its beginning on."""


@dataclass(frozen=True, slots=True)
class Header:
    """Who answered and at which revision its copy stood."""

    cluster: int = 0
    member: int = 0
    revision: int = 0


@dataclass(frozen=True, slots=True)
class KeyValue:
    key: bytes
    value: bytes
    created: int
    revision: int
    lease: int


@dataclass(frozen=True, slots=True)
class RangeResponse:
    header: Header
    entries: list[KeyValue]
    more: bool


@dataclass(frozen=True, slots=True)
class TxnResponse:
    """`reads` are the answers of the reading operations, in their order."""

    header: Header
    succeeded: bool
    reads: list[RangeResponse]


@dataclass(frozen=True, slots=True)
class LeaseResponse:
    """`ttl_s` is what the lease has left; 0 or less if there is no such lease."""

    lease: int
    ttl_s: int


@dataclass(frozen=True, slots=True)
class WatchEvent:
    deleted: bool
    entry: KeyValue


@dataclass(frozen=True, slots=True)
class WatchResponse:
    """`fragment` says that more events of the same answer follow."""

    header: Header
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    fragment: bool = False
    events: list[WatchEvent] = field(default_factory=list)


# Requests


def range_request(
    key: bytes,
    end: bytes,
    *,
    limit: int = 0,
    revision: int = 0,
    keys_only: bool = False,
    count_only: bool = False,
) -> bytes:
    """Read `key`, or all up to before `end`; at `revision`, or now."""
    return b"".join(
        (
            _chunk(1, key),
            _chunk(2, end),
            _number(3, limit),
            _number(4, revision),
            _number(8, keys_only),
            _number(9, count_only),
        )
    )


def txn_request(prefix: bytes, changes: Sequence[Change], conditions: Sequence[Requirement]) -> bytes:
    """Make the changes if all conditions hold; else tell the keys of the conditions, without their values."""
    parts = []
    for condition in conditions:
        # The revision is in a oneof: it is sent also when it is 0.
        if isinstance(condition, NoneBelow):
            # Each key of a range is compared; if there is none, one that was never created.
            start, end = prefix_range(prefix, condition.prefix)
            compare = _number(2, _COMPARE_CREATE) + _chunk(3, start) + _tag(5, _VARINT) + _varint(0)
            parts.append(_message(1, compare + _chunk(64, end)))
            continue
        compare = _number(2, _COMPARE_MOD) + _chunk(3, prefix + condition.key.encode())
        parts.append(_message(1, compare + _tag(6, _VARINT) + _varint(condition.revision)))
    for change in changes:
        match change:
            case Put(key, value, lease):
                put = _chunk(1, prefix + key.encode()) + _chunk(2, value) + _number(3, lease)
                operation = _message(2, put)
            case Delete(key):
                operation = _message(3, _chunk(1, prefix + key.encode()))
            case DeletePrefix(below):
                start, end = prefix_range(prefix, below)
                operation = _message(3, _chunk(1, start) + _chunk(2, end))
        parts.append(_message(2, operation))
    for condition in conditions:
        if isinstance(condition, NoneBelow):
            read = range_request(*prefix_range(prefix, condition.prefix), limit=1, keys_only=True)
        else:
            read = range_request(prefix + condition.key.encode(), b"", keys_only=True)
        parts.append(_message(3, _message(1, read)))
    return b"".join(parts)


def compaction_request(revision: int) -> bytes:
    return _number(1, revision)


def lease_grant_request(ttl_s: int, lease: int) -> bytes:
    return _number(1, ttl_s) + _number(2, lease)


def lease_request(lease: int) -> bytes:
    """Revoke a lease, or keep it alive."""
    return _number(1, lease)


def watch_request(key: bytes, end: bytes, start_revision: int, number: int) -> bytes:
    """Watch a range from a revision on, with news of progress and large answers in fragments.

    `number`, which is ours to choose, is in every answer.
    """
    create = b"".join(
        (
            _chunk(1, key),
            _chunk(2, end),
            _number(3, start_revision),
            _number(4, 1),
            _number(7, number),
            _number(8, 1),
        )
    )
    return _message(1, create)


def watch_cancel_request(number: int) -> bytes:
    return _message(2, _number(1, number))


def authenticate_request(user: str, password: str) -> bytes:
    return _chunk(1, user.encode()) + _chunk(2, password.encode())


def prefix_range(prefix: bytes, below: str) -> tuple[bytes, bytes]:
    """Return the first key of a prefix and the first key after it."""
    start = prefix + below.encode()
    stem = start.rstrip(b"\xff")
    return start or b"\0", stem[:-1] + bytes((stem[-1] + 1,)) if stem else _NO_END


# Answers


def read_header(data: bytes) -> Header:
    """Read the header of any answer: it is always the first field."""
    _, chunks = _read(data)
    return _header(chunks)


def read_range(data: bytes) -> RangeResponse:
    numbers, chunks = _read(data)
    entries = [_key_value(chunk) for chunk in chunks.get(2, ())]
    return RangeResponse(_header(chunks), entries, bool(numbers.get(3)))


def read_txn(data: bytes) -> TxnResponse:
    numbers, chunks = _read(data)
    reads = []
    for chunk in chunks.get(3, ()):
        _, kinds = _read(chunk)
        reads += [read_range(answer) for answer in kinds.get(1, ())]
    return TxnResponse(_header(chunks), bool(numbers.get(2)), reads)


def read_lease(data: bytes) -> LeaseResponse:
    numbers, _ = _read(data)
    return LeaseResponse(_signed(numbers.get(2, 0)), _signed(numbers.get(3, 0)))


def read_token(data: bytes) -> str:
    _, chunks = _read(data)
    return _last(chunks, 2).decode()


def read_watch(data: bytes) -> WatchResponse:
    numbers, chunks = _read(data)
    return WatchResponse(
        _header(chunks),
        created=bool(numbers.get(3)),
        canceled=bool(numbers.get(4)),
        compact_revision=_signed(numbers.get(5, 0)),
        cancel_reason=_last(chunks, 6).decode("utf-8", "replace"),
        fragment=bool(numbers.get(7)),
        events=[_event(chunk) for chunk in chunks.get(11, ())],
    )


def read_watch_id(data: bytes) -> int:
    """Return which watch an answer is for, without reading the rest of it if that can be avoided.

    The number comes right after the header, and is left out if it is 0.
    """
    if data[:1] == b"\x0a" and len(data) > 1 and data[1] < 0x80:
        after = 2 + data[1]
        if data[after : after + 1] == b"\x10":
            try:
                return _signed(_read_varint(data, after + 1)[0])
            except IndexError:
                raise _malformed("it is cut short") from None
    return _signed(_read(data)[0].get(2, 0))


def _event(data: bytes) -> WatchEvent:
    numbers, chunks = _read(data)
    return WatchEvent(bool(numbers.get(1)), _key_value(_last(chunks, 2)))


def _key_value(data: bytes) -> KeyValue:
    numbers, chunks = _read(data)
    return KeyValue(
        _last(chunks, 1), _last(chunks, 5), numbers.get(2, 0), numbers.get(3, 0), _signed(numbers.get(6, 0))
    )


def _header(chunks: dict[int, list[bytes]]) -> Header:
    numbers, _ = _read(_last(chunks, 1))
    return Header(numbers.get(1, 0), numbers.get(2, 0), _signed(numbers.get(3, 0)))


# The wire format


def _read(data: bytes) -> tuple[dict[int, int], dict[int, list[bytes]]]:
    """Take a message apart into its numbers, of which the last counts, and its byte strings, all of them."""
    numbers: dict[int, int] = {}
    chunks: dict[int, list[bytes]] = {}
    position, size = 0, len(data)
    try:
        while position < size:
            tag = data[position]
            position += 1
            if tag > 0x7F:
                tag, position = _read_varint(data, position - 1)
            kind = tag & 7
            if kind in (_VARINT, _BYTES):
                # Nearly all numbers and lengths take one or two bytes: this loop is where reading spends
                # its time.
                value = data[position]
                position += 1
                if value > 0x7F:
                    value, position = _read_varint(data, position - 1)
                if kind == _VARINT:
                    numbers[tag >> 3] = value
                    continue
                chunks.setdefault(tag >> 3, []).append(data[position : position + value])
                position += value
            elif kind == _FIXED64:
                position += 8
            elif kind == _FIXED32:
                position += 4
            else:
                raise _malformed(f"a field of the unknown kind {kind}")
    except IndexError:
        raise _malformed("it is cut short") from None
    if position > size:
        raise _malformed("it is cut short")
    return numbers, chunks


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise _malformed("a number has more than 64 bits")


def _malformed(what: str) -> Failed:
    return Failed(
        f"cannot read etcd's answer: {what}",
        remedy="check that the endpoint is an etcd of version 3.4 or later",
    )


def _varint(value: int) -> bytes:
    encoded = bytearray()
    value &= 0xFFFF_FFFF_FFFF_FFFF
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _number(number: int, value: int) -> bytes:
    return _tag(number, _VARINT) + _varint(value) if value else b""


def _chunk(number: int, value: bytes) -> bytes:
    return _message(number, value) if value else b""


def _message(number: int, value: bytes) -> bytes:
    """Like `_chunk`, but there also when it is empty: for what is in a oneof or repeated."""
    return _tag(number, _BYTES) + _varint(len(value)) + value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _last(chunks: dict[int, list[bytes]], number: int) -> bytes:
    found = chunks.get(number)
    return found[-1] if found else b""
