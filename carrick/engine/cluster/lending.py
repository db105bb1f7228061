"""Lending blocks to bridges of another engine: what makes a stock Docker Engine a part of a routed network.

A block that is lent is claimed like any other, and kept while it is lent: with no container of ours, over
restarts of the daemon, and, where nobody took it meanwhile, over being given up by the cluster. What is lent
is this node's own record; the block says to whom, so that neither the allocator nor the bridge driver touches
it. The file that says so is flannel's `subnet.env`. It is written again when it is missing (its usual
directory does not outlive a boot) or when something about it changes.
"""

import asyncio
import logging
import re
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from pathlib import PurePosixPath
from typing import Protocol

from ...domains.flannel import SubnetEnv, parse_subnet_env, render_subnet_env
from ...domains.ipam import Pool, PoolId, Prefix
from ...domains.ipam.blocks import block_length, division_of
from ...drivers.contract import Lending
from ...drivers.registry import DriverRegistry
from ...host.store.contract import StaleRevision, Store
from ...host.store.typed import Collection
from ...model.cluster import Block
from ...model.errors import CarrickError, Conflict, InvalidRequest, NotFound, Unavailable
from ...model.ids import NetworkId
from ...model.networks import IPNetwork, Network
from ..clock import Clock
from ..firewall import FirewallService
from ..host import Host
from ..presence import Presence
from ..state import State
from .hooks import HookService
from .link import ClusterLink

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 5.0
"""flannel's `--iptables-resync`: another engine may write its tables anew at any time."""
_LINK_NAME = re.compile(r"(?!\.{1,2}\Z)[^\s/:]{1,15}\Z")
SUBNET_FILE = "/run/flannel/subnet.env"
BRIDGE = "docker0"


@dataclass(frozen=True, slots=True)
class LendBlock:
    """Lend this node's part of a network to `bridge`, and say so in `file`."""

    bridge: str = BRIDGE
    file: str = SUBNET_FILE


@dataclass(frozen=True, slots=True)
class LentBlock:
    """What is lent, as the node's own store keeps it. `prefixes` are those that were last had."""

    network_id: NetworkId
    bridge: str
    file: str
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LentView:
    """A network that a bridge of this node's has a part of. `problem` says why it is not as it should be."""

    network: Network
    bridge: str
    file: str
    env: SubnetEnv | None
    problem: str = ""


class LendingEffects(Protocol):
    """`carrick.host.lending.LendingHost` is the real one."""

    def read(self, path: str) -> str: ...
    def write(self, path: str, text: str) -> None: ...
    def remove(self, path: str) -> None: ...
    async def let_through(self, networks: list[IPNetwork]) -> None: ...
    async def stop_letting_through(self, networks: list[IPNetwork]) -> None: ...


