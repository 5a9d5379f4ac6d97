"""Choose the store of a deployment: SQLite or PostgreSQL."""

from __future__ import annotations

import importlib
import sqlite3
from contextlib import closing
from types import ModuleType

from ..config.private_files import require_database
from ..config.secret_file import load_master_secret
from ..config.settings import Settings
from ..errors import ConfigurationError
from ..storage.batching import Around
from ..storage.migrations import find_pending, load_migrations
from ..storage.sqlite.schema import connect, load_applied
from ..storage.sqlite.store import SqliteStore
from ..storage.store import Store


def make_store(settings: Settings, *, around: Around | None = None) -> Store:
    """Return the store that the settings name. It is not opened yet. Raises `ConfigurationError`.

    `around` wraps the commit of changes that were made together, to observe it.
    """
    if settings.database_path is not None:
        return SqliteStore(settings.database_path, around=around)
    store: Store = _import_postgres("store").PostgresStore(
        settings.database, connections=settings.database_connections, around=around
    )
    return store


def is_behind(settings: Settings) -> bool:
    """Return whether a SQLite file has an older schema. Opening it would bring it up to date; a PostgreSQL database refuses.

    Raises:
        ConfigurationError: If the file cannot be read or is another program's.
    """
    if settings.database_path is None:
        return False
    try:
        with closing(connect(settings.database_path)) as connection:
            return bool(find_pending(load_migrations("sqlite"), load_applied(connection)))
    except (OSError, sqlite3.Error) as problem:
        raise ConfigurationError(f"The database {settings.database_path} cannot be read: {problem}") from None


async def migrate(settings: Settings) -> list[str]:
    """Bring the schema up to date; return the names of the migrations that were applied.

    A new SQLite file gets its master secret first: `serve` makes none beside a database that exists.

    Raises:
        ConfigurationError: If the database cannot be opened or is another program's, or if there is no secret beside it.
    """
    if settings.database_path is None:
        applied: list[str] = await _import_postgres("schema").migrate(settings.database)
        return applied
    require_database(settings.database_path)
    load_master_secret(settings)
    store = SqliteStore(settings.database_path)
    await store.open()  # which migrates
    await store.close()
    return []


def _import_postgres(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"handstamp.storage.postgres.{module}")  # its driver is an extra
    except ImportError:
        raise ConfigurationError("PostgreSQL needs its driver: pip install 'handstamp[postgres]'") from None
