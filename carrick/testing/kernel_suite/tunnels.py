"""VXLAN and WireGuard devices, rows, neighbours, shortcuts, and ports of a bridge."""

from typing import Any

import pytest

from ...host.kernel.contract import SHORTCUT
from ...model.errors import Conflict, KernelRefused, NotFound, Unsupported
from ...model.observed import Neighbour, VxlanState, WireguardState
from ...model.steps import (
    ANY_MAC,
    AddNeighbour,
    AddShortcut,
    CreateWireguard,
    DeleteLink,
    RemoveFdb,
    RemoveNeighbour,
    RemoveRule,
    RemoveShortcut,
    Rule,
    SetFdb,
    SetLink,
    SetShortcut,
)
from .world import MAC, PEER_MAC, Cases, World, bridge, veth, vxlan


class TunnelCases(Cases):
    """Cases of one subject."""

    # VXLAN, FDB and neighbours ---------------------------------------------------------------

    def test_a_vxlan_device(self, world: World) -> None:
        world.apply(bridge(mtu=1450), vxlan(mac=PEER_MAC, master="br0"))
        link = world.link("vx0")
        assert (link.kind, link.mac, link.mtu, link.up) == ("vxlan", PEER_MAC, 1450, True)
        assert (link.master, link.alias) == ("br0", "carrick:vx0")
        assert link.vxlan == VxlanState(4096, 4789, "192.0.2.1")
        assert world.link("br0").vxlan is None

    def test_a_vxlan_device_over_ipv6(self, world: World) -> None:
        world.apply(vxlan(local="2001:db8:0::1", learning=True, proxy=True, source_ports=(40000, 50000)))
        assert world.link("vx0").vxlan == VxlanState(4096, 4789, "2001:db8::1", True, True)

    def test_a_vxlan_device_that_is_there_is_brought_into_shape(self, world: World) -> None:
        world.apply(bridge(), vxlan())
        before = world.link("vx0").index
        world.apply(SetLink("vx0", up=False, mtu=1300, alias=""))
        world.apply(vxlan(mac=PEER_MAC, master="br0"))
        link = world.link("vx0")
        assert (link.index, link.mtu, link.up, link.alias) == (before, 1450, True, "carrick:vx0")
        assert (link.master, link.mac) == ("br0", PEER_MAC)

    @pytest.mark.parametrize(
        "changes", [{"vni": 4097}, {"port": 8472}, {"local": "192.0.2.2"}, {"alias": "x"}, {"proxy": True}]
    )
    def test_another_vxlan_device_of_that_name_is_a_conflict(
        self, world: World, changes: dict[str, Any]
    ) -> None:
        world.apply(vxlan())
        before = world.link("vx0")
        assert isinstance(world.refused(vxlan(**changes)), Conflict)
        assert world.link("vx0") == before
        world.apply(DeleteLink("vx0"), vxlan(**changes))
        assert world.link("vx0").index != before.index

    def test_shortcuts(self, world: World, netns: str) -> None:
        world.apply(bridge(), vxlan(master="br0"), veth(netns), SetLink("eth0", netns, up=True))
        world.apply(AddShortcut("vx0", "ve0", PEER_MAC))
        assert (world.link("vx0").shortcut, world.link("ve0").shortcut) == ("", "")
        if not world.run(world.kernel.supports(SHORTCUT)):
            pytest.skip("this kernel lets no shortcuts in")
        for _ in range(2):
            world.apply(SetShortcut("vx0", "br0"), AddShortcut("vx0", "ve0", PEER_MAC))
            assert (world.link("vx0").shortcut, world.link("ve0").shortcut) == ("set", "set")
        world.apply(SetFdb("vx0", MAC, "192.0.2.7"))
        assert set(world.run(world.kernel.read_shortcut_bytes())) <= {"vx0"}
        for _ in range(2):
            world.apply(RemoveShortcut("vx0", "br0"))
            assert (world.link("vx0").shortcut, world.link("ve0").shortcut) == ("", "")
        world.apply(SetShortcut("vx0", "br0"), DeleteLink("vx0"), vxlan(master="br0"))
        assert world.link("vx0").shortcut == ""
        for step in (
            SetShortcut("nothing", "br0"),
            RemoveShortcut("nothing", "br0"),
            AddShortcut("vx0", "nothing", MAC),
        ):
            assert isinstance(world.refused(step), NotFound)

    def test_a_pair_has_a_carrier_when_both_ends_are_up(self, world: World, netns: str) -> None:
        world.apply(bridge(), veth(netns))
        assert world.link("ve0").up and not world.link("ve0").carrier
        world.apply(SetLink("eth0", netns, up=True))
        assert world.link("ve0").carrier

    def test_a_vni_is_used_once(self, world: World) -> None:
        world.apply(vxlan())
        assert isinstance(world.refused(vxlan("vx1")), Conflict)
        assert "vx1" not in world.read().links
        world.apply(vxlan("vx1", vni=4097), vxlan("vx2", port=8472), vxlan("vx3", local="2001:db8::1"))
        assert isinstance(world.refused(vxlan("vx4", vni=4098, master="nothing")), NotFound)
        assert isinstance(world.refused(vxlan("vx4", vni=4098, parent="nothing")), NotFound)
        assert {"vx1", "vx2", "vx3"} < set(world.read().links)

    def test_a_vxlan_device_goes_with_its_parent(self, world: World) -> None:
        world.apply(bridge(), vxlan(parent="br0"))
        world.apply(DeleteLink("br0"))
        assert "vx0" not in world.read().links

    def test_fdb_rows(self, world: World) -> None:
        world.apply(vxlan())
        assert world.fdb("vx0") == {}
        rows = [SetFdb("vx0", MAC, "192.0.2.7"), SetFdb("vx0", PEER_MAC, "192.0.2.8")]
        world.apply(*rows)
        world.apply(*rows)
        assert world.fdb("vx0") == {MAC: {"192.0.2.7"}, PEER_MAC: {"192.0.2.8"}}
        world.apply(SetFdb("vx0", MAC, "192.0.2.9"))
        assert world.fdb("vx0") == {MAC: {"192.0.2.9"}, PEER_MAC: {"192.0.2.8"}}
        world.apply(RemoveFdb("vx0", MAC), RemoveFdb("vx0", PEER_MAC, "192.0.2.8"))
        world.apply(RemoveFdb("vx0", MAC), RemoveFdb("vx0", PEER_MAC, "192.0.2.8"))
        assert world.fdb("vx0") == {}

    def test_the_row_for_all_has_several_destinations(self, world: World) -> None:
        world.apply(vxlan(local="2001:db8::1"))
        several = [SetFdb("vx0", ANY_MAC, f"2001:db8::{number}") for number in (2, 3, 4)]
        world.apply(*several, several[0])
        assert world.fdb("vx0") == {ANY_MAC: {"2001:db8::2", "2001:db8::3", "2001:db8::4"}}
        gone = RemoveFdb("vx0", ANY_MAC, "2001:db8::3")
        world.apply(gone, gone)
        assert world.fdb("vx0") == {ANY_MAC: {"2001:db8::2", "2001:db8::4"}}
        world.apply(RemoveFdb("vx0", ANY_MAC))
        assert world.fdb("vx0") == {}

    def test_rows_survive_a_link_that_goes_down(self, world: World) -> None:
        world.apply(vxlan(), SetFdb("vx0", MAC, "192.0.2.7"), SetFdb("vx0", ANY_MAC, "192.0.2.7"))
        world.apply(SetLink("vx0", up=False), SetLink("vx0", up=True))
        assert world.fdb("vx0") == {MAC: {"192.0.2.7"}, ANY_MAC: {"192.0.2.7"}}

    def test_rows_that_the_bridge_has_too(self, world: World) -> None:
        world.apply(bridge(), vxlan(master="br0"))
        world.apply(SetFdb("vx0", MAC, "192.0.2.7", bridge=True))
        world.apply(SetFdb("vx0", MAC, "192.0.2.8", bridge=True))
        assert world.fdb("vx0") == {MAC: {"192.0.2.8"}}
        world.apply(SetLink("vx0", master=""))
        gone = RemoveFdb("vx0", MAC, "192.0.2.8", bridge=True)
        world.apply(gone, gone)
        assert world.fdb("vx0") == {}

    def test_an_fdb_row_needs_its_device_and_its_family(self, world: World, netns: str) -> None:
        for link in ("vx0", "nothing"):
            assert isinstance(world.refused(SetFdb(link, MAC, "192.0.2.7")), NotFound)
            assert isinstance(world.refused(AddNeighbour(link, "10.1.0.9", MAC)), NotFound)
        world.apply(
            RemoveFdb("nothing", MAC),
            RemoveNeighbour("nothing", "10.1.0.9"),
            RemoveFdb("vx0", MAC, netns=netns),
            RemoveFdb("vx0", MAC, netns=world.path("gone")),
            RemoveNeighbour("vx0", "10.1.0.9", world.path("gone")),
            RemoveRule(Rule(900, 900), world.path("gone")),
        )
        for read in (world.fdb, world.neighbours):
            with pytest.raises(NotFound, match="nothing"):
                read("nothing")
        world.apply(vxlan())
        error = world.refused(SetFdb("vx0", MAC, "2001:db8::7"))
        assert isinstance(error, KernelRefused)
        assert "2001:db8::7" in error.message

    def test_a_refused_row_does_not_keep_the_others_of_its_type_back(self, world: World) -> None:
        world.apply(vxlan(), SetFdb("vx0", PEER_MAC, "192.0.2.9"))
        error = world.refused(
            SetFdb("vx0", MAC, "192.0.2.7"), SetFdb("vx0", MAC, "2001:db8::7"), RemoveFdb("vx0", PEER_MAC)
        )
        assert "2001:db8::7" in error.message
        # But nothing was removed on the strength of a row that is not there.
        assert world.fdb("vx0") == {MAC: {"192.0.2.7"}, PEER_MAC: {"192.0.2.9"}}

    def test_neighbours(self, world: World, pair: str) -> None:
        world.apply(vxlan(), SetLink("eth0", pair, up=True))
        for link, netns in (("vx0", ""), ("eth0", pair)):
            steps = [
                AddNeighbour(link, "10.1.0.9", MAC, netns=netns),
                AddNeighbour(link, "fd00:1:0::9", MAC, router=True, netns=netns),
                AddNeighbour(link, "fd00:1::8", PEER_MAC, netns=netns),
                AddNeighbour(link, "10.1.0.8", PEER_MAC, permanent=False, netns=netns),
            ]
            world.apply(*steps)
            world.apply(*steps)
            assert world.neighbours(link, netns) == {
                "10.1.0.9": Neighbour(MAC),
                "fd00:1::9": Neighbour(MAC, router=True),
                "fd00:1::8": Neighbour(PEER_MAC),
            }
            world.apply(AddNeighbour(link, "fd00:1::9", PEER_MAC, netns=netns))
            world.apply(RemoveNeighbour(link, "10.1.0.9", netns), RemoveNeighbour(link, "fd00:1:0::8", netns))
            world.apply(RemoveNeighbour(link, "10.1.0.9", netns))
            assert world.neighbours(link, netns) == {"fd00:1::9": Neighbour(PEER_MAC)}

    @pytest.mark.parametrize("change", [{"up": False}, {"mac": PEER_MAC}])
    def test_a_link_that_goes_down_or_changes_loses_its_neighbours(
        self, world: World, change: dict[str, Any]
    ) -> None:
        world.apply(vxlan(mac=MAC), AddNeighbour("vx0", "10.1.0.9", MAC))
        world.apply(vxlan(mac=MAC), SetLink("vx0", mac=MAC, up=True))
        assert world.neighbours("vx0") == {"10.1.0.9": Neighbour(MAC)}
        world.apply(SetLink("vx0", **change))
        assert world.neighbours("vx0") == {}

    def test_ports_of_a_bridge(self, world: World, pair: str) -> None:
        world.apply(
            vxlan(master="br0"),
            SetLink("vx0", neigh_suppress=True, learning=False, flood=False),
            SetLink("ve0", isolated=True, hairpin=True, mtu=1400),
            SetLink("eth0", pair, mac=MAC[:-1] + "7"),
        )
        assert world.link("ve0").mtu == 1400
        assert world.link("vx0").neigh_suppress and not world.link("ve0").neigh_suppress
        assert world.link("eth0", pair).mac == MAC[:-1] + "7"
        error = world.refused(SetLink("vx0", master=""), SetLink("vx0", learning=True))
        assert isinstance(error, KernelRefused)
        assert not world.link("vx0").neigh_suppress
        world.apply(SetLink("vx0", master="br0", learning=False))
        assert not world.link("vx0").neigh_suppress

    # WireGuard -------------------------------------------------------------------------------

    def test_a_wireguard_device(self, world: World) -> None:
        create = CreateWireguard("wg0", "carrick:wireguard", 1400)
        if not world.run(world.kernel.supports("wireguard")):
            assert isinstance(error := world.refused(create), Unsupported)
            assert "wireguard-go" in (error.remedy or "")
            with pytest.raises(NotFound):
                world.run(world.kernel.read_wireguard("wg0"))
            return
        world.apply(create)
        world.apply(create)
        link = world.link("wg0")
        assert (link.kind, link.mtu, link.up, link.alias) == ("wireguard", 1400, True, "carrick:wireguard")
        assert world.run(world.kernel.read_wireguard("wg0")) == WireguardState()
