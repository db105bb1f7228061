"""Bodies and queries into requests, and Docker's words for what is wrong with them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.doors.api.parse.containers import parse_create, parse_exec
from carrick.doors.api.parse.fields import Fields, decode_document
from carrick.doors.api.parse.host_config import parse_update
from carrick.doors.api.parse.networks import parse_connect, parse_create_network
from carrick.doors.api.parse.ports import parse_exposed_ports, parse_port_bindings
from carrick.doors.api.parse.query import parse_filters, parse_flag, parse_tail, parse_timestamp
from carrick.doors.api.routing import MAX_VERSION, ApiVersion
from carrick.doors.api.streams import DetachFilter, parse_detach_keys
from carrick.engine.values import CreateContainer
from carrick.model.containers import MountType, PortBinding, Resources, RestartPolicy, RestartPolicyName
from carrick.model.errors import CarrickError, InvalidRequest, Unsupported


def create(body: dict[str, Any], name: str = "", version: ApiVersion = MAX_VERSION) -> CreateContainer:
    return parse_create(Fields({"Image": "busybox", **body}), name=name, platform="", version=version).request


def refused(body: dict[str, Any], **options: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        create(body, **options)
    return caught.value.message


# --- JSON


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "invalid JSON: got EOF while reading request body"),
        (b"  \n", "invalid JSON: got EOF while reading request body"),
        (b"{} {}", "unexpected content after JSON"),
        (b"{}x", "unexpected content after JSON"),
        (b'{"a":', "invalid JSON: unexpected EOF"),
        (b"[]", "invalid JSON: json: cannot unmarshal array into Go value of type Body"),
        (b"\xff{}", "invalid JSON: invalid UTF-8 at byte 0"),
        (b"[" * 200_000, "invalid JSON: exceeded max depth"),
    ],
)
def test_what_is_no_json_object(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_document(body, "Body")
    assert caught.value.message == message


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_an_invalid_request(body: bytes) -> None:
    try:
        assert isinstance(decode_document(body, "Body"), Fields)
    except InvalidRequest as error:
        assert error.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    "Image Cmd Env Labels ExposedPorts HostConfig NetworkingConfig Volumes Healthcheck StopTimeout Tty "
    "PortBindings RestartPolicy Mounts Ulimits LogConfig Memory ConsoleSize EndpointsConfig".split()
)


@given(st.dictionaries(NAMES, json_values | st.dictionaries(NAMES, json_values, max_size=4), max_size=6))
def test_any_create_body_is_a_request_or_an_error_of_ours(body: dict[str, Any]) -> None:
    try:
        assert isinstance(create(body), CreateContainer)
    except CarrickError as error:
        assert error.message


def test_names_match_in_any_case_and_null_is_absent() -> None:
    request = create({"HOSTNAME": "h", "env": None, "HostConfig": {"Dns": None, "memory": None}})
    assert (request.config.hostname, request.config.env) == ("h", ())


def test_a_wrong_type_is_named() -> None:
    prefix = "invalid JSON: json: cannot unmarshal"
    assert refused({"Image": 7}) == f"{prefix} number into Go struct field Image of type string"
    assert "HostConfig.Memory of type int64" in refused({"HostConfig": {"Memory": 1.5}})
    assert "Tty of type bool" in refused({"Tty": "yes"})


# --- containers


def test_an_empty_body_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="config cannot be empty in order to create a container"):
        parse_create(Fields(), name="", platform="", version=MAX_VERSION)


@pytest.mark.parametrize("name", ["b@d", "-x", "x", "a b", "é1", "a\n", "a/b"])
def test_names_that_are_refused(name: str) -> None:
    assert refused({}, name=name) == (
        f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )


def test_a_leading_slash_belongs_to_no_name() -> None:
    assert create({}, name="/web").name == "web"


UNDEFINED = "This would result in undefined behavior"


@pytest.mark.parametrize(
    ("mode", "config", "host", "problem"),
    [
        ("container:x", {"Hostname": "h"}, {}, "hostname and the network mode"),
        ("container:x", {}, {"Dns": ["1.1.1.1"]}, "dns and the network mode"),
        ("container:x", {}, {"ExtraHosts": ["a:1.1.1.1"]}, "custom host-to-IP mapping and the network mode"),
        (
            "container:x",
            {},
            {"Links": ["a"]},
            f"container type network can't be used with links. {UNDEFINED}",
        ),
        ("host", {}, {"Links": ["a"]}, f"host type networking can't be used with links. {UNDEFINED}"),
        ("host", {"MacAddress": "02:00:00:00:00:01"}, {}, "mac-address and the network mode"),
        (
            "container:x",
            {},
            {"PublishAllPorts": True},
            "port publishing and the container type network mode",
        ),
        (
            "container:x",
            {"ExposedPorts": {"80/tcp": {}}},
            {},
            "port exposing and the container type network mode",
        ),
    ],
)
def test_conflicts_with_the_network_mode(
    mode: str, config: dict[str, Any], host: dict[str, Any], problem: str
) -> None:
    message = refused({**config, "HostConfig": {"NetworkMode": mode, **host}})
    assert message == f"conflicting options: {problem}"


@pytest.mark.parametrize("mode", ["", "default", "bridge"])
def test_the_default_network_is_bridge(mode: str) -> None:
    request = create({"HostConfig": {"NetworkMode": mode}})
    assert request.host_config.network_mode == "bridge"
    assert [item.network for item in request.attachments] == ["bridge"]


@pytest.mark.parametrize(("mode", "networks"), [("host", ["host"]), ("none", ["none"]), ("container:x", [])])
def test_modes_without_a_network_of_their_own(mode: str, networks: list[str]) -> None:
    request = create({"HostConfig": {"NetworkMode": mode}})
    assert [item.network for item in request.attachments] == networks


def test_the_network_modes_network_is_the_first() -> None:
    endpoints = {"a": {}, "b": {"Aliases": ["x"], "GwPriority": 5}, "c": {}}
    request = create({"HostConfig": {"NetworkMode": "b"}, "NetworkingConfig": {"EndpointsConfig": endpoints}})
    assert [item.network for item in request.attachments] == ["b", "a", "c"]
    assert request.attachments[0].settings.aliases == ("x",)
    assert request.attachments[0].settings.gw_priority == 5


def test_endpoints_alone_decide_as_in_docker() -> None:
    request = create({"NetworkingConfig": {"EndpointsConfig": {"web": None}}})
    assert [item.network for item in request.attachments] == ["web"]
    body = {"NetworkingConfig": {"EndpointsConfig": {"web": None}}}
    assert refused(body, version=(1, 41)) == "no EndpointSettings for web"


def test_several_endpoints_need_a_new_client() -> None:
    body = {"HostConfig": {"NetworkMode": "a"}, "NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}}
    assert refused(body, version=(1, 43)) == (
        "Container cannot be created with multiple network endpoints: a, b"
    )


def test_shared_namespaces_take_no_other_network() -> None:
    for mode in ("host", "container:x"):
        body = {"HostConfig": {"NetworkMode": mode}, "NetworkingConfig": {"EndpointsConfig": {"a": {}}}}
        assert refused(body).startswith("container sharing network namespace with another container or host")
    body = {"HostConfig": {"NetworkMode": "none"}, "NetworkingConfig": {"EndpointsConfig": {"a": {}}}}
    assert "private (none) mode" in refused(body)


def test_the_legacy_mac_address_goes_to_the_main_network() -> None:
    body = {
        "MacAddress": "02-00-00-00-00-0A",
        "HostConfig": {"NetworkMode": "b"},
        "NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}},
    }
    first, second = create(body).attachments
    assert (first.settings.mac_address, second.settings.mac_address) == ("02:00:00:00:00:0a", "")


def test_endpoint_problems_come_together() -> None:
    ipam = {"IPv4Address": "fd00::1", "IPv6Address": "nonsense"}
    body = {"NetworkingConfig": {"EndpointsConfig": {"a": {"IPAMConfig": ipam, "MacAddress": "zz"}}}}
    assert refused(body).splitlines() == [
        "invalid endpoint settings:",
        "invalid IPv4 address: fd00::1",
        "invalid IPv6 address: nonsense",
        "invalid MAC address: zz",
    ]


def test_much_of_a_host_config_arrives() -> None:
    host = {
        "Binds": ["/a:/b:ro"],
        "Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 10, "Mode": 0o1777}}],
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        "Memory": 64 << 20,
        "NanoCpus": 500_000_000,
        "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}],
        "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}],
        "LogConfig": {"Type": "", "Config": {"max-size": "10m", "max-file": "3"}},
        "ConsoleSize": [24, 80],
        "MaskedPaths": [],
        "PidsLimit": None,
        "Init": None,
    }
    config = create({"HostConfig": host}).host_config
    assert config.binds == ("/a:/b:ro",)
    assert config.mounts[0].type is MountType.TMPFS
    assert config.mounts[0].tmpfs_mode == 0o1777
    assert config.restart_policy == RestartPolicy(RestartPolicyName.ON_FAILURE, 3)
    assert (config.resources.memory, config.resources.nano_cpus) == (64 << 20, 500_000_000)
    assert (config.ulimits[0].hard, config.devices[0].permissions) == (20, "r")
    assert (config.log_config.max_size, config.log_config.max_files) == (10_000_000, 3)
    assert (config.console_size, config.masked_paths, config.readonly_paths) == ((24, 80), (), None)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (
            {"RestartPolicy": {"Name": "foo"}},
            "invalid restart policy: unknown policy 'foo'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
        ),
        (
            {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 1}},
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (
            {"RestartPolicy": {"Name": "always"}, "AutoRemove": True},
            "can't create 'AutoRemove' container with restart policy",
        ),
        ({"Memory": 1024}, "Minimum memory limit allowed is 6MB"),
        ({"PortBindings": {"http": []}}, 'invalid port specification: "http"'),
        ({"PortBindings": {"80/tcp": [{"HostPort": "x"}]}}, 'invalid port specification: "x"'),
        (
            {"Mounts": [{"Type": "bind", "Target": "/x"}]},
            'invalid mount config for type "bind": field Source must not be empty',
        ),
        (
            {"Mounts": [{"Type": "volume", "Target": "x"}]},
            "invalid mount config for type \"volume\": invalid mount path: 'x' mount path must be absolute",
        ),
        ({"NetworkMode": "container:"}, "invalid container format container:<name|id>"),
        ({"LogConfig": {"Config": {"max-file": "0"}}}, "max-file cannot be less than 1"),
    ],
)
def test_host_configs_that_are_refused(host: dict[str, Any], message: str) -> None:
    assert refused({"HostConfig": host}) == message


def test_what_has_no_effect_is_told_and_gpus_are_refused() -> None:
    body = Fields({"Image": "x", "HostConfig": {"BlkioDeviceReadBps": [{"Path": "/dev/null", "Rate": 1}]}})
    parsed = parse_create(body, name="", platform="", version=MAX_VERSION)
    assert parsed.warnings == ("BlkioDeviceReadBps is not supported and was ignored.",)
    with pytest.raises(
        Unsupported, match=r'could not select device driver "" with capabilities: \[\[gpu\]\]'
    ):
        create({"HostConfig": {"DeviceRequests": [{"Driver": "", "Capabilities": [["gpu"]]}]}})


# --- ports


def bindings(document: dict[str, Any]) -> tuple[PortBinding, ...]:
    return parse_port_bindings(Fields({"PortBindings": document}))


def test_port_bindings_in_every_form() -> None:
    assert bindings({"80": None}) == (PortBinding(80),)
    assert bindings({"80/tcp": []}) == (PortBinding(80),)
    assert bindings({"80/tcp": [{"HostIp": "", "HostPort": ""}]}) == (PortBinding(80),)
    assert bindings({"53/udp": [{"HostIp": "[::1]", "HostPort": "8000-8010"}]}) == (
        PortBinding(53, "udp", "::1", "8000-8010"),
    )
    assert bindings({"80-81/tcp": [{"HostPort": "90-91"}]}) == (
        PortBinding(80, host_port="90"),
        PortBinding(81, host_port="91"),
    )
    with pytest.raises(InvalidRequest, match="invalid ranges specified"):
        bindings({"80-82/tcp": [{"HostPort": "90-91"}]})


def test_exposed_ports_are_sorted_as_numbers() -> None:
    assert parse_exposed_ports(["443", "80/TCP", "53/udp", "7-8"]) == (
        "7/tcp",
        "8/tcp",
        "53/udp",
        "80/tcp",
        "443/tcp",
    )


# --- networks, exec, update


def test_a_network_with_everything() -> None:
    request = parse_create_network(
        Fields(
            {
                "Name": "n",
                "EnableIPv6": True,
                "Options": {"com.docker.network.driver.mtu": "1400"},
                "IPAM": {
                    "Driver": "",
                    "Config": [
                        {
                            "Subnet": "10.0.0.0/24",
                            "IPRange": "10.0.0.128/25",
                            "Gateway": "10.0.0.1",
                            "AuxiliaryAddresses": {"r": "10.0.0.2"},
                        }
                    ],
                },
                "ConfigFrom": {"Network": "base"},
            }
        )
    )
    assert (request.driver, request.enable_ipv4, request.enable_ipv6) == ("bridge", None, True)
    assert request.pools[0].aux_addresses == {"r": "10.0.0.2"}
    assert (request.ipam_driver, request.config_from) == ("default", "base")


def test_connect_with_addresses() -> None:
    asked = parse_connect(
        Fields({"Container": "c", "EndpointConfig": {"IPAMConfig": {"IPv6Address": "FD00:0::9"}}})
    )
    assert (asked.container, asked.settings.ipv6_address) == ("c", "fd00::9")


def test_exec_needs_a_command() -> None:
    with pytest.raises(InvalidRequest, match="No exec command specified"):
        parse_exec(Fields({"Cmd": []}))


def test_update_leaves_alone_what_is_zero() -> None:
    update = parse_update(Fields({"Memory": 0, "CpuShares": 0, "RestartPolicy": {"Name": ""}}))
    assert (update.resources, update.restart_policy) == (None, None)
    update = parse_update(Fields({"CpuShares": 512, "RestartPolicy": {"Name": "always"}}))
    assert update.resources == Resources(cpu_shares=512)
    assert update.restart_policy == RestartPolicy(RestartPolicyName.ALWAYS)


# --- queries


@pytest.mark.parametrize("text", ["", "0", "no", "false", "none", "False"])
def test_false_words(text: str) -> None:
    assert not parse_flag(text, default=True)


@pytest.mark.parametrize("text", ["1", "true", "yes", "2"])
def test_true_words(text: str) -> None:
    assert parse_flag(text)


def test_filters_in_both_forms() -> None:
    assert parse_filters('{"name":["a","b"]}') == {"name": ("a", "b")}
    assert parse_filters('{"name":{"a":true}}') == {"name": ("a",)}
    assert parse_filters("") == {}
    for text in ("x", "[]", '{"a":1}', '{"a":[1]}', "[" * 100_000):
        with pytest.raises(InvalidRequest, match=r"^invalid filter$"):
            parse_filters(text)


def test_timestamps_and_tails() -> None:
    assert parse_timestamp("since", "1.5") == 1_500_000_000
    assert parse_timestamp("since", "1700000000.000000001") == 1_700_000_000_000_000_001
    assert parse_timestamp("since", "0") is None
    with pytest.raises(InvalidRequest):
        parse_timestamp("since", "yesterday")
    assert (parse_tail("all"), parse_tail("7"), parse_tail(None)) == (None, 7, None)


def test_detach_keys() -> None:
    assert parse_detach_keys("") == b"\x10\x11"
    assert parse_detach_keys("ctrl-a,x") == b"\x01x"
    with pytest.raises(InvalidRequest, match=r"Invalid detach keys \(ctrl-\) provided"):
        parse_detach_keys("ctrl-")


@given(st.lists(st.sampled_from([b"a", b"\x10", b"\x10\x10", b"bc"]), max_size=8))
def test_the_detach_filter_loses_nothing(pieces: list[bytes]) -> None:
    keys = DetachFilter(b"\x10\x11")
    passed = b""
    for piece in pieces:
        data, detached = keys.feed(piece)
        assert not detached
        passed += data
    data, detached = keys.feed(b"!")
    assert passed + data == b"".join(pieces) + b"!"
    assert keys.feed(b"x\x10") == (b"x", False)
    assert keys.feed(b"\x11never") == (b"", True)
