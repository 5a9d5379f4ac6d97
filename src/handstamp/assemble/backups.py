"""Back up and restore the database of a deployment. With PostgreSQL its own programs do it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ..config.private_files import require_database
from ..config.secret_file import load_master_secret
from ..config.settings import Settings
from ..errors import ConfigurationError
from ..storage.sqlite import backup as sqlite
from ..storage.sqlite.backup import Report

_DUMP = ("--format=custom", "--exclude-table-data=mail")
"""Mail that waits is left out: after a restore it would be sent a second time."""
_NOT_PRINTED = ("password", "pgbouncer")
"""Options of a database URL that are a secret, or that PostgreSQL's programs do not know."""


def back_up(settings: Settings, file: Path, *, may_replace: bool, report: Report) -> None:
    """Write a copy of the database to `file`, while it may be served.

    Args:
        settings: Name the database.
        file: The copy, with mode 0600. Its folder must exist.
        may_replace: Whether an existing file is replaced.
        report: Called with the number of copied pages and the number of all.

    Raises:
        ConfigurationError: If there is no database, it is damaged or in PostgreSQL, or `file` exists.
        Unavailable: If a file cannot be read or written.
    """
    database = _require_file(settings, lambda url: ("pg_dump", *_DUMP, f"--file={file}", url))
    if not database.exists():
        raise ConfigurationError(f"There is no database at {settings.describe_database()}.")
    sqlite.back_up(database, file, may_replace=may_replace, report=report)


def restore(settings: Settings, file: Path, *, report: Report) -> Path | None:
    """Put a copy of the backup `file` in the place of the database.

    Returns:
        Where the old database is now, None if there was none.

    Raises:
        ConfigurationError: If the database is in use or in PostgreSQL, or if the backup is damaged, not Handstamp's, of a newer
            version, or sealed with another master secret. Nothing was changed then.
        Unavailable: If a file cannot be read or written.
    """
    database = _require_file(
        settings,
        lambda url: ("pg_restore", "--clean", "--if-exists", "--single-transaction", f"--dbname={url}", str(file)),
    )
    secret = load_master_secret(settings, may_create=False)

    def require_openable(keys: list[sqlite.SealedKey]) -> None:
        for kid, sealed in keys:
            secret.open(sealed, context=kid)

    return sqlite.restore(file, database, require_openable=require_openable, report=report)


def _require_file(settings: Settings, make_command: Callable[[str], Sequence[str]]) -> Path:
    """Return the path of the SQLite file. With PostgreSQL, raise `ConfigurationError` with the command for its URL."""
    if settings.database_path is not None:
        require_database(settings.database_path)
        return settings.database_path.resolve()  # a restore must replace the file, not a link to it
    parts = urlsplit(settings.database)
    user, _, host = parts.netloc.rpartition("@")
    options = [pair for pair in parse_qsl(parts.query) if pair[0] not in _NOT_PRINTED]
    url = urlunsplit(
        parts._replace(netloc=f"{user.partition(':')[0]}@{host}" if user else host, query=urlencode(options, safe="/"))
    )
    raise ConfigurationError(f"PostgreSQL has its own program for this: {shlex.join(make_command(url))}")
