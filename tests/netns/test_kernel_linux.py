"""The kernel suite on the real kernel, in a namespace of its own; and what only the real one can show.

Needs root. Nothing here touches the machine's own network.
"""

import asyncio
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from carrick.drivers.contract import HostView
from carrick.drivers.macvlan import IpvlanDriver, MacvlanDriver
from carrick.host.kernel import LinuxKernel
from carrick.host.kernel.announce import render_announcement
from carrick.host.kernel.monitor import Monitor
from carrick.host.kernel.netns import delete_netns, entered, is_netns
from carrick.model.errors import CarrickError, Conflict, KernelRefused, Unsupported
from carrick.model.ids import ContainerId, EndpointId, NetworkId, SandboxId
from carrick.model.networks import Endpoint, Network, PoolConfig, Sandbox
from carrick.model.observed import NamespaceState
from carrick.model.steps import (
    ANY_MAC,
    AddAddress,
    AddNeighbour,
    AddRoute,
    AddRule,
    Announce,
    CreateBridge,
    CreateDummy,
    CreateNetns,
    CreateSlave,
    CreateVeth,
    CreateVlan,
    CreateVxlan,
    DeleteLink,
    DeleteNetns,
    ForgetFlows,
    Nft,
    RemoveFdb,
    RemoveNeighbour,
    RemoveRoute,
    RemoveRule,
    Rule,
    SetFdb,
    SetLink,
    SetSysctl,
    Step,
)
from carrick.testing.kernel_suite import MAC, KernelSuite, World
from carrick.testing.namespaces import Inhabitant, Namespace, Namespaces, namespaces

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


@pytest.fixture
def spaces() -> Iterator[Namespaces]:
    with namespaces() as made:
        yield made


@pytest.fixture
def host(spaces: Namespaces) -> Namespace:
    return spaces.new()


@pytest.fixture
def inhabitant(spaces: Namespaces, host: Namespace) -> Inhabitant:
    return spaces.inhabit(host)


@pytest.fixture
def world(spaces: Namespaces, inhabitant: Inhabitant, tmp_path: Path) -> World:
    kernel = inhabitant.call(LinuxKernel)

    def clean() -> None:
        for path in (tmp_path / "netns").glob("*"):
            delete_netns(path)
        kernel.close()

    spaces.defer(clean)
    return World(kernel, inhabitant.run, lambda name: str(tmp_path / "netns" / name))


class TestLinuxKernel(KernelSuite):
    """The whole suite."""


BRIDGE = CreateBridge("br0", "carrick:br0", 1500)
STEADY = replace(BRIDGE, mac="02:00:5e:10:00:09")
VXLAN = CreateVxlan("vx0", 4096, 4789, "192.0.2.1", "carrick:vx0", 1450)

# What this kernel lacks ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (CreateSlave("ipvlan", "eth0", "NETNS", "br0", "l2", "bridge"), "no ipvlan links"),
        (CreateVlan("br0.5", "br0", 5, "carrick:x"), "no 802.1q vlan links"),
        (CreateDummy("dm-1", "carrick:x"), "no dummy links"),
        (VXLAN, "no vxlan links"),
    ],
    ids=["ipvlan", "vlan", "dummy", "vxlan"],
)
def test_what_the_kernel_lacks_is_named(world: World, step: Step, words: str) -> None:
    netns = world.path("one")
    world.apply(CreateNetns(netns), BRIDGE)
    before, inside = set(world.read().links), set(world.read(netns).links)
    if isinstance(step, CreateSlave):
        step = CreateSlave(step.kind, step.name, netns, step.parent, step.mode, step.flag)
    try:
        world.apply(step)
    except CarrickError as error:
        assert isinstance(error, Unsupported), error
        assert words in error.message
        assert error.remedy is not None
        assert "module" in error.remedy
    else:
        pytest.skip(f"this kernel has {words.removeprefix('no ')}")
    assert (set(world.read().links), set(world.read(netns).links)) == (before, inside)


