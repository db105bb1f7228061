"""Images: list, inspect, history, tags, removal, import, load, save, prune, and what cannot be done."""

import json
from urllib.parse import quote

from ..client import Client

_TAR = {"Content-Type": "application/x-tar"}


def lists(client: Client) -> None:
    client.get("/images/json")
    client.get("/images/json", version="/v1.24")
    client.get("/images/json?all=1")
    client.get("/images/json?digests=1")
    client.run("user")
    client.quiet("POST", "/images/busybox/tag?repo=localhost:5000/some/name&tag=v1")
    client.get("/images/json", note="tagged")
    for wanted in (
        {"reference": ["busybox"]},
        {"reference": ["busy*"]},
        {"reference": ["*:latest"]},
        {"reference": ["none"]},
        {"reference": ["localhost:5000/*/*"]},
        {"dangling": ["true"]},
        {"dangling": ["false"]},
        {"dangling": ["x"]},
        {"label": ["kind"]},
        {"label": ["kind=fancy"]},
        {"label": ["kind=x"]},
        {"before": ["fancy"]},
        {"since": ["busybox"]},
        {"before": ["none"]},
    ):
        client.get(f"/images/json?filters={quote(json.dumps(wanted))}", note=json.dumps(wanted))


def inspection(client: Client) -> None:
    identifier = client.quiet("GET", "/images/busybox/json").json["Id"]
    for name in (
        "busybox",
        "busybox:latest",
        "fancy",
        "docker.io/library/busybox",
        identifier,
        identifier[7:19],
    ):
        client.get(f"/images/{name}/json")
    client.get("/images/fancy/json", version="/v1.24")
    client.get("/images/fancy/history")
    client.get("/images/busybox/history")
    for name in ("none", "busybox:none", "UPPER", "a:b:c", "sha256:00", "0123456789ab"):
        client.get(f"/images/{name}/json")


def tags(client: Client) -> None:
    for query in (
        "repo=other",
        "repo=other&tag=v1",
        "repo=example.org:5000/a/b&tag=v1",
        "repo=UPPER",
        "repo=other&tag=a%20b",
        "repo=",
        "",
        "repo=other:v2",
        "repo=other:v2&tag=v3",
    ):
        client.post(f"/images/busybox/tag?{query}")
    client.get("/images/busybox/json")
    client.delete("/images/other:v1")
    client.delete("/images/other")
    client.delete("/images/other", note="again")
    client.get("/images/busybox/json", note="untagged")


def removal(client: Client) -> None:
    client.run("user")
    identifier = client.quiet("GET", "/images/busybox/json").json["Id"]
    client.delete("/images/busybox", note="in use")
    client.delete(f"/images/{identifier}", note="in use, by id")
    client.delete(f"/images/{identifier}?force=1", note="in use, by id, forced")
    client.quiet("POST", "/images/busybox/tag?repo=other")
    client.delete(f"/images/{identifier}", note="two tags")
    client.delete("/images/other?noprune=1")
    client.quiet("POST", "/containers/user/stop")
    client.delete(f"/images/{identifier}", note="used by a stopped container")
    client.delete("/images/busybox", note="used by a stopped container")
    client.quiet("POST", "/commit?container=user&repo=made")
    client.delete("/images/made")


def archives(client: Client) -> None:
    saved = client.quiet("GET", "/images/busybox/get").body
    client.post("/images/load", raw=saved, headers=_TAR)
    client.post("/images/load?quiet=1", raw=saved, headers=_TAR)
    client.post("/images/load", raw=b"nonsense", headers=_TAR)
    client.post("/images/load", raw=b"", headers=_TAR, note="empty")
    root = client.quiet("POST", "/containers/create?name=src", {"Image": "busybox"}).json["Id"]
    tree = client.quiet("GET", f"/containers/{root}/export").body
    for query in (
        "repo=imp&tag=v1",
        "repo=imp",
        "",
        "repo=UPPER",
        "repo=imp&changes=NONSENSE",
        "repo=imp&tag=ch&changes=ENV%20A%3D1&message=why",
    ):
        client.post(f"/images/create?fromSrc=-&{query}", raw=tree, headers=_TAR)
    client.get("/images/imp:v1/json")
    client.get("/images/imp:v1/history")
    client.get("/images/imp:ch/json")
    client.get("/images/imp:ch/history")
    client.quiet("POST", "/commit?container=src&repo=child")
    both = client.quiet("GET", "/images/get?names=busybox&names=child").body
    client.quiet("DELETE", "/images/child")
    client.quiet("POST", "/images/load", raw=both, headers=_TAR)
    client.get("/images/child/json")
    client.get("/images/child/history")
    client.get("/images/get?names=none")
    client.get("/images/get?names=")


def prune(client: Client) -> None:
    client.post("/images/prune", note="nothing")
    client.run("user")
    client.quiet("POST", "/commit?container=user")
    client.get(f"/images/json?filters={quote(json.dumps({'dangling': ['true']}))}")
    for wanted in ({"until": ["1h"]}, {"label": ["absent"]}, {"label!": ["absent"], "until": ["1h"]}):
        client.post(f"/images/prune?filters={quote(json.dumps(wanted))}")
    client.post(f"/images/prune?filters={quote(json.dumps({'dangling': ['x']}))}")
    client.post("/images/prune")
    client.post("/images/prune", note="again")


def refused(client: Client) -> None:
    for platform in ("linux/riscv64", "linux", "amd64", "a/b/c/d"):
        client.post(f"/containers/create?platform={platform}", {"Image": "busybox"})
    client.post("/images/create")
    client.post("/images/create?fromImage=UPPER")
    client.post("/images/create?fromImage=127.0.0.1:1/none&tag=v1")
    client.post("/build", raw=b"", headers=_TAR)
    client.post("/build/prune")
    client.post("/images/search?term=x")
