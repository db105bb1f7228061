"""Debian's Podman runs containers on Carrick's networks: addresses, names, ports, a daemon that restarts."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from carrick.testing.daemon import NEIGHBOUR4, OUTSIDE, Daemon, eventually

from .podman import PODMAN, Podman

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="runs containers: needs root"),
    pytest.mark.skipif(not Path(PODMAN).exists(), reason="needs Debian's podman (scripts/bootstrap dev)"),
]
_WEB = ("sh", "-c", "mkdir /www && hostname >/www/index.html && exec httpd -f -p 80 -h /www")


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    with Daemon(outside=True, resolv_conf=f"nameserver {NEIGHBOUR4}\n") as daemon:
        daemon.do("network", "create", "--subnet", "10.9.0.0/24", "shop")
        found = Podman(daemon)
        found.prepare("shop")
        yield found
        found.run("rm", "-f", "-a", "-t", "0")
        assert not daemon.tracebacks()


@pytest.fixture(autouse=True)
def clean(podman: Podman) -> Iterator[None]:
    """After each test no container of Podman's is left, nor anything of it in Carrick."""
    yield
    podman.do("rm", "-f", "-a", "-t", "0")
    daemon = podman.daemon
    assert daemon.do("guest", "ls", "-q") == ""
    eventually(lambda: not [link for link in daemon.machine.links() if link.startswith("ck")], 30)


def test_containers_find_each_other_and_publish_a_port(podman: Podman) -> None:
    daemon = podman.daemon
    web = podman.start("web", "--network", "shop", "--hostname", "web", "-p", "8080:80", command=_WEB)
    podman.start("client", "--network", "shop")
    address = podman.inspect("web")["NetworkSettings"]["Networks"]["shop"]["IPAddress"]
    assert address.startswith("10.9.0.")
    podman.do("exec", "client", "ping", "-c", "1", "-W", "5", "web")
    podman.do("exec", "web", "ping", "-c", "1", "-W", "5", "client")
    assert podman.do("exec", "client", "wget", "-q", "-O-", "http://web/") == "web"
    podman.do("exec", "client", "ping", "-c", "1", "-W", "5", NEIGHBOUR4)
    assert daemon.fetch("http://192.0.2.1:8080/", netns=OUTSIDE) == "web"
    assert daemon.fetch("http://127.0.0.1:8080/") == "web"
    view = daemon.network("shop")["Containers"][web]
    assert (view["Name"], view["Engine"], view["IPv4Address"]) == ("web", "podman", f"{address}/24")
    podman.do("rm", "-f", "-t", "0", "web")
    assert not daemon.answers("http://192.0.2.1:8080/", netns=OUTSIDE)
    # The port is free for the next.
    podman.start("web", "--network", "shop", "--hostname", "again", "-p", "8080:80", command=_WEB)
    eventually(lambda: daemon.answers("http://127.0.0.1:8080/"), 30)


def test_addresses_macs_and_aliases(podman: Podman) -> None:
    podman.start("db", "--network", "shop:ip=10.9.0.99,mac=02:00:00:00:00:99,alias=primary")
    podman.start("client", "--network", "shop")
    found = podman.do("exec", "client", "nslookup", "primary", "127.0.0.11")
    assert "10.9.0.99" in found
    assert "02:00:00:00:00:99" in podman.do("exec", "db", "ip", "link")
    assert podman.do("exec", "client", "cat", "/etc/resolv.conf").startswith("nameserver 127.0.0.11\n")


def test_with_a_container_of_carricks(podman: Podman) -> None:
    daemon = podman.daemon
    daemon.do("import", str(podman.image), "busybox")
    daemon.sleeper("own", "--network", "shop")
    try:
        podman.start("guest", "--network", "shop")
        podman.do("exec", "guest", "ping", "-c", "1", "-W", "5", "own")
        assert daemon.sh("own", "ping -c 1 -W 5 guest >/dev/null && echo yes") == "yes"
    finally:
        daemon.do("rm", "-f", "own")


def test_two_networks_and_connecting(podman: Podman) -> None:
    daemon = podman.daemon
    daemon.do("network", "create", "--subnet", "10.8.0.0/24", "back")
    podman.use("back")
    try:
        published = ("--hostname", "both", "-p", "8081:80")
        podman.start("both", "--network", "shop", "--network", "back", *published, command=_WEB)
        eventually(lambda: daemon.answers("http://192.0.2.1:8081/", netns=OUTSIDE), 30)
        podman.start("late", "--network", "shop")
        podman.do("network", "connect", "back", "late")
        podman.do("exec", "late", "ping", "-c", "1", "-W", "5", "both")
        assert len(daemon.network("back")["Containers"]) == 2
        podman.do("network", "disconnect", "back", "late")
        assert len(daemon.network("back")["Containers"]) == 1
        # Podman takes that network's name server out of resolv.conf, though it is the other's as well.
        podman.do("exec", "late", "nslookup", "both", "127.0.0.11")
    finally:
        podman.do("rm", "-f", "-a", "-t", "0")
        daemon.do("network", "rm", "back")
        daemon.do("cni", "uninstall", "--name", "back", "--conf-dir", str(podman.conf))


def test_stopping_starting_and_a_daemon_that_restarts(podman: Podman) -> None:
    daemon = podman.daemon
    podman.start("web", "--network", "shop", "--hostname", "web", "-p", "8080:80", command=_WEB)
    podman.start("client", "--network", "shop")
    podman.do("stop", "-t", "0", "client")
    assert len(daemon.network("shop")["Containers"]) == 1
    podman.do("start", "client")
    daemon.kill9()
    # Traffic and names do not need it; what needs it says so.
    podman.do("exec", "client", "ping", "-c", "1", "-W", "5", "web")
    refused = podman.run(
        "run", "--rm", f"--cgroup-parent=/{daemon.name}", "--network", "shop", "busybox", "true"
    )
    assert refused.code != 0
    assert "carrickd does not answer" in refused.err
    podman.do("rm", "-f", "-t", "0", "web")
    daemon.start()
    eventually(lambda: len(daemon.network("shop")["Containers"]) == 1, 30)
    assert not daemon.answers("http://127.0.0.1:8080/")
    podman.start("web", "--network", "shop", "--hostname", "web", "-p", "8080:80", command=_WEB)
    assert podman.do("exec", "client", "wget", "-q", "-O-", "http://web/") == "web"


def test_what_cannot_be_is_said(podman: Podman) -> None:
    daemon = podman.daemon
    run = ("run", "--rm", f"--cgroup-parent=/{daemon.name}")
    taken = podman.start("first", "--network", "shop:ip=10.9.0.50")
    assert taken
    for network, words in (
        ("shop:ip=10.9.0.50", "Address already in use"),
        ("shop:ip=10.200.0.1", "10.200.0.1"),
    ):
        refused = podman.run(*run, "--network", network, "busybox", "true")
        assert refused.code != 0
        assert words in refused.err
    assert len(daemon.network("shop")["Containers"]) == 1
