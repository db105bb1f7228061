"""Containers' lives: start, stop, restart, kill, pause, rename, update, wait, remove, prune."""

from typing import Any

from ..client import Client


def start_and_stop(client: Client) -> None:
    client.post(
        "/containers/create?name=one", {"Image": "busybox", "Cmd": ["sleep", "1d"], "StopSignal": "KILL"}
    )
    client.get("/containers/one/json")
    client.post("/containers/one/stop", note="created")
    client.post("/containers/one/start")
    client.get("/containers/one/json", note="running")
    client.get("/containers/one/json", version="/v1.24", note="running")
    client.post("/containers/one/start", note="running")
    client.post("/containers/one/restart")
    client.get("/containers/one/json", note="restarted")
    client.post("/containers/one/stop")
    client.get("/containers/one/json", note="stopped")
    client.get("/containers/one/json?size=1", note="stopped")
    client.post("/containers/one/stop", note="stopped")
    client.post("/containers/one/restart", note="stopped")
    client.post("/containers/one/kill")
    client.wait_ended("one")
    client.get("/containers/one/json", note="killed")
    client.post("/containers/one/kill", note="ended")
    client.delete("/containers/one")
    client.delete("/containers/one", note="removed")


def ends(client: Client) -> None:
    for name, command in (
        ("ok", ["true"]),
        ("three", ["sh", "-c", "exit 3"]),
        ("sig", ["sh", "-c", "kill -9 $$"]),
    ):
        client.run(f"end-{name}", *command)
        client.wait_ended(f"end-{name}")
        client.get(f"/containers/end-{name}/json")
    bodies: dict[str, dict[str, Any]] = {
        "no such file": {"Cmd": ["/no/such/program"]},
        "not in path": {"Cmd": ["no-such-program"]},
        "a directory": {"Cmd": ["/etc"]},
        "not executable": {"Cmd": ["/etc/passwd"]},
        "no such user": {"Cmd": ["true"], "User": "somebody"},
        "no such group": {"Cmd": ["true"], "User": "nobody:somegroup"},
    }
    for note, body in bodies.items():
        client.quiet("POST", "/containers/create?name=fail", {"Image": "busybox"} | body)
        client.post("/containers/fail/start", note=note)
        client.get("/containers/fail/json", note=note)
        client.delete("/containers/fail", note=note)
    client.quiet(
        "POST",
        "/containers/create?name=shares",
        {"Image": "busybox", "HostConfig": {"NetworkMode": "container:end-ok"}},
    )
    client.post("/containers/shares/start")
    client.quiet(
        "POST",
        "/containers/create?name=pids",
        {"Image": "busybox", "HostConfig": {"PidMode": "container:end-ok"}},
    )
    client.post("/containers/pids/start")
    client.quiet(
        "POST",
        "/containers/create?name=ipcs",
        {"Image": "busybox", "HostConfig": {"IpcMode": "container:end-ok"}},
    )
    client.post("/containers/ipcs/start")
    client.quiet("POST", "/networks/create", {"Name": "gone"})
    client.quiet(
        "POST",
        "/containers/create?name=links",
        {"Image": "busybox", "HostConfig": {"Links": ["end-ok:x"]}},
    )
    client.post("/containers/links/start")
    client.post("/containers/nobody/kill")
    client.quiet(
        "POST", "/containers/create?name=netless", {"Image": "busybox", "HostConfig": {"NetworkMode": "gone"}}
    )
    client.quiet("DELETE", "/networks/gone")
    client.post("/containers/netless/start")
    client.get("/containers/netless/json")


def pause(client: Client) -> None:
    client.run("pz")
    client.post("/containers/pz/unpause", note="running")
    client.post("/containers/pz/pause")
    client.post("/containers/pz/pause", note="paused")
    client.get("/containers/pz/json", note="paused")
    client.get("/containers/json", note="paused")
    client.post("/containers/pz/start", note="paused")
    client.post("/containers/pz/exec", {"Cmd": ["true"]}, note="paused")
    client.delete("/containers/pz", note="paused")
    client.post("/containers/pz/unpause")
    client.post("/containers/pz/stop")
    client.post("/containers/pz/pause", note="stopped")
    client.post("/containers/pz/unpause", note="stopped")


