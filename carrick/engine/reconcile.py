"""Make the host what the records say: at start, after drift, and on request. One path for all three.

What is read: links, routes, namespaces, processes. What is planned: by the drivers and the firewall, the same
plans that create things. What is not in the records but bears our mark is removed. Running containers are
adopted as they are; a start or removal that a killed daemon left half done is finished if its process
runs, and undone if not.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..domains.sandboxes.links import parse_link
from ..drivers.contract import Spanning
from ..drivers.registry import DriverRegistry
from ..host.config import Config
from ..host.kernel import Kernel
from ..host.runtime.api import ContainerRecord as Observed
from ..host.runtime.api import ExitEvent, ProcessStatus, Runtime
from ..model.containers import ContainerState, ContainerStatus, RestartPolicyName
from ..model.errors import CarrickError
from ..model.ids import ContainerId
from ..model.networks import Sandbox
from ..model.steps import DeleteLink, DeleteNetns, Step
from .clock import Clock, as_datetime
from .containers import ContainerService
from .firewall import FirewallService
from .guests import GuestService
from .host import Host
from .lifecycle import Lifecycle, fresh_health
from .names import NameService
from .ports import PortService
from .presence import Presence
from .sandboxes import SandboxService
from .state import State, Write
from .surroundings import Surroundings
from .tasks import TaskOwner
from .values import ContainerRecord

_log = logging.getLogger(__name__)
_PATIENCE_S = 2.0
_LOST_EXIT_CODE = 255
"""What Docker records for a container that ended while nobody could watch (a reboot)."""


class Reconciler:
    def __init__(
        self,
        *,
        config: Config,
        state: State,
        drivers: DriverRegistry,
        kernel: Kernel,
        host: Host,
        runtime: Runtime,
        sandboxes: SandboxService,
        surroundings: Surroundings,
        firewall: FirewallService,
        presence: Presence,
        lifecycle: Lifecycle,
        containers: ContainerService,
        ports: PortService,
        guests: GuestService,
        names: NameService,
        clock: Clock,
        tasks: TaskOwner,
    ) -> None:
        self._config = config
        self._state = state
        self._drivers = drivers
        self._kernel = kernel
        self._host = host
        self._runtime = runtime
        self._sandboxes = sandboxes
        self._surroundings = surroundings
        self._firewall = firewall
        self._presence = presence
        self._lifecycle = lifecycle
        self._containers = containers
        self._ports = ports
        self._guests = guests
        self._names = names
        self._clock = clock
        self._tasks = tasks
        self._busy = asyncio.Lock()

    # The host --------------------------------------------------------------------------------

    async def converge(self) -> list[str]:
        """Repair networks, firewall and sandboxes; return what was found different."""
        async with self._busy:
            async with self._state.lock("networks"):
                repaired = await self._converge_networks()
                repaired += await self._remove_strays()
                await self._firewall.replace_all()
            repaired += await self._converge_sandboxes()
        for line in repaired:
            _log.warning("repaired: %s", line)
        return repaired

    async def replace_firewall(self) -> None:
        """Put the tables in force, before anything that adds to them."""
        async with self._state.lock("networks"):
            await self._firewall.replace_all()

    async def enable_forwarding(self) -> None:
        uses_ipv6 = any(network.enable_ipv6 for network in self._state.networks.values())
        await self._host.enable_forwarding(ipv6=uses_ipv6)

    async def _converge_networks(self) -> list[str]:
        repaired = []
        view = await self._host.refresh()
        for network in list(self._state.networks.values()):
            if network.config_only or network.driver not in self._drivers:
                continue
            if not self._presence.stands(network):
                continue
            try:
                driver = self._drivers.get(network.driver)
                seen = view
                await self._presence.secure(network)
                if isinstance(driver, Spanning):
                    seen = await self._host.with_rows(view, driver.tunnels(network))
                plan = driver.plan_network(network, seen)
                if plan:
                    await self._kernel.apply(plan.steps)
                    repaired.append(f"network {network.name}: {plan.steps[0].describe()}")
            except CarrickError as error:
                _log.error("network %s: %s", network.name, error)
        return repaired

    def stray_links(self) -> list[str]:
        """Return the links with our mark, as the host was last seen, that no record knows."""
        view = self._host.view
        known = {
            str(network.id) for network in self._state.networks.values() if self._presence.stands(network)
        }
        # A parent may carry the mark of a network that is gone while another still stands on it.
        wanted = {network.options.get("parent", "") for network in self._state.networks.values()}
        if view.wireguard is not None:
            wanted.add(view.wireguard.name)
        for sandbox in self._state.sandboxes.values():
            if sandbox.active:
                wanted |= {endpoint.host_interface for endpoint in sandbox.endpoints}
                if sandbox.container_id in self._state.guests:
                    # One without an end here may wait here itself, for its engine to take it.
                    wanted |= {endpoint.interface for endpoint in sandbox.endpoints}
        return [
            link.name
            for link in view.state.links.values()
            if link.alias.startswith(view.mark)
            and link.alias.removeprefix(view.mark) not in known
            and link.name not in wanted
        ]

    async def _remove_strays(self) -> list[str]:
        """Remove links and namespaces with our mark that no record knows."""
        await self._host.refresh()
        steps: list[Step] = [DeleteLink(name) for name in self.stray_links()]
        wanted = {
            sandbox.netns
            for sandbox in self._state.sandboxes.values()
            if sandbox.active or self._companions(sandbox)
        }
        for path in await self._kernel.list_netns(self._config.run_dir / "netns"):
            if path not in wanted:
                steps.append(DeleteNetns(path))
        for error in await self._kernel.remove(steps):
            _log.warning("removing what is not ours any more: %s", error)
        return [step.describe() for step in steps]

    def _companions(self, sandbox: Sandbox) -> bool:
        return any(
            item.state.is_running and item.id != sandbox.container_id
            for item in self._state.containers_in(sandbox.id)
        )

    async def _converge_sandboxes(self) -> list[str]:
        """Repair endpoints whose host side is not as it should be; the others are not looked into."""
        return await self._repair_sandboxes(look_inside=False)

    def _looks_right(self, sandbox: Sandbox) -> bool:
        """Judge by the host's ends, which are read anyway: a pair lives and dies together.

        The other end comes up last, so that one without a carrier was left half done.
        """
        links = self._host.view.state.links
        for endpoint in sandbox.endpoints:
            if not endpoint.host_interface:
                return False
            link = links.get(endpoint.host_interface)
            if link is None or not link.up or not link.carrier or not link.master:
                return False
        return True

    async def inspect_sandboxes(self) -> list[str]:
        """Look into every active sandbox and repair what is wrong inside (addresses, routes, state)."""
        await self._host.refresh()
        return await self._repair_sandboxes(look_inside=True)

    async def _repair_sandboxes(self, *, look_inside: bool) -> list[str]:
        repaired = []
        wanted = [item for item in self._state.sandboxes.values() if item.active and item.endpoints]
        # Changes to a sandbox wait for us, and we for those under way; but for none so long (a plugin that
        # hangs) that the others go without. Whoever is at work there makes it as it should be.
        wanted.sort(key=lambda item: self._state.lock(item.container_id).locked())
        for sandbox in wanted:
            lock = self._state.lock(sandbox.container_id)
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await lock.acquire()
            except TimeoutError:
                continue
            try:
                line = await self._repair(sandbox, look_inside=look_inside)
            finally:
                lock.release()
            if line:
                repaired.append(line)
        return repaired

    async def _repair(self, sandbox: Sandbox, *, look_inside: bool) -> str:
        """Repair one sandbox, whose lock is held; return what was wrong with it."""
        current = self._state.sandboxes.get(sandbox.id)
        if current is None or not current.active or not current.endpoints:
            return ""
        try:
            steps = await self._plan_repair(current, look_inside=look_inside)
            await self._kernel.apply(steps)
        except CarrickError as error:
            _log.error("sandbox %s: %s", current.netns, error)
            return ""
        return f"{current.netns}: {steps[0].describe()}" if steps else ""

    async def _plan_repair(self, sandbox: Sandbox, *, look_inside: bool) -> list[Step]:
        """Return what a sandbox lacks. Its lock is held."""
        if not self._looks_right(sandbox):
            # The view may be older than the sandbox's links: only a fresh one says that they are missing.
            await self._host.refresh()
        elif not look_inside:
            return []
        if not look_inside and self._looks_right(sandbox):
            return []
        if sandbox.container_id in self._state.guests:
            return list(await self._guests.plan_repair(sandbox))
        return self._sandboxes.plan(sandbox, self._host.view, await self._kernel.read(sandbox.netns))

    # Containers ------------------------------------------------------------------------------

    async def adopt_containers(self) -> None:
        """Bring records and processes together after this daemon was not there to watch."""
        observed = {item.container_id: item for item in await self._runtime.scan()}
        for orphan in observed.keys() - self._state.containers.keys():
            _log.warning("removing container %s, which no record knows", orphan[:12])
            await self._runtime.remove(orphan)
        for record in list(self._state.containers.values()):
            try:
                await self._adopt(record, observed)
            except CarrickError as error:
                _log.error("container %s: %s", record.name, error)

    async def _adopt(self, record: ContainerRecord, observed: Mapping[ContainerId, Observed]) -> None:
        seen = observed.get(record.id)
        status = seen.status if seen else ProcessStatus.NONE
        alive = status in {ProcessStatus.RUNNING, ProcessStatus.PAUSED}
        if record.state.status is ContainerStatus.REMOVING:
            if alive:
                await self._runtime.release(record.id)
            await self._containers.finish_removal(record.id)
        elif alive and seen is not None:
            await self._adopt_running(record, seen)
        elif record.state.is_running:
            if status is not ProcessStatus.EXITED:
                # Nothing is left to tell how it ended: the host was restarted.
                event = ExitEvent(record.id, _LOST_EXIT_CODE, as_datetime(self._clock.now_ns()))
                async with self._state.lock(record.id):
                    # Networks and ports are not there yet: `start_wanted` starts it again.
                    await self._lifecycle.ended(record, event, restart_now=False)
        else:
            await self._undo_half_start(record, status)

    async def _adopt_running(self, record: ContainerRecord, seen: Observed) -> None:
        wanted = ContainerStatus.PAUSED if seen.status is ProcessStatus.PAUSED else ContainerStatus.RUNNING
        if record.state.status is wanted and record.state.pid == seen.pid:
            return
        # Killed between the process's start and its record: the start is finished.
        is_known = record.state.is_running and record.state.pid == seen.pid
        state = ContainerState(
            status=wanted,
            pid=seen.pid,
            started_at=record.state.started_at or seen.started_at,
            health=record.state.health if is_known else fresh_health(record),
        )
        await self._state.save(
            Write(containers=[replace(record, state=state, wanted=True, has_been_started=True)])
        )

    async def _undo_half_start(self, record: ContainerRecord, status: ProcessStatus) -> None:
        sandbox = self._state.sandboxes.get(record.sandbox_id) if record.sandbox_id else None
        owns = sandbox is not None and sandbox.container_id == record.id
        half_made = status is not ProcessStatus.NONE or (owns and sandbox is not None and sandbox.active)
        if half_made:
            async with self._state.lock(record.id):
                await self._lifecycle.tear_down(record)

    async def settle_ports(self) -> None:
        """Give up or take the ports of containers whose networks changed as the daemon was killed."""
        for sandbox in list(self._state.sandboxes.values()):
            record = self._state.containers.get(sandbox.container_id)
            if sandbox.active and record is not None and record.state.is_running:
                try:
                    await self._ports.follow(sandbox, sandbox)
                except CarrickError as error:
                    _log.error("ports of container %s: %s", record.name, error)

    def start_wanted(self) -> None:
        """Start what should run and does not, by restart policy, side by side.

        Who joins another container, or is linked to it, comes after it.
        """
        starting: dict[ContainerId, asyncio.Task[None]] = {}

        async def start(record: ContainerRecord) -> None:
            first = {starting[item] for item in self._needed_by(record) if item in starting}
            if first:
                await asyncio.wait(first)
            await self._lifecycle.restart_after_boot(record)

        for record in list(self._state.containers.values()):
            if record.state.is_running or not record.has_been_started:
                continue
            policy = record.host_config.restart_policy.name
            always = policy is RestartPolicyName.ALWAYS
            unless_stopped = policy is RestartPolicyName.UNLESS_STOPPED and record.wanted
            interrupted = record.state.status is ContainerStatus.RESTARTING
            if always or unless_stopped or interrupted:
                starting[record.id] = self._tasks.start(start(record), f"start {record.name}")

    def _needed_by(self, record: ContainerRecord) -> set[ContainerId]:
        """Return the containers, older ones all of them, that must run before this one can start."""
        host = record.host_config
        modes = [mode.partition(":") for mode in (host.network_mode, host.pid_mode, host.ipc_mode)]
        references = [rest for kind, _, rest in modes if kind == "container"]
        references += [parse_link(text)[0] for text in host.links]
        found = set()
        for reference in references:
            with suppress(CarrickError):
                target = self._state.find_container(reference)
                # Names may have been given away since; only older ones make no circle.
                if target.created < record.created:
                    found.add(target.id)
        return found

    def announce_names(self) -> None:
        """Queue every name there is; the resolver's snapshot is made of them."""
        for network in self._state.networks.values():
            if self._presence.stands(network):
                self._presence.announce(network)
        for sandbox in self._state.sandboxes.values():
            record = self._state.containers.get(sandbox.container_id)
            if sandbox.active and record is not None:
                self._sandboxes.publish_names(record, sandbox)
        self._guests.names.publish_all()

    def remove_leftover_files(self) -> None:
        """Delete the file directories of sandboxes that no container has any more."""
        directory: Path = self._config.state_dir / "sandboxes"
        if not directory.is_dir():
            return
        for path in directory.iterdir():
            if path.name not in self._state.containers:
                self._surroundings.remove_directory(path)
