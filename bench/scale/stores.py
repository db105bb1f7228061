"""Stores and records for many nodes in one process: bytes counted, decoded records shared.

What a node sends to etcd and has from it is as in a daemon: a connection and a watch of its own. What it
would decode for itself is decoded once per process and shared, because thousands of copies of the same
table do not fit in one machine; `lone.py` measures what one node costs without that.
"""

import asyncio
import ssl
import time
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from carrick.engine.cluster.records import ClusterRecords
from carrick.engine.cluster.table import Table
from carrick.host.store.contract import Entry, Snapshot, Store
from carrick.host.store.etcd import EtcdStore
from carrick.host.store.etcd_config import Endpoint, EtcdConfig
from carrick.host.store.etcd_grpc import ConnectFailed, GrpcConnection, describe
from carrick.host.store.etcd_transport import CONNECT_TIMEOUT_S, EtcdTransport
from carrick.host.store.typed import Collection
from carrick.model.cluster import RemoteEndpoint
from carrick.model.errors import CarrickError
from carrick.model.ids import NetworkId

T = TypeVar("T")
_KEPT = 1_500_000


class Counter:
    """What went over the connections of one node, or of many."""

    def __init__(self) -> None:
        self.received_bytes = 0
        self.attempts: list[float] = []
        self.connected: list[float] = []

    async def connect(self, endpoint: Endpoint, tls: ssl.SSLContext | None) -> GrpcConnection:
        """Connect as the store does, and count."""
        counter = self
        self.attempts.append(time.monotonic())

        class Counting(GrpcConnection):
            def data_received(self, data: bytes) -> None:
                counter.received_bytes += len(data)
                super().data_received(data)

        connection = Counting(endpoint)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: connection, endpoint.host, endpoint.port, ssl=tls)
                await connection.wait_ready()
        except TimeoutError:
            connection.close()
            raise ConnectFailed(f"no answer within {CONNECT_TIMEOUT_S:g} seconds") from None
        except OSError as error:
            connection.close()
            raise ConnectFailed(describe(error)) from error
        self.connected.append(time.monotonic())
        return connection


def open_store(config: EtcdConfig, counter: Counter) -> EtcdStore:
    """Return a store with a connection of its own."""
    return EtcdStore(config, transport=EtcdTransport(config, connect=counter.connect))


class SharedLists:
    """Lists that many nodes take at the same moment, taken once. Only for their common start."""

    def __init__(self) -> None:
        self.is_on = True
        self._lists: dict[str, asyncio.Future[Snapshot]] = {}

    async def take(self, store: Store, prefix: str) -> Snapshot:
        if not self.is_on:
            return await store.list(prefix)
        if prefix not in self._lists:
            self._lists[prefix] = asyncio.ensure_future(store.list(prefix))
        try:
            return await asyncio.shield(self._lists[prefix])
        except CarrickError:
            self._lists.pop(prefix, None)
            raise

    def end(self) -> None:
        self.is_on = False
        self._lists.clear()


class ListSharingStore:
    """A store whose lists may be shared; everything else is its own."""

    def __init__(self, store: EtcdStore, lists: SharedLists) -> None:
        self._store = store
        self._lists = lists

    async def list(self, prefix: str) -> Snapshot:
        return await self._lists.take(self._store, prefix)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class DecodeCache:
    """Decoded records by their bytes, ids by their keys, and collections to copy, for one process."""

    def __init__(self) -> None:
        self.values: dict[tuple[type, bytes], Any] = {}
        self.ids: dict[str, dict[str, str]] = {}
        self.records = ClusterRecords(cast("Store", None))
        self.snapshots: dict[tuple[str, int], tuple[Snapshot, dict[str, Any], dict[str, int]]] = {}

    def trim(self) -> None:
        if len(self.values) > _KEPT:
            self.values.clear()
            for ids in self.ids.values():
                ids.clear()


class SharedRecords(ClusterRecords):
    """Collections whose decoded records, and their ids, are the same objects for all nodes of a process."""

    def __init__(self, store: Store, cache: DecodeCache) -> None:
        # Not the ordinary way: encoders and decoders take a while to build, and are for all.
        self.__dict__.update(cache.records.__dict__)
        self.store = store
        self._cache = cache
        for name, item in vars(cache.records).items():
            if isinstance(item, Collection):
                setattr(self, name, SharedCollection(item, item.prefix, store, cache))

    def endpoints_on(self, network_id: NetworkId) -> Collection[RemoteEndpoint]:
        like = self._cache.records.endpoints
        return SharedCollection(like, f"{like.prefix}{network_id}/", self.store, self._cache)


class SharedCollection(Collection[T]):
    def __init__(self, like: Collection[T], prefix: str, store: Store, cache: DecodeCache) -> None:
        self.__dict__.update(like.__dict__)
        self.prefix = prefix
        self._store = store
        self.cache = cache
        self._ids = cache.ids.setdefault(prefix, {})

    def decode(self, entry: Entry) -> T:
        key = (self._type, entry.value)
        found: T | None = self.cache.values.get(key)
        if found is None:
            self.cache.trim()
            found = self.cache.values[key] = super().decode(entry)
        return found

    def id_of(self, key: str) -> str:
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = super().id_of(key)
        return found


class SharedTable(Table[T]):
    """A table that begins with a copy of what another has decoded of the same snapshot."""

    def __init__(self, records: Collection[T]) -> None:
        super().__init__(records)
        assert isinstance(records, SharedCollection)
        self._snapshots = records.cache.snapshots

    async def decode_all(self, snapshot: Snapshot) -> tuple[dict[str, T], dict[str, int]]:
        key = (self.prefix, id(snapshot))
        if key not in self._snapshots:
            # With the snapshot itself, which keeps its number from being given to another.
            self._snapshots[key] = (snapshot, *(await super().decode_all(snapshot)))
        _, values, revisions = self._snapshots[key]
        return dict(values), dict(revisions)


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which `share` of the values lie; 0 without any."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
