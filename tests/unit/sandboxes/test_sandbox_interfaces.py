"""Interface names, MAC addresses, sysctls and the election of gateways."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.domains.sandboxes.interfaces import (
    Gateways,
    check_interface_name,
    choose_mac,
    elect_gateways,
    gateway_order,
    host_interface,
    next_index,
    parse_mac,
    parse_sysctls,
)
from carrick.host.kernel.sysctl import sysctl_path
from carrick.model.errors import CarrickError, InvalidRequest
from carrick.model.ids import EndpointId, NetworkId
from carrick.model.networks import Endpoint, EndpointSettings


def endpoint(name: str, index: int, *, v4: str = "", v6: str = "", priority: int = 0) -> Endpoint:
    return Endpoint(
        EndpointId(name * 8),
        NetworkId(name),
        name,
        index,
        EndpointSettings(gw_priority=priority),
        gateway4=v4,
        gateway6=v6,
    )


def test_the_lowest_free_number_is_next() -> None:
    assert next_index([]) == 0
    assert next_index([endpoint("a", 0), endpoint("c", 2)]) == 1
    assert next_index([endpoint("a", 1)]) == 0


def test_the_hosts_end() -> None:
    assert host_interface(EndpointId("0123456789abcdef")) == "ck0123456789ab"
    assert check_interface_name(host_interface(EndpointId("f" * 64)))


@pytest.mark.parametrize("name", ["eth0", "br-0123456789ab", "wan.7", "a_b", "x" * 15, "up+1", "a@b"])
def test_good_names(name: str) -> None:
    assert check_interface_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "x" * 16, ".", "..", "lo", "all", "default", "a/b", "a:b", "a b", "a\n", "a%d", "a*", "é"),
        *('a"b', "a\0", '";flush ruleset', "{x}", "$x", "a;b", "a\\", "²"),
    ],
)
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid interface name"):
        check_interface_name(name)


@given(st.text())
def test_a_chosen_mac_is_one_that_may_be_given(seed: str) -> None:
    chosen = choose_mac(seed)
    assert parse_mac(chosen) == chosen
    assert int(chosen[:2], 16) & 3 == 2
    assert choose_mac(seed) == chosen


def test_macs() -> None:
    assert parse_mac("02-AB-cd-00-00-01") == "02:ab:cd:00:00:01"
    for text in (
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:0g",
        "01:00:5e:00:00:01",
        "00:00:00:00:00:00",
        "x" * 17,
    ):
        with pytest.raises(InvalidRequest, match="invalid MAC address"):
            parse_mac(text)


def test_sysctls() -> None:
    text = "net.ipv4.conf.IFNAME.log_martians=1, net.ipv6.neigh.IFNAME.retrans_time_ms = 5,,"
    assert parse_sysctls(text, "wan.7") == (
        ("net.ipv4.conf.wan/7.log_martians", "1"),
        ("net.ipv6.neigh.wan/7.retrans_time_ms", "5"),
    )
    assert parse_sysctls("", "eth0") == ()


@pytest.mark.parametrize(
    "text",
    [
        "net.ipv4.conf.eth0.log_martians=1",
        "net.ipv4.conf.IFNAME.log_martians",
        "net.ipv4.ip_forward=1",
        "kernel.x.y.IFNAME.z=1",
        "net.//.//.IFNAME.//.kernel.core_pattern=x",
        "net.ipv4.conf.IFNAME.=1",
        "net.ipv4.conf.IFNAME.x=1\n2",
        "=",
    ],
)
def test_sysctls_that_are_not_the_interfaces(text: str) -> None:
    with pytest.raises(InvalidRequest, match="expected net"):
        parse_sysctls(text, "eth0")


@given(st.text(), st.sampled_from(["eth0", "sys", "a.b"]))
def test_sysctls_stay_below_net(text: str, interface: str) -> None:
    try:
        pairs = parse_sysctls(f"net.{text}", interface)
    except CarrickError:
        return
    for key, _ in pairs:
        assert sysctl_path(key).parts[:4] == ("/", "proc", "sys", "net")
        assert ".." not in sysctl_path(key).parts


# The election: priority, then both families before one, then the order of connection ---------


def test_the_first_connected_has_the_routes() -> None:
    first, second = endpoint("b", 0, v4="10.0.0.1"), endpoint("a", 1, v4="10.1.0.1")
    for order in permutations([first, second]):
        assert elect_gateways(order) == Gateways(ipv4=NetworkId("b"))


def test_priority_goes_before_all() -> None:
    dual, asked = endpoint("a", 0, v4="10.0.0.1", v6="fd00::1"), endpoint("b", 1, v4="10.1.0.1", priority=1)
    # IPv6 stays where there is any.
    assert elect_gateways([dual, asked]) == Gateways(NetworkId("b"), NetworkId("a"))
    assert elect_gateways([dual, replace(asked, settings=EndpointSettings(gw_priority=-1))]) == Gateways(
        NetworkId("a"), NetworkId("a")
    )


def test_two_families_go_before_one_and_none() -> None:
    internal, single, dual = (
        endpoint("a", 0),
        endpoint("b", 1, v4="10.0.0.1"),
        endpoint("c", 2, v4="x", v6="y"),
    )
    for order in permutations([internal, single, dual]):
        assert [item.network_name for item in gateway_order(order)] == ["c", "b", "a"]


def test_without_gateways_there_are_no_routes() -> None:
    assert elect_gateways([endpoint("a", 0)]) == Gateways()
    assert elect_gateways([]) == Gateways()
