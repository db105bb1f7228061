"""The CNI plugin as a runtime runs it: a real daemon and namespaces, Debian's reference plugins beside it."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cni_runtime import REFERENCE, Answer, Runtime, conf

from carrick.testing.daemon import OUTSIDE, Daemon, eventually

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
needs_reference = pytest.mark.skipif(
    not Path(REFERENCE, "host-local").exists(),
    reason="needs Debian's containernetworking-plugins (scripts/bootstrap dev)",
)


@pytest.fixture
def runtime(daemon: Daemon) -> Iterator[Runtime]:
    """Carrick's plugin, installed, and a network `shop`; afterwards no guest and no link may be left."""
    before = set(daemon.machine.links())
    daemon.do("network", "create", "--subnet", "10.9.0.0/24", "shop")
    yield Runtime(daemon)
    if not daemon.is_running():
        daemon.start()
    machine = daemon.machine
    for line in machine.do("ip", "netns", "list").splitlines():
        if (netns := line.split()[0]) != "outside":
            for pid in machine.do("ip", "netns", "pids", netns).split():
                machine.run("kill", "-9", pid)
            machine.do("ip", "netns", "del", netns)
    # The kernel takes its time over namespaces, and a guest is there as long as its link is.
    eventually(lambda: daemon.cli("gc").code == 0 and not daemon.do("guest", "ls", "-q"), 60)
    daemon.remove_all()
    eventually(lambda: not set(machine.links()) - before, 60)


def add_netns(daemon: Daemon, *names: str) -> None:
    for name in names:
        daemon.machine.do("ip", "netns", "add", name)


def attached(daemon: Daemon, network: str = "shop") -> set[str]:
    return set(daemon.network(network)["Containers"])


def address_of(answer: Answer, index: int = 0) -> str:
    assert answer.code == 0, answer
    return str(answer.document["ips"][index]["address"]).partition("/")[0]


def pings(daemon: Daemon, container: str, target: str) -> bool:
    command = ("busybox", "ping", "-c", "1", "-W", "5", target)
    return daemon.machine.run(*command, netns=f"/run/netns/{container}").code == 0


def resolve(daemon: Daemon, container: str, name: str) -> list[str]:
    command = ("dig", "+short", "+tries=1", "+time=5", "@127.0.0.11", name)
    return daemon.machine.run(*command, netns=f"/run/netns/{container}").out.split()


def serve(daemon: Daemon, container: str, port: int = 80) -> None:
    """Run a web server in a namespace; it ends with the machine or its namespace's test."""
    www = daemon.directory / f"www-{container}"
    www.mkdir(exist_ok=True)
    (www / "index.html").write_text(container)
    daemon.machine.do("busybox", "httpd", "-p", str(port), "-h", str(www), netns=f"/run/netns/{container}")


# One after another -----------------------------------------------------------------------------------


