"""What a network driver is: it checks a network's options, and plans links, addresses and routes.

A driver decides how a network looks in the kernel and nothing else. It never acts: the engine applies its
plans, so that creating, `--dry-run`, repair after drift and adoption at start are one path. It never
allocates: addresses come to it in the network and the endpoint.

Drivers are found through the entry-point group `carrick.drivers`; docs/how-to/write-a-driver.md has a
whole one. Every driver passes `tests/contract/test_driver_contract.py`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from ..domains.firewall import NetworkRules
from ..domains.ipam import Prefix
from ..domains.overlay.fdb import Fdb
from ..domains.overlay.neighbours import Neighbours
from ..model.cluster import Block, NodeId, NodeRecord, RemoteEndpoint
from ..model.delegation import DelegateKind, EndpointCall, Made, Wishes
from ..model.ids import NetworkId
from ..model.networks import Endpoint, Network, Sandbox, Scope
from ..model.observed import NamespaceState, WireguardDevice
from ..model.steps import Plan


@dataclass(frozen=True, slots=True)
class DriverCapabilities:
    """What the engine must know of a driver before it uses it.

    `addressed`: endpoints get addresses from pools. `published`: ports can be published by NAT.
    `gateway`: the host is the gateway, so a pool needs a gateway address. `singleton`: there is one
    predefined network. `needs`: kinds of links that the kernel must have, probed when a network is made.
    """

    scope: Scope = Scope.LOCAL
    addressed: bool = True
    published: bool = False
    gateway: bool = False
    singleton: bool = False
    needs: tuple[str, ...] = ()


_ANY_MTU = 65535


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What a driver sees of the cluster that this host is in.

    `nodes` are all of them, this one (`me`) too. `blocks` are the confirmed ones, `endpoints` those of other
    nodes by their key, both by network. `path_mtus` are the largest packets that were seen to get through to
    a node, where that is known. Of the `recalled` networks only what an earlier life of this daemon wrote
    down is known as yet: what stands in the kernel may be newer, and nothing of it is taken away.
    """

    me: NodeRecord
    nodes: Mapping[NodeId, NodeRecord] = field(default_factory=dict)
    blocks: Mapping[NetworkId, tuple[Block, ...]] = field(default_factory=dict)
    endpoints: Mapping[NetworkId, Mapping[str, RemoteEndpoint]] = field(default_factory=dict)
    path_mtus: Mapping[NodeId, int] = field(default_factory=dict)
    recalled: frozenset[NetworkId] = frozenset()

    def mtu_to(self, node: NodeRecord, version: int) -> int:
        """Return the largest underlay packet that gets to a node: both links', and what was measured."""
        ends = [item.mtu for item in (self.me.underlay(version), node.underlay(version)) if item]
        return min([*ends, self.path_mtus.get(node.id, _ANY_MTU)])


@dataclass(frozen=True, slots=True)
class LinkRows:
    """What stands in the tables of one link: its FDB and its neighbours."""

    fdb: Fdb = field(default_factory=dict)
    neighbours: Neighbours = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostView:
    """What a driver sees of the host: its links and routes, and what this daemon calls itself.

    `table` is the daemon's name and that of its nftables tables. `mtu` is that of the route that traffic to
    the outside takes. `cluster` is None on a host that is in none. `rows` are those of the links that a
    spanning driver asked for (`Spanning.tunnels`). `wireguard` is the node's WireGuard device, None if it
    cannot have one. `shortcuts` says whether packets may pass a bridge by (`steps.SetShortcut`),
    `routed_shortcuts` whether they may pass the host's forwarding by, and so its connection tracking.
    """

    state: NamespaceState = field(default_factory=NamespaceState)
    table: str = "carrick"
    mtu: int = 1500
    cluster: ClusterView | None = None
    rows: Mapping[str, LinkRows] = field(default_factory=dict)
    wireguard: WireguardDevice | None = None
    shortcuts: bool = False
    routed_shortcuts: bool = False

    @property
    def mark(self) -> str:
        """What the alias of every link of this daemon begins with; another daemon's begins otherwise."""
        return f"{self.table}:"


