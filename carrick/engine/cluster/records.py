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
RESERVATIONS = "joining/"
"""Where names are reserved for nodes that are being let in."""


class ClusterRecords:
    """The collections of one cluster's store; a `prefix` puts them elsewhere."""

    def __init__(self, store: Store, prefix: str = "") -> None:
        self.store = store
        self._prefix = prefix
        self.meta = Collection(store, prefix + "meta/", ClusterMeta)
        self.nodes = Collection(store, prefix + "nodes/", NodeRecord)
        self.alive = Collection(store, prefix + "alive/", Sign)
        self.lost = Collection(store, prefix + "lost/", Sign)
        self.timers = Collection(store, prefix + "lost-timers/", Sign)
        self.networks = Collection(store, prefix + "networks/", Network)
        self.blocks = Collection(store, prefix + "blocks/", Block)
        self.addresses = Collection(store, prefix + "addresses/", StaticAddress)
        self.endpoints = Collection(store, prefix + "endpoints/", RemoteEndpoint)
        self.tokens = Collection(store, prefix + "tokens/", TokenRecord)

    def endpoints_on(self, network_id: NetworkId) -> Collection[RemoteEndpoint]:
        """Return the endpoints of one network: what is watched only where it is needed."""
        return Collection(self.store, f"{self._prefix}endpoints/{network_id}/", RemoteEndpoint)
