"""Start, stop and end containers: the one place where a container's network and its process meet.

The order of a start: write what should be (addresses, ports), make the namespace, build links and process
side by side, publish ports and names, let the command run. The undoing is in one place (`tear_down`), which a
failed start, an exit, and the repair after a killed daemon all use.

Locks: a container's lock is held while its records change hands. Whoever waits for an exit does not hold
it, because handling the exit needs it.
"""

import asyncio
import logging
import signal as signals
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import datetime

from ..domains import health
from ..domains.ipam import AddressInUse
from ..domains.sandboxes.links import parse_link
from ..host.runtime.api import CannotStart, ExitEvent, ProcessStatus, Runtime
from ..model.containers import (
    ContainerState,
    ContainerStatus,
    Health,
)
from ..model.errors import (
    CarrickError,
    Conflict,
    Denied,
    Failed,
    InvalidRequest,
    NotFound,
    NotModified,
    Unavailable,
)
from ..model.ids import ContainerId, NetworkId, SandboxId, short
from ..model.networks import Sandbox
from .events import EventBus, emit_container
from .firewall import FirewallService
from .health import HealthService
from .launching import Launcher
from .mounts import VolumeMounts
from .names import NameService
from .policies import parse_signal, restarts_on_boot, should_restart
from .ports import PortService
from .sandboxes import SandboxService
from .state import State, Write
from .surroundings import Surroundings
from .tasks import TaskOwner
from .values import ContainerRecord, WaitCondition

_log = logging.getLogger(__name__)
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 30.0
_STOP_TIMEOUT_S = 10.0
_KILL_TIMEOUT_S = 30.0
_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 60.0
_STABLE_AFTER_S = 10.0


