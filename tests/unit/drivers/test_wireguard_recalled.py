"""What a WireGuard device keeps while this host knows no more of its cluster than it has written down."""

from dataclasses import replace

import pytest

from carrick.domains.wireguard import device_name, keep_standing
from carrick.drivers.overlay import ENCRYPTED, OverlayDriver
from carrick.drivers.routed import RoutedDriver
from carrick.drivers.transports.choose import BACKEND
from carrick.model.cluster import Block, NodeRecord
from carrick.model.networks import Network
from carrick.model.observed import WireguardPeerState, WireguardState
from carrick.model.steps import WireguardPeer
from tests.unit.drivers.test_routed_driver import BLOCKS, NODES, TABLE, World, _block, _key, _network, _node

DEVICE = device_name(TABLE)
NEWER = _node(4)
ROUTED = _network(**{BACKEND: "wireguard"})
SEALED = replace(_network(**{ENCRYPTED: ""}), driver="overlay")


def peers(world: World) -> dict[str, WireguardPeer]:
    view = world.view()
    assert view.wireguard is not None and view.wireguard.state is not None
    return {seen.peer.public_key: seen.peer for seen in view.wireguard.state.peers}


def restarted(
    world: World, nodes: tuple[NodeRecord, ...], blocks: tuple[Block, ...], network: Network
) -> None:
    """What was known last is this, and the cluster has not been heard."""
    world.tell(nodes, blocks)
    world.cluster = replace(world.cluster, recalled=frozenset({network.id}))


@pytest.mark.parametrize("network", [ROUTED, SEALED], ids=["routed", "overlay"])
def test_peers_newer_than_what_was_written_down_stay_until_the_cluster_is_heard(network: Network) -> None:
    driver = RoutedDriver() if network is ROUTED else OverlayDriver()
    now = ((*NODES, NEWER), (*BLOCKS, _block(NEWER, "10.9.4.64/26")))
    world = World(*now).with_wireguard()
    world.converge(network, driver)
    before = peers(world)
    assert _key(4) in before and "10.9.4.64/26" in before[_key(4)].allowed
    restarted(world, NODES, BLOCKS, network)
    assert not [step for step in world.plan(network, driver).steps if "SetWireguard" in type(step).__name__]
    world.converge(network, driver)
    assert peers(world) == before
    # Once it is heard, what is not there any more goes.
    world.tell(NODES, BLOCKS)
    world.converge(network, driver)
    assert set(peers(world)) == {_key(2), _key(3)}


def test_what_was_written_down_and_does_not_stand_is_added() -> None:
    world = World(NODES, BLOCKS).with_wireguard()
    world.converge(ROUTED)
    before = peers(world)
    restarted(
        world,
        (*NODES, NEWER),
        (*BLOCKS, _block(NEWER, "10.9.4.64/26"), _block(NODES[1], "10.9.7.0/26")),
        ROUTED,
    )
    world.converge(ROUTED)
    after = peers(world)
    assert "10.9.4.64/26" in after[_key(4)].allowed
    assert set(after[_key(2)].allowed) == {*before[_key(2)].allowed, "10.9.7.0/26"}
    assert after[_key(3)] == before[_key(3)]


def test_an_old_key_takes_nothing_from_the_new_one() -> None:
    rotated = (NODES[0], replace(NODES[1], wireguard_key=_key(9)), NODES[2])
    world = World(rotated, BLOCKS).with_wireguard()
    world.converge(ROUTED)
    before = peers(world)
    restarted(world, NODES, (*BLOCKS, _block(NODES[1], "10.9.7.0/26")), ROUTED)
    world.converge(ROUTED)
    assert peers(world) == before and _key(2) not in before


def test_a_prefix_stays_with_the_peer_that_has_it() -> None:
    inner = ("fd63:6172:7269:636b::2/128", "fd63:6172:7269:636b::3/128")
    stands = WireguardPeer(_key(2), "192.0.2.2:1", ("10.0.0.0/24", inner[0]))
    state = WireguardState(_key(1), 1, (WireguardPeerState(stands),))
    wanted = (
        WireguardPeer(_key(3), "192.0.2.3:1", ("10.0.0.0/24", "10.0.1.0/24", inner[1])),
        WireguardPeer(_key(2), "192.0.2.9:1", (inner[0],), 25),
    )
    assert keep_standing(wanted, state) == (
        WireguardPeer(_key(2), "192.0.2.2:1", ("10.0.0.0/24", inner[0]), 25),
        WireguardPeer(_key(3), "192.0.2.3:1", ("10.0.1.0/24", inner[1])),
    )
    assert keep_standing(wanted, WireguardState(_key(1), 1)) == (wanted[1], wanted[0])
    assert keep_standing((), state) == (stands,)
