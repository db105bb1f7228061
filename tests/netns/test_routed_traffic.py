"""Routed networks and their transports: real packets between namespaces that act as hosts (`routed`)."""

import base64
import os
import shutil
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest
from hosts import FAMILY, WAIT_S, Capture
from routed import Host, Lab, lab_of_routers, network_of, talk
from traffic import Stream, checksum, echo, ping

from carrick.domains.firewall import Publication
from carrick.drivers import overlay
from carrick.drivers.contract import ClusterView
from carrick.drivers.overlay import VNI, OverlayDriver
from carrick.drivers.routed import MODE, POINT_MODE, RoutedDriver
from carrick.model.cluster import RemoteEndpoint
from carrick.model.ids import ContainerId, EndpointId, SandboxId
from carrick.model.networks import Network, PoolConfig, Sandbox

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")

has_wireguard = pytest.mark.skipif(
    shutil.which("wireguard-go") is None or shutil.which("wg") is None,
    reason="wireguard-go and wireguard-tools are not installed",
)


@pytest.fixture
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """`with_shortcuts` has them taken as well."""
    with lab_of_routers(tmp_path, shortcuts=getattr(request, "param", False)) as lab:
        yield lab


with_shortcuts = pytest.mark.parametrize("lab", [False, True], ids=["tracked", "shortcuts"], indirect=True)


# Traffic ------------------------------------------------------------------------------------


BACKENDS = [
    pytest.param({"backend": "vxlan"}, id="vxlan"),
    pytest.param({"backend": "vxlan", "cross-subnet": "true"}, id="vxlan-cross-subnet"),
    pytest.param({"backend": "wireguard"}, id="wireguard", marks=has_wireguard),
]
OVERHEAD = {"vxlan": 50, "wireguard": 60, "direct": 0}


@with_shortcuts
@pytest.mark.parametrize(("mode", "outer"), [("gateway", 4), ("point", 4), ("gateway", 6)])
@pytest.mark.parametrize("options", BACKENDS)
def test_containers_meet_whatever_the_transport(
    lab: Lab, options: dict[str, str], mode: str, outer: int
) -> None:
    network = replace(network_of(), options={VNI: "5001", MODE: mode, **options})
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
            assert talk(here, there, version) == here.address(version)
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
    network = network_of(backend="direct")
    network = replace(network, options={**network.options, MODE: mode})
    driver = lab.up(network)
    one, two, three = lab.hosts
    for version in (4, 6):
        assert talk(one, two, version) == one.address(version)
        ping(one, two.address(version), packet=1500, whole=True)
        # There is no plain route across a router that knows none of this.
        with pytest.raises(OSError, match=r"No route|timed out|unreachable"):
            ping(one, three.address(version), wait_s=2)
    ways = {way.node.name: way for way in driver.ways(network, one.view())}
    assert ways["host2"].transport == "direct"
    assert "another segment" in ways["host3"].why


def test_cross_subnet_is_plain_within_the_segment_and_vxlan_across(lab: Lab) -> None:
    lab.up(network_of(backend="vxlan", cross_subnet="true"))
    one, two, three = lab.hosts
    for other, encapsulated in ((two, False), (three, True)):
        with Capture(lab.segments["a"]) as capture:
            ping(one, other.address(4))
            frames = [frame for frame in capture.take() if struct.unpack_from("!H", frame, 12)[0] == 0x0800]
        ports = [struct.unpack_from("!H", frame, 36)[0] for frame in frames if frame[23] == 17]
        inner = [frame for frame in frames if frame[23] == 1]
        assert bool(inner) is not encapsulated
        assert (4789 in ports) is encapsulated


@with_shortcuts
def test_what_leaves_for_elsewhere_is_masqueraded_and_nothing_else(lab: Lab) -> None:
    lab.up(network_of())
    one, _, three = lab.hosts
    assert talk(one, three, 4) == one.address(4)
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


