"""Bodies of libnetwork's calls, and what becomes of them."""

from typing import Any

import pytest

from carrick.doors.api.parse.fields import Fields
from carrick.doors.plugin import parse
from carrick.doors.plugin.docker_resolver import choose_ports, parse_ports
from carrick.doors.plugin.parse import NetworkOptions
from carrick.doors.plugin.render import render_error
from carrick.model import errors
from carrick.model.containers import PortBinding

IDS = {"NetworkID": "n", "EndpointID": "e"}
UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
 3811: 0B00007F:9D5E 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0
13549: 0B00007F:C368 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 2 2 0 0
   12: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 3 2 0 0
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B00007F:88F7 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4 1 0 100
   1: 0B00007F:9D5E 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5 1 0 100
   2: 0B00007F:C368 0B00007F:0001 01 00000000:00000000 00:00000000 00000000     0        0 6 1 0 100
"""


def ports(*given: dict[str, Any]) -> tuple[PortBinding, ...]:
    body = Fields({**IDS, "Options": {"com.docker.network.portmap": list(given)}})
    return parse.parse_connectivity(body).ports


def test_ports() -> None:
    assert ports(
        {"Proto": 6, "Port": 80},
        {"Proto": 17, "Port": 53, "HostIP": "127.0.0.1", "HostPort": 5353, "HostPortEnd": 5353},
        {"Proto": 132, "Port": 9, "HostIP": "::", "HostPort": 8000, "HostPortEnd": 8010},
    ) == (
        PortBinding(80, "tcp"),
        PortBinding(53, "udp", "127.0.0.1", "5353"),
        PortBinding(9, "sctp", "::", "8000-8010"),
    )


@pytest.mark.parametrize(
    "port",
    [
        {"Proto": 1, "Port": 80},
        {"Proto": 6},
        {"Proto": 6, "Port": 70000},
        {"Proto": 6, "Port": 80, "HostPort": 9, "HostPortEnd": 8},
        {"Proto": 6, "Port": 80, "HostIP": "here"},
    ],
)
def test_ports_that_cannot_be(port: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest):
        ports(port)


def test_options_of_a_network() -> None:
    body = {
        "NetworkID": "n",
        "Options": {
            "com.docker.network.generic": {"driver": "overlay", "network": "shop", "encrypted": True, "n": 5},
            "com.docker.network.enable_ipv4": True,
            "com.docker.network.enable_ipv6": False,
        },
    }
    found = parse.parse_network(Fields(body)).options
    assert found == NetworkOptions(
        "overlay", "shop", {"encrypted": "true", "n": "5"}, enable_ipv4=True, enable_ipv6=False
    )


def test_the_mac_address_of_the_options_is_go_s_base64() -> None:
    body = {**IDS, "Interface": {}, "Options": {"com.docker.network.endpoint.macaddress": "AkKsEQAC"}}
    assert parse.parse_create_endpoint(Fields(body)).mac_address == "02:42:ac:11:00:02"


@pytest.mark.parametrize("key", ["", "relative/path"])
def test_a_sandbox_is_a_path(key: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        parse.parse_join(Fields({**IDS, "SandboxKey": key}))


@pytest.mark.parametrize("identifier", ["", "x" * 300, "a,b", "a\nb"])
def test_ids(identifier: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        parse.parse_network_id(Fields({"NetworkID": identifier}))


def every_error() -> list[type[errors.CarrickError]]:
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.CarrickError)
    ]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_a_status_and_a_message(kind: type[errors.CarrickError]) -> None:
    for path in ("/NetworkDriver.Join", "/IpamDriver.RequestPool"):
        error = kind("so it is")
        error.remedy = "do that"
        status, body = render_error(error, path)
        assert status >= 400 and body["Err"] == "so it is (do that)"
        assert ("Error" in body) == path.startswith("/Ipam")


def test_docker_s_resolver_is_the_one_whose_ports_differ() -> None:
    assert parse_ports(UDP) == {0x9D5E, 0xC368}
    assert parse_ports(TCP, state=0x0A) == {0x88F7, 0x9D5E}
    assert choose_ports(UDP, TCP) == (0xC368, 0x88F7)
    assert choose_ports("header\n", TCP) is None
