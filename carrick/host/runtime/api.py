"""What the container runtime offers to the engine: `Runtime`, with its values and events.

The real one is `LocalRuntime`; `carrick.testing.fake_runtime` has a fake with the same behaviour. Neither
knows networks: the engine gives a network namespace's path and the files to mount. Images and volumes are
`image_store`'s and `volume_store`'s.

A container's life, as the engine drives it. Each step may be repeated, and each may have been cut short:

    provision   make its writable layer                          (docker create)
    create      mount the root, start conmon, let runc build it  (docker start, first half)
    start       let its command run                              (docker start, second half)
    …           kill, pause, resume, exec, attach, logs, stats
    exit event  its process ended; `exits()` tells, also after a daemon's restart
    release     give back what running took: cgroups, mounts, processes, runtime state
    remove      release, and delete its writable layer and logs  (docker rm)
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Protocol

from ...model.containers import (
    ContainerConfig,
    HostConfig,
    MountPoint,
    Resources,
)
from ...model.errors import InvalidRequest
from ...model.ids import ContainerId, ImageId

# --- errors ---------------------------------------------------------------------------------------


class CannotStart(InvalidRequest):
    """The command cannot be executed; `exit_code` is what `docker run` ends with (126 or 127)."""

    def __init__(self, message: str, *, exit_code: int, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.exit_code = exit_code


# --- containers -----------------------------------------------------------------------------------


class Stream(IntEnum):
    """The streams of a process, by Docker's frame numbers."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2


class ProcessStatus(StrEnum):
    """What the kernel says of a container, whatever the store thinks."""

    NONE = "none"
    """No process: provisioned at most."""
    CREATED = "created"
    """Built by runc, its command not yet executed."""
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"
    """Ended, and not yet released."""


@dataclass(frozen=True, slots=True)
class FileMount:
    """A host file or directory put into the container by the engine (resolv.conf, hosts …)."""

    source: Path
    destination: str
    read_write: bool = True


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """All that `create` needs to build a container's process.

    `config` is merged with the image's already (`ContainerConfig.with_image`). `hostname` is what the
    UTS namespace gets; empty with the host's. `netns` is the sandbox's path; None stays in the
    host's. `mounts` are resolved, their sources exist. `pid_of` and `ipc_of` are for the modes
    `container:ID`. `extra_env` comes after the image's and before the container's own (links).
    """

    container_id: ContainerId
    image_id: ImageId
    config: ContainerConfig
    host_config: HostConfig
    hostname: str = ""
    netns: Path | None = None
    files: tuple[FileMount, ...] = ()
    mounts: tuple[MountPoint, ...] = ()
    extra_env: tuple[str, ...] = ()
    pid_of: ContainerId | None = None
    ipc_of: ContainerId | None = None


@dataclass(frozen=True, slots=True)
class Launched:
    """A container that `create` has built. `warnings` are for the person who asked."""

    pid: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExitEvent:
    """A container's process ended. `exit_code` is 128 + the signal where one ended it."""

    container_id: ContainerId
    exit_code: int
    finished_at: datetime
    oom_killed: bool = False


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """What exists of one container on this host; `scan` and `state` observe it.

    `pid` is 0 unless the very process that runc started is alive (compared by its start time).
    """

    container_id: ContainerId
    status: ProcessStatus
    pid: int = 0
    conmon_pid: int = 0
    started_at: datetime | None = None
    exit: ExitEvent | None = None
    is_mounted: bool = False


@dataclass(frozen=True, slots=True)
class ConsoleSize:
    """A terminal's size in characters."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A further process in a running container. `user` and `working_dir` empty: the container's.

    `env` is added to the container's. `stdin` keeps it open for the session to write to.
    """

    exec_id: str
    container_id: ContainerId
    args: tuple[str, ...]
    tty: bool = False
    stdin: bool = False
    user: str = ""
    working_dir: str = ""
    env: tuple[str, ...] = ()
    privileged: bool = False
    console_size: ConsoleSize | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes a process wrote, exactly as it did. With a TTY all of it is STDOUT."""

    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A piece of log: a line with its newline, or, if `partial`, a part whose rest follows."""

    stream: Stream
    time_ns: int
    """Nanoseconds since the epoch."""
    data: bytes
    partial: bool = False


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which log entries: `tail` None is all of them, `since_ns`/`until_ns` are since the epoch."""

    stdout: bool = True
    stderr: bool = True
    tail: int | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    follow: bool = False


@dataclass(frozen=True, slots=True)
class ProcessTable:
    """What `top` shows: `ps`'s columns for the container's processes."""

    titles: tuple[str, ...]
    processes: tuple[tuple[str, ...], ...]


class ChangeKind(IntEnum):
    """Docker's numbers for `diff`."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs from the image."""

    kind: ChangeKind
    path: str


