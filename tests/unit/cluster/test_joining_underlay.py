"""Which addresses a node is reached by, out of what the kernel shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.engine.cluster.underlay import choose_underlays
from carrick.model.cluster import Underlay
from carrick.model.errors import InvalidRequest
from carrick.model.observed import LinkState, NamespaceState, RouteState

MARK = "carrick/"


def link(
    name: str, *addresses: str, kind: str = "", alias: str = "", up: bool = True, mtu: int = 1500
) -> LinkState:
    return LinkState(name, 1, kind=kind, alias=alias, up=up, mtu=mtu, addresses=frozenset(addresses))


def state(*links: LinkState, routes: tuple[RouteState, ...] = ()) -> NamespaceState:
    return NamespaceState({item.name: item for item in links}, routes)


LO = link("lo", "127.0.0.1/8", "::1/128", mtu=65536)
ETH0 = link("eth0", "192.0.2.7/24", "2001:db8::7/64", "fe80::1/64", mtu=9000)
ETH1 = link("eth1", "10.1.0.7/16", mtu=1400)
DOCKER0 = link("docker0", "172.17.0.1/16", kind="bridge")
OURS = link("br-0123456789ab", "172.18.0.1/16", kind="bridge", alias=MARK + "x")
DEFAULT4 = RouteState("default", "eth0", "192.0.2.1", metric=100)
DEFAULT6 = RouteState("::/0", "eth0", "fe80::ff")
HOST = state(
    LO,
    ETH0,
    ETH1,
    DOCKER0,
    OURS,
    routes=(
        DEFAULT4,
        DEFAULT6,
        RouteState("10.1.0.0/16", "eth1"),
        RouteState("10.9.0.0/16", "eth1", "10.1.0.1"),
        RouteState("172.17.0.0/16", "docker0"),
    ),
)
V4 = Underlay("192.0.2.7", "192.0.2.0/24", 9000)
V6 = Underlay("2001:db8::7", "2001:db8::/64", 9000)
ONE = Underlay("10.1.0.7", "10.1.0.0/16", 1400)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("", (V4, V6)),
        ("eth0", (V4, V6)),
        ("eth1", (ONE,)),
        ("192.0.2.7", (V4, V6)),
        ("2001:db8::7", (V6, V4)),
        ("2001:0db8:0:0::7", (V6, V4)),
        ("10.0.0.0/8", (ONE,)),
        ("2001:db8::/32", (V6, V4)),
        ("reach:10.9.3.3", (ONE,)),
        ("reach:10.1.200.1", (ONE,)),
        ("reach:198.51.100.1", (V4, V6)),
        ("reach:2001:db8:9::1", (V6, V4)),
    ],
)
def test_what_is_chosen(asked: str, found: tuple[Underlay, ...]) -> None:
    assert choose_underlays(HOST, asked, own_mark=MARK) == found


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("eth7", "no such interface"),
        ("lo", "nobody else reaches"),
        ("br-0123456789ab", "nobody else reaches"),
        ("192.0.2.99", "is no address of this host"),
        ("203.0.113.0/24", "holds no address of this host"),
        ("reach:nonsense", "is not an address"),
        ("127.0.0.1", "is no address of this host"),
    ],
)
def test_what_is_refused_names_the_candidates(asked: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as refused:
        choose_underlays(HOST, asked, own_mark=MARK)
    assert "--address" in str(refused.value) + (refused.value.remedy or "")
    if "no address" in message or "interface" in message:
        assert "192.0.2.7 on eth0" in str(refused.value) and "172.17" not in str(refused.value)


def test_a_default_route_over_a_container_bridge_does_not_count() -> None:
    routes = (RouteState("default", "docker0", "172.17.0.9", metric=0), DEFAULT4)
    assert choose_underlays(state(LO, ETH0, ETH1, DOCKER0, routes=routes))[0] == V4


def test_a_bridge_that_is_the_machines_own_does() -> None:
    bridge = link("br0", "192.0.2.7/24", kind="bridge")
    routes = (RouteState("default", "br0", "192.0.2.1"),)
    assert choose_underlays(state(LO, bridge, link("eth0"), routes=routes))[0].address == "192.0.2.7"


def test_of_several_default_routes_the_one_of_the_least_metric() -> None:
    routes = (DEFAULT4, RouteState("default", "eth1", "10.1.0.1", metric=50))
    assert choose_underlays(state(LO, ETH0, ETH1, routes=routes)) == (ONE,)


def test_of_several_addresses_the_route_s_source_or_the_gateway_s_neighbour() -> None:
    several = link("eth0", "10.5.0.1/24", "192.0.2.7/24", "192.0.2.3/24")
    by_source = (RouteState("default", "eth0", "192.0.2.1", source="192.0.2.7"),)
    assert choose_underlays(state(LO, several, routes=by_source))[0].address == "192.0.2.7"
    by_gateway = (RouteState("default", "eth0", "192.0.2.1"),)
    assert choose_underlays(state(LO, several, routes=by_gateway))[0].address == "192.0.2.3"


def test_without_a_default_route() -> None:
    assert choose_underlays(state(LO, ETH1, DOCKER0)) == (ONE,)
    with pytest.raises(InvalidRequest, match="no default route") as refused:
        choose_underlays(state(LO, ETH0, ETH1))
    assert "10.1.0.7 on eth1" in str(refused.value)
    with pytest.raises(InvalidRequest, match="no address to choose from"):
        choose_underlays(state(LO, DOCKER0))


def test_a_link_that_is_down_or_has_no_address() -> None:
    down = state(LO, link("eth0", "192.0.2.7/24", up=False), link("eth1"))
    with pytest.raises(InvalidRequest, match="is down"):
        choose_underlays(down, "eth0")
    with pytest.raises(InvalidRequest, match="has no address"):
        choose_underlays(down, "eth1")
    with pytest.raises(InvalidRequest):
        choose_underlays(down)


def test_a_default_route_of_ipv6_alone() -> None:
    six = state(LO, link("eth0", "2001:db8::7/64"), ETH1, routes=(DEFAULT6,))
    assert choose_underlays(six) == (Underlay("2001:db8::7", "2001:db8::/64", 1500),)


@given(st.text(max_size=40))
def test_any_text_is_an_answer_or_a_refusal(asked: str) -> None:
    try:
        assert choose_underlays(HOST, asked, own_mark=MARK)
    except InvalidRequest as error:
        assert str(error)
