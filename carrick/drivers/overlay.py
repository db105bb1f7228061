"""The overlay driver: one subnet on all hosts, as on one switch, by VXLAN (RFC 7348).

On each host an overlay network is a bridge network with one port more: a VXLAN device whose FDB says behind
which host each MAC address is. Nothing is learnt: rows come from the cluster's records. ARP and neighbour
solicitations are answered by the bridge for all that is known, and never cross. What is meant for all
(broadcast, multicast) and what nobody knows goes to every host that has a container in the network, or
addresses for one: a host that is cut off from the cluster's store may start one of which nobody is told.

With `encrypted` the tunnels' ends are addresses that only the node's WireGuard device carries, so that what
crosses the underlay is sealed; without the device, or a peer's key, nothing is sent.

Where nobody can miss it, packets to a container elsewhere pass the bridge by, and so do those that arrive
(`host.kernel.bpf`); the bridge and the VXLAN device are there all the same, for what that leaves to them.

The gateway has the same address and MAC address on every host, so that containers leave by their own. Its
frames never cross: nobody's FDB or neighbour table has it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address

from ..domains.firewall import NetworkRules
from ..domains.overlay.fdb import plan_fdb
from ..domains.overlay.mtu import PeerPath, network_mtu, overhead
from ..domains.overlay.neighbours import plan_neighbours
from ..domains.sandboxes.interfaces import choose_mac
from ..domains.wireguard import inner_address
from ..model.cluster import NodeId, NodeRecord, RemoteEndpoint
from ..model.errors import Conflict, Denied, InvalidRequest, Unavailable, Unsupported
from ..model.ids import short
from ..model.networks import Endpoint, Network, Sandbox, Scope
from ..model.observed import NamespaceState, Neighbour
from ..model.steps import (
    ANY_MAC,
    AddNeighbour,
    CreateVxlan,
    DeleteLink,
    Plan,
    RemoveFdb,
    RemoveNeighbour,
    SetFdb,
    SetLink,
    SetSysctl,
    Step,
)
from . import bridge
from .contract import Announcements, ClusterView, DriverCapabilities, HostView, LinkRows, Way
from .shortcuts import plan_shortcut, plan_taking_part
from .transports.wireguard import has_ipv6, no_wireguard, plan_device

VNI = "com.docker.network.driver.overlay.vxlanid_list"
ENCRYPTED = "encrypted"
PORT = 4789
_OWN = frozenset({VNI, ENCRYPTED})
_LARGEST_VNI = (1 << 24) - 1


@dataclass(frozen=True, slots=True)
class _Fabric:
    """What leads to the other hosts: our VTEP, and theirs by node."""

    local: str
    vteps: dict[NodeId, str]
    mtu: int
    notes: tuple[str, ...]
    before: tuple[Step, ...] = ()
    """What the tunnel's ends need."""


def device_name(network: Network) -> str:
    return f"vx-{short(network.id)}"


def vni_of(network: Network) -> int:
    """Return a network's VNI; InvalidRequest if its option is none."""
    text = network.options.get(VNI, "")
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _LARGEST_VNI):
        raise InvalidRequest(f"{VNI}: {text or 'nothing'} is not one VNI (1 to {_LARGEST_VNI})")
    return int(text)


