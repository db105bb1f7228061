"""Routed networks and their transports: real packets between namespaces that act as hosts.

Two hosts share a segment, the third is behind a router. Each has a kernel of its own, the firewall, and a
container, by the driver's plans; what they know of each other is a `ClusterView`, as the cluster's records
would give it. Needs root; nothing here touches the machine's own network.
"""

import base64
import os
import secrets
import shutil
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hosts import FAMILY, WAIT_S, Capture, HostOnSwitch, make_switch
from traffic import Stream, checksum, echo, exchange, ping

from carrick.domains.firewall import Firewall, Publication, render_all
from carrick.domains.sandboxes.routes import plan_default_routes
from carrick.domains.wireguard import device_name
from carrick.drivers import overlay
from carrick.drivers.contract import ClusterView, Driver, HostView, LinkRows, Spanning
from carrick.drivers.overlay import VNI, OverlayDriver
from carrick.drivers.routed import MODE, POINT_MODE, RoutedDriver
from carrick.host.wireguard import Wireguard
from carrick.model.cluster import Block, BlockState, NodeId, NodeRecord, RemoteEndpoint, Underlay
from carrick.model.errors import NotFound
from carrick.model.ids import ContainerId, EndpointId, NetworkId, SandboxId
from carrick.model.networks import Endpoint, EndpointSettings, Network, PoolConfig, Sandbox, Scope
from carrick.model.steps import Nft, Plan, SetSysctl
from carrick.testing.namespaces import Namespace, Namespaces, namespaces

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")

BLOCKS = {4: "10.77.{}.64/26", 6: "fd77::{}:0/112"}
CONTAINER = {4: "10.77.{}.70", 6: "fd77::{}:5"}
NAME = "net"
has_wireguard = pytest.mark.skipif(
    shutil.which("wireguard-go") is None or shutil.which("wg") is None,
    reason="wireguard-go and wireguard-tools are not installed",
)


def _network(driver: str = "routed", *, internal: bool = False, **options: str) -> Network:
    return Network(
        NetworkId("ab" * 32),
        NAME,
        driver,
        0,
        scope=Scope.GLOBAL,
        enable_ipv6=True,
        internal=internal,
        pools=(PoolConfig("10.77.0.0/16"), PoolConfig("fd77::/96")),
        options={VNI: "5001", **{key.replace("_", "-"): value for key, value in options.items()}},
    )


