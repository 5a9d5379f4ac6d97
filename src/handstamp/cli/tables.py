"""Print aligned tables. Only commands that list import this, and with it Rich."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .common import print_line, sanitise_text

_WIDE = 10_000
"""Columns where no terminal limits them: a line per row, which other programs can read."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print rows below the names of their columns, or the sentence `empty` if there are none."""
    if not rows:
        print_line(empty)
        return
    is_terminal = sys.stdout.isatty()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=not is_terminal)
    for row in rows:
        table.add_row(*(Text(sanitise_text(cell)) for cell in row))
    Console(markup=False, highlight=False, emoji=False, width=None if is_terminal else _WIDE).print(table)
