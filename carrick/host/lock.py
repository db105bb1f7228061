"""One process of a kind per run directory: a locked file that holds the process's number."""

import fcntl
import os
from pathlib import Path

from ..model.errors import Conflict


def take_lock(path: Path, program: str) -> int:
    """Lock the file for the life of the process; return its descriptor.

    Raises Conflict, naming the holder, if another process has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise Conflict(
            f"another {program} (process {holder or 'unknown'}) holds {path}",
            remedy="stop it, or give this one a --run-dir of its own",
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def is_locked_by(path: Path, descriptor: int) -> bool:
    """Whether the file is still the one that was locked: not removed, and made anew by another process."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False