@pytest.mark.parametrize("driver", [MacvlanDriver(), IpvlanDriver()], ids=lambda item: item.name)
def test_a_driver_that_needs_it_leaves_nothing_behind(
    world: World, driver: MacvlanDriver | IpvlanDriver
) -> None:
    """Without a parent both need a dummy, and with `eth0.7` an 802.1q link."""
    world.apply(BRIDGE)
    before = set(world.read().links)
    for options in ({}, {"parent": "br0.7"}):
        network = Network(NetworkId("a" * 64), "lan", driver.name, 0, options=options)
        host = HostView(world.read())
        network = driver.check(network, (), host)
        try:
            world.apply(*driver.plan_network(network, host).steps)
        except Unsupported:
            assert set(world.read().links) == before
        else:
            world.remove(*driver.plan_network_removal(network, (network,), HostView(world.read())).steps)
            assert set(world.read().links) == before


def test_a_name_that_is_no_namespace(world: World, tmp_path: Path) -> None:
    """A reboot leaves the files that held namespaces."""
    path = tmp_path / "netns" / "left"
    path.parent.mkdir()
    path.touch()
    assert not is_netns(path)
    world.apply(BRIDGE)
    error = world.refused(CreateVeth("ve0", "", 1500, "br0", "eth0", str(path), ""))
    assert isinstance(error, KernelRefused)
    assert isinstance(world.refused(AddAddress("lo", "10.0.0.1/8", str(path))), KernelRefused)
    assert set(world.read().links) == {"lo", "br0"}
    world.apply(CreateNetns(str(path)))
    assert set(world.read(str(path)).links) == {"lo"}


# macvlan -------------------------------------------------------------------------------------


def _child(world: World, parent: str, mode: str, number: int) -> str:
    """Make a macvlan child of `parent` with address 10.9.0.`number`; return its namespace's path."""
    driver = MacvlanDriver()
    network = Network(
        NetworkId("a" * 64),
        "lan",
        "macvlan",
        0,
        options={"parent": parent, "macvlan_mode": mode},
        pools=(PoolConfig("10.9.0.0/24"),),
    )
    path = world.path(f"n{number}")
    endpoint = driver.complete_endpoint(
        network,
        Endpoint(EndpointId(str(number) * 64), network.id, "lan", 0, ipv4=f"10.9.0.{number}/24"),
    )
    sandbox = Sandbox(SandboxId("5" * 64), ContainerId("c" * 64), path, True, (endpoint,))
    world.apply(CreateNetns(path))
    view = HostView(world.read())
    world.apply(*driver.plan_endpoint(network, endpoint, sandbox, view, NamespaceState()).steps)
    again = driver.plan_endpoint(network, endpoint, sandbox, view, world.read(path))
    assert again.steps == ()
    return path


@pytest.mark.parametrize(("mode", "meet"), [("bridge", True), ("private", False)])
def test_macvlan_children(world: World, host: Namespace, mode: str, meet: bool) -> None:
    world.apply(BRIDGE, SetLink("br0", up=True))
    paths = [_child(world, "br0", mode, number) for number in (2, 3)]
    assert _meet(host, paths, "10.9.0.3") is meet


@pytest.mark.parametrize(("reflects", "meet"), [("off", False), ("on", True)])
def test_vepa_children_meet_at_a_switch_that_reflects(
    world: World, host: Namespace, reflects: str, meet: bool
) -> None:
    """802.1Qbg: everything goes out of the parent; it is the switch that sends it back, or does not."""
    world.apply(BRIDGE, SetLink("br0", up=True))
    host.ip("link add up0 type veth peer name port0")
    host.ip("link set port0 master br0 up")
    host.ip(f"link set port0 type bridge_slave hairpin {reflects}")
    host.ip("link set up0 up")
    paths = [_child(world, "up0", "vepa", number) for number in (2, 3)]
    assert _meet(host, paths, "10.9.0.3") is meet


