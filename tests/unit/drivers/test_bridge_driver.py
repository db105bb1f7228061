"""What the bridge driver decides, option by option; its plans as such are the contract suite's."""

from dataclasses import replace
from typing import Any

import pytest

from carrick.drivers import bridge
from carrick.drivers.bridge import BridgeDriver, bridge_alias, parse_options
from carrick.drivers.contract import Announcements, HostView
from carrick.model.errors import Conflict, Denied, InvalidRequest
from carrick.model.ids import EndpointId, NetworkId
from carrick.model.networks import Endpoint, EndpointSettings, Network, PoolConfig
from carrick.model.observed import LinkState, NamespaceState
from carrick.model.steps import AddAddress, CreateBridge, DeleteLink, RemoveAddress, SetLink, SetSysctl

DRIVER = BridgeDriver()
SYSCTLS = {"ipv4.route_localnet": "1", "ipv6.accept_ra": "0", "ipv6.disable_ipv6": "1"}


def network(number: int = 1, **changes: Any) -> Network:
    made = Network(
        NetworkId(f"{number:012x}" + "0" * 52),
        f"net{number}",
        "bridge",
        0,
        pools=(PoolConfig(f"10.{number}.0.0/24", gateway=f"10.{number}.0.1"),),
    )
    return replace(made, **changes)


def host(*links: LinkState) -> HostView:
    return HostView(NamespaceState({link.name: link for link in links}), "carrick", 1450)


def link(name: str, **changes: Any) -> LinkState:
    return replace(LinkState(name, 7, "bridge", mtu=1450, up=True, sysctls=SYSCTLS), **changes)


LAN = network()
MADE = link("br-000000000001", alias=bridge_alias(LAN, HostView()), addresses=frozenset({"10.1.0.1/24"}))

