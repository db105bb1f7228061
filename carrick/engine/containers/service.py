"""Containers as doors want them, in one object: each call goes to whoever decides it."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Sequence

from ...host.runtime.api import (
    Change,
    ConsoleSession,
    ConsoleSize,
    ContainerStats,
    ExecSession,
    LayerSize,
    LogEntry,
    LogQuery,
    PathStat,
    ProcessTable,
    Runtime,
)
from ...host.runtime.image_store import ImageStore
from ...host.runtime.volume_store import VolumeStore
from ...model.containers import PortBinding
from ...model.ids import ContainerId
from ..clock import Clock
from ..events import EventBus
from ..execs import ExecService
from ..lifecycle import Lifecycle
from ..ports import PortService
from ..sandboxes import SandboxService
from ..state import State
from ..surroundings import Surroundings
from ..values import (
    ContainerView,
    CreateContainer,
    Created,
    ExecConfig,
    ExecView,
    Filters,
    UpdateContainer,
    WaitCondition,
)
from .changing import Changer
from .creating import Creator
from .inside import Inside
from .names import ContainerNames
from .publishing import Publisher
from .removing import Remover
from .viewing import Viewer


class ContainerService:
    """Implements `contract.Containers`."""

    def __init__(
        self,
        *,
        state: State,
        runtime: Runtime,
        images: ImageStore,
        volumes: VolumeStore,
        lifecycle: Lifecycle,
        sandboxes: SandboxService,
        surroundings: Surroundings,
        ports: PortService,
        execs: ExecService,
        events: EventBus,
        clock: Clock,
    ) -> None:
        self._lifecycle = lifecycle
        self._execs = execs
        names = ContainerNames(state)
        self._creator = Creator(
            state=state,
            runtime=runtime,
            images=images,
            volumes=volumes,
            sandboxes=sandboxes,
            names=names,
            events=events,
            clock=clock,
        )
        self._changer = Changer(state=state, runtime=runtime, sandboxes=sandboxes, names=names, events=events)
        self._publisher = Publisher(state=state, ports=ports, events=events)
        self._remover = Remover(
            state=state,
            runtime=runtime,
            volumes=volumes,
            lifecycle=lifecycle,
            sandboxes=sandboxes,
            surroundings=surroundings,
            execs=execs,
            events=events,
            clock=clock,
        )
        lifecycle.remove_when_ended = self._remover.finish
        self._viewer = Viewer(
            state=state, runtime=runtime, images=images, surroundings=surroundings, execs=execs
        )
        self._inside = Inside(state=state, runtime=runtime, events=events, clock=clock)

    # Being there or not ----------------------------------------------------------------------

    async def create(self, request: CreateContainer) -> Created:
        return await self._creator.create(request)

    async def remove(
        self, reference: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        await self._remover.remove(reference, force=force, volumes=volumes, link=link)

    async def finish_removal(self, container_id: ContainerId) -> None:
        """Go on with a removal that a killed daemon began."""
        await self._remover.finish(container_id)

    async def prune(self, filters: Filters) -> tuple[tuple[str, ...], int]:
        return await self._remover.prune(filters)

    # Life ------------------------------------------------------------------------------------

    async def start(self, reference: str) -> None:
        await self._lifecycle.start(reference)

    async def stop(self, reference: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        await self._lifecycle.stop(reference, timeout_s=timeout_s, signal=signal)

    async def restart(self, reference: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        await self._lifecycle.restart(reference, timeout_s=timeout_s, signal=signal)

    async def kill(self, reference: str, signal: str = "SIGKILL") -> None:
        await self._lifecycle.kill(reference, signal)

    async def pause(self, reference: str) -> None:
        await self._lifecycle.pause(reference)

    async def unpause(self, reference: str) -> None:
        await self._lifecycle.unpause(reference)

    async def wait(self, reference: str, condition: WaitCondition) -> Awaitable[int]:
        return self._lifecycle.wait(reference, condition)

    # Changing --------------------------------------------------------------------------------

    async def rename(self, reference: str, name: str) -> None:
        await self._changer.rename(reference, name)

    async def update(self, reference: str, request: UpdateContainer) -> tuple[str, ...]:
        return await self._changer.update(reference, request)

    async def add_ports(self, reference: str, bindings: Sequence[PortBinding]) -> None:
        await self._publisher.add(reference, bindings)

    async def remove_ports(self, reference: str, bindings: Sequence[PortBinding]) -> None:
        await self._publisher.remove(reference, bindings)

    # Reading ---------------------------------------------------------------------------------

    async def get(self, reference: str) -> ContainerView:
        return await self._viewer.get(reference)

    async def list(
        self, *, all: bool = False, limit: int = 0, filters: Filters | None = None
    ) -> list[ContainerView]:
        return await self._viewer.list(all=all, limit=limit, filters=filters)

    # Inside ----------------------------------------------------------------------------------

    async def top(self, reference: str, ps_args: str) -> ProcessTable:
        return await self._inside.top(reference, ps_args)

    async def stats(self, reference: str) -> ContainerStats:
        return await self._inside.stats(reference)

    def logs(self, reference: str, query: LogQuery) -> AsyncIterator[LogEntry]:
        return self._inside.logs(reference, query)

    async def attach(self, reference: str, *, stdin: bool, logs: bool) -> ConsoleSession:
        return await self._inside.attach(reference, stdin=stdin, logs=logs)

    async def resize(self, reference: str, size: ConsoleSize) -> None:
        await self._inside.resize(reference, size)

    async def size(self, reference: str) -> LayerSize:
        return await self._inside.size(reference)

    async def changes(self, reference: str) -> tuple[Change, ...]:
        return await self._inside.changes(reference)

    async def export(self, reference: str) -> AsyncIterator[bytes]:
        return await self._inside.export(reference)

    async def stat_path(self, reference: str, path: str) -> PathStat:
        return await self._inside.stat_path(reference, path)

    async def get_archive(self, reference: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        return await self._inside.get_archive(reference, path)

    async def put_archive(
        self,
        reference: str,
        path: str,
        archive: AsyncIterable[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        copy_uid_gid: bool = False,
    ) -> None:
        await self._inside.put_archive(
            reference,
            path,
            archive,
            no_overwrite_dir_non_dir=no_overwrite_dir_non_dir,
            copy_uid_gid=copy_uid_gid,
        )

    # Execs -----------------------------------------------------------------------------------

    async def exec_create(self, reference: str, config: ExecConfig) -> str:
        return await self._execs.create(reference, config)

    async def exec_start(self, exec_id: str, *, size: ConsoleSize | None = None) -> ExecSession:
        return await self._execs.start(exec_id, size=size)

    async def exec_start_detached(self, exec_id: str) -> None:
        await self._execs.start_detached(exec_id)

    async def exec_resize(self, exec_id: str, size: ConsoleSize) -> None:
        await self._execs.resize(exec_id, size)

    async def exec_get(self, exec_id: str) -> ExecView:
        return self._execs.get(exec_id)
