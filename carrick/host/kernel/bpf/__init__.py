"""eBPF: programs written here, loaded and attached without a compiler."""

from .shortcuts import Shortcuts, are_supported

__all__ = ["Shortcuts", "are_supported"]
