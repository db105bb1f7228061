"""`carrick doctor`: look for what keeps containers' traffic from flowing, and say the remedy.

Looks, and changes nothing; `fix` repairs what is ours and turns forwarding on.
"""

from collections.abc import Awaitable, Callable, Sequence

from ..domains.firewall.foreign import find_obstacles
from ..domains.sandboxes.files import RESOLVER_ADDRESS
from ..drivers.registry import DriverRegistry
from ..host.config import Config
from ..host.kernel import Kernel
from ..host.store.typed import Undecodable
from ..model.errors import CarrickError
from ..model.networks import Network
from .bridge_filter import BridgeFilter
from .host import Host
from .shortcuts import ShortcutPolicy
from .state import State
from .values import Finding

_CONNTRACK_WARNING = 0.8


class Doctor:
    def __init__(
        self,
        *,
        config: Config,
        state: State,
        kernel: Kernel,
        host: Host,
        drivers: DriverRegistry,
        stands: Callable[[Network], bool],
        stray_links: Callable[[], list[str]],
        converge: Callable[[], Awaitable[list[str]]],
        enable_forwarding: Callable[[], Awaitable[None]],
        bridge_filter: BridgeFilter,
        shortcuts: ShortcutPolicy,
        resolver_is_up: Callable[[], bool],
        holder_is_up: Callable[[], bool],
        trouble: Callable[[], tuple[str, str]],
        unreadable: Callable[[], Sequence[Undecodable]],
    ) -> None:
        """`stands` tells whether a network is to be on this host, `stray_links` what is here of none.
        In a cluster, `trouble` is what keeps this node from its store, with the remedy, and `unreadable` are
        the records there that cannot be read.
        """
        self._config = config
        self._state = state
        self._kernel = kernel
        self._host = host
        self._drivers = drivers
        self._stands = stands
        self._stray_links = stray_links
        self._converge = converge
        self._enable_forwarding = enable_forwarding
        self._bridge_filter = bridge_filter
        self._shortcuts = shortcuts
        self._resolver_is_up = resolver_is_up
        self._holder_is_up = holder_is_up
        self._trouble = trouble
        self._unreadable = unreadable

    async def fix(self) -> None:
        """Repair what is ours to repair: forwarding, bridges, and everything that `converge` looks after."""
        await self._enable_forwarding()
        await self._bridge_filter.settle()
        await self._converge()

    async def examine(self) -> list[Finding]:
        """Return a finding per thing looked at, the bad ones first."""
        findings: list[Finding] = []
        await self._host.refresh()
        for check in (
            self._forwarding,
            self._bridged_packets,
            self._shortcuts_taken,
            self._foreign_firewalls,
            self._own_tables,
            self._bridges,
            self._processes,
            self._clashes,
            self._conntrack,
            self._resolvers,
            self._store,
            self._records,
        ):
            try:
                findings += await check()
            except CarrickError as error:
                findings.append(Finding("error", check.__name__.strip("_").replace("_", " "), str(error)))
        order = {"error": 0, "warning": 1, "ok": 2}
        return sorted(findings, key=lambda item: order[item.level])

    async def _forwarding(self) -> list[Finding]:
        findings = []
        uses_ipv6 = any(network.enable_ipv6 for network in self._state.networks.values())
        for key, needed in (("net.ipv4.ip_forward", True), ("net.ipv6.conf.all.forwarding", uses_ipv6)):
            value = await self._kernel.read_sysctl(key)
            if value != "1" and needed:
                findings.append(
                    Finding(
                        "error",
                        key,
                        "forwarding is off: containers reach nothing beyond their bridge",
                        f"sysctl -w {key}=1  (or carrick doctor --fix)",
                    )
                )
            elif needed:
                findings.append(Finding("ok", key, "forwarding is on"))
        return findings

    async def _bridged_packets(self) -> list[Finding]:
        found = await self._bridge_filter.look()
        if not found.on:
            return [Finding("ok", "bridged packets", "they pass no IP rules")]
        cost = "they pass the host's IP rules, which costs speed"
        setting = self._config.bridge_filter
        if setting == "keep":
            return [Finding("ok", "bridged packets", f"{cost}: bridge_filter = keep")]
        if found.need:
            return [Finding("ok", "bridged packets", f"{cost}: {found.need}")]
        remedy = " ".join(("sysctl -w", *(f"{key}=0" for key in found.on)))
        against = "and nobody seems to need it" if setting == "auto" else "against bridge_filter = off"
        return [
            Finding(
                "warning",
                "bridged packets",
                f"{cost}, {against}",
                f"{remedy}  (or carrick doctor --fix; or bridge_filter = keep)",
            )
        ]

    async def _shortcuts_taken(self) -> list[Finding]:
        if self._host.cluster() is None:
            return []
        found = await self._shortcuts.look()
        if found.against:
            taken = f"not taken: {found.against}"
        elif found.routed:
            taken = f"overlay networks take them, routed ones do not: {found.routed}"
        else:
            taken = "overlay networks take them, and routed ones by VXLAN"
        return [Finding("ok", "shortcuts", taken)]

    def _networks_by_bridge(self) -> dict[str, Network]:
        found = {}
        for network in self._state.networks.values():
            if network.config_only or network.driver not in self._drivers:
                continue
            rules = self._drivers.get(network.driver).firewall_rules(network)
            if rules is not None:
                found[rules.bridge] = network
        return dict(sorted(found.items()))

    async def _foreign_firewalls(self) -> list[Finding]:
        obstacles = find_obstacles(
            await self._kernel.list_nft_all(), self._config.name, list(self._networks_by_bridge())
        )
        if not obstacles:
            return [Finding("ok", "other firewalls", "none drops forwarded traffic by default")]
        return [
            Finding(
                "error",
                f"{item.family} {item.table} {item.chain}",
                f"{item.owner} drops forwarded traffic by default, that of containers included",
                item.remedy,
            )
            for item in obstacles
        ]

    async def _own_tables(self) -> list[Finding]:
        table = f"inet {self._config.name}"
        if await self._kernel.list_nft(table) is None:
            return [Finding("error", f"nftables {table}", "the table is gone", "carrick doctor --fix")]
        return [Finding("ok", f"nftables {table}", "in force")]

    async def _bridges(self) -> list[Finding]:
        links = self._host.view.state.links
        wanted = [name for name, network in self._networks_by_bridge().items() if self._stands(network)]
        findings = []
        for name in wanted:
            link = links.get(name)
            if link is None:
                findings.append(Finding("error", name, "the bridge is gone", "carrick doctor --fix"))
            elif not link.up:
                findings.append(Finding("error", name, "the bridge is down", "carrick doctor --fix"))
        findings += [
            Finding("warning", name, "a leftover interface of ours", "carrick doctor --fix")
            for name in self._stray_links()
        ]
        return findings or [Finding("ok", "bridges", f"{len(wanted)} as they should be")]

    async def _processes(self) -> list[Finding]:
        findings = []
        for name, is_up, effect in (
            ("carrick-dns", self._resolver_is_up(), "names are not updated"),
            ("carrick-ports", self._holder_is_up(), "no port can be published"),
        ):
            if is_up:
                findings.append(Finding("ok", name, "running"))
            else:
                findings.append(
                    Finding(
                        "error", name, f"does not answer: {effect}", "see the daemon's log; it is restarted"
                    )
                )
        return findings

    async def _clashes(self) -> list[Finding]:
        """Subnets of ours that a route or address of the host has come to overlap since."""
        view, bridges = self._host.view, self._networks_by_bridge()
        own = frozenset(
            link.name
            for link in view.state.links.values()
            if link.alias.startswith(view.mark) or link.name in bridges
        )
        occupied = self._host.occupied(own)
        findings = []
        for network in self._state.networks.values():
            for pool in network.pools:
                for route in occupied.routes:
                    if (
                        network.driver == "bridge"
                        and route.destination.version == pool.version
                        and route.destination.prefixlen > 1
                        and pool.network.overlaps(route.destination)
                    ):
                        findings.append(
                            Finding(
                                "warning",
                                f"network {network.name} ({pool.subnet})",
                                f"overlaps the route {route.destination} via {route.interface}",
                                "create the network anew with another --subnet, or set default_address_pools",
                            )
                        )
        return findings or [Finding("ok", "subnets", "no network overlaps a route of the host")]

    async def _conntrack(self) -> list[Finding]:
        used = await self._kernel.read_sysctl("net.netfilter.nf_conntrack_count")
        limit = await self._kernel.read_sysctl("net.netfilter.nf_conntrack_max")
        if not used or not limit or int(limit) == 0:
            return []
        if int(used) > int(limit) * _CONNTRACK_WARNING:
            return [
                Finding(
                    "warning",
                    "conntrack",
                    f"{used} of {limit} flows: new connections will be dropped soon",
                    f"sysctl -w net.netfilter.nf_conntrack_max={int(limit) * 4}",
                )
            ]
        return [Finding("ok", "conntrack", f"{used} of {limit} flows")]

    async def _resolvers(self) -> list[Finding]:
        servers = self._host.resolv_conf().servers
        if not servers:
            return [
                Finding(
                    "warning",
                    "/etc/resolv.conf",
                    "names no server: containers resolve each other, and nothing else",
                    "add a nameserver, or set dns in the daemon's configuration",
                )
            ]
        if RESOLVER_ADDRESS in servers:
            return [
                Finding(
                    "error",
                    "/etc/resolv.conf",
                    f"names {RESOLVER_ADDRESS}, which is a container's own resolver",
                    "name the host's real servers",
                )
            ]
        return [Finding("ok", "/etc/resolv.conf", "servers " + ", ".join(servers))]

    async def _store(self) -> list[Finding]:
        if self._host.cluster() is None:
            return []
        problem, remedy = self._trouble()
        if not problem:
            return [Finding("ok", "cluster store", "answers")]
        return [Finding("error", "cluster store", problem, remedy)]

    async def _records(self) -> list[Finding]:
        """Records in the cluster's store that cannot be read: what they said before stands meanwhile."""
        if self._host.cluster() is None:
            return []
        return [
            Finding("error", f"cluster record {error.shown}", error.reason, error.remedy or "")
            for error in self._unreadable()
        ] or [Finding("ok", "cluster records", "all can be read")]
