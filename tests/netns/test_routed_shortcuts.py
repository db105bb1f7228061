"""Shortcuts of routed networks: what arrives is the same as by the plain path, which is the oracle."""

import json
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hosts import Capture, frame_socket
from routed import BLOCKS, Host, Lab, lab_of_routers, network_of, talk
from switch import unwrapped
from traffic import Stream, checksum, echo, exchange, ping

from carrick.drivers.overlay import VNI
from carrick.drivers.routed import MODE, RoutedDriver
from carrick.host.kernel.bpf.ingress import Ingress
from carrick.model.networks import Network
from carrick.model.observed import ShortcutState
from carrick.model.steps import CreateVeth, RemoveShortcut, SetFdb, SetLink

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")

MARK = b"from one to two"
GATEWAY = "10.77.{}.65"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with lab_of_routers(tmp_path, shortcuts=True) as lab:
        yield lab


def tunnel(host: Host) -> str:
    (name,) = [name for name in host.world.read().links if name.startswith("vx-")]
    return name


def states(host: Host) -> dict[str, ShortcutState]:
    """By the first two letters of a link's name: `vx` the tunnel's, `ck` a container's."""
    return {link.name[:2]: link.shortcut for link in host.world.read().links.values() if link.shortcut}


def sent_by_device(host: Host) -> int:
    (shown,) = json.loads(host.namespace.run("ip", "-j", "-s", "link", "show", tunnel(host)))
    return int(shown["stats64"]["tx"]["packets"])


def sent_past_it(host: Host, peer: Host) -> int:
    counted = host.world.run(host.world.kernel.read_shortcut_bytes())[tunnel(host)]
    return int(counted.get(underlay(peer), 0))


def underlay(host: Host) -> str:
    return host.record.underlays[0].address


def tracked(host: Host) -> str:
    return host.namespace.run("conntrack", "-L", "-s", "10.77.0.0/16")


def plain(host: Host, driver: RoutedDriver, network: Network) -> None:
    """Have a host take no shortcuts, and track what it forwards."""
    host.shortcuts = False
    host.converge(driver, network)
    host.firewall(driver, network)
    assert states(host) == {}


@pytest.mark.parametrize("mode", ["gateway", "point"])
def test_they_meet_past_the_hosts_forwarding(lab: Lab, mode: str) -> None:
    lab.up(replace(network_of(), options={VNI: "5001", MODE: mode}))
    one, two, three = lab.hosts
    for other in (two, three):
        ping(one, other.address(4))
        before = sent_by_device(one)
        assert talk(one, other, 4) == one.address(4)
        assert sent_by_device(one) - before < 5
        assert sent_past_it(one, other) > 1 << 20 and sent_past_it(other, one) > 1 << 20
    for host in lab.hosts:
        assert states(host) == {"vx": "set", "ck": "set"}
        assert not any(item.address(4) in tracked(host) for item in lab.hosts)


def test_hosts_that_take_them_go_together_with_those_that_do_not(lab: Lab) -> None:
    network = network_of()
    driver = lab.up(network)
    one, two, three = lab.hosts
    plain(one, driver, network)
    for version in (4, 6):
        for here, there in ((one, two), (two, one), (one, three), (three, two)):
            assert talk(here, there, version) == here.address(version)
            ping(here, there.address(version), packet=20000)
    assert one.address(4) in tracked(one)
    assert one.address(4) not in tracked(two)


def test_they_come_and_go_without_loss(lab: Lab) -> None:
    """Nor does a connection end that was tracked before, or is from then on."""
    network = network_of()
    driver = lab.up(network)
    one, two, _ = lab.hosts
    with two.socket(4, socket.SOCK_STREAM, two.address(4), 7001) as listener:
        listener.listen()
        with one.socket(4, socket.SOCK_STREAM, one.address(4), 0) as client:
            client.connect((two.address(4), 7001))
            accepted, _ = listener.accept()
            with accepted:
                for number in range(12):
                    for host in (one, two)[: 1 + number % 2]:
                        host.shortcuts = not host.shortcuts
                        host.converge(driver, network)
                        host.firewall(driver, network)
                        host.attach(driver, network)
                    for sender, receiver in ((client, accepted), (accepted, client)):
                        payload = struct.pack("!L", number)
                        sender.sendall(payload)
                        assert receiver.recv(4) == payload


def test_not_a_packet_is_lost_as_they_come_and_go(lab: Lab) -> None:
    network = network_of()
    driver = lab.up(network)
    one, two, _ = lab.hosts
    device, bridge = tunnel(one), f"br-{network.id[:12]}"
    for version in (4, 6):
        ping(one, two.address(version))
        with (
            Stream(one, (two,), one.address(version), two.address(version), pause_s=0.0001) as there,
            Stream(two, (one,), two.address(version), one.address(version), pause_s=0.0001) as back,
        ):
            for host in (one, two) * 15:
                host.world.apply(RemoveShortcut(device, bridge))
                time.sleep(0.005)
                host.converge(driver, network)
                host.attach(driver, network)
                assert states(host) == {"vx": "set", "ck": "set"}
        for stream in (there, back):
            assert stream.got == [list(range(stream.sent))]


