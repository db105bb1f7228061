"""Choose a VXLAN network identifier (24 bits: RFC 7348, section 5) for a new network.

The store's compare-and-swap makes sure that nobody else has it; every node chooses by the same rule.
"""

from collections.abc import Set

from ...model.errors import Conflict, InvalidRequest, Unavailable

FIRST_VNI = 4096
"""Below are VLAN ids that administrators map one to one, flannel's 1 and Docker's first."""
LAST_VNI = 2**24 - 1


def choose_vni(taken: Set[int], *, first: int = FIRST_VNI, last: int = LAST_VNI) -> int:
    """Return the lowest identifier from `first` to `last` that is not taken; Unavailable if none is left."""
    # One of any len(taken) + 1 is free.
    for vni in range(first, min(last, first + len(taken)) + 1):
        if vni not in taken:
            return vni
    raise Unavailable(
        f"every VNI from {first} to {last} is taken", remedy="remove a network that is not used any more"
    )


def check_vni(vni: int, taken: Set[int]) -> int:
    """Return an identifier that somebody asked for; InvalidRequest or Conflict if it cannot be had."""
    if not 1 <= vni <= LAST_VNI:
        raise InvalidRequest(f"VNI {vni} is not between 1 and {LAST_VNI}")
    if vni in taken:
        raise Conflict(f"VNI {vni} is used by another network", remedy="leave it out to get a free one")
    return vni
