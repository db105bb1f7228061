"""The checks of `network create`, with Docker's messages to the letter."""

import pytest

from carrick.domains.ipam import PoolOverlap, is_partial, partial_size, validate_pools
from carrick.model.errors import InvalidRequest
from carrick.model.networks import PoolConfig

HEAD = "invalid network config:\n"


@pytest.mark.parametrize(
    ("config", "faults"),
    [
        (PoolConfig("10.0.0.1/24"), ["invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"]),
        (PoolConfig("foobar"), ["invalid subnet foobar: invalid CIDR block notation"]),
        (PoolConfig("10.0.0.0"), ["invalid subnet 10.0.0.0: invalid CIDR block notation"]),
        (
            PoolConfig("10.0.0.0/255.0.0.0"),
            ["invalid subnet 10.0.0.0/255.0.0.0: invalid CIDR block notation"],
        ),
        (PoolConfig("10.0.0.0/33"), ["invalid subnet 10.0.0.0/33: invalid CIDR block notation"]),
        (PoolConfig("10.0.0.0/08"), ["invalid subnet 10.0.0.0/08: invalid CIDR block notation"]),
        (PoolConfig("10.0.0.0/-1"), ["invalid subnet 10.0.0.0/-1: invalid CIDR block notation"]),
        (PoolConfig("10.0.0.0/24\n"), ["invalid subnet 10.0.0.0/24\n: invalid CIDR block notation"]),
        (PoolConfig("010.0.0.0/24"), ["invalid subnet 010.0.0.0/24: invalid CIDR block notation"]),
        (PoolConfig("1.2.3.4.5/8"), ["invalid subnet 1.2.3.4.5/8: invalid CIDR block notation"]),
        (
            PoolConfig("10.10.10.0/24", "10.0.0.0/8"),
            ["invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet 10.10.10.0/24"],
        ),
        (
            PoolConfig("10.0.0.0/8", "192.168.0.1/24", "192.168.0.1", {"DefaultGatewayIPv4": "192.168.0.1"}),
            [
                "invalid ip-range 192.168.0.1/24: it should be 192.168.0.0/24",
                "invalid ip-range 192.168.0.1/24: parent subnet 10.0.0.0/8 doesn't contain ip-range",
                "invalid gateway 192.168.0.1: parent subnet 10.0.0.0/8 doesn't contain this address",
                "invalid auxiliary address DefaultGatewayIPv4: "
                "parent subnet 10.0.0.0/8 doesn't contain this address",
            ],
        ),
        (
            PoolConfig("10.10.10.0/24", "2001:db8::/32", "2001:db8::1", {"x": "2001:db8::1"}),
            [
                "invalid ip-range 2001:db8::/32: parent subnet is an IPv4 block",
                "invalid gateway 2001:db8::1: parent subnet is an IPv4 block",
                "invalid auxiliary address x: parent subnet is an IPv4 block",
            ],
        ),
        (
            PoolConfig("10.10.10.0/24", "foobar", "1001.10.5.3", {"DefaultGatewayIPv4": "dummy"}),
            [
                "invalid ip-range foobar: invalid CIDR block notation",
                "invalid gateway 1001.10.5.3: invalid address",
                "invalid auxiliary address DefaultGatewayIPv4: invalid address",
            ],
        ),
        (PoolConfig("fd00::/64", gateway="fe80::1%eth0"), ["invalid gateway fe80::1%eth0: invalid address"]),
        (PoolConfig("", gateway="10.0.0.1"), ["invalid gateway 10.0.0.1: it has no corresponding subnet"]),
    ],
)
def test_faults_in_dockers_words(config: PoolConfig, faults: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate_pools([config], enable_ipv6=True)
    expected = faults[0] if len(faults) == 1 else "\n".join(f"* {fault}" for fault in faults)
    assert caught.value.message == HEAD + expected


def test_faults_of_several_subnets_are_reported_together() -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate_pools([PoolConfig("10.0.0.1/24"), PoolConfig("fd00::1/64")], enable_ipv6=True)
    assert caught.value.message == (
        HEAD + "* invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24\n"
        "* invalid subnet fd00::1/64: it should be fd00::/64"
    )


def test_what_is_right_comes_back_in_canonical_text() -> None:
    four = PoolConfig("10.0.0.0/8", "10.1.0.0/16", "10.0.0.1", {"x": "10.0.0.9"})
    six = PoolConfig("FD00:0::/64", "fd00::0/80", "fd00:0:0::1", {"y": "fd00::0009"})
    assert validate_pools([four, six], enable_ipv6=True) == (
        four,
        PoolConfig("fd00::/64", "fd00::/80", "fd00::1", {"y": "fd00::9"}),
    )


def test_subnets_of_a_family_that_is_off_are_left_out() -> None:
    four, six = PoolConfig("10.0.0.1/8"), PoolConfig("fd00::/64")
    assert validate_pools([six]) == ()
    assert validate_pools([four, six], enable_ipv4=False, enable_ipv6=True) == (six,)


def test_two_subnets_of_one_request_may_not_overlap() -> None:
    with pytest.raises(PoolOverlap, match="Pool overlaps with other one"):
        validate_pools([PoolConfig("10.0.0.0/8"), PoolConfig("10.1.0.0/16")])


@pytest.mark.parametrize(
    ("subnet", "partial", "size"),
    [
        ("", True, None),
        ("0.0.0.0/24", True, 24),
        ("0.0.0.0/0", True, None),
        ("::/64", True, 64),
        ("10.0.0.0/8", False, 8),
    ],
)
def test_partial_subnets(subnet: str, partial: bool, size: int | None) -> None:
    config = PoolConfig(subnet)
    assert validate_pools([config], enable_ipv6=True) == (config,)
    assert is_partial(config) is partial
    assert partial_size(config) == size
