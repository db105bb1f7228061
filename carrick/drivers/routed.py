"""The routed driver: each node gives addresses from blocks of its own, and packets between nodes are routed.

On each host a routed network is a bridge network of this node's blocks, and a route to every other node's by
the transport that the network names. There are two shapes:

  gateway  (flannel's) the bridge has the first address of each block; containers are in their block's subnet
  point    (Calico's) containers are alone on their address (/32, /128) and send everything to 169.254.1.1 or
           fe80::1, which the bridge has on every host; the host has a route to each of them

A block may be lent to a bridge of another engine (`carrick flannel env`, for a stock Docker): then the bridge
and the addresses are that engine's, and ours are the ways to it. Where all of a node's blocks are lent, there
is no bridge of ours.

An unreachable route to each of the network's subnets stands behind all others, so that what nobody has leaves
neither in circles nor by the default route, in the clear.
"""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, ip_interface, ip_network
from types import MappingProxyType

from ..domains.firewall import Across, NetworkRules
from ..domains.firewall.wanted import ISOLATED
from ..domains.flannel.hooks import OPTIONS
from ..domains.ipam import Address, Pool, PoolId, Prefix
from ..domains.ipam.blocks import DIVIDING, block_length, block_of, division_of
from ..domains.overlay.mtu import PeerPath, network_mtu
from ..domains.overlay.routes import BlockRoute, own_block_routes, plan_block_routes
from ..model.cluster import Block, BlockState, NodeRecord, NodeState, RemoteEndpoint
from ..model.errors import Conflict, InvalidRequest
from ..model.networks import Endpoint, IPNetwork, Network, PoolConfig, Sandbox, Scope
from ..model.observed import NamespaceState, RouteState
from ..model.steps import (
    AddRoute,
    CreateVxlan,
    DeleteLink,
    Plan,
    RemoveFdb,
    RemoveNeighbour,
    RemoveRoute,
    Step,
)
from . import bridge
from .contract import Announcements, ClusterView, DriverCapabilities, HostView, Way
from .overlay import VNI, check_underlays, no_cluster, vni_of
from .shortcuts import plan_shortcut, plan_taking_part
from .transports import vxlan
from .transports.choose import BACKEND, CROSS_SUBNET, Choice, choose, parse_choice
from .transports.contract import Peer, Span
from .transports.shared import NOWHERE_METRIC, main_underlay

MODE = "carrick.routed.mode"
COUNT = "carrick.routed.count"
GATEWAY_MODE, POINT_MODE = "gateway", "point"
ROUTERS = MappingProxyType({4: "169.254.1.1", 6: "fe80::1"})
"""Where containers of the shape `point` send everything, by IP version: the same on every host."""
_OWN = frozenset({MODE, COUNT, BACKEND, CROSS_SUBNET, VNI, bridge.MTU, *DIVIDING, *OPTIONS.values()})
_ROWS_GO = (RemoveFdb, RemoveNeighbour, RemoveRoute)
_SMALLEST = MappingProxyType({4: 30, 6: 126})


