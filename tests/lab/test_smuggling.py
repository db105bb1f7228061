"""A container puts no packets into a network that it is not on, by wrapping them for the hosts' tunnels."""

import json
import socket
import struct
from contextlib import closing
from ipaddress import ip_address

import pytest

from carrick.testing.boxes import Box, box
from carrick.testing.daemon import eventually
from carrick.testing.lab import LabHost, TempLab

VXLAN_PORT, PORT = 4789, 2222
NOBODY = "10.77.99.99"


def vni_of(host: LabHost, network: str) -> int:
    device = f"vx-{host.api.get(f'/networks/{network}').json['Id'][:12]}"
    (link,) = json.loads(host.run("ip", "-j", "-d", "link", "show", device).out)
    return int(link["linkinfo"]["info_data"]["id"])


def wrapped(vni: int, target: Box, text: bytes, *, reserved: int = 0) -> bytes:
    """Return the UDP payload of a VXLAN packet (RFC 7348) with a datagram for `target` from nobody."""
    ethernet = bytes.fromhex(target.mac().replace(":", "")) + bytes.fromhex("020000000001") + b"\x08\x00"
    header = struct.pack("!II", 0x08000000, vni << 8 | reserved)
    return header + ethernet + packet(NOBODY, target.ip(), PORT, text)


def packet(source: str, target: str, port: int, payload: bytes) -> bytes:
    """Return an IPv4 packet with a datagram."""
    datagram = struct.pack("!HHHH", 1111, port, 8 + len(payload), 0) + payload
    ends = socket.inet_aton(source), socket.inet_aton(target)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0, *ends)
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:] + datagram


def send(sender: socket.socket, address: str, payload: bytes) -> None:
    """Send some; sooner or later the host may say that nobody is there."""
    for _ in range(3):
        try:
            sender.sendto(payload, (address, VXLAN_PORT))
        except (ConnectionRefusedError, PermissionError):
            continue


def listen(target: Box) -> socket.socket:
    made = target.socket(kind=socket.SOCK_DGRAM)
    made.bind(("", PORT))
    made.settimeout(0.5)
    return made


def is_heard(listener: socket.socket, text: bytes) -> bool:
    try:
        while listener.recv(100) != text:
            pass
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_from_a_container_nothing_gets_into_another_network(cluster: TempLab, encrypted: bool) -> None:
    first, second, third = cluster.hosts
    options = ("--opt", "encrypted") if encrypted else ()
    first.carrick("network", "create", "-d", "overlay", "--subnet", "10.77.0.0/16", *options, "quiet")
    far = box(second, "far", "quiet")
    # On the first host the network is not, so that nothing there knows its VNI.
    stranger = box(first, "stranger", "bridge")
    vni = vni_of(second, "quiet")

    def tries(sender: socket.socket, address: str, target: Box, text: bytes) -> None:
        for reserved in (0, 1, 255):
            send(sender, address, wrapped(vni, target, text, reserved=reserved))

    with closing(stranger.socket(kind=socket.SOCK_DGRAM)) as sender, closing(listen(far)) as listener:
        tries(sender, second.ipv4, far, b"to another host")
        assert not is_heard(listener, b"to another host")
        near = box(first, "near", "quiet")
        eventually(lambda: near.reaches(far.ip()), 30)
        with closing(listen(near)) as here:
            for address in (first.ipv4, "172.17.0.1", "127.0.0.1"):
                tries(sender, address, near, b"to the own host")
                assert not is_heard(here, b"to the own host"), address
        tries(sender, second.ipv4, far, b"again")
        assert not is_heard(listener, b"again")

    # A host of the underlay can, unless it is encrypted: what was sent above was well-formed.
    with closing(third.socket(socket.AF_INET, socket.SOCK_DGRAM)) as host, closing(listen(far)) as listener:
        send(host, second.ipv4, wrapped(vni, far, b"a host"))
        assert is_heard(listener, b"a host") is not encrypted


