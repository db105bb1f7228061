"""State: one contract (`contract.py`), the embedded SQLite store, typed collections over any store."""

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
    Put,
    Removed,
    Snapshot,
    StaleRevision,
    Store,
    Watch,
)
from .follow import Update, follow
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
    "LeaseId",
    "Listing",
    "Put",
    "Removed",
    "Snapshot",
    "SqliteStore",
    "StaleRevision",
    "Store",
    "Undecodable",
    "Update",
    "Versioned",
    "Watch",
    "follow",
]
