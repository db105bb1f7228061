"""Give out the addresses of one pool. Pure: time is passed in, and nothing is written here.

A `plan_` method decides and changes nothing. The caller writes the records of the `LeaseChange` in one
transaction of the store, then calls `apply`; were it killed in between, `load` would find what was
written. If the write failed, the plan is simply dropped. A plan is good for the allocator it was made
from only until the next `apply`.

The order in which addresses are given: those that have no record, upwards from the last one given and
round again; when every address has one, that which has been free the longest. So an address rests as
long as the pool allows, and `cooldown_s` never turns a request away: it decides when a record may be
forgotten, and a reuse before it ends is marked `reused_early`, so that a caller can say so.

Only the last `remembered` releases keep a record. Were every address of a /64 that was ever used
remembered, state would grow without end. What is forgotten was free for longer than all that is
remembered, and having no record comes first again, once the cursor has been round.

Addresses outside the dynamic range are given if they are asked for, and leave no record behind.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

from ...model.errors import Conflict, Denied, Failed
from .errors import AddressInUse, PoolFull
from .pool import Pool, no_subnet_contains
from .types import Address, Lease, LeaseKind, PoolState, Prefix

COOLDOWN_S = 60.0
REMEMBERED = 4096
_FORGOTTEN_AT_ONCE = 2
"""More than one, so that records kept for their cooldown are made up for; few, so that it stays O(1)."""

_GATEWAY_OWNER = "gateway"
_OF_THE_POOL = (LeaseKind.GATEWAY, LeaseKind.AUXILIARY)


@dataclass(frozen=True, slots=True)
class LeaseChange:
    """A decision as records: write `put` and `state`, delete `forget`; false if there is nothing to do.

    `lease` is what an allocation gave, also where the owner had it already.
    """

    base: int
    lease: Lease | None = None
    put: tuple[Lease, ...] = ()
    forget: tuple[Lease, ...] = ()
    state: PoolState | None = None
    reused_early: bool = False

    def __bool__(self) -> bool:
        return bool(self.put or self.forget)


@dataclass(frozen=True, slots=True)
class Usage:
    """Docker's `IPsInUse` (with the subnet's own addresses) and `DynamicIPsAvailable`, unbounded."""

    in_use: int
    available: int


class Allocator:
    """The leases of one pool, indexed. Every method is O(log n) in them, and O(1) in the pool's size."""

    def __init__(self, pool: Pool, *, cooldown_s: float = COOLDOWN_S, remembered: int = REMEMBERED) -> None:
        self.pool = pool
        self.strays: tuple[Lease, ...] = ()
        """Records given to `load` that this pool cannot hold; the caller may delete them."""
        self._cooldown_s = cooldown_s
        self._remembered = remembered
        self._dynamic = pool.dynamic()
        self._clear = self._dynamic.copy()
        self._active: dict[int, Lease] = {}
        self._freed: OrderedDict[int, Lease] = OrderedDict()
        self._owned: dict[str, int] = {}
        self._state = PoolState(pool.id)
        self._version = 0

    @classmethod
    def load(
        cls,
        pool: Pool,
        leases: Iterable[Lease],
        state: PoolState | None = None,
        *,
        cooldown_s: float = COOLDOWN_S,
        remembered: int = REMEMBERED,
    ) -> "Allocator":
        """Build the allocator from its records, in any order."""
        allocator = cls(pool, cooldown_s=cooldown_s, remembered=remembered)
        strays = []
        last = state.sequence if state else 0
        # The order of release is the order of the sequences: clocks can be set back.
        for lease in sorted(leases, key=lambda lease: lease.sequence):
            fits = lease.pool_id == pool.id and (
                pool.is_host(lease.address) if lease.is_active else int(lease.address) in allocator._dynamic
            )
            if fits:
                allocator._insert(lease)
                last = max(last, lease.sequence)
            else:
                strays.append(lease)
        cursor = state.cursor if state and state.cursor and pool.contains(state.cursor) else None
        allocator._state = PoolState(pool.id, last, cursor)
        allocator.strays = tuple(strays)
        return allocator

    def limit_to(self, blocks: tuple[Prefix, ...] | None, reserved: tuple[Prefix, ...] = ()) -> None:
        """Give addresses from these blocks of the pool alone from now on; plans made before stay good.

        Those that are `reserved` are given to nobody, asked for or not.

        Leases elsewhere stay with their owners: what is to become of those is the caller's to decide.
        """
        self.pool = replace(self.pool, blocks=blocks, reserved=reserved)
        self._dynamic = self.pool.dynamic()
        self._clear = self._dynamic.copy()
        for number in (*self._active, *self._freed):
            self._clear.remove(number)
        for number in [number for number in self._freed if number not in self._dynamic]:
            del self._freed[number]

    @property
    def state(self) -> PoolState:
        return self._state

    def leases(self) -> list[Lease]:
        """Return every record: those in use, then those free again, longest free first."""
        return [*self._active.values(), *self._freed.values()]

    def lease_at(self, address: Address) -> Lease | None:
        """Return the lease of whoever has the address now."""
        return self._active.get(int(address)) if address.version == self.pool.version else None

    def lease_of(self, owner: str) -> Lease | None:
        """Return the lease that the owner has now."""
        number = self._owned.get(owner)
        return None if number is None else self._active[number]

    def usage(self) -> Usage:
        subnet = self.pool.subnet
        own = 0
        if subnet.max_prefixlen - subnet.prefixlen > 1:
            own = 2 if subnet.version == 4 else 1
        return Usage(len(self._active) + own, self._clear.count + len(self._freed))

    def plan_setup(self) -> LeaseChange:
        """Plan the leases of the gateway and the auxiliary addresses, and the end of outdated ones.

        Raises Failed in Docker's words if one of them is taken or belongs to the subnet.
        """
        put: list[Lease] = []
        outdated = {n: lease for n, lease in self._active.items() if lease.kind in _OF_THE_POOL}
        taken: dict[int, str] = {}
        sequence = self._state.sequence
        for owner, kind, address, failure in self._wanted():
            number = int(address)
            holder = taken.get(number) or self._holder(address, besides=_OF_THE_POOL)
            if holder:
                raise Failed(
                    f"{failure}: Address already in use",
                    remedy=f"{address} is {holder}; name another address",
                )
            taken[number] = f"held by {owner}"
            existing = outdated.pop(number, None)
            if existing is None or (existing.owner, existing.kind) != (owner, kind):
                sequence += 1
                put.append(Lease(address, self.pool.id, owner, kind, sequence))
        return LeaseChange(
            self._version,
            put=tuple(put),
            forget=tuple(outdated.values()),
            state=replace(self._state, sequence=sequence),
        )

    def plan_allocate(
        self,
        owner: str,
        *,
        now: float,
        address: Address | None = None,
        within: tuple[Address, Address] | None = None,
    ) -> LeaseChange:
        """Plan a lease for `owner`: the one it has, or `address`, or the next free one.

        `within` are the first and the last address that it may be. Asking again gives the same lease and
        nothing to write. Raises AddressInUse, PoolFull, InvalidRequest (not in this subnet), and Conflict if
        the owner has another address than `address`.
        """
        if address is not None and not self.pool.contains(address):
            raise no_subnet_contains(address)
        own = self.lease_of(owner)
        if own is not None:
            return self._plan_again(own, address)
        if address is not None:
            if holder := self._holder(address):
                raise AddressInUse(address, holder)
            if not self.pool.is_ours(address):
                raise AddressInUse(address, "in no block of this node")
            if self.pool.blocks is not None and any(address in item for item in self.pool.reserved):
                raise AddressInUse(address, "the network's own in its block")
            return self._grant(owner, address, LeaseKind.STATIC)
        if within is not None:
            return self._plan_within(owner, int(within[0]), int(within[1]), now)
        return self._plan_next(owner, now)

    def plan_release(self, address: Address, sequence: int, *, now: float) -> LeaseChange:
        """Plan the end of the tenure (address, sequence); nothing if that has ended already.

        Raises Denied for the gateway and for auxiliary addresses: those end with the pool.
        """
        lease = self.lease_at(address)
        if lease is None or lease.sequence != sequence:
            return LeaseChange(self._version)
        if lease.kind in _OF_THE_POOL:
            raise Denied(f"{address} belongs to the network itself ({lease.owner}) and cannot be released")
        following = self._state.sequence + 1
        state = replace(self._state, sequence=following)
        if int(address) not in self._dynamic:
            return LeaseChange(self._version, forget=(lease,), state=state)
        freed = replace(lease, sequence=following, released_at=now)
        return LeaseChange(self._version, put=(freed,), forget=self._forgettable(now), state=state)

    def apply(self, change: LeaseChange) -> None:
        """Take over a plan that has been written. Raises Conflict if the pool changed since it was made."""
        if change.base != self._version:
            raise Conflict(
                f"the addresses of {self.pool.subnet} changed since this was planned", remedy="plan it again"
            )
        for lease in change.forget:
            self._remove(int(lease.address))
        for lease in change.put:
            self._remove(int(lease.address))
            self._insert(lease)
        if change.state is not None:
            self._state = change.state
        if change:
            self._version += 1

    def _wanted(self) -> Iterable[tuple[str, LeaseKind, Address, str]]:
        """Yield owner, kind, address and Docker's words for a failure, the gateway first."""
        if self.pool.gateway is not None:
            gateway = self.pool.gateway
            yield _GATEWAY_OWNER, LeaseKind.GATEWAY, gateway, f"failed to allocate gateway ({gateway})"
        for name, address in self.pool.auxiliary.items():
            failure = f"failed to allocate secondary ip address ({name}:{address})"
            yield f"auxiliary:{name}", LeaseKind.AUXILIARY, address, failure

    def _plan_again(self, own: Lease, address: Address | None) -> LeaseChange:
        if address is None or (address == own.address and own.kind is LeaseKind.STATIC):
            return LeaseChange(self._version, own)
        if address != own.address:
            raise Conflict(
                f"{own.owner} has the address {own.address} already and cannot have {address} too",
                remedy="disconnect it from the network first",
            )
        static = replace(own, kind=LeaseKind.STATIC)
        return LeaseChange(self._version, static, (static,), state=self._state)

    def _plan_next(self, owner: str, now: float) -> LeaseChange:
        after = 0 if self._state.cursor is None else int(self._state.cursor) + 1
        number = self._clear.at_or_after(after)
        if number is None:
            number = self._clear.at_or_after(0)
        if number is not None:
            return self._grant(owner, self.pool.address(number), LeaseKind.DYNAMIC, in_order=True)
        if not self._freed:
            raise PoolFull(self.pool.version, self.pool.label)
        oldest = next(iter(self._freed.values()))
        return self._grant(
            owner, oldest.address, LeaseKind.DYNAMIC, reused_early=not self._has_rested(oldest, now)
        )

    def _plan_within(self, owner: str, first: int, last: int, now: float) -> LeaseChange:
        """Plan the next free address of a range: one that was never given, else the one freed longest ago."""
        after = first if self._state.cursor is None else max(first, int(self._state.cursor) + 1)
        for begin in (after, first):
            number = self._clear.at_or_after(begin)
            if number is not None and number <= last:
                return self._grant(owner, self.pool.address(number), LeaseKind.DYNAMIC)
        for freed in self._freed.values():
            if first <= int(freed.address) <= last:
                rested = self._has_rested(freed, now)
                return self._grant(owner, freed.address, LeaseKind.DYNAMIC, reused_early=not rested)
        between = f"between {self.pool.address(first)} and {self.pool.address(last)}"
        raise PoolFull(self.pool.version, f"{self.pool.label}, {between}")

    def _grant(
        self,
        owner: str,
        address: Address,
        kind: LeaseKind,
        *,
        in_order: bool = False,
        reused_early: bool = False,
    ) -> LeaseChange:
        sequence = self._state.sequence + 1
        lease = Lease(address, self.pool.id, owner, kind, sequence)
        cursor = address if in_order else self._state.cursor
        return LeaseChange(
            self._version,
            lease,
            (lease,),
            state=PoolState(self.pool.id, sequence, cursor),
            reused_early=reused_early,
        )

    def _holder(self, address: Address, besides: tuple[LeaseKind, ...] = ()) -> str:
        """Say who has the address, for "ADDRESS is …"; "" if it is free."""
        if not self.pool.is_host(address):
            return f"the network or broadcast address of {self.pool.subnet}"
        lease = self._active.get(int(address))
        return f"held by {lease.owner}" if lease and lease.kind not in besides else ""

    def _forgettable(self, now: float) -> tuple[Lease, ...]:
        excess = len(self._freed) + 1 - self._remembered
        oldest = islice(self._freed.values(), max(0, min(excess, _FORGOTTEN_AT_ONCE)))
        return tuple(lease for lease in oldest if self._has_rested(lease, now))

    def _has_rested(self, lease: Lease, now: float) -> bool:
        return lease.released_at is not None and lease.released_at + self._cooldown_s <= now

    def _insert(self, lease: Lease) -> None:
        number = int(lease.address)
        self._clear.remove(number)
        if lease.is_active:
            self._active[number] = lease
            self._owned[lease.owner] = number
        else:
            self._freed[number] = lease

    def _remove(self, number: int) -> None:
        lease = self._active.pop(number, None)
        if lease is not None and self._owned.get(lease.owner) == number:
            del self._owned[lease.owner]
        self._freed.pop(number, None)
        if number in self._dynamic:
            self._clear.add(number)
