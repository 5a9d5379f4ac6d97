"""Choose the language of an answer from what a browser, an application or an account asks for."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from ..errors import InvalidFields
from ..text import mark

LANGUAGES = {"en": "English", "de": "Deutsch", "fr": "Français", "es": "Español", "ar": "العربية"}
"""By its tag (RFC 5646), the name that each language has for itself. The first is for everybody who asks for none of them."""
ENGLISH_TAG = "en"
MAX_LENGTH = 256
"""How much of a list of languages is read, in characters. Browsers send some fifty."""
_RANGE = re.compile(r"([a-z]{1,8}(?:-[a-z0-9]{1,8})*)(?:;q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?", re.ASCII | re.IGNORECASE)
"""A language range with its weight (RFC 9110 §12.5.4), without white space. `*` means no language in particular."""


def accepted_language(accept_language: str) -> str:
    """Return the language for the value of an `Accept-Language` header, by lookup (RFC 4647 §3.4); English if it names none."""
    return _accepted_language(accept_language[:MAX_LENGTH]) if accept_language else ENGLISH_TAG


@functools.lru_cache(maxsize=256)
def _accepted_language(accept_language: str) -> str:
    weighted: list[tuple[float, str]] = []
    for item in "".join(accept_language.split()).split(","):
        found = _RANGE.fullmatch(item)
        if found is not None and (weight := float(found[2] or 1)) > 0:
            weighted.append((weight, found[1]))
    weighted.sort(key=lambda pair: -pair[0])  # stable: of equal weights the first wins
    return first_available(tag for _, tag in weighted) or ENGLISH_TAG


def first_available(tags: Iterable[str]) -> str | None:
    """Return the first of these languages that there is a catalogue for, as its tag here; None if there is none.

    Lookup drops subtags from the end until a tag is known. All tags here have one subtag, so the first one decides.
    """
    primary = (tag.partition("-")[0].lower() for tag in tags)
    return next((tag for tag in primary if tag in LANGUAGES), None)


def require_language(tag: str) -> str:
    """Return the tag of a language, or "" for none. Raises `InvalidFields` if there is no catalogue for it."""
    if tag and tag not in LANGUAGES:
        raise InvalidFields([("language", mark("must be one of %(tags)s, or empty", tags=", ".join(LANGUAGES)))])
    return tag


def requested_language(ui_locales: str) -> str | None:
    """Return the language for the parameter `ui_locales`: tags in order of preference, separated by spaces (OpenID Connect Core
    §3.1.2.1). None if there is no catalogue for any of them.
    """  # noqa: D205
    return first_available(ui_locales[:MAX_LENGTH].split())