def test_a_passthru_child_has_its_parent_for_itself(world: World, host: Namespace) -> None:
    host.ip("link add up0 type veth peer name far0")
    far = world.path("far")
    world.apply(CreateNetns(far))
    host.run("ip", "link", "set", "far0", "netns", far)
    host.ip("link set up0 up")
    world.apply(AddAddress("far0", "10.9.0.9/24", far), SetLink("far0", far, up=True))
    near = _child(world, "up0", "passthru", 2)
    assert _meet(host, [near, far], "10.9.0.9")
    with pytest.raises(CarrickError):
        _child(world, "up0", "passthru", 3)


def _meet(host: Namespace, paths: list[str], address: str) -> bool:
    """Whether a datagram from the first namespace arrives in the second."""

    def inside(path: str) -> Callable[[], socket.socket]:
        def make() -> socket.socket:
            with entered(path):
                return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

        return make

    with host.call(inside(paths[0])) as sender, host.call(inside(paths[1])) as receiver:
        receiver.bind((address, 9))
        receiver.settimeout(0.05)
        for _ in range(20):
            sender.sendto(b"x", (address, 9))
            try:
                return receiver.recv(1) == b"x"
            except TimeoutError:
                continue
    return False


# VXLAN and rows ------------------------------------------------------------------------------


def test_a_udp_port_that_another_program_holds(world: World, host: Namespace) -> None:
    def hold() -> socket.socket:
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        held.bind(("0.0.0.0", VXLAN.port))
        return held

    with host.call(hold):
        error = world.refused(VXLAN)
        assert isinstance(error, Conflict)
        assert "UDP port 4789" in error.message
        assert error.remedy
        assert "vx0" not in world.read().links
    world.apply(VXLAN)
    error = world.refused(replace(VXLAN, name="vx1"))
    assert "VNI 4096 on UDP port 4789" in error.message


def test_iproute2_sees_what_was_asked(world: World, host: Namespace) -> None:
    host.ip("link add up0 type veth peer name up1")
    world.apply(
        BRIDGE,
        replace(
            VXLAN,
            local="2001:db8::1",
            master="br0",
            parent="up0",
            proxy=True,
            udp_checksum=True,
            udp6_zero_tx=True,
            source_ports=(40000, 50000),
        ),
        SetLink("vx0", learning=False, neigh_suppress=True, flood=False, isolated=True, hairpin=True),
        SetFdb("vx0", MAC, "2001:db8::7", bridge=True),
        AddNeighbour("vx0", "fd00::7", MAC, router=True),
        AddRoute("10.7.0.0/24", "vx0", "fd00::7", onlink=True),
    )
    shown = host.ip("-d link show vx0")
    for word in (
        "vxlan id 4096 local 2001:db8::1 dev up0 srcport 40000 50000 dstport 4789 nolearning proxy",
        "udpcsum udp6zerocsumtx udp6zerocsumrx",
        "hairpin on",
        "learning off flood off",
        "isolated on",
        "neigh_suppress on",
    ):
        assert word in shown
    rows = host.run("bridge", "fdb", "show", "dev", "vx0").splitlines()
    assert [row.strip() for row in rows if row.startswith(MAC)] == [
        f"{MAC} master br0 static",
        f"{MAC} dst 2001:db8::7 self static",
    ]
    assert f"fd00::7 lladdr {MAC} router PERMANENT proto 202" in host.ip("neigh show dev vx0").replace(
        "  ", " "
    )
    assert "10.7.0.0/24 via inet6 fd00::7 dev vx0 proto 202 onlink" in host.ip("route show")
    assert {route.via for route in world.own_routes()} == {"fd00::7"}


