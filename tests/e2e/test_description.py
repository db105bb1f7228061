"""The API's description against the real daemon: an ordinary day, every answer of it compared.

The description is strict (no key too few, none too many), so that this fails when either of the two changes
alone. Several versions are spoken, as they differ.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from carrick.testing.daemon import Daemon, eventually
from carrick.testing.exchanges import CheckedApi

VERSIONS = ["1.24", "1.41", "1.44", "1.48"]
# What the day leaves out, and why.
UNTOLD = {
    "POST /auth": "asks a registry",
    "GET /images/search": "asks a registry",
    "GET /distribution/{name}/json": "asks a registry",
    "POST /images/{name}/push": "asks a registry",
    "POST /containers/{id}/attach": "no plain exchange",
    "GET /containers/{id}/attach/ws": "no plain exchange",
    "POST /carrick/v1/doctor/fix": "changes the host",
}
# A cluster's day needs several hosts: its own tests have them.
CLUSTER = (
    *("/carrick/v1/cluster", "/carrick/v1/nodes", "/carrick/v1/peers"),
    *("/carrick/v1/lent", "/carrick/v1/networks/flannel"),
)
CONFIG = {
    "Image": "exposing",
    "Cmd": ["sleep", "1d"],
    "Env": ["A=b"],
    "Labels": {"a": "b"},
    "Volumes": {"/data": {}},
    "StopSignal": "SIGKILL",
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9},
    "HostConfig": {
        "NetworkMode": "day",
        "Binds": ["named:/named"],
        "PortBindings": {"80/tcp": [{"HostPort": ""}]},
        "Memory": 64 << 20,
        "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
        "Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20}}],
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        "CapAdd": ["NET_ADMIN"],
        "Dns": ["192.0.2.1"],
        "Init": False,
    },
    "NetworkingConfig": {"EndpointsConfig": {"day": {"Aliases": ["www"]}}},
}


@pytest.fixture(scope="module")
def checked(host: Daemon) -> CheckedApi:
    return CheckedApi(host.socket)


@pytest.fixture(scope="module", autouse=True)
def whole_day(checked: CheckedApi) -> Iterator[None]:
    """Nearly every operation must have been part of the day."""
    yield
    document = checked.get("/carrick/v1/openapi.json").json
    served = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
        if "{rest}" not in path and not path.startswith(CLUSTER)
    }
    missing = served - {key for key, _ in checked.checker.seen} - UNTOLD.keys()
    assert not missing, f"no part of the day: {sorted(missing)}"


class Day:
    """Calls in one version, each of which must have one of some statuses."""

    def __init__(self, api: CheckedApi, version: str) -> None:
        self._api = api
        self._version = version

    def do(self, method: str, path: str, body: Any = None, *expected: int, raw: bytes | None = None) -> Any:
        reply = self._api.call(method, f"/v{self._version}{path}", body, raw=raw)
        assert reply.status in (expected or (200, 201, 204)), (method, path, reply)
        is_json = reply.headers.get("Content-Type") == "application/json"
        return json.loads(reply.body) if is_json and reply.body.count(b"\n") == 1 else reply.body


@pytest.mark.parametrize("version", VERSIONS)
def test_a_day(daemon: Daemon, checked: CheckedApi, version: str) -> None:
    do = Day(checked, version).do
    own = ("/carrick/v1/openapi.json", "/carrick/v1/doctor", "/carrick/v1/guests")
    for path in ("/_ping", "/version", "/info", "/plugins", *own):
        do("GET", path)
    do("HEAD", "/_ping")
    do("POST", "/carrick/v1/guests/prune")
    pool = {"Subnet": "10.77.0.0/24", "Gateway": "10.77.0.1", "IPRange": "10.77.0.128/25"}
    network = {"Name": "day", "IPAM": {"Config": [pool]}, "Labels": {"a": "b"}, "Options": {}}
    do("POST", "/carrick/v1/networks/plan", network)
    do("POST", "/networks/create", network)
    do("POST", "/networks/create", network, 409)
    do("POST", "/volumes/create", {"Name": "named", "Labels": {"a": "b"}})
    do("GET", "/volumes/named")
    do("GET", "/images/json")
    do("GET", "/images/exposing/json")
    do("GET", "/images/exposing/history")
    container = do("POST", "/containers/create?name=box", CONFIG)["Id"]
    do("POST", "/containers/create?name=box", CONFIG, 409)
    do("GET", "/containers/box/json")
    do("GET", "/containers/json?all=1")
    do("POST", "/containers/box/start")
    do("POST", "/containers/box/start", None, 304)
    eventually(
        lambda: do("GET", "/containers/box/json")["State"].get("Health", {}).get("Status") != "starting"
    )
    running(do, container)
    do("POST", "/networks/bridge/connect", {"Container": "box", "EndpointConfig": {}})
    do("GET", f"/containers/{container}/json?size=1")
    do("GET", "/networks/day?verbose=1")
    do("GET", "/networks")
    do("GET", "/networks/")
    do("GET", "/containers/json?size=1")
    do("POST", "/networks/bridge/disconnect", {"Container": "box"})
    files(do)
    processes(do)
    do("POST", "/containers/box/stop?t=1")
    do("POST", "/containers/box/stop", None, 304)
    do("POST", "/containers/box/wait")
    do("GET", "/containers/box/json")
    do("GET", "/containers/box/stats?stream=0")
    do("GET", "/events?since=1&until=1")
    do("GET", "/system/df")
    do("DELETE", "/networks/day", None, 204, 403, 409)
    images(do)
    do("DELETE", "/containers/box?v=1")
    do("GET", "/containers/box/json", None, 404)
    do("POST", "/containers/prune")
    do("POST", "/networks/prune")
    do("POST", "/volumes/prune")
    do("DELETE", "/volumes/named?force=1", None, 204, 404)
    do("GET", "/volumes")
    refused(do)


def running(do: Any, container: str) -> None:
    """What can be asked of a container that runs."""
    do("GET", f"/containers/{container}/top")
    do("GET", f"/containers/{container}/stats?stream=0&one-shot=1")
    do("GET", f"/containers/{container}/logs?stdout=1&stderr=1&tail=5")
    do("POST", f"/containers/{container}/update", {"CpuShares": 512})
    do("POST", f"/containers/{container}/pause")
    do("GET", "/containers/json")
    do("POST", f"/containers/{container}/unpause")
    do("POST", f"/containers/{container}/resize?h=24&w=80", None, 200, 409, 500)
    ports = {"PortBindings": {"81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18081"}]}}
    do("POST", f"/carrick/v1/containers/{container}/ports", ports)
    do("GET", f"/containers/{container}/json")
    do("POST", f"/carrick/v1/containers/{container}/ports/remove", ports)
    do("POST", f"/containers/{container}/rename?name=case")
    do("POST", f"/containers/{container}/rename?name=box")
    do("POST", f"/containers/{container}/restart?t=1")
    do("POST", f"/containers/{container}/kill?signal=USR1")


def files(do: Any) -> None:
    archive = do("GET", "/containers/box/archive?path=/etc/hosts")
    do("PUT", "/containers/box/archive?path=/tmp", None, 200, raw=archive)
    do("HEAD", "/containers/box/archive?path=/tmp")
    do("GET", "/containers/box/archive?path=/nothing", None, 404)
    do("GET", "/containers/box/changes")
    do("GET", "/containers/box/export")


def processes(do: Any) -> None:
    body = {"Cmd": ["echo", "hi"], "AttachStdout": True, "Env": ["X=y"], "WorkingDir": "/tmp"}
    made = do("POST", "/containers/box/exec", body)["Id"]
    do("GET", f"/exec/{made}/json")
    do("POST", f"/exec/{made}/start", {"Detach": False})
    do("GET", f"/exec/{made}/json")
    do("POST", f"/exec/{made}/resize?h=1&w=1", None, 200, 404, 409, 500)
    do("GET", "/exec/nothing/json", None, 404)


def images(do: Any) -> None:
    do("POST", "/commit?container=box&repo=day&tag=one&comment=x")
    do("POST", "/images/day:one/tag?repo=night&tag=two")
    do("GET", "/images/get?names=night:two")
    archive = do("GET", "/images/night:two/get")
    do("POST", "/images/load", None, 200, raw=archive)
    do("POST", "/images/create?fromSrc=-&repo=imported", None, 200, raw=do("GET", "/containers/box/export"))
    for name in ("imported", "night:two", "day:one"):
        do("DELETE", f"/images/{name}?force=1")
    do("POST", "/images/prune")
    do("POST", "/build/prune")
    do("GET", "/images/nothing/json", None, 404)


def refused(do: Any) -> None:
    do("GET", "/plugins/x/json", None, 404)
    for path in ("/build", "/session", "/grpc", "/swarm/init", "/swarm/join"):
        do("POST", path, {}, 501, 503)
    for path in ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs", "/swarm/unlockkey"):
        do("GET", path, None, 503)
    for path in ("/swarm/leave", "/swarm/update", "/swarm/unlock"):
        do("POST", path, {}, 503)
