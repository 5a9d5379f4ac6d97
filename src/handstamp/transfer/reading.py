"""Read rows from JSON lines, a JSON list or CSV. Memory stays bounded, whatever the file contains."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, TextIO

from ..errors import ConfigurationError

FindProblem = Callable[[Sequence[str]], str]
MAX_RECORD = 128 * 1024
"""Characters of one account in a file."""
_GAP = re.compile(r"[\s,]*")
_FOREIGN_STARTS = {
    b"\x1f\x8b": "The file is compressed. Unpack it first:  zcat FILE | handstamp users import -",
    b"PK": "The file is an archive or a spreadsheet. Save its table as CSV in UTF-8.",
    b"\xff\xfe": "The file is UTF-16. Save it as UTF-8.",
    b"\xfe\xff": "The file is UTF-16. Save it as UTF-8.",
    b"SQLite": "The file is a database. Export its table of accounts as CSV or JSON.",
    b"PGDMP": "The file is a dump of PostgreSQL. Export the table of accounts as CSV or JSON.",
}


class Row(NamedTuple):
    """What a file contains about one account, and the line where it begins."""

    line: int
    values: dict[str, Any]


class Skipped(NamedTuple):
    """A row that is left out, and why, for the operator."""

    line: int
    why: str
    email: str = ""


def read_rows(file: BinaryIO, *, list_name: str = "", find_problem: FindProblem = lambda _: "") -> Iterator[Row | Skipped]:
    """Yield the rows of a file. Whether it is JSON or CSV shows in its first character.

    Args:
        file: The file, opened for reading bytes. It need not be seekable.
        list_name: The member with the rows, if the file is one JSON object around a list.
        find_problem: Returns why the file cannot be read, given the names of its columns; "" if it can.

    Raises:
        ConfigurationError: If the file is of another kind, or broken so that what follows cannot be read.
    """
    buffered = io.BufferedReader(_Borrowed(file), MAX_RECORD)
    start = buffered.peek(8)
    for magic, advice in _FOREIGN_STARTS.items():
        if start.startswith(magic):
            raise ConfigurationError(advice)
    first = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    # Bytes that are not UTF-8 become half surrogate pairs, which no field may contain: so only their row is skipped.
    text = io.TextIOWrapper(buffered, encoding="utf-8-sig", errors="surrogateescape", newline="")
    if first == b"[" or (first == b"{" and list_name):
        return _read_list(text, list_name if first == b"{" else "")
    return _read_json_lines(text) if first == b"{" else _read_csv(text, find_problem)


class _Borrowed(io.RawIOBase):
    """Reads a file and leaves closing it to its owner."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into `buffer`. Return the number of bytes, 0 at the end."""
        piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


class _TooLong(Exception):
    """A record has more than `MAX_RECORD` characters. The rest of its line has been passed over."""


class _Lines:
    """Iterates over lines. It can be used again after an error, unlike a generator."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.number = 0
        self.size = 0
        """Characters since the reader has set it to 0, which it does for each record."""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_RECORD)
        if not line:
            raise StopIteration
        self.number += 1
        self.size += len(line)
        if len(line) == MAX_RECORD and line[-1] not in "\r\n":
            while (rest := self._text.readline(MAX_RECORD)) and rest[-1] not in "\r\n":
                pass
            raise _TooLong
        if self.size > MAX_RECORD:
            raise _TooLong
        return line


def _read_json_lines(text: TextIO) -> Iterator[Row | Skipped]:
    lines = _Lines(text)
    while True:
        lines.size = 0
        try:
            line = next(lines)
            values = json.loads(line) if line.strip() else None
        except StopIteration:
            return
        except _TooLong:
            yield Skipped(lines.number, f"the line has more than {MAX_RECORD} characters")
            continue
        except (ValueError, RecursionError):
            yield Skipped(lines.number, "the line is not JSON")
            continue
        if isinstance(values, dict):
            yield Row(lines.number, values)
        elif line.strip():
            yield Skipped(lines.number, "the line is not a JSON object")


def _read_list(text: TextIO, list_name: str) -> Iterator[Row | Skipped]:
    """Yield the objects of a list, decoding one at a time out of a buffer of at most two records."""
    start = re.compile(rf'"{re.escape(list_name)}"\s*:\s*\[' if list_name else r"\s*\[")
    buffer = text.read(MAX_RECORD)
    found = start.search(buffer) if list_name else start.match(buffer)
    if found is None:
        raise ConfigurationError(f'The file is JSON, but it does not begin with a list "{list_name}" of accounts.')
    decode = json.JSONDecoder().raw_decode
    at, line, counted = found.end(), 1, 0
    while True:
        gap = _GAP.match(buffer, at)
        at = gap.end() if gap else at
        line, counted = line + buffer.count("\n", counted, at), at
        try:
            if buffer[at : at + 1] == "]":
                return
            values, end = decode(buffer, at)
        except (ValueError, RecursionError):
            more = text.read(MAX_RECORD) if len(buffer) - at <= MAX_RECORD else ""
            if not more:
                raise ConfigurationError(
                    f"The JSON is broken or too long in the record that begins in line {line}. Nothing after it was read."
                ) from None
            buffer, at, counted = buffer[at:] + more, 0, 0
            continue
        yield Row(line, values) if isinstance(values, dict) else Skipped(line, "the element is not a JSON object")
        at = end


def _read_csv(text: TextIO, find_problem: FindProblem) -> Iterator[Row | Skipped]:
    lines = _Lines(text)
    try:
        header = next(lines)
    except (StopIteration, _TooLong):
        raise ConfigurationError("The file is neither JSON nor CSV with the names of the columns in its first line.") from None
    delimiter = max(",;\t", key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
    problem = find_problem(names)
    if problem or len(set(names)) < len(names):
        raise ConfigurationError(problem or "Two columns of the CSV file have the same name.")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line, lines.size = lines.number + 1, 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (_TooLong, csv.Error):
            yield Skipped(
                line, f"the row up to line {lines.number} is too long, or has a quote that is not closed or not doubled"
            )
            continue
        if len(cells) == len(names):
            yield Row(line, dict(zip(names, cells, strict=True)))
        elif cells:
            yield Skipped(line, f"the row has {len(cells)} cells, and the first line has {len(names)}")
