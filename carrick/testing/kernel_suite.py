"""What every `Kernel` does: one suite, run on `FakeKernel` without root and on `LinuxKernel` in a namespace.

A subclass gives a fixture `world`. Only what planners rely on is asked; each case starts on an empty host.
"""

import asyncio
import errno
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ..host.kernel.contract import SHORTCUT, Kernel
from ..model.errors import CarrickError, Conflict, KernelRefused, NotFound, Unsupported
from ..model.observed import LinkState, NamespaceState, Neighbour, RouteState, VxlanState, WireguardState
from ..model.steps import (
    ANY_MAC,
    ROUTE_PROTOCOL,
    AddAddress,
    AddNeighbour,
    AddRoute,
    AddRule,
    AddShortcut,
    CreateBridge,
    CreateNetns,
    CreateSlave,
    CreateVeth,
    CreateVxlan,
    CreateWireguard,
    DeleteLink,
    DeleteNetns,
    Nft,
    RemoveAddress,
    RemoveFdb,
    RemoveNeighbour,
    RemoveRoute,
    RemoveRule,
    RemoveShortcut,
    Rule,
    SetFdb,
    SetLink,
    SetShortcut,
    SetSysctl,
    Step,
)

MAC = "02:00:5e:10:00:01"
PEER_MAC = "02:00:5e:10:00:02"


@dataclass
class World:
    """A kernel, a way to wait for it, and paths at which it may hold namespaces."""

    kernel: Kernel
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    path: Callable[[str], str]

    def apply(self, *steps: Step) -> None:
        self.run(self.kernel.apply(steps))

    def remove(self, *steps: Step) -> list[Exception]:
        errors: list[Exception] = self.run(self.kernel.remove(steps))
        return errors

    def read(self, netns: str = "") -> NamespaceState:
        state: NamespaceState = self.run(self.kernel.read(netns))
        return state

    def link(self, name: str, netns: str = "") -> LinkState:
        return self.read(netns).links[name]

    def refused(self, *steps: Step) -> CarrickError:
        with pytest.raises(CarrickError) as caught:
            self.apply(*steps)
        return caught.value

    def fdb(self, link: str, netns: str = "") -> dict[str, frozenset[str]]:
        return dict(self.run(self.kernel.read_fdb(link, netns)))

    def neighbours(self, link: str, netns: str = "") -> dict[str, Neighbour]:
        return dict(self.run(self.kernel.read_neighbours(link, netns)))

    def own_routes(self, netns: str = "") -> set[RouteState]:
        return {route for route in self.read(netns).routes if route.is_own}

    def sysctl(self, key: str, netns: str = "") -> str | None:
        value: str | None = self.run(self.kernel.read_sysctl(key, netns))
        return value


def _bridge(name: str = "br0", mtu: int = 1500) -> CreateBridge:
    return CreateBridge(name, f"carrick:{name}", mtu, MAC)


def _veth(netns: str, name: str = "ve0", peer: str = "eth0", mtu: int = 1500) -> CreateVeth:
    return CreateVeth(name, f"carrick:{name}", mtu, "br0", peer, netns, PEER_MAC)


def _vxlan(name: str = "vx0", vni: int = 4096, local: str = "192.0.2.1", **changes: Any) -> CreateVxlan:
    return replace(CreateVxlan(name, vni, 4789, local, f"carrick:{name}", 1450), **changes)


def _global(link: LinkState) -> set[str]:
    return {item for item in link.addresses if not item.startswith("fe80:")}


