"""The real `Runtime`: it puts the parts together and keeps their order.

Its life methods are for one caller at a time per container, as the engine has it; everything else
may be called by many at once.
"""

import asyncio
import functools
import shutil
import signal
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ...model.containers import MountPoint, Resources
from ...model.errors import Conflict, Failed, InvalidRequest, NotFound
from ...model.ids import ContainerId, ImageId
from . import conmon, launch, logs, rootfs, runc, stats
from .api import (
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
    PathStat,
    ProcessStatus,
    ProcessTable,
)
from .attach import ContainerSession, Signal
from .components import read_components
from .execs import Execs
from .files import ContainerFiles
from .hostfacts import HostFacts, read_host_facts, resolve_devices
from .inotify import Inotify
from .layers import stream_layer
from .layout import ContainerPaths, Layout
from .spec import SpecInput, build_spec
from .supervision import Run, Supervisor, find_conmon, read_exit
from .teardown import release_container
from .top import process_table


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs we drive, by name or path."""

    runc: str = "runc"
    conmon: str = "conmon"


class LocalRuntime:
    """Containers by runc under conmon, in the two directories of `layout`.

    `cgroup_parent` is an absolute cgroup path of this daemon's alone. `lower_dir` gives an image's
    unpacked files (`ImageStore.lower_dir`).
    """

    def __init__(
        self,
        layout: Layout,
        lower_dir: Callable[[ImageId], Awaitable[Path]],
        *,
        cgroup_parent: str,
        programs: Programs | None = None,
        seccomp_profile: Path | None = Path("/usr/share/containers/seccomp.json"),
    ) -> None:
        self._layout = layout
        self._lower_dir = lower_dir
        self._cgroup_parent = "/" + cgroup_parent.strip("/")
        programs = programs or Programs()
        self._runc = runc.Runc(programs.runc, layout.runc)
        self._conmon = conmon.Conmon(programs.conmon, _absolute(programs.runc), layout.runc)
        self._named_programs = (("runc", programs.runc), ("conmon", programs.conmon))
        self._components: tuple[Component, ...] | None = None
        self._seccomp_profile = seccomp_profile
        self._facts = HostFacts()
        self._inotify = Inotify()
        self._exits: asyncio.Queue[ExitEvent] = asyncio.Queue()
        self._supervisor = Supervisor(layout, self._inotify, self._exits.put_nowait)
        self._waiting: dict[ContainerId, set[ContainerSession]] = {}
        self._files = ContainerFiles(self._read_record, self._mount)
        self._execs = Execs(self._conmon, self._inotify)

    # --- the daemon's own life

    async def open(self) -> None:
        """Make the directories, look at the host, adopt what runs."""
        layout = self._layout
        if ":" in str(layout.state_dir):
            raise InvalidRequest(
                f"the state directory {layout.state_dir} cannot be used: conmon cannot write a log "
                "to a path with a colon",
                remedy="choose another --state-dir",
            )
        for directory in (
            layout.containers, layout.bundles, layout.execs, layout.exits, layout.runc,
        ):  # fmt: skip
            directory.mkdir(mode=0o710, parents=True, exist_ok=True)
        rootfs.make_filler(layout.filler)
        self._facts = await asyncio.to_thread(read_host_facts, self._seccomp_profile)
        self._inotify.open()
        self._supervisor.open()
        for container_id in layout.known_ids():
            if (run := self._supervisor.get(container_id)) is not None:
                logs.finish_rotation(run.paths.log, functools.partial(conmon.reopen_log, run.paths.bundle))
                self._keep_log_small(run)

    async def close(self) -> None:
        """Stop watching. Containers run on; sessions and followed logs end."""
        for sessions in tuple(self._waiting.values()):
            for session in tuple(sessions):
                await session.close()
        self._supervisor.close()
        self._execs.close()
        self._inotify.close()
        for directory in runc.cgroup_directories(self._cgroup_parent):
            try:
                directory.rmdir()
            except OSError:
                continue  # Containers are in it.

    async def components(self) -> tuple[Component, ...]:
        """Ask the programs, the first time."""
        if self._components is None:
            init = self._facts.init_program
            self._components = await read_components(
                [*self._named_programs, *([] if init is None else [("init", str(init))])]
            )
        return self._components

    # --- life

    async def provision(
        self, container_id: ContainerId, image_id: ImageId, mounts: tuple[MountPoint, ...] = ()
    ) -> None:
        """Make the writable layer."""
        paths = self._layout.of(container_id)
        rootfs.make_layer(paths, await self._lower_dir(image_id))
        launch.write_record(paths, launch.LaunchRecord(image_id, mounts))

    async def create(self, request: LaunchRequest) -> Launched:
        """Build the container's process."""
        container_id = request.container_id
        paths = self._layout.of(container_id)
        if (run := self._supervisor.get(container_id)) is not None and not run.is_ended:
            raise Conflict(f"container {container_id} is already running")
        await self.release(container_id)
        try:
            warnings = await self._build(request, paths)
            config = request.config
            await conmon.launch(
                self._conmon,
                conmon.ConmonLaunch(
                    container_id=container_id,
                    unique_id=container_id,
                    directory=paths.bundle,
                    exit_dir=self._layout.exits,
                    terminal=config.tty,
                    stdin=config.open_stdin,
                    # A terminal's input outlives the client that detached from it.
                    leave_stdin_open=config.open_stdin and (config.tty or not config.stdin_once),
                    log=paths.log,
                ),
            )
            state = runc.read_state(paths)
            if state is None:
                raise Failed(f"runc built {container_id} but left no state of it")
        except BaseException:
            for session in self._waiting.pop(container_id, set()):
                session.fail()
            await asyncio.shield(self.release(container_id))
            raise
        run = self._supervisor.track(container_id, state.process)
        self._keep_log_small(run)
        for session in self._waiting.pop(container_id, set()):
            self._bind(session, run)
        return Launched(state.init_process_pid, warnings)

    async def _build(self, request: LaunchRequest, paths: ContainerPaths) -> tuple[str, ...]:
        """Mount the root and write the bundle; returns the warnings."""
        host = request.host_config
        lower = await self._lower_dir(request.image_id)
        rootfs.make_layer(paths, lower)
        # Before anything is in the kernel: whoever cleans up reads where it is.
        record = launch.record_of(request, self._cgroup_parent)
        launch.write_record(paths, record)
        paths.bundle.mkdir(mode=0o700, exist_ok=True)
        rootfs.mount_root(paths, lower, self._layout.filler)
        shm = rootfs.mount_shm(request, self._layout)
        built = build_spec(
            SpecInput(
                request=replace(
                    request, host_config=replace(host, security_opt=_read_profiles(host.security_opt))
                ),
                rootfs=paths.root,
                cgroup_path=record.cgroup_path,
                identity=rootfs.read_identity(paths.root, request.config.user, host.group_add),
                facts=self._facts,
                devices=resolve_devices(host.devices),
                pid_namespace_of=self._pid_of(request.pid_of, "PID"),
                ipc_namespace_of=self._pid_of(request.ipc_of, "IPC"),
                shm=shm,
            )
        )
        (paths.bundle / "config.json").write_bytes(msgspec.json.encode(built.json))
        return built.warnings

    def _pid_of(self, container_id: ContainerId | None, kind: str) -> int:
        if container_id is None:
            return 0
        run = self._supervisor.get(container_id)
        if run is None or run.is_ended:
            raise Conflict(f"cannot join {kind} namespace of a non running container: {container_id}")
        return run.process.pid

    async def start(self, container_id: ContainerId) -> datetime:
        """Let the command run."""
        run = self._supervisor.get(container_id)
        if run is None:
            raise Conflict(f"container {container_id} is not created")
        if not run.is_ended:
            await runc.start(run.paths, container_id)
        run.started_at = datetime.now(UTC)
        return run.started_at

    async def kill(self, container_id: ContainerId, signal: int) -> None:
        """Send a signal to the first process."""
        run = self._running(container_id)
        if not run.process.send(signal):
            raise Conflict(f"container {container_id} is not running")
        if signal == _SIGKILL:
            runc.thaw(self._cgroup_of(container_id))

    async def pause(self, container_id: ContainerId) -> None:
        """Freeze."""
        self._running(container_id)
        await self._runc.call("pause", container_id)

    async def resume(self, container_id: ContainerId) -> None:
        """Thaw."""
        self._running(container_id)
        await self._runc.call("resume", container_id)

    async def update(self, container_id: ContainerId, resources: Resources) -> None:
        """Change the limits of a running container."""
        self._running(container_id)
        if arguments := runc.update_arguments(resources):
            await self._runc.call("update", *arguments, container_id)

    def log_path(self, container_id: ContainerId) -> str:
        """Where the current log file is."""
        return str(self._layout.of(container_id).log)

    async def wait_exit(self, container_id: ContainerId) -> ExitEvent:
        """Wait for the end of the present run."""
        run = self._supervisor.get(container_id)
        if run is None:
            raise Conflict(f"container {container_id} is not running")
        await run.ended.wait()
        if run.exit is None:
            raise Conflict(f"container {container_id} is not running")
        return run.exit

    async def release(self, container_id: ContainerId) -> None:
        """Undo the run."""
        paths = self._layout.of(container_id)
        cgroup_path = self._cgroup_of(container_id)
        await release_container(self._runc, paths, container_id, cgroup_path)
        self._supervisor.forget(container_id)

    async def remove(self, container_id: ContainerId) -> None:
        """Delete everything of the container."""
        paths = self._layout.of(container_id)
        for session in self._waiting.pop(container_id, set()):
            session.fail()
        await self.release(container_id)
        if paths.state.exists():
            await asyncio.to_thread(_delete_tree, paths.state)

    async def exits(self) -> AsyncIterator[ExitEvent]:
        """Yield exits as they come."""
        while True:
            yield await self._exits.get()

    # --- what is

    async def state(self, container_id: ContainerId) -> ContainerRecord:
        """Observe one container."""
        return self._observe(container_id)

    async def scan(self) -> tuple[ContainerRecord, ...]:
        """Observe all."""
        return tuple(self._observe(container_id) for container_id in self._layout.known_ids())

    def _observe(self, container_id: ContainerId) -> ContainerRecord:
        paths = self._layout.of(container_id)
        state = runc.read_state(paths)
        process = None if state is None else state.process
        conmon_process = find_conmon(paths.bundle)
        run = self._supervisor.get(container_id)
        exit_event = read_exit(paths, container_id) or (None if run is None else run.exit)
        status = ProcessStatus.NONE
        pid = 0
        if process is not None and process.is_alive():
            pid = process.pid
            if runc.is_waiting_for_start(paths, pid):
                status = ProcessStatus.CREATED
            elif runc.is_frozen(self._cgroup_of(container_id)):
                status = ProcessStatus.PAUSED
            else:
                status = ProcessStatus.RUNNING
        elif process is not None or exit_event is not None:
            status = ProcessStatus.EXITED
        started_at = None if run is None else run.started_at
        if started_at is None and process is not None and status is not ProcessStatus.CREATED:
            started_at = stats.start_time(process.start_ticks)
        return ContainerRecord(
            container_id=container_id,
            status=status,
            pid=pid,
            conmon_pid=0 if conmon_process is None else conmon_process.pid,
            started_at=started_at,
            exit=exit_event,
            is_mounted=rootfs.is_mounted(paths),
        )

    async def processes(self, container_id: ContainerId) -> tuple[int, ...]:
        """Return the numbers of the container's processes."""
        self._running(container_id)
        return runc.cgroup_processes(self._cgroup_of(container_id))

    async def top(self, container_id: ContainerId, ps_args: str = "-ef") -> ProcessTable:
        """Run `ps`."""
        return await process_table(await self.processes(container_id), ps_args)

    async def stats(self, container_id: ContainerId) -> ContainerStats:
        """Sample."""
        run = self._running(container_id)
        return stats.read_stats(self._cgroup_of(container_id), run.process.pid)

    # --- streams

    async def attach(
        self, container_id: ContainerId, *, stdin: bool = False, logs: bool = False
    ) -> ConsoleSession:
        """Connect to the run there is, or to the next."""
        run = self._supervisor.get(container_id)
        session = ContainerSession(stdin, logs, self._drop_session(container_id))
        if run is None or run.is_ended:
            self._waiting.setdefault(container_id, set()).add(session)
        else:
            self._bind(session, run)
        return session

    def _bind(self, session: ContainerSession, run: Run) -> None:
        cursor = logs.LogCursor(run.paths.log)
        if not session.wants_logs:
            cursor.at_end()
        self._supervisor.follow(run, session.signal)
        session.bind(cursor, run.paths.bundle, lambda: run.is_ended)

    def _drop_session(self, container_id: ContainerId) -> Callable[[ContainerSession], None]:
        def drop(session: ContainerSession) -> None:
            self._waiting.get(container_id, set()).discard(session)
            if (run := self._supervisor.get(container_id)) is not None:
                self._supervisor.unfollow(run, session.signal)

        return drop

    async def resize(self, container_id: ContainerId, size: ConsoleSize) -> None:
        """Set the terminal's size."""
        run = self._running(container_id)
        conmon.resize_terminal(run.paths.bundle, size.rows, size.columns)

    async def logs(self, container_id: ContainerId, query: LogQuery) -> AsyncIterator[LogEntry]:
        """Yield log entries."""
        paths = self._layout.of(container_id)
        if not paths.state.exists():
            raise NotFound(f"No such container: {container_id}")
        run = self._supervisor.get(container_id)
        signal_ = Signal()
        if run is not None:
            self._supervisor.follow(run, signal_)
        try:
            async for entry in logs.read_log(
                paths.log, query, signal_.wait, lambda: self._has_ended(container_id, run)
            ):
                yield entry
        finally:
            if run is not None:
                self._supervisor.unfollow(run, signal_)

    def _has_ended(self, container_id: ContainerId, run: Run | None) -> bool:
        return run is None or run.is_ended or self._supervisor.get(container_id) is not run

    def _keep_log_small(self, run: Run) -> None:
        """Rotate the run's log whenever it has grown too large."""
        config = self._read_record(run.container_id).log_config
        if config.max_size <= 0:
            return
        reopen = functools.partial(conmon.reopen_log, run.paths.bundle)

        def check() -> None:
            logs.rotate(run.paths.log, config.max_size, config.max_files, reopen)

        self._supervisor.keep_small(run, check)

    async def exec(self, request: ExecRequest) -> ExecSession:
        """Run a further process."""
        run = self._running(request.container_id)
        if runc.is_frozen(self._cgroup_of(request.container_id)):
            raise Conflict(f"container {request.container_id} is paused, unpause the container before exec")
        identity = None
        if request.user:
            root = Path(f"/proc/{run.process.pid}/root")
            identity = rootfs.read_identity(root, request.user)
        return await self._execs.start(request, run.paths, identity, self._facts)

    async def end_old_execs(self, container_id: ContainerId, is_meant: Callable[[str], bool]) -> int:
        """Kill what an earlier daemon left running."""
        return await self._execs.end_old(self._layout.of(container_id), is_meant)

    # --- files

    async def changes(self, container_id: ContainerId) -> tuple[Change, ...]:
        """Compare with the image."""
        paths = self._layout.of(container_id)
        lower = await self._lower_dir(self._read_record(container_id).image_id)
        lowers = (lower, self._layout.filler)
        return await asyncio.to_thread(rootfs.read_changes, paths.upper, lowers)

    async def size(self, container_id: ContainerId) -> LayerSize:
        """Add up the files."""
        paths = self._layout.of(container_id)
        lower = await self._lower_dir(self._read_record(container_id).image_id)
        writable = await asyncio.to_thread(rootfs.tree_size, paths.upper)
        return LayerSize(writable, writable + await asyncio.to_thread(rootfs.tree_size, lower))

    async def export(self, container_id: ContainerId) -> AsyncIterator[bytes]:
        """Yield the whole root as a tar archive."""
        lower = await self._lower_dir(self._read_record(container_id).image_id)
        hidden = rootfs.own_mount_points(lower, self._layout.of(container_id).upper)
        async for chunk in self._files.export(container_id, hidden):
            yield chunk

    async def layer(self, container_id: ContainerId) -> AsyncIterator[bytes]:
        """Yield what the container changed."""
        self._read_record(container_id)
        async with aclosing(stream_layer(self._layout.of(container_id).upper)) as parts:
            async for chunk in parts:
                yield chunk

    def places(self, container_id: ContainerId, image_files: Path) -> LayerPlaces:
        """Return the directories of the root."""
        paths = self._layout.of(container_id)
        return LayerPlaces((image_files, self._layout.filler), paths.upper, paths.work, paths.root)

    async def stat_path(self, container_id: ContainerId, path: str) -> PathStat:
        """Look at a path."""
        return await self._files.stat(container_id, self._pid_or_none(container_id), path)

    async def get_archive(
        self, container_id: ContainerId, path: str
    ) -> tuple[PathStat, AsyncIterator[bytes]]:
        """Pack a path."""
        return await self._files.get(container_id, self._pid_or_none(container_id), path)

    async def put_archive(
        self,
        container_id: ContainerId,
        path: str,
        archive: AsyncIterable[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        copy_uid_gid: bool = False,
    ) -> None:
        """Unpack into a directory."""
        await self._files.put(
            container_id,
            self._pid_or_none(container_id),
            path,
            archive,
            keep_kinds=no_overwrite_dir_non_dir,
            to_user=copy_uid_gid,
        )

    # --- helpers

    def _running(self, container_id: ContainerId) -> Run:
        run = self._supervisor.get(container_id)
        if run is None or run.is_ended:
            self._read_record(container_id)  # Unknown altogether: NotFound.
            raise Conflict(f"container {container_id} is not running")
        return run

    def _pid_or_none(self, container_id: ContainerId) -> int | None:
        run = self._supervisor.get(container_id)
        return None if run is None or run.is_ended else run.process.pid

    def _cgroup_of(self, container_id: ContainerId) -> str:
        try:
            recorded = self._read_record(container_id).cgroup_path
        except NotFound:
            recorded = ""
        return recorded or f"{self._cgroup_parent}/{container_id}"

    def _read_record(self, container_id: ContainerId) -> launch.LaunchRecord:
        return launch.read_record(self._layout.of(container_id), container_id)

    async def _mount(self, container_id: ContainerId) -> tuple[Path, bool]:
        """Mount a container's root for `cp`; the flag says that it was not mounted before."""
        paths = self._layout.of(container_id)
        lower = await self._lower_dir(self._read_record(container_id).image_id)
        rootfs.make_layer(paths, lower)
        return paths.root, rootfs.mount_root(paths, lower, self._layout.filler)


_SIGKILL = int(signal.SIGKILL)


def _absolute(program: str) -> str:
    """conmon wants its runtime by path."""
    return shutil.which(program) or program


def _read_profiles(options: tuple[str, ...]) -> tuple[str, ...]:
    """Put a profile's content in the place of its path, in what `--security-opt` says."""
    read = []
    for option in options:
        key, _, value = option.partition("=")
        if key == "seccomp" and value.startswith("/"):
            try:
                value = Path(value).read_text()
            except OSError as error:
                raise InvalidRequest(f"opening seccomp profile ({value}) failed: {error.strerror}") from error
            option = f"seccomp={value}"  # noqa: PLW2901
        read.append(option)
    return tuple(read)


def _delete_tree(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        # Something appeared meanwhile, or a flag (chattr) is in the way: this time with words.
        try:
            shutil.rmtree(directory)
        except OSError as error:
            raise Failed(f"cannot delete {error.filename}: {error.strerror}") from error
