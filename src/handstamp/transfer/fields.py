"""Take fields out of rows. JSON has types and CSV has texts; both are read here."""

from __future__ import annotations

import datetime
import json
from typing import Any

_TRUE = frozenset({"true", "t", "1", "yes", "y"})
_FALSE = frozenset({"false", "f", "0", "no", "n", ""})
_LEAST_MS = 10**11
"""A number from here on is milliseconds since 1970; below it is seconds."""
_MOST_MS = 253_402_300_799_999
"""The end of the year 9999."""


class Unusable(Exception):
    """A row is no account that can be imported. The message says why."""


class Ignored(Exception):
    """A row is about something else than an account."""


def get_text(row: dict[str, Any], *names: str) -> str:
    """Return the first field of these names that is there, as text; "" if there is none. Raises `Unusable`."""
    name, value = _find(row, names)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unusable(f"{name} is not a text")
    text = str(value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Unusable(f"{name} is not UTF-8 text")
    return text.strip()


def get_flag(row: dict[str, Any], *names: str, default: bool = False) -> bool:
    """Return the first field of these names that is there, as true or false. Raises `Unusable`."""
    name, value = _find(row, names)
    word = str(value).lower() if isinstance(value, str | int) else "?"
    if value != "" and word in _TRUE | _FALSE:
        return word in _TRUE
    if value == "":
        return default
    raise Unusable(f"{name} is neither true nor false")


def get_time(row: dict[str, Any], *names: str) -> int | None:
    """Return the first field of these names that is there, in milliseconds since 1970; None if there is none.

    It is a number of seconds or milliseconds, or a date in ISO 8601, which is UTC unless it says otherwise.

    Raises:
        Unusable: If it is no time between 1970 and 9999.
    """
    name, value = _find(row, names)
    if value == "":
        return None
    try:
        at_ms = _read_time(value)
    except (ValueError, OverflowError):
        at_ms = -1
    if not 0 <= at_ms <= _MOST_MS:
        raise Unusable(f"{name} is not a time such as 2026-01-31T12:00:00Z")
    return at_ms


def get_list(row: dict[str, Any], *names: str) -> tuple[str, ...]:
    """Return the first field of these names that is there, as texts. A text is split at white space. Raises `Unusable`."""
    name, value = _find(row, names)
    texts = value.split() if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Unusable(f"{name} is not a list of texts")
    return tuple(dict.fromkeys(texts))


def get_object(row: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a field that is an object, or the text of one as in CSV; an empty one if it is not there."""
    value = row.get(name)
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Unusable(f"{name} is not JSON") from None
    return value if isinstance(value, dict) else {}


def get_objects(row: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the objects of a list; none if the field is not a list."""
    value = row.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _find(row: dict[str, Any], names: tuple[str, ...]) -> tuple[str, Any]:
    for name in names:
        value = row.get(name)
        if value is not None and value != "":
            return name, value
    return names[0], ""


def _read_time(value: object) -> int:
    if isinstance(value, str) and not value.replace(".", "", 1).isdecimal():
        at = datetime.datetime.fromisoformat(value)
        at = at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
        return (at - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(milliseconds=1)
    number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else -1.0
    return int(number if number >= _LEAST_MS else 1000 * number)
