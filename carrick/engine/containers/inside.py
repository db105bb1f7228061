"""Reach into a container: its processes, its output and console, its files.

The runtime does it; here is what may be asked of which container, and who is told.
"""

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager

from ...host.runtime.api import (
    Change,
    ConsoleSession,
    ConsoleSize,
    ContainerStats,
    LayerSize,
    LogEntry,
    LogQuery,
    PathStat,
    ProcessTable,
    Runtime,
)
from ...host.runtime.files import clean_path, covering_mount
from ...model.containers import ContainerStatus
from ...model.errors import Conflict, Denied, NotFound, Unsupported
from ..clock import Clock, as_datetime
from ..events import EventBus, emit_container
from ..state import State
from ..values import ContainerRecord


class Inside:
    def __init__(self, *, state: State, runtime: Runtime, events: EventBus, clock: Clock) -> None:
        self._state = state
        self._runtime = runtime
        self._events = events
        self._clock = clock

    # Processes and consoles ------------------------------------------------------------------

    async def top(self, reference: str, ps_args: str) -> ProcessTable:
        record = self._running(reference)
        table = await self._runtime.top(record.id, ps_args or "-ef")
        emit_container(self._events, record, "top")
        return table

    async def stats(self, reference: str) -> ContainerStats:
        record = self._state.find_container(reference)
        if not record.state.is_running:
            return ContainerStats(as_datetime(self._clock.now_ns()))
        return await self._runtime.stats(record.id)

    def logs(self, reference: str, query: LogQuery) -> AsyncIterator[LogEntry]:
        record = self._state.find_container(reference)
        if record.host_config.log_config.driver == "none":
            raise Unsupported("configured logging driver does not support reading")
        return self._runtime.logs(record.id, query)

    async def attach(self, reference: str, *, stdin: bool, logs: bool) -> ConsoleSession:
        record = self._state.find_container(reference)
        if record.state.status is ContainerStatus.PAUSED:
            raise Conflict(f"Container {record.name} is paused, unpause the container before attach.")
        session = await self._runtime.attach(record.id, stdin=stdin and record.config.open_stdin, logs=logs)
        emit_container(self._events, record, "attach")
        return session

    async def resize(self, reference: str, size: ConsoleSize) -> None:
        await self._runtime.resize(self._running(reference).id, size)

    def _running(self, reference: str) -> ContainerRecord:
        record = self._state.find_container(reference)
        if not record.state.is_running:
            raise Conflict(f"container {record.id} is not running")
        return record

    # Files -----------------------------------------------------------------------------------

    async def size(self, reference: str) -> LayerSize:
        return await self._runtime.size(self._state.find_container(reference).id)

    async def changes(self, reference: str) -> tuple[Change, ...]:
        return await self._runtime.changes(self._state.find_container(reference).id)

    async def export(self, reference: str) -> AsyncIterator[bytes]:
        record = self._state.find_container(reference)
        emit_container(self._events, record, "export")
        return self._runtime.export(record.id)

    async def stat_path(self, reference: str, path: str) -> PathStat:
        record = self._state.find_container(reference)
        with _named_as_asked(record, reference):
            return await self._runtime.stat_path(record.id, path)

    async def get_archive(self, reference: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        record = self._state.find_container(reference)
        with _named_as_asked(record, reference):
            found = await self._runtime.get_archive(record.id, path)
        emit_container(self._events, record, "archive-path")
        return found

    async def put_archive(
        self,
        reference: str,
        path: str,
        archive: AsyncIterable[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        copy_uid_gid: bool = False,
    ) -> None:
        record = self._state.find_container(reference)
        if record.host_config.read_only and covering_mount(record.mounts, clean_path(path)[0]) is None:
            raise Denied("container rootfs is marked read-only")
        with _named_as_asked(record, reference):
            await self._runtime.put_archive(
                record.id,
                path,
                archive,
                no_overwrite_dir_non_dir=no_overwrite_dir_non_dir,
                copy_uid_gid=copy_uid_gid,
            )
        emit_container(self._events, record, "extract-to-dir")


@contextmanager
def _named_as_asked(record: ContainerRecord, reference: str) -> Iterator[None]:
    """Have errors about a path name the container as the request does."""
    try:
        yield
    except NotFound as error:
        raise NotFound(error.message.replace(record.id, reference), remedy=error.remedy) from error
