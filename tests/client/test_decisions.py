"""Decisions that need no request: whether a token is fresh, what a refusal means, where tokens may be sent."""

from __future__ import annotations

import httpx
import msgspec
import pytest

from handstamp.client import Auth
from handstamp.client.answers import Answer, require_success
from handstamp.client.challenge import needs_body, refusal_reason
from handstamp.client.freshness import Freshness
from handstamp.client.origins import parse_issuer, parse_origins
from handstamp.errors import ConfigurationError, ExpiredToken, HandstampError, InvalidToken, SessionEnded, Unavailable
from tests.client.test_file_tokens import TOKENS

AT_MS = TOKENS.obtained_at_ms


# --- freshness


@pytest.mark.parametrize(
    ("expires_in_s", "age_s", "stage"),
    [
        (900, 0, "fresh"),
        (900, 749, "fresh"),
        (900, 841, "due"),
        (900, 899, "due"),
        (900, 900, "over"),
        (900, 10**9, "over"),
        (30, 20, "fresh"),
        (30, 25, "due"),
        (30, 30, "over"),
        (900, -1, "due"),
        (900, -(10**9), "due"),
    ],
)
def test_a_token_is_renewed_before_it_expires(expires_in_s: int, age_s: int, stage: str) -> None:
    """A token is due a minute or a fifth of its life before it expires, plus a jitter of up to a tenth.

    It is also due if the clock was set back, because its age is then unknown.
    """
    tokens = msgspec.structs.replace(TOKENS, expires_in_s=expires_in_s)
    assert Freshness(lambda: AT_MS + age_s * 1000).stage(tokens) == stage


def test_renewals_are_spread() -> None:
    """A thousand tokens of one moment become due spread over a tenth of their life; each always at the same moment."""
    tokens = [msgspec.structs.replace(TOKENS, expires_in_s=900, access_token=f"token {number}") for number in range(1000)]

    def are_due(age_s: int) -> int:
        freshness = Freshness(lambda: AT_MS + age_s * 1000)
        return [freshness.stage(each) for each in tokens].count("due")

    found = [are_due(age_s) for age_s in (749, 772, 795, 817, 841)]
    assert (found[0], found[-1]) == (0, 1000)
    assert [round(count / 250) for count in found] == [0, 1, 2, 3, 4]


def test_changing_the_clock_does_not_change_the_age() -> None:
    """The wall clock is read once per token. After that the monotonic clock measures its age."""
    now_ms = AT_MS
    freshness = Freshness(lambda: now_ms)
    assert freshness.stage(TOKENS) == "fresh"
    now_ms += 10**10
    assert freshness.stage(TOKENS) == "fresh"
    now_ms -= 2 * 10**10
    assert freshness.stage(TOKENS) == "fresh"
    other = msgspec.structs.replace(TOKENS, access_token="another.one.entirely")
    assert freshness.stage(other) == "due"


# --- the meaning of a refusal


def make_401(*challenges: str, body: bytes = b"", media_type: str = "application/problem+json") -> httpx.Response:
    """Return a 401 response with these challenges."""
    headers = [("www-authenticate", challenge) for challenge in challenges]
    return httpx.Response(401, headers=[*headers, ("content-type", media_type)], content=body)


@pytest.mark.parametrize(
    ("response", "meaning"),
    [
        (make_401('Bearer error="invalid_token", error_description="expired_token"'), "expired_token"),
        (make_401('Bearer error="invalid_token", error_description="session_ended"'), "session_ended"),
        (make_401('Bearer error="invalid_token", error_description="invalid_token"'), "invalid_token"),
        (make_401('Bearer realm="x", error="invalid_token", error_description="The token is over"'), "invalid_token"),
        (make_401("bearer error=invalid_token"), "invalid_token"),
        (make_401('Basic realm="x"', 'Bearer error="invalid_token"'), "invalid_token"),
        (make_401('Basic realm="x", Bearer error = "invalid_token"'), "invalid_token"),
        (make_401("Bearer"), None),
        (make_401('Bearer realm="error"'), None),
        (make_401('Bearer error="insufficient_scope"'), None),
        (make_401('Bearer error="invalid_token_type"'), None),
        (make_401('Basic error="invalid_token"'), None),
        (make_401('DPoP error="invalid_token", error_description="expired_token", algs="ES256"'), "expired_token"),
        (make_401('DPoP error="invalid_token", error_description="session_ended", algs="ES256"'), "session_ended"),
        (make_401('DPoP error="invalid_dpop_proof", algs="ES256"'), None),
        (make_401("Bearer", body=b'{"code": "expired_token"}'), None),
        (make_401(body=b'{"code": "expired_token"}'), "expired_token"),
        (make_401(body=b'{"code": "session_ended", "reason": "logout"}'), "session_ended"),
        (make_401(body=b'{"code": "invalid_token"}'), "invalid_token"),
        (make_401(body=b'{"code": "missing_token"}'), None),
        (make_401(body=b'{"code": "expired_token"}', media_type="application/json"), None),
        (make_401(body=b"<h1>Sign in</h1>"), None),
        (make_401(body=b"[" * 60_000), None),
        (make_401(), None),
        (httpx.Response(403, headers={"www-authenticate": 'Bearer error="invalid_token"'}), None),
        (httpx.Response(200), None),
    ],
)
def test_each_refusal_has_its_meaning(response: httpx.Response, meaning: str | None) -> None:
    """A refusal in Handstamp's form or RFC 6750's is understood; any other is not."""
    assert refusal_reason(response) == meaning


