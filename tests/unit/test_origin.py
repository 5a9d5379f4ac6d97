"""The cross-site rule as tables: which request is allowed from which origin."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from handstamp.domain.issuer import Issuer, find_hosts, origin_of
from handstamp.errors import CrossSite
from handstamp.wire.cross_site import SAFE_METHODS, is_from_browser, require_allowed_origin

OWN = "https://auth.example.com"
TRUSTED = frozenset({"https://app.example.com", "http://localhost:3000"})


def headers(*pairs: tuple[str, str]) -> Headers:
    """Return request headers. A name may occur twice."""
    return Headers(raw=[(name.encode(), value.encode()) for name, value in pairs])


def is_allowed(sent: Headers, *, carries_cookie: bool = True, signs_in: bool = False) -> bool:
    """Return whether the rule allows a request."""
    try:
        require_allowed_origin(sent.getlist, carries_cookie=carries_cookie, signs_in=signs_in, own=OWN, trusted=TRUSTED)
    except CrossSite:
        return False
    return True


@pytest.mark.parametrize(
    ("site", "origin", "allowed"),
    [
        # With Fetch Metadata: its value decides; a trusted origin is allowed too.
        ("same-origin", OWN, True),
        ("same-origin", None, True),
        ("none", None, True),
        ("same-site", None, False),
        ("same-site", "https://evil.example.com", False),
        ("cross-site", None, False),
        ("cross-site", "https://evil.example", False),
        ("cross-site", "null", False),
        ("same-site", "https://app.example.com", True),
        ("cross-site", "http://localhost:3000", True),
        ("cross-site", OWN, False),
        ("Same-Origin", OWN, False),
        ("same-origin, cross-site", OWN, False),
        ("", OWN, False),
        # Without Fetch Metadata: the origin must be the service's own or a trusted one, exactly.
        (None, OWN, True),
        (None, "https://app.example.com", True),
        (None, "http://localhost:3000", True),
        (None, None, False),
        (None, "null", False),
        (None, "", False),
        (None, "*", False),
        (None, "http://auth.example.com", False),
        (None, "https://auth.example.com:8443", False),
        (None, "https://auth.example.com.evil.example", False),
        (None, "https://evil.auth.example.com", False),
        (None, "https://auth.example.com/", False),
        (None, "https://AUTH.example.com", False),
        (None, "https://localhost:3000", False),
        (None, "http://localhost:3001", False),
    ],
)
def test_an_unsafe_request_with_a_cookie_says_where_it_comes_from(site: str | None, origin: str | None, allowed: bool) -> None:
    """A credential cookie is accepted only from the service's own pages or trusted origins (T14, T33)."""
    pairs = [(name, value) for name, value in (("sec-fetch-site", site), ("origin", origin)) if value is not None]
    assert is_allowed(headers(*pairs)) is allowed


@pytest.mark.parametrize(
    "pairs",
    [
        [("origin", OWN), ("origin", "https://evil.example")],
        [("origin", "https://evil.example"), ("origin", OWN)],
        [("origin", OWN), ("origin", OWN)],
        [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "cross-site"), ("origin", "https://app.example.com"), ("origin", "https://evil.example")],
    ],
)
def test_duplicate_headers_are_refused(pairs: list[tuple[str, str]]) -> None:
    """A header that occurs twice is refused, because its value is ambiguous."""
    assert not is_allowed(headers(*pairs))


@pytest.mark.parametrize(
    "host", [("host", "evil.example"), ("x-forwarded-host", "evil.example"), ("referer", "https://auth.example.com/x")]
)
def test_only_the_two_headers_that_browsers_guard_are_read(host: tuple[str, str]) -> None:
    """`Host` and `Referer` do not make an origin the service's own (T33).

    A proxy may change the former, and pages may omit the latter.
    """
    assert not is_allowed(headers(host, ("origin", "https://evil.example")))
    assert not is_allowed(headers(host))
    assert is_allowed(headers(host, ("origin", OWN)))


