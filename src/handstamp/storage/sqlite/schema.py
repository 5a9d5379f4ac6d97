"""Connects to a SQLite file and brings its schema up to date."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from ...errors import ConfigurationError, Unavailable
from .. import migrations


def connect(path: Path) -> sqlite3.Connection:
    """Connect to an existing file. A missing file is not created, because it would look like an empty database."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0, check_same_thread=False
    )
    try:
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF", "cell_size_check=ON"):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_to_current(path: Path) -> sqlite3.Connection:
    """Connect to a file that has the current schema. Raises `Unavailable` if it was replaced by one that has not."""
    connection = connect(path)
    try:
        is_outdated = bool(migrations.find_pending(migrations.load_migrations("sqlite"), load_applied(connection)))
    except ConfigurationError as problem:
        connection.close()
        raise Unavailable(f"the database file was replaced: {problem}") from None
    except sqlite3.Error:
        connection.close()
        raise
    if is_outdated:
        connection.close()
        raise Unavailable("the database file was replaced by one of an older schema: restart to bring it up to date")
    return connection


def load_applied(connection: sqlite3.Connection) -> dict[int, str]:
    """Return the checksums of the applied migrations. Raises `ConfigurationError` if the file is another program's."""
    (encoding,) = connection.execute("PRAGMA encoding").fetchone()
    if encoding != "UTF-8":
        raise ConfigurationError(f"The encoding of this SQLite file is {encoding}: name a file that does not exist yet instead.")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if "schema_migration" in tables:
        return dict(connection.execute("SELECT version, checksum FROM schema_migration"))
    if tables:
        raise ConfigurationError(
            "This SQLite file belongs to another program: name a file of Handstamp's own in HANDSTAMP_DATABASE."
        )
    return {}


def migrate(path: Path) -> None:
    """Create the file, with mode 0600, if it does not exist, and apply all pending migrations in one transaction."""
    # The file holds addresses and sealed keys; SQLite gives its WAL files the same mode. An existing file must not be opened
    # here: closing it would drop all locks that another store in this process holds on it (POSIX), and the next process to close
    # the database would delete the WAL.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = connect(path)
    try:
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            load_applied(connection)  # raises before another program's file is changed
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        pending = migrations.find_pending(migrations.load_migrations("sqlite"), load_applied(connection))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration "
            "(version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT"
        )
        for migration in pending:
            for statement in migration.statements():
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_migration (version, name, checksum) VALUES (?, ?, ?)",
                (migration.version, migration.name, migration.checksum),
            )
        connection.execute("COMMIT")
    finally:
        connection.close()
