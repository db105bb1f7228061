"""The firewall as a whole: what should be in it, computed from the records, and put in force at once.

Creating a network or publishing a port changes only its own elements; this is the other way, for start,
repair and drift: everything of ours is replaced in one transaction, so no packet meets a half-made table.
"""

import logging
from collections.abc import Callable

from ..domains.firewall import Firewall, Link, NetworkRules, OpenPort, Publication, render_all, render_link
from ..domains.firewall.network import is_network_chain
from ..drivers.registry import DriverRegistry
from ..host.config import Config
from ..host.kernel import Kernel
from ..model.networks import Sandbox
from ..model.steps import Nft
from .ports import PortService
from .presence import Presence
from .state import State
from .surroundings import Surroundings

_log = logging.getLogger(__name__)


class FirewallService:
    def __init__(
        self,
        *,
        config: Config,
        state: State,
        drivers: DriverRegistry,
        kernel: Kernel,
        ports: PortService,
        surroundings: Surroundings,
        presence: Presence,
        clustered: Callable[[], bool],
    ) -> None:
        self._presence = presence
        self._clustered = clustered
        self._table = config.name
        self._state = state
        self._drivers = drivers
        self._kernel = kernel
        self._ports = ports
        self._surroundings = surroundings

    def desired(self) -> Firewall:
        """Return what the tables should hold."""
        rules = self._rules()
        publications: list[Publication] = []
        open_ports: list[OpenPort] = []
        isolated: list[str] = []
        for sandbox in self._state.sandboxes.values():
            if not sandbox.active:
                continue
            for endpoint in sandbox.endpoints:
                network_rules = rules.get(endpoint.network_id)
                if network_rules is not None and not network_rules.inter_container:
                    isolated.append(endpoint.host_interface)
            record = self._state.occupant(sandbox)
            if record is not None and self._ports.has_any(record):
                publishing = self._ports.publishing(record, sandbox)
                publications += publishing.publications
                open_ports += publishing.open_ports
        return Firewall(
            table=self._table,
            networks=tuple(rules.values()),
            publications=tuple(sorted(set(publications))),
            open_ports=tuple(sorted(set(open_ports))),
            linked=self._links(rules),
            isolated=tuple(sorted(isolated)),
            clustered=self._clustered(),
        )

    def _rules(self) -> dict[str, NetworkRules]:
        """Return what the firewall must know of each network, by its id."""
        rules: dict[str, NetworkRules] = {}
        for network in self._state.networks.values():
            if network.config_only or network.driver not in self._drivers:
                continue
            if not self._presence.stands(network):
                continue
            found = self._presence.rules(network)
            if found is not None:
                rules[network.id] = found
        return rules

    def _links(self, rules: dict[str, NetworkRules]) -> tuple[Link, ...]:
        """Return what linked containers may reach on networks with ICC off: the target's exposed ports."""
        found = set()
        for sandbox in self._state.sandboxes.values():
            record = self._state.containers.get(sandbox.container_id)
            if not sandbox.active or record is None:
                continue
            for target, _, endpoint in self._surroundings.links(record, sandbox):
                other = self._state.sandboxes.get(target.sandbox_id) if target.sandbox_id else None
                theirs = other.endpoint(endpoint.network_id) if other and other.active else None
                network_rules = rules.get(endpoint.network_id)
                if theirs is None or network_rules is None or network_rules.inter_container:
                    continue
                for text in target.config.exposed_ports:
                    port, _, protocol = text.partition("/")
                    if port.isdigit() and endpoint.ipv4 and theirs.ipv4:
                        found.add(
                            Link(endpoint.ipv4_address, theirs.ipv4_address, protocol or "tcp", int(port))
                        )
        return tuple(sorted(found))

    async def relink(self, sandbox: Sandbox) -> None:
        """Bring what linked containers may reach up to date, if `sandbox` is on a network with ICC off."""
        rules = self._rules()
        mine = [rules.get(endpoint.network_id) for endpoint in sandbox.endpoints]
        if all(item is None or item.inter_container for item in mine):
            return
        async with self._state.lock("firewall"):
            commands = [f"flush set bridge {self._table} linked4"]
            commands += render_link(self._table, self._links(rules))
            await self._kernel.apply([Nft(tuple(commands))])

    async def replace_all(self) -> None:
        """Make the tables what they should be, whatever they are. The lock `networks` is held.

        Ports have a lock of their own: what is published meanwhile must not be lost to an older picture.
        """
        async with self._state.lock("firewall"):
            await self._replace_all()

    async def _replace_all(self) -> None:
        desired = self.desired()
        keep = {name for rules in desired.networks for name in (f"into_{rules.key}", f"outof_{rules.key}")}
        stale = []
        for item in await self._kernel.list_nft(f"inet {self._table}") or ():
            chain = item.get("chain", {}).get("name", "")
            if chain and is_network_chain(chain) and chain not in keep:
                stale.append(chain)
        await self._kernel.apply([Nft(render_all(desired, stale))])
