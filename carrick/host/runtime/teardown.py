"""End a container's processes and take away what running it has made, whatever half-state it is in.

Every step looks at what is really there and may be repeated: a daemon killed in the middle does the rest
at its next try. The quick way out (everything ended in order) costs one call of runc.
"""

import asyncio
import shutil
import signal
from pathlib import Path

from ...model.errors import Failed
from ...model.ids import ContainerId
from . import runc, syscalls
from .layout import ContainerPaths
from .processes import ProcessHandle, descendants, handle_of
from .rootfs import unmount_root
from .supervision import find_conmon, serves

_KILL_TIMEOUT_S = 10.0
_CONMON_GRACE_S = 3.0


async def release_container(
    runtime: runc.Runc, paths: ContainerPaths, container_id: ContainerId, cgroup_path: str
) -> None:
    """Undo a run: processes, runc's state, cgroups, mounts, run-time files. Logs and layer stay."""
    if paths.bundle.exists() or paths.runc_state.exists() or paths.execs.exists():
        await _end_processes(paths, cgroup_path)
        await runc.delete(runtime, paths, container_id)
        await runc.remove_cgroups(cgroup_path)
    if paths.shm.exists():
        syscalls.unmount(paths.shm)
    unmount_root(paths)
    for directory in (paths.execs, paths.bundle):
        shutil.rmtree(directory, ignore_errors=True)
    # Last: while the exit file is there, the exit is told again after a restart of the daemon.
    paths.exit_file.unlink(missing_ok=True)


async def _end_processes(paths: ContainerPaths, cgroup_path: str) -> None:
    state = runc.read_state(paths)
    if state is not None and state.process.is_alive():
        runc.thaw(cgroup_path)
        state.process.send(signal.SIGKILL)
        if not await state.process.wait(_KILL_TIMEOUT_S):
            raise Failed(
                f"the container's process {state.init_process_pid} does not end",
                remedy="it waits in the kernel, most likely for a device or a network file system",
            )
    conmons = [handle for d in _directories(paths) if (handle := find_conmon(d)) is not None]
    if not conmons and (state is None or not paths.conmon_pid_file.exists()):
        conmons = await asyncio.to_thread(search_conmons, _directories(paths))
    if state is None:
        # Cut short while runc was at work: nothing of it is wanted.
        for conmon in conmons:
            _kill_tree(conmon)
    for conmon in conmons:
        if not await conmon.wait(_CONMON_GRACE_S):
            _kill_tree(conmon)
            await conmon.wait(_CONMON_GRACE_S)
    # What shared a PID namespace with others outlives the first process.
    for _ in range(20):
        left = runc.cgroup_processes(cgroup_path)
        handles = [handle for pid in left if (handle := handle_of(pid)) is not None]
        alive = [handle for handle in handles if handle.is_alive()]
        if not alive:
            return
        runc.thaw(cgroup_path)
        for handle in alive:
            handle.send(signal.SIGKILL)
        for handle in alive:
            await handle.wait(_KILL_TIMEOUT_S / 10)
    raise Failed(f"processes in {cgroup_path} do not end: {runc.cgroup_processes(cgroup_path)}")


def _directories(paths: ContainerPaths) -> list[Path]:
    found = [paths.bundle]
    if paths.execs.is_dir():
        found += sorted(paths.execs.iterdir())
    return found


def search_conmons(directories: list[Path]) -> list[ProcessHandle]:
    """Find conmons by their command lines: one may live and not have written its pid file yet."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            pid = int(entry.name)
            if any(serves(pid, directory) for directory in directories):
                handle = handle_of(pid)
                if handle is not None:
                    found.append(handle)
    return found


def _kill_tree(root: ProcessHandle) -> None:
    """Kill a process and all below it, the parents first so that they start nothing new."""
    if not root.is_alive():
        return
    below = [handle for pid in descendants(root.pid) if (handle := handle_of(pid)) is not None]
    root.send(signal.SIGKILL)
    for handle in below:
        handle.send(signal.SIGKILL)
