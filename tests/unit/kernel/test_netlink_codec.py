"""The codec of netlink messages, and sysctl paths; the messages themselves are tried on the kernel."""

import errno
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.host.kernel.netlink import (
    Refusal,
    attribute,
    mac,
    nested,
    number,
    parse_attributes,
    string,
    text,
    u16,
    u32,
)
from carrick.host.kernel.own import OwnLinks, bridge_row, fdb_row, neighbour_row
from carrick.host.kernel.readings import LINK_HEADER, parse_link
from carrick.host.kernel.sysctl import sysctl_path
from carrick.model.errors import InvalidRequest
from carrick.model.observed import VxlanState
from carrick.model.steps import CreateBridge, DeleteLink, RemoveFdb, RemoveNeighbour, SetLink


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=50), max_size=8))
def test_attributes_there_and_back(attributes: dict[int, bytes]) -> None:
    encoded = b"".join(attribute(kind, payload) for kind, payload in attributes.items())
    assert len(encoded) % 4 == 0
    assert parse_attributes(encoded) == attributes


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(data: bytes) -> None:
    for payload in parse_attributes(data).values():
        assert len(payload) <= len(data)
    parse_link(LINK_HEADER.pack(0, 0, 1, 0, 0) + data)


def test_kinds_of_attributes() -> None:
    encoded = text(3, "br0") + u32(4, 1500) + nested(18, u16(1, 7)) + mac(1, "02:00:00:00:00:0a")
    found = parse_attributes(encoded)
    assert (string(found, 3), number(found, 4), found[1].hex(":")) == ("br0", 1500, "02:00:00:00:00:0a")
    assert parse_attributes(found[18]) == {1: struct.pack("=H", 7)}
    assert (string(found, 99), number(found, 99)) == ("", 0)


def test_a_refusal_says_the_kernels_words() -> None:
    assert str(Refusal(errno.ENODEV)) == "No such device"
    assert str(Refusal(errno.EINVAL, "Wrong mode")) == "Invalid argument (Wrong mode)"


def test_sysctl_paths() -> None:
    assert sysctl_path("net.ipv4.conf.eth0/7.log") == Path("/proc/sys/net/ipv4/conf/eth0.7/log")
    for key in ("", "net..x", "net.//.//.x", "net./.x", "a\0.b"):
        with pytest.raises(InvalidRequest):
            sysctl_path(key)


def test_own_links_are_remembered_until_they_are_made_again() -> None:
    own = OwnLinks()
    own.note(DeleteLink("br0"))
    own.note(SetLink("ck1", up=False))
    own.note(DeleteLink("eth0", netns="/n"))
    assert ("br0" in own, "ck1" in own, "eth0" in own) == (True, True, False)
    own.note(CreateBridge("br0", "", 1500))
    own.note(SetLink("ck1", up=True))
    assert ("br0" in own, "ck1" in own) == (False, False)
    for number_ in range(10_000):
        own.note_name(str(number_))
    assert ("0" in own, "9999" in own) == (False, True)


def test_own_rows_answer_for_one_notification() -> None:
    own = OwnLinks()
    mac = "02:00:00:00:00:0a"
    own.note(RemoveFdb("vx0", mac, "2001:DB8:0::7", bridge=True))
    own.note(RemoveNeighbour("vx0", "FD00:0::7"))
    own.note(RemoveNeighbour("vx0", "10.0.0.7", netns="/n"))
    for row in (fdb_row(mac, "2001:db8::7"), bridge_row(mac), neighbour_row("fd00::7")):
        assert not own.take_row("vx1", row)
        assert own.take_row("vx0", row)
        assert not own.take_row("vx0", row)
    assert not own.take_row("vx0", neighbour_row("10.0.0.7"))
    # Removed whatever its destination was.
    own.note(RemoveFdb("vx0", mac))
    assert own.take_row("vx0", fdb_row(mac, "192.0.2.7"))
    # All of a link's rows went with it.
    own.note(SetLink("vx0", up=False))
    assert own.take_row("vx0", fdb_row(mac, "192.0.2.7"))
    own.note(SetLink("vx0", up=True))
    assert not own.take_row("vx0", fdb_row(mac, "192.0.2.7"))


def test_a_vxlan_device_as_the_kernel_shows_it() -> None:
    local = bytes.fromhex("20010db8000000000000000000000001")
    data = u32(1, 4096) + attribute(17, local) + attribute(15, b"\x12\xb5") + attribute(7, b"\0")
    info = nested(18, text(1, "vxlan") + nested(2, data + attribute(11, b"\1")))
    link = parse_link(LINK_HEADER.pack(0, 0, 1, 0, 0) + text(3, "vx0") + info)
    assert link.vxlan == VxlanState(4096, 4789, "2001:db8::1", learning=False, proxy=True)
    # One without an address of its own, as others make them.
    info = nested(18, text(1, "vxlan") + nested(2, u32(1, 7)))
    link = parse_link(LINK_HEADER.pack(0, 0, 1, 0, 0) + info)
    assert link.vxlan == VxlanState(7, 0)
