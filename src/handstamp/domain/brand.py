"""What a deployment looks like to its visitors: name, logo, colours and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

ACCENT, DARK_ACCENT = "#0f766e", "#4fd1c0"
"""The colours of a deployment that has chosen none, as in `static/base.css`."""
LOGO_MAX_BYTES = 256 * 1024
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--.*?-->\s*|<!DOCTYPE[^>\[]*>\s*)*<svg[\s>]", re.DOTALL)
"""How an SVG file begins, which is text."""
_SVG_START = 4096


@dataclass(frozen=True, slots=True)
class Logo:
    """An image, by its content and not by the name of its file."""

    content: bytes
    media_type: str

    @classmethod
    def parse(cls, content: bytes) -> Logo:
        """Return the image. Raises `ValueError` if it is none, or too large."""
        if len(content) > LOGO_MAX_BYTES:
            raise ValueError(f"has more than {LOGO_MAX_BYTES // 1024} KiB")
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return cls(content, "image/png")
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return cls(content, "image/webp")
        if _SVG.match(content[:_SVG_START]):
            return cls(content, "image/svg+xml")
        raise ValueError("is no SVG, PNG or WebP image")


@dataclass(frozen=True, slots=True)
class Brand:
    """The look of a deployment. Everything is optional; an empty text stands for "not set"."""

    name: str = ""
    logo: Logo | None = None
    light: str = ""
    """The accent on light pages, as `#0f766e`."""
    dark: str = ""
    """The accent on dark pages. Set if `light` is."""
    terms_url: str = ""
    privacy_url: str = ""
    support: str = ""
    """Whom people can ask: an e-mail address or a URL."""

    @property
    def support_url(self) -> str:
        """The link to whom people can ask."""
        is_page = self.support.startswith("https://")
        return self.support if is_page or not self.support else f"mailto:{quote(self.support, safe='@')}"


NO_BRAND = Brand()
