"""flannel's files: its rules about `net-conf.json`, what that asks for here, and `subnet.env`."""

import json
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.domains.flannel import (
    SubnetEnv,
    docker_options,
    parse_net_conf,
    parse_subnet_env,
    render_docker_env,
    render_subnet_env,
    request_of,
)
from carrick.domains.flannel.hooks import OPTIONS
from carrick.domains.ipam.blocks import SUBNET_LEN, SUBNET_MAX, SUBNET_MIN
from carrick.drivers import bridge, overlay
from carrick.drivers.routed import BACKEND, CROSS_SUBNET
from carrick.drivers.transports.choose import TRANSPORTS
from carrick.model.errors import InvalidRequest, Unsupported


def _conf(**keys: Any) -> str:
    return json.dumps({"Network": "10.5.0.0/16", **keys})


@pytest.mark.parametrize(
    ("network", "length", "first", "last"),
    [
        ("10.5.0.0/16", 24, "10.5.1.0/24", "10.5.255.0/24"),
        ("10.5.0.0/22", 24, "10.5.1.0/24", "10.5.3.0/24"),
        ("10.5.0.0/24", 26, "10.5.0.64/26", "10.5.0.192/26"),
        ("10.5.0.0/28", 30, "10.5.0.4/30", "10.5.0.12/30"),
    ],
)
def test_what_is_left_out(network: str, length: int, first: str, last: str) -> None:
    found = parse_net_conf(json.dumps({"Network": network}))
    assert found.ipv6 is None
    assert found.backend.kind == "vxlan"
    assert found.ipv4 is not None
    assert (found.ipv4.length, str(found.ipv4.first), str(found.ipv4.last)) == (length, first, last)


def test_everything_that_may_be_said() -> None:
    found = parse_net_conf(
        _conf(
            SubnetLen=28,
            SubnetMin="10.5.10.0",
            SubnetMax="10.5.99.0",
            EnableIPv6=True,
            IPv6Network="fd05::/56",
            IPv6SubnetLen=64,
            EnableNFTables=True,
            Backend={"Type": "vxlan", "VNI": 7, "Port": 8472, "DirectRouting": True, "MTU": 1400},
        )
    )
    assert found.nftables
    assert found.ipv4 is not None
    assert found.ipv6 is not None
    assert (str(found.ipv4.first), str(found.ipv4.last)) == ("10.5.10.0/28", "10.5.99.0/28")
    assert (str(found.ipv6.first), str(found.ipv6.last)) == ("fd05:0:0:1::/64", "fd05:0:0:ff::/64")
    request = request_of(found)
    assert request.subnets == ("10.5.0.0/16", "fd05::/56")
    assert request.options == {
        BACKEND: "vxlan",
        CROSS_SUBNET: "true",
        overlay.VNI: "7",
        bridge.MTU: "1400",
        SUBNET_LEN[4]: "28",
        SUBNET_MIN[4]: "10.5.10.0",
        SUBNET_MAX[4]: "10.5.99.0",
        SUBNET_LEN[6]: "64",
        SUBNET_MIN[6]: "fd05:0:0:1::",
        SUBNET_MAX[6]: "fd05:0:0:ff::",
    }
    assert any("8472" in note for note in request.notes)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ("{}", "Network is missing"),
        (_conf(Network="10.5.0.0/29"), "/28"),
        (_conf(Network="10.5.0.0"), "/28"),
        (_conf(Network="fd05::/64"), "not IPv4"),
        (_conf(Network="ten"), "no network"),
        (_conf(Network=5), "must be text"),
        (_conf(Networks="x"), "unknown key Networks"),
        (_conf(SubnetLen=17), "four subnets"),
        (_conf(SubnetLen=31), "four subnets"),
        (_conf(SubnetLen=True), "whole number"),
        (_conf(SubnetMin="10.6.0.0"), "not in"),
        (_conf(SubnetMin="10.5.0.7"), "not the beginning"),
        (_conf(SubnetMin="10.5.9.0", SubnetMax="10.5.8.0"), "behind"),
        (_conf(SubnetMax="fd05::"), "not IPv4"),
        (_conf(EnableIPv4=False), "both false"),
        (_conf(EnableIPv6=True), "IPv6Network is missing"),
        (_conf(EnableIPv6=True, IPv6Network="fd05::/125"), "/124"),
        (_conf(EnableIPv6=True, IPv6Network="fd05::/64", Backend={"Type": "ipip"}), "no IPv6"),
        (_conf(Backend="vxlan"), "object"),
        (_conf(Backend={"Type": "gre"}), "unknown backend gre"),
        (_conf(Backend={"Type": "host-gw", "VNI": 1}), "no option VNI"),
        (_conf(Backend={"Type": "vxlan", "VNI": 1 << 24}), "VNI"),
        (_conf(Backend={"Type": "vxlan", "DirectRouting": 1}), "true or false"),
        (_conf(Backend={"Type": "wireguard", "Mode": "both"}), "Mode both"),
    ],
)
def test_what_is_wrong_is_named(text: str, word: str) -> None:
    with pytest.raises(InvalidRequest, match=word):
        parse_net_conf(text)