def rename(client: Client) -> None:
    client.run("first")
    client.run("second")
    client.post("/containers/first/rename?name=third")
    client.get("/containers/third/json")
    for name in ("second", "third", "", "a b", "/", "-x", "x"):
        client.post(f"/containers/third/rename?name={name.replace(' ', '%20')}")
    client.post("/containers/third/rename")
    client.post("/containers/third/rename?name=/slashed")
    client.get("/containers/slashed/json")


def remove(client: Client) -> None:
    client.run("runs")
    client.delete("/containers/runs", note="running")
    client.delete("/containers/runs?v=1", note="running")
    client.delete("/containers/runs?link=1", note="link")
    client.delete("/containers/runs?force=1")
    client.quiet("POST", "/containers/create?name=vols", {"Image": "busybox", "Volumes": {"/v": {}}})
    client.delete("/containers/vols?v=1")
    client.get("/volumes")
    client.run("auto", "sleep", "1d", HostConfig={"AutoRemove": True})
    client.post("/containers/auto/stop")
    client.wait_for("/containers/json?all=1", lambda found: not found)
    client.get("/containers/auto/json")


def update(client: Client) -> None:
    client.run("upd", HostConfig={"Memory": 67108864})
    for note, body in {
        "nothing": {},
        "shares": {"CpuShares": 256},
        "memory": {"Memory": 134217728, "MemorySwap": 268435456},
        "memory above swap": {"Memory": 536870912},
        "pids": {"PidsLimit": 77},
        "cpus": {"NanoCpus": 500000000},
        "quota": {"CpuQuota": 20000},
        "restart": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}},
        "bad restart": {"RestartPolicy": {"Name": "nonsense"}},
        "little memory": {"Memory": 5},
        "reservation": {"MemoryReservation": 33554432},
        "cpuset": {"CpusetCpus": "0"},
        "unknown": {"Nonsense": 1},
        "blkio": {"BlkioWeight": 3},
    }.items():
        client.post("/containers/upd/update", body, note=note)
    client.get("/containers/upd/json")
    client.post("/containers/upd/stop")
    client.post("/containers/upd/update", {"CpuShares": 128}, note="stopped")
    client.get("/containers/upd/json", note="stopped")


def wait(client: Client) -> None:
    client.run("w1", "sh", "-c", "exit 7")
    client.wait_ended("w1")
    client.post("/containers/w1/wait")
    client.post("/containers/w1/wait?condition=not-running")
    client.post("/containers/w1/wait", version="/v1.24")
    client.run("w2", HostConfig={"AutoRemove": True})
    client.post(
        "/containers/w2/wait?condition=removed", begun=lambda: client.quiet("POST", "/containers/w2/kill")
    )
    client.run("w3")
    client.post(
        "/containers/w3/wait?condition=next-exit", begun=lambda: client.quiet("POST", "/containers/w3/kill")
    )


def kill(client: Client) -> None:
    traps = "trap 'echo usr' USR1; trap 'exit 9' TERM; echo set"
    client.run("k1", "sh", "-c", f"{traps}; while :; do sleep 0.1; done")
    client.wait_logged("k1", "set")
    client.post("/containers/k1/kill?signal=USR1")
    client.post("/containers/k1/kill?signal=SIGUSR1")
    client.post("/containers/k1/kill?signal=10")
    client.post("/containers/k1/kill?signal=0")
    client.post("/containers/k1/kill?signal=nonsense")
    client.post("/containers/k1/kill?signal=TERM")
    client.wait_ended("k1")
    client.get("/containers/k1/json")
    client.post("/containers/k1/kill?signal=TERM", note="ended")


def prune(client: Client) -> None:
    client.post("/containers/prune", note="nothing")
    client.quiet("POST", "/containers/create?name=p1", {"Image": "busybox", "Labels": {"keep": "1"}})
    client.quiet("POST", "/containers/create?name=p2", {"Image": "busybox"})
    client.post("/containers/prune?filters=%7B%22label%22%3A%5B%22nothing%22%5D%7D")
    client.post("/containers/prune?filters=%7B%22label!%22%3A%5B%22keep%22%5D%7D")
    client.post("/containers/prune?filters=%7B%22until%22%3A%5B%221h%22%5D%7D")
    client.get("/containers/json?all=1")
    client.post("/containers/prune")
    client.get("/containers/json?all=1")
