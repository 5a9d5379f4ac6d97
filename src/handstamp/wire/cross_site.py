"""The cross-site rule: may a request with this cookie come from there?

A browser adds cookies to requests that other sites' pages cause, and `SameSite` lets sibling subdomains through. So every unsafe
request that carries a token's cookie must say where it comes from, and so must every sign-in from a browser: another page could
sign the visitor in to another account (OWASP CSRF prevention; Fetch Metadata). The service and the verifiers share this rule.
"""

from __future__ import annotations

from collections.abc import Collection

from ..errors import CrossSite
from . import HeaderValues

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_from_browser(values: HeaderValues) -> bool:
    """Return whether a browser's page sent the request. Other programs can claim it; they have no cookies to abuse."""
    return bool(values("sec-fetch-site") or values("origin"))


def require_allowed_origin(
    values: HeaderValues, *, carries_cookie: bool, own: str, trusted: Collection[str], signs_in: bool = False
) -> None:
    """Raise `CrossSite` unless an unsafe request comes from our own pages or from a trusted origin.

    `Origin` is compared with the configuration, never with the request's `Host`: a proxy may have changed that.

    Args:
        values: Looks up `Sec-Fetch-Site` and `Origin`.
        carries_cookie: True if a token's cookie came. Without one, only a sign-in from a browser needs the check.
        own: The origin of the service.
        trusted: Other origins whose pages may use the cookies.
        signs_in: True if the operation signs a browser in.
    """
    if not (carries_cookie or (signs_in and is_from_browser(values))):
        return
    sites, origins = values("sec-fetch-site"), values("origin")
    origin = origins[0] if len(origins) == 1 else None
    if sites:  # noqa: SIM108 - two rules, two branches
        allowed = list(sites) in (["same-origin"], ["none"]) or origin in trusted
    else:
        allowed = origin == own or origin in trusted
    if not allowed:
        raise CrossSite(names_origin=bool(sites or origins))
