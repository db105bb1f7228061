"""A real Docker Engine on networks of Carrick's, by the plugin: what users do, and either daemon killed."""

import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from carrick.testing.daemon import Daemon, eventually
from carrick.testing.dockerd import DOCKERD, SOCKET, Dockerd

_ROOT = Path(__file__).parents[2]
_CONFIGURATION = f"""
docker_plugin = "/run/docker/plugins/carrick.sock"
docker_engine = "{SOCKET}"
"""
_OURS = ("-d", "carrick", "--ipam-driver", "carrick")
_PREDEFINED = {"bridge", "host", "none"}
_SOON_S = 30.0


@dataclass(frozen=True)
class Both:
    """Both daemons, on one machine."""

    carrick: Daemon
    docker: Dockerd

    def network(self, name: str, *options: str) -> str:
        """Create a network in Docker; return its id."""
        return self.docker.do("network", "create", *_OURS, *options, name)

    def sleeper(self, name: str, network: str, *options: str) -> str:
        return self.docker.do(
            "run", "-d", "--name", name, "--network", network, *options, "busybox", "sleep", "1d"
        )

    def inspect(self, kind: str, name: str) -> Any:
        return json.loads(self.docker.do(kind, "inspect", name))[0]

    def endpoint(self, container: str, network: str) -> Any:
        return self.inspect("container", container)["NetworkSettings"]["Networks"][network]

    def sh(self, container: str, script: str) -> str:
        """Run a script in a container; return its output, whatever its exit code."""
        result = self.docker.run("exec", container, "sh", "-c", script)
        return result.out + result.err

    def reaches(self, container: str, target: str) -> bool:
        return self.docker.run("exec", container, "ping", "-c1", "-W2", target).code == 0

    def soon_reaches(self, container: str, target: str) -> None:
        eventually(lambda: self.reaches(container, target), _SOON_S, f"{container} reaches {target}")

    def carrick_networks(self) -> set[str]:
        """Return the networks that Carrick has beyond its own."""
        return {item["Name"] for item in self.carrick.api.get("/networks").json} - _PREDEFINED

    def of(self, docker_id: str) -> Any:
        """Return the Carrick network that stands for a Docker network."""
        reply = self.carrick.api.get(f"/networks/docker-{docker_id[:12]}")
        assert reply.status == 200, reply
        return reply.json

    def clear(self) -> None:
        """Remove everything, by Docker alone; but for the networks that are no business of Docker's."""
        if containers := self.docker.do("ps", "-aq").split():
            self.docker.do("rm", "-f", *containers)
        for name in self.docker.do("network", "ls", "--format", "{{.Name}}").split():
            if name not in _PREDEFINED:
                self.docker.do("network", "rm", name)


@pytest.fixture(scope="module")
def standing() -> Iterator[Both]:
    if os.geteuid() != 0:
        pytest.skip("starts two engines: needs root")
    if not Path(DOCKERD).exists():
        pytest.skip("no Docker Engine: install Debian's docker.io (scripts/bootstrap dev)")
    directory = Path(tempfile.mkdtemp(prefix="ckplug-"))
    directory.chmod(0o711)
    archive = directory / "busybox.tar"
    archive.write_bytes(
        subprocess.run([_ROOT / "scripts" / "busybox-image"], capture_output=True, check=True).stdout
    )
    try:
        with Daemon(configuration=_CONFIGURATION, outside=True) as carrick:
            docker = Dockerd(carrick.machine, directory / "docker", f"ckplug-{secrets.token_hex(3)}")
            try:
                docker.start()
                docker.import_image(archive)
                yield Both(carrick, docker)
                assert not carrick.tracebacks()
            finally:
                carrick.machine.shut_down()
                docker.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def both(standing: Both) -> Iterator[Both]:
    """Both; afterwards Docker removes all it has, and nothing of it may be left in Carrick."""
    yield standing
    standing.clear()
    left = standing.carrick_networks()
    links = [link for link in standing.carrick.machine.links() if link.startswith(("ckd", "lan"))]
    standing.carrick.remove_all()
    for link in links:
        standing.carrick.machine.run("ip", "link", "del", link)
    assert not left and not links


# --- What users do -----------------------------------------------------------------------------------


