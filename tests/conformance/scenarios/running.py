"""Looking into running containers: top, stats, changes, exec."""

from typing import Any

from ..client import Client


def top(client: Client) -> None:
    client.run("top1", "sleep", "1d")
    # For a moment after the answer it is still runc that is about to become it.
    client.wait_for("/containers/top1/top", lambda found: "sleep 1d" in str(found["Processes"]))
    client.get("/containers/top1/top")
    client.get("/containers/top1/top?ps_args=aux")
    client.get("/containers/top1/top?ps_args=-o%20pid,args")
    client.get("/containers/top1/top?ps_args=-o%20args")
    client.get("/containers/top1/top?ps_args=--nonsense")
    client.quiet("POST", "/containers/top1/stop")
    client.get("/containers/top1/top", note="stopped")


def stats(client: Client) -> None:
    client.run("st1", HostConfig={"Memory": 67108864, "PidsLimit": 50})
    client.get("/containers/st1/stats?stream=0")
    client.get("/containers/st1/stats?stream=false&one-shot=true")
    client.quiet("POST", "/containers/st1/stop")
    client.get("/containers/st1/stats?stream=0", note="stopped")
    client.run("st2", HostConfig={"NetworkMode": "none"})
    client.get("/containers/st2/stats?stream=0&one-shot=1")


def changes(client: Client) -> None:
    client.run_through("ch1", "mkdir /new; echo a >/new/file; rm /etc/group; echo b >>/etc/passwd")
    client.get("/containers/ch1/changes")
    client.quiet("POST", "/containers/create?name=ch2", {"Image": "busybox"})
    client.get("/containers/ch2/changes")


def execs(client: Client) -> None:
    client.run("ex1", Env=["FROM=container"])
    bodies: dict[str, dict[str, Any]] = {
        "plain": {"Cmd": ["echo", "hello"], "AttachStdout": True, "AttachStderr": True},
        "stderr": {
            "Cmd": ["sh", "-c", "echo out; echo err >&2; exit 5"],
            "AttachStdout": True,
            "AttachStderr": True,
        },
        "tty": {"Cmd": ["echo", "hello"], "AttachStdout": True, "Tty": True},
        "env": {
            "Cmd": ["sh", "-c", "echo $FROM $A; pwd; id -u"],
            "AttachStdout": True,
            "Env": ["A=1"],
            "WorkingDir": "/tmp",
            "User": "nobody",
        },
        "nothing attached": {"Cmd": ["echo", "x"]},
        "no such program": {"Cmd": ["no-such-program"], "AttachStdout": True, "AttachStderr": True},
        "not executable": {"Cmd": ["/etc/passwd"], "AttachStdout": True, "AttachStderr": True},
        "no such user": {"Cmd": ["true"], "AttachStdout": True, "User": "somebody"},
        "no such directory": {"Cmd": ["true"], "AttachStdout": True, "WorkingDir": "/no/such"},
        "privileged": {"Cmd": ["true"], "AttachStdout": True, "Privileged": True, "DetachKeys": "ctrl-a"},
        "text": {"Cmd": "true", "AttachStdout": True},
    }
    for note, body in bodies.items():
        made = client.post("/containers/ex1/exec", body, note=note)
        identifier = made.json.get("Id", "none")
        client.get(f"/exec/{identifier}/json", note=f"{note}, created")
        client.get("/containers/ex1/json", note=f"{note}, exec created")
        client.post(f"/exec/{identifier}/start", {"Detach": False, "Tty": body.get("Tty", False)}, note=note)
        client.wait_for(f"/exec/{identifier}/json", lambda found: not found.get("Running"))
        client.get(f"/exec/{identifier}/json", note=note)
        client.post(f"/exec/{identifier}/start", {"Detach": False}, note=f"{note}, again")


def exec_upgraded(client: Client) -> None:
    client.run("ex2")
    given: tuple[tuple[str, dict[str, Any], bytes], ...] = (
        ("cat", {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True}, b"some text\n"),
        ("tty", {"Cmd": ["sh", "-c", "echo a"], "AttachStdout": True, "Tty": True}, b""),
        ("missing", {"Cmd": ["nope"], "AttachStdout": True, "AttachStderr": True}, b""),
    )
    for note, body, data in given:
        made = client.quiet("POST", "/containers/ex2/exec", body).json["Id"]
        client.hijack(
            f"/exec/{made}/start", {"Detach": False, "Tty": body.get("Tty", False)}, send=data, note=note
        )
        client.wait_for(f"/exec/{made}/json", lambda found: not found["Running"])
        client.get(f"/exec/{made}/json", note=note)


def exec_errors(client: Client) -> None:
    client.run("ex3")
    bodies: tuple[dict[str, Any], ...] = (
        {"Cmd": []},
        {"Cmd": [""]},
        {"Cmd": ["true"], "Env": ["=x"]},
        {"Cmd": ["true"], "DetachKeys": "zzz"},
    )
    for body in bodies:
        client.post("/containers/ex3/exec", body, note=str(body))
    made = client.quiet("POST", "/containers/ex3/exec", {"Cmd": ["sleep", "1d"]}).json["Id"]
    client.post(f"/exec/{made}/start", {"Detach": True})
    client.wait_for(f"/exec/{made}/json", lambda found: found["Running"])
    client.get(f"/exec/{made}/json", note="running")
    client.get("/containers/ex3/json", note="exec runs")
    client.post(f"/exec/{made}/start", {"Detach": True}, note="running")
    client.post(f"/exec/{made}/start", {"Detach": False}, note="running")
    client.post(f"/exec/{made}/resize?h=a&w=10")
    tty = client.quiet(
        "POST", "/containers/ex3/exec", {"Cmd": ["true"], "Tty": True, "AttachStdout": True}
    ).json["Id"]
    client.post(f"/exec/{tty}/start", {"Detach": False, "Tty": False}, note="tty differs")
    client.quiet("POST", "/containers/ex3/stop")
    client.post("/containers/ex3/exec", {"Cmd": ["true"]}, note="stopped")
    client.post(f"/exec/{made}/start", {"Detach": True}, note="stopped")
    client.get(f"/exec/{made}/json", note="stopped")


def resize(client: Client) -> None:
    client.run("rs1", Tty=True)
    client.post("/containers/rs1/resize?h=20&w=100")
    client.quiet("POST", "/containers/rs1/stop")
    client.post("/containers/rs1/resize?h=20&w=100", note="stopped")