class Lifecycle:
    def __init__(
        self,
        *,
        state: State,
        runtime: Runtime,
        sandboxes: SandboxService,
        surroundings: Surroundings,
        ports: PortService,
        firewall: FirewallService,
        names: NameService,
        health_service: HealthService,
        volume_mounts: VolumeMounts,
        events: EventBus,
        tasks: TaskOwner,
    ) -> None:
        self._state = state
        self._runtime = runtime
        self._sandboxes = sandboxes
        self._surroundings = surroundings
        self._launcher = Launcher(state, surroundings)
        self._ports = ports
        self._firewall = firewall
        self._names = names
        self._health = health_service
        self._volume_mounts = volume_mounts
        self._events = events
        self._tasks = tasks
        self._exit_waiters: dict[ContainerId, set[asyncio.Future[int]]] = {}
        self._removal_waiters: dict[ContainerId, set[asyncio.Future[int]]] = {}
        self._delays: dict[ContainerId, float] = {}
        self._restarts: dict[ContainerId, asyncio.Task[None]] = {}
        self.remove_when_ended: Callable[[ContainerId], Awaitable[None]] | None = None

    # Starting --------------------------------------------------------------------------------

    async def start(self, reference: str) -> None:
        record = self._state.find_container(reference)
        async with self._state.lock(record.id):
            record = self._state.find_container(record.id)
            _check_startable(record)
            self._check_links(record)
            self._cancel_restart(record.id)
            self._delays.pop(record.id, None)
            await self._start(replace(record, wanted=True, restart_count=0))

    def _check_links(self, record: ContainerRecord) -> None:
        """Raise for links of the default network that cannot be, in Docker's words."""
        links = record.host_config.links
        if not links or not self._is_on_default_network(record):
            return
        for name, alias in map(parse_link, links):
            target = self._state.container_named(name) or self._state.containers.get(ContainerId(name))
            if target is None:
                continue  # Removed since.
            if not self._is_on_default_network(target):
                raise InvalidRequest(
                    f"Cannot link to /{target.name}, as it does not belong to the default network",
                    remedy="connect both to a network of your own: there they find each other by name",
                )
            if not target.state.is_running:
                raise Conflict(
                    f"Cannot link to a non running container: /{target.name} AS /{record.name}/{alias}"
                )

    def _is_on_default_network(self, record: ContainerRecord) -> bool:
        networks = (self._state.network_or_none(item.network) for item in record.attachments)
        return any(network is not None and network.name == "bridge" for network in networks)

    async def _start(self, record: ContainerRecord) -> None:
        """Start a container whose lock is held."""
        joins = record.host_config.network_mode.startswith("container:")
        sandbox = self._sandbox_for(record)
        if joins:
            # Known as a companion from now on: the namespace stays while it runs.
            record = replace(record, sandbox_id=sandbox.id if sandbox else None)
        write = Write(containers=[record])
        owned: Sandbox | None = None
        try:
            if sandbox is not None and not joins:
                try:
                    sandbox = owned = await self._sandboxes.plan_up(record, sandbox, write)
                except AddressInUse as error:
                    text = f"failed to set up container networking: {error.message}"
                    raise Denied(text, remedy=error.remedy) from error
                bindings = self._ports.bindings(record)
                ports = await self._ports.hold(record, owned, bindings)
                if ports:
                    record = replace(record, ports=ports)
                    await self._state.save(Write(containers=[record]))
            else:
                await self._state.save(write)
            started_at, pid = await self._launch(record, sandbox, owned)
        except (CarrickError, OSError) as error:
            # The daemon's own view may have moved on while we waited: undo on what is stored now.
            await self._fail(record, error)
            raise
        state = ContainerState(
            status=ContainerStatus.RUNNING,
            pid=pid,
            started_at=started_at,
            finished_at=record.state.finished_at,
            health=fresh_health(record),
        )
        record = replace(record, state=state, has_been_started=True)
        await self._state.save(Write(containers=[record]))
        self._health.watch(record)
        if owned is not None:
            for endpoint in owned.endpoints:
                self._emit_network(record, endpoint.network_id, "connect")
        self._volume_mounts.tell_mounted(record)
        self._emit(record, "start")

    async def _launch(
        self, record: ContainerRecord, sandbox: Sandbox | None, owned: Sandbox | None
    ) -> tuple[datetime, int]:
        if owned is not None:
            self._surroundings.write(record, owned)
            await self._sandboxes.open(owned)
            self._sandboxes.publish_names(record, owned)
        elif sandbox is None:
            self._surroundings.write(record, None)
        await self._volume_mounts.activate(record)
        request = self._launcher.request(record, sandbox)
        launch = asyncio.create_task(self._runtime.create(request), name=f"create {record.name}")
        try:
            if owned is not None:
                # Links and process are made side by side; neither needs the other, only the namespace.
                await self._sandboxes.bring_up(owned)
                await self._ports.publish(self._ports.publishing(record, owned))
                await self._firewall.relink(owned)
                await self._names.flush()
            launched = await launch
        except BaseException:
            launch.cancel()
            await asyncio.gather(launch, return_exceptions=True)
            raise
        for warning in launched.warnings:
            _log.warning("container %s: %s", record.name, warning)
        return await self._runtime.start(record.id), launched.pid

    def _sandbox_for(self, record: ContainerRecord) -> Sandbox | None:
        """Return the sandbox a container is to be in: its own, another's, or None for the host's."""
        mode = record.host_config.network_mode
        if mode == "host":
            return None
        if not mode.startswith("container:"):
            assert record.sandbox_id is not None  # set at create for every other mode
            return self._state.sandboxes[record.sandbox_id]
        target = self._state.find_container(mode.partition(":")[2])
        if not target.state.is_running:
            raise Conflict(
                f"cannot join network namespace of a non running container: container {target.name} is "
                f"{target.state.status}"
            )
        return self._state.sandboxes[target.sandbox_id] if target.sandbox_id else None

    async def _fail(self, record: ContainerRecord, error: Exception) -> None:
        """Undo a start that failed; the container is as it was, with the reason in its state."""
        await self.tear_down(record)
        current = self._state.containers[record.id]
        code = error.exit_code if isinstance(error, CannotStart) else 128
        state = replace(
            current.state,
            # A container that never ran stays "created", as Docker leaves it.
            status=ContainerStatus.EXITED if current.has_been_started else ContainerStatus.CREATED,
            pid=0,
            exit_code=code,
            error=str(error),
        )
        wanted = current.wanted and restarts_on_boot(current)
        await self._state.save(Write(containers=[replace(current, state=state, wanted=wanted)]))
        if current.host_config.auto_remove:
            self._tasks.start(self._auto_remove(record.id), f"auto-remove {record.name}")

    # Ending ----------------------------------------------------------------------------------

    async def tear_down(self, record: ContainerRecord) -> None:
        """Give back all that running took: names, ports, endpoints, process, mounts. Repeatable."""
        for network_id in await self._give_back(record):
            self._emit_network(record, network_id, "disconnect")

    async def _give_back(self, record: ContainerRecord) -> list[NetworkId]:
        """Do so, and return the networks that it has left, of which nobody is told yet."""
        left: list[NetworkId] = []
        record = self._state.containers.get(record.id, record)
        sandbox = self._state.sandboxes.get(record.sandbox_id) if record.sandbox_id else None
        if sandbox is not None and sandbox.container_id == record.id and sandbox.active:
            publishing = self._ports.publishing(record, sandbox) if self._ports.has_any(record) else None
            # The records first: what a killed daemon leaves in the kernel then is nobody's, and is removed.
            await self._state.save(
                Write(sandboxes=[replace(sandbox, active=False)], containers=[replace(record, ports=())])
            )
            self._sandboxes.withdraw_names(sandbox)
            if publishing is not None:
                await self._ports.unpublish(publishing)
                await self._ports.release(record)
            errors = await self._sandboxes.bring_down(
                sandbox, keep_namespace=self._others_in(sandbox.id, record)
            )
            for error in errors:
                _log.warning("taking the network of %s down: %s", record.name, error)
            await self._firewall.relink(sandbox)
            await self._names.flush()
            left = [endpoint.network_id for endpoint in sandbox.endpoints]
        await self._runtime.release(record.id)
        await self._volume_mounts.release(record)
        if record.host_config.network_mode.startswith("container:"):
            await self._leave_namespace(record)
        return left

    async def _leave_namespace(self, record: ContainerRecord) -> None:
        """The last one out of a namespace whose own container does not run turns off the light."""
        sandbox_id = record.sandbox_id
        if sandbox_id is None or not await self._sandboxes.has_namespace(sandbox_id):
            return
        owner = ContainerId(sandbox_id)
        # The owner must not start meanwhile; a container's own lock is held already.
        async with nullcontext() if owner == record.id else self._state.lock(owner):
            sandbox = self._state.sandboxes.get(sandbox_id)
            is_active = sandbox is not None and sandbox.active
            if not is_active and not self._others_in(sandbox_id, record):
                await self._sandboxes.let_go(sandbox_id)

    def _others_in(self, sandbox_id: SandboxId, record: ContainerRecord) -> bool:
        """Whether other running containers are in the sandbox (`container:ID`): then its namespace stays."""
        return any(
            other.id != record.id and other.state.is_running
            for other in self._state.containers_in(sandbox_id)
        )

    async def watch_exits(self) -> None:
        """Handle every exit, also those from before this daemon started. Runs until cancelled."""
        async for event in self._runtime.exits():
            self._tasks.start(self._on_exit(event), f"exit of {short(event.container_id)}")

    async def _on_exit(self, event: ExitEvent) -> None:
        record = self._state.containers.get(event.container_id)
        if record is None:
            await self._runtime.remove(event.container_id)
            return
        async with self._state.lock(record.id):
            record = self._state.containers.get(record.id)
            if record is None:
                return
            if not record.state.is_running:
                # It ended while it was being started, or was ended by a repair: give back and be done.
                observed = await self._runtime.state(record.id)
                if observed.status is ProcessStatus.EXITED:
                    await self.tear_down(record)
                return
            await self.ended(record, event)

    async def ended(self, record: ContainerRecord, event: ExitEvent, *, restart_now: bool = True) -> None:
        """Record an exit, give everything back, and do what the restart policy says. Lock held.

        Without `restart_now` a container that is to restart waits for `restart_after_boot`.
        """
        await self._health.stop(record.id)
        # What ends at once may have ended before the start was noted.
        started_at = record.state.started_at or event.finished_at
        finished_at = max(event.finished_at, started_at)
        state = replace(
            record.state,
            health=health.close(record.state.health),
            status=ContainerStatus.EXITED,
            pid=0,
            exit_code=event.exit_code,
            oom_killed=event.oom_killed,
            finished_at=finished_at,
        )
        if event.oom_killed:
            self._emit(record, "oom")
        left = await self._give_back(record)
        record = replace(self._state.containers[record.id], state=state)
        restarts = should_restart(record)
        if restarts:
            record = replace(record, state=replace(state, status=ContainerStatus.RESTARTING))
        elif not record.host_config.auto_remove:
            record = replace(record, wanted=record.wanted and restarts_on_boot(record))
        await self._state.save(Write(containers=[record]))
        # Two that end at the same moment each leave it to the other, until here.
        await self._leave_namespace(record)
        await self._volume_mounts.release(record)
        ran_for_s = int((finished_at - started_at).total_seconds())
        self._emit(record, "die", exitCode=str(event.exit_code), execDuration=str(ran_for_s))
        for network_id in left:
            self._emit_network(record, network_id, "disconnect")
        self._volume_mounts.tell_released(record)
        for waiter in self._exit_waiters.pop(record.id, set()):
            if not waiter.done():
                waiter.set_result(event.exit_code)
        if restarts:
            if restart_now:
                self._schedule_restart(record)
        elif record.host_config.auto_remove:
            self._tasks.start(self._auto_remove(record.id), f"auto-remove {record.name}")

    async def _auto_remove(self, container_id: ContainerId) -> None:
        if self.remove_when_ended is not None:
            with suppress(NotFound):
                await self.remove_when_ended(container_id)

    def _schedule_restart(self, record: ContainerRecord) -> None:
        started = record.state.started_at
        finished = record.state.finished_at
        delay = self._delays.get(record.id, _FIRST_DELAY_S)
        if started and finished and (finished - started).total_seconds() > _STABLE_AFTER_S:
            delay = _FIRST_DELAY_S
        self._delays[record.id] = min(delay * 2, _LONGEST_DELAY_S)
        self._restarts[record.id] = self._tasks.start(
            self._restart_later(record.id, delay), f"restart {record.name}"
        )

    def _cancel_restart(self, container_id: ContainerId) -> None:
        task = self._restarts.pop(container_id, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _restart_later(self, container_id: ContainerId, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        async with self._state.lock(container_id):
            record = self._state.containers.get(container_id)
            if record is None or record.state.status is not ContainerStatus.RESTARTING:
                return
            self._restarts.pop(container_id, None)
            try:
                await self._start(replace(record, restart_count=record.restart_count + 1))
            except CarrickError as error:
                _log.warning("restarting %s: %s", record.name, error)

    async def restart_after_boot(self, record: ContainerRecord) -> None:
        """Start a container that should run and does not, when the daemon starts. Lock not held.

        What is unavailable now (the cluster's store is not there yet) is tried again, behind the answer.
        """
        if not await self._try_after_boot(record.id):
            self._tasks.start(self._keep_trying(record.id), f"start {record.name} again")

    async def _keep_trying(self, container_id: ContainerId) -> None:
        pause = _FIRST_RETRY_S
        while True:
            await asyncio.sleep(pause)
            current = self._state.containers.get(container_id)
            if current is None or not restarts_on_boot(current):
                return
            if await self._try_after_boot(container_id):
                return
            pause = min(pause * 2, _LONGEST_RETRY_S)

    async def _try_after_boot(self, container_id: ContainerId) -> bool:
        """Start the container; return False if that is worth another try."""
        async with self._state.lock(container_id):
            current = self._state.containers.get(container_id)
            if current is None or current.state.is_running:
                return True
            try:
                await self._start(current)
            except Unavailable as error:
                _log.warning("starting %s at the daemon's start: %s; it is tried again", current.name, error)
                return False
            except CarrickError as error:
                _log.error("starting %s at the daemon's start: %s", current.name, error)
        return True

    # Asking for an end -----------------------------------------------------------------------

    async def stop(self, reference: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        record = self._state.find_container(reference)
        async with self._state.lock(record.id):
            record = self._state.find_container(record.id)
            self._cancel_restart(record.id)
            if record.state.status is ContainerStatus.RESTARTING:
                state = replace(record.state, status=ContainerStatus.EXITED)
                await self._state.save(Write(containers=[replace(record, wanted=False, state=state)]))
                self._emit(record, "stop")
                return
            if not record.state.is_running:
                raise NotModified(f"container {record.name} is not running")
            await self._state.save(Write(containers=[replace(record, wanted=False)]))
            was_paused = record.state.status is ContainerStatus.PAUSED
        number = parse_signal(signal or record.config.stop_signal or "SIGTERM")
        seconds = timeout_s if timeout_s is not None else record.config.stop_timeout_s
        seconds = _STOP_TIMEOUT_S if seconds is None else seconds
        if not await self._signal_and_wait(record, number, seconds, resume=was_paused):
            await self._signal_and_wait(record, signals.SIGKILL, _KILL_TIMEOUT_S)
        self._emit(record, "stop")

    async def _signal_and_wait(
        self, record: ContainerRecord, number: int, seconds: float, *, resume: bool = False
    ) -> bool:
        """Send a signal and wait for the exit to be handled; return whether it was in time."""
        waiter = self._exit_waiter(record.id)
        with suppress(Conflict, NotFound):  # It has ended just now; its exit is being handled.
            await self._runtime.kill(record.id, number)
        current = self._state.containers.get(record.id)
        if current is None or not current.state.is_running:
            return True
        # Also of one that has just ended, as in Docker: what counts is that nobody knows yet.
        self._emit(record, "kill", signal=str(int(number)))
        if resume:
            with suppress(Conflict, NotFound):
                await self._runtime.resume(record.id)
        try:
            async with asyncio.timeout(None if seconds < 0 else seconds):
                await asyncio.shield(waiter)
        except TimeoutError:
            return False
        return True

    async def kill(self, reference: str, signal: str = "SIGKILL") -> None:
        try:
            record = self._state.find_container(reference)
        except NotFound as error:
            raise NotFound(f"cannot kill container: {reference}: {error.message}") from error
        number = parse_signal(signal or "SIGKILL")
        if not record.state.is_running:
            raise Conflict(f"cannot kill container: {reference}: container {record.id} is not running")
        if number == signals.SIGKILL:
            # A kill is a wish that it end: the restart policy `unless-stopped` respects it.
            async with self._state.lock(record.id):
                current = self._state.find_container(record.id)
                await self._state.save(Write(containers=[replace(current, wanted=False)]))
            await self._signal_and_wait(record, number, _KILL_TIMEOUT_S)
            return
        await self._runtime.kill(record.id, number)
        self._emit(record, "kill", signal=str(number))

    async def end(self, record: ContainerRecord) -> None:
        """Kill a container and return when its exit is handled (for `rm -f`)."""
        async with self._state.lock(record.id):
            self._cancel_restart(record.id)
            current = self._state.find_container(record.id)
            await self._state.save(Write(containers=[replace(current, wanted=False)]))
        if current.state.is_running and not await self._signal_and_wait(
            record, signals.SIGKILL, _KILL_TIMEOUT_S
        ):
            raise Failed(f"container {record.name} could not be killed within {_KILL_TIMEOUT_S:.0f} s")

    async def restart(self, reference: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        record = self._state.find_container(reference)
        with suppress(NotModified):
            await self.stop(record.id, timeout_s=timeout_s, signal=signal)
        with suppress(NotModified):
            await self.start(record.id)
        self._emit(self._state.find_container(record.id), "restart")

    async def pause(self, reference: str) -> None:
        record = self._state.find_container(reference)
        async with self._state.lock(record.id):
            record = self._state.find_container(record.id)
            if not record.state.is_running:
                raise Conflict(f"Container {record.id} is not running")
            if record.state.status is ContainerStatus.PAUSED:
                raise Conflict(f"Container {record.id} is already paused")
            # First: a probe under way could not be ended once it is frozen.
            await self._health.stop(record.id)
            try:
                await self._runtime.pause(record.id)
            except BaseException:
                self._health.watch(record)
                raise
            state = replace(
                record.state, status=ContainerStatus.PAUSED, health=health.close(record.state.health)
            )
            await self._state.save(Write(containers=[replace(record, state=state)]))
        self._emit(record, "pause")

    async def unpause(self, reference: str) -> None:
        record = self._state.find_container(reference)
        async with self._state.lock(record.id):
            record = self._state.find_container(record.id)
            if record.state.status is not ContainerStatus.PAUSED:
                raise Conflict(f"Container {record.id} is not paused")
            await self._runtime.resume(record.id)
            record = replace(record, state=replace(record.state, status=ContainerStatus.RUNNING))
            await self._state.save(Write(containers=[record]))
            self._health.watch(record)
        self._emit(record, "unpause")

    # Waiting ---------------------------------------------------------------------------------

    def wait(self, reference: str, condition: WaitCondition) -> Awaitable[int]:
        """Return what to await for the exit code; the container exists."""
        record = self._state.find_container(reference)
        if condition is WaitCondition.NOT_RUNNING and not record.state.is_running:
            done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            done.set_result(record.state.exit_code)
            return done
        if condition is WaitCondition.REMOVED:
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._removal_waiters.setdefault(record.id, set()).add(future)
            return future
        return self._exit_waiter(record.id)

    def _exit_waiter(self, container_id: ContainerId) -> asyncio.Future[int]:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._exit_waiters.setdefault(container_id, set()).add(future)
        return future

    def removed(self, record: ContainerRecord) -> None:
        """Tell those who wait for the removal, and for an exit that will not come."""
        self._cancel_restart(record.id)
        self._delays.pop(record.id, None)
        waiters = self._removal_waiters.pop(record.id, set()) | self._exit_waiters.pop(record.id, set())
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(record.state.exit_code)

    # Events ----------------------------------------------------------------------------------

    def _emit(self, record: ContainerRecord, action: str, **extra: str) -> None:
        emit_container(self._events, record, action, **extra)

    def _emit_network(self, record: ContainerRecord, network_id: NetworkId, action: str) -> None:
        network = self._state.networks.get(network_id)
        if network is not None:
            attributes = {"name": network.name, "type": network.driver, "container": record.id}
            self._events.emit("network", action, network.id, attributes)


def fresh_health(record: ContainerRecord) -> Health | None:
    """Return the health of a container that has just been started; None if nothing checks it."""
    return None if health.plan_check(record.config) is None else health.begin(record.state.health)


def _check_startable(record: ContainerRecord) -> None:
    if record.state.status is ContainerStatus.PAUSED:
        raise Conflict("cannot start a paused container, try unpause instead")
    if record.state.status in {ContainerStatus.REMOVING, ContainerStatus.DEAD}:
        raise Conflict("container is marked for removal and cannot be started")
    if record.state.is_running:
        raise NotModified(f"container {record.name} is running")
