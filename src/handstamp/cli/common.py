"""What the commands share: opening a deployment, tables, answers."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..assemble.deployment import Deployment
from ..config.loading import load
from ..config.logs import configure_logging
from ..errors import ConfigurationError
from ..service.parts.caller import Caller

T = TypeVar("T")
Database = Annotated[str | None, typer.Option("--database", help="sqlite:///FILE, postgresql://…", metavar="URL")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
LOCAL_ISSUER = "http://localhost:8000"
TAKES_ID = {"ignore_unknown_options": True}
"""For commands that take an id: one in 64 begins with a dash, and must not be read as an option."""

stdout = Console(markup=False, highlight=False, emoji=False)
stderr = Console(markup=False, highlight=False, emoji=False, stderr=True)


def on_service(work: Callable[[Deployment, Caller], Awaitable[T]], database: str | None, *, may_create: bool = False) -> T:
    """Run `work` on the deployment that is configured here, beside whatever serves it.

    Raises `ConfigurationError` if there is no database yet and the command has no business making one.
    """
    configure_logging(logging.WARNING)
    settings = load(database=database)
    if not settings.issuer:
        settings = dataclasses.replace(settings, issuer=LOCAL_ISSUER)
    if not may_create and settings.database_path is not None and not settings.database_path.exists():
        raise ConfigurationError(
            f"There is no database at {settings.database} yet. Start the service once with 'handstamp serve', "
            "or name another with --database sqlite:///FILE."
        )

    async def run() -> T:
        deployment = Deployment(settings)
        async with deployment.open():
            return await work(deployment, Caller(now_ms=deployment.clock(), user_agent="handstamp command line"))

    return asyncio.run(run())


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], *, nothing: str) -> None:
    """Print an aligned table, or a sentence where there is nothing to show."""
    if not rows:
        said(nothing)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = stdout if sys.stdout.isatty() else Console(width=10_000, highlight=False, emoji=False)
    console.print(table)


def printable(text: str) -> str:
    """Return text that cannot steer a terminal; line breaks stay."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def said(sentence: str) -> None:
    """Print what was done."""
    stdout.print(printable(sentence), soft_wrap=True)


def failed(sentence: str) -> None:
    """Print what went wrong, where errors belong."""
    stderr.print(printable(f"handstamp: {sentence}"), soft_wrap=True)
