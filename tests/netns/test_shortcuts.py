"""Shortcuts past the bridge: what arrives is the same as by the plain path, which is the oracle."""

import json
import logging
import os
import random
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from hosts import Capture, frame_socket
from switch import (
    MOVING_ADDRESS,
    MOVING_MAC,
    Host,
    Lab,
    address_of,
    join,
    lab_of_three,
    settle_moving,
    stream_while_moving,
    unwrapped,
)
from traffic import checksum, ping, talk

from carrick.domains.firewall.bridged import BRIDGE_SYSCTLS
from carrick.host.kernel import LinuxKernel
from carrick.host.kernel.bpf import syscall
from carrick.host.kernel.bpf.assembler import Assembler, Register
from carrick.host.kernel.bpf.ingress import Filter, Ingress
from carrick.model.observed import ShortcutState
from carrick.model.steps import (
    AddAddress,
    AddNeighbour,
    AddShortcut,
    CreateNetns,
    CreateVeth,
    DeleteLink,
    DeleteNetns,
    RemoveFdb,
    RemoveShortcut,
    SetFdb,
    SetLink,
    SetShortcut,
    SetSysctl,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """One L2 network over the hosts; the bridges answer ARP."""
    with lab_of_three(tmp_path) as lab:
        join(lab.hosts, 4, "bridge")
        for host in lab.hosts:
            host.world.apply(SetSysctl("net.ipv4.ip_forward", "1"))
            # As it is where shortcuts are taken: the firewall does not look into a bridge's packets.
            host.world.apply(*(SetSysctl(key, "0", optional=True) for key in BRIDGE_SYSCTLS))
        yield lab


def shorten(*hosts: Host) -> None:
    for host in hosts:
        host.world.apply(SetShortcut("vx0", "br0"), AddShortcut("vx0", "ve0", host.mac))
        assert states(host) == {"vx0": "set", "ve0": "set"}


def states(host: Host) -> dict[str, ShortcutState]:
    return {link.name: link.shortcut for link in host.world.read().links.values() if link.shortcut}


def sent_by(host: Host, link: str) -> dict[str, int]:
    """The counters of what a link sends: `packets`, `errors`, `carrier_errors` …"""
    (shown,) = json.loads(host.namespace.run("ip", "-j", "-s", "link", "show", link))
    return dict(shown["stats64"]["tx"])


def sent_by_device(host: Host) -> int:
    return sent_by(host, "vx0")["packets"]


def sent_past_it(host: Host, peer: Host) -> int:
    return int(host.world.run(host.world.kernel.read_shortcut_bytes())["vx0"][peer.vtep(4)])


def programs(host: Host, link: str) -> list[Filter]:
    def look() -> list[Filter]:
        with closing(Ingress()) as ingress:
            return ingress.filters(socket.if_nametoindex(link))

    return host.namespace.call(look)


def frames_of(host: Host) -> socket.socket:
    return host.inside(lambda: frame_socket("eth0"))


# What arrives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [4, 6])
def test_they_meet_past_the_bridge(lab: Lab, inner: int) -> None:
    one, _, three = lab.hosts
    ping(one, address_of(three, inner))
    shorten(*lab.hosts)
    before = sent_by_device(one)
    talk(one, three, address_of(one, inner), address_of(three, inner))
    # A question or two for the neighbour's address may still cross the device, no data.
    assert sent_by_device(one) - before < 5
    assert sent_past_it(one, three) > 1 << 20 and sent_past_it(three, one) > 1 << 20


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("service", [0x00, 0x01, 0x02, 0x03, 0xB8, 0xBB])
def test_the_outer_packet_is_as_the_kernel_writes_it(lab: Lab, inner: int, service: int) -> None:
    one, two, _ = lab.hosts
    shown = []
    for short in (False, True):
        if short:
            shorten(one)
        with Capture(lab.fabric) as capture:
            with one.socket(inner, socket.SOCK_DGRAM, address_of(one, inner), 7100) as sender:
                level, option = (
                    (socket.IPPROTO_IP, socket.IP_TOS) if inner == 4 else (socket.IPPROTO_IPV6, 67)
                )
                sender.setsockopt(level, option, service)
                for size in (0, 1, 700, 1000):
                    sender.sendto(bytes(size), (address_of(two, inner), 7101))
            time.sleep(0.1)
            shown.append([item for item in unwrapped(capture.take()) if sends_to(item[1], 7101)])
    plain, shortened = shown
    assert len(plain) == len(shortened) == 4
    for (outer, frame), (outer2, frame2) in zip(plain, shortened, strict=True):
        assert without_identification(frame, inner) == without_identification(frame2, inner)
        assert checksum(outer2[:20]) == 0
        assert struct.unpack_from("!H", outer2, 2)[0] == len(outer2) + len(frame2)
        # Version, service, length; flags, TTL and protocol; both ends; destination port, length, checksum,
        # VXLAN. Left out are the identification, the header's checksum and the source port.
        for part in (slice(0, 4), slice(6, 10), slice(12, 20), slice(22, 36)):
            assert outer[part] == outer2[part]
        assert struct.unpack_from("!H", outer2, 20)[0] >= 49152


def sends_to(frame: bytes, port: int) -> bool:
    start = 34 if frame[12:14] == b"\x08\x00" else 54
    return frame[12:14] != b"\x08\x06" and struct.unpack_from("!H", frame, start + 2)[0] == port


def without_identification(frame: bytes, version: int) -> bytes:
    """An IPv4 packet's number is another one each time, and its checksum with it; so is a flow's label."""
    cut = [(18, 20), (24, 26)] if version == 4 else [(15, 18)]
    for start, end in cut:
        frame = frame[:start] + bytes(end - start) + frame[end:]
    return frame


def test_one_flow_keeps_its_source_port_and_others_have_others(lab: Lab) -> None:
    one, two, _ = lab.hosts
    shorten(one)
    ports: dict[int, set[int]] = {}
    with Capture(lab.fabric) as capture, ExitStack() as stack:
        for source in range(7200, 7210):
            sender = stack.enter_context(one.socket(4, socket.SOCK_DGRAM, address_of(one, 4), source))
            for _ in range(3):
                sender.sendto(b"x", (address_of(two, 4), 7101))
        time.sleep(0.1)
        for outer, frame in unwrapped(capture.take()):
            if sends_to(frame, 7101):
                ports.setdefault(struct.unpack_from("!H", frame, 34)[0], set()).add(
                    struct.unpack_from("!H", outer, 20)[0]
                )
    assert len(ports) == 10 and all(len(outer) == 1 for outer in ports.values())
    assert len(set.union(*ports.values())) > 5


def test_packets_of_every_size_fit(lab: Lab) -> None:
    one, two, _ = lab.hosts
    shorten(*lab.hosts)
    mtu = one.world.link("br0").mtu
    for inner in (4, 6):
        for size in (64, 66, 1000, mtu - 2, mtu):
            ping(one, address_of(two, inner), packet=size, whole=True)
        ping(one, address_of(two, inner), packet=20000)
        with pytest.raises(OSError, match="Message too long"):
            ping(one, address_of(two, inner), packet=mtu + 2, whole=True)


def test_what_is_too_big_for_the_way_takes_the_plain_path(lab: Lab) -> None:
    one, two, _ = lab.hosts
    shorten(one, two)
    for host in (one, two):
        host.namespace.ip("link set up0 mtu 1300")
    before = sent_by_device(one)
    ping(one, address_of(two, 4), packet=1400)
    assert sent_by_device(one) > before
    talk(one, two, address_of(one, 4), address_of(two, 4))


def test_without_a_route_the_plain_path_says_so(lab: Lab) -> None:
    one, two, _ = lab.hosts
    shorten(one)
    ping(one, address_of(two, 4))
    one.namespace.ip(f"route add blackhole {two.vtep(4)}/32")
    before = sent_by(one, "vx0")
    past = sent_past_it(one, two)
    with one.socket(4, socket.SOCK_DGRAM, address_of(one, 4), 0) as sender:
        sender.sendto(b"x", (address_of(two, 4), 7101))
    after = sent_by(one, "vx0")
    assert sent_past_it(one, two) == past
    assert after["carrier_errors"] + after["errors"] > before["carrier_errors"] + before["errors"]
    one.namespace.ip(f"route delete blackhole {two.vtep(4)}/32")
    ping(one, address_of(two, 4))


def test_a_tagged_frame_keeps_its_tag(lab: Lab) -> None:
    one, two, _ = lab.hosts
    shorten(*lab.hosts)

    source, target = (bytes.fromhex(host.mac.replace(":", "")) for host in (one, two))
    payload = target + source + struct.pack("!HHH", 0x8100, 7, 0x0800) + b"E" + bytes(59)
    with frames_of(one) as sending, frames_of(two) as receiving:
        receiving.settimeout(5)
        receiving.setsockopt(263, 8, 1)  # PACKET_AUXDATA: the tag comes beside the frame
        sending.send(payload)
        while True:
            data, extra, _, _ = receiving.recvmsg(1 << 16, 256)
            if data[6:12] == source and data[-60:].startswith(b"E"):
                break
    tagged = data[12:14] == b"\x81\x00"
    status, tag = 0, 0
    for _, kind, value in extra:
        if kind == 8:
            status, _, _, _, _, tag, _ = struct.unpack("=IIIHHHH", value)
    assert tagged or (status & 0x10 and tag & 0xFFF == 7)


def test_whatever_a_container_sends_arrives_as_by_the_plain_path(lab: Lab) -> None:
    """Frames that are IP, that say they are and are not, and others: random, of every length."""
    one, two, _ = lab.hosts
    chance = random.Random(7)
    target, source = (bytes.fromhex(host.mac.replace(":", "")) for host in (two, one))
    frames = []
    for number in range(400):
        kind, begin = chance.choice(
            [
                (0x0800, b"\x45"),
                (0x0800, b""),
                (0x86DD, b"\x60"),
                (0x86DD, b""),
                (0x88B5, b""),
                (0x0800, b"\x4f"),
            ]
        )
        body = begin + chance.randbytes(chance.choice([0, 1, 2, 7, 20, 40, 100, 1000, 1400]))
        frames.append(target + source + struct.pack("!H", kind) + body + struct.pack("!4sH", b"MARK", number))

    def arrived(receiving: socket.socket) -> set[bytes]:
        receiving.settimeout(0.5)
        found = set()
        with suppress(TimeoutError):
            while True:
                frame = receiving.recv(1 << 16)
                if frame[6:12] == source and frame[-6:-2] == b"MARK":
                    found.add(frame)
        return found

    ways = []
    for short in (False, True):
        if short:
            shorten(*lab.hosts)
        with frames_of(one) as sending, frames_of(two) as receiving:
            for frame in frames:
                sending.send(frame)
            for length in range(14, 20):
                sending.send(frames[0][:length])
            ways.append(arrived(receiving))
    assert ways[0] == ways[1]
    assert len(ways[0]) > 200
    assert sent_past_it(one, two) > 10000
    ping(one, address_of(two, 4))


def test_a_tunnel_of_the_containers_own(lab: Lab) -> None:
    one, two, _ = lab.hosts
    shorten(*lab.hosts)
    for host, other in ((one, two), (two, one)):
        commands = (
            "link add own type vxlan id 9 dstport 8472 "
            f"local {address_of(host, 4)} remote {address_of(other, 4)}",
            f"address add 10.77.0.{host.number}/24 dev own",
            "link set own up",
        )
        for command in commands:
            host.inside(lambda c=command: subprocess.run(["ip", *c.split()], check=True))  # type: ignore[misc]
    talk(one, two, "10.77.0.1", "10.77.0.2")


def test_two_containers_of_one_host(lab: Lab, tmp_path: Path) -> None:
    one, *_ = lab.hosts
    netns, mac = str(tmp_path / "second"), "02:00:00:00:01:88"
    one.world.apply(
        CreateNetns(netns),
        CreateVeth("ve1", "carrick:ve1", 1450, "br0", "eth0", netns, mac),
        SetLink("eth0", netns, up=True),
        AddAddress("eth0", "10.1.0.88/24", netns),
    )
    try:
        ping(one, "10.1.0.88")
        shorten(one)
        one.world.apply(AddShortcut("vx0", "ve1", mac))
        before = sent_by(one, "ve1")["packets"]
        for _ in range(20):
            ping(one, "10.1.0.88")
        assert sent_by(one, "ve1")["packets"] - before < 5
    finally:
        one.world.remove(DeleteLink("ve1"), DeleteNetns(netns))


def test_host_and_container_meet_as_before(lab: Lab) -> None:
    one, *_ = lab.hosts
    one.world.apply(AddAddress("br0", "10.1.0.254/24"))
    shorten(*lab.hosts)
    ping(one, "10.1.0.254")


# Changes ----------------------------------------------------------------------------------------


def test_a_mac_moves_to_another_host_without_loss(lab: Lab) -> None:
    one, two, three = lab.hosts
    homes = (two, three)
    settle_moving(homes)
    for host in homes:
        host.world.apply(SetShortcut("vx0", "br0"), AddShortcut("vx0", "ve0", MOVING_MAC))
    one.world.apply(
        SetFdb("vx0", MOVING_MAC, two.vtep(4), bridge=True), AddNeighbour("br0", MOVING_ADDRESS, MOVING_MAC)
    )
    shorten(one)
    stream = stream_while_moving(one, homes)
    assert all(stream.got)
    assert stream.arrived == list(range(stream.sent))
    assert sent_past_it(one, two) and sent_past_it(one, three)


def test_a_row_that_went_is_not_followed(lab: Lab) -> None:
    one, two, _ = lab.hosts
    shorten(*lab.hosts)
    ping(one, address_of(two, 4))
    one.world.apply(RemoveFdb("vx0", two.mac, bridge=True))
    past = sent_past_it(one, two)
    # Nobody knows where it is: by head-end replication it still arrives.
    ping(one, address_of(two, 4))
    assert sent_past_it(one, two) == past
    one.world.apply(SetFdb("vx0", two.mac, two.vtep(4), bridge=True))
    ping(one, address_of(two, 4))
    assert sent_past_it(one, two) > past


def test_another_address_of_our_own(lab: Lab) -> None:
    """The device is made anew; the ports' programs stay, and say the new address from then on."""
    one, two, _ = lab.hosts
    shorten(*lab.hosts)
    one.namespace.ip("address add 192.0.2.77/24 dev up0")
    one.world.apply(DeleteLink("vx0"))
    assert states(one) == {}
    one.namespace.ip("link add vx0 mtu 1450 type vxlan id 4096 dstport 4789 local 192.0.2.77 noudpcsum")
    one.world.apply(
        SetLink("vx0", master="br0", up=True, learning=False, neigh_suppress=True),
        SetFdb("vx0", two.mac, two.vtep(4), bridge=True),
        # A bridge that takes another port's address loses its neighbours.
        AddNeighbour("br0", address_of(two, 4), two.mac),
        SetShortcut("vx0", "br0"),
    )
    assert states(one) == {"vx0": "set", "ve0": "set"}
    two.world.apply(SetFdb("vx0", one.mac, "192.0.2.77", bridge=True))
    with Capture(lab.fabric) as capture:
        ping(one, address_of(two, 4))
        outers = [outer for outer, frame in unwrapped(capture.take()) if frame[:6].hex(":") == two.mac]
    assert outers and all(outer[12:16] == socket.inet_aton("192.0.2.77") for outer in outers)


def test_a_link_that_went_gets_nothing_put_into_it(lab: Lab) -> None:
    """Its MAC address may be another's by then, whose link takes no part."""
    one, two, _ = lab.hosts
    shorten(*lab.hosts)
    two.namespace.ip("link delete ve0")
    two.world.apply(
        CreateVeth("ve0", "carrick:ve0", 1450, "br0", "eth0", two.container, two.mac),
        SetLink("eth0", two.container, up=True),
        AddAddress("eth0", f"{address_of(two, 4)}/24", two.container),
    )
    assert states(two) == {"vx0": "set"}
    ping(one, address_of(two, 4))
    two.world.apply(AddShortcut("vx0", "ve0", two.mac))
    ping(one, address_of(two, 4))
    assert states(two) == {"vx0": "set", "ve0": "set"}


# Processes that come and go -----------------------------------------------------------------------


def test_the_next_process_takes_over(lab: Lab) -> None:
    one, two, three = lab.hosts
    shorten(*lab.hosts)
    ping(one, address_of(two, 4))
    one.world.kernel.close()  # type: ignore[attr-defined]
    past = programs(one, "ve0"), programs(one, "vx0")
    # Meanwhile traffic goes on; and somebody else sets a row, of which the map knows nothing.
    ping(one, address_of(two, 4))
    one.namespace.run("bridge", "fdb", "replace", two.mac, "dev", "vx0", "dst", three.vtep(4), "self")
    one.world.kernel = one.namespace.call(LinuxKernel)
    assert states(one) == {"vx0": "set", "ve0": "set"}
    assert (programs(one, "ve0"), programs(one, "vx0")) == past
    assert sent_past_it(one, two) > 0
    with Capture(lab.fabric) as capture:
        with one.socket(4, socket.SOCK_DGRAM, address_of(one, 4), 0) as sender:
            sender.sendto(b"x", (address_of(two, 4), 7101))
        time.sleep(0.1)
        (outer,) = [outer for outer, frame in unwrapped(capture.take()) if sends_to(frame, 7101)]
    assert outer[16:20] == socket.inet_aton(three.vtep(4))


def test_removed_nothing_is_left_but_what_others_put_there(lab: Lab) -> None:
    one, two, _ = lab.hosts
    code = Assembler()
    code.move(Register.R0, -1)
    code.exit()
    foreign = syscall.load(code.assemble({}), "foreign")
    try:

        def put() -> None:
            with closing(Ingress()) as ingress:
                ingress.attach(socket.if_nametoindex("ve0"), foreign, "foreign", priority=1)

        one.namespace.call(put)
        shorten(*lab.hosts)
        assert len(programs(one, "ve0")) == 2 and len(programs(one, "vx0")) == 1
        one.world.apply(RemoveShortcut("vx0", "br0"))
        assert [item.name for item in programs(one, "ve0")] == ["foreign"] and programs(one, "vx0") == []
        assert states(one) == {}
        one.world.apply(RemoveShortcut("vx0", "br0"))
        ping(one, address_of(two, 4))
    finally:
        os.close(foreign)


def test_a_kernel_that_refuses_is_told_of(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, two, _ = lab.hosts

    def refuse(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(syscall, "create_map", refuse)
    with caplog.at_level(logging.WARNING):
        one.world.apply(SetShortcut("vx0", "br0"), AddShortcut("vx0", "ve0", one.mac))
    assert "packets go the plain way" in caplog.text
    assert states(one) == {}
    assert not one.world.run(one.world.kernel.supports("shortcut"))
    ping(one, address_of(two, 4))