# Options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {bridge.ICC: "maybe"},
            f'failed to parse {bridge.ICC} value: maybe (strconv.ParseBool: parsing "maybe"',
        ),
        ({bridge.MASQUERADE: "yes"}, f"failed to parse {bridge.MASQUERADE} value: yes"),
        ({bridge.MODE4: "open"}, "unknown gateway mode open"),
        ({bridge.MODE6: "isolated"}, "gateway mode 'isolated' can only be used for an internal network"),
        ({bridge.MTU: "67"}, "must be in the range 68 to 65535"),
        ({bridge.MTU: "1e3"}, f"failed to parse {bridge.MTU} value: 1e3"),
        ({bridge.ADVERTISE_COUNT: "4"}, "must be in the range 0 to 3"),
        ({bridge.ADVERTISE_MS: "99"}, "must be in the range 100 to 2000"),
        ({bridge.HOST4: "fd00::1"}, "is not an IPv4 address"),
        ({bridge.HOST6: "fe80::1%eth0"}, "is not an IPv6 address"),
        ({bridge.BINDING: "here"}, "is not an IP address"),
        ({bridge.NAME: "much-too-long-name"}, "invalid interface name"),
        ({bridge.INTERFACE_PREFIX: "a" * 13}, "longer than 12"),
        ({bridge.TRUSTED: "eth0:no/name"}, "invalid interface name"),
        ({"com.docker.network.bridge.nmae": "x"}, "unknown bridge option com.docker.network.bridge.nmae"),
    ],
)
def test_bad_options_are_named(options: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        DRIVER.check(network(options=options), (), host())
    assert words in caught.value.message


def test_defaults_and_values() -> None:
    assert parse_options(LAN) == bridge.BridgeOptions("br-000000000001")
    options = {
        bridge.NAME: "carrick0",
        bridge.ICC: "F",
        bridge.MASQUERADE: "0",
        bridge.TRUSTED: "eth1:wg0",
        bridge.HOST4: "192.0.2.1",
        bridge.BINDING: "::",
        "com.example.label": "anyone's",
    }
    parsed = parse_options(network(options=options))
    assert (parsed.name, parsed.icc, parsed.masquerade, parsed.trusted) == (
        "carrick0",
        False,
        False,
        ("eth1", "wg0"),
    )
    assert (parsed.host_ipv4, parsed.host_binding) == ("192.0.2.1", "::")


def test_networks_that_clash() -> None:
    same_name = network(2, options={bridge.NAME: "br-000000000001"})
    with pytest.raises(Denied, match="networks have same bridge name"):
        DRIVER.check(same_name, (LAN,), host())
    overlapping = network(2, pools=(PoolConfig("10.1.0.128/25"),))
    with pytest.raises(Denied, match="networks have overlapping IPv4"):
        DRIVER.check(overlapping, (LAN,), host())
    with pytest.raises(Denied, match="multiple subnets"):
        DRIVER.check(network(pools=LAN.pools * 2), (), host())
    # Itself, and other drivers' networks, are no obstacle.
    assert DRIVER.check(LAN, (LAN, network(3, driver="macvlan", pools=LAN.pools)), host()) == LAN


def test_a_name_that_is_no_bridge() -> None:
    with pytest.raises(Conflict, match="no bridge but a veth") as caught:
        DRIVER.check(network(options={bridge.NAME: "up0"}), (), host(link("up0", kind="veth")))
    assert bridge.NAME in str(caught.value.remedy)


# Networks ------------------------------------------------------------------------------------


def test_a_new_bridge() -> None:
    steps = DRIVER.plan_network(LAN, host()).steps
    assert isinstance(steps[0], CreateBridge)
    assert (steps[0].mtu, steps[0].alias) == (1450, bridge_alias(LAN, HostView()))
    assert SetSysctl("net.ipv4.conf.br-000000000001.route_localnet", "1") in steps
    assert SetSysctl("net.ipv6.conf.br-000000000001.disable_ipv6", "1", optional=True) in steps
    assert steps[-1] == AddAddress("br-000000000001", "10.1.0.1/24")


@pytest.mark.parametrize(
    ("changes", "repair"),
    [
        ({"up": False}, SetLink("br-000000000001", mtu=1450, up=True)),
        ({"mtu": 1500}, SetLink("br-000000000001", mtu=1450, up=True)),
        ({"addresses": frozenset()}, AddAddress("br-000000000001", "10.1.0.1/24")),
        ({"alias": ""}, SetLink("br-000000000001", alias=bridge_alias(LAN, HostView()))),
        (
            {"sysctls": SYSCTLS | {"ipv4.route_localnet": "0"}},
            SetSysctl("net.ipv4.conf.br-000000000001.route_localnet", "1"),
        ),
    ],
)
def test_drift_is_repaired_and_nothing_else(changes: dict[str, Any], repair: object) -> None:
    assert DRIVER.plan_network(LAN, host(replace(MADE, **changes))).steps == (repair,)


def test_a_stale_address_goes_before_its_subnets_own_is_put_again() -> None:
    """The kernel takes a subnet's other addresses along with its first."""
    drifted = replace(MADE, addresses=frozenset({"10.1.0.9/24", "10.1.0.1/24", "fe80::1/64"}))
    assert DRIVER.plan_network(LAN, host(drifted)).steps == (
        RemoveAddress("br-000000000001", "10.1.0.9/24"),
        AddAddress("br-000000000001", "10.1.0.1/24"),
    )


def test_a_bridge_of_somebody_elses() -> None:
    """It gets the gateway's address and forwarding of 127.0.0.1, and is otherwise left as it is."""
    mine = network(options={bridge.NAME: "br0"})
    theirs = link(
        "br0",
        mtu=9000,
        alias="LAN",
        addresses=frozenset({"192.0.2.5/24"}),
        sysctls=SYSCTLS | {"ipv6.accept_ra": "2"},
    )
    plan = DRIVER.plan_network(mine, host(theirs))
    assert plan.steps == (AddAddress("br0", "10.1.0.1/24"),)
    assert "never deleted" in plan.notes[0]
    removal = DRIVER.plan_network_removal(mine, (), host(theirs))
    assert removal.steps == ()
    assert "stays" in removal.notes[0]


def test_a_bridge_with_an_old_mark_of_ours_is_taken_over() -> None:
    mine = network(options={bridge.NAME: "carrick0"})
    old = link("carrick0", alias="carrick:" + "9" * 64, addresses=frozenset({"172.17.0.1/16"}))
    assert DRIVER.plan_network(mine, host(old)).steps == (
        SetLink("carrick0", alias=bridge_alias(mine, HostView())),
        RemoveAddress("carrick0", "172.17.0.1/16"),
        AddAddress("carrick0", "10.1.0.1/24"),
    )


def test_removal() -> None:
    assert DRIVER.plan_network_removal(LAN, (), host(MADE)).steps == (DeleteLink("br-000000000001"),)
    assert DRIVER.plan_network_removal(LAN, (), host()).steps == ()


# Endpoints -----------------------------------------------------------------------------------


def test_what_an_endpoint_is_given() -> None:
    dual = network(
        pools=(PoolConfig("10.1.0.0/24", gateway="10.1.0.1"), PoolConfig("fd01::/64", gateway="fd01::1")),
        options={bridge.INTERFACE_PREFIX: "wan"},
    )
    given = DRIVER.complete_endpoint(dual, Endpoint(EndpointId("e" * 64), dual.id, "n", 2))
    assert (given.interface, given.host_interface) == ("wan2", "ckeeeeeeeeeeee")
    assert (given.gateway4, given.gateway6) == ("10.1.0.1", "fd01::1")
    internal = DRIVER.complete_endpoint(replace(dual, internal=True), given)
    assert (internal.gateway4, internal.gateway6) == ("", "")
    other = replace(dual, pools=(replace(dual.pools[0], aux_addresses={"DefaultGatewayIPv4": "10.1.0.254"}),))
    assert DRIVER.complete_endpoint(other, given).gateway4 == "10.1.0.254"


def test_macs_are_kept_or_taken_or_made() -> None:
    endpoint = Endpoint(EndpointId("e" * 64), LAN.id, "n", 0)
    made = DRIVER.complete_endpoint(LAN, endpoint).mac_address
    assert made == DRIVER.complete_endpoint(LAN, endpoint).mac_address
    kept = replace(endpoint, mac_address="02:00:00:00:00:01")
    assert DRIVER.complete_endpoint(LAN, kept).mac_address == "02:00:00:00:00:01"
    asked = replace(kept, settings=EndpointSettings(mac_address="02-00-00-00-00-0A"))
    assert DRIVER.complete_endpoint(LAN, asked).mac_address == "02:00:00:00:00:0a"


def test_firewall_rules() -> None:
    rules = DRIVER.firewall_rules(
        network(internal=True, options={bridge.ICC: "false", bridge.HOST6: "fd00::9"})
    )
    assert rules is not None
    assert (rules.key, rules.bridge, rules.internal, rules.inter_container, rules.snat6) == (
        "000000000001",
        "br-000000000001",
        True,
        False,
        "fd00::9",
    )


def test_inhibited_ipv4_leaves_the_bridge_without_an_address() -> None:
    quiet = network(options={bridge.INHIBIT4: "true"})
    steps = DRIVER.plan_network(quiet, host()).steps
    assert any(isinstance(step, CreateBridge) for step in steps)
    assert not any(isinstance(step, AddAddress) for step in steps)
    # What was given before goes; and then there is nothing left to do.
    stale = replace(MADE, alias=bridge_alias(quiet, HostView()))
    assert RemoveAddress("br-000000000001", "10.1.0.1/24") in DRIVER.plan_network(quiet, host(stale)).steps
    bare = replace(stale, addresses=frozenset())
    assert DRIVER.plan_network(quiet, host(bare)).steps == ()


def test_announcements_are_three_a_second_apart_unless_said_otherwise() -> None:
    assert DRIVER.announcements(LAN) == Announcements(3, 1.0)
    told = network(options={bridge.ADVERTISE_COUNT: "0", bridge.ADVERTISE_MS: "250"})
    assert DRIVER.announcements(told) == Announcements(0, 0.25)
    for key, value in ((bridge.ADVERTISE_COUNT, "4"), (bridge.ADVERTISE_MS, "99")):
        with pytest.raises(InvalidRequest, match=key):
            DRIVER.announcements(network(options={key: value}))
