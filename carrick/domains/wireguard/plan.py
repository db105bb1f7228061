"""Plan the peers of a node's WireGuard device from the cluster's records.

A node without a published key is no peer: nothing is sent to it, and nothing taken from it. A block that two
records claim is the confirmed one's: a device gives a prefix to one peer only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

from ...model.cluster import Block, BlockState, NodeId, NodeRecord, NodeState
from ...model.observed import WireguardDevice, WireguardState
from ...model.steps import Plan, SetWireguard, WireguardPeer
from .names import INNER, inner_address


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


def keep_standing(wanted: Iterable[WireguardPeer], state: WireguardState) -> tuple[WireguardPeer, ...]:
    """Return the peers, by key, of a device that must lose nothing: what is wanted may be older than it.

    A prefix stays with the peer that has it. A node whose inner address another key has got a new key since.
    """
    standing = {seen.peer.public_key: seen.peer for seen in state.peers}
    taken = {prefix for peer in standing.values() for prefix in peer.allowed}
    found = dict(standing)
    for peer in wanted:
        free = [prefix for prefix in peer.allowed if prefix not in taken]
        if (stands := standing.get(peer.public_key)) is not None:
            allowed = tuple(sorted([*stands.allowed, *free], key=_order))
            found[peer.public_key] = replace(peer, endpoint=stands.endpoint or peer.endpoint, allowed=allowed)
        elif any(_is_inner(prefix) for prefix in free):
            found[peer.public_key] = replace(peer, allowed=tuple(free))
    return tuple(found[key] for key in sorted(found))


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


def _is_inner(prefix: str) -> bool:
    network = ip_network(prefix)
    return network.version == INNER.version and network.subnet_of(INNER)


def _order(prefix: str) -> tuple[int, bytes, int]:
    network = ip_network(prefix)
    return network.version, network.network_address.packed, network.prefixlen
