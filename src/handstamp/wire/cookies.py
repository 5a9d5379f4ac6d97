"""Cookies as servers read them (RFC 6265), and the names of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..domain.issuer import Issuer
from ..errors import InvalidRequest
from ..text import mark

MAX_COOKIES = 200
"""Browsers keep some 180 for a site. Each one more costs time before anything of the request is checked."""


def cookie_name(
    kind: Literal["access", "refresh", "device", "grant", "attempt", "offer", "language", "bound", "trip"], issuer: Issuer
) -> str:
    """Return the name of one of an issuer's cookies. The last seven carry no token.

    With https it has the prefix `__Host-`, which keeps sibling subdomains from setting the cookie (ASVS 3.3). With http, which is
    allowed on loopback alone, browsers refuse the prefix and send a cookie to every port of a host (RFC 6265 §8.5). The name
    then ends with the issuer's port, so that two services on one machine do not replace each other's cookies.
    """
    return f"__Host-handstamp-{kind}" if issuer.is_https else f"handstamp-{kind}-{issuer.port}"


def parse_cookies(headers: Sequence[str]) -> dict[str, set[str]]:
    """Return all values of each cookie in the `Cookie` headers.

    All of them, because a reader that takes the first or the last could be fed a foreign one (T16). Only spaces and tabs around
    a name are dropped (RFC 6265 §5.2): to a browser, a no-break space before `__Host-` makes another name, without the
    protection of the prefix.

    Raises:
        InvalidRequest: There are more than `MAX_COOKIES`.
    """
    if sum(header.count(";") for header in headers) >= MAX_COOKIES:
        raise InvalidRequest(mark("The request has more than %(limit)s cookies: delete this site's cookies.", limit=MAX_COOKIES))
    found: dict[str, set[str]] = {}
    for header in headers:
        for pair in header.split(";"):
            name, _, value = pair.partition("=")
            found.setdefault(name.strip(" \t"), set()).add(value.strip(" \t").strip('"'))
    return found


def only_value(name: str, values: set[str]) -> str | None:
    """Return the one value of a cookie, or None if it is empty.

    Raises:
        InvalidRequest: The cookie came with two different values.
    """
    distinct = values - {""}
    if len(distinct) > 1:
        raise InvalidRequest(
            mark("There are two different cookies named %(name)s: delete this site's cookies and sign in again.", name=name)
        )
    return next(iter(distinct), None)
