"""The CNI plugin's door: spec 1.1.0 and back to 0.3.0 (https://www.cni.dev/docs/spec/).

A runtime executes `executable.pl` or `executable.py` (installed as /opt/cni/bin/carrick), which carries its
environment and standard input to the daemon's socket and the answer back. `frames` is what goes over the
socket, `request`, `config` and `result` are the protocol's values, `translate` makes guests of them and
results of guests, `ipam` runs other people's IPAM plugins, `calls` does what a command asks, `server` serves.
"""

from .calls import CniCalls
from .server import SOCKET_NAME, CniServer

__all__ = ["SOCKET_NAME", "CniCalls", "CniServer"]
