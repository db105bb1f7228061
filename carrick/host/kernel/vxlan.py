"""VXLAN devices on the wire: what one is made with, and what the kernel says that it was made with."""

import struct
from collections.abc import Mapping
from ipaddress import ip_address

from ...model import steps
from ...model.observed import LinkState, VxlanState
from .netlink import attribute, number, u8, u32
from .rows import index_of

_ID, _LINK, _LOCAL, _LEARNING, _PORT_RANGE, _PROXY, _PORT, _LOCAL6 = 1, 3, 4, 7, 10, 11, 15, 17
_UDP_CHECKSUM, _ZERO_CHECKSUM6_TX, _ZERO_CHECKSUM6_RX = 18, 19, 20


def render_vxlan(step: steps.CreateVxlan) -> bytes:
    """Return the attributes of a new device; NotFound if its parent is not there."""
    local = ip_address(step.local)
    data = u32(_ID, step.vni)
    data += attribute(_LOCAL6 if local.version == 6 else _LOCAL, local.packed)
    data += attribute(_PORT, struct.pack("!H", step.port))
    data += u8(_LEARNING, step.learning) + u8(_PROXY, step.proxy)
    if step.parent:
        data += u32(_LINK, index_of(step.parent))
    if any(step.source_ports):
        data += attribute(_PORT_RANGE, struct.pack("!HH", *step.source_ports))
    data += u8(_UDP_CHECKSUM, step.udp_checksum)
    data += u8(_ZERO_CHECKSUM6_TX, step.udp6_zero_tx)
    return data + u8(_ZERO_CHECKSUM6_RX, step.udp6_zero_rx)


def parse_vxlan(data: Mapping[int, bytes]) -> VxlanState:
    local = data.get(_LOCAL) or data.get(_LOCAL6)
    return VxlanState(
        vni=number(data, _ID),
        port=int.from_bytes(data.get(_PORT, b""), "big"),
        local=str(ip_address(local)) if local else "",
        learning=any(data.get(_LEARNING, b"")),
        proxy=any(data.get(_PROXY, b"")),
    )


def is_vxlan_as_asked(found: LinkState, step: steps.CreateVxlan) -> bool:
    """Whether a link is the device asked for, as far as it cannot be changed any more."""
    asked = VxlanState(step.vni, step.port, str(ip_address(step.local)), step.learning, step.proxy)
    return found.vxlan == asked and found.alias in {"", step.alias}
