"""The routed driver and its transports on a kernel in memory: every plan, applied, leaves nothing to plan."""

import asyncio
import base64
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.domains.dns.zone import LOCAL_FIRST
from carrick.domains.firewall import render_add_network
from carrick.domains.sandboxes.routes import plan_default_routes
from carrick.domains.wireguard import device_name, inner_address, peers_of
from carrick.drivers.bridge import INHIBIT4, MTU
from carrick.drivers.contract import ClusterView, HostView, LinkRows, Spanning
from carrick.drivers.overlay import ENCRYPTED, VNI, OverlayDriver
from carrick.drivers.routed import COUNT, GATEWAY_MODE, MODE, POINT_MODE, RoutedDriver, reserved
from carrick.drivers.transports import vxlan
from carrick.drivers.transports.choose import BACKEND, CROSS_SUBNET, TRANSPORTS
from carrick.drivers.transports.shared import NOWHERE_METRIC
from carrick.model.cluster import Block, BlockState, NodeId, NodeRecord, NodeState, Underlay
from carrick.model.errors import CarrickError, Conflict, Denied, InvalidRequest, NotFound, Unsupported
from carrick.model.ids import ContainerId, EndpointId, NetworkId, SandboxId
from carrick.model.networks import Endpoint, Network, PoolConfig, Sandbox, Scope
from carrick.model.observed import NamespaceState, WireguardDevice
from carrick.model.steps import CreateNetns, CreateVxlan, CreateWireguard, DeleteLink, Plan, SetWireguard
from carrick.testing.fake_kernel import FakeKernel, Killed

TABLE = "carrick"
NETNS = "/run/carrick/netns/one"
ME = NodeId("a" * 26)


def _key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def _node(number: int, *, segment: int = 0, key: bool = True, dual: bool = True) -> NodeRecord:
    underlays = [Underlay(f"192.0.{segment}.{number}", f"192.0.{segment}.0/24")]
    if dual:
        underlays.append(Underlay(f"2001:db8:{segment}::{number}", f"2001:db8:{segment}::/64"))
    return NodeRecord(
        ME if number == 1 else NodeId(f"{number:026}"),
        f"host{number}",
        1,
        tuple(underlays),
        wireguard_key=_key(number) if key else "",
        wireguard_port=51820 if key else 0,
    )


def _network(**options: str) -> Network:
    return Network(
        NetworkId("cd" * 32),
        "lan",
        "routed",
        0,
        scope=Scope.GLOBAL,
        enable_ipv6=True,
        pools=(PoolConfig("10.9.0.0/16"), PoolConfig("fd09::/96")),
        options={VNI: "4097", **options},
    )


NETWORK = _network()
NODES = (_node(1), _node(2), _node(3, segment=1))


def _block(node: NodeRecord, prefix: str, *, pending: bool = False, network: Network = NETWORK) -> Block:
    state = BlockState.PENDING if pending else BlockState.CONFIRMED
    return Block(network.id, prefix, node.id, 1, state)


BLOCKS = tuple(
    _block(node, prefix.format(number))
    for number, node in enumerate(NODES, 1)
    for prefix in ("10.9.{}.64/26", "fd09::{}:0/112")
)