class Host(HostOnSwitch):
    """A host of the lab: its parts, and its container's endpoint."""

    def __init__(self, spaces: Namespaces, segment: Namespace, number: int, directory: Path) -> None:
        super().__init__(spaces, segment, number, directory)
        four, six = ("198.51.100", "2001:db8:b") if number == 3 else ("192.0.2", "2001:db8:a")
        self.namespace.sysctl("net.ipv4.ip_forward", "1")
        self.namespace.sysctl("net.ipv6.conf.all.forwarding", "1")
        self.namespace.ip(f"address add {four}.{number}/24 dev up0")
        self.namespace.ip(f"address add {six}::{number}/64 dev up0")
        self.namespace.ip(f"route add default via {four}.254")
        self.namespace.ip(f"-6 route add default via {six}::fe")
        self.world.apply(SetSysctl("net.ipv6.conf.default.accept_dad", "0", self.container))
        table = f"ck{secrets.token_hex(3)}"
        self.wireguard = Wireguard(
            name=device_name(table),
            alias=f"{table}:wireguard",
            directory=directory / f"state{number}",
            log=directory / f"wireguard{number}.log",
            kernel=self.world.kernel,
        )
        spaces.defer(lambda: self.world.run(self.wireguard.remove()))
        self.record = NodeRecord(
            NodeId(f"node{number:022}"),
            f"host{number}",
            1,
            (Underlay(f"{four}.{number}", f"{four}.0/24"), Underlay(f"{six}::{number}", f"{six}::/64")),
        )
        self.endpoint: Endpoint | None = None
        self.cluster: ClusterView | None = None

    @property
    def table(self) -> str:
        return self.wireguard.name.removeprefix("wg-")

    def address(self, version: int) -> str:
        return CONTAINER[version].format(self.number)

    @property
    def overlay_mac(self) -> str:
        return f"02:00:00:00:07:{self.number:02x}"

    def view(self, links: Iterable[str] = ()) -> HostView:
        rows = {}
        for link in links:
            with suppress(NotFound):
                rows[link] = LinkRows(self.world.fdb(link), self.world.neighbours(link))
        device = self.world.run(self.wireguard.view())
        return HostView(self.world.read(), self.table, 1500, self.cluster, rows, device)

    def converge(self, driver: Driver, network: Network) -> Plan:
        """Apply the network's plan; then there is nothing to plan."""
        assert isinstance(driver, Spanning)
        links = driver.tunnels(network)
        plan = driver.plan_network(network, self.view(links))
        self.world.apply(*plan.steps)
        again = driver.plan_network(network, self.view(links))
        assert not again.steps, again.steps
        return plan

    def attach(self, driver: Driver, network: Network, *, mac: str = "") -> None:
        """Apply the plan of the container's endpoint; then there is nothing to plan."""
        endpoint = Endpoint(
            EndpointId(f"{self.number:064x}"),
            network.id,
            network.name,
            0,
            settings=EndpointSettings(mac_address=mac),
            ipv4=f"{self.address(4)}/16",
            ipv6=f"{self.address(6)}/96",
        )
        self.endpoint = driver.complete_endpoint(network, endpoint)
        sandbox = Sandbox(SandboxId("s"), ContainerId("c"), self.container, True, (self.endpoint,))

        def plan() -> Plan:
            return driver.plan_endpoint(
                network, self.endpoint or endpoint, sandbox, self.view(), self.world.read(self.container)
            )

        self.world.apply(*plan().steps)
        assert not plan().steps
        self.world.apply(*plan_default_routes(sandbox, self.world.read(self.container).routes))

    def firewall(self, driver: Driver, network: Network) -> None:
        rules = driver.firewall_rules(network)
        assert rules is not None
        self.world.apply(Nft(render_all(Firewall(self.table, (rules,)))))


@dataclass
class Lab:
    spaces: Namespaces
    router: Namespace
    segments: dict[str, Namespace]
    hosts: list[Host]

    def nodes(self) -> dict[NodeId, NodeRecord]:
        return {host.record.id: host.record for host in self.hosts}

    def tell(self, network: Network) -> None:
        """Have every host see all, as the cluster's records would say it."""
        blocks = tuple(
            Block(network.id, BLOCKS[version].format(host.number), host.record.id, 1, BlockState.CONFIRMED)
            for host in self.hosts
            for version in (4, 6)
        )
        for host in self.hosts:
            host.cluster = ClusterView(host.record, self.nodes(), {network.id: blocks})

    def up(self, network: Network, *, wireguard: bool = False) -> RoutedDriver:
        """Bring a routed network up on every host, with a container in it."""
        driver = RoutedDriver()
        if wireguard:
            self.keys()
        self.tell(network)
        for host in self.hosts:
            driver.check(network, (), host.view())
            host.converge(driver, network)
            host.firewall(driver, network)
            host.attach(driver, network)
            host.converge(driver, network)
        return driver

    def keys(self) -> None:
        for host in self.hosts:
            host.world.run(host.wireguard.ensure())
            host.record = replace(
                host.record, wireguard_key=host.wireguard.public_key(), wireguard_port=51820
            )


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with namespaces() as spaces:
        router = spaces.new()
        router.sysctl("net.ipv4.ip_forward", "1")
        router.sysctl("net.ipv6.conf.all.forwarding", "1")
        router.sysctl("net.ipv6.conf.default.accept_dad", "0")
        segments = {}
        for name, four, six in (("a", "192.0.2", "2001:db8:a"), ("b", "198.51.100", "2001:db8:b")):
            segment = segments[name] = make_switch(spaces)
            spaces.wire(router, f"to-{name}", segment, "router")
            segment.ip("link set router master sw0")
            router.ip(f"address add {four}.254/24 dev to-{name}")
            router.ip(f"address add {six}::fe/64 dev to-{name}")
        yield Lab(
            spaces,
            router,
            segments,
            [Host(spaces, segments["b" if n == 3 else "a"], n, tmp_path) for n in (1, 2, 3)],
        )


# Traffic ------------------------------------------------------------------------------------


