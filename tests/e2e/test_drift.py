"""Somebody else changes what is ours: it is noticed and repaired; who is not concerned feels nothing."""

import os
import socket
import time
from collections.abc import Iterator

import pytest

from carrick.testing.daemon import HOST4, OUTSIDE, Daemon, eventually
from carrick.testing.inventory import settle
from carrick.testing.watching import Watch

# The regular inspection of what lies inside sandboxes is a minute apart; links are watched.
SOON_S = 10.0
INSPECTION_S = 75.0


@pytest.fixture(scope="module")
def town(host: Daemon) -> Daemon:
    """Two networks: on `net` those that something happens to, on `quiet` a bystander."""
    host.do("network", "create", "--subnet", "10.71.0.0/24", "net")
    host.do("network", "create", "--subnet", "10.72.0.0/24", "quiet")
    host.web("web", "--network", "net", "-p", "8000:80")
    host.sleeper("box", "--network", "net")
    host.web("bystander", "--network", "quiet", "-p", "8100:80")
    host.sleeper("client", "--network", "quiet")
    return host


@pytest.fixture
def watched(town: Daemon) -> Iterator[Daemon]:
    """The town, with the bystander's page and name watched inside its network; all is well in the end."""
    address, netns = town.address("bystander"), town.netns("client")
    watch = Watch(town.machine)
    watch.fetch("page", address, 80, netns=netns)
    watch.resolve("name", "bystander", address, netns=netns)
    with watch:
        yield town
    assert not watch.failures
    assert not settle(town)


def is_well(daemon: Daemon) -> bool:
    """Everything works for those that something happened to."""
    return (
        daemon.exec("box", "ping", "-c", "1", "-W", "1", "web").code == 0
        and daemon.answers("http://127.0.0.1:8000/")
        and daemon.answers(f"http://{HOST4}:8000/", netns=OUTSIDE)
        and daemon.exec("box", "ping", "-c", "1", "-W", "1", "192.0.2.2").code == 0
    )


def link_of(daemon: Daemon, name: str) -> str:
    """Return the host's end of a container's only endpoint."""
    endpoint = next(iter(daemon.container(name)["NetworkSettings"]["Networks"].values()))["EndpointID"]
    text = daemon.machine.do("ip", "-o", "link")
    return next(
        line.split(":")[1].strip().partition("@")[0] for line in text.splitlines() if endpoint in line
    )


def bridge_of(daemon: Daemon, network: str) -> str:
    return f"br-{daemon.network(network)['Id'][:12]}"


def test_it_works_to_begin_with(watched: Daemon) -> None:
    assert is_well(watched)


def test_a_veth_is_deleted(watched: Daemon) -> None:
    watched.machine.do("ip", "link", "delete", link_of(watched, "web"))
    eventually(lambda: is_well(watched), SOON_S)


def test_a_containers_own_end_is_deleted(watched: Daemon) -> None:
    watched.machine.do("ip", "link", "delete", "eth0", netns=watched.netns("box"))
    eventually(lambda: is_well(watched), SOON_S)


def test_a_veth_is_set_down(watched: Daemon) -> None:
    watched.machine.do("ip", "link", "set", link_of(watched, "web"), "down")
    eventually(lambda: is_well(watched), SOON_S)


def test_the_bridges_address_is_deleted(watched: Daemon) -> None:
    watched.machine.do("ip", "addr", "flush", "dev", bridge_of(watched, "net"))
    eventually(lambda: is_well(watched), SOON_S)


def test_the_bridge_is_set_down(watched: Daemon) -> None:
    watched.machine.do("ip", "link", "set", bridge_of(watched, "net"), "down")
    eventually(lambda: is_well(watched), SOON_S)


def test_the_bridge_is_deleted(watched: Daemon) -> None:
    watched.machine.do("ip", "link", "delete", bridge_of(watched, "net"))
    eventually(lambda: is_well(watched), SOON_S)


def test_the_table_is_deleted(watched: Daemon) -> None:
    watched.machine.do("nft", "delete", "table", "inet", watched.name)
    eventually(lambda: is_well(watched), SOON_S)
    assert watched.fetch("http://127.0.0.1:8100/")


def test_every_rule_is_flushed(watched: Daemon) -> None:
    watched.machine.do("nft", "flush", "ruleset")
    eventually(lambda: is_well(watched), SOON_S)


def test_a_chain_is_flushed(watched: Daemon) -> None:
    watched.machine.do("nft", "flush", "chain", "inet", watched.name, "publish")
    eventually(lambda: is_well(watched), SOON_S)


def test_an_element_is_deleted(watched: Daemon) -> None:
    watched.machine.do("nft", "flush", "map", "inet", watched.name, "publish4_any")
    eventually(lambda: is_well(watched), SOON_S)


