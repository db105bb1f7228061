"""The API's description: valid, complete, and true of every answer, in every version."""

import json
import subprocess
import sys
from typing import Any

import pytest
from openapi_spec_validator import validate

from carrick.doors.api.describe import Description
from carrick.doors.api.describe.document import undescribed
from carrick.doors.api.routing import MAX_VERSION, Kind, Route
from carrick.doors.api.server import all_routes
from carrick.testing.exchanges import Exchange, ExchangeChecker, Undocumented

# Those in which something changes.
VERSIONS = ["1.24", "1.41", "1.42", "1.44", "1.45", "1.48"]
HEADERS = {
    "Content-Type": "application/json",
    "Api-Version": "1.48",
    "Server": "Carrick/0 (linux)",
    "Ostype": "linux",
    "Docker-Experimental": "false",
}
CONFIG = {
    "Image": "busybox",
    "Cmd": ["sleep"],
    "Env": ["A=b"],
    "Labels": {"a": "b"},
    "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
    "Volumes": {"/data": {}},
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9, "Retries": 2},
    "StopSignal": "SIGINT",
    "StopTimeout": 3,
    "HostConfig": {
        "Binds": ["/tmp:/tmp"],
        "PortBindings": {"80/tcp": [{"HostPort": "8080"}]},
        "Memory": 64 << 20,
        "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}],
        "Devices": [{"PathOnHost": "/dev/null"}],
        "Mounts": [
            {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 4096}},
            {"Type": "volume", "Target": "/v", "Source": "vol", "VolumeOptions": {"NoCopy": True}},
            {"Type": "bind", "Target": "/b", "Source": "/tmp", "ReadOnly": True},
        ],
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        "Annotations": {"x": "y"},
        "Sysctls": {"net.ipv4.ip_forward": "1"},
        "Tmpfs": {"/run": ""},
        "Init": True,
        "CapAdd": ["NET_ADMIN"],
        "Dns": ["192.0.2.1"],
    },
}


def test_the_document_is_valid_openapi() -> None:
    document = Description(all_routes(), "0").document(MAX_VERSION)
    validate(json.loads(json.dumps(document)))


def test_every_route_is_described_and_every_description_has_a_route() -> None:
    assert undescribed(all_routes()) == (set(), set())
    extra = Route("GET", "/new", all_routes()[0].handler, Kind.READ)
    assert undescribed((*all_routes(), extra)) == ({"GET /new"}, set())
    with pytest.raises(KeyError, match="GET /new"):
        Description((extra,), "0").document(MAX_VERSION)


