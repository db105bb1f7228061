"""The plan of routes to other hosts' blocks."""

import asyncio
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.domains.overlay.routes import (
    BlockRoute,
    RoutePlan,
    own_block_routes,
    plan_block_routes,
)
from carrick.model.errors import InvalidRequest
from carrick.model.observed import RouteState
from carrick.model.steps import AddRoute, CreateVxlan, RemoveRoute
from carrick.testing.fake_kernel import FakeKernel

NETWORKS = (ip_network("10.1.0.0/16"), ip_network("fd00:1::/48"))
PREFIXES = ["10.1.1.0/24", "10.1.2.0/24", "10.1.2.0/25", "fd00:1:0:1::/64", "fd00:1:0:2::/64"]


@st.composite
def tables(draw: st.DrawFn) -> list[BlockRoute]:
    routes = []
    for prefix in draw(st.lists(st.sampled_from(PREFIXES), unique=True)):
        if draw(st.booleans()):
            host = draw(st.integers(2, 4))
            via = f"fd00:1::{host}" if ":" in prefix else f"10.1.0.{host}"
            link = draw(st.sampled_from(["vx0", "vx1"]))
            routes.append(BlockRoute(prefix, link, via, onlink=True, metric=draw(st.sampled_from([0, 5]))))
        else:
            routes.append(BlockRoute(prefix, kind=draw(st.sampled_from(["blackhole", "unreachable"]))))
    return routes


def read(kernel: FakeKernel) -> tuple[BlockRoute, ...]:
    return own_block_routes(kernel.look().routes, NETWORKS)


@settings(max_examples=60, deadline=None)
@given(desired=tables(), actual=tables())
def test_the_plan_leads_to_what_is_desired(desired: list[BlockRoute], actual: list[BlockRoute]) -> None:
    kernel = FakeKernel()
    links = [CreateVxlan(f"vx{vni}", vni, 4789, "192.0.2.1", "", 1450) for vni in (0, 1)]
    asyncio.run(kernel.apply([*links, AddRoute("10.2.0.0/16", "vx0"), AddRoute("10.0.0.0/8", "vx0")]))
    kernel.add_route("10.1.9.0/24", "vx0")
    others = {item.destination for item in kernel.look().routes}
    asyncio.run(kernel.apply(plan_block_routes(actual, ()).steps()))
    before = {item.prefix for item in read(kernel)}
    for step in plan_block_routes(desired, read(kernel)).steps():
        asyncio.run(kernel.apply([step]))
        assert {item.prefix for item in desired} & before <= {item.prefix for item in read(kernel)}
    assert not plan_block_routes(desired, read(kernel))
    assert {item.prefix for item in read(kernel)} == {item.prefix for item in desired}
    assert {item.destination for item in kernel.look().routes} >= others


def test_a_block_that_moved_is_one_replace() -> None:
    was = BlockRoute("10.1.7.0/24", "vx0", "10.1.7.0", onlink=True)
    gone = BlockRoute("10.1.8.0/24", "vx0", "10.1.8.0", onlink=True)
    now = BlockRoute("10.1.7.0/24", "eth0", "192.0.2.7")
    plan = plan_block_routes([now], [gone, was])
    assert plan == RoutePlan((now,), (gone,))
    assert plan.steps() == (
        AddRoute("10.1.7.0/24", "eth0", "192.0.2.7"),
        RemoveRoute("10.1.8.0/24", link="vx0", own=True),
    )


def test_writing_does_not_matter() -> None:
    shown = RouteState("fd00:1::/64", "vx0", "fd00:1::7", metric=1024, protocol=202, onlink=True)
    wanted = BlockRoute("FD00:1:0::/64", "vx0", "fd00:1:0::7", onlink=True)
    assert not plan_block_routes([wanted], own_block_routes([shown], NETWORKS))


def test_what_is_ours_here() -> None:
    def own(destination: str, table: int = 254, protocol: int = 202) -> RouteState:
        return RouteState(destination, "vx0", table=table, protocol=protocol)

    routes = [
        own("10.1.1.0/24"),
        own("10.1.0.0/16"),
        own("10.0.0.0/8"),
        own("default"),
        own("10.1.2.0/24", protocol=4),
        own("10.1.3.0/24", table=100),
        own("fd00:1:0:3::/64"),
        own("::/0"),
    ]
    assert [item.prefix for item in own_block_routes(routes, NETWORKS)] == [
        "10.1.1.0/24",
        "10.1.0.0/16",
        "fd00:1:0:3::/64",
    ]
    assert [item.prefix for item in own_block_routes(routes, NETWORKS, (100,))] == ["10.1.3.0/24"]


def test_two_routes_for_one_block() -> None:
    one, other = BlockRoute("10.1.7.0/24", "vx0", "10.1.7.0"), BlockRoute("10.1.7.0/24", "vx0", "10.1.8.0")
    with pytest.raises(InvalidRequest, match=r"10\.1\.7\.0/24 has two routes.*via 10\.1\.8\.0"):
        plan_block_routes([one, other], ())
    assert len(plan_block_routes([one, one], ()).replace) == 1
    assert (
        len(plan_block_routes([one, BlockRoute("10.1.7.0/24", metric=9, kind="blackhole")], ()).replace) == 2
    )
