"""Shapes that tests/conformance found to differ from Docker's: null or empty, by version, before a start."""

import pytest

from carrick.doors.api.parse.containers import parse_create
from carrick.doors.api.parse.fields import Fields, decode_document
from carrick.doors.api.render.host_config import render_config, render_host_config
from carrick.doors.api.routing import ApiVersion
from carrick.engine.values import CreateContainer
from carrick.model.errors import InvalidRequest


def create(body: dict[str, object], version: ApiVersion = (1, 41)) -> CreateContainer:
    return parse_create(Fields({"Image": "x"} | body), name="", platform="", version=version).request


def test_lists_are_null_unless_they_were_given_empty() -> None:
    left_open = render_host_config(create({}).host_config)
    given = render_host_config(
        create({"HostConfig": {"Dns": [], "Devices": [], "PortBindings": {}, "Binds": []}}).host_config
    )
    for name, empty in (("Dns", []), ("Devices", []), ("PortBindings", {}), ("Binds", [])):
        assert left_open[name] is None
        assert given[name] == empty
    assert render_config(create({}).config)["Env"] is None
    assert render_config(create({"Entrypoint": []}).config)["Entrypoint"] == []


def test_what_was_left_open_stays_so() -> None:
    assert render_host_config(create({}).host_config)["RestartPolicy"]["Name"] == ""
    named = create({"HostConfig": {"RestartPolicy": {"Name": "no"}}})
    assert render_host_config(named.host_config)["RestartPolicy"]["Name"] == "no"
    assert "Init" not in render_host_config(create({}).host_config)
    assert render_host_config(create({"HostConfig": {"Init": False}}).host_config)["Init"] is False


def test_memory_alone_gives_as_much_swap_again() -> None:
    limits = create({"HostConfig": {"Memory": 2**26, "PidsLimit": 0}}).host_config.resources
    assert (limits.memory_swap, limits.pids_limit) == (2**27, None)


def test_kernel_memory_went_with_1_42() -> None:
    host = create({}).host_config
    assert "KernelMemory" in render_host_config(host, (1, 41))
    assert "KernelMemory" not in render_host_config(host, (1, 42))


def test_links_are_shown_with_both_names() -> None:
    host = create({"HostConfig": {"Links": ["db:d", "web"]}}).host_config
    assert render_host_config(host, (1, 41), "me")["Links"] == ["/db:/me/d", "/web:/me/web"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"Runtime": "nonsense"}, "Unknown runtime specified nonsense"),
        ({"CgroupnsMode": "nonsense"}, "invalid cgroup namespace mode: nonsense"),
        ({"Isolation": "hyperv"}, "Invalid isolation: \"hyperv\" - linux only supports 'default'"),
        ({"StorageOpt": {"size": "1G"}}, "--storage-opt is supported only for overlay over xfs"),
    ],
)
def test_what_there_is_no_choice_of_is_refused(body: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        create({"HostConfig": body})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "invalid character 'o' in literal null (expecting 'u')"),
        ("{", "unexpected EOF"),
        ("tr", "unexpected EOF"),
        ('{"a": }', "invalid character '}' looking for beginning of value"),
        ("{a: 1}", "invalid character 'a' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key"),
    ],
)
def test_broken_json_is_told_as_go_tells_it(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_document(text.encode(), "X")
    assert caught.value.message == f"invalid JSON: {message}"
