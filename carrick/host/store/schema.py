"""The layout of the SQLite store, and how older layouts become the present one.

`MIGRATIONS[n]` turns layout n into layout n+1; layout 0 is an empty file. All that are missing run in
one transaction, so a kill leaves the old layout or the new one. A migration that was released is
never edited: a change is a new one at the end.
"""

import sqlite3
from collections.abc import Sequence

from ...model.errors import Failed

APPLICATION_ID = 0x43524B31  # "CRK1": tells our files from other people's, also to file(1)

Migration = tuple[str, ...]

MIGRATIONS: tuple[Migration, ...] = (
    (
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO counters VALUES ('revision', 0)",
        """CREATE TABLE entries (
             key TEXT PRIMARY KEY NOT NULL,
             value BLOB NOT NULL,
             created INTEGER NOT NULL,
             revision INTEGER NOT NULL,
             lease INTEGER NOT NULL)""",
        "CREATE INDEX entries_of_lease ON entries (lease) WHERE lease != 0",
        # AUTOINCREMENT: the id of a lease that has ended is never given again.
        "CREATE TABLE leases (id INTEGER PRIMARY KEY AUTOINCREMENT, ttl_s REAL NOT NULL)",
    ),
)


def migrate(connection: sqlite3.Connection, name: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the open database to the last layout of `migrations`; `name` is what messages call it.

    Raises Failed if the file is somebody else's, or was written by a newer Carrick.
    """
    version = _version(connection, name)
    if version > len(migrations):
        raise Failed(
            f"{name} was written by a newer Carrick: it has layout {version}, "
            f"and this one knows layouts up to {len(migrations)}",
            remedy="run the newer carrickd, or give this one a --state-dir of its own",
        )
    if version == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if version == 0:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("CREATE TABLE schema (version INTEGER NOT NULL)")
            connection.execute("INSERT INTO schema VALUES (0)")
        for migration in migrations[version:]:
            for statement in migration:
                connection.execute(statement)
        connection.execute("UPDATE schema SET version = ?", (len(migrations),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, name: str) -> int:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables:
        return 0
    if application_id != APPLICATION_ID:
        raise Failed(
            f"{name} is a database of another program",
            remedy="give carrickd a --state-dir of its own",
        )
    (version,) = connection.execute("SELECT version FROM schema").fetchone()
    return int(version)