def test_a_large_error_body_is_not_read() -> None:
    """The body is read only without a challenge and only if it is small, because the response belongs to the application."""
    assert needs_body(make_401(body=b"{}"))
    assert not needs_body(make_401("Bearer", body=b"{}"))
    assert not needs_body(make_401(body=b" " * 65_537))
    endless = httpx.Response(401, headers={"content-type": "application/problem+json"}, stream=httpx.ByteStream(b"{}"))
    assert not needs_body(endless)
    assert refusal_reason(endless) is None


PROBLEM = "application/problem+json"
ENDED = b'{"code": "session_ended", "reason": "reuse"}'


@pytest.mark.parametrize(
    ("status", "media_type", "body", "kind"),
    [
        (401, PROBLEM, ENDED, SessionEnded),
        (401, "application/json", ENDED, Unavailable),
        (401, "text/html", ENDED, Unavailable),
        (400, PROBLEM, ENDED, Unavailable),
        (403, PROBLEM, ENDED, Unavailable),
        (500, PROBLEM, ENDED, Unavailable),
        (401, PROBLEM, ENDED[:-1], Unavailable),
        (401, PROBLEM, b'{"code": "session_ended\\u0000"}', Unavailable),
        (401, PROBLEM, b'["session_ended"]', Unavailable),
        (401, PROBLEM, b"[" * 60_000, Unavailable),
        (401, PROBLEM, b'{"code": "expired_token"}', ExpiredToken),
        (401, PROBLEM, b'{"code": "invalid_token"}', InvalidToken),
        (410, PROBLEM, b'{"code": "gone"}', Unavailable),
        (302, "text/html", b"", Unavailable),
    ],
)
def test_only_session_ended_from_the_service_ends_the_session(
    status: int, media_type: str, body: bytes, kind: type[HandstampError]
) -> None:
    """Only a response with Handstamp's status, media type and code ends the session. After any other the tokens are kept."""
    with pytest.raises(HandstampError) as said:
        require_success(Answer("https://auth.example.com/refresh", status, media_type, "", body))
    assert isinstance(said.value, kind)


# --- where tokens may be sent


@pytest.mark.parametrize(
    "issuer", ["https://auth.example.com", "https://example.com/auth/", "http://localhost:8000", "http://[::1]:1"]
)
def test_the_service_url_is_https_or_loopback(issuer: str) -> None:
    """An issuer is https, or http on loopback, with or without a path."""
    assert parse_issuer(issuer) == issuer.rstrip("/")


@pytest.mark.parametrize(
    "issuer",
    [
        "http://auth.example.com",
        "auth.example.com",
        "",
        "ftp://localhost",
        "https://",
        "https://ada:pass@auth.example.com",
        "https://auth.example.com/?a=b",
        "https://auth.example.com/#a",
        "https://auth.example.com:port",
        "http://localhost.example.com",
    ],
)
def test_another_service_is_refused(issuer: str) -> None:
    """Other URLs are refused: they would expose passwords and tokens. The error does not contain the URL's password."""
    with pytest.raises(ConfigurationError) as refusal_of:
        Auth(issuer)
    assert "pass@" not in str(refusal_of.value)


def test_every_wrong_origin_is_named() -> None:
    """One error lists every invalid origin and shows the correct form."""
    wrong = [
        "http://api.example.com",
        "https://api.example.com/orders",
        "api.example.com",
        "https://*.example.com/?",
        "https://a@b",
    ]
    with pytest.raises(ConfigurationError) as refusal_of:
        parse_origins([*wrong, "https://right.example.com"])
    assert len(refusal_of.value.problems) == 4
    with pytest.raises(ConfigurationError, match=r"\['https://api"):
        parse_origins("https://api.example.com")


@pytest.mark.parametrize("number", [{"timeout_s": 0}, {"timeout_s": 61}, {"grace_s": -1}, {"grace_s": 61}])
def test_numbers_out_of_bounds_are_refused(number: dict[str, float]) -> None:
    """A number out of bounds raises before any request."""
    with pytest.raises(ValueError, match="must be between") as wrong:
        Auth("https://auth.example.com", **number)  # type: ignore[arg-type]
    assert not isinstance(wrong.value, HandstampError)
