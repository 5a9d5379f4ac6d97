"""`handstamp.testing`: a real verifier, tokens with any content, and the import cost of its pytest plugin."""

from __future__ import annotations

import subprocess
import sys

import pytest

from handstamp import InvalidFields, SessionEnded, Unavailable, Verifier
from handstamp.embedded import Handstamp
from handstamp.testing import LocalIssuer, VirtualClock
from tests.verifying import try_token

MODULES = ("handstamp", "msgspec", "cryptography", "ssl", "asyncio", "http", "sqlite3", "starlette")


def test_the_unused_plugin_imports_little() -> None:
    """The plugin imports almost nothing, because pytest loads it in every run where Handstamp is installed."""
    program = "import pytest, sys; before = set(sys.modules); import handstamp.testing.plugin; print(*set(sys.modules) - before)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name for name in ran.stdout.split() if name.split(".")[0] in MODULES}
    assert loaded == {"handstamp", "handstamp.errors", "handstamp.testing", "handstamp.testing.plugin", "handstamp.text"}


def test_the_verifier_decides_as_in_production(handstamp_issuer: LocalIssuer) -> None:
    """The verifier gives the right code for every kind of token under every policy."""
    verifier = handstamp_issuer.verifier
    kinds = {
        "ok": handstamp_issuer.signed_in("ada", scope="a b", roles=["admin"], claims={"branch": "Bern"}),
        "expired_token": handstamp_issuer.expired("ada", lifetime_s=60),
        "session_ended": handstamp_issuer.ended("ada"),
        "invalid_token": handstamp_issuer.signed_in("ada", audience="https://elsewhere.example.com"),
    }
    for check in ("offline", "feed", "live"):
        assert {code: try_token(verifier, person.token, check) for code, person in kinds.items()} == {
            code: code for code in kinds
        }
    claims = verifier.verify(kinds["ok"].token)
    assert (claims.sub, claims.scope, claims.roles, claims.extra) == ("ada", "a b", ("admin",), {"branch": "Bern"})
    with LocalIssuer() as other:
        assert try_token(verifier, other.signed_in("ada").token) == "invalid_token", "its signature is of another key"


def test_impossible_claims_are_refused(handstamp_issuer: LocalIssuer) -> None:
    """Arguments that no service would accept raise, because a test with such a token would prove nothing."""
    with pytest.raises(InvalidFields):
        handstamp_issuer.signed_in("ada", claims={"sub": "bob"})
    with pytest.raises(InvalidFields):
        handstamp_issuer.signed_in("")
    with pytest.raises(ValueError, match="lifetime_s"):
        handstamp_issuer.signed_in("ada", lifetime_s=86_400)


def test_an_outage_follows_each_routes_check(handstamp_issuer: LocalIssuer) -> None:
    """In an outage, `live` fails at once and `feed` fails after 30 seconds.

    A sign-out during the outage takes effect after it.
    """
    verifier, ada, bob = handstamp_issuer.verifier, handstamp_issuer.signed_in("ada"), handstamp_issuer.signed_in("bob")
    with handstamp_issuer.outage():
        assert (try_token(verifier, ada.token, "live"), try_token(verifier, ada.token)) == ("unavailable", "ok")
        bob.sign_out()
        assert try_token(verifier, bob.token) == "ok"
        handstamp_issuer.advance(seconds=31)
        assert try_token(verifier, ada.token) == try_token(verifier, bob.token) == "unavailable"
        assert try_token(verifier, ada.token, "offline") == "ok"
    assert (try_token(verifier, ada.token, "live"), try_token(verifier, ada.token)) == ("ok", "ok")
    assert try_token(verifier, bob.token) == "session_ended"


@pytest.mark.anyio
async def test_long_connections_end_with_the_session(handstamp_issuer: LocalIssuer) -> None:
    """`confirm`, which `EndWithSession` calls, raises in an outage and after a sign-out."""
    ada = handstamp_issuer.signed_in("ada")
    claims = await handstamp_issuer.verifier.verify_async(ada.token, check="live")
    await handstamp_issuer.verifier.confirm(claims)
    with handstamp_issuer.outage():
        handstamp_issuer.advance(seconds=31)
        with pytest.raises(Unavailable):
            await handstamp_issuer.verifier.confirm(claims)
    ada.sign_out()
    with pytest.raises(SessionEnded):
        await handstamp_issuer.verifier.confirm(claims)


def test_an_offline_verifier_does_not_learn_of_a_sign_out() -> None:
    """A verifier without a credential accepts the token of an ended session until it expires, as in production."""
    verifier = Verifier("https://auth.example.com", audience="api", check="offline")
    with LocalIssuer(verifier) as issuer:
        ada = issuer.ended("ada")
        assert try_token(verifier, ada.token) == "ok"
        issuer.advance(seconds=906)
        assert try_token(verifier, ada.token) == "expired_token"


def test_the_verifier_is_restored_after_a_test() -> None:
    """On exit the verifier has its own keys, clock and cache again, and refuses the tests' tokens."""
    verifier = Verifier("http://127.0.0.1:9", audience="api", credential="a:b", timeout_s=0.1)
    before = dict(vars(verifier))
    with LocalIssuer(verifier) as issuer:
        token = issuer.signed_in("ada").token
        assert try_token(verifier, token) == "ok"
    assert dict(vars(verifier)) == before
    assert try_token(verifier, token) == "unavailable"


@pytest.mark.anyio
async def test_the_embedded_service_runs_on_the_clock_of_the_test(
    handstamp_service: Handstamp, handstamp_clock: VirtualClock
) -> None:
    """The embedded service uses the test's clock: 15 days without a refresh end a session."""
    async with handstamp_service as auth:
        pair = await auth.sessions.start("42", roles=["admin"])
        assert (await auth.verifier.verify_async(pair.access_token)).roles == ("admin",)
        handstamp_clock.advance(seconds=15 * 86_400)
        with pytest.raises(SessionEnded):
            await auth.sessions.refresh(pair.refresh_token)