class LendingService:
    def __init__(
        self,
        *,
        state: State,
        local: Store,
        link: ClusterLink,
        drivers: DriverRegistry,
        host: Host,
        presence: Presence,
        firewall: FirewallService,
        hooks: HookService,
        clock: Clock,
        effects: LendingEffects,
    ) -> None:
        self._state = state
        self._records = Collection(local, "lent-blocks/", LentBlock)
        self._link = link
        self._drivers = drivers
        self._host = host
        self._presence = presence
        self._firewall = firewall
        self._hooks = hooks
        self._clock = clock
        self.effects = effects
        self._lent: dict[NetworkId, LentBlock] = {}
        self._problems: dict[NetworkId, str] = {}
        self._begun = asyncio.Event()
        self._guarded: dict[NetworkId, tuple[str, ...]] = {}
        presence.is_lent = self._lent.__contains__

    # Life --------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read what is lent; before networks are made as they should be."""
        listing = await self._records.list()
        self._lent.update({record.network_id: record for record in listing.values})

    async def run(self) -> None:
        """See that what is lent is so, until cancelled."""
        while True:
            if not self._lent:
                self._begun.clear()
                await self._begun.wait()
            for network_id in list(self._lent):
                async with self._changing(network_id):
                    await self._see_to(network_id)
            await self._clock.sleep(_LOOK_EVERY_S)

    async def _see_to(self, network_id: NetworkId) -> None:
        record, network = self._lent.get(network_id), self._state.networks.get(network_id)
        if record is None or self._link.runtime is None or not self._link.runtime.mirror.is_running:
            return
        problem = ""
        try:
            if network is None:
                raise NotFound(f"network {network_id[:12]}, whose block {record.bridge} had, is not there")
            await self._settle(network, record)
        except (CarrickError, StaleRevision) as error:
            problem = str(error)
        except Exception as error:
            _log.exception("seeing to what is lent to %s failed", record.bridge)
            problem = str(error)
        if problem != self._problems.get(network_id, ""):
            if problem:
                _log.error("what is lent to %s: %s", record.bridge, problem)
            self._problems[network_id] = problem

    # What doors ask ----------------------------------------------------------------------------

    async def lend(self, reference: str, request: LendBlock) -> LentView:
        """Lend this node's part of a network: claim a block of each family, and keep it. May be repeated.

        Raises InvalidRequest for a network that cannot be divided so or a bridge that is ours, Conflict if
        the bridge has another network's.
        """
        self._check(request)
        network = self._find(reference)
        self._link.require()
        async with self._changing(network.id):
            before = self._lent.get(network.id)
            if before is not None and before.bridge != request.bridge:
                raise Conflict(
                    f"network {network.name} is lent to {before.bridge} on this node",
                    remedy=f"give that up first: carrick flannel release {network.name}",
                )
            for other in self._lent.values():
                if other.network_id != network.id and request.bridge == other.bridge:
                    raise Conflict(
                        f"{other.bridge} has a block of network {self._name(other.network_id)} already",
                        remedy="name another with --bridge, or give that up: carrick flannel release",
                    )
                if other.network_id != network.id and request.file == other.file:
                    raise Conflict(
                        f"{other.file} is about network {self._name(other.network_id)} already",
                        remedy="name another with --file",
                    )
            record = LentBlock(
                network.id, request.bridge, request.file, before.prefixes if before is not None else ()
            )
            await self._keep(record)
            if before is not None and before.file != record.file:
                self.effects.remove(before.file)
            try:
                await self._settle(network, record)
            except BaseException:
                if before is None and not self._own(network):
                    await self._forget(record)
                raise
            self._problems.pop(network.id, None)
            return self._view(network, self._lent[network.id])

    async def views(self) -> list[LentView]:
        views = [
            self._view(network, record)
            for record in self._lent.values()
            if (network := self._state.networks.get(record.network_id)) is not None
        ]
        return sorted(views, key=lambda view: view.network.name)

    async def get(self, reference: str) -> LentView:
        """Raises NotFound for a network of which nothing is lent here."""
        network = self._find(reference)
        return self._view(network, self._record(network))

    async def release(self, reference: str, *, force: bool = False) -> None:
        """Give a network's block back. Conflict while a link has addresses of it, unless `force`."""
        network = self._find(reference)
        async with self._changing(network.id):
            record, runtime = self._record(network), self._link.require()
            users = await self._users(network)
            if users and not force:
                raise Conflict(
                    f"the block of network {network.name} is in use: {', '.join(users)}",
                    remedy="stop the engine that has it and delete its bridge, or use --force",
                )
            if not runtime.membership.is_barred:
                for block in self._own(network):
                    await runtime.blocks.release(block)
            await self._forget(record)
            self._problems.pop(network.id, None)
            self.effects.remove(record.file)
            self._guarded.pop(network.id, None)
            await self.effects.stop_letting_through([pool.network for pool in network.pools])
            await self._link.settled()
            # The rules about the bridge first: the network's own cannot go while they point at them.
            await self._replace_firewall()
            for error in await self._presence.release([network]):
                _log.warning("taking network %s off this host: %s", network.name, error)

    # Making it so ------------------------------------------------------------------------------

    async def _settle(self, network: Network, record: LentBlock) -> None:
        """Have the blocks, the routes, the rules and the file. Repeated, it does nothing."""
        runtime = self._link.require()
        if not runtime.ownership.is_settled:
            # What is about to be ours again must not look as if it was taken.
            raise Unavailable(
                "this node is just coming back into the cluster", remedy="try again in a moment"
            )
        await self._hooks.prepare(network)
        for config in network.pools:
            if not any(block.network.version == config.version for block in self._own(network)):
                preferred = self._preferred(network, config.version, record)
                await runtime.blocks.claim(network, config.version, bridge=record.bridge, preferred=preferred)
        await self._link.settled()
        prefixes = tuple(block.prefix for block in self._own(network))
        lost = set(record.prefixes) - set(prefixes)
        if lost:
            _log.error(
                "network %s: %s had %s, which is another node's now: it has %s; restart its engine with that",
                *(network.name, record.bridge, ", ".join(sorted(lost)), ", ".join(prefixes)),
            )
        if record.prefixes != prefixes:
            await self._keep(replace(record, prefixes=prefixes))
        await self._presence.ensure([network])
        if self._guarded.get(network.id) != prefixes:
            await self._replace_firewall()
            self._guarded[network.id] = prefixes
        await self.effects.let_through([pool.network for pool in network.pools])
        await self._hooks.begin(network)
        self._write(network, record)

    async def _replace_firewall(self) -> None:
        async with self._state.lock("networks"):
            await self._firewall.replace_all()

    def _write(self, network: Network, record: LentBlock) -> None:
        text = render_subnet_env(self._env(network))
        found = self.effects.read(record.file)
        if found != text:
            self.effects.write(record.file, text)
            if found:
                _log.warning("%s has changed: what reads it has to be restarted", record.file)

    def _env(self, network: Network) -> SubnetEnv:
        """Return what the file says. Raises NotFound while no block is ours."""
        driver = self._drivers.get(network.driver)
        assert isinstance(driver, Lending)
        found = {block.network.version: block.network for block in self._own(network)}
        if not found:
            raise NotFound(f"this node has no block of network {network.name} now")
        pools = {config.version: config.network for config in network.pools}
        rules = self._presence.rules(network)
        return SubnetEnv(
            pools.get(4),
            found.get(4),
            driver.mtu(network, self._host.view),
            rules is not None and rules.masquerade and not rules.internal,
            pools.get(6),
            found.get(6),
        )

    def _preferred(self, network: Network, version: int, record: LentBlock) -> Prefix | None:
        """Return the block that was had before, by us or, as its file says, by flannel; None for any."""
        config, division = network.pool(version), division_of(network, version)
        assert config is not None
        length = block_length(Pool.of(PoolId(""), config), division)
        candidates = [ip_interface(prefix).network for prefix in record.prefixes]
        try:
            env = parse_subnet_env(self.effects.read(record.file))
            candidates += [item for item in (env.subnet4, env.subnet6) if item is not None]
        except (InvalidRequest, ValueError):
            pass
        for prefix in candidates:
            if prefix.version == version and prefix.prefixlen == length:
                within = prefix.network_address in config.network
                if within and (division is None or division.allows(prefix)):
                    return prefix
        return None

    def _own(self, network: Network) -> list[Block]:
        runtime = self._link.require()
        return [block for version in (4, 6) for block in runtime.blocks.own(network.id, version).lent]

    async def _users(self, network: Network) -> list[str]:
        """Return the links of others that have addresses in the lent blocks."""
        view = await self._host.refresh()
        prefixes = [block.network for block in self._own(network)]
        return [
            f"{link.name} has {address}"
            for link in view.state.links.values()
            if not link.alias.startswith(view.mark)
            for address in sorted(link.addresses)
            if any(ip_interface(address).ip in prefix for prefix in prefixes)
        ]

    # Records -----------------------------------------------------------------------------------

    def _changing(self, network_id: NetworkId) -> asyncio.Lock:
        """Return the lock over what is lent of a network: its hooks may take their time meanwhile."""
        return self._state.lock(f"lending {network_id}")

    async def _keep(self, record: LentBlock) -> None:
        # At once: the bridge is taken from now on.
        self._lent[record.network_id] = record
        self._begun.set()
        await self._records.put(record.network_id, record, expecting=None)

    async def _forget(self, record: LentBlock) -> None:
        await self._records.delete(record.network_id, expecting=None)
        self._lent.pop(record.network_id, None)

    def _record(self, network: Network) -> LentBlock:
        record = self._lent.get(network.id)
        if record is None:
            raise NotFound(
                f"no block of network {network.name} is lent on this node",
                remedy=f"lend one with: carrick flannel env {network.name}",
            )
        return record

    def _view(self, network: Network, record: LentBlock) -> LentView:
        problem, env = self._problems.get(network.id, ""), None
        try:
            env = self._env(network)
        except CarrickError as error:
            problem = problem or str(error)
        return LentView(network, record.bridge, record.file, env, problem)

    def _check(self, request: LendBlock) -> None:
        if not _LINK_NAME.match(request.bridge):
            raise InvalidRequest(f"{request.bridge!r} is no name of a link")
        link = self._host.view.state.links.get(request.bridge)
        if link is not None and link.alias.startswith(self._host.view.mark):
            raise InvalidRequest(
                f"{request.bridge} is a link of Carrick's own",
                remedy="name the bridge of the other engine with --bridge",
            )
        if not PurePosixPath(request.file).is_absolute():
            raise InvalidRequest(f"{request.file!r} is no absolute path")

    def _find(self, reference: str) -> Network:
        network = self._state.find_network(reference)
        driver: object = self._drivers.get(network.driver) if network.driver in self._drivers else None
        if not isinstance(driver, Lending):
            raise InvalidRequest(
                f"network {network.name} is of driver {network.driver}, and only a routed one can be lent",
                remedy="create one with: carrick flannel import, or carrick network create -d routed",
            )
        return network

    def _name(self, network_id: NetworkId) -> str:
        network = self._state.networks.get(network_id)
        return network.name if network is not None else network_id[:12]
