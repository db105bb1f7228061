"""Requests and answers over a real socket: routing, versions, every endpoint's main path."""

import asyncio
import json
import os
import stat
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest

from carrick.doors.api import ApiServer
from carrick.doors.api.server import open_socket
from carrick.host.runtime.image_store import RegistryAuth
from carrick.model.errors import Conflict, InvalidRequest
from carrick.testing.fake_engine import IMAGE_ID, FakeEngine

# --- the socket


async def test_the_socket_is_for_its_group_only(api: Any) -> None:
    assert stat.S_IMODE(api.path.stat().st_mode) == 0o660


async def test_a_stale_socket_is_replaced_and_a_used_one_is_not(socket_path: Path) -> None:
    open_socket(socket_path, "").close()  # nobody listens any more, the file is still there
    server = ApiServer(FakeEngine(), socket_path)
    await server.start()
    with pytest.raises(Conflict, match="another daemon listens"):
        await ApiServer(FakeEngine(), socket_path).start()
    await server.stop()
    assert not socket_path.exists()
    assert not list(socket_path.parent.iterdir())


async def test_what_is_no_socket_is_left_alone(socket_path: Path) -> None:
    socket_path.write_text("precious")
    with pytest.raises(Conflict, match="not a socket"):
        await ApiServer(FakeEngine(), socket_path).start()
    assert socket_path.read_text() == "precious"


def test_an_unknown_group_and_a_long_path_are_refused(socket_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no such group: nobody-has-this"):
        open_socket(socket_path, "nobody-has-this")
    with pytest.raises(InvalidRequest, match="longer than"):
        open_socket(socket_path.with_name("x" * 99), "")


async def test_another_daemons_socket_is_not_removed(socket_path: Path) -> None:
    server = ApiServer(FakeEngine(), socket_path)
    await server.start()
    open_socket(socket_path.with_name("other"), "").close()
    socket_path.with_name("other").replace(socket_path)
    await server.stop()
    assert socket_path.exists()


# --- ping, versions, paths


async def test_ping(api: Any) -> None:
    for method, body in (("GET", b"OK"), ("HEAD", b"")):
        reply = await api.call(method, "/_ping")
        assert (reply.status, reply.body) == (200, body)
        assert reply.headers["Api-Version"] == "1.48"
        assert reply.headers["Server"].startswith("Carrick/")
        assert reply.headers["Swarm"] == "inactive"
        assert reply.headers["Builder-Version"] == ""
        assert reply.headers["Pragma"] == "no-cache"


@pytest.mark.parametrize(
    ("version", "status", "message"),
    [
        ("1.48", 200, ""),
        ("1.24", 200, ""),
        (
            "1.23",
            400,
            "client version 1.23 is too old. Minimum supported API version is 1.24, "
            "please upgrade your client to a newer version",
        ),
        ("1.49", 400, "client version 1.49 is too new. Maximum supported API version is 1.48"),
        ("..", 404, "page not found"),
    ],
)
async def test_versions(api: Any, version: str, status: int, message: str) -> None:
    reply = await api.call("GET", f"/v{version}/containers/json")
    assert reply.status == status
    if message:
        assert reply.document == {"message": message}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/nothing"), ("PATCH", "/containers/json"), ("GET", "/containers/create")],
)
async def test_unknown_paths(api: Any, method: str, path: str) -> None:
    reply = await api.call(method, path)
    assert (reply.status, reply.document) == (404, {"message": "page not found"})


async def test_documents_must_be_json_and_say_so(api: Any) -> None:
    async def post(data: bytes, kind: str = "application/json") -> tuple[int, str]:
        reply = await api.call("POST", "/networks/create", data=data, headers={"Content-Type": kind})
        return reply.status, reply.document["message"]

    assert await post(b"{}", "text/plain") == (
        400,
        "unsupported Content-Type header (text/plain): must be 'application/json'",
    )
    assert await post(b'{"Name":"x"}{}') == (400, "unexpected content after JSON")
    assert await post(b" ") == (400, "invalid JSON: got EOF while reading request body")
    assert await post(b" " * (1024 * 1024 + 1)) == (400, "the request's body is larger than 1048576 bytes")
    assert [item["Name"] for item in await api.get("/networks")][:3] == ["bridge", "host", "none"]


# --- containers


