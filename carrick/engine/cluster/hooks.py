"""Run the hooks of networks whose nodes are joined by commands (flannel's `extension`).

What runs when is `domains/flannel/hooks`'s to decide. Each network has a life here while it stands on this
host: its PreStartupCommand has run before the first block is claimed, its PostStartupCommand for every block
of this node's before its first container starts, and a task of its own follows the other nodes. No lock but
that of the life is held while a command runs.

The commands come from the cluster, where any node may write them: a host runs them only if its own
configuration says so.
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ...domains.flannel.hooks import (
    Hooks,
    Run,
    Subnet,
    hooks_of,
    plan_after,
    plan_before,
    plan_following,
    plan_shutdown,
)
from ...host.hooks import Outcome, run_hook
from ...host.store.contract import StaleRevision
from ...model.cluster import Block, BlockState, NodeRecord, NodeState
from ...model.errors import CarrickError, Denied, Failed
from ...model.ids import NetworkId
from ...model.networks import EndpointSettings, Network
from ..clock import Clock
from ..presence import Presence
from ..state import State
from .link import ClusterLink

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 2.0
_TIMEOUT_S = 60.0
_REST_S = 15.0
_BACKEND, _EXTENSION = "backend", "extension"


class Runner(Protocol):
    """Runs a command; `carrick.host.hooks.run_hook` is the real one."""

    def __call__(
        self, command: str, *, environment: Mapping[str, str], stdin: str, timeout_s: float
    ) -> Awaitable[Outcome]: ...


@dataclass(slots=True)
class _Life:
    """What has been run for a network. `is_prepared`: its PreStartupCommand. `seen` is when it stood last."""

    network: Network
    hooks: Hooks
    seen: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    is_prepared: bool = False
    begun: set[str] = field(default_factory=set)
    known: dict[str, Subnet] = field(default_factory=dict)
    problem: str = ""


class HookService:
    """`allowed` is what this host's configuration says."""

    def __init__(
        self,
        *,
        allowed: bool,
        state: State,
        link: ClusterLink,
        presence: Presence,
        clock: Clock,
        runner: Runner = run_hook,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._allowed = allowed
        self._state = state
        self._link = link
        self._presence = presence
        self._clock = clock
        self.runner = runner
        self._timeout_s = timeout_s
        self.rest_s = _REST_S
        """How long a network may be off this host, between two containers or before its first, and live."""
        self._lives: dict[NetworkId, _Life] = {}
        self._working: set[NetworkId] = set()
        self._begun = asyncio.Event()

    # Before a container starts -----------------------------------------------------------------

    async def provide(self, network: Network, owner: str, settings: EndpointSettings) -> None:
        """Provide for an address as the link does, with what is to run before and after."""
        await self.prepare(network)
        await self._link.provide(network, owner, settings)
        await self.begin(network)

    async def prepare(self, network: Network) -> None:
        """Run PreStartupCommand, unless it has; from then on our blocks say what it printed.

        Raises Denied where this host runs no commands of networks, Failed if it fails.
        """
        life = self._life(network)
        if life is None:
            return
        async with life.lock:
            if life.is_prepared:
                return
            run, output = plan_before(life.hooks), ""
            if run is not None:
                output = await self._vital(life, run)
            await self._link.require().blocks.say(network.id, output)
            life.is_prepared = True

    async def begin(self, network: Network) -> None:
        """Run PostStartupCommand for each block of ours for which it has not run. Raises Failed."""
        life = self._life(network)
        if life is None:
            return
        async with life.lock:
            for block in self._own(network):
                if block.prefix in life.begun:
                    continue
                pool = network.pool(block.network.version)
                own = self._subnet(block, self._link.me())
                run = plan_after(life.hooks, pool.subnet if pool else "", own)
                if run is not None:
                    await self._vital(life, run)
                life.begun.add(block.prefix)

    def _life(self, network: Network) -> _Life | None:
        """Return a network's life, None for one without hooks. Denied where they may not run."""
        hooks = hooks_of(network)
        if network.options.get(_BACKEND) != _EXTENSION or not hooks:
            return None
        if not self._allowed:
            raise Denied(
                f"network {network.name} runs commands as root on its hosts, which this host does not allow",
                remedy="allow_hooks = true in this host's carrickd.toml, if you trust everybody who may "
                "create networks in the cluster",
            )
        self._begun.set()
        life = self._lives.setdefault(network.id, _Life(network, hooks, 0.0))
        life.seen = self._clock.monotonic()
        return life

    # Following the other nodes -----------------------------------------------------------------

    async def run(self) -> None:
        """Follow the other nodes of networks that stand here, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                due = self._due()
                if not due:
                    # A network that begins to stand here passes `prepare`.
                    self._begun.clear()
                    await self._begun.wait()
                    continue
                for network_id in due:
                    # One that waits for its command keeps nobody else waiting.
                    if network_id not in self._working:
                        self._working.add(network_id)
                        group.create_task(self._work(network_id), name=f"hooks {network_id[:12]}")
                await self._clock.sleep(_LOOK_EVERY_S)

    def _due(self) -> list[NetworkId]:
        if self._link.runtime is None:
            return list(self._lives)
        standing = [
            network.id
            for network in self._state.networks.values()
            if network.options.get(_BACKEND) == _EXTENSION and self._presence.stands(network)
        ]
        return list(dict.fromkeys([*self._lives, *standing]))

    async def _work(self, network_id: NetworkId) -> None:
        try:
            await self._see_to(network_id)
        finally:
            self._working.discard(network_id)

    async def _see_to(self, network_id: NetworkId) -> None:
        network, life = self._state.networks.get(network_id), self._lives.get(network_id)
        try:
            if network is not None and self._link.runtime is not None and self._presence.stands(network):
                await self.prepare(network)
                await self.begin(network)
                await self._follow(network)
            elif life is not None:
                if life.seen + self.rest_s <= self._clock.monotonic():
                    await self._end(life)
                return
            problem = ""
        except (CarrickError, StaleRevision) as error:
            problem = str(error)
        except Exception as error:
            _log.exception("the hooks of network %s failed", network_id[:12])
            problem = str(error)
        life = self._lives.get(network_id, life)
        if life is not None and life.problem != problem:
            life.problem = problem
            if problem:
                _log.error("%s", problem)
        elif life is None and problem:
            _log.debug("%s", problem)

    async def _follow(self, network: Network) -> None:
        life = self._life(network)
        if life is None:
            return
        async with life.lock:
            wanted = self._others(network)
            following = plan_following(life.hooks, wanted, life.known)
            for run in following.runs:
                await self._try(life, run)
            life.known = dict(following.known)

    async def _end(self, life: _Life) -> None:
        """Run ShutdownCommand: the network has left this host."""
        async with life.lock:
            if self._lives.get(life.network.id) is not life:
                return
            run = plan_shutdown(life.hooks) if life.is_prepared else None
            if run is not None:
                await self._try(life, run)
            del self._lives[life.network.id]
            if self._link.runtime is not None:
                self._link.runtime.blocks.data.pop(life.network.id, None)

    # What they are told ------------------------------------------------------------------------

    def _own(self, network: Network) -> list[Block]:
        blocks = self._link.require().blocks
        return [block for version in (4, 6) for block in blocks.own(network.id, version).usable]

    def _others(self, network: Network) -> dict[str, Subnet]:
        """Return the subnets of other nodes whose PreStartupCommand has run."""
        runtime = self._link.require()
        me, nodes = self._link.me().id, runtime.mirror.nodes
        found = {}
        for block in runtime.blocks.on_network(network.id):
            node = nodes.get(block.node)
            if block.node == me or node is None or node.state is NodeState.GONE:
                continue
            if block.state is BlockState.CONFIRMED and block.data is not None:
                found[block.key] = self._subnet(block, node)
        return found

    @staticmethod
    def _subnet(block: Block, node: NodeRecord) -> Subnet:
        ends = {version: node.underlay(version) for version in (4, 6)}
        addresses = {version: end.address if end else "" for version, end in ends.items()}
        return Subnet(block.prefix, addresses[4], addresses[6], block.data or "")

    # Running -----------------------------------------------------------------------------------

    async def _vital(self, life: _Life, run: Run) -> str:
        """Run a command without which there is no network; return its output. Raises Failed."""
        outcome = await self._start(run)
        if not outcome.is_good:
            raise Failed(
                f"network {life.network.name}: its {run.name} failed ({run.command}): {outcome.describe()}"
            )
        self._note(life, run, outcome)
        return outcome.output

    async def _try(self, life: _Life, run: Run) -> None:
        outcome = await self._start(run)
        if outcome.is_good:
            self._note(life, run, outcome)
        else:
            _log.error(
                "network %s: its %s failed (%s): %s",
                *(life.network.name, run.name, run.command, outcome.describe()),
            )

    async def _start(self, run: Run) -> Outcome:
        try:
            return await self.runner(
                run.command, environment=run.environment, stdin=run.stdin, timeout_s=self._timeout_s
            )
        except OSError as error:
            return Outcome(127, str(error))

    @staticmethod
    def _note(life: _Life, run: Run, outcome: Outcome) -> None:
        _log.info("network %s: ran its %s (%s): %s", life.network.name, run.name, run.command, outcome.output)
