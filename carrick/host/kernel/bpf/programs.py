"""The two programs of a shortcut, both for the tc ingress of a link, in two kinds.

`send` is on the host's end of a container's veth. What goes to a MAC address behind another host it wraps in
VXLAN (RFC 7348) itself and hands to the link that the host's routes say, past the bridge, the VXLAN device
and the host's own IP output. What goes to a MAC address of a container here it puts straight into that one's
namespace, past the bridge and one trip through the backlog; so does `receive`, on the VXLAN device.

Those of a routed network forward as well, as any router does: what a container sends to its bridge, and what
arrives for the VXLAN device itself, from an address of the network to another one (IPv4). Where to, the
host's routes and neighbours say; who is here, a map does.

Whatever either is not sure of it leaves to the plain path, which is always there: broadcast and multicast,
MAC addresses not in the maps, protocols other than IP, tagged frames, a route that is not there or too small,
a packet that is in a tunnel already; of what is to be forwarded, IP options and a time to live that ends.
"""

import hashlib
from collections.abc import Mapping

from .assembler import Assembler, Jump, Register, Size
from .parts import (
    ETHERNET,
    FIB,
    IFINDEX,
    INNER,
    IP,
    KEY,
    OVERHEAD,
    PACKET_HOST,
    PACKET_TYPE,
    REWRITTEN,
    begin,
    find_mac,
    leave_to_the_plain_path,
    look_up,
    put_into_namespace,
)
from .routing import (
    SOURCE_AT,
    ask_where_to,
    check_routable,
    copy_with_less_to_live,
    find_address,
    find_router,
    hand_over,
)
from .rows import BRIDGE, BRIDGE_MAC, LINK_INDEX, LOCAL, REMOTE, TUNNEL
from .wrapping import wrap

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register


def build_send() -> Assembler:
    """Of an overlay network."""
    code = Assembler()
    begin(code)
    find_mac(code, REMOTE)
    code.jump_if(Jump.EQUAL, R0, 0, "not remote")
    code.move(R9, R0)
    # The frame's own Ethernet header becomes the inner one.
    for offset, size in ((0, Size.WORD), (4, Size.WORD), (8, Size.WORD), (12, Size.HALF)):
        code.load(size, R2, R7, offset)
        code.store(size, R10, INNER + offset, R2)
    wrap(code, OVERHEAD)
    code.label("not remote")
    find_mac(code, LOCAL)
    put_into_namespace(code)
    leave_to_the_plain_path(code)
    return code


def build_receive() -> Assembler:
    """Of an overlay network."""
    code = Assembler()
    begin(code)
    find_mac(code, LOCAL)
    put_into_namespace(code)
    leave_to_the_plain_path(code)
    return code


def build_routed_send() -> Assembler:
    code = Assembler()
    begin(code, ETHERNET + IP)
    find_router(code)
    for offset, size in ((0, Size.WORD), (4, Size.HALF)):
        code.load(size, R2, R7, offset)
        code.load(size, R3, R9, BRIDGE_MAC + offset)
        code.jump_if(Jump.NOT_EQUAL, R2, R3, "not to the bridge")
    check_routable(code)
    # Not its own address: whether that may be is for the plain path to say (`rp_filter`).
    find_address(code, SOURCE_AT)
    code.jump_if(Jump.EQUAL, R0, 0, "plain")
    code.load(Size.WORD, R2, R0, LINK_INDEX)
    code.load(Size.WORD, R3, R6, IFINDEX)
    code.jump_if(Jump.NOT_EQUAL, R2, R3, "plain")
    ask_where_to(code)
    code.load(Size.WORD, R2, R10, FIB + 8)
    code.load(Size.WORD, R3, R9, BRIDGE)
    code.jump_if(Jump.EQUAL, R2, R3, "here")
    code.load(Size.WORD, R3, R9, TUNNEL)
    code.jump_if(Jump.NOT_EQUAL, R2, R3, "plain")
    for offset in range(0, 6, 2):
        code.load(Size.HALF, R2, R10, FIB + 58 + offset)
        code.store(Size.HALF, R10, KEY + offset, R2)
        code.store(Size.HALF, R10, INNER + offset, R2)
        code.load(Size.HALF, R2, R10, FIB + 52 + offset)
        code.store(Size.HALF, R10, INNER + 6 + offset, R2)
    code.store(Size.HALF, R10, KEY + 6, 0)
    look_up(code, REMOTE)
    code.jump_if(Jump.EQUAL, R0, 0, "plain")
    code.move(R9, R0)
    copy_with_less_to_live(code)
    wrap(code, OVERHEAD + REWRITTEN)
    code.label("here")
    hand_over(code)
    code.label("not to the bridge")
    find_mac(code, LOCAL)
    put_into_namespace(code)
    leave_to_the_plain_path(code)
    return code


def build_routed_receive() -> Assembler:
    code = Assembler()
    begin(code, ETHERNET + IP)
    code.load(Size.WORD, R2, R6, PACKET_TYPE)
    code.jump_if(Jump.NOT_EQUAL, R2, PACKET_HOST, "plain")
    find_router(code)
    check_routable(code)
    hand_over(code)
    leave_to_the_plain_path(code)
    return code


def name_of(program: Assembler, title: str, maps: Mapping[str, str]) -> str:
    """Return a name that says which program of which version it is: 15 characters.

    `maps` has how the maps' rows are laid out, by name.
    """
    code = program.assemble(dict.fromkeys(maps, 0)) + repr(sorted(maps.items())).encode()
    return f"{title}{hashlib.sha256(code).hexdigest()[: 15 - len(title)]}"