def test_containers_reach_each_other_by_address_and_by_name(both: Both) -> None:
    both.network("net", "-o", "driver=bridge")
    both.sleeper("one", "net", "--network-alias", "first", "--hostname", "uno")
    both.sleeper("two", "net")
    assert both.reaches("two", both.endpoint("one", "net")["IPAddress"])
    for name in ("one", "first", "uno", both.inspect("container", "one")["Id"][:12]):
        both.soon_reaches("two", name)
    both.soon_reaches("one", "two")


def test_a_name_is_there_when_the_first_command_of_another_container_asks(both: Both) -> None:
    both.network("net")
    both.sleeper("server", "net")
    both.sleeper("witness", "net")
    both.soon_reaches("witness", "server")
    for _ in range(3):
        said = both.docker.do("run", "--rm", "--network", "net", "busybox", "ping", "-c1", "-W2", "server")
        assert "1 packets received" in said


def test_inspect_shows_the_network_in_docker_and_in_carrick(both: Both) -> None:
    identifier = both.network("net", "-o", "driver=bridge", "-o", "com.docker.network.driver.mtu=1400")
    container = both.sleeper("one", "net")
    shown = both.inspect("network", "net")
    subnet = shown["IPAM"]["Config"][0]["Subnet"]
    assert (shown["Driver"], shown["Scope"], shown["IPAM"]["Driver"]) == ("carrick", "local", "carrick")
    mine = both.of(identifier)
    assert (mine["Driver"], mine["IPAM"]["Config"][0]["Subnet"]) == ("bridge", subnet)
    theirs = shown["Containers"][container]
    eventually(lambda: container in both.of(identifier)["Containers"], _SOON_S)
    ours = both.of(identifier)["Containers"][container]
    assert ours["Engine"] == "docker" and ours["Name"] == "one"
    assert (ours["IPv4Address"], ours["MacAddress"]) == (theirs["IPv4Address"], theirs["MacAddress"])
    inside = both.sh("one", "ip addr show eth0; ip route")
    assert "mtu 1400" in inside and theirs["IPv4Address"] in inside and theirs["MacAddress"] in inside
    assert f"default via {shown['IPAM']['Config'][0]['Gateway']}" in inside


def test_addresses_names_and_routes_as_they_are_asked_for(both: Both) -> None:
    both.network(
        "net", "--ipv6", "--subnet", "fd77::/64", "--subnet", "10.77.0.0/24", "--ip-range", "10.77.0.128/25",
        "--gateway", "10.77.0.254", "--aux-address", "router=10.77.0.129",
    )  # fmt: skip
    both.sleeper("free", "net")
    both.sleeper(
        "fixed", "net", "--ip", "10.77.0.7", "--ip6", "fd77::7", "--mac-address", "02:11:22:33:44:55"
    )
    free, fixed = both.endpoint("free", "net"), both.endpoint("fixed", "net")
    assert free["IPAddress"] == "10.77.0.128" and free["Gateway"] == "10.77.0.254"
    assert (fixed["IPAddress"], fixed["GlobalIPv6Address"]) == ("10.77.0.7", "fd77::7")
    assert fixed["MacAddress"] == "02:11:22:33:44:55"
    inside = both.sh("fixed", "ip addr; ip route; ip -6 route")
    assert {"10.77.0.7/24", "fd77::7/64", "02:11:22:33:44:55"} <= set(inside.split())
    assert "default via 10.77.0.254" in inside and "default via fd77::1" in inside
    for target in ("fixed", "10.77.0.7", "fd77::7"):
        both.soon_reaches("free", target)
    both.sleeper("third", "net")
    assert both.endpoint("third", "net")["IPAddress"] == "10.77.0.130"
    refused = both.docker.fails(
        *("run", "--name", "late", "--network", "net", "--ip", "10.77.0.7", "busybox", "true")
    )
    assert "Address already in use" in refused


