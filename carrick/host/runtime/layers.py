"""Pack a container's writable layer as an image's layer: what overlayfs marks in its own way becomes
whiteouts (OCI image-spec, layer.md).

A deleted file is a device 0/0 in the layer, an empty file `.wh.NAME` in the archive; a directory that hides
what is below has an attribute in the layer, an entry `.wh..wh..opq` in the archive.
"""

import asyncio
import contextlib
import os
import stat
import tarfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from .processes import readable
from .rootfs import is_opaque

_CHUNK = 1 << 18
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_CAPABILITIES = "security.capability"


async def stream_layer(upper: Path) -> AsyncGenerator[bytes, None]:
    """Yield the archive of a writable layer."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    # The thread has the other end; closing ours is what ends it early.
    packing = asyncio.create_task(asyncio.to_thread(_pack, upper, writing), name="pack layer")
    try:
        while True:
            try:
                data = os.read(reading, _CHUNK)
            except BlockingIOError:
                await readable(reading)
                continue
            if not data:
                break
            yield data
    finally:
        os.close(reading)
        with contextlib.suppress(BrokenPipeError):
            await packing


def _pack(upper: Path, writing: int) -> None:
    with (
        os.fdopen(writing, "wb") as pipe,
        tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member, path in _members(archive, upper, ""):
            if path is None:
                archive.addfile(member)
                continue
            with open(path, "rb") as file:
                archive.addfile(member, file)


def _members(
    archive: tarfile.TarFile, directory: Path, prefix: str
) -> Iterator[tuple[tarfile.TarInfo, Path | None]]:
    """Yield the entries, a directory before what is in it; a file's with where its content is."""
    for path in sorted(directory.iterdir()):
        try:
            status = path.lstat()
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                yield _marker(f"{prefix}{_WHITEOUT}{path.name}", status), None
                continue
            if stat.S_ISSOCK(status.st_mode):
                continue  # No archive has those.
            member = archive.gettarinfo(str(path), arcname=f"{prefix}{path.name}")
        except FileNotFoundError:
            continue  # Removed while we looked, in a container that is not paused.
        with contextlib.suppress(OSError):
            value = os.getxattr(path, _CAPABILITIES, follow_symlinks=False)
            member.pax_headers = {f"SCHILY.xattr.{_CAPABILITIES}": value.decode("utf-8", "surrogateescape")}
        member.uname = member.gname = ""
        yield member, path if member.isreg() else None
        if member.isdir():
            if is_opaque(str(path)):
                yield _marker(f"{prefix}{path.name}/{_OPAQUE}", status), None
            yield from _members(archive, path, f"{prefix}{path.name}/")


def _marker(name: str, status: os.stat_result) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mtime = status.st_mtime
    return member
