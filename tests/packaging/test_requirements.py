"""Docstrings name requirements like R37 and traps like T5. docs/explanation/requirements.md explains each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "requirements.md"
EXPECTED = [f"R{number}" for number in range(1, 91)] + [f"T{number}" for number in range(1, 37)]
_NAME = re.compile(r"(?<![\w/&#-])([RT])([1-9]\d?)\b(?: to \1([1-9]\d?)\b)?(?![-\w])")
_SUFFIXES = {".py", ".md", ".ts"}


def rows() -> dict[str, str]:
    """Return the text of each row of the page, by the name of the row."""
    text = PAGE.read_text("utf-8")
    return {
        found[1]: found[2] for found in re.finditer(r"^- \*\*([RT]\d+)\b(.*?)(?=^- \*\*|^#|\Z)", text, re.MULTILINE | re.DOTALL)
    }


def names_in(text: str) -> Iterator[str]:
    """Yield each requirement and trap that a text names; "R12 to R24" names thirteen."""
    for kind, first, last in _NAME.findall(text):
        yield from (f"{kind}{number}" for number in range(int(first), int(last or first) + 1))


def files(*folders: str) -> Iterator[Path]:
    """Yield the text files of some folders of the project, except this file."""
    for folder in folders:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in _SUFFIXES and not {"node_modules", ".venv"} & set(path.parts) and path != Path(__file__):
                yield path


def named_by_tests() -> dict[str, set[str]]:
    """Return the test files that name each row, relative to tests/."""
    found: dict[str, set[str]] = {}
    for path in files("tests"):
        for name in names_in(path.read_text("utf-8")):
            found.setdefault(name, set()).add(path.relative_to(ROOT / "tests").as_posix())
    return found


def test_the_page_explains_each_row_once() -> None:
    """The numbers of the rows are complete, unique and in order."""
    assert re.findall(r"^- \*\*([RT]\d+)\b", PAGE.read_text("utf-8"), re.MULTILINE) == EXPECTED


def test_each_reference_is_explained() -> None:
    """Every number in a docstring, a comment or a page is in the list."""
    folders = ("src", "tests", "docs", "bench", "examples", "credentials")
    named = {name for path in files(*folders) for name in names_in(path.read_text("utf-8"))}
    assert len(named) > 100
    assert named <= set(EXPECTED)


def test_no_reference_has_another_form() -> None:
    """References use the forms R37 and T5 only, so that a search finds them all."""
    old = re.compile(r"\b(?:[Tt]raps?|[Rr]ows?|[Rr]eq\.) T?\d{1,2}\b")
    assert {
        f"{path}: {found[0]}" for path in files("src", "tests", "docs") for found in old.finditer(path.read_text("utf-8"))
    } == set()


def test_each_row_in_force_is_shown_by_a_test() -> None:
    """A test names each row of the page that is not marked "Not yet"."""
    in_force = {name for name, text in rows().items() if not re.search(r"\*Not yet[.*:]", text)}
    assert len(in_force) > 110
    assert in_force - named_by_tests().keys() == set()


def test_the_files_on_the_page_name_their_row() -> None:
    """The table at the end lists the right test files. `python -m tests.packaging.test_requirements` updates it."""
    listed = re.findall(r"^\| ([RT]\d+) \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    named = named_by_tests()
    assert len(listed) > 100
    assert [
        (name, file) for name, cell in listed for file in cell.split(", ") if file.strip("`") not in named.get(name, ())
    ] == []


def write_table() -> None:
    """Write the table of tests at the end of the page."""
    heading = "## Where each row is shown\n"
    named = named_by_tests()
    lines = [f"| {name} | {', '.join(f'`{file}`' for file in sorted(named[name]))} |" for name in EXPECTED if name in named]
    text = PAGE.read_text("utf-8").partition(heading)[0].rstrip()
    PAGE.write_text(
        "\n".join([text, "", heading, "Paths are relative to `tests/`.", "", "| row | tests |", "| --- | --- |", *lines, ""]),
        "utf-8",
    )


if __name__ == "__main__":
    write_table()