def test_ports_are_published_and_given_back(both: Both) -> None:
    both.network("net")
    script = "echo hello >/index.html; exec httpd -f -h / -p 80"
    both.docker.do(
        *("run", "-d", "--name", "web", "--network", "net", "-p", "8080:80", "busybox", "sh", "-c", script)
    )
    for address in ("192.0.2.1", "[2001:db8:2::1]"):
        eventually(
            lambda url=f"http://{address}:8080/": (
                both.carrick.fetch(url, netns="/run/netns/outside") == "hello"
            ),
            _SOON_S,
        )
    refused = both.docker.fails(
        "run", "--name", "late", "--network", "net", "-p", "8080:80", "busybox", "true"
    )
    assert "port is already allocated" in refused
    both.docker.do("rm", "-f", "web", "late")
    both.docker.do("run", "--rm", "--network", "net", "-p", "8080:80", "busybox", "true")


def test_connect_and_disconnect(both: Both) -> None:
    both.network("first")
    both.network("second", "--subnet", "10.78.0.0/24")
    both.sleeper("one", "first")
    both.sleeper("two", "second")
    assert not both.reaches("two", "one")
    both.docker.do("network", "connect", "--alias", "also", "second", "one")
    assert "10.78.0." in both.sh("one", "ip addr show eth1")
    both.soon_reaches("two", "also")
    both.soon_reaches("one", "two")
    both.docker.do("network", "disconnect", "second", "one")
    assert "eth1" not in both.sh("one", "ip addr")
    assert not both.reaches("two", "also")
    both.docker.do("network", "connect", "second", "one")
    both.soon_reaches("two", "one")


def test_an_internal_network_leads_nowhere_else(both: Both) -> None:
    both.network("net", "--internal")
    both.sleeper("one", "net")
    both.sleeper("two", "net")
    assert "default" not in both.sh("one", "ip route")
    assert both.sh("one", "ls /sys/class/net").split() == ["eth0", "lo"]
    both.soon_reaches("one", "two")
    assert not both.reaches("one", "192.0.2.2")


def test_a_container_reaches_the_outside(both: Both) -> None:
    both.network("net")
    both.sleeper("one", "net")
    assert both.reaches("one", "192.0.2.2")


def test_a_container_is_found_by_its_new_name(both: Both) -> None:
    both.network("net")
    both.sleeper("old", "net")
    both.sleeper("two", "net")
    both.soon_reaches("two", "old")
    both.docker.do("rename", "old", "new")
    both.soon_reaches("two", "new")


def test_what_only_docker_knows_is_asked_of_docker(both: Both) -> None:
    both.network("net")
    both.docker.do("network", "create", "docker-own")
    both.sleeper("elsewhere", "docker-own")
    both.sleeper("one", "net")
    both.docker.do("network", "connect", "docker-own", "one")
    both.soon_reaches("one", "elsewhere")


def test_restarted_containers_come_back_with_their_names(both: Both) -> None:
    both.network("net", "--subnet", "10.79.0.0/24")
    both.sleeper("one", "net", "--ip", "10.79.0.9")
    both.sleeper("two", "net")
    for _ in range(3):
        both.docker.do("restart", "-t", "0", "one")
        assert both.endpoint("one", "net")["IPAddress"] == "10.79.0.9"
        both.soon_reaches("two", "one")


def test_macvlan(both: Both) -> None:
    do = both.carrick.machine.do
    do("ip", "link", "add", "lan", "type", "veth", "peer", "name", "lan-peer")
    do("ip", "link", "set", "lan", "up")
    do("ip", "link", "set", "lan-peer", "up")
    both.network(
        "net",
        "-o",
        "driver=macvlan",
        "-o",
        "parent=lan",
        "--subnet",
        "10.80.0.0/24",
        "--gateway",
        "10.80.0.1",
    )
    both.sleeper("one", "net")
    both.sleeper("two", "net")
    both.soon_reaches("one", "two")
    assert "default via 10.80.0.1" in both.sh("one", "ip route")
    both.clear()
    do("ip", "link", "del", "lan")


# --- Addresses of others, networks of others ---------------------------------------------------------


def test_docker_s_own_ipam_will_do(both: Both) -> None:
    both.docker.do("network", "create", "-d", "carrick", "-o", "driver=bridge", "net")
    both.sleeper("one", "net")
    both.sleeper("two", "net")
    both.soon_reaches("one", "two")
    both.docker.do("restart", "-t", "0", "one")
    both.soon_reaches("one", "two")


