"""Start programs and wait for them, and know a process again by more than its number.

Children are waited for by pidfd in the event loop: no thread per child and no SIGCHLD handler, so that
the runtime works in whatever loop it is put into. `subprocess.Popen` without `preexec_fn` uses vfork,
which keeps the start cheap however large the daemon is.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...model.errors import Unsupported


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that ended. `returncode` is negative for a signal."""

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def error_text(self) -> str:
        """The last words on standard error, for a message."""
        return self.stderr.decode(errors="replace").strip()


@dataclass(frozen=True, slots=True)
class ProcessHandle:
    """One process, told from a later one with the same number by its start time in ticks."""

    pid: int
    start_ticks: int

    def is_alive(self) -> bool:
        """True while it runs or is frozen; a zombie has ended."""
        stat = read_stat(self.pid)
        return stat is not None and stat.start_ticks == self.start_ticks and stat.state not in "ZX"

    def open_pidfd(self) -> int | None:
        """Return a pidfd of this very process, or None if it has ended. The caller closes it."""
        if self.pid <= 0:
            return None
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        # The pidfd pins the number; if the start time fits now, it is the process we mean.
        if self.is_alive():
            return descriptor
        os.close(descriptor)
        return None

    def send(self, number: int) -> bool:
        """Send a signal; False if the process has ended."""
        descriptor = self.open_pidfd()
        if descriptor is None:
            return False
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    async def wait(self, timeout: float | None = None) -> bool:
        """Return True when it has ended, False if it has not within `timeout` seconds."""
        descriptor = self.open_pidfd()
        if descriptor is None:
            return True
        try:
            async with asyncio.timeout(timeout):
                await readable(descriptor)
        except TimeoutError:
            return False
        finally:
            os.close(descriptor)
        return True


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What we read of /proc/PID/stat."""

    state: str
    parent: int
    start_ticks: int


def read_stat(pid: int) -> ProcessStat | None:
    """Return the process's state, parent and start time, or None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold anything, spaces and parentheses too: cut at the last one.
    fields = text[text.rindex(")") + 2 :].split()
    return ProcessStat(state=fields[0], parent=int(fields[1]), start_ticks=int(fields[19]))


def handle_of(pid: int) -> ProcessHandle | None:
    """Return a handle of the process that has this number now."""
    stat = read_stat(pid) if pid > 0 else None
    return None if stat is None else ProcessHandle(pid, stat.start_ticks)


async def readable(descriptor: int) -> None:
    """Return when the descriptor can be read."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


async def writable(descriptor: int) -> None:
    """Return when the descriptor can be written."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)


async def read_until_end(descriptor: int, on_line: Callable[[str], None] | None = None) -> bytes:
    """Read a pipe to its end; `on_line` sees each line as it comes."""
    os.set_blocking(descriptor, False)
    chunks: list[bytes] = []
    rest = b""
    while True:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            await readable(descriptor)
            continue
        if not data:
            if on_line is not None and rest:
                on_line(rest.decode(errors="replace"))
            return b"".join(chunks)
        chunks.append(data)
        if on_line is not None:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                on_line(line.decode(errors="replace"))


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> "subprocess.Popen[bytes]":
    """Start a program. Raises Unsupported if it is not installed."""
    try:
        return subprocess.Popen(
            argv,
            env=None if env is None else dict(env),
            cwd=cwd,
            pass_fds=pass_fds,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
    except FileNotFoundError as error:
        raise Unsupported(
            f"the program {argv[0]} is not installed",
            remedy=f"install the Debian package {Path(argv[0]).name}",
        ) from error


async def reap(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a child of ours and return its code; cancelled, it kills the child first."""
    if (code := process.poll()) is not None:
        return code
    descriptor = os.pidfd_open(process.pid)
    try:
        await readable(descriptor)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        os.close(descriptor)
    return process.wait()


async def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
    on_line: Callable[[str], None] | None = None,
) -> Completed:
    """Run a program to its end. `on_line` sees the lines of both its outputs while it runs."""
    with contextlib.ExitStack() as pipes:
        source, source_end = os.pipe() if stdin else (subprocess.DEVNULL, -1)
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        for descriptor in (out, err):
            pipes.callback(os.close, descriptor)
        try:
            process = spawn(
                argv, env=env, cwd=cwd, pass_fds=pass_fds, stdin=source, stdout=out_end,
                stderr=err_end,
            )  # fmt: skip
        except BaseException:
            if stdin:
                os.close(source_end)
            raise
        finally:
            for descriptor in (out_end, err_end):
                os.close(descriptor)
            if stdin:
                os.close(source)
        try:
            async with asyncio.TaskGroup() as group:
                if stdin:
                    group.create_task(_feed(source_end, stdin))
                stdout = group.create_task(read_until_end(out, on_line))
                stderr = group.create_task(read_until_end(err, on_line))
        except BaseException:
            process.kill()
            process.wait()
            raise
        return Completed(await reap(process), stdout.result(), stderr.result())


async def _feed(descriptor: int, data: bytes) -> None:
    """Write all of `data` and close; a reader that stops early is its own affair."""
    os.set_blocking(descriptor, False)
    view = memoryview(data)
    try:
        while view:
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:
                await writable(descriptor)
            except BrokenPipeError:
                return
    finally:
        os.close(descriptor)


def kill_session(leader: ProcessHandle) -> None:
    """Kill a process that leads a session, and all that stayed in its process group."""
    if leader.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader.pid, signal.SIGKILL)


def descendants(root: int) -> list[int]:
    """Return the numbers of all processes below `root`, itself not among them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := read_stat(int(entry.name))) is not None:
            children.setdefault(stat.parent, []).append(int(entry.name))
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found
