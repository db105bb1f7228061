"""`cp` and `export`: a container's files as its processes see them.

Paths are resolved by the kernel inside the container's root (openat2, RESOLVE_IN_ROOT), so neither
a symbolic link nor a process that renames directories at the wrong moment leads outside. A running
container is seen through /proc/PID/root, with all its mounts; of one that does not run, the root is
mounted meanwhile, and binds and volumes are looked up in the list of its mounts.
"""

import asyncio
import contextlib
import os
import posixpath
import stat
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from ...model.containers import MountPoint, MountType
from ...model.errors import Denied, Failed, InvalidRequest, NotFound
from ...model.ids import ContainerId, ImageId
from . import syscalls
from .api import PathStat
from .processes import read_until_end, readable, reap, spawn
from .rootfs import read_identity
from .unpack import Unpacker

_CHUNK = 1 << 16

# Go's os.FileMode bits, which Docker's path stat carries.
_GO_MODE = (
    (stat.S_ISDIR, 1 << 31),
    (stat.S_ISLNK, 1 << 27),
    (stat.S_ISBLK, 1 << 26),
    (stat.S_ISCHR, (1 << 26) | (1 << 21)),
    (stat.S_ISFIFO, 1 << 25),
    (stat.S_ISSOCK, 1 << 24),
)
_GO_SPECIAL = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


