"""Notice a database file that was copied beside the write-ahead log of another.

SQLite finds a log by its name alone: nothing in the file says which log is its own. After a killed process a log stays behind,
and if another file is copied over the database, SQLite reads it together with that log. The result is damaged, or is the old
state that the copy should have replaced.

SQLite writes the file from the log, never long after the log was written. So times tell:

- The file was written long after its log: something else has written it.
- Only its inode has changed since (it was renamed, or copied with its times; or its mode was changed), or it was written soon
  after its log: its pages are checked.

What this cannot find is a file that came with old times or at once, and whose pages fit the log by chance.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ...errors import ConfigurationError

SLACK_S = 60
"""SQLite may need this long to write the pages of a long log into the file."""
USUAL_S = 2
"""It rarely needs longer than this."""


def require_own_log(path: Path) -> None:
    """Raise `ConfigurationError` if the log beside a database file is not its own, or if there is a log and no file."""
    log = log_of(path)
    if has_foreign_log(path):
        raise ConfigurationError(
            f"The database {path} was changed after its log {log} was last written, so they do not belong together. "
            f"If you copied a backup there, move it elsewhere and run 'handstamp restore FILE'. "
            f"If you are sure that both belong together: touch {log}"
        )
    if log.exists() and log.stat().st_size > 0 and not path.exists():
        raise ConfigurationError(
            f"The database {path} is missing, but its log {log} is there. Put the database back, or run 'handstamp restore FILE'."
        )


def has_foreign_log(path: Path) -> bool:
    """Return whether the log beside a database file is that of another file, as far as this can be found out."""
    try:
        database, written = path.stat(), log_of(path).stat()
    except OSError:
        return False
    if written.st_size == 0 or database.st_ctime <= written.st_mtime + USUAL_S:
        return False
    return database.st_mtime > written.st_mtime + SLACK_S or not _is_sound(path)


def log_of(path: Path) -> Path:
    """Return the path of the write-ahead log of a database file."""
    return path.with_name(f"{path.name}-wal")


def _is_sound(path: Path) -> bool:
    """Return whether a file and its log are one sound database. Neither is changed: SQLite cannot write what it opens so."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError as problem:
        return problem.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