async def test_a_containers_life(api: Any) -> None:
    identifier = await api.create("sleep", "9", name="web")
    for action, status in (
        ("start", 204),
        ("start", 304),
        ("pause", 204),
        ("unpause", 204),
        ("restart?t=1", 204),
        ("resize?h=24&w=80", 200),
        ("rename?name=shop", 204),
        ("stop?t=3&signal=SIGINT", 204),
        ("stop", 304),
        ("kill", 409),
    ):
        reply = await api.call("POST", f"/containers/{identifier}/{action}")
        assert (action, reply.status) == (action, status), reply.body
        if status == 304:
            assert reply.body == b""
    assert "stop t=3 signal=SIGINT" in api.engine.journal
    assert (await api.get("/containers/shop/json"))["State"]["ExitCode"] == 143
    assert (await api.call("DELETE", "/containers/shop?v=1")).status == 204
    assert (await api.call("GET", "/containers/shop/json")).document == {"message": "No such container: shop"}


async def test_creation_that_fails(api: Any) -> None:
    reply = await api.call("POST", "/containers/create", {"Image": "nope"})
    assert (reply.status, reply.document["message"]) == (404, "No such image: nope:latest")
    await api.create(name="web")
    reply = await api.call("POST", "/containers/create?name=web", {"Image": "busybox"})
    assert reply.status == 409


async def test_a_command_that_cannot_start_is_a_bad_request(api: Any) -> None:
    identifier = await api.create("nosuch")
    reply = await api.call("POST", f"/containers/{identifier}/start")
    assert (reply.status, "executable file not found" in reply.document["message"]) == (400, True)


async def test_lists(api: Any) -> None:
    await api.run("sleep", name="one")
    await api.create(name="two")
    names = [entry["Names"] for entry in await api.get("/containers/json")]
    assert names == [["/one"]]
    everything = await api.get("/containers/json?all=1&size=true")
    assert [entry["Names"][0] for entry in everything] == ["/two", "/one"]
    assert everything[0]["SizeRw"] == 1234
    assert len(await api.get('/containers/json?all=1&filters={"name":{"two":true}}')) == 1
    reply = await api.call("GET", '/containers/json?filters={"x":["y"]}')
    assert (reply.status, reply.document["message"]) == (400, "invalid filter 'x'")
    assert (await api.call("GET", "/containers/json?limit=x")).status == 400


async def test_looking_into_a_container(api: Any) -> None:
    identifier = await api.run("sleep")
    assert (await api.get(f"/containers/{identifier}/top"))["Titles"] == ["UID", "PID", "CMD"]
    assert (await api.get(f"/containers/{identifier}/changes"))[1] == {"Path": "/etc/new", "Kind": 1}
    reply = await api.call("GET", f"/containers/{identifier}/export")
    assert len(reply.body) == 7000
    reply = await api.call("POST", f"/containers/{identifier}/update", {"Memory": 64 << 20})
    assert (reply.status, reply.document) == (200, {"Warnings": None})
    reply = await api.call("POST", "/containers/prune")
    assert reply.document == {"ContainersDeleted": None, "SpaceReclaimed": 0}


async def test_waiting_sends_headers_at_once(api: Any) -> None:
    identifier = await api.create("exit", "7")
    async with api.session.post(f"http://x/containers/{identifier}/wait?condition=next-exit") as response:
        await api.call("POST", f"/containers/{identifier}/start")
        assert json.loads(await response.read()) == {"StatusCode": 7}
    reply = await api.call("POST", f"/containers/{identifier}/wait?condition=never")
    assert (reply.status, reply.document["message"]) == (400, 'invalid condition: "never"')
    assert (await api.call("POST", "/containers/nope/wait")).status == 404


