"""Rows of the maps that the programs read: how they are laid out, and made. Pure."""

import struct
from ipaddress import IPv4Address, IPv4Network

REMOTE, LOCAL, SENT, ROUTER = "ck_remote", "ck_local", "ck_sent", "ck_router"
"""Maps: by MAC `pack_remote`; by MAC or address `pack_link`; by peer, on each CPU, the bytes sent to it; of
routed networks, by 0, `pack_router`."""

TTL, UDP_PROTOCOL = 64, 17
"""Of the outer IP header."""

_REMOTE = struct.Struct("=4s4s4sI")
PEER, OWN, VNI, SUM = 0, 4, 8, 12
_LINK = struct.Struct("=I8s")
LINK_INDEX, LINK_MAC = 0, 4
_ROUTER = struct.Struct("=4s4sII8s")
NETWORK, MASK, BRIDGE, TUNNEL, BRIDGE_MAC = 0, 4, 8, 12, 16
"""Where fields are, in bytes."""
LINK_SIZE, ROUTER_SIZE = _LINK.size, _ROUTER.size
IS_ADDRESS = 1 << 24
"""Behind an address in a key; a MAC address leaves nothing there."""


def pack_mac(mac: str) -> bytes:
    """Return the key of a MAC address in the maps: its six bytes and two of nothing."""
    return bytes.fromhex(mac.replace(":", "")) + b"\0\0"


def pack_remote(peer: str, local: str, vni: int) -> bytes:
    """Return a row of the map of what is behind other hosts: both tunnel's ends, IPv4, and the VNI.

    With them goes the sum of what of the outer header is always the same (RFC 1071).
    """
    ends = IPv4Address(peer).packed, IPv4Address(local).packed
    fixed = bytes((TTL, UDP_PROTOCOL)) + b"".join(ends)
    return _REMOTE.pack(*ends, (vni << 8).to_bytes(4, "big"), sum(struct.unpack("=5H", fixed)))


def pack_address(address: IPv4Address) -> bytes:
    """Return the key of an address in the map of this host's containers."""
    return address.packed + struct.pack("=I", IS_ADDRESS)


def pack_link(index: int, mac: str) -> bytes:
    """Return a row of the map of this host's containers: the link on the host, the MAC at the other end."""
    return _LINK.pack(index, pack_mac(mac))


def unpack_link(row: bytes) -> int:
    """Return the link's index."""
    index: int = _LINK.unpack(row)[0]
    return index


def pack_router(subnet: IPv4Network, bridge: int, tunnel: int, mac: str) -> bytes:
    """Return what a routed network is on this host: its subnet, both links' indexes, the bridge's MAC."""
    return _ROUTER.pack(subnet.network_address.packed, subnet.netmask.packed, bridge, tunnel, pack_mac(mac))


def unpack_router(row: bytes) -> tuple[IPv4Network, int]:
    """Return a row's subnet and the bridge's index."""
    address, mask, bridge, _, _ = _ROUTER.unpack(row)
    return IPv4Network((address, IPv4Address(mask).exploded)), bridge