def test_many_rows_at_once(world: World) -> None:
    """More than one system call takes; and of those refused the first is named, the others are done."""
    world.apply(BRIDGE, VXLAN)
    macs = [f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(1000)]
    steps = [SetFdb("vx0", mac, f"192.0.2.{number % 250 + 2}") for number, mac in enumerate(macs)]
    world.apply(*steps)
    assert len(world.fdb("vx0")) == 1000
    wrong = [SetFdb("vx0", f"06{mac[2:]}", "2001:db8::7") for mac in macs[:300]]
    more = [SetFdb("vx0", f"0a{mac[2:]}", "192.0.2.7") for mac in macs]
    error = world.refused(*wrong, SetFdb("nothing", macs[0], "192.0.2.7"), *more)
    assert f"06{macs[0][2:]}" in error.message
    assert "299 more" in error.message
    assert len(world.fdb("vx0")) == 2000
    world.apply(
        *(RemoveFdb("vx0", mac) for mac in world.fdb("vx0")),
        *(AddNeighbour("vx0", f"fd00::{number:x}", mac) for number, mac in enumerate(macs)),
        *(AddRoute(f"10.{n >> 8}.{n & 255}.0/24", "vx0", "10.9.9.9", onlink=True) for n in range(1000)),
    )
    assert (len(world.fdb("vx0")), len(world.neighbours("vx0")), len(world.own_routes())) == (0, 1000, 1000)


def test_what_others_put_there_is_not_ours(world: World, host: Namespace) -> None:
    world.apply(VXLAN, AddRoute("10.7.0.0/24", "vx0"))
    host.ip("route add 10.8.0.0/24 dev vx0")
    host.ip("route add blackhole 10.9.0.0/24")
    host.ip("rule add priority 900 table 100")
    host.ip(f"neigh add 10.8.0.9 lladdr {MAC} dev vx0 nud permanent")
    assert {route.destination for route in world.own_routes()} == {"10.7.0.0/24"}
    assert "10.9.0.0/24" not in {route.destination for route in world.read().routes}
    assert world.run(world.kernel.read_rules()) == ()
    assert world.neighbours("vx0") == {}
    world.apply(RemoveRule(Rule(900, 100)), RemoveRoute("10.8.0.0/24", own=True))
    assert "900:" in host.ip("rule show")
    assert "10.8.0.0/24" in host.ip("route show")


# Many at once --------------------------------------------------------------------------------


def test_many_tasks_at_once(world: World) -> None:
    """Threads come and go between namespaces; each must be back where it belongs."""
    world.apply(BRIDGE)
    count = 24

    async def make(number: int) -> None:
        netns = world.path(f"n{number}")
        await world.kernel.apply(
            [
                CreateNetns(netns),
                CreateVeth(f"ve{number}", "", 1500, "br0", "eth0", netns, ""),
                AddAddress("eth0", f"10.9.0.{number + 2}/24", netns),
                SetLink("eth0", netns, up=True),
            ]
        )
        state = await world.kernel.read(netns)
        assert f"10.9.0.{number + 2}/24" in state.links["eth0"].addresses

    async def everything() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(make(number))

    world.run(everything())
    links = world.read().links
    assert {f"ve{number}" for number in range(count)} < links.keys()
    assert "eth0" not in links


def test_whoever_is_cancelled_goes_on_when_nothing_is_under_way(world: World) -> None:
    """What is taken back then stays away; else a thread makes it again behind one's back."""

    async def cancel() -> tuple[int, int]:
        bridges = [CreateBridge(f"br{number}", f"carrick:{number}", 1500) for number in range(80)]
        making = asyncio.create_task(world.kernel.apply(bridges))
        # Each look takes its time; the first that sees some of them is in the middle.
        for _ in range(1000):
            if len((await world.kernel.read()).links) > 5:
                break
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        at_once = len((await world.kernel.read()).links)
        await asyncio.sleep(0.2)
        return at_once, len((await world.kernel.read()).links)

    at_once, later = world.run(cancel())
    assert at_once == later


def test_what_waits_for_a_thread_is_not_begun_once_cancelled(world: World) -> None:
    async def cancel() -> int:
        busy = [
            asyncio.create_task(
                world.kernel.apply([CreateBridge(f"b{n}-{m}", "carrick:b", 1500) for m in range(10)])
            )
            for n in range(8)
        ]
        late = asyncio.create_task(world.kernel.apply([CreateBridge("late", "carrick:late", 1500)]))
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.gather(*busy, late, return_exceptions=True)
        return sum(link.name == "late" for link in (await world.kernel.read()).links.values())

    assert world.run(cancel()) == 0


@pytest.mark.skipif(shutil.which("conntrack") is None, reason="needs conntrack (apt: conntrack)")
def test_forgetting_flows_that_are_not_there(world: World) -> None:
    world.apply(ForgetFlows("udp", 53), ForgetFlows("tcp", 80, 6))


