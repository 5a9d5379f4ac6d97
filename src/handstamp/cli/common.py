"""Options and output that the commands share. It imports little, because every command imports it."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Self

import typer

Database = Annotated[str | None, typer.Option("--database", help="sqlite:///FILE, postgresql://…", metavar="URL")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
TAKES_ID = {"ignore_unknown_options": True}
"""For commands that take an id: one in 64 begins with a dash, and must not be read as an option."""


def make_group(help_text: str) -> typer.Typer:
    """Return an empty group of commands."""
    return typer.Typer(help=help_text, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


def make_command() -> typer.Typer:
    """Return what registers the one command of a module."""
    return typer.Typer(add_completion=False, rich_markup_mode=None)


def sanitise_text(text: str) -> str:
    """Return text that cannot control a terminal. Line breaks stay."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2))  # noqa: T201 - the output of a command


def print_line(sentence: str) -> None:
    """Print what the command did."""
    print(sanitise_text(sentence), flush=True)  # noqa: T201


class Progress:
    """Shows how far a long command is, on a terminal only: a percentage that is written over. Use it in a `with` block."""

    def __init__(self, word: str) -> None:
        """Take the word behind the percentage."""
        self._word = word
        self._shown = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown >= 0:
            sys.stderr.write("\n")

    def report(self, done: int, total: int) -> None:
        """Show that `done` of `total` parts are done."""
        percent = 100 * done // max(total, 1)
        if percent != self._shown and sys.stderr.isatty():
            self._shown = percent
            sys.stderr.write(f"\r{percent} % {self._word}")
            sys.stderr.flush()


def print_error(sentence: str) -> None:
    """Print what went wrong to standard error."""
    print(sanitise_text(f"handstamp: {sentence}"), file=sys.stderr, flush=True)  # noqa: T201
