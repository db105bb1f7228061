"""WireGuard: routes into the node's device, which encrypts for the peer that a block is allowed to.

Fails closed. A peer without a published key is not reached; one that has not shaken hands gets nothing, as
the device keeps the packets to itself; without the device the routes are gone, and the network's own
unreachable route is what is left. The firewall drops what would take another way, and what comes another way.
"""

from collections.abc import Sequence

from ...domains.firewall import Across
from ...domains.overlay.mtu import overhead
from ...domains.overlay.routes import BlockRoute, own_block_routes, plan_block_routes
from ...domains.wireguard import INNER, inner_address, keep_standing, peers_of, plan_peers
from ...model.cluster import NodeRecord
from ...model.errors import Unsupported
from ...model.networks import IPNetwork, Network
from ...model.observed import NamespaceState, WireguardDevice
from ...model.steps import AddAddress, SetLink, Step
from ..contract import HostView
from .contract import Laid, Peer, Span
from .shared import NOWHERE_METRIC, main_underlay, plan_addresses


def no_wireguard(subject: str) -> Unsupported:
    return Unsupported(
        f"{subject} needs WireGuard: this kernel has no wireguard links, and wireguard-go is not installed",
        remedy="load the kernel's wireguard module, or install the packages wireguard-go and wireguard-tools "
        "(apt-get install --no-install-recommends wireguard-go wireguard-tools)",
    )


class Wireguard:
    """Implements `Transport` with the node's WireGuard device."""

    name = "wireguard"
    needs: tuple[str, ...] = ("wireguard",)
    programs: tuple[str, ...] = ("wireguard-go", "wg")
    encrypted = True

    def overhead(self, version: int) -> int:
        return overhead(self.name, version)

    def links(self, network: Network) -> tuple[str, ...]:
        # The device is the node's; it stays.
        return ()

    def across(self, network: Network) -> Across:
        return Across(wireguard=True)

    def check(self, network: Network, host: HostView) -> None:
        if host.wireguard is None:
            raise no_wireguard(f"network {network.name}")
        if host.cluster is not None:
            main_underlay(host.cluster.me)

    def plan(self, span: Span, peers: Sequence[Peer], host: HostView) -> Laid:
        device = host.wireguard
        link = host.state.links.get(device.name) if device is not None else None
        if device is None or link is None:
            # Nothing is sent to other nodes, and nothing in the clear.
            return Laid(missing=tuple(block for peer in peers for block in peer.blocks))
        addresses, stale = plan_addresses(link, device.name, span.addresses(), span.network)
        routes: list[BlockRoute] = []
        notes: list[str] = []
        missing: list[IPNetwork] = []
        for peer in peers:
            if why := self.refusal(span.me, peer.node, 4):
                notes.append(f"the blocks of node {peer.node.name} are not reached: {why}")
                missing += peer.blocks
                continue
            for block in peer.blocks:
                source = span.source(4) if block.version == 4 else ""
                routes.append(BlockRoute(str(block), device.name, source=source))
        return Laid(
            (*plan_device(device, span.me, host), *addresses),
            tuple(routes),
            tuple(stale),
            tuple(notes),
            tuple(missing),
        )

    def plan_removal(self, network: Network, host: HostView) -> tuple[Step, ...]:
        if host.wireguard is None or (link := host.state.links.get(host.wireguard.name)) is None:
            return ()
        _, stale = plan_addresses(link, host.wireguard.name, (), network)
        return tuple(stale)

    def refusal(self, me: NodeRecord, peer: NodeRecord, version: int) -> str:
        outer = main_underlay(me).version
        if not peer.wireguard_key:
            return f"{peer.name} has published no WireGuard key"
        return "" if peer.underlay(outer) is not None else f"{peer.name} has no IPv{outer} underlay address"


def plan_device(device: WireguardDevice, me: NodeRecord, host: HostView) -> tuple[Step, ...]:
    """Return the steps that make the node's device, which exists, as it should be, for all networks."""
    steps: list[Step] = []
    link = host.state.links[device.name]
    # What only WireGuard carries must not go anywhere else when it is gone.
    nowhere = BlockRoute(str(INNER), metric=NOWHERE_METRIC, kind="unreachable")
    steps += plan_block_routes([nowhere], own_block_routes(host.state.routes, [INNER])).steps()
    mtu = wireguard_mtu(me)
    if (link.up, link.mtu) != (True, mtu):
        steps.append(SetLink(device.name, up=True, mtu=mtu))
    inner = f"{inner_address(me.id)}/{INNER.prefixlen}"
    if has_ipv6(host.state) and inner not in link.addresses:
        steps.append(AddAddress(device.name, inner))
    cluster = host.cluster
    if cluster is not None:
        blocks = [block for items in cluster.blocks.values() for block in items]
        peers = peers_of(me, cluster.nodes, blocks, device.keepalive_s)
        if cluster.recalled and device.state is not None:
            peers = keep_standing(peers, device.state)
        steps += plan_peers(device, peers).steps
    return tuple(steps)


def wireguard_mtu(me: NodeRecord) -> int:
    """Return the device's MTU: what its underlay leaves. Networks over it may have less."""
    mine = main_underlay(me)
    return mine.mtu - overhead("wireguard", mine.version)


def has_ipv6(state: NamespaceState) -> bool:
    """Tell whether this host has IPv6 at all."""
    return any(":" in address for link in state.links.values() for address in link.addresses)
