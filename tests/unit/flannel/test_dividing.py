"""Networks divided as flannel divides them, and what of a node's blocks is lent: choice, plans, firewall."""

from ipaddress import ip_address, ip_network

import pytest

from carrick.domains.firewall import Across, NetworkRules, render_add_network, render_remove_network
from carrick.domains.ipam import Pool, PoolId, Prefix
from carrick.domains.ipam.blocks import (
    SUBNET_LEN,
    SUBNET_MAX,
    SUBNET_MIN,
    block_length,
    block_of,
    blocks_to_return,
    choose_block,
    division_of,
    sort_own,
)
from carrick.drivers.contract import ClusterView, HostView
from carrick.drivers.routed import RoutedDriver
from carrick.model.cluster import Block, BlockState, NodeId, NodeRecord, Underlay
from carrick.model.errors import InvalidRequest
from carrick.model.ids import EndpointId, NetworkId
from carrick.model.networks import Endpoint, Network, PoolConfig, Scope
from carrick.model.observed import LinkState, NamespaceState
from carrick.model.steps import AddAddress, AddRoute, CreateBridge

SUBNET = "10.5.0.0/16"
ME, OTHER = NodeId("me"), NodeId("other")


def _network(**options: str) -> Network:
    return Network(
        NetworkId("ab" * 32),
        "apps",
        "routed",
        0,
        scope=Scope.GLOBAL,
        pools=(PoolConfig(SUBNET),),
        options={"backend": "direct", **options},
    )


DIVIDED = _network(**{SUBNET_LEN[4]: "24", SUBNET_MIN[4]: "10.5.1.0", SUBNET_MAX[4]: "10.5.3.0"})
POOL = Pool.of(PoolId(""), PoolConfig(SUBNET))


def test_blocks_are_within_the_bounds_and_all_of_them_are_given() -> None:
    division = division_of(DIVIDED, 4)
    assert division is not None
    taken: list[Prefix] = []
    while (block := choose_block(POOL, taken, f"seed {len(taken)}", division)) is not None:
        taken.append(block)
    assert {str(block) for block in taken} == {"10.5.1.0/24", "10.5.2.0/24", "10.5.3.0/24"}
    assert str(block_of(POOL, ip_address("10.5.2.77"), division)) == "10.5.2.0/24"
    assert not division.allows(ip_network("10.5.0.0/24"))
    # Without a division nothing is as before.
    assert division_of(_network(), 4) is None
    assert block_length(POOL) == 26


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({SUBNET_LEN[4]: "x"}, "no prefix length"),
        ({SUBNET_MIN[4]: "10.5.1.0"}, "no prefix length"),
        ({SUBNET_LEN[4]: "16"}, "not between 17 and 32"),
        ({SUBNET_LEN[4]: "24", SUBNET_MIN[4]: "10.6.0.0"}, "not in"),
        ({SUBNET_LEN[4]: "24", SUBNET_MIN[4]: "ten"}, "no address"),
        ({SUBNET_LEN[4]: "24", SUBNET_MAX[4]: "10.5.1.1"}, "not the beginning"),
        ({SUBNET_LEN[4]: "24", SUBNET_MIN[4]: "10.5.9.0", SUBNET_MAX[4]: "10.5.8.0"}, "behind"),
        ({SUBNET_LEN[6]: "64"}, "no IPv6 subnet"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, str], word: str) -> None:
    with pytest.raises(InvalidRequest, match=word):
        RoutedDriver().check(_network(**options), (), _host())


def test_a_block_that_is_lent_is_neither_given_from_nor_given_back() -> None:
    lent, ours = _block("10.5.1.0/24", bridge="docker0"), _block("10.5.2.0/24")
    own = sort_own([lent, ours], ME, 1, 4)
    assert own.lent == (lent,)
    assert [str(prefix) for prefix in own.prefixes] == ["10.5.2.0/24"]
    since = {block.prefix: 0.0 for block in (lent, ours)}
    assert blocks_to_return(own.usable, {}, since, 1000) == [ours]


def _block(prefix: str, node: NodeId = ME, bridge: str = "") -> Block:
    return Block(DIVIDED.id, prefix, node, 1, BlockState.CONFIRMED, bridge)


def _host(*blocks: Block) -> HostView:
    nodes = {
        node: NodeRecord(node, str(node), 1, (Underlay(f"192.0.2.{number}", "192.0.2.0/24"),))
        for number, node in enumerate((ME, OTHER), 1)
    }
    link = LinkState("eth9", 2, up=True, addresses=frozenset({"192.0.2.1/24"}))
    return HostView(
        NamespaceState(links={"eth9": link}),
        cluster=ClusterView(nodes[ME], nodes, {DIVIDED.id: blocks}),
    )


def test_a_host_with_lent_blocks_alone_has_routes_and_no_bridge() -> None:
    driver = RoutedDriver()
    host = _host(_block("10.5.1.0/24", bridge="docker0"), _block("10.5.2.0/24", OTHER, "docker0"))
    steps = driver.plan_network(DIVIDED, host).steps
    assert not [step for step in steps if isinstance(step, CreateBridge | AddAddress)]
    assert [step.destination for step in steps if isinstance(step, AddRoute) and step.kind == "unicast"] == [
        "10.5.2.0/24"
    ]
    assert driver.lent(DIVIDED, host) == ("docker0",)
    assert driver.mtu(DIVIDED, host) == 1500


def test_a_host_with_both_has_a_bridge_for_its_own() -> None:
    driver = RoutedDriver()
    host = _host(_block("10.5.1.0/24", bridge="docker0"), _block("10.5.3.0/24"))
    steps = driver.plan_network(DIVIDED, host).steps
    assert [step.address for step in steps if isinstance(step, AddAddress)] == ["10.5.3.1/24"]
    endpoint = Endpoint(EndpointId("e"), DIVIDED.id, "apps", 0, ipv4="10.5.3.9/16")
    done = driver.complete_endpoint(DIVIDED, endpoint)
    assert (done.ipv4, done.gateway4) == ("10.5.3.9/24", "10.5.3.1")


def test_the_firewall_lets_the_bridge_be_of_the_network_and_takes_that_back() -> None:
    rules = NetworkRules(
        "abababababab",
        "br-ab",
        (ip_network(SUBNET),),
        across=Across(links=("vx-ab",)),
        lent=("docker0",),
    )
    lines = render_add_network("carrick", rules)
    text = "\n".join(lines)
    assert f'add element inet carrick own4 {{ {SUBNET} . "docker0" }}' in lines
    assert 'add element inet carrick outof { "docker0" : jump outof_abababababab }' in lines
    # What says that it is the network's has to come by the network's ways.
    assert f'ip saddr {SUBNET} iifname != {{ "br-ab", "vx-ab", "docker0" }} drop' in text
    removed = render_remove_network("carrick", rules)[len(lines) :]
    assert 'delete element inet carrick into { "docker0" }' in removed
    chains = [line for line in removed if line.startswith("delete chain")]
    assert len(chains) == 3
    assert max(i for i, line in enumerate(removed) if "delete element" in line) < removed.index(chains[0])
