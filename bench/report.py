"""Print the results of a benchmark as tables for people or as JSON for programs."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

MarkdownTo = Annotated[
    Path | None, typer.Option("--markdown", help="Write the tables into this file, between its marks if it has any.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables.")]
Cell = str | int | float


class Table(msgspec.Struct, frozen=True):
    """A titled table; the first cell of a row names it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]


class Promise(msgspec.Struct, frozen=True):
    """A promise, and the measured figure of this run."""

    what: str
    figure: str
    promised: str
    kept: bool


class Findings(msgspec.Struct, frozen=True):
    """The results of one part of a benchmark."""

    tables: Sequence[Table]
    promises: Sequence[Promise] = ()
    notes: Sequence[str] = ()


class Report(msgspec.Struct, frozen=True):
    """All results of one run."""

    benchmark: str
    notes: Sequence[str]
    tables: Sequence[Table]
    promises: Sequence[Promise]
    machine: dict[str, str]


def show(
    benchmark: str,
    *,
    notes: Sequence[str],
    tables: Sequence[Table],
    promises: Sequence[Promise],
    packages: Sequence[str] = (),
    as_json: bool,
    markdown_to: Path | None = None,
) -> None:
    """Print a report to standard output, and write it into a Markdown file if one is named.

    `packages` names those whose versions are listed beside our own.
    """
    report = Report(benchmark, notes, tables, promises, _machine(packages))
    if markdown_to is not None:
        write_markdown(report, markdown_to)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n")
        return
    console = Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else 130)
    console.print(Text(f"bench.{benchmark}", style="bold"), Text("  ".join(f"{k} {v}" for k, v in report.machine.items())))
    for note in notes:
        console.print(note)
    for table in tables:
        console.print()
        console.print(_rich(table.title, table.columns, [[Text(_format_cell(cell)) for cell in row] for row in table.rows]))
    if promises:
        kept = {True: Text("kept", style="green"), False: Text("NOT KEPT", style="bold red")}
        rows = [[Text(it.what), Text(it.figure), Text(it.promised), kept[it.kept]] for it in promises]
        console.print()
        console.print(_rich("Promises", ("promise", "figure", "promised", ""), rows))


def progress(sentence: str) -> None:
    """Print progress to the terminal; it is not part of the report."""
    sys.stderr.write(f"{sentence}\n")


def write_markdown(report: Report, path: Path) -> None:
    """Write a report into a file: between its two comments `<!-- bench.NAME -->`, or as the whole file if it has none."""
    mark = f"<!-- bench.{report.benchmark} -->"
    text = f"{mark}\n\n{_markdown(report)}\n{mark}"
    parts = path.read_text(encoding="utf-8").split(mark) if path.exists() else []
    path.write_text(parts[0] + text + parts[2] if len(parts) == 3 else text + "\n", encoding="utf-8")


def _markdown(report: Report) -> str:
    """Return the date, the machine, the notes and the tables as Markdown; numbers are aligned right."""
    machine = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    lines = [f"Measured on {time.strftime('%Y-%m-%d')}: {machine}.", "", *(f"- {note}" for note in report.notes), ""]
    for table in report.tables:
        sides = [
            "--- |" if all(isinstance(cell, str) for cell in column) else "---: |" for column in zip(*table.rows, strict=True)
        ]
        lines += [f"**{table.title}**", "", f"| {' | '.join(table.columns)} |", f"| {' '.join(sides)}"]
        lines += [f"| {' | '.join(map(_format_cell, row))} |" for row in table.rows]
        lines.append("")
    return "\n".join(lines)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, median, upper


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that `percent` percent of the values do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def _format_cell(cell: Cell) -> str:
    match cell:
        case str():
            return cell
        case int():
            return f"{cell:,}"
    return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.1f}" if abs(cell) >= 20 else f"{cell:.2f}"


def _rich(title: str, columns: Sequence[str], rows: Sequence[Sequence[Text]]) -> RichTable:
    table = RichTable(title=title, title_justify="left", title_style="bold", header_style="", box=None, pad_edge=False)
    numbers = {index for row in rows for index, cell in enumerate(row) if index and cell.plain[-1:].isdigit()}
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in numbers and title != "Promises" else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _machine(packages: Sequence[str]) -> dict[str, str]:
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").splitlines() if cpus.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "CPU": f"{os.cpu_count()} x {model or platform.machine()}",
        "Python": platform.python_version(),
        **{package: version(package) for package in ("handstamp", "cryptography", *packages)},
    }
