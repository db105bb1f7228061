"""Steps that set and remove what stands in a namespace's tables, row by row: addresses, routes, rules, FDB,
neighbours, sysctls. Each is carried out or refused as the kernel does it.
"""

import errno
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network

from ...model import steps
from ...model.errors import KernelRefused
from ...model.observed import Neighbour
from ...model.steps import ANY_MAC, ROUTE_PROTOCOL
from .namespace import Link, Namespace, Route
from .refusals import refused
from .sysctls import link_name
from .topology import Topology

# Addresses -----------------------------------------------------------------------------------


def add_address(topology: Topology, step: steps.AddAddress) -> None:
    namespace = topology.namespace(step.netns)
    link = namespace.link(step.link)
    interface = ip_interface(step.address)
    if interface.version == 6 and not namespace.sysctls.has_ipv6(link.name):
        raise refused(step, errno.EACCES)
    if str(interface) not in link.addresses:
        link.addresses.append(str(interface))


def remove_address(topology: Topology, step: steps.RemoveAddress) -> None:
    """Remove an address; with an IPv4 subnet's first go all others (promote_secondaries is off)."""
    link = topology.held_link(step.link, step.netns)
    if link is None:
        return
    gone = ip_interface(step.address)
    if str(gone) not in link.addresses:
        return
    same = [item for item in link.addresses if ip_interface(item).network == gone.network]
    if gone.version == 4 and same[0] == str(gone):
        link.addresses = [item for item in link.addresses if item not in same]
    else:
        link.addresses.remove(str(gone))


# Routes and rules ----------------------------------------------------------------------------


def add_route(topology: Topology, step: steps.AddRoute) -> None:
    namespace = topology.namespace(step.netns)
    link = None
    if step.kind == "unicast":
        link = namespace.link(step.link)
        if not link.up:
            raise refused(step, errno.ENETDOWN)
        if step.via and not step.onlink and not _is_near(namespace, link, step.via):
            raise refused(step, errno.ENETUNREACH if step.version == 4 else errno.EHOSTUNREACH)
        if step.source and step.source not in {
            str(ip_interface(item).ip) for other in namespace.links.values() for item in other.addresses
        }:
            raise refused(step, errno.EINVAL)
    destination = _destination(step.destination, step.version)
    metric = step.metric or (1024 if step.version == 6 else 0)
    made = Route(destination, link, step.via, metric, step.onlink, step.source, step.table, step.kind)
    namespace.routes = [route for route in namespace.routes if route.key != made.key]
    namespace.routes.append(made)


def _is_near(namespace: Namespace, link: Link, address: str) -> bool:
    """Whether an address is on the link: in the subnet of one of its addresses, or by a route there."""
    near = [ip_interface(item).network for item in link.addresses]
    near += [route.destination for route in namespace.routes if route.link is link and not route.via]
    return any(ip_address(address) in network for network in near)


def remove_route(topology: Topology, step: steps.RemoveRoute) -> None:
    namespace = topology.held(step.netns)
    if namespace is None:
        return
    destination = _destination(step.destination, step.version)
    for route in sorted(namespace.routes, key=lambda route: route.metric):
        if (
            (route.destination, route.table) == (destination, step.table)
            and step.link in {"", route.link.name if route.link else ""}
            and step.metric in {0, route.metric}
            and (not step.own or route.protocol == ROUTE_PROTOCOL)
        ):
            namespace.routes.remove(route)
            return


def _destination(text: str, version: int) -> IPv4Network | IPv6Network:
    if text == "default":
        return ip_network("::/0" if version == 6 else "0.0.0.0/0")
    return ip_network(text)


def add_rule(topology: Topology, step: steps.AddRule) -> None:
    rules = topology.namespace(step.netns).rules
    if step.rule not in rules:
        rules.append(step.rule)


def remove_rule(topology: Topology, step: steps.RemoveRule) -> None:
    namespace = topology.held(step.netns)
    if namespace is not None and step.rule in namespace.rules:
        namespace.rules.remove(step.rule)


# FDB and neighbours --------------------------------------------------------------------------


def set_fdb(topology: Topology, step: steps.SetFdb) -> None:
    link = topology.namespace(step.netns).link(step.link)
    destination = ip_address(step.destination)
    if link.vxlan is None:
        raise refused(step, errno.EOPNOTSUPP)
    if destination.version != ip_address(link.vxlan.local).version:
        raise refused(step, errno.EAFNOSUPPORT)
    rows = link.fdb.setdefault(step.mac, [])
    if step.mac != ANY_MAC:
        rows.clear()
    if str(destination) not in rows:
        rows.append(str(destination))
    if step.bridge and link.master is not None:
        link.bridge_rows.add(step.mac)


def remove_fdb(topology: Topology, step: steps.RemoveFdb) -> None:
    link = topology.held_link(step.link, step.netns)
    if link is None:
        return
    gone = str(ip_address(step.destination)) if step.destination else ""
    rows = [item for item in link.fdb.pop(step.mac, []) if gone and item != gone]
    if rows:
        link.fdb[step.mac] = rows
    if step.bridge:
        link.bridge_rows.discard(step.mac)


def add_neighbour(topology: Topology, step: steps.AddNeighbour) -> None:
    link = topology.namespace(step.netns).link(step.link)
    if not link.up:
        raise refused(step, errno.ENETDOWN)
    address = ip_address(step.address)
    link.neighbours.pop(str(address), None)
    if step.permanent:
        router = step.router and address.version == 6
        link.neighbours[str(address)] = Neighbour(step.mac, router)


def remove_neighbour(topology: Topology, step: steps.RemoveNeighbour) -> None:
    if found := topology.held_link(step.link, step.netns):
        found.neighbours.pop(str(ip_address(step.address)), None)


# Sysctls -------------------------------------------------------------------------------------


def set_sysctl(topology: Topology, step: steps.SetSysctl) -> None:
    """Set a sysctl; IPv6 addresses and routes come and go with the one that switches IPv6 off."""
    namespace = topology.namespace(step.netns)
    link = namespace.links.get(link_name(step.key) or "")
    if step.key not in namespace.sysctls and link is None:
        if not step.optional:
            raise KernelRefused(
                f"sysctl {step.key}={step.value}: No such file or directory",
                errno=errno.ENOENT,
                subject=step.key,
            )
        return
    namespace.sysctls[step.key] = step.value
    if link and step.key.startswith("net.ipv6.") and step.key.endswith(".disable_ipv6"):
        if step.value != "0":
            link.drop_ipv6()
            namespace.drop_routes(link, versions=(6,))
        elif link.up and namespace.sysctls.makes_link_local(link.name):
            namespace.give_link_local(link)
