"""The texts of a language, and how it writes dates and distances in time."""

from __future__ import annotations

import asyncio
import datetime
import importlib
from typing import Literal

from ..forking import ProcessLock
from ..text import Text, mark
from ..words import format_distance, format_time
from .choice import ENGLISH_TAG


class Catalogue:
    """One language. This class is English, whose texts stand in the code; `translated.py` derives the others from it."""

    def __init__(self, tag: str = ENGLISH_TAG) -> None:
        """Create the catalogue of a language. Use `open_catalogue` instead."""
        self.tag = tag
        self.direction: Literal["ltr", "rtl"] = "rtl" if tag == "ar" else "ltr"
        """The direction of its script, for the attribute `dir`."""

    def gettext(self, text: str) -> str:
        """Return the translation of a template, or the template itself if there is none."""
        return text

    def ngettext(self, one: str, many: str, count: int) -> str:
        """Return the translation of a template in its form for a count."""
        return one if count == 1 else many

    def translate(self, text: str) -> str:
        """Return the translation of a text that `mark` or `mark_plural` has returned. Other texts are returned unchanged."""
        if not isinstance(text, Text):
            return self.gettext(text) if text else ""  # a catalogue has its own header at ""
        if not text.values:
            return self.gettext(text.template)
        values = {name: self.translate(value) if isinstance(value, Text) else value for name, value in text.values.items()}
        count = values.get("count")
        if text.plural and isinstance(count, int):
            return self.ngettext(text.template, text.plural, count) % values
        return self.gettext(text.template) % values

    def isolate(self, text: str) -> str:
        """Return a text that is written from left to right, such as an address, for a place in a text of this language.

        In right-to-left text, its parts would otherwise change places (Unicode Standard Annex #9, isolates).
        """
        return f"\u2066{text}\u2069" if text and self.direction == "rtl" else text

    def describe_distance(self, from_ms: int, to_ms: int) -> str:
        """Return how far a time is from another, in words: "just now", "2 hours ago", "in 3 days"."""
        if abs(from_ms - to_ms) < 60_000:
            return self.gettext(mark("just now"))
        return self.write_distance(from_ms, to_ms)

    def write_distance(self, from_ms: int, to_ms: int) -> str:
        """Return a distance in time: "2 hours ago", "in 14 minutes"."""
        return format_distance(from_ms, to_ms)

    def write_date(self, at_ms: int) -> str:
        """Return the day of a time (UTC): "31 January 2026"."""
        at = to_datetime(at_ms)
        return f"{at.day} {at:%B %Y}"

    def write_time(self, at_ms: int) -> str:
        """Return a time to the second: "2026-01-31 12:00:00 UTC"."""
        return f"{format_time(at_ms)} UTC"


ENGLISH = Catalogue()
_opened: dict[str, Catalogue] = {ENGLISH_TAG: ENGLISH}
_lock = ProcessLock()
"""Requests that need a new language at the same time wait for one thread that reads it."""


def read_catalogue(tag: str) -> Catalogue:
    """Return the catalogue of one of `LANGUAGES`. The first time takes a tenth of a second: use a thread beside an event loop."""
    with _lock:
        found = _opened.get(tag)
        if found is None:
            # Imported here because Babel is large, and a service whose visitors read English never needs it.
            found = _opened[tag] = importlib.import_module(f"{__package__}.translated").read(tag)
        return found


async def open_catalogue(tag: str) -> Catalogue:
    """Return the catalogue of one of `LANGUAGES`. It is read on a thread the first time."""
    found = _opened.get(tag)
    return await asyncio.to_thread(read_catalogue, tag) if found is None else found


def to_datetime(at_ms: int) -> datetime.datetime:
    """Return a time in milliseconds since 1970 as a datetime (UTC)."""
    return datetime.datetime.fromtimestamp(at_ms // 1000, tz=datetime.UTC)
