"""Choose the store of a deployment: SQLite or PostgreSQL."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..config.private_files import require_database
from ..config.secret_file import load_master_secret
from ..config.settings import Settings
from ..errors import ConfigurationError
from ..storage.batching import Around
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
