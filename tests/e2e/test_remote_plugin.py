"""A third-party Docker plugin makes networks and gives addresses for Carrick's own containers."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from carrick.testing.daemon import Daemon, eventually

SOCKET = "/run/docker/plugins/tp.sock"


class Plugin:
    """`carrick.testing.fake_plugin` on the daemon's machine, at the usual place."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self.daemon.machine.command(sys.executable, "-m", "carrick.testing.fake_plugin", SOCKET),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        eventually(lambda: self._call("Test.State"), 60)

    def kill(self) -> None:
        """End it without a chance to tidy up: its socket stays, and nobody listens."""
        if self._process is None:
            return
        pid = self.daemon.machine.path(SOCKET.replace(".sock", ".pid")).read_text()
        self.daemon.machine.do("kill", "-9", pid)
        self._process.wait(30)
        self._process = None

    def _call(self, method: str, body: Any = None) -> str:
        return self.daemon.machine.run(
            *("curl", "-s", "--unix-socket", SOCKET, "-d", json.dumps(body or {}), f"http://plugin/{method}")
        ).out

    def behave(self, method: str, **behaviour: Any) -> None:
        self._call("Test.Behave", {"Method": method, **behaviour})

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._call("Test.State"))
        return found

    def methods(self) -> list[str]:
        return [method for method, _ in self.state()["calls"]]

    def links(self) -> list[str]:
        """Return the links that it has made."""
        return [name for name in self.daemon.machine.links() if name.startswith("fp")]

    def is_empty(self) -> bool:
        state = self.state()
        return not (state["networks"] or state["endpoints"] or state["pools"])


@pytest.fixture
def plugin(daemon: Daemon) -> Iterator[Plugin]:
    """Afterwards the plugin must have got everything back."""
    found = Plugin(daemon)
    found.start()
    yield found
    if not daemon.is_running():
        daemon.start()
    daemon.remove_all()
    eventually(found.is_empty, 60, "the plugin has got everything back")
    found.kill()
    eventually(lambda: not found.links(), 30)


def pings(daemon: Daemon, source: str, target: str) -> bool:
    return daemon.exec(source, "ping", "-c", "1", "-W", "2", target).code == 0


def routes(daemon: Daemon, name: str) -> set[str]:
    return {line.strip() for line in daemon.machine.do("ip", "route", netns=daemon.netns(name)).splitlines()}


def test_a_network_of_its_own(daemon: Daemon, plugin: Plugin) -> None:
    daemon.do("network", "create", "-d", "tp", "--ipam-driver", "tp", "-o", "a=b", "--ipv6", "net")
    found = daemon.network("net")
    assert (found["Driver"], found["Scope"], found["IPAM"]["Driver"]) == ("tp", "local", "tp")
    assert [item["Subnet"] for item in found["IPAM"]["Config"]] == ["10.201.0.0/24", "fd00:201::/64"]
    daemon.web("web", "--network", "net", "-p", "8080:80")
    daemon.sleeper("box", "--network", "net", "--network-alias", "crate")
    assert (daemon.address("web"), daemon.address6("web")) == ("10.201.0.2", "fd00:201::2")
    assert {item["Name"] for item in daemon.network("net")["Containers"].values()} == {"web", "box"}
    eventually(lambda: pings(daemon, "box", "web"), 30)
    assert pings(daemon, "web", "crate")
    assert daemon.dig("box", "web") == ["10.201.0.2"]
    assert daemon.dig("box", "web", "AAAA") == ["fd00:201::2"]
    host_name = daemon.sh("web", "hostname")
    assert daemon.sh("box", "wget -qO- http://web/") == host_name
    assert daemon.machine.links(daemon.netns("web")) == ["lo", "fake0"]
    told = routes(daemon, "web")
    assert {
        "default via 10.201.0.1 dev fake0 proto 202",
        "198.51.100.0/24 via 10.201.0.1 dev fake0 proto 202",
        "203.0.113.7 dev fake0 proto 202 scope link",
    } <= told
    created = [request for method, request in plugin.state()["calls"] if method.endswith("CreateEndpoint")]
    assert created[0]["Options"]["com.docker.network.portmap"][0]["HostPort"] == 8080
    daemon.do("rm", "-f", "web", "box")
    daemon.do("network", "rm", "net")
    assert plugin.is_empty()


def test_its_network_and_our_addresses(daemon: Daemon, plugin: Plugin) -> None:
    daemon.do("network", "create", "-d", "tp", "--subnet", "10.9.0.0/24", "net")
    daemon.sleeper("one", "--network", "net", "--ip", "10.9.0.7", "--mac-address", "02:00:00:00:00:07")
    daemon.sleeper("two", "--network", "net")
    assert daemon.address("one") == "10.9.0.7"
    link = json.loads(daemon.machine.do("ip", "-j", "link", "show", "fake0", netns=daemon.netns("one")))
    assert link[0]["address"] == "02:00:00:00:00:07"
    eventually(lambda: pings(daemon, "two", "one"), 30)


