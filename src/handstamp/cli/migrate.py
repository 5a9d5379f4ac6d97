"""`handstamp migrate`: bring the database's schema up to date."""

from __future__ import annotations

import asyncio

import typer

from ..assemble.stores import migrate as migrate_store
from ..config.loading import load
from .common import Database, make_command, print_line

app: typer.Typer = make_command()


@app.command()
def migrate(database: Database = None) -> None:
    """Bring the database's schema up to date. Nodes of the previous version can serve meanwhile, and several may migrate at once.

    With SQLite, `handstamp serve` migrates at its start.

    Example:  handstamp migrate --database postgresql://localhost/handstamp
    """
    settings = load(database=database)
    applied = asyncio.run(migrate_store(settings))
    what = f"applied {', '.join(applied)}" if applied else "up to date"
    print_line(f"{settings.describe_database()}: {what}.")
