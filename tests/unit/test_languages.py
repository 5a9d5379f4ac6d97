"""Which language is chosen, and what a marked text becomes in it."""

from __future__ import annotations

import pickle

import pytest

from handstamp.errors import HandstampError, InvalidFields, SessionEnded, TooManyAttempts
from handstamp.languages.catalogue import ENGLISH, open_catalogue, read_catalogue
from handstamp.languages.choice import LANGUAGES, MAX_LENGTH, accepted_language, requested_language
from handstamp.text import Text, mark, mark_instead, mark_plural
from handstamp.wire.problems import problem_of

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-CH-1996", "de"),
        ("AR-eg", "ar"),
        ("fr;q=0.5, es;q=0.8", "es"),
        ("zh, ja;q=0.9, fr;q=0.1", "fr"),
        ("de;q=0, fr", "fr"),
        ("de;q=0", "en"),
        ("*", "en"),
        ("en-GB,en;q=0.9,de;q=0.8", "en"),
        ("de;q=0.8, en;q=0.8", "de"),  # of equal weights the first
        (" de ; q=0.9 , fr ; q=1.0", "fr"),
        ("de_DE", "en"),
        ("de;q=7, fr;q=x, es", "es"),
        ("x" * 60_000, "en"),
        ("de," + ",".join(["x" * 8] * 7000), "de"),
        (" " * MAX_LENGTH + "de", "en"),
        ("d\x00e, ar", "ar"),
        ("\uff44\uff45, es", "es"),
    ],
)
def test_accept_language(header: str, language: str) -> None:
    """The language with the highest weight that there is a catalogue for (RFC 9110 §12.5.4, RFC 4647 §3.4)."""
    assert accepted_language(header) == language


@pytest.mark.parametrize(
    ("ui_locales", "language"),
    [("", None), ("pt fr-CA en", "fr"), ("DE", "de"), ("xx", None), ("../../de", None), ("a " * 9999, None)],
)
def test_ui_locales(ui_locales: str, language: str | None) -> None:
    """The first known language of a list (OpenID Connect Core §3.1.2.1), None if none is known."""
    assert requested_language(ui_locales) == language


def test_a_marked_text_is_english() -> None:
    """What `mark` returns is the English text, with its values."""
    assert mark("Try again") == "Try again"
    assert mark("at most %(limit)s characters", limit=5) == "at most 5 characters"
    assert mark_plural("%(count)s day", "%(count)s days", count=1) == "1 day"
    assert mark_plural("%(count)s day", "%(count)s days", count=0) == "0 days"
    assert mark_instead("is wrong", english="has no dot") == "has no dot"


def test_a_marked_text_is_translated() -> None:
    """Constants, values, plurals and texts in place of a library's."""
    german = read_catalogue("de")
    assert german.translate(mark("Sign in")) == "Anmelden"
    assert german.translate(mark("%(browser)s on %(system)s", browser="Firefox", system="Linux")) == "Firefox unter Linux"
    assert (
        german.translate(mark_instead("This is not a valid e-mail address.", english="There is no dot."))
        == "Das ist keine gültige E-Mail-Adresse."
    )
    assert german.translate("a text that is not marked") == "a text that is not marked"
    assert german.translate("") == ""
    assert german.translate(TooManyAttempts(1).args[0]).endswith("in 1 Sekunde noch einmal.")
    assert ENGLISH.translate(TooManyAttempts(1).args[0]) == "Too many attempts. Try again in 1 second."


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "ثانية واحدة"), (2, "ثانيتين"), (5, "5 ثوانٍ"), (30, "30 ثانية"), (100, "100 ثانية"), (103, "103 ثوانٍ")],
)
def test_arabic_has_six_forms(count: int, words: str) -> None:
    """The form follows the count, as the catalogue's own rule says."""
    assert words in read_catalogue("ar").translate(TooManyAttempts(count).args[0])


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_writes_times(language: str) -> None:
    """Distances, dates and times are in the language's own words. Arabic is written from right to left."""
    catalogue = read_catalogue(language)
    written = {
        "en": ("just now", "2 hours ago", "31 January 2026", "2026-01-31 12:00:00 UTC", "ltr"),
        "de": ("gerade eben", "vor 2 Stunden", "31. Januar 2026", "31.01.2026, 12:00:00 UTC", "ltr"),
        "fr": ("à l’instant", "il y a 2 heures", "31 janvier 2026", "31 janv. 2026, 12:00:00 UTC", "ltr"),
        "es": ("ahora mismo", "hace 2 horas", "31 de enero de 2026", "31 ene 2026, 12:00:00 UTC", "ltr"),
        "ar": ("الآن", "قبل ساعتين", "31 يناير 2026", "31\u200f/01\u200f/2026، 12:00:00 م UTC", "rtl"),
    }
    at_ms = 1_769_860_800_000
    assert (
        catalogue.describe_distance(at_ms, at_ms - 59_000),
        catalogue.describe_distance(at_ms, at_ms - 2 * HOUR_MS),
        catalogue.write_date(at_ms),
        catalogue.write_time(at_ms),
        catalogue.direction,
    ) == written[language]


def test_a_text_survives_pickle() -> None:
    """Errors leave worker processes, and their texts are still translated."""
    text = mark("at most %(limit)s characters", limit=5)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(text, protocol))
        assert isinstance(copy, Text)
        assert (copy, copy.template, copy.values) == (text, "at most %(limit)s characters", {"limit": 5})


def test_a_problem_is_translated_as_a_whole() -> None:
    """Title, detail and the problems of fields; never the names, the code or the type."""
    german = read_catalogue("de").translate
    problem = problem_of(InvalidFields([("email", mark("is missing"))]), instance="1", translate=german)
    assert (problem.title, problem.detail, problem.fields[0].problem) == ("Einige Angaben sind falsch", "email: fehlt", "fehlt")
    assert (problem.code, problem.fields[0].name) == ("invalid_request", "email")
    ended = problem_of(SessionEnded("logout"), instance="1", translate=german)
    assert (ended.detail, ended.reason) == ("Sie haben sich abgemeldet.", "logout")
    assert problem_of(HandstampError(), instance="1", translate=german).detail == ""


@pytest.mark.anyio
async def test_a_catalogue_is_read_once() -> None:
    """The second time is a look-up."""
    assert await open_catalogue("fr") is read_catalogue("fr")
    assert await open_catalogue("en") is ENGLISH
