"""Brings the schema of a PostgreSQL database up to date, and checks it at a start."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg

from ...errors import ConfigurationError
from .. import migrations
from .failures import refuse_to_start_if_it_fails
from .url import target_of

_PATIENCE_S = 5.0
_TRIES = 8
_MIGRATING = 0x48414E45
"""The advisory lock that is held by a migration."""


async def migrate(url: str) -> list[str]:
    """Bring a database's schema up to date. Return the names of the applied migrations. Several processes may call this at once.

    Raises `ConfigurationError` if the database is another program's, of a newer version, or cannot be reached.
    """
    with refuse_to_start_if_it_fails():
        connection = await asyncpg.connect(**target_of(url, patience_s=_PATIENCE_S).options | {"command_timeout": None})
        try:
            for _ in range(_TRIES - 1):
                with suppress(asyncpg.LockNotAvailableError):
                    return await _migrate(connection)
                await asyncio.sleep(1)
            return await _migrate(connection)
        finally:
            await connection.close()


async def _migrate(connection: Any) -> list[str]:
    """Apply all pending migrations, or none.

    Raises `LockNotAvailableError` if a table stays in use: every request would otherwise queue behind the migration.
    """
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
        await connection.execute("SET LOCAL lock_timeout = '2s'")
        pending = migrations.find_pending(migrations.load_migrations("postgres"), await load_applied(connection))
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration (version bigint PRIMARY KEY, name text NOT NULL, checksum text NOT NULL)"
        )
        for migration in pending:
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migration (version, name, checksum) VALUES ($1, $2, $3)",
                migration.version,
                migration.name,
                migration.checksum,
            )
    return [migration.name for migration in pending]


async def load_applied(connection: Any) -> dict[int, str]:
    """Return the checksums of the applied migrations.

    Raises `ConfigurationError` if the database is another program's, or if it cannot hold every text.
    """
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise ConfigurationError(
            f"The encoding of this PostgreSQL database is {encoding}, which cannot hold every name and address. Make one with:  "
            "CREATE DATABASE handstamp ENCODING 'UTF8' TEMPLATE template0"
        )
    tables = {name for (name,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")}
    if "schema_migration" in tables:
        return dict(map(tuple, await connection.fetch("SELECT version, checksum FROM schema_migration")))
    if tables & {"account", "session"}:
        raise ConfigurationError("This PostgreSQL database belongs to another program: give Handstamp one of its own.")
    return {}


async def require_current_schema(connection: Any) -> None:
    """Raise `ConfigurationError` unless the database has exactly the schema of this version."""
    applied = await load_applied(connection)
    if migrations.find_pending(migrations.load_migrations("postgres"), applied):
        what = "has an older schema" if applied else "is empty"
        raise ConfigurationError(f"The PostgreSQL database {what}: run 'handstamp migrate' once, then start again.")
