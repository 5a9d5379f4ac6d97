"""`handstamp restore`: put a backup in the place of the database."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ..assemble.backups import restore as restore_database
from ..config.loading import load
from ..config.logs import configure_logging
from .common import Database, Progress, make_command, print_line

app: typer.Typer = make_command()


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What handstamp backup has written.")],
    database: Database = None,
) -> None:
    """Put a backup in the place of the database. Stop the service first. The backup FILE is checked, and stays.

    The old database stays beside it. What people did since the backup is lost: they sign in again, and repeat sign-outs.

    Example:  handstamp restore /backups/handstamp.db
    """
    configure_logging(logging.WARNING)
    settings = load(database=database)
    configure_logging(logging.WARNING, settings.log_format)
    with Progress("copied") as progress:
        kept = restore_database(settings, file, report=progress.report)
    print_line(f"Restored {settings.describe_database()}." + (f" The old database is {kept}." if kept else ""))
