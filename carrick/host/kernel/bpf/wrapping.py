"""Wrapping a frame in VXLAN (RFC 7348) and handing it to the link that the host's routes say.

It is the kernel's own in what others see of it: the TTL, an identification and no DF bit, ECN by RFC 6040, a
source port by the flow, no checksum of the outer UDP.
"""

from socket import AF_INET, htons

from .assembler import Alu, Assembler, Jump, Register, Size
from .parts import (
    ADJUST_ROOM,
    DROP,
    ETHERNET,
    FIB,
    FIB_LOOKUP,
    GSO_SIZE,
    HASH,
    HEADER,
    IFINDEX,
    IP,
    IPV4,
    IPV6,
    KEY,
    LEN,
    LOOKUP,
    NEXT_HOP,
    OVERHEAD,
    RANDOM,
    REDIRECT_NEIGH,
    ROOM_AT_MAC,
    ROOM_FLAGS,
    SKIP_NEIGH,
    STORE_BYTES,
    UDP,
    VXLAN_PORT,
)
from .rows import OWN, PEER, SENT, SUM, TTL, UDP_PROTOCOL, VNI

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register

_DYNAMIC_PORTS = 0xC0
"""Source ports are 49152 and up (RFC 7348, section 5): the first byte's upper bits."""
# The outer IP packet of a segment: what wraps it, its own Ethernet header, and IP and TCP without options.
_LEAST_OF_SEGMENT = OVERHEAD + 20 + 20


def wrap(code: Assembler, length: int) -> None:
    """Send the frame to another host: R9 points to its row.

    What is inside begins with what `INNER` has; `length` is that of all that is written, outer headers
    included.
    """
    # ECN: congestion that was met inside is not met again outside.
    code.load(Size.HALF, R2, R7, 12)
    code.load(Size.HALF, R3, R7, ETHERNET)
    code.to_network_order(R3)
    code.jump_if(Jump.EQUAL, R2, IPV4, "ecn")
    code.jump_if(Jump.NOT_EQUAL, R2, IPV6, "plain")
    code.alu(Alu.SHIFT_RIGHT, R3, 4)
    code.label("ecn")
    code.alu(Alu.AND, R3, 3)
    code.jump_if(Jump.NOT_EQUAL, R3, 3, "type of service")
    code.move(R3, 2)
    code.label("type of service")
    code.store(Size.BYTE, R10, HEADER, 0x45)
    code.store(Size.BYTE, R10, HEADER + 1, R3)

    # The length of the outer IP packet. Of packets that are cut into segments later it is the whole's.
    code.load(Size.WORD, R7, R6, LEN)
    code.add(R7, OVERHEAD - ETHERNET)
    code.move(R8, R7)
    code.load(Size.WORD, R2, R6, GSO_SIZE)
    code.jump_if(Jump.EQUAL, R2, 0, "length known")
    code.move(R8, R2)
    code.add(R8, _LEAST_OF_SEGMENT)
    code.label("length known")

    code.move(R1, R6)
    code.call(HASH)
    code.move(R2, R0)
    code.alu(Alu.SHIFT_RIGHT, R2, 16)
    code.alu(Alu.XOR, R2, R0)
    code.alu(Alu.OR, R2, _DYNAMIC_PORTS)
    code.store(Size.HALF, R10, HEADER + IP, R2)

    _find_route(code)
    _write_header(code)

    code.load(Size.WORD, R2, R9, PEER)
    code.store(Size.WORD, R10, KEY, R2)
    code.move(R1, R6)
    code.move(R2, OVERHEAD)
    code.move(R3, ROOM_AT_MAC)
    code.load_wide(R4, ROOM_FLAGS)
    code.call(ADJUST_ROOM)
    # Refused, for one that is in a tunnel already, it has left the packet as it was.
    code.jump_if(Jump.NOT_EQUAL, R0, 0, "plain")

    code.move(R1, R6)
    code.move(R2, ETHERNET)
    code.move(R3, R10)
    code.add(R3, HEADER)
    code.move(R4, length)
    code.move(R5, 0)
    code.call(STORE_BYTES)
    code.jump_if(Jump.NOT_EQUAL, R0, 0, "drop")

    code.load_map(R1, SENT)
    code.move(R2, R10)
    code.add(R2, KEY)
    code.call(LOOKUP)
    code.jump_if(Jump.EQUAL, R0, 0, "counted")
    code.load(Size.DOUBLE, R2, R0, 0)
    code.add(R2, R7)
    code.store(Size.DOUBLE, R0, 0, R2)
    code.label("counted")

    code.load(Size.WORD, R1, R10, FIB + 8)
    code.move(R2, R10)
    code.add(R2, NEXT_HOP)
    code.move(R3, 20)
    code.move(R4, 0)
    code.call(REDIRECT_NEIGH)
    code.exit()
    code.label("drop")
    code.move(R0, DROP)
    code.exit()