class World:
    """A host with a kernel in memory, and what the cluster says."""

    def __init__(
        self, nodes: tuple[NodeRecord, ...] = NODES, blocks: tuple[Block, ...] = BLOCKS, **lacks: bool
    ) -> None:
        self.kernel = FakeKernel()
        self.kernel.add_link("eth9", addresses=("192.0.0.1/24", "2001:db8:0::1/64"))
        self.tell(nodes, blocks)
        self.run([CreateNetns(NETNS)])
        self.public_key = _key(1)

    def tell(self, nodes: tuple[NodeRecord, ...], blocks: tuple[Block, ...]) -> None:
        known = {node.id: node for node in nodes}
        self.cluster = ClusterView(known[ME], known, {NETWORK.id: blocks})

    def run(self, steps: object) -> None:
        asyncio.run(self.kernel.apply(steps))  # type: ignore[arg-type]

    def with_wireguard(self) -> "World":
        self.run([CreateWireguard(device_name(TABLE), "carrick:wireguard", 1420)])
        return self

    def view(self, links: tuple[str, ...] = ()) -> HostView:
        async def look() -> HostView:
            rows = {}
            for link in links:
                try:
                    rows[link] = LinkRows(
                        await self.kernel.read_fdb(link), await self.kernel.read_neighbours(link)
                    )
                except NotFound:
                    continue
            name = device_name(TABLE)
            try:
                state = await self.kernel.read_wireguard(name)
            except NotFound:
                state = None
            device = WireguardDevice(name, "/state/key", self.public_key, 51820, 0, state)
            return HostView(await self.kernel.read(), TABLE, 1500, self.cluster, rows, device)

        return asyncio.run(look())

    def plan(self, network: Network, driver: Spanning | None = None) -> Plan:
        driver = driver or RoutedDriver()
        return driver.plan_network(network, self.view(driver.tunnels(network)))  # type: ignore[attr-defined,no-any-return]

    def converge(self, network: Network, driver: Spanning | None = None) -> Plan:
        plan = self.plan(network, driver)
        self.run(plan.steps)
        again = self.plan(network, driver)
        assert not again.steps, again.steps
        return plan

    def routes(self) -> dict[str, tuple[str, str]]:
        return {
            route.destination: (route.link, route.via)
            for route in self.kernel.look().routes
            if route.is_own and route.kind == "unicast"
        }


def _endpoint(driver: RoutedDriver, network: Network) -> Endpoint:
    return driver.complete_endpoint(
        network,
        Endpoint(EndpointId("e" * 64), network.id, "lan", 0, ipv4="10.9.1.70/16", ipv6="fd09::1:5/96"),
    )


def _sandbox(endpoint: Endpoint) -> Sandbox:
    return Sandbox(SandboxId("s"), ContainerId("c"), NETNS, True, (endpoint,))


# Networks -----------------------------------------------------------------------------------


def test_vxlan_has_flannels_shape() -> None:
    world = World()
    world.converge(NETWORK)
    device = vxlan.device_name(NETWORK)
    link = world.kernel.look().links[device]
    assert link.mtu == 1450
    assert link.mac == vxlan.vtep_mac(ME)
    assert {"10.9.1.64/32", "fd09::1:0/128"} <= link.addresses
    assert world.routes() == {
        "10.9.2.64/26": (device, "10.9.2.64"),
        "fd09::2:0/112": (device, "fd09::2:0"),
        "10.9.3.64/26": (device, "10.9.3.64"),
        "fd09::3:0/112": (device, "fd09::3:0"),
    }
    rows = world.view((device,)).rows[device]
    assert rows.fdb == {
        vxlan.vtep_mac(node.id): {node.underlays[0].address} for node in NODES if node.id != ME
    }
    nowhere = {route.destination for route in world.kernel.look().routes if route.metric == NOWHERE_METRIC}
    assert nowhere == {"10.9.0.0/16", "fd09::/96"}


def test_ways_are_closed_before_they_are_opened() -> None:
    steps = World().plan(NETWORK).steps
    kinds = [getattr(step, "kind", "") for step in steps]
    assert kinds[0] == kinds[1] == "unreachable"
    assert "unicast" in kinds[2:]


def test_direct_reaches_its_own_segment_alone() -> None:
    world = World()
    network = _network(**{BACKEND: "direct"})
    plan = world.converge(network)
    assert world.routes() == {
        "10.9.2.64/26": ("eth9", "192.0.0.2"),
        "fd09::2:0/112": ("eth9", "2001:db8::2"),
    }
    assert any("host3" in note and "another segment" in note for note in plan.notes)
    assert world.kernel.look().links["br-cdcdcdcdcdcd"].mtu == 1500
    ways = {way.node.name: way for way in RoutedDriver().ways(network, world.view())}
    assert ways["host3"].why.startswith("not reached")


