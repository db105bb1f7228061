"""The commands about clusters, nodes and peers, against a daemon that is not one."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_daemon import FakeDaemon, Reply

from carrick.doors.cli.app import App
from carrick.doors.cli.completion import candidates

CLUSTER = {
    "ID": "c" * 26,
    "NodeID": "a" * 26,
    "Name": "alpha",
    "Endpoints": ["https://192.0.2.7:2379"],
    "Nodes": 2,
    "Problem": "",
    "OwnEtcd": True,
    "HasAuthority": True,
    "CertificateEnds": "2024-02-05T00:00:00Z",
    "Warnings": [],
}
NODE = {
    "ID": "a" * 26,
    "Name": "alpha",
    "Status": "ready",
    "State": "active",
    "Self": True,
    "Underlays": [{"Address": "192.0.2.7", "Prefix": "192.0.2.0/24", "MTU": 1500}],
    "API": "192.0.2.7:2377",
    "Version": "0.1.0",
    "Transports": ["vxlan"],
    "Labels": {"rack": "7"},
    "Epoch": 1,
    "Joined": "2024-01-01T00:00:00Z",
    "Blocks": [{"NetworkID": "d" * 64, "Prefix": "10.9.0.0/27"}],
    "Endpoints": 3,
}
PEER = {
    "ID": "b" * 26,
    "Name": "beta",
    "Address": "192.0.2.8",
    "Status": "ready",
    "Transport": "vxlan",
    "Why": "the default",
    "Encrypted": False,
    "MTU": 1450,
    "RTT": 0.25,
    "BytesSent": 1_500_000,
    "BytesReceived": 0,
    "Problem": "",
}
SECRET = "CKJ1-" + "a" * 52 + "-" + "b" * 32


def test_init_sends_what_was_given_and_no_more(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("POST /carrick/v1/cluster", Reply(201, CLUSTER))
    done = cli("cluster", "init")
    assert done.code == 0 and daemon.requests[-1].json == {}
    assert f"Cluster {'c' * 26} is founded" in done.out and "carrick cluster token" in done.out
    words = (
        "--etcd https://a:2379,https://b:2379 --etcd-cacert /ca --etcd-cert /c --etcd-key /k --address eth1"
    )
    more = "--listen :2400 --name alpha --prefix x/ --gone-after 1m30s --etcd-user u --etcd-password-file /p"
    assert cli("cluster", "init", *words.split(), *more.split()).code == 0
    assert daemon.requests[-1].json == {
        "Endpoints": ["https://a:2379", "https://b:2379"],
        "EtcdCACert": "/ca",
        "EtcdCert": "/c",
        "EtcdKey": "/k",
        "EtcdUser": "u",
        "EtcdPasswordFile": "/p",
        "Address": "eth1",
        "Listen": ":2400",
        "Name": "alpha",
        "Prefix": "x/",
        "GoneAfter": 90,
    }


def test_files_are_made_absolute(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("POST /carrick/v1/cluster", Reply(201, CLUSTER))
    cli("cluster", "init", "--etcd", "https://a", "--etcd-cacert", "ca.pem")
    assert daemon.requests[-1].json["EtcdCACert"] == str(Path.cwd() / "ca.pem")  # type: ignore[index]


def test_warnings_go_to_standard_error(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("POST /carrick/v1/cluster", Reply(201, CLUSTER | {"Warnings": ["no TLS"]}))
    done = cli("cluster", "init", "--etcd", "http://a")
    assert done.err == "WARNING: no TLS\n" and "WARNING" not in done.out


def test_info(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("GET /carrick/v1/cluster", CLUSTER)
    assert cli("cluster", "info").out.splitlines() == [
        f"Cluster:     {'c' * 26}",
        f"Node:        alpha ({'a' * 26})",
        "Nodes:       2",
        "etcd:        https://192.0.2.7:2379 (on this host, by Carrick)",
        "Store:       answers",
        "Authority:   on this host",
        "Certificate: good until 2024-02-05T00:00:00Z",
    ]
    assert json.loads(cli("cluster", "info", "--format", "json").out) == CLUSTER
    assert cli("cluster", "info", "-f", "{{.Name}}").out == "alpha\n"
    daemon.on("GET /carrick/v1/cluster", Reply(404, {"message": "not in one", "remedy": "found one"}))
    done = cli("cluster", "info")
    assert done.code == 3 and "not in one\nfound one" in done.err


def test_token(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("POST /carrick/v1/cluster/token", Reply(201, {"Token": SECRET}))
    assert cli("cluster", "token").out == SECRET + "\n"
    assert daemon.requests[-1].json == {"TTL": 3600, "Uses": 0}
    cli("cluster", "token", "--ttl", "10m", "--uses", "2")
    assert daemon.requests[-1].json == {"TTL": 600, "Uses": 2}


@pytest.mark.parametrize("way", ["flag", "file", "stdin"])
def test_join(cli: Any, daemon: FakeDaemon, tmp_path: Path, way: str) -> None:
    daemon.on("POST /carrick/v1/cluster/join", Reply(201, CLUSTER))
    (tmp_path / "t").write_text(SECRET + "\n")
    words = {
        "flag": ["--token", SECRET],
        "file": ["--token-file", str(tmp_path / "t")],
        "stdin": ["--token-file", "-"],
    }[way]
    done = cli("join", "192.0.2.7", *words, "--name", "n", stdin=SECRET.encode() + b"\n")
    assert done.code == 0 and done.out == f"This host is node alpha of cluster {'c' * 26}.\n"
    assert daemon.requests[-1].json == {"Host": "192.0.2.7", "Token": SECRET, "Name": "n"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a token is needed"),
        (["--token-file", "/nowhere"], "No such file"),
        (["--token", "x", "--token-file", "y"], "cannot be used together"),
        (["--token-file", "-"], "a token is needed"),
    ],
)
def test_join_without_a_token(cli: Any, daemon: FakeDaemon, words: list[str], message: str) -> None:
    done = cli("join", "h", *words)
    assert done.code == 2 and message in done.err and daemon.requests == []


@pytest.mark.parametrize(("status", "code"), [(400, 2), (403, 6), (409, 4), (501, 7), (503, 5)])
def test_the_kinds_of_refusal_are_told_apart(cli: Any, daemon: FakeDaemon, status: int, code: int) -> None:
    daemon.on("POST /carrick/v1/cluster/join", Reply(status, {"message": "no", "remedy": "do this"}))
    done = cli("join", "h", "--token", SECRET)
    assert done.code == code
    assert done.err.startswith("Error response from daemon: no\ndo this") and SECRET not in done.err


def test_leave(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("DELETE /carrick/v1/cluster", Reply(204))
    assert cli("leave").out == "This host has left the cluster.\n"
    assert daemon.requests[-1].query == {}
    cli("leave", "--force")
    assert daemon.requests[-1].query == {"force": "1"}


def test_recover(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("POST /carrick/v1/cluster/recover", {"Records": 17})
    done = cli("cluster", "recover")
    assert done.code == 0 and daemon.requests[-1].body == b""
    assert "17 records" in done.out and "carrick node ls" in done.out and "carrick cluster token" in done.out
    daemon.on(
        "POST /carrick/v1/cluster/recover", Reply(409, {"message": "nothing to recover", "remedy": "look"})
    )
    done = cli("cluster", "recover")
    assert (done.code, done.out) == (4, "") and "nothing to recover\nlook" in done.err
    assert cli("cluster", "recover", "now").code == 1


def test_rotate_keys(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("POST /carrick/v1/cluster/keys", {"WireguardKey": "abc="})
    assert cli("node", "rotate-keys").out == "abc=\n"
    daemon.on(
        "POST /carrick/v1/cluster/keys", Reply(501, {"message": "no key", "remedy": "apt-get install …"})
    )
    done = cli("node", "rotate-keys")
    assert (done.code, done.out) == (7, "") and "no key\napt-get" in done.err


def test_what_cannot_be_read_is_warned_of_in_info(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("GET /carrick/v1/cluster", CLUSTER | {"Warnings": ["the record nodes/x cannot be read"]})
    done = cli("cluster", "info")
    assert done.err == "WARNING: the record nodes/x cannot be read\n" and "nodes/x" not in done.out


def test_node_ls(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("GET /carrick/v1/nodes", [NODE, NODE | {"ID": "b" * 26, "Name": "beta", "Self": False}])
    head, first, second = cli("node", "ls").out.splitlines()
    assert re.split(r"\s{2,}", head.strip()) == [
        *("ID", "NAME", "STATUS", "AVAILABILITY", "ADDRESS", "BLOCKS", "ENDPOINTS", "VERSION"),
    ]
    assert re.split(r"\s{2,}", first.strip()) == [
        *("aaaaaaaaaaaa *", "alpha", "ready", "active", "192.0.2.7", "1", "3", "0.1.0"),
    ]
    assert second.startswith("bbbbbbbbbbbb   ")
    assert cli("node", "ls", "-q", "--no-trunc").out == "a" * 26 + "\n" + "b" * 26 + "\n"
    assert cli("node", "ls", "--format", '{{.Name}} {{.Self}} {{.Label "rack"}}').out.splitlines()[0] == (
        "alpha true 7"
    )
    assert json.loads(cli("node", "ls", "--format", "json").out.splitlines()[1])["Name"] == "beta"


def test_peer_ls(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("GET /carrick/v1/peers", [PEER, PEER | {"Name": "gamma", "RTT": None, "MTU": 0}])
    _, first, second = cli("peer", "ls").out.splitlines()
    assert re.split(r"\s{2,}", first.strip()) == [
        *("beta", "192.0.2.8", "ready", "vxlan", "no", "1450", "0.25ms", "1.5MB", "0B", "the default"),
    ]
    assert re.split(r"\s{2,}", second.strip())[5:7] == ["-", "-"]


def test_node_inspect(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("GET /carrick/v1/nodes/alpha", NODE)
    assert json.loads(cli("node", "inspect", "alpha").out) == [NODE]
    assert cli("node", "inspect", "-f", "{{.API}}", "alpha").out == "192.0.2.7:2377\n"
    done = cli("node", "inspect", "alpha", "nobody")
    assert done.code == 1 and json.loads(done.out) == [NODE] and "page not found" in done.err
    assert cli("node", "inspect", "nobody").code == 3


def test_draining_and_removing(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("POST /carrick/v1/nodes/alpha", Reply(204))
    daemon.on("DELETE /carrick/v1/nodes/alpha", Reply(204))
    assert cli("node", "drain", "alpha").out == "alpha\n"
    assert daemon.requests[-1].json == {"Drain": True}
    assert cli("node", "activate", "alpha").out == "alpha\n"
    assert daemon.requests[-1].json == {"Drain": False}
    done = cli("node", "rm", "--force", "nobody", "alpha")
    assert (done.code, done.out) == (1, "alpha\n") and "page not found" in done.err
    assert daemon.requests[-1].query == {"force": "1"}


def test_update(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("GET /carrick/v1/nodes/alpha", NODE)
    daemon.on("POST /carrick/v1/nodes/alpha", Reply(204))
    words = "--label-add zone=a=b --label-add empty --label-rm rack --address eth1 alpha"
    assert cli("node", "update", *words.split()).out == "alpha\n"
    assert daemon.requests[-1].json == {"Address": "eth1", "Labels": {"zone": "a=b", "empty": ""}}
    assert cli("node", "update", "--label-rm", "nothing", "alpha").code == 2
    assert cli("node", "update", "--label-add", "=x", "alpha").code == 2
    assert cli("node", "update", "alpha").code == 2


def test_hostile_names_stay_in_their_place(cli: Any, daemon: FakeDaemon) -> None:
    cli("node", "rm", "../cluster?force=1")
    assert daemon.requests[-1].target == "/carrick/v1/nodes/..%2Fcluster%3Fforce%3D1"


def test_names_of_nodes_are_completed(daemon: FakeDaemon) -> None:
    daemon.on("GET /carrick/v1/nodes", [NODE, NODE | {"Name": "beta"}])
    app = App(stdin=sys.stdin, out=sys.stdout, err=sys.stderr, environ={"CARRICK_HOST": daemon.address})
    assert [item.value for item in candidates(app, "node", "a")] == ["alpha"]
    app.close()
