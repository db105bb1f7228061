"""Networks across hosts, made of nothing but our steps: real frames between namespaces that act as hosts.

Three hosts stand on a switch (`fabric`), each with a kernel of its own. What they are told comes from the
planners of `domains/overlay`. Needs root; nothing here touches the machine's own network.
"""

import json
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

import pytest

from carrick.domains.overlay.fdb import Fdb, plan_fdb
from carrick.domains.overlay.mtu import overhead
from carrick.domains.overlay.neighbours import plan_neighbours
from carrick.domains.overlay.routes import BlockRoute, own_block_routes, plan_block_routes
from carrick.host.kernel import LinuxKernel
from carrick.host.kernel.netns import delete_netns, entered
from carrick.model.observed import Neighbour
from carrick.model.steps import (
    ANY_MAC,
    AddAddress,
    AddNeighbour,
    AddRoute,
    CreateBridge,
    CreateNetns,
    CreateVeth,
    CreateVxlan,
    SetFdb,
    SetLink,
    SetSysctl,
)
from carrick.testing.daemon import eventually
from carrick.testing.kernel_suite import World
from carrick.testing.namespaces import Namespace, Namespaces, namespaces

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")

T = TypeVar("T")
VNI, PORT = 4096, 4789
WAIT_S = 10.0
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass
class Host:
    """A host: its place on the switch by number, and a container behind its bridge."""

    number: int
    namespace: Namespace
    world: World
    container: str

    def vtep(self, version: int) -> str:
        return f"192.0.2.{self.number}" if version == 4 else f"2001:db8::{self.number}"

    @property
    def mac(self) -> str:
        return f"02:00:00:00:01:{self.number:02x}"

    @property
    def vtep_mac(self) -> str:
        return f"02:00:00:00:02:{self.number:02x}"

    def inside(self, function: Callable[[], T]) -> T:
        """Return what `function` returns in the container."""

        def visit() -> T:
            with entered(self.container):
                return function()

        return self.namespace.call(visit)

    def socket(self, version: int, kind: int, address: str, port: int) -> socket.socket:
        def make() -> socket.socket:
            made = socket.socket(FAMILY[version], kind)
            made.settimeout(WAIT_S)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            made.bind((address, port))
            return made

        return self.inside(make)


@dataclass
class Lab:
    fabric: Namespace
    hosts: list[Host]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with namespaces() as spaces:
        fabric = spaces.new()
        fabric.ip("link add sw0 type bridge mcast_snooping 0")
        fabric.ip("link set sw0 up")
        hosts = [_host(spaces, fabric, number, tmp_path) for number in (1, 2, 3)]
        _until_forwarding(fabric)
        yield Lab(fabric, hosts)


def _until_forwarding(namespace: Namespace) -> None:
    """Wait until every port of the bridges forwards: the kernel notices a carrier in its own time."""

    def ports() -> Any:
        shown = subprocess.run(["bridge", "-j", "link"], capture_output=True, check=True)
        return json.loads(shown.stdout)

    eventually(lambda: all(port["state"] == "forwarding" for port in namespace.call(ports)), 30)


def _host(spaces: Namespaces, fabric: Namespace, number: int, directory: Path) -> Host:
    namespace = spaces.new()
    # Addresses are there at once: none is tried for being taken.
    namespace.sysctl("net.ipv6.conf.default.accept_dad", "0")
    spaces.wire(namespace, "up0", fabric, f"port{number}")
    fabric.ip(f"link set port{number} master sw0")
    inhabitant = spaces.inhabit(namespace)
    kernel = inhabitant.call(LinuxKernel)
    spaces.defer(kernel.close)
    container = directory / f"container{number}"
    spaces.defer(delete_netns, container)
    world = World(kernel, inhabitant.run, lambda name: str(directory / name))
    host = Host(number, namespace, world, str(container))
    for version, length in ((4, 24), (6, 64)):
        world.apply(AddAddress("up0", f"{host.vtep(version)}/{length}"))
    world.apply(CreateNetns(host.container))
    return host


def _bridge(host: Host, mtu: int, *addresses: str) -> None:
    """Give the host a bridge, and its container a place on it with `addresses`."""
    netns = host.container
    world = host.world
    world.apply(
        CreateBridge("br0", "carrick:br0", mtu),
        CreateVeth("ve0", "carrick:ve0", mtu, "br0", "eth0", netns, host.mac),
        SetSysctl("net.ipv6.conf.eth0.accept_dad", "0", netns),
        SetLink("eth0", netns, up=True),
        *(AddAddress("eth0", address, netns) for address in addresses),
    )


