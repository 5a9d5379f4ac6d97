"""`handstamp backup`: copy the database while it is served."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ..assemble.backups import back_up
from ..config.loading import load
from ..config.logs import configure_logging
from .common import Database, Progress, make_command, print_line

app: typer.Typer = make_command()


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the copy.")],
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is an older backup.")] = False,
    database: Database = None,
) -> None:
    """Copy the database while it is served. FILE is one moment, checked, and only you can read it.

    The copy does not contain the master secret. Keep both, apart from each other.

    Example:  handstamp backup /backups/handstamp.db --force
    """
    configure_logging(logging.WARNING)
    settings = load(database=database)
    configure_logging(logging.WARNING, settings.log_format)
    with Progress("copied") as progress:
        back_up(settings, file, may_replace=force, report=progress.report)
    print_line(f"Wrote {file}, {file.stat().st_size / 1e6:.1f} MB, and checked it. Keep the master secret apart from it.")
