"""The two programs of a shortcut, both for the tc ingress of a link.

`send` is on the host's end of a container's veth. What goes to a MAC address behind another host it wraps in
VXLAN (RFC 7348) itself and hands to the link that the host's routes say, past the bridge, the VXLAN device
and the host's own IP output. What goes to a MAC address of a container here it puts straight into that one's
namespace, past the bridge and one trip through the backlog; so does `receive`, on the VXLAN device.

Whatever either is not sure of it leaves to the plain path, which is always there: broadcast and multicast,
MAC addresses not in the maps, protocols other than IP, tagged frames, a route that is not there or too small,
a packet that is in a tunnel already.

The wrapping is the kernel's own in what others see of it: the TTL, an identification and no DF bit, ECN by
RFC 6040, a source port by the flow, no checksum of the outer UDP.
"""

import hashlib
import struct
from collections.abc import Mapping
from ipaddress import IPv4Address
from socket import AF_INET, htons

from .assembler import Alu, Assembler, Jump, Register, Size

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register

VXLAN_PORT = 4789
OVERHEAD = 50
"""Bytes: the outer IPv4, UDP and VXLAN headers, and the inner Ethernet one."""

REMOTE, LOCAL, SENT = "ck_remote", "ck_local", "ck_sent"
"""Maps: by MAC `pack_remote` and the index of a link; by peer, on each CPU, the bytes sent to it."""

# struct __sk_buff, linux/bpf.h
_LEN, _VLAN_PRESENT, _IFINDEX, _DATA, _DATA_END, _GSO_SIZE = 0, 20, 40, 76, 80, 176
# Helper functions, in the order of linux/bpf.h.
_LOOKUP, _RANDOM, _STORE_BYTES, _CHANGE_TYPE, _HASH = 1, 7, 9, 32, 34
_ADJUST_ROOM, _FIB_LOOKUP, _REDIRECT_NEIGH, _REDIRECT_PEER = 50, 69, 152, 155
_NEXT, _DROP = -1, 2
_PACKET_HOST = 0
_SKIP_NEIGH = 1 << 3
_ROOM_AT_MAC = 1
_FIXED_GSO, _OUTER_IPV4, _OUTER_UDP, _INNER_ETHERNET = 1 << 0, 1 << 1, 1 << 4, 1 << 6
_ROOM_FLAGS = _FIXED_GSO | _OUTER_IPV4 | _OUTER_UDP | _INNER_ETHERNET | 14 << 56

_ETHERNET, _IP, _UDP = 14, 20, 8
_IPV4, _IPV6 = htons(0x0800), htons(0x86DD)
_TTL, _UDP_PROTOCOL = 64, 17
_DYNAMIC_PORTS = 0xC0
"""Source ports are 49152 and up (RFC 7348, section 5): the first byte's upper bits."""
# The outer IP packet of a segment: what wraps it, its own Ethernet header, and IP and TCP without options.
_LEAST_OF_SEGMENT = OVERHEAD + 20 + 20

# The stack, downwards from R10.
_KEY = -8
_HEADER = -64
_FIB = -128
_NEXT_HOP = -152

_REMOTE = struct.Struct("=4s4s4sI")


def pack_mac(mac: str) -> bytes:
    """Return the key of a MAC address in the maps: its six bytes and two of nothing."""
    return bytes.fromhex(mac.replace(":", "")) + b"\0\0"


def pack_remote(peer: str, local: str, vni: int) -> bytes:
    """Return a row of the map of what is behind other hosts: both tunnel's ends, IPv4, and the VNI.

    With them goes the sum of what of the outer header is always the same (RFC 1071).
    """
    ends = IPv4Address(peer).packed, IPv4Address(local).packed
    fixed = bytes((_TTL, _UDP_PROTOCOL)) + b"".join(ends)
    return _REMOTE.pack(*ends, (vni << 8).to_bytes(4, "big"), sum(struct.unpack("=5H", fixed)))