async def test_statistics_once_and_as_a_stream(api: Any) -> None:
    identifier = await api.run("sleep")
    once = await api.get(f"/containers/{identifier}/stats?stream=false")
    assert (
        once["cpu_stats"]["cpu_usage"]["total_usage"] > once["precpu_stats"]["cpu_usage"]["total_usage"] > 0
    )
    shot = await api.get(f"/containers/{identifier}/stats?stream=0&one-shot=1")
    assert shot["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    async with api.session.get(f"http://x/containers/{identifier}/stats") as response:
        samples = [json.loads(await response.content.readline()) for _ in range(3)]
    assert samples[1]["preread"] == samples[0]["read"]


async def test_files_in_and_out(api: Any) -> None:
    identifier = await api.create()
    path = f"/containers/{identifier}/archive?path=/etc/hosts"
    content = os.urandom(3_000_000)
    assert (await api.call("PUT", path, data=content)).status == 200
    reply = await api.call("GET", path)
    assert reply.body == content
    assert reply.headers["Content-Type"] == "application/x-tar"
    head = await api.call("HEAD", path)
    assert head.headers["X-Docker-Container-Path-Stat"] == reply.headers["X-Docker-Container-Path-Stat"]
    assert (await api.call("GET", f"/containers/{identifier}/archive?path=/no")).status == 404
    reply = await api.call("GET", f"/containers/{identifier}/archive")
    assert reply.document["message"] == "bad parameter: 'path' cannot be empty"


# --- logs


def frames(body: bytes) -> list[tuple[int, bytes]]:
    found = []
    while body:
        length = int.from_bytes(body[4:8], "big")
        found.append((body[0], body[8 : 8 + length]))
        body = body[8 + length :]
    return found


async def test_logs(api: Any) -> None:
    identifier = await api.run("echo", "hello")
    await asyncio.sleep(0.02)
    path = f"/containers/{identifier}/logs"
    reply = await api.call("GET", f"{path}?stdout=1&stderr=1")
    assert reply.headers["Content-Type"] == "application/vnd.docker.multiplexed-stream"
    assert frames(reply.body) == [(1, b"hello\n")]
    stamped = frames((await api.call("GET", f"{path}?stdout=1&timestamps=1&tail=1")).body)[0][1]
    assert stamped.endswith(b"Z hello\n")
    assert (await api.call("GET", f"{path}?stderr=1")).body == b""
    reply = await api.call("GET", path)
    assert reply.document["message"] == "Bad parameters: you must choose at least one stream"
    old = await api.call("GET", f"/v1.41{path}?stdout=1")
    assert old.headers["Content-Type"] == "application/vnd.docker.raw-stream"


async def test_logs_are_followed_until_the_end(api: Any) -> None:
    identifier = await api.run("cat", OpenStdin=True)
    process = api.engine.containers.processes[identifier]
    async with api.session.get(f"http://x/containers/{identifier}/logs?follow=1&stdout=1") as response:
        process.write_stdin(b"one\n")
        assert frames(await response.content.readexactly(12)) == [(1, b"one\n")]
        process.close_stdin()
        assert await response.read() == b""


async def test_logs_of_a_terminal_are_raw_and_details_name_labels(api: Any) -> None:
    identifier = await api.run(
        "echo", "hi", Tty=True, Labels={"a": "1"}, HostConfig={"LogConfig": {"Config": {"labels": "a,b"}}}
    )
    await asyncio.sleep(0.02)
    reply = await api.call("GET", f"/containers/{identifier}/logs?stdout=1&details=1")
    assert reply.body == b"a=1 hi\r\n"


# --- networks


async def test_networks(api: Any) -> None:
    body = {"Name": "web", "Labels": {"a": "b"}}
    created = await api.call("POST", "/networks/create", body)
    assert (created.status, created.document["Warning"]) == (201, "")
    assert (await api.call("POST", "/networks/create", body)).document == {
        "message": "network with name web already exists"
    }
    identifier = await api.run("sleep", name="c1")
    connect = {"Container": "c1", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "172.20.0.9"}}}
    assert (await api.call("POST", "/networks/web/connect", connect)).status == 200
    assert (await api.call("POST", "/networks/web/connect", connect)).status == 403
    shown = await api.get("/networks/web")
    assert shown["Containers"][identifier]["IPv4Address"] == "172.20.0.9/16"
    assert (await api.get("/networks/web?verbose=1"))["Status"]["IPAM"]["Subnets"]
    assert (await api.call("POST", "/networks/web/disconnect", {"Container": "c1"})).status == 200
    assert (await api.call("POST", "/networks/web/disconnect", {"Container": "c1"})).status == 500
    assert (await api.call("DELETE", "/networks/bridge")).status == 403
    assert (await api.call("POST", "/networks/prune")).document == {"NetworksDeleted": ["web"]}
    assert [item["Name"] for item in await api.get('/networks/?filters={"name":["host"]}')] == ["host"]


async def test_a_plan_changes_nothing(api: Any) -> None:
    reply = await api.call("POST", "/carrick/v1/networks/plan", {"Name": "web"})
    assert reply.document["steps"][0]["description"].startswith("ip link add br-fake")
    assert reply.document["notes"] == ["172.18.0.0/16 is free"]
    assert len(await api.get("/networks")) == 3


