"""--network in its long form, endpoints, and network create's own refusals."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.doors.cli.commands.network_create import CREATE
from carrick.doors.cli.commands.network_listing import natural_key
from carrick.doors.cli.commands.networks import CONNECT, connect_body
from carrick.doors.cli.flags import parse_flags
from carrick.doors.cli.specs.network_create import network_body
from carrick.doors.cli.specs.networks import Attachment, networking_config, parse_network


def test_the_long_form_keeps_its_case() -> None:
    text = (
        "name=FrontNet,alias=Web,alias=www,ip=10.0.0.2,ip6=fd00::2,mac-address=02:00:00:00:00:01,"
        "link-local-ip=169.254.1.1,driver-opt=com.docker.network.endpoint.ifname=Eth7,gw-priority=-5"
    )
    assert parse_network(text) == Attachment(
        "FrontNet",
        aliases=("Web", "www"),
        ipv4="10.0.0.2",
        ipv6="fd00::2",
        link_local=("169.254.1.1",),
        mac="02:00:00:00:00:01",
        driver_options=(("com.docker.network.endpoint.ifname", "Eth7"),),
        gateway_priority=-5,
    )


@pytest.mark.parametrize("text", ["front", "host", "container:web", "Some_Net-1.2"])
def test_the_short_form(text: str) -> None:
    assert parse_network(text) == Attachment(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name=a,foo=1", "invalid field key foo"),
        ("name=a,ip", "invalid field ip"),
        ("alias=x", "network name/id is not specified"),
        ("name=,alias=x", "network name/id is not specified"),
        ("name=a,driver-opt=x", "invalid key value pair format in driver options: x"),
        (
            "name=a,gw-priority=x",
            'invalid gw-priority (x): value must be an integer: strconv.ParseInt: parsing "x":'
            " invalid syntax",
        ),
    ],
)
def test_long_form_errors(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_network(text)
    assert str(caught.value) == message


@given(st.text(alphabet='name=ip,alias6-" x', max_size=30) | st.text(max_size=20))
def test_any_text_is_a_network_or_a_value_error(text: str) -> None:
    try:
        parse_network(text)
    except ValueError as error:
        assert str(error)


def config(*networks: str, **flags: object) -> tuple[str, dict[str, object]]:
    return networking_config([parse_network(text) for text in networks], Attachment("", **flags))


def test_modes_and_endpoints() -> None:
    assert config() == ("default", {})
    assert config("front") == ("front", {})
    assert config("host") == ("host", {})
    assert config("front", ipv4="10.0.0.2") == (
        "front",
        {"front": {"IPAMConfig": {"IPv4Address": "10.0.0.2"}}},
    )
    assert config("front", "back", aliases=("a",)) == (
        "front",
        {"front": {"Aliases": ["a"]}, "back": {}},
    )
    assert config(links=("db",)) == ("default", {})
    assert config("front", links=("db",)) == ("front", {"front": {"Links": ["db"]}})
    assert config(mac="02:00:00:00:00:01") == (
        "default",
        {"default": {"MacAddress": "02:00:00:00:00:01"}},
    )
    assert config("name=a,gw-priority=3,driver-opt=k=v,link-local-ip=169.254.1.1") == (
        "a",
        {
            "a": {
                "IPAMConfig": {"LinkLocalIPs": ["169.254.1.1"]},
                "DriverOpts": {"k": "v"},
                "GwPriority": 3,
            }
        },
    )


@pytest.mark.parametrize(
    ("networks", "flags", "message"),
    [
        (("a", "a"), {}, 'network "a" is specified multiple times'),
        (
            ("a", "host"),
            {},
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        ),
        (
            ("name=a,ip=1.2.3.4",),
            {"ipv4": "1.2.3.4"},
            "conflicting options: cannot specify both --ip and per-network IPv4 address",
        ),
        (
            ("name=a,alias=b",),
            {"aliases": ("c",)},
            "conflicting options: cannot specify both --network-alias and per-network alias",
        ),
        (
            ("bridge",),
            {"aliases": ("c",)},
            "network-scoped aliases are only supported for user-defined networks",
        ),
        (("a",), {"mac": "xx"}, "xx is not a valid mac address"),
    ],
)
def test_conflicts(networks: tuple[str, ...], flags: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        config(*networks, **flags)
    assert str(caught.value) == message


def body(*words: str) -> dict[str, object]:
    values, (name,) = parse_flags(CREATE.flags, words)
    return network_body(values, name)


def test_network_create_body() -> None:
    assert body("front") == {
        "Name": "front",
        "Driver": "bridge",
        "Options": {},
        "IPAM": {"Driver": "default", "Options": {}, "Config": []},
        "Internal": False,
        "Ingress": False,
        "Attachable": False,
        "Scope": "",
        "ConfigOnly": False,
        "Labels": {},
    }
    full = body(
        *("-d", "macvlan", "-o", "parent=eth0", "--label", "a=b", "--internal", "--attachable"),
        *("--ipv6", "--ipv4=false", "--ipam-driver", "x", "--ipam-opt", "k=v"),
        *("--subnet", "10.0.0.0/24,fd00::/64", "--gateway", "fd00::1", "--gateway", "10.0.0.1"),
        *("--ip-range", "10.0.0.128/25", "--aux-address", "router=10.0.0.9", "--scope", "local"),
        *("--config-from", "base", "n"),
    )
    assert full["IPAM"] == {
        "Driver": "x",
        "Options": {"k": "v"},
        "Config": [
            {
                "Subnet": "10.0.0.0/24",
                "IPRange": "10.0.0.128/25",
                "Gateway": "10.0.0.1",
                "AuxiliaryAddresses": {"router": "10.0.0.9"},
            },
            {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
        ],
    }
    assert full["EnableIPv4"] is False and full["EnableIPv6"] is True
    assert full["ConfigFrom"] == {"Network": "base"} and full["Driver"] == "macvlan"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--gateway 10.0.0.1",
            "every ip-range or gateway must have a corresponding subnet",
        ),
        (
            "--subnet 10.0.0.0/8 --subnet 10.1.0.0/16",
            "multiple overlapping subnet configuration is not supported",
        ),
        ("--subnet 10.0.0.0/24 --gateway 10.1.0.1", "no matching subnet for gateway 10.1.0.1"),
        ("--subnet 10.0.0.0/24 --gateway x", "no matching subnet for gateway x"),
        (
            "--subnet 10.0.0.0/24 --ip-range 10.1.0.0/25",
            "no matching subnet for range 10.1.0.0/25",
        ),
        (
            "--subnet 10.0.0.0/24 --aux-address a=10.1.0.1",
            "no matching subnet for aux-address 10.1.0.1",
        ),
        (
            "--subnet 10.0.0.0/24 --subnet 10.1.0.0/24 --gateway 10.0.0.1 --gateway 10.0.0.2",
            "cannot configure multiple gateways (10.0.0.2, 10.0.0.1) for the same subnet (10.0.0.0/24)",
        ),
        (
            "--subnet 10.0.0.0/24 --subnet 10.1.0.0/24 --ip-range 10.0.0.0/25 --ip-range 10.0.0.128/25",
            "cannot configure multiple ranges (10.0.0.128/25, 10.0.0.0/25) on the same subnet (10.0.0.0/24)",
        ),
        ("--subnet foo", "invalid subnet: invalid CIDR address: foo"),
    ],
)
def test_network_create_refusals(words: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        body(*words.split(), "n")
    assert str(caught.value) == message


def test_connect_body() -> None:
    values, _ = parse_flags(
        CONNECT.flags,
        "--ip 10.0.0.7 --ip6 fd00::7 --alias A --link db:d --link-local-ip 169.254.1.1,169.254.1.2"
        " --driver-opt k=v --gw-priority -3".split(),
    )
    assert connect_body(values, "web") == {
        "Container": "web",
        "EndpointConfig": {
            "IPAMConfig": {
                "IPv4Address": "10.0.0.7",
                "IPv6Address": "fd00::7",
                "LinkLocalIPs": ["169.254.1.1", "169.254.1.2"],
            },
            "Links": ["db:d"],
            "Aliases": ["A"],
            "DriverOpts": {"k": "v"},
            "GwPriority": -3,
        },
    }


@given(st.lists(st.text(max_size=8)))
def test_names_of_any_kind_can_be_sorted(names: list[str]) -> None:
    assert len(sorted(names, key=natural_key)) == len(names)


def test_numbers_sort_as_numbers() -> None:
    assert sorted(["net10", "net9", "a"], key=natural_key) == ["a", "net9", "net10"]
