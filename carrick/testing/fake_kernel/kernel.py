"""`FakeKernel` itself: what a test tells it and asks of it, `Kernel`'s calls, who carries out which step."""

import os
from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

from ...model import steps
from ...model.errors import CarrickError, NotFound
from ...model.observed import NamespaceState, Neighbour, WireguardState
from ...model.steps import MAIN_TABLE, Rule, Step
from . import links, rows
from .faults import Faults
from .namespace import Route
from .topology import Topology
from .views import namespace_state


class FakeKernel:
    """Implements `Kernel` in memory.

    `lacks` are the link kinds that it does not have (`ipvlan`, `vlan`, `dummy` …). `applied` are the steps
    carried out, `transactions` the nft commands, both in order. `rulesets` answers `list_nft`.
    `legacy_tables`, `sysctl_files` (sysctls by file) and `ipsec` are what a host has besides;
    `shortcut_bytes` is what shortcuts have sent.
    """

    def __init__(self, *, lacks: Sequence[str] = (), uplink: str = "") -> None:
        self.applied: list[Step] = []
        self.transactions: list[tuple[str, ...]] = []
        self.rulesets: dict[str, list[dict[str, Any]]] = {}
        self.legacy_tables: list[str] = []
        self.sysctl_files: dict[str, dict[str, str]] = {}
        self.shortcut_bytes: dict[str, dict[str, int]] = {}
        self.ipsec = False
        self.forgotten: list[steps.ForgetFlows] = []
        self._faults = Faults()
        self._topology = Topology(lacks)
        if uplink:
            self.add_link(uplink, addresses=("192.0.2.1/24",))

    # For tests -------------------------------------------------------------------------------

    @property
    def lacks(self) -> frozenset[str]:
        return self._topology.lacks

    @lacks.setter
    def lacks(self, kinds: Collection[str]) -> None:
        self._topology.lacks = frozenset(kinds)

    def add_link(
        self, name: str, kind: str = "", *, addresses: Sequence[str] = (), mtu: int = 1500, alias: str = ""
    ) -> None:
        """Put a link on the host that somebody else made; it is up."""
        host = self._topology.host
        link = self._topology.add(host, name, kind, mtu=mtu, alias=alias)
        host.set_up(link, True)
        link.addresses += [str(ip_interface(item)) for item in addresses]

    def fail_at(self, predicate: Callable[[Step], bool], error: Exception | None = None) -> None:
        """Refuse every step that `predicate` is true of, until `heal`."""
        self._faults.fail_at(predicate, error)

    def heal(self) -> None:
        """Refuse nothing any more, and do not die."""
        self._faults.heal()

    def killed_at(self, steps_to_live: int) -> None:
        """Carry out so many more steps, then raise `Killed` at every call, as if the daemon had died."""
        self._faults.killed_at(steps_to_live)

    @property
    def namespaces(self) -> frozenset[str]:
        """The paths at which a namespace is held."""
        return self._topology.paths

    def sysctl(self, key: str, netns: str = "") -> str | None:
        return self._topology.namespace(netns).sysctls.get(key)

    def add_sysctl(self, key: str, value: str) -> None:
        """Give the host a sysctl, as a module does that is loaded."""
        self._topology.host.sysctls[key] = value

    def sysctls(self, netns: str = "") -> dict[str, str]:
        return dict(self._topology.namespace(netns).sysctls)

    def child_mode(self, name: str, netns: str) -> str:
        """Return the mode (and flag) a macvlan or ipvlan child was made with."""
        return self._topology.namespace(netns).link(name).mode

    def rate(self, name: str, netns: str = "") -> int:
        """Return the limit of what leaves a link, in bits per second; 0 for none."""
        return self._topology.namespace(netns).links[name].rate

    def port_flags(self, name: str, netns: str = "") -> dict[str, bool]:
        """Return what a bridge's port was set to: `learning`, `flood`, `neigh_suppress` …"""
        return dict(self._topology.namespace(netns).link(name).port)

    def bridge_rows(self, name: str, netns: str = "") -> frozenset[str]:
        """Return the MACs that a VXLAN device's bridge was told are behind it."""
        return frozenset(self._topology.namespace(netns).link(name).bridge_rows)

    def add_route(self, destination: str, link: str, *, table: int = MAIN_TABLE) -> None:
        """Put a route on the host that somebody else made."""
        host = self._topology.host
        host.routes.append(Route(ip_network(destination), host.link(link), table=table, protocol=4))

    def look(self, netns: str = "") -> NamespaceState:
        """`read`, without waiting."""
        return namespace_state(self._topology.namespace(netns))

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
        self._faults.check_alive()
        return self.look(netns)

    async def read_fdb(self, link: str, netns: str = "") -> dict[str, frozenset[str]]:
        self._faults.check_alive()
        found = self._topology.namespace(netns).link(link)
        return {mac: frozenset(rows) for mac, rows in found.fdb.items()}

    async def read_neighbours(self, link: str, netns: str = "") -> dict[str, Neighbour]:
        self._faults.check_alive()
        return dict(self._topology.namespace(netns).link(link).neighbours)

    async def read_wireguard(self, link: str) -> WireguardState:
        self._faults.check_alive()
        found = self._topology.host.link(link).wireguard
        if found is None:
            raise NotFound(f"no WireGuard device {link} answers")
        return found

    async def read_rules(self, netns: str = "") -> tuple[Rule, ...]:
        self._faults.check_alive()
        rules = self._topology.namespace(netns).rules
        return tuple(sorted(rules, key=lambda rule: (rule.version, rule.priority)))

    async def read_shortcut_bytes(self) -> dict[str, dict[str, int]]:
        self._faults.check_alive()
        return self.shortcut_bytes

    async def has_ipsec(self) -> bool:
        return self.ipsec

    async def has_netns(self, path: str) -> bool:
        return self._topology.held(path) is not None

    async def netns_id(self, path: str) -> int:
        try:
            return self._topology.namespace(path).number
        except CarrickError:
            return 0

    async def supports(self, kind: str) -> bool:
        return kind not in self.lacks

    async def list_netns(self, directory: Path) -> list[str]:
        return sorted(path for path in self.namespaces if path.startswith(f"{directory}/"))

    async def list_nft(self, table: str) -> list[dict[str, Any]] | None:
        self._faults.check_alive()
        return self.rulesets.get(table)

    async def list_nft_tables(self) -> list[str]:
        self._faults.check_alive()
        return list(self.rulesets)

    async def list_nft_chains(self) -> list[dict[str, Any]]:
        return [item["chain"] for item in await self.list_nft_all() if "chain" in item]

    async def list_nft_chain(self, chain: str) -> list[dict[str, Any]] | None:
        family, table, name = chain.split(" ")
        listed = await self.list_nft(f"{family} {table}") or []
        if not any(item.get("chain", {}).get("name") == name for item in listed):
            return None
        return [item for item in listed if item.get("rule", {}).get("chain", name) == name]

    async def list_nft_all(self) -> list[dict[str, Any]]:
        self._faults.check_alive()
        return [item for items in self.rulesets.values() for item in items]

    async def read_sysctl(self, key: str, netns: str = "") -> str | None:
        self._faults.check_alive()
        return self.sysctl(key, netns)

    async def list_legacy_tables(self) -> list[str]:
        return self.legacy_tables

    async def find_sysctl(self, keys: Sequence[str], value: str) -> list[str]:
        files = self.sysctl_files.items()
        return [file for file, given in files if any(given.get(key) == value for key in keys)]

    def is_own_change(self, port_id: int, link: str = "", row: str = "") -> bool:
        return port_id == os.getpid()

    # Steps -----------------------------------------------------------------------------------

    def _take(self, step: Step) -> None:
        self._faults.check(step)
        self._carry_out(step)
        self.applied.append(step)
        self._faults.count()

    def _carry_out(self, step: Step) -> None:
        topology = self._topology
        match step:
            case steps.CreateNetns(path):
                topology.make(path)
            case steps.DeleteNetns(path):
                topology.delete(path)
            case steps.CreateBridge():
                links.create_bridge(topology, step)
            case steps.CreateVeth():
                links.create_veth(topology, step)
            case steps.CreateSlave():
                links.create_slave(topology, step)
            case steps.CreateVlan():
                links.create_child(topology, step, step.name, "vlan", step.alias, step.parent)
            case steps.CreateDummy():
                links.create_child(topology, step, step.name, "dummy", step.alias, "")
            case steps.CreateVxlan():
                links.create_vxlan(topology, step)
            case steps.CreateWireguard():
                links.create_wireguard(topology, step)
            case steps.SetWireguard():
                links.set_wireguard(topology, step)
            case steps.SetLink():
                links.set_link(topology, step)
            case steps.DeleteLink():
                links.delete_link(topology, step)
            case steps.MoveLink():
                links.move_link(topology, step)
            case steps.SetShortcut(tunnel):
                links.set_shortcut(topology, tunnel)
            case steps.AddShortcut(tunnel, port):
                links.add_shortcut(topology, tunnel, port)
            case steps.RemoveShortcut(tunnel):
                links.remove_shortcut(topology, tunnel)
            case steps.SetRate(link, rate, _, netns):
                topology.namespace(netns).link(link).rate = rate
            case steps.Announce(link, netns=netns):
                topology.namespace(netns).link(link)
            case steps.AddAddress():
                rows.add_address(topology, step)
            case steps.RemoveAddress():
                rows.remove_address(topology, step)
            case steps.AddRoute():
                rows.add_route(topology, step)
            case steps.RemoveRoute():
                rows.remove_route(topology, step)
            case steps.AddRule():
                rows.add_rule(topology, step)
            case steps.RemoveRule():
                rows.remove_rule(topology, step)
            case steps.SetFdb():
                rows.set_fdb(topology, step)
            case steps.RemoveFdb():
                rows.remove_fdb(topology, step)
            case steps.AddNeighbour():
                rows.add_neighbour(topology, step)
            case steps.RemoveNeighbour():
                rows.remove_neighbour(topology, step)
            case steps.SetSysctl():
                rows.set_sysctl(topology, step)
            case steps.Nft(commands):
                self.transactions.append(commands)
            case steps.ForgetFlows():
                self.forgotten.append(step)
