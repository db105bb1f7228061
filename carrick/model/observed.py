"""Observed: what the kernel is seen to hold, as records that its readers return and planners compare with.

What is *done* about a difference is a step, in `steps`; so are the words that both share (`RouteKind`,
`WireguardPeer`), since a step can be written without having looked. `WireguardDevice` alone says beside what
is there what should be, so that whoever compares has both.
"""

from dataclasses import dataclass, field
from typing import Literal

from .steps import MAIN_TABLE, ROUTE_PROTOCOL, RouteKind, WireguardPeer


@dataclass(frozen=True, slots=True)
class VxlanState:
    """What a VXLAN device was made with; `local` is "" where it has no address of its own."""

    vni: int
    port: int
    local: str = ""
    learning: bool = False
    proxy: bool = False


@dataclass(frozen=True, slots=True)
class WireguardPeerState:
    """A peer as a device shows it: with the bytes of payload, and when it last shook hands (0: never)."""

    peer: WireguardPeer
    handshake_ns: int = 0
    received: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True)
class WireguardState:
    """What a WireGuard device has: its public key ("" none yet), its port, its peers by key."""

    public_key: str = ""
    port: int = 0
    peers: tuple[WireguardPeerState, ...] = ()


@dataclass(frozen=True, slots=True)
class WireguardDevice:
    """The node's WireGuard device: what it is to be, and what it is (None: it is not there).

    `public_key` belongs to the private key in `key_file`. `keepalive_s` is what peers are sent, 0 for none.
    """

    name: str
    key_file: str
    public_key: str
    port: int
    keepalive_s: int = 0
    state: WireguardState | None = None


ShortcutState = Literal["", "stale", "set"]
"""How a VXLAN device, or a port of its bridge, takes part in a shortcut: not; in one that must be set again,
because an earlier process or version left it; as asked."""


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link as the kernel shows it.

    `carrier` says of a pair's end that is up whether the other one is, too. `sysctls` are read of bridges
    alone: `ipv4.route_localnet`, `ipv6.accept_ra` and `ipv6.disable_ipv6`, those that this kernel has.
    `neigh_suppress` is a bridge port's (`steps.SetLink`). `shortcut` is shown of links in the daemon's own
    namespace.
    """

    name: str
    index: int
    kind: str = ""
    mac: str = ""
    mtu: int = 0
    up: bool = False
    carrier: bool = True
    master: str = ""
    alias: str = ""
    addresses: frozenset[str] = frozenset()
    peer_index: int = 0
    sysctls: dict[str, str] = field(default_factory=dict)
    vxlan: VxlanState | None = None
    neigh_suppress: bool = False
    shortcut: ShortcutState = ""


@dataclass(frozen=True, slots=True)
class RouteState:
    """A route, of whatever table; `destination` is "default", "::/0" or a prefix.

    Every unicast route is shown; blackhole and unreachable ones only if they are ours, which `protocol`
    ROUTE_PROTOCOL says.
    """

    destination: str
    link: str = ""
    via: str = ""
    mtu: int = 0
    metric: int = 0
    table: int = MAIN_TABLE
    protocol: int = 0
    kind: RouteKind = "unicast"
    source: str = ""
    onlink: bool = False

    @property
    def is_own(self) -> bool:
        return self.protocol == ROUTE_PROTOCOL


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A row of a neighbour table: where its address is."""

    mac: str
    router: bool = False


@dataclass(frozen=True, slots=True)
class NamespaceState:
    """What one namespace holds: links by name, and routes."""

    links: dict[str, LinkState] = field(default_factory=dict)
    routes: tuple[RouteState, ...] = ()
