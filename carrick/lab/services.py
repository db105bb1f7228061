"""The program that a node is there for (carrickd, etcd): its start, its pid, its end."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..model.errors import Unavailable
from .processes import Process, start_on

_PID_FILE = "/run/.service.pid"
_SHELL = "/bin/sh"
_END_S = 30.0


def path_on(process: Process, path: str | Path) -> Path:
    """Return how we see a path of the node whose first process this is."""
    return Path(f"/proc/{process.pid}/root{path}")


def start(process: Process, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    """Start the program; return without waiting for it."""
    path_on(process, _PID_FILE).unlink(missing_ok=True)
    shell = (_SHELL, "-c", f'echo $$ >{_PID_FILE}; exec "$@"', "sh")
    start_on(process.pid, [*shell, *command], log, environment)


def is_starting(process: Process) -> bool:
    """Say whether the program has not even come so far as to have a pid, or a command line."""
    try:
        pid = path_on(process, _PID_FILE).read_text().strip()
        if not pid:
            return True
    except OSError:
        return True
    try:
        if command := path_on(process, f"/proc/{pid}/cmdline").read_bytes():
            return command.startswith(_SHELL.encode())
        # There is none while the shell becomes the program, and none of a dead one that nobody has reaped.
        state = path_on(process, f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def find(process: Process, word: str, *pid_files: str) -> int:
    """Return the pid, as the node sees it, of the program with `word` in its command line; 0 if it is gone.

    `pid_files` are the program's own; they are right even where somebody has started it anew by hand.
    """
    for name in (*pid_files, _PID_FILE):
        try:
            pid = int(path_on(process, name).read_text())
            command = path_on(process, f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if word.encode() in command:
            return pid
    return 0


def end(
    process: Process, pid: int, with_signal: signal.Signals, what: str, timeout_s: float = _END_S
) -> None:
    """Send a signal to a process of the node, by its pid there, and wait for its end. Raises Unavailable."""
    if not pid:
        return
    try:
        outer = _outer_pid(process, pid)
        target = Process.of(outer)
        os.kill(outer, with_signal)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + timeout_s
    while target.is_alive():
        if time.monotonic() > deadline:
            raise Unavailable(
                f"{what} (process {pid} there) has not ended in {timeout_s:.0f} s",
                remedy="'carrick lab kill' does not ask.",
            )
        time.sleep(0.01)


def _outer_pid(process: Process, inner: int) -> int:
    """Return the pid as we see it of the process that the node knows by `inner`."""
    namespace = Path(f"/proc/{process.pid}/ns/pid").stat().st_ino
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "ns/pid").stat().st_ino != namespace:
                continue
            lines = (entry / "status").read_text().splitlines()
        except OSError:
            continue  # it has ended meanwhile
        ids = next((line for line in lines if line.startswith("NSpid:")), "").split()
        if ids and ids[-1] == str(inner):
            return int(entry.name)
    raise ProcessLookupError(f"no process {inner}")
