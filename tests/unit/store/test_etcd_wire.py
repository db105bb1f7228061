"""etcd's messages as bytes, its configuration, and what its refusals mean. Nothing here needs an etcd."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.host.store import etcd_wire as wire
from carrick.host.store.checks import prefix_end
from carrick.host.store.contract import Condition, Delete, DeletePrefix, LeaseId, Put
from carrick.host.store.etcd_call import CallFailed, Code
from carrick.host.store.etcd_config import Endpoint, EtcdConfig, parse_endpoint, parse_etcd_config
from carrick.host.store.etcd_errors import Remedy, error_of, remedy_of
from carrick.model.errors import CarrickError, Denied, Failed, InvalidRequest, Unavailable, Unsupported

# Bytes worked out by hand from the format's description, not by the code under test.


def test_a_range_request() -> None:
    assert (
        wire.range_request(b"a", b"b", limit=300, keys_only=True) == b"\x0a\x01a\x12\x01b\x18\xac\x02\x40\x01"
    )


def test_a_transaction() -> None:
    request = wire.txn_request(
        b"p/", [Put("a", b"v", LeaseId(5)), Delete("b"), DeletePrefix("c/")], [Condition("a", 0)]
    )
    compare = b"\x10\x02\x1a\x03p/a\x30\x00"  # also a revision of 0 is sent
    put = b"\x12\x0a\x0a\x03p/a\x12\x01v\x18\x05"
    delete = b"\x1a\x05\x0a\x03p/b"
    below = b"\x1a\x0c\x0a\x04p/c/\x12\x04p/c0"
    read = b"\x0a\x07\x0a\x03p/a\x40\x01"
    expected = b"".join(
        bytes((tag, len(part))) + part
        for tag, part in ((0x0A, compare), (0x12, put), (0x12, delete), (0x12, below), (0x1A, read))
    )
    assert request == expected


def test_a_watch_request() -> None:
    request = wire.watch_request(b"a", b"b", 7, 3)
    assert request == b"\x0a\x0e\x0a\x01a\x12\x01b\x18\x07\x20\x01\x38\x03\x40\x01"
    assert wire.watch_cancel_request(3) == b"\x12\x02\x08\x03"


def test_an_answer_with_unknown_fields() -> None:
    entry = b"\x0a\x01k\x10\x02\x18\x03\x20\x01\x2a\x01v\x30\x09"
    unknown = b"\x78\x01" + b"\x7a\x02xy" + b"\x79" + bytes(8) + b"\x7d" + bytes(4) + b"\x82\x01\x01z"
    answer = b"\x0a\x04\x08\x01\x18\x05" + b"\x12" + bytes((len(entry),)) + entry + b"\x18\x01" + unknown
    read = wire.read_range(answer)
    assert read.header == wire.Header(cluster=1, revision=5)
    assert read.entries == [wire.KeyValue(b"k", b"v", 2, 3, 9)]
    assert read.more


def test_a_watch_answer() -> None:
    removed = b"\x08\x01\x12\x05\x0a\x01k\x18\x04"
    answer = b"\x28\x03\x32\x02no\x38\x01\x5a" + bytes((len(removed),)) + removed
    read = wire.read_watch(answer)
    assert (read.compact_revision, read.cancel_reason, read.fragment) == (3, "no", True)
    assert wire.read_watch_id(answer) == 0
    for number in (1, 300, -1):
        encoded = b"\x0a\x02\x18\x07\x10" + wire._varint(number) + answer
        assert wire.read_watch_id(encoded) == number
    assert read.events == [wire.WatchEvent(True, wire.KeyValue(b"k", b"", 0, 4, 0))]


def test_a_lease_that_is_not_there_is_negative_or_zero() -> None:
    assert wire.read_lease(b"\x10\x07").ttl_s == 0
    assert wire.read_lease(b"\x10\x07\x18" + b"\xff" * 9 + b"\x01").ttl_s == -1


@given(st.binary(max_size=60))
def test_no_bytes_do_more_than_fail(data: bytes) -> None:
    for read in (
        wire.read_range,
        wire.read_txn,
        wire.read_lease,
        wire.read_watch,
        wire.read_watch_id,
        wire.read_header,
    ):
        try:
            read(data)
        except Failed as error:
            assert error.remedy


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
def test_the_end_of_a_prefix_is_that_of_the_other_stores(below: str) -> None:
    start, end = wire.prefix_range(b"p/", below)
    assert start == b"p/" + below.encode()
    assert start < end
    assert (start + b"\xf4\x8f\xbf\xbf" * 3) < end
    if (text := prefix_end(below)) is not None:
        # No text lies between the two ends, though their bytes may differ.
        assert end <= b"p/" + text.encode()
    assert wire.prefix_range(b"p/", "") == (b"p/", b"p0")


# Configuration


def test_a_configuration(tmp_path: Path) -> None:
    table: dict[str, Any] = {
        "endpoints": ["https://a:2379", "https://[fd00::1]"],
        "prefix": "blue/",
        "user": "carrick",
        "password-file": "/etc/carrick/password",
        "cacert": "/ca.pem",
        "request-timeout-s": 3,
    }
    config = parse_etcd_config(table)
    assert config.endpoints == (Endpoint("a", 2379, True), Endpoint("fd00::1", 2379, True))
    assert str(config.endpoints[1]) == "https://[fd00::1]:2379"
    assert (config.prefix, config.password_file) == ("blue/", Path("/etc/carrick/password"))
    assert config.request_timeout_s == 3
    assert parse_endpoint("h:1") == Endpoint("h", 1, tls=False)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "endpoints"),
        ({"endpoints": []}, "no endpoint"),
        ({"endpoints": "h"}, "endpoints"),
        ({"endpoints": ["h"], "colour": "red"}, "colour"),
        ({"endpoints": ["h"], "prefix": "blue"}, "ends in a slash"),
        ({"endpoints": ["h"], "user": "u"}, "go together"),
        ({"endpoints": ["https://h"], "cert": "c"}, "go together"),
        ({"endpoints": ["http://h"], "cacert": "c"}, "not encrypted"),
        ({"endpoints": ["http://h", "https://i"]}, "cannot be mixed"),
        ({"endpoints": ["http://h", "h:2379"]}, "given twice"),
        ({"endpoints": ["ftp://h"]}, "not of the form"),
        ({"endpoints": ["http://"]}, "not of the form"),
        ({"endpoints": ["http://h/v3"]}, "not of the form"),
        ({"endpoints": ["http://h:port"]}, "not a URL"),
        ({"endpoints": ["http://u:p@h"]}, "no user and password"),
        ({"endpoints": ["h"], "request_timeout_s": 0}, "more than 0"),
    ],
)
def test_a_bad_configuration_names_the_setting(table: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        parse_etcd_config(table)
    assert "etcd" in str(caught.value)


def test_a_configuration_needs_an_endpoint() -> None:
    with pytest.raises(InvalidRequest, match="no endpoint"):
        EtcdConfig(())


# Refusals


@pytest.mark.parametrize(
    ("code", "text", "untouched", "remedy"),
    [
        (Code.UNAUTHENTICATED, "etcdserver: invalid auth token", False, Remedy.LOG_IN_AGAIN),
        (Code.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", False, Remedy.LOG_IN_AGAIN),
        (Code.UNAVAILABLE, "etcdserver: no leader", False, Remedy.REPEAT),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", False, Remedy.REPEAT),
        (Code.UNAVAILABLE, "connection lost", True, Remedy.REPEAT),
        (Code.UNAVAILABLE, "connection lost", False, Remedy.UNCERTAIN),
        (Code.UNAVAILABLE, "etcdserver: request timed out", False, Remedy.UNCERTAIN),
        (Code.UNKNOWN, "raft proposal dropped", False, Remedy.UNCERTAIN),
        (Code.INVALID_ARGUMENT, "etcdserver: request is too large", False, Remedy.GIVE_UP),
        (Code.RESOURCE_EXHAUSTED, "grpc: received message larger than max", True, Remedy.GIVE_UP),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", False, Remedy.GIVE_UP),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", False, Remedy.GIVE_UP),
    ],
)
def test_what_to_do_about_a_refusal(code: Code, text: str, untouched: bool, remedy: Remedy) -> None:
    assert remedy_of(CallFailed(code, text, untouched=untouched)) is remedy


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (Code.INVALID_ARGUMENT, "etcdserver: user name is empty", Denied),
        (Code.INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password", Denied),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", Denied),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Unavailable),
        (Code.INVALID_ARGUMENT, "etcdserver: request is too large", InvalidRequest),
        (Code.INVALID_ARGUMENT, "etcdserver: too many operations in txn request", InvalidRequest),
        (Code.UNIMPLEMENTED, "unknown service", Unsupported),
        (Code.DATA_LOSS, "etcdserver: corrupt cluster", Failed),
        (Code.UNKNOWN, "panic", Failed),
        (99, "from the future", Failed),
    ],
)
def test_what_a_refusal_is(code: int, text: str, kind: type[CarrickError]) -> None:
    error = error_of(CallFailed(code, text), "http://h:2379", "me")
    assert type(error) is kind
    assert "http://h:2379" in str(error)
    assert error.remedy
