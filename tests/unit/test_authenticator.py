"""How all adapters turn headers into claims, and errors into responses (RFC 6750)."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from handstamp import (
    ConfigurationError,
    CrossSite,
    ExpiredToken,
    HandstampError,
    InsufficientAuthentication,
    InsufficientScope,
    InvalidFields,
    InvalidRequest,
    InvalidToken,
    KeySet,
    MissingToken,
    SessionEnded,
    TooManyAttempts,
    Unavailable,
    Verifier,
)
from handstamp.crypto.jwk import SigningKey
from handstamp.verify.authenticator import Authenticator, Needs, refuse
from tests.builders import Clock
from tests.conformance.builders import AUDIENCE, NOW_S, access_claims, access_header, compact

KEY = SigningKey.generate("ES256")
ISSUERS = {"__Host-handstamp-access": "https://id.example.org", "handstamp-access-8000": "http://localhost:8000"}
HOST_COOKIE, PLAIN_COOKIE = ISSUERS
APP = "https://app.example.org"
Headers = Sequence[tuple[str, str]]
NO_NEEDS = Needs()


def token(issuer: str = ISSUERS[HOST_COOKIE], **claims: Any) -> str:
    """Return a token that is valid at `NOW_S`."""
    return compact(access_header(KEY), access_claims(iss=issuer, **claims), KEY.sign)


GOOD, OTHER = token(), token(jti="token-2")
COOKIE = ("cookie", f"{HOST_COOKIE}={GOOD}")
BEARER = ("authorization", f"Bearer {GOOD}")
SAME, NONE, SIBLING, CROSS = (("sec-fetch-site", site) for site in ("same-origin", "none", "same-site", "cross-site"))
OWN_ORIGIN, APP_ORIGIN, EVIL_ORIGIN = (("origin", origin) for origin in (ISSUERS[HOST_COOKIE], APP, "https://evil.example"))


def bearer_of(issuer: str = ISSUERS[HOST_COOKIE], *, trusted: Sequence[str] = (APP,)) -> Authenticator:
    """Return an authenticator with an offline verifier at `NOW_S`."""
    clock = Clock(NOW_S * 1000)
    verifier = Verifier(issuer, audience=AUDIENCE, keys=KeySet([KEY.public]), check="offline", clock=clock)
    return Authenticator(verifier, trusted_origins=trusted)


def outcome(headers: Headers, method: str = "GET", *, bearer: Authenticator | None = None, needs: Needs = NO_NEEDS) -> str:
    """Return the id of the accepted token, or the code of the refusal."""
    try:
        claims = (bearer or bearer_of()).authenticate(
            method, lambda wanted: [value for name, value in headers if name == wanted], needs
        )
    except HandstampError as refused:
        return refused.code
    return claims.jti


# --- the header and the cookie


@pytest.mark.parametrize(
    ("expected", "headers"),
    [
        ("token-1", [BEARER]),
        ("token-1", [("authorization", f"bearer {GOOD}")]),
        ("token-1", [("authorization", f"BEARER {GOOD}")]),
        ("token-1", [("authorization", f"Bearer   {GOOD}  ")]),
        ("missing_token", []),
        ("missing_token", [("authorization", "")]),
        ("missing_token", [("authorization", GOOD)]),
        ("missing_token", [("authorization", f"Basic {GOOD}")]),
        ("invalid_token", [("authorization", f"DPoP {GOOD}")]),
        ("missing_token", [("authorization", f"Bearer:{GOOD}")]),
        ("missing_token", [("authorization", f"Bearer\t{GOOD}")]),
        ("missing_token", [("authorization", f"Bearer\u00a0{GOOD}")]),
        ("invalid_token", [("authorization", "Bearer")]),
        ("invalid_token", [("authorization", "Bearer ")]),
        ("invalid_token", [("authorization", "Bearer    ")]),
        ("invalid_token", [("authorization", f"Bearer {GOOD}, Bearer {GOOD}")]),
        ("invalid_token", [("authorization", f"Bearer {GOOD} {GOOD}")]),
        ("invalid_token", [("authorization", f'Bearer "{GOOD}"')]),
        ("invalid_token", [("authorization", f"Bearer {GOOD}\x00")]),
        ("invalid_token", [("authorization", "Bearer \ud800")]),
        ("invalid_request", [BEARER, BEARER]),
        ("invalid_request", [BEARER, ("authorization", f"Bearer {OTHER}")]),
        ("invalid_request", [BEARER, ("authorization", "Basic YTpi")]),
        ("invalid_request", [("authorization", ""), ("authorization", "")]),
    ],
)
def test_the_authorization_header_is_read(expected: str, headers: Headers) -> None:
    """The header needs the scheme Bearer, in any case, and exactly one token.

    Another scheme counts as no token (RFC 6750 §2.1, RFC 9110 §11.1).
    """
    assert outcome(headers) == expected


@pytest.mark.parametrize(
    ("expected", "headers"),
    [
        ("token-1", [COOKIE]),
        ("token-1", [("cookie", f"theme=dark; {HOST_COOKIE}={GOOD}; a=b")]),
        ("token-1", [("cookie", f'{HOST_COOKIE}="{GOOD}"')]),
        ("token-1", [("cookie", f" {HOST_COOKIE} = {GOOD} ")]),
        ("token-1", [("cookie", "a=b"), COOKIE]),
        ("token-1", [COOKIE, COOKIE]),
        ("token-1", [("cookie", f"{HOST_COOKIE}={GOOD}; {HOST_COOKIE}={GOOD}")]),
        ("token-1", [("cookie", f"{HOST_COOKIE}=; {HOST_COOKIE}={GOOD}")]),
        ("missing_token", [("cookie", "")]),
        ("missing_token", [("cookie", ";;;=;==")]),
        ("missing_token", [("cookie", f"{HOST_COOKIE}=")]),
        ("missing_token", [("cookie", HOST_COOKIE)]),
        ("missing_token", [("cookie", f"{PLAIN_COOKIE}={GOOD}")]),
        ("missing_token", [("cookie", f"handstamp-access={GOOD}")]),
        ("missing_token", [("cookie", f"{HOST_COOKIE.lower()}={GOOD}")]),
        ("missing_token", [("cookie", f"__Secure-handstamp-access={GOOD}")]),
        ("missing_token", [("cookie", f"__Host-handstamp-refresh={GOOD}")]),
        ("missing_token", [("cookie", f"\u00a0{HOST_COOKIE}={GOOD}")]),
        ("missing_token", [("cookie", f"\u0085{HOST_COOKIE}={GOOD}")]),
        ("missing_token", [("cookie", f"\u2000{HOST_COOKIE}={GOOD}")]),
        ("missing_token", [("cookie", f"\x1c{HOST_COOKIE}\x1f={GOOD}")]),
        ("token-1", [("cookie", f"\u00a0{HOST_COOKIE}={OTHER}; {HOST_COOKIE}={GOOD}")]),
        ("invalid_token", [("cookie", f"{HOST_COOKIE}=rubbish")]),
        ("invalid_request", [("cookie", f"{HOST_COOKIE}={GOOD}; {HOST_COOKIE}={OTHER}")]),
        ("invalid_request", [COOKIE, ("cookie", f"{HOST_COOKIE}={OTHER}")]),
        ("invalid_request", [("cookie", f"{HOST_COOKIE}=rubbish; {HOST_COOKIE}={GOOD}")]),
    ],
)
def test_the_cookie_is_read(expected: str, headers: Headers) -> None:
    """Only the exact cookie name is read, because browsers protect only the prefix `__Host-`.

    Two cookies with different values are refused (T16).
    """
    assert outcome(headers) == expected


def test_without_https_the_cookie_has_the_port_and_no_prefix() -> None:
    """On loopback without https the cookie ends with the issuer's port, and a prefixed cookie is ignored (R55)."""
    bearer = bearer_of(ISSUERS[PLAIN_COOKIE])
    assert bearer.cookie == PLAIN_COOKIE
    presented = token(ISSUERS[PLAIN_COOKIE])
    assert outcome([("cookie", f"{PLAIN_COOKIE}={presented}")], bearer=bearer) == "token-1"
    assert outcome([("cookie", f"{HOST_COOKIE}={presented}")], bearer=bearer) == "missing_token"
    assert outcome([("cookie", f"handstamp-access-8001={presented}")], bearer=bearer) == "missing_token"


