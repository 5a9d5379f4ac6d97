"""The reference lists every line that Handstamp logs, in the service and in applications, each with its levels."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.packaging.test_base_install import table

SOURCE = Path(__file__).parents[2] / "src" / "handstamp"
_LEVELS = {name: name for name in ("debug", "info", "warning", "error", "critical")} | {"exception": "error"}
_NOT_HERE = {
    "logger.py": {},
    "service/parts/audit.py": {},  # the kinds of events, which are another table
    "config/logs.py": {"library_message": {"warning", "error"}},
    "service/parts/bounded_logger.py": {"lines_left_out": {"as the lines"}},
    "embedded/server_check.py": {"server_reads_bodies_as_requests": {"warning"}, "server_trusts_every_client": {"warning"}},
    "verify/authenticator.py": {"request refused: %s, %s (request %s)": {"info", "warning"}},
    "web/answers.py": {"request_failed": {"warning"}, "request_refused": {"info"}},
    "web/proxies.py": {name: {"warning"} for name in ("untrusted_proxy", "forwarded_no_address", "client_address_unknown")},
}
"""Files in which a line's name or level is no literal of its call, with their lines."""


def find_lines(path: Path) -> Iterator[tuple[str, str | None]]:
    """Yield the text and the level of each call that logs; None as level if one of them is no literal of the call."""
    tree = ast.parse(path.read_text("utf-8"))
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_log(node) and id(node) not in called:
            yield ast.unparse(node), None
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_log(node.func):
            level, first = _LEVELS.get(node.func.attr), node.args[0]
            is_literal = isinstance(first, ast.Constant) and isinstance(first.value, str)
            yield (first.value if is_literal else ast.unparse(first)), level if is_literal else None  # type: ignore[attr-defined]


def _is_log(node: ast.Attribute) -> bool:
    return node.attr in {*_LEVELS, "log"} and "log" in ast.unparse(node.value).lower().split(".")[-1]


def written() -> dict[str, set[str]]:
    """Return each text that is logged, with its levels."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        for text, levels in _NOT_HERE.get(name, {}).items():
            found[text] |= levels
        for text, level in find_lines(path):
            if level is None:
                assert name in _NOT_HERE, f"{name}: {text}. Log literals, or add the file to _NOT_HERE with its lines."
            elif name != "config/logs.py":  # whose own become a `library_message`
                found[text].add(level)
    return found


def documented(title: str) -> dict[str, set[str]]:
    """Return the texts of a section of the reference, with their levels."""
    return {row[0].strip("`"): set(row[1].split(", ")) for row in table(title)}


def test_every_log_line_is_in_the_reference() -> None:
    """Events of the service and sentences of verifiers and clients are the same in the code and in the reference."""
    lines = written()
    events = {text: levels for text, levels in lines.items() if text.isidentifier()}
    assert len(events) > 25
    assert events == documented("Log lines")
    assert {text: levels for text, levels in lines.items() if not text.isidentifier()} == documented(
        "Log lines of verifiers and clients"
    )
