"""Pools and addresses that IPAM plugins gave: written down as they come, struck off as they go back.

What a plugin cannot be told now is stale, and told by `sweep`.
"""

import logging
from collections.abc import Callable

from ...domains.sandboxes.interfaces import choose_mac
from ...host.plugins import Plugins
from ...host.store.contract import Store
from ...host.store.typed import Collection, Undecodable
from ...model.delegation import OWN_IPAM, DelegatedNetwork, RemoteLease
from ...model.errors import CarrickError, NotFound, Unavailable
from ...model.ids import NetworkId, SandboxId
from ...model.networks import EndpointSettings, Network, PoolConfig
from ..state import State
from ..values import CreateNetwork
from .ipam import RemoteIpam
from .locks import Locks

_log = logging.getLogger(__name__)


class DelegatedAddresses:
    """`sweep_soon` is called when something has become stale."""

    def __init__(
        self,
        *,
        store: Store,
        state: State,
        plugins: Plugins | None,
        locks: Locks,
        sweep_soon: Callable[[], None],
    ) -> None:
        self._state = state
        self._ipam = RemoteIpam(plugins) if plugins is not None else None
        self._lock = locks
        self._sweep_soon = sweep_soon
        self._network_records = Collection(store, "delegated/networks/", DelegatedNetwork)
        self._lease_records = Collection(store, "delegated/leases/", RemoteLease)
        self._networks: dict[NetworkId, DelegatedNetwork] = {}
        self._leases: dict[str, RemoteLease] = {}
        self._stale_networks: set[NetworkId] = set()
        self._stale_leases: set[str] = set()

    async def load(self) -> tuple[Undecodable, ...]:
        """Read the records; return those that could not be decoded."""
        networks = await self._network_records.list()
        leases = await self._lease_records.list()
        self._networks = {item.id: item for item in networks.values}
        self._leases = {item.id: item for item in leases.values}
        return (*networks.broken, *leases.broken)

    def start(self) -> None:
        """Find out what the last daemon has left."""
        self._stale_networks |= self._networks.keys() - self._state.networks.keys()
        self._stale_leases |= {item.id for item in self._leases.values() if not self._is_used(item)}

    def known(self, identifier: NetworkId) -> DelegatedNetwork | None:
        return self._networks.get(identifier)

    # Pools -----------------------------------------------------------------------------------

    async def request_pools(
        self, identifier: NetworkId, request: CreateNetwork, *, with_gateway: bool
    ) -> tuple[PoolConfig, ...] | None:
        """Have a plugin choose a new network's pools; None if that is not asked for.

        The network is known from then on; `forget_network` undoes it. On failure nothing is left.
        """
        if request.ipam_driver in OWN_IPAM:
            await self._keep(DelegatedNetwork(identifier, request.name))
            return None
        if self._ipam is None:
            raise NotFound(
                f"could not find plugin {request.ipam_driver} in v1 plugin registry: plugin not found",
                remedy="use the IPAM driver default",
            )
        try:
            return await self._ipam.request_pools(
                identifier, request, with_gateway=with_gateway, keep=self._keep
            )
        except CarrickError:
            await self.forget_network(identifier)
            raise

    async def _keep(self, record: DelegatedNetwork) -> None:
        await self._network_records.put(record.id, record, expecting=None)
        self._networks[record.id] = record

    async def forget_network(self, identifier: NetworkId) -> None:
        """Give a removed network's pools back, later if not now."""
        for error in await self._give_pools_back(identifier):
            _log.warning("the pools of a removed network are given back later: %s", error)
            self._stale_networks.add(identifier)
            self._sweep_soon()

    async def _give_pools_back(self, identifier: NetworkId) -> list[CarrickError]:
        record = self._networks.get(identifier)
        if record is not None:
            try:
                if self._ipam is not None and record.ipam:
                    await self._ipam.release_pools(record)
            except CarrickError as error:
                return [error]
            await self._network_records.delete(identifier, expecting=None)
            self._networks.pop(identifier, None)
        self._stale_networks.discard(identifier)
        return []

    async def replay(self, network: Network) -> None:
        """Tell a plugin that forgets once more what it gave a network. Raises what it says."""
        record = self._networks.get(network.id)
        if record is not None and record.ipam and self._ipam is not None:
            leases = [item for item in self._leases.values() if item.network_id == network.id]
            await self._ipam.replay(record, network.ipam_options, leases)

    # Leases ----------------------------------------------------------------------------------

    async def lease(
        self, network: Network, sandbox_id: SandboxId, settings: EndpointSettings, name: str
    ) -> tuple[str, str]:
        """Return the addresses that a plugin gives a sandbox on a network, with prefix length or "".

        On failure none is kept.
        """
        record = self._networks.get(network.id)
        if record is None or self._ipam is None:
            raise NotFound(f"the IPAM driver {network.ipam_driver} of network {network.name} is not known")
        found = {4: "", 6: ""}
        mac_address = settings.mac_address or choose_mac(f"{sandbox_id} {network.id}")
        async with self._lock(sandbox_id):
            try:
                await self.release(sandbox_id, network.id)
                for version, is_on in ((4, network.enable_ipv4), (6, network.enable_ipv6)):
                    if not is_on:
                        continue
                    lease = await self._ipam.lease(
                        record, sandbox_id, version, settings, mac_address=mac_address, name=name
                    )
                    if lease is not None:
                        await self._lease_records.put(lease.id, lease, expecting=None)
                        self._leases[lease.id] = lease
                        found[version] = lease.address
            except CarrickError as error:
                await self._release_or_later(sandbox_id, network.id)
                if isinstance(error, NotFound):
                    # It was there when the network was created: it may come back, at boot after us.
                    raise Unavailable(error.message, remedy=error.remedy) from error
                raise
        return found[4], found[6]

    async def end_leases(self, network_id: NetworkId, sandbox_id: SandboxId) -> None:
        """Give a sandbox's addresses on a network back, later if not now."""
        async with self._lock(sandbox_id):
            await self._release_or_later(sandbox_id, network_id)

    async def _release_or_later(self, sandbox_id: SandboxId, network_id: NetworkId) -> None:
        try:
            await self.release(sandbox_id, network_id)
        except CarrickError as error:
            _log.warning("an address is given back later: %s", error)
            self.release_later(sandbox_id, network_id)

    def release_later(self, sandbox_id: SandboxId, network_id: NetworkId) -> None:
        self._stale_leases |= {item.id for item in self.of(sandbox_id, network_id)}
        self._sweep_soon()

    def of(self, sandbox_id: SandboxId, network_id: NetworkId) -> list[RemoteLease]:
        """Return what a sandbox has of a network."""
        return [
            item
            for item in self._leases.values()
            if (item.sandbox_id, item.network_id) == (sandbox_id, network_id)
        ]

    async def release(self, sandbox_id: SandboxId, network_id: NetworkId) -> None:
        """Give back what a sandbox has of a network. Its lock is held. Raises Unavailable."""
        for lease in self.of(sandbox_id, network_id):
            await self._release_one(lease)

    async def _release_one(self, lease: RemoteLease) -> None:
        if self._ipam is None:
            raise Unavailable(f"there is nothing to speak with the IPAM driver {lease.ipam}")
        await self._ipam.release(lease)
        await self._lease_records.delete(lease.id, expecting=None)
        self._leases.pop(lease.id, None)
        self._stale_leases.discard(lease.id)

    def _is_used(self, lease: RemoteLease) -> bool:
        sandbox = self._state.sandboxes.get(lease.sandbox_id)
        return sandbox is not None and sandbox.active and sandbox.endpoint(lease.network_id) is not None

    # What is stale ---------------------------------------------------------------------------

    async def sweep(self) -> list[CarrickError]:
        """Give back what is stale; return why some of it could not be."""
        problems: list[CarrickError] = []
        for key in list(self._stale_leases):
            lease = self._leases.get(key)
            async with self._lock(lease.sandbox_id if lease else key):
                # It may have been given back, or be in use again, by now.
                if lease is not None and key in self._stale_leases:
                    try:
                        await self._release_one(lease)
                    except CarrickError as error:
                        problems.append(error)
                        continue
                self._stale_leases.discard(key)
        for identifier in list(self._stale_networks):
            problems += await self._give_pools_back(identifier)
        return problems