def test_plain_routes_are_counted_where_asked() -> None:
    world = World()
    for wish, expected in (({}, False), ({COUNT: "true"}, True)):
        network = _network(**{CROSS_SUBNET: "true"}, **wish)
        ways = {way.node.name: way for way in RoutedDriver().ways(network, world.view())}
        assert (ways["host2"].plain, ways["host2"].counted) == (True, expected)
        assert (ways["host3"].plain, ways["host3"].counted) == (False, True)
        rules = RoutedDriver().firewall_rules(network)
        assert rules is not None
        assert rules.across is not None
        assert bool(rules.across.blocks) is expected
        assert len(rules.across.blocks) in (0, len(rules.subnets))


@pytest.mark.parametrize("driver", [RoutedDriver(), OverlayDriver()], ids=["routed", "overlay"])
def test_options_of_both_with_other_values_are_refused(driver: RoutedDriver | OverlayDriver) -> None:
    network = replace(_network(**{LOCAL_FIRST: "maybe"}), driver=driver.name)
    with pytest.raises(InvalidRequest, match="'maybe' is none of false, true, only"):
        driver.check(network, (), World().view())
    if isinstance(driver, RoutedDriver):
        with pytest.raises(InvalidRequest, match="much is neither true nor false"):
            driver.check(_network(**{COUNT: "much"}), (), World().view())


def test_cross_subnet_picks_by_segment() -> None:
    world = World()
    network = _network(**{CROSS_SUBNET: "true"})
    world.converge(network)
    routes = world.routes()
    assert routes["10.9.2.64/26"] == ("eth9", "192.0.0.2")
    assert routes["10.9.3.64/26"] == (vxlan.device_name(network), "10.9.3.64")
    ways = {way.node.name: (way.transport, way.why) for way in RoutedDriver().ways(network, world.view())}
    assert ways["host2"] == ("direct", "cross-subnet: on the same segment")
    assert ways["host3"][0] == "vxlan"
    # The node moved to our segment: one replace, nothing missing in between.
    moved = replace(NODES[2], underlays=_node(3).underlays)
    world.tell((NODES[0], NODES[1], moved), BLOCKS)
    world.converge(network)
    assert world.routes()["10.9.3.64/26"] == ("eth9", "192.0.0.3")


def test_only_confirmed_blocks_are_routed() -> None:
    world = World(blocks=(BLOCKS[0], _block(NODES[1], "10.9.2.64/26", pending=True)))
    world.converge(NETWORK)
    assert world.routes() == {}
    world.tell(NODES, (BLOCKS[0], _block(NODES[1], "10.9.2.64/26")))
    world.converge(NETWORK)
    assert set(world.routes()) == {"10.9.2.64/26"}
    gone = replace(NODES[1], state=NodeState.GONE)
    world.tell((NODES[0], gone, NODES[2]), (BLOCKS[0], _block(NODES[1], "10.9.2.64/26")))
    world.converge(NETWORK)
    assert world.routes() == {}


def test_wireguard_routes_into_the_nodes_device() -> None:
    world = World().with_wireguard()
    network = _network(**{BACKEND: "wireguard"})
    plan = world.converge(network)
    name = device_name(TABLE)
    assert {link for link, _ in world.routes().values()} == {name}
    (step,) = (step for step in plan.steps if isinstance(step, SetWireguard))
    assert [peer.endpoint for peer in step.peers] == ["192.0.0.2:51820", "192.0.1.3:51820"]
    assert step.peers[0].allowed == ("10.9.2.64/26", "fd09::2:0/112", f"{inner_address(NODES[1].id)}/128")
    assert "private-key /state/key" in step.describe()
    # A new key of ours: the device gets it, the peers stay.
    world.public_key = _key(9)
    (only,) = world.converge(network).steps
    assert isinstance(only, SetWireguard)
    assert only.peers == step.peers