def test_two_containers_reach_each_other(daemon: Daemon, runtime: Runtime) -> None:
    add_netns(daemon, "one", "two")
    first = runtime.call("ADD", conf(), "one", CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=alpha")
    second = runtime.call("ADD", conf(), "two", CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=beta")
    assert pings(daemon, "one", address_of(second))
    assert pings(daemon, "two", address_of(first))
    assert pings(daemon, "one", "192.0.2.2")
    assert resolve(daemon, "one", "beta") == [address_of(second)]
    link = json.loads(daemon.machine.do("ip", "-j", "addr", "show", "eth0", netns="/run/netns/one"))[0]
    container = first.document["interfaces"][1]
    assert (link["address"], link["mtu"]) == (container["mac"], container.get("mtu", link["mtu"]))
    assert container["sandbox"] == "/run/netns/one"
    assert first.document["interfaces"][0]["name"] in daemon.machine.links()
    view = daemon.network("shop")["Containers"]["one"]
    assert (view["Name"], view["Engine"]) == ("alpha", "podman")
    daemon.sleeper("own", "--network", "shop")
    assert daemon.sh("own", "ping -c 1 -W 5 beta >/dev/null && echo yes") == "yes"
    assert resolve(daemon, "two", "own") == [daemon.address("own")]
    for _ in range(2):
        for name in ("one", "two"):
            assert runtime.call("DEL", conf(), name) == Answer(0, None)
    assert daemon.machine.links("/run/netns/one") == ["lo"]
    assert len(attached(daemon)) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version(daemon: Daemon, runtime: Runtime, version: str) -> None:
    add_netns(daemon, "one")
    answer = runtime.call("ADD", conf(version), "one")
    assert answer.code == 0, answer
    assert answer.document["cniVersion"] == version
    check = runtime.call("CHECK", conf(version, prevResult=answer.document), "one")
    assert (check.code, check.document) == (0, None) if version >= "0.4.0" else check.error == 1
    assert runtime.call("DEL", conf(version, prevResult=answer.document), "one").code == 0


def test_several_networks_and_interfaces(daemon: Daemon, runtime: Runtime) -> None:
    daemon.do("network", "create", "--subnet", "10.8.0.0/24", "--internal", "back")
    add_netns(daemon, "one")
    first = runtime.call("ADD", conf(), "one")
    second = runtime.call("ADD", conf(name="back"), "one", interface="net1")
    third = runtime.call("ADD", conf(), "one", interface="net2")
    assert address_of(second).startswith("10.8.0.")
    assert address_of(third) != address_of(first)
    routes = daemon.machine.do("ip", "route", netns="/run/netns/one").splitlines()
    assert [line for line in routes if line.startswith("default")] == [
        "default via 10.9.0.1 dev eth0 proto 202 "
    ]
    for name, interface in (("back", "net1"), ("shop", "net2"), ("shop", "eth0")):
        assert runtime.call("DEL", conf(name=name), "one", interface=interface).code == 0
    assert daemon.machine.links("/run/netns/one") == ["lo"]


def test_the_network_is_created_by_the_first(daemon: Daemon, runtime: Runtime) -> None:
    names = [f"c{number}" for number in range(8)]
    add_netns(daemon, *names)
    config = conf(
        name="fresh",
        create={"subnets": [{"subnet": "10.7.0.0/24"}, {"subnet": "fd00:7::/64"}]},
        ipMasq=False,
    )
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: runtime.call("ADD", config, name), names))
    assert len({address_of(answer) for answer in answers}) == 8
    network = daemon.network("fresh")
    assert [pool["Subnet"] for pool in network["IPAM"]["Config"]] == ["10.7.0.0/24", "fd00:7::/64"]
    assert network["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    assert pings(daemon, "c0", address_of(answers[1], 1))
    for name in names:
        assert runtime.call("DEL", config, name).code == 0


def test_on_the_lan(daemon: Daemon, runtime: Runtime) -> None:
    daemon.do(
        *("network", "create", "-d", "macvlan", "-o", "parent=uplink", "--subnet", "192.0.2.0/24"),
        *("--gateway", "192.0.2.2", "--ip-range", "192.0.2.128/25", "lan"),
    )
    add_netns(daemon, "one", "two")
    first, second = (runtime.call("ADD", conf(name="lan"), name) for name in ("one", "two"))
    assert pings(daemon, "one", address_of(second))
    assert pings(daemon, "one", "192.0.2.2")
    assert [item["name"] for item in first.document["interfaces"]] == ["eth0"]
    assert runtime.call("CHECK", conf(name="lan", prevResult=first.document), "one").code == 0
    for name in ("one", "two"):
        assert runtime.call("DEL", conf(name="lan"), name).code == 0
        assert daemon.machine.links(f"/run/netns/{name}") == ["lo"]


def test_whoever_called_is_killed(daemon: Daemon, runtime: Runtime) -> None:
    names = [f"c{number}" for number in range(10)]
    add_netns(daemon, *names)
    # All of them, somewhere in their ADD; none is asked to be removed.
    script = (
        'for name; do (echo "$CONFIG" | CNI_COMMAND=ADD CNI_CONTAINERID=$name CNI_NETNS=/run/netns/$name'
        ' CNI_IFNAME=eth0 timeout -s KILL 0.02 "$PLUGIN" >/dev/null 2>&1) & done; wait'
    )
    environment = {"CONFIG": json.dumps(conf()), "PLUGIN": f"{runtime.bin}/carrick"}
    daemon.machine.run("sh", "-c", script, "sh", *names, environment=environment)

    # Each is there, or not at all.
    def settled() -> bool:
        there = attached(daemon)
        links = {name: daemon.machine.links(f"/run/netns/{name}") for name in names}
        return all(("eth0" in links[name]) == (name in there) for name in names)

    eventually(settled, 30)
    for name in names:
        assert runtime.call("DEL", conf(), name).code == 0
    assert attached(daemon) == set()


def test_what_a_runtime_asks_for(daemon: Daemon, runtime: Runtime) -> None:
    add_netns(daemon, "one", "two")
    config = conf(
        runtimeConfig={
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
            "bandwidth": {
                "ingressRate": 8_000_000,
                "ingressBurst": 800_000,
                "egressRate": 8_000_000,
                "egressBurst": 800_000,
            },
            "ips": ["10.9.0.77/24"],
            "mac": "02:00:00:00:00:77",
            "aliases": ["db"],
        },
        mtu=1400,
        ipam={"routes": [{"dst": "198.51.100.0/24", "gw": "10.9.0.1"}]},
    )
    answer = runtime.call("ADD", config, "one")
    assert address_of(answer) == "10.9.0.77"
    assert runtime.call("ADD", conf(), "two").code == 0
    link = json.loads(daemon.machine.do("ip", "-j", "link", "show", "eth0", netns="/run/netns/one"))[0]
    assert (link["address"], link["mtu"]) == ("02:00:00:00:00:77", 1400)
    assert "198.51.100.0/24 via 10.9.0.1" in daemon.machine.do("ip", "route", netns="/run/netns/one")
    assert resolve(daemon, "two", "db") == ["10.9.0.77"]
    serve(daemon, "one")
    assert daemon.fetch("http://192.0.2.1:8080/", netns=OUTSIDE) == "one"
    assert daemon.fetch("http://127.0.0.1:8080/") == "one"
    host_end = answer.document["interfaces"][0]["name"]
    assert "rate 8Mbit burst 100000b" in daemon.machine.do("tc", "qdisc", "show", "dev", host_end)
    # The port is somebody's now.
    add_netns(daemon, "three")
    clash = conf(runtimeConfig={"portMappings": [{"hostPort": 8080, "containerPort": 1}]})
    taken = runtime.call("ADD", clash, "three")
    assert taken.error == 105
    assert "port is already allocated" in taken.document["msg"]
    assert daemon.machine.links("/run/netns/three") == ["lo"]
    # Ports are published where the default route is, which is not here.
    assert runtime.call("ADD", clash, "two", interface="eth1").code == 0
    assert runtime.call("DEL", clash, "two", interface="eth1").code == 0
    assert runtime.call("DEL", config, "one").code == 0
    assert not daemon.answers("http://192.0.2.1:8080/", netns=OUTSIDE)
    assert runtime.call("DEL", conf(), "two").code == 0


# CHECK, GC, STATUS -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "breakage",
    [
        ("ip", "link", "set", "eth0", "down"),
        ("ip", "addr", "flush", "dev", "eth0"),
        ("ip", "route", "del", "default"),
        ("ip", "link", "del", "eth0"),
    ],
)
def test_check_finds_what_was_broken(daemon: Daemon, runtime: Runtime, breakage: tuple[str, ...]) -> None:
    add_netns(daemon, "one")
    added = runtime.call("ADD", conf(), "one")
    assert added.code == 0
    config = conf(prevResult=added.document)
    assert runtime.call("CHECK", config, "one").code == 0
    daemon.machine.do(*breakage, netns="/run/netns/one")
    found = runtime.call("CHECK", config, "one")
    # What shows on the host may have been repaired already.
    assert found.code == 0 or found.error == 105, found
    if found.code == 0:
        assert pings(daemon, "one", "10.9.0.1")
    assert runtime.call("DEL", config, "one").code == 0
    assert runtime.call("CHECK", config, "one").error == 3