@dataclass(frozen=True, slots=True)
class LayerSize:
    """Bytes: `writable` of the container's own layer, `root` with the image."""

    writable: int
    root: int


@dataclass(frozen=True, slots=True)
class LayerPlaces:
    """Where overlayfs puts a container's root together; `lower` are the read-only ones, the highest first."""

    lower: tuple[Path, ...]
    upper: Path
    work: Path
    merged: Path


@dataclass(frozen=True, slots=True)
class PathStat:
    """What `cp` wants to know of a path. `mode` is Go's os.FileMode, as Docker's JSON has it."""

    name: str
    size: int
    mode: int
    mtime: datetime
    link_target: str = ""


@dataclass(frozen=True, slots=True)
class NetworkCounters:
    """Counters of one interface, as seen from inside the container."""

    interface: str
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


@dataclass(frozen=True, slots=True)
class BlockCounter:
    """Bytes or operations of one kind (`Read`, `Write` …) on one device."""

    major: int
    minor: int
    operation: str
    value: int


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """One sample of a container's resources. Times are nanoseconds since its start."""

    read_at: datetime
    cpu_total_ns: int = 0
    cpu_user_ns: int = 0
    cpu_kernel_ns: int = 0
    cpu_per_core_ns: tuple[int, ...] = ()
    system_cpu_ns: int = 0
    """All CPU time that the host has spent, busy or idle: the divisor of Docker's percentage."""
    online_cpus: int = 1
    throttled_periods: int = 0
    throttled_count: int = 0
    throttled_ns: int = 0
    memory_usage: int = 0
    memory_max_usage: int = 0
    memory_limit: int = 0
    """The host's memory where there is no limit."""
    memory_stats: dict[str, int] = field(default_factory=dict)
    memory_failures: int = 0
    pids_current: int = 0
    pids_limit: int = 0
    """0 where there is none."""
    networks: tuple[NetworkCounters, ...] = ()
    block_bytes: tuple[BlockCounter, ...] = ()
    block_operations: tuple[BlockCounter, ...] = ()


class ConsoleSession(Protocol):
    """A client's connection to a process's streams. Closing it leaves the process running.

    Several may be open to one container; one that does not read delays no other and loses nothing.
    """

    def output(self) -> AsyncIterator[Output]:
        """Yield the output as it comes, until the process ended and all is delivered."""
        ...

    async def write(self, data: bytes) -> None:
        """Write to standard input; returns when it is handed on. Ignored once it is closed."""
        ...

    async def close_stdin(self) -> None:
        """End standard input (half-close); output goes on."""
        ...

    async def close(self) -> None:
        """Let go of the process. Repeatable."""
        ...


class ExecSession(ConsoleSession, Protocol):
    """A running exec."""

    @property
    def pid(self) -> int:
        """The process's id on the host."""
        ...

    async def wait(self) -> int:
        """Return the exit code once the process ended; may be called by many."""
        ...

    async def resize(self, size: ConsoleSize) -> None:
        """Set the terminal's size."""
        ...

    async def kill(self) -> None:
        """Kill the process and those of its children that stayed in its session. Repeatable."""
        ...


@dataclass(frozen=True, slots=True)
class Component:
    """A program that containers are run with: `runc`, `conmon` or `init`."""

    name: str
    program: str
    version: str
    commit: str = ""