def _l2(hosts: list[Host], version: int, answers: str) -> None:
    """Join the hosts' bridges to one network; `answers` to ARP: the device's proxy, the bridge, or nobody."""
    mtu = 1500 - overhead("vxlan", version)
    for host in hosts:
        _bridge(host, mtu, *(f"{_inner(host, inner)}/{24 if inner == 4 else 64}" for inner in (4, 6)))
        host.world.apply(
            CreateVxlan(
                "vx0",
                VNI,
                PORT,
                host.vtep(version),
                "carrick:vx0",
                mtu,
                master="br0",
                proxy=answers == "proxy",
            ),
            SetLink("vx0", learning=False, neigh_suppress=answers == "bridge"),
        )
        others = [other for other in hosts if other is not host]
        fdb: Fdb = {
            ANY_MAC: {other.vtep(version) for other in others},
            **{other.mac: {other.vtep(version)} for other in others},
        }
        plan = plan_fdb(fdb, host.world.fdb("vx0"), host.vtep(version))
        host.world.apply(*plan.steps("vx0", bridge=True))
        assert not plan_fdb(fdb, host.world.fdb("vx0"), host.vtep(version))
        _until_forwarding(host.namespace)
        if answers == "nobody":
            continue
        known = {_inner(other, inner): Neighbour(other.mac) for other in others for inner in (4, 6)}
        link = "vx0" if answers == "proxy" else "br0"
        host.world.apply(*plan_neighbours(known, host.world.neighbours(link)).steps(link))
        assert not plan_neighbours(known, host.world.neighbours(link))


def _inner(host: Host, version: int) -> str:
    return f"10.1.0.{host.number}" if version == 4 else f"fd00:1::{host.number}"


def _ping(host: Host, address: str, *, packet: int = 100, whole: bool = False) -> None:
    """Ping from the container with a packet of so many bytes, which may not be fragmented if `whole`."""
    host.inside(lambda: _echo(address, packet, whole=whole))


def _echo(address: str, packet: int = 100, *, whole: bool = False) -> None:
    version = ip_address(address).version
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    level, receive_errors, discover = (
        (socket.IPPROTO_IP, 11, 10) if version == 4 else (socket.IPPROTO_IPV6, 25, 23)
    )
    request, reply, headers = (8, 0, 28) if version == 4 else (128, 129, 48)
    payload = os.urandom(packet - headers)
    with socket.socket(FAMILY[version], socket.SOCK_RAW, protocol) as raw:
        raw.settimeout(WAIT_S)
        raw.setsockopt(level, receive_errors, 1)
        raw.setsockopt(level, discover, 2 if whole else 0)
        raw.connect((address, 0))
        header = struct.pack("!BBHHH", request, 0, 0, 7, 1)
        if version == 4:
            # Of an IPv6 one the kernel sees to it.
            checksum = _checksum(header + payload)
            header = struct.pack("!BBHHH", request, 0, checksum, 7, 1)
        raw.send(header + payload)
        while True:
            answer = raw.recv(1 << 16)
            answer = answer[20:] if version == 4 else answer
            if answer[0] == reply and answer[8:] == payload:
                return


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _talk(one: Host, other: Host, here: str, there: str) -> None:
    """Ping, and send a mebibyte by TCP both ways."""
    version = ip_address(there).version
    _ping(one, there)
    data = os.urandom(1 << 20)
    with other.socket(version, socket.SOCK_STREAM, there, 7000) as listener:
        listener.listen()

        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(WAIT_S)
                accepted.sendall(_receive(accepted, len(data)))

        server = threading.Thread(target=serve)
        server.start()
        with one.socket(version, socket.SOCK_STREAM, here, 0) as client:
            client.connect((there, 7000))
            client.sendall(data)
            assert _receive(client, len(data)) == data
        server.join(WAIT_S)


