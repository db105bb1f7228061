"""Read and rotate a container's log, which conmon writes (its `k8s-file` driver).

A line of the file is `TIME STREAM FLAG DATA`: flag F ends a line of the container's, P is a part whose rest
follows. DATA, with a newline after F and none after P, is exactly what the process wrote.

Rotation is ours: conmon's own (`--log-size-max`) overwrites the old file. We rename `log` to `log.1`
and ask conmon to reopen; until it has, it goes on writing to the renamed file, so nothing is lost,
and `max_files` is kept. While the daemon is down nothing is rotated; the first write after its
return is.

A cursor holds its file open, so it outlasts any number of rotations.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .api import LogEntry, LogQuery, Stream
from .timestamps import parse_rfc3339

_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the file. `time` is its text; `data` has the newline that belongs to it."""

    time: bytes
    stream: Stream
    data: bytes
    partial: bool

    def entry(self) -> LogEntry:
        """Return it with its time as a number."""
        return LogEntry(self.stream, parse_rfc3339(self.time.decode()), self.data, self.partial)


def parse_record(line: bytes) -> Record | None:
    """Read one line without its newline; None for one that a crash has torn."""
    parts = line.split(b" ", 3)
    if len(parts) < 3 or parts[2] not in (b"F", b"P") or parts[1] not in (b"stdout", b"stderr"):
        return None
    stream = Stream.STDOUT if parts[1] == b"stdout" else Stream.STDERR
    data = parts[3] if len(parts) == 4 else b""
    if parts[2] == b"F":
        return Record(parts[0], stream, data + b"\n", partial=False)
    return Record(parts[0], stream, data, partial=True)


# --- files ----------------------------------------------------------------------------------------


def _rotated(log: Path) -> list[tuple[int, Path]]:
    prefix = f"{log.name}."
    found = [
        (int(entry.name[len(prefix) :]), entry)
        for entry in log.parent.glob(f"{prefix}*")
        if entry.name[len(prefix) :].isdigit()
    ]
    return sorted(found, reverse=True)


def log_files(log: Path) -> list[Path]:
    """Return all files of a log, the oldest first."""
    return [path for _, path in _rotated(log)] + ([log] if log.exists() else [])


def rotate(log: Path, max_size: int, max_files: int, reopen: Callable[[], bool]) -> bool:
    """Rotate the log if it has outgrown `max_size`; return whether it was.

    `reopen` makes conmon open a new file at the path; if conmon is gone, nothing is changed.
    """
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return False  # Rotated already; conmon is about to reopen.
    _prune(log, max_files)
    if max_size <= 0 or size < max_size:
        return False
    moved = []
    for number, path in [*_rotated(log), (0, log)]:
        new = log.with_name(f"{log.name}.{number + 1}")
        path.rename(new)
        moved.append((new, path))
    if not reopen():
        # Back, the newest first. Left where they are, they would be one look nearer to being the oldest.
        for new, path in reversed(moved):
            new.rename(path)
        return False
    # The renamed file is conmon's for a moment yet, so with one file only it goes at the next look.
    _prune(log, max(max_files, 2))
    return True


def finish_rotation(log: Path, reopen: Callable[[], bool]) -> bool:
    """Finish a rotation that was cut off before conmon was told; return whether there was one.

    For what an earlier daemon left, and once only: told twice, conmon would replace its new file.
    """
    return not log.exists() and bool(_rotated(log)) and reopen()


def _prune(log: Path, max_files: int) -> None:
    for number, path in _rotated(log):
        if number >= max_files:
            path.unlink(missing_ok=True)


def remove_logs(log: Path) -> None:
    """Delete all files of a log. Repeatable."""
    for path in log_files(log):
        path.unlink(missing_ok=True)


# --- reading --------------------------------------------------------------------------------------