def test_wireguard_without_a_key_leads_nowhere() -> None:
    nodes = (NODES[0], _node(2, key=False), NODES[2])
    world = World(nodes).with_wireguard()
    network = _network(**{BACKEND: "wireguard"})
    plan = world.converge(network)
    assert set(world.routes()) == {"10.9.3.64/26", "fd09::3:0/112"}
    assert any("host2" in note and "key" in note for note in plan.notes)
    world.run([DeleteLink(device_name(TABLE))])
    world.converge(network)
    assert world.routes() == {}


def test_a_nodes_new_address_makes_the_device_anew_with_all_its_rows() -> None:
    world = World()
    world.converge(NETWORK)
    me = replace(NODES[0], underlays=(Underlay("192.0.0.77", "192.0.0.0/24"),))
    world.tell((me, *NODES[1:]), BLOCKS)
    plan = world.converge(NETWORK)
    assert any(isinstance(step, CreateVxlan) and step.local == "192.0.0.77" for step in plan.steps)
    assert len(world.routes()) == 4


@st.composite
def clusters(draw: st.DrawFn) -> tuple[tuple[NodeRecord, ...], tuple[Block, ...]]:
    nodes = [_node(1)]
    for number in range(2, draw(st.integers(2, 6))):
        nodes.append(
            _node(number, segment=draw(st.integers(0, 2)), key=draw(st.booleans()), dual=draw(st.booleans()))
        )
    places = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), unique_by=lambda item: item[0]))
    blocks = []
    for place, owner in places:
        node = nodes[owner % len(nodes)]
        pending = draw(st.booleans())
        blocks.append(_block(node, f"10.9.{place}.0/26", pending=pending))
        blocks.append(_block(node, f"fd09::{place}:0/112", pending=pending))
    return tuple(nodes), tuple(blocks)


@settings(deadline=None, max_examples=60)
@given(
    clusters(),
    clusters(),
    # What hooks set up is not ours to plan.
    st.sampled_from(sorted(TRANSPORTS.keys() - {"extension"})),
    st.booleans(),
    st.sampled_from([GATEWAY_MODE, POINT_MODE]),
    st.integers(0, 12),
)
def test_whatever_the_cluster_says_one_plan_suffices(
    before: tuple[tuple[NodeRecord, ...], tuple[Block, ...]],
    after: tuple[tuple[NodeRecord, ...], tuple[Block, ...]],
    backend: str,
    cross: bool,
    mode: str,
    cut: int,
) -> None:
    options = {BACKEND: backend, MODE: mode}
    if cross and backend != "wireguard":
        options[CROSS_SUBNET] = "true"
    network = _network(**options)
    world = World(*before).with_wireguard()
    world.converge(network)
    world.tell(*after)
    # Cut anywhere, planning again finishes it.
    world.kernel.killed_at(cut)
    with suppress(Killed):
        world.run(world.plan(network).steps)
    world.kernel.heal()
    world.converge(network)
    _, blocks = after
    reachable = {
        str(block.network) for block in blocks if block.state is BlockState.CONFIRMED and block.node != ME
    }
    assert set(world.routes()) <= reachable
    driver = RoutedDriver()
    errors = asyncio.run(world.kernel.remove(driver.plan_network_removal(network, (), world.view()).steps))
    assert not errors
    left = world.kernel.look()
    assert set(left.links) == {"lo", "eth9", device_name(TABLE)}
    assert not [item for item in left.routes if item.is_own and not item.destination.startswith("fd63:")]


# Endpoints ----------------------------------------------------------------------------------


def test_a_container_is_in_its_block() -> None:
    endpoint = _endpoint(RoutedDriver(), NETWORK)
    assert (endpoint.ipv4, endpoint.gateway4) == ("10.9.1.70/26", "10.9.1.65")
    assert (endpoint.ipv6, endpoint.gateway6) == ("fd09::1:5/112", "fd09::1:1")
    point = _endpoint(RoutedDriver(), _network(**{MODE: POINT_MODE}))
    assert (point.ipv4, point.gateway4) == ("10.9.1.70/32", "169.254.1.1")
    assert (point.ipv6, point.gateway6) == ("fd09::1:5/128", "fe80::1")


