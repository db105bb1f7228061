"""Addresses of networks: the allocators, one per pool, over the records in the store.

A decision is planned, written with whatever it belongs to in one transaction, and then taken over; all under
one lock, because a plan is good only until the next change. Pools are few operations of microseconds each.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

from ..domains.ipam import (
    Address,
    Allocator,
    Lease,
    LeaseChange,
    LeaseKind,
    Pool,
    PoolFull,
    PoolId,
    PoolState,
    Prefix,
    complete_pool,
)
from ..model.delegation import is_remote_ipam
from ..model.errors import Failed, InvalidRequest, NotFound
from ..model.networks import Network, PoolConfig
from .clock import Clock
from .state import State, Write
from .values import PoolUse

_log = logging.getLogger(__name__)
AddressRange = tuple[Address, Address]
"""The first and the last address."""


def pool_id(network_id: str, version: int) -> PoolId:
    return PoolId(f"{network_id}.{version}")


def _own_pools(network: Network) -> tuple[PoolConfig, ...]:
    """Return the pools that we give addresses from; those of an IPAM plugin are its own."""
    return () if is_remote_ipam(network) else network.pools


@dataclass(slots=True)
class Transaction:
    """Changes to addresses that wait to be written together with `write`."""

    write: Write
    changes: list[tuple[Allocator, LeaseChange]] = field(default_factory=list)

    def add(self, allocator: Allocator, change: LeaseChange) -> None:
        if change:
            self.changes.append((allocator, change))
            self.write.addresses.append(change)


class Addresses:
    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._allocators: dict[PoolId, Allocator] = {}
        self._lock = asyncio.Lock()

    def load(
        self, networks: Iterable[Network], leases: Iterable[Lease], pools: Iterable[PoolState]
    ) -> list[Lease]:
        """Build every allocator from its records; return leases that belong to no pool."""
        states = {item.pool_id: item for item in pools}
        by_pool: dict[PoolId, list[Lease]] = {}
        for lease in leases:
            by_pool.setdefault(lease.pool_id, []).append(lease)
        strays: list[Lease] = []
        for network in networks:
            for config in _own_pools(network):
                identifier = pool_id(network.id, config.version)
                allocator = Allocator.load(
                    Pool.of(identifier, config, label=f"{network.name} ({network.id})"),
                    by_pool.pop(identifier, ()),
                    states.get(identifier),
                )
                # The gateway of a network that another node created is in no record here (see `adopt`).
                try:
                    allocator.apply(allocator.plan_setup())
                except Failed as error:
                    _log.error("network %s: %s", network.name, error)
                self._allocators[identifier] = allocator
                strays += allocator.strays
        return strays + [lease for rest in by_pool.values() for lease in rest]

    @asynccontextmanager
    async def transaction(self, write: Write) -> AsyncIterator[Transaction]:
        """Plan within the block; at its end all is written, then taken over. An error writes nothing."""
        async with self._lock:
            transaction = Transaction(write)
            yield transaction
            await self._state.save(write)
            for allocator, change in transaction.changes:
                allocator.apply(change)

    # Networks --------------------------------------------------------------------------------

    @staticmethod
    def complete(network_name: str, config: PoolConfig, *, with_gateway: bool) -> PoolConfig:
        """Return the pool with its gateway chosen, if it is to have one."""
        if not with_gateway:
            return config
        return complete_pool(Pool.of(PoolId(""), config, label=network_name)).to_config()

    def set_up(self, network: Network, transaction: Transaction) -> None:
        """Make the allocators of a new network, with its gateways and auxiliary addresses taken."""
        for config in _own_pools(network):
            identifier = pool_id(network.id, config.version)
            allocator = Allocator(Pool.of(identifier, config, label=f"{network.name} ({network.id})"))
            transaction.add(allocator, allocator.plan_setup())
            self._allocators[identifier] = allocator

    def tear_down(self, network: Network, transaction: Transaction) -> None:
        for config in network.pools:
            identifier = pool_id(network.id, config.version)
            self._allocators.pop(identifier, None)
            transaction.write.gone_pools.append(identifier)

    # Blocks of a cluster's networks ------------------------------------------------------------

    def exclusively(self) -> asyncio.Lock:
        """Return the lock under which all addresses are given."""
        return self._lock

    def limit(
        self, network: Network, version: int, blocks: tuple[Prefix, ...], reserved: tuple[Prefix, ...] = ()
    ) -> None:
        """Give addresses of a network from these blocks alone from now on, but for those reserved in them."""
        allocator = self._allocators.get(pool_id(network.id, version))
        if allocator is not None:
            allocator.limit_to(blocks, reserved)

    def adopt(self, network: Network) -> None:
        """Make the allocators of a network that another node created, of no block yet.

        Its gateway and auxiliary addresses are taken, but no record says so: `load` takes them again.
        """
        for config in network.pools:
            identifier = pool_id(network.id, config.version)
            if identifier not in self._allocators:
                allocator = Allocator(Pool.of(identifier, config, label=f"{network.name} ({network.id})"))
                allocator.apply(allocator.plan_setup())
                allocator.limit_to(())
                self._allocators[identifier] = allocator

    def in_use(self, network: Network, blocks: Iterable[Prefix]) -> dict[str, int]:
        """Count the leases that containers have in each of a network's blocks."""
        wanted = tuple(blocks)
        found = dict.fromkeys((str(block) for block in wanted), 0)
        for config in network.pools:
            allocator = self._allocators.get(pool_id(network.id, config.version))
            for lease in allocator.leases() if allocator else ():
                if not lease.is_active or lease.kind in (LeaseKind.GATEWAY, LeaseKind.AUXILIARY):
                    continue
                for block in wanted:
                    if lease.address in block:
                        found[str(block)] += 1
        return found

    def is_ours(self, network: Network, address: str) -> bool:
        """Tell whether an address is in a block of ours."""
        parsed = ip_address(address)
        allocator = self._allocators.get(pool_id(network.id, parsed.version))
        return allocator is not None and allocator.pool.is_ours(parsed)

    @staticmethod
    def parse(address: str) -> Address | None:
        """Return an address that was asked for, None if none was. InvalidRequest if it is none."""
        if not address:
            return None
        try:
            return ip_address(address)
        except ValueError as error:
            raise InvalidRequest(f"invalid endpoint settings:\ninvalid IP address: {address}") from error

    async def release_foreign(self, network: Network, version: int, owner: str) -> None:
        """End an owner's lease of an address that is in no block of ours any more."""
        allocator = self._allocators.get(pool_id(network.id, version))
        lease = allocator.lease_of(owner) if allocator else None
        if allocator is None or lease is None or allocator.pool.is_ours(lease.address):
            return
        async with self.transaction(Write()) as transaction:
            now = self._clock.now_ns() / 1e9
            transaction.add(allocator, allocator.plan_release(lease.address, lease.sequence, now=now))

    def needs_block(self, network: Network, version: int, owner: str, asked: str) -> bool:
        """Tell whether an owner's address needs a block that is not ours yet."""
        allocator = self._allocators.get(pool_id(network.id, version))
        if allocator is None or allocator.pool.blocks is None:
            return False
        lease = allocator.lease_of(owner)
        if lease is not None:
            return not allocator.pool.is_ours(lease.address)
        if asked:
            return not allocator.pool.is_ours(ip_address(asked))
        return allocator.usage().available <= 0

    def usage(self, network: Network) -> tuple[PoolUse, ...]:
        uses = []
        for config in network.pools:
            allocator = self._allocators.get(pool_id(network.id, config.version))
            if allocator is not None:
                usage = allocator.usage()
                uses.append(PoolUse(config.subnet, usage.in_use, usage.available))
        return tuple(uses)

    # Endpoints -------------------------------------------------------------------------------

    def assign(
        self,
        network: Network,
        owner: str,
        ipv4: str,
        ipv6: str,
        transaction: Transaction,
        ranges: Sequence[AddressRange] = (),
    ) -> tuple[str, str]:
        """Plan the addresses of one endpoint; return them with prefix length, "" for no such family.

        An owner that has an address keeps it; `ipv4`/`ipv6` ask for one, `ranges` for one in any of them.
        """
        found = {4: "", 6: ""}
        for version, asked in ((4, ipv4), (6, ipv6)):
            config = network.pool(version)
            if config is None:
                if asked:
                    raise InvalidRequest(
                        f"invalid endpoint settings:\nno configured subnet contains IP address {asked}"
                    )
                continue
            allocator = self._allocators.get(pool_id(network.id, version))
            if allocator is None:
                # It was removed while the caller waited for its turn.
                raise NotFound(f"network {network.name} not found")
            change = self._plan_in(allocator, owner, asked, [r for r in ranges if r[0].version == version])
            assert change.lease is not None  # plan_allocate raises where it cannot give one
            transaction.add(allocator, change)
            found[version] = f"{change.lease.address}/{config.network.prefixlen}"
        return found[4], found[6]

    def assign_one(
        self, network: Network, owner: str, version: int, asked: str, transaction: Transaction
    ) -> str:
        """Plan one family's address of an owner, as `assign` does for both."""
        config = network.pool(version)
        allocator = self._allocators.get(pool_id(network.id, version))
        if config is None or allocator is None:
            raise NotFound(f"network {network.name} has no IPv{version} pool")
        change = self._plan(allocator, owner, asked)
        assert change.lease is not None  # plan_allocate raises where it cannot give one
        transaction.add(allocator, change)
        return f"{change.lease.address}/{config.network.prefixlen}"

    def _plan_in(
        self, allocator: Allocator, owner: str, asked: str, ranges: Sequence[AddressRange]
    ) -> LeaseChange:
        """Plan an address in the first of the ranges that has a free one; anywhere if there are none."""
        if asked or not ranges:
            return self._plan(allocator, owner, asked)
        for number, within in enumerate(ranges, 1):
            try:
                return self._plan(allocator, owner, "", within)
            except Failed:
                if number == len(ranges):
                    raise
        raise AssertionError("there is a range")

    def _plan(
        self, allocator: Allocator, owner: str, asked: str, within: AddressRange | None = None
    ) -> LeaseChange:
        now = self._clock.now_ns() / 1e9
        address = ip_address(asked) if asked else None
        try:
            return allocator.plan_allocate(owner, now=now, address=address, within=within)
        except InvalidRequest as error:
            raise InvalidRequest(f"invalid endpoint settings:\n{error.message}") from error
        except PoolFull as error:
            # A plain failure for Docker's clients, which do not try again at a 503.
            raise Failed(error.message, remedy=error.remedy) from error

    def release(self, network: Network, owner: str, transaction: Transaction) -> None:
        """Plan the end of an owner's leases on a network; none is no error."""
        for config in network.pools:
            allocator = self._allocators.get(pool_id(network.id, config.version))
            lease = allocator.lease_of(owner) if allocator else None
            if allocator is not None and lease is not None:
                now = self._clock.now_ns() / 1e9
                transaction.add(allocator, allocator.plan_release(lease.address, lease.sequence, now=now))
