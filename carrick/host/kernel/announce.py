"""Tell the neighbours where an address is: gratuitous ARP (RFC 5227, section 3), unsolicited neighbour
advertisement (RFC 4861, section 7.2.6).

The kernel does so once as an interface comes up (`arp_notify`, `ndisc_notify`); this is for the repetitions,
because what is sent once is lost once.
"""

import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

_ETH_ARP, _ETH_IPV6 = 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ICMPV6, _ADVERTISEMENT = 58, 136
_OVERRIDE = 0x20000000
_TARGET_LINK_ADDRESS = 2


def render_announcement(mac: str, address: str) -> bytes:
    """Return the Ethernet frame that announces `address` at `mac`."""
    hardware = bytes.fromhex(mac.replace(":", ""))
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return _render_arp(hardware, parsed)
    return _render_advertisement(hardware, parsed)


def _render_arp(mac: bytes, address: IPv4Address) -> bytes:
    """A request for one's own address, the sender's hardware address in it: everyone takes note."""
    header = _BROADCAST + mac + struct.pack("!H", _ETH_ARP)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return header + body + mac + address.packed + bytes(6) + address.packed


def _render_advertisement(mac: bytes, address: IPv6Address) -> bytes:
    option = struct.pack("!BB", _TARGET_LINK_ADDRESS, 1) + mac
    message = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE) + address.packed + option
    pseudo = address.packed + _ALL_NODES.packed + struct.pack("!II", len(message), _ICMPV6)
    message = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255)
    frame = _ALL_NODES_MAC + mac + struct.pack("!H", _ETH_IPV6)
    return frame + header + address.packed + _ALL_NODES.packed + message


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def announce(link: str, mac: str, addresses: Sequence[str]) -> None:
    """Send an announcement of each address out of `link`, in the calling thread's namespace."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as raw:
        raw.bind((link, 0))
        for address in addresses:
            raw.send(render_announcement(mac, address))
