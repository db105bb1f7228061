"""Sums by node: from addresses, blocks and keys, and never less than was shown."""

import asyncio

from carrick.domains.firewall.traffic import Counted
from carrick.engine.cluster.traffic import PeerTraffic, Reached, Sums
from carrick.model.cluster import NodeId, NodeRecord, Underlay
from carrick.model.observed import WireguardPeerState
from carrick.model.steps import WireguardPeer
from carrick.testing.fake_kernel import FakeKernel


def node(number: int, key: str = "") -> NodeRecord:
    return NodeRecord(
        NodeId(f"n{number}"),
        f"host{number}",
        1,
        (
            Underlay(f"192.0.2.{number}", f"192.0.2.{number}/24", 1500),
            Underlay(f"fd00::{number}", f"fd00::{number}/64", 1500),
        ),
        wireguard_key=key,
    )


TWO, THREE = Reached(node(2, "key2")), Reached(node(3), ("10.1.0.64",))


def key(public: str, sent: int, received: int) -> dict[str, WireguardPeerState]:
    return {public: WireguardPeerState(WireguardPeer(public), received=received, sent=sent)}


def test_all_transports_are_added_up() -> None:
    traffic = PeerTraffic(FakeKernel())
    counted = Counted(
        received={"192.0.2.2": 10, "fd00::2": 1, "192.0.2.3": 5, "192.0.2.99": 7},
        sent={"192.0.2.2": 20},
        blocks_received={"10.1.0.64": 100, "10.1.0.0": 9},
        blocks_sent={"10.1.0.64": 200},
    )
    sums = traffic.add(counted, key("key2", 1000, 2000), [TWO, THREE])
    assert sums == {"n2": Sums(1020, 2011), "n3": Sums(200, 105)}


def test_what_went_by_shortcuts_is_added_network_by_network() -> None:
    traffic = PeerTraffic(FakeKernel())
    shortcuts = {"vx-a": {"192.0.2.2": 5, "192.0.2.99": 1}, "vx-b": {"192.0.2.2": 7}}
    counted = Counted(sent={"192.0.2.2": 20}, shortcuts=shortcuts)
    assert traffic.add(counted, {}, [TWO])["n2"] == Sums(32)
    # A network went, and its counters with it.
    counted = Counted(sent={"192.0.2.2": 20}, shortcuts={"vx-b": {"192.0.2.2": 8}})
    assert traffic.add(counted, {}, [TWO])["n2"] == Sums(33)


async def test_the_kernel_is_asked_for_both() -> None:
    kernel = FakeKernel()
    kernel.shortcut_bytes = {"vx-a": {"192.0.2.2": 5}}
    assert (await PeerTraffic(kernel).read("carrick")).shortcuts == {"vx-a": {"192.0.2.2": 5}}


def test_sums_grow_by_what_came_since() -> None:
    traffic = PeerTraffic(FakeKernel())
    for _ in range(2):
        assert traffic.add(Counted(sent={"192.0.2.2": 20}), {}, [TWO])[NodeId("n2")] == Sums(20, 0)
    assert traffic.add(Counted(sent={"192.0.2.2": 30}), {}, [TWO])[NodeId("n2")] == Sums(30, 0)
    # Somebody deleted the table, and there was traffic since.
    assert traffic.add(Counted(), {}, [TWO])[NodeId("n2")] == Sums(30, 0)
    assert traffic.add(Counted(sent={"192.0.2.2": 4}), {}, [TWO])[NodeId("n2")] == Sums(34, 0)


def test_a_new_key_and_a_block_that_goes_take_nothing_away() -> None:
    traffic = PeerTraffic(FakeKernel())
    counted = Counted(blocks_sent={"10.1.0.64": 8})
    assert traffic.add(counted, {}, [THREE])[NodeId("n3")] == Sums(8, 0)
    assert traffic.add(counted, {}, [Reached(THREE.record)])[NodeId("n3")] == Sums(8, 0)
    traffic.add(Counted(), key("key2", 50, 60), [TWO])
    rotated = Reached(node(2, "other"))
    assert traffic.add(Counted(), key("other", 1, 2), [rotated])[NodeId("n2")] == Sums(51, 62)


def test_a_node_that_left_is_forgotten() -> None:
    traffic = PeerTraffic(FakeKernel())
    traffic.add(Counted(sent={"192.0.2.2": 20}), {}, [TWO])
    assert traffic.add(Counted(), {}, [THREE]).keys() == {"n3"}


def test_without_a_table_there_is_nothing() -> None:
    assert asyncio.run(PeerTraffic(FakeKernel()).read("carrick")) == Counted()