def arrivals(lab: Lab, one: Host, two: Host, *packets: bytes) -> tuple[list[bytes], list[bytes]]:
    """Send IPv4 packets from one container; return the frames on the wire inside VXLAN, and at the other."""

    def send() -> None:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with closing(raw):
            for packet in packets:
                with suppress(OSError):
                    raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))

    ping(one, two.address(4))
    with Capture(lab.segments["a"]) as capture, two.inside(lambda: frame_socket("eth0")) as receiver:
        receiver.settimeout(0.3)
        one.inside(send)
        came = []
        with suppress(TimeoutError):
            while True:
                frame = receiver.recv(1 << 16)
                if _is_ours(frame) and frame[:6].hex(":") == two.container_mac():
                    came.append(frame)
        crossed = [inner for _, inner in unwrapped(capture.take()) if _is_ours(inner)]
    return crossed, came


def _is_ours(frame: bytes) -> bool:
    """Tell it from an answer, which has it inside."""
    return MARK in frame and frame[23] == socket.IPPROTO_UDP


def packet(source: str, target: str, *, ttl: int = 64, service: int = 0, options: bytes = b"") -> bytes:
    """Return an IPv4 packet with a datagram; the kernel fills its checksum in."""
    data = MARK + b"."
    datagram = struct.pack("!HHHH", 7300, 7301, 8 + len(data), 0) + data
    length = 20 + len(options)
    ends = socket.inet_aton(source), socket.inet_aton(target)
    first = 0x40 | length // 4
    header = struct.pack("!BBHHHBBH4s4s", first, service, length + len(datagram), 77, 0, ttl, 17, 0, *ends)
    return header + options + datagram


def test_what_arrives_is_what_a_router_would_have_sent(lab: Lab) -> None:
    """Addresses of Ethernet, time to live, checksum, service: byte by byte, on the wire and at the end."""
    network = network_of()
    driver = lab.up(network)
    one, two, _ = lab.hosts
    ends = one.address(4), two.address(4)
    chance = random.Random(11)
    packets = [packet(*ends, ttl=ttl) for ttl in (64, 255, 3, 4)]
    packets += [
        packet(*ends, service=chance.randrange(256), ttl=chance.randrange(3, 256)) for _ in range(300)
    ]
    # So that the checksum is of every kind, also where one more of it carries.
    packets += [
        part[:4] + struct.pack("!H", number * 257) + part[6:]
        for number, part in enumerate([packet(*ends)] * 255, 1)
    ]
    shortened = arrivals(lab, one, two, *packets)
    for host in (one, two):
        plain(host, driver, network)
    assert arrivals(lab, one, two, *packets) == shortened
    crossed, came = shortened
    assert len(crossed) == len(came) == len(packets)
    assert all(checksum(frame[14:34]) == 0 for frame in (*crossed, *came))
    for sent, frame, last in zip(packets, crossed, came, strict=True):
        assert (frame[22], last[22]) == (sent[8] - 1, sent[8] - 2)


def test_what_is_left_to_the_plain_path(lab: Lab) -> None:
    lab.up(network_of())
    one, two, _ = lab.hosts
    ends = one.address(4), two.address(4)
    with one.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)) as icmp:
        icmp.settimeout(2)
        before = sent_past_it(one, two)
        # It would have lived no longer: here, and on the other host.
        for ttl, who in ((1, GATEWAY.format(1)), (2, BLOCKS[4].format(2).split("/")[0])):
            assert arrivals(lab, one, two, packet(*ends, ttl=ttl))[1] == []
            while True:
                answer, (router, _) = icmp.recvfrom(1 << 12)
                if answer[20:22] == b"\x0b\0" and MARK in answer:
                    break
            assert router == who
    # Options, of which routers read some.
    crossed, came = arrivals(lab, one, two, packet(*ends, options=b"\x01\x01\x01\x00"))
    assert len(crossed) == len(came) == 1 and came[0][14] == 0x46
    assert sent_past_it(one, two) > before
    before = sent_by_device(one)
    ping(one, two.address(6))
    assert sent_by_device(one) > before


def test_who_sends_from_another_address_is_judged_by_the_plain_path(lab: Lab) -> None:
    lab.up(network_of())
    one, two, three = lab.hosts
    forged = packet(three.address(4), two.address(4))
    before = sent_past_it(one, two)
    assert len(arrivals(lab, one, two, forged)[1]) == 1
    assert sent_past_it(one, two) - before < 1000
    for name in ("all", "default", "br-" + network_of().id[:12]):
        one.namespace.sysctl(f"net.ipv4.conf.{name}.rp_filter", "1")
    assert arrivals(lab, one, two, forged)[1] == []
    assert len(arrivals(lab, one, two, packet(one.address(4), two.address(4)))[1]) == 1


