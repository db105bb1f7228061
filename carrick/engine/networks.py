"""Networks: create, inspect, list, remove, prune. Connecting containers is the sandboxes' part.

Messages are Docker's, because scripts match on them.
"""

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_interface, ip_network

from ..domains.firewall import render_add_network, render_remove_network
from ..domains.ipam import (
    DEFAULT_POOLS_V4,
    BasePool,
    NamedPrefix,
    check_explicit,
    choose_subnet,
    default_pools_v6,
    is_partial,
    parse_base_pool,
    partial_size,
    validate_pools,
)
from ..drivers import bridge
from ..drivers.registry import DriverRegistry
from ..host.config import Config
from ..host.kernel import Kernel
from ..host.store.contract import StaleRevision
from ..model.delegation import OWN_IPAM, is_remote_ipam
from ..model.errors import (
    CarrickError,
    Conflict,
    Denied,
    Failed,
    InvalidRequest,
    KernelRefused,
    NotFound,
    Unavailable,
    Unsupported,
)
from ..model.ids import NetworkId, short
from ..model.networks import Network, PoolConfig, Scope
from ..model.steps import Nft, Plan, Step
from . import filters as filtering
from .addresses import Addresses
from .clock import Clock, new_id
from .cluster.directory import NetworkDirectory
from .delegation import Delegation
from .events import EventBus
from .host import Host
from .names import NameService
from .state import State, Write
from .values import Attached, Created, CreateNetwork, Filters, NetworkView

_TRIES = 30
PREDEFINED = ("bridge", "host", "none")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
FOREIGN_LABEL = "carrick.docker.network"
"""On a network that a Docker engine knows by an id of its own, which is the label's value."""
_RESERVED = {*PREDEFINED, "default"}