def _receive(source: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length and (part := source.recv(1 << 16)):
        data += part
    return bytes(data)


class Capture:
    """What crosses the switch inside VXLAN."""

    def __init__(self, fabric: Namespace) -> None:
        def listen() -> socket.socket:
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
            raw.bind(("sw0", 0x0003))
            raw.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)
            raw.setblocking(False)
            return raw

        # A bridge hands a frame to itself only if it is flooded: it is made to listen to all.
        fabric.ip("link set sw0 promisc on")
        self._raw = fabric.call(listen)

    def __enter__(self) -> "Capture":
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def take(self) -> list[str]:
        """Return what each frame since the last time was: `arp`, `nd`, `ip`, `other`."""
        found = []
        while True:
            try:
                frame = self._raw.recv(1 << 16)
            except BlockingIOError:
                return found
            kind = struct.unpack_from("!H", frame, 12)[0]
            start, protocol = (34, frame[23]) if kind == 0x0800 else (54, frame[20])
            if (
                kind not in {0x0800, 0x86DD}
                or protocol != socket.IPPROTO_UDP
                or struct.unpack_from("!H", frame, start + 2)[0] != PORT
            ):
                continue
            found.append(_kind(frame[start + 16 :]))


def _kind(frame: bytes) -> str:
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == 0x0806:
        return "arp"
    if kind == 0x86DD and frame[20] == socket.IPPROTO_ICMPV6 and frame[54] in {135, 136}:
        return "nd"
    return "ip" if kind in {0x0800, 0x86DD} else "other"


# One L2 network -----------------------------------------------------------------------------


@pytest.mark.parametrize("answers", ["proxy", "bridge"])
@pytest.mark.parametrize("version", [4, 6])
def test_containers_meet_and_nobody_asks_across(lab: Lab, version: int, answers: str) -> None:
    one, _, three = lab.hosts
    _l2(lab.hosts, version, answers)
    with Capture(lab.fabric) as capture:
        for inner in (4, 6):
            _talk(one, three, _inner(one, inner), _inner(three, inner))
        seen = capture.take()
    assert seen.count("ip") > 20
    assert not {"arp", "nd"} & set(seen)


def test_without_neighbours_they_ask_everybody(lab: Lab) -> None:
    """The counter-check: the capture sees questions, and head-end replication carries them."""
    one, two, _ = lab.hosts
    _l2(lab.hosts, 4, "nobody")
    with Capture(lab.fabric) as capture:
        for inner in (4, 6):
            _talk(one, two, _inner(one, inner), _inner(two, inner))
        assert {"arp", "nd", "ip"} <= set(capture.take())


@pytest.mark.parametrize("version", [4, 6])
def test_packets_up_to_the_mtu_fit(lab: Lab, version: int) -> None:
    one, two, _ = lab.hosts
    _l2(lab.hosts, version, "proxy")
    mtu = one.world.link("br0").mtu
    assert mtu == 1500 - overhead("vxlan", version)
    for inner in (4, 6):
        _ping(one, _inner(two, inner), packet=mtu, whole=True)
        with pytest.raises(OSError, match="Message too long"):
            _ping(one, _inner(two, inner), packet=mtu + 2, whole=True)
        _ping(one, _inner(two, inner), packet=20000)


@pytest.mark.parametrize("version", [4, 6])
def test_a_broadcast_reaches_each_host_once(lab: Lab, version: int) -> None:
    one, *others = lab.hosts
    _l2(lab.hosts, version, "proxy")
    with ExitStack() as stack:
        receivers = [
            stack.enter_context(host.socket(4, socket.SOCK_DGRAM, "10.1.0.255", 7001)) for host in others
        ]
        sender = stack.enter_context(one.socket(4, socket.SOCK_DGRAM, "10.1.0.1", 0))
        for number in range(10):
            sender.sendto(bytes([number]), ("10.1.0.255", 7001))
        for receiver in receivers:
            assert [receiver.recv(1) for _ in range(10)] == [bytes([number]) for number in range(10)]
            receiver.setblocking(False)
            with pytest.raises(BlockingIOError):
                receiver.recv(1)


