"""The lock that lets one process at a time have a store.

`flock` on a file beside it: the kernel drops the lock with the process, however that ends, so a lock
file that was left behind means nothing. The pid in it is for the message alone. The file is never
removed: a process could have opened it just before, and would then lock a file that nobody sees.
"""

import fcntl
import os
from pathlib import Path

from ...model.errors import Conflict


class LockFile:
    """Holds the lock from creation to `release`. Raises Conflict naming the holder, and OSError."""

    def __init__(self, path: Path, subject: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise Conflict(
                f"{subject} is in use by " + (f"process {holder}" if holder else "another process"),
                remedy="stop that carrickd first, or give this one a --state-dir of its own",
            ) from None
        try:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()}\n".encode())
        except BaseException:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Give the lock up. May be repeated."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
