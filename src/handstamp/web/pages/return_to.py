"""Where a visitor may be sent after signing in."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from ...domain.issuer import origin_of

_PLAIN = re.compile(r"[!-\[\]-~]{1,2048}")
"""ASCII without spaces, control characters and backslashes, which browsers read in ways of their own."""


def may_return_to(url: str, *, own: str, trusted: Collection[str]) -> bool:
    """Return whether a visitor may be sent to a URL: a path of this service, or a page of a trusted origin (ASVS 3.7.2).

    Args:
        url: Where the link or the form wants the visitor to go.
        own: The origin of the service.
        trusted: Other origins.
    """
    if _PLAIN.fullmatch(url) is None:
        return False
    if url.startswith("/"):
        return not url.startswith("//")
    try:
        is_page = urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc != ""
        return is_page and origin_of(url) in {own, *trusted}
    except ValueError:
        return False