def test_gc(daemon: Daemon, runtime: Runtime) -> None:
    add_netns(daemon, "one", "two", "three")
    for name in ("one", "two", "three"):
        assert runtime.call("ADD", conf(), name).code == 0
    add_netns(daemon, "four")
    other = conf(name="other", network="shop")
    assert runtime.call("ADD", other, "four").code == 0
    daemon.sleeper("own", "--network", "shop")
    valid = [{"containerID": "two", "ifname": "eth0"}, {"containerID": "gone", "ifname": "eth0"}]
    assert runtime.call("GC", conf(**{"cni.dev/valid-attachments": valid}), "").code == 0
    left = attached(daemon)
    assert {"two", "four"} < left
    assert len(left) == 3
    assert daemon.machine.links("/run/netns/one") == ["lo"]
    assert runtime.call("GC", conf(**{"cni.dev/valid-attachments": []}), "").code == 0
    assert "two" not in attached(daemon)
    assert runtime.call("DEL", other, "four").code == 0


def test_status(daemon: Daemon, runtime: Runtime) -> None:
    assert runtime.call("STATUS", conf(), "").code == 0
    assert runtime.call("STATUS", conf(network="nowhere"), "").error == 50
    daemon.stop()
    down = runtime.call("STATUS", conf(), "")
    assert down.error == 50
    assert "carrickd does not answer" in down.document["msg"]
    daemon.start()
    assert runtime.call("STATUS", conf(), "").code == 0