@dataclass(slots=True)
class LogCursor:
    """A place in a log. `read` gives what comes after it, over all later files.

    A fresh cursor stands before everything; `at_end` and `seek` put it elsewhere.
    """

    log: Path
    _fd: int = -1
    _inode: int = 0
    _rest: bytes = b""

    def at_end(self) -> "LogCursor":
        """Stand behind all that is there now. Returns itself."""
        if self.log.exists():
            self._open(self.log)
            os.lseek(self._fd, 0, os.SEEK_END)
        return self

    def seek(self, path: Path, offset: int) -> "LogCursor":
        """Stand at a byte of one of the files. Returns itself."""
        self._open(path)
        os.lseek(self._fd, offset, os.SEEK_SET)
        return self

    def read(self) -> list[Record]:
        """Return the next records; none if there are no more at the moment."""
        while True:
            if self._fd < 0 and not self._open_oldest():
                return []
            data = os.read(self._fd, _BLOCK)
            if not data:
                if not self._next_file():
                    return []
                continue
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            records = [record for line in lines if (record := parse_record(line)) is not None]
            if records:
                return records

    def close(self) -> None:
        """Let go of the file. Repeatable."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.close()
        self._fd = descriptor
        self._inode = os.fstat(descriptor).st_ino
        self._rest = b""

    def _open_oldest(self) -> bool:
        for path in log_files(self.log):
            try:
                self._open(path)
            except FileNotFoundError:
                continue
            return True
        return False

    def _next_file(self) -> bool:
        """Go on in the next younger file, if ours is closed for good and read to its end."""
        files = log_files(self.log)
        inodes = [_inode(path) for path in files]
        if self._inode not in inodes:
            # Ours was rotated away altogether; go on with the oldest that is left.
            return self._open_oldest()
        position = inodes.index(self._inode)
        if position + 1 >= len(files) or inodes[position + 1] == 0:
            return False
        # conmon writes to the renamed file until the new one is there: look once more.
        if os.fstat(self._fd).st_size > os.lseek(self._fd, 0, os.SEEK_CUR):
            return True
        self._open(files[position + 1])
        return True


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def cursor_at_tail(log: Path, count: int, streams: frozenset[Stream]) -> LogCursor:
    """Return a cursor that stands before the last `count` lines of these streams."""
    if count <= 0:
        return LogCursor(log).at_end()
    found = 0
    seen: set[Stream] = set()
    for path in reversed(log_files(log)):
        for offset, line in _lines_backwards(path):
            record = parse_record(line)
            if record is None or record.stream not in streams:
                continue
            # A line is counted at its end; parts at the very end of the log are a line as well.
            if not record.partial or record.stream not in seen:
                found += 1
            seen.add(record.stream)
            if found > count:
                return LogCursor(log).seek(path, offset + len(line) + 1)
    return LogCursor(log)


def _lines_backwards(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) from the last line to the first."""
    with open(path, "rb") as file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        while position > 0:
            step = min(_BLOCK, position)
            position -= step
            file.seek(position)
            block = file.read(step) + rest
            lines = block.split(b"\n")
            # The first may begin in the block before; the last is empty or torn.
            rest = lines[0]
            end = len(block)
            for line in reversed(lines[1:]):
                start = end - len(line)
                if line:
                    yield position + start, line
                end = start - 1
        if rest:
            yield 0, rest


@dataclass(slots=True)
class LogFollower:
    """Reads on as a log grows: `changed` waits for more, `is_ended` says that none will come."""

    cursor: LogCursor
    changed: Callable[[], Awaitable[object]]
    is_ended: Callable[[], bool]

    async def records(self) -> AsyncIterator[list[Record]]:
        """Yield records in batches until the container ended and all are read."""
        try:
            while True:
                # Ask before reading: what was written before the end is then surely read.
                ended = self.is_ended()
                if records := self.cursor.read():
                    yield records
                elif ended:
                    return
                else:
                    await self.changed()
        finally:
            self.cursor.close()


def selects(query: LogQuery) -> frozenset[Stream]:
    """Return the streams that a query asks for."""
    return frozenset(
        stream for stream, wanted in ((Stream.STDOUT, query.stdout), (Stream.STDERR, query.stderr)) if wanted
    )


async def read_log(
    log: Path,
    query: LogQuery,
    changed: Callable[[], Awaitable[object]],
    is_ended: Callable[[], bool],
) -> AsyncIterator[LogEntry]:
    """Yield what a query asks for. Without `follow`, what is there now."""
    streams = selects(query)
    cursor = LogCursor(log) if query.tail is None else cursor_at_tail(log, query.tail, streams)
    follower = LogFollower(cursor, changed, is_ended if query.follow else lambda: True)
    async for records in follower.records():
        for record in records:
            if record.stream not in streams:
                continue
            entry = record.entry()
            if query.since_ns is not None and entry.time_ns < query.since_ns:
                continue
            if query.until_ns is not None and entry.time_ns > query.until_ns:
                return
            yield entry
