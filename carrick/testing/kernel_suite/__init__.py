"""What every `Kernel` does: one suite, run on `FakeKernel` without root and on `LinuxKernel` in a namespace.

A subclass gives a fixture `world`. Only what planners rely on is asked; each case starts on an empty host.
"""

from .links import LinkCases
from .routing import RoutingCases
from .tunnels import TunnelCases
from .world import MAC, World

__all__ = ["MAC", "KernelSuite", "World"]


class KernelSuite(LinkCases, TunnelCases, RoutingCases):
    """Cases for a `Kernel`; the fixture `world` comes from the subclass."""
