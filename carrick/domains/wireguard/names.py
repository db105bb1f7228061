"""What follows from a daemon's name and a node's identity: its device, and its address within WireGuard."""

import hashlib
from ipaddress import IPv6Address, IPv6Network

from ...model.cluster import NodeId

INNER = IPv6Network("fd63:6172:7269:636b::/64")
"""Where nodes have the addresses that only WireGuard carries: the ends of encrypted VXLANs."""

_LONGEST = 15


def device_name(table: str) -> str:
    """Return the name of a daemon's WireGuard device; two daemons on one machine have two."""
    return f"wg-{table}"[:_LONGEST]


def inner_address(node: NodeId) -> IPv6Address:
    """Return a node's address in `INNER`: 64 bits of its identity's hash, so that nobody has to give it."""
    digest = hashlib.blake2b(node.encode(), digest_size=8).digest()
    return INNER.network_address + int.from_bytes(digest, "big")
