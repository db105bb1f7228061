"""What the macvlan and ipvlan drivers decide."""

from dataclasses import replace
from typing import Any

import pytest

from carrick.drivers.contract import HostView
from carrick.drivers.macvlan import IpvlanDriver, MacvlanDriver, split_vlan
from carrick.drivers.shared import HostDriver, NullDriver
from carrick.model.errors import Denied, InvalidRequest
from carrick.model.ids import EndpointId, NetworkId
from carrick.model.networks import Endpoint, EndpointSettings, Network, PoolConfig
from carrick.model.observed import LinkState, NamespaceState
from carrick.model.steps import CreateDummy, CreateVlan, DeleteLink, SetLink

MACVLAN, IPVLAN = MacvlanDriver(), IpvlanDriver()
HOST = HostView(NamespaceState({"lo": LinkState("lo", 1), "up0": LinkState("up0", 2, mtu=1500, up=True)}))


def network(driver: str = "macvlan", number: int = 1, **options: str) -> Network:
    return Network(
        NetworkId(f"{number:012x}" + "0" * 52),
        f"net{number}",
        driver,
        0,
        pools=(PoolConfig("10.1.0.0/24", gateway="10.1.0.1"), PoolConfig("fd01::/64")),
        options=options,
    )


def with_link(**changes: Any) -> HostView:
    made = replace(LinkState("up0.7", 9, "vlan", up=True), **changes)
    return HostView(NamespaceState({**HOST.state.links, made.name: made}))


@pytest.mark.parametrize(
    ("driver", "options", "words"),
    [
        (
            MACVLAN,
            {"macvlan_mode": "x"},
            "requested macvlan mode 'x' is not valid, 'bridge' mode is the macvlan",
        ),
        (IPVLAN, {"ipvlan_mode": "x"}, "requested ipvlan mode 'x' is not valid, 'l2' mode is the ipvlan"),
        (IPVLAN, {"ipvlan_flag": "x"}, "requested ipvlan flag 'x' is not valid"),
        (MACVLAN, {"parent": "lo"}, "loopback interface is not a valid macvlan parent link"),
        (MACVLAN, {"parent": "up0.x"}, "invalid subinterface vlan name up0.x, example formatting is eth0.10"),
        (MACVLAN, {"parent": "up0.4095"}, "invalid subinterface vlan name"),
        (IPVLAN, {"parent": "nic9"}, "the parent interface nic9 was not found on this host"),
        (IPVLAN, {"parent": "up0", "com.docker.network.driver.mtu": "big"}, "value: big"),
    ],
)
def test_bad_options_are_named(driver: MacvlanDriver, options: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        driver.check(network(driver.name, **options), (), HOST)
    assert words in caught.value.message


def test_passthru_is_exclusive() -> None:
    first = network(parent="up0", macvlan_mode="passthru")
    second = network(number=2, parent="up0")
    for one, other in ((first, second), (second, first)):
        with pytest.raises(Denied, match=f"macvlan network {other.id} is already using parent interface up0"):
            MACVLAN.check(one, (other,), HOST)
    assert MACVLAN.check(second, (network(number=3, parent="up0"),), HOST) == second


def test_vlans() -> None:
    assert split_vlan("eth0.10") == ("eth0", 10)
    assert split_vlan("a.b.4094") == ("a.b", 4094)
    for name in ("eth0.0", "eth0.4095", ".10", "eth0", "eth0.", "eth0.1x", "eth0.²", "eth0.00001"):
        with pytest.raises(InvalidRequest):
            split_vlan(name)


def test_without_a_parent_a_network_is_internal() -> None:
    for driver, prefix in ((MACVLAN, "dm"), (IPVLAN, "di")):
        made = driver.check(network(driver.name), (), HOST)
        assert made.internal
        name, alias = f"{prefix}-000000000001", f"carrick:{made.id}"
        assert driver.plan_network(made, HOST).steps == (CreateDummy(name, alias),)
        # Killed between making it and marking it: made again, which finishes it.
        for half in (LinkState(name, 5, "dummy", up=True), LinkState(name, 5, "dummy", alias=alias)):
            view = HostView(NamespaceState({name: half}))
            assert driver.plan_network(made, view).steps == (CreateDummy(name, alias),)


def test_a_vlan_is_made_and_goes_with_its_last_network() -> None:
    first, second = network(parent="up0.7"), network("ipvlan", 2, parent="up0.7")
    mark, heir = f"carrick:{first.id}", f"carrick:{second.id}"
    assert MACVLAN.plan_network(first, HOST).steps == (CreateVlan("up0.7", "up0", 7, mark),)
    assert MACVLAN.plan_network(first, with_link(alias=mark)).steps == ()
    assert MACVLAN.plan_network(first, with_link(alias=mark, up=False)).steps == (SetLink("up0.7", up=True),)
    # While another uses it, it stays and becomes the other's.
    both = (first, second)
    assert MACVLAN.plan_network_removal(first, both, with_link(alias=mark)).steps == (
        SetLink("up0.7", alias=heir),
    )
    assert MACVLAN.plan_network_removal(first, both, with_link(alias=heir)).steps == ()
    assert IPVLAN.plan_network_removal(second, (second,), with_link(alias=heir)).steps == (
        DeleteLink("up0.7"),
    )
    # One that the administrator made is never touched.
    assert IPVLAN.plan_network_removal(second, (), with_link()).steps == ()
    assert IPVLAN.plan_network(second, with_link(up=False)).steps == ()


def test_endpoints() -> None:
    endpoint = Endpoint(EndpointId("e" * 64), NetworkId("n"), "n", 3, ipv4="10.1.0.2/24", ipv6="fd01::2/64")
    plain = MACVLAN.complete_endpoint(network(parent="up0"), endpoint)
    assert (plain.interface, plain.host_interface, plain.gateway4, plain.gateway6) == (
        "eth3",
        "",
        "10.1.0.1",
        "",
    )
    assert plain.mac_address
    shared = IPVLAN.complete_endpoint(network("ipvlan", parent="up0"), endpoint)
    assert (shared.mac_address, shared.gateway4) == ("", "10.1.0.1")
    routed = IPVLAN.complete_endpoint(network("ipvlan", parent="up0", ipvlan_mode="l3"), endpoint)
    assert (routed.gateway4, routed.gateway6) == ("0.0.0.0", "::")
    with pytest.raises(InvalidRequest, match="do not support custom mac address assignment"):
        IPVLAN.complete_endpoint(
            network("ipvlan", parent="up0"),
            replace(endpoint, settings=EndpointSettings(mac_address="02:0:0:0:0:1")),
        )


@pytest.mark.parametrize("driver", [HostDriver(), NullDriver()])
def test_there_is_one_host_and_one_null_network(driver: HostDriver) -> None:
    mine = Network(NetworkId("a"), driver.name, driver.name, 0)
    assert driver.check(mine, (mine,), HOST) == mine
    with pytest.raises(Denied, match=f'only one instance of "{driver.name}" network is allowed'):
        driver.check(replace(mine, id=NetworkId("b")), (mine,), HOST)
