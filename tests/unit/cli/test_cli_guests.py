"""`carrick guest ls` and `carrick gc`, against a daemon that is not one."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from fake_daemon import FakeDaemon

CREATED = datetime.now(UTC) - timedelta(hours=5)
GUEST = {
    "ID": "a" * 64,
    "Engine": "podman",
    "ContainerID": "b" * 64,
    "Name": "web",
    "NetworkID": "c" * 64,
    "Network": "shop",
    "Interface": "eth0",
    "Netns": "/run/netns/x",
    "MacAddress": "02:00:00:00:00:01",
    "IPv4Address": "10.5.0.2/24",
    "IPv6Address": "fd00::2/64",
    "Ports": [{"PrivatePort": 80, "Type": "tcp", "IP": "::", "PublicPort": 8080}],
    "Created": CREATED.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
}


def test_listed(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("GET /carrick/v1/guests", [GUEST])
    lines = cli("guest", "ls").out.splitlines()
    assert lines[0].split("  ")[0] == "CONTAINER ID"
    for word in (
        "b" * 12,
        "web",
        "podman",
        "shop",
        "10.5.0.2/24, fd00::2/64",
        "[::]:8080->80/tcp",
        "5 hours ago",
    ):
        assert word in lines[1]
    assert cli("guest", "ls", "-q").out == "b" * 12 + "\n"
    assert cli("guest", "ls", "--no-trunc", "--format", "{{.ContainerID}}").out == "b" * 64 + "\n"
    cli("guest", "ls", "--engine", "docker")
    assert daemon.requests[-1].target.endswith("guests?engine=docker")
    assert json.loads(cli("guest", "ls", "--format", "json").out)["Engine"] == "podman"


def test_let_go(cli: Any, daemon: FakeDaemon) -> None:
    daemon.on("POST /carrick/v1/guests/prune", [GUEST])
    assert "b" * 12 in cli("gc").out
    cli("gc", "--engine", "docker", "--all")
    assert daemon.requests[-1].target.endswith("prune?engine=docker&all=1")
    done = cli("gc", "--all")
    assert done.code == 2 and "--engine" in done.err
