"""Lists of containers: entries and filters."""

import json
from urllib.parse import quote

from ..client import Client


def entries(client: Client) -> None:
    client.get("/containers/json", note="empty")
    client.quiet("POST", "/containers/create?name=made", {"Image": "busybox", "Cmd": ["echo", "a b", "c'd"]})
    client.get("/containers/json?all=1")
    client.run("ended", "sh", "-c", "exit 2")
    client.wait_ended("ended")
    client.get("/containers/json?all=1")
    client.run(
        "ports",
        ExposedPorts={"80/tcp": {}, "90/udp": {}, "70/tcp": {}},
        Labels={"a": "b"},
        HostConfig={
            "PortBindings": {
                "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18080"}],
                "70/tcp": [{"HostPort": "18070"}],
            },
            "Binds": ["vol:/data", "/srv:/t:ro"],
        },
    )
    client.get("/containers/json")
    client.get("/containers/json", version="/v1.24")
    client.get("/containers/json?size=1")
    client.get("/containers/json?all=1&limit=1")
    client.get("/containers/json?limit=2")
    client.get("/containers/json?limit=0")
    client.get("/containers/json?limit=-1")
    client.get("/containers/ports/json")
    client.run("fancyone", **{"Image": "fancy", "Cmd": ["sleep 1d"]})
    client.get("/containers/json?limit=1")
    client.get("/containers/fancyone/json")


def by_image(client: Client) -> None:
    identifier = client.quiet("GET", "/images/busybox/json").json["Id"]
    for name, image in (
        ("i1", "busybox"),
        ("i2", "busybox:latest"),
        ("i3", identifier),
        ("i4", identifier[7:19]),
    ):
        client.quiet("POST", f"/containers/create?name={name}", {"Image": image})
        client.get("/containers/json?all=1&limit=1", note=name)


def filters(client: Client) -> None:
    client.quiet("POST", "/networks/create", {"Name": "fnet"})
    client.run(
        "f-run",
        Labels={"a": "1", "b": "2"},
        ExposedPorts={"80/tcp": {}},
        HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "18090"}]}, "NetworkMode": "fnet"},
    )
    client.run("f-end", "sh", "-c", "exit 4", Labels={"a": "2"})
    client.wait_ended("f-end")
    client.quiet(
        "POST", "/containers/create?name=f-made", {"Image": "fancy", "HostConfig": {"Binds": ["fv:/x"]}}
    )
    client.run("f-pause")
    client.quiet("POST", "/containers/f-pause/pause")
    identifier = client.quiet("GET", "/containers/f-run/json").json["Id"]
    for wanted in (
        {"status": ["running"]},
        {"status": ["exited"]},
        {"status": ["created"]},
        {"status": ["paused"]},
        {"status": ["exited", "created"]},
        {"status": ["nonsense"]},
        {"status": ["dead"]},
        {"name": ["f-run"]},
        {"name": ["f-"]},
        {"name": ["^/f-e"]},
        {"name": ["^f-e"]},
        {"name": ["["]},
        {"name": ["/f-run"]},
        {"name": ["none"]},
        {"label": ["a"]},
        {"label": ["a=1"]},
        {"label": ["a=1", "b=2"]},
        {"label": ["a=2", "b=2"]},
        {"label": ["c"]},
        {"exited": ["4"]},
        {"exited": ["0"]},
        {"exited": ["x"]},
        {"id": [identifier]},
        {"id": [identifier[:12]]},
        {"id": ["zz"]},
        {"ancestor": ["busybox"]},
        {"ancestor": ["busybox:latest"]},
        {"ancestor": ["fancy"]},
        {"ancestor": ["none"]},
        {"before": ["f-made"]},
        {"since": ["f-run"]},
        {"since": ["nobody"]},
        {"before": ["nobody"]},
        {"volume": ["fv"]},
        {"volume": ["/x"]},
        {"volume": ["none"]},
        {"network": ["fnet"]},
        {"network": ["bridge"]},
        {"network": ["none"]},
        {"publish": ["80"]},
        {"publish": ["18090"]},
        {"publish": ["18090/tcp"]},
        {"publish": ["18000-19000"]},
        {"publish": ["x"]},
        {"expose": ["80"]},
        {"expose": ["80/tcp"]},
        {"expose": ["80/udp"]},
        {"expose": ["x"]},
        {"health": ["none"]},
        {"health": ["starting"]},
        {"health": ["nonsense"]},
        {"is-task": ["true"]},
        {"is-task": ["false"]},
        {"is-task": ["x"]},
        {"isolation": ["default"]},
        {"status": ["running"], "label": ["a"]},
        {"name": {"f-run": True}},
        {"name": {"f-run": False}},
    ):
        path = f"/containers/json?all=1&filters={quote(json.dumps(wanted))}"
        client.get(path, note=json.dumps(wanted))
    client.get(f"/containers/json?filters={quote(json.dumps({'status': ['exited']}))}", note="without all")
