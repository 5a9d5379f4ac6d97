"""`handstamp migrate`: the database's schema."""

from __future__ import annotations

import asyncio

from ..assemble.stores import migrate as migrate_store
from ..config.loading import load
from .common import Database, said


def migrate(database: Database = None) -> None:
    """Bring the database's schema up to date. Nodes of the version before go on serving meanwhile; any number may try at once.

    With SQLite `handstamp serve` does it by itself.

    Example:  handstamp migrate --database postgresql://localhost/handstamp
    """
    settings = load(database=database)
    applied = asyncio.run(migrate_store(settings))
    what = f"applied {', '.join(applied)}" if applied else "up to date"
    said(f"{settings.describe_database()}: {what}.")