def test_nft_refusals_name_what_was_wrong(world: World) -> None:
    error = world.refused(Nft(("add table inet ck-t", "add rule inet ck-t nowhere drop")))
    assert isinstance(error, KernelRefused)
    assert "No such file" in error.message
    assert "nowhere" in error.subject
    # All or nothing.
    assert world.run(world.kernel.list_nft("inet ck-t")) is None
    world.apply(Nft(("add table inet ck-t",)))
    assert world.run(world.kernel.list_nft("inet ck-t"))
    assert any("table" in item for item in world.run(world.kernel.list_nft_all()))
    tables = world.run(world.kernel.list_nft_tables())
    assert tables and all(world.run(world.kernel.list_nft(table)) is not None for table in tables)


def test_ipsec_policies_are_seen(world: World, host: Namespace) -> None:
    assert world.run(world.kernel.has_ipsec()) is False
    tunnel = "tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel"
    host.ip(f"xfrm policy add src 10.0.0.0/24 dst 10.1.0.0/24 dir out {tunnel}")
    assert world.run(world.kernel.has_ipsec()) is True
    host.ip("xfrm policy flush")
    assert world.run(world.kernel.has_ipsec()) is False


def test_sockets_are_closed(host: Namespace, spaces: Namespaces) -> None:
    inhabitant = spaces.inhabit(host)
    before = len(list(Path("/proc/self/fd").iterdir()))
    kernel = inhabitant.call(LinuxKernel)
    inhabitant.run(kernel.read())
    kernel.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# The monitor ---------------------------------------------------------------------------------


class Watcher:
    """A monitor in the host's namespace, and what it reported."""

    def __init__(self, inhabitant: Inhabitant, kernel: LinuxKernel) -> None:
        self.reasons: list[str] = []
        self._rules = threading.Event()
        self._inhabitant = inhabitant
        self._monitor = Monitor(kernel.is_own_change, self.reasons.append, on_rules=self._rules.set)
        inhabitant.call(self._monitor.start)

    def stop(self) -> None:
        self._inhabitant.call(self._monitor.stop)

    def saw_rules(self, *, wait_s: float = 2.0) -> bool:
        """Tell whether somebody else changed rules since the last time."""
        seen = self._rules.wait(wait_s)
        self._rules.clear()
        return seen

    def take(self, *, wait_s: float = 2.0) -> list[str]:
        """Return what was reported, waiting for a first report so long."""
        end = time.monotonic() + wait_s
        while not self.reasons and time.monotonic() < end:
            time.sleep(0.01)
        taken, self.reasons[:] = list(self.reasons), []
        return taken


@pytest.fixture
def watcher(world: World, inhabitant: Inhabitant, spaces: Namespaces) -> Watcher:
    assert isinstance(world.kernel, LinuxKernel)
    made = Watcher(inhabitant, world.kernel)
    spaces.defer(made.stop)
    return made


def test_our_own_changes_go_unnoticed(world: World, watcher: Watcher) -> None:
    netns = world.path("one")
    world.apply(
        BRIDGE,
        AddAddress("br0", "10.9.0.1/24"),
        CreateNetns(netns),
        CreateVeth("ve0", "carrick:ve0", 1500, "br0", "eth0", netns, "", hairpin=True),
        SetSysctl("net.ipv6.conf.eth0.disable_ipv6", "1", netns),
        AddAddress("eth0", "10.9.0.2/24", netns),
        SetLink("eth0", netns, up=True),
        Nft(("add table inet ck-t", "add chain inet ck-t x", "add rule inet ck-t x drop")),
        Nft(("flush table inet ck-t", "delete chain inet ck-t x")),
        Nft(("delete table inet ck-t",)),
        DeleteLink("eth0", netns),
        CreateVeth("ve1", "carrick:ve1", 1500, "br0", "eth0", netns, "", hairpin=True),
        SetLink("ve1", up=False),
        DeleteNetns(netns),
        DeleteLink("br0"),
    )
    assert watcher.take(wait_s=0.3) == []


