"""The plan of a neighbour table."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.domains.overlay.neighbours import NeighbourPlan, plan_neighbours
from carrick.model.observed import Neighbour
from carrick.model.steps import AddNeighbour, CreateVxlan, RemoveNeighbour
from carrick.testing.fake_kernel import FakeKernel

ADDRESSES = [f"10.1.0.{number}" for number in range(2, 6)] + [f"fd00:1::{number}" for number in range(2, 6)]
MACS = [f"02:00:00:00:00:{number:02x}" for number in range(3)]
ROWS = st.dictionaries(
    st.sampled_from(ADDRESSES), st.builds(Neighbour, st.sampled_from(MACS), st.booleans()), max_size=6
)
Rows = dict[str, Neighbour]


@settings(max_examples=60, deadline=None)
@given(desired=ROWS, actual=ROWS)
def test_the_plan_leads_to_what_is_desired(desired: Rows, actual: Rows) -> None:
    kernel = FakeKernel()
    asyncio.run(kernel.apply([CreateVxlan("vx0", 1, 4789, "192.0.2.1", "", 1450)]))
    asyncio.run(kernel.apply(plan_neighbours(actual, {}).steps("vx0")))
    before = asyncio.run(kernel.read_neighbours("vx0"))
    plan = plan_neighbours(desired, before)
    for step in plan.steps("vx0"):
        asyncio.run(kernel.apply([step]))
        assert desired.keys() & before.keys() <= asyncio.run(kernel.read_neighbours("vx0")).keys()
    found = asyncio.run(kernel.read_neighbours("vx0"))
    assert {address: row.mac for address, row in found.items()} == {
        address: row.mac for address, row in desired.items()
    }
    assert not plan_neighbours(desired, found)


def test_changes_in_their_order() -> None:
    desired = {"10.1.0.2": Neighbour(MACS[0]), "FD00:1:0::2": Neighbour(MACS[1].upper(), True)}
    actual = {"10.1.0.2": Neighbour(MACS[1]), "10.1.0.3": Neighbour(MACS[1]), "fd00:1::2": Neighbour(MACS[1])}
    plan = plan_neighbours(desired, actual)
    assert plan == NeighbourPlan(
        (("10.1.0.2", Neighbour(MACS[0])), ("fd00:1::2", Neighbour(MACS[1], True))), ("10.1.0.3",)
    )
    assert plan.steps("vx0") == (
        AddNeighbour("vx0", "10.1.0.2", MACS[0]),
        AddNeighbour("vx0", "fd00:1::2", MACS[1], router=True),
        RemoveNeighbour("vx0", "10.1.0.3"),
    )


def test_a_router_is_ipv6s_business() -> None:
    assert not plan_neighbours({"10.1.0.2": Neighbour(MACS[0], True)}, {"10.1.0.2": Neighbour(MACS[0])})
