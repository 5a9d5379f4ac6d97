"""Print aligned tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .common import print_line, sanitise_text


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print rows below the names of their columns, or the sentence `empty` if there are none.

    A terminal gets a bold heading, and cells are folded to its width. Other programs get a line per row.
    """
    if not rows:
        print_line(empty)
    elif sys.stdout.isatty():
        _print_folded(columns, rows)
    else:
        lines = [columns, *([sanitise_text(cell).replace("\n", "?") for cell in row] for row in rows)]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        for line in lines:
            print_line("  ".join(map(str.ljust, line, widths)).rstrip())


def _print_folded(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    # Imported here because Rich takes 50 ms, which only a table on a terminal needs.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(sanitise_text(cell)) for cell in row))
    Console(markup=False, highlight=False, emoji=False).print(table)
