"""Snapshots and changes: equal in effect, atomic, and well coded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.domains.dns.names import parse_address, parse_name
from carrick.domains.dns.protocol import (
    Change,
    Codec,
    Done,
    Lookup,
    PutEndpoint,
    PutNetwork,
    PutSandbox,
    RemoveEndpoint,
    RemoveNetwork,
    RemoveSandbox,
    Snapshot,
    Stats,
    Update,
)
from carrick.domains.dns.table import ZoneTable
from carrick.domains.dns.zone import EndpointRecord, NetworkZone, SandboxView, UpstreamServer
from carrick.model.errors import InvalidRequest

NAMES = ["web", "db", "Web", "a.b", "x" * 70, "é"]
ADDRESSES = ["10.0.0.1", "10.0.0.2", "fd00::1"]
NETWORKS = ["n1", "n2"]

endpoints = st.builds(
    EndpointRecord,
    st.sampled_from(["e1", "e2", "e3"]),
    st.lists(st.sampled_from(NAMES), max_size=3).map(tuple),
    st.lists(st.sampled_from(ADDRESSES), max_size=2).map(tuple),
)
zones = st.builds(
    NetworkZone,
    st.sampled_from(NETWORKS),
    st.sampled_from(["net", "other"]),
    st.just(("10.0.0.0/24",)),
    st.lists(endpoints, max_size=2, unique_by=lambda e: e.endpoint_id).map(tuple),
)
views = st.builds(
    SandboxView,
    st.sampled_from(["s1", "s2"]),
    st.just("/run/netns/x"),
    st.lists(st.sampled_from(NETWORKS), unique=True).map(tuple),
)
changes = st.one_of(
    st.builds(PutNetwork, zones),
    st.builds(RemoveNetwork, st.sampled_from(NETWORKS)),
    st.builds(PutEndpoint, st.sampled_from(NETWORKS), endpoints),
    st.builds(RemoveEndpoint, st.sampled_from(NETWORKS), st.sampled_from(["e1", "e2", "e9"])),
    st.builds(PutSandbox, views),
    st.builds(RemoveSandbox, st.sampled_from(["s1", "s9"])),
)


def content(table: ZoneTable) -> object:
    """Everything that can be asked of a table, in comparable form."""
    found = {}
    for key, index in table.networks.items():
        for name in NAMES:
            if labels := parse_name(name):
                lowered = tuple(label.lower() for label in labels)
                found[key, name] = (index.knows(lowered), frozenset(index.addresses(lowered).addresses))
        for text in ADDRESSES:
            found[key, text] = index.first_name(parse_address(text, "test"))
    return found, {key: box.view for key, box in table.sandboxes.items()}


@given(st.lists(st.lists(changes, max_size=4), max_size=8))
def test_changes_end_where_a_snapshot_of_the_end_begins(batches: list[list[Change]]) -> None:
    table = ZoneTable()
    for batch in batches:
        before = content(table)
        try:
            table.apply(batch)
        except InvalidRequest:
            assert content(table) == before  # all or nothing
    fresh = ZoneTable()
    fresh.load(table.snapshot(1))
    assert content(fresh) == content(table)


@given(st.lists(changes, max_size=6), st.lists(zones, max_size=2), st.lists(views, max_size=2))
def test_requests_come_back_from_the_wire(
    batch: list[Change], networks: list[NetworkZone], boxes: list[SandboxView]
) -> None:
    codec = Codec()
    for request in (
        Update(7, tuple(batch)),
        Snapshot(8, tuple(networks), tuple(boxes)),
        Stats(),
        Lookup("s", "web", "PTR"),
    ):
        line = codec.encode(request)
        assert b"\n" not in line
        assert codec.decode_request(line) == request
    assert codec.decode_reply(codec.encode(Done(3, {"s": "why"}))) == Done(3, {"s": "why"})


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[1]", b"\xff\xfe", b'{"type":"snapshot"}', b'{"type":"nope"}', b"[" * 100_000],
)
def test_garbage_on_the_socket_is_an_invalid_request(line: bytes) -> None:
    with pytest.raises(InvalidRequest):
        Codec().decode_request(line)
    with pytest.raises(InvalidRequest):
        Codec().decode_reply(line)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (PutEndpoint("nowhere", EndpointRecord("e", (), ())), "network nowhere is not known"),
        (
            PutNetwork(NetworkZone("n", "n", (), (EndpointRecord("e9", ("a",), ("10.0.0.300",)),))),
            "endpoint e9: '10.0.0.300' is not an IP address",
        ),
        (PutNetwork(NetworkZone("n", "n", ("10.0.0.0/40",))), "is not a subnet"),
        (PutSandbox(SandboxView("s", "relative")), "must be an absolute path"),
        (PutSandbox(SandboxView("", "/x")), "must be an absolute path"),
        (
            PutSandbox(SandboxView("s", "/x", servers=(UpstreamServer("dns.example"),))),
            "server: 'dns.example' is not an IP address",
        ),
        (PutSandbox(SandboxView("s", "/x", servers=(UpstreamServer("1.1.1.1", port=0),))), "port"),
    ],
)
def test_a_bad_change_says_what_is_wrong(change: Change, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        ZoneTable().apply((change,))


def test_removing_what_is_not_there_is_no_error() -> None:
    table = ZoneTable()
    table.apply((RemoveNetwork("n"), RemoveEndpoint("n", "e"), RemoveSandbox("s")))
    assert not table.networks
