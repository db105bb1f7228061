"""A kernel in memory: namespaces, links, addresses, routes, sysctls and nft text, for tests without root.

It behaves as Linux does wherever a planner can see a difference, quirks included: a veth's ends and a
namespace's links go together; an address goes with the primary of its subnet; IPv6 addresses need IPv6
switched on and go when the link goes down, neighbours too; a route needs its link up and its gateway on the
link; an FDB's rows stay until they are removed. The suite
`tests/contract/test_kernel_contract.py` runs on it, and the same cases run on the real kernel.

`fail_at` and `killed_at` make it refuse, or make the daemon die, at a step of the test's choice.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from itertools import count
from pathlib import Path
from typing import Any

from ..domains.guests import HOST_NETNS
from ..model import steps
from ..model.errors import CarrickError, Conflict, KernelRefused, NotFound, Unsupported
from ..model.observed import (
    LinkState,
    NamespaceState,
    Neighbour,
    RouteState,
    VxlanState,
    WireguardPeerState,
    WireguardState,
)
from ..model.steps import ANY_MAC, MAIN_TABLE, ROUTE_PROTOCOL, Rule, Step

_BRIDGE_SYSCTLS = {
    "ipv4.route_localnet": "net.ipv4.conf.{}.route_localnet",
    "ipv6.accept_ra": "net.ipv6.conf.{}.accept_ra",
    "ipv6.disable_ipv6": "net.ipv6.conf.{}.disable_ipv6",
}
_ADDRESSLESS = "net.ipv6.conf.{}.addr_gen_mode"
_PER_LINK = {"route_localnet": "0", "accept_ra": "1", "disable_ipv6": "0", "arp_notify": "0"}
_KERNEL = 2
"""The protocol number of routes that the kernel makes for an address."""
_HOST = {"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "0"}


class Killed(BaseException):
    """The daemon was killed here. Not an `Exception`: nothing may catch it and go on."""


@dataclass(slots=True, eq=False)
class _Link:
    name: str
    kind: str
    index: int
    mac: str = ""
    mtu: int = 1500
    up: bool = False
    alias: str = ""
    master: "_Link | None" = None
    parent: "_Link | None" = None
    peer: "_Link | None" = None
    addresses: list[str] = field(default_factory=list)
    mode: str = ""
    vxlan: VxlanState | None = None
    wireguard: WireguardState | None = None
    port: dict[str, bool] = field(default_factory=dict)
    fdb: dict[str, list[str]] = field(default_factory=dict)
    bridge_rows: set[str] = field(default_factory=set)
    rate: int = 0
    shortcut: str = ""
    """The tunnel whose shortcut it takes part in."""
    neighbours: dict[str, Neighbour] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Route:
    destination: IPv4Network | IPv6Network
    link: _Link | None
    via: str = ""
    metric: int = 0
    onlink: bool = False
    source: str = ""
    table: int = MAIN_TABLE
    kind: steps.RouteKind = "unicast"
    protocol: int = ROUTE_PROTOCOL

    @property
    def key(self) -> tuple[object, ...]:
        return (self.destination, self.table, self.metric)


@dataclass(slots=True, eq=False)
class _Namespace:
    number: int = 0
    links: dict[str, _Link] = field(default_factory=dict)
    routes: list[_Route] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    sysctls: dict[str, str] = field(default_factory=dict)


class FakeKernel:
    """Implements `Kernel` in memory.

    `lacks` are the link kinds that it does not have (`ipvlan`, `vlan`, `dummy` …). `applied` are the steps
    carried out, `transactions` the nft commands, both in order. `rulesets` answers `list_nft`.
    `legacy_tables`, `sysctl_files` (sysctls by file) and `ipsec` are what a host has besides;
    `shortcut_bytes` is what shortcuts have sent.
    """

    def __init__(self, *, lacks: Sequence[str] = (), uplink: str = "") -> None:
        self.lacks = frozenset(lacks)
        self.applied: list[Step] = []
        self.transactions: list[tuple[str, ...]] = []
        self.rulesets: dict[str, list[dict[str, Any]]] = {}
        self.legacy_tables: list[str] = []
        self.sysctl_files: dict[str, dict[str, str]] = {}
        self.shortcut_bytes: dict[str, dict[str, int]] = {}
        self.ipsec = False
        self.forgotten: list[steps.ForgetFlows] = []
        self._indexes = count(1)
        self._numbers = count(1)
        self._namespaces: dict[str, _Namespace] = {}
        self._failures: list[tuple[Callable[[Step], bool], Exception]] = []
        self._steps_to_live: int | None = None
        self._new_namespace("")
        self._namespaces[""].sysctls.update(_HOST)
        if uplink:
            self.add_link(uplink, addresses=("192.0.2.1/24",))

    # For tests -------------------------------------------------------------------------------

    def add_link(
        self, name: str, kind: str = "", *, addresses: Sequence[str] = (), mtu: int = 1500, alias: str = ""
    ) -> None:
        """Put a link on the host that somebody else made; it is up."""
        host = self._namespaces[""]
        link = self._add(host, name, kind, mtu=mtu, alias=alias)
        self._set_up(host, link, True)
        link.addresses += [str(ip_interface(item)) for item in addresses]

    def fail_at(self, predicate: Callable[[Step], bool], error: Exception | None = None) -> None:
        """Refuse every step that `predicate` is true of, until `heal`."""
        self._failures.append((predicate, error or KernelRefused("the test says no", errno=errno.EIO)))

    def heal(self) -> None:
        """Refuse nothing any more, and do not die."""
        self._failures.clear()
        self._steps_to_live = None

    def killed_at(self, steps_to_live: int) -> None:
        """Carry out so many more steps, then raise `Killed` at every call, as if the daemon had died."""
        self._steps_to_live = steps_to_live

    @property
    def namespaces(self) -> frozenset[str]:
        """The paths at which a namespace is held."""
        return frozenset(self._namespaces) - {""}

    def sysctl(self, key: str, netns: str = "") -> str | None:
        return self._namespace(netns).sysctls.get(key)

    def add_sysctl(self, key: str, value: str) -> None:
        """Give the host a sysctl, as a module does that is loaded."""
        self._namespaces[""].sysctls[key] = value

    def sysctls(self, netns: str = "") -> dict[str, str]:
        return dict(self._namespace(netns).sysctls)

    def child_mode(self, name: str, netns: str) -> str:
        """Return the mode (and flag) a macvlan or ipvlan child was made with."""
        return self._link(self._namespace(netns), name).mode

    def rate(self, name: str, netns: str = "") -> int:
        """Return the limit of what leaves a link, in bits per second; 0 for none."""
        return self._namespace(netns).links[name].rate

    def port_flags(self, name: str, netns: str = "") -> dict[str, bool]:
        """Return what a bridge's port was set to: `learning`, `flood`, `neigh_suppress` …"""
        return dict(self._link(self._namespace(netns), name).port)

    def bridge_rows(self, name: str, netns: str = "") -> frozenset[str]:
        """Return the MACs that a VXLAN device's bridge was told are behind it."""
        return frozenset(self._link(self._namespace(netns), name).bridge_rows)

    def add_route(self, destination: str, link: str, *, table: int = MAIN_TABLE) -> None:
        """Put a route on the host that somebody else made."""
        namespace = self._namespaces[""]
        network = ip_network(destination)
        route = _Route(network, self._link(namespace, link), table=table, protocol=4)
        namespace.routes.append(route)

    def look(self, netns: str = "") -> NamespaceState:
        """`read`, without waiting."""
        namespace = self._namespace(netns)
        links = {
            link.name: LinkState(
                name=link.name,
                index=link.index,
                kind=link.kind,
                mac=link.mac,
                mtu=link.mtu,
                up=link.up,
                carrier=link.up and (link.peer is None or link.peer.up),
                master=link.master.name if link.master else "",
                alias=link.alias,
                addresses=frozenset(link.addresses),
                peer_index=other.index if (other := link.peer or link.parent) else 0,
                sysctls={
                    key: namespace.sysctls[path.format(_dotted(link.name))]
                    for key, path in _BRIDGE_SYSCTLS.items()
                    if link.kind == "bridge"
                },
                vxlan=link.vxlan,
                neigh_suppress=link.port.get("neigh_suppress", False),
                shortcut="set" if link.shortcut else "",
            )
            for link in namespace.links.values()
        }
        return NamespaceState(links, tuple(_route_states(namespace)))

    # Kernel ----------------------------------------------------------------------------------

    async def apply(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self._take(step)

    async def remove(self, steps: Sequence[Step]) -> list[Exception]:
        errors: list[Exception] = []
        for step in steps:
            try:
                self._take(step)
            except NotFound:
                continue
            except CarrickError as error:
                errors.append(error)
        return errors

    async def read(self, netns: str = "") -> NamespaceState:
        self._live()
        return self.look(netns)

    async def read_fdb(self, link: str, netns: str = "") -> dict[str, frozenset[str]]:
        self._live()
        found = self._link(self._namespace(netns), link)
        return {mac: frozenset(rows) for mac, rows in found.fdb.items()}

    async def read_neighbours(self, link: str, netns: str = "") -> dict[str, Neighbour]:
        self._live()
        return dict(self._link(self._namespace(netns), link).neighbours)

    async def read_wireguard(self, link: str) -> WireguardState:
        self._live()
        found = self._link(self._namespaces[""], link).wireguard
        if found is None:
            raise NotFound(f"no WireGuard device {link} answers")
        return found

    async def read_rules(self, netns: str = "") -> tuple[Rule, ...]:
        self._live()
        rules = self._namespace(netns).rules
        return tuple(sorted(rules, key=lambda rule: (rule.version, rule.priority)))

    async def read_shortcut_bytes(self) -> dict[str, dict[str, int]]:
        self._live()
        return self.shortcut_bytes

    async def has_ipsec(self) -> bool:
        return self.ipsec

    async def has_netns(self, path: str) -> bool:
        return path in self._namespaces

    async def netns_id(self, path: str) -> int:
        try:
            return self._namespace(path).number
        except CarrickError:
            return 0

    async def supports(self, kind: str) -> bool:
        return kind not in self.lacks

    async def list_netns(self, directory: Path) -> list[str]:
        return sorted(path for path in self.namespaces if path.startswith(f"{directory}/"))

    async def list_nft(self, table: str) -> list[dict[str, Any]] | None:
        self._live()
        return self.rulesets.get(table)

    async def list_nft_tables(self) -> list[str]:
        self._live()
        return list(self.rulesets)

    async def list_nft_all(self) -> list[dict[str, Any]]:
        self._live()
        return [item for items in self.rulesets.values() for item in items]

    async def read_sysctl(self, key: str, netns: str = "") -> str | None:
        self._live()
        return self.sysctl(key, netns)

    async def list_legacy_tables(self) -> list[str]:
        return self.legacy_tables

    async def find_sysctl(self, keys: Sequence[str], value: str) -> list[str]:
        files = self.sysctl_files.items()
        return [file for file, given in files if any(given.get(key) == value for key in keys)]

    def is_own_change(self, port_id: int, link: str = "", row: str = "") -> bool:
        return port_id == os.getpid()

    # Steps -----------------------------------------------------------------------------------

    def _live(self) -> None:
        if self._steps_to_live == 0:
            raise Killed

    def _take(self, step: Step) -> None:
        self._live()
        for predicate, error in self._failures:
            if predicate(step):
                raise error
        self._carry_out(step)
        self.applied.append(step)
        if self._steps_to_live is not None:
            self._steps_to_live -= 1

    def _carry_out(self, step: Step) -> None:
        match step:
            case steps.CreateNetns(path):
                if path not in self._namespaces:
                    self._new_namespace(path)
            case steps.DeleteNetns(path):
                self._delete_namespace(path)
            case steps.CreateBridge():
                host = self._namespaces[""]
                link = self._existing(step, host, step.name, "bridge", step.alias)
                link = link or self._add(host, step.name, "bridge", mac=step.mac)
                link.alias, link.mtu = step.alias, step.mtu
                self._set_up(host, link, True)
            case steps.CreateVeth():
                self._create_veth(step)
            case steps.CreateSlave():
                self._create_slave(step)
            case steps.CreateVlan():
                self._create_child(step, step.name, "vlan", step.alias, step.parent)
            case steps.CreateDummy():
                self._create_child(step, step.name, "dummy", step.alias, "")
            case steps.CreateVxlan():
                self._create_vxlan(step)
            case steps.CreateWireguard():
                self._create_wireguard(step)
            case steps.SetWireguard():
                link = self._link(self._namespaces[""], step.link)
                if link.wireguard is None:
                    raise NotFound(f"no WireGuard device {step.link} answers")
                known = {seen.peer.public_key: seen for seen in link.wireguard.peers}
                peers = tuple(
                    replace(known.get(peer.public_key, WireguardPeerState(peer)), peer=peer)
                    for peer in sorted(step.peers, key=lambda peer: peer.public_key)
                )
                link.wireguard = WireguardState(step.public_key, step.port, peers)
            case steps.SetLink():
                self._set_link(step)
            case steps.DeleteLink(name, netns):
                namespace = self._namespaces.get(netns)
                if namespace is not None and (found := namespace.links.get(name)):
                    self._delete(namespace, found)
            case steps.MoveLink():
                self._move_link(step)
            case steps.AddAddress():
                self._add_address(step)
            case steps.RemoveAddress(name, address, netns):
                namespace = self._namespaces.get(netns)
                if namespace is not None and (found := namespace.links.get(name)):
                    _remove_address(found, str(ip_interface(address)))
            case steps.AddRoute():
                self._add_route(step)
            case steps.RemoveRoute():
                self._remove_route(step)
            case steps.AddRule(rule, netns):
                rules = self._namespace(netns).rules
                if rule not in rules:
                    rules.append(rule)
            case steps.RemoveRule(rule, netns):
                if netns in self._namespaces and rule in self._namespaces[netns].rules:
                    self._namespaces[netns].rules.remove(rule)
            case steps.SetFdb():
                self._set_fdb(step)
            case steps.RemoveFdb():
                self._remove_fdb(step)
            case steps.AddNeighbour():
                self._add_neighbour(step)
            case steps.RemoveNeighbour(name, address, netns):
                if (namespace := self._namespaces.get(netns)) and (found := namespace.links.get(name)):
                    found.neighbours.pop(str(ip_address(address)), None)
            case steps.SetSysctl():
                self._set_sysctl(step)
            case steps.Nft(commands):
                self.transactions.append(commands)
            case steps.SetShortcut(tunnel):
                self._link(self._namespaces[""], tunnel).shortcut = tunnel
            case steps.AddShortcut(tunnel, port):
                end = self._link(self._namespaces[""], port)
                if (found := self._namespaces[""].links.get(tunnel)) and found.shortcut:
                    end.shortcut = tunnel
            case steps.RemoveShortcut(tunnel):
                self._link(self._namespaces[""], tunnel)
                for link in self._namespaces[""].links.values():
                    if link.shortcut == tunnel:
                        link.shortcut = ""
            case steps.SetRate(link, rate, _, netns):
                self._link(self._namespace(netns), link).rate = rate
            case steps.Announce(link, netns=netns):
                self._link(self._namespace(netns), link)
            case steps.ForgetFlows():
                self.forgotten.append(step)

    def _create_veth(self, step: steps.CreateVeth) -> None:
        host, inside = self._namespaces[""], self._namespace(step.peer_netns)
        master = self._link(host, step.master) if step.master else None
        link = host.links.get(step.name)
        if link is None and step.peer not in inside.links:
            link = self._add(host, step.name, "veth", mtu=step.mtu)
            peer = self._add(inside, step.peer, "veth", mac=step.peer_mac, mtu=step.mtu)
            link.peer, peer.peer = peer, link
        elif (
            link is None
            or link.kind != "veth"
            or link.alias not in {"", step.alias}
            or link.peer is not inside.links.get(step.peer)
        ):
            raise _taken(step)
        link.master, link.alias = master, step.alias
        self._set_mtu(link, step.mtu)
        self._set_up(host, link, True)

    def _create_slave(self, step: steps.CreateSlave) -> None:
        inside = self._namespace(step.netns)
        parent = self._link(self._namespaces[""], step.parent)
        self._probe(step, step.kind, step.name)
        there = inside.links.get(step.name)
        if there is not None:
            if there.kind != step.kind or there.parent is not parent:
                raise _taken(step)
            return
        link = self._add(inside, step.name, step.kind, mac=step.mac, mtu=step.mtu or parent.mtu)
        link.parent = parent
        link.mode = f"{step.mode} {step.flag}".strip()

    def _create_child(self, step: Step, name: str, kind: str, alias: str, parent: str) -> None:
        host = self._namespaces[""]
        above = self._link(host, parent) if parent else None
        link = self._existing(step, host, name, kind, alias)
        if link is None:
            self._probe(step, kind, name)
            link = self._add(host, name, kind, mtu=above.mtu if above else 1500)
            link.parent = above
        link.alias = alias
        self._set_up(host, link, True)

    def _create_vxlan(self, step: steps.CreateVxlan) -> None:
        host = self._namespaces[""]
        local = str(ip_address(step.local))
        state = VxlanState(step.vni, step.port, local, step.learning, step.proxy)
        master = self._link(host, step.master) if step.master else None
        parent = self._link(host, step.parent) if step.parent else None
        self._probe(step, "vxlan", step.name)
        link = self._existing(step, host, step.name, "vxlan", step.alias)
        if link is not None and link.vxlan != state:
            raise _taken(step)
        if link is None:
            version = ip_address(local).version
            for other in host.links.values():
                if (
                    other.vxlan
                    and (other.vxlan.vni, other.vxlan.port) == (step.vni, step.port)
                    and ip_address(other.vxlan.local).version == version
                ):
                    raise _taken(step)
            link = self._add(host, step.name, "vxlan", mac=step.mac)
            link.vxlan, link.parent = state, parent
        link.alias, link.master = step.alias, master or link.master
        self._set_mac(link, step.mac or link.mac)
        self._set_mtu(link, step.mtu)
        self._set_up(host, link, True)

    def _create_wireguard(self, step: steps.CreateWireguard) -> None:
        host = self._namespaces[""]
        link = self._existing(step, host, step.name, "wireguard", step.alias)
        if link is None:
            self._probe(step, "wireguard", step.name)
            link = self._add(host, step.name, "wireguard")
            link.wireguard = WireguardState()
        link.alias = step.alias
        self._set_mtu(link, step.mtu)
        self._set_up(host, link, True)

    def _set_link(self, step: steps.SetLink) -> None:
        namespace = self._namespace(step.netns)
        if step.new_name is not None and step.name not in namespace.links:
            link = self._link(namespace, step.new_name)
        else:
            link = self._link(namespace, step.name)
        if step.master is not None:
            link.master = self._link(namespace, step.master) if step.master else None
            if link.master is None:
                link.port.clear()
        if step.mac is not None:
            self._set_mac(link, step.mac)
        for name in ("hairpin", "learning", "flood", "neigh_suppress", "isolated"):
            if (value := getattr(step, name)) is not None:
                if link.master is None:
                    raise _refused(step, errno.EOPNOTSUPP)
                link.port[name] = value
        if step.mtu is not None:
            self._set_mtu(link, step.mtu)
        if step.alias is not None:
            link.alias = step.alias
        if step.new_name is not None and step.new_name != link.name:
            if step.new_name in namespace.links:
                raise _taken(step)
            del namespace.links[link.name]
            self._rename_sysctls(namespace, link.name, step.new_name)
            link.name = step.new_name
            namespace.links[link.name] = link
        if step.up is not None:
            self._set_up(namespace, link, step.up)

    def _move_link(self, step: steps.MoveLink) -> None:
        source, target = self._namespace(step.netns), self._namespace(step.target)
        link = source.links.get(step.name)
        if link is None:
            self._link(target, step.new_name)
            return
        if step.new_name in target.links:
            raise _taken(step)
        self._set_up(source, link, False)
        del source.links[link.name]
        for key in [key for key in source.sysctls if key.split(".")[3:4] == [_dotted(link.name)]]:
            del source.sysctls[key]
        link.addresses, link.master, link.name = [], None, step.new_name
        target.links[link.name] = link
        self._give_defaults(target, link)

    def _add_address(self, step: steps.AddAddress) -> None:
        namespace = self._namespace(step.netns)
        link = self._link(namespace, step.link)
        interface = ip_interface(step.address)
        if interface.version == 6 and not self._has_ipv6(namespace, link):
            raise _refused(step, errno.EACCES)
        if str(interface) not in link.addresses:
            link.addresses.append(str(interface))

    def _add_route(self, step: steps.AddRoute) -> None:
        namespace = self._namespace(step.netns)
        link = None
        if step.kind == "unicast":
            link = self._link(namespace, step.link)
            if not link.up:
                raise _refused(step, errno.ENETDOWN)
            if step.via and not step.onlink and not _is_near(namespace, link, step.via):
                raise _refused(step, errno.ENETUNREACH if step.version == 4 else errno.EHOSTUNREACH)
            if step.source and step.source not in {
                str(ip_interface(item).ip) for other in namespace.links.values() for item in other.addresses
            }:
                raise _refused(step, errno.EINVAL)
        destination = _destination(step.destination, step.version)
        metric = step.metric or (1024 if step.version == 6 else 0)
        made = _Route(destination, link, step.via, metric, step.onlink, step.source, step.table, step.kind)
        namespace.routes = [route for route in namespace.routes if route.key != made.key]
        namespace.routes.append(made)

    def _remove_route(self, step: steps.RemoveRoute) -> None:
        namespace = self._namespaces.get(step.netns)
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

    def _set_fdb(self, step: steps.SetFdb) -> None:
        link = self._link(self._namespace(step.netns), step.link)
        destination = ip_address(step.destination)
        if link.vxlan is None:
            raise _refused(step, errno.EOPNOTSUPP)
        if destination.version != ip_address(link.vxlan.local).version:
            raise _refused(step, errno.EAFNOSUPPORT)
        rows = link.fdb.setdefault(step.mac, [])
        if step.mac != ANY_MAC:
            rows.clear()
        if str(destination) not in rows:
            rows.append(str(destination))
        if step.bridge and link.master is not None:
            link.bridge_rows.add(step.mac)

    def _remove_fdb(self, step: steps.RemoveFdb) -> None:
        namespace = self._namespaces.get(step.netns)
        link = namespace.links.get(step.link) if namespace else None
        if link is None:
            return
        gone = str(ip_address(step.destination)) if step.destination else ""
        rows = [item for item in link.fdb.pop(step.mac, []) if gone and item != gone]
        if rows:
            link.fdb[step.mac] = rows
        if step.bridge:
            link.bridge_rows.discard(step.mac)

    def _add_neighbour(self, step: steps.AddNeighbour) -> None:
        link = self._link(self._namespace(step.netns), step.link)
        if not link.up:
            raise _refused(step, errno.ENETDOWN)
        address = ip_address(step.address)
        link.neighbours.pop(str(address), None)
        if step.permanent:
            router = step.router and address.version == 6
            link.neighbours[str(address)] = Neighbour(step.mac, router)

    def _set_sysctl(self, step: steps.SetSysctl) -> None:
        namespace = self._namespace(step.netns)
        if step.key not in namespace.sysctls and _names_a_link(step.key, namespace) is None:
            if not step.optional:
                raise KernelRefused(
                    f"sysctl {step.key}={step.value}: No such file or directory",
                    errno=errno.ENOENT,
                    subject=step.key,
                )
            return
        namespace.sysctls[step.key] = step.value
        link = _names_a_link(step.key, namespace)
        if link and step.key.startswith("net.ipv6.") and step.key.endswith(".disable_ipv6"):
            if step.value != "0":
                link.addresses = [item for item in link.addresses if ip_interface(item).version == 4]
                _drop_routes(namespace, link, versions={6})
            elif link.up and namespace.sysctls.get(_ADDRESSLESS.format(_dotted(link.name))) != "1":
                self._give_link_local(namespace, link)

    # Links and namespaces --------------------------------------------------------------------

    def _new_namespace(self, path: str) -> None:
        namespace = self._namespaces[path] = _Namespace(next(self._numbers))
        for key, value in _PER_LINK.items():
            family = "ipv6" if key in {"accept_ra", "disable_ipv6"} else "ipv4"
            namespace.sysctls[f"net.{family}.conf.default.{key}"] = value
        namespace.sysctls["net.ipv6.conf.default.ndisc_notify"] = "0"
        namespace.sysctls["net.ipv6.conf.default.accept_dad"] = "1"
        loopback = self._add(namespace, "lo", "", mtu=65536)
        if path == "":
            self._set_up(namespace, loopback, True)

    def _delete_namespace(self, path: str) -> None:
        namespace = self._namespaces.pop(path, None)
        if namespace is not None:
            for link in list(namespace.links.values()):
                self._delete(namespace, link)

    def _namespace(self, path: str) -> _Namespace:
        try:
            return self._namespaces["" if path == HOST_NETNS else path]
        except KeyError:
            raise NotFound(f"network namespace {path} does not exist") from None

    @staticmethod
    def _link(namespace: _Namespace, name: str) -> _Link:
        try:
            return namespace.links[name]
        except KeyError:
            raise NotFound(f"link {name} does not exist") from None

    def _existing(self, step: Step, namespace: _Namespace, name: str, kind: str, alias: str) -> _Link | None:
        link = namespace.links.get(name)
        if link is not None and (link.kind != kind or link.alias not in {"", alias}):
            raise _taken(step)
        return link

    def _probe(self, step: Step, kind: str, name: str) -> None:
        if kind in self.lacks:
            shown = "802.1q vlan" if kind == "vlan" else kind
            instead = "the direct transport" if kind == "vxlan" else "the bridge driver"
            raise Unsupported(
                f"this kernel has no {shown} links (creating {name} was refused: Operation not supported)",
                remedy=f"load the kernel's {kind} module, or use {instead}",
            )

    def _add(
        self,
        namespace: _Namespace,
        name: str,
        kind: str,
        *,
        mac: str = "",
        mtu: int = 1500,
        alias: str = "",
    ) -> _Link:
        index = next(self._indexes)
        mac = mac or (
            "00:00:00:00:00:00" if name == "lo" else f"02:fa:ce:00:{index >> 8:02x}:{index & 255:02x}"
        )
        link = namespace.links[name] = _Link(name, kind, index, mac=mac, mtu=mtu, alias=alias)
        self._give_defaults(namespace, link)
        return link

    @staticmethod
    def _give_defaults(namespace: _Namespace, link: _Link) -> None:
        for key in _PER_LINK:
            family = "ipv6" if key in {"accept_ra", "disable_ipv6"} else "ipv4"
            default = namespace.sysctls[f"net.{family}.conf.default.{key}"]
            namespace.sysctls[f"net.{family}.conf.{_dotted(link.name)}.{key}"] = default

    def _delete(self, namespace: _Namespace, link: _Link) -> None:
        namespace.links.pop(link.name, None)
        _drop_routes(namespace, link)
        for key in [key for key in namespace.sysctls if key.split(".")[3:4] == [_dotted(link.name)]]:
            del namespace.sysctls[key]
        for holder in list(self._namespaces.values()):
            for other in list(holder.links.values()):
                if other is link.peer or other.parent is link:
                    self._delete(holder, other)
                elif other.master is link:
                    other.master = None

    @staticmethod
    def _rename_sysctls(namespace: _Namespace, old: str, new: str) -> None:
        for key in list(namespace.sysctls):
            parts = key.split(".")
            if parts[3:4] == [_dotted(old)]:
                parts[3] = _dotted(new)
                namespace.sysctls[".".join(parts)] = namespace.sysctls.pop(key)

    @staticmethod
    def _set_mac(link: _Link, mac: str) -> None:
        if mac != link.mac:
            link.neighbours.clear()
        link.mac = mac

    @staticmethod
    def _set_mtu(link: _Link, mtu: int) -> None:
        link.mtu = mtu

    def _set_up(self, namespace: _Namespace, link: _Link, up: bool) -> None:
        was, link.up = link.up, up
        if up and not was:
            if link.name == "lo":
                link.addresses = ["127.0.0.1/8"]
            self._give_link_local(namespace, link)
        elif was and not up:
            link.addresses = [item for item in link.addresses if ip_interface(item).version == 4]
            link.neighbours.clear()
            _drop_routes(namespace, link)

    def _give_link_local(self, namespace: _Namespace, link: _Link) -> None:
        if not self._has_ipv6(namespace, link):
            return
        if link.name == "lo":
            address = "::1/128"
        else:
            packed = bytes.fromhex(link.mac.replace(":", ""))
            host = bytes((packed[0] ^ 2, *packed[1:3], 0xFF, 0xFE, *packed[3:]))
            address = f"{ip_address(bytes.fromhex('fe80000000000000') + host)}/64"
        if address not in link.addresses:
            link.addresses.append(address)

    @staticmethod
    def _has_ipv6(namespace: _Namespace, link: _Link) -> bool:
        return namespace.sysctls[f"net.ipv6.conf.{_dotted(link.name)}.disable_ipv6"] == "0"


def _dotted(name: str) -> str:
    """Write an interface's name as it stands in a sysctl's key."""
    return name.replace(".", "/")


def _names_a_link(key: str, namespace: _Namespace) -> _Link | None:
    parts = key.split(".")
    if len(parts) < 5 or parts[0] != "net" or parts[2] not in {"conf", "neigh"}:
        return None
    return namespace.links.get(parts[3].replace("/", "."))


def _remove_address(link: _Link, address: str) -> None:
    """Remove an address; with an IPv4 subnet's first go all others (promote_secondaries is off)."""
    if address not in link.addresses:
        return
    gone = ip_interface(address)
    same = [item for item in link.addresses if ip_interface(item).network == gone.network]
    if gone.version == 4 and same[0] == address:
        link.addresses = [item for item in link.addresses if item not in same]
    else:
        link.addresses.remove(address)


def _is_near(namespace: _Namespace, link: _Link, address: str) -> bool:
    """Whether an address is on the link: in the subnet of one of its addresses, or by a route there."""
    near = [ip_interface(item).network for item in link.addresses]
    near += [route.destination for route in namespace.routes if route.link is link and not route.via]
    return any(ip_address(address) in network for network in near)


def _drop_routes(
    namespace: _Namespace, link: _Link, versions: frozenset[int] | set[int] = frozenset((4, 6))
) -> None:
    namespace.routes = [
        route
        for route in namespace.routes
        if route.link is not link or route.destination.version not in versions
    ]


def _destination(text: str, version: int) -> IPv4Network | IPv6Network:
    if text == "default":
        return ip_network("::/0" if version == 6 else "0.0.0.0/0")
    return ip_network(text)


def _route_states(namespace: _Namespace) -> Iterator[RouteState]:
    """The kernel's own routes to each subnet on a link, then those that were added."""
    for link in namespace.links.values():
        if not link.up or link.name == "lo":
            continue
        for network in dict.fromkeys(ip_interface(item).network for item in link.addresses):
            if network.prefixlen < network.max_prefixlen or network.version == 6:
                metric = 256 if network.version == 6 else 0
                yield RouteState(str(network), link.name, metric=metric, protocol=_KERNEL)
    for route in namespace.routes:
        shown = str(route.destination)
        yield RouteState(
            "default" if shown == "0.0.0.0/0" else shown,
            route.link.name if route.link else "",
            route.via,
            metric=route.metric,
            table=route.table,
            protocol=route.protocol,
            kind=route.kind,
            source=route.source,
            onlink=route.onlink,
        )


def _refused(step: Step, number: int) -> KernelRefused:
    return KernelRefused(f"{step.describe()}: {os.strerror(number)}", errno=number, subject=step.describe())


def _taken(step: Step) -> Conflict:
    return Conflict(f"{step.describe()}: File exists (something else holds that name or address)")
