"""Presence: networks that reach other hosts stand on this one only while a container here is on them.

Such a network appears with the first endpoint and goes with the last: its links, its part of the firewall,
its zone in the resolver, and the watch over its endpoints elsewhere. Networks of this host alone always
stand, and nothing here concerns them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from ..domains.firewall import NetworkRules, render_add_network, render_remove_network
from ..drivers.contract import Lending, Sealing, Spanning
from ..drivers.registry import DriverRegistry
from ..host.kernel import Kernel
from ..model.ids import NetworkId
from ..model.networks import Network, Scope
from ..model.steps import Nft, Plan, Step
from .host import Host
from .names import NameService
from .state import State

_log = logging.getLogger(__name__)


class Presence:
    """`watch` begins to watch the endpoints of a network elsewhere, and returns when it knows them as far as
    that is possible now; `unwatch` ends that. Without a cluster they do nothing."""

    def __init__(
        self,
        *,
        table: str,
        state: State,
        drivers: DriverRegistry,
        kernel: Kernel,
        host: Host,
        names: NameService,
    ) -> None:
        self._table = table
        self._state = state
        self._drivers = drivers
        self._kernel = kernel
        self._host = host
        self._names = names
        self.watch: Callable[[NetworkId], Awaitable[None]] = _nothing
        self.unwatch: Callable[[NetworkId], Awaitable[None]] = _nothing
        self.seal: Callable[[], Awaitable[None]] = _nothing_to_seal
        self.unseal: Callable[[], Awaitable[None]] = _nothing_to_seal
        self.is_lent: Callable[[NetworkId], bool] = _is_not
        """Tells whether a bridge of another engine here has, or is to have, blocks of a network."""
        self._standing: set[NetworkId] = set()
        self._locks: dict[NetworkId, asyncio.Lock] = {}

    def stands(self, network: Network) -> bool:
        """Tell whether a network is to be on this host now."""
        if network.scope is not Scope.GLOBAL:
            return True
        if self.is_lent(network.id):
            return True
        return any(sandbox.active for sandbox, _ in self._state.endpoints_on(network.id))

    def rules(self, network: Network) -> NetworkRules | None:
        """Return what the firewall must know of a network on this host."""
        driver = self._drivers.get(network.driver)
        found, host = driver.firewall_rules(network), self._host.hot_view
        if found is None:
            return None
        found = replace(found, stateless=found.stateless and host.routed_shortcuts)
        return replace(found, lent=driver.lent(network, host)) if isinstance(driver, Lending) else found

    async def has_appeared(self, network: Network) -> bool:
        """Tell whether a network stands, once whatever is being made of it is made."""
        async with self._lock(network.id):
            return network.id in self._standing

    async def load(self) -> None:
        """At start: watch what stands already; the reconciler makes it as it should be."""
        for network in list(self._state.networks.values()):
            if network.scope is Scope.GLOBAL and self.stands(network):
                self._standing.add(network.id)
                await self.watch(network.id)

    async def ensure(self, networks: Iterable[Network]) -> None:
        """Have networks stand before an endpoint joins them. Raises what the kernel or the driver says."""
        for network in networks:
            if (lock := self._state.lock(network.id)).locked():
                # It is just being created.
                async with lock:
                    pass
            if network.scope is Scope.GLOBAL and network.id not in self._standing:
                async with self._lock(network.id):
                    if network.id not in self._standing:
                        await self._appear(network)

    async def release(self, networks: Iterable[Network]) -> list[Exception]:
        """Let networks go that no endpoint here is on any more; return what went wrong."""
        errors: list[Exception] = []
        for network in networks:
            if network.scope is Scope.GLOBAL and network.id in self._standing:
                async with self._lock(network.id):
                    if network.id in self._standing and not self.stands(network):
                        errors += await self._vanish(network)
        return errors

    def _lock(self, network_id: NetworkId) -> asyncio.Lock:
        return self._locks.setdefault(network_id, asyncio.Lock())

    async def _appear(self, network: Network) -> None:
        await self.watch(network.id)
        try:
            if network.enable_ipv6:
                # Whoever created it was another node, perhaps: here nobody has needed it until now.
                await self._host.enable_forwarding(ipv6=True)
            async with self._state.lock("networks"):
                plan = await self.plan(network)
                steps: list[Step] = list(plan.steps)
                rules = self.rules(network)
                if rules is not None:
                    steps.append(Nft(tuple(render_add_network(self._table, rules))))
                await self._kernel.apply(steps)
        except Exception:
            # What was made of it before it failed must not stand in the way of the next one.
            for error in await self._take_down(network):
                _log.warning("network %s: %s", network.name, error)
            await self.unwatch(network.id)
            raise
        self._standing.add(network.id)
        self.announce(network)

    def announce(self, network: Network) -> None:
        """Queue a standing network's zone for the resolver, with its endpoints here and elsewhere."""
        self._names.put_network(network)
        # Who has it appear has said its own names before, when there was no zone for them.
        for sandbox, position in self._state.endpoints_on(network.id):
            if sandbox.active:
                self._names.put_endpoint(network, sandbox.endpoints[position])
        if (cluster := self._host.cluster()) is not None:
            for remote in cluster.endpoints.get(network.id, {}).values():
                # What the cluster says of us may be of a moment ago.
                if remote.node != cluster.me.id:
                    self._names.put_remote(remote)

    async def plan(self, network: Network) -> Plan:
        """Return what a standing network lacks, its rows compared with those that are there."""
        driver = self._drivers.get(network.driver)
        await self.secure(network)
        view = await self._host.refresh()
        if isinstance(driver, Spanning):
            view = await self._host.with_rows(view, driver.tunnels(network))
        return driver.plan_network(network, view)

    async def secure(self, network: Network) -> None:
        """Have the node's WireGuard stand, if a network asks for it."""
        if self._is_sealed(network):
            await self.seal()

    def _is_sealed(self, network: Network) -> bool:
        if network.driver not in self._drivers:
            return False
        driver: object = self._drivers.get(network.driver)
        return isinstance(driver, Sealing) and driver.is_sealed(network)

    async def _vanish(self, network: Network) -> list[Exception]:
        self._standing.discard(network.id)
        self._names.remove_network(network.id)
        errors = await self._take_down(network)
        await self.unwatch(network.id)
        if self._is_sealed(network) and not any(
            self._is_sealed(other)
            for other in self._state.networks.values()
            if other.scope is Scope.GLOBAL and self.stands(other)
        ):
            await self.unseal()
        return errors

    async def _take_down(self, network: Network) -> list[Exception]:
        steps: list[Step] = []
        driver = self._drivers.get(network.driver)
        rules = self.rules(network)
        if rules is not None:
            steps.append(Nft(tuple(render_remove_network(self._table, rules))))
        async with self._state.lock("networks"):
            view = await self._host.refresh()
            steps += driver.plan_network_removal(network, tuple(self._state.networks.values()), view).steps
            return await self._kernel.remove(steps)


def _is_not(network_id: NetworkId) -> bool:
    return False


async def _nothing(network_id: NetworkId) -> None:
    """There is no cluster."""


async def _nothing_to_seal() -> None:
    """There is no cluster."""
