"""The containers of the fake engine: they run commands of `fake_console`."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.values import (
    ContainerRecord,
    ContainerView,
    CreateContainer,
    Created,
    ExecConfig,
    ExecView,
    Filters,
    PublishedPort,
    UpdateContainer,
    WaitCondition,
)
from ..host.runtime.api import (
    CannotStart,
    Change,
    ChangeKind,
    ConsoleSize,
    ContainerStats,
    LayerSize,
    LogEntry,
    LogQuery,
    NetworkCounters,
    PathStat,
    ProcessTable,
)
from ..model.containers import (
    ContainerState,
    ContainerStatus,
    PortBinding,
)
from ..model.errors import Conflict, Failed, InvalidRequest, NotFound, NotModified
from ..model.ids import ContainerId, SandboxId, short
from ..model.networks import Sandbox
from .fake_console import FakeProcess, FakeSession
from .fake_ids import NO_FILTERS, find, make_id

if TYPE_CHECKING:
    from .fake_engine import FakeEngine


class FakeContainers:
    def __init__(self, engine: "FakeEngine") -> None:
        self._engine = engine
        self.records: dict[str, ContainerRecord] = {}
        self.processes: dict[str, FakeProcess] = {}
        self.execs: dict[str, tuple[ExecView, FakeProcess | None]] = {}
        self.archives: dict[tuple[str, str], bytes] = {}
        self._exits: dict[str, list[asyncio.Future[int]]] = {}
        self._removals: dict[str, list[asyncio.Future[int]]] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    def _find(self, reference: str) -> str:
        names = {identifier: record.name for identifier, record in self.records.items()}
        return find(reference, names, f"No such container: {reference}")

    def _set(self, identifier: str, state: ContainerState) -> None:
        self.records[identifier] = replace(self.records[identifier], state=state)

    async def create(self, request: CreateContainer) -> Created:
        image = await self._engine.images.get(request.config.image)
        name = request.name or f"fake_{next(self._engine.serial)}"
        for record in self.records.values():
            if record.name == name:
                raise Conflict(
                    f'Conflict. The container name "/{name}" is already in use by container '
                    f'"{record.id}". You have to remove (or rename) that container to be able to '
                    "reuse that name."
                )
        identifier = ContainerId(make_id("container", next(self._engine.serial)))
        config = request.config.with_image(image.config)
        self.records[identifier] = ContainerRecord(
            id=identifier,
            name=name,
            created=datetime.now(UTC),
            image_id=image.id,
            asked_image=request.config.image,
            config=replace(config, hostname=config.hostname or short(identifier)),
            host_config=request.host_config,
            attachments=request.attachments,
        )
        self._engine.bus.emit("container", "create", identifier, name=name, image=request.config.image)
        return Created(identifier)

    async def start(self, reference: str) -> None:
        identifier = self._find(reference)
        record = self.records[identifier]
        if record.state.is_running:
            raise NotModified("container is already running")
        waiting = self.processes.pop(identifier, None)
        if waiting is None or waiting.exited.done():
            waiting = self._prepare(record)
        self.processes[identifier] = waiting
        ports = []
        for binding in record.host_config.port_bindings:
            host_port = int(binding.host_port.partition("-")[0] or 49152 + next(self._engine.serial))
            for host_ip in (binding.host_ip,) if binding.host_ip else ("0.0.0.0", "::"):
                ports.append(PublishedPort(binding.container_port, binding.protocol, host_ip, host_port))
        for attachment in record.attachments:
            self._engine.networks.join(identifier, attachment)
        self.records[identifier] = replace(record, ports=tuple(ports))
        self._set(
            identifier,
            ContainerState(ContainerStatus.RUNNING, pid=4242, started_at=datetime.now(UTC)),
        )
        try:
            waiting.start()
        except CannotStart as error:
            self._set(identifier, ContainerState(exit_code=error.exit_code, error=error.message))
            waiting.kill(error.exit_code)
            if record.host_config.auto_remove:  # `docker run --rm` waits for it
                await self.remove(identifier)
            raise
        watcher = asyncio.create_task(self._watch(identifier, waiting), name="fake watcher")
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        self._engine.bus.emit("container", "start", identifier, name=record.name)

    def _prepare(self, record: ContainerRecord) -> FakeProcess:
        config = record.config
        return FakeProcess(config.command, tty=config.tty, stdin=config.open_stdin)

    async def _watch(self, identifier: str, process: FakeProcess) -> None:
        code = await process.exited
        record = self.records.get(identifier)
        if record is None:
            return
        self._set(
            identifier,
            replace(
                record.state,
                status=ContainerStatus.EXITED,
                pid=0,
                exit_code=code,
                finished_at=datetime.now(UTC),
            ),
        )
        self.records[identifier] = replace(self.records[identifier], ports=())
        self._engine.bus.emit("container", "die", identifier, name=record.name, exitCode=str(code))
        for future in self._exits.pop(identifier, []):
            if not future.done():
                future.set_result(code)
        if record.host_config.auto_remove:
            await self.remove(identifier)

    async def stop(self, reference: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        identifier = self._find(reference)
        if not self.records[identifier].state.is_running:
            raise NotModified("container is already stopped")
        self._engine.journal.append(f"stop t={timeout_s} signal={signal}")
        self.processes[identifier].kill(143)
        await asyncio.sleep(0.01)

    async def restart(self, reference: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        identifier = self._find(reference)
        if self.records[identifier].state.is_running:
            await self.stop(identifier, timeout_s=timeout_s, signal=signal)
        await self.start(identifier)

    async def kill(self, reference: str, signal: str = "SIGKILL") -> None:
        identifier = self._find(reference)
        if not self.records[identifier].state.is_running:
            raise Conflict(f"cannot kill container: {reference}: container {identifier} is not running")
        self.processes[identifier].kill(137)
        await asyncio.sleep(0.01)

    async def pause(self, reference: str) -> None:
        identifier = self._find(reference)
        state = self.records[identifier].state
        if state.status is not ContainerStatus.RUNNING:
            raise Conflict(f"container {identifier} is not running")
        self._set(identifier, replace(state, status=ContainerStatus.PAUSED))

    async def unpause(self, reference: str) -> None:
        identifier = self._find(reference)
        state = self.records[identifier].state
        if state.status is not ContainerStatus.PAUSED:
            raise Failed(f"Container {identifier} is not paused")
        self._set(identifier, replace(state, status=ContainerStatus.RUNNING))

    async def rename(self, reference: str, name: str) -> None:
        identifier = self._find(reference)
        self.records[identifier] = replace(self.records[identifier], name=name)

    async def update(self, reference: str, request: UpdateContainer) -> tuple[str, ...]:
        identifier = self._find(reference)
        host_config = self.records[identifier].host_config
        if request.restart_policy is not None:
            host_config = replace(host_config, restart_policy=request.restart_policy)
        if request.resources is not None:
            host_config = replace(host_config, resources=request.resources)
        self.records[identifier] = replace(self.records[identifier], host_config=host_config)
        return ()

    async def remove(
        self, reference: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        identifier = self._find(reference)
        record = self.records[identifier]
        if record.state.is_running:
            if not force:
                raise Conflict(
                    f'cannot remove container "/{record.name}": container is running: '
                    "stop the container before removing or force remove"
                )
            await self.kill(identifier)
        self.records.pop(identifier, None)
        for future in self._removals.pop(identifier, []):
            if not future.done():
                future.set_result(record.state.exit_code)
        self._engine.bus.emit("container", "destroy", identifier, name=record.name)

    async def prune(self, filters: Filters) -> tuple[tuple[str, ...], int]:
        gone = tuple(key for key, record in self.records.items() if not record.state.is_running)
        for identifier in gone:
            await self.remove(identifier)
        return gone, 0

    async def wait(self, reference: str, condition: WaitCondition) -> Awaitable[int]:
        identifier = self._find(reference)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        state = self.records[identifier].state
        if condition is WaitCondition.NOT_RUNNING and not state.is_running:
            future.set_result(state.exit_code)
        elif condition is WaitCondition.REMOVED:
            self._removals.setdefault(identifier, []).append(future)
        else:
            self._exits.setdefault(identifier, []).append(future)
        return future

    def _view(self, identifier: str) -> ContainerView:
        record = self.records[identifier]
        networks = self._engine.networks
        endpoints = networks.endpoints_of(identifier)
        sandbox = None
        if record.host_config.network_mode != "host":
            sandbox = Sandbox(
                SandboxId(make_id("sandbox", identifier)),
                record.id,
                f"/run/netns/{short(identifier)}",
                active=record.state.is_running,
                endpoints=endpoints,
            )
        known = {item.network: networks.id_of(item.network) for item in record.attachments}
        return ContainerView(
            record,
            sandbox,
            self._engine.images.store.get(record.image_id),
            network_ids={name: network_id for name, network_id in known.items() if network_id},
            files={name: f"/state/{identifier}/{name}" for name in ("hosts", "resolv.conf", "hostname")},
            log_path=f"/state/{identifier}/log.json",
            exec_ids=tuple(key for key, (view, _) in self.execs.items() if view.container_id == identifier),
        )

    async def get(self, reference: str) -> ContainerView:
        return self._view(self._find(reference))

    async def list(
        self, *, all: bool = False, limit: int = 0, filters: Filters = NO_FILTERS
    ) -> list[ContainerView]:
        for name in filters:
            if name not in ("name", "id", "label", "status", "network"):
                raise InvalidRequest(f"invalid filter '{name}'")
        views = [self._view(identifier) for identifier in reversed(self.records)]
        shown = all or limit or "status" in filters
        views = [view for view in views if shown or view.state.is_running]
        if names := filters.get("name"):
            views = [view for view in views if any(name in view.record.name for name in names)]
        return views[:limit] if limit else views

    async def size(self, reference: str) -> LayerSize:
        self._find(reference)
        return LayerSize(1234, 567890)

    async def top(self, reference: str, ps_args: str) -> ProcessTable:
        identifier = self._find(reference)
        if not self.records[identifier].state.is_running:
            raise Conflict(f"container {identifier} is not running")
        return ProcessTable(("UID", "PID", "CMD"), (("root", "4242", "sleep"),))

    async def stats(self, reference: str) -> ContainerStats:
        identifier = self._find(reference)
        now = datetime.now(UTC)
        if not self.records[identifier].state.is_running:
            return ContainerStats(now)
        used = time.monotonic_ns()
        return ContainerStats(
            now,
            cpu_total_ns=used // 10,
            system_cpu_ns=used,
            memory_usage=4096000,
            memory_limit=8 * 2**30,
            memory_stats={"total_inactive_file": 4096},
            pids_current=1,
            networks=(NetworkCounters("eth0", rx_bytes=100, tx_bytes=50),),
        )

    async def logs(self, reference: str, query: LogQuery) -> AsyncIterator[LogEntry]:
        identifier = self._find(reference)
        process = self.processes.get(identifier)
        if process is None:
            return
        entries = [entry for entry in process.log if _is_wanted(entry, query)]
        if query.tail is not None:
            entries = entries[len(entries) - min(query.tail, len(entries)) :]
        for entry in entries:
            yield entry
        if query.follow and not process.exited.done():
            session = process.attach()
            try:
                async for output in session.output():
                    entry = LogEntry(output.stream, time.time_ns(), output.data)
                    if _is_wanted(entry, query):
                        yield entry
            finally:
                await session.close()

    async def attach(self, reference: str, *, stdin: bool, logs: bool) -> FakeSession:
        identifier = self._find(reference)
        process = self.processes.get(identifier)
        if process is None or (process.exited.done() and not logs):
            process = self.processes[identifier] = self._prepare(self.records[identifier])
        return process.attach(logs=logs)

    async def resize(self, reference: str, size: ConsoleSize) -> None:
        identifier = self._find(reference)
        if not self.records[identifier].state.is_running:
            raise Conflict(f"container {identifier} is not running")
        self.processes[identifier].sizes.append(size)

    async def changes(self, reference: str) -> tuple[Change, ...]:
        self._find(reference)
        return (Change(ChangeKind.MODIFIED, "/etc"), Change(ChangeKind.ADDED, "/etc/new"))

    async def export(self, reference: str) -> AsyncIterator[bytes]:
        self._find(reference)
        return _pieces(b"export " * 1000)

    async def stat_path(self, reference: str, path: str) -> PathStat:
        identifier = self._find(reference)
        if (identifier, path) not in self.archives:
            raise NotFound(f"Could not find the file {path} in container {reference}")
        moment = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
        return PathStat(Path(path).name, len(self.archives[identifier, path]), 0o644, moment)

    async def get_archive(self, reference: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        stat = await self.stat_path(reference, path)
        return stat, _pieces(self.archives[self._find(reference), path])

    async def put_archive(
        self,
        reference: str,
        path: str,
        archive: AsyncIterable[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        copy_uid_gid: bool = False,
    ) -> None:
        identifier = self._find(reference)
        self.archives[identifier, path] = b"".join([piece async for piece in archive])

    async def add_ports(self, reference: str, bindings: Sequence[PortBinding]) -> None:
        identifier = self._find(reference)
        added = tuple(
            PublishedPort(item.container_port, item.protocol, item.host_ip or "0.0.0.0", int(item.host_port))
            for item in bindings
        )
        record = self.records[identifier]
        self.records[identifier] = replace(record, ports=record.ports + added)

    async def remove_ports(self, reference: str, bindings: Sequence[PortBinding]) -> None:
        identifier = self._find(reference)
        record = self.records[identifier]
        gone = {(item.container_port, item.protocol) for item in bindings}
        kept = tuple(port for port in record.ports if (port.container_port, port.protocol) not in gone)
        self.records[identifier] = replace(record, ports=kept)

    async def exec_create(self, reference: str, config: ExecConfig) -> str:
        identifier = ContainerId(self._find(reference))
        if not self.records[identifier].state.is_running:
            raise Conflict(f"container {identifier} is not running")
        exec_id = make_id("exec", next(self._engine.serial))
        self.execs[exec_id] = (ExecView(exec_id, identifier, config), None)
        return exec_id

    async def exec_start(self, exec_id: str, *, size: ConsoleSize | None = None) -> FakeSession:
        view = await self.exec_get(exec_id)
        config = view.config
        process = FakeProcess(config.args, tty=config.tty, stdin=config.attach_stdin)
        session = process.attach()
        try:
            process.start()
        except CannotStart as error:
            self.execs[exec_id] = (replace(view, exit_code=error.exit_code), None)
            raise
        self.execs[exec_id] = (replace(view, is_running=True, pid=4243), process)
        return session

    async def exec_start_detached(self, exec_id: str) -> None:
        await self.exec_start(exec_id)

    async def exec_resize(self, exec_id: str, size: ConsoleSize) -> None:
        await self.exec_get(exec_id)
        _, process = self.execs[exec_id]
        if process is not None:
            process.sizes.append(size)

    async def exec_get(self, exec_id: str) -> ExecView:
        if exec_id not in self.execs:
            raise NotFound(f"No such exec instance: {exec_id}")
        view, process = self.execs[exec_id]
        if process is not None and process.exited.done():
            view = replace(view, is_running=False, exit_code=process.exited.result())
        return view


def _is_wanted(entry: LogEntry, query: LogQuery) -> bool:
    return (
        (query.stdout if entry.stream.name == "STDOUT" else query.stderr)
        and entry.time_ns >= (query.since_ns or 0)
        and (query.until_ns is None or entry.time_ns <= query.until_ns)
    )


async def _pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
