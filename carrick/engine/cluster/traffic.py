"""How many bytes went to and came from each node: what the firewall and WireGuard count, added up.

The kernel counts by addresses, blocks and keys, and starts again at nothing when the tables or a key were
replaced by somebody. The sums here only grow: each look adds what came since the last one, to the node whose
address, block or key it is by then. They live as long as the daemon; after a restart they are the kernel's.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ...domains.firewall.traffic import Counted, parse_counted
from ...host.kernel import Kernel
from ...model.cluster import NodeId, NodeRecord
from ...model.errors import CarrickError
from ...model.observed import WireguardPeerState

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sums:
    """Bytes to and from one node. Tunnels' are counted with what wraps them."""

    sent: int = 0
    received: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.sent + other.sent, self.received + other.received)


@dataclass(frozen=True, slots=True)
class Reached:
    """A node, and those of its blocks (network addresses) that plain routes lead to."""

    record: NodeRecord
    plain_blocks: tuple[str, ...] = ()


class PeerTraffic:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._last: dict[str, Sums] = {}
        self._totals: dict[NodeId, Sums] = {}

    async def read(self, table: str) -> Counted:
        """Read the firewall's counters and the shortcuts'; none where they cannot be read."""
        try:
            counted = parse_counted(await self._kernel.list_nft(f"inet {table}") or ())
            return replace(counted, shortcuts=await self._kernel.read_shortcut_bytes())
        except CarrickError as error:
            _log.warning("what peers sent is not known: %s", error)
            return Counted()

    def add(
        self, counted: Counted, sealed: Mapping[str, WireguardPeerState], nodes: Iterable[Reached]
    ) -> Mapping[NodeId, Sums]:
        """Take what the kernel has counted, `sealed` by public key; return the sums by node."""
        there = set()
        for node in nodes:
            there.add(node.record.id)
            sources = {
                underlay.address: Sums(
                    counted.sent.get(underlay.address, 0), counted.received.get(underlay.address, 0)
                )
                for underlay in node.record.underlays
            }
            for tunnel, by_peer in counted.shortcuts.items():
                for underlay in node.record.underlays:
                    if sent := by_peer.get(underlay.address):
                        sources[f"{tunnel} {underlay.address}"] = Sums(sent)
            for block in node.plain_blocks:
                sources[f"block {block}"] = Sums(
                    counted.blocks_sent.get(block, 0), counted.blocks_received.get(block, 0)
                )
            if (state := sealed.get(node.record.wireguard_key)) is not None:
                sources[f"key {state.peer.public_key}"] = Sums(state.sent, state.received)
            new = self._totals.get(node.record.id, Sums())
            for source, seen in sources.items():
                new += self._since(source, seen)
            self._totals[node.record.id] = new
        self._totals = {node: total for node, total in self._totals.items() if node in there}
        return self._totals

    def _since(self, source: str, seen: Sums) -> Sums:
        last = self._last.get(source, Sums())
        self._last[source] = seen
        # Less than before: it was set to nothing in between.
        return Sums(
            seen.sent - last.sent if seen.sent >= last.sent else seen.sent,
            seen.received - last.received if seen.received >= last.received else seen.received,
        )
