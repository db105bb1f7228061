"""A machine for tests: its own network, mounts, processes and host name, held by an init of its own.

Everything that runs on it ends with its init, whatever it is and whoever started it, and init ends with
the process that runs the tests: an interrupted test leaves no process, mount, namespace or link behind.
For the same reason, ending init and starting a new one is what a reboot is.

Files are those of the host, but for /run (empty, so that `ip netns` is the machine's own) and
/etc/resolv.conf. Needs root.
"""

import ctypes
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_READY = "ready"

# An init has to reap: a conmon whose parent is gone would stay a zombie for ever.
_INIT = f"""
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("{_READY}", flush=True)
while True:
    signal.sigwait([signal.SIGCHLD])
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What a program gave back."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ {shlex.join(self.command)}\nexit code {self.code}\n{self.out}{self.err}"


class Machine:
    """Use it as a context manager, or `boot` and `shut_down`.

    `resolv_conf` is what its /etc/resolv.conf says.
    """

    def __init__(self, resolv_conf: Path) -> None:
        self._resolv_conf = resolv_conf
        self._holder: subprocess.Popen[str] | None = None
        self.pid = 0
        """The pid of its init, as the tests see it."""

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shut_down()

    def boot(self) -> None:
        setup = (
            "mount -t proc proc /proc && mount -t tmpfs -o mode=755 tmpfs /run && "
            f"mount --bind {shlex.quote(str(self._resolv_conf))} /etc/resolv.conf && ip link set lo up && "
            f"exec {shlex.quote(sys.executable)} -I -S -c {shlex.quote(_INIT)}"
        )
        self._holder = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),
                *("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL"),
                *("--propagation", "private", "sh", "-c", setup),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # When its child is killed, unshare complains on the way out.
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != _READY:
            self._holder.kill()
            self._holder.wait()
            self._holder.stdout.close()
            self._holder = None
            raise RuntimeError("a machine for tests did not start: it needs root, unshare, setpriv and ip")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        self.pid = int(children[0])

    def shut_down(self) -> None:
        """End everything that runs on it, at once. Repeatable."""
        if self._holder is None:
            return
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        # It is gone once `unshare` has waited for it, and that is after all of its processes.
        try:
            self._holder.wait(20)
        finally:
            self._holder.kill()
            self._holder.wait()
            assert self._holder.stdout is not None
            self._holder.stdout.close()
            self._holder = None

    # Running programs ------------------------------------------------------------------------

    def command(self, *arguments: str, netns: str = "") -> list[str]:
        """Return the command that runs another one on the machine; `netns` is a path as it is there."""
        enter = ["nsenter", "-t", str(self.pid), "--mount", "--net", "--uts", "--pid"]
        if netns:
            enter += ["nsenter", f"--net={netns}"]
        return [*enter, *arguments]

    def run(
        self,
        *arguments: str,
        netns: str = "",
        input: str | None = None,
        timeout_s: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a program there to its end, whatever that is."""
        done = subprocess.run(
            self.command(*arguments, netns=netns),
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env=None if environment is None else {**os.environ, **environment},
        )
        return Result(arguments, done.returncode, done.stdout, done.stderr)

    def do(self, *arguments: str, netns: str = "", input: str | None = None) -> str:
        """Run a program that must succeed; return what it wrote, without the last newline."""
        result = self.run(*arguments, netns=netns, input=input)
        if result.code != 0:
            raise AssertionError(str(result))
        return result.out.rstrip("\n")

    # Being there -----------------------------------------------------------------------------

    def path(self, path: str | Path) -> Path:
        """Return how the tests see a path of the machine, its mounts included."""
        return Path(f"/proc/{self.pid}/root{path}")

    def inside(self, function: Callable[..., T], *arguments: Any, netns: str = "") -> T:
        """Call a function in the machine's network, or in that of `netns` (a path as it is there).

        A socket made there stays there, so it may be given back and used.
        """
        source = self.path(netns) if netns else Path(f"/proc/{self.pid}/ns/net")
        results: list[T] = []
        errors: list[BaseException] = []

        def enter_and_call() -> None:
            try:
                enter(source)
                results.append(function(*arguments))
            except BaseException as error:
                errors.append(error)

        # A thread of its own, which ends in the other namespace: nobody has to come back.
        thread = threading.Thread(target=enter_and_call, name="inside")
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def socket(self, family: int, kind: int, *, netns: str = "") -> socket.socket:
        """Return a socket of the machine's network."""
        return self.inside(socket.socket, family, kind, netns=netns)

    def links(self, netns: str = "") -> list[str]:
        """Return the names of its links."""
        lines = self.do("ip", "-o", "link", netns=netns).splitlines()
        return [line.split(":")[1].strip().partition("@")[0] for line in lines]


def enter(source: Path) -> None:
    """Put the calling thread into the network namespace at `source`, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    with source.open() as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"entering {source}: {os.strerror(number)}")
