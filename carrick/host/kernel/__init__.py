"""The kernel, for the rest of Carrick: apply steps, read state. Nothing else touches it."""

from .contract import SHORTCUT, Kernel
from .linux import LinuxKernel

__all__ = ["SHORTCUT", "Kernel", "LinuxKernel"]
