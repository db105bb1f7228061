"""Third-party CNI plugins make networks for Carrick's own containers: Debian's, and bad ones."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from carrick.testing.daemon import HOST4, OUTSIDE, Daemon, Result, eventually

REFERENCE = "/usr/lib/cni"
pytestmark = pytest.mark.skipif(
    not Path(REFERENCE, "host-local").exists(),
    reason="needs Debian's containernetworking-plugins (scripts/bootstrap dev)",
)


class Plugins:
    """Configurations with state of their own, and plugins written for a test."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.directory = daemon.directory / "cni"
        self.directory.mkdir(exist_ok=True)
        self.data = self.directory / "leases"
        # It goes on after the address that it gave last.
        shutil.rmtree(self.data, ignore_errors=True)

    def ipam(self, subnet: str = "10.77.0.0/24", **more: Any) -> dict[str, Any]:
        return {"type": "host-local", "dataDir": str(self.data), "ranges": [[{"subnet": subnet}]], **more}

    def conflist(self, *plugins: dict[str, Any], name: str = "third") -> str:
        """Write a configuration; return its path."""
        path = self.directory / f"{name}.conflist"
        path.write_text(json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": list(plugins)}))
        return str(path)

    def chain(self) -> str:
        return self.conflist(
            {
                "type": "bridge",
                "bridge": "third0",
                "isDefaultGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": self.ipam(),
            },
            {"type": "firewall", "backend": "iptables"},
            {"type": "portmap", "capabilities": {"portMappings": True}},
            {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1"}},
        )

    def script(self, name: str, text: str) -> str:
        """Write a plugin; return a search path that has it and the reference plugins."""
        path = self.directory / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return f"{self.directory}:{REFERENCE}"

    def create(self, conflist: str, *options: str, name: str = "net") -> None:
        words = [word for option in (f"conflist={conflist}", *options) for word in ("-o", option)]
        self.daemon.do("network", "create", "-d", "cni", *words, name)

    def leases(self, name: str = "third") -> list[str]:
        """Return the addresses that host-local has given."""
        directory = self.data / name
        return sorted(item.name for item in directory.glob("[0-9]*")) if directory.exists() else []

    def rules(self) -> list[str]:
        """Return the rules of iptables that speak of one container or one port."""
        text = self.daemon.machine.do("iptables-save")
        return [line for line in text.splitlines() if "10.77." in line or "CNI-DN" in line]


@pytest.fixture
def plugins(daemon: Daemon) -> Iterator[Plugins]:
    """Afterwards nothing that a plugin made for a container may be left."""
    found = Plugins(daemon)
    before = set(daemon.machine.links())
    yield found
    if not daemon.is_running():
        daemon.start()
    daemon.remove_all()
    eventually(lambda: not found.leases() and not found.rules(), 60, "plugins were told to give all back")
    for link in ("third0",):
        daemon.machine.run("ip", "link", "del", link)
    eventually(lambda: not set(daemon.machine.links()) - before, 60)


def pings(daemon: Daemon, source: str, target: str) -> bool:
    return daemon.exec(source, "ping", "-c", "1", "-W", "2", target).code == 0


def test_a_chain_of_reference_plugins(daemon: Daemon, plugins: Plugins) -> None:
    plugins.create(plugins.chain())
    daemon.web("web", "--network", "net", "-p", "8080:80")
    daemon.sleeper("box", "--network", "net", "--network-alias", "crate")
    assert (daemon.address("web"), daemon.address("box")) == ("10.77.0.2", "10.77.0.3")
    assert daemon.container("web")["NetworkSettings"]["Networks"]["net"]["Gateway"] == "10.77.0.1"
    listed = daemon.network("net")["Containers"].values()
    assert {item["Name"]: item["IPv4Address"] for item in listed} == {
        "web": "10.77.0.2/24",
        "box": "10.77.0.3/24",
    }
    found = daemon.machine.do("ip", "-j", "link", "show", "eth0", netns=daemon.netns("web"))
    mac = json.loads(found)[0]["address"]
    assert daemon.container("web")["NetworkSettings"]["Networks"]["net"]["MacAddress"] == mac
    # By name, in both directions, and out of the network.
    assert pings(daemon, "box", "web")
    assert pings(daemon, "web", "crate")
    assert daemon.dig("box", "web") == ["10.77.0.2"]
    assert daemon.dig("box", "-x", "10.77.0.2") == ["web.net."]
    assert "10.77.0.2" in daemon.sh("web", "cat /etc/hosts")
    # The port that portmap published.
    host_name = daemon.sh("web", "hostname")
    assert daemon.fetch(f"http://{HOST4}:8080/", netns=OUTSIDE) == host_name
    assert daemon.fetch("http://127.0.0.1:8080/") == host_name
    # A daemon that comes back leaves it all alone.
    daemon.restart()
    assert pings(daemon, "box", "web")
    assert daemon.fetch(f"http://{HOST4}:8080/", netns=OUTSIDE) == host_name
    daemon.do("restart", "web")
    assert len(plugins.leases()) == 2
    eventually(lambda: pings(daemon, "box", "web"), 30)
    daemon.do("rm", "-f", "web", "box")
    assert (plugins.leases(), plugins.rules()) == ([], [])
    daemon.do("network", "rm", "net")


def test_the_configuration_is_kept(daemon: Daemon, plugins: Plugins) -> None:
    path = plugins.chain()
    plugins.create(path)
    Path(path).unlink()
    daemon.sleeper("box", "--network", "net")
    assert daemon.address("box") == "10.77.0.2"
    options = daemon.network("net")["Options"]
    assert json.loads(options["conf"])["name"] == "third"
    assert options["path"].split(":")[-1] == REFERENCE


def test_between_other_networks(daemon: Daemon, plugins: Plugins) -> None:
    plugins.create(plugins.chain())
    daemon.web("web", "-p", "8081:80")
    daemon.do("network", "connect", "net", "web")
    assert daemon.address("web", "net") == "10.77.0.2"
    assert daemon.fetch(f"http://{HOST4}:8081/", netns=OUTSIDE)
    daemon.sleeper("box", "--network", "net")
    assert pings(daemon, "box", "web")
    daemon.do("network", "disconnect", "net", "web")
    assert plugins.leases() == ["10.77.0.3"]
    assert daemon.fetch(f"http://{HOST4}:8081/", netns=OUTSIDE)
    links = daemon.machine.links(daemon.netns("web"))
    assert links == ["lo", "eth0"]


def test_macvlan(daemon: Daemon, plugins: Plugins) -> None:
    conflist = plugins.conflist(
        {"type": "macvlan", "master": "uplink", "mode": "bridge", "ipam": plugins.ipam("192.0.2.128/25")}
    )
    plugins.create(conflist)
    daemon.sleeper("one", "--network", "net")
    daemon.sleeper("two", "--network", "net")
    assert pings(daemon, "one", "two")
    daemon.do("rm", "-f", "one", "two")
    assert plugins.leases() == []


def test_ptp(daemon: Daemon, plugins: Plugins) -> None:
    conflist = plugins.conflist(
        {"type": "ptp", "ipMasq": True, "ipam": plugins.ipam(routes=[{"dst": "0.0.0.0/0"}])}
    )
    plugins.create(conflist)
    daemon.sleeper("one", "--network", "net")
    daemon.sleeper("two", "--network", "net")
    assert pings(daemon, "one", "two")
    assert pings(daemon, "one", "192.0.2.2")


def test_a_wish_that_no_plugin_has(daemon: Daemon, plugins: Plugins) -> None:
    plugins.create(plugins.conflist({"type": "bridge", "bridge": "third0", "ipam": plugins.ipam()}))
    refused = daemon.cli("run", "-d", "--name", "web", "--network", "net", "-p", "80:80", "busybox")
    assert refused.code == 125
    assert "network net cannot do -p: no plugin of the CNI configuration third (bridge) has" in refused.err
    refused = daemon.cli("run", "-d", "--network", "net", "--ip", "10.77.0.9", "busybox")
    assert "cannot do --ip" in refused.err
    assert "needs a CNI configuration" in daemon.refused("network", "create", "-d", "cni", "other")
    assert 'failed to find plugin "lost"' in daemon.refused(
        "network", "create", "-d", "cni", "-o", 'conf={"type": "lost"}', "other"
    )


def test_after_a_reboot(daemon: Daemon, plugins: Plugins) -> None:
    plugins.create(plugins.chain())
    daemon.sleeper("box", "--network", "net", "--restart", "always")
    daemon.sleeper("gone", "--network", "net")
    assert plugins.leases() == ["10.77.0.2", "10.77.0.3"]
    daemon.reboot()
    eventually(lambda: daemon.is_up("box"), 60)
    assert len(plugins.leases()) == 1
    assert daemon.address("box") == plugins.leases()[0]


class TestKilled:
    """`kill -9` of the daemon while a plugin works."""

    @staticmethod
    def waiting(plugins: Plugins, command: str) -> str:
        """Write a plugin that does as `bridge` does, and waits for a file `go` before `command`."""
        here = plugins.directory
        for name in ("go", "began"):
            (here / name).unlink(missing_ok=True)
        return plugins.script(
            "slow",
            f'if [ "$CNI_COMMAND" = {command} ] && [ ! -e {here}/go ]; then echo $$ >{here}/began\n'
            f"while [ ! -e {here}/go ]; do sleep 0.05; done; fi\nexec {REFERENCE}/bridge",
        )

    def network(self, plugins: Plugins, command: str) -> None:
        path = self.waiting(plugins, command)
        conflist = plugins.conflist({"type": "slow", "bridge": "third0", "ipam": plugins.ipam()})
        plugins.create(conflist, f"path={path}")

    def test_at_an_add(self, daemon: Daemon, plugins: Plugins) -> None:
        self.network(plugins, "ADD")
        daemon.do(
            "create", "--name", "box", "--network", "net", "--stop-signal", "KILL", "busybox", "sleep", "1d"
        )
        starting = in_background(daemon, "start", "box")
        eventually((plugins.directory / "began").exists, 30)
        daemon.kill9()
        starting.join()
        # The plugin goes on by itself: the next daemon waits for it, and then undoes what it did.
        threading.Timer(0.5, (plugins.directory / "go").touch).start()
        daemon.start()
        eventually(lambda: plugins.leases() == [], 60)
        assert not daemon.is_up("box")
        daemon.do("start", "box")
        assert plugins.leases() == [daemon.address("box")]

    def test_at_a_removal(self, daemon: Daemon, plugins: Plugins) -> None:
        self.network(plugins, "DEL")
        daemon.sleeper("box", "--network", "net")
        stopping = in_background(daemon, "stop", "box")
        eventually((plugins.directory / "began").exists, 30)
        daemon.kill9()
        stopping.join()
        (plugins.directory / "go").touch()
        daemon.start()
        eventually(lambda: plugins.leases() == [], 60)
        daemon.do("start", "box")
        assert plugins.leases() == [daemon.address("box")]


class TestBadPlugins:
    """What is refused leaves nothing: no link, no namespace, no address."""

    @staticmethod
    def start(daemon: Daemon, plugins: Plugins, script: str, *options: str) -> Result:
        path = plugins.script("bad", script)
        conflist = plugins.conflist(
            {"type": "bridge", "bridge": "third0", "ipam": plugins.ipam()}, {"type": "bad"}
        )
        plugins.create(conflist, f"path={path}", *options)
        links = set(daemon.machine.links()) | {"third0"}
        result = daemon.cli("run", "-d", "--name", "box", "--network", "net", "busybox", "sleep", "1d")
        assert result.code == 125, result
        assert plugins.leases() == []
        eventually(lambda: set(daemon.machine.links()) <= links, 30)
        assert not daemon.is_up("box")
        assert list((daemon.run_dir / "netns").glob("*")) == []
        return result

    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ("cat >/dev/null; echo hello", "result cannot be read"),
            ("cat >/dev/null", "it printed nothing"),
            ('[ "$CNI_COMMAND" = DEL ] || exit 7', "netplugin failed with no error message: exit status 7"),
            ('[ "$CNI_COMMAND" = DEL ] || { echo boom >&2; exit 1; }', "netplugin failed: 'boom'"),
            (
                '[ "$CNI_COMMAND" = DEL ] || { echo \'{"code": 9, "msg": "no", "details": "x"}\'; exit 1; }',
                'plugin type="bad" failed (add): no: x',
            ),
        ],
    )
    def test_what_it_says(self, daemon: Daemon, plugins: Plugins, script: str, words: str) -> None:
        result = self.start(daemon, plugins, script)
        assert "failed to set up container networking: plugin type=" in result.err
        assert words in result.err

    def test_one_that_hangs(self, daemon: Daemon, plugins: Plugins) -> None:
        script = '[ "$CNI_COMMAND" = DEL ] || exec sleep 1000'
        result = self.start(daemon, plugins, script, "timeout=2")
        assert 'plugin type="bad" did not end within 2 s' in result.err
        assert daemon.machine.run("pgrep", "-fx", "sleep 1000").out == ""

    def test_one_that_hangs_holds_up_nobody_else(self, daemon: Daemon, plugins: Plugins) -> None:
        here = plugins.directory
        for name in ("go", "began"):
            (here / name).unlink(missing_ok=True)
        path = plugins.script(
            "bad", f"touch {here}/began; while [ ! -e {here}/go ]; do sleep 0.05; done; exit 1"
        )
        plugins.create(plugins.conflist({"type": "bad"}), f"path={path}", "timeout=120")
        starting = in_background(
            daemon, "run", "-d", "--name", "box", "--network", "net", "busybox", "sleep", "1d"
        )
        eventually((here / "began").exists, 30)
        daemon.sleeper("other")
        daemon.do("network", "create", "another")
        daemon.do("network", "rm", "another")
        daemon.do("rm", "-f", "other")
        assert starting.is_alive()
        (here / "go").touch()
        starting.join()

    def test_one_that_is_gone(self, daemon: Daemon, plugins: Plugins) -> None:
        path = plugins.script("bad", "exit 0")
        plugins.create(plugins.conflist({"type": "bad"}), f"path={path}")
        (plugins.directory / "bad").unlink()
        result = daemon.cli("run", "-d", "--name", "box", "--network", "net", "busybox")
        assert f'failed to find plugin "bad" in path [{plugins.directory} {REFERENCE}]' in result.err
        plugins.script("bad", "exit 0")


def in_background(daemon: Daemon, *arguments: str) -> threading.Thread:
    """Run the CLI, whatever becomes of it."""

    def run() -> None:
        with suppress(Exception):
            daemon.cli(*arguments, timeout_s=150)

    thread = threading.Thread(target=run, name=" ".join(arguments))
    thread.start()
    return thread
