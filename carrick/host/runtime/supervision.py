"""Know of every running container, and of every end, also of those nobody watched.

conmon writes a container's exit code into a file; inotify tells, and what is there when we start is
told first. Should conmon itself have been killed, the end of the container's process (a pidfd)
still tells, with a code that says "unknown". The event stays on disk until the run is released.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ...model.ids import ContainerId
from . import runc, syscalls
from .api import ExitEvent
from .attach import Signal
from .inotify import Inotify, Watch
from .layout import ContainerPaths, Layout
from .processes import ProcessHandle, handle_of

UNKNOWN_EXIT_CODE = 255
"""Told if conmon was killed: only a parent learns its child's code, and conmon was the parent."""

_ROTATION_REST_S = 0.1


@dataclass(eq=False, slots=True)
class Run:
    """One run of a container, from its creation to its release."""

    container_id: ContainerId
    paths: ContainerPaths
    process: ProcessHandle
    conmon: ProcessHandle | None
    is_adopted: bool = False
    started_at: datetime | None = None
    exit: ExitEvent | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    followers: set[Signal] = field(default_factory=set)
    """Woken whenever the log may have grown, and at the end."""
    log_watch: Watch | None = None
    rotate: Callable[[], None] | None = None
    """Called now and then while the log grows."""
    rest: asyncio.TimerHandle | None = None
    """Runs while `rotate` is not to be called again."""
    descriptors: set[int] = field(default_factory=set)

    @property
    def is_ended(self) -> bool:
        """True once its exit is known."""
        return self.exit is not None

    def wake(self) -> None:
        """Let everybody who follows the log look again."""
        for signal in self.followers:
            signal.set()


