"""Address management: pools, the leases in them, and the choice of pools. Pure.

The store holds every lease as a record and is the truth; an `Allocator` is a cache that can be built
again from them. A decision comes back as the records to write, to be written before it is used.
"""

from .allocator import Allocator, LeaseChange, Usage
from .choose import (
    DEFAULT_POOLS_V4,
    BasePool,
    Choice,
    HostState,
    Skipped,
    check_explicit,
    choose_subnet,
    default_pools_v6,
    parse_base_pool,
)
from .errors import AddressInUse, PoolFull, PoolOverlap, PoolsExhausted
from .pool import Pool, complete_pool, pool_for
from .types import Address, HostAddress, Lease, LeaseKind, NamedPrefix, PoolId, PoolState, Prefix, Route
from .validate import is_partial, partial_size, validate_pools

__all__ = [
    "DEFAULT_POOLS_V4",
    "Address",
    "AddressInUse",
    "Allocator",
    "BasePool",
    "Choice",
    "HostAddress",
    "HostState",
    "Lease",
    "LeaseChange",
    "LeaseKind",
    "NamedPrefix",
    "Pool",
    "PoolFull",
    "PoolId",
    "PoolOverlap",
    "PoolState",
    "PoolsExhausted",
    "Prefix",
    "Route",
    "Skipped",
    "Usage",
    "check_explicit",
    "choose_subnet",
    "complete_pool",
    "default_pools_v6",
    "is_partial",
    "parse_base_pool",
    "partial_size",
    "pool_for",
    "validate_pools",
]
