"""Unpack a tar archive inside a container's root, for `cp`.

Neither tar nor `tarfile.extractall` will do: both follow the symbolic links that they find in the target,
and these lead to the host's files. Here the directory of each entry is opened by the kernel as if chrooted
(openat2, RESOLVE_IN_ROOT), and the entry is made relative to that descriptor.
"""

import contextlib
import os
import posixpath
import shutil
import stat
import tarfile
from pathlib import Path

from ...model.errors import Failed, InvalidRequest
from . import syscalls

_XATTR = "SCHILY.xattr."


class Unpacker:
    """Unpacks one archive into `path` below the descriptor `root`. Runs in a thread.

    `keep_kinds` refuses to put a file in the place of a directory and the other way round.
    `owner` replaces the archive's owners.
    """

    def __init__(self, root: int, path: str, *, keep_kinds: bool, owner: tuple[int, int] | None) -> None:
        self._root = root
        self._path = path
        self._keep_kinds = keep_kinds
        self._owner = owner

    def run(self, source: int) -> None:
        """Read an archive (compressed or not) from a pipe, which is closed at the end."""
        with open(source, "rb") as file:
            try:
                with tarfile.open(fileobj=file, mode="r|*") as archive:
                    times: list[tuple[str, float]] = []
                    for member in archive:
                        self._unpack(archive, member)
                        if member.isdir():
                            times.append((member.name, member.mtime))
                    # Directories' times last: what is put into them changes them.
                    for name, mtime in reversed(times):
                        self._set_directory_time(name, mtime)
                while file.read(1 << 16):
                    pass  # The padding after the end, or the writer would see a broken pipe.
            except tarfile.ReadError as error:
                if "empty" not in str(error):
                    raise InvalidRequest(f"the archive cannot be read: {error}") from error
            except OSError as error:
                raise Failed(f"cannot unpack {error.filename or ''}: {error.strerror}") from error

    def _inside(self, name: str) -> tuple[str, str]:
        """Return the directory (below the root) and the last part of an entry's name."""
        clean = posixpath.normpath("/" + name.lstrip("/"))
        directory, base = posixpath.split(clean)
        return self._path.rstrip("/") + directory, base

    def _open_parent(self, directory: str) -> int:
        flags = os.O_PATH | os.O_DIRECTORY
        try:
            return syscalls.open_in_root(self._root, directory, flags)
        except FileNotFoundError:
            parent, base = posixpath.split(directory.rstrip("/"))
            above = self._open_parent(parent or "/")
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(base, 0o755, dir_fd=above)
            finally:
                os.close(above)
            return syscalls.open_in_root(self._root, directory, flags)

    def _unpack(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        directory, base = self._inside(member.name)
        if not base:
            return  # The target itself.
        parent = self._open_parent(directory)
        try:
            if not self._make_room(parent, base, member):
                self._make(archive, member, parent, base)
            self._dress(member, parent, base)
        finally:
            os.close(parent)

    def _make_room(self, parent: int, base: str, member: tarfile.TarInfo) -> bool:
        """Remove what is in the way; True if a directory is there that is to be kept."""
        try:
            present = os.stat(base, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        is_directory = stat.S_ISDIR(present.st_mode)
        if member.isdir() and is_directory:
            return True
        if self._keep_kinds and member.isdir() and not is_directory:
            raise InvalidRequest(f"cannot overwrite non-directory {member.name!r} with directory")
        if self._keep_kinds and is_directory and not member.isdir():
            raise InvalidRequest(f"cannot overwrite directory {member.name!r} with non-directory")
        if is_directory:
            # rmtree works by descriptors below here and follows no links.
            shutil.rmtree(base, dir_fd=parent)
        else:
            os.unlink(base, dir_fd=parent)
        return False

    def _make(self, archive: tarfile.TarFile, member: tarfile.TarInfo, parent: int, base: str) -> None:
        if member.isdir():
            os.mkdir(base, 0o700, dir_fd=parent)
        elif member.issym():
            os.symlink(member.linkname, base, dir_fd=parent)
        elif member.islnk():
            self._link(member, parent, base)
        elif member.isfifo():
            os.mkfifo(base, 0o600, dir_fd=parent)
        elif member.ischr() or member.isblk():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            device = os.makedev(member.devmajor, member.devminor)
            os.mknod(base, kind | 0o600, device, dir_fd=parent)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(base, flags, 0o600, dir_fd=parent)
            with open(descriptor, "wb") as file:
                content = archive.extractfile(member)
                if content is not None:
                    shutil.copyfileobj(content, file, 1 << 18)

    def _link(self, member: tarfile.TarInfo, parent: int, base: str) -> None:
        """Make a hard link to an entry of this archive, looked up inside the root as well."""
        directory, target = self._inside(member.linkname)
        target_parent = self._open_parent(directory)
        try:
            os.link(target, base, src_dir_fd=target_parent, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(target_parent)

    def _dress(self, member: tarfile.TarInfo, parent: int, base: str) -> None:
        """Give the entry its owner, mode, attributes and time, in the order in which they last."""
        if member.islnk():
            return
        uid, gid = self._owner or (member.uid, member.gid)
        os.chown(base, uid, gid, dir_fd=parent, follow_symlinks=False)
        if member.issym():
            return
        # By descriptor: chmod and setxattr by name would follow a link put there meanwhile.
        descriptor = os.open(base, os.O_PATH | os.O_NOFOLLOW, dir_fd=parent)
        try:
            place = Path(f"/proc/self/fd/{descriptor}")
            place.chmod(stat.S_IMODE(member.mode))
            for key, value in member.pax_headers.items():
                if key.startswith(_XATTR):
                    with contextlib.suppress(OSError):
                        os.setxattr(place, key[len(_XATTR) :], os.fsencode(value))
            os.utime(place, (member.mtime, member.mtime))
        finally:
            os.close(descriptor)

    def _set_directory_time(self, name: str, mtime: float) -> None:
        directory, base = self._inside(name)
        with contextlib.suppress(OSError):
            parent = self._open_parent(directory)
            try:
                if base:
                    os.utime(base, (mtime, mtime), dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(parent)