def test_a_foreign_hand_is_noticed(world: World, host: Namespace, watcher: Watcher) -> None:
    netns = world.path("one")
    world.apply(
        BRIDGE,
        CreateNetns(netns),
        CreateVeth("ve0", "carrick:ve0", 1500, "br0", "eth0", netns, ""),
        CreateBridge("br1", "carrick:br1", 1500),
        AddAddress("br0", "10.9.0.1/24"),
        Nft(("add table inet carrick", "add chain inet carrick x", "add rule inet carrick x drop")),
    )
    assert watcher.take(wait_s=0.1) == []
    for command, word in (
        ("ip address delete 10.9.0.1/24 dev br0", "address"),
        ("ip link set br0 down", "br0 was set down"),
        ("ip link delete ve0", "ve0 was removed"),
        ("ip link delete br1", "br1 was removed"),
        ("nft flush chain inet carrick x", "rules"),
        ("nft delete table inet carrick", "rules"),
    ):
        host.run(*command.split())
        reasons = watcher.take()
        assert reasons, command
        assert any(word in reason for reason in reasons), (command, reasons)


ROWS: tuple[Step, ...] = (
    SetFdb("vx0", MAC, "192.0.2.7", bridge=True),
    *(SetFdb("vx0", ANY_MAC, f"192.0.2.{number}") for number in (7, 8, 9)),
    AddNeighbour("vx0", "10.9.0.7", MAC),
    AddNeighbour("vx0", "fd00::7", MAC),
    AddNeighbour("br0", "fd00::7", MAC),
    AddRoute("10.7.0.0/24", "br0"),
    AddRoute("fd00:7::/64", "br0", version=6),
    AddRule(Rule(900, 100)),
)


def test_our_own_rows_go_unnoticed(world: World, watcher: Watcher) -> None:
    vxlan = replace(VXLAN, master="br0")
    for _ in range(2):
        world.apply(STEADY, vxlan, *ROWS, SetFdb("vx0", MAC, "192.0.2.8", bridge=True))
        world.apply(
            RemoveFdb("vx0", MAC, "192.0.2.8", bridge=True),
            RemoveFdb("vx0", ANY_MAC, "192.0.2.8"),
            RemoveNeighbour("vx0", "10.9.0.7"),
            RemoveNeighbour("vx0", "fd00::7"),
            RemoveRoute("10.7.0.0/24"),
            RemoveRoute("fd00:7::/64", version=6),
            RemoveRule(Rule(900, 100)),
        )
        # With a device that goes down go its neighbours, and with one that is removed all of its rows.
        world.apply(*ROWS, SetLink("vx0", up=False))
        assert watcher.take(wait_s=0.2) == []
        world.apply(SetLink("vx0", up=True), *ROWS, DeleteLink("vx0"), DeleteLink("br0"))
        assert watcher.take(wait_s=0.2) == []


def test_a_foreign_hand_on_rows_is_noticed(world: World, host: Namespace, watcher: Watcher) -> None:
    world.apply(STEADY, replace(VXLAN, master="br0"), *ROWS)
    # What was ours to remove, and is back, is looked after as before.
    world.apply(RemoveFdb("vx0", MAC, "192.0.2.7", bridge=True), RemoveNeighbour("vx0", "fd00::7"), *ROWS)
    assert watcher.take(wait_s=0.2) == []
    for command, word in (
        (f"bridge fdb del {MAC} dev vx0 master", f"row {MAC} bridge of link vx0"),
        (f"bridge fdb del {MAC} dev vx0 self", f"row {MAC} 192.0.2.7 of link vx0"),
        (f"bridge fdb del {ANY_MAC} dev vx0 dst 192.0.2.8", f"row {ANY_MAC} 192.0.2.8"),
        ("ip neigh del 10.9.0.7 dev vx0", "row 10.9.0.7"),
        ("ip neigh flush dev vx0 nud permanent", "row fd00::7"),
        ("ip route del 10.7.0.0/24", "a route"),
        ("ip -6 route del fd00:7::/64", "a route"),
        ("ip link del vx0", "link vx0 was removed"),
    ):
        host.run(*command.split())
        reasons = watcher.take()
        assert reasons, command
        assert any(word in reason for reason in reasons), (command, reasons)