class RoutedDriver:
    """Implements `Driver` and `Spanning` with a bridge, and routes by transports."""

    name = "routed"
    capabilities = DriverCapabilities(scope=Scope.GLOBAL, published=True)

    def __init__(self) -> None:
        self._bridge = bridge.BridgeDriver()

    def check(self, network: Network, others: tuple[Network, ...], host: HostView) -> Network:
        check_underlays(network, _cluster(network, host))
        bridge.refuse_unknown(network, _OWN)
        mode_of(network)
        is_counted(network)
        for version in (4, 6):
            division_of(network, version)
        self._check_pools(network, others)
        for transport in parse_choice(network).transports:
            transport.check(network, host)
        self._bridge.check(_as_bridge(network), others, host)
        options = bridge.parse_options(_as_bridge(network))
        if ISOLATED in (options.mode4, options.mode6) or options.inhibit_ipv4:
            raise InvalidRequest(
                "a routed network's bridge needs its addresses: neither gateway mode 'isolated' nor "
                f"{bridge.INHIBIT4} is possible",
                remedy="use --internal to keep its containers from the outside",
            )
        return network

    def _check_pools(self, network: Network, others: tuple[Network, ...]) -> None:
        for pool in network.pools:
            if pool.gateway:
                raise InvalidRequest(
                    f"network {network.name}: {pool.gateway} cannot be the gateway: each block of a routed "
                    "network has its own, the block's first address",
                    remedy="leave --gateway away",
                )
            division = division_of(network, pool.version)
            length, smallest = block_length(_pool(pool), division), _SMALLEST[pool.version]
            if length > smallest:
                raise InvalidRequest(
                    f"subnet {pool.subnet} is too small to be divided among nodes: blocks would be /{length}",
                    remedy=f"use one of /{pool.network.prefixlen - (length - smallest)} or larger",
                )
            for other in others:
                if other.id != network.id and other.scope is Scope.GLOBAL:
                    for theirs in other.pools:
                        if theirs.version == pool.version and theirs.network.overlaps(pool.network):
                            raise Conflict(
                                f"subnet {pool.subnet} overlaps {theirs.subnet} of network {other.name}",
                                remedy="choose another with --subnet",
                            )

    # Networks --------------------------------------------------------------------------------

    def plan_network(self, network: Network, host: HostView) -> Plan:
        choice, span = parse_choice(network), _span(network, host)
        made = self._plan_bridge(network, host, span.mtu)
        laid = [
            transport.plan(span, _peers_by(choice, transport.name, network, host), host)
            for transport in choice.transports
        ]
        first = [step for item in laid for step in item.first]
        routes = plan_block_routes(
            [*(route for item in laid for route in item.routes), *_nowhere(network)],
            _actual_routes(network, host, _gone(first)),
        )
        # Before there is a way out of the host at all, there is none for what goes to other nodes.
        closed, opened = _split(routes.steps())
        last = [step for item in laid for step in item.last]
        notes = made.notes + tuple(note for item in laid for note in item.notes)
        steps: tuple[Step, ...] = (*closed, *made.steps, *first, *opened, *last)
        steps += tuple(self._plan_shortcut(network, host, steps))
        if network.id in _cluster(network, host).recalled:
            steps = tuple(step for step in steps if not isinstance(step, _ROWS_GO))
        return Plan(steps, notes)

    def _plan_shortcut(self, network: Network, host: HostView, before: Iterable[Step]) -> list[Step]:
        """`before` is what is done first."""
        tunnel, bridge_name = vxlan.device_name(network), _bridge_name(network)
        fresh = any(isinstance(step, CreateVxlan) and step.name == tunnel for step in before)
        if not fresh and tunnel not in host.state.links:
            return []
        subnet = self._shortened(network, host)
        wanted = subnet is not None
        return plan_shortcut(tunnel, bridge_name, host, wanted=wanted, fresh=fresh, subnet=subnet)

    def _shortened(self, network: Network, host: HostView) -> IPv4Network | None:
        """Return the subnet within which packets may pass the host's forwarding by, if they may.

        They may if nothing tracks them: they go by the plain path as well.
        """
        rules, pool = self.firewall_rules(network), network.pool(4)
        if rules is None or pool is None or not host.routed_shortcuts:
            return None
        if not replace(rules, lent=self.lent(network, host)).is_stateless:
            return None
        return pool.network if isinstance(pool.network, IPv4Network) else None

    def _plan_bridge(self, network: Network, host: HostView, mtu: int) -> Plan:
        ours = tuple(block.network for block in _own_blocks(network, host) if not block.bridge)
        if not ours and self.lent(network, host):
            return self._bridge.plan_network_removal(_as_bridge(network), (), host)
        return self._bridge.plan_network(
            _as_bridge(network, _bridge_pools(network, ours)), replace(host, mtu=mtu)
        )

    def plan_network_removal(self, network: Network, others: tuple[Network, ...], host: HostView) -> Plan:
        steps: list[Step] = []
        for transport in parse_choice(network).transports:
            steps += transport.plan_removal(network, host)
        plan = self._bridge.plan_network_removal(_as_bridge(network), others, host)
        gone = _gone((*steps, *plan.steps))
        routes = plan_block_routes((), _actual_routes(network, host, gone)).steps()
        return Plan((*steps, *plan.steps, *routes), plan.notes)

    # Other hosts -----------------------------------------------------------------------------

    def tunnels(self, network: Network) -> tuple[str, ...]:
        return tuple(
            link for transport in parse_choice(network).transports for link in transport.links(network)
        )

    def plan_change(
        self,
        network: Network,
        put: Iterable[RemoteEndpoint],
        gone: Iterable[RemoteEndpoint],
        host: HostView,
    ) -> Plan:
        """Nothing: routes lead to blocks, whoever is in them. Changed blocks come through `plan_network`."""
        return Plan()

    def is_sealed(self, network: Network) -> bool:
        return parse_choice(network).backend.encrypted

    def reserved(self, network: Network, block: Prefix) -> tuple[Prefix, ...]:
        return reserved(network, block)

    def lent(self, network: Network, host: HostView) -> tuple[str, ...]:
        if host.cluster is None:
            return ()
        return tuple(sorted({block.bridge for block in _own_blocks(network, host) if block.bridge}))

    def mtu(self, network: Network, host: HostView) -> int:
        return _mtu(network, host)

    def ways(self, network: Network, host: HostView) -> tuple[Way, ...]:
        """Return how packets get to every other node, and why so."""
        cluster, choice = _cluster(network, host), parse_choice(network)
        found = []
        for node in sorted(cluster.nodes.values(), key=_name):
            if node.id == cluster.me.id:
                continue
            version = 4 if network.pool(4) is not None else 6
            transport, why = choose(choice, cluster.me, node, version)
            refused = transport.refusal(cluster.me, node, version)
            found.append(
                Way(
                    node,
                    transport.name,
                    f"not reached: {refused}" if refused else why,
                    transport.encrypted,
                    plain=transport.across(network).plain,
                    counted=not transport.across(network).plain or is_counted(network),
                )
            )
        return tuple(found)

    # Endpoints -------------------------------------------------------------------------------

    def complete_endpoint(self, network: Network, endpoint: Endpoint) -> Endpoint:
        pools = []
        prefixes = {}
        for version, text in ((4, endpoint.ipv4), (6, endpoint.ipv6)):
            pool = network.pool(version)
            if not text or pool is None:
                continue
            address = ip_interface(text).ip
            block = block_of(_pool(pool), address, division_of(network, version))
            if mode_of(network) == POINT_MODE:
                prefixes[version] = f"{address}/{address.max_prefixlen}"
                pools.append(PoolConfig(str(block), gateway=ROUTERS[version]))
            else:
                prefixes[version] = f"{address}/{block.prefixlen}"
                pools.append(PoolConfig(str(block), gateway=str(_first(block))))
        done = self._bridge.complete_endpoint(_as_bridge(network, tuple(pools)), endpoint)
        return replace(done, ipv4=prefixes.get(4, ""), ipv6=prefixes.get(6, ""))

    def plan_endpoint(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView, inside: NamespaceState
    ) -> Plan:
        view = replace(host, mtu=_span(network, host).mtu)
        plan = self._bridge.plan_endpoint(_as_bridge(network), endpoint, sandbox, view, inside)
        # A link that is made anew, or comes up again, has no routes.
        kept = inside.routes if not plan.steps else ()
        steps: list[Step] = []
        for route in self._inside_routes(network, endpoint, sandbox):
            if not _has(kept, route):
                steps.append(route)
        for route in self._host_routes(network, endpoint):
            if not _has(host.state.routes, route):
                steps.append(route)
        if self._shortened(network, host) is not None:
            plan = plan_taking_part(vxlan.device_name(network), endpoint, plan, host, routed=True)
        return plan + Plan(tuple(steps))

    def _inside_routes(self, network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterable[AddRoute]:
        """Yield the routes to the rest of the network, which hold whichever way the default route goes."""
        for version, text in ((4, endpoint.ipv4), (6, endpoint.ipv6)):
            pool = network.pool(version)
            if not text or pool is None:
                continue
            if mode_of(network) == POINT_MODE:
                gateway = ROUTERS[version]
                if version == 4:
                    # It is in no subnet of the container's: this says that it is on the link.
                    yield AddRoute(f"{gateway}/32", endpoint.interface, netns=sandbox.netns)
            else:
                division = division_of(network, version)
                gateway = str(_first(block_of(_pool(pool), ip_interface(text).ip, division)))
            yield AddRoute(str(pool.network), endpoint.interface, gateway, sandbox.netns, version)

    def _host_routes(self, network: Network, endpoint: Endpoint) -> Iterable[AddRoute]:
        if mode_of(network) != POINT_MODE:
            return
        name = _bridge_name(network)
        for text in filter(None, (endpoint.ipv4, endpoint.ipv6)):
            address = ip_interface(text).ip
            yield AddRoute(f"{address}/{address.max_prefixlen}", name, version=address.version)

    def plan_endpoint_removal(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView
    ) -> Plan:
        routes = tuple(
            RemoveRoute(route.destination, version=route.version, link=route.link, own=True)
            for route in self._host_routes(network, endpoint)
        )
        plan = self._bridge.plan_endpoint_removal(_as_bridge(network), endpoint, sandbox, host)
        return Plan(routes) + plan

    def announcements(self, network: Network) -> Announcements:
        return self._bridge.announcements(_as_bridge(network))

    def firewall_rules(self, network: Network) -> NetworkRules | None:
        rules = self._bridge.firewall_rules(_as_bridge(network))
        if rules is None:
            return None
        parts = [transport.across(network) for transport in parse_choice(network).transports]
        across = Across(
            tuple(link for part in parts for link in part.links),
            any(part.wireguard for part in parts),
            any(part.plain for part in parts),
            _block_lengths(network) if is_counted(network) else (),
        )
        choice = parse_choice(network)
        tunnelled = any(transport.name == "vxlan" for transport in choice.transports)
        vni = vni_of(network) if tunnelled else 0
        return replace(rules, across=across, vni=vni, stateless=True)


def mode_of(network: Network) -> str:
    """Return a network's shape; InvalidRequest if its option names none."""
    mode = network.options.get(MODE) or GATEWAY_MODE
    if mode not in (GATEWAY_MODE, POINT_MODE):
        raise InvalidRequest(f"{MODE}: {mode} is neither {GATEWAY_MODE} nor {POINT_MODE}")
    return mode


def is_counted(network: Network) -> bool:
    """Tell whether packets by plain routes are to be counted, which costs them more than tunnels' do."""
    text = network.options.get(COUNT, "").lower()
    if text not in ("", "true", "false"):
        raise InvalidRequest(f"{COUNT}: {text} is neither true nor false")
    return text == "true"


def _block_lengths(network: Network) -> tuple[int, ...]:
    return tuple(block_length(_pool(pool), division_of(network, pool.version)) for pool in network.pools)


def reserved(network: Network, block: Prefix) -> tuple[Prefix, ...]:
    """Return the addresses of a block that no container may have, asked for or not.

    The network address is the node's own in the network, and the next hop that others know; in the shape
    `gateway` the first is the bridge's, and an IPv4 block has a broadcast address.
    """
    addresses = [block.network_address]
    if mode_of(network) == GATEWAY_MODE:
        addresses.append(_first(block))
        if block.version == 4:
            addresses.append(block.broadcast_address)
    return tuple(ip_network(address) for address in addresses)


def _first(block: IPNetwork) -> Address:
    return block.network_address + 1


def _pool(config: PoolConfig) -> Pool:
    return Pool.of(PoolId(""), config)


def _as_bridge(network: Network, pools: tuple[PoolConfig, ...] | None = None) -> Network:
    """Return the part of a routed network that is a bridge network; `pools` instead of its own."""
    options = {key: value for key, value in network.options.items() if key not in _OWN}
    return replace(network, driver="bridge", options=options, pools=network.pools if pools is None else pools)


def _bridge_pools(network: Network, own: tuple[IPNetwork, ...]) -> tuple[PoolConfig, ...]:
    """Return what the bridge has addresses of."""
    if mode_of(network) == GATEWAY_MODE:
        return tuple(PoolConfig(str(block), gateway=str(_first(block))) for block in own)
    subnets = {4: f"{ROUTERS[4]}/32", 6: "fe80::/64"}
    return tuple(
        PoolConfig(subnets[version], gateway=ROUTERS[version])
        for version in (4, 6)
        if network.pool(version) is not None
    )


def _bridge_name(network: Network) -> str:
    return bridge.parse_options(_as_bridge(network)).name


def _cluster(network: Network, host: HostView) -> ClusterView:
    if host.cluster is None:
        raise no_cluster(f"network {network.name}")
    return host.cluster


def _span(network: Network, host: HostView) -> Span:
    cluster = _cluster(network, host)
    return Span(network, cluster.me, _blocks(network, host, cluster.me), _mtu(network, host))


def _blocks(network: Network, host: HostView, node: NodeRecord) -> tuple[IPNetwork, ...]:
    return tuple(block.network for block in _blocks_of(network, host, node))


def _own_blocks(network: Network, host: HostView) -> tuple[Block, ...]:
    return _blocks_of(network, host, _cluster(network, host).me)


def _blocks_of(network: Network, host: HostView, node: NodeRecord) -> tuple[Block, ...]:
    found = [
        block
        for block in _cluster(network, host).blocks.get(network.id, ())
        if block.node == node.id and block.state is BlockState.CONFIRMED
    ]
    return tuple(sorted(found, key=_place_of))


def _peers_by(choice: Choice, transport: str, network: Network, host: HostView) -> list[Peer]:
    """Return the other nodes with those of their blocks that a transport is to reach."""
    cluster = _cluster(network, host)
    peers = []
    for node in sorted(cluster.nodes.values(), key=_id):
        if node.id == cluster.me.id or node.state is NodeState.GONE:
            continue
        blocks = tuple(
            block
            for block in _blocks(network, host, node)
            if choose(choice, cluster.me, node, block.version)[0].name == transport
        )
        if blocks:
            peers.append(Peer(node, blocks))
    return peers


def _mtu(network: Network, host: HostView) -> int:
    """Work out the network's MTU: the backend's even where every peer is near, as others may join."""
    cluster, backend = _cluster(network, host), parse_choice(network).backend
    mine = main_underlay(cluster.me)
    paths = [
        PeerPath(node.name, backend.name, mine.version, cluster.mtu_to(node, mine.version))
        for node in cluster.nodes.values()
        if node.underlay(mine.version) is not None
    ]
    otherwise = mine.mtu - backend.overhead(mine.version)
    fits = network_mtu(paths, otherwise, ipv6=network.enable_ipv6)
    asked = bridge.parse_options(replace(network, options=_only_mtu(network))).mtu
    return min(asked, fits) if asked else fits


def _only_mtu(network: Network) -> dict[str, str]:
    return {key: value for key, value in network.options.items() if key == bridge.MTU}


def _nowhere(network: Network) -> list[BlockRoute]:
    return [
        BlockRoute(str(pool.network), metric=NOWHERE_METRIC, kind="unreachable") for pool in network.pools
    ]


def _actual_routes(network: Network, host: HostView, gone: frozenset[str]) -> list[BlockRoute]:
    """Return the network's routes between nodes as they are, but for those by links that are `gone`."""
    name = _bridge_name(network)
    found = own_block_routes(host.state.routes, [pool.network for pool in network.pools])
    # Those by the bridge are endpoints', in the shape `point`.
    return [route for route in found if route.link != name and route.link not in gone]


def _gone(steps: Iterable[Step]) -> frozenset[str]:
    return frozenset(step.name for step in steps if isinstance(step, DeleteLink))


def _split(steps: tuple[Step, ...]) -> tuple[list[Step], list[Step]]:
    """Part the steps that close ways from those that open them."""
    closed: list[Step] = [step for step in steps if isinstance(step, AddRoute) and step.kind == "unreachable"]
    return closed, [step for step in steps if step not in closed]


def _has(routes: Iterable[RouteState], wanted: AddRoute) -> bool:
    destination = ip_network(wanted.destination)
    return any(
        (route.link, route.via) == (wanted.link, wanted.via)
        and route.destination not in ("default", "::/0")
        and ip_network(route.destination) == destination
        for route in routes
    )


def _place_of(block: Block) -> tuple[int, bytes]:
    return block.network.version, block.network.network_address.packed


def _id(node: NodeRecord) -> str:
    return node.id


def _name(node: NodeRecord) -> str:
    return node.name
