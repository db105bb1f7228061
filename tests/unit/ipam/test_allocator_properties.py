"""Any sequence of requests against the rules, with the records kept as a store would keep them."""

from ipaddress import ip_address, ip_network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from carrick.domains.ipam import (
    Address,
    AddressInUse,
    Allocator,
    Lease,
    LeaseChange,
    LeaseKind,
    Pool,
    PoolFull,
    PoolId,
    PoolState,
    complete_pool,
)
from carrick.model.errors import Conflict

COOLDOWN_S = 30.0
owners = st.sampled_from([f"c{number}" for number in range(12)])
configs = st.sampled_from(
    [
        ("10.0.0.0/29", None),
        ("10.0.0.0/28", "10.0.0.8/29"),
        ("10.0.0.0/31", None),
        ("fd00::/125", None),
        ("10.0.0.0/27", None),
    ]
)


class Leasing(RuleBasedStateMachine):
    """Leases against a plain model: who has what, and in which order addresses were freed."""

    @initialize(config=configs, remembered=st.sampled_from([2, 4096]))
    def begin(self, config: tuple[str, str | None], remembered: int) -> None:
        subnet, ip_range = config
        pool = Pool(PoolId("p"), ip_network(subnet), ip_network(ip_range) if ip_range else None, label="net")
        self.pool = complete_pool(pool)
        self.remembered = remembered
        self.allocator = Allocator(self.pool, cooldown_s=COOLDOWN_S, remembered=remembered)
        self.records: dict[str, Lease] = {}
        self.state: PoolState | None = None
        self.now = 0.0
        self.model: dict[str, Address] = {}
        self.released: list[Address] = []
        self.past: list[tuple[Address, int]] = []
        self.write(self.allocator.plan_setup())

    def write(self, change: LeaseChange) -> None:
        for lease in change.forget:
            del self.records[lease.id]
        for lease in change.put:
            self.records[lease.id] = lease
        if change:
            self.state = change.state
        self.allocator.apply(change)

    @property
    def taken(self) -> set[Address]:
        return {*self.model.values()} | ({self.pool.gateway} if self.pool.gateway else set())

    @rule(owner=owners)
    def ask_for_any(self, owner: str) -> None:
        dynamic = {self.pool.address(n) for a, b in self.pool.dynamic() for n in range(a, b + 1)}
        free = dynamic - self.taken
        try:
            change = self.allocator.plan_allocate(owner, now=self.now)
        except PoolFull:
            assert owner not in self.model
            assert not free
            return
        assert change.lease is not None
        given = change.lease.address
        if owner in self.model:
            assert given == self.model[owner], "sticky"
            assert not change
            return
        assert given in free, "given twice, or not to be given"
        if self.remembered > len(dynamic):
            never_used = free - set(self.released)
            if never_used:
                assert given in never_used, "unused addresses first"
            else:
                assert given == next(a for a in self.released if a in free), "longest idle first"
        self.model[owner] = given
        self.released = [a for a in self.released if a != given]
        self.write(change)

    @rule(owner=owners, offset=st.integers(0, 31))
    def ask_for_one(self, owner: str, offset: int) -> None:
        size = self.pool.subnet.num_addresses
        address = self.pool.subnet[offset % size]
        try:
            change = self.allocator.plan_allocate(owner, now=self.now, address=address)
        except AddressInUse:
            assert address in self.taken or not self.pool.is_host(address)
            return
        except Conflict:
            assert self.model[owner] != address
            return
        assert change.lease is not None
        assert change.lease.address == address
        assert change.lease.kind is LeaseKind.STATIC
        assert address not in self.taken or self.model.get(owner) == address
        self.model[owner] = address
        self.released = [a for a in self.released if a != address]
        self.write(change)

    @rule(owner=owners)
    def release(self, owner: str) -> None:
        lease = self.allocator.lease_of(owner)
        assert (lease is None) == (owner not in self.model)
        if lease is None:
            return
        self.past.append((lease.address, lease.sequence))
        self.write(self.allocator.plan_release(lease.address, lease.sequence, now=self.now))
        self.released.append(self.model.pop(owner))

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def release_late(self, data: st.DataObject) -> None:
        address, sequence = data.draw(st.sampled_from(self.past))
        assert not self.allocator.plan_release(address, sequence, now=self.now)

    @rule(seconds=st.sampled_from([1.0, COOLDOWN_S, -500.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(shuffle=st.randoms(use_true_random=False))
    def restart(self, shuffle: object) -> None:
        records = list(self.records.values())
        shuffle.shuffle(records)  # type: ignore[attr-defined]
        loaded = Allocator.load(
            self.pool, records, self.state, cooldown_s=COOLDOWN_S, remembered=self.remembered
        )
        assert loaded.strays == ()
        assert sorted(loaded.leases(), key=lambda item: item.id) == sorted(records, key=lambda item: item.id)
        assert loaded.state == self.allocator.state
        assert [x for x in loaded.leases() if not x.is_active] == [
            x for x in self.allocator.leases() if not x.is_active
        ]
        assert loaded.usage() == self.allocator.usage()
        self.allocator = loaded

    @invariant()
    def the_records_say_who_has_what(self) -> None:
        if not hasattr(self, "model"):
            return
        active = [lease for lease in self.records.values() if lease.is_active]
        assert {x.owner: x.address for x in active if x.owner != "gateway"} == self.model
        assert len({lease.address for lease in active}) == len(active)
        assert len({lease.sequence for lease in self.records.values()}) == len(self.records)
        for owner, address in self.model.items():
            lease = self.allocator.lease_of(owner)
            assert lease is not None
            assert lease.address == address
            assert self.allocator.lease_at(address) == lease


Leasing.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestLeasing = Leasing.TestCase


def test_addresses_of_the_model_are_those_of_the_standard_library() -> None:
    pool = complete_pool(Pool(PoolId("p"), ip_network("192.0.2.0/28")))
    hosts = list(ip_network("192.0.2.0/28").hosts())
    assert [pool.address(n) for a, b in pool.dynamic() for n in range(a, b + 1)] == hosts
    assert pool.gateway == ip_address("192.0.2.1")
