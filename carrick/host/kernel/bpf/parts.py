"""What the programs have in common: the kernel's numbers, their stack, and the beginnings and ends."""

from socket import htons

from .assembler import Assembler, Jump, Register, Size
from .rows import LINK_INDEX

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register

VXLAN_PORT = 4789
OVERHEAD = 50
"""Bytes: the outer IPv4, UDP and VXLAN headers, and the inner Ethernet one."""

# struct __sk_buff, linux/bpf.h
LEN, PACKET_TYPE, VLAN_PRESENT, IFINDEX, DATA, DATA_END, GSO_SIZE = 0, 4, 20, 40, 76, 80, 176
# Helper functions, in the order of linux/bpf.h.
LOOKUP, RANDOM, STORE_BYTES, CHANGE_TYPE, HASH = 1, 7, 9, 32, 34
ADJUST_ROOM, FIB_LOOKUP, REDIRECT_NEIGH, REDIRECT_PEER = 50, 69, 152, 155
NEXT, DROP = -1, 2
PACKET_HOST = 0
SKIP_NEIGH = 1 << 3
ROOM_AT_MAC = 1
_FIXED_GSO, _OUTER_IPV4, _OUTER_UDP, _INNER_ETHERNET = 1 << 0, 1 << 1, 1 << 4, 1 << 6
ROOM_FLAGS = _FIXED_GSO | _OUTER_IPV4 | _OUTER_UDP | _INNER_ETHERNET | 14 << 56

ETHERNET, IP, UDP = 14, 20, 8
IPV4, IPV6 = htons(0x0800), htons(0x86DD)
REWRITTEN = 12
"""Bytes: an IPv4 header up to where its addresses begin, of which a router changes some."""

# The stack, downwards from R10.
KEY = -8
HEADER = -80
INNER = HEADER + OVERHEAD - ETHERNET
FIB = -144
NEXT_HOP = -168


def begin(code: Assembler, least: int = ETHERNET + 2) -> None:
    """Have R6 point to the context and R7 to the frame, `least` bytes of which are there.

    A tag that was taken off the frame would be lost, or be put before the outer header.
    """
    code.move(R6, R1)
    code.load(Size.WORD, R2, R6, VLAN_PRESENT)
    code.jump_if(Jump.NOT_EQUAL, R2, 0, "plain")
    code.load(Size.WORD, R7, R6, DATA)
    code.load(Size.WORD, R8, R6, DATA_END)
    code.move(R2, R7)
    code.add(R2, least)
    code.jump_if(Jump.GREATER, R2, R8, "plain")


def find_mac(code: Assembler, name: str) -> None:
    """Have R0 point to a map's row of the frame's destination, or be 0."""
    code.load(Size.WORD, R2, R7, 0)
    code.store(Size.WORD, R10, KEY, R2)
    code.load(Size.HALF, R2, R7, 4)
    code.store(Size.WORD, R10, KEY + 4, R2)
    look_up(code, name)


def look_up(code: Assembler, name: str) -> None:
    """Have R0 point to a map's row of what is at `KEY`, or be 0."""
    code.load_map(R1, name)
    code.move(R2, R10)
    code.add(R2, KEY)
    code.call(LOOKUP)


def put_into_namespace(code: Assembler) -> None:
    """Put the frame into the namespace of a container here: R0 points to its link's row, or is 0."""
    code.jump_if(Jump.EQUAL, R0, 0, "plain")
    code.load(Size.WORD, R7, R0, LINK_INDEX)
    # The link that it came by has another address: for it the packet was somebody else's.
    code.move(R1, R6)
    code.move(R2, PACKET_HOST)
    code.call(CHANGE_TYPE)
    code.move(R1, R7)
    code.move(R2, 0)
    code.call(REDIRECT_PEER)
    code.exit()


def leave_to_the_plain_path(code: Assembler) -> None:
    code.label("plain")
    code.move(R0, NEXT)
    code.exit()
