"""Network namespaces: made, entered, wired. Only called inside the run's own mount namespace.

`ip netns exec` isn't used: it mounts a new `/sys` and so hides the control groups that engines need.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import BenchError

_CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace by the path of its file: a name's, or that of a process."""

    path: Path

    @classmethod
    def of_process(cls, pid: int) -> "Namespace":
        """Return the one that a process is in."""
        return cls(Path("/proc", str(pid), "ns/net"))

    @classmethod
    def create(cls, name: str) -> "Namespace":
        """Make one with `lo` up, and cubic as its congestion control if the machine lets namespaces choose.

        Where it doesn't, proxies use the machine's own; the clients and servers ask for cubic in any case.
        """
        run_ip("netns", "add", name)
        namespace = cls(Path("/run/netns", name))
        namespace.ip("link", "set", "lo", "up")
        with namespace.entered(), suppress(PermissionError):
            _CONGESTION_CONTROL.write_text("cubic")
        return namespace

    def congestion_control(self) -> str:
        """Return what its sockets use if they don't ask for another."""
        with self.entered():
            return _CONGESTION_CONTROL.read_text().strip()

    @property
    def inode(self) -> int:
        """What `/proc/PID/ns/net` of every process in it shows."""
        return self.path.stat().st_ino

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread into it: what it starts begins there."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _setns(back)
        finally:
            os.close(back)

    def ip(self, *arguments: str) -> str:
        """Run `ip` in it."""
        return self.run("ip", *arguments)

    def run(self, *command: str) -> str:
        """Run a short command in it and return what it printed."""
        with self.entered():
            return _run(*command)


@dataclass(frozen=True, slots=True)
class Host:
    """An engine's machine: its namespace, and its address towards the outside."""

    namespace: Namespace
    address: str


class Lab:
    """One namespace that is the outside world, and one host per engine behind a veth of its own.

    Addresses are of 198.18.0.0/15, which RFC 2544 sets aside for benchmarks.
    """

    def __init__(self) -> None:
        self.outside = Namespace.create("outside")

    def add_host(self, name: str, number: int) -> Host:
        """Make the host of one engine; `number` (1 to 254) is its own."""
        host = Namespace.create(name)
        near, far = f"198.18.{number}.2", f"198.18.{number}.1"
        self.outside.ip(
            "link", "add", f"to-{name}", "type", "veth", "peer", "name", "uplink", "netns", str(host.path)
        )
        self.outside.ip("address", "add", f"{far}/24", "dev", f"to-{name}")
        self.outside.ip("link", "set", f"to-{name}", "up")
        host.ip("address", "add", f"{near}/24", "dev", "uplink")
        host.ip("link", "set", "uplink", "up")
        host.ip("route", "add", "default", "via", far)
        return Host(host, near)


def run_ip(*arguments: str) -> str:
    """Run `ip` where the calling thread is."""
    return _run("ip", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _setns(descriptor: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(descriptor, _CLONE_NEWNET) != 0:
        raise BenchError(f"setns: {os.strerror(ctypes.get_errno())}")
