"""Collect the marked texts of the source, and update the catalogues with them: `python -m tests.messages`."""

from __future__ import annotations

import functools
import io
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from handstamp.languages.choice import ENGLISH_TAG, LANGUAGES

SOURCE = Path(__file__).parents[1] / "src/handstamp"
FOLDER = SOURCE / "languages"
TRANSLATED = sorted(LANGUAGES.keys() - {ENGLISH_TAG})
_METHODS = [("**.py", "python"), ("**/templates/**", "jinja2")]
_OPTIONS = {"**/templates/**": {"trimmed": "true", "newstyle_gettext": "true", "trim_blocks": "true", "lstrip_blocks": "true"}}
_KEYWORDS = {"mark": None, "mark_plural": (1, 2), "mark_instead": None, "_": None, "ngettext": (1, 2)}


@functools.cache
def collect() -> Catalog:
    """Return every marked text of the package, without translations."""
    found = Catalog()
    for _, _, text, _, _ in extract_from_dir(SOURCE, _METHODS, _OPTIONS, _KEYWORDS):
        found.add(text)
    return found


def file_of(language: str) -> Path:
    """Return the file of a catalogue."""
    return FOLDER / f"{language}.po"


def read(language: str) -> Catalog:
    """Return a catalogue as it is in its file."""
    return read_po(io.BytesIO(file_of(language).read_bytes()), locale=language)


def write(language: str, translations: Catalog, collected: Catalog) -> str:
    """Return the text of a catalogue's file: its header, and every collected text with its translation, sorted."""
    header, _, _ = file_of(language).read_text("utf-8").partition("\n\n")
    made = read_po(io.BytesIO(header.encode()), locale=language)  # the header says how many forms a plural has
    for message in collected:
        if message.id:
            known = translations.get(message.id)
            made.add(message.id, known.string if known else None)
    text = io.BytesIO()
    write_po(text, made, width=0, no_location=True, omit_header=True, sort_output=True)
    return f"{header}\n\n{text.getvalue().decode().strip()}\n"


if __name__ == "__main__":
    for tag in TRANSLATED:
        file_of(tag).write_text(write(tag, read(tag), collect()), "utf-8")