@pytest.mark.parametrize(
    ("expected", "headers"),
    [
        ("token-2", [("authorization", f"Bearer {OTHER}"), COOKIE]),
        ("token-1", [("authorization", "Basic YTpi"), COOKIE]),
        ("token-1", [("authorization", ""), COOKIE]),
        ("token-2", [("authorization", f"Bearer {OTHER}"), ("cookie", f"{HOST_COOKIE}=rubbish")]),
        ("invalid_token", [("authorization", "Bearer rubbish"), COOKIE]),
        ("invalid_token", [("authorization", "Bearer"), COOKIE]),
        ("invalid_request", [BEARER, BEARER, COOKIE]),
    ],
)
def test_the_header_overrides_the_cookie(expected: str, headers: Headers) -> None:
    """The header takes precedence. An invalid header is refused, and the cookie does not replace it."""
    assert outcome(headers) == expected


# --- the origin of the request


@pytest.mark.parametrize(
    ("is_allowed", "where"),
    [
        (True, [SAME]),
        (True, [NONE]),
        (True, [OWN_ORIGIN]),
        (True, [SAME, EVIL_ORIGIN]),
        (True, [SIBLING, APP_ORIGIN]),
        (True, [CROSS, APP_ORIGIN]),
        (True, [APP_ORIGIN]),
        (False, []),
        (False, [SIBLING]),
        (False, [CROSS]),
        (False, [SIBLING, OWN_ORIGIN]),
        (False, [CROSS, EVIL_ORIGIN]),
        (False, [EVIL_ORIGIN]),
        (False, [("origin", "null")]),
        (False, [("origin", "")]),
        (False, [APP_ORIGIN, EVIL_ORIGIN]),
        (False, [SAME, CROSS]),
        (False, [("sec-fetch-site", "")]),
        (False, [("sec-fetch-site", "Same-Origin")]),
        (False, [("origin", APP + ".evil.example")]),
        (False, [("origin", APP + "/")]),
        (False, [("referer", ISSUERS[HOST_COOKIE])]),
    ],
)
def test_an_unsafe_request_with_the_cookie_says_where_it_comes_from(where: Headers, *, is_allowed: bool) -> None:
    """The browser sends the cookie by itself, so the origin is checked, also beside a header (R60, R61, R65, T14)."""
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "BREW", "get", ""):
        for credentials in ([COOKIE], [COOKIE, BEARER], [("cookie", f"{HOST_COOKIE}="), BEARER]):
            assert outcome([*credentials, *where], method) == ("token-1" if is_allowed else "cross_site"), (method, credentials)


