"""Mark texts that people read, so that they can be translated.

Texts are written in English where they are used. `mark` and `mark_plural` return them in English, and what they return can be
translated later, when it is known who reads it: `handstamp.languages`. Templates mark with `_()` and `{% trans %}` instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self


class Text(str):
    """An English text with values in it. It is a `str`, and keeps its template, so that it can be translated.

    Attributes:
        template: The text with placeholders: `%(name)s`.
        plural: The template for every count but 1; "" if the text does not depend on a count.
        values: What the placeholders stand for, by name. Those that are `Text` are
            translated too. With a plural, `count` is one of them.
    """

    __slots__ = ("plural", "template", "values")
    template: str
    plural: str
    values: Mapping[str, object]

    def __new__(cls, english: str, template: str, plural: str, values: Mapping[str, object]) -> Self:
        """Return `english`, with the template that is translated in its place."""
        self = super().__new__(cls, english)
        self.template, self.plural, self.values = template, plural, values
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how pickle and copy restore the text."""
        return Text, (str(self), self.template, self.plural, self.values)


def mark(text: str, /, **values: object) -> str:
    """Return an English text for people, marked for translation.

    Args:
        text: A literal, because `make messages` collects it from the source. With values, it has a placeholder `%(name)s` for
            each of them; "%" is then written "%%".
        values: What the placeholders stand for. Those that are `Text` are translated too.
    """
    return Text(text % values, text, "", values) if values else text


def mark_plural(one: str, many: str, /, *, count: int, **values: object) -> str:
    """Return an English text that depends on a count, marked for translation. Some languages have six forms.

    Args:
        one: The text for the count 1, a literal as for `mark`.
        many: The text for all other counts.
        count: The value of the placeholder `%(count)s`, and what selects the form.
        values: As for `mark`.
    """
    values["count"] = count
    return Text((one if count == 1 else many) % values, one, many, values)


def mark_instead(text: str, /, *, english: str) -> str:
    """Return `english`, a text from elsewhere, such as a library's. Other languages translate `text` in its place, a literal."""
    return Text(english, text, "", {})
