"""VXLAN without a bridge: packets to a peer's block go through one L3 device per network (flannel's shape).

For each block of a peer there is one route on the link, whose next hop is the block's network address, which
nobody is given; one neighbour that says at which VTEP's MAC that is; and for each peer one FDB row that says
behind which underlay address the MAC is. MACs follow from the nodes' identities, so that no record has them.
"""

from collections.abc import Sequence

from ...domains.firewall import Across
from ...domains.overlay.fdb import plan_fdb
from ...domains.overlay.mtu import overhead
from ...domains.overlay.neighbours import plan_neighbours
from ...domains.overlay.routes import BlockRoute
from ...domains.sandboxes.interfaces import choose_mac
from ...model.cluster import NodeId, NodeRecord
from ...model.ids import short
from ...model.networks import IPNetwork, Network
from ...model.observed import Neighbour
from ...model.steps import CreateVxlan, DeleteLink, RemoveFdb, RemoveNeighbour, SetLink, SetSysctl, Step
from ..contract import HostView, LinkRows
from ..overlay import PORT, vni_of
from .contract import Laid, Peer, Span
from .shared import main_underlay, plan_addresses

_REMOVALS = (RemoveFdb, RemoveNeighbour)


def device_name(network: Network) -> str:
    return f"vx-{short(network.id)}"


def vtep_mac(node: NodeId) -> str:
    """Return the MAC of a node's VXLAN devices without a bridge."""
    return choose_mac(f"vtep {node}")


class Vxlan:
    """Implements `Transport` with one VXLAN device per network."""

    name = "vxlan"
    needs: tuple[str, ...] = ("vxlan",)
    programs: tuple[str, ...] = ()
    encrypted = False

    def overhead(self, version: int) -> int:
        return overhead(self.name, version)

    def links(self, network: Network) -> tuple[str, ...]:
        return (device_name(network),)

    def across(self, network: Network) -> Across:
        return Across(links=self.links(network))

    def check(self, network: Network, host: HostView) -> None:
        vni_of(network)
        if host.cluster is not None:
            main_underlay(host.cluster.me)

    def plan(self, span: Span, peers: Sequence[Peer], host: HostView) -> Laid:
        network, name = span.network, device_name(span.network)
        mine = main_underlay(span.me)
        made = self._plan_device(span, host)
        fresh = any(isinstance(step, CreateVxlan) for step in made)
        rows = LinkRows() if fresh else host.rows.get(name, LinkRows())
        link = None if fresh else host.state.links.get(name)
        addresses, stale = plan_addresses(link, name, span.addresses(), network)
        fdb: dict[str, set[str]] = {}
        neighbours: dict[str, Neighbour] = {}
        routes: list[BlockRoute] = []
        notes: list[str] = []
        missing: list[IPNetwork] = []
        for peer in peers:
            theirs = peer.node.underlay(mine.version)
            if theirs is None:
                notes.append(self._unreached(span, peer))
                missing += peer.blocks
                continue
            mac = vtep_mac(peer.node.id)
            fdb[mac] = {theirs.address}
            for block in peer.blocks:
                hop = str(block.network_address)
                neighbours[hop] = Neighbour(mac)
                # IPv6 takes the device's own address by itself (RFC 6724, rule 5).
                source = span.source(4) if block.version == 4 else ""
                routes.append(BlockRoute(str(block), name, hop, onlink=True, source=source))
        steps = (
            *plan_fdb(fdb, rows.fdb, mine.address).steps(name),
            *plan_neighbours(neighbours, rows.neighbours).steps(name),
        )
        return Laid(
            (*made, *addresses, *(step for step in steps if not isinstance(step, _REMOVALS))),
            tuple(routes),
            (*(step for step in steps if isinstance(step, _REMOVALS)), *stale),
            tuple(notes),
            tuple(missing),
        )

    def _plan_device(self, span: Span, host: HostView) -> list[Step]:
        network, name = span.network, device_name(span.network)
        alias, mac = f"{host.mark}{network.id}", vtep_mac(span.me.id)
        local = main_underlay(span.me).address
        link = host.state.links.get(name)
        steps: list[Step] = []
        if link is not None and (
            link.vxlan is None
            or (link.vxlan.vni, link.vxlan.port, link.vxlan.local) != (vni_of(network), PORT, local)
        ):
            # Its numbers cannot be changed: our address is another one now, or somebody made it.
            steps.append(DeleteLink(name))
            link = None
        if link is None:
            steps.append(CreateVxlan(name, vni_of(network), PORT, local, alias, span.mtu))
        if link is None or (link.up, link.mtu, link.alias, link.mac) != (True, span.mtu, alias, mac):
            if network.enable_ipv6:
                # Nobody on it says where a router is.
                steps.append(SetSysctl(f"net.ipv6.conf.{name}.accept_ra", "0", optional=True))
            # It gets its MAC address last; cut before that, what comes before is done again.
            steps.append(SetLink(name, up=True, mtu=span.mtu, alias=alias, mac=mac))
        return steps

    def _unreached(self, span: Span, peer: Peer) -> str:
        why = self.refusal(span.me, peer.node, 4)
        return f"the blocks of node {peer.node.name} are not reached: {why}"

    def plan_removal(self, network: Network, host: HostView) -> tuple[Step, ...]:
        return tuple(DeleteLink(name) for name in self.links(network) if name in host.state.links)

    def refusal(self, me: NodeRecord, peer: NodeRecord, version: int) -> str:
        outer = main_underlay(me).version
        return "" if peer.underlay(outer) is not None else f"{peer.name} has no IPv{outer} underlay address"
