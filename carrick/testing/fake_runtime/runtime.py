"""`FakeRuntime`: containers and their sessions, without a process."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path

from ...host.runtime.api import (
    CannotStart,
    Change,
    Component,
    ConsoleSession,
    ConsoleSize,
    ContainerRecord,
    ContainerStats,
    ExecRequest,
    ExecSession,
    ExitEvent,
    Launched,
    LaunchRequest,
    LayerPlaces,
    LayerSize,
    LogEntry,
    LogQuery,
    Output,
    PathStat,
    ProcessStatus,
    ProcessTable,
    Stream,
)
from ...model.containers import MountPoint, Resources
from ...model.errors import Conflict, InvalidRequest, NotFound
from ...model.ids import ContainerId, ImageId
from .clock import Clock, utc_now

_ALIVE = (ProcessStatus.CREATED, ProcessStatus.RUNNING, ProcessStatus.PAUSED)


@dataclass(eq=False, slots=True)
class FakeSession:
    """A client of a fake process. `written` is what it sent to standard input."""

    pid: int = 0
    written: bytes = b""
    stdin_ended: bool = False
    size: ConsoleSize | None = None
    exit_code: asyncio.Future[int] | None = None
    _queue: asyncio.Queue[Output | None] = field(default_factory=asyncio.Queue)

    async def output(self) -> AsyncIterator[Output]:
        """Yield what the test emits, until the process ended."""
        while (item := await self._queue.get()) is not None:
            yield item

    async def write(self, data: bytes) -> None:
        """Note the bytes."""
        self.written += data

    async def close_stdin(self) -> None:
        """Note the end."""
        self.stdin_ended = True

    async def wait(self) -> int:
        """Return the exit code."""
        assert self.exit_code is not None
        return await asyncio.shield(self.exit_code)

    async def resize(self, size: ConsoleSize) -> None:
        """Note the size."""
        self.size = size

    async def close(self) -> None:
        """End the output."""
        self._queue.put_nowait(None)

    async def kill(self) -> None:
        """End the process."""
        self.exit(137)

    # for tests

    def emit(self, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        """Let the process write."""
        self._queue.put_nowait(Output(stream, data))

    def exit(self, code: int = 0) -> None:
        """Let the process end."""
        self._queue.put_nowait(None)
        if self.exit_code is not None and not self.exit_code.done():
            self.exit_code.set_result(code)


@dataclass(eq=False, slots=True)
class FakeContainer:
    """What a fake host has of one container."""

    image_id: ImageId
    mounts: tuple[MountPoint, ...] = ()
    request: LaunchRequest | None = None
    status: ProcessStatus = ProcessStatus.NONE
    pid: int = 0
    started_at: datetime | None = None
    exit: ExitEvent | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    signals: list[int] = field(default_factory=list)
    log: list[LogEntry] = field(default_factory=list)
    sessions: list[FakeSession] = field(default_factory=list)
    execs: dict[str, tuple[ExecRequest, FakeSession]] = field(default_factory=dict)
    resources: Resources | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    """Archives that were put, by their path."""


class FakeRuntime:
    """Containers without processes. `containers` may be looked at and changed by tests."""

    def __init__(self, clock: Clock = utc_now) -> None:
        self.containers: dict[ContainerId, FakeContainer] = {}
        self.calls: list[tuple[str, str]] = []
        self.fail_at: dict[str, Exception] = {}
        self.missing_commands: set[str] = {"nonexistent"}
        self._clock = clock
        self._pids = count(1000)
        self._exits: asyncio.Queue[ExitEvent] = asyncio.Queue()
        self._waiting: dict[ContainerId, list[FakeSession]] = {}

    # for tests

    def exit(self, container_id: ContainerId, code: int = 0, *, oom_killed: bool = False) -> None:
        """Let a container's process end."""
        container = self.containers[container_id]
        container.status = ProcessStatus.EXITED
        container.pid = 0
        container.exit = ExitEvent(container_id, code, self._clock(), oom_killed)
        container.ended.set()
        for session in container.sessions:
            session.exit(code)
        for _, session in container.execs.values():
            session.exit(137)
        container.sessions = []
        self._exits.put_nowait(container.exit)

    def emit(self, container_id: ContainerId, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        """Let a container's process write lines."""
        container = self.containers[container_id]
        time_ns = int(self._clock().timestamp() * 1e9)
        for line in data.splitlines(keepends=True):
            container.log.append(LogEntry(stream, time_ns, line, partial=not line.endswith(b"\n")))
        for session in container.sessions:
            session.emit(data, stream)

    def restart_daemon(self) -> None:
        """Forget what a killed daemon forgets; unreleased exits are told again at `open`."""
        self._exits = asyncio.Queue()
        self._waiting.clear()

    def _enter(self, method: str, container_id: str = "") -> None:
        self.calls.append((method, container_id))
        if (error := self.fail_at.pop(method, None)) is not None:
            raise error

    def _known(self, container_id: ContainerId) -> FakeContainer:
        if container_id not in self.containers:
            raise NotFound(f"No such container: {container_id}")
        return self.containers[container_id]

    def _running(self, container_id: ContainerId) -> FakeContainer:
        container = self._known(container_id)
        if container.status not in _ALIVE:
            raise Conflict(f"container {container_id} is not running")
        return container

    # the contract

    async def open(self) -> None:
        """Tell unreleased exits."""
        self._enter("open")
        for container in self.containers.values():
            if container.exit is not None:
                self._exits.put_nowait(container.exit)

    async def close(self) -> None:
        """Do nothing."""
        self._enter("close")

    async def provision(
        self, container_id: ContainerId, image_id: ImageId, mounts: tuple[MountPoint, ...] = ()
    ) -> None:
        """Note the container."""
        self._enter("provision", container_id)
        container = self.containers.setdefault(container_id, FakeContainer(image_id))
        container.mounts = mounts

    async def create(self, request: LaunchRequest) -> Launched:
        """Give the container a process that waits."""
        self._enter("create", request.container_id)
        container = self.containers.setdefault(request.container_id, FakeContainer(request.image_id))
        if container.status in _ALIVE:
            raise Conflict(f"container {request.container_id} is already running")
        await self.release(request.container_id)
        command = request.config.command
        if not command:
            raise InvalidRequest("No command specified")
        waiting = self._waiting.pop(request.container_id, [])
        if command[0] in self.missing_commands:
            for session in waiting:
                session.exit(127)
            raise CannotStart(
                "failed to create task for container: failed to create shim task: OCI runtime "
                "create failed: runc create failed: unable to start container process: exec: "
                f'"{command[0]}": executable file not found in $PATH: unknown',
                exit_code=127,
            )
        container.request = request
        container.mounts = request.mounts
        container.status = ProcessStatus.CREATED
        container.pid = next(self._pids)
        container.sessions += waiting
        return Launched(container.pid)

    async def start(self, container_id: ContainerId) -> datetime:
        """Let it run."""
        self._enter("start", container_id)
        container = self._running(container_id)
        container.status = ProcessStatus.RUNNING
        container.started_at = self._clock()
        return container.started_at

    async def kill(self, container_id: ContainerId, signal: int) -> None:
        """Note the signal; 9 and 15 end the process."""
        self._enter("kill", container_id)
        container = self._running(container_id)
        container.signals.append(signal)
        if signal in (9, 15):
            self.exit(container_id, 128 + signal)

    async def pause(self, container_id: ContainerId) -> None:
        """Freeze."""
        self._enter("pause", container_id)
        self._running(container_id).status = ProcessStatus.PAUSED

    async def resume(self, container_id: ContainerId) -> None:
        """Thaw."""
        self._enter("resume", container_id)
        self._running(container_id).status = ProcessStatus.RUNNING

    async def update(self, container_id: ContainerId, resources: Resources) -> None:
        """Note the limits."""
        self._enter("update", container_id)
        self._running(container_id).resources = resources

    async def components(self) -> tuple[Component, ...]:
        """Name one program."""
        return (Component("runc", "runc", "1.1.5", "abc"),)

    def log_path(self, container_id: ContainerId) -> str:
        """Return a path, where nothing is."""
        return f"/fake/{container_id}/log"

    async def wait_exit(self, container_id: ContainerId) -> ExitEvent:
        """Wait for the end."""
        container = self._known(container_id)
        if container.status is ProcessStatus.NONE:
            raise Conflict(f"container {container_id} is not running")
        await container.ended.wait()
        assert container.exit is not None
        return container.exit

    async def release(self, container_id: ContainerId) -> None:
        """Take the run away."""
        self._enter("release", container_id)
        container = self.containers.get(container_id)
        if container is None:
            return
        if container.status in _ALIVE:
            self.exit(container_id, 137)
        container.status = ProcessStatus.NONE
        container.pid = 0
        container.exit = None
        container.ended = asyncio.Event()
        container.execs.clear()

    async def remove(self, container_id: ContainerId) -> None:
        """Forget the container."""
        self._enter("remove", container_id)
        await self.release(container_id)
        for session in self._waiting.pop(container_id, []):
            session.exit(137)
        self.containers.pop(container_id, None)

    async def exits(self) -> AsyncIterator[ExitEvent]:
        """Yield exits."""
        while True:
            yield await self._exits.get()

    async def state(self, container_id: ContainerId) -> ContainerRecord:
        """Tell what there is."""
        container = self.containers.get(container_id)
        if container is None:
            return ContainerRecord(container_id, ProcessStatus.NONE)
        return ContainerRecord(
            container_id,
            container.status,
            pid=container.pid,
            conmon_pid=container.pid + 1 if container.pid else 0,
            started_at=container.started_at,
            exit=container.exit,
            is_mounted=container.status is not ProcessStatus.NONE,
        )

    async def scan(self) -> tuple[ContainerRecord, ...]:
        """Tell of all."""
        return tuple([await self.state(key) for key in sorted(self.containers)])

    async def processes(self, container_id: ContainerId) -> tuple[int, ...]:
        """Return the one process."""
        return (self._running(container_id).pid,)

    async def top(self, container_id: ContainerId, ps_args: str = "-ef") -> ProcessTable:
        """Return a table of the one process."""
        container = self._running(container_id)
        command = " ".join(container.request.config.command) if container.request else ""
        return ProcessTable(("UID", "PID", "CMD"), (("root", str(container.pid), command),))

    async def stats(self, container_id: ContainerId) -> ContainerStats:
        """Return a sample of zeros."""
        self._running(container_id)
        return ContainerStats(self._clock())

    async def attach(
        self, container_id: ContainerId, *, stdin: bool = False, logs: bool = False
    ) -> ConsoleSession:
        """Connect to this run or the next."""
        self._enter("attach", container_id)
        session = FakeSession()
        container = self.containers.get(container_id)
        if container is not None and container.status in _ALIVE:
            container.sessions.append(session)
            if logs:
                for entry in container.log:
                    session.emit(entry.data, entry.stream)
        else:
            self._waiting.setdefault(container_id, []).append(session)
        return session

    async def resize(self, container_id: ContainerId, size: ConsoleSize) -> None:
        """Note the size with every session."""
        for session in self._running(container_id).sessions:
            session.size = size

    async def logs(self, container_id: ContainerId, query: LogQuery) -> AsyncIterator[LogEntry]:
        """Yield what was emitted."""
        container = self._known(container_id)
        wanted = {Stream.STDOUT: query.stdout, Stream.STDERR: query.stderr}
        entries = [entry for entry in container.log if wanted[entry.stream]]
        if query.tail is not None:
            entries = entries[len(entries) - min(query.tail, len(entries)) :]
        for entry in entries:
            if query.since_ns is not None and entry.time_ns < query.since_ns:
                continue
            if query.until_ns is not None and entry.time_ns > query.until_ns:
                return
            yield entry
        if query.follow and container.status in _ALIVE:
            session = FakeSession()
            container.sessions.append(session)
            async for output in session.output():
                if wanted[output.stream]:
                    time_ns = int(self._clock().timestamp() * 1e9)
                    yield LogEntry(output.stream, time_ns, output.data)

    async def exec(self, request: ExecRequest) -> ExecSession:
        """Make a session that the test plays."""
        self._enter("exec", request.container_id)
        container = self._running(request.container_id)
        if container.status is ProcessStatus.PAUSED:
            raise Conflict(f"container {request.container_id} is paused, unpause the container before exec")
        if request.args and request.args[0] in self.missing_commands:
            raise CannotStart(
                "OCI runtime exec failed: exec failed: unable to start container process: exec: "
                f'"{request.args[0]}": executable file not found in $PATH: unknown',
                exit_code=127,
            )
        session = FakeSession(next(self._pids), exit_code=asyncio.get_running_loop().create_future())
        container.execs[request.exec_id] = (request, session)
        return session

    async def end_old_execs(self, container_id: ContainerId, is_meant: Callable[[str], bool]) -> int:
        """End those that run and are meant."""
        self._enter("end_old_execs", container_id)
        found = [
            session
            for exec_id, (_, session) in self._known(container_id).execs.items()
            if is_meant(exec_id) and session.exit_code is not None and not session.exit_code.done()
        ]
        for session in found:
            session.exit(137)
        return len(found)

    async def changes(self, container_id: ContainerId) -> tuple[Change, ...]:
        """Return none."""
        self._known(container_id)
        return ()

    async def size(self, container_id: ContainerId) -> LayerSize:
        """Return zeros."""
        self._known(container_id)
        return LayerSize(0, 0)

    async def export(self, container_id: ContainerId) -> AsyncIterator[bytes]:
        """Yield an empty archive."""
        self._known(container_id)
        yield b"\0" * 1024

    async def layer(self, container_id: ContainerId) -> AsyncIterator[bytes]:
        """Yield an empty archive."""
        self._known(container_id)
        yield b"\0" * 1024

    def places(self, container_id: ContainerId, image_files: Path) -> LayerPlaces:
        """Return paths, where nothing is."""
        own = Path("/fake") / container_id
        return LayerPlaces((image_files,), own / "diff", own / "work", own / "root")

    async def stat_path(self, container_id: ContainerId, path: str) -> PathStat:
        """Find what was put."""
        container = self._known(container_id)
        if path not in container.files:
            raise NotFound(f"Could not find the file {path} in container {container_id}")
        return PathStat(Path(path).name, len(container.files[path]), 0o644, self._clock())

    async def get_archive(
        self, container_id: ContainerId, path: str
    ) -> tuple[PathStat, AsyncIterator[bytes]]:
        """Return what was put."""
        found = await self.stat_path(container_id, path)

        async def archive() -> AsyncIterator[bytes]:
            yield self.containers[container_id].files[path]

        return found, archive()

    async def put_archive(
        self,
        container_id: ContainerId,
        path: str,
        archive: AsyncIterable[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        copy_uid_gid: bool = False,
    ) -> None:
        """Note the archive."""
        container = self._known(container_id)
        container.files[path] = b"".join([chunk async for chunk in archive])
