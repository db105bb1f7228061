"""Speak libnetwork's remote IPAM protocol with a plugin: pools for networks, addresses for endpoints.

The order and the options are libnetwork's (`network.ipamAllocateVersion`, `endpoint.assignAddress`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from ...host.plugins import Plugins, Refused
from ...host.plugins.contract import IPAM_DRIVER
from ...model.delegation import DelegatedNetwork, RemoteLease, RemotePool
from ...model.errors import Failed, NotFound, Unsupported
from ...model.ids import NetworkId, SandboxId
from ...model.networks import EndpointSettings, PoolConfig
from ..values import CreateNetwork

_log = logging.getLogger(__name__)
_PREFIX = "com.docker.network."
GATEWAY = _PREFIX + "gateway"
_ADDRESS_TYPE = "RequestAddressType"
_MAC = _PREFIX + "endpoint.macaddress"
_NAME = _PREFIX + "endpoint.name"


@dataclass(frozen=True, slots=True)
class IpamCapabilities:
    requires_mac: bool = False
    requires_replay: bool = False


Keep = Callable[[DelegatedNetwork], Awaitable[None]]
"""Writes down what a plugin has given a network so far."""


class RemoteIpam:
    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._capabilities: dict[str, IpamCapabilities] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def capabilities(self, name: str) -> IpamCapabilities:
        """Ask once. NotFound in Docker's words if the plugin is none for IPAM."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            if name not in self._capabilities:
                if IPAM_DRIVER not in await self._plugins.activate(name):
                    raise Failed(f'plugin "{name}" does not implement the requested driver {IPAM_DRIVER}')
                try:
                    found = await self._call(name, "GetCapabilities", {})
                except Unsupported:
                    found = {}  # as Docker does with plugins from before there was that call
                self._capabilities[name] = IpamCapabilities(
                    bool(found.get("RequiresMACAddress")), bool(found.get("RequiresRequestReplay"))
                )
            return self._capabilities[name]

    # Pools -----------------------------------------------------------------------------------

    async def request_pools(
        self, identifier: NetworkId, request: CreateNetwork, *, with_gateway: bool, keep: Keep
    ) -> tuple[PoolConfig, ...]:
        """Ask for the pools of a new network. `keep` is given the record each time there is more in it."""
        name = request.ipam_driver
        await self.capabilities(name)
        spaces = await self._call(name, "GetDefaultAddressSpaces", {})
        record = DelegatedNetwork(
            identifier, request.name, name, str(spaces.get("LocalDefaultAddressSpace") or "")
        )
        configs: list[PoolConfig] = []
        for wanted, version in _wanted(request):
            pool, data = await self._request_pool(
                record, wanted.subnet, wanted.ip_range, request.ipam_options, version
            )
            await keep(replace(record, pools=(*record.pools, pool)))
            gateway = str(data.get(GATEWAY) or "")
            if gateway:
                pool = replace(pool, gateway=_with_length(gateway, pool))
            if with_gateway and (wanted.gateway or not gateway):
                found = await self._request(name, pool, wanted.gateway, {_ADDRESS_TYPE: GATEWAY})
                pool = replace(pool, gateway=found, leased=(found.partition("/")[0],))
                await keep(replace(record, pools=(*record.pools, pool)))
            for address in wanted.aux_addresses.values():
                found = await self._request(name, pool, address, {})
                pool = replace(pool, leased=(*pool.leased, found.partition("/")[0]))
                await keep(replace(record, pools=(*record.pools, pool)))
            record = replace(record, pools=(*record.pools, pool))
            configs.append(
                PoolConfig(
                    pool.pool, wanted.ip_range, pool.gateway.partition("/")[0], dict(wanted.aux_addresses)
                )
            )
        return tuple(configs)

    async def _request_pool(
        self, record: DelegatedNetwork, subnet: str, ip_range: str, options: Mapping[str, str], version: int
    ) -> tuple[RemotePool, Mapping[str, Any]]:
        """Ask for one pool; return it with what else the plugin says of it."""
        answer = await self._call(
            record.ipam,
            "RequestPool",
            {
                "AddressSpace": record.address_space,
                "Pool": subnet,
                "SubPool": ip_range,
                "Options": dict(options),
                "V6": version == 6,
            },
        )
        try:
            pool = str(ip_network(str(answer.get("Pool") or ""), strict=False))
        except ValueError as error:
            raise Refused(f"remote: the pool of IPAM driver {record.ipam} is none: {error}") from None
        return RemotePool(str(answer.get("PoolID") or ""), pool, sub_pool=ip_range), answer.get("Data") or {}

    async def release_pools(self, record: DelegatedNetwork) -> None:
        """Give a network's pools back; what the plugin says to that is logged. Raises Unavailable."""
        for pool in record.pools:
            for address in pool.leased:
                await self._tell(record.ipam, "ReleaseAddress", {"PoolID": pool.pool_id, "Address": address})
            await self._tell(record.ipam, "ReleasePool", {"PoolID": pool.pool_id})

    async def replay(
        self, record: DelegatedNetwork, options: Mapping[str, str], leases: Iterable[RemoteLease]
    ) -> None:
        """Tell a plugin that forgets (`RequiresRequestReplay`) once more what it gave."""
        if not (await self.capabilities(record.ipam)).requires_replay:
            return
        leased = tuple(leases)
        for pool in record.pools:
            await self._request_pool(record, pool.pool, pool.sub_pool, options, pool.version)
            gateway = pool.gateway.partition("/")[0]
            for address in pool.leased:
                kind = {_ADDRESS_TYPE: GATEWAY} if address == gateway else {}
                with suppress(Refused):
                    await self._request(record.ipam, pool, address, kind)
            for lease in leased:
                if lease.pool_id == pool.pool_id:
                    with suppress(Refused):
                        await self._request(record.ipam, pool, lease.address.partition("/")[0], {})

    # Addresses -------------------------------------------------------------------------------

    async def lease(
        self,
        record: DelegatedNetwork,
        sandbox_id: SandboxId,
        version: int,
        settings: EndpointSettings,
        *,
        mac_address: str,
        name: str,
    ) -> RemoteLease | None:
        """Ask for one address of a family; None if the network has no pool of it."""
        asked = settings.ipv6_address if version == 6 else settings.ipv4_address
        pools = [pool for pool in record.pools if pool.version == version]
        if asked:
            pools = [pool for pool in pools if ip_address(asked) in ip_network(pool.pool)]
        if not pools:
            return None
        options = {_NAME: name}
        if (await self.capabilities(record.ipam)).requires_mac:
            options[_MAC] = mac_address
        refusal: Refused | None = None
        for pool in pools:
            try:
                address = await self._request(record.ipam, pool, asked, options)
            except Refused as error:
                refusal = refusal or error  # another pool may have one
                continue
            return RemoteLease(record.id, sandbox_id, record.ipam, pool.pool_id, address)
        assert refusal is not None
        raise refusal

    async def release(self, lease: RemoteLease) -> None:
        """Give an address back. Raises Unavailable: then it is still to be done."""
        address = lease.address.partition("/")[0]
        await self._tell(lease.ipam, "ReleaseAddress", {"PoolID": lease.pool_id, "Address": address})

    # Calls -----------------------------------------------------------------------------------

    async def _request(self, name: str, pool: RemotePool, address: str, options: Mapping[str, str]) -> str:
        answer = await self._call(
            name, "RequestAddress", {"PoolID": pool.pool_id, "Address": address, "Options": dict(options)}
        )
        return _with_length(str(answer.get("Address") or ""), pool)

    async def _tell(self, name: str, method: str, request: Mapping[str, Any]) -> None:
        """Make a call whose refusal changes nothing; one that cannot be made now is made again later."""
        try:
            await self._call(name, method, request, patience_s=0)
        except (Refused, Unsupported, NotFound) as error:
            _log.warning("IPAM driver %s: %s", name, error)

    async def _call(
        self, name: str, method: str, request: Mapping[str, Any], *, patience_s: float | None = None
    ) -> dict[str, Any]:
        return await self._plugins.call(name, f"{IPAM_DRIVER}.{method}", request, patience_s=patience_s)


def _wanted(request: CreateNetwork) -> list[tuple[PoolConfig, int]]:
    """Return the pools that are asked for, at least one of each family that is switched on."""
    found = [(pool, 6 if ":" in (pool.subnet or pool.gateway) else 4) for pool in request.pools]
    have = {version for _, version in found}
    for version, is_on in ((4, request.enable_ipv4 is not False), (6, bool(request.enable_ipv6))):
        if is_on and version not in have:
            found.append((PoolConfig(""), version))
    return sorted(found, key=lambda item: item[1])


def _with_length(address: str, pool: RemotePool) -> str:
    """Return an address with prefix length, that of the pool if it has none."""
    try:
        if "/" not in address:
            address = f"{ip_address(address)}/{ip_network(pool.pool).prefixlen}"
        return str(ip_interface(address))
    except ValueError:
        raise Refused(f"remote: the IPAM driver gave {address!r}, which is no address") from None
