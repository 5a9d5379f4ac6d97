"""The cross-site rule: may a request with this credential come from there?

A browser adds cookies to requests that other sites' pages cause, and `SameSite` lets sibling subdomains through. So every
unsafe request that carries a credential cookie, and every sign-in from a browser (a page could sign you in as somebody else),
must say where it comes from (OWASP CSRF prevention; Fetch Metadata). The service and whoever verifies its cookies obey it alike.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..errors import CrossSite

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def require_allowed_origin(sites: Sequence[str], origins: Sequence[str], *, own: str, trusted: Collection[str]) -> None:
    """Raise `CrossSite` unless an unsafe request comes from ourselves or from a trusted origin.

    `sites` and `origins` are all values of `Sec-Fetch-Site` and of `Origin`. The origin is compared with what is configured,
    never with the `Host` that came with it: a proxy may have changed that.
    """
    origin = origins[0] if len(origins) == 1 else None
    if sites:  # noqa: SIM108 - two rules, two branches
        allowed = list(sites) in (["same-origin"], ["none"]) or origin in trusted
    else:
        allowed = origin == own or origin in trusted
    if not allowed:
        raise CrossSite
