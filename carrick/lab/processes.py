"""Processes of other namespaces: known by pid and start time, entered, ended."""

import ctypes
import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..model.errors import Failed, KernelRefused

T = TypeVar("T")
_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWPID, _CLONE_NEWNET = 0x20000, 0x4000000, 0x20000000, 0x40000000
_END_S = 30.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its pid as we see it and its start, in ticks since the machine's: pids come again."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Return the process that has the pid now. Raises ProcessLookupError."""
        started = _start_of(pid)
        if started is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(pid, started)

    def is_alive(self) -> bool:
        return _start_of(self.pid) == self.started

    def kill(self) -> None:
        """End it at once, and with a first process all of its namespace; return when it has. Repeatable."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # Asked after the pid is held: from here on it is nobody else's.
            if not self.is_alive():
                return
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            if not select.select([descriptor], [], [], _END_S)[0]:
                raise Failed(
                    f"process {self.pid} was killed and has not ended in {_END_S:.0f} s",
                    remedy="The kernel waits for something of it, a disk or a mount: see dmesg.",
                )
        finally:
            os.close(descriptor)


def _start_of(pid: int) -> int | None:
    """Return a living process's start time; a zombie is not alive."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


# --- Being elsewhere --------------------------------------------------------------------------


def enter(pid: int) -> None:
    """Move this process, which must have one thread, to a host; its children are there entirely.

    Raises KernelRefused.
    """
    descriptor = os.pidfd_open(pid)
    try:
        _setns(descriptor, _CLONE_NEWNET | _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWPID, f"entering {pid}")
    finally:
        os.close(descriptor)


def in_network_of(pid: int, function: Callable[[], T]) -> T:
    """Call a function in a process's network; a socket made there stays there."""
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(descriptor, _CLONE_NEWNET, f"entering the network of {pid}")
            finally:
                os.close(descriptor)
            results.append(function())
        except BaseException as error:
            errors.append(error)

    # A thread of its own, which ends over there: nobody has to find the way back.
    thread = threading.Thread(target=call, name=f"network of {pid}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _setns(descriptor: int, kinds: int, what: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, kinds) != 0:
        number = ctypes.get_errno()
        raise KernelRefused(f"{what}: {os.strerror(number)}", errno=number)


def command_on(pid: int, command: Sequence[str], *, network_only: bool = False) -> list[str]:
    """Return the command line that runs another one on the host whose first process is `pid`.

    Not `ip netns exec`: that mounts /sys anew, and so hides the cgroups.
    """
    kinds = ("--net",) if network_only else ("--mount", "--net", "--uts", "--pid")
    return ["nsenter", "-t", str(pid), *kinds, "--", *command]


def run_on(pid: int, command: Sequence[str], *, text: str = "", network_only: bool = True) -> str:
    """Run a program there, by default in its network alone; return its output.

    Raises KernelRefused with what it wrote to stderr.
    """
    done = subprocess.run(
        command_on(pid, command, network_only=network_only),
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise KernelRefused(f"{' '.join(command)}: {done.stderr.strip()}", subject=command[0])
    return done.stdout


def start_in_background(
    command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None
) -> None:
    """Start a command that goes on after us, as nobody's child; what it writes goes to the end of `log`."""
    with log.open("ab") as output:
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd="/",
            start_new_session=True,
            check=True,
        )


def start_on(pid: int, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    """Start a program on a host, as a child of its first process, in a session of its own."""
    with log.open("ab") as output:
        subprocess.run(
            command_on(pid, ["/bin/sh", "-c", 'setsid "$@" &', "sh", *command]),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            check=True,
        )
