"""Networks across hosts, made of nothing but our steps: real frames between namespaces that act as hosts.

Three hosts stand on a switch. What they are told comes from the planners of `domains/overlay`.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path

import pytest
from hosts import Capture
from switch import (
    MOVING_ADDRESS,
    MOVING_MAC,
    Lab,
    address_of,
    build_bridge,
    join,
    kinds_inside,
    lab_of_three,
    settle_moving,
    stream_while_moving,
)
from traffic import echo, ping, talk

from carrick.domains.overlay.fdb import plan_fdb
from carrick.domains.overlay.mtu import overhead
from carrick.domains.overlay.neighbours import plan_neighbours
from carrick.domains.overlay.routes import BlockRoute, own_block_routes, plan_block_routes
from carrick.model.observed import Neighbour
from carrick.model.steps import (
    AddAddress,
    AddNeighbour,
    AddRoute,
    CreateVxlan,
    SetFdb,
    SetSysctl,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with lab_of_three(tmp_path) as lab:
        yield lab


# One L2 network -----------------------------------------------------------------------------


@pytest.mark.parametrize("answers", ["proxy", "bridge"])
@pytest.mark.parametrize("version", [4, 6])
def test_containers_meet_and_nobody_asks_across(lab: Lab, version: int, answers: str) -> None:
    one, _, three = lab.hosts
    join(lab.hosts, version, answers)
    with Capture(lab.fabric) as capture:
        for inner in (4, 6):
            talk(one, three, address_of(one, inner), address_of(three, inner))
        seen = kinds_inside(capture.take())
    assert seen.count("ip") > 20
    assert not {"arp", "nd"} & set(seen)


def test_without_neighbours_they_ask_everybody(lab: Lab) -> None:
    """The counter-check: the capture sees questions, and head-end replication carries them."""
    one, two, _ = lab.hosts
    join(lab.hosts, 4, "nobody")
    with Capture(lab.fabric) as capture:
        for inner in (4, 6):
            talk(one, two, address_of(one, inner), address_of(two, inner))
        assert {"arp", "nd", "ip"} <= set(kinds_inside(capture.take()))


@pytest.mark.parametrize("version", [4, 6])
def test_packets_up_to_the_mtu_fit(lab: Lab, version: int) -> None:
    one, two, _ = lab.hosts
    join(lab.hosts, version, "proxy")
    mtu = one.world.link("br0").mtu
    assert mtu == 1500 - overhead("vxlan", version)
    for inner in (4, 6):
        ping(one, address_of(two, inner), packet=mtu, whole=True)
        with pytest.raises(OSError, match="Message too long"):
            ping(one, address_of(two, inner), packet=mtu + 2, whole=True)
        ping(one, address_of(two, inner), packet=20000)


@pytest.mark.parametrize("version", [4, 6])
def test_a_broadcast_reaches_each_host_once(lab: Lab, version: int) -> None:
    one, *others = lab.hosts
    join(lab.hosts, version, "proxy")
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
    join(lab.hosts, 4, "proxy")
    settle_moving((two, three))
    one.world.apply(
        SetFdb("vx0", MOVING_MAC, two.vtep(4), bridge=True), AddNeighbour("vx0", MOVING_ADDRESS, MOVING_MAC)
    )
    stream = stream_while_moving(one, (two, three))
    assert all(stream.got)
    assert stream.arrived == list(range(stream.sent))


# A block for each host ----------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
def test_routed_blocks_over_vxlan(lab: Lab, version: int) -> None:
    """flannel's shape: on each host per peer one route on the link, one neighbour, one FDB row."""
    mtu = 1500 - overhead("vxlan", version)
    networks = (ip_network("10.1.0.0/16"), ip_network("fd00:1::/32"))
    for host in lab.hosts:
        world, number = host.world, host.number
        build_bridge(host, mtu, f"10.1.{number}.2/24", f"fd00:1:{number}::2/64")
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
    talk(one, three, "10.1.1.2", "10.1.3.2")
    talk(two, three, "fd00:1:2::2", "fd00:1:3::2")
    # The host itself, from its address on the device.
    one.namespace.call(echo, "10.1.2.2")
    # A host that is gone: who asks for its containers is told at once.
    gone = BlockRoute("10.1.3.0/24", kind="unreachable")
    there = own_block_routes(one.world.read().routes, [ip_network("10.1.3.0/24")])
    one.world.apply(*plan_block_routes([gone], there).steps())
    with pytest.raises(OSError, match="No route to host"):
        ping(one, "10.1.3.2")