def test_a_mac_moves_to_another_host_without_loss(lab: Lab) -> None:
    """The container is on both hosts; each datagram arrives at one of them, whichever the row says."""
    one, two, three = lab.hosts
    _l2(lab.hosts, 4, "proxy")
    mac, address = "02:00:00:00:01:99", "10.1.0.99"
    for host in (two, three):
        host.world.apply(
            SetLink("eth0", host.container, up=False),
            SetLink("eth0", host.container, mac=mac, up=True),
            AddAddress("eth0", f"{address}/24", host.container),
        )
    one.world.apply(SetFdb("vx0", mac, two.vtep(4), bridge=True), AddNeighbour("vx0", address, mac))
    stop, sent = threading.Event(), 0
    with ExitStack() as stack:
        receivers = [
            stack.enter_context(host.socket(4, socket.SOCK_DGRAM, address, 7002)) for host in (two, three)
        ]
        for receiver in receivers:
            receiver.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)
        sender = stack.enter_context(one.socket(4, socket.SOCK_DGRAM, "10.1.0.1", 0))

        def stream() -> None:
            nonlocal sent
            while not stop.is_set():
                sender.sendto(struct.pack("!L", sent), (address, 7002))
                sent += 1
                # No faster than a busy machine takes it: only the moves are on trial.
                time.sleep(0.0002)

        sending = threading.Thread(target=stream)
        sending.start()
        try:
            for place in [three, two] * 10:
                one.world.apply(SetFdb("vx0", mac, place.vtep(4), bridge=True))
                time.sleep(0.01)
        finally:
            stop.set()
            sending.join()
        got = [sorted(_drain(receiver)) for receiver in receivers]
    assert all(got)
    assert sorted(got[0] + got[1]) == list(range(sent))


def _drain(receiver: socket.socket) -> list[int]:
    receiver.settimeout(0.5)
    found = []
    try:
        while True:
            found.append(struct.unpack("!L", receiver.recv(4))[0])
    except TimeoutError:
        return found


# A block for each host ----------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
def test_routed_blocks_over_vxlan(lab: Lab, version: int) -> None:
    """flannel's shape: on each host per peer one route on the link, one neighbour, one FDB row."""
    mtu = 1500 - overhead("vxlan", version)
    networks = (ip_network("10.1.0.0/16"), ip_network("fd00:1::/32"))
    for host in lab.hosts:
        world, number = host.world, host.number
        _bridge(host, mtu, f"10.1.{number}.2/24", f"fd00:1:{number}::2/64")
        world.apply(
            SetSysctl("net.ipv4.ip_forward", "1"),
            SetSysctl("net.ipv6.conf.all.forwarding", "1"),
            AddAddress("br0", f"10.1.{number}.1/24"),
            AddAddress("br0", f"fd00:1:{number}::1/64"),
            AddRoute("default", "eth0", f"10.1.{number}.1", host.container),
            AddRoute("default", "eth0", f"fd00:1:{number}::1", host.container, version=6),
            CreateVxlan("vx0", 1, 8472, host.vtep(version), "carrick:vx0", mtu, mac=host.vtep_mac),
            AddAddress("vx0", f"10.1.{number}.0/32"),
            AddAddress("vx0", f"fd00:1:{number}::/128"),
        )
        others = [other for other in lab.hosts if other is not host]
        world.apply(
            *plan_fdb(
                {other.vtep_mac: {other.vtep(version)} for other in others}, {}, host.vtep(version)
            ).steps("vx0"),
            *plan_neighbours(
                {
                    address: Neighbour(other.vtep_mac)
                    for other in others
                    for address in (f"10.1.{other.number}.0", f"fd00:1:{other.number}::")
                },
                {},
            ).steps("vx0"),
        )
        routes = [
            BlockRoute(prefix, "vx0", prefix.partition("/")[0], onlink=True, source=source)
            for other in others
            for prefix, source in (
                (f"10.1.{other.number}.0/24", f"10.1.{number}.0"),
                (f"fd00:1:{other.number}::/64", ""),
            )
        ]
        world.apply(*plan_block_routes(routes, ()).steps())
        assert not plan_block_routes(routes, own_block_routes(world.read().routes, networks))
    one, two, three = lab.hosts
    _talk(one, three, "10.1.1.2", "10.1.3.2")
    _talk(two, three, "fd00:1:2::2", "fd00:1:3::2")
    # The host itself, from its address on the device.
    one.namespace.call(_echo, "10.1.2.2")
    # A host that is gone: who asks for its containers is told at once.
    gone = BlockRoute("10.1.3.0/24", kind="unreachable")
    there = own_block_routes(one.world.read().routes, [ip_network("10.1.3.0/24")])
    one.world.apply(*plan_block_routes([gone], there).steps())
    with pytest.raises(OSError, match="No route to host"):
        _ping(one, "10.1.3.2")
