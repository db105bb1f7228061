"""Routing a packet from one address of a network to another, as the host would."""

from socket import AF_INET, htons

from .assembler import Alu, Assembler, Jump, Register, Size
from .parts import (
    ETHERNET,
    FIB,
    FIB_LOOKUP,
    GSO_SIZE,
    INNER,
    IPV4,
    KEY,
    LEN,
    REWRITTEN,
    STORE_BYTES,
    look_up,
    put_into_namespace,
)
from .rows import BRIDGE, BRIDGE_MAC, IS_ADDRESS, LINK_MAC, LOCAL, MASK, NETWORK, ROUTER

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register

_BARE_HEADER, _TTL_AT, _SUM_AT, SOURCE_AT, TARGET_AT = 0x45, 8, 10, 12, 16
"""Of an IPv4 header: version and length of one without options, and where fields are."""


def find_address(code: Assembler, field: int) -> None:
    """Have R0 point to the row of a container of this host, by a field of the IPv4 header, or be 0."""
    code.load(Size.WORD, R2, R7, ETHERNET + field)
    code.store(Size.WORD, R10, KEY, R2)
    code.store(Size.WORD, R10, KEY + 4, IS_ADDRESS)
    look_up(code, LOCAL)


def find_router(code: Assembler) -> None:
    """Have R9 point to the network's row."""
    code.store(Size.WORD, R10, KEY, 0)
    look_up(code, ROUTER)
    code.jump_if(Jump.EQUAL, R0, 0, "plain")
    code.move(R9, R0)


def check_routable(code: Assembler) -> None:
    """Leave to the plain path what is not sent within the subnet, and what a router has more to do for."""
    code.load(Size.HALF, R2, R7, 12)
    code.jump_if(Jump.NOT_EQUAL, R2, IPV4, "plain")
    code.load(Size.BYTE, R2, R7, ETHERNET)
    code.jump_if(Jump.NOT_EQUAL, R2, _BARE_HEADER, "plain")
    code.load(Size.BYTE, R2, R7, ETHERNET + _TTL_AT)
    code.alu(Alu.SHIFT_RIGHT, R2, 1)
    code.jump_if(Jump.EQUAL, R2, 0, "plain")
    code.load(Size.WORD, R2, R9, NETWORK)
    code.load(Size.WORD, R3, R9, MASK)
    for offset in (SOURCE_AT, TARGET_AT):
        code.load(Size.WORD, R4, R7, ETHERNET + offset)
        code.alu(Alu.AND, R4, R3)
        code.jump_if(Jump.NOT_EQUAL, R4, R2, "plain")


def ask_where_to(code: Assembler) -> None:
    """Ask the host's routes and neighbours where the packet goes; `FIB` has the answer."""
    for offset in range(0, 64, 8):
        code.store(Size.DOUBLE, R10, FIB + offset, 0)
    code.store(Size.BYTE, R10, FIB, AF_INET)
    code.load(Size.BYTE, R2, R7, ETHERNET + 9)
    code.store(Size.BYTE, R10, FIB + 1, R2)
    # The length of the packet, or of a segment's headers and data at least.
    code.load(Size.WORD, R2, R6, GSO_SIZE)
    code.add(R2, 20 + 20)
    code.jump_if(Jump.NOT_EQUAL, R2, 20 + 20, "its length known")
    code.load(Size.WORD, R2, R6, LEN)
    code.add(R2, -ETHERNET)
    code.label("its length known")
    code.store(Size.HALF, R10, FIB + 6, R2)
    code.load(Size.WORD, R2, R9, BRIDGE)
    code.store(Size.WORD, R10, FIB + 8, R2)
    code.load(Size.BYTE, R2, R7, ETHERNET + 1)
    code.store(Size.BYTE, R10, FIB + 12, R2)
    for offset, field in ((16, SOURCE_AT), (32, TARGET_AT)):
        code.load(Size.WORD, R2, R7, ETHERNET + field)
        code.store(Size.WORD, R10, FIB + offset, R2)
    code.move(R1, R6)
    code.move(R2, R10)
    code.add(R2, FIB)
    code.move(R3, 64)
    code.move(R4, 0)
    code.call(FIB_LOOKUP)
    code.jump_if(Jump.NOT_EQUAL, R0, 0, "plain")


def copy_with_less_to_live(code: Assembler) -> None:
    """Write behind the MAC addresses at `INNER` what follows those in the frame, as a router sends it on."""
    for offset in range(ETHERNET - 2, ETHERNET + REWRITTEN, 2):
        if offset not in (ETHERNET + _TTL_AT, ETHERNET + _SUM_AT):
            code.load(Size.HALF, R2, R7, offset)
            code.store(Size.HALF, R10, INNER + offset, R2)
    code.load(Size.HALF, R2, R7, ETHERNET + _TTL_AT)
    code.add(R2, -1)
    code.store(Size.HALF, R10, INNER + ETHERNET + _TTL_AT, R2)
    # The header's sum is one more where that was one less (RFC 1624).
    code.load(Size.HALF, R2, R7, ETHERNET + _SUM_AT)
    code.add(R2, htons(0x0100))
    code.move(R3, R2)
    code.add(R3, 1)
    code.alu(Alu.SHIFT_RIGHT, R3, 16)
    code.add(R2, R3)
    code.store(Size.HALF, R10, INNER + ETHERNET + _SUM_AT, R2)


def hand_over(code: Assembler) -> None:
    """Route a packet to a container of this host, if it is for one: R9 points to the network's row."""
    find_address(code, TARGET_AT)
    code.jump_if(Jump.EQUAL, R0, 0, "plain")
    for offset in range(0, 6, 2):
        code.load(Size.HALF, R2, R0, LINK_MAC + offset)
        code.store(Size.HALF, R10, INNER + offset, R2)
        code.load(Size.HALF, R2, R9, BRIDGE_MAC + offset)
        code.store(Size.HALF, R10, INNER + 6 + offset, R2)
    code.move(R9, R0)
    copy_with_less_to_live(code)
    code.move(R1, R6)
    code.move(R2, 0)
    code.move(R3, R10)
    code.add(R3, INNER)
    code.move(R4, ETHERNET + REWRITTEN)
    code.move(R5, 0)
    code.call(STORE_BYTES)
    # Refused, it has left the packet as it was.
    code.jump_if(Jump.NOT_EQUAL, R0, 0, "plain")
    code.move(R0, R9)
    put_into_namespace(code)
