"""Nothing of ours: a network's hooks lead to the other nodes (flannel's `extension`), or nobody (`alloc`).

What the hooks set up is theirs. Only routes that bear our mark are compared, so theirs stand; and they come
before the unreachable route that every routed network has, as they are to longer prefixes.
"""

from collections.abc import Sequence

from ...model.cluster import NodeRecord
from ..contract import HostView
from .contract import Laid, Peer, Span
from .shared import Linkless


class Extension(Linkless):
    """Implements `Transport` by leaving it to others."""

    name = "extension"

    def plan(self, span: Span, peers: Sequence[Peer], host: HostView) -> Laid:
        return Laid()

    def refusal(self, me: NodeRecord, peer: NodeRecord, version: int) -> str:
        return ""
