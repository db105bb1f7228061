"""One network, four engines: a container each of Podman, Docker and Carrick, and a bare CNI sandbox."""

import itertools
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from carrick.testing.daemon import Daemon, eventually
from carrick.testing.dockerd import DOCKERD, SOCKET, Dockerd

from .podman import PODMAN, Podman

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="runs containers: needs root"),
    pytest.mark.skipif(
        not (Path(PODMAN).exists() and Path(DOCKERD).exists()),
        reason="needs Debian's podman and docker.io (scripts/bootstrap dev)",
    ),
    pytest.mark.timeout(300),
]
_CONFIGURATION = f"""
docker_plugin = "/run/docker/plugins/carrick.sock"
docker_engine = "{SOCKET}"
"""
_NAMES = ("own", "pod", "docked", "bare")
"""What they are found by. The sandbox has no name but that one, an alias."""
_BARE = "cni-" + "b" * 12
_ENGINES = {"own": "carrick", "pod": "podman", "docked": "docker", "bare": "cni"}


@dataclass(frozen=True)
class Engines:
    """Four engines, one machine, and on it the network `shop`."""

    carrick: Daemon
    docker: Dockerd
    podman: Podman

    def cni(self, command: str) -> Any:
        """Call the plugin as a container runtime does, for a sandbox that is a namespace and no more."""
        result = self.carrick.machine.run(
            str(self.podman.bin / "carrick"),
            input=json.dumps(
                {
                    **{"cniVersion": "1.0.0", "name": "shop", "type": "carrick"},
                    "runtimeConfig": {"aliases": ["bare"]},
                }
            ),
            environment={
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": "b" * 64,
                "CNI_NETNS": "/run/netns/bare",
                "CNI_IFNAME": "eth0",
                "CNI_PATH": str(self.podman.bin),
            },
        )
        assert result.code == 0, result
        return json.loads(result.out) if result.out else None

    def start_all(self) -> None:
        self.carrick.sleeper("own", "--network", "shop")
        self.podman.start("pod", "--network", "shop")
        self.docker.do("run", "-d", "--name", "docked", "--network", "shop", "busybox", "sleep", "1d")
        self.carrick.machine.do("ip", "netns", "add", "bare")
        self.cni("ADD")

    def attached(self) -> dict[str, Any]:
        """Return what is on the network, by name."""
        found = json.loads(self.carrick.do("network", "inspect", "shop"))[0]["Containers"]
        return {"bare" if item["Name"] == _BARE else item["Name"]: item for item in found.values()}

    def address(self, name: str) -> str:
        return str(self.attached()[name]["IPv4Address"].partition("/")[0])

    def reaches(self, source: str, target: str) -> bool:
        """Ping once from a container, by address or by name."""
        ping = ("ping", "-c1", "-W2", target)
        match source:
            case "own":
                return self.carrick.cli("exec", "own", *ping).code == 0
            case "pod":
                return self.podman.run("exec", "pod", *ping).code == 0
            case "docked":
                return self.docker.run("exec", "docked", *ping).code == 0
        # It has no files of its own: its resolver is asked by hand, and ping by what it says.
        if not target[0].isdigit():
            asked = ("dig", "+short", "+time=2", "+tries=1", "@127.0.0.11", target)
            target = self.carrick.machine.run(*asked, netns="/run/netns/bare").out.strip()
        if not target:
            return False
        return (
            self.carrick.machine.run("busybox", "ping", "-c1", "-W2", target, netns="/run/netns/bare").code
            == 0
        )


@pytest.fixture(scope="module")
def standing() -> Iterator[Engines]:
    directory = Path(tempfile.mkdtemp(prefix="ckmix-"))
    directory.chmod(0o711)
    try:
        with Daemon(configuration=_CONFIGURATION, outside=True) as carrick:
            docker = Dockerd(carrick.machine, directory / "docker", f"ckmix-{secrets.token_hex(3)}")
            carrick.do("network", "create", "--subnet", "10.9.0.0/24", "shop")
            podman = Podman(carrick)
            podman.prepare("shop")
            carrick.do("import", "-c", 'CMD ["sh"]', str(podman.image), "busybox")
            try:
                docker.start()
                docker.import_image(podman.image)
                shared = ("--subnet", "10.9.0.0/24", "--ipam-opt", "network=shop", "-o", "network=shop")
                docker.do("network", "create", "-d", "carrick", "--ipam-driver", "carrick", *shared, "shop")
                yield Engines(carrick, docker, podman)
                assert not carrick.tracebacks()
            finally:
                podman.run("rm", "-f", "-a", "-t", "0")
                carrick.machine.shut_down()
                docker.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def engines(standing: Engines) -> Iterator[Engines]:
    yield standing
    standing.carrick.cli("rm", "-f", "own")
    standing.podman.run("rm", "-f", "-t", "0", "pod")
    standing.docker.run("rm", "-f", "docked")
    standing.carrick.machine.run("ip", "netns", "del", "bare")
    # The kernel takes a namespace down in its own time.
    eventually(lambda: standing.carrick.do("gc") and standing.attached() == {}, 30)


