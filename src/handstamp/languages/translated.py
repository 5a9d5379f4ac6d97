"""Catalogues that are read from files, and the formats of the Unicode CLDR. Imports Babel, so it is imported when needed."""

from __future__ import annotations

import datetime
import io
from gettext import GNUTranslations
from importlib.resources import files

from babel.core import Locale
from babel.dates import format_date, format_datetime, format_timedelta
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from .catalogue import Catalogue, to_datetime


class _Translated(Catalogue):
    def __init__(self, tag: str, translations: GNUTranslations) -> None:
        super().__init__(tag)
        self._translations = translations
        self._locale = Locale(tag)

    def gettext(self, text: str) -> str:
        return self._translations.gettext(text)

    def ngettext(self, one: str, many: str, count: int) -> str:
        return self._translations.ngettext(one, many, count)

    def write_distance(self, from_ms: int, to_ms: int) -> str:
        distance = datetime.timedelta(milliseconds=to_ms - from_ms)
        return format_timedelta(distance, add_direction=True, threshold=2, locale=self._locale)

    def write_date(self, at_ms: int) -> str:
        return format_date(to_datetime(at_ms), "long", locale=self._locale)

    def write_time(self, at_ms: int) -> str:
        return f"{format_datetime(to_datetime(at_ms), 'medium', locale=self._locale)} UTC"


def read(tag: str) -> Catalogue:
    """Return the catalogue of the file of a language."""
    po = files(__package__).joinpath(f"{tag}.po").read_bytes()
    compiled = io.BytesIO()
    write_mo(compiled, read_po(io.BytesIO(po), locale=tag))
    compiled.seek(0)
    catalogue = _Translated(tag, GNUTranslations(compiled))
    catalogue.write_distance(0, 3_600_000)  # Babel reads the formats of a language at the first use
    catalogue.write_time(0)
    return catalogue