class OverlayDriver:
    """Implements `Driver` and `Spanning` with a bridge and a VXLAN device."""

    name = "overlay"
    capabilities = DriverCapabilities(scope=Scope.GLOBAL, published=True, gateway=True, needs=("vxlan",))

    def __init__(self) -> None:
        self._bridge = bridge.BridgeDriver()

    def check(self, network: Network, others: tuple[Network, ...], host: HostView) -> Network:
        check_underlays(network, _cluster(network, host))
        bridge.refuse_unknown(network, _OWN)
        vni_of(network)
        if is_encrypted(network):
            if host.wireguard is None:
                raise no_wireguard(f"the encrypted network {network.name}")
            if not has_ipv6(host.state):
                raise Unsupported(
                    f"the encrypted network {network.name} needs IPv6 on this host, and it is switched off",
                    remedy="switch it on (net.ipv6.conf.all.disable_ipv6=0), or use driver routed with "
                    "--opt backend=wireguard",
                )
        for other in others:
            if other.driver == self.name and other.id != network.id and vni_of(other) == vni_of(network):
                raise InvalidRequest(f"VNI {vni_of(network)} is that of network {other.name}")
        self._bridge.check(_as_bridge(network), others, host)
        return network

    # Networks --------------------------------------------------------------------------------

    def plan_network(self, network: Network, host: HostView) -> Plan:
        fabric = _fabric(network, host)
        made = self._bridge.plan_network(_as_bridge(network), replace(host, mtu=fabric.mtu))
        steps = [*fabric.before, *made.steps, *self._plan_device(network, fabric, host)]
        fresh = any(isinstance(step, CreateVxlan) for step in steps)
        steps += self._plan_rows(network, fabric, host, fresh=fresh, renewed=bool(made.steps))
        name, bridge_name = self.tunnels(network)
        wanted = takes_shortcuts(network, host)
        steps += plan_shortcut(name, bridge_name, host, wanted=wanted, fresh=fresh)
        return Plan(tuple(steps), made.notes + fabric.notes)

    def _plan_device(self, network: Network, fabric: _Fabric, host: HostView) -> list[Step]:
        name = device_name(network)
        alias = bridge.bridge_alias(network, host)
        master = bridge.parse_options(_as_bridge(network)).name
        link = host.state.links.get(name)
        steps: list[Step] = []
        if link is not None and (
            link.vxlan is None
            or (link.vxlan.vni, link.vxlan.port, link.vxlan.local, link.vxlan.proxy)
            != (vni_of(network), PORT, fabric.local, False)
        ):
            # Its numbers cannot be changed: our address is another one now, or somebody made it.
            steps.append(DeleteLink(name))
            link = None
        if link is None:
            steps.append(CreateVxlan(name, vni_of(network), PORT, fabric.local, alias, fabric.mtu))
        wanted = (master, True, fabric.mtu, alias, True)
        if link is None or (link.master, link.up, link.mtu, link.alias, link.neigh_suppress) != wanted:
            # The device says nothing itself, and nothing is learnt of what is behind it. That it suppresses
            # comes last; cut before that, what comes before is done again.
            steps.append(SetSysctl(f"net.ipv6.conf.{name}.disable_ipv6", "1", optional=True))
            steps.append(
                SetLink(
                    name,
                    learning=False,
                    neigh_suppress=True,
                    master=master,
                    up=True,
                    mtu=fabric.mtu,
                    alias=alias,
                )
            )
        return steps

    def _plan_rows(
        self, network: Network, fabric: _Fabric, host: HostView, *, fresh: bool, renewed: bool
    ) -> tuple[Step, ...]:
        """Return what the rows lack. `fresh`: the device is new; `renewed`: the bridge is changed before."""
        name, bridge_name = self.tunnels(network)
        rows = LinkRows() if fresh else host.rows.get(name, LinkRows())
        stand = host.rows.get(bridge_name, LinkRows()).neighbours
        fdb: dict[str, set[str]] = {ANY_MAC: set()}
        neighbours: dict[str, Neighbour] = {}
        for owner in _owners(network, host):
            if owner in fabric.vteps:
                fdb[ANY_MAC].add(fabric.vteps[owner])
        for endpoint in _endpoints(network, host):
            vtep = fabric.vteps.get(endpoint.node)
            if vtep is None:
                continue
            fdb[endpoint.mac_address.lower()] = {vtep}
            fdb[ANY_MAC].add(vtep)
            for address in endpoint.addresses:
                neighbours[address] = Neighbour(endpoint.mac_address.lower())
        if network.id in _cluster(network, host).recalled:
            for mac, vteps in rows.fdb.items():
                fdb[mac] = fdb[ANY_MAC] | vteps if mac == ANY_MAC else set(vteps)
            neighbours |= stand
        change = plan_neighbours(neighbours, stand)
        if renewed:
            # With its address, or its IPv6, a bridge loses its neighbours.
            change = replace(change, replace=plan_neighbours(neighbours, {}).replace)
        return (*plan_fdb(fdb, rows.fdb, fabric.local).steps(name, bridge=True), *change.steps(bridge_name))

    def plan_network_removal(self, network: Network, others: tuple[Network, ...], host: HostView) -> Plan:
        steps: list[Step] = []
        if device_name(network) in host.state.links:
            steps.append(DeleteLink(device_name(network)))
        return Plan(tuple(steps)) + self._bridge.plan_network_removal(_as_bridge(network), others, host)

    def is_sealed(self, network: Network) -> bool:
        return is_encrypted(network)

    def ways(self, network: Network, host: HostView) -> tuple[Way, ...]:
        fabric, encrypted = _fabric(network, host), is_encrypted(network)
        cluster = _cluster(network, host)
        return tuple(
            Way(
                node,
                "vxlan in wireguard" if encrypted else "vxlan",
                "one subnet on all hosts" if node.id in fabric.vteps else "not reached from here",
                encrypted,
            )
            for node in sorted(cluster.nodes.values(), key=_id)
            if node.id != cluster.me.id
        )

    # Other hosts -----------------------------------------------------------------------------

    def tunnels(self, network: Network) -> tuple[str, str]:
        """The device has the FDB, the bridge the neighbours."""
        return device_name(network), bridge.parse_options(_as_bridge(network)).name

    def plan_change(
        self,
        network: Network,
        put: Iterable[RemoteEndpoint],
        gone: Iterable[RemoteEndpoint],
        host: HostView,
    ) -> Plan:
        (name, bridge_name), fabric = self.tunnels(network), _fabric(network, host)
        steps: list[Step] = []
        for endpoint in put:
            vtep = fabric.vteps.get(endpoint.node)
            if vtep is None:
                continue
            steps.append(SetFdb(name, endpoint.mac_address.lower(), vtep, bridge=True))
            steps.append(SetFdb(name, ANY_MAC, vtep))
            steps += [
                AddNeighbour(bridge_name, address, endpoint.mac_address.lower())
                for address in endpoint.addresses
            ]
        went = tuple(gone)
        if not went:
            return Plan(tuple(_grouped(steps)))
        # What somebody else has by now stays: an address or a MAC may have moved in the same breath.
        there = tuple(_endpoints(network, host))
        macs = {endpoint.mac_address.lower() for endpoint in there}
        addresses = {address for endpoint in there for address in endpoint.addresses}
        peopled = {endpoint.node for endpoint in there} | _owners(network, host)
        for endpoint in went:
            if endpoint.mac_address.lower() not in macs:
                steps.append(RemoveFdb(name, endpoint.mac_address.lower(), bridge=True))
            steps += [
                RemoveNeighbour(bridge_name, item) for item in endpoint.addresses if item not in addresses
            ]
            vtep = fabric.vteps.get(endpoint.node)
            if endpoint.node not in peopled and vtep is not None:
                steps.append(RemoveFdb(name, ANY_MAC, vtep))
        return Plan(tuple(_grouped(steps)))

    # Endpoints -------------------------------------------------------------------------------

    def complete_endpoint(self, network: Network, endpoint: Endpoint) -> Endpoint:
        # The MAC address goes with the address: who takes over another's, on whatever host, is found at once
        # by those that have it in their caches. Nobody could tell them otherwise: announcements do not cross.
        if address := endpoint.ipv4_address or endpoint.ipv6_address:
            endpoint = replace(endpoint, mac_address=choose_mac(f"{network.id} {address}"))
        return self._bridge.complete_endpoint(_as_bridge(network), endpoint)

    def plan_endpoint(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView, inside: NamespaceState
    ) -> Plan:
        view = replace(host, mtu=_fabric(network, host).mtu)
        plan = self._bridge.plan_endpoint(_as_bridge(network), endpoint, sandbox, view, inside)
        if takes_shortcuts(network, host):
            plan = plan_taking_part(device_name(network), endpoint, plan, host)
        return plan

    def plan_endpoint_removal(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView
    ) -> Plan:
        return self._bridge.plan_endpoint_removal(_as_bridge(network), endpoint, sandbox, host)

    def announcements(self, network: Network) -> Announcements:
        return self._bridge.announcements(_as_bridge(network))

    def firewall_rules(self, network: Network) -> NetworkRules | None:
        rules = self._bridge.firewall_rules(_as_bridge(network))
        if rules is None:
            return None
        # A VXLAN device takes whatever arrives at its port: what was not sealed must not get there.
        return replace(rules, vni=vni_of(network), sealed=is_encrypted(network))


