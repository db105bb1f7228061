"""The values that address management speaks in, and the two records that it keeps in the store."""

import enum
from abc import ABC
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, NewType

PoolId = NewType("PoolId", str)

if TYPE_CHECKING:
    Address = IPv4Address | IPv6Address
    Prefix = IPv4Network | IPv6Network
else:
    # msgspec decodes a field of one custom type, but refuses a union of two. At run time each of these
    # is therefore a single class with which both families are registered.
    class Address(ABC):  # noqa: B024
        """An IPv4 or IPv6 address."""

    class Prefix(ABC):  # noqa: B024
        """An IPv4 or IPv6 network."""

    Address.register(IPv4Address)
    Address.register(IPv6Address)
    Prefix.register(IPv4Network)
    Prefix.register(IPv6Network)


class LeaseKind(enum.StrEnum):
    """How an address came to its owner."""

    DYNAMIC = "dynamic"
    STATIC = "static"
    GATEWAY = "gateway"
    AUXILIARY = "aux"


@dataclass(frozen=True, slots=True)
class Lease:
    """A record of the store: who has an address of a pool, or who had it last.

    `released_at` is None while the owner has it, also while its container is stopped; then it is the wall
    clock's seconds of the release. `sequence` is new at every change of hands and at every release, and
    never comes again in this pool, so that (address, sequence) names one tenure.
    """

    address: Address
    pool_id: PoolId
    owner: str
    kind: LeaseKind
    sequence: int
    released_at: float | None = None

    @property
    def id(self) -> str:
        """The record's id: unique in a collection over all pools, and sorted by pool."""
        return f"{self.pool_id}/{self.address}"

    @property
    def is_active(self) -> bool:
        return self.released_at is None


@dataclass(frozen=True, slots=True)
class PoolState:
    """A record of the store: the last sequence given in a pool, and the last address taken in order."""

    pool_id: PoolId
    sequence: int = 0
    cursor: Address | None = None

    @property
    def id(self) -> str:
        return self.pool_id


@dataclass(frozen=True, slots=True)
class NamedPrefix:
    """A network that exists already, by the name that people know."""

    name: str
    prefix: Prefix


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the host, whatever its table; `via` is empty if the destination is on the link."""

    destination: Prefix
    interface: str
    via: str = ""


@dataclass(frozen=True, slots=True)
class HostAddress:
    """An address that the host has itself."""

    address: Address
    interface: str


def overlaps(one: Prefix, other: Prefix) -> bool:
    """Say whether two networks share an address; those of different families never do."""
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)