class Record(Protocol):
    """What we need to know of a container."""

    @property
    def image_id(self) -> ImageId: ...
    @property
    def mounts(self) -> tuple[MountPoint, ...]: ...
    @property
    def user(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _View:
    """A directory that is the root for `path`."""

    root: int
    path: str


def go_file_mode(mode: int) -> int:
    """Translate st_mode to Go's os.FileMode."""
    result = mode & 0o777
    for matches, bits in _GO_MODE:
        if matches(mode):
            result |= bits
    for bit, go_bit in _GO_SPECIAL:
        if mode & bit:
            result |= go_bit
    return result


def clean_path(path: str) -> tuple[str, bool]:
    """Return an absolute clean path, and whether the given one insists on a directory's content.

    That is what a last `/.` says; a last `/` says only that a link is to be followed.
    """
    insists = path.endswith("/.") or path == "."
    return posixpath.normpath("/" + path.lstrip("/")), insists


class ContainerFiles:
    """Access to the files of containers.

    `mount` mounts a container's root and says whether it had not been before; it is unmounted
    again when the last user has gone.
    """

    def __init__(
        self,
        read_record: Callable[[ContainerId], Record],
        mount: Callable[[ContainerId], Awaitable[tuple[Path, bool]]],
    ) -> None:
        self._read_record = read_record
        self._mount = mount
        self._users: dict[ContainerId, int] = {}
        self._ours: set[ContainerId] = set()

    @contextlib.asynccontextmanager
    async def _root(self, container_id: ContainerId, pid: int | None) -> AsyncIterator[int]:
        """Give a descriptor of the container's root."""
        self._read_record(container_id)  # NotFound if there is no such container.
        if pid is not None:
            descriptor = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
            return
        async with self._mounted(container_id) as root:
            descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    @contextlib.asynccontextmanager
    async def _mounted(self, container_id: ContainerId) -> AsyncIterator[Path]:
        """Have the container's root mounted meanwhile."""
        self._users[container_id] = self._users.get(container_id, 0) + 1
        root: Path | None = None
        try:
            root, is_new = await self._mount(container_id)
            if is_new:
                self._ours.add(container_id)
            yield root
        finally:
            self._users[container_id] -= 1
            if self._users[container_id] == 0:
                del self._users[container_id]
                if container_id in self._ours and root is not None:
                    self._ours.discard(container_id)
                    syscalls.unmount(root)

    @contextlib.asynccontextmanager
    async def _view(self, container_id: ContainerId, pid: int | None, path: str) -> AsyncIterator[_View]:
        """Give the root in which to look for a clean path."""
        async with self._root(container_id, pid) as root:
            if pid is None:
                mounts = self._read_record(container_id).mounts
                if (found := covering_mount(mounts, path)) is not None:
                    inner = "/" + path[len(found.destination.rstrip("/")) :].lstrip("/")
                    if Path(found.source).is_dir():
                        descriptor = os.open(found.source, os.O_PATH | os.O_DIRECTORY)
                        name = inner
                    else:
                        # A single file is mounted: look for it by its name on the host.
                        source = Path(found.source)
                        descriptor = os.open(source.parent, os.O_PATH | os.O_DIRECTORY)
                        name = f"/{source.name}"
                    try:
                        yield _View(descriptor, name)
                    finally:
                        os.close(descriptor)
                    return
            yield _View(root, path)

    async def stat(self, container_id: ContainerId, pid: int | None, path: str) -> PathStat:
        """Look at a path."""
        clean, _ = clean_path(path)
        async with self._view(container_id, pid, clean) as view:
            return _stat(view, container_id, path, clean)

    async def get(
        self, container_id: ContainerId, pid: int | None, path: str
    ) -> tuple[PathStat, AsyncIterator[bytes]]:
        """Look at a path, and give its archive. Read the archive to its end or close it."""
        found = await self.stat(container_id, pid, path)
        return found, self._pack(container_id, pid, path)

    async def _pack(self, container_id: ContainerId, pid: int | None, path: str) -> AsyncIterator[bytes]:
        clean, insists = clean_path(path)
        follow = path.endswith("/") or insists
        async with self._view(container_id, pid, clean) as view:
            base = "." if insists else (posixpath.basename(clean) or "/")
            try:
                descriptor = _open_directory(view, follow=follow)
            except NotADirectoryError:
                # A file, a link or a device: packed by its name in the directory it is in.
                name = posixpath.basename(view.path)
                descriptor = syscalls.open_in_root(
                    view.root, posixpath.dirname(view.path), os.O_PATH | os.O_DIRECTORY
                )
                arguments = [f"--transform={_rename(name, base)}", "--no-recursion", "--", f"./{name}"]
            else:
                arguments = [f"--transform={_rename('', base)}", "--", "."]
            try:
                async for chunk in _tar(descriptor, arguments):
                    yield chunk
            finally:
                os.close(descriptor)

    async def export(self, container_id: ContainerId, hidden: tuple[str, ...]) -> AsyncIterator[bytes]:
        """Pack the whole root, without what is mounted into it, and without the paths `hidden`."""
        async with self._mounted(container_id) as root:
            descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
            try:
                names = sorted(entry.name for entry in root.iterdir())
                excluded = [f"--exclude={path}" for path in hidden]
                options = ["--one-file-system", "--anchored", "--no-wildcards", *excluded]
                async for chunk in _tar(descriptor, [*options, "--", *names]):
                    yield chunk
            finally:
                os.close(descriptor)

    async def put(
        self,
        container_id: ContainerId,
        pid: int | None,
        path: str,
        archive: AsyncIterable[bytes],
        *,
        keep_kinds: bool,
        to_user: bool,
    ) -> None:
        """Unpack an archive into a directory; with `to_user` it is to belong to the container's user."""
        owner = await self._user(container_id) if to_user else None
        clean, _ = clean_path(path)
        mount = covering_mount(self._read_record(container_id).mounts, clean)
        if mount is not None and not mount.read_write:
            raise Denied("mounted volume is marked read-only")
        async with self._view(container_id, pid, clean) as view:
            try:
                target = _open_directory(view, follow=True)
            except NotADirectoryError as error:
                raise InvalidRequest("extraction point is not a directory") from error
            except FileNotFoundError as error:
                raise _not_found(path, container_id) from error
            os.close(target)
            unpacker = Unpacker(view.root, view.path, keep_kinds=keep_kinds, owner=owner)
            await _feed(archive, unpacker)

    async def _user(self, container_id: ContainerId) -> tuple[int, int] | None:
        """Look up the ids of the user that the container runs as, if it says one."""
        user = self._read_record(container_id).user
        if not user:
            return None
        async with self._mounted(container_id) as root:
            identity = read_identity(root, user)
        return identity.uid, identity.gid


async def _feed(archive: AsyncIterable[bytes], unpacker: Unpacker) -> None:
    """Pump the archive through a pipe into the unpacker, which works in a thread."""
    reading, writing = os.pipe()
    work = asyncio.create_task(asyncio.to_thread(unpacker.run, reading), name="unpack")
    try:
        async for chunk in archive:
            try:
                await asyncio.to_thread(_write_all, writing, chunk)
            except BrokenPipeError:
                break  # It has failed, and says why below.
    finally:
        os.close(writing)
        await work


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def covering_mount(mounts: tuple[MountPoint, ...], path: str) -> MountPoint | None:
    """Return the innermost bind or volume that a path lies in."""
    covering = [
        point
        for point in mounts
        if point.type is not MountType.TMPFS and (path + "/").startswith(point.destination.rstrip("/") + "/")
    ]
    return max(covering, key=lambda point: len(point.destination), default=None)


def _open_directory(view: _View, *, follow: bool) -> int:
    flags = os.O_PATH | os.O_DIRECTORY | (0 if follow else os.O_NOFOLLOW)
    return syscalls.open_in_root(view.root, view.path, flags)


def _not_found(path: str, container_id: ContainerId) -> NotFound:
    return NotFound(f"Could not find the file {path} in container {container_id}")


def _stat(view: _View, container_id: ContainerId, given: str, clean: str) -> PathStat:
    _, insists = clean_path(given)
    follow = given.endswith(("/", "/.")) and clean != "/"
    flags = os.O_PATH | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = syscalls.open_in_root(view.root, view.path, flags)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _not_found(given, container_id) from error
    except OSError as error:
        raise Failed(f"cannot look at {given} in {container_id}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        link = os.readlink("", dir_fd=descriptor) if stat.S_ISLNK(status.st_mode) else ""
    finally:
        os.close(descriptor)
    if follow and not stat.S_ISDIR(status.st_mode):
        raise InvalidRequest(f"{given} is not a directory in container {container_id}")
    if link and not link.startswith("/"):
        link = posixpath.normpath(posixpath.join(posixpath.dirname(clean), link))
    return PathStat(
        name="." if insists and clean != "/" else posixpath.basename(clean) or "/",
        size=status.st_size,
        mode=go_file_mode(status.st_mode),
        mtime=datetime.fromtimestamp(status.st_mtime, tz=UTC),
        link_target=link,
    )


def _rename(name: str, base: str) -> str:
    """Return a sed expression for tar that puts `base` in the place of `./name`.

    For names and hard links (`r`, `h`), never for what a symbolic link holds (`S`).
    """
    source = "".join(f"\\{c}" if c in r".[]*^$\/," else c for c in name)
    target = "".join(f"\\{c}" if c in r"\&," else c for c in base.rstrip("/"))
    pattern = f"\\./{source}" if name else "\\."
    return f"s,^{pattern}\\(/\\|$\\),{target}\\1,rhS"


async def _tar(directory: int, arguments: list[str]) -> AsyncIterator[bytes]:
    """Run tar in a directory given by its descriptor and yield what it writes."""
    reading, writing = os.pipe()
    errors, errors_end = os.pipe()
    try:
        try:
            process = spawn(
                ["tar", "--create", "--numeric-owner", "--xattrs",
                 "--xattrs-include=security.capability", "--ignore-failed-read",
                 "--warning=no-file-changed", f"--directory=/proc/self/fd/{directory}", *arguments],
                pass_fds=[directory],
                stdout=writing,
                stderr=errors_end,
            )  # fmt: skip
        finally:
            os.close(writing)
            os.close(errors_end)
        said = asyncio.create_task(read_until_end(errors), name="tar's messages")
        try:
            os.set_blocking(reading, False)
            while True:
                try:
                    data = os.read(reading, _CHUNK)
                except BlockingIOError:
                    await readable(reading)
                    continue
                if not data:
                    break
                yield data
            code = await reap(process)
            # 1: a file changed while it was read; the archive is whole all the same.
            if code not in (0, 1):
                text = (await said).decode(errors="replace").strip()
                raise Failed(f"tar failed: {text}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            await said
    finally:
        os.close(reading)
        os.close(errors)
