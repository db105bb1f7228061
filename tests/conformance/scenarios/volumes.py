"""Volumes: creation, lists, inspection, removal, prune, anonymous ones, copying up."""

import json
from urllib.parse import quote

from ..client import Client


def creation(client: Client) -> None:
    client.get("/volumes", note="empty")
    for note, body in {
        "named": {"Name": "v1"},
        "again": {"Name": "v1"},
        "labels": {"Name": "v2", "Labels": {"a": "b"}, "Driver": "local"},
        "empty maps": {"Name": "v3", "Labels": {}, "DriverOpts": {}},
        "anonymous": {},
        "tmpfs": {"Name": "v4", "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}},
        "bind": {"Name": "v5", "DriverOpts": {"type": "none", "device": "/tmp", "o": "bind"}},
        "short name": {"Name": "v"},
        "bad name": {"Name": "a b"},
        "slash": {"Name": "a/b"},
        "dash": {"Name": "-a"},
        "driver": {"Name": "v6", "Driver": "nonsense"},
        "option": {"Name": "v7", "DriverOpts": {"nonsense": "x"}},
        "option missing": {"Name": "v8", "DriverOpts": {"o": "bind", "type": "none"}},
    }.items():
        client.post("/volumes/create", body, note=note)
    for name in ("v1", "v2", "v3", "v4", "v5"):
        client.get(f"/volumes/{name}")
    client.get("/volumes")


def lists(client: Client) -> None:
    client.quiet("POST", "/volumes/create", {"Name": "used", "Labels": {"a": "1"}})
    client.quiet("POST", "/volumes/create", {"Name": "unused"})
    client.run("user", HostConfig={"Binds": ["used:/data"]})
    for wanted in (
        {"dangling": ["true"]},
        {"dangling": ["false"]},
        {"dangling": ["x"]},
        {"name": ["use"]},
        {"name": ["^un"]},
        {"label": ["a"]},
        {"label": ["a=2"]},
        {"driver": ["local"]},
        {"driver": ["x"]},
        {"nonsense": ["x"]},
    ):
        client.get(f"/volumes?filters={quote(json.dumps(wanted))}", note=json.dumps(wanted))
    client.delete("/volumes/used", note="in use")
    client.delete("/volumes/used?force=1", note="in use")
    client.delete("/volumes/unused")
    client.delete("/volumes/unused", note="again")
    client.quiet("DELETE", "/containers/user?force=1")
    client.delete("/volumes/used")


def prune(client: Client) -> None:
    client.post("/volumes/prune", note="nothing")
    client.quiet("POST", "/volumes/create", {"Name": "keep", "Labels": {"keep": "1"}})
    client.quiet("POST", "/volumes/create", {"Name": "plain"})
    client.quiet("POST", "/containers/create?name=anon", {"Image": "busybox", "Volumes": {"/v": {}}})
    client.quiet("DELETE", "/containers/anon")
    for wanted in ({"label": ["none"]}, {"label!": ["keep"]}, {"all": ["true"]}, {"until": ["1h"]}, {}):
        client.post(f"/volumes/prune?filters={quote(json.dumps(wanted))}", note=json.dumps(wanted))
    client.get("/volumes")


def copy_up(client: Client) -> None:
    script = "ls /etc/passwd /etc/group; stat -c '%a %u' /etc"
    for note, host in {
        "named": {"Binds": ["up:/etc"]},
        "nocopy": {"Binds": ["noup:/etc:nocopy"]},
        "bind": {"Binds": ["/srv:/etc"]},
    }.items():
        client.run("cu", "sh", "-c", script, HostConfig=host)
        client.wait_ended("cu")
        client.get("/containers/cu/json", note=note)
        client.get("/containers/cu/logs?stdout=1", note=note)
        client.quiet("DELETE", "/containers/cu?v=1")
