"""What a check finds. Checks are pure: they take facts and return findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]
"""An error breaks signing in or a protection. A warning will break it, or weakens it."""
_LONGEST = 160


class Rule(NamedTuple):
    """A kind of finding: what is wrong, and the setting or the line that mends it. Both have places in braces for values."""

    severity: Severity
    wrong: str
    mend: str


class Finding(NamedTuple):
    """A mistake of this deployment."""

    id: str
    severity: Severity
    wrong: str
    mend: str


class Unseen(NamedTuple):
    """What could not be looked at, and why."""

    part: str
    why: str


class Report(NamedTuple):
    """The result of an examination."""

    findings: tuple[Finding, ...]
    unseen: tuple[Unseen, ...] = ()


def make_finding(rules: Mapping[str, Rule], name: str, values: Mapping[str, object]) -> Finding:
    """Return a finding of a rule.

    The values may come from a hostile server, so they are shortened and cannot control a terminal.
    """
    rule = rules[name]
    shown = {key: quote(str(value)) for key, value in values.items()}
    return Finding(name, rule.severity, rule.wrong.format(**shown), rule.mend.format(**shown))


def quote(text: str) -> str:
    """Return foreign text in one short printable line."""
    line = "".join(character if character.isascii() and character.isprintable() else "?" for character in text[: _LONGEST + 1])
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
