"""Network namespaces: made and held by a bind mount, entered by a thread.

A namespace is held by a file under the daemon's run directory, not by a process, so that it outlives
the daemon and the container: `container:ID` companions keep their network over a restart.

`os.setns` came with Python 3.12, so libc is called directly. Only the calling *thread* changes its
namespace; `entered` must therefore never be used around an await.
"""

import ctypes
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from ...model.errors import KernelRefused, NotFound

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MNT_DETACH = 2
_SO_NETNS_COOKIE = 71
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise KernelRefused(f"{what}: {os.strerror(number)}", errno=number, subject=what)


def create_netns(path: Path) -> None:
    """Create a namespace held at `path`; one that is there already stays as it is."""
    if is_netns(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o444)
    failure: list[BaseException] = []

    def make() -> None:
        try:
            _check(_libc.unshare(_CLONE_NEWNET), f"creating network namespace {path}")
            # The thread's own entry: /proc/self/ns would be the main thread's namespace.
            source = b"/proc/thread-self/ns/net"
            _check(
                _libc.mount(source, os.fsencode(path), b"none", _MS_BIND, None),
                f"holding network namespace at {path}",
            )
        except BaseException as error:
            failure.append(error)

    # A thread of its own, which ends in its new namespace: no worker has to find its way back.
    thread = Thread(target=make, name="create-netns")
    thread.start()
    thread.join()
    if failure:
        path.unlink(missing_ok=True)
        raise failure[0]


def delete_netns(path: Path) -> None:
    """Let go of the namespace at `path`; the kernel takes it and its links down when unused."""
    while _libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        pass
    path.unlink(missing_ok=True)


def is_netns(path: Path) -> bool:
    """Tell whether a namespace is held at `path` (not merely the file left by a reboot)."""
    try:
        return path.stat().st_dev == _nsfs_device()
    except OSError:
        return False


def _nsfs_device() -> int:
    return Path("/proc/self/ns/net").stat().st_dev


def current_id() -> int:
    """Return the number of the namespace that the thread is in (socket(7), SO_NETNS_COOKIE; Linux 5.14)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)


@contextmanager
def entered(path: str) -> Iterator[None]:
    """Run the block with this thread inside the namespace at `path`, and come back."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound(f"network namespace {path} does not exist") from error
        try:
            _check(_libc.setns(target, _CLONE_NEWNET), f"entering network namespace {path}")
        finally:
            os.close(target)
        try:
            yield
        finally:
            _check(_libc.setns(home, _CLONE_NEWNET), "leaving network namespace")
    finally:
        with suppress(OSError):
            os.close(home)
