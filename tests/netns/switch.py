"""Three hosts on a switch (`fabric`), and one network over them by VXLAN; what crosses the switch inside it.

Needs root; nothing here touches the machine's own network.
"""

import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hosts import HostOnSwitch, make_switch, until_forwarding, until_ready
from traffic import Stream

from carrick.domains.overlay.fdb import Fdb, plan_fdb
from carrick.domains.overlay.mtu import overhead
from carrick.domains.overlay.neighbours import plan_neighbours
from carrick.model.observed import Neighbour
from carrick.model.steps import (
    ANY_MAC,
    AddAddress,
    CreateBridge,
    CreateVeth,
    CreateVxlan,
    SetFdb,
    SetLink,
    SetSysctl,
)
from carrick.testing.namespaces import Namespace, Namespaces, namespaces

VNI, PORT = 4096, 4789
MOVING_MAC, MOVING_ADDRESS = "02:00:00:00:01:99", "10.1.0.99"


class Host(HostOnSwitch):
    """A host with its VTEP, and a container behind its bridge."""

    def __init__(self, spaces: Namespaces, fabric: Namespace, number: int, directory: Path) -> None:
        super().__init__(spaces, fabric, number, directory)
        for version, length in ((4, 24), (6, 64)):
            self.world.apply(AddAddress("up0", f"{self.vtep(version)}/{length}"))

    def vtep(self, version: int) -> str:
        return f"192.0.2.{self.number}" if version == 4 else f"2001:db8::{self.number}"

    @property
    def mac(self) -> str:
        return f"02:00:00:00:01:{self.number:02x}"

    @property
    def vtep_mac(self) -> str:
        return f"02:00:00:00:02:{self.number:02x}"


@dataclass
class Lab:
    fabric: Namespace
    hosts: list[Host]


@contextmanager
def lab_of_three(directory: Path) -> Iterator[Lab]:
    """Have a switch with three hosts; what they hold is in `directory`."""
    with namespaces() as spaces:
        fabric = make_switch(spaces)
        hosts = [Host(spaces, fabric, number, directory) for number in (1, 2, 3)]
        until_forwarding(fabric)
        for host in hosts:
            until_ready(host.namespace.call, "up0")
        yield Lab(fabric, hosts)


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
        until_ready(host.inside, "eth0")
        if answers == "nobody":
            continue
        known = {address_of(other, inner): Neighbour(other.mac) for other in others for inner in (4, 6)}
        link = "vx0" if answers == "proxy" else "br0"
        host.world.apply(*plan_neighbours(known, host.world.neighbours(link)).steps(link))
        assert not plan_neighbours(known, host.world.neighbours(link))


def address_of(host: Host, version: int) -> str:
    return f"10.1.0.{host.number}" if version == 4 else f"fd00:1::{host.number}"


# A container that moves ----------------------------------------------------------------------


def settle_moving(hosts: Sequence[Host]) -> None:
    """Have the hosts' containers be one that moves: it has the same MAC and address wherever it is."""
    for host in hosts:
        host.world.apply(
            SetLink("eth0", host.container, up=False),
            SetLink("eth0", host.container, mac=MOVING_MAC, up=True),
            AddAddress("eth0", f"{MOVING_ADDRESS}/24", host.container),
        )
        until_forwarding(host.namespace)


def stream_while_moving(one: Host, homes: Sequence[Host]) -> Stream:
    """Send to the container that moves, while `one` is told time and again that it is in its next home."""
    # No faster than a busy machine takes it: only the moves are on trial.
    with Stream(one, homes, address_of(one, 4), MOVING_ADDRESS, pause_s=0.0002) as stream:
        for home in [*homes[1:], homes[0]] * 10:
            one.world.apply(SetFdb("vx0", MOVING_MAC, home.vtep(4), bridge=True))
            time.sleep(0.01)
    return stream


# What crosses the switch inside VXLAN ---------------------------------------------------------


def unwrapped(frames: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """Return for each frame that carries VXLAN what is outside, from the outer IP header on to that of VXLAN,
    and the frame inside."""
    found = []
    for frame in frames:
        kind = struct.unpack_from("!H", frame, 12)[0]
        start, protocol = (34, frame[23]) if kind == 0x0800 else (54, frame[20])
        if (
            kind in {0x0800, 0x86DD}
            and protocol == socket.IPPROTO_UDP
            and struct.unpack_from("!H", frame, start + 2)[0] == PORT
        ):
            found.append((frame[14 : start + 16], frame[start + 16 :]))
    return found


def kinds_inside(frames: Iterable[bytes]) -> list[str]:
    """Return what is in each frame that carries VXLAN: `arp`, `nd`, `ip`, `other`."""
    return [_kind(inner) for _, inner in unwrapped(frames)]


def _kind(frame: bytes) -> str:
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == 0x0806:
        return "arp"
    if kind == 0x86DD and frame[20] == socket.IPPROTO_ICMPV6 and frame[54] in {135, 136}:
        return "nd"
    return "ip" if kind in {0x0800, 0x86DD} else "other"