def test_no_address_is_left(daemon: Daemon, runtime: Runtime) -> None:
    daemon.do("network", "create", "--subnet", "10.6.0.0/30", "small")
    add_netns(daemon, "one", "two")
    config = conf(name="small")
    assert runtime.call("STATUS", config, "").code == 0
    assert runtime.call("ADD", config, "one").code == 0
    assert runtime.call("ADD", config, "two").error == 11
    assert daemon.machine.links("/run/netns/two") == ["lo"]
    assert runtime.call("STATUS", config, "").error == 50
    assert runtime.call("DEL", config, "one").code == 0
    assert runtime.call("ADD", config, "two").code == 0
    assert runtime.call("DEL", config, "two").code == 0


# The daemon comes and goes ---------------------------------------------------------------------------


def test_the_namespace_is_gone_and_the_daemon_new(daemon: Daemon, runtime: Runtime) -> None:
    add_netns(daemon, "one", "two")
    published = conf(runtimeConfig={"portMappings": [{"hostPort": 8081, "containerPort": 80}]})
    assert runtime.call("ADD", published, "one").code == 0
    second = runtime.call("ADD", conf(), "two", CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=beta")
    daemon.kill9()
    daemon.machine.do("ip", "netns", "del", "one")
    daemon.start()
    for _ in range(2):
        assert runtime.call("DEL", published, "one") == Answer(0, None)
    assert attached(daemon) == {"two"}
    assert runtime.call("CHECK", conf(prevResult=second.document), "two").code == 0
    assert pings(daemon, "two", "10.9.0.1")
    assert runtime.call("DEL", conf(), "two").code == 0


def test_calls_while_the_daemon_is_down(daemon: Daemon, runtime: Runtime) -> None:
    add_netns(daemon, "one", "two")
    assert runtime.call("ADD", conf(), "one").code == 0
    daemon.kill9()
    later = runtime.call("ADD", conf(), "two")
    assert later.error == 11
    # The container lives on, disconnected: the removal is made up for.
    assert runtime.call("DEL", conf(), "one") == Answer(0, None)
    daemon.start()
    # Whoever calls waits for what waited; whoever looks may be early.
    assert runtime.call("ADD", conf(), "two").code == 0
    assert attached(daemon) == {"two"}
    assert daemon.machine.links("/run/netns/one") == ["lo"]
    assert runtime.call("DEL", conf(), "two").code == 0


def test_the_daemon_is_killed_in_the_middle(daemon: Daemon, runtime: Runtime) -> None:
    names = [f"c{number}" for number in range(12)]
    add_netns(daemon, *names)
    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(runtime.call, "ADD", conf(), name) for name in names]
        eventually(lambda: any(item.done() for item in waiting), 30)
        daemon.kill9()
        answers = [item.result() for item in waiting]
    assert {answer.error for answer in answers if answer.code} <= {11}
    daemon.start()
    # As a runtime does after an ADD that failed, and at the end.
    for name in names:
        assert runtime.call("DEL", conf(), name).code == 0
    assert attached(daemon) == set()
    for name in names:
        assert daemon.machine.links(f"/run/netns/{name}") == ["lo"]
        assert runtime.call("ADD", conf(), name).code == 0
        assert runtime.call("DEL", conf(), name).code == 0


