"""Rate limits: a token bucket (tc-tbf(8)) at the root of a link's queue.

One direction each: what leaves the link. The message is that of linux/pkt_sched.h.
"""

import struct

from ...model.steps import SetRate
from .netlink import attribute, nested, text, u32

NEWQDISC = 36
_ROOT = 0xFFFFFFFF
_HANDLE = 0xCA000000
_HEADER = struct.Struct("=BxHiIII")
_KIND, _OPTIONS = 1, 2
_TBF_PARAMETERS, _TBF_RATE64, _TBF_BURST = 1, 4, 6
_RATE = struct.Struct("=BBHhHI")
_ETHERNET = 1
_UINT32 = 2**32 - 1
_LATENCY_S = 0.025
# A whole segmented packet fits, so that the kernel need not take each apart.
_LEAST_BURST = 1 << 16


def render_rate(step: SetRate, index: int) -> bytes:
    """Return the body of the message that puts a limit on the link with this index, in place of any other."""
    rate = step.rate // 8
    burst = min(max(step.burst // 8 or rate // 100, _LEAST_BURST), _UINT32)
    waiting = min(int(rate * _LATENCY_S) + burst, _UINT32)
    spec = _RATE.pack(0, _ETHERNET, 0, 0, 0, min(rate, _UINT32))
    options = attribute(
        _TBF_PARAMETERS, spec + _RATE.pack(0, 0, 0, 0, 0, 0) + struct.pack("=III", waiting, 0, 0)
    )
    options += u32(_TBF_BURST, burst)
    if rate > _UINT32:
        options += attribute(_TBF_RATE64, struct.pack("=Q", rate))
    return _HEADER.pack(0, 0, index, _HANDLE, _ROOT, 0) + text(_KIND, "tbf") + nested(_OPTIONS, options)