@pytest.mark.parametrize("where", [[], [CROSS, EVIL_ORIGIN], [SIBLING], [("origin", "null")]])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_without_the_cookie_any_origin_is_allowed(method: str, where: Headers) -> None:
    """A request without the credential cookie needs no origin check.

    No page can add the header to a request to another site, and other cookies are not credentials (T14).
    """
    assert outcome([BEARER, ("cookie", "theme=dark"), *where], method) == "token-1"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_cross_site_link_may_read_with_the_cookie(method: str) -> None:
    """Reads with the cookie are allowed from any site, as after a link in a mail. The cookie is Lax for that (T9)."""
    assert outcome([COOKIE, CROSS, EVIL_ORIGIN], method) == "token-1"


@pytest.mark.parametrize(
    "origins", [APP, [APP + "/"], ["app.example.org"], ["https://app.example.org:443"], ["HTTPS://APP"], [""]]
)
def test_an_invalid_trusted_origin_is_a_configuration_error(origins: Any) -> None:
    """An invalid origin raises at start-up, because it would never match (R86).

    A string raises too, because it would be read as a list of letters.
    """
    with pytest.raises(ConfigurationError):
        bearer_of(trusted=origins)


# --- scopes and roles


@pytest.mark.parametrize(
    ("expected", "needs"),
    [
        ("token-1", Needs()),
        ("token-1", Needs(scope="read")),
        ("token-1", Needs(scope="write read")),
        ("token-1", Needs(scope="  read   write ")),
        ("token-1", Needs(role="editor")),
        ("token-1", Needs(scope="read", role="editor")),
        ("insufficient_scope", Needs(scope="rea")),
        ("insufficient_scope", Needs(scope="read admin")),
        ("insufficient_scope", Needs(scope="READ")),
        ("insufficient_scope", Needs(role="edit")),
        ("insufficient_scope", Needs(role="editor admin")),
        ("insufficient_scope", Needs(scope="read", role="admin")),
        ("insufficient_scope", Needs(scope="admin", role="editor")),
    ],
)
def test_scopes_and_roles(expected: str, needs: Needs) -> None:
    """Every required scope must be present as a whole word, in any order, and the role exactly (RFC 6750 §3.1)."""
    presented = ("authorization", f"Bearer {token(scope='read write', roles=['editor'])}")
    assert outcome([presented], needs=needs) == expected


def test_a_token_without_scopes_has_none() -> None:
    """A token without `scope` or `roles` has none of them."""
    assert outcome([BEARER], needs=Needs(scope="read")) == "insufficient_scope"
    assert outcome([BEARER], needs=Needs(role="editor")) == "insufficient_scope"


