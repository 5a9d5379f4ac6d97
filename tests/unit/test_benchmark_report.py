"""Benchmarks write their tables into the documentation themselves, so that no figure is copied by hand."""

from __future__ import annotations

from pathlib import Path

from bench.report import Report, Table, write_markdown

ROOT = Path(__file__).parents[2]
REPORT = Report("compare", ["a note"], [Table("Rates", ("", "a second"), [("Handstamp", 1234.5)])], [], {"CPU": "one"})


def test_a_report_replaces_the_text_between_its_marks(tmp_path: Path) -> None:
    """What is before and after them stays, also when it is written twice."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench.compare -->\nold\n<!-- bench.compare -->\nafter\n", "utf-8")
    for _ in range(2):
        write_markdown(REPORT, page)
    text = page.read_text("utf-8")
    assert text.startswith("before\n<!-- bench.compare -->\n\nMeasured on 20")
    assert text.endswith("\n<!-- bench.compare -->\nafter\n")
    assert text.count("| Handstamp | 1,234 |") == 1
    assert "old" not in text


def test_a_file_without_marks_is_replaced(tmp_path: Path) -> None:
    """A file that is not there, or has no marks, holds the report alone."""
    page = tmp_path / "page.md"
    write_markdown(REPORT, page)
    assert page.read_text("utf-8").count("<!-- bench.compare -->") == 2


def test_the_page_has_marks_for_both_reports() -> None:
    """`make compare` finds where its tables belong."""
    text = (ROOT / "docs" / "explanation" / "comparison.md").read_text("utf-8")
    assert [text.count(f"<!-- bench.{name} -->") for name in ("compare", "behaviour")] == [2, 2]
