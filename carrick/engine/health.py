"""Run health checks: one task per container that has one, from its start (or the daemon's) to its end.

What a result means is `domains/health`'s. A probe is an exec like any other, with an exec's events; its id
tells it apart, so that one left behind by a killed daemon can be ended by the next.

Results change a container's record under its lock. Only a new status is written to the store: what else
is lost with the daemon comes again with the next probes.
"""

import asyncio
import hashlib
import logging
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from ..domains import health
from ..host.runtime.api import ExecSession, Runtime
from ..model.containers import ContainerStatus, Health, HealthResult
from ..model.errors import CarrickError
from ..model.ids import ContainerId
from .clock import Clock, as_datetime, new_id
from .events import EventBus, emit_container
from .execs import ExecService
from .state import State, Write
from .tasks import TaskOwner
from .values import ContainerRecord, ExecConfig

_log = logging.getLogger(__name__)
_MOST_STARTING = 4
"""So many probes are being started at a time; the others wait, and their time does not run yet."""
_START_TIMEOUT_S = 30.0
_DYING_S = 5.0
_LAST_WORDS_S = 2.0
"""How long output is awaited after the end, if a child of the probe's holds it open."""
_MARK_LENGTH = 32


class HealthService:
    def __init__(
        self,
        *,
        state: State,
        runtime: Runtime,
        execs: ExecService,
        events: EventBus,
        clock: Clock,
        tasks: TaskOwner,
    ) -> None:
        self._state = state
        self._runtime = runtime
        self._execs = execs
        self._events = events
        self._clock = clock
        self._tasks = tasks
        self._monitors: dict[ContainerId, asyncio.Task[None]] = {}
        self._starting = asyncio.Semaphore(_MOST_STARTING)

    # Monitors --------------------------------------------------------------------------------

    def watch(self, record: ContainerRecord) -> None:
        """Check a container from now on, if it runs and has a check. The monitor before has ended."""
        check = health.plan_check(record.config)
        if check is not None and record.state.status is ContainerStatus.RUNNING:
            self._begin(record, self._monitor(record.id, check))

    def resume(self) -> None:
        """Check what runs already, when the daemon has started; the containers' health is as it was."""
        for record in self._state.containers.values():
            check = health.plan_check(record.config)
            if check is not None and record.state.status is ContainerStatus.RUNNING:
                self._begin(record, self._monitor(record.id, check, is_resumed=True))

    def _begin(self, record: ContainerRecord, monitor: Coroutine[Any, Any, None]) -> None:
        self._monitors[record.id] = self._tasks.start(monitor, f"health of {record.name}")

    async def stop(self, container_id: ContainerId) -> None:
        """End a container's monitor, with the probe that may be under way. The container's lock is held."""
        task = self._monitors.pop(container_id, None)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _monitor(
        self, container_id: ContainerId, check: health.Check, *, is_resumed: bool = False
    ) -> None:
        part = 1.0
        if is_resumed:
            await self._end_left_over(container_id)
            # All of them resume at one moment, and are not to be probed at one.
            part = int(container_id[:8], 16) / (1 << 32)
        while (record := self._running(container_id)) is not None:
            current = record.state.health or health.begin(None)
            pause = health.pause_before_next(current, check, self._age_s(record, self._clock.now_ns()))
            await self._clock.sleep(pause * part)
            part = 1.0
            if (record := self._running(container_id)) is not None:
                result = await self._probe(record, check)
                await self._note(container_id, check, result)

    def _running(self, container_id: ContainerId) -> ContainerRecord | None:
        record = self._state.containers.get(container_id)
        is_running = record is not None and record.state.status is ContainerStatus.RUNNING
        return record if is_running else None

    @staticmethod
    def _age_s(record: ContainerRecord, now_ns: int) -> float:
        started = record.state.started_at
        return 0.0 if started is None else (as_datetime(now_ns) - started).total_seconds()

    async def _note(self, container_id: ContainerId, check: health.Check, result: HealthResult) -> None:
        async with self._state.lock(container_id):
            record = self._running(container_id)
            if record is None:
                return
            before = record.state.health or health.begin(None)
            started = record.state.started_at
            age_s = 0.0 if started is None else (result.start - started).total_seconds()
            after = health.judge(before, result, check, age_s)
            record = replace(record, state=replace(record.state, health=after))
            if after.status is before.status:
                self._state.remember(record)
                return
            await self._save(record, after)
        emit_container(self._events, record, f"health_status: {after.status}")

    async def _save(self, record: ContainerRecord, after: Health) -> None:
        try:
            await self._state.save(Write(containers=[record]))
        except CarrickError as error:
            _log.warning("container %s is %s, which was not stored: %s", record.name, after.status, error)
            self._state.remember(record)

    async def _end_left_over(self, container_id: ContainerId) -> None:
        """End the probe of a daemon that was killed: nobody waits for it, and it may never end."""
        try:
            count = await self._runtime.end_old_execs(
                container_id, lambda exec_id: is_probe(exec_id, container_id)
            )
        except CarrickError as error:
            _log.warning("ending an old health check of %s: %s", container_id[:12], error)
            return
        if count:
            _log.info("ended a health check of %s that an earlier daemon began", container_id[:12])

    # One probe -------------------------------------------------------------------------------

    async def _probe(self, record: ContainerRecord, check: health.Check) -> HealthResult:
        """Run the check once. What keeps it from running is a failure, with the reason as output."""
        exec_id = probe_id(record.id)
        started_ns = self._clock.now_ns()
        try:
            async with self._starting:
                started_ns = self._clock.now_ns()
                await self._execs.create(record.id, ExecConfig(args=check.args), exec_id=exec_id)
                session = await self._start(record, exec_id)
            code, output = await self._follow(session, check)
        except (CarrickError, OSError) as error:
            code, output = -1, str(error)
        finally:
            self._execs.drop(exec_id)
        ended_ns = self._clock.now_ns()
        return HealthResult(as_datetime(started_ns), as_datetime(ended_ns), code, output)

    async def _start(self, record: ContainerRecord, exec_id: str) -> ExecSession:
        """Start a probe. Whatever happens meanwhile, it is not left behind half started."""
        starting = asyncio.create_task(self._execs.start(exec_id), name=f"probe of {record.name}")
        timer = asyncio.create_task(self._clock.sleep(_START_TIMEOUT_S))
        try:
            await asyncio.wait({starting, timer}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                return starting.result()
            self._tasks.start(self._abandon(starting), f"late probe of {record.name}")
            raise TimeoutError(f"timed out starting health check for container {record.id}")
        except asyncio.CancelledError:
            await self._abandon(starting)
            raise
        finally:
            timer.cancel()

    async def _abandon(self, starting: asyncio.Task[ExecSession]) -> None:
        """Kill a probe as soon as it is started."""
        await asyncio.wait({starting})
        if starting.exception() is None:
            session = starting.result()
            await session.kill()
            await session.close()

    async def _follow(self, session: ExecSession, check: health.Check) -> tuple[int, str]:
        """Return the code and the output of a probe that runs; killed if it takes too long."""
        output = health.LimitedOutput()
        reading = asyncio.create_task(_read(session, output))
        ending = asyncio.create_task(session.wait())
        timer = asyncio.create_task(self._clock.sleep(check.timeout_s))
        try:
            await asyncio.wait({ending, timer}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                return -1, health.timeout_text(check.timeout_s, output.text())
            await asyncio.wait({reading}, timeout=_LAST_WORDS_S)
            return ending.result(), output.text()
        finally:
            if not ending.done():
                await session.kill()
                # Probes that do not end must not pile up.
                await asyncio.wait({ending}, timeout=_DYING_S)
            for task in (reading, ending, timer):
                task.cancel()
            await asyncio.gather(reading, ending, timer, return_exceptions=True)
            await session.close()


async def _read(session: ExecSession, output: health.LimitedOutput) -> None:
    async for item in session.output():
        output.add(item.data)


def probe_id(container_id: ContainerId) -> str:
    """Return an id for a probe: as random as any, and of that container for whoever knows."""
    return new_id()[:-_MARK_LENGTH] + _mark(container_id)


def is_probe(exec_id: str, container_id: ContainerId) -> bool:
    """Tell whether an exec is a probe of a container."""
    return exec_id.endswith(_mark(container_id))


def _mark(container_id: ContainerId) -> str:
    return hashlib.sha256(f"health of {container_id}".encode()).hexdigest()[:_MARK_LENGTH]
