"""Draw figures as bars, in a self-contained SVG file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

COLOURS = ("#0f766e", "#d97706", "#64748b", "#7c3aed", "#b91c1c", "#0369a1")
_STYLE = 'role="img" aria-labelledby="title about" font-family="system-ui, sans-serif" font-size="13" fill="#475569"'
WIDTH = 960
_BAR, _ROW, _LABEL, _FIGURE = 14, 18, 170, 76


class Series(NamedTuple):
    """One series: a value for each group, or NaN."""

    name: str
    values: Sequence[float]


def frame(title: str, about: str, names: Sequence[str], height: int) -> list[str]:
    """Return the beginning of a picture: title, description for screen readers, background and legend."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {_STYLE}>',
        f'<title id="title">{escape(title)}</title><desc id="about">{escape(about)}</desc>',
        f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="12" fill="#f8fafa" stroke="#cbd5e1"/>',
        f'<text x="24" y="34" font-size="16" font-weight="600" fill="#0f172a">{escape(title)}</text>',
    ]
    x = 24
    for colour, name in zip(COLOURS, names, strict=False):
        parts.append(f'<rect x="{x}" y="46" width="12" height="12" rx="2" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="57">{escape(name)}</text>')
        x += 44 + 7 * len(name)
    return parts


def bars(title: str, *, groups: Sequence[str], panels: Mapping[str, Sequence[Series]]) -> str:
    """Return an SVG picture with a panel for each measure and a bar for each value, from zero."""
    names = list(dict.fromkeys(one.name for shown in panels.values() for one in shown))
    height = 44 + len(groups) * (max(map(len, panels.values())) * _ROW + 12)
    total = 74 + -(-len(panels) // 2) * (height + 12)
    about = "; ".join(
        f"{name}: "
        + ", ".join(
            f"{one.name} {group} {figure(value)}" for one in shown for group, value in zip(groups, one.values, strict=True)
        )
        for name, shown in panels.items()
    )
    parts = frame(title, about, names, total)
    for number, (name, shown) in enumerate(panels.items()):
        x, y = 24 + number % 2 * (WIDTH - 24) // 2, 74 + number // 2 * (height + 12)
        colours = [COLOURS[names.index(one.name)] for one in shown]
        parts += _panel(name, shown, groups, colours, x=x, y=y, width=(WIDTH - 24) // 2 - 24)
    return "\n".join([*parts, "</svg>\n"])


def _panel(
    name: str, series: Sequence[Series], groups: Sequence[str], colours: Sequence[str], *, x: int, y: int, width: int
) -> list[str]:
    parts = [f'<text x="{x}" y="{y + 20}" font-weight="600" fill="#0f172a">{escape(name)}</text>']
    longest = max((value for one in series for value in one.values if not math.isnan(value)), default=0) or 1
    room = width - _LABEL - _FIGURE
    top = y + 32
    for index, group in enumerate(groups):
        parts.append(f'<text x="{x}" y="{top + 12}">{escape(group)}</text>')
        for number, one in enumerate(series):
            value, place = one.values[index], top + number * _ROW
            long = 1.0 if math.isnan(value) else max(1.0, room * value / longest)
            parts.append(
                f'<rect x="{x + _LABEL}" y="{place}" width="{long:.1f}" height="{_BAR}" rx="2" fill="{colours[number]}"/>'
                f'<text x="{x + _LABEL + long + 6:.1f}" y="{place + 12}">{figure(value)}</text>'
            )
        top += len(series) * _ROW + 12
    return parts


def figure(value: float) -> str:
    """Return a value with few significant digits."""
    if math.isnan(value):
        return "—"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
