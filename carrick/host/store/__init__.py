"""State: one contract (`contract.py`), the embedded SQLite store, typed collections over any store.

`etcd.py` is imported where it is needed: its HTTP/2 library costs a daemon without an etcd nothing.
"""

from .contract import (
    ABSENT,
    NO_LEASE,
    Change,
    Changed,
    Compacted,
    Condition,
    Delete,
    DeletePrefix,
    Entry,
    Event,
    LeaseId,
    NoneBelow,
    OutcomeUnknown,
    Put,
    Removed,
    Requirement,
    Snapshot,
    StaleRevision,
    Store,
    Watch,
)
from .follow import Update, follow
from .lease import HeldLease, hold_lease
from .sqlite import SqliteStore
from .typed import Collection, Listing, Undecodable, Versioned

__all__ = [
    "ABSENT",
    "NO_LEASE",
    "Change",
    "Changed",
    "Collection",
    "Compacted",
    "Condition",
    "Delete",
    "DeletePrefix",
    "Entry",
    "Event",
    "HeldLease",
    "LeaseId",
    "Listing",
    "NoneBelow",
    "OutcomeUnknown",
    "Put",
    "Removed",
    "Requirement",
    "Snapshot",
    "SqliteStore",
    "StaleRevision",
    "Store",
    "Undecodable",
    "Update",
    "Versioned",
    "Watch",
    "follow",
    "hold_lease",
]
