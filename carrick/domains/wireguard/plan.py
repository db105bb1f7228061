"""Plan the peers of a node's WireGuard device from the cluster's records.

A node without a published key is no peer: nothing is sent to it, and nothing taken from it. A block that two
records claim is the confirmed one's: a device gives a prefix to one peer only.
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network

from ...model.cluster import Block, BlockState, NodeId, NodeRecord, NodeState
from ...model.steps import Plan, SetWireguard, WireguardDevice, WireguardPeer, WireguardState
from .names import inner_address


def peers_of(
    me: NodeRecord,
    nodes: Mapping[NodeId, NodeRecord],
    blocks: Iterable[Block],
    keepalive_s: int = 0,
) -> tuple[WireguardPeer, ...]:
    """Return the peers by key. `blocks` are those of all networks; `keepalive_s` 0 sends none."""
    allowed: dict[NodeId, set[str]] = {}
    for block in blocks:
        if block.state is BlockState.CONFIRMED:
            allowed.setdefault(block.node, set()).add(str(block.network))
    found = []
    for node in nodes.values():
        underlay = next((node.underlay(mine.version) for mine in me.underlays), None)
        if node.id == me.id or not node.wireguard_key or node.state is NodeState.GONE or underlay is None:
            continue
        prefixes = allowed.get(node.id, set()) | {f"{inner_address(node.id)}/128"}
        found.append(
            WireguardPeer(
                node.wireguard_key,
                endpoint(underlay.address, node.wireguard_port),
                tuple(sorted(prefixes, key=_order)),
                keepalive_s,
            )
        )
    return tuple(sorted(found, key=lambda peer: peer.public_key))


def plan_peers(device: WireguardDevice, wanted: tuple[WireguardPeer, ...]) -> Plan:
    """Return the step that gives the device its key, port and peers; none if it has them."""
    state = device.state
    if state is not None and _shape(state) == (device.public_key, device.port, wanted):
        return Plan()
    step = SetWireguard(device.name, device.key_file, device.public_key, device.port, wanted)
    return Plan((step,))


def _shape(state: WireguardState) -> tuple[str, int, tuple[WireguardPeer, ...]]:
    peers = sorted((seen.peer for seen in state.peers), key=lambda peer: peer.public_key)
    return state.public_key, state.port, tuple(peers)


def endpoint(address: str, port: int) -> str:
    """Write where a peer is reached, as WireGuard does."""
    return f"[{address}]:{port}" if ip_address(address).version == 6 else f"{address}:{port}"


def _order(prefix: str) -> tuple[int, bytes, int]:
    network = ip_network(prefix)
    return network.version, network.network_address.packed, network.prefixlen
