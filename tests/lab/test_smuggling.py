"""A container puts no packets into a network that it is not on, by wrapping them for the hosts' tunnels."""

import json
import socket
import struct
from contextlib import closing

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
    datagram = struct.pack("!HHHH", 1111, PORT, 8 + len(text), 0) + text
    ends = socket.inet_aton(NOBODY), socket.inet_aton(target.ip())
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0, *ends)
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:]
    ethernet = bytes.fromhex(target.mac().replace(":", "")) + bytes.fromhex("020000000001") + b"\x08\x00"
    return struct.pack("!II", 0x08000000, vni << 8 | reserved) + ethernet + header + datagram


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