def test_without_an_ipam_carrick_gives_the_addresses(both: Both) -> None:
    both.docker.do("network", "create", "-d", "carrick", "--ipam-driver", "null", "net")
    both.sleeper("one", "net")
    both.sleeper("two", "net")
    both.soon_reaches("one", "two")
    assert "default via" in both.sh("one", "ip route")


def test_addresses_for_a_driver_of_docker_s_own(both: Both) -> None:
    do = both.carrick.machine.do
    do("ip", "link", "add", "lan", "type", "veth", "peer", "name", "lan-peer")
    do("ip", "link", "set", "lan", "up")
    do("ip", "link", "set", "lan-peer", "up")
    options = ("-o", "parent=lan", "--subnet", "10.84.0.0/24")
    both.carrick.do("network", "create", "-d", "macvlan", *options, "lan")
    both.docker.do(
        *("network", "create", "-d", "macvlan", *options, "--ipam-driver", "carrick"),
        *("--ipam-opt", "network=lan", "theirs"),
    )
    both.network("ours", "--ipam-opt", "network=lan", "--subnet", "10.84.0.0/24")
    both.sleeper("one", "theirs")
    both.sleeper("two", "ours")
    addresses = {both.endpoint("one", "theirs")["IPAddress"], both.endpoint("two", "ours")["IPAddress"]}
    assert len(addresses) == 2 and all(address.startswith("10.84.0.") for address in addresses)
    assert both.reaches("one", both.endpoint("two", "ours")["IPAddress"])
    both.clear()
    assert both.carrick_networks() == {"lan"}
    both.carrick.do("network", "rm", "lan")
    do("ip", "link", "del", "lan")


def test_a_network_is_shared_with_carrick_s_own_containers(both: Both) -> None:
    archive = subprocess.run([_ROOT / "scripts" / "busybox-image"], capture_output=True, check=True).stdout
    reply = both.carrick.api.call("POST", "/images/create?fromSrc=-&repo=busybox&tag=latest", raw=archive)
    assert reply.status == 200
    both.carrick.do("network", "create", "--subnet", "10.88.0.0/24", "shop")
    both.carrick.sleeper("own", "--network", "shop")
    both.network("shop", "--ipam-opt", "network=shop", "--subnet", "10.88.0.0/24")
    both.sleeper("guest", "shop")
    both.soon_reaches("guest", "own")
    eventually(lambda: both.carrick.exec("own", "ping", "-c1", "-W2", "guest").code == 0, _SOON_S)
    names = {item["Name"]: item["Engine"] for item in both.carrick.network("shop")["Containers"].values()}
    assert names == {"own": "carrick", "guest": "docker"}
    both.clear()
    assert both.carrick_networks() == {"shop"}
    both.carrick.do("rm", "-f", "own")
    both.carrick.do("network", "rm", "shop")


def test_a_named_network_is_made_and_stays(both: Both) -> None:
    both.network("net", "-o", "network=kept")
    both.sleeper("one", "net")
    both.clear()
    assert both.carrick_networks() == {"kept"}
    both.carrick.do("network", "rm", "kept")


def test_docker_is_told_why_it_cannot_have_a_network(both: Both) -> None:
    both.carrick.do("network", "create", "--subnet", "10.88.0.0/24", "shop")
    ours = ("network", "create", "-d", "carrick")
    for options, said in (
        # Docker asks for ever, if it is not told off: the host has a route to a network that stands.
        (("--ipam-driver", "carrick", "--ipam-opt", "network=shop"), "--subnet 10.88.0.0/24"),
        (("-o", "network=shop"), "network shop has 10.88.0.0/24"),
        (("--ipam-driver", "carrick", "--subnet", "10.88.0.0/16"), "overlaps"),
        (("--ipam-driver", "carrick", "--ipam-opt", "colour=red"), "unknown IPAM option colour"),
        (("--ipam-driver", "carrick", "-o", "driver=pigeon"), "pigeon"),
        (("--ipam-driver", "carrick", "-o", "driver=overlay"), "cluster"),
        (("--ipam-driver", "carrick", "-o", "com.docker.network.bridge.colour=red"), "unknown bridge option"),
        (
            ("--ipam-driver", "carrick", "--ipam-opt", "network=shop", "--subnet", "10.88.0.0/24",
             "-o", "driver=macvlan"), "its driver is bridge",
        ),
    ):  # fmt: skip
        assert said in both.docker.fails(*ours, *options, "net"), options
        assert both.carrick_networks() == {"shop"}
    both.carrick.do("network", "rm", "shop")