def test_what_is_no_network_s_of_the_cluster_is_kept_from_other_hosts_alone(cluster: TempLab) -> None:
    """Containers may have tunnels of their own between each other; out of the host go none, to be safe."""
    first, second, _ = cluster.hosts
    one, other = box(first, "one", "bridge"), box(first, "other", "bridge")

    mine = struct.pack("!II", 0x08000000, 7 << 8) + b"mine"

    def arrives(sender: socket.socket, address: str, listener: socket.socket) -> bool:
        with closing(sender), closing(listener):
            listener.bind(("", VXLAN_PORT))
            listener.settimeout(0.5)
            send(sender, address, mine)
            return is_heard(listener, mine)

    def datagrams(place: Box | LabHost) -> socket.socket:
        return place.socket(socket.AF_INET, socket.SOCK_DGRAM)

    assert arrives(datagrams(one), other.ip(), datagrams(other))
    assert not arrives(datagrams(one), second.ipv4, datagrams(second))
    assert arrives(datagrams(first), second.ipv4, datagrams(second))
    first.run("sysctl", "-w", "net.bridge.bridge-nf-call-iptables=1")
    try:
        assert arrives(datagrams(one), other.ip(), datagrams(other))
    finally:
        first.run("sysctl", "-w", "net.bridge.bridge-nf-call-iptables=0")


@pytest.mark.parametrize(
    ("backend", "encrypted"), [("vxlan", False), ("direct", False), ("wireguard", False), ("wireguard", True)]
)
def test_from_a_routed_network_nothing_gets_into_another_one(
    cluster: TempLab, backend: str, encrypted: bool
) -> None:
    """Hosts have addresses in it, which containers elsewhere reach by right: not with a tunnel's packets."""
    # The first and the last share a segment.
    first, third, second = cluster.hosts
    sealing = ("--opt", "encrypted") if encrypted else ()
    first.carrick("network", "create", "-d", "overlay", "--subnet", "10.77.0.0/16", *sealing, "quiet")
    options = ("--opt", f"backend={backend}", "--subnet", "10.78.0.0/16", "--ipv6", "--subnet", "fd78::/96")
    first.carrick("network", "create", "-d", "routed", *options, "ways")
    far, host = box(second, "far", "quiet"), box(second, "host", "ways")
    stranger = box(first, "stranger", "ways")
    # Tunnels that are encrypted end at IPv6 addresses, and take nothing by IPv4.
    family, key = (socket.AF_INET6, "IPv6Gateway") if encrypted else (socket.AF_INET, "Gateway")
    vni, gateway = vni_of(second, "quiet"), str(host.networks["ways"][key])
    eventually(lambda: stranger.reaches(host.ip()), 30)
    assert stranger.reaches(gateway)
    ends = (gateway, str(ip_address(gateway) - 1))

    def tries(sender: socket.socket, text: bytes) -> bool:
        for address in ends:
            send(sender, address, wrapped(vni, far, text))
        return is_heard(listener, text)

    with closing(listen(far)) as listener:
        with closing(stranger.socket(family, socket.SOCK_DGRAM)) as sender:
            assert not tries(sender, b"as itself")
            # What is found among those let in before takes a shorter way.
            assert not tries(sender, b"once more")
        # As the host that has been let in before, which it is not.
        with closing(stranger.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 255))) as forger:
            for address in () if encrypted else ends:
                payload = wrapped(vni, far, b"as a host")
                forger.sendto(packet(third.ipv4, address, VXLAN_PORT, payload), (address, 0))
            assert not is_heard(listener, b"as a host")
        # What was sent was well-formed; and what a container sends another one is its own affair.
        with closing(first.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
            send(sender, second.ipv4, wrapped(vni, far, b"a host"))
            assert is_heard(listener, b"a host") is not encrypted
    sender, own = (one.socket(kind=socket.SOCK_DGRAM) for one in (stranger, host))
    with closing(sender), closing(own):
        own.bind(("", VXLAN_PORT))
        own.settimeout(0.5)
        send(sender, host.ip(), wrapped(vni, far, b"its own"))
        assert is_heard(own, wrapped(vni, far, b"its own"))