def _talk(one: Host, other: Host, version: int) -> str:
    """Exchange a mebibyte; return the address that `one` was seen with."""
    return exchange(one, other, one.address(version), other.address(version))


BACKENDS = [
    pytest.param({"backend": "vxlan"}, id="vxlan"),
    pytest.param({"backend": "vxlan", "cross-subnet": "true"}, id="vxlan-cross-subnet"),
    pytest.param({"backend": "wireguard"}, id="wireguard", marks=has_wireguard),
]
OVERHEAD = {"vxlan": 50, "wireguard": 60, "direct": 0}


@pytest.mark.parametrize(("mode", "outer"), [("gateway", 4), ("point", 4), ("gateway", 6)])
@pytest.mark.parametrize("options", BACKENDS)
def test_containers_meet_whatever_the_transport(
    lab: Lab, options: dict[str, str], mode: str, outer: int
) -> None:
    network = replace(_network(), options={VNI: "5001", MODE: mode, **options})
    backend = options["backend"]
    if outer == 6:
        for host in lab.hosts:
            host.record = replace(host.record, underlays=host.record.underlays[::-1])
    lab.up(network, wireguard=backend == "wireguard")
    one, two, three = lab.hosts
    mtu = 1500 - OVERHEAD[backend] - (20 if outer == 6 else 0)
    for version in (4, 6):
        for here, there in ((one, two), (one, three), (three, two)):
            ping(here, there.address(version))
            # Its own address, not that of a host.
            assert _talk(here, there, version) == here.address(version)
            ping(here, there.address(version), packet=mtu, whole=True)
            with pytest.raises(OSError, match="Message too long"):
                ping(here, there.address(version), packet=mtu + 2, whole=True)
            ping(here, there.address(version), packet=20000)
        # The hosts themselves, and one's neighbour on the same bridge's other side.
        one.namespace.call(echo, three.address(version))
        one.namespace.call(echo, one.address(version))
    # Nobody has it: who asks is told, or gets no answer; it does not go round.
    with pytest.raises(OSError, match=r"No route|timed out|unreachable"):
        ping(one, "10.77.200.9", wait_s=2)


@pytest.mark.parametrize("mode", ["gateway", "point"])
def test_direct_within_a_segment(lab: Lab, mode: str) -> None:
    network = _network(backend="direct")
    network = replace(network, options={**network.options, MODE: mode})
    driver = lab.up(network)
    one, two, three = lab.hosts
    for version in (4, 6):
        assert _talk(one, two, version) == one.address(version)
        ping(one, two.address(version), packet=1500, whole=True)
        # There is no plain route across a router that knows none of this.
        with pytest.raises(OSError, match=r"No route|timed out|unreachable"):
            ping(one, three.address(version), wait_s=2)
    ways = {way.node.name: way for way in driver.ways(network, one.view())}
    assert ways["host2"].transport == "direct"
    assert "another segment" in ways["host3"].why


def test_cross_subnet_is_plain_within_the_segment_and_vxlan_across(lab: Lab) -> None:
    lab.up(_network(backend="vxlan", cross_subnet="true"))
    one, two, three = lab.hosts
    for other, encapsulated in ((two, False), (three, True)):
        with Capture(lab.segments["a"]) as capture:
            ping(one, other.address(4))
            frames = [frame for frame in capture.take() if struct.unpack_from("!H", frame, 12)[0] == 0x0800]
        ports = [struct.unpack_from("!H", frame, 36)[0] for frame in frames if frame[23] == 17]
        inner = [frame for frame in frames if frame[23] == 1]
        assert bool(inner) is not encapsulated
        assert (4789 in ports) is encapsulated


def test_what_leaves_for_elsewhere_is_masqueraded_and_nothing_else(lab: Lab) -> None:
    lab.up(_network())
    one, _, three = lab.hosts
    assert _talk(one, three, 4) == one.address(4)
    lab.router.ip("address add 203.0.113.1/32 dev lo")

    def listen() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.bind(("203.0.113.1", 80))
        made.listen()
        made.settimeout(WAIT_S)
        return made

    with lab.router.call(listen) as listener, one.socket(4, socket.SOCK_STREAM, "0.0.0.0", 0) as client:
        client.connect(("203.0.113.1", 80))
        accepted, peer = listener.accept()
        accepted.close()
    assert peer[0] == "192.0.2.1"


