"""Which subnet is chosen, what it avoids, and what is said about that."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.domains.ipam import (
    DEFAULT_POOLS_V4,
    BasePool,
    HostAddress,
    HostState,
    NamedPrefix,
    PoolOverlap,
    PoolsExhausted,
    Prefix,
    Route,
    check_explicit,
    choose_subnet,
    default_pools_v6,
    parse_base_pool,
)
from carrick.domains.ipam.types import overlaps
from carrick.model.errors import Denied, InvalidRequest


def net(name: str, prefix: str) -> NamedPrefix:
    return NamedPrefix(name, ip_network(prefix))


def route(prefix: str, interface: str, via: str = "") -> Route:
    return Route(ip_network(prefix), interface, via)


def test_the_first_pool_on_an_empty_host() -> None:
    choice = choose_subnet(DEFAULT_POOLS_V4, (), HostState())
    assert str(choice.subnet) == "172.17.0.0/16"
    assert choice.notes == ()


def test_what_was_avoided_is_said_with_its_reason() -> None:
    host = HostState(
        routes=(
            route("0.0.0.0/0", "eth0", "10.0.0.1"),
            route("172.20.0.0/15", "tun0"),
            route("172.22.3.0/24", "tun0", "10.8.0.1"),
        ),
        addresses=(HostAddress(ip_address("172.18.4.4"), "eth1"),),
        nameservers=(ip_address("172.19.0.53"), ip_address("fd00::53")),
    )
    choice = choose_subnet(DEFAULT_POOLS_V4, [net("bridge", "172.17.0.0/16")], host)
    assert str(choice.subnet) == "172.23.0.0/16"
    assert choice.notes == (
        "172.17.0.0/16 skipped: overlaps network bridge (172.17.0.0/16)",
        "172.18.0.0/16 skipped: overlaps address 172.18.4.4 of eth1",
        "172.19.0.0/16 skipped: overlaps name server 172.19.0.53 of the host",
        "172.20.0.0/16 to 172.21.0.0/16 (2 subnets) skipped: overlap route 172.20.0.0/15 via tun0",
        "172.22.0.0/16 skipped: overlaps route 172.22.3.0/24 via 10.8.0.1 on tun0",
    )


def test_the_network_is_named_rather_than_its_own_route_and_address() -> None:
    host = HostState(
        (route("172.17.0.0/16", "carrick0"),), (HostAddress(ip_address("172.17.0.1"), "carrick0"),)
    )
    choice = choose_subnet(DEFAULT_POOLS_V4, [net("bridge", "172.17.0.0/16")], host)
    assert choice.notes == ("172.17.0.0/16 skipped: overlaps network bridge (172.17.0.0/16)",)


@pytest.mark.parametrize("default", ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "::/1", "8000::/1"])
def test_a_default_route_blocks_nothing(default: str) -> None:
    host = HostState((route(default, "tun0", "10.8.0.1"),))
    assert str(choose_subnet(DEFAULT_POOLS_V4, (), host).subnet) == "172.17.0.0/16"
    assert choose_subnet(default_pools_v6("h"), (), host).notes == ()


def test_a_vpn_route_over_everything_private_exhausts_the_pools_and_says_why() -> None:
    host = HostState((route("172.16.0.0/12", "tun0"), route("192.168.0.0/16", "wg0")))
    with pytest.raises(PoolsExhausted) as caught:
        choose_subnet(DEFAULT_POOLS_V4, (), host)
    assert isinstance(caught.value, InvalidRequest)
    first, *rest = caught.value.message.splitlines()
    assert first == "all predefined address pools have been fully subnetted"
    assert rest[0] == "  172.17.0.0/16 skipped: overlaps route 172.16.0.0/12 via tun0"
    assert rest[-1] == (
        "  192.168.0.0/20 to 192.168.240.0/20 (16 subnets) skipped: overlap route 192.168.0.0/16 via wg0"
    )
    assert "default-address-pools" in str(caught.value.remedy)


def test_docker_makes_31_networks_of_its_pools_and_so_do_we() -> None:
    networks: list[NamedPrefix] = []
    for number in range(31):
        networks.append(
            NamedPrefix(f"n{number}", choose_subnet(DEFAULT_POOLS_V4, networks, HostState()).subnet)
        )
    assert str(networks[14].prefix) == "172.31.0.0/16"
    assert str(networks[15].prefix) == "192.168.0.0/20"
    assert str(networks[-1].prefix) == "192.168.240.0/20"
    with pytest.raises(PoolsExhausted) as caught:
        choose_subnet(DEFAULT_POOLS_V4, networks, HostState())
    assert len(caught.value.reasons) == 31
    assert "and 11 more" in caught.value.message


def test_a_size_alone_takes_the_closest_pool() -> None:
    assert str(choose_subnet(DEFAULT_POOLS_V4, (), HostState(), size=24).subnet) == "192.168.0.0/24"
    assert str(choose_subnet(DEFAULT_POOLS_V4, (), HostState(), size=16).subnet) == "172.17.0.0/16"
    assert str(choose_subnet(DEFAULT_POOLS_V4, (), HostState(), size=15).subnet) == "172.20.0.0/15"
    busy = [net("lan", "192.168.0.0/16")]
    assert str(choose_subnet(DEFAULT_POOLS_V4, busy, HostState(), size=24).subnet) == "172.17.0.0/24"
    with pytest.raises(InvalidRequest, match="no default address pool is large enough for a /8"):
        choose_subnet(DEFAULT_POOLS_V4, (), HostState(), size=8)


def test_configured_pools() -> None:
    pools = [parse_base_pool("10.99.0.0/23", 24), parse_base_pool("10.50.0.0/16", 28)]
    assert str(choose_subnet(pools, (), HostState()).subnet) == "10.99.0.0/24", "in the order given"
    full = [net("a", "10.99.0.0/24"), net("b", "10.99.1.0/24"), net("c", "10.50.0.0/28")]
    assert str(choose_subnet(pools, full, HostState()).subnet) == "10.50.0.16/28"
    for base, size in [("10.0.0.1/8", 16), ("10.0.0.0/16", 8), ("10.0.0.0/16", 33), ("nonsense", 8)]:
        with pytest.raises(InvalidRequest, match="invalid default address pool"):
            parse_base_pool(base, size)


def test_ipv6_comes_from_the_hosts_own_prefix() -> None:
    (pool,) = default_pools_v6("host-a")
    assert pool.base.prefixlen == 48
    assert overlaps(ip_network("fd00::/8"), pool.base)
    assert default_pools_v6("host-a") == (pool,)
    assert default_pools_v6("host-b") != (pool,)
    first = choose_subnet([pool], (), HostState()).subnet
    assert first.prefixlen == 64
    second = choose_subnet([pool], [NamedPrefix("one", first)], HostState()).subnet
    assert int(second.network_address) == int(first.network_address) + 2**64


def test_a_named_subnet_may_not_overlap_a_network() -> None:
    with pytest.raises(PoolOverlap) as caught:
        check_explicit(ip_network("10.1.2.0/24"), [net("web", "10.1.0.0/16")], HostState())
    assert isinstance(caught.value, Denied)
    assert caught.value.message == "invalid pool request: Pool overlaps with other one on this address space"
    assert "network web (10.1.0.0/16)" in str(caught.value.remedy)
    assert check_explicit(ip_network("fd00::/64"), [net("web", "10.1.0.0/16")], HostState()) == ()


def test_a_named_subnet_may_overlap_the_host_with_a_warning() -> None:
    host = HostState(
        (route("10.0.0.0/8", "tun0"), route("0.0.0.0/0", "eth0")), nameservers=(ip_address("10.1.2.3"),)
    )
    assert check_explicit(ip_network("10.1.2.0/24"), (), host) == (
        "10.1.2.0/24 overlaps route 10.0.0.0/8 via tun0: containers of this network cannot reach that",
        "10.1.2.0/24 overlaps name server 10.1.2.3 of the host: containers of this network cannot reach that",
    )


def test_many_networks_and_routes_are_no_burden() -> None:
    # Looking at each subnet for each route would be four thousand million steps: hours.
    pool = BasePool(ip_network("10.0.0.0/8"), 24)
    routes = tuple(
        Route(ip_network((10 << 24) + (n << 8)).supernet(new_prefix=24), "tun0") for n in range(65_535)
    )
    choice = choose_subnet([pool], (), HostState(routes))
    assert str(choice.subnet) == "10.255.255.0/24"
    assert len(choice.skipped) == 65_535


def test_a_wide_route_in_a_pool_of_millions_is_one_jump() -> None:
    pool = BasePool(ip_network("fd00::/8"), 64)
    choice = choose_subnet([pool], (), HostState((route("fd00::/9", "tun0"),)))
    assert str(choice.subnet) == "fd80::/64"
    assert len(choice.skipped) == 1


prefixes = st.builds(
    lambda number, bits: ip_network((number, bits), strict=False),
    st.integers(0, 2**12 - 1).map(lambda number: (10 << 24) + (number << 12)),
    st.integers(2, 32),
)
sizes = st.tuples(st.integers(8, 20), st.integers(0, 6))


@settings(deadline=None)
@given(
    st.lists(prefixes, max_size=12),
    st.lists(prefixes, max_size=12),
    st.lists(st.tuples(prefixes, st.integers(0, 5)), min_size=1, max_size=4),
    st.one_of(st.none(), st.integers(8, 26)),
)
def test_the_choice_overlaps_nothing_and_only_full_pools_are_exhausted(
    networks: list[Prefix], routes: list[Prefix], bases: list[tuple[Prefix, int]], size: int | None
) -> None:
    pools = [BasePool(base, min(base.prefixlen + more, 32)) for base, more in bases]
    named = [NamedPrefix(f"n{number}", prefix) for number, prefix in enumerate(networks)]
    host = HostState(tuple(Route(prefix, "tun0") for prefix in routes))
    busy = [*networks, *routes]
    try:
        choice = choose_subnet(pools, named, host, size=size)
    except PoolsExhausted:
        for pool in pools:
            step = pool.size if size is None else size
            if pool.base.prefixlen <= step <= pool.base.prefixlen + 8:
                for subnet in pool.base.subnets(new_prefix=step):
                    assert any(overlaps(subnet, other) for other in busy), f"{subnet} was free"
    except InvalidRequest:
        assert size is not None
        assert not any(pool.base.prefixlen <= size for pool in pools)
    else:
        assert not any(overlaps(choice.subnet, other) for other in busy)
        assert any(overlaps(choice.subnet, pool.base) for pool in pools)
        for skipped in choice.skipped:
            assert any(overlaps(skipped.first, other) for other in busy)
            assert any(overlaps(skipped.last, other) for other in busy)