class Supervisor:
    """The runs on this host. `on_exit` is called once for each that ends."""

    def __init__(self, layout: Layout, inotify: Inotify, on_exit: Callable[[ExitEvent], None]) -> None:
        self._layout = layout
        self._inotify = inotify
        self._on_exit = on_exit
        self._runs: dict[ContainerId, Run] = {}
        self._exits_watch: Watch | None = None

    def open(self) -> None:
        """Adopt what runs, and tell of what has ended meanwhile."""
        # Watch first, look then: an exit in between is seen twice and told once.
        self._exits_watch = self._inotify.add(
            self._layout.exits,
            syscalls.IN_MOVED_TO | syscalls.IN_CLOSE_WRITE,
            self._on_exit_file,
        )
        for container_id in self._layout.known_ids():
            self._adopt(container_id)

    def close(self) -> None:
        """Stop watching; everything runs on. Followers of logs end."""
        for run in tuple(self._runs.values()):
            self._forget(run)
        if self._exits_watch is not None:
            self._inotify.remove(self._exits_watch)
            self._exits_watch = None

    def get(self, container_id: ContainerId) -> Run | None:
        """Return the container's run, ended or not; None once it is released."""
        return self._runs.get(container_id)

    def track(self, container_id: ContainerId, process: ProcessHandle, *, is_adopted: bool = False) -> Run:
        """Begin to watch a run."""
        paths = self._layout.of(container_id)
        run = Run(container_id, paths, process, find_conmon(paths.bundle), is_adopted)
        self._runs[container_id] = run
        self._watch_process(run, process, self._on_process_gone)
        # It may have ended before we watched.
        self._look(run)
        return run

    def forget(self, container_id: ContainerId) -> None:
        """Stop watching a run; whoever waits on it is woken. Repeatable."""
        if (run := self._runs.get(container_id)) is not None:
            self._forget(run)

    def _forget(self, run: Run) -> None:
        self._runs.pop(run.container_id, None)
        run.rotate = None
        if run.rest is not None:
            run.rest.cancel()
            run.rest = None
        self._watch_log(run)
        loop = asyncio.get_running_loop()
        for descriptor in tuple(run.descriptors):
            loop.remove_reader(descriptor)
            os.close(descriptor)
        run.descriptors.clear()
        run.wake()

    def _adopt(self, container_id: ContainerId) -> None:
        paths = self._layout.of(container_id)
        state = runc.read_state(paths)
        if state is None and not paths.exit_file.exists():
            return  # Provisioned only, or cut short before runc was done: nothing ran.
        process = ProcessHandle(0, 0) if state is None else state.process
        run = self.track(container_id, process, is_adopted=True)
        if not run.is_ended and not process.is_alive():
            self._on_process_gone(run)

    # exits

    def _on_exit_file(self, name: str) -> None:
        for container_id in (ContainerId(name),) if name else tuple(self._runs):
            if (run := self._runs.get(container_id)) is not None:
                self._look(run)

    def _look(self, run: Run) -> None:
        """Tell of the run's end if its exit file is there."""
        if run.is_ended:
            return
        exit_event = read_exit(run.paths, run.container_id)
        if exit_event is not None:
            self._end(run, exit_event)

    def _end(self, run: Run, exit_event: ExitEvent) -> None:
        run.exit = exit_event
        run.ended.set()
        run.wake()
        self._on_exit(exit_event)

    def _on_process_gone(self, run: Run) -> None:
        self._look(run)
        if run.is_ended:
            return
        conmon = find_conmon(run.paths.bundle)
        if conmon is None or not self._watch_process(run, conmon, self._on_conmon_gone):
            self._on_conmon_gone(run)

    def _on_conmon_gone(self, run: Run) -> None:
        self._look(run)
        if not run.is_ended:
            self._end(
                run,
                ExitEvent(
                    run.container_id,
                    UNKNOWN_EXIT_CODE,
                    datetime.now(UTC),
                    oom_killed=(run.paths.bundle / "oom").exists(),
                ),
            )

    def _watch_process(self, run: Run, process: ProcessHandle, callback: Callable[[Run], None]) -> bool:
        descriptor = process.open_pidfd()
        if descriptor is None:
            return False
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(descriptor)
            run.descriptors.discard(descriptor)
            os.close(descriptor)
            callback(run)

        run.descriptors.add(descriptor)
        loop.add_reader(descriptor, ended)
        return True

    # logs

    def follow(self, run: Run, signal: Signal) -> None:
        """Wake `signal` whenever the run's log grows."""
        run.followers.add(signal)
        self._watch_log(run)

    def unfollow(self, run: Run, signal: Signal) -> None:
        """Wake it no more. Repeatable."""
        run.followers.discard(signal)
        self._watch_log(run)

    def keep_small(self, run: Run, rotate: Callable[[], None]) -> None:
        """Call `rotate` as the run's log grows, and now."""
        run.rotate = rotate
        self._rotate(run)

    def _watch_log(self, run: Run) -> None:
        """Watch the log while somebody wants to know.

        A container that writes without end would keep us busy with nothing but its events: so nobody
        listening means no watch, and rotation rests for a moment each time.
        """
        is_known = self._runs.get(run.container_id) is run
        wanted = is_known and bool(run.followers or (run.rotate is not None and run.rest is None))
        if wanted and run.log_watch is None:
            with contextlib.suppress(FileNotFoundError):
                run.log_watch = self._inotify.add(
                    run.paths.state,
                    syscalls.IN_MODIFY | syscalls.IN_CREATE | syscalls.IN_MOVED_TO,
                    lambda name: self._on_state_change(run, name),
                )
        elif not wanted and run.log_watch is not None:
            self._inotify.remove(run.log_watch)
            run.log_watch = None

    def _on_state_change(self, run: Run, name: str) -> None:
        if name in ("", "log"):
            run.wake()
            if run.rotate is not None and run.rest is None:
                self._rotate(run)

    def _rotate(self, run: Run) -> None:
        if run.rotate is not None:
            run.rotate()
            loop = asyncio.get_running_loop()
            run.rest = loop.call_later(_ROTATION_REST_S, self._end_rest, run)
            self._watch_log(run)

    def _end_rest(self, run: Run) -> None:
        run.rest = None
        # Watch first: what is written from now on comes as an event, what was before is seen here.
        self._watch_log(run)
        if run.rotate is not None:
            run.rotate()


def read_exit(paths: ContainerPaths, container_id: ContainerId) -> ExitEvent | None:
    """Return the exit that conmon has noted, if it has."""
    try:
        text = paths.exit_file.read_text()
        finished = paths.exit_file.stat().st_mtime
        code = int(text)
    except (FileNotFoundError, ValueError):
        return None
    return ExitEvent(
        container_id,
        code,
        datetime.fromtimestamp(finished, tz=UTC),
        oom_killed=(paths.bundle / "oom").exists(),
    )


def find_conmon(directory: Path) -> ProcessHandle | None:
    """Return the conmon of a bundle or session directory by its pid file, if that one lives."""
    try:
        pid = int((directory / "conmon.pid").read_text())
    except (FileNotFoundError, ValueError):
        return None
    handle = handle_of(pid)
    # The number may be another process's by now: its command line must name our directory.
    return handle if handle is not None and serves(pid, directory) else None


def serves(pid: int, directory: Path) -> bool:
    """Tell whether a process is a conmon (or conmon's child before its exec) of this directory."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"--bundle" in arguments and os.fsencode(directory) in arguments
