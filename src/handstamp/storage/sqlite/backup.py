"""Copy a database file while it is in use, and put such a copy in the place of a database.

Both write a draft beside the target and rename it, so that a killed process leaves the target as it was.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path

from ...errors import ConfigurationError, Unavailable
from .. import migrations
from .schema import connect, load_applied
from .stale_log import has_foreign_log

Report = Callable[[int, int], None]
"""Called with the number of copied pages and the number of all."""
SealedKey = tuple[str, bytes]
"""The id of a signing key and its sealed private part."""

_LOGS = ("-wal", "-shm", "-journal")
_MAGIC = b"SQLite format 3\0"
"""The first bytes of each database."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PAGES = 2_000
_PATIENCE_MS = 10_000
_LOCKS = 0x40000000
"""Where SQLite's locks are in a file. It locks 512 bytes there, which need not exist."""


def back_up(database: Path, file: Path, *, may_replace: bool, report: Report) -> None:
    """Write a copy of a database that may be in use to `file`, with mode 0600: its state at one moment, in one file.

    Requests are served meanwhile. Until it is done, SQLite's log only grows.

    Raises:
        ConfigurationError: If `file` exists and may not be replaced, or if the database is damaged or not Handstamp's.
        Unavailable: If a file cannot be read or written.
    """
    with _failures_as_errors():
        if file.exists():
            _require_replaceable(file, database, may_replace=may_replace)
    with _failures_as_errors(), _draft_beside(file) as draft:
        with closing(connect(database)) as source:
            _copy(source, draft, report)
        check(draft)
        _leave_out_mail(draft)
        if may_replace:
            draft.replace(file)
        else:
            try:
                os.link(draft, file)  # unlike a rename, it never replaces a file
            except FileExistsError:
                raise _exists(file) from None
        _sync_folder(file.parent)


def restore(file: Path, database: Path, *, require_openable: Callable[[list[SealedKey]], None], report: Report) -> Path | None:
    """Put a copy of `file` in the place of a database that no process has open. The old one stays beside it.

    Args:
        file: The backup.
        database: Where the service looks for its database. It need not exist.
        require_openable: Raises an error if the master secret does not open the keys of the backup.
        report: Called while pages are copied.

    Returns:
        The new path of the old database, None if there was none.

    Raises:
        ConfigurationError: If a process has the database open, or if the backup is damaged, not Handstamp's, of a newer version,
            or refused by `require_openable`. Nothing was changed then.
        Unavailable: If a file cannot be read or written.
    """
    if not file.exists():
        raise ConfigurationError(f"There is no file {file}.")
    with _failures_as_errors(), _draft_beside(database) as draft:
        with closing(_connect_to_read(file)) as source:
            _copy(source, draft, report)
        require_openable(check(draft))
        _keep_owner(draft, database)
        if not database.exists():
            for log in _LOGS:
                database.with_name(database.name + log).unlink(missing_ok=True)
            os.link(draft, database)
            _sync_folder(database.parent)
            return None
        with _held(database) as logs:
            kept = _set_aside(database, logs)
            draft.replace(database)
            _sync_folder(database.parent)
            return kept


def check(file: Path) -> list[SealedKey]:
    """Check a copied database completely and return its sealed keys.

    Raises:
        ConfigurationError: If it is damaged, not Handstamp's, or of a newer version. An older schema is allowed.
    """
    with closing(connect(file)) as connection:
        if connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
            raise ConfigurationError("The database is damaged: SQLite's integrity check fails.")
        applied = load_applied(connection)
        if not applied:
            raise ConfigurationError("The file is no database of Handstamp.")
        migrations.find_pending(migrations.load_migrations("sqlite"), applied)
        return connection.execute("SELECT kid, sealed FROM signing_key").fetchall()


def _copy(source: sqlite3.Connection, draft: Path, report: Report) -> None:
    """Copy one state of a database into one file and write it to the disk."""
    source.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
    # The transaction fixes the state. Without it SQLite begins again whenever another process has committed.
    source.execute("BEGIN")
    load_applied(source)
    with closing(sqlite3.connect(draft, isolation_level=None)) as target:
        target.execute("PRAGMA synchronous = OFF")  # the file is synced as a whole, below
        source.backup(target, pages=_PAGES, progress=lambda _, remaining, total: report(total - remaining, total))
        target.execute("PRAGMA journal_mode = DELETE")  # no log beside the copy
    with draft.open("rb") as copied:
        os.fsync(copied.fileno())


