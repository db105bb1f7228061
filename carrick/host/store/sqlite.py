"""The embedded store: one SQLite file, one connection, one process (docs/adr/0002-store.md).

Write-ahead log with `synchronous=NORMAL`: a commit is one append to the log, without waiting for
the disk, so that it is fast enough to run inline in the event loop. A killed process loses
nothing; a machine that loses power may lose the last commits, never part of one.
"""

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...model.errors import CarrickError, Denied, Failed, Unavailable
from .checks import prefix_end
from .contract import (
    ABSENT,
    NO_LEASE,
    Change,
    Changed,
    Delete,
    DeletePrefix,
    Entry,
    LeaseId,
    NoneBelow,
    Put,
    Removed,
    Requirement,
    StaleRevision,
)
from .embedded import Clock, EmbeddedStore
from .feed import BACKLOG_EVENTS, HISTORY_EVENTS
from .lockfile import LockFile
from .schema import MIGRATIONS, Migration, migrate

_LOG_LIMIT_BYTES = 16 * 1024 * 1024
_SQLITE_PRIMARY_CODE = 0xFF
"""An extended result code carries the primary one in its low byte."""

_SELECT = "SELECT key, value, created, revision, lease FROM entries "
_PUT = (
    "INSERT INTO entries VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE "
    "SET value = excluded.value, revision = excluded.revision, lease = excluded.lease"
)


