"""A container's root: overlayfs with its writable layer over the unpacked image.

Mounting twice adopts the first mount; unmounting what is not mounted is success. So the same calls
serve a start, a restart of the daemon, and a reboot. What the writable layer changed is read from
it directly.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from ...model.defaults import SHM_SIZE
from ...model.errors import Failed, InvalidRequest
from . import syscalls
from .api import Change, ChangeKind, LaunchRequest
from .identity import Identity, resolve_identity
from .layout import ContainerPaths, Layout

_FILLER_DIRECTORIES = ("dev/pts", "dev/shm", "dev/mqueue", "proc", "sys", "etc", "sbin")
_FILLER_FILES = (
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "dev/console",
    "sbin/docker-init",
    ".dockerenv",
)
_FILLER_OF_OURS = ("dev/mqueue", "sbin/docker-init", "sbin")
_OPAQUE = "trusted.overlay.opaque"


def make_filler(filler: Path) -> None:
    """Make the layer of mount points that lies below every image. Repeatable.

    runc makes a mount point where the root has none, which would show up as a change of the
    container's. The image lies above, so all that it has itself stays as it is.
    """
    if filler.is_dir():
        return
    unfinished = filler.with_name(f"{filler.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name in _FILLER_DIRECTORIES:
        (unfinished / name).mkdir(parents=True, exist_ok=True)
    for name in _FILLER_FILES:
        (unfinished / name).touch(mode=0o755)
    (unfinished / "etc/mtab").symlink_to("/proc/mounts")
    unfinished.rename(filler)


def own_mount_points(lower: Path, upper: Path) -> tuple[str, ...]:
    """Return the mount points that neither the image nor the container has, nor would have in Docker."""
    return tuple(
        path
        for path in _FILLER_OF_OURS
        if not os.path.lexists(lower / path) and not os.path.lexists(upper / path)
    )


def make_layer(paths: ContainerPaths, lower: Path) -> None:
    """Make the writable layer; its root looks like the image's. Repeatable."""
    paths.state.mkdir(parents=True, exist_ok=True)
    for directory in (paths.work, paths.root):
        directory.mkdir(mode=0o700, exist_ok=True)
    if not paths.upper.is_dir():
        # Made aside: a layer that exists has its owner and mode already.
        unfinished = paths.state / "diff.new"
        unfinished.mkdir(exist_ok=True)
        status = lower.stat()
        os.chown(unfinished, status.st_uid, status.st_gid)
        unfinished.chmod(stat.S_IMODE(status.st_mode))
        unfinished.rename(paths.upper)


def is_mounted(paths: ContainerPaths) -> bool:
    """Tell whether the root is mounted: it then is another file system than what holds it."""
    try:
        return paths.root.stat().st_dev != paths.state.stat().st_dev
    except FileNotFoundError:
        return False


def mount_root(paths: ContainerPaths, lower: Path, filler: Path) -> bool:
    """Mount the root; return False if it was mounted already."""
    if is_mounted(paths):
        return False
    layers = f"{_escape(lower, ':')}:{_escape(filler, ':')}"
    options = f"lowerdir={layers},upperdir={_escape(paths.upper)},workdir={_escape(paths.work)}"
    try:
        try:
            # Without the index a layer can be mounted over an image that was unpacked anew.
            syscalls.mount("overlay", paths.root, "overlay", 0, f"{options},index=off")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            syscalls.mount("overlay", paths.root, "overlay", 0, options)
    except OSError as error:
        raise Failed(
            f"cannot mount the root file system at {paths.root}: {error.strerror}",
            remedy="the state directory must be on a file system that overlayfs takes as its upper layer "
            "(ext4, xfs, btrfs, tmpfs; not overlayfs itself): name another with --state-dir",
        ) from error
    return True


