"""Draw figures over time or size as curves, in a self-contained SVG file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from .plot import COLOURS, WIDTH, figure, frame

_HEIGHT, _LEFT, _RIGHT, _ABOVE = 190, 48, 24, 34
_TICKS = 4


class Curve(NamedTuple):
    """One curve: its name and its points from left to right."""

    name: str
    points: Sequence[tuple[float, float]]


def curves(title: str, *, across: str, panels: Mapping[str, Sequence[Curve]]) -> str:
    """Return an SVG picture with a panel for each measure. All axes begin at zero; `across` names the horizontal one."""
    names = list(dict.fromkeys(one.name for shown in panels.values() for one in shown))
    about = "; ".join(
        f"{panel}: " + ", ".join(f"{one.name} at most {figure(max(y for _, y in one.points))}" for one in shown)
        for panel, shown in panels.items()
    )
    each = _ABOVE + _HEIGHT + 52
    parts = frame(title, about, names, 74 + -(-len(panels) // 2) * each)
    for number, (name, shown) in enumerate(panels.items()):
        x, y = 24 + number % 2 * (WIDTH - 24) // 2, 74 + number // 2 * each
        colours = [COLOURS[names.index(one.name)] for one in shown]
        parts += _panel(name, across, shown, colours, x=x, y=y)
    return "\n".join([*parts, "</svg>\n"])


def _panel(name: str, across: str, shown: Sequence[Curve], colours: Sequence[str], *, x: int, y: int) -> list[str]:
    left = x + _LEFT
    width, bottom = (WIDTH - 24) // 2 - 24 - _LEFT - _RIGHT, y + _ABOVE + _HEIGHT
    most_x = max(px for one in shown for px, _ in one.points) or 1
    most_y = max(py for one in shown for _, py in one.points) or 1
    parts = [
        f'<text x="{x}" y="{y + 20}" font-weight="600" fill="#0f172a">{escape(name)}</text>',
        f'<text x="{left + width}" y="{bottom + 36}" text-anchor="end">{escape(across)}</text>',
    ]
    for tick in range(_TICKS + 1):
        to_right, up = left + width * tick / _TICKS, bottom - _HEIGHT * tick / _TICKS
        parts.append(f'<line x1="{left}" x2="{left + width}" y1="{up:.1f}" y2="{up:.1f}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{left - 6}" y="{up + 4:.1f}" text-anchor="end">{_label(most_y * tick / _TICKS)}</text>')
        parts.append(f'<text x="{to_right:.1f}" y="{bottom + 18}" text-anchor="middle">{_label(most_x * tick / _TICKS)}</text>')
    for one, colour in zip(shown, colours, strict=True):
        line = " ".join(f"{left + width * px / most_x:.1f},{bottom - _HEIGHT * py / most_y:.1f}" for px, py in one.points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>')
    return parts


def _label(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"
