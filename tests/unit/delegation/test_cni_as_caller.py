"""CNI as a caller sees it: configurations are parsed, calls are planned, answers are read."""

import json
from dataclasses import replace
from typing import Any

import pytest

from carrick.domains.cni import (
    Command,
    check_wishes,
    parse_configuration,
    parse_refusal,
    parse_result,
    plan_add,
    plan_check,
    plan_remove,
)
from carrick.drivers.cni import CniDriver, parse_options
from carrick.model.containers import PortBinding
from carrick.model.delegation import DelegateKind, EndpointCall, Wishes
from carrick.model.errors import Failed, InvalidRequest
from carrick.model.ids import EndpointId, NetworkId, SandboxId
from carrick.model.networks import Network, PoolConfig

LIST = {
    "cniVersion": "1.0.0",
    "name": "third",
    "plugins": [
        {"type": "bridge", "bridge": "b0", "ipam": {"type": "host-local"}, "capabilities": {"mac": True}},
        {"type": "portmap", "capabilities": {"portMappings": True, "other": False}},
    ],
}
CALL = EndpointCall(
    DelegateKind.CNI,
    "third",
    NetworkId("n" * 64),
    "net",
    EndpointId("e" * 64),
    SandboxId("5" * 64),
    "/run/netns/x",
    "eth0",
    configuration=json.dumps(LIST),
    path=("/opt/cni/bin", "/usr/lib/cni"),
)
PORT = PortBinding(80, "tcp", "127.0.0.1", "8080")


class TestConfigurations:
    def test_a_list(self) -> None:
        found = parse_configuration(json.dumps(LIST))
        assert (found.name, found.version, found.types) == ("third", "1.0.0", ("bridge", "portmap"))
        assert found.capabilities == {"mac", "portMappings"}
        assert found.programs == ("bridge", "portmap", "host-local")

    def test_one_plugin_alone_and_a_name_for_it(self) -> None:
        found = parse_configuration('{"cniVersion": "0.3.1", "type": "macvlan"}', name="lan")
        assert (found.name, found.types) == ("lan", ("macvlan",))

    @pytest.mark.parametrize(
        ("versions", "chosen"),
        [
            ({"cniVersion": "1.0.0", "cniVersions": ["0.4.0", "1.1.0", "9.0.0"]}, "1.1.0"),
            ({"cniVersions": ["0.4.0", "0.3.1"]}, "0.4.0"),
            ({}, "0.2.0"),
        ],
    )
    def test_the_newest_version_that_both_speak(self, versions: dict[str, Any], chosen: str) -> None:
        assert parse_configuration(json.dumps({"name": "x", "type": "y", **versions})).version == chosen

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "not JSON"),
            ("[]", "not a JSON object"),
            ('{"name": "x"}', "no usable type"),
            ('{"name": "x", "plugins": []}', "no plugins"),
            ('{"name": "x", "plugins": [3]}', "not a JSON object"),
            ('{"name": "../x", "type": "y"}', "name '../x' must match"),
            ('{"name": "x", "type": "../../bin/sh"}', "no usable type: '../../bin/sh'"),
            ('{"name": "x", "type": ".."}', "no usable type"),
            ('{"name": "x", "type": "y", "cniVersion": "2.0.0"}', "2.0.0, which Carrick does not speak"),
            (
                '{"name": "x", "type": "y", "cniVersion": 1}',
                "cniVersion in the CNI configuration is not text",
            ),
            ('{"name": "x", "type": "y", "capabilities": ["mac"]}', "capabilities of plugin y"),
            ('{"name": "x", "plugins": [{"type": "y"}], "disableCheck": 7}', "disableCheck"),
        ],
    )
    def test_what_is_refused(self, text: str, words: str) -> None:
        with pytest.raises(InvalidRequest, match=words.replace("[", r"\[")):
            parse_configuration(text)


class TestCalls:
    def test_an_add(self) -> None:
        configuration = parse_configuration(CALL.configuration)
        call = replace(CALL, mac_address="02:00:00:00:00:01", wishes=Wishes(ports=(PORT,)))
        first = plan_add(configuration, 0, call, "")
        assert first.environment == {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "5" * 64,
            "CNI_NETNS": "/run/netns/x",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": "IgnoreUnknown=1;CARRICK_NETWORK=net",
            "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
        }
        assert json.loads(first.stdin) == {
            "cniVersion": "1.0.0",
            "name": "third",
            "type": "bridge",
            "bridge": "b0",
            "ipam": {"type": "host-local"},
            "runtimeConfig": {"mac": "02:00:00:00:00:01"},
        }
        second = json.loads(plan_add(configuration, 1, call, '{"cniVersion": "1.0.0"}').stdin)
        assert second["prevResult"] == {"cniVersion": "1.0.0"}
        assert second["runtimeConfig"] == {
            "portMappings": [
                {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}
            ]
        }

    def test_a_removal_goes_backwards_with_the_last_result(self) -> None:
        found = plan_remove(parse_configuration(CALL.configuration), CALL, "", '{"ips": []}')
        assert [item.type for item in found] == ["portmap", "bridge"]
        assert all(item.command is Command.DEL and item.environment["CNI_NETNS"] == "" for item in found)
        assert all(json.loads(item.stdin)["prevResult"] == {"ips": []} for item in found)

    def test_an_old_removal_is_told_no_result(self) -> None:
        old = parse_configuration(json.dumps({**LIST, "cniVersion": "0.3.1"}))
        assert all("prevResult" not in json.loads(item.stdin) for item in plan_remove(old, CALL, "", "{}"))

    def test_a_check_goes_forward(self) -> None:
        found = plan_check(parse_configuration(CALL.configuration), CALL, '{"ips": []}')
        assert [(item.type, item.command) for item in found] == [
            ("bridge", Command.CHECK),
            ("portmap", Command.CHECK),
        ]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"ipv4": "10.0.0.9"}, "cannot do --ip: no plugin .* has the capability ips"),
            ({"wishes": Wishes(ports=(PortBinding(80),))}, "needs a host port"),
            ({"wishes": Wishes(ports=(PortBinding(80, host_port="8000-8010"),))}, "needs a host port"),
        ],
    )
    def test_what_nobody_can_do_is_refused(self, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidRequest, match=words):
            check_wishes(parse_configuration(CALL.configuration), replace(CALL, **changes))

    def test_aliases_and_dns_are_carricks_own(self) -> None:
        call = replace(CALL, aliases=("web",), wishes=Wishes(dns=("192.0.2.1",), ports=(PORT,)))
        check_wishes(parse_configuration(CALL.configuration), call)


