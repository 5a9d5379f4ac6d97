"""The cross-site rule: may a request with this credential come from there?

A browser adds cookies to requests that other sites' pages cause, and `SameSite` lets sibling subdomains through. So every
unsafe request that carries a credential cookie, and every sign-in from a browser (a page could sign you in as somebody else),
must say where it comes from (OWASP CSRF prevention; Fetch Metadata).
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from ..errors import CrossSite

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def origin_of(url: str) -> str:
    """Return the origin of a URL in the form that browsers send (RFC 6454 §6.1)."""
    parts = urlsplit(url.lower())
    own_port = {"https": ":443", "http": ":80"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.removesuffix(own_port)}"


def is_from_browser(headers: Headers) -> bool:
    """Say whether a browser's page sent this. Others can pretend; they have no cookies to abuse."""
    return "sec-fetch-site" in headers or "origin" in headers


def check(headers: Headers, *, carries_cookie: bool, signs_in: bool, own: str, trusted: Collection[str]) -> None:
    """Raise `CrossSite` unless an unsafe request comes from ourselves or from a trusted origin.

    `Origin` is compared with what is configured, never with the `Host` that came with it: a proxy may have changed that.
    """
    if not carries_cookie and not (signs_in and is_from_browser(headers)):
        return
    sites, origins = headers.getlist("sec-fetch-site"), headers.getlist("origin")
    origin = origins[0] if len(origins) == 1 else None
    if sites:  # noqa: SIM108 - two rules, two branches
        allowed = sites in (["same-origin"], ["none"]) or origin in trusted
    else:
        allowed = origin == own or origin in trusted
    if not allowed:
        raise CrossSite