@pytest.mark.parametrize(
    ("pairs", "allowed"),
    [
        ([], True),
        ([("origin", OWN)], True),
        ([("origin", "https://app.example.com")], True),
        ([("sec-fetch-site", "same-origin")], True),
        ([("origin", "https://evil.example")], False),
        ([("origin", "null")], False),
        ([("sec-fetch-site", "cross-site")], False),
        ([("sec-fetch-site", "same-site")], False),
    ],
)
def test_signing_in_from_another_sites_page_is_refused_without_any_cookie(pairs: list[tuple[str, str]], allowed: bool) -> None:
    """A sign-in from a page of another site is refused, because it could be for the attacker's account (T15).

    Programs that are no browser send no origin and are allowed.
    """
    assert is_allowed(headers(*pairs), carries_cookie=False, signs_in=True) is allowed


@pytest.mark.parametrize("pairs", [[("origin", "https://evil.example")], [("sec-fetch-site", "cross-site")], []])
def test_a_request_without_cookies_needs_no_check(pairs: list[tuple[str, str]]) -> None:
    """A request without cookies is allowed, because no browser adds a bearer token for a page of another site (T14)."""
    assert is_allowed(headers(*pairs), carries_cookie=False)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("origin", "null")], True),
        ([("sec-fetch-site", "none")], True),
        ([("user-agent", "Mozilla/5.0")], False),
        ([], False),
    ],
)
def test_browsers_are_recognised_by_guarded_headers(pairs: list[tuple[str, str]], expected: bool) -> None:
    """A browser is recognised by `Origin` and Fetch Metadata, not by `User-Agent`, which anyone can set."""
    assert is_from_browser(headers(*pairs).getlist) is expected


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://auth.example.com", "https://auth.example.com"),
        ("https://auth.example.com/tenant", "https://auth.example.com"),
        ("https://Auth.Example.com", "https://auth.example.com"),
        ("https://auth.example.com:8443", "https://auth.example.com:8443"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://auth.example.com:443", "https://auth.example.com"),
        ("http://localhost:80", "http://localhost"),
    ],
)
def test_an_origin_is_written_as_browsers_send_it(url: str, origin: str) -> None:
    """An origin is scheme, host and port, without the scheme's default port (RFC 6454 §6.1)."""
    assert origin_of(url) == origin
    assert Issuer(url).origin == origin


@pytest.mark.parametrize(
    ("url", "host", "path", "is_https", "is_loopback"),
    [
        ("https://auth.example.com", "auth.example.com", "", True, False),
        ("https://auth.example.com:8443/tenant/a", "auth.example.com", "/tenant/a", True, False),
        ("http://localhost:8000", "localhost", "", False, True),
        ("https://auth.localhost/x", "auth.localhost", "/x", True, True),
        ("http://127.0.0.1:8000", "127.0.0.1", "", False, True),
        ("http://[::1]:8000/x", "::1", "/x", False, True),
        ("http://10.0.0.1", "10.0.0.1", "", False, False),
        ("HTTPS://Auth.Example.com", "auth.example.com", "", True, False),
        ("https.example.com", "", "https.example.com", False, False),
    ],
)
def test_an_issuer_knows_its_parts(url: str, host: str, path: str, is_https: bool, is_loopback: bool) -> None:
    """An issuer gives its host, path and scheme; the URL itself is not changed (RFC 9068 §2.2)."""
    issuer = Issuer(url)
    assert (issuer.host, issuer.path, issuer.is_https, issuer.is_loopback) == (host, path, is_https, is_loopback)
    assert issuer.url == url


def test_only_methods_that_change_nothing_are_safe() -> None:
    """Only methods that change nothing are safe (RFC 9110 §9.2.1)."""
    assert frozenset({"GET", "HEAD", "OPTIONS"}) == SAFE_METHODS


def test_the_refusal_says_what_an_operator_can_change() -> None:
    """The refusal names the setting with which an operator can allow the page."""
    sent = headers(("origin", "https://new.example.com"))
    with pytest.raises(CrossSite, match="trusted origins"):
        require_allowed_origin(sent.getlist, carries_cookie=True, own=OWN, trusted=TRUSTED)


def test_the_hosts_of_trusted_origins_are_names_that_browsers_accept() -> None:
    """A browser refuses a whole bound session for one name that it does not accept."""
    origins = ["https://b.example.com", "https://a.example.com:8443", "https://b.example.com:1", "http://c.example.com"]
    assert find_hosts([*origins, "https://localhost", "https://192.0.2.1", "https://[::1]:8"]) == (
        "a.example.com",
        "b.example.com",
    )