class TestAnswers:
    def test_a_result(self) -> None:
        text = json.dumps(
            {
                "cniVersion": "1.0.0",
                "interfaces": [
                    {"name": "b0", "mac": "02:00:00:00:00:01"},
                    {"name": "veth1", "mac": "02:00:00:00:00:02"},
                    {"name": "eth0", "mac": "02:00:00:00:00:AB", "sandbox": "/run/netns/x"},
                ],
                "ips": [
                    {"address": "192.0.2.9/24", "interface": 0},
                    {"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 2},
                    {"address": "fd00::5/64", "gateway": "fd00::1", "interface": 2},
                    {"address": "10.1.0.6/16", "interface": 2},
                ],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd00::9"}, {"dst": "10.9.0.0/16"}],
                "dns": {"nameservers": ["192.0.2.53"]},
            }
        )
        made = parse_result(text, "eth0")
        assert (made.interface, made.mac_address) == ("eth0", "02:00:00:00:00:ab")
        assert (made.ipv4, made.ipv6) == ("10.1.0.5/16", "fd00::5/64")
        assert (made.gateway4, made.gateway6) == ("10.1.0.1", "fd00::9")
        assert (made.dns, made.result) == (("192.0.2.53",), text)

    def test_a_gateway_without_a_default_route_is_none(self) -> None:
        text = json.dumps({"ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"}]})
        made = parse_result(text, "eth0")
        assert (made.ipv4, made.gateway4) == ("10.1.0.5/16", "")

    def test_an_old_result(self) -> None:
        text = json.dumps(
            {"ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]}}
        )
        made = parse_result(text, "eth0")
        assert (made.ipv4, made.gateway4, made.ipv6) == ("10.1.0.5/16", "10.1.0.1", "")

    def test_no_addresses_at_all(self) -> None:
        assert parse_result('{"cniVersion": "1.0.0"}', "eth0").ipv4 == ""

    @pytest.mark.parametrize(
        "text",
        ["", "hello", "[]", '{"ips": [{"address": "nonsense"}]}', '{"ips": 3}', '{"interfaces": ["x"]}'],
    )
    def test_garbage(self, text: str) -> None:
        with pytest.raises(Failed, match="cannot be read"):
            parse_result(text, "eth0")

    def test_refusals(self) -> None:
        refusal = parse_refusal('{"code": 11, "msg": "try later", "details": "no lease"}')
        assert refusal is not None
        assert (refusal.code, str(refusal)) == (11, "try later: no lease")
        assert parse_refusal("") is None
        assert parse_refusal('{"cniVersion": "1.0.0"}') is None


class TestTheDriver:
    @staticmethod
    def network(**options: str) -> Network:
        return Network(NetworkId("n" * 64), "net", "cni", 1, options={"conf": json.dumps(LIST), **options})

    def test_its_options(self) -> None:
        found = parse_options(self.network(path="/a:/b", timeout="5"))
        assert (found.path, found.timeout_s, found.configuration.name) == (("/a", "/b"), 5.0, "third")

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"conf": ""}, "needs a CNI configuration"),
            ({"colour": "red"}, "unknown option colour"),
            ({"path": "a:/b"}, "no absolute path"),
            ({"timeout": "soon"}, "timeout: soon must be a number"),
            ({"timeout": "nan"}, "timeout"),
            ({"timeout": "1000"}, "up to 600"),
        ],
    )
    def test_options_that_are_refused(self, options: dict[str, str], words: str) -> None:
        with pytest.raises(InvalidRequest, match=words):
            parse_options(self.network(**options))

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"pools": (PoolConfig("10.0.0.0/8"),)}, "takes no subnet"),
            ({"ipam_driver": "tp"}, "cannot be used with the IPAM driver tp"),
            ({"internal": True}, "no internal networks"),
        ],
    )
    def test_what_it_cannot_do(self, changes: dict[str, Any], words: str) -> None:
        from carrick.drivers.contract import HostView

        with pytest.raises(InvalidRequest, match=words):
            CniDriver().check(replace(self.network(), **changes), (), HostView())