# --- Either daemon goes and comes back ---------------------------------------------------------------


def test_carrickd_is_killed_and_comes_back(both: Both) -> None:
    both.network("net", "--ipv6", "--subnet", "fd81::/64", "--subnet", "10.81.0.0/24")
    both.sleeper("one", "net", "-p", "8081:80")
    both.sleeper("two", "net")
    both.soon_reaches("one", "two")
    both.carrick.kill9()
    # Names are answered meanwhile as well.
    assert both.reaches("one", "two") and both.reaches("two", "10.81.0.2")
    both.carrick.start()
    both.soon_reaches("one", "two")
    both.sleeper("three", "net")
    assert both.endpoint("three", "net")["IPAddress"] == "10.81.0.4"
    both.soon_reaches("one", "three")
    both.docker.do("restart", "-t", "0", "two")
    both.soon_reaches("three", "two")
    both.network("another", "-o", "driver=bridge")
    both.sleeper("four", "another")


def test_carrickd_is_away_while_containers_end(both: Both) -> None:
    identifier = both.network("net")
    both.sleeper("one", "net")
    both.carrick.kill9()
    with ThreadPoolExecutor(1) as pool:
        # Docker tries again for some seconds.
        removing = pool.submit(both.docker.run, "rm", "-f", "one")
        both.carrick.start()
        removing.result()
    both.docker.run("rm", "-f", "one")
    eventually(lambda: not both.of(identifier)["Containers"], _SOON_S)


def test_carrickd_is_killed_again_and_again_while_containers_come_and_go(both: Both) -> None:
    both.network("net", "--subnet", "10.82.0.0/24")

    def churn(number: int) -> None:
        for turn in range(3):
            name = f"c{number}-{turn}"
            started = both.docker.run(
                "run", "-d", "--name", name, "--network", "net", "busybox", "sleep", "1d"
            )
            if started.code != 0:
                # What Docker could not undo while there was nobody, it does on the way out.
                assert re.search("carrick|Driver|plugin|EOF|connection|endpoint", started.err), started
            both.docker.run("rm", "-f", name)

    with ThreadPoolExecutor(2) as pool:
        churning = [pool.submit(churn, number) for number in range(2)]
        for _ in range(3):
            both.carrick.kill9()
            both.carrick.start()
        for each in churning:
            each.result()
    both.sleeper("one", "net")
    both.sleeper("two", "net")
    both.soon_reaches("one", "two")


def test_dockerd_is_killed_and_comes_back(both: Both) -> None:
    identifier = both.network("net", "--subnet", "10.83.0.0/24")
    both.network("named", "-o", "network=kept")
    both.sleeper("one", "net", "--restart", "always", "--ip", "10.83.0.9", "-p", "8083:80")
    both.sleeper("two", "net")
    both.sleeper("three", "named")
    both.soon_reaches("two", "one")
    both.docker.kill()
    both.docker.start()
    eventually(lambda: both.inspect("container", "one")["State"]["Running"], 60.0)
    both.docker.do("start", "two", "three")
    assert both.endpoint("one", "net")["IPAddress"] == "10.83.0.9"
    both.soon_reaches("two", "one")
    both.soon_reaches("one", "two")
    eventually(lambda: len(both.of(identifier)["Containers"]) == 2, _SOON_S)
    both.clear()
    assert both.carrick_networks() == {"kept"}
    both.carrick.do("network", "rm", "kept")


def test_both_are_killed_and_come_back(both: Both) -> None:
    identifier = both.network("net")
    both.sleeper("one", "net")
    both.sleeper("two", "net")
    both.docker.kill()
    both.carrick.kill9()
    both.carrick.start()
    both.docker.start()
    both.docker.do("start", "one", "two")
    both.soon_reaches("one", "two")
    eventually(lambda: len(both.of(identifier)["Containers"]) == 2, _SOON_S)
