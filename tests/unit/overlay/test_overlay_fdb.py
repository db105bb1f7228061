"""The FDB's plan: what it changes, in which order, and that nothing valid is missing meanwhile."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.domains.overlay.fdb import FdbPlan, plan_fdb
from carrick.model.errors import InvalidRequest
from carrick.model.steps import ANY_MAC, CreateBridge, CreateVxlan, RemoveFdb, SetFdb, Step
from carrick.testing.fake_kernel import FakeKernel

LOCAL = "192.0.2.1"
VTEPS = [f"192.0.2.{number}" for number in range(2, 7)]
MACS = [f"02:00:00:00:00:{number:02x}" for number in range(6)]
ONE = st.sampled_from(VTEPS).map(lambda vtep: frozenset({vtep}))
SEVERAL = st.sets(st.sampled_from(VTEPS), min_size=1).map(frozenset)
FDBS = st.builds(
    lambda unicast, rest: unicast | ({ANY_MAC: rest} if rest else {}),
    st.dictionaries(st.sampled_from(MACS), ONE),
    st.none() | SEVERAL,
)
Rows = dict[str, frozenset[str]]


def kernel_with(rows: Rows) -> FakeKernel:
    kernel = FakeKernel()
    apply(kernel, CreateBridge("br0", "a", 1450), CreateVxlan("vx0", 1, 4789, LOCAL, "", 1450, master="br0"))
    apply(kernel, *(SetFdb("vx0", mac, vtep) for mac, vteps in rows.items() for vtep in sorted(vteps)))
    return kernel


def apply(kernel: FakeKernel, *steps: Step) -> None:
    asyncio.run(kernel.apply(steps))


def fdb(kernel: FakeKernel) -> Rows:
    return asyncio.run(kernel.read_fdb("vx0"))


@settings(max_examples=60, deadline=None)
@given(desired=FDBS, actual=FDBS)
def test_the_plan_leads_to_what_is_desired(desired: Rows, actual: Rows) -> None:
    kernel = kernel_with(actual)
    for step in plan_fdb(desired, actual, LOCAL).steps("vx0"):
        apply(kernel, step)
        found = fdb(kernel)
        for mac in desired.keys() & actual.keys():
            # What was right stays, and a MAC that had a row has one.
            assert desired[mac] & actual[mac] <= found[mac]
    assert fdb(kernel) == desired
    assert not plan_fdb(desired, fdb(kernel), LOCAL)


@settings(max_examples=60, deadline=None)
@given(desired=FDBS, actual=FDBS, cut=st.integers(0, 8))
def test_a_plan_cut_short_is_taken_up_again(desired: Rows, actual: Rows, cut: int) -> None:
    kernel = kernel_with(actual)
    apply(kernel, *plan_fdb(desired, actual, LOCAL).steps("vx0")[:cut])
    apply(kernel, *plan_fdb(desired, fdb(kernel), LOCAL).steps("vx0"))
    assert fdb(kernel) == desired


def test_a_mac_that_moved_is_one_replace() -> None:
    plan = plan_fdb({MACS[0]: {VTEPS[1]}}, {MACS[0]: {VTEPS[0]}}, LOCAL)
    assert plan == FdbPlan(replace=((MACS[0], VTEPS[1]),))
    assert plan.steps("vx0") == (SetFdb("vx0", MACS[0], VTEPS[1]),)


def test_who_joins_comes_before_who_leaves() -> None:
    plan = plan_fdb(
        {ANY_MAC: {VTEPS[1], VTEPS[2]}}, {ANY_MAC: {VTEPS[0], VTEPS[1]}, MACS[0]: {VTEPS[0]}}, LOCAL
    )
    assert plan.steps("vx0", bridge=True) == (
        SetFdb("vx0", ANY_MAC, VTEPS[2]),
        RemoveFdb("vx0", ANY_MAC, VTEPS[0]),
        RemoveFdb("vx0", MACS[0], VTEPS[0], bridge=True),
    )


def test_the_bridge_has_what_is_desired_too() -> None:
    kernel = kernel_with({})
    apply(kernel, *plan_fdb({MACS[0]: {VTEPS[0]}, ANY_MAC: {VTEPS[0]}}, {}, LOCAL).steps("vx0", bridge=True))
    assert kernel.bridge_rows("vx0") == {MACS[0]}
    apply(kernel, *plan_fdb({}, fdb(kernel), LOCAL).steps("vx0", bridge=True))
    assert (kernel.bridge_rows("vx0"), fdb(kernel)) == (frozenset(), {})


def test_writing_does_not_matter() -> None:
    desired = {"02:AA:00:00:00:01": {"2001:DB8:0::7"}}
    assert not plan_fdb(desired, {"02:aa:00:00:00:01": {"2001:db8::7"}}, "2001:db8::1")
    assert not plan_fdb({ANY_MAC: set()}, {}, LOCAL)


@pytest.mark.parametrize(
    ("desired", "words"),
    [
        ({MACS[0]: {LOCAL}}, "points back at this host's VTEP 192.0.2.1"),
        ({ANY_MAC: {VTEPS[0], LOCAL}}, "points back"),
        ({MACS[0]: {"2001:db8::7"}}, "2001:db8::7, but VTEPs here are IPv4"),
        ({MACS[0]: set(VTEPS[:2])}, "is behind 2 VTEPs"),
    ],
)
def test_what_cannot_be_is_named(desired: dict[str, set[str]], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        plan_fdb(desired, {}, LOCAL)
    assert next(iter(desired)) in caught.value.message
