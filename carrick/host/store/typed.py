"""Typed records in the store: a prefix, a type, and JSON by msgspec in between.

A record that cannot be decoded is never dropped and never hides the others: it is reported with its
key, its revision and its bytes, and stays where it is until someone decides (`set_aside` moves it
out of the way). Records are read strictly as to types but unknown fields are ignored, so that an
older daemon can read what a newer one wrote.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from pathlib import PurePath
from typing import Generic, TypeVar

import msgspec

from ...model.errors import Failed, InvalidRequest
from .contract import (
    NO_LEASE,
    Condition,
    Delete,
    Entry,
    LeaseId,
    NoneBelow,
    Put,
    Store,
)

T = TypeVar("T")
BROKEN_PREFIX = "broken/"


@dataclass(frozen=True, slots=True)
class Versioned(Generic[T]):
    """A record and the revision it was read at, for the condition of the next write."""

    value: T
    revision: int


class Undecodable(Failed):
    """A record that is not what its collection holds. Its bytes are here, and still in the store."""

    def __init__(self, entry: Entry, reason: str) -> None:
        self.shown = entry.key if entry.key.isprintable() else repr(entry.key)
        self.reason = f"cannot be read: {reason}"
        super().__init__(
            f"the record {self.shown} in the store {self.reason}",
            remedy="if a newer carrickd wrote it, run that one; otherwise repair or remove the record",
        )
        self.key = entry.key
        self.value = entry.value
        self.revision = entry.revision


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """All records of a collection by id, those that could not be decoded, and when that was."""

    records: Mapping[str, Versioned[T]]
    broken: tuple[Undecodable, ...]
    revision: int

    @property
    def values(self) -> list[T]:
        return [record.value for record in self.records.values()]


class Collection(Generic[T]):
    """The records of one type below `prefix`; a record's key is the prefix and its id.

    `putting`, `deleting` and `expecting` only make the parts of a transaction, so that records of
    several collections change together: `store.commit([a.putting(…), b.deleting(…)], [a.expecting(…)])`.
    """

    def __init__(self, store: Store, prefix: str, record_type: type[T]) -> None:
        if not prefix.endswith("/"):
            raise InvalidRequest(f"the prefix of a collection ends in a slash, unlike {prefix!r}")
        self.prefix = prefix
        self._store = store
        self._type = record_type
        self._encoder = msgspec.json.Encoder(enc_hook=_encode_other)
        self._decoder = msgspec.json.Decoder(record_type, dec_hook=_decode_other)

    async def get(self, record_id: str) -> Versioned[T] | None:
        """Return the record, or None if there is none. Raises Undecodable."""
        entry = await self._store.get(self.key(record_id))
        return Versioned(self.decode(entry), entry.revision) if entry else None

    async def list(self, below: str = "") -> Listing[T]:
        """Return every record whose id starts with `below`, sorted by id. Does not raise Undecodable."""
        snapshot = await self._store.list(self.prefix + below)
        records: dict[str, Versioned[T]] = {}
        broken: list[Undecodable] = []
        for entry in snapshot.entries:
            try:
                records[self.id_of(entry.key)] = Versioned(self.decode(entry), entry.revision)
            except Undecodable as error:
                broken.append(error)
        return Listing(records, tuple(broken), snapshot.revision)

    async def put(self, record_id: str, value: T, *, expecting: int | None, lease: LeaseId = NO_LEASE) -> int:
        """Write a record and return its revision.

        `expecting` is the revision it must be at (`ABSENT` if it must be new); None writes whatever is
        there. Raises StaleRevision.
        """
        return await self._store.commit(
            [self.putting(record_id, value, lease)], self._conditions(record_id, expecting)
        )

    async def delete(self, record_id: str, *, expecting: int | None) -> None:
        """Remove a record; without an expectation its absence is no error. Raises StaleRevision."""
        await self._store.commit([self.deleting(record_id)], self._conditions(record_id, expecting))

    async def set_aside(self, broken: Undecodable) -> str:
        """Move a record that cannot be decoded to `broken/<key>.<revision>`, and return that key."""
        kept_at = f"{BROKEN_PREFIX}{broken.key}.{broken.revision}"
        await self._store.commit(
            [Put(kept_at, broken.value), Delete(broken.key)], [Condition(broken.key, broken.revision)]
        )
        return kept_at

    def putting(self, record_id: str, value: T, lease: LeaseId = NO_LEASE) -> Put:
        return Put(self.key(record_id), self.encode(value), lease)

    def deleting(self, record_id: str) -> Delete:
        return Delete(self.key(record_id))

    def none_below(self, below: str) -> NoneBelow:
        """Require that there is no record whose id starts with `below`."""
        return NoneBelow(self.prefix + below)

    def expecting(self, record_id: str, revision: int) -> Condition:
        return Condition(self.key(record_id), revision)

    def key(self, record_id: str) -> str:
        return self.prefix + record_id

    def id_of(self, key: str) -> str:
        return key.removeprefix(self.prefix)

    def encode(self, value: T) -> bytes:
        return self._encoder.encode(value)

    def decode(self, entry: Entry) -> T:
        """Raises Undecodable, with the entry's bytes."""
        try:
            return self._decoder.decode(entry.value)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Undecodable(entry, str(error)) from error

    def _conditions(self, record_id: str, revision: int | None) -> tuple[Condition, ...]:
        return () if revision is None else (self.expecting(record_id, revision),)


_ADDRESS_TYPES = (
    (IPv4Address, IPv6Address, ip_address),
    (IPv4Network, IPv6Network, ip_network),
    (IPv4Interface, IPv6Interface, ip_interface),
)


def _encode_other(value: object) -> object:
    """Encode what msgspec does not know: addresses and paths, as text."""
    if isinstance(value, IPv4Address | IPv6Address | IPv4Network | IPv6Network | PurePath):
        return str(value)
    raise NotImplementedError(f"the store has no encoding for {type(value).__name__}")


def _decode_other(wanted: type, value: object) -> object:
    """Decode text into the type of a field.

    A type that takes both families is an abstract class that both are registered with, because
    msgspec refuses unions of two such types; hence `issubclass` of the concrete class here.
    """
    if isinstance(value, str):
        for version4, version6, parse in _ADDRESS_TYPES:
            if wanted in (version4, version6):
                return wanted(value)
            if issubclass(version4, wanted) and issubclass(version6, wanted):
                return parse(value)
        if issubclass(wanted, PurePath):
            return wanted(value)
    raise NotImplementedError(f"the store has no decoding for {wanted.__name__}")
