"""The reference lists every line that the service logs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("service", "mail", "web", "config", "assemble", "storage", "cli")


def test_every_log_line_is_in_the_reference() -> None:
    """The names in the code and in the section "Log lines" are the same."""
    section = (ROOT / "docs" / "reference.md").read_text("utf-8").split("## Log lines")[1].split("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    call = r"""(?:_log|_bounded_log|log)\.(?:debug|info|warning|exception|log)\(\s*"([a-z]+_[a-z_]+)"|_warn_once\("(\w+)\""""
    texts = [path.read_text("utf-8") for folder in FOLDERS for path in (ROOT / "src/handstamp" / folder).rglob("*.py")]
    written = {"".join(names) for text in texts for names in re.findall(call, text)}
    written |= {"request_refused", "request_failed", "lines_left_out", "library_message"}  # their calls have no literal
    assert len(written) > 10
    assert written == documented