def test_the_machine_is_switched_off_and_on(daemon: Daemon, runtime: Runtime) -> None:
    published = conf(runtimeConfig={"portMappings": [{"hostPort": 8083, "containerPort": 80}]})
    add_netns(daemon, "one")
    assert runtime.call("ADD", published, "one").code == 0
    daemon.reboot()
    # As a runtime does that starts its containers again: the same ids, and no DEL before.
    add_netns(daemon, "one")
    again = runtime.call("ADD", published, "one")
    assert again.code == 0, again
    assert pings(daemon, "one", "10.9.0.1")
    serve(daemon, "one")
    assert daemon.fetch("http://127.0.0.1:8083/") == "one"
    assert runtime.call("DEL", published, "one").code == 0


# Many ------------------------------------------------------------------------------------------------


def test_fifty_at_once(daemon: Daemon, runtime: Runtime) -> None:
    names = [f"c{number}" for number in range(50)]
    add_netns(daemon, *names)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda name: runtime.call("ADD", conf(), name), names))
        assert len({address_of(answer) for answer in answers}) == 50
        assert pings(daemon, "c0", address_of(answers[49]))
        checks = pool.map(
            lambda pair: runtime.call("CHECK", conf(prevResult=pair[1].document), pair[0]),
            zip(names, answers, strict=True),
        )
        assert {check.code for check in checks} == {0}
        assert {
            answer.code for answer in pool.map(lambda name: runtime.call("DEL", conf(), name), names)
        } == {0}
    assert attached(daemon) == set()


def test_one_interface_for_twenty(daemon: Daemon, runtime: Runtime) -> None:
    add_netns(daemon, "one")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: runtime.call("ADD", conf(), "one"), range(20)))
    assert sorted(answer.code for answer in answers) == [0, *[1] * 19]
    assert {answer.error for answer in answers if answer.code} == {101}
    assert runtime.call("DEL", conf(), "one").code == 0


# Chains and IPAM of others ---------------------------------------------------------------------------

