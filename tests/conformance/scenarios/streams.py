"""What containers write and read: logs, attach."""

from ..client import Client

_SCRIPT = "for i in 1 2 3 4 5; do echo out $i; done; sleep 0.3; echo err >&2"
# Docker upgrades the connection a moment before it passes anything on.
_LATE = "until [ -e /go ]; do sleep 0.1; done; sleep 0.5; echo late"


def logs(client: Client) -> None:
    client.run("lg1", "sh", "-c", _SCRIPT)
    client.wait_ended("lg1")
    for query in (
        "stdout=1&stderr=1",
        "stdout=1",
        "stderr=1",
        "stdout=1&tail=2",
        "stdout=1&tail=0",
        "stdout=1&tail=all",
        "stdout=1&tail=-5",
        "stdout=1&timestamps=1",
        "stdout=1&since=1",
        "stdout=1&since=99999999999",
        "stdout=1&until=1",
        "stdout=1&stderr=1&follow=1",
        "stdout=0&stderr=0",
        "stdout=1&details=1",
        "",
    ):
        client.get(f"/containers/lg1/logs?{query}")
    client.run("lg2", "sh", "-c", "echo tty", Tty=True)
    client.wait_ended("lg2")
    client.get("/containers/lg2/logs?stdout=1&stderr=1")
    client.quiet("POST", "/containers/create?name=lg3", {"Image": "busybox"})
    client.get("/containers/lg3/logs?stdout=1", note="never started")
    client.run("lg4", "sh", "-c", "printf unfinished", HostConfig={"LogConfig": {"Type": "none"}})
    client.wait_ended("lg4")
    client.get("/containers/lg4/logs?stdout=1", note="no log")
    client.run("lg5", "sh", "-c", "printf unfinished")
    client.wait_ended("lg5")
    client.get("/containers/lg5/logs?stdout=1", note="no last newline")
    client.run(
        "lg6",
        "sh",
        "-c",
        "echo a",
        Labels={"x": "y"},
        Env=["E=f"],
        HostConfig={"LogConfig": {"Type": "json-file", "Config": {"labels": "x", "env": "E", "tag": "t"}}},
    )
    client.wait_ended("lg6")
    client.get("/containers/lg6/logs?stdout=1&details=1", note="details")


def attach(client: Client) -> None:
    given = {
        "Image": "busybox",
        "Cmd": ["sh", "-c", "read a; echo got $a; echo bad >&2"],
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
    }
    client.quiet("POST", "/containers/create?name=at1", given)
    client.quiet("POST", "/containers/at1/start")
    client.hijack("/containers/at1/attach?stream=1&stdin=1&stdout=1&stderr=1", send=b"word\n")
    client.wait_ended("at1")
    client.hijack("/containers/at1/attach?logs=1&stdout=1&stderr=1", note="logs only")
    client.post("/containers/at1/attach?logs=1&stdout=1&stderr=1", note="logs only")
    client.run("at2", "sh", "-c", _LATE)
    client.hijack(
        "/containers/at2/attach?stream=1&stdout=1&stderr=1", note="late", begun=lambda: _let_go(client, "at2")
    )
    client.run("at3", "sh", "-c", _LATE, Tty=True)
    client.hijack(
        "/containers/at3/attach?stream=1&stdout=1&stderr=1", note="tty", begun=lambda: _let_go(client, "at3")
    )
    client.run("at4", "sh", "-c", _LATE)
    client.post(
        "/containers/at4/attach?stream=1&stdout=1&stderr=1",
        note="not upgraded",
        begun=lambda: _let_go(client, "at4"),
    )
    client.wait_ended("at4")
    client.post("/containers/at4/attach", note="nothing asked for")
    client.run("at5")
    client.quiet("POST", "/containers/at5/pause")
    client.post("/containers/at5/attach?stream=1&stdout=1", note="paused")
    client.get("/containers/at5/attach/ws?stream=1&stdout=1", note="no web socket")


def _let_go(client: Client, container: str) -> None:
    made = client.quiet("POST", f"/containers/{container}/exec", {"Cmd": ["touch", "/go"]}).json["Id"]
    client.quiet("POST", f"/exec/{made}/start", {"Detach": True})
