"""Network namespaces: enter one for a moment, and tell one from another.

The process has one thread, so entering is a matter of two system calls and nothing else can run
in the wrong namespace meanwhile. Sockets stay in the namespace where they were made.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ...model.errors import KernelRefused, NotFound

_CLONE_NEWNET = 0x40000000


class Namespaces:
    """Knows the namespace this process started in, and the way back to it."""

    def __init__(self) -> None:
        # os.setns is Python 3.12's.
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.home_inode = os.fstat(self._home).st_ino

    def inode(self, path: str) -> int | None:
        """Return the namespace's identity, or None if there is none at the path."""
        try:
            return os.stat(path).st_ino  # noqa: PTH116  called for every sandbox every two seconds
        except OSError:
            return None

    @contextmanager
    def inside(self, path: str) -> Iterator[int]:
        """Be in the namespace at the path; yields its inode. Raises NotFound or KernelRefused."""
        try:
            target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NotFound(f"no network namespace at {path}: {error.strerror}") from error
        try:
            self._enter(target, path)
            inode = os.fstat(target).st_ino
        finally:
            os.close(target)
        try:
            yield inode
        finally:
            # Failing here would leave the process answering and asking in a container's
            # namespace; the exception ends it and the supervisor starts a clean one.
            self._enter(self._home, "our own")

    def close(self) -> None:
        """Forget the way home."""
        os.close(self._home)

    def _enter(self, fd: int, path: str) -> None:
        if self._libc.setns(fd, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise KernelRefused(
                f"cannot enter the network namespace {path}: {os.strerror(code)}",
                errno=code,
                subject=path,
            )
