"""Where a request may come from, and where a visitor may be sent on to. The rule is that of `handstamp.wire.cross_site`."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from ..domain.issuer import origin_of
from ..wire.cross_site import require_allowed_origin

_PLAIN = re.compile(r"[!-\[\]-~]{1,2048}")  # ASCII without space, control and backslash, which browsers read in ways of their own


def is_from_browser(headers: Headers) -> bool:
    """Say whether a browser's page sent this. Others can pretend; they have no cookies to abuse."""
    return "sec-fetch-site" in headers or "origin" in headers


def check(headers: Headers, *, carries_cookie: bool, signs_in: bool, own: str, trusted: Collection[str]) -> None:
    """Raise `CrossSite` unless an unsafe request comes from ourselves or from a trusted origin, where it must."""
    if carries_cookie or (signs_in and is_from_browser(headers)):
        require_allowed_origin(headers.getlist("sec-fetch-site"), headers.getlist("origin"), own=own, trusted=trusted)


def may_return_to(url: str, *, own: str, trusted: Collection[str]) -> bool:
    """Say whether a visitor may be sent to `url`: a path here, or a page of a trusted origin (no open redirect, ASVS 3.7.2)."""
    if _PLAIN.fullmatch(url) is None:
        return False
    if url.startswith("/"):
        return not url.startswith("//")
    try:
        is_page = urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc != ""
        return is_page and origin_of(url) in {own, *trusted}
    except ValueError:
        return False