def _leave_out_mail(draft: Path) -> None:
    """Delete mail that waits. After a restore it would be sent a second time."""
    with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
        connection.execute("DELETE FROM mail")


def _connect_to_read(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


@contextmanager
def _draft_beside(target: Path) -> Iterator[Path]:
    """Yield a new file with mode 0600 in the folder of `target`, and remove it at the end if it is still there."""
    descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".part", dir=target.absolute().parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        for log in ("", *_LOGS):
            Path(name + log).unlink(missing_ok=True)


@contextmanager
def _held(database: Path) -> Iterator[Sequence[str]]:
    """Keep all other processes from using a database, and empty its log into it. Yield the suffixes of the logs that remain.

    Each connection to a database with a log holds a shared lock on the file for as long as it is open, so an exclusive one tells
    whether there is another. Raises `ConfigurationError` if there is one.
    """
    if not has_foreign_log(database):  # SQLite would write that log into the file
        address = f"{database.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=0)) as held:
            try:
                held.execute("PRAGMA journal_mode = DELETE")
                held.execute("BEGIN EXCLUSIVE")
                if held.execute("PRAGMA journal_mode").fetchone() != ("delete",):
                    raise _in_use(database)  # by a process that came between the two
            except sqlite3.DatabaseError as problem:
                if _is(problem, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise _in_use(database) from None
                if not _is(problem, *_DAMAGED):
                    raise
            else:
                yield ()
                return
    with database.open("rb+") as damaged:  # SQLite cannot read it, so it is locked as SQLite would lock it
        try:
            fcntl.lockf(damaged, fcntl.LOCK_EX | fcntl.LOCK_NB, 512, _LOCKS)
        except OSError:
            raise _in_use(database) from None
        yield "-wal", "-journal"


def _set_aside(database: Path, logs: Sequence[str]) -> Path:
    """Give a database a second name, and move these logs to that name. Return the name.

    No log may stay when the new file comes: SQLite would read both together. The log of a sound database is empty by now.
    """
    kept = next(path for number in count(1) if not (path := database.with_name(f"{database.name}.replaced-{number}")).exists())
    os.link(database, kept)
    database.with_name(f"{database.name}-shm").unlink(missing_ok=True)  # an index of the log
    for log in logs:
        with suppress(FileNotFoundError):
            database.with_name(database.name + log).replace(kept.with_name(kept.name + log))
    _sync_folder(database.parent)
    return kept


def _keep_owner(draft: Path, database: Path) -> None:
    """Give the draft the owner of the database or of its folder: root may restore for the user of the service."""
    owner = (database if database.exists() else database.absolute().parent).stat()
    if os.geteuid() == 0:
        os.chown(draft, owner.st_uid, owner.st_gid)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _failures_as_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as problem:
        if _is(problem, *_DAMAGED):
            raise ConfigurationError(f"The database is damaged, or is no database: {problem}") from None
        raise Unavailable(f"SQLite: {problem}") from None
    except OSError as problem:
        raise Unavailable(str(problem)) from None


def _is(problem: sqlite3.Error, *codes: int) -> bool:
    return problem.sqlite_errorcode & 0xFF in codes


def _require_replaceable(file: Path, database: Path, *, may_replace: bool) -> None:
    """Raise `ConfigurationError` unless a file may be replaced by a backup: it is one, as far as its first bytes tell."""
    if not may_replace:
        raise _exists(file)
    if file.samefile(database):
        raise ConfigurationError(f"{file} is the database itself. Name another file.")
    with file.open("rb") as existing:
        if existing.read(len(_MAGIC)) not in (_MAGIC, b""):
            raise ConfigurationError(f"{file} is no database, so it is not replaced. Name another file.")


def _exists(file: Path) -> ConfigurationError:
    return ConfigurationError(f"{file} exists already. Name another file, or replace it with --force.")


def _in_use(database: Path) -> ConfigurationError:
    return ConfigurationError(f"Another process has the database {database} open. Stop the service, then restore.")