def test_an_internal_network_reaches_its_other_hosts_and_nothing_else(lab: Lab) -> None:
    lab.up(_network(internal=True))
    one, _, three = lab.hosts
    for version in (4, 6):
        assert _talk(one, three, version) == one.address(version)
    with pytest.raises(OSError, match=r"unreachable|timed out"):
        ping(one, "192.0.2.254", wait_s=1)


@pytest.mark.parametrize("mode", ["gateway", "point"])
def test_a_published_port_is_reached_from_everywhere(lab: Lab, mode: str) -> None:
    network = replace(_network(), options={VNI: "5001", MODE: mode})
    driver = lab.up(network)
    one, two, three = lab.hosts
    rules = driver.firewall_rules(network)
    assert rules is not None
    published = tuple(Publication("tcp", "", 8080, one.address(version), 7005) for version in (4, 6))
    one.world.apply(Nft(render_all(Firewall(one.table, (rules,), published))))
    for version, host in ((4, "192.0.2.1"), (6, "2001:db8:a::1")):

        def connect(host: str = host, version: int = version) -> None:
            with socket.socket(FAMILY[version], socket.SOCK_STREAM) as client:
                client.settimeout(WAIT_S)
                client.connect((host, 8080))

        with one.socket(version, socket.SOCK_STREAM, one.address(version), 7005) as listener:
            listener.listen()
            lab.router.call(connect)
            for other in (two, three):
                other.inside(connect)
            # Who comes from outside keeps its address.
            accepted, (peer, *_) = listener.accept()
            accepted.close()
            assert peer == {4: "192.0.2.254", 6: "2001:db8:a::fe"}[version]


def test_nobody_else_gets_in(lab: Lab) -> None:
    """Neither who routes by a host of ours from outside, nor who pretends to be one of the network."""
    lab.up(_network())
    one, two, three = lab.hosts
    lab.router.ip("route add 10.77.0.0/16 via 192.0.2.1")
    for target in (one, three):
        with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
            lab.router.call(lambda target=target: echo(target.address(4), wait_s=1))
    lab.router.ip("address add 10.77.2.71/32 dev lo")
    lab.router.ip("route replace 10.77.1.64/26 via 192.0.2.1 src 10.77.2.71")
    with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
        lab.router.call(lambda: echo(one.address(4), wait_s=1))
    ping(one, two.address(4))


def test_removal_leaves_nothing(lab: Lab) -> None:
    network = replace(_network(cross_subnet="true"), options={VNI: "5001", MODE: POINT_MODE})
    before = {host.number: host.world.read() for host in lab.hosts}
    driver = lab.up(network)
    for host in lab.hosts:
        assert host.endpoint is not None
        sandbox = Sandbox(SandboxId("s"), ContainerId("c"), host.container, True, (host.endpoint,))
        gone = driver.plan_endpoint_removal(network, host.endpoint, sandbox, host.view())
        assert not host.world.remove(*gone.steps)
        errors = host.world.remove(*driver.plan_network_removal(network, (), host.view()).steps)
        assert not errors
        after = host.world.read()
        assert after.links.keys() == before[host.number].links.keys()
        assert {route for route in after.routes if route.is_own} == set()


# WireGuard ----------------------------------------------------------------------------------


def _plaintext(frames: Iterable[bytes], marker: bytes) -> list[bytes]:
    return [frame for frame in frames if marker in frame]


def _shout(host: Host, version: int, address: str, marker: bytes, times: int = 20) -> None:
    with host.socket(version, socket.SOCK_DGRAM, host.address(version), 0) as sender:
        for _ in range(times):
            with suppress(OSError):
                sender.sendto(marker, (address, 7003))
            time.sleep(0.01)


