"""libnetwork's remote IPAM: pools and addresses, out of Carrick's networks.

A pool's id is one of two. `network.4.ID` is a Carrick network's that was named (`--ipam-opt network=NAME`):
whoever uses it shares its addresses. `held.4.ID` is a subnet that was chosen, or asked for, and waits for the
network that Docker is about to create (`bindings`); later it leads to that network.

Until CreateEndpoint an address is a lease of `docker/ADDRESS`, because Docker names an address by nothing but
itself; then it is the guest's own and ends with it, and of ReleaseAddress, which comes last, nothing is left
to do. It is the same whether addresses are ours or those of Docker's own IPAM, which never speaks with us.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

from ...engine.contract import Engine
from ...engine.values import CreateNetwork
from ...model.errors import Conflict, InvalidRequest, NotFound, Unavailable, Unsupported
from ...model.networks import Network, PoolConfig, Scope
from .bindings import Bindings, Held, Known
from .parse import NETWORK_OPTION, AddressCall, PoolCall
from .render import NOTHING, Document

LOCAL_SPACE, GLOBAL_SPACE = "CarrickLocal", "CarrickGlobal"
ENGINE = "docker"
_TRIES = 16
_GATEWAY_OWNER = f"{ENGINE}/gateway"


def lease_owner(address: str) -> str:
    """Return whose lease an address of Docker's is."""
    return f"{ENGINE}/{address}"


@dataclass(frozen=True, slots=True)
class _OnNetwork:
    """A pool that is a network's."""

    network: Network
    pool: PoolConfig