# --- images


async def test_images(api: Any) -> None:
    assert (await api.get("/images/json"))[0]["Id"] == IMAGE_ID
    assert (await api.get("/images/busybox:latest/json"))["Config"]["Cmd"] == ["sh"]
    assert (await api.get("/images/busybox/history"))[0]["CreatedBy"] == "ADD file"
    assert (await api.call("POST", "/images/busybox/tag?repo=localhost:5000/a/b&tag=1")).status == 201
    assert (await api.get("/images/localhost:5000/a/b:1/json"))["Id"] == IMAGE_ID
    assert (await api.call("GET", "/images/get?names=busybox&names=localhost:5000/a/b:1")).body == (
        b"tar of busybox,localhost:5000/a/b:1"
    )
    assert (await api.call("GET", "/images/nope/get")).status == 404
    assert (await api.call("DELETE", "/images/localhost:5000/a/b:1")).document[0] == {
        "Untagged": "localhost:5000/a/b:1"
    }
    assert (await api.call("POST", "/images/prune")).document == {"ImagesDeleted": None, "SpaceReclaimed": 0}


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


async def test_a_pull_streams_its_progress(api: Any) -> None:
    auth = "eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6ImIifQ"  # {"username":"a","password":"b"}
    reply = await api.call("POST", "/images/create?fromImage=alpine&tag=3", headers={"X-Registry-Auth": auth})
    told = lines(reply.body)
    assert told[0] == {"status": "Pulling from alpine:3"}
    assert {"id", "progressDetail", "progress"} < told[-2].keys()
    assert told[-1]["status"].startswith("Status: Downloaded")
    assert (api.engine.images.auth.username, api.engine.images.auth.password) == ("a", "b")


async def test_a_pull_that_fails_early_and_one_that_fails_late(api: Any) -> None:
    early = await api.call("POST", "/images/create?fromImage=missing&tag=latest")
    assert early.status == 404
    late = await api.call("POST", "/images/create?fromImage=broken&tag=latest")
    assert late.status == 200
    assert lines(late.body)[-1]["errorDetail"]["message"] == "unexpected EOF while reading a layer"
    assert (await api.call("POST", "/images/create")).status == 400


async def test_load_and_import(api: Any) -> None:
    reply = await api.call("POST", "/images/load?quiet=1", data=b"x" * 2_000_000)
    assert lines(reply.body) == [{"stream": "Loaded image: loaded:latest\n"}]
    assert (await api.call("POST", "/images/load", data=b"garbage")).status == 400
    reply = await api.call("POST", "/images/create?fromSrc=-&repo=imp&tag=1", data=b"tar")
    assert lines(reply.body)[0]["status"].startswith("sha256:")


async def test_commit(api: Any) -> None:
    await api.run("sleep", name="c1")
    reply = await api.call("POST", "/commit?container=c1&repo=me&tag=2&pause=0&changes=CMD%20a%0AENV%20b=c")
    assert reply.status == 201
    assert api.engine.journal[-1] == "commit c1 me:2 pause=False ('CMD a', 'ENV b=c')"


# --- the rest


async def test_volumes(api: Any) -> None:
    body = {"Name": "vol", "Labels": {"a": "b"}}
    assert (await api.call("POST", "/volumes/create", body)).document["Mountpoint"].endswith("/vol/_data")
    assert (await api.get("/volumes"))["Volumes"][0]["Labels"] == {"a": "b"}
    assert (await api.get("/volumes/vol"))["Driver"] == "local"
    assert (await api.call("DELETE", "/volumes/vol")).status == 204
    assert (await api.call("DELETE", "/volumes/vol")).document == {"message": "get vol: no such volume"}
    assert (await api.call("POST", "/volumes/prune")).document["VolumesDeleted"] == []


async def test_events_past_and_to_come(api: Any) -> None:
    await api.create(name="before")
    async with api.session.get("http://x/events?since=1") as response:
        first = json.loads(await response.content.readline())
        assert (first["Action"], first["Actor"]["Attributes"]["name"]) == ("create", "before")
        await api.create(name="after")
        assert json.loads(await response.content.readline())["Actor"]["Attributes"]["name"] == "after"
    reply = await api.call("GET", '/events?filters={"x":["y"]}')
    assert (reply.status, reply.document["message"]) == (400, "invalid filter 'x'")
    assert (await api.call("GET", "/events?since=1&until=2")).body == b""
    assert (await api.call("GET", "/events?since=2&until=1")).status == 400