@has_wireguard
def test_wireguard_sends_nothing_in_the_clear(lab: Lab) -> None:
    network = _network(backend="wireguard")
    driver = RoutedDriver()
    one, two, three = lab.hosts
    lab.keys()
    # One has not published a key, another a key that is not its own.
    two.record = replace(two.record, wireguard_key="")
    three_key = three.record.wireguard_key
    three.record = replace(three.record, wireguard_key=base64.b64encode(os.urandom(32)).decode())
    lab.up(network)
    marker = os.urandom(24)
    with Capture(lab.segments["a"]) as capture:
        for version in (4, 6):
            for other in (two, three):
                _shout(one, version, other.address(version), marker)
        assert not _plaintext(capture.take(), marker)
        # The device gone, with its routes.
        one.namespace.ip(f"link delete {one.wireguard.name}")
        for version in (4, 6):
            for other in (two, three):
                _shout(one, version, other.address(version), marker)
        assert not _plaintext(capture.take(), marker)
        # The routes replaced by somebody's: the firewall is what is left.
        one.namespace.ip("route add 10.77.2.64/26 via 192.0.2.2")
        _shout(one, 4, two.address(4), marker)
        assert not _plaintext(capture.take(), marker)
        # The counter-check: without it the capture sees them.
        one.namespace.run("nft", "flush", "chain", "inet", one.table, f"outof_{'ab' * 6}")
        _shout(one, 4, two.address(4), marker)
        assert _plaintext(capture.take(), marker)
    # What arrives in the clear is not taken, though it says to be of the network.
    with two.socket(4, socket.SOCK_DGRAM, two.address(4), 7003) as receiver:
        receiver.settimeout(0.5)
        _shout(one, 4, two.address(4), marker)
        with pytest.raises(TimeoutError):
            receiver.recv(100)
    one.world.run(one.wireguard.ensure())
    one.namespace.ip("route delete 10.77.2.64/26 via 192.0.2.2")
    three.record = replace(three.record, wireguard_key=three_key)
    two.record = replace(two.record, wireguard_key=two.wireguard.public_key())
    lab.tell(network)
    for host in lab.hosts:
        host.converge(driver, network)
        host.firewall(driver, network)
    with Capture(lab.segments["a"]) as capture:
        for other in (two, three):
            assert _talk(one, other, 4) == one.address(4)
            _shout(one, 4, other.address(4), marker)
        frames = capture.take()
    assert len(frames) > 100
    assert not _plaintext(frames, marker)


def _stream(one: Host, other: Host) -> Stream:
    return Stream(one, (other,), one.address(4), other.address(4))


@has_wireguard
def test_a_key_is_rotated_without_loss(lab: Lab) -> None:
    network = _network(backend="wireguard")
    driver = lab.up(network, wireguard=True)
    one, two, _ = lab.hosts
    ping(one, two.address(4))
    ping(two, one.address(4))
    with _stream(one, two) as there, _stream(two, one) as back:
        for host in (one, two, one):
            before = host.record.wireguard_key
            host.record = replace(host.record, wireguard_key=host.wireguard.rotate())
            assert host.record.wireguard_key != before
            lab.tell(network)
            # The one whose key it is first; then the others hear of it.
            for other in sorted(lab.hosts, key=lambda item, host=host: item is not host):
                other.converge(driver, network)
            time.sleep(0.3)
            ping(one, two.address(4))
    assert there.sent > 500
    assert not there.lost, (len(there.lost), there.sent)
    assert not back.lost, (len(back.lost), back.sent)


@has_wireguard
def test_a_key_is_rotated_without_loss_where_only_one_side_sends(lab: Lab) -> None:
    """Nobody sends to the one with the new key, so that nobody would shake hands with it by himself."""
    network = _network(backend="wireguard")
    driver = lab.up(network, wireguard=True)
    one, two, _ = lab.hosts
    ping(one, two.address(4))
    with _stream(one, two) as there:
        time.sleep(0.2)
        one.record = replace(one.record, wireguard_key=one.wireguard.rotate())
        lab.tell(network)
        for host in lab.hosts:
            host.converge(driver, network)
        time.sleep(0.5)
    assert not there.lost, (len(there.lost), there.sent)


@has_wireguard
def test_wireguard_go_dies_and_comes_back(lab: Lab) -> None:
    network = _network(backend="wireguard")
    driver = lab.up(network, wireguard=True)
    one, two, _ = lab.hosts
    ping(one, two.address(4))
    marker = os.urandom(24)
    routes = {route for route in one.world.read().routes if route.is_own}
    with Capture(lab.segments["a"]) as capture:
        os.kill(_process_of(one.wireguard.name), 9)
        _shout(one, 4, two.address(4), marker)
        # Addresses and routes are those of a device that outlived it.
        assert {route for route in one.world.read().routes if route.is_own} == routes
        view = one.view()
        assert view.wireguard is not None
        assert view.wireguard.state is None
        one.world.run(one.wireguard.ensure())
        one.converge(driver, network)
        ping(one, two.address(4))
        ping(two, one.address(4))
        assert not _plaintext(capture.take(), marker)