def _find_route(code: Assembler) -> None:
    """Ask the host's routes, rules and path MTUs for the way of a packet of R8 bytes to the peer.

    As of one that is forwarded: the outer packet has not been on this host before. `struct bpf_fib_lookup`
    and `bpf_redir_neigh` of linux/bpf.h.
    """
    for offset in range(0, 64, 8):
        code.store(Size.DOUBLE, R10, FIB + offset, 0)
    code.store(Size.BYTE, R10, FIB, AF_INET)
    code.store(Size.BYTE, R10, FIB + 1, UDP_PROTOCOL)
    code.load(Size.HALF, R2, R10, HEADER + IP)
    code.store(Size.HALF, R10, FIB + 2, R2)
    code.store(Size.HALF, R10, FIB + 4, htons(VXLAN_PORT))
    code.store(Size.HALF, R10, FIB + 6, R8)
    code.load(Size.WORD, R2, R6, IFINDEX)
    code.store(Size.WORD, R10, FIB + 8, R2)
    code.load(Size.WORD, R2, R9, OWN)
    code.store(Size.WORD, R10, FIB + 16, R2)
    code.load(Size.WORD, R2, R9, PEER)
    code.store(Size.WORD, R10, FIB + 32, R2)
    code.move(R1, R6)
    code.move(R2, R10)
    code.add(R2, FIB)
    code.move(R3, 64)
    code.move(R4, SKIP_NEIGH)
    code.call(FIB_LOOKUP)
    code.jump_if(Jump.NOT_EQUAL, R0, 0, "plain")
    # An IPv4 route by an IPv6 gateway is rare enough.
    code.load(Size.BYTE, R2, R10, FIB)
    code.jump_if(Jump.NOT_EQUAL, R2, AF_INET, "plain")
    code.store(Size.WORD, R10, NEXT_HOP, R2)
    code.load(Size.WORD, R2, R10, FIB + 32)
    code.store(Size.WORD, R10, NEXT_HOP + 4, R2)
    for offset in (8, 12, 16):
        code.store(Size.WORD, R10, NEXT_HOP + offset, 0)


def _write_header(code: Assembler) -> None:
    """Write the outer IPv4, UDP and VXLAN headers; the first two bytes and the source port are there."""
    code.call(RANDOM)
    code.alu(Alu.AND, R0, 0xFFFF)
    code.store(Size.HALF, R10, HEADER + 4, R0)
    code.move(R2, R7)
    code.to_network_order(R2)
    code.store(Size.HALF, R10, HEADER + 2, R2)
    # The sum of the header's 16-bit words, its carries added twice: ten words carry no further.
    code.load(Size.WORD, R3, R9, SUM)
    code.add(R3, R0)
    code.add(R3, R2)
    code.load(Size.HALF, R4, R10, HEADER)
    code.add(R3, R4)
    for _ in range(2):
        code.move(R4, R3)
        code.alu(Alu.AND, R4, 0xFFFF)
        code.alu(Alu.SHIFT_RIGHT, R3, 16)
        code.add(R3, R4)
    code.alu(Alu.XOR, R3, -1)
    code.store(Size.HALF, R10, HEADER + 10, R3)
    code.store(Size.HALF, R10, HEADER + 6, 0)
    code.store(Size.BYTE, R10, HEADER + 8, TTL)
    code.store(Size.BYTE, R10, HEADER + 9, UDP_PROTOCOL)
    for offset, field in ((12, OWN), (16, PEER), (IP + UDP + 4, VNI)):
        code.load(Size.WORD, R2, R9, field)
        code.store(Size.WORD, R10, HEADER + offset, R2)
    code.store(Size.HALF, R10, HEADER + IP + 2, htons(VXLAN_PORT))
    code.move(R2, R7)
    code.add(R2, -IP)
    code.to_network_order(R2)
    code.store(Size.HALF, R10, HEADER + IP + 4, R2)
    code.store(Size.HALF, R10, HEADER + IP + 6, 0)
    for offset, value in enumerate((0x08, 0, 0, 0)):
        code.store(Size.BYTE, R10, HEADER + IP + UDP + offset, value)
