"""QR codes as inline SVG."""

from __future__ import annotations

import asyncio

_MASK = 3
"""One of the eight patterns of ISO/IEC 18004 §7.8, which readers all accept. Choosing the best one takes four times as long."""


async def draw_qr(text: str, *, title: str) -> str:
    """Return the QR code of a text as an `svg` element, for HTML.

    It has no size, so that it fills its parent, and its own white background, so that it can be read in dark mode.

    Args:
        text: At most a few hundred characters. Drawing them takes some milliseconds of processor time on another thread.
        title: What the picture is, for people who cannot see it, in their language.
    """
    return await asyncio.to_thread(_draw, text, title)


def _draw(text: str, title: str) -> str:
    from segno import make_qr  # noqa: PLC0415 - it imports HTTP and mail libraries, which only a few requests need

    made = make_qr(text, error="m", mask=_MASK)
    svg = made.svg_inline(omitsize=True, dark="#000", light="#fff", title=title, svgclass="qr", lineclass=None)
    return f'<svg role="img" shape-rendering="crispEdges"{svg.removeprefix("<svg")}'