def test_they_reach_each_other_by_address_and_by_name(engines: Engines) -> None:
    engines.start_all()
    eventually(lambda: set(engines.attached()) == set(_NAMES), 30, "Docker's container has its name")
    assert {name: item["Engine"] for name, item in engines.attached().items()} == _ENGINES
    addresses = {name: engines.address(name) for name in _NAMES}
    assert len(set(addresses.values())) == len(_NAMES)
    for source, target in itertools.permutations(_NAMES, 2):
        assert engines.reaches(source, addresses[target]), f"{source} reaches {target} by address"
        eventually(lambda s=source, t=target: engines.reaches(s, t), 30, f"{source} reaches {target} by name")


def test_each_is_removed_by_its_own_engine(engines: Engines) -> None:
    engines.start_all()
    left = set(_NAMES)
    eventually(lambda: set(engines.attached()) == left, 30)
    engines.podman.do("rm", "-f", "-t", "0", "pod")
    left -= {"pod"}
    assert set(engines.attached()) == left
    engines.docker.do("rm", "-f", "docked")
    left -= {"docked"}
    assert set(engines.attached()) == left
    engines.cni("DEL")
    left -= {"bare"}
    assert set(engines.attached()) == left
    engines.carrick.do("rm", "-f", "own")
    assert engines.attached() == {}
    links = [link for link in engines.carrick.machine.links() if link.startswith("ck")]
    assert not [link for link in links if link != "carrick0"]


def test_what_an_engine_left_behind_is_let_go(engines: Engines) -> None:
    engines.start_all()
    eventually(lambda: set(engines.attached()) == set(_NAMES), 30)
    assert engines.carrick.do("gc", "-q") == ""
    # As when the machine's runtime was uninstalled: nobody will ever say that it is gone.
    engines.carrick.machine.do("ip", "netns", "del", "bare")
    eventually(lambda: engines.carrick.do("gc", "-q") or "bare" not in engines.attached(), 30)
    assert set(engines.attached()) == {"own", "pod", "docked"}
    engines.carrick.do("gc", "--engine", "podman", "--all")
    assert set(engines.attached()) == {"own", "docked"}
    # Its engine comes back and removes it: no error.
    engines.podman.do("rm", "-f", "-t", "0", "pod")
    assert engines.reaches("own", engines.address("docked"))


def test_a_daemon_killed_in_the_middle(engines: Engines) -> None:
    engines.start_all()
    eventually(lambda: set(engines.attached()) == set(_NAMES), 30)
    before = {name: engines.address(name) for name in _NAMES}
    engines.carrick.kill9()
    assert engines.reaches("docked", before["pod"]) and engines.reaches("pod", "own")
    engines.carrick.start()
    assert {name: engines.address(name) for name in _NAMES} == before
    for source, target in itertools.permutations(_NAMES, 2):
        assert engines.reaches(source, before[target])


def test_the_day_of_each_engine_after_another(engines: Engines) -> None:
    """Addresses are given back whoever had them."""
    for _ in range(3):
        engines.start_all()
        engines.podman.do("rm", "-f", "-t", "0", "pod")
        engines.docker.do("rm", "-f", "docked")
        engines.cni("DEL")
        engines.carrick.machine.do("ip", "netns", "del", "bare")
        engines.carrick.do("rm", "-f", "own")
    usage = engines.carrick.api.get("/networks/shop?verbose=true").json["Status"]["IPAM"]["Subnets"]
    # Network, gateway and broadcast addresses alone.
    assert usage["10.9.0.0/24"]["IPsInUse"] <= 3, usage
