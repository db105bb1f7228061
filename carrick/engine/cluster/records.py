"""The cluster's records in its store: which prefix holds what (docs/adr/0008-clusters.md has the table)."""

from ...host.store.contract import Store
from ...host.store.typed import Collection
from ...model.cluster import (
    Block,
    ClusterMeta,
    NodeRecord,
    RemoteEndpoint,
    Sign,
    StaticAddress,
    TokenRecord,
)
from ...model.ids import NetworkId
from ...model.networks import Network

META = "cluster"
"""The one key in `meta/`."""


class ClusterRecords:
    """The collections of one cluster's store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.meta = Collection(store, "meta/", ClusterMeta)
        self.nodes = Collection(store, "nodes/", NodeRecord)
        self.alive = Collection(store, "alive/", Sign)
        self.lost = Collection(store, "lost/", Sign)
        self.timers = Collection(store, "lost-timers/", Sign)
        self.networks = Collection(store, "networks/", Network)
        self.blocks = Collection(store, "blocks/", Block)
        self.addresses = Collection(store, "addresses/", StaticAddress)
        self.endpoints = Collection(store, "endpoints/", RemoteEndpoint)
        self.tokens = Collection(store, "tokens/", TokenRecord)

    def endpoints_on(self, network_id: NetworkId) -> Collection[RemoteEndpoint]:
        """Return the endpoints of one network: what is watched only where it is needed."""
        return Collection(self.store, f"endpoints/{network_id}/", RemoteEndpoint)