def is_encrypted(network: Network) -> bool:
    """Tell whether a network was asked to be encrypted: as in Docker the option's presence says so."""
    return network.options.get(ENCRYPTED, "false").lower() not in {"false", "0"}


def takes_shortcuts(network: Network, host: HostView) -> bool:
    """Tell whether packets may pass the bridge by: where no port of it is shut off from another one.

    What is sealed has to go through the host's own IP output, to its WireGuard device.
    """
    return host.shortcuts and not is_encrypted(network) and bridge.parse_options(_as_bridge(network)).icc


def _as_bridge(network: Network) -> Network:
    """Return the part of an overlay network that is a bridge network."""
    options = {key: value for key, value in network.options.items() if key not in _OWN}
    return replace(network, driver="bridge", options=options)


def no_cluster(subject: str) -> Denied:
    """Return the error for what needs a cluster: Docker's words for an engine that is in no swarm."""
    return Denied(
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this '
        "node to swarm and try again.",
        remedy=f"{subject} needs a cluster: `carrick cluster init`, or `carrick join HOST --token …`",
    )


def _cluster(network: Network, host: HostView) -> ClusterView:
    if host.cluster is None:
        raise no_cluster(f"network {network.name}")
    return host.cluster


def _endpoints(network: Network, host: HostView) -> Iterable[RemoteEndpoint]:
    cluster = _cluster(network, host)
    return (item for item in cluster.endpoints.get(network.id, {}).values() if item.node != cluster.me.id)