class NetworkService:
    def __init__(
        self,
        *,
        config: Config,
        state: State,
        addresses: Addresses,
        drivers: DriverRegistry,
        kernel: Kernel,
        host: Host,
        names: NameService,
        events: EventBus,
        clock: Clock,
        host_id: str,
        directory: NetworkDirectory,
        delegation: Delegation | None = None,
    ) -> None:
        self._directory = directory
        self._delegation = delegation
        self._config = config
        self._state = state
        self._addresses = addresses
        self._drivers = drivers
        self._kernel = kernel
        self._host = host
        self._names = names
        self._events = events
        self._clock = clock
        self._pools4: tuple[BasePool, ...] = DEFAULT_POOLS_V4
        self._pools6 = default_pools_v6(host_id)
        if config.default_address_pools:
            given = [parse_base_pool(item.base, item.size) for item in config.default_address_pools]
            self._pools4 = tuple(pool for pool in given if pool.base.version == 4) or self._pools4
            self._pools6 = tuple(pool for pool in given if pool.base.version == 6) or self._pools6

    # Creating --------------------------------------------------------------------------------

    async def create(self, request: CreateNetwork) -> Created:
        request = await self._prepare(request)
        if self._is_global(request):
            network, plan = await self._create_global(request)
        elif self._delegation is not None and self._is_delegated(request.driver, request.ipam_driver):
            network, plan = await self._create_delegated(request, self._delegation)
        else:
            # One at a time: two requests must not choose the same name or subnet.
            async with self._state.lock("networks"):
                network, plan = await self._plan(request)
                await self._make(network, plan)
        self._emit(network, "create")
        # That a network of ours is avoided surprises nobody; what else was avoided is worth a word.
        return Created(network.id, tuple(note for note in plan.notes if "overlaps network" not in note))

    async def _prepare(self, request: CreateNetwork) -> CreateNetwork:
        """Return the request with what it refers to looked up."""
        request = self._resolve_config_from(request)
        return request if self._delegation is None else await self._delegation.prepare(request)

    def _is_delegated(self, driver: str, ipam_driver: str) -> bool:
        return self._delegation is not None and self._delegation.concerns(driver, ipam_driver)

    async def _create_delegated(self, request: CreateNetwork, delegation: Delegation) -> tuple[Network, Plan]:
        """Create a network that a plugin has a say in; nobody else's waits for the plugin's answer."""
        self._check_name(request.name)
        capabilities = self._drivers.get(request.driver).capabilities
        identifier = NetworkId(new_id())
        # Of a driver without addresses none are asked for; it says itself what it takes.
        asked = request if capabilities.addressed else replace(request, ipam_driver="default")
        pools = await delegation.addresses.request_pools(identifier, asked, with_gateway=capabilities.gateway)
        try:
            async with self._state.lock("networks"):
                network, plan = await self._plan(request, identifier=identifier, given_pools=pools)
                await self._make(network, plan)
            try:
                await delegation.create_network(network)
            except CarrickError:
                async with self._state.lock("networks"):
                    await self._unmake(network)
                    self._names.remove_network(network.id)
                raise
        except CarrickError:
            await delegation.addresses.forget_network(identifier)
            raise
        return network, plan

    def _is_global(self, request: CreateNetwork) -> bool:
        if request.config_only or request.driver not in self._drivers:
            return False
        return self._drivers.get(request.driver).capabilities.scope is Scope.GLOBAL

    async def _create_global(self, request: CreateNetwork) -> tuple[Network, Plan]:
        """Create a network for all nodes of the cluster: it is planned here, and made where it is used."""
        async with self._state.lock("global networks"):
            for number in range(_TRIES):
                index = await self._directory.network_index()
                async with self._state.lock("networks"):
                    network, plan = await self._plan(request)
                try:
                    await self._directory.put_network(network, index)
                except StaleRevision:
                    # Another node created one meanwhile: its name, subnet and VNI are taken now.
                    await self._clock.sleep(secrets.randbelow(20 * (number + 1)) / 1000)
                    continue
                return network, plan
        raise Unavailable(
            f"network {request.name}: other nodes keep creating networks", remedy="try again in a moment"
        )

    async def plan(self, request: CreateNetwork) -> Plan:
        request = await self._prepare(request)
        if request.ipam_driver not in OWN_IPAM:
            raise Unsupported(
                f"a dry run would take a pool from the IPAM driver {request.ipam_driver}: only that driver "
                "knows which it would give"
            )
        async with self._state.lock("networks"):
            _, plan = await self._plan(request)
        return plan

    async def ensure_predefined(self) -> None:
        """Create the networks that every host has, those that are not there."""
        have = {network.name for network in self._state.networks.values()}
        async with self._state.lock("networks"):
            for request in self._predefined():
                if request.name not in have:
                    network, plan = await self._plan(request, is_predefined=True)
                    await self._make(network, plan)

    def _predefined(self) -> list[CreateNetwork]:
        config = self._config
        options = {
            bridge.DEFAULT_BRIDGE: "true",
            bridge.NAME: config.default_bridge,
            bridge.ICC: str(config.icc).lower(),
            bridge.MASQUERADE: str(config.ip_masq).lower(),
            bridge.BINDING: config.ip or "0.0.0.0",
        }
        if config.mtu:
            options[bridge.MTU] = str(config.mtu)
        pools = []
        for address, ip_range in ((config.bip, config.fixed_cidr), (config.bip6, config.fixed_cidr_v6)):
            if address:
                pools.append(_pool_of_interface(address, ip_range))
        return [
            CreateNetwork(
                "bridge", "bridge", enable_ipv6=config.ipv6 or None, pools=tuple(pools), options=options
            ),
            CreateNetwork("host", "host"),
            CreateNetwork("none", "null"),
        ]

    async def _plan(
        self,
        request: CreateNetwork,
        *,
        is_predefined: bool = False,
        identifier: NetworkId | None = None,
        given_pools: tuple[PoolConfig, ...] | None = None,
    ) -> tuple[Network, Plan]:
        """Return the network that is asked for, and the steps that make it; `given_pools` are a plugin's."""
        if not is_predefined:
            self._check_name(request.name)
        network = Network(
            id=identifier or NetworkId(new_id()),
            name=request.name,
            # A configuration is no network: it has no driver of its own, as in Docker.
            driver="null" if request.config_only else request.driver or "bridge",
            created_ns=self._clock.now_ns(),
            enable_ipv4=request.enable_ipv4 is not False,
            enable_ipv6=bool(request.enable_ipv6),
            ipam_driver=request.ipam_driver or "default",
            ipam_options=request.ipam_options,
            pools=request.pools,
            internal=request.internal,
            attachable=request.attachable,
            ingress=request.ingress,
            config_only=request.config_only,
            config_from=request.config_from,
            options=request.options,
            labels=request.labels,
        )
        if request.config_only:
            return network, Plan()
        driver = self._drivers.get(network.driver)
        if request.scope and request.scope != driver.capabilities.scope:
            raise InvalidRequest(
                f"driver {network.driver} has scope {driver.capabilities.scope}, not {request.scope}"
            )
        if network.driver == "bridge" and request.ingress:
            raise Denied("ingress networks need a cluster: create it with the overlay driver")
        for kind in driver.capabilities.needs:
            if not await self._kernel.supports(kind):
                raise Unsupported(
                    f"this kernel has no {kind} links, which driver {network.driver} needs",
                    remedy=f"load the kernel's {kind} module, or use the bridge driver",
                )
        network = replace(network, scope=driver.capabilities.scope)
        if network.scope is Scope.GLOBAL and self._host.cluster() is not None:
            network = self._directory.with_vni(network)
        others = self._real_networks()
        view = await self._host.refresh()
        notes: tuple[str, ...] = ()
        if given_pools is not None:
            network = replace(network, pools=given_pools)
        elif driver.capabilities.addressed:
            if is_remote_ipam(network):
                raise NotFound(
                    f"could not find plugin {network.ipam_driver} in v1 plugin registry: plugin not found",
                    remedy="use the IPAM driver default",
                )
            if not network.enable_ipv4 and not network.enable_ipv6:
                raise InvalidRequest("IPv4 or IPv6 must be enabled")
            network, notes = self._choose_pools(network, with_gateway=driver.capabilities.gateway)
            if not driver.capabilities.gateway:
                # A network on the LAN itself is meant to overlap the host's own routes.
                notes = ()
        network = driver.check(network, others, view)
        plan = driver.plan_network(network, view)
        rules = driver.firewall_rules(network)
        steps: list[Step] = list(plan.steps)
        if rules is not None:
            steps.append(Nft(tuple(render_add_network(self._config.name, rules))))
        return network, Plan(tuple(steps), notes + plan.notes)

    def _check_name(self, name: str) -> None:
        if not name.strip():
            raise InvalidRequest("invalid name: name is empty")
        if name in _RESERVED:
            raise Denied(f"operation is not permitted on predefined {name} network ")
        if not _NAME.match(name):
            raise InvalidRequest(
                f"invalid name {name!r}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed in a network's name"
            )
        if any(network.name == name for network in self._state.networks.values()):
            raise Conflict(f"network with name {name} already exists")

    def _resolve_config_from(self, request: CreateNetwork) -> CreateNetwork:
        if request.config_only:
            if request.internal or request.ingress or request.attachable or request.scope:
                raise Denied(
                    "configuration network can only contain network specific fields. Network operator "
                    "fields like [ ingress | internal | attachable | scope ] are not supported."
                )
            if request.config_from:
                raise Denied("a configuration network cannot depend on another configuration network")
            return request
        if not request.config_from:
            return request
        source = next((n for n in self._state.networks.values() if n.name == request.config_from), None)
        if source is None or not source.config_only:
            raise NotFound(f'configuration network "{request.config_from}" does not exist')
        if request.pools or request.options or request.ipam_options:
            raise Denied(
                "user-specified configurations are not supported if the network depends on a "
                "configuration network"
            )
        return replace(
            request,
            enable_ipv4=source.enable_ipv4,
            enable_ipv6=source.enable_ipv6,
            ipam_driver=source.ipam_driver,
            ipam_options=source.ipam_options,
            pools=source.pools,
            options=source.options,
            labels=source.labels | request.labels,
        )

    async def choose(self, request: CreateNetwork, avoid: Sequence[str] = ()) -> tuple[PoolConfig, ...]:
        """Return the pools that `create` would give a network, other subnets than `avoid`; makes nothing."""
        async with self._state.lock("networks"):
            await self._host.refresh()
            network = Network(
                id=NetworkId(new_id()),
                name=request.name,
                driver=request.driver,
                created_ns=self._clock.now_ns(),
                enable_ipv4=request.enable_ipv4 is not False,
                enable_ipv6=bool(request.enable_ipv6),
                pools=request.pools,
            )
            gateway = self._drivers.get(request.driver).capabilities.gateway
            return self._choose_pools(network, with_gateway=gateway, avoid=avoid)[0].pools

    def _choose_pools(
        self, network: Network, *, with_gateway: bool, avoid: Sequence[str] = ()
    ) -> tuple[Network, tuple[str, ...]]:
        """Return the network with whole subnets and gateways, and notes on what was avoided."""
        configs = list(
            validate_pools(network.pools, enable_ipv4=network.enable_ipv4, enable_ipv6=network.enable_ipv6)
        )
        wanted = [v for v, on in ((4, network.enable_ipv4), (6, network.enable_ipv6)) if on]
        named = {config.version for config in configs if config.subnet}
        blank = [config for config in configs if not config.subnet]
        for version in wanted:
            if version not in named:
                if blank:
                    configs.remove(blank.pop(0))
                configs.append(PoolConfig("0.0.0.0/0" if version == 4 else "::/0"))
        taken = [
            NamedPrefix(other.name, pool.network)
            for other in self._state.networks.values()
            if not other.config_only
            for pool in other.pools
        ]
        taken += [NamedPrefix("a pool that is held", ip_network(subnet)) for subnet in avoid]
        occupied = self._host.occupied(self._own_links())
        pools: list[PoolConfig] = []
        notes: list[str] = []
        for config in configs:
            chosen = config
            if is_partial(config):
                choice = choose_subnet(
                    self._pools6 if config.version == 6 else self._pools4,
                    taken,
                    occupied,
                    size=partial_size(config),
                )
                chosen = replace(config, subnet=str(choice.subnet))
                notes += choice.notes
            else:
                notes += check_explicit(config.network, taken, occupied)
            taken.append(NamedPrefix(network.name, chosen.network))
            pools.append(self._addresses.complete(network.name, chosen, with_gateway=with_gateway))
        pools.sort(key=lambda pool: pool.version)
        return replace(network, pools=tuple(pools)), tuple(notes)

    def _real_networks(self) -> tuple[Network, ...]:
        """Return the networks that exist on the host; a configuration may say the same as one made of it."""
        return tuple(network for network in self._state.networks.values() if not network.config_only)

    def _own_links(self) -> frozenset[str]:
        """Return the names of our bridges: their addresses are known as networks already."""
        view = self._host.view
        return frozenset(link.name for link in view.state.links.values() if link.alias.startswith(view.mark))

    async def _make(self, network: Network, plan: Plan) -> None:
        """Write what should be, then make it so; undo both if the kernel refuses.

        From the writing on others find it; its lock has them wait until there is something to join.
        """
        async with self._state.lock(network.id):
            await self._make_it(network, plan)

    async def _make_it(self, network: Network, plan: Plan) -> None:
        write = Write(networks=[network])
        async with self._addresses.transaction(write) as transaction:
            if not network.config_only:
                self._addresses.set_up(network, transaction)
        try:
            if network.enable_ipv6:
                await self._host.enable_forwarding(ipv6=True)
            await self._kernel.apply(plan.steps)
        except CarrickError:
            await self._unmake(network)
            raise
        self._names.put_network(network)

    async def _unmake(self, network: Network) -> list[Exception]:
        """Remove a network from the records, then from the kernel, going on after errors.

        In this order, because what bears our mark and is in no record is removed by the next daemon as well;
        and whoever comes to connect now finds no network.
        """
        write = Write(gone_networks=[network.id])
        async with self._addresses.transaction(write) as transaction:
            self._check_unused(network)
            # Containers that do not run lose the address they kept on a network that goes (as in Docker).
            write.sandboxes += [
                replace(sandbox, endpoints=tuple(e for e in sandbox.endpoints if e.network_id != network.id))
                for sandbox, _ in self._state.endpoints_on(network.id)
            ]
            self._addresses.tear_down(network, transaction)
        if network.config_only or network.driver not in self._drivers:
            return []
        driver = self._drivers.get(network.driver)
        view = await self._host.refresh()
        steps: list[Step] = []
        rules = driver.firewall_rules(network)
        if rules is not None:
            steps.append(Nft(tuple(render_remove_network(self._config.name, rules))))
        steps += driver.plan_network_removal(network, self._real_networks(), view).steps
        return await self._kernel.remove(steps)

    # Removing --------------------------------------------------------------------------------

    async def remove(self, reference: str) -> None:
        network = self._state.find_network(reference)
        if network.name in PREDEFINED:
            raise Denied(f"{network.name} is a pre-defined network and cannot be removed")
        if network.scope is Scope.GLOBAL and not network.config_only:
            await self._directory.take_network(network)
            self._emit(network, "destroy")
            return
        delegated = self._delegation if self._is_delegated(network.driver, network.ipam_driver) else None
        if delegated is not None and not network.config_only:
            self._check_unused(network)
            await delegated.remove_network(network)
        async with self._state.lock("networks"):
            network = self._state.find_network(network.id)
            if network.config_only and any(
                other.config_from == network.name for other in self._state.networks.values()
            ):
                raise Denied(f'configuration network "{network.name}" is in use')
            errors = await self._unmake(network)
            self._names.remove_network(network.id)
        if delegated is not None:
            await delegated.addresses.forget_network(network.id)
        self._emit(network, "destroy")
        if errors:
            raise KernelRefused(
                f"network {network.name} is removed, but not all of it from the kernel: "
                + "; ".join(map(str, errors))
            )

    def _check_unused(self, network: Network) -> None:
        active = [
            (sandbox, sandbox.endpoints[position])
            for sandbox, position in self._state.endpoints_on(network.id)
            if sandbox.active
        ]
        if active:
            names = ", ".join(
                f'name:"{occupant.name}" id:"{short(e.id)}"'
                for s, e in active
                if (occupant := self._state.occupant(s)) is not None
            )
            raise Denied(
                f"error while removing network: network {network.name} has active endpoints ({names})"
            )

    async def prune(self, filters: Filters) -> tuple[str, ...]:
        filtering.check_names(filters, {"until", "label", "label!"})
        removed = []
        for network in list(self._state.networks.values()):
            unused = not any(sandbox.active for sandbox, _ in self._state.endpoints_on(network.id))
            # A configuration is kept, as in Docker: nobody is ever attached to one.
            if network.name in PREDEFINED or network.config_only or not unused:
                continue
            if FOREIGN_LABEL in network.labels:
                # Another engine has it among its own networks.
                continue
            if not filtering.matches_labels(filters, network.labels):
                continue
            if not filtering.matches_until(filters, network.created_ns, self._clock.now_ns()):
                continue
            try:
                await self.remove(network.id)
            except (Denied, NotFound, Failed, Unavailable):
                continue
            removed.append(network.name)
        self._events.emit("network", "prune", "", {"reclaimed": "0"})
        return tuple(removed)

    # Reading ---------------------------------------------------------------------------------

    def find(self, reference: str) -> Network:
        return self._state.find_network(reference)

    async def get(self, reference: str) -> NetworkView:
        return self._view(self._state.find_network(reference))

    async def list(self, filters: Filters) -> list[NetworkView]:
        used = {
            endpoint.network_id
            for sandbox in self._state.sandboxes.values()
            if sandbox.active
            for endpoint in sandbox.endpoints
        }
        found = [
            network
            for network in self._state.networks.values()
            if filtering.network_matches(network, filters, is_used=network.id in used)
        ]
        return [NetworkView(network) for network in sorted(found, key=lambda item: item.name)]

    def _view(self, network: Network) -> NetworkView:
        attached = []
        for sandbox, position in self._state.endpoints_on(network.id):
            occupant = self._state.occupant(sandbox)
            if not sandbox.active or occupant is None:
                continue
            endpoint = sandbox.endpoints[position]
            attached.append(
                Attached(
                    occupant.container_id,
                    occupant.name,
                    endpoint.id,
                    endpoint.mac_address,
                    endpoint.ipv4,
                    endpoint.ipv6,
                    occupant.engine,
                )
            )
        for item in self._linkless(network):
            attached.append(item)
        for other in self._directory.remote_endpoints(network):
            attached.append(other)
        return NetworkView(network, tuple(attached), self._addresses.usage(network))

    def _linkless(self, network: Network) -> Iterable[Attached]:
        """Running containers on `host` and `none`, which have no endpoint of ours."""
        if network.driver not in {"host", "null"}:
            return
        for container in self._state.containers.values():
            if container.state.is_running and container.host_config.network_mode == network.name:
                # A stable id of its own: Docker makes one up for these too.
                yield Attached(container.id, container.name, container.id[::-1], "", "", "")

    def _emit(self, network: Network, action: str, **extra: str) -> None:
        self._events.emit(
            "network", action, network.id, {"name": network.name, "type": network.driver, **extra}
        )


def _pool_of_interface(address: str, ip_range: str) -> PoolConfig:
    """Turn `bip` (an address with prefix length) into a pool with that gateway."""

    try:
        interface = ip_interface(address)
    except ValueError:
        raise InvalidRequest(f"bip {address} is not an address with prefix length") from None
    return PoolConfig(str(interface.network), ip_range, str(interface.ip))


__all__ = ["PREDEFINED", "NetworkService", "Scope"]
