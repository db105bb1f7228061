"""Nothing of ours: a network's hooks lead to the other nodes (flannel's `extension`), or nobody (`alloc`).

What the hooks set up is theirs. Only routes that bear our mark are compared, so theirs stand; and they come
before the unreachable route that every routed network has, as they are to longer prefixes.
"""

from collections.abc import Sequence

from ...domains.firewall import Across
from ...domains.overlay.mtu import overhead
from ...model.cluster import NodeRecord
from ...model.networks import Network
from ...model.steps import Step
from ..contract import HostView
from .contract import Laid, Peer, Span
from .shared import main_underlay


class Extension:
    """Implements `Transport` by leaving it to others."""

    name = "extension"
    needs: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    encrypted = False

    def overhead(self, version: int) -> int:
        return overhead(self.name, version)

    def links(self, network: Network) -> tuple[str, ...]:
        return ()

    def across(self, network: Network) -> Across:
        # By which links is the hooks' business.
        return Across(plain=True)

    def check(self, network: Network, host: HostView) -> None:
        if host.cluster is not None:
            main_underlay(host.cluster.me)

    def plan(self, span: Span, peers: Sequence[Peer], host: HostView) -> Laid:
        return Laid()

    def plan_removal(self, network: Network, host: HostView) -> tuple[Step, ...]:
        return ()

    def refusal(self, me: NodeRecord, peer: NodeRecord, version: int) -> str:
        return ""