def mount_shm(request: LaunchRequest, layout: Layout) -> Path | None:
    """Mount a /dev/shm that others may join, or find whose is joined; None if runc makes a private one."""
    if request.host_config.ipc_mode == "shareable":
        shm = layout.of(request.container_id).shm
        shm.mkdir()
        syscalls.mount(
            "shm", shm, "tmpfs",
            syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC,
            f"mode=1777,size={request.host_config.shm_size or SHM_SIZE}",
        )  # fmt: skip
        return shm
    if request.ipc_of is None:
        return None
    shm = layout.of(request.ipc_of).shm
    if not shm.exists():
        raise InvalidRequest(
            f"cannot join IPC namespace of container {request.ipc_of}: non-shareable IPC "
            "(hint: use IpcMode:shareable for the donor container)"
        )
    return shm


def unmount_root(paths: ContainerPaths) -> bool:
    """Unmount the root; return whether it was mounted."""
    return paths.root.exists() and syscalls.unmount(paths.root)


def read_identity(root: Path, user: str, groups: tuple[str, ...] = ()) -> Identity:
    """Look a user up in the root's own files, which cannot lead out of it."""
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        return resolve_identity(
            user, _read_inside(descriptor, "etc/passwd"), _read_inside(descriptor, "etc/group"), groups
        )
    finally:
        os.close(descriptor)


def _read_inside(root: int, path: str) -> str:
    try:
        descriptor = syscalls.open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    with open(descriptor, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(1 << 20)


def _escape(path: Path, more: str = "") -> str:
    """Escape what the kernel's option parser would split at."""
    return "".join(f"\\{c}" if c in f"\\,{more}" else c for c in str(path))


# --- what changed ---------------------------------------------------------------------------------


def read_changes(upper: Path, lowers: tuple[Path, ...]) -> tuple[Change, ...]:
    """Return what the writable layer changes, sorted by path."""
    return tuple(sorted(_walk_changes(upper, lowers, "/"), key=lambda change: change.path))


def _walk_changes(upper: Path, lowers: tuple[Path, ...], prefix: str) -> Iterator[Change]:
    with os.scandir(upper) as entries:
        for entry in entries:
            path = prefix + entry.name
            status = entry.stat(follow_symlinks=False)
            below = tuple(lower / entry.name for lower in lowers)
            before = next((found for b in below if (found := _lstat(b)) is not None), None)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                if before is not None:
                    yield Change(ChangeKind.DELETED, path)
                continue
            is_directory = stat.S_ISDIR(status.st_mode)
            was_directory = before is not None and stat.S_ISDIR(before.st_mode)
            if before is None:
                yield Change(ChangeKind.ADDED, path)
            elif not (is_directory and was_directory and _looks_alike(status, before)):
                # A directory is copied up whenever something in it is: that alone is no change.
                yield Change(ChangeKind.MODIFIED, path)
            if is_directory:
                if is_opaque(entry.path) and was_directory:
                    yield from _vanished(Path(entry.path), below, f"{path}/")
                yield from _walk_changes(Path(entry.path), below, f"{path}/")


def _vanished(upper: Path, lowers: tuple[Path, ...], prefix: str) -> Iterator[Change]:
    """Yield what an opaque directory hides and does not have itself."""
    names = {child.name for lower in lowers if lower.is_dir() for child in lower.iterdir()}
    for name in names:
        if not os.path.lexists(upper / name):
            yield Change(ChangeKind.DELETED, prefix + name)


def _looks_alike(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_mode, one.st_uid, one.st_gid, one.st_mtime_ns) == (
        other.st_mode,
        other.st_uid,
        other.st_gid,
        other.st_mtime_ns,
    )


def is_opaque(path: str) -> bool:
    """Tell whether a directory of a writable layer hides what is below it."""
    try:
        return os.getxattr(path, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def tree_size(directory: Path) -> int:
    """Return the bytes of all files below, hard links counted once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    stack = [str(directory)]
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        stack.append(entry.path)
                    elif status.st_nlink == 1 or (status.st_dev, status.st_ino) not in seen:
                        seen.add((status.st_dev, status.st_ino))
                        total += status.st_size
        except FileNotFoundError:
            continue  # Removed while we looked.
    return total