def _process_of(device: str) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"wireguard-go") and device.encode() in words:
                    return int(entry.name)
    raise AssertionError(f"no wireguard-go for {device}")


@has_wireguard
def test_the_private_key_is_nowhere_but_in_its_file(lab: Lab) -> None:
    lab.up(_network(backend="wireguard"), wireguard=True)
    host = lab.hosts[0]
    secret = host.wireguard.key_file.read_text().strip()
    assert host.wireguard.key_file.stat().st_mode & 0o777 == 0o600
    process = Path(f"/proc/{_process_of(host.wireguard.name)}")
    assert secret.encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    logs = [path.read_text() for path in host.wireguard.key_file.parent.parent.glob("*.log")]
    assert not any(secret in text for text in logs)
    assert secret not in repr(host.view())


# Encrypted overlays -------------------------------------------------------------------------


def _overlay(lab: Lab, network: Network) -> OverlayDriver:
    driver = OverlayDriver()
    endpoints = {
        host.number: RemoteEndpoint(
            EndpointId(f"{host.number:064x}"),
            network.id,
            host.record.id,
            ContainerId("c"),
            "c",
            host.overlay_mac,
            host.address(4),
            host.address(6),
        )
        for host in lab.hosts
    }
    for host in lab.hosts:
        others = {item.key: item for number, item in endpoints.items() if number != host.number}
        host.cluster = ClusterView(host.record, lab.nodes(), {}, {network.id: others})
    return driver


@has_wireguard
def test_an_encrypted_overlay(lab: Lab) -> None:
    network = replace(
        _network("overlay"),
        options={VNI: "5002", overlay.ENCRYPTED: ""},
        pools=(PoolConfig("10.77.0.0/16", gateway="10.77.0.1"), PoolConfig("fd77::/96", gateway="fd77::1")),
    )
    lab.keys()
    driver = _overlay(lab, network)
    one, two, three = lab.hosts
    for host in lab.hosts:
        driver.check(network, (), host.view())
        host.converge(driver, network)
        host.firewall(driver, network)
        host.attach(driver, network, mac=host.overlay_mac)
    marker = os.urandom(24)
    with Capture(lab.segments["a"]) as capture:
        for version in (4, 6):
            for other in (two, three):
                assert _talk(one, other, version) == one.address(version)
                _shout(one, version, other.address(version), marker)
        mtu = one.world.link(overlay.device_name(network)).mtu
        assert mtu == 1500 - 60 - 70
        ping(one, three.address(4), packet=mtu, whole=True)
        frames = capture.take()
        assert not _plaintext(frames, marker)
        assert len(frames) > 100
        one.namespace.ip(f"link delete {one.wireguard.name}")
        _shout(one, 4, two.address(4), marker)
        assert not _plaintext(capture.take(), marker)
    # A forged one, in the clear, with the right VNI.
    frame = bytes.fromhex("0200000007020200000007010800") + _datagram(one, two, marker)
    vxlan = struct.pack("!BxxxL", 8, 5002 << 8) + frame
    with two.socket(4, socket.SOCK_DGRAM, two.address(4), 7003) as receiver:
        receiver.settimeout(0.5)

        def forge() -> None:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
                sender.sendto(vxlan, ("2001:db8:a::2", 4789))

        one.namespace.call(forge)
        with pytest.raises(TimeoutError):
            receiver.recv(100)
        two.namespace.run("nft", "flush", "map", "inet", two.table, "arriving_vni")
        one.namespace.call(forge)
        assert receiver.recv(100) == marker


def _datagram(one: Host, other: Host, payload: bytes) -> bytes:
    udp = struct.pack("!HHHH", 7003, 7003, 8 + len(payload), 0) + payload
    source, target = ip_address(one.address(4)).packed, ip_address(other.address(4)).packed
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + source + target
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + udp