def build_send() -> Assembler:
    code = Assembler()
    _begin(code)
    _find_mac(code, REMOTE)
    code.jump_if(Jump.EQUAL, R0, 0, "not remote")
    code.move(R9, R0)

    # ECN: congestion that was met inside is not met again outside.
    code.load(Size.HALF, R2, R7, 12)
    code.load(Size.HALF, R3, R7, _ETHERNET)
    code.to_network_order(R3)
    code.jump_if(Jump.EQUAL, R2, _IPV4, "ecn")
    code.jump_if(Jump.NOT_EQUAL, R2, _IPV6, "plain")
    code.alu(Alu.SHIFT_RIGHT, R3, 4)
    code.label("ecn")
    code.alu(Alu.AND, R3, 3)
    code.jump_if(Jump.NOT_EQUAL, R3, 3, "type of service")
    code.move(R3, 2)
    code.label("type of service")
    code.store(Size.BYTE, R10, _HEADER, 0x45)
    code.store(Size.BYTE, R10, _HEADER + 1, R3)

    # The frame's own Ethernet header becomes the inner one.
    inner = _HEADER + OVERHEAD - _ETHERNET
    for offset, size in ((0, Size.WORD), (4, Size.WORD), (8, Size.WORD), (12, Size.HALF)):
        code.load(size, R2, R7, offset)
        code.store(size, R10, inner + offset, R2)

    # The length of the outer IP packet. Of packets that are cut into segments later it is the whole's.
    code.load(Size.WORD, R7, R6, _LEN)
    code.add(R7, OVERHEAD - _ETHERNET)
    code.move(R8, R7)
    code.load(Size.WORD, R2, R6, _GSO_SIZE)
    code.jump_if(Jump.EQUAL, R2, 0, "length known")
    code.move(R8, R2)
    code.add(R8, _LEAST_OF_SEGMENT)
    code.label("length known")

    code.move(R1, R6)
    code.call(_HASH)
    code.move(R2, R0)
    code.alu(Alu.SHIFT_RIGHT, R2, 16)
    code.alu(Alu.XOR, R2, R0)
    code.alu(Alu.OR, R2, _DYNAMIC_PORTS)
    code.store(Size.HALF, R10, _HEADER + _IP, R2)

    _find_route(code)
    _write_header(code)

    code.load(Size.WORD, R2, R9, 0)
    code.store(Size.WORD, R10, _KEY, R2)
    code.move(R1, R6)
    code.move(R2, OVERHEAD)
    code.move(R3, _ROOM_AT_MAC)
    code.load_wide(R4, _ROOM_FLAGS)
    code.call(_ADJUST_ROOM)
    # Refused, for one that is in a tunnel already, it has left the packet as it was.
    code.jump_if(Jump.NOT_EQUAL, R0, 0, "plain")

    code.move(R1, R6)
    code.move(R2, _ETHERNET)
    code.move(R3, R10)
    code.add(R3, _HEADER)
    code.move(R4, OVERHEAD)
    code.move(R5, 0)
    code.call(_STORE_BYTES)
    code.jump_if(Jump.NOT_EQUAL, R0, 0, "drop")

    code.load_map(R1, SENT)
    code.move(R2, R10)
    code.add(R2, _KEY)
    code.call(_LOOKUP)
    code.jump_if(Jump.EQUAL, R0, 0, "counted")
    code.load(Size.DOUBLE, R2, R0, 0)
    code.add(R2, R7)
    code.store(Size.DOUBLE, R0, 0, R2)
    code.label("counted")

    code.load(Size.WORD, R1, R10, _FIB + 8)
    code.move(R2, R10)
    code.add(R2, _NEXT_HOP)
    code.move(R3, 20)
    code.move(R4, 0)
    code.call(_REDIRECT_NEIGH)
    code.exit()
    code.label("drop")
    code.move(R0, _DROP)
    code.exit()
    code.label("not remote")
    _deliver(code)
    _leave_to_the_plain_path(code)
    return code


def build_receive() -> Assembler:
    code = Assembler()
    _begin(code)
    _deliver(code)
    _leave_to_the_plain_path(code)
    return code


def name_of(program: Assembler, title: str, maps: Mapping[str, int]) -> str:
    """Return a name that says which program of which version it is: 15 characters."""
    code = program.assemble(dict.fromkeys(maps, 0))
    return f"{title}{hashlib.sha256(code).hexdigest()[: 15 - len(title)]}"


def _begin(code: Assembler) -> None:
    """Have R6 point to the context and R7 to the frame; 16 bytes of it are there.

    A tag that was taken off the frame would be lost, or be put before the outer header.
    """
    code.move(R6, R1)
    code.load(Size.WORD, R2, R6, _VLAN_PRESENT)
    code.jump_if(Jump.NOT_EQUAL, R2, 0, "plain")
    code.load(Size.WORD, R7, R6, _DATA)
    code.load(Size.WORD, R8, R6, _DATA_END)
    code.move(R2, R7)
    code.add(R2, _ETHERNET + 2)
    code.jump_if(Jump.GREATER, R2, R8, "plain")


def _find_mac(code: Assembler, name: str) -> None:
    """Have R0 point to a map's row of the frame's destination, or be 0."""
    code.load(Size.WORD, R2, R7, 0)
    code.store(Size.WORD, R10, _KEY, R2)
    code.load(Size.HALF, R2, R7, 4)
    code.store(Size.WORD, R10, _KEY + 4, R2)
    code.load_map(R1, name)
    code.move(R2, R10)
    code.add(R2, _KEY)
    code.call(_LOOKUP)