@with_shortcuts
def test_an_internal_network_reaches_its_other_hosts_and_nothing_else(lab: Lab) -> None:
    lab.up(network_of(internal=True))
    one, _, three = lab.hosts
    for version in (4, 6):
        assert talk(one, three, version) == one.address(version)
    with pytest.raises(OSError, match=r"unreachable|timed out"):
        ping(one, "192.0.2.254", wait_s=1)


@with_shortcuts
@pytest.mark.parametrize("mode", ["gateway", "point"])
def test_a_published_port_is_reached_from_everywhere(lab: Lab, mode: str) -> None:
    network = replace(network_of(), options={VNI: "5001", MODE: mode})
    driver = lab.up(network)
    one, two, three = lab.hosts
    published = (Publication("tcp", "", 8080, one.address(version), 7005) for version in (4, 6))
    one.firewall(driver, network, *published)
    first = "fd77::1:1" if mode == "gateway" else "fd77::1:0"
    for version, host, within in ((4, "192.0.2.1", "10.77.1.64"), (6, "2001:db8:a::1", first)):

        def connect(*hosts: str, version: int = version) -> None:
            for host in hosts:
                with socket.socket(FAMILY[version], socket.SOCK_STREAM) as client:
                    client.settimeout(WAIT_S)
                    client.connect((host, 8080))

        with one.socket(version, socket.SOCK_STREAM, one.address(version), 7005) as listener:
            listener.listen()
            lab.router.call(partial(connect, host))
            for other in (two, three):
                # The host has an address in the network as well.
                other.inside(partial(connect, host, within))
            # Who comes from outside keeps its address.
            accepted, (peer, *_) = listener.accept()
            accepted.close()
            assert peer == {4: "192.0.2.254", 6: "2001:db8:a::fe"}[version]


@with_shortcuts
def test_nobody_else_gets_in(lab: Lab) -> None:
    """Neither who routes by a host of ours from outside, nor who pretends to be one of the network."""
    lab.up(network_of())
    one, two, three = lab.hosts
    lab.router.ip("route add 10.77.0.0/16 via 192.0.2.1")
    for target in (one, three):
        with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
            lab.router.call(partial(echo, target.address(4), wait_s=1))
    lab.router.ip("address add 10.77.2.71/32 dev lo")
    lab.router.ip("route replace 10.77.1.64/26 via 192.0.2.1 src 10.77.2.71")
    with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
        lab.router.call(lambda: echo(one.address(4), wait_s=1))
    ping(one, two.address(4))


@with_shortcuts
def test_removal_leaves_nothing(lab: Lab) -> None:
    network = replace(network_of(), options={VNI: "5001", MODE: POINT_MODE})
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
    network = network_of(backend="wireguard")
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
            assert talk(one, other, 4) == one.address(4)
            _shout(one, 4, other.address(4), marker)
        frames = capture.take()
    assert len(frames) > 100
    assert not _plaintext(frames, marker)


def _stream(one: Host, other: Host) -> Stream:
    return Stream(one, (other,), one.address(4), other.address(4))


@has_wireguard
def test_a_key_is_rotated_without_loss(lab: Lab) -> None:
    network = network_of(backend="wireguard")
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
            for other in (host, *(item for item in lab.hosts if item is not host)):
                other.converge(driver, network)
            time.sleep(0.3)
            ping(one, two.address(4))
    assert there.sent > 500
    assert not there.lost, (len(there.lost), there.sent)
    assert not back.lost, (len(back.lost), back.sent)


@has_wireguard
def test_a_key_is_rotated_without_loss_where_only_one_side_sends(lab: Lab) -> None:
    """Nobody sends to the one with the new key, so that nobody would shake hands with it by himself."""
    network = network_of(backend="wireguard")
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
    network = network_of(backend="wireguard")
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
    lab.up(network_of(backend="wireguard"), wireguard=True)
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
        network_of("overlay"),
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
                assert talk(one, other, version) == one.address(version)
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
