"""Routes and rules."""

import errno
from dataclasses import replace

import pytest

from ...model.errors import KernelRefused
from ...model.observed import RouteState
from ...model.steps import (
    ROUTE_PROTOCOL,
    AddAddress,
    AddRoute,
    AddRule,
    RemoveRoute,
    RemoveRule,
    Rule,
    SetLink,
)
from .world import Cases, World, bridge, vxlan


class RoutingCases(Cases):
    """Cases of one subject."""

    def test_default_routes(self, world: World, pair: str) -> None:
        world.apply(
            AddAddress("eth0", "10.1.0.5/24", pair),
            AddAddress("eth0", "fd00:1::5/64", pair),
            SetLink("eth0", pair, up=True),
            AddRoute("default", "eth0", "10.1.0.1", pair),
            AddRoute("default", "eth0", "fd00:1::1", pair, version=6),
        )
        found = {(item.destination, item.link, item.via) for item in world.read(pair).routes}
        assert found >= {("default", "eth0", "10.1.0.1"), ("::/0", "eth0", "fd00:1::1")}
        assert found >= {("10.1.0.0/24", "eth0", ""), ("fd00:1::/64", "eth0", "")}
        world.apply(AddRoute("default", "eth0", "10.1.0.2", pair))
        defaults = [item.via for item in world.read(pair).routes if item.destination == "default"]
        assert defaults == ["10.1.0.2"]
        world.apply(RemoveRoute("default", pair), RemoveRoute("default", pair, version=6))
        assert {"default", "::/0"}.isdisjoint({item.destination for item in world.read(pair).routes})

    def test_routes_on_the_link(self, world: World, pair: str) -> None:
        world.apply(SetLink("eth0", pair, up=True), AddAddress("eth0", "10.1.0.5/32", pair))
        world.apply(AddRoute("10.1.0.1/32", "eth0", netns=pair), AddRoute("default", "eth0", netns=pair))
        found = {(item.destination, item.via) for item in world.read(pair).routes if item.link == "eth0"}
        assert found >= {("10.1.0.1/32", ""), ("default", "")}
        world.apply(RemoveRoute("10.1.0.1/32", pair, link="eth0"))
        assert "10.1.0.1/32" not in {item.destination for item in world.read(pair).routes}

    def test_a_route_needs_its_link_up_and_its_gateway_near(self, world: World, pair: str) -> None:
        world.apply(AddAddress("eth0", "10.1.0.5/24", pair))
        error = world.refused(AddRoute("default", "eth0", "10.1.0.1", pair))
        assert isinstance(error, KernelRefused)
        world.apply(SetLink("eth0", pair, up=True))
        error = world.refused(AddRoute("default", "eth0", "10.2.0.1", pair))
        assert isinstance(error, KernelRefused)
        assert error.errno == errno.ENETUNREACH

    def test_a_link_that_goes_down_loses_routes_and_ipv6(self, world: World, pair: str) -> None:
        world.apply(
            AddAddress("eth0", "10.1.0.5/24", pair),
            SetLink("eth0", pair, up=True),
            AddAddress("eth0", "fd00:1::5/64", pair),
            AddRoute("default", "eth0", "10.1.0.1", pair),
            SetLink("eth0", pair, up=False),
        )
        state = world.read(pair)
        assert state.links["eth0"].addresses == {"10.1.0.5/24"}
        assert not [item for item in state.routes if item.link == "eth0"]

    # Routes and rules of many hosts ----------------------------------------------------------

    def test_routes_to_other_hosts(self, world: World) -> None:
        world.apply(
            vxlan(),
            AddAddress("vx0", "10.1.0.0/32"),
            AddAddress("vx0", "fd00:1::/128"),
            AddRoute("10.1.7.0/24", "vx0", "10.1.7.0", onlink=True, source="10.1.0.0"),
            AddRoute("fd00:1:7::/64", "vx0", "fd00:1:7::", version=6, onlink=True, metric=7),
        )
        assert world.own_routes() == {
            RouteState(
                "10.1.7.0/24", "vx0", "10.1.7.0", protocol=ROUTE_PROTOCOL, source="10.1.0.0", onlink=True
            ),
            RouteState("fd00:1:7::/64", "vx0", "fd00:1:7::", 0, 7, protocol=ROUTE_PROTOCOL, onlink=True),
        }
        assert any(route.destination == "fd00:1::/128" for route in world.read().routes)

    @pytest.mark.parametrize(("version", "block"), [(4, "10.1.7.0/24"), (6, "fd00:1:7::/64")])
    def test_a_block_without_a_host(self, world: World, version: int, block: str) -> None:
        near = "10.1.0.1" if version == 4 else "fd00:1::1"
        kinds = ("blackhole", "unreachable", "unicast", "blackhole")
        world.apply(bridge(), AddAddress("br0", f"{near}/{24 if version == 4 else 64}"))
        for kind in kinds:
            unicast = kind == "unicast"
            world.apply(
                AddRoute(
                    block,
                    "br0" if unicast else "",
                    near[:-1] + "9" if unicast else "",
                    version=version,
                    kind=kind,  # type: ignore[arg-type]
                )
            )
            (found,) = world.own_routes()
            assert (found.destination, found.kind, found.link) == (block, kind, "br0" if unicast else "")
        world.apply(RemoveRoute(block, version=version), RemoveRoute(block, version=version))
        assert world.own_routes() == set()

    @pytest.mark.parametrize("table", [100, 70000])
    def test_tables_of_routes(self, world: World, table: int) -> None:
        world.apply(bridge(), AddAddress("br0", "10.1.0.1/24"))
        world.apply(AddRoute("default", "br0", "10.1.0.9", table=table), AddRoute("10.9.0.0/16", "br0"))
        world.apply(AddRoute("10.9.0.0/16", "br0", metric=5))
        found = {(item.destination, item.table, item.metric) for item in world.own_routes()}
        assert found == {("default", table, 0), ("10.9.0.0/16", 254, 0), ("10.9.0.0/16", 254, 5)}
        world.apply(RemoveRoute("default"), RemoveRoute("10.9.0.0/16", metric=5))
        world.apply(RemoveRoute("default", link="br0", table=table))
        world.apply(RemoveRoute("10.1.0.0/24", own=True))
        assert {item.destination for item in world.own_routes()} == {"10.9.0.0/16"}
        assert any(item.destination == "10.1.0.0/24" for item in world.read().routes)

    def test_rules(self, world: World, netns: str) -> None:
        rules = (
            Rule(900, 100, source="10.1.0.0/16"),
            Rule(901, 70000, destination="10.2.0.0/16", iif="lo"),
            Rule(902, 254, fwmark=0x40, fwmask=0xF0, invert=True),
            Rule(900, 100, 6, source="fd00:1::/64", fwmark=5),
        )
        assert world.run(world.kernel.read_rules()) == ()
        world.apply(*map(AddRule, rules))
        world.apply(*map(AddRule, rules))
        assert world.run(world.kernel.read_rules()) == rules
        assert world.run(world.kernel.read_rules(netns)) == ()
        world.apply(RemoveRule(rules[0]), RemoveRule(rules[3]), RemoveRule(rules[0]))
        world.apply(RemoveRule(replace(rules[1], priority=950)))
        assert world.run(world.kernel.read_rules()) == rules[1:3]
