"""IPsec policies of the calling thread's network namespace (linux/xfrm.h): whether there are any."""

import socket
import struct

from ...model.errors import KernelRefused

_NETLINK_XFRM = 6
_GET_POLICY = 0x15
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
# Nothing in it narrows a dump (struct xfrm_userpolicy_id).
_ID = bytes(64)
_BUFFER = 1 << 16


def has_ipsec() -> bool:
    """Tell whether there is a policy. A kernel without IPsec has none."""
    try:
        asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_XFRM)
    except OSError:
        return False
    with asking:
        asking.send(_HEADER.pack(_HEADER.size + len(_ID), _GET_POLICY, _REQUEST | _DUMP, 1, 0) + _ID)
        answer = asking.recv(_BUFFER)
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind == _ERROR:
        (code,) = struct.unpack_from("=i", answer, _HEADER.size)
        raise KernelRefused("the IPsec policies could not be read", errno=-code, subject="ip xfrm policy")
    return bool(kind != _DONE)