@pytest.mark.parametrize("mode", [GATEWAY_MODE, POINT_MODE])
@pytest.mark.parametrize("internal", [False, True])
def test_an_endpoint_is_made_and_goes(mode: str, internal: bool) -> None:
    driver, network = RoutedDriver(), replace(_network(**{MODE: mode}), internal=internal)
    world = World()
    world.converge(network)
    endpoint = _endpoint(driver, network)
    assert bool(endpoint.gateway4) is not internal
    sandbox = _sandbox(endpoint)

    def plan() -> Plan:
        return driver.plan_endpoint(network, endpoint, sandbox, world.view(), world.kernel.look(NETNS))

    hot = replace(world.view(), state=NamespaceState())
    world.run(driver.plan_endpoint(network, endpoint, sandbox, hot, NamespaceState()).steps)
    world.run(plan_default_routes(sandbox, world.kernel.look(NETNS).routes))
    assert not plan().steps
    inside = world.kernel.look(NETNS)
    # To the network's other hosts also where there is no default route, or another one.
    assert {"10.9.0.0/16", "fd09::/96"} <= {route.destination for route in inside.routes}
    assert inside.links["eth0"].mtu == 1450
    assert not world.plan(network).steps
    assert not asyncio.run(
        world.kernel.remove(driver.plan_endpoint_removal(network, endpoint, sandbox, world.view()).steps)
    )
    assert "10.9.1.70/32" not in world.routes()


@pytest.mark.parametrize("mode", [GATEWAY_MODE, POINT_MODE])
def test_reserved_addresses(mode: str) -> None:
    network = _network(**{MODE: mode})
    four = set(map(str, reserved(network, ip_network("10.9.1.64/26"))))
    six = set(map(str, reserved(network, ip_network("fd09::1:0/112"))))
    if mode == GATEWAY_MODE:
        assert four == {"10.9.1.64/32", "10.9.1.65/32", "10.9.1.127/32"}
        assert six == {"fd09::1:0/128", "fd09::1:1/128"}
    else:
        assert (four, six) == ({"10.9.1.64/32"}, {"fd09::1:0/128"})


# Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        ({"options": {"backnd": "direct", VNI: "1"}}, InvalidRequest, "unknown option backnd"),
        ({"options": {"carrick.routed.moode": "point", VNI: "1"}}, InvalidRequest, "unknown option carrick"),
        ({"options": {BACKEND: "gre", VNI: "1"}}, InvalidRequest, "unknown backend gre"),
        ({"options": {CROSS_SUBNET: "maybe", VNI: "1"}}, InvalidRequest, "maybe"),
        ({"options": {BACKEND: "wireguard", CROSS_SUBNET: "true"}}, InvalidRequest, "encrypt"),
        ({"options": {MODE: "flat", VNI: "1"}}, InvalidRequest, "flat"),
        ({"options": {}}, InvalidRequest, "VNI"),
        ({"options": {VNI: "1", INHIBIT4: "true"}}, InvalidRequest, "bridge"),
        ({"pools": (PoolConfig("10.9.0.0/27"),)}, InvalidRequest, "too small"),
        ({"pools": (PoolConfig("10.9.0.0/16", gateway="10.9.0.1"),)}, InvalidRequest, "gateway"),
    ],
)
def test_what_is_refused(change: dict[str, object], kind: type[CarrickError], word: str) -> None:
    network = replace(NETWORK, **change)  # type: ignore[arg-type]
    with pytest.raises(kind, match=word):
        RoutedDriver().check(network, (), World().view())


def test_options_of_other_programs_are_left_to_them() -> None:
    network = _network(**{"org.example.team": "red", LOCAL_FIRST: "true"})
    assert RoutedDriver().check(network, (), World().view()) == network