def test_others_rows_are_others_business(world: World, host: Namespace, watcher: Watcher) -> None:
    world.apply(BRIDGE)
    host.ip("link add vx9 type vxlan id 9 dstport 4789 local 192.0.2.1")
    host.ip("link set vx9 up")
    for command in (
        f"bridge fdb add {MAC} dev vx9 dst 192.0.2.7",
        f"ip neigh add 10.9.0.7 lladdr {MAC} dev vx9 nud permanent",
        f"ip neigh add 10.9.0.7 lladdr {MAC} dev br0 nud permanent",
        "ip route add 10.7.0.0/24 dev vx9",
        f"bridge fdb del {MAC} dev vx9 dst 192.0.2.7",
        "ip neigh del 10.9.0.7 dev vx9",
        "ip neigh del 10.9.0.7 dev br0",
        "ip route del 10.7.0.0/24",
        "ip link del vx9",
    ):
        host.run(*command.split())
    assert watcher.take(wait_s=0.3) == []


def test_what_only_comes_is_no_reason(host: Namespace, watcher: Watcher) -> None:
    host.run("nft", "add table inet foreign")
    host.run("ip", "address", "add", "10.9.9.9/32", "dev", "lo")
    host.ip("link add v0 type veth peer name v1")
    host.ip("link set v0 up")
    # Another's links and rules may even go.
    host.ip("link delete v0")
    host.run("nft", "delete table inet foreign")
    assert watcher.take(wait_s=0.3) == []


def test_rules_of_others_are_told_apart(world: World, host: Namespace, watcher: Watcher) -> None:
    world.apply(Nft(("add table inet carrick", "add chain inet carrick admin")))
    world.apply(Nft(("add rule inet carrick admin drop", "add set inet carrick s { type ipv4_addr; }")))
    assert not watcher.saw_rules(wait_s=0.3)
    for command in (
        "add rule inet carrick admin accept",
        "add table ip foreign",
        "add chain ip foreign forward { type filter hook forward priority 0; policy drop; }",
        "add rule ip foreign forward drop",
        "flush chain ip foreign forward",
        "delete table ip foreign",
    ):
        host.run("nft", command)
        assert watcher.saw_rules(wait_s=0.3 if command.startswith("add table") else 2) is (
            not command.startswith("add table")
        )
    watcher.take(wait_s=0)
    host.run("nft", "add element inet carrick s { 192.0.2.1 }")
    assert not watcher.saw_rules(wait_s=0.3)


def test_a_stopped_monitor_is_silent(host: Namespace, watcher: Watcher) -> None:
    watcher.stop()
    host.ip("link set lo down")
    assert watcher.take(wait_s=0.2) == []


def test_what_the_kernel_has_is_found_by_asking(world: World, host: Namespace) -> None:
    assert world.run(world.kernel.supports("veth")) is True
    assert world.run(world.kernel.supports("macvlan")) is True
    assert world.run(world.kernel.supports("no-such-kind")) is False
    assert "ck-probe" not in host.ip("link show")


def test_announcements_arrive(world: World, host: Namespace) -> None:
    netns = world.path("teller")
    world.apply(
        BRIDGE,
        CreateNetns(netns),
        CreateVeth("ve0", "carrick:ve0", 1500, "br0", "eth0", netns, "02:00:00:00:00:09"),
        SetLink("eth0", netns, up=True),
    )

    def listen() -> socket.socket:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        raw.bind(("br0", 0x0003))
        raw.settimeout(5)
        return raw

    with host.call(listen) as raw:
        world.apply(Announce("eth0", "02:00:00:00:00:09", ("10.9.0.9", "fd00:9::9"), netns))
        wanted = {render_announcement("02:00:00:00:00:09", item) for item in ("10.9.0.9", "fd00:9::9")}
        while wanted:
            wanted.discard(raw.recv(2000))
