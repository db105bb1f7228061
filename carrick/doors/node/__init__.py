"""The node API: what nodes of a cluster, and those that want to be, ask of each other."""

from .server import Backend, NodeServer
from .throttle import Throttle

__all__ = ["Backend", "NodeServer", "Throttle"]
