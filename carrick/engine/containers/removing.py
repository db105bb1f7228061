"""Remove containers, with their records, files and anonymous volumes."""

from dataclasses import replace

from ...host.runtime.api import Runtime
from ...host.runtime.volume_store import VolumeStore
from ...model.containers import ContainerStatus, MountType
from ...model.errors import CarrickError, Conflict, InvalidRequest, NotFound
from ...model.ids import ContainerId
from .. import filters as filtering
from ..clock import Clock
from ..events import EventBus, emit_container
from ..execs import ExecService
from ..lifecycle import Lifecycle
from ..sandboxes import SandboxService
from ..state import State, Write
from ..surroundings import Surroundings
from ..values import ContainerRecord, Filters


class Remover:
    def __init__(
        self,
        *,
        state: State,
        runtime: Runtime,
        volumes: VolumeStore,
        lifecycle: Lifecycle,
        sandboxes: SandboxService,
        surroundings: Surroundings,
        execs: ExecService,
        events: EventBus,
        clock: Clock,
    ) -> None:
        self._state = state
        self._runtime = runtime
        self._volumes = volumes
        self._lifecycle = lifecycle
        self._sandboxes = sandboxes
        self._surroundings = surroundings
        self._execs = execs
        self._events = events
        self._clock = clock

    async def remove(
        self, reference: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        record = self._state.find_container(reference)
        if link:
            raise InvalidRequest(
                "removing a link alone is not supported; disconnect the container, or remove it"
            )
        if record.state.is_running or record.state.status is ContainerStatus.RESTARTING:
            if not force:
                hint = (
                    "unpause and then stop the container before removal or force remove"
                    if record.state.status is ContainerStatus.PAUSED
                    else "stop the container before removing or force remove"
                )
                raise Conflict(
                    f'cannot remove container "{record.name}": container is {record.state.status}: {hint}'
                )
            await self._lifecycle.end(record)
        await self._remove(record.id, volumes=volumes)

    async def finish(self, container_id: ContainerId) -> None:
        """Remove a container that has ended and is not to stay, or whose removal a killed daemon began."""
        await self._remove(container_id, volumes=True)

    async def prune(self, filters: Filters) -> tuple[tuple[str, ...], int]:
        filtering.check_names(filters, {"until", "label", "label!"})
        removed: list[str] = []
        reclaimed = 0
        now = self._clock.now_ns()
        for record in list(self._state.containers.values()):
            if record.state.is_running or record.state.status is ContainerStatus.RESTARTING:
                continue
            created_ns = int(record.created.timestamp() * 1e9)
            if not filtering.matches_labels(filters, record.config.labels):
                continue
            if not filtering.matches_until(filters, created_ns, now):
                continue
            try:
                reclaimed += (await self._runtime.size(record.id)).writable
                await self._remove(record.id, volumes=False)
            except CarrickError:
                continue
            removed.append(record.id)
        self._events.emit("container", "prune", "", {"reclaimed": str(reclaimed)})
        return tuple(removed), reclaimed

    async def _remove(self, container_id: ContainerId, *, volumes: bool) -> None:
        async with self._state.lock(container_id):
            record = self._state.containers.get(container_id)
            if record is None:
                return
            if record.state.is_running:
                raise Conflict(f'cannot remove container "{record.name}": container is running')
            # Written first: a daemon killed in the middle goes on removing at its next start.
            state = replace(record.state, status=ContainerStatus.REMOVING)
            await self._state.save(Write(containers=[replace(record, state=state)]))
            await self._runtime.remove(container_id)
            self._surroundings.remove(record)
            await self._forget(record)
        if volumes:
            await self._remove_anonymous_volumes(record)
        self._execs.forget(container_id)
        emit_container(self._events, record, "destroy")
        self._lifecycle.removed(record)

    async def _forget(self, record: ContainerRecord) -> None:
        """Remove a container's records, with its addresses."""
        write = Write(gone_containers=[record.id])
        sandbox = self._state.sandboxes.get(record.sandbox_id) if record.sandbox_id else None
        if sandbox is not None and sandbox.container_id == record.id:
            await self._sandboxes.forget(sandbox, write)
        else:
            await self._state.save(write)

    async def _remove_anonymous_volumes(self, record: ContainerRecord) -> None:
        for point in record.mounts:
            if point.type is not MountType.VOLUME:
                continue
            try:
                volume = await self._volumes.get(point.name)
                if volume.anonymous and not self._is_used(point.name):
                    await self._volumes.remove(point.name)
            except NotFound:
                continue

    def _is_used(self, name: str) -> bool:
        """Tell whether a container has a volume among its mounts."""
        return any(point.name == name for item in self._state.containers.values() for point in item.mounts)
