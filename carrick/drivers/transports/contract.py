"""What a transport is: it plans the links and rows that lead to peers, and the routes to their blocks.

Pure, like drivers: the engine applies the plans. A transport sees one network at a time; what its nodes share
(a WireGuard device) it plans anew for each, and the second time there is nothing to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ...domains.firewall import Across
from ...domains.overlay.routes import BlockRoute
from ...model.cluster import NodeRecord
from ...model.networks import IPNetwork, Network
from ...model.steps import Step
from ..contract import HostView


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node, and its confirmed blocks of a network."""

    node: NodeRecord
    blocks: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """One network as this node sees it: its own blocks, and the MTU that fits every peer's path."""

    network: Network
    me: NodeRecord
    own: tuple[IPNetwork, ...]
    mtu: int

    def source(self, version: int) -> str:
        """Return the address that this node itself has in the network: its first block's own, or ""."""
        return next((str(block.network_address) for block in self.own if block.version == version), "")

    def addresses(self) -> tuple[str, ...]:
        """Return those of both families, as a link has them: alone, without a subnet."""
        return tuple(
            f"{source}/{32 if version == 4 else 128}"
            for version in (4, 6)
            if (source := self.source(version))
        )


@dataclass(frozen=True, slots=True)
class Laid:
    """What leads to some peers. `first` is what their routes need; `last` goes when no route needs it.

    `missing` are blocks that nothing leads to, with the reason: the driver makes them unreachable.
    """

    first: tuple[Step, ...] = ()
    routes: tuple[BlockRoute, ...] = ()
    last: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    missing: tuple[IPNetwork, ...] = ()


class Transport(Protocol):
    """A transport. Methods are pure: same arguments, same answer.

    `needs`: kinds of links that the kernel must have (any of them suffices with `programs` installed).
    `encrypted`: what goes by it is sealed, or does not go.
    """

    name: str
    needs: tuple[str, ...]
    programs: tuple[str, ...]
    encrypted: bool

    def overhead(self, version: int) -> int:
        """Return the bytes that it adds to a packet over an underlay of IPv4 or IPv6."""
        ...

    def links(self, network: Network) -> tuple[str, ...]:
        """Return the links that it makes for this network alone, removed with it; they need not exist."""
        ...

    def across(self, network: Network) -> Across:
        """Return what the firewall must know: by which links its packets come and go."""
        ...

    def check(self, network: Network, host: HostView) -> None:
        """Raise Unsupported, Unavailable or InvalidRequest if this node cannot use it for a network."""
        ...

    def plan(self, span: Span, peers: Sequence[Peer], host: HostView) -> Laid:
        """Return what leads to `peers`, and away from those whom it led to before.

        A peer that it cannot reach is noted, and its blocks are `missing`. It is called for every network
        that uses it, with no peers too.
        """
        ...

    def plan_removal(self, network: Network, host: HostView) -> tuple[Step, ...]:
        """Return the steps that remove what `plan` made for a network, routes apart."""
        ...

    def refusal(self, me: NodeRecord, peer: NodeRecord, version: int) -> str:
        """Return why a peer's blocks of an IP version cannot be reached this way, "" if they can."""
        ...
