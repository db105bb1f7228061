"""What is wrong with the request itself: JSON, content types, missing bodies, paths, versions, filters."""

from ..client import Client


def malformed_json(client: Client) -> None:
    for path in (
        "/containers/create",
        "/networks/create",
        "/volumes/create",
        "/networks/bridge/connect",
        "/networks/bridge/disconnect",
    ):
        for raw in (b"{", b"nonsense", b"[]", b'"text"', b"5", b"null", b'{"Name": }', b"{}", b"{} {}"):
            client.post(path, raw=raw, note=raw.decode())


def container_bodies(client: Client) -> None:
    client.run("cc1")
    client.quiet("POST", "/containers/create?name=cc2", {"Image": "busybox"})
    for raw in (b"{", b"[]", b"nonsense", b"null", b"{}"):
        client.post("/containers/cc1/exec", raw=raw, note=raw.decode())
        client.post("/containers/cc1/update", raw=raw, note=raw.decode())
    client.post("/containers/cc2/start", raw=b"nonsense")
    for raw in (b"{", b"nonsense", b"[]"):
        client.post("/commit?container=cc1", raw=raw, note=raw.decode())
    made = client.quiet("POST", "/containers/cc1/exec", {"Cmd": ["true"]}).json["Id"]
    for raw in (b"{", b"nonsense", b"[]"):
        client.post(f"/exec/{made}/start", raw=raw, note=raw.decode())


def content_types(client: Client) -> None:
    body = b'{"Image": "busybox"}'
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "nonsense",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        "",
    ):
        client.post(
            "/containers/create?name=ct1", raw=body, headers={"Content-Type": kind}, note=kind or "none"
        )
        client.quiet("DELETE", "/containers/ct1")
    client.post("/networks/create", raw=b'{"Name": "n1"}', headers={"Content-Type": "text/plain"})
    client.post("/volumes/create", raw=b'{"Name": "v1"}', headers={"Content-Type": "text/plain"})


def missing_bodies(client: Client) -> None:
    client.run("mb1")
    for path in (
        "/containers/create",
        "/networks/create",
        "/volumes/create",
        "/networks/bridge/connect",
        "/networks/bridge/disconnect",
        "/containers/mb1/exec",
        "/containers/mb1/update",
        "/exec/none/start",
        "/build/prune",
        "/images/none/push",
    ):
        client.post(path)


def wrong_types(client: Client) -> None:
    for body in (
        {"Image": 5},
        {"Image": "busybox", "Cmd": 5},
        {"Image": "busybox", "Cmd": [1, 2]},
        {"Image": "busybox", "Env": "A=b"},
        {"Image": "busybox", "Tty": "yes"},
        {"Image": "busybox", "Labels": ["a"]},
        {"Image": "busybox", "ExposedPorts": ["80/tcp"]},
        {"Image": "busybox", "HostConfig": []},
        {"Image": "busybox", "HostConfig": {"Memory": "1g"}},
        {"Image": "busybox", "HostConfig": {"Binds": "a:b"}},
        {"Image": "busybox", "HostConfig": {"PortBindings": []}},
        {"Image": "busybox", "HostConfig": {"PortBindings": {"80/tcp": {"HostPort": "1"}}}},
        {"Image": "busybox", "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": 80}]}}},
        {"Image": "busybox", "HostConfig": {"RestartPolicy": "always"}},
        {"Image": "busybox", "NetworkingConfig": {"EndpointsConfig": []}},
        {"Image": "busybox", "HostConfig": {"Mounts": {}}},
        {"Image": "busybox", "HostConfig": {"Ulimits": {}}},
        {"Image": "busybox", "HostConfig": {"Memory": 1.5}},
        {"Image": "busybox", "StopTimeout": "5"},
    ):
        client.post("/containers/create", body, note=str(body))
    for network in (
        {"Name": 5},
        {"Name": "nn", "IPAM": []},
        {"Name": "nn", "IPAM": {"Config": {}}},
        {"Name": "nn", "Internal": "yes"},
        {"Name": "nn", "Options": {"a": 5}},
        {"Name": "nn", "Labels": ["a"]},
    ):
        client.post("/networks/create", network, note=str(network))
    for volume in ({"Name": 5}, {"Name": "vv", "DriverOpts": []}, {"Name": "vv", "Labels": "a"}):
        client.post("/volumes/create", volume, note=str(volume))