def test_it_needs_a_cluster_its_own_subnet_and_wireguard() -> None:
    driver, view = RoutedDriver(), World().view()
    with pytest.raises(Denied, match="swarm"):
        driver.check(NETWORK, (), replace(view, cluster=None))
    other = replace(NETWORK, id=NetworkId("ef" * 32), name="other", pools=(PoolConfig("10.9.4.0/24"),))
    with pytest.raises(Conflict, match="other"):
        driver.check(NETWORK, (other,), view)
    sealed = _network(**{BACKEND: "wireguard"})
    with pytest.raises(Unsupported, match="wireguard-go") as caught:
        driver.check(sealed, (), replace(view, wireguard=None))
    assert "wireguard-tools" in (caught.value.remedy or "")
    assert driver.check(sealed, (), view) == sealed


def test_an_mtu_that_fits_is_taken_and_a_larger_one_is_not() -> None:
    for asked, found in (("1300", 1300), ("9000", 1450)):
        world = World()
        network = _network(**{MTU: asked})
        world.converge(network)
        assert world.kernel.look().links["br-cdcdcdcdcdcd"].mtu == found


def test_changed_endpoints_do_not_matter() -> None:
    assert not RoutedDriver().plan_change(NETWORK, (), (), World().view()).steps


# The firewall -------------------------------------------------------------------------------


def test_what_the_firewall_lets_across() -> None:
    driver = RoutedDriver()
    for options, words in (
        ({}, 'iifname { "vx-cdcdcdcdcdcd" } ip saddr 10.9.0.0/16 accept'),
        ({CROSS_SUBNET: "true"}, "iifname != @bridges ip saddr 10.9.0.0/16 accept"),
        ({BACKEND: "direct"}, "iifname != @bridges ip saddr 10.9.0.0/16 accept"),
        ({BACKEND: "wireguard"}, 'iifname { "wg-carrick" } ip saddr 10.9.0.0/16 accept'),
    ):
        rules = driver.firewall_rules(_network(**options))
        assert rules is not None
        text = "\n".join(render_add_network(TABLE, rules))
        assert words in text
        # What may not go in the clear is dropped where it would.
        assert ("oifname != {" in text) is (not rules.across.plain if rules.across else False)
        assert "cluster4 { 10.9.0.0/16 }" in text


# Encrypted overlays -------------------------------------------------------------------------


def test_an_encrypted_overlay_ends_within_wireguard() -> None:
    world = World().with_wireguard()
    network = replace(
        _network(**{ENCRYPTED: ""}),
        driver="overlay",
        pools=(PoolConfig("10.9.0.0/16", gateway="10.9.0.1"),),
        enable_ipv6=False,
    )
    driver = OverlayDriver()
    driver.check(network, (), world.view())
    plan = world.converge(network, driver)
    (made,) = (step for step in plan.steps if isinstance(step, CreateVxlan))
    assert made.local == str(inner_address(ME))
    assert made.mtu == 1500 - 60 - 70
    rules = driver.firewall_rules(network)
    assert rules is not None
    assert (rules.vni, rules.sealed) == (4097, True)
    with pytest.raises(Unsupported, match="wireguard-go"):
        driver.check(network, (), replace(world.view(), wireguard=None))
    plain = replace(network, options={VNI: "4097", ENCRYPTED: "false"})
    assert driver.firewall_rules(plain) == replace(rules, sealed=False)


def test_peers_are_those_with_keys_and_a_way() -> None:
    only4 = replace(_node(5), underlays=_node(5).underlays[1:])
    nodes = {node.id: node for node in (*NODES, _node(4, key=False), only4)}
    found = peers_of(NODES[0], nodes, BLOCKS, 25)
    assert [peer.public_key for peer in found] == [_key(2), _key(3)]
    assert {peer.keepalive_s for peer in found} == {25}
    addresses = {ip_interface(peer.allowed[-1]).ip for peer in found}
    assert addresses == {inner_address(NODES[1].id), inner_address(NODES[2].id)}
