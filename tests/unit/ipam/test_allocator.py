"""Which address is given, kept and taken back; one pool's rules, and Docker's words for refusals."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from carrick.domains.ipam import (
    AddressInUse,
    Allocator,
    Lease,
    LeaseChange,
    LeaseKind,
    Pool,
    PoolFull,
    PoolId,
    Usage,
    complete_pool,
    pool_for,
)
from carrick.model.errors import Conflict, Denied, Failed, InvalidRequest
from carrick.model.networks import PoolConfig

POOL = PoolId("net/4")


def pool_of(subnet: str, *, gateway: bool = True, ip_range: str = "", **aux: str) -> Pool:
    pool = Pool.of(POOL, PoolConfig(subnet, ip_range, aux_addresses=aux), label="web (0123)")
    return complete_pool(pool) if gateway else pool


def ready(pool: Pool, **options: float) -> Allocator:
    allocator = Allocator(pool, **options)  # type: ignore[arg-type]
    allocator.apply(allocator.plan_setup())
    return allocator


def take(allocator: Allocator, owner: str, address: str = "", now: float = 0.0) -> str:
    change = allocator.plan_allocate(owner, now=now, address=ip_address(address) if address else None)
    allocator.apply(change)
    assert change.lease is not None
    return str(change.lease.address)


def give_back(allocator: Allocator, owner: str, now: float = 0.0) -> LeaseChange:
    lease = allocator.lease_of(owner)
    assert lease is not None
    change = allocator.plan_release(lease.address, lease.sequence, now=now)
    allocator.apply(change)
    return change


@pytest.mark.parametrize(
    ("subnet", "given"),
    [
        ("10.0.0.0/29", ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]),
        ("10.0.0.0/30", ["10.0.0.1", "10.0.0.2"]),
        ("10.0.0.0/31", ["10.0.0.0", "10.0.0.1"]),
        ("10.0.0.7/32", ["10.0.0.7"]),
        ("fd00::/126", ["fd00::1", "fd00::2", "fd00::3"]),
        ("fd00::/127", ["fd00::", "fd00::1"]),
        ("fd00::5/128", ["fd00::5"]),
    ],
)
def test_the_addresses_of_a_subnet(subnet: str, given: list[str]) -> None:
    allocator = ready(pool_of(subnet))
    assert str(allocator.pool.gateway) == given[0], "the gateway is the first"
    assert [take(allocator, f"c{i}") for i in range(len(given) - 1)] == given[1:]
    with pytest.raises(
        PoolFull, match=r"no available IPv[46] addresses on this network's address pools: web"
    ):
        allocator.plan_allocate("one more", now=0)


def test_a_range_limits_what_is_given_but_not_what_is_asked_for() -> None:
    allocator = ready(pool_of("172.28.0.0/16", ip_range="172.28.5.0/30"))
    assert str(allocator.pool.gateway) == "172.28.5.0", "as Docker: the first address of the range"
    assert [take(allocator, owner) for owner in "abc"] == ["172.28.5.1", "172.28.5.2", "172.28.5.3"]
    with pytest.raises(PoolFull):
        take(allocator, "d")
    assert take(allocator, "e", "172.28.9.9") == "172.28.9.9"


def test_a_range_at_the_end_spares_the_broadcast_address() -> None:
    allocator = ready(pool_of("10.0.0.0/24", ip_range="10.0.0.252/30", gateway=False))
    assert [take(allocator, owner) for owner in "abc"] == ["10.0.0.252", "10.0.0.253", "10.0.0.254"]
    with pytest.raises(PoolFull):
        take(allocator, "d")


def test_auxiliary_addresses_are_nobodys_and_the_gateway_avoids_them() -> None:
    allocator = ready(pool_of("10.0.0.0/29", router="10.0.0.1", printer="10.0.0.3"))
    assert str(allocator.pool.gateway) == "10.0.0.2"
    assert take(allocator, "a") == "10.0.0.4"
    with pytest.raises(AddressInUse) as caught:
        take(allocator, "b", "10.0.0.3")
    assert caught.value.message == "Address already in use"
    assert caught.value.remedy is not None
    assert "auxiliary:printer" in caught.value.remedy


def test_the_default_gateway_can_be_an_auxiliary_address() -> None:
    pool = pool_of("10.0.0.0/24", DefaultGatewayIPv4="10.0.0.254")
    assert str(pool.gateway) == "10.0.0.1"
    assert str(pool.container_gateway) == "10.0.0.254"
    assert str(pool_of("10.0.0.0/24").container_gateway) == "10.0.0.1"
    six = complete_pool(
        Pool.of(POOL, PoolConfig("fd00::/64", aux_addresses={"DefaultGatewayIPv6": "fd00::9"}))
    )
    assert str(six.container_gateway) == "fd00::9"


def test_reserved_prefixes_are_given_only_when_asked_for() -> None:
    pool = Pool.of(POOL, PoolConfig("10.0.0.0/29", gateway="10.0.0.6"), reserved=(ip_network("10.0.0.0/30"),))
    allocator = ready(pool)
    assert take(allocator, "a") == "10.0.0.4"
    assert take(allocator, "b", "10.0.0.2") == "10.0.0.2"
    give_back(allocator, "b")
    assert take(allocator, "c") == "10.0.0.5"
    with pytest.raises(PoolFull):
        take(allocator, "d")


@pytest.mark.parametrize("address", ["10.0.0.0", "10.0.0.255", "10.0.0.1", "10.0.0.9"])
def test_a_taken_address_is_refused_in_dockers_words(address: str) -> None:
    allocator = ready(pool_of("10.0.0.0/24"))
    take(allocator, "a", "10.0.0.9")
    with pytest.raises(AddressInUse, match=r"^Address already in use$") as caught:
        allocator.plan_allocate("b", now=0, address=ip_address(address))
    assert isinstance(caught.value, Denied)
    assert address in str(caught.value.remedy)


@pytest.mark.parametrize("address", ["10.0.1.1", "fd00::1"])
def test_an_address_of_no_subnet_is_refused(address: str) -> None:
    allocator = ready(pool_of("10.0.0.0/24"))
    with pytest.raises(InvalidRequest, match=f"^no configured subnet contains IP address {address}$"):
        allocator.plan_allocate("a", now=0, address=ip_address(address))
    with pytest.raises(InvalidRequest, match="no configured subnet contains"):
        pool_for([allocator.pool], ip_address(address))
    assert pool_for([allocator.pool], ip_address("10.0.0.77")) is allocator.pool


def test_an_owner_keeps_its_address_and_asking_again_writes_nothing() -> None:
    allocator = ready(pool_of("10.0.0.0/24"))
    first = take(allocator, "a")
    again = allocator.plan_allocate("a", now=9)
    assert not again
    assert again.lease is not None
    assert str(again.lease.address) == first
    with pytest.raises(Conflict, match=r"10\.0\.0\.2 already"):
        allocator.plan_allocate("a", now=9, address=ip_address("10.0.0.50"))


def test_asking_for_the_address_one_has_makes_it_static() -> None:
    allocator = ready(pool_of("10.0.0.0/24"))
    address = take(allocator, "a")
    assert take(allocator, "a", address) == address
    lease = allocator.lease_of("a")
    assert lease is not None
    assert lease.kind is LeaseKind.STATIC


def test_freed_addresses_come_back_longest_idle_first_and_after_all_unused_ones() -> None:
    allocator = ready(pool_of("10.0.0.0/29"))  # gateway .1; .2 to .6 are given
    for owner in "abcd":
        take(allocator, owner)
    give_back(allocator, "c", now=10)
    give_back(allocator, "a", now=20)
    give_back(allocator, "b", now=20)
    assert take(allocator, "e", now=500) == "10.0.0.6", "never used"
    assert [take(allocator, owner, now=500) for owner in "fgh"] == ["10.0.0.4", "10.0.0.2", "10.0.0.3"]


def test_the_order_of_release_holds_when_the_clock_is_set_back() -> None:
    allocator = ready(pool_of("10.0.0.0/29"))
    for owner in "abcde":
        take(allocator, owner)
    give_back(allocator, "b", now=1000)
    give_back(allocator, "a", now=10)
    loaded = Allocator.load(allocator.pool, reversed(allocator.leases()), allocator.state)
    assert take(loaded, "x", now=11) == take(allocator, "x", now=11) == "10.0.0.3"


def test_a_pool_without_rest_reuses_early_and_says_so() -> None:
    allocator = ready(pool_of("10.0.0.0/30"), cooldown_s=60)
    take(allocator, "a")
    give_back(allocator, "a", now=100)
    assert allocator.plan_allocate("b", now=130).reused_early
    assert not allocator.plan_allocate("b", now=160).reused_early


def test_a_late_release_does_not_free_the_next_owners_address() -> None:
    allocator = ready(pool_of("10.0.0.0/30"))
    address = take(allocator, "a")
    old = allocator.lease_of("a")
    assert old is not None
    give_back(allocator, "a")
    assert take(allocator, "b") == address
    late = allocator.plan_release(old.address, old.sequence, now=1)
    assert not late
    allocator.apply(late)
    assert allocator.lease_of("b") is not None
    assert not allocator.plan_release(ip_address("10.0.0.99"), 1, now=1)
    assert not allocator.plan_release(ip_address("fd00::1"), 1, now=1)


def test_a_late_release_fails_also_after_everything_was_forgotten_and_reloaded() -> None:
    allocator = ready(pool_of("10.0.0.0/24"))
    take(allocator, "a", "10.0.0.9")
    old = allocator.lease_of("a")
    assert old is not None
    give_back(allocator, "a")
    reloaded = Allocator.load(allocator.pool, [], allocator.state)
    take(reloaded, "b", "10.0.0.9")
    assert not reloaded.plan_release(old.address, old.sequence, now=1)


def test_sequences_go_on_also_if_the_pools_own_record_is_lost() -> None:
    allocator = ready(pool_of("10.0.0.0/24"))
    for owner in "abc":
        take(allocator, owner)
    reloaded = Allocator.load(allocator.pool, allocator.leases())
    assert reloaded.state.sequence == allocator.state.sequence == 4
    assert take(reloaded, "d") == "10.0.0.5"


def test_the_networks_own_addresses_cannot_be_released() -> None:
    allocator = ready(pool_of("10.0.0.0/24"))
    gateway = allocator.lease_at(ip_address("10.0.0.1"))
    assert gateway is not None
    assert gateway.kind is LeaseKind.GATEWAY
    with pytest.raises(Denied, match="belongs to the network itself"):
        allocator.plan_release(gateway.address, gateway.sequence, now=0)


def test_a_released_static_address_outside_the_range_leaves_no_record() -> None:
    allocator = ready(pool_of("10.0.0.0/24", ip_range="10.0.0.128/25"))
    take(allocator, "a", "10.0.0.5")
    change = give_back(allocator, "a")
    assert change.put == ()
    assert [str(lease.address) for lease in change.forget] == ["10.0.0.5"]
    assert take(allocator, "b", "10.0.0.5") == "10.0.0.5"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            PoolConfig("10.0.0.0/24", gateway="10.0.0.0"),
            r"^failed to allocate gateway \(10\.0\.0\.0\): Address",
        ),
        (
            PoolConfig("10.0.0.0/24", gateway="10.0.0.1", aux_addresses={"x": "10.0.0.1"}),
            r"^failed to allocate secondary ip address \(x:10\.0\.0\.1\): Address already in use$",
        ),
    ],
)
def test_setup_refuses_in_dockers_words(config: PoolConfig, message: str) -> None:
    with pytest.raises(Failed, match=message):
        Allocator(Pool.of(POOL, config)).plan_setup()


def test_setup_can_be_repeated_and_follows_a_changed_pool() -> None:
    allocator = ready(pool_of("10.0.0.0/24", x="10.0.0.9"))
    assert not allocator.plan_setup()
    moved = replace(allocator.pool, gateway=ip_address("10.0.0.254"), auxiliary={})
    loaded = Allocator.load(moved, allocator.leases(), allocator.state)
    change = loaded.plan_setup()
    assert [str(lease.address) for lease in change.put] == ["10.0.0.254"]
    assert {str(lease.address) for lease in change.forget} == {"10.0.0.1", "10.0.0.9"}
    loaded.apply(change)
    take(loaded, "a", "10.0.0.1")
    with pytest.raises(Failed, match="failed to allocate gateway"):
        Allocator.load(allocator.pool, loaded.leases()).plan_setup()


def test_records_that_do_not_fit_are_set_apart() -> None:
    pool = pool_of("10.0.0.0/29")
    strange = [
        Lease(ip_address("10.9.9.9"), POOL, "a", LeaseKind.STATIC, 1),
        Lease(ip_address("10.0.0.3"), PoolId("other"), "b", LeaseKind.STATIC, 2),
        Lease(ip_address("fd00::1"), POOL, "c", LeaseKind.STATIC, 3),
        Lease(ip_address("10.0.0.0"), POOL, "d", LeaseKind.DYNAMIC, 4, released_at=1.0),
    ]
    allocator = Allocator.load(pool, strange)
    assert set(allocator.strays) == set(strange)
    assert allocator.leases() == []
    assert ready(allocator.pool).usage().available == 5


def test_a_stale_plan_is_refused() -> None:
    allocator = ready(pool_of("10.0.0.0/24"))
    one, other = allocator.plan_allocate("a", now=0), allocator.plan_allocate("b", now=0)
    allocator.apply(one)
    with pytest.raises(Conflict, match="changed since this was planned"):
        allocator.apply(other)


def test_usage_counts_as_docker_does() -> None:
    allocator = ready(pool_of("10.0.0.0/24", ip_range="10.0.0.128/25"))
    assert (allocator.usage().in_use, allocator.usage().available) == (3, 126)
    take(allocator, "a")
    take(allocator, "b", "10.0.0.5")
    assert (allocator.usage().in_use, allocator.usage().available) == (5, 125)
    give_back(allocator, "a")
    assert (allocator.usage().in_use, allocator.usage().available) == (4, 126)
    assert ready(pool_of("fd00::/64")).usage() == Usage(in_use=2, available=2**64 - 2)
    assert ready(pool_of("10.0.0.0/31")).usage() == Usage(in_use=1, available=1)


def test_only_the_last_releases_are_remembered() -> None:
    allocator = ready(pool_of("fd00::/64"), cooldown_s=5, remembered=10)
    records = {lease.id: lease for lease in allocator.leases()}
    for count in range(200):
        change = allocator.plan_allocate("c", now=count)
        allocator.apply(change)
        released = give_back(allocator, "c", now=count)
        for written in (*change.put, *released.put):
            records[written.id] = written
        for forgotten in released.forget:
            del records[forgotten.id]
    assert len(allocator.leases()) == len(records) == 11
    assert take(allocator, "d", now=300) == "fd00::ca", "still upwards: 200 were used before"


def test_cooldown_keeps_records_longer_than_the_limit_and_then_catches_up() -> None:
    allocator = ready(pool_of("10.0.0.0/24"), cooldown_s=60, remembered=10)
    for count in range(50):
        take(allocator, f"c{count}")
    for count in range(40):
        give_back(allocator, f"c{count}", now=0)
    assert len(allocator.leases()) == 51, "all within their cooldown"
    for count in range(40, 50):
        give_back(allocator, f"c{count}", now=100)
    assert len(allocator.leases()) == 51 - 20, "two at a time"


def test_forgotten_addresses_are_given_after_the_cursor_went_round() -> None:
    allocator = ready(pool_of("10.0.0.0/29"), cooldown_s=0, remembered=1)
    order = []
    for _ in range(9):
        order.append(take(allocator, "c"))
        give_back(allocator, "c")
    assert order[:5] == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    assert order[5:] == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]


def test_a_nearly_full_pool_takes_no_more_steps_than_an_empty_one() -> None:
    allocator = ready(pool_of("10.0.0.0/16"))

    def steps(owner: str) -> int:
        before = allocator._clear.steps
        take(allocator, owner)
        give_back(allocator, owner)
        return allocator._clear.steps - before

    empty = steps("probe")
    taken = 65_533 - 2  # all but the gateway and two
    for number in range(taken):
        change = allocator.plan_allocate(f"c{number}", now=0)
        allocator.apply(change)
    assert allocator.usage().available == 2
    nearly_full = max(steps("probe") for _ in range(5))
    assert nearly_full <= empty + 2


def test_scattered_gaps_cost_a_search_not_a_walk() -> None:
    allocator = ready(pool_of("10.0.0.0/16"))
    for number in range(1, 10_000):
        take(allocator, f"s{number}", str(allocator.pool.address((10 << 24) + 2 * number)))
    before = allocator._clear.steps
    for number in range(100):
        take(allocator, f"d{number}")
    assert (allocator._clear.steps - before) / 100 <= 5


def test_a_pool_survives_the_way_through_its_configuration() -> None:
    pool = pool_of("10.0.0.0/24", ip_range="10.0.0.128/25", x="10.0.0.9")
    assert Pool.of(POOL, pool.to_config(), label=pool.label) == pool
    six = complete_pool(Pool.of(POOL, PoolConfig("fd00:0:0::/64")))
    assert six.to_config() == PoolConfig("fd00::/64", gateway="fd00::1")
