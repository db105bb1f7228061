"""Three hosts on a switch (`fabric`), each with a kernel of its own: for tests of what crosses between them.

Needs root; nothing here touches the machine's own network.
"""

import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

from carrick.domains.overlay.fdb import Fdb, plan_fdb
from carrick.domains.overlay.mtu import overhead
from carrick.domains.overlay.neighbours import plan_neighbours
from carrick.host.kernel import LinuxKernel
from carrick.host.kernel.netns import delete_netns, entered
from carrick.model.observed import Neighbour
from carrick.model.steps import (
    ANY_MAC,
    AddAddress,
    CreateBridge,
    CreateNetns,
    CreateVeth,
    CreateVxlan,
    SetLink,
    SetSysctl,
)
from carrick.testing.daemon import eventually
from carrick.testing.kernel_suite import World
from carrick.testing.namespaces import Namespace, Namespaces, namespaces

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


@contextmanager
def lab_of_three(directory: Path) -> Iterator[Lab]:
    """Have a switch with three hosts; what they hold is in `directory`."""
    with namespaces() as spaces:
        fabric = spaces.new()
        fabric.ip("link add sw0 type bridge mcast_snooping 0")
        fabric.ip("link set sw0 up")
        hosts = [_make_host(spaces, fabric, number, directory) for number in (1, 2, 3)]
        until_forwarding(fabric)
        yield Lab(fabric, hosts)


def until_forwarding(namespace: Namespace) -> None:
    """Wait until every port of the bridges forwards: the kernel notices a carrier in its own time."""

    def ports() -> Any:
        shown = subprocess.run(["bridge", "-j", "link"], capture_output=True, check=True)
        return json.loads(shown.stdout)

    eventually(lambda: all(port["state"] == "forwarding" for port in namespace.call(ports)), 30)


def _make_host(spaces: Namespaces, fabric: Namespace, number: int, directory: Path) -> Host:
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


def build_bridge(host: Host, mtu: int, *addresses: str) -> None:
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


def join(hosts: list[Host], version: int, answers: str) -> None:
    """Join the hosts' bridges to one network; `answers` to ARP: the device's proxy, the bridge, or nobody."""
    mtu = 1500 - overhead("vxlan", version)
    for host in hosts:
        build_bridge(
            host, mtu, *(f"{address_of(host, inner)}/{24 if inner == 4 else 64}" for inner in (4, 6))
        )
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
        until_forwarding(host.namespace)
        if answers == "nobody":
            continue
        known = {address_of(other, inner): Neighbour(other.mac) for other in others for inner in (4, 6)}
        link = "vx0" if answers == "proxy" else "br0"
        host.world.apply(*plan_neighbours(known, host.world.neighbours(link)).steps(link))
        assert not plan_neighbours(known, host.world.neighbours(link))


def address_of(host: Host, version: int) -> str:
    return f"10.1.0.{host.number}" if version == 4 else f"fd00:1::{host.number}"


def ping(host: Host, address: str, *, packet: int = 100, whole: bool = False) -> None:
    """Ping from the container with a packet of so many bytes, which may not be fragmented if `whole`."""
    host.inside(lambda: echo(address, packet, whole=whole))


def echo(address: str, packet: int = 100, *, whole: bool = False) -> None:
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
            header = struct.pack("!BBHHH", request, 0, checksum(header + payload), 7, 1)
        raw.send(header + payload)
        while True:
            answer = raw.recv(1 << 16)
            answer = answer[20:] if version == 4 else answer
            if answer[0] == reply and answer[8:] == payload:
                return


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def talk(one: Host, other: Host, here: str, there: str) -> None:
    """Ping, and send a mebibyte by TCP both ways."""
    version = ip_address(there).version
    ping(one, there)
    data = os.urandom(1 << 20)
    with other.socket(version, socket.SOCK_STREAM, there, 7000) as listener:
        listener.listen()

        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(WAIT_S)
                accepted.sendall(receive(accepted, len(data)))

        server = threading.Thread(target=serve)
        server.start()
        with one.socket(version, socket.SOCK_STREAM, here, 0) as client:
            client.connect((there, 7000))
            client.sendall(data)
            assert receive(client, len(data)) == data
        server.join(WAIT_S)


def receive(source: socket.socket, length: int) -> bytes:
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
        return [_kind(inner) for _, inner in self.take_whole()]

    def take_whole(self) -> list[tuple[bytes, bytes]]:
        """Return for each frame since the last time what is outside, from the outer IP header on to that of
        VXLAN, and the frame inside."""
        found = []
        while True:
            try:
                frame = self._raw.recv(1 << 17)
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
            found.append((frame[14 : start + 16], frame[start + 16 :]))


def _kind(frame: bytes) -> str:
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == 0x0806:
        return "arp"
    if kind == 0x86DD and frame[20] == socket.IPPROTO_ICMPV6 and frame[54] in {135, 136}:
        return "nd"
    return "ip" if kind in {0x0800, 0x86DD} else "other"