def _deliver(code: Assembler) -> None:
    """Put the frame into the namespace of a container of this host, if it is for one."""
    _find_mac(code, LOCAL)
    code.jump_if(Jump.EQUAL, R0, 0, "plain")
    code.load(Size.WORD, R7, R0, 0)
    # The link that it came by has another address: for it the packet was somebody else's.
    code.move(R1, R6)
    code.move(R2, _PACKET_HOST)
    code.call(_CHANGE_TYPE)
    code.move(R1, R7)
    code.move(R2, 0)
    code.call(_REDIRECT_PEER)
    code.exit()


def _find_route(code: Assembler) -> None:
    """Ask the host's routes, rules and path MTUs for the way of a packet of R8 bytes to the peer.

    As of one that is forwarded: the outer packet has not been on this host before. `struct bpf_fib_lookup`
    and `bpf_redir_neigh` of linux/bpf.h.
    """
    for offset in range(0, 64, 8):
        code.store(Size.DOUBLE, R10, _FIB + offset, 0)
    code.store(Size.BYTE, R10, _FIB, AF_INET)
    code.store(Size.BYTE, R10, _FIB + 1, _UDP_PROTOCOL)
    code.load(Size.HALF, R2, R10, _HEADER + _IP)
    code.store(Size.HALF, R10, _FIB + 2, R2)
    code.store(Size.HALF, R10, _FIB + 4, htons(VXLAN_PORT))
    code.store(Size.HALF, R10, _FIB + 6, R8)
    code.load(Size.WORD, R2, R6, _IFINDEX)
    code.store(Size.WORD, R10, _FIB + 8, R2)
    code.load(Size.WORD, R2, R9, 4)
    code.store(Size.WORD, R10, _FIB + 16, R2)
    code.load(Size.WORD, R2, R9, 0)
    code.store(Size.WORD, R10, _FIB + 32, R2)
    code.move(R1, R6)
    code.move(R2, R10)
    code.add(R2, _FIB)
    code.move(R3, 64)
    code.move(R4, _SKIP_NEIGH)
    code.call(_FIB_LOOKUP)
    code.jump_if(Jump.NOT_EQUAL, R0, 0, "plain")
    # An IPv4 route by an IPv6 gateway is rare enough.
    code.load(Size.BYTE, R2, R10, _FIB)
    code.jump_if(Jump.NOT_EQUAL, R2, AF_INET, "plain")
    code.store(Size.WORD, R10, _NEXT_HOP, R2)
    code.load(Size.WORD, R2, R10, _FIB + 32)
    code.store(Size.WORD, R10, _NEXT_HOP + 4, R2)
    for offset in (8, 12, 16):
        code.store(Size.WORD, R10, _NEXT_HOP + offset, 0)


def _write_header(code: Assembler) -> None:
    """Write the outer IPv4, UDP and VXLAN headers; the first two bytes and the source port are there."""
    code.call(_RANDOM)
    code.alu(Alu.AND, R0, 0xFFFF)
    code.store(Size.HALF, R10, _HEADER + 4, R0)
    code.move(R2, R7)
    code.to_network_order(R2)
    code.store(Size.HALF, R10, _HEADER + 2, R2)
    # The sum of the header's 16-bit words, its carries added twice: ten words carry no further.
    code.load(Size.WORD, R3, R9, 12)
    code.add(R3, R0)
    code.add(R3, R2)
    code.load(Size.HALF, R4, R10, _HEADER)
    code.add(R3, R4)
    for _ in range(2):
        code.move(R4, R3)
        code.alu(Alu.AND, R4, 0xFFFF)
        code.alu(Alu.SHIFT_RIGHT, R3, 16)
        code.add(R3, R4)
    code.alu(Alu.XOR, R3, -1)
    code.store(Size.HALF, R10, _HEADER + 10, R3)
    code.store(Size.HALF, R10, _HEADER + 6, 0)
    code.store(Size.BYTE, R10, _HEADER + 8, _TTL)
    code.store(Size.BYTE, R10, _HEADER + 9, _UDP_PROTOCOL)
    for offset, field in ((12, 4), (16, 0), (_IP + _UDP + 4, 8)):
        code.load(Size.WORD, R2, R9, field)
        code.store(Size.WORD, R10, _HEADER + offset, R2)
    code.store(Size.HALF, R10, _HEADER + _IP + 2, htons(VXLAN_PORT))
    code.move(R2, R7)
    code.add(R2, -_IP)
    code.to_network_order(R2)
    code.store(Size.HALF, R10, _HEADER + _IP + 4, R2)
    code.store(Size.HALF, R10, _HEADER + _IP + 6, 0)
    for offset, value in enumerate((0x08, 0, 0, 0)):
        code.store(Size.BYTE, R10, _HEADER + _IP + _UDP + offset, value)


def _leave_to_the_plain_path(code: Assembler) -> None:
    code.label("plain")
    code.move(R0, _NEXT)
    code.exit()