CHAIN = (
    {"type": "carrick", "capabilities": {"ips": True, "mac": True}},
    {"type": "portmap", "capabilities": {"portMappings": True}},
    {"type": "bandwidth", "capabilities": {"bandwidth": True}},
    {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.arp_announce": "2"}},
)


@needs_reference
@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_before_the_reference_plugins(daemon: Daemon, runtime: Runtime, version: str) -> None:
    add_netns(daemon, "one", "two")
    wishes = {
        "portMappings": [{"hostPort": 8082, "containerPort": 80, "protocol": "tcp"}],
        "bandwidth": {
            "ingressRate": 80_000_000,
            "ingressBurst": 8_000_000,
            "egressRate": 80_000_000,
            "egressBurst": 8_000_000,
        },
        "ips": ["10.9.0.50/24"],
    }
    # Debian's firewall plugin begins with 0.4.0.
    chain = CHAIN if version < "0.4.0" else (*CHAIN, {"type": "firewall"})
    run = partial(runtime.run_list, container="one", version=version, capabilities=wishes)
    added = run("ADD", chain)
    try:
        assert address_of(added) == "10.9.0.50"
        serve(daemon, "one")
        assert daemon.fetch("http://192.0.2.1:8082/", netns=OUTSIDE) == "one"
        key = "net.ipv4.conf.eth0.arp_announce"
        assert daemon.machine.do("sysctl", "-n", key, netns="/run/netns/one") == "2"
        if version >= "0.4.0":
            # Debian's portmap looks for IPv6 rules that it did not make.
            rest = [item for item in chain if item["type"] != "portmap"]
            checked = run("CHECK", rest, previous=added.document)
            assert checked.code == 0, checked
    finally:
        for _ in range(2):
            removed = run("DEL", chain, previous=added.document if added.code == 0 else None)
            assert removed.code == 0, removed
    assert attached(daemon) == set()


@needs_reference
def test_after_a_reference_plugin(daemon: Daemon, runtime: Runtime) -> None:
    add_netns(daemon, "one")
    plugins = ({"type": "loopback"}, {"type": "carrick"}, {"type": "tuning", "mtu": 1300})
    added = runtime.run_list("ADD", plugins, "one")
    assert added.code == 0, added
    assert added.document["interfaces"][0]["name"] == "lo"
    mine = next(item for item in added.document["ips"] if item["address"].startswith("10.9."))
    assert added.document["interfaces"][mine["interface"]]["name"] == "eth0"
    # What tuning changed is meant: it is no drift.
    assert runtime.run_list("CHECK", plugins[:2], "one", previous=added.document).code == 0
    assert runtime.run_list("DEL", plugins, "one", previous=added.document).code == 0


@needs_reference
def test_host_local_gives_the_addresses(daemon: Daemon, runtime: Runtime) -> None:
    data = daemon.directory / "host-local"

    def config(**more: Any) -> dict[str, Any]:
        ipam = {
            "type": "host-local",
            "dataDir": str(data),
            "ranges": [[{"subnet": "10.9.0.0/24", "rangeStart": "10.9.0.100"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        return conf("1.0.0", ipam=ipam, **more)

    def leases() -> list[str]:
        return sorted(path.name for path in (data / "shop").iterdir() if path.name.startswith("10."))

    add_netns(daemon, "one", "two")
    first = runtime.call("ADD", config(), "one")
    second = runtime.call("ADD", config(), "two")
    assert [address_of(first), address_of(second)] == ["10.9.0.100", "10.9.0.101"]
    assert pings(daemon, "one", "10.9.0.101")
    assert leases() == ["10.9.0.100", "10.9.0.101"]
    assert runtime.call("CHECK", config(prevResult=first.document), "one").code == 0
    # An ADD that fails gives back what the plugin gave.
    daemon.machine.do("ip", "link", "add", "eth7", "type", "veth", netns="/run/netns/one")
    assert runtime.call("ADD", config(), "one", interface="eth7").error == 101
    assert leases() == ["10.9.0.100", "10.9.0.101"]
    assert runtime.call("ADD", config(), "one").error == 101
    for name in ("one", "two", "one"):
        assert runtime.call("DEL", config(), name).code == 0
    assert leases() == []
    # Its subnet may be none of the network's, and may make the network.
    away = conf(
        "1.0.0",
        ipam={"type": "host-local", "dataDir": str(data), "subnet": "10.66.0.0/24"},
        network="around",
        create={},
    )
    assert address_of(runtime.call("ADD", away, "one")) == "10.66.0.2"
    assert daemon.network("around")["IPAM"]["Config"][0]["Subnet"] == "10.66.0.0/24"
    assert pings(daemon, "one", "10.66.0.1")
    assert runtime.call("DEL", away, "one").code == 0


@needs_reference
def test_static_gives_foreign_addresses(daemon: Daemon, runtime: Runtime) -> None:
    add_netns(daemon, "one", "two")

    def config(address: str) -> dict[str, Any]:
        return conf("1.0.0", ipam={"type": "static", "addresses": [{"address": address}]})

    first = runtime.call("ADD", config("10.99.0.1/24"), "one")
    second = runtime.call("ADD", config("10.99.0.2/24"), "two")
    assert [address_of(first), address_of(second)] == ["10.99.0.1", "10.99.0.2"]
    assert pings(daemon, "one", "10.99.0.2")
    assert runtime.call("CHECK", {**config("10.99.0.1/24"), "prevResult": first.document}, "one").code == 0
    for name in ("one", "two"):
        assert runtime.call("DEL", config("10.99.0.1/24"), name).code == 0


@needs_reference
def test_dhcp_gives_the_address(daemon: Daemon, runtime: Runtime) -> None:
    add_netns(daemon, "one", "server")
    assert address_of(runtime.call("ADD", conf(runtimeConfig={"ips": ["10.9.0.2"]}), "server")) == "10.9.0.2"
    settings = daemon.directory / "udhcpd.conf"
    leases = daemon.directory / "udhcpd.leases"
    leases.touch()
    settings.write_text(
        "start 10.9.0.200\nend 10.9.0.210\ninterface eth0\n"
        f"lease_file {leases}\npidfile {daemon.directory}/udhcpd.pid\n"
        "option subnet 255.255.255.0\noption router 10.9.0.1\noption lease 3600\n"
    )
    daemon.machine.do("busybox", "udhcpd", "-S", str(settings), netns="/run/netns/server")
    socket = "/run/cni-dhcp.sock"
    machine = daemon.machine
    machine.do(
        "sh",
        "-c",
        f"{REFERENCE}/dhcp daemon -socketpath {socket} >/run/dhcp.log 2>&1 & echo $! >/run/dhcp.pid",
    )
    try:
        eventually(lambda: machine.run("test", "-S", socket).code == 0, 30)
        config = conf("1.0.0", ipam={"type": "dhcp", "daemonSocketPath": socket})
        added = runtime.call("ADD", config, "one")
        assert address_of(added).startswith("10.9.0.2"), machine.run("cat", "/run/dhcp.log")
        assert pings(daemon, "one", "10.9.0.1")
        assert runtime.call("CHECK", {**config, "prevResult": added.document}, "one").code == 0
        assert runtime.call("DEL", config, "one").code == 0
    finally:
        machine.run("sh", "-c", f"kill -{int(signal.SIGTERM)} $(cat /run/dhcp.pid)")
    # Its daemon is gone now: nothing is left of the attempt.
    assert runtime.call("ADD", config, "one").code == 1
    assert daemon.machine.links("/run/netns/one") == ["lo"]
    assert attached(daemon) == {"server"}


@needs_reference
def test_a_plugin_that_talks_nonsense(daemon: Daemon, runtime: Runtime) -> None:
    add_netns(daemon, "one")
    nonsense = runtime.bin / "nonsense"
    nonsense.write_text("#!/bin/sh\necho what?\n")
    nonsense.chmod(0o755)
    assert runtime.call("ADD", conf(ipam={"type": "nonsense"}), "one").error == 6
    nonsense.write_text("#!/bin/sh\necho gone wrong >&2\nexit 3\n")
    failed = runtime.call("ADD", conf(ipam={"type": "nonsense"}), "one")
    assert failed.error == 105
    assert failed.document["details"] == "gone wrong"
    assert runtime.call("ADD", conf(ipam={"type": "not-there"}), "one").error == 7
    assert attached(daemon) == set()


# Bad input -------------------------------------------------------------------------------------------


def test_bad_input_leaves_nothing(daemon: Daemon, runtime: Runtime) -> None:
    add_netns(daemon, "one")
    machine, plugin = daemon.machine, f"{runtime.bin}/carrick"
    whole = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "one",
        "CNI_NETNS": "/run/netns/one",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": runtime.path,
    }

    def code(data: str, **change: str) -> int:
        environment = {**whole, **change}
        result = machine.run(plugin, input=data, environment=environment)
        assert result.code == 1, result
        assert result.err == ""
        return int(json.loads(result.out)["code"])

    good = json.dumps(conf())
    assert code("{") == 6
    assert code("") == 6
    assert code(json.dumps(conf("3.0.0"))) == 1
    assert code(json.dumps({"name": "shop"})) == 1
    assert code(json.dumps(conf(netwrok="shop"))) == 2
    assert code(json.dumps(conf(runtimeConfig={"teleport": True}))) == 2
    assert code(json.dumps(conf(name="s/h"))) == 7
    assert code(json.dumps(conf(network="nowhere"))) == 7
    assert code(json.dumps(conf(runtimeConfig={"ips": ["10.200.0.1"]}))) == 7
    assert code(json.dumps(conf(runtimeConfig={"mac": "nonsense"}))) == 7
    assert code(good, CNI_COMMAND="REMOVE") == 4
    assert code(good, CNI_COMMAND="") == 4
    assert code(good, CNI_CONTAINERID="") == 4
    assert code(good, CNI_CONTAINERID="../x") == 4
    assert code(good, CNI_IFNAME="") == 4
    assert code(good, CNI_IFNAME="much_too_long_a_name") == 4
    assert code(good, CNI_NETNS="") == 4
    assert code(good, CNI_NETNS="/run/netns/nowhere") == 3
    assert code(good, CNI_NETNS="/etc/passwd") == 3
    assert code(good, CNI_NETNS="/proc/1/ns/net") == 8
    assert code(good, CNI_IFNAME="lo") == 7
    assert code(good, CNI_ARGS="WHAT=1") == 4
    assert attached(daemon) == set()
    assert machine.links("/run/netns/one") == ["lo"]
    assert runtime.call("ADD", conf(), "one").code == 0
    assert code(good) == 101
    assert pings(daemon, "one", "10.9.0.1")
    assert runtime.call("DEL", conf(), "one").code == 0
