"""Which addresses of the host listen for a published port, and who carries what arrives there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.domains.ports import (
    ANY4,
    ANY6,
    Target,
    overlaps,
    parse_port_range,
    plan_bindings,
    render_binding,
)
from carrick.model.containers import PortBinding
from carrick.model.errors import CarrickError, InvalidRequest

V4, V6 = "10.1.0.2", "fd01::2"
ONLY4, ONLY6, DUAL = Target(V4), Target("", V6), Target(V4, V6)


def ways(target: Target, host_ip: str = "", protocol: str = "tcp") -> list[tuple[str, str, bool, bool]]:
    """Where it listens, where it goes, by NAT, by relay."""
    planned = plan_bindings([PortBinding(80, protocol, host_ip, "8080")], target)
    assert all((item.first, item.last, item.target_port) == (8080, 8080, 80) for item in planned)
    return [(item.host_ip, item.target_ip, item.nat, item.relay) for item in planned]


@pytest.mark.parametrize(
    ("target", "host_ip", "expected"),
    [
        # Without an address: both families. What comes by IPv6 to IPv4 alone is relayed, and so is ::1.
        (ONLY4, "", [(ANY4, V4, True, False), (ANY6, V4, False, True)]),
        (DUAL, "", [(ANY4, V4, True, False), (ANY6, V6, True, True)]),
        (ONLY6, "", [(ANY6, V6, True, True)]),
        (DUAL, "0.0.0.0", [(ANY4, V4, True, False)]),
        (DUAL, "::", [(ANY6, V6, True, True)]),
        (DUAL, "127.0.0.1", [("127.0.0.1", V4, True, False)]),
        (DUAL, "::1", [("::1", V6, False, True)]),
        (ONLY4, "::1", [("::1", V4, False, True)]),
        (DUAL, "2001:DB8::1", [("2001:db8::1", V6, True, False)]),
        (ONLY4, "2001:db8::1", [("2001:db8::1", V4, False, True)]),
        (DUAL, "192.0.2.1", [("192.0.2.1", V4, True, False)]),
    ],
)
def test_ways(target: Target, host_ip: str, expected: list[tuple[str, str, bool, bool]]) -> None:
    assert ways(target, host_ip) == expected
    assert ways(target, host_ip, "udp") == expected


def test_sctp_is_not_relayed() -> None:
    assert ways(DUAL, "", "sctp") == [(ANY4, V4, True, False), (ANY6, V6, True, False)]
    assert ways(ONLY4, "", "sctp") == [(ANY4, V4, True, False)]
    with pytest.raises(InvalidRequest, match="only tcp and udp are relayed"):
        ways(ONLY4, "2001:db8::1", "sctp")


def test_a_default_address() -> None:
    target = Target(V4, V6, default_ip="192.0.2.1")
    assert ways(target) == [("192.0.2.1", V4, True, False)]
    assert ways(target, "0.0.0.0") == [(ANY4, V4, True, False)]


def test_a_family_that_the_container_lacks() -> None:
    with pytest.raises(InvalidRequest, match=r"port 80/tcp cannot be published on 192\.0\.2\.1"):
        ways(ONLY6, "192.0.2.1")


@pytest.mark.parametrize("host_ip", ["x", "1.2.3", "1.2.3.4/24", "fe80::1%eth0", "localhost"])
def test_bad_addresses(host_ip: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid IP address"):
        ways(DUAL, host_ip)


def test_bindings_keep_their_order_and_groups() -> None:
    planned = plan_bindings(
        [PortBinding(80, "tcp", "", "8000-8010"), PortBinding(53, "udp", "127.0.0.1", "")], ONLY4
    )
    assert [(item.group, item.first, item.last) for item in planned] == [
        (0, 8000, 8010),
        (0, 8000, 8010),
        (1, 0, 0),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", (0, 0)), ("0", (0, 0)), ("80", (80, 80)), ("8000-8010", (8000, 8010)), ("65535", (65535, 65535))],
)
def test_ranges(text: str, expected: tuple[int, int]) -> None:
    assert parse_port_range(text) == expected


@pytest.mark.parametrize(
    "text",
    ["-", "80-", "-80", "90-80", "0-10", "65536", "x", "8 0", "²", "٣", "1-2-3", "+1", "1_0", "9" * 5000],
)
def test_bad_ranges(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid port specification"):
        parse_port_range(text)


@given(st.text(), st.text(), st.sampled_from([ONLY4, ONLY6, DUAL]), st.sampled_from(["tcp", "udp", "sctp"]))
def test_nothing_surprises(host_ip: str, port: str, target: Target, protocol: str) -> None:
    try:
        planned = plan_bindings([PortBinding(80, protocol, host_ip, port)], target)
    except CarrickError:
        return
    for item in planned:
        assert item.nat or item.relay
        assert not item.nat or (":" in item.host_ip) == (":" in item.target_ip)


def test_overlaps() -> None:
    assert overlaps("0.0.0.0", "127.0.0.1")
    assert overlaps("::", "2001:db8::1")
    assert overlaps("10.0.0.1", "10.0.0.1")
    assert not overlaps("10.0.0.1", "10.0.0.2")
    assert not overlaps("0.0.0.0", "::")


def test_addresses_with_ports() -> None:
    assert render_binding("0.0.0.0", 80) == "0.0.0.0:80"
    assert render_binding("::", 80) == "[::]:80"
