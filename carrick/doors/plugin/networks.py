"""CreateNetwork and its kin: make a Carrick network for one of Docker's, or lead it to one that is there."""

import asyncio
from collections.abc import Iterable
from ipaddress import ip_network

from ...engine.contract import Engine
from ...engine.values import CreateNetwork
from ...model.errors import Conflict, Denied, InvalidRequest, NotFound
from ...model.networks import Network, PoolConfig, Scope
from .bindings import Bindings, Held, Known, labels_of, record_name
from .ipam import Ipam
from .parse import GivenPool, NetworkCall, NetworkOptions
from .render import NOTHING, Document

DEFAULT_DRIVER = "bridge"
_WITHOUT_GATEWAY = frozenset({"routed", "macvlan", "ipvlan"})
"""Where a pool's gateway is not the host's address that all containers leave by: none is needed."""


class NetworkCalls:
    """`lock` is held for whatever changes bindings."""

    def __init__(self, engine: Engine, ipam: Ipam, bindings: Bindings, lock: asyncio.Lock) -> None:
        self._engine = engine
        self._ipam = ipam
        self._bindings = bindings
        self._lock = lock

    async def create(self, call: NetworkCall) -> Document:
        """Create a network, or find that it is there: Docker repeats calls whose answer it missed."""
        async with self._lock:
            known = await self._bindings.read()
            if (binding := known.bindings.get(call.network_id)) is not None:
                if binding.target is None:
                    await self._bindings.unbind(binding)
                    known = await self._bindings.read()
                else:
                    check_pools(call.pools, binding.target)
                    return NOTHING
            held = [item for pool in call.pools if (item := _held_for(pool, known))]
            name = call.options.network or next((item.asked for item in held if item.asked), "")
            if not name:
                name = self._named_by_pool(call.pools, known)
            pools = tuple(self._complete(pool, call.options, held) for pool in call.pools)
            if name:
                await self._join(name, call, pools, known, [item.id for item in held])
            else:
                labels = labels_of(call.network_id, (item.id for item in held))
                await self._engine.networks.create(
                    _request(record_name(call.network_id), call.options, pools, labels)
                )
            await self._bindings.let_go(held)
        return NOTHING

    def _named_by_pool(self, pools: Iterable[GivenPool], known: Known) -> str:
        """Return the network that `--ipam-opt network=NAME` named: Docker passes that to the IPAM alone."""
        for pool in pools:
            for identifier in self._ipam.named:
                network = known.networks.get(identifier)
                mine = network.pool(6 if ":" in pool.subnet else 4) if network is not None else None
                if network is not None and mine is not None and mine.subnet == pool.subnet:
                    return network.name
        return ""

    def _complete(self, given: GivenPool, options: NetworkOptions, held: list[Held]) -> PoolConfig:
        """Return a pool as the network is to have it.

        A gateway that nobody asked for is left to the driver, which chooses the same one, or needs none.
        """
        mine = next((item for item in held if item.pool.subnet == given.subnet), None)
        chosen = self._ipam.has_chosen_gateway(mine.id) if mine else options.driver == "routed"
        return PoolConfig(
            given.subnet,
            mine.pool.ip_range if mine else "",
            "" if chosen else given.gateway,
            given.aux_addresses,
        )

    async def _join(
        self, name: str, call: NetworkCall, pools: tuple[PoolConfig, ...], known: Known, held: list[str]
    ) -> None:
        """Lead a Docker network to a named one, which is made if it is not there."""
        network, is_new = known.named(name), False
        if network is None:
            try:
                created = await self._engine.networks.create(_request(name, call.options, pools, {}))
                network, is_new = (await self._engine.networks.get(created.id)).network, True
            except Conflict:
                # Another host or engine has just made it, perhaps.
                network = (await self._bindings.read()).named(name)
                if network is None:
                    raise
        try:
            if not is_new:
                _check_same(call, network)
            await self._bindings.bind(call.network_id, network, held)
            self._ipam.named.discard(network.id)
        except Exception:
            if is_new:
                await self._engine.networks.remove(network.id)
            raise

    async def delete(self, docker_id: str) -> Document:
        """Delete a network; one that was named stays. That there is none is no error."""
        async with self._lock:
            binding = (await self._bindings.read()).bindings.get(docker_id)
            if binding is None:
                return NOTHING
            if not binding.is_own:
                await self._bindings.unbind(binding)
                return NOTHING
            try:
                await self._engine.networks.remove(binding.record.id)
            except NotFound:
                return NOTHING
            except (Conflict, Denied):
                # Docker lets go of a global network host by host: others may have containers on it.
                if binding.record.scope is not Scope.GLOBAL:
                    raise
        return NOTHING

    async def allocate(self, call: NetworkCall) -> Document:
        """Swarm's manager: what is made here, a global network, is there on every host."""
        await self.create(call)
        return {"Options": {}}

    async def check_gateways(self, options: NetworkOptions) -> Document:
        """GwAllocCheck: tell whether Docker may go without a gateway address."""
        skip = (options.driver or DEFAULT_DRIVER) in _WITHOUT_GATEWAY
        if options.network:
            network = (await self._bindings.read()).named(options.network)
            if network is not None:
                skip = not any(pool.gateway for pool in network.pools)
        return {"SkipIPv4": skip, "SkipIPv6": skip}


def check_pools(given: Iterable[GivenPool], network: Network) -> None:
    """Raise InvalidRequest unless a network has these pools."""
    for pool in given:
        subnet = ip_network(pool.subnet)
        mine = network.pool(subnet.version)
        if mine is None or mine.network != subnet:
            has = f"has {mine.subnet}" if mine else f"has no IPv{subnet.version} subnet"
            raise InvalidRequest(
                f"network {network.name} {has}, and Docker's network would have {pool.subnet}",
                remedy=f"use its addresses: --ipam-driver carrick --ipam-opt network={network.name}"
                + (f" --subnet {mine.subnet}" if mine else ""),
            )


def _check_same(call: NetworkCall, network: Network) -> None:
    """Raise unless a network that exists is what was asked for: what was not said may be anything."""
    options = call.options
    if options.driver and options.driver != network.driver:
        raise Conflict(
            f"network {network.name} exists, and its driver is {network.driver}, not {options.driver}"
        )
    for key, value in options.rest.items():
        if network.options.get(key) != value:
            raise Conflict(
                f"network {network.name} exists, and its option {key} is "
                f"{network.options.get(key) or 'not set'}, not {value}",
                remedy=f"leave -o {key}=… away, or use another network",
            )
    if options.internal and not network.internal:
        raise Conflict(f"network {network.name} exists and is not internal", remedy="leave --internal away")
    check_pools(call.pools, network)


def _held_for(pool: GivenPool, known: Known) -> Held | None:
    return next((item for item in known.held.values() if item.pool.subnet == pool.subnet), None)


def _request(
    name: str, options: NetworkOptions, pools: tuple[PoolConfig, ...], labels: dict[str, str]
) -> CreateNetwork:
    ipv6 = options.enable_ipv6
    if ipv6 is None and any(pool.version == 6 for pool in pools):
        ipv6 = True
    return CreateNetwork(
        name,
        options.driver or DEFAULT_DRIVER,
        enable_ipv4=options.enable_ipv4,
        enable_ipv6=ipv6,
        internal=options.internal,
        pools=pools,
        options=options.rest,
        labels=labels,
    )