class Runtime(Protocol):
    """Containers on this host. Unknown ids are NotFound; removals of what is gone are success."""

    async def open(self) -> None:
        """Make the directories and start to watch for exits. Call once, before anything else."""
        ...

    async def close(self) -> None:
        """Stop watching; containers run on."""
        ...

    async def components(self) -> tuple[Component, ...]:
        """Return the programs that are driven, those that are there, with their versions."""
        ...

    # life
    async def provision(
        self, container_id: ContainerId, image_id: ImageId, mounts: tuple[MountPoint, ...] = ()
    ) -> None:
        """Make the writable layer over the image, so that `cp` and `create` work.

        `mounts` tell `cp` where volumes and binds lie while the container does not run.
        """
        ...

    async def create(self, request: LaunchRequest) -> Launched:
        """Build the container's process and stop before its command.

        Releases what an earlier run left. Raises CannotStart if the command cannot be executed,
        InvalidRequest for what the configuration gets wrong, Failed for the rest; after an
        error nothing of the run is left.
        """
        ...

    async def start(self, container_id: ContainerId) -> datetime:
        """Let the command run; returns when it did. Sessions opened before miss nothing."""
        ...

    async def kill(self, container_id: ContainerId, signal: int) -> None:
        """Send a signal to the container's first process. Conflict if it does not run."""
        ...

    async def pause(self, container_id: ContainerId) -> None:
        """Freeze all its processes."""
        ...

    async def resume(self, container_id: ContainerId) -> None:
        """Let frozen processes go on."""
        ...

    async def update(self, container_id: ContainerId, resources: Resources) -> None:
        """Change the limits of a running container; what is 0 or empty stays as it is."""
        ...

    def log_path(self, container_id: ContainerId) -> str:
        """Return the path of the container's current log file, for `inspect`."""
        ...

    async def wait_exit(self, container_id: ContainerId) -> ExitEvent:
        """Return when the container ended (at once if it has, and is not released)."""
        ...

    async def release(self, container_id: ContainerId) -> None:
        """End what is alive of the container and give back cgroups, mounts and runtime state.

        Keeps its writable layer and its logs. Also the acknowledgement of its exit event.
        """
        ...

    async def remove(self, container_id: ContainerId) -> None:
        """Release the container and delete all that is its own, whatever half-state it is in."""
        ...

    def exits(self) -> AsyncIterator[ExitEvent]:
        """Yield every exit, those that happened while nobody watched first. One consumer.

        An event not followed by `release` comes again after the next `open`.
        """
        ...

    # what is
    async def state(self, container_id: ContainerId) -> ContainerRecord:
        """Observe one container; status NONE if nothing runs or is left of a run."""
        ...

    async def scan(self) -> tuple[ContainerRecord, ...]:
        """Observe every container that has anything on this host, sorted by id."""
        ...

    async def processes(self, container_id: ContainerId) -> tuple[int, ...]:
        """Return the host's ids of all processes in the container."""
        ...

    async def top(self, container_id: ContainerId, ps_args: str = "-ef") -> ProcessTable:
        """Return `ps`'s table of the container's processes."""
        ...

    async def stats(self, container_id: ContainerId) -> ContainerStats:
        """Sample the container's resources."""
        ...

    # streams
    async def attach(
        self, container_id: ContainerId, *, stdin: bool = False, logs: bool = False
    ) -> ConsoleSession:
        """Connect to the container's streams, running or about to be created.

        Opened before `create`, the session gets everything from the first byte of the next run.
        `logs` delivers first what the container wrote before.
        """
        ...

    async def resize(self, container_id: ContainerId, size: ConsoleSize) -> None:
        """Set the size of the container's terminal."""
        ...

    def logs(self, container_id: ContainerId, query: LogQuery) -> AsyncIterator[LogEntry]:
        """Yield log entries, over all rotated files; with `follow` until the container ends."""
        ...

    async def exec(self, request: ExecRequest) -> ExecSession:
        """Run a further process. Raises CannotStart; Conflict if the container does not run."""
        ...

    async def end_old_execs(self, container_id: ContainerId, is_meant: Callable[[str], bool]) -> int:
        """Kill execs that an earlier daemon started, those whose ids are meant; return how many ran."""
        ...

    # files
    async def changes(self, container_id: ContainerId) -> tuple[Change, ...]:
        """Return what differs from the image, sorted by path."""
        ...

    async def size(self, container_id: ContainerId) -> LayerSize:
        """Measure the container's files."""
        ...

    def export(self, container_id: ContainerId) -> AsyncIterator[bytes]:
        """Yield a tar archive of the whole root file system."""
        ...

    def layer(self, container_id: ContainerId) -> AsyncIterator[bytes]:
        """Yield a tar archive of what differs from the image, as an image's layer has it: with
        whiteouts (OCI image-spec, layer.md)."""
        ...

    def places(self, container_id: ContainerId, image_files: Path) -> LayerPlaces:
        """Return where a container's layers are, for `inspect`; `image_files` are its image's."""
        ...

    async def stat_path(self, container_id: ContainerId, path: str) -> PathStat:
        """Look at a path as the container sees it; a last symbolic link is not followed."""
        ...

    async def get_archive(
        self, container_id: ContainerId, path: str
    ) -> tuple[PathStat, AsyncIterator[bytes]]:
        """Return a tar archive of a path, its entries named from the path's last part."""
        ...

    async def put_archive(
        self,
        container_id: ContainerId,
        path: str,
        archive: AsyncIterable[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        copy_uid_gid: bool = False,
    ) -> None:
        """Unpack a tar archive into a directory of the container."""
        ...