class SqliteStore(EmbeddedStore):
    """A `Store` in the file `path`, which is made if it is missing, as is its directory.

    Raises Conflict if another process has it open, Failed if the file is damaged, of another program or
    of a newer Carrick, Denied if it may not be written, Unavailable if the disk is full or broken.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock = time.monotonic,
        history_events: int = HISTORY_EVENTS,
        backlog_events: int = BACKLOG_EVENTS,
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> None:
        super().__init__(
            SqliteBackend(path, migrations),
            clock=clock,
            history_events=history_events,
            backlog_events=backlog_events,
        )


class SqliteBackend:
    """Entries and leases in one file. The revision is kept in memory too: nobody else can change it."""

    def __init__(self, path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        self._path = path
        with self._failures("open"):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = LockFile(path.with_name(path.name + ".lock"), f"the store {path}")
        try:
            with self._failures("open"):
                # Made by us and not by SQLite, for the mode: records hold containers' environments.
                # SQLite gives the log and its index the mode of the file.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                self._connection = sqlite3.connect(path, isolation_level=None)
        except BaseException:
            self._lock.release()
            raise
        try:
            with self._failures("open"):
                self._prepare(migrations)
        except BaseException:
            self.close()
            raise

    def _prepare(self, migrations: Sequence[Migration]) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
        (verdict,) = run("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        migrate(self._connection, f"the store {self._path}", migrations)
        row = run("SELECT value FROM counters WHERE name = 'revision'").fetchone()
        self._revision = int(row[0])

    @property
    def revision(self) -> int:
        return self._revision

    def read(self, key: str) -> Entry | None:
        with self._failures("read"):
            row = self._connection.execute(_SELECT + "WHERE key = ?", (key,)).fetchone()
            return row and Entry(*row)

    def scan(self, prefix: str) -> tuple[Entry, ...]:
        with self._failures("read"):
            return tuple(Entry(*row) for row in self._connection.execute(*_range(_SELECT, prefix)))

    def write(self, changes: Sequence[Change], conditions: Sequence[Requirement]) -> list[Changed | Removed]:
        return self._transaction(lambda: self._write(changes, conditions))

    def leases(self) -> dict[LeaseId, float]:
        with self._failures("read"):
            return dict(self._connection.execute("SELECT id, ttl_s FROM leases"))

    def add_lease(self, ttl_s: float) -> LeaseId:
        with self._failures("write"):
            added = self._connection.execute("INSERT INTO leases (ttl_s) VALUES (?)", (ttl_s,))
            return LeaseId(added.lastrowid or NO_LEASE)

    def drop_lease(self, lease: LeaseId) -> list[Changed | Removed]:
        def drop() -> list[Changed | Removed]:
            run = self._connection.execute
            keys = run("SELECT key FROM entries WHERE lease = ? AND lease != 0 ORDER BY key", (lease,))
            events = self._write([Delete(key) for (key,) in keys.fetchall()], ())
            run("DELETE FROM leases WHERE id = ?", (lease,))
            return events

        return self._transaction(drop)

    def close(self) -> None:
        try:
            with self._failures("close"):
                self._connection.close()
        finally:
            self._lock.release()

    def _transaction(self, body: Callable[[], list[Changed | Removed]]) -> list[Changed | Removed]:
        with self._failures("write"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                events = body()
                if events:
                    self._connection.execute(
                        "UPDATE counters SET value = ? WHERE name = 'revision'", (events[0].revision,)
                    )
                self._connection.execute("COMMIT")
            except BaseException:
                # After some errors (a full disk) SQLite has rolled back already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        if events:
            self._revision = events[0].revision
        return events

    def _write(self, changes: Sequence[Change], conditions: Sequence[Requirement]) -> list[Changed | Removed]:
        run = self._connection.execute
        for condition in conditions:
            if isinstance(condition, NoneBelow):
                statement, bounds = _range("SELECT key, revision FROM entries ", condition.prefix)
                if row := run(f"{statement} LIMIT 1", bounds).fetchone():
                    raise StaleRevision(row[0], expected=ABSENT, actual=row[1])
                continue
            row = run("SELECT revision FROM entries WHERE key = ?", (condition.key,)).fetchone()
            actual = row[0] if row else ABSENT
            if actual != condition.revision:
                raise StaleRevision(condition.key, expected=condition.revision, actual=actual)
        revision = self._revision + 1
        events: list[Changed | Removed] = []
        for change in changes:
            match change:
                case Put(key, value, lease):
                    run(_PUT, (key, value, revision, revision, lease))
                    events.append(Changed(key, value, revision))
                case Delete(key):
                    if run("DELETE FROM entries WHERE key = ?", (key,)).rowcount:
                        events.append(Removed(key, revision))
                case DeletePrefix(prefix):
                    keys = run(*_range("SELECT key FROM entries ", prefix)).fetchall()
                    run(*_range("DELETE FROM entries ", prefix, ordered=False))
                    events.extend(Removed(key, revision) for (key,) in keys)
        return events

    @contextmanager
    def _failures(self, action: str) -> Iterator[None]:
        """Turn what SQLite and the file system say into our errors."""
        try:
            yield
        except (CarrickError, sqlite3.ProgrammingError):
            raise
        except sqlite3.Error as error:
            raise _translate_sqlite(error, self._path, action) from error
        except OSError as error:
            raise _translate_os(error, self._path, action) from error


def _range(statement: str, prefix: str, *, ordered: bool = True) -> tuple[str, tuple[str, ...]]:
    order = " ORDER BY key" if ordered else ""
    if not prefix:
        return statement + order, ()
    end = prefix_end(prefix)
    if end is None:
        return statement + "WHERE key >= ?" + order, (prefix,)
    return statement + "WHERE key >= ? AND key < ?" + order, (prefix, end)


def _translate_sqlite(error: sqlite3.Error, path: Path, action: str) -> CarrickError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & _SQLITE_PRIMARY_CODE
    cannot = f"cannot {action} the store {path}"
    match code:
        case sqlite3.SQLITE_FULL:
            return Unavailable(
                f"{cannot}: the disk is full; nothing was changed",
                remedy=f"free space on the disk of {path.parent}",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Failed(
                f"{cannot}: the file is damaged or not a store ({error})",
                remedy=f"restore {path} from a backup, or move it and its -wal away to start anew",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return Denied(
                f"{cannot}: {error}", remedy=f"make {path.parent} and what is in it writable for carrickd"
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Unavailable(
                f"{cannot}: another program has locked it", remedy="close the program that has the file open"
            )
        case sqlite3.SQLITE_IOERR:
            return Unavailable(
                f"{cannot}: {error}; nothing was changed", remedy="look at the disk and the kernel's log"
            )
    return Failed(f"{cannot}: {error}")


def _translate_os(error: OSError, path: Path, action: str) -> CarrickError:
    where = error.filename or path
    message = f"cannot {action} the store {path}: {where}: {error.strerror}"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return Denied(message, remedy="let carrickd write there, or give it another --state-dir")
    if isinstance(error, FileNotFoundError | NotADirectoryError | FileExistsError | IsADirectoryError):
        return Denied(message, remedy="give carrickd a --state-dir that can be made")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(message, remedy=f"free space on the disk of {path.parent}")
    return Unavailable(message, remedy="look at the disk and the kernel's log")