def test_what_is_seen_at_a_closer_look_only(watched: Daemon) -> None:
    """Inside a sandbox nobody watches; but whenever anything was changed, the daemon looks there as well."""
    address = watched.address("web")
    watched.machine.do("ip", "addr", "flush", "dev", "eth0", netns=watched.netns("web"))
    watched.machine.do("ip", "route", "del", "default", netns=watched.netns("box"))
    watched.machine.do("ip", "addr", "flush", "dev", bridge_of(watched, "net"))
    eventually(lambda: is_well(watched), SOON_S)
    assert watched.address("web") == address


@pytest.mark.skipif(not os.environ.get("CARRICK_FULL"), reason="takes a minute: set CARRICK_FULL=1")
def test_what_is_seen_by_the_regular_inspection(watched: Daemon) -> None:
    watched.machine.do("ip", "link", "set", link_of(watched, "web"), "nomaster")
    watched.machine.do("ip", "addr", "flush", "dev", "eth0", netns=watched.netns("box"))
    eventually(lambda: is_well(watched), INSPECTION_S)


def test_forwarding_is_switched_off(watched: Daemon) -> None:
    """That is the administrator's to decide: the doctor says so, and puts it right when asked to."""
    watched.machine.do("sysctl", "-qw", "net.ipv4.ip_forward=0")
    result = watched.cli("doctor")
    assert result.code != 0
    assert "net.ipv4.ip_forward" in result.out
    watched.cli("doctor", "--fix")
    assert is_well(watched)
    assert watched.cli("doctor").code == 0


def test_the_resolver_is_killed(town: Daemon) -> None:
    netns = town.netns("box")
    (pid,) = town.machine.do("pgrep", "-f", "carrick.dns_process").split()
    town.machine.do("kill", "-KILL", pid)

    def resolves() -> bool:
        found = town.machine.run("dig", "+short", "+tries=1", "+time=1", "@127.0.0.11", "web", netns=netns)
        return found.out.strip() == town.address("web")

    eventually(resolves, SOON_S)
    assert town.machine.do("pgrep", "-f", "carrick.dns_process").split() != [pid]


def test_the_port_holder_is_killed(watched: Daemon) -> None:
    (pid,) = watched.machine.do("pgrep", "-f", "carrick.ports_process").split()
    watched.machine.do("kill", "-KILL", pid)
    assert watched.fetch("http://127.0.0.1:8000/"), "the kernel translates, no process does"

    def is_held() -> bool:
        with watched.machine.socket(socket.AF_INET, socket.SOCK_STREAM) as rival:
            rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                rival.bind(("0.0.0.0", 8000))
            except OSError:
                return True
            return False

    eventually(is_held, SOON_S)
    eventually(lambda: watched.answers("http://[::1]:8000/"), SOON_S)
    watched.sleeper("later", "--network", "net", "-p", "8001:80")
    watched.do("rm", "-f", "later")


def test_what_others_do_is_left_alone(watched: Daemon) -> None:
    """Foreign links, addresses and tables are not ours to touch, nor a reason to repair for ever."""
    do = watched.machine.do
    time.sleep(1)
    before = watched.log_text()
    do("nft", "add table inet foreign; add chain inet foreign c { type filter hook forward priority 10; }")
    for number in range(20):
        do("ip", "link", "add", "foreign0", "type", "bridge")
        do("ip", "addr", "add", f"10.200.{number}.1/24", "dev", "foreign0")
        do("nft", "add", "rule", "inet", "foreign", "c", "counter", "accept")
        do("nft", "flush", "chain", "inet", "foreign", "c")
        do("ip", "link", "del", "foreign0")
    do("ip", "link", "add", "foreign1", "type", "bridge")
    time.sleep(2)
    assert "foreign1" in watched.machine.links()
    assert "table inet foreign" in do("nft", "list", "tables")
    new = watched.log_text()[len(before) :]
    assert "repaired" not in new
    assert new.count("looking for drift") < 40
    do("ip", "link", "del", "foreign1")
    do("nft", "delete", "table", "inet", "foreign")
    assert is_well(watched)


def test_an_idle_daemon_is_quiet(town: Daemon) -> None:
    """Its own repairs and changes must not make it look again and again."""
    town.do("network", "create", "brief")
    town.sleeper("brief", "--network", "brief")
    town.do("rm", "-f", "brief")
    town.do("network", "rm", "brief")
    time.sleep(2)

    def cpu_ticks() -> int:
        fields = town.machine.do("cat", f"/proc/{town.pid}/stat").rpartition(") ")[2].split()
        return int(fields[11]) + int(fields[12])

    before, log = cpu_ticks(), town.log_text()
    time.sleep(3)
    assert cpu_ticks() - before < 15, "5 % of a core at the most"
    assert "drift" not in town.log_text()[len(log) :]