def test_our_network_and_its_addresses(daemon: Daemon, plugin: Plugin) -> None:
    daemon.do("network", "create", "--ipam-driver", "tp", "--subnet", "10.44.0.0/24", "net")
    daemon.web("web", "--network", "net", "-p", "8080:80", "--ip", "10.44.0.50")
    daemon.sleeper("box", "--network", "net")
    assert (daemon.address("web"), daemon.address("box")) == ("10.44.0.50", "10.44.0.2")
    assert daemon.fetch("http://127.0.0.1:8080/", timeout_s=5)
    assert pings(daemon, "box", "web")
    assert plugin.state()["pools"] == {"pool-10.44.0.0/24": ["10.44.0.1", "10.44.0.2", "10.44.0.50"]}
    daemon.do("stop", "box")
    assert plugin.state()["pools"] == {"pool-10.44.0.0/24": ["10.44.0.1", "10.44.0.50"]}


def test_between_other_networks(daemon: Daemon, plugin: Plugin) -> None:
    daemon.do("network", "create", "-d", "tp", "net")
    daemon.sleeper("box")
    daemon.sleeper("peer", "--network", "net")
    daemon.do("network", "connect", "net", "box")
    assert daemon.machine.links(daemon.netns("box")) == ["lo", "eth0", "fake1"]
    eventually(lambda: pings(daemon, "box", "peer"), 30)
    daemon.do("network", "disconnect", "net", "box")
    assert daemon.machine.links(daemon.netns("box")) == ["lo", "eth0"]
    assert len(plugin.state()["endpoints"]) == 1


def test_the_daemon_is_killed(daemon: Daemon, plugin: Plugin) -> None:
    daemon.do("network", "create", "-d", "tp", "--ipam-driver", "tp", "net")
    daemon.sleeper("one", "--network", "net")
    daemon.sleeper("two", "--network", "net")
    daemon.restart()
    eventually(lambda: pings(daemon, "one", "two"), 30)
    plugin.behave("NetworkDriver.Join", Hang=True)
    daemon.do(
        "create", "--name", "three", "--network", "net", "--stop-signal", "KILL", "busybox", "sleep", "1d"
    )
    starting = in_background(daemon, "start", "three")
    eventually(lambda: len(plugin.state()["endpoints"]) == 3, 30)
    daemon.kill9()
    starting.join()
    plugin.behave("NetworkDriver.Join")
    daemon.start()
    eventually(lambda: len(plugin.state()["endpoints"]) == 2, 60)
    daemon.do("start", "three")
    eventually(lambda: pings(daemon, "three", "one"), 30)


def test_the_plugin_is_restarted(daemon: Daemon, plugin: Plugin) -> None:
    daemon.do("network", "create", "-d", "tp", "net")
    daemon.sleeper("one", "--network", "net")
    plugin.kill()
    # A container ends without it; what it has to be told waits.
    daemon.do("rm", "-f", "one", timeout_s=120)
    plugin.start()
    daemon.sleeper("two", "--network", "net")
    daemon.sleeper("three", "--network", "net")
    eventually(lambda: pings(daemon, "two", "three"), 30)
    eventually(lambda: len(plugin.state()["endpoints"]) == 2, 60)


def test_what_it_refuses(daemon: Daemon, plugin: Plugin) -> None:
    assert "could not find plugin lost in v1 plugin registry" in daemon.refused(
        "network", "create", "-d", "lost", "net"
    )
    assert "remote: the test says no room" in daemon.refused(
        "network", "create", "-d", "tp", "-o", "refuse=no room", "net"
    )
    assert plugin.is_empty()
    daemon.do("network", "create", "-d", "tp", "net")
    plugin.behave("NetworkDriver.CreateEndpoint", Err="no more")
    links = set(daemon.machine.links())
    result = daemon.cli("run", "-d", "--name", "box", "--network", "net", "busybox", "sleep", "1d")
    assert result.code == 125
    assert "failed to create endpoint box on network net: remote: no more" in result.err
    assert set(daemon.machine.links()) == links
    plugin.behave("NetworkDriver.CreateEndpoint")
    daemon.do("start", "box")


def test_one_that_hangs_holds_up_nobody_else(daemon: Daemon, plugin: Plugin) -> None:
    daemon.do("network", "create", "-d", "tp", "net")
    plugin.behave("NetworkDriver.CreateEndpoint", Hang=True)
    starting = in_background(
        daemon, "run", "-d", "--name", "box", "--network", "net", "busybox", "sleep", "1d"
    )
    eventually(lambda: "NetworkDriver.CreateEndpoint" in plugin.methods(), 30)
    daemon.sleeper("other")
    daemon.do("network", "create", "another")
    daemon.do("network", "rm", "another")
    daemon.do("rm", "-f", "other")
    assert starting.is_alive()
    starting.join()
    error = daemon.container("box")["State"]["Error"]
    assert 'plugin "tp" did not answer NetworkDriver.CreateEndpoint within 30 s' in error
    plugin.behave("NetworkDriver.CreateEndpoint")
    daemon.do("start", "box")


def in_background(daemon: Daemon, *arguments: str) -> threading.Thread:
    """Run the CLI, whatever becomes of it."""

    def run() -> None:
        with suppress(Exception):
            daemon.cli(*arguments, timeout_s=150)

    thread = threading.Thread(target=run, name=" ".join(arguments))
    thread.start()
    return thread
