"""When the cross-site rule of `handstamp.domain.cross_site` is asked: for credential cookies, and for signing in."""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers

from ..domain import cross_site


def is_from_browser(headers: Headers) -> bool:
    """Say whether a browser's page sent this. Others can pretend; they have no cookies to abuse."""
    return "sec-fetch-site" in headers or "origin" in headers


def check(headers: Headers, *, carries_cookie: bool, signs_in: bool, own: str, trusted: Collection[str]) -> None:
    """Raise `CrossSite` unless an unsafe request comes from ourselves or from a trusted origin, where it must."""
    if carries_cookie or (signs_in and is_from_browser(headers)):
        cross_site.check(headers.getlist("sec-fetch-site"), headers.getlist("origin"), own=own, trusted=trusted)