def test_it_costs_the_start_nothing() -> None:
    code = (
        "import sys, carrick.daemon\n"
        "print(*[name for name in sys.modules if name.startswith('carrick.doors.api.describe.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


async def test_it_is_served(api: Any) -> None:
    newest = await api.get("/carrick/v1/openapi.json")
    assert (newest["openapi"], newest["info"]["version"]) == ("3.1.0", "1.48")
    old = await api.get("/v1.43/carrick/v1/openapi.json")
    assert old["info"]["version"] == "1.43"
    shown = [item["components"]["schemas"]["Network"]["properties"] for item in (newest, old)]
    assert ["EnableIPv4" in properties for properties in shown] == [True, False]


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_version_answers_as_described(api: Any, version: str, checker: ExchangeChecker) -> None:
    """An ordinary day; the fixture compares every answer with the document of the version."""

    async def do(method: str, path: str, body: Any = None, *, expected: int = 200, **options: Any) -> Any:
        reply = await api.call(method, f"/v{version}{path}", body, **options)
        assert reply.status == expected, (method, path, reply.body)
        return reply.document

    await do(
        "POST",
        "/networks/create",
        {"Name": "web", "IPAM": {"Config": [{"Subnet": "172.30.0.0/16"}]}},
        expected=201,
    )
    await do("POST", "/volumes/create", {"Name": "vol", "Labels": {"a": "b"}}, expected=201)
    networking = {"EndpointsConfig": {"web": {"Aliases": ["www"]}}}
    config = CONFIG | {"NetworkingConfig": networking}
    config["HostConfig"] = {**CONFIG["HostConfig"], "NetworkMode": "web"}  # type: ignore[dict-item]
    identifier = (await do("POST", "/containers/create?name=c1", config, expected=201))["Id"]
    await do("GET", f"/containers/{identifier}/json?size=1")
    await do("POST", "/containers/c1/start", expected=204)
    await do("GET", "/containers/c1/json")
    await do("GET", "/containers/json?all=1&size=1")
    await do("POST", "/networks/bridge/connect", {"Container": "c1"})
    await do("GET", "/containers/c1/json")
    await do("GET", "/networks/web?verbose=1")
    await do("GET", "/networks")
    exec_id = (await do("POST", "/containers/c1/exec", {"Cmd": ["echo", "x"]}, expected=201))["Id"]
    await do("GET", f"/exec/{exec_id}/json")
    await do("POST", f"/exec/{exec_id}/start", {"Detach": True})
    await do("GET", f"/exec/{exec_id}/json")
    await do("GET", "/containers/c1/stats?stream=0")
    await do("GET", "/containers/c1/top")
    await do("GET", "/containers/c1/changes")
    await do("POST", "/containers/c1/update", {"CpuShares": 5})
    await do("POST", "/containers/c1/pause", expected=204)
    await do("GET", "/containers/c1/json")
    await do("POST", "/containers/c1/unpause", expected=204)
    await do("GET", "/images/json")
    await do("GET", "/images/busybox/json")
    await do("GET", "/images/busybox/history")
    await do("GET", "/system/df")
    await do("GET", "/info")
    await do("GET", "/version")
    await do("GET", "/events?since=1&until=2")
    await do("GET", "/volumes")
    await do("GET", "/volumes/vol")
    await do("POST", "/containers/c1/stop", expected=204)
    await do("POST", "/containers/c1/wait")
    await do("GET", "/containers/c1/json")
    await do("DELETE", "/containers/c1?v=1&force=1", expected=204)
    await do("POST", "/containers/prune")
    await do("POST", "/networks/prune")
    await do("POST", "/volumes/prune")
    await do("GET", "/containers/c1/json", expected=404)
    assert checker.seen["GET /containers/{id}/json", 404]


async def _answer(api: Any, path: str) -> tuple[Exchange, Any]:
    reply = await api.call("GET", path)
    return Exchange("GET", path, reply.status, reply.headers, reply.body), reply.document


async def test_what_is_missing_or_too_much_is_found(api: Any, checker: ExchangeChecker) -> None:
    await api.run("sleep", name="c1")

    def refuse(path: str, document: Any, problem: str, **changes: Any) -> None:
        exchange = Exchange("GET", path, changes.pop("status", 200), HEADERS, json.dumps(document).encode())
        with pytest.raises(Undocumented, match=problem):
            checker.check(exchange)

    path = "/containers/c1/json"
    exchange, document = await _answer(api, path)
    checker.check(exchange)
    refuse(path, {key: document[key] for key in document if key != "Created"}, "'Created' is a required")
    refuse(path, document | {"Surprise": 1}, "Surprise")
    refuse(path, document | {"RestartCount": "0"}, "not of type 'integer'")
    refuse(path, document | {"State": document["State"] | {"Status": "well"}}, "'well' is not one of")
    refuse(path, document, "the status is not described", status=418)
    refuse("/nothing", document, "no such operation")
    refuse("/v1.43/networks", [(await api.get("/networks"))[0]], "EnableIPv4")


def test_requests_that_are_accepted_must_be_described(checker: ExchangeChecker) -> None:
    def check(body: Any, target: str = "/networks/create", status: int = 201) -> None:
        answer = json.dumps({"Id": "0" * 64, "Warning": ""} if status < 400 else {"message": "no"})
        sent = json.dumps(body).encode()
        checker.check(Exchange("POST", target, status, HEADERS, answer.encode(), sent))

    check({"Name": "web", "Labels": None, "unknown": 1})
    check({"Name": 5}, status=400)
    with pytest.raises(Undocumented, match=r"\$\.Name: 5 is not of type"):
        check({"Name": 5})
    with pytest.raises(Undocumented, match="undescribed parameters: fast"):
        check({"Name": "web"}, "/networks/create?fast=1")
