"""Steps that make, set and move links, each as the kernel carries it out or refuses it."""

import errno
from dataclasses import replace
from ipaddress import ip_address

from ...model import steps
from ...model.errors import NotFound
from ...model.observed import VxlanState, WireguardPeerState, WireguardState
from ...model.steps import Step
from .refusals import refused, taken
from .topology import Topology


def create_bridge(topology: Topology, step: steps.CreateBridge) -> None:
    host = topology.host
    link = topology.existing(step, step.name, "bridge", step.alias)
    link = link or topology.add(host, step.name, "bridge", mac=step.mac)
    link.alias, link.mtu = step.alias, step.mtu
    host.set_up(link, True)


def create_veth(topology: Topology, step: steps.CreateVeth) -> None:
    host, inside = topology.host, topology.namespace(step.peer_netns)
    master = host.link(step.master) if step.master else None
    link = host.links.get(step.name)
    if link is None and step.peer not in inside.links:
        link = topology.add(host, step.name, "veth", mtu=step.mtu)
        peer = topology.add(inside, step.peer, "veth", mac=step.peer_mac, mtu=step.mtu)
        link.peer, peer.peer = peer, link
    elif (
        link is None
        or link.kind != "veth"
        or link.alias not in {"", step.alias}
        or link.peer is not inside.links.get(step.peer)
    ):
        raise taken(step)
    link.master, link.alias = master, step.alias
    link.mtu = step.mtu
    host.set_up(link, True)


def create_slave(topology: Topology, step: steps.CreateSlave) -> None:
    inside = topology.namespace(step.netns)
    parent = topology.host.link(step.parent)
    topology.probe(step.kind, step.name)
    there = inside.links.get(step.name)
    if there is not None:
        if there.kind != step.kind or there.parent is not parent:
            raise taken(step)
        return
    link = topology.add(inside, step.name, step.kind, mac=step.mac, mtu=step.mtu or parent.mtu)
    link.parent = parent
    link.mode = f"{step.mode} {step.flag}".strip()


def create_child(topology: Topology, step: Step, name: str, kind: str, alias: str, parent: str) -> None:
    """Make a link of the host's upon another one of its, or upon none."""
    host = topology.host
    above = host.link(parent) if parent else None
    link = topology.existing(step, name, kind, alias)
    if link is None:
        topology.probe(kind, name)
        link = topology.add(host, name, kind, mtu=above.mtu if above else 1500)
        link.parent = above
    link.alias = alias
    host.set_up(link, True)


def create_vxlan(topology: Topology, step: steps.CreateVxlan) -> None:
    host = topology.host
    local = str(ip_address(step.local))
    state = VxlanState(step.vni, step.port, local, step.learning, step.proxy)
    master = host.link(step.master) if step.master else None
    parent = host.link(step.parent) if step.parent else None
    topology.probe("vxlan", step.name)
    link = topology.existing(step, step.name, "vxlan", step.alias)
    if link is not None and link.vxlan != state:
        raise taken(step)
    if link is None:
        version = ip_address(local).version
        for other in host.links.values():
            if (
                other.vxlan
                and (other.vxlan.vni, other.vxlan.port) == (step.vni, step.port)
                and ip_address(other.vxlan.local).version == version
            ):
                raise taken(step)
        link = topology.add(host, step.name, "vxlan", mac=step.mac)
        link.vxlan, link.parent = state, parent
    link.alias, link.master = step.alias, master or link.master
    link.set_mac(step.mac or link.mac)
    link.mtu = step.mtu
    host.set_up(link, True)


def create_wireguard(topology: Topology, step: steps.CreateWireguard) -> None:
    host = topology.host
    link = topology.existing(step, step.name, "wireguard", step.alias)
    if link is None:
        topology.probe("wireguard", step.name)
        link = topology.add(host, step.name, "wireguard")
        link.wireguard = WireguardState()
    link.alias = step.alias
    link.mtu = step.mtu
    host.set_up(link, True)


def set_wireguard(topology: Topology, step: steps.SetWireguard) -> None:
    link = topology.host.link(step.link)
    if link.wireguard is None:
        raise NotFound(f"no WireGuard device {step.link} answers")
    known = {seen.peer.public_key: seen for seen in link.wireguard.peers}
    peers = tuple(
        replace(known.get(peer.public_key, WireguardPeerState(peer)), peer=peer)
        for peer in sorted(step.peers, key=lambda peer: peer.public_key)
    )
    link.wireguard = WireguardState(step.public_key, step.port, peers)


def set_link(topology: Topology, step: steps.SetLink) -> None:
    namespace = topology.namespace(step.netns)
    if step.new_name is not None and step.name not in namespace.links:
        link = namespace.link(step.new_name)
    else:
        link = namespace.link(step.name)
    if step.master is not None:
        link.master = namespace.link(step.master) if step.master else None
        if link.master is None:
            link.port.clear()
    if step.mac is not None:
        link.set_mac(step.mac)
    for name in ("hairpin", "learning", "flood", "neigh_suppress", "isolated"):
        if (value := getattr(step, name)) is not None:
            if link.master is None:
                raise refused(step, errno.EOPNOTSUPP)
            link.port[name] = value
    if step.mtu is not None:
        link.mtu = step.mtu
    if step.alias is not None:
        link.alias = step.alias
    if step.new_name is not None and step.new_name != link.name:
        if step.new_name in namespace.links:
            raise taken(step)
        namespace.rename(link, step.new_name)
    if step.up is not None:
        namespace.set_up(link, step.up)


def delete_link(topology: Topology, step: steps.DeleteLink) -> None:
    namespace = topology.held(step.netns)
    if namespace is not None and (found := namespace.links.get(step.name)):
        topology.delete_link(namespace, found)


def move_link(topology: Topology, step: steps.MoveLink) -> None:
    source, target = topology.namespace(step.netns), topology.namespace(step.target)
    link = source.links.get(step.name)
    if link is None:
        target.link(step.new_name)
        return
    if step.new_name in target.links:
        raise taken(step)
    source.set_up(link, False)
    del source.links[link.name]
    source.sysctls.drop_link(link.name)
    link.addresses, link.master, link.name = [], None, step.new_name
    target.put_in(link)


def set_shortcut(topology: Topology, tunnel: str) -> None:
    topology.host.link(tunnel).shortcut = tunnel


def add_shortcut(topology: Topology, tunnel: str, port: str) -> None:
    end = topology.host.link(port)
    if (found := topology.host.links.get(tunnel)) and found.shortcut:
        end.shortcut = tunnel


def remove_shortcut(topology: Topology, tunnel: str) -> None:
    topology.host.link(tunnel)
    for link in topology.host.links.values():
        if link.shortcut == tunnel:
            link.shortcut = ""
