"""CNI's values: environment, configuration, results, frames. Each rule and each error, and hostile input."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.doors.cni.config import parse_config, version_of
from carrick.doors.cni.errors import CniError, Code, error_of
from carrick.doors.cni.frames import MAX_INPUT, parse_header, render_request, split_request
from carrick.doors.cni.request import Command, parse_call
from carrick.doors.cni.result import merge, parse_result, render_result
from carrick.doors.cni.versions import SUPPORTED, at_least, check_version
from carrick.doors.cni.wire import Address, Dns, Interface, Result, Route
from carrick.model import errors

FULL = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "one",
    "CNI_NETNS": "/run/netns/one",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
}


def conf(version: str = "1.1.0", **more: Any) -> bytes:
    return json.dumps({"cniVersion": version, "name": "shop", "type": "carrick", **more}).encode()


def code_of(environment: dict[str, str]) -> int:
    with pytest.raises(CniError) as caught:
        parse_call(environment)
    return caught.value.code


# Environment -----------------------------------------------------------------------------------------


def test_a_whole_environment() -> None:
    call = parse_call({**FULL, "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web;OTHER=x"})
    assert call.command is Command.ADD
    assert call.path == ("/opt/cni/bin", "/usr/lib/cni")
    assert call.args == {"IgnoreUnknown": "1", "K8S_POD_NAME": "web"}


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("ADD", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}),
        ("CHECK", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}),
        ("DEL", {"CNI_CONTAINERID", "CNI_IFNAME"}),
        ("GC", {"CNI_PATH"}),
        ("STATUS", set()),
        ("VERSION", set()),
    ],
)
def test_what_each_command_needs(command: str, needed: set[str]) -> None:
    for name in sorted(FULL.keys() - {"CNI_COMMAND"}):
        environment = {**FULL, "CNI_COMMAND": command}
        del environment[name]
        if name in needed:
            with pytest.raises(CniError, match=f"required env variables .{name}. missing"):
                parse_call(environment)
        else:
            parse_call(environment)


@pytest.mark.parametrize(
    "change",
    [
        {"CNI_COMMAND": ""},
        {"CNI_COMMAND": "add"},
        {"CNI_COMMAND": "DESTROY"},
        {"CNI_CONTAINERID": "-x"},
        {"CNI_CONTAINERID": "a/b"},
        {"CNI_CONTAINERID": "a b"},
        {"CNI_CONTAINERID": "a" * 257},
        {"CNI_CONTAINERID": "ä"},
        {"CNI_NETNS": "run/netns/one"},
        {"CNI_IFNAME": "sixteen_letters_"},
        {"CNI_IFNAME": "."},
        {"CNI_IFNAME": ".."},
        {"CNI_IFNAME": "a/b"},
        {"CNI_IFNAME": "a:b"},
        {"CNI_IFNAME": "a b"},
        {"CNI_IFNAME": "a\nb"},
        {"CNI_IFNAME": "a\x01b"},
        {"CNI_ARGS": "K8S_POD_NAME"},
        {"CNI_ARGS": "UNKNOWN=1"},
        {"CNI_ARGS": "UNKNOWN=1;IgnoreUnknown=no"},
        {"CNI_ARGS": "IgnoreUnknown=false;UNKNOWN=1"},
    ],
)
def test_bad_environment(change: dict[str, str]) -> None:
    assert code_of({**FULL, **change}) == Code.INVALID_ENVIRONMENT


def test_whoever_deletes_may_have_odd_arguments() -> None:
    assert parse_call({**FULL, "CNI_COMMAND": "DEL", "CNI_ARGS": "x;Y=1"}).args == {}


# Versions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("command", list(Command))
def test_commands_by_version(version: str, command: Command) -> None:
    since = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}.get(command, "0.3.0")
    if at_least(version, since):
        assert check_version(version, command) == version
    else:
        with pytest.raises(CniError, match="does not allow") as caught:
            check_version(version, command)
        assert caught.value.code == Code.INCOMPATIBLE_VERSION


@pytest.mark.parametrize("version", ["", "0.1.0", "0.2.0", "2.0.0", "1.1", "nonsense", "1.0.0 "])
def test_versions_that_are_not_ours(version: str) -> None:
    with pytest.raises(CniError, match="incompatible CNI versions") as caught:
        check_version(version, "ADD")
    assert caught.value.code == Code.INCOMPATIBLE_VERSION


# Configuration ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 6),
        (b"{", 6),
        (b"\xff\xfe", 6),
        (b"[]", 6),
        (b"null", 6),
        (b"[" * 100_000, 6),
        (b'{"cniVersion": 1}', 6),
        (b'{"name": "shop"}', 1),
        (conf("9.9.9"), 1),
        (conf(name=""), 7),
        (conf(name=7), 7),
        (conf(name="-shop"), 7),
        (conf(name="a/b"), 7),
        (conf(newtork="shop"), 2),
        (conf(runtimeConfig={"levitation": True}), 2),
        (conf(runtimeConfig={"infinibandGUID": "c2:11"}), 2),
        (conf(runtimeConfig=[]), 7),
        (conf(runtimeConfig={"portMappings": {}}), 7),
        (conf(runtimeConfig={"portMappings": [{"hostPort": 80}]}), 7),
        (conf(runtimeConfig={"portMappings": [{"hostPort": "80", "containerPort": 80}]}), 7),
        (conf(mtu="large"), 7),
        (conf(create={"drvier": "bridge"}), 7),
        (conf(ipam="host-local"), 7),
        (conf(prevResult=[]), 7),
        (conf(prevResult={"ips": [{"gateway": "10.0.0.1"}]}), 7),
        (conf(dns={"nameservers": "10.0.0.1"}), 7),
    ],
)
def test_bad_configuration(data: bytes, code: int) -> None:
    with pytest.raises(CniError) as caught:
        parse_config(data, Command.ADD)
    assert caught.value.code == code


def test_fields_of_others_are_left_alone() -> None:
    parse_config(conf(**{"cni.dev/attachments": [], "example.com/x": 1, "_comment": "…"}), Command.ADD)


def test_what_is_to_be_removed_need_not_be_right() -> None:
    spoilt = conf(newtork=1, mtu="large", runtimeConfig=[], ipam={"type": "host-local", "routes": 1})
    found = parse_config(spoilt, Command.DEL)
    assert (found.name, found.ipam.type) == ("shop", "host-local")


def test_garbage_is_not_collected_without_a_list() -> None:
    with pytest.raises(CniError, match="valid-attachments") as caught:
        parse_config(conf(), Command.GC)
    assert caught.value.code == Code.INVALID_CONFIG
    assert parse_config(conf(**{"cni.dev/valid-attachments": None}), Command.GC).valid_attachments is None


def test_podmans_aliases_are_by_network() -> None:
    found = parse_config(conf(runtimeConfig={"aliases": {"shop": ["db"]}}), Command.ADD)
    assert found.runtime_config is not None
    assert found.runtime_config.aliases == {"shop": ["db"]}


def test_containerd_writes_names_as_go_has_them() -> None:
    runtime = {
        "portMappings": [{"HostPort": 80, "ContainerPort": 8080, "Protocol": "tcp", "HostIP": "10.0.0.1"}],
        "bandwidth": {"IngressRate": 1, "IngressBurst": 2, "EgressRate": 3, "EgressBurst": 4},
        "ipRanges": [[{"Subnet": "10.0.0.0/8", "RangeStart": "10.0.0.5"}]],
        "dns": {"Servers": ["10.0.0.53"], "Searches": [], "Options": []},
        "aliases": {"Shop": ["a"]},
    }
    found = parse_config(conf(runtimeConfig=runtime), Command.ADD).runtime_config
    assert found is not None and found.port_mappings and found.bandwidth and found.ip_ranges and found.dns
    port = found.port_mappings[0]
    assert (port.host_port, port.container_port, port.host_ip) == (80, 8080, "10.0.0.1")
    assert found.bandwidth.egress_burst == 4
    assert found.ip_ranges[0][0].range_start == "10.0.0.5"
    assert found.dns.servers == ["10.0.0.53"]
    assert found.aliases == {"Shop": ["a"]}


# Results ---------------------------------------------------------------------------------------------

OURS = (
    [Interface(name="veth1"), Interface(name="eth0", mac="02:00:00:00:00:01", mtu=1500, sandbox="/n")],
    [
        Address(address="10.9.0.2/24", gateway="10.9.0.1", interface=1),
        Address(address="fd00::2/64", interface=1),
    ],
    [Route(dst="0.0.0.0/0", gw="10.9.0.1", mtu=1400)],
    Dns(nameservers=["127.0.0.11"], search=["example.com"]),
)


@pytest.mark.parametrize("version", SUPPORTED)
def test_each_versions_shape(version: str) -> None:
    document = json.loads(render_result(merge(None, *OURS), version))
    assert document["cniVersion"] == version
    assert document["dns"] == {"nameservers": ["127.0.0.11"], "search": ["example.com"]}
    families = [item.get("version") for item in document["ips"]]
    assert families == (["4", "6"] if version < "1.0.0" else [None, None])
    assert ("mtu" in document["interfaces"][1]) == (version == "1.1.0")
    assert ("mtu" in document["routes"][0]) == (version == "1.1.0")
    assert [item["interface"] for item in document["ips"]] == [1, 1]


def test_the_previous_results_come_first() -> None:
    before = parse_result(
        b'{"cniVersion":"0.4.0","interfaces":[{"name":"lo","sandbox":"/n"}],'
        b'"ips":[{"version":"4","address":"127.0.0.1/8","interface":0}],"dns":{"nameservers":["10.0.0.53"]}}',
        "the other",
    )
    document = json.loads(render_result(merge(before, *OURS), "0.4.0"))
    assert [item["name"] for item in document["interfaces"]] == ["lo", "veth1", "eth0"]
    assert [item["interface"] for item in document["ips"]] == [0, 2, 2]
    assert document["ips"][0]["version"] == "4"
    assert document["dns"]["nameservers"] == ["127.0.0.11", "10.0.0.53"]


def test_null_lists_are_empty() -> None:
    found = parse_result(b'{"interfaces":null,"ips":null,"routes":null}', "x")
    assert json.loads(render_result(found, "1.0.0"))["ips"] == []


def test_a_newer_result_goes_through_whole() -> None:
    text = (
        b'{"cniVersion":"1.1.0","interfaces":[{"name":"a","mtu":9000,"socketPath":"/s","pciID":"0000:1"}],'
        b'"ips":[],"routes":[{"dst":"10.0.0.0/8","priority":5,"table":0,"scope":253,"advmss":1}],"dns":{}}'
    )
    assert json.loads(render_result(parse_result(text, "x"), "1.1.0")) == {**json.loads(text)}


# Errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.InvalidRequest, 7),
        (errors.NotFound, 100),
        (errors.Conflict, 101),
        (errors.NotModified, 101),
        (errors.Unavailable, 11),
        (errors.Denied, 102),
        (errors.Unsupported, 103),
        (errors.KernelRefused, 104),
        (errors.Failed, 105),
    ],
)
def test_every_error_has_its_code(kind: type[errors.CarrickError], code: int) -> None:
    found = error_of(kind("it is so"))
    assert (found.code, found.message) == (code, "it is so")


def test_no_error_of_the_tree_is_forgotten() -> None:
    for kind in errors.CarrickError.__subclasses__():
        if kind.__module__ == errors.__name__:
            assert error_of(kind("x")).code != Code.INTERNAL


def test_a_failure_that_will_pass_is_to_be_tried_again() -> None:
    failure = errors.Failed("no available IPv4 addresses")
    failure.__cause__ = errors.Unavailable("the pool is full")
    assert error_of(failure).code == Code.TRY_AGAIN_LATER


def test_a_bug_is_999(caplog: pytest.LogCaptureFixture) -> None:
    assert error_of(ZeroDivisionError("oh")).code == 999
    assert "a CNI call failed" in caplog.text


# Frames ----------------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.from_regex(r"CNI_[A-Z]{1,9}", fullmatch=True),
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20),
    ),
    st.binary(max_size=200),
)
def test_a_request_comes_back(environment: dict[str, str], data: bytes) -> None:
    assert split_request(render_request(environment, data)) == (environment, data)


@given(st.binary(max_size=100))
def test_any_header_is_read_or_refused(line: bytes) -> None:
    try:
        parse_header(line)
        split_request(line)
    except CniError:
        pass


def test_too_much_is_refused() -> None:
    with pytest.raises(CniError, match="more than"):
        parse_header(b"carrick-cni/1 10 %d\n" % (MAX_INPUT + 1))
    with pytest.raises(CniError, match="take more than"):
        parse_header(b"carrick-cni/1 99999999 10\n")


# Hostile input ---------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = st.sampled_from(
    [
        *("network", "create", "isDefaultGateway", "ipMasq", "mtu", "dns", "ipam", "args", "runtimeConfig"),
        *("prevResult", "capabilities", "daemonSocket", "cni.dev/valid-attachments", "type"),
    ]
)


@given(st.dictionaries(_FIELDS, _JSON, max_size=4), st.sampled_from(list(Command)))
def test_any_configuration_is_read_or_refused(fields: dict[str, Any], command: Command) -> None:
    data = json.dumps({"cniVersion": "1.1.0", "name": "shop", **fields}).encode()
    try:
        parse_config(data, command)
    except CniError as error:
        assert error.code in {1, 2, 6, 7}


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    version_of(data)
    with pytest.raises(CniError):
        parse_config(data, Command.ADD)


@given(st.dictionaries(st.sampled_from([*FULL, "CNI_ARGS"]), st.text(max_size=30)))
def test_any_environment_is_read_or_refused(environment: dict[str, str]) -> None:
    try:
        parse_call({**FULL, **environment})
    except CniError as error:
        assert error.code == Code.INVALID_ENVIRONMENT


@given(_JSON)
def test_any_result_is_read_or_refused(document: Any) -> None:
    try:
        found = parse_result(json.dumps(document).encode(), "it")
    except CniError as error:
        assert error.code == Code.DECODING_FAILURE
    else:
        assert isinstance(found, Result)
        for version in SUPPORTED:
            render_result(found, version)
