"""The report of rows that were left out: CSV for a spreadsheet."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TextIO

from ..errors import ConfigurationError
from .reading import Skipped

_HEADER = ("line", "email", "reason")
_FORMULA_STARTS = tuple("=+-@\t\r")
"""A spreadsheet takes a cell that begins with one of these for a formula, and computes it."""


def open_report(file: Path) -> TextIO:
    """Return a new report. Only its owner can read it. An older report is replaced.

    Raises:
        ConfigurationError: If there is another file of this name, or if it cannot be written.
    """
    try:
        if file.exists() and not _is_report(file):
            raise ConfigurationError(f"{file} exists and is no report of an earlier import: name another file with --report.")
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(descriptor, 0o600)
    except OSError as problem:
        raise ConfigurationError(f"The report {file} cannot be written: {problem}") from None
    opened = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
    csv.writer(opened).writerow(_HEADER)
    return opened


def write_skipped(report: TextIO, skipped: Skipped) -> None:
    """Add a row that was left out."""
    csv.writer(report).writerow([skipped.line, *(_make_harmless(text) for text in (skipped.email, skipped.why))])


def _make_harmless(text: str) -> str:
    """Return text that a spreadsheet shows and does not compute, and that cannot control a terminal."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _is_report(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.readline(64).rstrip() == ",".join(_HEADER).encode()