class Ipam:
    """`lock` is held for whatever changes bindings."""

    def __init__(
        self,
        engine: Engine,
        bindings: Bindings,
        lock: asyncio.Lock,
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine = engine
        self._bindings = bindings
        self._lock = lock
        self._now_ns = now_ns
        self.named: set[str] = set()
        """Networks that were named for their pools, and for which a CreateNetwork is to come."""
        self._refused: set[str] = set()
        self._chosen_gateways: set[str] = set()
        self._leasing = asyncio.Lock()

    def has_chosen_gateway(self, pool: str) -> bool:
        """Tell whether a held pool's gateway was left to us. After a restart it counts as asked for."""
        return pool in self._chosen_gateways

    # Pools -----------------------------------------------------------------------------------

    async def request_pool(self, call: PoolCall) -> Document:
        if call.address_space not in ("", LOCAL_SPACE, GLOBAL_SPACE):
            raise InvalidRequest(
                f"unknown address space {call.address_space}: there are {LOCAL_SPACE} and {GLOBAL_SPACE}"
            )
        async with self._lock:
            known = await self._bindings.read()
            if call.network and (network := known.named(call.network)) is not None:
                return self._pool_of(network, call)
            await self._bindings.let_go_of_unused(known, self._now_ns())
            pool = await self._choose_pool(call, known)
            identifier = await self._bindings.hold(pool, call.network)
        return _pool(f"held.{call.version}.{identifier}", pool)

    def _pool_of(self, network: Network, call: PoolCall) -> Document:
        pool = network.pool(call.version)
        if pool is None:
            raise InvalidRequest(
                f"network {network.name} has no IPv{call.version} subnet",
                remedy="create it with one, or leave the option for the other family",
            )
        if call.subnet and ip_network(call.subnet) != pool.network:
            raise InvalidRequest(f"the subnet of network {network.name} is {pool.subnet}, not {call.subnet}")
        if call.ip_range and call.ip_range != pool.ip_range:
            raise InvalidRequest(
                f"the range of network {network.name} is {pool.ip_range or pool.subnet}, not {call.ip_range}",
                remedy="leave --ip-range away",
            )
        identifier = f"network.{call.version}.{network.id}"
        if not call.subnet:
            # A subnet that Docker did not ask for itself it compares with the routes of the host, and where
            # it finds one asks again: for ever, as the answer stays the same.
            if identifier in self._refused:
                self._refused.discard(identifier)
                raise Conflict(
                    f"Docker does not take {pool.subnet} of network {network.name}: there is a route to it",
                    remedy=f"say that it is meant: --subnet {pool.subnet}",
                )
            self._refused.add(identifier)
        self.named.add(network.id)
        return _pool(identifier, pool)

    async def _choose_pool(self, call: PoolCall, known: Known) -> PoolConfig:
        for held in known.held.values():
            if call.subnet and ip_network(call.subnet).overlaps(held.pool.network):
                raise Conflict(
                    f"{call.subnet} overlaps {held.pool.subnet} of a network that is just being created",
                    remedy="choose another with --subnet, or try again when that one is done",
                )
        asked = PoolConfig(call.subnet, call.ip_range) if call.subnet else None
        request = CreateNetwork(
            "docker-pool",
            enable_ipv4=call.version == 4,
            enable_ipv6=call.version == 6,
            pools=(asked,) if asked else (),
        )
        avoid = [] if asked else [held.pool.subnet for held in known.held.values()]
        pools = await self._engine.networks.choose(request, avoid)
        return next(pool for pool in pools if pool.version == call.version)

    async def release_pool(self, pool_id: str) -> Document:
        """Let a pool go. Those of networks go with the network, which Docker has deleted by now."""
        self._refused.discard(pool_id)
        kind, _, identifier = _take_apart(pool_id)
        self.named.discard(identifier)
        if kind == "held":
            async with self._lock:
                held = (await self._bindings.read()).held.get(identifier)
                if held is not None:
                    await self._bindings.let_go([held])
            self._chosen_gateways.discard(identifier)
        return NOTHING

    async def _resolve(self, pool_id: str) -> _OnNetwork | Held:
        known = await self._bindings.read()
        kind, version, identifier = _take_apart(pool_id)
        network = known.networks.get(identifier)
        if kind == "held":
            if (held := known.held.get(identifier)) is not None:
                return held
            users = [item for item in known.bindings.values() if identifier in item.pools]
            network = users[0].target if users else None
        pool = network.pool(version) if network is not None else None
        if network is None or pool is None:
            raise NotFound(
                f"there is no pool {pool_id}: its network has been removed",
                remedy="docker network rm the network and create it again",
            )
        return _OnNetwork(network, pool)

    # Addresses -------------------------------------------------------------------------------

    async def request_address(self, call: AddressCall) -> Document:
        self._refused.discard(call.pool_id)
        found = await self._resolve(call.pool_id)
        if isinstance(found, Held):
            return self._address_ahead(found, call)
        network, pool = found.network, found.pool
        if call.address and ip_address(call.address) not in pool.network:
            raise InvalidRequest(f"{call.address} is not in {pool.subnet} of network {network.name}")
        if call.is_gateway:
            return _address(await self._gateway(network, pool, call.address), pool)
        if call.address and call.address in (pool.gateway, *pool.aux_addresses.values()):
            return _address(call.address, pool)
        async with self._leasing:
            given = await (
                self._lease_this(network, call.address)
                if call.address
                else self._lease_any(network, pool.version)
            )
        return {"Address": given, "Data": {}}

    def _address_ahead(self, held: Held, call: AddressCall) -> Document:
        """Answer for a network that is not there yet: its gateway and auxiliary addresses come with it."""
        if call.address:
            if ip_address(call.address) not in held.pool.network:
                raise InvalidRequest(f"{call.address} is not in {held.pool.subnet}")
            if call.is_gateway:
                self._chosen_gateways.discard(held.id)
            return _address(call.address, held.pool)
        if call.is_gateway:
            self._chosen_gateways.add(held.id)
            return _address(held.pool.gateway or _first(held.pool), held.pool)
        raise Unsupported(
            f"no Carrick network has the subnet {held.pool.subnet}",
            remedy="use Carrick's network driver as well (-d carrick), "
            f"or take the addresses of a Carrick network: --ipam-opt {NETWORK_OPTION}=NAME",
        )

    async def _gateway(self, network: Network, pool: PoolConfig, asked: str) -> str:
        """Return a network's gateway, which is shared by all who use the network."""
        gateway = pool.gateway or _first(pool)
        if asked and asked != gateway:
            raise InvalidRequest(
                f"the gateway of network {network.name} is {gateway}, not {asked}",
                remedy="leave --gateway away",
            )
        if not pool.gateway and network.scope is Scope.LOCAL:
            # Docker must have one, and tells its own drivers' containers of it: nobody else may be there.
            with suppress(Conflict):
                await self._engine.guests.lease(network.id, _GATEWAY_OWNER, gateway)
        return gateway

    async def _lease_any(self, network: Network, version: int) -> str:
        """Lease the next free address: to somebody, to learn which it is, and then to whom it belongs."""
        guests = self._engine.guests
        for number in range(_TRIES):
            nobody = f"{ENGINE}/next/{number}"
            given = await guests.lease(network.id, nobody, "6" if version == 6 else "")
            address = str(ip_interface(given).ip)
            await guests.end_lease(network.id, nobody)
            try:
                return await guests.lease(network.id, lease_owner(address), address)
            except Conflict:
                continue  # somebody else's by now
        raise Unavailable(f"network {network.name}: addresses are taken as fast as they are found")

    async def _lease_this(self, network: Network, address: str) -> str:
        """Lease an address that was asked for; the same once more is a repetition, unless it is in use."""
        for view in await self._engine.guests.list(ENGINE):
            mine = (view.endpoint.ipv4_address, view.endpoint.ipv6_address)
            if view.network.id == network.id and address in mine:
                raise Conflict(
                    "Address already in use", remedy=f"{address} is {view.spec.name or 'a container'}'s"
                )
        return await self._engine.guests.lease(network.id, lease_owner(address), address)

    @asynccontextmanager
    async def handing_over(self, network: Network, addresses: Iterable[str]) -> AsyncIterator[None]:
        """Free addresses of Docker's for the guest that the block adds; nobody else gets them meanwhile.

        (Another engine could, if it asks for one of them; the next free one is never one freed just now.)
        """
        async with self._leasing:
            for address in filter(None, addresses):
                await self._engine.guests.end_lease(network.id, lease_owner(address))
            yield

    async def release_address(self, call: AddressCall) -> Document:
        if not call.address:
            raise InvalidRequest("Address is missing")
        try:
            found = await self._resolve(call.pool_id)
        except NotFound:
            return NOTHING
        if isinstance(found, _OnNetwork):
            async with self._leasing:
                await self._engine.guests.end_lease(found.network.id, lease_owner(call.address))
        return NOTHING


def held_id(pool_id: str) -> str:
    """Return the id of a held pool as the bindings know it."""
    return _take_apart(pool_id)[2]


def _take_apart(pool_id: str) -> tuple[str, int, str]:
    kind, _, rest = pool_id.partition(".")
    version, _, identifier = rest.partition(".")
    if kind not in ("network", "held") or version not in ("4", "6") or not identifier:
        raise NotFound(f"there is no pool {pool_id}")
    return kind, int(version), identifier


def _first(pool: PoolConfig) -> str:
    return str(pool.network.network_address + 1)


def _pool(identifier: str, pool: PoolConfig) -> Document:
    return {"PoolID": identifier, "Pool": pool.subnet, "Data": {}}


def _address(address: str, pool: PoolConfig) -> Document:
    return {"Address": f"{address}/{pool.network.prefixlen}", "Data": {}}