def paths_and_methods(client: Client) -> None:
    for path in (
        "/",
        "/nonsense",
        "/containers",
        "/containers/",
        "/containers/json/",
        "/containers//json",
        "/networks/",
        "/images",
        "/exec",
        "/volumes/",
        "/containers/aa/nonsense",
    ):
        client.get(path)
    for path in (
        "/",
        "/nonsense",
        "/containers/json",
        "/networks",
        "/volumes",
        "/info",
        "/version",
        "/events",
    ):
        client.post(path, {})
    for path in ("/containers/json", "/networks", "/volumes", "/images/json", "/nonsense"):
        client.delete(path)
    client.put("/containers/aa/json")
    client.get("/containers/create")
    client.get("/containers/aa/start")
    client.call("PATCH", "/containers/json")
    client.call("OPTIONS", "/containers/json")
    client.head("/containers/json")
    client.head("/version")


def versions(client: Client) -> None:
    for version in (
        "/v1.23",
        "/v1.0",
        "/v0.9",
        "/v2.0",
        "/v9.9",
        "/vx",
        "/v1",
        "/v1.",
        "/v1.41.0",
        "/v.1",
        "/v1.24",
        "/v1.30",
        "/1.41",
        "/V1.41",
    ):
        client.get("/containers/json", version=version)


def filters(client: Client) -> None:
    for path in ("/containers/json", "/networks", "/volumes", "/images/json", "/events?until=1"):
        for text in (
            "nonsense",
            "[]",
            "5",
            "%22a%22",
            "%7B%22no%22%3A%5B%22a%22%5D%7D",
            "%7B%22name%22%3A5%7D",
            "%7B%7D",
            "null",
        ):
            client.get(f"{path}{'&' if '?' in path else '?'}filters={text}")
    for path in ("/containers/prune", "/networks/prune", "/volumes/prune", "/images/prune"):
        for text in ("nonsense", "%7B%22no%22%3A%5B%22a%22%5D%7D", "%7B%22until%22%3A%5B%22a%22%5D%7D"):
            client.post(f"{path}?filters={text}")


def numbers(client: Client) -> None:
    client.run("num")
    for path in (
        "stop?t=abc",
        "restart?t=abc",
        "resize?h=a&w=1",
        "resize?h=1",
        "resize",
        "kill?signal=NONE",
    ):
        client.post(f"/containers/num/{path}", *([{}] if path.startswith("update") else []))
    client.get("/containers/json?limit=abc")
    client.get("/containers/num/logs?stdout=1&tail=abc")
    client.get("/containers/num/logs?stdout=1&since=abc")
    client.get("/containers/num/logs")
    client.post("/containers/num/attach?stream=1&stdout=1&detachKeys=nonsense")
    client.get("/containers/num/json?size=maybe")
    client.get("/containers/json?all=maybe")


def unknown_objects(client: Client) -> None:
    for path in ("json", "logs?stdout=1", "stats?stream=0", "top", "changes", "export", "archive?path=/"):
        client.get(f"/containers/none/{path}")
    client.head("/containers/none/archive?path=/")
    client.put("/containers/none/archive?path=/", raw=b"x", headers={"Content-Type": "application/x-tar"})
    for path in (
        "start",
        "stop",
        "restart",
        "kill",
        "pause",
        "unpause",
        "wait",
        "resize?h=1&w=1",
        "rename?name=xx",
        "attach?stream=1&stdout=1",
    ):
        client.post(f"/containers/none/{path}")
    client.post("/containers/none/update", {"Memory": 0})
    client.post("/containers/none/exec", {"Cmd": ["true"]})
    client.post("/exec/none/start", {})
    client.post("/exec/none/resize?h=1&w=1")
    client.get("/exec/none/json")
    client.delete("/containers/none")
    client.delete("/containers/none?force=1")
    client.post("/commit?container=none", {})
    client.post("/commit", {})
    client.get("/networks/none")
    client.delete("/networks/none")
    client.post("/networks/none/connect", {"Container": "none"})
    client.post("/networks/none/disconnect", {"Container": "none"})
    client.post("/networks/bridge/disconnect", {"Container": "none"})
    client.post("/networks/bridge/connect", {"Container": "none"})
    client.get("/volumes/none")
    client.delete("/volumes/none")
    client.delete("/volumes/none?force=1")
    client.get("/images/none/json")
    client.get("/images/none/history")
    client.get("/images/none/get")
    client.delete("/images/none")
    client.post("/images/none/tag?repo=xx")
    client.post("/images/none/push", headers={"X-Registry-Auth": "e30="})
