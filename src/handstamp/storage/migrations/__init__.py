"""The migrations of the schema: numbered SQL files that are applied once, in order, and never edited afterwards.

Migrations go forward only. The database stores the checksum of each applied file, so that an edited file or a database of a newer
version is detected at a start.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import sqlite3
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ...errors import ConfigurationError


class Migration(NamedTuple):
    """One step of the schema."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statements(self) -> Iterator[str]:
        """Yield the statements of the file one by one, so that all of them can run in one transaction."""
        statement = ""
        for line in self.sql.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                yield statement.strip()
                statement = ""


def load_migrations(dialect: str) -> list[Migration]:
    """Return the migrations of a dialect, `sqlite` or `postgres`, in order."""
    files = [file for file in importlib.resources.files(__package__).joinpath(dialect).iterdir() if file.name.endswith(".sql")]
    return sorted(Migration(int(file.name[:4]), file.name[5:-4], file.read_text("utf-8")) for file in files)


def find_pending(migrations: list[Migration], applied: Mapping[int, str]) -> list[Migration]:
    """Return the migrations that are not applied yet. `applied` maps versions to checksums.

    Raises `ConfigurationError` if the database is of a newer Handstamp or has another history.
    """
    if applied and max(applied) > migrations[-1].version:
        raise ConfigurationError(
            f"The database has schema {max(applied)} and this Handstamp knows up to {migrations[-1].version}: "
            "install the newer Handstamp that wrote it."
        )
    for migration in migrations:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise ConfigurationError(
                f"Migration {migration.version} ({migration.name}) is not the one that was applied to this database: "
                "install an unchanged release of Handstamp."
            )
    return [migration for migration in migrations if migration.version not in applied]