def test_sizes(lab: Lab) -> None:
    lab.up(network_of())
    one, two, three = lab.hosts
    for size in (28, 64, 1000, 1448, 1450):
        ping(one, two.address(4), packet=size, whole=True)
    for size in (1452, 8000, 65000):
        ping(one, three.address(4), packet=size)
    with pytest.raises(OSError, match="Message too long"):
        ping(one, two.address(4), packet=1452, whole=True)
    # The way between the hosts is narrower than was known.
    for host in (one, two):
        host.namespace.ip("link set up0 mtu 1300")
    before = sent_by_device(one)
    ping(one, two.address(4), packet=1400)
    assert sent_by_device(one) > before
    assert talk(one, two, 4) == one.address(4)


def test_routes_and_neighbours_are_the_hosts(lab: Lab) -> None:
    """What an administrator changes there holds at once."""
    lab.up(network_of())
    one, two, three = lab.hosts
    ping(one, two.address(4))
    one.namespace.ip(f"route add unreachable {two.address(4)}/32")
    with pytest.raises(OSError, match=r"No route|unreachable|timed out"):
        ping(one, two.address(4), wait_s=1)
    one.namespace.ip(f"route delete unreachable {two.address(4)}/32")
    ping(one, two.address(4))
    past = sent_past_it(one, two)
    (mac,) = [mac for mac, ends in one.world.fdb(tunnel(one)).items() if ends == {underlay(two)}]
    one.world.apply(SetFdb(tunnel(one), mac, underlay(three)))
    with pytest.raises(OSError, match="timed out"):
        ping(one, two.address(4), wait_s=1)
    assert sent_past_it(one, two) == past
    one.world.apply(SetFdb(tunnel(one), mac, underlay(two)))
    ping(one, two.address(4))
    assert sent_past_it(one, two) > past


def test_the_host_and_its_addresses(lab: Lab) -> None:
    lab.up(network_of())
    one, two, three = lab.hosts
    for address in (GATEWAY.format(1), GATEWAY.format(2), GATEWAY.format(3)):
        ping(one, address)
    for target in (one, two, three):
        one.namespace.call(partial(echo, target.address(4)))
    lab.router.ip("address add 203.0.113.1/32 dev lo")
    ping(one, "203.0.113.1")


def test_the_next_process_takes_over(lab: Lab) -> None:
    lab.up(network_of())
    one, two, _ = lab.hosts
    ping(one, two.address(4))
    past = sent_past_it(one, two)
    one.world.kernel.close()  # type: ignore[attr-defined]
    ping(one, two.address(4))
    one.succeed()
    assert states(one) == {"vx": "set", "ck": "set"}
    assert sent_past_it(one, two) > past


def test_a_bridge_with_another_address_is_noticed(lab: Lab) -> None:
    network = network_of()
    driver = lab.up(network)
    one, two, _ = lab.hosts
    one.namespace.ip(f"link set br-{network.id[:12]} address 02:00:00:00:77:01")
    assert states(one)["vx"] == "stale"
    one.converge(driver, network)
    assert states(one) == {"vx": "set", "ck": "set"}
    assert exchange(one, two, one.address(4), two.address(4)) == one.address(4)


def test_nothing_is_put_into_a_link_that_went(lab: Lab) -> None:
    network = network_of()
    driver = lab.up(network)
    one, two, _ = lab.hosts
    ping(one, two.address(4))
    assert two.endpoint is not None
    link, mac = two.endpoint.host_interface, two.endpoint.mac_address
    mtu = two.world.link(link).mtu
    two.namespace.ip(f"link delete {link}")
    bridge = f"br-{network.id[:12]}"
    two.world.apply(
        CreateVeth(link, f"{two.table}:{link}", mtu, bridge, "eth0", two.container, mac),
        SetLink("eth0", two.container, up=True),
    )
    assert states(two) == {"vx": "set"}
    two.attach(driver, network)
    assert states(two) == {"vx": "set", "ck": "set"}
    ping(one, two.address(4))


def test_removed_nothing_is_left(lab: Lab) -> None:
    network = network_of()
    lab.up(network)
    one, two, _ = lab.hosts
    device, bridge = tunnel(one), f"br-{network.id[:12]}"

    def programs() -> int:
        with closing(Ingress()) as ingress:
            return sum(len(ingress.filters(index)) for index, _ in socket.if_nameindex())

    assert one.namespace.call(programs) == 2
    for _ in range(2):
        one.world.apply(RemoveShortcut(device, bridge))
        assert one.namespace.call(programs) == 0
        assert states(one) == {}
    # Nobody tracks it yet; that is no matter.
    time.sleep(0.1)
    assert talk(one, two, 4) == one.address(4)
