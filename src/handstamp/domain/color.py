"""Colours of pages, and whether text in them can be read (WCAG 2.2, success criterion 1.4.3)."""

from __future__ import annotations

import re

LIGHT_PAGE, DARK_PAGE = "#fafafa", "#171b1b"
"""Of the backgrounds in `static/base.css`, the one of each scheme on which the accent has the least contrast."""
READABLE = 4.5
"""The least contrast of text (WCAG 1.4.3)."""
_COLOR = re.compile(r"#[0-9a-f]{6}", re.ASCII)
_STEPS = 256


def parse_color(text: str) -> str:
    """Return a colour as `#0f766e`. Raises `ValueError` if it is written in another way."""
    color = text.strip().lower()
    if _COLOR.fullmatch(color) is None:
        raise ValueError("write a colour as #0f766e")
    return color


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21 (WCAG 2.2, "contrast ratio")."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def readable_neighbour(color: str, page: str) -> str:
    """Return the colour itself if text in it can be read on a page, or else the nearest that can, darker or lighter."""
    toward = "#000000" if _luminance(page) > 0.5 else "#ffffff"
    mixed = (_mix(color, toward, step / _STEPS) for step in range(_STEPS + 1))
    return next(each for each in mixed if contrast(each, page) >= READABLE)


def _luminance(color: str) -> float:
    """Return the relative luminance, from 0 to 1 (WCAG 2.2)."""
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in _split(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _split(color: str) -> tuple[float, float, float]:
    red, green, blue = bytes.fromhex(color[1:])
    return red / 255, green / 255, blue / 255


def _mix(color: str, other: str, share: float) -> str:
    mixed = (round(255 * (one + (two - one) * share)) for one, two in zip(_split(color), _split(other), strict=True))
    return "#" + bytes(mixed).hex()