@pytest.mark.anyio
async def test_async_check_gives_the_same_results() -> None:
    """`authenticate_async` gives the same results as `authenticate`."""
    bearer = bearer_of()
    assert (await bearer.authenticate_async("GET", lambda name: [BEARER[1]] if name == BEARER[0] else [])).jti == "token-1"
    with pytest.raises(MissingToken):
        await bearer.authenticate_async("GET", lambda _: [])
    with pytest.raises(InsufficientScope):
        await bearer.authenticate_async("GET", lambda name: [BEARER[1]] if name == BEARER[0] else [], Needs(scope="read"))


def test_a_route_cannot_require_an_unsupported_check() -> None:
    """`check="live"` without a credential raises ConfigurationError instead of refusing the request (R26)."""
    with pytest.raises(ConfigurationError):
        bearer_of().authenticate("GET", lambda name: [BEARER[1]] if name == BEARER[0] else [], Needs(check="live"))


# --- refusals


@pytest.mark.parametrize(
    ("error", "status", "challenge", "retry_after"),
    [
        (MissingToken(), 401, "Bearer", None),
        (InvalidToken("secret reason"), 401, 'Bearer error="invalid_token", error_description="invalid_token"', None),
        (ExpiredToken(), 401, 'Bearer error="invalid_token", error_description="expired_token"', None),
        (SessionEnded(), 401, 'Bearer error="invalid_token", error_description="session_ended"', None),
        (
            InsufficientAuthentication(max_age_s=300),
            401,
            'Bearer error="insufficient_user_authentication", max_age="300"',
            None,
        ),
        (
            InsufficientAuthentication(acr="mfa"),
            401,
            'Bearer error="insufficient_user_authentication", acr_values="mfa"',
            None,
        ),
        (InsufficientScope(scope="read write"), 403, 'Bearer error="insufficient_scope", scope="read write"', None),
        (InsufficientScope(role="admin"), 403, 'Bearer error="insufficient_scope"', None),
        (CrossSite(), 403, None, None),
        (InvalidRequest("Two cookies."), 400, None, None),
        (InvalidFields([("wait", "is wrong")]), 422, None, None),
        (TooManyAttempts(7), 429, None, "7"),
        (Unavailable("secret reason"), 503, None, "1"),
        (Unavailable("secret reason", retry_after_s=30), 503, None, "30"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, HandstampError) else None,
)
def test_each_refusal_is_a_problem_document(
    error: HandstampError, status: int, challenge: str | None, retry_after: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal has the documented status, challenge, Retry-After and code.

    The reason appears only in the log, under the same id (R76, R77, R80).
    """
    with caplog.at_level(logging.INFO, logger="handstamp.verify"):
        refusal = refuse(error)
    problem = json.loads(refusal.body)
    assert (refusal.status, problem["status"], problem["code"]) == (status, status, error.code)
    assert {"type", "title", "detail", "instance"} <= problem.keys()
    assert refusal.media_type == "application/problem+json"
    assert refusal.code == error.code
    assert refusal.headers["cache-control"] == "no-store"
    assert refusal.headers.get("www-authenticate") == challenge
    assert refusal.headers.get("retry-after") == retry_after
    assert b"secret" not in refusal.body
    assert "secret" not in str(refusal.headers)
    (record,) = caplog.records
    assert problem["instance"].rpartition(":")[2] in record.getMessage()
    assert ("secret reason" in record.getMessage()) == hasattr(error, "why")
    assert (record.levelno >= logging.WARNING) == (status >= 500)


def test_header_values_cannot_be_injected() -> None:
    """No text of an error reaches a header, so no line break in it can split one (R84)."""
    for error in (
        InvalidToken("a\r\nset-cookie: x=y"),
        Unavailable("a\r\nx: y"),
        SessionEnded("a\r\nb"),
        InvalidRequest("a\r\nb"),
    ):
        assert not any(mark in value for value in refuse(error).headers.values() for mark in "\r\n")


def test_configuration_errors_are_raised() -> None:
    """A `ConfigurationError` is raised again and not turned into a response."""
    with pytest.raises(ConfigurationError):
        refuse(ConfigurationError("wrong"))


def test_every_error_has_an_answer() -> None:
    """Every error class has a status in the table, at least through its parent class."""

    def with_subclasses(kind: type[HandstampError]) -> list[type[HandstampError]]:
        return [kind, *(each for child in kind.__subclasses__() for each in with_subclasses(child))]

    from handstamp.wire.problems import row_of

    for kind in with_subclasses(HandstampError):
        status, title = row_of(kind)
        assert 400 <= status <= 503
        assert title
