"""Tar streams for `carrick cp`: renaming on the way in and out, and unpacking with care.

What comes out of a container is not to be trusted: nothing is written outside the destination,
whatever names and links the stream holds (tarfile's `tar` filter, PEP 706).
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from carrick.doors.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

_PART = 128 * 1024


class ChunkReader:
    """Chunks of bytes as the file that tarfile reads from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""
        self.total = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; fewer at the end only."""
        parts, length = [self._buffer], len(self._buffer)
        while size < 0 or length < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            parts.append(chunk)
            length += len(chunk)
        data = b"".join(parts)
        size = len(data) if size < 0 else size
        data, self._buffer = data[:size], data[size:]
        self.total += len(data)
        return data


class _Sink:
    """The file that tarfile writes to: hands on what was written, in parts."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def tell(self) -> int:
        return 0

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def unpack(chunks: Iterable[bytes], target: Path, old: str, new: str, *, keep_owner: bool) -> int:
    """Unpack below `target`, the first component `old` of each name becoming `new`.

    Returns the bytes read. Raises CliError for a stream that is broken or means harm.
    """
    reader = ChunkReader(chunks)
    try:
        with tarfile.open(fileobj=reader, mode="r|") as tar:  # type: ignore[call-overload]
            for member in tar:
                name = rebase(member.name, old, new)
                if name is None:
                    continue
                changes: dict[str, object] = {"name": name}
                if member.islnk():
                    changes["linkname"] = rebase(member.linkname, old, new) or member.linkname
                if not keep_owner:
                    changes |= {"uid": os.getuid(), "gid": os.getgid(), "uname": "", "gname": ""}
                tar.extract(
                    member.replace(**changes, deep=False),
                    target,
                    numeric_owner=True,
                    filter="tar",
                )
    except tarfile.TarError as error:
        raise CliError(f"cannot unpack: {error}") from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CliError(f"cannot unpack: {where}{error.strerror or error}") from None
    return reader.total


def rebase(name: str, old: str, new: str) -> str | None:
    """Return `name` with its first component `old` replaced by `new` (empty: dropped).

    None: nothing is left of the name, it is the destination itself.
    """
    plain = name.removeprefix("./").rstrip("/")
    if plain in ("", "."):
        return new or None
    if not old or old == ".":
        return f"{new}/{plain}" if new else plain
    first, _, rest = plain.partition("/")
    if first != old:
        return plain
    joined = "/".join(part for part in (new, rest) if part)
    return joined or None


def pack(
    source: Path, name: str, *, contents: bool, follow: bool, counted: Callable[[int], None]
) -> Iterator[bytes]:
    """Yield a tar of `source` under `name`; `contents`: of what is in it, without itself.

    `follow`: a link named as the source stands for what it points to.
    """
    sink = _Sink()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        start = source.resolve() if follow else source
        for path, member in _walk(start, "." if contents else name):
            info = tar.gettarinfo(str(path), member)
            if info is None:
                continue  # a socket: tar has no such thing
            tar.addfile(info)
            if info.isreg():
                yield from _content(path, info.size, sink, counted)
            if data := sink.take():
                yield data
    yield sink.take()


def _walk(path: Path, name: str) -> Iterator[tuple[Path, str]]:
    yield path, name
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            yield from _walk(child, f"{name}/{child.name}")


def _content(path: Path, size: int, sink: _Sink, counted: Callable[[int], None]) -> Iterator[bytes]:
    """Yield a file's bytes, as many as its header said, and the padding."""
    left = size
    with path.open("rb") as file:
        yield sink.take()
        while left:
            data = file.read(min(left, _PART))
            if not data:
                raise CliError(f"{path} became shorter while it was copied")
            left -= len(data)
            counted(len(data))
            yield data
    if padding := -size % tarfile.BLOCKSIZE:
        yield b"\0" * padding


def copy_stream(chunks: Iterable[bytes], out: BinaryIO) -> None:
    """Write a stream as it is."""
    for chunk in chunks:
        out.write(chunk)
    out.flush()