async def test_version_info_and_disk_usage(api: Any) -> None:
    await api.run("sleep")
    version = await api.get("/version")
    assert (version["ApiVersion"], version["MinAPIVersion"], version["Arch"]) == ("1.48", "1.24", "amd64")
    info = await api.get("/info")
    assert (info["ContainersRunning"], info["Images"], info["OSType"]) == (1, 1, "linux")
    usage = await api.get("/system/df")
    assert usage["Images"][0]["Containers"] == 1
    assert usage["LayersSize"] == usage["Images"][0]["Size"]
    assert (await api.get("/system/df?type=volume"))["Images"] is None
    assert (await api.call("GET", "/system/df?type=x")).status == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/swarm", 503),
        ("GET", "/services", 503),
        ("GET", "/nodes/x", 503),
        ("POST", "/swarm/leave", 503),
        ("POST", "/swarm/init", 501),
        ("POST", "/build", 501),
        ("POST", "/session", 501),
        ("GET", "/plugins", 200),
    ],
)
async def test_what_is_not_served(api: Any, method: str, path: str, status: int) -> None:
    assert (await api.call(method, path)).status == status


async def test_login(api: Any) -> None:
    good = {"username": "a", "password": "b", "serveraddress": "reg:1"}
    reply = await api.call("POST", "/auth", good)
    assert (reply.status, reply.document) == (200, {"Status": "Login Succeeded", "IdentityToken": ""})
    reply = await api.call("POST", "/auth", good | {"username": "token-user"})
    assert reply.document["IdentityToken"] == "token"
    reply = await api.call("POST", "/auth", good | {"password": "wrong"})
    assert reply.status == 401
    assert reply.document["message"].endswith("failed with status: 401 Unauthorized")


async def test_push(api: Any) -> None:
    header = urlsafe_b64encode(b'{"username": "me", "password": "it"}').decode()
    headers = {"X-Registry-Auth": header}
    reply = await api.call("POST", "/images/busybox/push?tag=latest", headers=headers)
    lines = [json.loads(line) for line in reply.body.splitlines()]
    assert lines[0] == {"status": "The push refers to repository [docker.io/library/busybox:latest]"}
    assert lines[1] == {"status": "Preparing", "progressDetail": {}, "id": "111111111111"}
    assert lines[2]["progressDetail"] == {"current": 1000, "total": 1000}
    assert lines[-2]["status"].startswith("latest: digest: sha256:")
    assert lines[-1]["aux"]["Tag"] == "latest"
    assert api.engine.images.auth == RegistryAuth("me", "it")


async def test_search_and_distribution(api: Any) -> None:
    assert await api.get("/images/search?term=busybox&limit=1") == [
        {
            "star_count": 3000,
            "is_official": True,
            "name": "busybox",
            "is_automated": False,
            "description": "A small box.",
        }
    ]
    found = await api.get("/distribution/some/image/json")
    assert found["Descriptor"]["size"] == 1234
    assert found["Platforms"] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm", "os": "linux", "variant": "v7"},
    ]
    assert (await api.call("GET", "/distribution/missing/json")).status == 404


async def test_import_from_a_url(api: Any) -> None:
    reply = await api.call("POST", "/images/create?fromSrc=http://host/x.tar&repo=imp&tag=1")
    lines = [json.loads(line) for line in reply.body.splitlines()]
    assert lines[0] == {"status": "Downloading from http://host/x.tar"}
    assert lines[1]["status"].startswith("sha256:")


async def test_ports_of_a_running_container(api: Any) -> None:
    identifier = await api.run("sleep", name="c1")
    body = {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}}
    assert (await api.call("POST", "/carrick/v1/containers/c1/ports", body)).status == 204
    ports = (await api.get(f"/containers/{identifier}/json"))["NetworkSettings"]["Ports"]
    assert ports == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}
    assert (await api.call("POST", "/carrick/v1/containers/c1/ports/remove", body)).status == 204
    assert (await api.call("POST", "/carrick/v1/containers/c1/ports", {})).status == 400


async def test_doctor(api: Any) -> None:
    assert (await api.get("/carrick/v1/doctor"))["findings"][0]["level"] == "warning"
    assert (await api.call("POST", "/carrick/v1/doctor/fix")).document["findings"][0]["level"] == "ok"
