"""WireGuard between nodes: the one device that a node has, and which peers it is to have. Pure.

The device is the node's, not a network's: a peer's blocks of every network are among its allowed addresses,
and the firewall says which network's packets may take it. `plan` makes the difference; `names` is what
follows from names and identities alone, so that no record is needed for it.
"""

from .names import INNER, device_name, inner_address
from .plan import keep_standing, peers_of, plan_peers

__all__ = ["INNER", "device_name", "inner_address", "keep_standing", "peers_of", "plan_peers"]
