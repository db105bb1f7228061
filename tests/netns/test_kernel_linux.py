"""The kernel suite on the real kernel, in a namespace of its own; and what only the real one can show.

Needs root. Nothing here touches the machine's own network.
"""

import asyncio
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carrick.drivers.contract import HostView
from carrick.drivers.macvlan import IpvlanDriver, MacvlanDriver
from carrick.host.kernel import LinuxKernel
from carrick.host.kernel.announce import render_announcement
from carrick.host.kernel.monitor import Monitor
from carrick.host.kernel.netns import delete_netns, entered, is_netns
from carrick.model.errors import CarrickError, KernelRefused, Unsupported
from carrick.model.ids import ContainerId, EndpointId, NetworkId, SandboxId
from carrick.model.networks import Endpoint, Network, PoolConfig, Sandbox
from carrick.model.steps import (
    AddAddress,
    Announce,
    CreateBridge,
    CreateDummy,
    CreateNetns,
    CreateSlave,
    CreateVeth,
    CreateVlan,
    DeleteLink,
    DeleteNetns,
    ForgetFlows,
    NamespaceState,
    Nft,
    SetLink,
    SetSysctl,
    Step,
)
from carrick.testing.kernel_suite import KernelSuite, World
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

# What this kernel lacks ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (CreateSlave("ipvlan", "eth0", "NETNS", "br0", "l2", "bridge"), "no ipvlan links"),
        (CreateVlan("br0.5", "br0", 5, "carrick:x"), "no 802.1q vlan links"),
        (CreateDummy("dm-1", "carrick:x"), "no dummy links"),
    ],
    ids=["ipvlan", "vlan", "dummy"],
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
        self._inhabitant = inhabitant
        self._monitor = Monitor(kernel.is_own_change, self.reasons.append)
        inhabitant.call(self._monitor.start)

    def stop(self) -> None:
        self._inhabitant.call(self._monitor.stop)

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


def test_what_only_comes_is_no_reason(host: Namespace, watcher: Watcher) -> None:
    host.run("nft", "add table inet foreign")
    host.run("ip", "address", "add", "10.9.9.9/32", "dev", "lo")
    host.ip("link add v0 type veth peer name v1")
    host.ip("link set v0 up")
    # Another's links and rules may even go.
    host.ip("link delete v0")
    host.run("nft", "delete table inet foreign")
    assert watcher.take(wait_s=0.3) == []


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
