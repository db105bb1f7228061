"""Plain routes to nodes on our own segment: nothing is added to a packet (flannel's host-gw).

The next hop is the peer's underlay address. An IPv4 block may be behind an IPv6 one (RFC 5549's idea, in the
kernel since 5.2), never the other way round.
"""

from collections.abc import Sequence

from ...domains.overlay.routes import BlockRoute
from ...model.cluster import NodeRecord
from ...model.networks import IPNetwork
from ..contract import HostView
from .contract import Laid, Peer, Span
from .shared import Linkless, link_with, shared_segment


class Direct(Linkless):
    """Implements `Transport` with nothing but routes."""

    name = "direct"

    def plan(self, span: Span, peers: Sequence[Peer], host: HostView) -> Laid:
        routes: list[BlockRoute] = []
        notes: list[str] = []
        missing: list[IPNetwork] = []
        for peer in peers:
            for block in peer.blocks:
                ends = shared_segment(span.me, peer.node, _next_hops(block.version))
                link = link_with(host.state, ends[0].address) if ends else ""
                if ends is None or not link:
                    why = (
                        self.refusal(span.me, peer.node, block.version) if ends is None else _absent(span.me)
                    )
                    notes.append(f"{block} of node {peer.node.name} is not reached: {why}")
                    missing.append(block)
                    continue
                routes.append(BlockRoute(str(block), link, ends[1].address))
        return Laid(routes=tuple(routes), notes=tuple(notes), missing=tuple(missing))

    def refusal(self, me: NodeRecord, peer: NodeRecord, version: int) -> str:
        if shared_segment(me, peer, _next_hops(version)) is not None:
            return ""
        theirs = ", ".join(item.prefix for item in peer.underlays) or "no address"
        return f"{peer.name} is on another segment ({theirs})"


def _next_hops(version: int) -> tuple[int, ...]:
    return (4, 6) if version == 4 else (6,)


def _absent(me: NodeRecord) -> str:
    shown = ", ".join(item.address for item in me.underlays)
    return f"no link of this host has this node's underlay address ({shown})"