class Driver(Protocol):
    """A network driver. Methods are pure: same arguments, same plan."""

    name: str
    capabilities: DriverCapabilities

    def check(self, network: Network, others: tuple[Network, ...], host: HostView) -> Network:
        """Return `network` with options completed; raise InvalidRequest, Denied or Conflict.

        `others` are the existing networks of every driver.
        """
        ...

    def plan_network(self, network: Network, host: HostView) -> Plan:
        """Return the steps that make the network exist as it should; none if it does."""
        ...

    def plan_network_removal(self, network: Network, others: tuple[Network, ...], host: HostView) -> Plan:
        """Return the steps that remove what `plan_network` made and no other network needs."""
        ...

    def complete_endpoint(self, network: Network, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint with interface names, MAC address and gateways filled in."""
        ...

    def plan_endpoint(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView, inside: NamespaceState
    ) -> Plan:
        """Return the steps that make an endpoint exist as it should; none if it does.

        `inside` is the sandbox's namespace. Default routes are not the driver's: the engine elects
        gateways over all endpoints.
        """
        ...

    def plan_endpoint_removal(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView
    ) -> Plan:
        """Return the steps that remove an endpoint from a sandbox that goes on living."""
        ...

    def firewall_rules(self, network: Network) -> NetworkRules | None:
        """Return what the firewall must know, or None if the driver's traffic never passes it."""
        ...


@dataclass(frozen=True, slots=True)
class Announcements:
    """How often, and how far apart, a new endpoint's addresses are announced to its neighbours."""

    count: int = 3
    pause_s: float = 1.0


@runtime_checkable
class Announcing(Protocol):
    """An extra ability of a driver: to say how a network's addresses are announced."""

    def announcements(self, network: Network) -> Announcements: ...


@dataclass(frozen=True, slots=True)
class Way:
    """How packets get to a node, for people.

    `plain`: as they are, without a tunnel around them. `counted`: something counts them.
    """

    node: NodeRecord
    transport: str
    why: str
    encrypted: bool
    plain: bool = False
    counted: bool = True


@runtime_checkable
class Explaining(Protocol):
    """An extra ability of a spanning driver: to say how packets get to the other nodes, and why so."""

    def ways(self, network: Network, host: HostView) -> tuple[Way, ...]: ...


@runtime_checkable
class Sealing(Protocol):
    """An extra ability of a driver: its networks can be encrypted by the node's WireGuard."""

    def is_sealed(self, network: Network) -> bool: ...


@runtime_checkable
class Reserving(Protocol):
    """An extra ability of a driver: in each block of ours it needs some addresses for itself."""

    def reserved(self, network: Network, block: Prefix) -> tuple[Prefix, ...]: ...


@runtime_checkable
class Delegating(Protocol):
    """An extra ability of a driver: the endpoints of its networks are made by somebody else.

    The engine makes the call that `plan_call` describes, and hands what came of it to `plan_made`; from then
    on the endpoint says what it was given, and `plan_endpoint` plans its repair as far as that is possible.
    """

    delegate: DelegateKind

    def plan_call(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, wishes: Wishes
    ) -> EndpointCall:
        """Return what to ask for. InvalidRequest for a wish that nobody there can fulfil."""
        ...

    def plan_made(self, call: EndpointCall, endpoint: Endpoint, made: Made) -> tuple[Endpoint, Plan]:
        """Return the endpoint as it was made, and the steps that put it into its sandbox."""
        ...

    def plan_return(self, call: EndpointCall, made: Made) -> Plan:
        """Return the steps that give its maker back what `plan_made` took."""
        ...


@runtime_checkable
class Lending(Protocol):
    """An extra ability of a driver: a node's blocks can be lent to a bridge of another engine.

    Such a block gets its routes, and its way through the firewall; who has which of its addresses, and the
    bridge itself, are not ours.
    """

    def lent(self, network: Network, host: HostView) -> tuple[str, ...]:
        """Return the links of this host that have blocks of a network."""
        ...

    def mtu(self, network: Network, host: HostView) -> int:
        """Return the largest packet that gets from here to every other node."""
        ...


@runtime_checkable
class Spanning(Protocol):
    """An extra ability of a driver whose networks reach other hosts (scope global).

    `plan_network` of such a driver plans what leads to the others as well, from `HostView.cluster`.
    """

    def tunnels(self, network: Network) -> tuple[str, ...]:
        """Return the links whose rows `plan_network` compares; they need not exist."""
        ...

    def plan_change(
        self,
        network: Network,
        put: Iterable[RemoteEndpoint],
        gone: Iterable[RemoteEndpoint],
        host: HostView,
    ) -> Plan:
        """Return the steps for endpoints that came, changed or went elsewhere, without comparing rows.

        `host.cluster` shows the cluster as it is after the change. Hot: nothing is read for it.
        """
        ...
