"""What we ask of runc itself, and what we read of its state.

A start of runc is some milliseconds, so the common questions (does it run, which processes) are
answered from its state file, which it keeps for every container (`state.json`, stable since 1.0),
and from cgroupfs.
"""

import asyncio
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ...model.containers import Resources
from ...model.errors import Failed
from .layout import ContainerPaths
from .processes import ProcessHandle, readable, run

_FIFO = "exec.fifo"
_START_TIMEOUT_S = 30.0
_CGROUP_ROOT = Path("/sys/fs/cgroup")


class RuncState(msgspec.Struct, frozen=True):
    """The part of runc's state.json that we need."""

    init_process_pid: int = 0
    init_process_start: int = 0
    cgroup_paths: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def process(self) -> ProcessHandle:
        """The container's first process, alive or not."""
        return ProcessHandle(self.init_process_pid, self.init_process_start)


@dataclass(frozen=True, slots=True)
class Runc:
    """The program and its --root."""

    program: str
    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    async def call(self, *arguments: str) -> None:
        """Run one of runc's commands. Raises Failed with its words."""
        completed = await run([self.program, "--root", str(self.root), *arguments])
        if completed.returncode != 0:
            raise Failed(f"runc {arguments[0]} failed: {completed.error_text}")


def update_arguments(resources: Resources) -> list[str]:
    """Return the flags of `runc update` for the limits that are given; 0 and "" leave one as it is."""
    quota, period = resources.cpu_quota, resources.cpu_period
    if resources.nano_cpus:
        quota, period = resources.nano_cpus // 10_000, 100_000
    given: dict[str, int | str | None] = {
        "--memory": resources.memory,
        "--memory-swap": resources.memory_swap,
        "--memory-reservation": resources.memory_reservation,
        "--cpu-share": resources.cpu_shares,
        "--cpu-quota": quota,
        "--cpu-period": period,
        "--cpuset-cpus": resources.cpuset_cpus,
        "--cpuset-mems": resources.cpuset_mems,
        "--pids-limit": resources.pids_limit,
        "--blkio-weight": resources.blkio_weight,
    }
    return [word for name, value in given.items() if value for word in (name, str(value))]


def read_state(paths: ContainerPaths) -> RuncState | None:
    """Return runc's state of a container, None if it has none (or a torn one: it was killed)."""
    try:
        return msgspec.json.decode((paths.runc_state / "state.json").read_bytes(), type=RuncState)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def is_waiting_for_start(paths: ContainerPaths, pid: int) -> bool:
    """True between `runc create` and `runc start`: the first process waits at a pipe.

    A start that was cut short may have left the pipe, so the process must still be runc's own.
    """
    if not (paths.runc_state / _FIFO).exists():
        return False
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("runc:[")
    except (FileNotFoundError, ProcessLookupError):
        return False


async def start(paths: ContainerPaths, container_id: str) -> None:
    """Let a created container run its command. Repeatable.

    The same that `runc start` does without hooks: read the pipe at which the first process waits,
    then remove it. Done here since it saves a program's whole start on the way to every container.
    """
    fifo = paths.runc_state / _FIFO
    state = read_state(paths)
    if state is None:
        raise Failed(f"cannot start {container_id}: runc does not know it")
    if is_waiting_for_start(paths, state.init_process_pid):
        descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await _take_turn(descriptor, state.process)
        except TimeoutError as error:
            raise Failed(f"cannot start {container_id}: its first process does not answer") from error
        finally:
            os.close(descriptor)
    fifo.unlink(missing_ok=True)


async def _take_turn(descriptor: int, process: ProcessHandle) -> None:
    """Read the byte with which the first process says that it goes on."""
    while True:
        try:
            if os.read(descriptor, 1):
                return
            # No writer yet: a non-blocking pipe reads as ended until it has one.
            await asyncio.sleep(0.0005)
        except BlockingIOError:
            await readable(descriptor)
        if not process.is_alive():
            return  # Killed meanwhile: its exit will be told.


async def delete(runc: Runc, paths: ContainerPaths, container_id: str) -> None:
    """Remove runc's state of a container that ended, and its cgroups. Repeatable."""
    if paths.runc_state.exists():
        try:
            await runc.call("delete", container_id)
        except Failed:
            # A state that runc itself cannot make sense of: what it stands for, we clear below.
            shutil.rmtree(paths.runc_state, ignore_errors=True)


# --- cgroups --------------------------------------------------------------------------------------


def cgroup_directories(cgroup_path: str) -> tuple[Path, ...]:
    """Return the directories that a cgroup path has now, one per hierarchy."""
    relative = cgroup_path.lstrip("/")
    if (_CGROUP_ROOT / "cgroup.controllers").exists():
        candidates = [_CGROUP_ROOT / relative]
    else:
        candidates = [
            hierarchy / relative
            for hierarchy in _CGROUP_ROOT.iterdir()
            if hierarchy.is_dir() and not hierarchy.is_symlink()
        ]
    return tuple(path for path in sorted(candidates) if path.is_dir())


def cgroup_processes(cgroup_path: str) -> tuple[int, ...]:
    """Return the numbers of all processes in a cgroup and below it, in any hierarchy."""
    found: set[int] = set()
    for directory in cgroup_directories(cgroup_path):
        for procs in (directory / "cgroup.procs", *directory.rglob("*/cgroup.procs")):
            try:
                found |= {int(line) for line in procs.read_text().split()}
            except OSError:
                continue  # The cgroup went away while we looked.
    return tuple(sorted(found))


def thaw(cgroup_path: str) -> None:
    """Let frozen processes go on, as only then a signal ends them. Repeatable."""
    for directory in cgroup_directories(cgroup_path):
        for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            file = directory / name
            if file.exists():
                file.write_text(word)


def is_frozen(cgroup_path: str) -> bool:
    """True if the container is paused."""
    for directory in cgroup_directories(cgroup_path):
        for name, words in (("freezer.state", ("FROZEN", "FREEZING")), ("cgroup.freeze", ("1",))):
            try:
                if (directory / name).read_text().strip() in words:
                    return True
            except OSError:
                continue
    return False


async def remove_cgroups(cgroup_path: str) -> None:
    """Remove a cgroup whose processes have ended. Repeatable; a busy one is tried for a while."""
    for attempt in range(40):
        directories = cgroup_directories(cgroup_path)
        if not directories:
            return
        for directory in directories:
            below = sorted((d for d in directory.rglob("*") if d.is_dir()), reverse=True)
            for path in (*below, directory):
                try:
                    path.rmdir()
                except FileNotFoundError:
                    continue
                except OSError:
                    break
        # EBUSY for as long as an ended process has not quite left: milliseconds.
        if cgroup_directories(cgroup_path):
            await asyncio.sleep(0.001 * 2 ** min(attempt, 6))
    raise Failed(f"cannot remove the cgroup {cgroup_path}: processes {cgroup_processes(cgroup_path)}")
