"""The cluster's records in its store: which prefix holds what (docs/adr/0008-clusters.md has the table).

What is read of them is checked beyond its types, once: an address that is none, or a record at the key of
another, is a broken record, and goes no further than one that is no JSON.
"""

import base64
import binascii
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Generic, TypeVar

from ...host.store.contract import Entry, Store
from ...host.store.typed import Collection, Undecodable
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

T = TypeVar("T")
META = "cluster"
"""The one key in `meta/`."""
RESERVATIONS = "joining/"
"""Where names are reserved for nodes that are being let in."""

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_KEY_BYTES = 32
_SMALLEST_MTU, _LARGEST_MTU = 68, 65535


class Checked(Collection[T], Generic[T]):
    """A collection whose records are looked at by `check(id, record)`, which raises ValueError."""

    def __init__(
        self, store: Store, prefix: str, record_type: type[T], check: Callable[[str, T], None]
    ) -> None:
        super().__init__(store, prefix, record_type)
        self._check = check

    def decode(self, entry: Entry) -> T:
        value = super().decode(entry)
        try:
            self._check(self.id_of(entry.key), value)
        except ValueError as error:
            raise Undecodable(entry, str(error)) from error
        return value


class ClusterRecords:
    """The collections of one cluster's store; a `prefix` puts them elsewhere."""

    def __init__(self, store: Store, prefix: str = "") -> None:
        self.store = store
        self._prefix = prefix
        self.meta = Collection(store, prefix + "meta/", ClusterMeta)
        self.nodes = Checked(store, prefix + "nodes/", NodeRecord, check_node)
        self.alive = Collection(store, prefix + "alive/", Sign)
        self.lost = Collection(store, prefix + "lost/", Sign)
        self.timers = Collection(store, prefix + "lost-timers/", Sign)
        self.networks = Checked(store, prefix + "networks/", Network, check_network)
        self.blocks = Checked(store, prefix + "blocks/", Block, check_block)
        self.addresses = Collection(store, prefix + "addresses/", StaticAddress)
        self.endpoints = Checked(store, prefix + "endpoints/", RemoteEndpoint, check_endpoint)
        self.tokens = Collection(store, prefix + "tokens/", TokenRecord)

    def endpoints_on(self, network_id: NetworkId) -> Collection[RemoteEndpoint]:
        """Return the endpoints of one network: what is watched only where it is needed."""

        def check(record_id: str, endpoint: RemoteEndpoint) -> None:
            check_endpoint(f"{network_id}/{record_id}", endpoint)

        return Checked(self.store, f"{self._prefix}endpoints/{network_id}/", RemoteEndpoint, check)


# What decoding cannot tell -------------------------------------------------------------------


def check_node(record_id: str, node: NodeRecord) -> None:
    _check_key(record_id, node.id)
    for underlay in node.underlays:
        if ip_address(underlay.address) not in ip_network(underlay.prefix):
            raise ValueError(f"{underlay.address} is not in {underlay.prefix}")
        if not _SMALLEST_MTU <= underlay.mtu <= _LARGEST_MTU:
            raise ValueError(f"{underlay.mtu} is no MTU")
    if not 0 <= node.wireguard_port < 1 << 16:
        raise ValueError(f"{node.wireguard_port} is no port")
    if node.wireguard_key:
        try:
            length = len(base64.b64decode(node.wireguard_key, validate=True))
        except binascii.Error:
            length = 0
        if length != _KEY_BYTES:
            raise ValueError("its WireGuard key is none")


def check_network(record_id: str, network: Network) -> None:
    _check_key(record_id, network.id)
    for pool in network.pools:
        # A prefix, even an unknown driver's; its bits beyond the length must be zero.
        subnet = ip_network(pool.subnet)
        if pool.gateway and ip_address(pool.gateway) not in subnet:
            raise ValueError(f"gateway {pool.gateway} is not in {subnet}")
        if pool.ip_range and ip_network(pool.ip_range).version != subnet.version:
            raise ValueError(f"range {pool.ip_range} is not in {subnet}")


def check_block(record_id: str, block: Block) -> None:
    _check_key(record_id, block.key)
    ip_network(block.prefix)


def check_endpoint(record_id: str, endpoint: RemoteEndpoint) -> None:
    _check_key(record_id, endpoint.key)
    if not _MAC.fullmatch(endpoint.mac_address):
        raise ValueError(f"{endpoint.mac_address[:40]!r} is no MAC address")
    for version, family, address in ((4, AF_INET, endpoint.ipv4), (6, AF_INET6, endpoint.ipv6)):
        if address:
            try:
                # There are hundreds of thousands of them: this takes a tenth of what `ip_address` does.
                inet_pton(family, address)
            except OSError:
                raise ValueError(f"{address[:60]!r} is not an address of IPv{version}") from None


def _check_key(found: str, wanted: str) -> None:
    if found != wanted:
        raise ValueError(f"it is the record of {wanted[:200]!r}")
