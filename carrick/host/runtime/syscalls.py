"""The system calls that Python 3.11 has no function for: mount, umount2, inotify, openat2.

Thin: a call either works or raises OSError with the subject in it; no policy lives here.
"""

import ctypes
import errno
import os
from pathlib import Path

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x01000000
IN_MASK_ADD = 0x20000000

RESOLVE_NO_MAGICLINKS = 0x2
RESOLVE_IN_ROOT = 0x10

_SYS_OPENAT2 = 437
"""The same on every architecture: the call is younger than the unified numbering."""

_X32_GETPID = 0x40000000 | 39


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, subject: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), subject)
    return result


def mount(source: str, target: Path, fstype: str, flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    _check(
        _libc.mount(os.fsencode(source), os.fsencode(target), fstype.encode(), flags, os.fsencode(options)),
        str(target),
    )


def unmount(target: Path) -> bool:
    """Detach whatever is mounted at `target`, all of it; return whether there was anything."""
    found = False
    while True:
        try:
            _check(_libc.umount2(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW), str(target))
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return found
            raise
        found = True


def inotify_open() -> int:
    """Return a new non-blocking inotify descriptor."""
    return _check(int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)), "inotify")


def inotify_add_watch(descriptor: int, path: Path, mask: int) -> int:
    """Watch `path`; the same file gives the same watch descriptor."""
    return _check(int(_libc.inotify_add_watch(descriptor, os.fsencode(path), mask)), str(path))


def inotify_rm_watch(descriptor: int, watch: int) -> None:
    """End a watch; one that the kernel has ended itself is fine."""
    _libc.inotify_rm_watch(descriptor, watch)


def has_x32() -> bool:
    """Tell whether an x86-64 kernel has the x32 system calls: one that cannot fail is tried."""
    return int(_libc.syscall(ctypes.c_long(_X32_GETPID))) >= 0


def open_in_root(root: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` as a process chrooted into the directory `root` would.

    Absolute paths, `..` and symbolic links stay inside (openat2, RESOLVE_IN_ROOT), whatever
    somebody renames meanwhile: the reason why paths are not checked first and opened after.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    while True:
        result = int(
            _libc.syscall(
                ctypes.c_long(_SYS_OPENAT2),
                ctypes.c_int(root),
                ctypes.c_char_p(os.fsencode(path)),
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
        )
        # EAGAIN: a rename raced with `..`; the kernel could not prove that the walk stayed inside.
        if result >= 0 or ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            return _check(result, path)
