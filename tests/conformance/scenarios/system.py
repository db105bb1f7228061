"""The daemon itself: ping, version, info, disk usage, events, and what an engine in no swarm answers."""

import json
import time
from urllib.parse import quote

from ..client import VERSION, Client


def ping(client: Client) -> None:
    for version in ("", "/v1.24", "/v1.41"):
        client.get("/_ping", version=version)
        client.head("/_ping", version=version)


def version_and_info(client: Client) -> None:
    for version in ("", "/v1.24", "/v1.41"):
        client.get("/version", version=version)
    for version in ("/v1.24", "/v1.41"):
        client.get("/info", version=version)


def disk_usage(client: Client) -> None:
    client.get("/system/df")
    client.quiet("POST", "/volumes/create", {"Name": "kept", "Labels": {"a": "b"}})
    client.run("web1", Labels={"role": "web"}, HostConfig={"Binds": ["kept:/data"]})
    client.get("/system/df")


def swarm(client: Client) -> None:
    for path in ("/swarm", "/swarm/unlockkey", "/nodes", "/services", "/tasks", "/secrets", "/configs"):
        client.get(path)
    for path in ("/nodes/xx", "/services/xx", "/tasks/xx", "/secrets/xx", "/configs/xx"):
        client.get(path)
        if "tasks" not in path:
            client.delete(path)
    client.post("/services/create", {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}}})
    client.post("/secrets/create", {"Name": "aa", "Data": "YQ=="})
    client.post("/configs/create", {"Name": "aa", "Data": "YQ=="})
    client.post("/swarm/leave")
    client.post("/swarm/update?version=1", {})
    client.post("/swarm/unlock", {"UnlockKey": "x"})
    client.get("/services/xx/logs?stdout=1")
    client.get("/tasks/xx/logs?stdout=1")


def plugins(client: Client) -> None:
    client.get("/plugins")
    client.get("/plugins/none/json")


def events(client: Client) -> None:
    start = f"{time.time():.6f}"
    client.quiet("POST", "/networks/create", {"Name": "evnet", "Labels": {"a": "b"}})
    client.run("ev1", "true", Labels={"l": "1"}, HostConfig={"NetworkMode": "evnet"})
    client.wait_ended("ev1")
    client.quiet("POST", "/containers/ev1/rename?name=ev2")
    client.quiet("POST", "/containers/ev2/start")
    client.wait_ended("ev2")
    client.quiet("POST", "/volumes/create", {"Name": "evvol"})
    client.quiet("DELETE", "/volumes/evvol")
    client.quiet("POST", "/images/busybox/tag?repo=evimage&tag=v1")
    client.quiet("DELETE", "/images/evimage:v1")
    client.quiet("DELETE", "/containers/ev2")
    client.quiet("DELETE", "/networks/evnet")

    def since(filters: object, version: str = VERSION) -> None:
        query = quote(json.dumps(filters))
        name = json.dumps(filters)
        reply = client.quiet(
            "GET", f"/events?since={start}&until={time.time():.6f}&filters={query}", version=version
        )
        client.record_events(reply, f"{version}/events {name}")

    for kind in ("container", "network", "volume", "image"):
        since({"type": {kind: True}})
    since({"type": ["container"]}, version="/v1.24")
    since({"container": ["ev2"], "event": ["die", "create"]})
    since({"label": ["l=1"], "event": ["start"]})
    since({"label": ["l=2"]})
    since({"network": ["evnet"], "event": ["create"]})
    since({"volume": ["evvol"]})
    since({"image": ["busybox"], "event": ["tag", "start"]})
    since({"scope": ["swarm"]})
    since({"event": ["rename"]})
    since({"daemon": ["nobody"]})


def events_of_life(client: Client) -> None:
    start = f"{time.time():.6f}"
    # A stop signal that it ignores: one that ended it would race with the SIGKILL of `t=0`, in both engines.
    client.run("life", "sleep", "1d", StopSignal="USR2")
    for action in ("pause", "unpause", "kill?signal=USR1", "restart?t=0", "stop?t=0"):
        client.quiet("POST", f"/containers/life/{action}")
    client.quiet("POST", "/containers/life/update", {"RestartPolicy": {"Name": "always"}})
    client.quiet("GET", "/containers/life/export")
    client.quiet("GET", "/containers/life/archive?path=/etc/passwd")
    client.quiet("POST", "/commit?container=life&repo=lifeimage")
    client.quiet("POST", "/containers/life/start")
    made = client.quiet("POST", "/containers/life/exec", {"Cmd": ["true"], "AttachStdout": True})
    client.quiet("POST", f"/exec/{made.json['Id']}/start", {"Detach": False})
    client.quiet("GET", "/containers/life/top")
    client.quiet("POST", "/networks/create", {"Name": "lifenet"})
    client.quiet("POST", "/networks/lifenet/connect", {"Container": "life"})
    client.quiet("POST", "/networks/lifenet/disconnect", {"Container": "life"})
    client.quiet("DELETE", "/containers/life?force=1")
    client.quiet("POST", "/containers/prune")
    client.quiet("POST", "/volumes/prune")
    client.quiet("POST", "/networks/prune")
    client.quiet("POST", "/images/prune")
    reply = client.quiet("GET", f"/events?since={start}&until={time.time():.6f}")
    client.record_events(reply, "/events of a life")


def event_errors(client: Client) -> None:
    client.get("/events?since=abc&until=1")
    client.get("/events?since=20&until=10")
    client.get("/events?since=1&until=2&filters=%7B%22nonsense%22%3A%5B%22a%22%5D%7D")
    client.get("/events?since=1&until=2&filters=nonsense")


def authentication(client: Client) -> None:
    client.post("/auth", raw=b"nonsense")
    client.post("/auth", {"username": "a", "password": "b", "serveraddress": "127.0.0.1:1"})