def check_underlays(network: Network, cluster: ClusterView) -> None:
    """Raise Conflict for a subnet with a node's underlay address: what carries it would go into it."""
    for node in sorted(cluster.nodes.values(), key=_id):
        for underlay in node.underlays:
            for pool in network.pools:
                if pool.version == underlay.version and ip_address(underlay.address) in pool.network:
                    raise Conflict(
                        f"subnet {pool.subnet} of network {network.name} has the underlay address "
                        f"{underlay.address} of node {node.name} in it",
                        remedy="name another subnet, or give the node another address: "
                        "carrick node update --address",
                    )


def _owners(network: Network, host: HostView) -> set[NodeId]:
    """Return the other nodes that may give an address of the network without asking anybody."""
    cluster = _cluster(network, host)
    return {block.node for block in cluster.blocks.get(network.id, ())} - {cluster.me.id}


def _fabric(network: Network, host: HostView) -> _Fabric:
    """Work out the tunnel's ends. The family is that of our first underlay; all nodes are to have it."""
    cluster = _cluster(network, host)
    check_underlays(network, replace(cluster, nodes={cluster.me.id: cluster.me}))
    if not cluster.me.underlays:
        raise Unavailable(
            "this node has no underlay address, so nobody can send it anything",
            remedy="set one with: carrick node update --address",
        )
    mine = cluster.me.underlays[0]
    encrypted = is_encrypted(network)
    # Encrypted, the tunnel is within another one: over IPv6, in WireGuard over the underlay.
    outer, sealing = (6, overhead("wireguard", mine.version)) if encrypted else (mine.version, 0)
    vteps: dict[NodeId, str] = {}
    notes: list[str] = []
    paths: list[PeerPath] = []
    for node in sorted(cluster.nodes.values(), key=_id):
        theirs = node.underlay(mine.version)
        if theirs is None:
            notes.append(f"node {node.name} has no IPv{mine.version} underlay: nothing is sent to it")
            continue
        least = cluster.mtu_to(node, mine.version)
        paths.append(PeerPath(node.name, "vxlan", outer, least - sealing))
        if node.id == cluster.me.id:
            continue
        if encrypted and not node.wireguard_key:
            notes.append(f"node {node.name} has published no WireGuard key: nothing is sent to it")
            continue
        vteps[node.id] = str(inner_address(node.id)) if encrypted else theirs.address
    otherwise = mine.mtu - sealing - overhead("vxlan", outer)
    mtu = network_mtu(paths, otherwise, ipv6=network.enable_ipv6)
    if not encrypted:
        return _Fabric(mine.address, vteps, mtu, tuple(notes))
    before: tuple[Step, ...] = ()
    # Without the device nothing is sent to other nodes, and nothing in the clear.
    if host.wireguard is not None and host.wireguard.name in host.state.links:
        before = plan_device(host.wireguard, cluster.me, host)
    return _Fabric(str(inner_address(cluster.me.id)), vteps, mtu, tuple(notes), before)


def _id(node: NodeRecord) -> str:
    return node.id


def _grouped(steps: list[Step]) -> list[Step]:
    """Order steps so that those of one type go to the kernel together; what is set comes first."""
    order = {SetFdb: 0, AddNeighbour: 1, RemoveFdb: 2, RemoveNeighbour: 3}
    unique = dict.fromkeys(steps)
    return sorted(unique, key=lambda step: order[type(step)])
