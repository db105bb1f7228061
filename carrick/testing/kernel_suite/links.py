"""Namespaces, links, addresses, sysctls, nft; and in which order things are done."""

import asyncio
import errno

import pytest

from ...model.errors import CarrickError, Conflict, KernelRefused, NotFound
from ...model.steps import (
    AddAddress,
    AddRoute,
    CreateBridge,
    CreateNetns,
    CreateSlave,
    CreateVeth,
    DeleteLink,
    DeleteNetns,
    Nft,
    RemoveAddress,
    RemoveRoute,
    SetLink,
    SetSysctl,
)
from .world import MAC, PEER_MAC, Cases, World, bridge, global_addresses, veth


class LinkCases(Cases):
    """Cases of one subject."""

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
        world.apply(bridge())
        error = world.refused(veth(path))
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
        world.apply(bridge(mtu=1400))
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
        world.apply(bridge(mtu=1400), SetLink("br0", up=False))
        before = world.link("br0").index
        world.apply(bridge(mtu=1300))
        link = world.link("br0")
        assert (link.index, link.mtu, link.up) == (before, 1300, True)

    def test_a_name_that_is_taken_is_a_conflict(self, world: World, pair: str) -> None:
        assert isinstance(world.refused(CreateBridge("ve0", "carrick:x", 1500)), Conflict)
        assert world.link("ve0").alias == "carrick:ve0"
        assert isinstance(world.refused(CreateBridge("br0", "carrick:other", 1500)), Conflict)
        assert world.link("br0").alias == "carrick:br0"
        assert isinstance(world.refused(veth(pair, name="br0", peer="eth1")), Conflict)
        assert isinstance(world.refused(veth(pair, name="ve1", peer="eth0")), Conflict)
        assert "ve1" not in world.read().links

    def test_a_pair(self, world: World, pair: str) -> None:
        outer, inner = world.link("ve0"), world.link("eth0", pair)
        assert (outer.kind, outer.master, outer.up, outer.alias) == ("veth", "br0", True, "carrick:ve0")
        assert (inner.kind, inner.master, inner.up, inner.mac) == ("veth", "", False, PEER_MAC)
        assert (outer.peer_index, inner.peer_index) == (inner.index, outer.index)

    def test_a_pair_has_one_mtu(self, world: World, netns: str) -> None:
        world.apply(bridge(mtu=1400), veth(netns, mtu=1400))
        assert (world.link("ve0").mtu, world.link("eth0", netns).mtu) == (1400, 1400)

    def test_a_pair_may_be_asked_for_again(self, world: World, pair: str) -> None:
        before = world.link("ve0").index
        world.apply(SetLink("ve0", up=False, master="", alias=""))
        world.apply(veth(pair))
        link = world.link("ve0")
        assert (link.index, link.master, link.up, link.alias) == (before, "br0", True, "carrick:ve0")

    def test_one_end_takes_the_other_along(self, world: World, pair: str) -> None:
        world.apply(DeleteLink("eth0", pair))
        assert "ve0" not in world.read().links
        world.apply(veth(pair))
        world.apply(DeleteLink("ve0"))
        assert "eth0" not in world.read(pair).links

    def test_a_pair_needs_its_bridge(self, world: World, netns: str) -> None:
        error = world.refused(veth(netns))
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

    # Addresses --------------------------------------------------------------------

    def test_addresses_of_both_families(self, world: World, pair: str) -> None:
        steps = [
            AddAddress("eth0", "10.1.0.5/24", pair),
            AddAddress("eth0", "fd00:1::5/64", pair),
            AddAddress("eth0", "169.254.7.7/16", pair),
        ]
        world.apply(*steps)
        world.apply(*steps)
        assert global_addresses(world.link("eth0", pair)) == {"10.1.0.5/24", "fd00:1::5/64", "169.254.7.7/16"}
        world.apply(RemoveAddress("eth0", "fd00:1::5/64", pair))
        world.apply(RemoveAddress("eth0", "fd00:1::5/64", pair))
        assert global_addresses(world.link("eth0", pair)) == {"10.1.0.5/24", "169.254.7.7/16"}

    def test_a_subnets_first_address_takes_the_others_along(self, world: World) -> None:
        world.apply(bridge(), AddAddress("br0", "10.1.0.5/24"), AddAddress("br0", "10.1.0.1/24"))
        world.apply(RemoveAddress("br0", "10.1.0.5/24"))
        assert global_addresses(world.link("br0")) == set()

    def test_an_ipv6_address_needs_ipv6(self, world: World, pair: str) -> None:
        world.apply(SetSysctl("net.ipv6.conf.eth0.disable_ipv6", "1", pair))
        error = world.refused(AddAddress("eth0", "fd00:1::5/64", pair))
        assert isinstance(error, KernelRefused)
        assert error.errno == errno.EACCES
        assert "eth0" in error.message

    def test_switching_ipv6_off_takes_its_addresses(self, world: World) -> None:
        world.apply(bridge(), AddAddress("br0", "fd00:1::1/64"), AddAddress("br0", "10.1.0.1/24"))
        world.apply(SetSysctl("net.ipv6.conf.br0.disable_ipv6", "1"))
        link = world.link("br0")
        assert link.addresses == {"10.1.0.1/24"}
        assert link.sysctls["ipv6.disable_ipv6"] == "1"

    # Sysctls, nft, order ---------------------------------------------------------------------

    def test_sysctls_are_a_namespaces_own(self, world: World, pair: str) -> None:
        world.apply(SetSysctl("net.ipv4.conf.default.arp_notify", "1", pair))
        assert world.sysctl("net.ipv4.conf.default.arp_notify", pair) == "1"
        assert world.sysctl("net.ipv4.conf.default.arp_notify") == "0"
        world.apply(bridge("br.1"), SetSysctl("net.ipv4.conf.br/1.route_localnet", "1"))
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
        world.refused(bridge("br0"), AddAddress("nothing", "10.0.0.1/24"), AddAddress("br0", "10.0.0.1/24"))
        assert not global_addresses(world.link("br0"))

    def test_removal_goes_on_after_an_error(self, world: World) -> None:
        world.apply(bridge("br0"), bridge("br1"))
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


async def _moment() -> None:
    await asyncio.sleep(0.01)
