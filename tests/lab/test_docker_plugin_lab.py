"""Two Docker engines on two hosts share a network of Carrick's, by the plugin."""

import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from carrick.testing.daemon import eventually
from carrick.testing.dockerd import DOCKERD, Dockerd
from carrick.testing.lab import LabHost, TempLab

_ROOT = Path(__file__).parents[2]
_SOCKET = "/run/docker.sock"
"""Where carrickd looks for an engine to ask."""

_SOON_S = 45.0
_OURS = ("network", "create", "-d", "carrick", "--ipam-driver", "carrick")


@dataclass(frozen=True)
class Engine:
    """A Docker engine on a host that has a carrickd."""

    host: LabHost
    docker: Dockerd

    def network(self, name: str, *options: str) -> None:
        self.docker.do(*_OURS, *options, name)

    def sleeper(self, name: str, network: str, *options: str) -> None:
        self.docker.do("run", "-d", "--name", name, "--network", network, *options, "busybox", "sleep", "1d")

    def reaches(self, container: str, target: str) -> bool:
        return self.docker.run("exec", container, "ping", "-c1", "-W2", target).code == 0

    def soon_reaches(self, container: str, target: str) -> None:
        eventually(lambda: self.reaches(container, target), _SOON_S, f"{container} reaches {target}")

    def endpoint(self, container: str, network: str) -> Any:
        shown = json.loads(self.docker.do("inspect", container))[0]
        return shown["NetworkSettings"]["Networks"][network]

    def clear(self) -> None:
        if containers := self.docker.do("ps", "-aq").split():
            self.docker.do("rm", "-f", *containers)
        for name in self.docker.do("network", "ls", "--filter", "driver=carrick", "-q").split():
            self.docker.do("network", "rm", name)


@dataclass(frozen=True)
class Two:
    lab: TempLab
    first: Engine
    second: Engine

    def network(self, name: str) -> Any:
        """Return a network as Carrick on the first host shows it."""
        return self.first.host.api.get(f"/networks/{name}").json

    def networks(self) -> set[str]:
        names = {
            item["Name"]
            for engine in (self.first, self.second)
            for item in engine.host.api.get("/networks").json
        }
        return names - {"bridge", "host", "none"}


@pytest.fixture(scope="module")
def standing() -> Iterator[Two]:
    if os.geteuid() != 0:
        pytest.skip("makes namespaces and runs containers: needs root")
    if not Path(DOCKERD).exists():
        pytest.skip("no Docker Engine: install Debian's docker.io (scripts/bootstrap dev)")
    directory = Path(tempfile.mkdtemp(prefix="ckplug-"))
    directory.chmod(0o711)
    archive = directory / "busybox.tar"
    archive.write_bytes(
        subprocess.run([_ROOT / "scripts" / "busybox-image"], capture_output=True, check=True).stdout
    )
    engines: list[Engine] = []
    try:
        with TempLab(hosts=2, segments=2, cluster=True) as lab:
            for host in lab.hosts:
                name = f"ckplug-{secrets.token_hex(3)}"
                docker = Dockerd(host, directory / host.name, name, socket=_SOCKET)
                engines.append(Engine(host, docker))
                docker.start()
                docker.import_image(archive)
            yield Two(lab, *engines)
    finally:
        for engine in engines:
            engine.docker.close()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def two(standing: Two, request: pytest.FixtureRequest) -> Iterator[Two]:
    """Both; afterwards each engine removes what it has, and of named networks nothing may be in use."""
    request.node.lab_and_logs = (
        standing.lab,
        {host.name: len(host.log_text()) for host in (*standing.lab.hosts, standing.lab.etcd)},
    )
    yield standing
    standing.lab.mend()
    for engine in (standing.first, standing.second):
        engine.clear()
    standing.lab.remove_all()
    assert standing.networks() == set()


def test_containers_of_two_engines_share_an_overlay(two: Two) -> None:
    two.first.network("shop", "-o", "network=shop", "-o", "driver=overlay", "--subnet", "10.50.0.0/24")
    two.second.network("shop", "--ipam-opt", "network=shop", "--subnet", "10.50.0.0/24")
    two.first.sleeper("one", "shop", "--network-alias", "first")
    two.second.sleeper("two", "shop", "--network-alias", "second")
    assert two.first.endpoint("one", "shop")["IPAddress"] != two.second.endpoint("two", "shop")["IPAddress"]
    two.first.soon_reaches("one", two.second.endpoint("two", "shop")["IPAddress"])
    for name in ("two", "second"):
        two.first.soon_reaches("one", name)
    for name in ("one", "first"):
        two.second.soon_reaches("two", name)
    two.second.host.sleeper("own", "--network", "shop")
    two.first.soon_reaches("one", "own")
    names = {item["Name"] for item in two.network("shop")["Containers"].values()}
    assert names == {"one", "two", "own"}
    two.first.docker.do("rm", "-f", "one")
    eventually(lambda: not two.second.reaches("two", "one"), _SOON_S)


def test_a_routed_network_across_engines(two: Two) -> None:
    two.first.network("land", "-o", "network=land", "-o", "driver=routed", "--subnet", "10.60.0.0/16")
    two.second.network("land", "--ipam-opt", "network=land", "--subnet", "10.60.0.0/16")
    two.first.sleeper("one", "land")
    two.second.sleeper("two", "land")
    two.first.soon_reaches("one", "two")
    two.second.soon_reaches("two", "one")


def test_daemons_are_killed_and_come_back(two: Two) -> None:
    two.first.network(
        "shop", "-o", "network=shop", "-o", "driver=overlay", "--ipv6", "--subnet", "10.51.0.0/24",
        "--subnet", "fd51::/64",
    )  # fmt: skip
    subnets = ("--ipv6", "--subnet", "10.51.0.0/24", "--subnet", "fd51::/64")
    two.second.network("shop", "--ipam-opt", "network=shop", *subnets)
    two.first.sleeper("one", "shop")
    two.second.sleeper("two", "shop")
    two.first.soon_reaches("one", "two")
    two.lab.kill("host2", daemon_only=True)
    # What stands goes on.
    assert two.first.reaches("one", two.second.endpoint("two", "shop")["IPAddress"])
    two.first.docker.kill()
    two.first.docker.start()
    two.first.docker.do("start", "one")
    two.lab.start("host2")
    two.first.soon_reaches("one", "two")
    two.second.soon_reaches("two", "one")
    two.second.sleeper("three", "shop")
    two.first.soon_reaches("one", "three")
    two.second.docker.do("restart", "-t", "0", "two")
    two.first.soon_reaches("one", "two")
