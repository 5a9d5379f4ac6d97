"""Both dialects have the same tables, columns, types, NULLs and indexes, and every struct has its columns."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from handstamp.storage.postgres.store import COLUMN_TYPES
from handstamp.storage.sql import (
    accounts,
    attempts,
    credentials,
    events,
    failures,
    identities,
    keys,
    mails,
    one_time,
    passkeys,
    provider_sessions,
    receipts,
    receivers,
    recovery_codes,
    revocations,
    sessions,
    sweeps,
    timekeeping,
    totp,
)
from handstamp.storage.sql.columns import Columns
from handstamp.storage.sqlite.store import SqliteStore
from tests.postgres import fresh_database

pytestmark = pytest.mark.anyio
COMMON_TYPES = {"bigint": "INTEGER", "boolean": "INTEGER", "text": "TEXT", "bytea": "BLOB"}
"""The SQLite type for each PostgreSQL type."""
STRUCTS: dict[str, tuple[Columns[Any], set[str]]] = {
    "account": (accounts.COLUMNS, set()),
    "session": (sessions.COLUMNS, {"network", "impersonator_id", "impersonator_sid"}),
    "signing_key": (keys.COLUMNS, set()),
    "failure": (failures.COLUMNS, {"key", "account"}),
    "receipt": (receipts.COLUMNS, set()),
    "one_time": (one_time.COLUMNS, set()),
    "attempt": (attempts.COLUMNS, set()),
    "passkey": (passkeys.COLUMNS, set()),
    "totp": (totp.COLUMNS, set()),
    "recovery_code": (recovery_codes.COLUMNS, set()),
    "identity": (identities.COLUMNS, set()),
    "provider_token": (identities.TOKENS, set()),
    "provider_session": (provider_sessions.COLUMNS, set()),
    "provider_logout": (provider_sessions.LOGOUTS, set()),
    "sweep": (sweeps.COLUMNS, set()),
    "event": (events.COLUMNS, {"id"}),
    "revocation": (revocations.COLUMNS, set()),
    "credential": (credentials.COLUMNS, set()),
    "mail": (mails.COLUMNS, set()),
    "receiver": (receivers.COLUMNS, set()),
    "timekeeping": (timekeeping.COLUMNS, {"id"}),
}
"""The columns of each table's struct, and the table's other columns."""


class Schema(NamedTuple):
    """A schema: a type and whether it can be NULL for each (table, column), and indexes as (table, columns, is unique)."""

    columns: dict[tuple[str, str], tuple[str, bool]]
    indexes: set[tuple[str, tuple[str, ...], bool]]


async def sqlite_schema(path: Path) -> Schema:
    """Return the schema of a new SQLite file."""
    store = SqliteStore(path)
    await store.open()
    await store.close()
    columns, indexes = {}, set()
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for table in _without_internal(tables):
            key: dict[int, str] = {}
            for _, name, kind, is_required, _, place in connection.execute(f"PRAGMA table_info({table})"):
                columns[table, name] = (kind, not is_required)
                key[place] = name
            indexes.add((table, tuple(key[place] for place in sorted(key) if place), True))
            for _, index, is_unique, *_ in connection.execute(f"PRAGMA index_list({table})"):
                names = [name for _, _, name in connection.execute(f"PRAGMA index_info({index})")]
                indexes.add((table, tuple(names), bool(is_unique)))
    return Schema(columns, indexes)


async def postgres_schema(server: str) -> tuple[Schema, dict[tuple[str, str], str]]:
    """Return the schema of a new PostgreSQL database with types of SQLite, and its PostgreSQL types."""
    async with fresh_database(server) as url:
        connection = await asyncpg.connect(url)
        try:
            found = await connection.fetch(
                "SELECT table_name, column_name, data_type, is_nullable = 'YES' FROM information_schema.columns "
                "WHERE table_schema = current_schema()"
            )
            indexed = await connection.fetch(
                "SELECT t.relname, array_agg(a.attname::text ORDER BY k.place), i.indisunique FROM pg_index i "
                "JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace "
                "CROSS JOIN LATERAL unnest(i.indkey::int[]) WITH ORDINALITY AS k (number, place) "
                "JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.number "
                "WHERE n.nspname = current_schema() GROUP BY i.indexrelid, t.relname, i.indisunique"
            )
        finally:
            await connection.close()
    ours = set(_without_internal({table for table, *_ in found}))
    own_types = {(table, name): kind for table, name, kind, _ in found if table in ours}
    columns = {(table, name): (COMMON_TYPES[kind], is_nullable) for table, name, kind, is_nullable in found if table in ours}
    indexes = {(table, tuple(names), is_unique) for table, names, is_unique in indexed if table in ours}
    return Schema(columns, indexes), own_types


def _without_internal(tables: Iterable[str]) -> list[str]:
    """Return the tables without the migration history and SQLite's internal ones."""
    return [name for name in tables if name != "schema_migration" and not name.startswith("sqlite_")]


async def test_both_dialects_have_one_schema(tmp_path: Path, postgres_server: str) -> None:
    """Columns, indexes and NOT NULL constraints are the same in SQLite and PostgreSQL."""
    postgres, _ = await postgres_schema(postgres_server)
    sqlite = await sqlite_schema(tmp_path / "store.db")
    assert sqlite.columns == postgres.columns
    assert sqlite.indexes == postgres.indexes
    assert len(sqlite.columns) > 40
    assert len(sqlite.indexes) > 12


async def test_every_struct_has_its_columns(postgres_server: str) -> None:
    """Each field has a column with its name, type and NULL. A new field without a migration fails here."""
    schema, own_types = await postgres_schema(postgres_server)
    assert {table for table, _ in schema.columns} == STRUCTS.keys()
    for table, (struct, further) in STRUCTS.items():
        expected = {column.name: (COLUMN_TYPES[column.kind], column.is_nullable) for column in struct.columns}
        found = {name: (own_types[table, name], nullable) for (of, name), (_, nullable) in schema.columns.items() if of == table}
        assert {name: kind for name, kind in found.items() if name not in further} == expected
        assert found.keys() == expected.keys() | further