@pytest.mark.parametrize("kind", ["vxlan", "host-gw", "wireguard", "extension", "alloc"])
def test_backends_have_their_transports(kind: str) -> None:
    request = request_of(parse_net_conf(_conf(Backend={"Type": kind})))
    assert request.options[BACKEND] in TRANSPORTS


@pytest.mark.parametrize("kind", ["udp", "ipip", "ipsec", "tencent-vpc"])
def test_backends_that_are_not_here_are_refused(kind: str) -> None:
    with pytest.raises(Unsupported, match=kind) as caught:
        request_of(parse_net_conf(_conf(Backend={"Type": kind})))
    assert (caught.value.remedy or "").startswith("use ")


def test_wireguard_and_hooks() -> None:
    request = request_of(
        parse_net_conf(
            _conf(
                Backend={
                    "Type": "wireguard",
                    "PSK": "x",
                    "ListenPort": 51999,
                    "PersistentKeepaliveInterval": 25,
                }
            )
        )
    )
    for word in ("PSK", "ListenPort", "PersistentKeepaliveInterval"):
        assert any(word in note for note in request.notes)
    request = request_of(
        parse_net_conf(_conf(Backend={"Type": "extension", "SubnetAddCommand": "ip route add $SUBNET"}))
    )
    assert request.options[OPTIONS["added"]] == "ip route add $SUBNET"
    assert any("allow_hooks" in note for note in request.notes)


def test_subnet_env_as_flannel_writes_it() -> None:
    env = SubnetEnv(ip_network("10.5.0.0/16"), ip_network("10.5.7.0/24"), 1450, True)
    text = render_subnet_env(env)
    assert text == (
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.7.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )
    assert parse_subnet_env(text) == env
    assert docker_options(env) == ("--bip=10.5.7.1/24", "--ip-masq=false", "--mtu=1450")
    assert render_docker_env(docker_options(env)) == (
        'DOCKER_OPT_BIP="--bip=10.5.7.1/24"\n'
        'DOCKER_OPT_IPMASQ="--ip-masq=false"\n'
        'DOCKER_OPT_MTU="--mtu=1450"\n'
        'DOCKER_OPTS=" --bip=10.5.7.1/24 --ip-masq=false --mtu=1450 "\n'
    )


@given(
    st.integers(0, 255),
    st.integers(16, 30),
    st.integers(1280, 65535),
    st.booleans(),
    st.booleans(),
)
def test_subnet_env_there_and_back(
    third: int, length: int, mtu: int, masquerades: bool, dual_stack: bool
) -> None:
    env = SubnetEnv(
        ip_network("10.5.0.0/16"),
        ip_network((f"10.5.{third}.0", length), strict=False),
        mtu,
        masquerades,
        ip_network("fd05::/56") if dual_stack else None,
        ip_network("fd05:0:0:7::/64") if dual_stack else None,
    )
    assert parse_subnet_env(render_subnet_env(env)) == env


@pytest.mark.parametrize("text", ["FLANNEL_SUBNET", "FLANNEL_SUBNET=x", "FLANNEL_MTU=big", "A B=c"])
def test_a_broken_subnet_env(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"subnet\.env"):
        parse_subnet_env(text)