class KernelSuite:
    """Cases for a `Kernel`; the fixture `world` comes from the subclass."""

    @pytest.fixture
    def netns(self, world: World) -> str:
        path = world.path("one")
        world.apply(CreateNetns(path))
        return path

    @pytest.fixture
    def pair(self, world: World, netns: str) -> str:
        """A bridge `br0`, and a pair from `ve0` on it to `eth0` in the namespace returned."""
        world.apply(_bridge(), _veth(netns))
        return netns

    # Namespaces ------------------------------------------------------------------------------

    def test_a_namespace_is_made_once_and_goes(self, world: World) -> None:
        path = world.path("one")
        assert not world.run(world.kernel.has_netns(path))
        world.apply(CreateNetns(path))
        world.apply(CreateNetns(path))
        assert world.run(world.kernel.has_netns(path))
        assert set(world.read(path).links) >= {"lo"}
        world.apply(DeleteNetns(path))
        world.apply(DeleteNetns(path))
        assert not world.run(world.kernel.has_netns(path))

    def test_what_is_missing_is_named(self, world: World) -> None:
        path = world.path("nowhere")
        with pytest.raises(NotFound, match="nowhere"):
            world.read(path)
        for step in (
            SetLink("eth0", path, up=True),
            AddAddress("eth0", "10.0.0.1/24", path),
            SetSysctl("net.ipv4.conf.all.forwarding", "1", path),
        ):
            assert isinstance(world.refused(step), NotFound)
        world.apply(_bridge())
        error = world.refused(_veth(path))
        assert isinstance(error, NotFound)
        assert "nowhere" in error.message
        assert "ve0" not in world.read().links

    def test_a_namespace_takes_its_links_along(self, world: World, pair: str) -> None:
        world.apply(DeleteNetns(pair))
        for _ in range(200):
            # The kernel takes it down in its own time.
            if "ve0" not in world.read().links:
                break
            world.run(_moment())
        assert "ve0" not in world.read().links
        assert "br0" in world.read().links

    # Links -----------------------------------------------------------------------------------

    def test_a_bridge_comes_up_as_asked(self, world: World) -> None:
        world.apply(_bridge(mtu=1400))
        link = world.link("br0")
        assert (link.kind, link.mac, link.mtu, link.up, link.alias) == (
            "bridge",
            MAC,
            1400,
            True,
            "carrick:br0",
        )
        assert link.sysctls == {"ipv4.route_localnet": "0", "ipv6.accept_ra": "1", "ipv6.disable_ipv6": "0"}

    def test_a_bridge_that_is_there_is_brought_into_shape(self, world: World) -> None:
        world.apply(_bridge(mtu=1400), SetLink("br0", up=False))
        before = world.link("br0").index
        world.apply(_bridge(mtu=1300))
        link = world.link("br0")
        assert (link.index, link.mtu, link.up) == (before, 1300, True)

    def test_a_name_that_is_taken_is_a_conflict(self, world: World, pair: str) -> None:
        assert isinstance(world.refused(CreateBridge("ve0", "carrick:x", 1500)), Conflict)
        assert world.link("ve0").alias == "carrick:ve0"
        assert isinstance(world.refused(CreateBridge("br0", "carrick:other", 1500)), Conflict)
        assert world.link("br0").alias == "carrick:br0"
        assert isinstance(world.refused(_veth(pair, name="br0", peer="eth1")), Conflict)
        assert isinstance(world.refused(_veth(pair, name="ve1", peer="eth0")), Conflict)
        assert "ve1" not in world.read().links

    def test_a_pair(self, world: World, pair: str) -> None:
        outer, inner = world.link("ve0"), world.link("eth0", pair)
        assert (outer.kind, outer.master, outer.up, outer.alias) == ("veth", "br0", True, "carrick:ve0")
        assert (inner.kind, inner.master, inner.up, inner.mac) == ("veth", "", False, PEER_MAC)
        assert (outer.peer_index, inner.peer_index) == (inner.index, outer.index)

    def test_a_pair_has_one_mtu(self, world: World, netns: str) -> None:
        world.apply(_bridge(mtu=1400), _veth(netns, mtu=1400))
        assert (world.link("ve0").mtu, world.link("eth0", netns).mtu) == (1400, 1400)

    def test_a_pair_may_be_asked_for_again(self, world: World, pair: str) -> None:
        before = world.link("ve0").index
        world.apply(SetLink("ve0", up=False, master="", alias=""))
        world.apply(_veth(pair))
        link = world.link("ve0")
        assert (link.index, link.master, link.up, link.alias) == (before, "br0", True, "carrick:ve0")

    def test_one_end_takes_the_other_along(self, world: World, pair: str) -> None:
        world.apply(DeleteLink("eth0", pair))
        assert "ve0" not in world.read().links
        world.apply(_veth(pair))
        world.apply(DeleteLink("ve0"))
        assert "eth0" not in world.read(pair).links

    def test_a_pair_needs_its_bridge(self, world: World, netns: str) -> None:
        error = world.refused(_veth(netns))
        assert isinstance(error, NotFound)
        assert "br0" in error.message

    def test_a_pair_without_a_bridge(self, world: World, netns: str) -> None:
        world.apply(CreateVeth("ve0", "carrick:ve0", 1500, "", "eth0", netns, ""))
        assert (world.link("ve0").master, world.link("ve0").up) == ("", True)
        world.apply(
            AddAddress("ve0", "10.1.0.1/32"),
            AddRoute("10.1.0.5/32", "ve0"),
            AddAddress("eth0", "10.1.0.5/32", netns),
            SetLink("eth0", netns, up=True),
            AddRoute("10.1.0.1/32", "eth0", netns=netns),
            AddRoute("default", "eth0", "10.1.0.1", netns),
        )
        assert ("10.1.0.5/32", "ve0") in {(item.destination, item.link) for item in world.read().routes}
        assert "10.1.0.1" in {item.via for item in world.read(netns).routes}

    def test_deleting_what_is_gone_is_success(self, world: World, netns: str) -> None:
        gone = world.path("gone")
        world.apply(
            DeleteLink("nothing"),
            DeleteLink("nothing", netns),
            DeleteLink("nothing", gone),
            RemoveAddress("nothing", "10.0.0.1/24"),
            RemoveAddress("lo", "10.0.0.1/24"),
            RemoveAddress("nothing", "10.0.0.1/24", gone),
            RemoveRoute("default", netns),
            RemoveRoute("10.9.0.0/16", netns, link="nothing"),
            RemoveRoute("default", netns, version=6),
            RemoveRoute("default", gone),
        )

    def test_a_link_is_renamed_once(self, world: World, pair: str) -> None:
        world.apply(SetLink("eth0", pair, new_name="wan.7"))
        world.apply(SetLink("eth0", pair, new_name="wan.7"))
        assert {"wan.7"} == set(world.read(pair).links) - {"lo"}
        world.apply(SetSysctl("net.ipv4.conf.wan/7.route_localnet", "1", pair))
        assert world.sysctl("net.ipv4.conf.wan/7.route_localnet", pair) == "1"

    def test_a_bridge_that_goes_leaves_its_ports(self, world: World, pair: str) -> None:
        world.apply(DeleteLink("br0"))
        assert world.link("ve0").master == ""

    # Addresses and routes --------------------------------------------------------------------

    def test_addresses_of_both_families(self, world: World, pair: str) -> None:
        steps = [
            AddAddress("eth0", "10.1.0.5/24", pair),
            AddAddress("eth0", "fd00:1::5/64", pair),
            AddAddress("eth0", "169.254.7.7/16", pair),
        ]
        world.apply(*steps)
        world.apply(*steps)
        assert _global(world.link("eth0", pair)) == {"10.1.0.5/24", "fd00:1::5/64", "169.254.7.7/16"}
        world.apply(RemoveAddress("eth0", "fd00:1::5/64", pair))
        world.apply(RemoveAddress("eth0", "fd00:1::5/64", pair))
        assert _global(world.link("eth0", pair)) == {"10.1.0.5/24", "169.254.7.7/16"}

    def test_a_subnets_first_address_takes_the_others_along(self, world: World) -> None:
        world.apply(_bridge(), AddAddress("br0", "10.1.0.5/24"), AddAddress("br0", "10.1.0.1/24"))
        world.apply(RemoveAddress("br0", "10.1.0.5/24"))
        assert _global(world.link("br0")) == set()

    def test_an_ipv6_address_needs_ipv6(self, world: World, pair: str) -> None:
        world.apply(SetSysctl("net.ipv6.conf.eth0.disable_ipv6", "1", pair))
        error = world.refused(AddAddress("eth0", "fd00:1::5/64", pair))
        assert isinstance(error, KernelRefused)
        assert error.errno == errno.EACCES
        assert "eth0" in error.message

    def test_switching_ipv6_off_takes_its_addresses(self, world: World) -> None:
        world.apply(_bridge(), AddAddress("br0", "fd00:1::1/64"), AddAddress("br0", "10.1.0.1/24"))
        world.apply(SetSysctl("net.ipv6.conf.br0.disable_ipv6", "1"))
        link = world.link("br0")
        assert link.addresses == {"10.1.0.1/24"}
        assert link.sysctls["ipv6.disable_ipv6"] == "1"

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

    # Sysctls, nft, order ---------------------------------------------------------------------

    def test_sysctls_are_a_namespaces_own(self, world: World, pair: str) -> None:
        world.apply(SetSysctl("net.ipv4.conf.default.arp_notify", "1", pair))
        assert world.sysctl("net.ipv4.conf.default.arp_notify", pair) == "1"
        assert world.sysctl("net.ipv4.conf.default.arp_notify") == "0"
        world.apply(_bridge("br.1"), SetSysctl("net.ipv4.conf.br/1.route_localnet", "1"))
        assert world.link("br.1").sysctls["ipv4.route_localnet"] == "1"

    def test_what_a_host_says_of_a_sysctl_nobody_has(self, world: World) -> None:
        assert world.run(world.kernel.find_sysctl(["net.bridge.no-such-thing"], "1")) == []
        assert all(isinstance(name, str) for name in world.run(world.kernel.list_legacy_tables()))

    def test_a_sysctl_that_is_not_there(self, world: World) -> None:
        key = "net.ipv4.conf.nothing.route_localnet"
        world.apply(SetSysctl(key, "1", optional=True))
        error = world.refused(SetSysctl(key, "1"))
        assert isinstance(error, KernelRefused)
        assert key in error.message
        assert world.sysctl(key) is None

    def test_a_refusal_stops_the_plan_there(self, world: World) -> None:
        world.refused(_bridge("br0"), AddAddress("nothing", "10.0.0.1/24"), AddAddress("br0", "10.0.0.1/24"))
        assert not _global(world.link("br0"))

    def test_removal_goes_on_after_an_error(self, world: World) -> None:
        world.apply(_bridge("br0"), _bridge("br1"))
        errors = world.remove(
            DeleteLink("br0"),
            DeleteLink("lo"),
            DeleteLink("nothing"),
            SetLink("no", up=False),
            DeleteLink("br1"),
        )
        assert {"br0", "br1"}.isdisjoint(world.read().links)
        assert all(isinstance(error, CarrickError) for error in errors)

    def test_an_unknown_table_is_none(self, world: World) -> None:
        assert world.run(world.kernel.list_nft("inet ck-t-nothing")) is None
        assert world.run(world.kernel.list_nft_chain("inet ck-t-nothing admin")) is None
        assert isinstance(world.run(world.kernel.list_nft_chains()), list)
        assert isinstance(world.run(world.kernel.list_nft_all()), list)

    def test_nft_is_taken(self, world: World) -> None:
        world.apply(Nft(("add table inet ck-t", "add chain inet ck-t admin")))

    def test_a_child_of_a_link(self, world: World, pair: str) -> None:
        other = world.path("two")
        child = CreateSlave("macvlan", "eth0", other, "br0", "bridge", mac=MAC[:-1] + "9", mtu=1400)
        world.apply(CreateNetns(other), child)
        world.apply(child)
        link = world.link("eth0", other)
        assert (link.kind, link.mtu, link.up, link.mac) == ("macvlan", 1400, False, MAC[:-1] + "9")
        assert isinstance(world.refused(CreateSlave("macvlan", "eth0", pair, "br0", "bridge")), Conflict)
        world.apply(DeleteLink("br0"))
        assert "eth0" not in world.read(other).links

    # VXLAN, FDB and neighbours ---------------------------------------------------------------

    def test_a_vxlan_device(self, world: World) -> None:
        world.apply(_bridge(mtu=1450), _vxlan(mac=PEER_MAC, master="br0"))
        link = world.link("vx0")
        assert (link.kind, link.mac, link.mtu, link.up) == ("vxlan", PEER_MAC, 1450, True)
        assert (link.master, link.alias) == ("br0", "carrick:vx0")
        assert link.vxlan == VxlanState(4096, 4789, "192.0.2.1")
        assert world.link("br0").vxlan is None

    def test_a_vxlan_device_over_ipv6(self, world: World) -> None:
        world.apply(_vxlan(local="2001:db8:0::1", learning=True, proxy=True, source_ports=(40000, 50000)))
        assert world.link("vx0").vxlan == VxlanState(4096, 4789, "2001:db8::1", True, True)

    def test_a_vxlan_device_that_is_there_is_brought_into_shape(self, world: World) -> None:
        world.apply(_bridge(), _vxlan())
        before = world.link("vx0").index
        world.apply(SetLink("vx0", up=False, mtu=1300, alias=""))
        world.apply(_vxlan(mac=PEER_MAC, master="br0"))
        link = world.link("vx0")
        assert (link.index, link.mtu, link.up, link.alias) == (before, 1450, True, "carrick:vx0")
        assert (link.master, link.mac) == ("br0", PEER_MAC)

    @pytest.mark.parametrize(
        "changes", [{"vni": 4097}, {"port": 8472}, {"local": "192.0.2.2"}, {"alias": "x"}, {"proxy": True}]
    )
    def test_another_vxlan_device_of_that_name_is_a_conflict(
        self, world: World, changes: dict[str, Any]
    ) -> None:
        world.apply(_vxlan())
        before = world.link("vx0")
        assert isinstance(world.refused(_vxlan(**changes)), Conflict)
        assert world.link("vx0") == before
        world.apply(DeleteLink("vx0"), _vxlan(**changes))
        assert world.link("vx0").index != before.index

    def test_shortcuts(self, world: World, netns: str) -> None:
        world.apply(_bridge(), _vxlan(master="br0"), _veth(netns), SetLink("eth0", netns, up=True))
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
        world.apply(SetShortcut("vx0", "br0"), DeleteLink("vx0"), _vxlan(master="br0"))
        assert world.link("vx0").shortcut == ""
        for step in (
            SetShortcut("nothing", "br0"),
            RemoveShortcut("nothing", "br0"),
            AddShortcut("vx0", "nothing", MAC),
        ):
            assert isinstance(world.refused(step), NotFound)

    def test_a_pair_has_a_carrier_when_both_ends_are_up(self, world: World, netns: str) -> None:
        world.apply(_bridge(), _veth(netns))
        assert world.link("ve0").up and not world.link("ve0").carrier
        world.apply(SetLink("eth0", netns, up=True))
        assert world.link("ve0").carrier

    def test_a_vni_is_used_once(self, world: World) -> None:
        world.apply(_vxlan())
        assert isinstance(world.refused(_vxlan("vx1")), Conflict)
        assert "vx1" not in world.read().links
        world.apply(_vxlan("vx1", vni=4097), _vxlan("vx2", port=8472), _vxlan("vx3", local="2001:db8::1"))
        assert isinstance(world.refused(_vxlan("vx4", vni=4098, master="nothing")), NotFound)
        assert isinstance(world.refused(_vxlan("vx4", vni=4098, parent="nothing")), NotFound)
        assert {"vx1", "vx2", "vx3"} < set(world.read().links)

    def test_a_vxlan_device_goes_with_its_parent(self, world: World) -> None:
        world.apply(_bridge(), _vxlan(parent="br0"))
        world.apply(DeleteLink("br0"))
        assert "vx0" not in world.read().links

    def test_fdb_rows(self, world: World) -> None:
        world.apply(_vxlan())
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
        world.apply(_vxlan(local="2001:db8::1"))
        several = [SetFdb("vx0", ANY_MAC, f"2001:db8::{number}") for number in (2, 3, 4)]
        world.apply(*several, several[0])
        assert world.fdb("vx0") == {ANY_MAC: {"2001:db8::2", "2001:db8::3", "2001:db8::4"}}
        gone = RemoveFdb("vx0", ANY_MAC, "2001:db8::3")
        world.apply(gone, gone)
        assert world.fdb("vx0") == {ANY_MAC: {"2001:db8::2", "2001:db8::4"}}
        world.apply(RemoveFdb("vx0", ANY_MAC))
        assert world.fdb("vx0") == {}

    def test_rows_survive_a_link_that_goes_down(self, world: World) -> None:
        world.apply(_vxlan(), SetFdb("vx0", MAC, "192.0.2.7"), SetFdb("vx0", ANY_MAC, "192.0.2.7"))
        world.apply(SetLink("vx0", up=False), SetLink("vx0", up=True))
        assert world.fdb("vx0") == {MAC: {"192.0.2.7"}, ANY_MAC: {"192.0.2.7"}}

    def test_rows_that_the_bridge_has_too(self, world: World) -> None:
        world.apply(_bridge(), _vxlan(master="br0"))
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
        world.apply(_vxlan())
        error = world.refused(SetFdb("vx0", MAC, "2001:db8::7"))
        assert isinstance(error, KernelRefused)
        assert "2001:db8::7" in error.message

    def test_a_refused_row_does_not_keep_the_others_of_its_type_back(self, world: World) -> None:
        world.apply(_vxlan(), SetFdb("vx0", PEER_MAC, "192.0.2.9"))
        error = world.refused(
            SetFdb("vx0", MAC, "192.0.2.7"), SetFdb("vx0", MAC, "2001:db8::7"), RemoveFdb("vx0", PEER_MAC)
        )
        assert "2001:db8::7" in error.message
        # But nothing was removed on the strength of a row that is not there.
        assert world.fdb("vx0") == {MAC: {"192.0.2.7"}, PEER_MAC: {"192.0.2.9"}}

    def test_neighbours(self, world: World, pair: str) -> None:
        world.apply(_vxlan(), SetLink("eth0", pair, up=True))
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
        world.apply(_vxlan(mac=MAC), AddNeighbour("vx0", "10.1.0.9", MAC))
        world.apply(_vxlan(mac=MAC), SetLink("vx0", mac=MAC, up=True))
        assert world.neighbours("vx0") == {"10.1.0.9": Neighbour(MAC)}
        world.apply(SetLink("vx0", **change))
        assert world.neighbours("vx0") == {}

    def test_ports_of_a_bridge(self, world: World, pair: str) -> None:
        world.apply(
            _vxlan(master="br0"),
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

    # Routes and rules of many hosts ----------------------------------------------------------

    def test_routes_to_other_hosts(self, world: World) -> None:
        world.apply(
            _vxlan(),
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
        world.apply(_bridge(), AddAddress("br0", f"{near}/{24 if version == 4 else 64}"))
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
        world.apply(_bridge(), AddAddress("br0", "10.1.0.1/24"))
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


async def _moment() -> None:
    await asyncio.sleep(0.01)
