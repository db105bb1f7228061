"""What the engine knows of its host: links, routes and resolvers, read when they matter and kept.

A hot path (an attach) uses what is kept and reads nothing; `refresh` is for creating networks and for
reconciling.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

from ..domains.ipam import Address, HostAddress, HostState, Route
from ..domains.sandboxes.files import ResolvConf, parse_resolv_conf
from ..drivers.contract import ClusterView, HostView, LinkRows
from ..host.kernel import Kernel
from ..model.errors import NotFound
from ..model.observed import NamespaceState, RouteState, WireguardDevice
from ..model.steps import SetSysctl, Step
from .shortcuts import Shortcutting

_RESOLV_CONF = Path("/etc/resolv.conf")
_SYSTEMD_RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")
_DEFAULT_MTU = 1500


class Host:
    def __init__(self, kernel: Kernel, table: str, resolv_conf: Path = _RESOLV_CONF) -> None:
        self._kernel = kernel
        self._resolv_conf = resolv_conf
        self._view = HostView(table=table)
        self.cluster: Callable[[], ClusterView | None] = _no_cluster
        """Gives what the views show of the cluster; the cluster part sets it."""
        self.sealed: Callable[[], WireguardDevice | None] = _no_cluster
        """Gives the node's WireGuard device, as `look` found it last; the cluster part sets both."""
        self.look: Callable[[], Awaitable[None]] = _look_at_nothing
        self.shortcutting: Callable[[], Awaitable[Shortcutting]] = _take_none
        """Tells whether this host's packets may take shortcuts; asked only in a cluster."""

    @property
    def hot_view(self) -> HostView:
        """The view for making what surely is not there: no links, the MTU as last seen."""
        return replace(self.view, state=NamespaceState())

    @property
    def view(self) -> HostView:
        """The view as last read; the cluster's part of it is of this moment."""
        return replace(self._view, cluster=self.cluster(), wireguard=self.sealed())

    @property
    def seen(self) -> HostView:
        """What was last read of the host itself, without the cluster's part."""
        return self._view

    async def refresh(self) -> HostView:
        state = await self._kernel.read()
        shortcutting = await (self.shortcutting if self.cluster() is not None else _take_none)()
        self._view = replace(
            self._view,
            state=state,
            mtu=route_mtu(state),
            shortcuts=shortcutting.may,
            routed_shortcuts=shortcutting.may_routed,
        )
        await self.look()
        return self.view

    async def with_rows(self, view: HostView, links: Iterable[str]) -> HostView:
        """Return the view with the FDB and the neighbours of some links, those that are there."""
        rows: dict[str, LinkRows] = {}
        for link in links:
            try:
                rows[link] = LinkRows(
                    await self._kernel.read_fdb(link), await self._kernel.read_neighbours(link)
                )
            except NotFound:
                continue
        return replace(view, rows=rows)

    async def enable_forwarding(self, *, ipv6: bool) -> None:
        """Let the host forward. Turning it on for IPv6 must not cost the host its own addresses."""
        steps: list[Step] = [SetSysctl("net.ipv4.ip_forward", "1")]
        if ipv6 and await self._kernel.read_sysctl("net.ipv6.conf.all.forwarding") == "0":
            for link in self._view.state.links.values():
                # A forwarding host ignores router advertisements, unless told 2 (RFC 4861 section 6.2.2).
                key = f"net.ipv6.conf.{link.name.replace('.', '/')}.accept_ra"
                if not link.alias.startswith(self._view.mark) and await self._kernel.read_sysctl(key) == "1":
                    steps.append(SetSysctl(key, "2", optional=True))
            steps.append(SetSysctl("net.ipv6.conf.all.forwarding", "1"))
        await self._kernel.apply(steps)

    def resolv_conf(self) -> ResolvConf:
        """Return the host's resolver settings; systemd-resolved's real servers instead of its stub."""
        try:
            found = parse_resolv_conf(self._resolv_conf.read_text())
            if found.servers == ("127.0.0.53",) and _SYSTEMD_RESOLV_CONF.exists():
                found = parse_resolv_conf(_SYSTEMD_RESOLV_CONF.read_text())
        except OSError:
            return ResolvConf()
        return found

    def occupied(self, own_links: frozenset[str]) -> HostState:
        """Return every address and route of the host, but for those of `own_links`, and its resolvers."""
        state = self._view.state
        servers: list[Address] = []
        for server in self.resolv_conf().servers:
            try:
                servers.append(ip_address(server.partition("%")[0]))
            except ValueError:
                continue
        return HostState(
            routes=tuple(
                Route(ip_network(route.destination), route.link, route.via)
                for route in state.routes
                if route.destination not in {"default", "::/0"}
                and route.link not in own_links
                and not route.is_own
            ),
            addresses=tuple(
                HostAddress(ip_interface(address).ip, link.name)
                for link in state.links.values()
                if link.name not in own_links
                for address in sorted(link.addresses)
            ),
            nameservers=tuple(servers),
        )


def _no_cluster() -> None:
    """This host is in none."""


async def _look_at_nothing() -> None:
    """There is no device of that kind."""


async def _take_none() -> Shortcutting:
    return Shortcutting("not looked at")


def route_mtu(state: NamespaceState) -> int:
    """Return the MTU of the route to the outside: the default route's own, or its link's."""

    def metric(route: RouteState) -> int:
        return route.metric

    for destination in ("default", "::/0"):
        candidates = [route for route in state.routes if route.destination == destination]
        for route in sorted(candidates, key=metric):
            if route.mtu:
                return route.mtu
            link = state.links.get(route.link)
            if link is not None and link.mtu:
                return link.mtu
    return _DEFAULT_MTU
