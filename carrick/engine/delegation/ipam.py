"""Speak libnetwork's remote IPAM protocol with a plugin: pools for networks, addresses for endpoints.

The order and the options are libnetwork's (`network.ipamAllocateVersion`, `endpoint.assignAddress`).
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from ...host.plugins import Plugins, Refused
from ...host.plugins.contract import IPAM_DRIVER
from ...model.delegation import DelegatedNetwork, RemoteLease, RemotePool
from ...model.errors import CarrickError, Failed, NotFound, Unsupported
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
        self, identifier: NetworkId, request: CreateNetwork, *, with_gateway: bool
    ) -> tuple[DelegatedNetwork, tuple[PoolConfig, ...]]:
        """Ask for the pools of a new network, all of them or none; return them for both kinds of record."""
        name = request.ipam_driver
        await self.capabilities(name)
        spaces = await self._call(name, "GetDefaultAddressSpaces", {})
        record = DelegatedNetwork(
            identifier, request.name, name, str(spaces.get("LocalDefaultAddressSpace") or "")
        )
        configs: list[PoolConfig] = []
        try:
            for wanted, version in _wanted(request):
                record, config = await self._request_pool(record, request, wanted, version, with_gateway)
                configs.append(config)
        except CarrickError:
            await self.release_pools(record, configs)
            raise
        return record, tuple(configs)

    async def _request_pool(
        self,
        record: DelegatedNetwork,
        request: CreateNetwork,
        wanted: PoolConfig,
        version: int,
        with_gateway: bool,
    ) -> tuple[DelegatedNetwork, PoolConfig]:
        answer = await self._call(
            record.ipam,
            "RequestPool",
            {
                "AddressSpace": record.address_space,
                "Pool": wanted.subnet,
                "SubPool": wanted.ip_range,
                "Options": request.ipam_options,
                "V6": version == 6,
            },
        )
        pool_id = str(answer.get("PoolID") or "")
        try:
            subnet = ip_network(str(answer.get("Pool") or ""), strict=False)
        except ValueError as error:
            raise Refused(f"remote: the pool of IPAM driver {record.ipam} is none: {error}") from None
        pool = RemotePool(pool_id, str(subnet), sub_pool=wanted.ip_range)
        # Kept from here on, so that what goes wrong next gives it back.
        record = replace(record, pools=(*record.pools, pool))
        try:
            pool = await self._complete_pool(
                record.ipam, pool, answer.get("Data") or {}, wanted, with_gateway
            )
        except CarrickError:
            await self.release_pools(record, ())
            raise
        record = replace(record, pools=(*record.pools[:-1], pool))
        config = PoolConfig(
            pool.pool, wanted.ip_range, pool.gateway.partition("/")[0], dict(wanted.aux_addresses)
        )
        return record, config

    async def _complete_pool(
        self, name: str, pool: RemotePool, data: Mapping[str, Any], wanted: PoolConfig, with_gateway: bool
    ) -> RemotePool:
        """Get the gateway and the auxiliary addresses of a pool."""
        gateway = str(data.get(GATEWAY) or "")
        if gateway:
            pool = replace(pool, gateway=_with_length(gateway, pool))
        if with_gateway and (wanted.gateway or not gateway):
            found = await self._request(name, pool, wanted.gateway, {_ADDRESS_TYPE: GATEWAY})
            pool = replace(pool, gateway=found, is_gateway_leased=True)
        for address in wanted.aux_addresses.values():
            await self._request(name, pool, address, {})
        return pool

    async def release_pools(self, record: DelegatedNetwork, configs: Iterable[PoolConfig]) -> None:
        """Give a network's pools back; what the plugin says to that is logged. Unavailable as it comes."""
        auxiliary = [address for config in configs for address in config.aux_addresses.values()]
        for pool in record.pools:
            inside = [item for item in auxiliary if ip_address(item) in ip_network(pool.pool)]
            if pool.is_gateway_leased:
                inside.append(pool.gateway.partition("/")[0])
            for address in inside:
                await self._tell(record.ipam, "ReleaseAddress", {"PoolID": pool.pool_id, "Address": address})
            await self._tell(record.ipam, "ReleasePool", {"PoolID": pool.pool_id})

    async def replay(
        self, record: DelegatedNetwork, request: CreateNetwork, leases: Iterable[RemoteLease]
    ) -> None:
        """Tell a plugin that forgets (`RequiresRequestReplay`) once more what it gave."""
        if not (await self.capabilities(record.ipam)).requires_replay:
            return
        for pool in record.pools:
            await self._call(
                record.ipam,
                "RequestPool",
                {
                    "AddressSpace": record.address_space,
                    "Pool": pool.pool,
                    "SubPool": pool.sub_pool,
                    "Options": request.ipam_options,
                    "V6": pool.version == 6,
                },
            )
            if pool.is_gateway_leased:
                address = pool.gateway.partition("/")[0]
                with suppress(Refused):
                    await self._request(record.ipam, pool, address, {_ADDRESS_TYPE: GATEWAY})
            for lease in leases:
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
        """Make a call whose refusal changes nothing."""
        try:
            await self._call(name, method, request)
        except (Refused, Unsupported, NotFound) as error:
            _log.warning("IPAM driver %s: %s", name, error)

    async def _call(self, name: str, method: str, request: Mapping[str, Any]) -> dict[str, Any]:
        return await self._plugins.call(name, f"{IPAM_DRIVER}.{method}", request)


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
