"""Signing in and out, and tokens that were obtained elsewhere."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from handstamp.client import Auth, MemoryTokens, TokenStore
from handstamp.errors import (
    ConfigurationError,
    InvalidCredentials,
    InvalidFields,
    MissingToken,
    NotSignedIn,
    SessionEnded,
    TooManyAttempts,
    Unavailable,
)
from tests.client.applications import async_client_with, client_with
from tests.client.helpers import keep, load_tokens, tokens_of
from tests.client.hostile import Hostile
from tests.integration.helpers import expect_ended, new_email, sign_up
from tests.serving import PASSWORD, Server, free_port

pytestmark = pytest.mark.anyio


def test_signing_in_signs_requests_until_signing_out(server: Server, client: httpx.Client, store: TokenStore) -> None:
    """Sign in, send a request, sign out: then the service refuses both tokens and the store is empty."""
    email = sign_up(client)
    auth = Auth(server.url, store)
    auth.sign_in(email, PASSWORD)
    tokens = load_tokens(store)
    with client_with(auth) as application:
        assert application.get("/profile").json()["email"] == email
        auth.sign_out()
        assert store.load() is None
        with pytest.raises(MissingToken):
            application.get("/profile")
    expect_ended(client.get("/profile", headers={"authorization": f"Bearer {tokens.access_token}"}), "logout")
    expect_ended(client.post("/refresh", json={"refreshToken": tokens.refresh_token}), "logout")
    auth.sign_out()  # again does nothing


async def test_signing_in_works_in_coroutines(server: Server, client: httpx.Client, store: TokenStore) -> None:
    """Sign in, send a request and sign out with coroutines."""
    email = sign_up(client)
    auth = Auth(server.url, store)
    await auth.sign_in_async(email, PASSWORD)
    async with async_client_with(auth) as application:
        assert (await application.get("/profile")).json()["email"] == email
        await auth.sign_out_async()
        with pytest.raises(NotSignedIn):
            await application.get("/profile")


async def test_signing_in_works_while_an_event_loop_runs_in_this_thread(server: Server, client: httpx.Client) -> None:
    """The synchronous `sign_in` works in a thread with a running event loop, as in a notebook."""
    auth = Auth(server.url)
    auth.sign_in(sign_up(client), PASSWORD)
    with client_with(auth) as application:
        assert application.get("/profile").status_code == 200


def test_a_refused_sign_in_has_a_reason_and_stores_nothing(server: Server, client: httpx.Client, store: TokenStore) -> None:
    """A refused sign-in raises Handstamp's error without the submitted values, and saves nothing."""
    auth = Auth(server.url, store)
    with pytest.raises(InvalidCredentials):
        auth.sign_in(sign_up(client), "another sentence of hers")
    with pytest.raises(InvalidFields) as refused:
        auth.sign_in(new_email(), "x" * 300)
    assert [name for name, _ in refused.value.fields] == ["password"]
    assert "xxx" not in str(refused.value)
    assert store.load() is None


def test_a_client_with_a_former_session_is_not_delayed_by_failures_elsewhere(server: Server, client: httpx.Client) -> None:
    """The client sends its stored refresh token, by which the service recognises the device, also after the session ended."""
    email, auth = sign_up(client), Auth(server.url)
    auth.sign_in(email, PASSWORD)
    former = load_tokens(auth._store)
    client.post("/logout", json={"refreshToken": former.refresh_token})
    for _ in range(5):
        client.post("/login", json={"email": email, "password": "another sentence of hers"})
    assert client.post("/login", json={"email": email, "password": PASSWORD}).status_code == 429
    with pytest.raises(TooManyAttempts):
        Auth(server.url).sign_in(email, PASSWORD)
    auth.sign_in(email, PASSWORD)
    assert load_tokens(auth._store).session_id != former.session_id
    server.forget_failures()


def test_a_sign_in_without_an_answer_is_unavailable() -> None:
    """A sign-in to a service that does not answer raises `Unavailable`."""
    with pytest.raises(Unavailable):
        Auth(f"http://localhost:{free_port()}").sign_in("ada@example.com", PASSWORD)


def test_signing_out_without_the_service_keeps_the_tokens(answer: dict[str, Any], store: TokenStore) -> None:
    """If the service cannot be reached, `sign_out` keeps the tokens, because the session is still active."""
    url = f"http://localhost:{free_port()}"
    keep(store, tokens_of(answer, url))
    with pytest.raises(Unavailable):
        Auth(url, store, timeout_s=1, grace_s=0).sign_out()
    assert store.load() is not None


def test_existing_tokens_can_be_adopted(server: Server, answer: dict[str, Any]) -> None:
    """`Auth` accepts the JSON of a token response."""
    with client_with(Auth(server.url, tokens=answer)) as application:
        assert application.get("/profile").json()["session"]["id"] == answer["sessionId"]


@pytest.mark.parametrize("missing", ["accessToken", "refreshToken", "expiresIn", "sessionId"])
def test_an_incomplete_token_answer_is_refused(server: Server, answer: dict[str, Any], missing: str) -> None:
    """An incomplete token response is refused, such as one whose refresh token is a cookie. The error shows no token."""
    with pytest.raises(ConfigurationError) as refused:
        Auth(server.url, tokens={name: value for name, value in answer.items() if name != missing})
    assert "eyJ" not in str(refused.value)


def test_tokens_that_would_break_a_header_are_refused(server: Server, answer: dict[str, Any]) -> None:
    """Tokens with characters outside RFC 6750 §2.1 are refused."""
    for wrong in ("one\r\nX-Evil: two", "one two", "", "ö", "one\n"):
        with pytest.raises(ConfigurationError):
            Auth(server.url, tokens=answer | {"accessToken": wrong})


def test_tokens_of_another_service_are_neither_used_nor_replaced(proxy: Hostile, server: Server, answer: dict[str, Any]) -> None:
    """Tokens in the store of another service are neither sent nor replaced, even if two programs share one file."""
    store = MemoryTokens()
    keep(store, tokens_of(answer, server.url))
    auth = Auth(proxy.url, store)
    with client_with(auth) as application, pytest.raises(ConfigurationError, match=server.url):
        application.get("/profile")
    with pytest.raises(ConfigurationError, match=server.url):
        auth.sign_in("ada@example.com", PASSWORD)
    with pytest.raises(ConfigurationError, match=server.url):
        auth.sign_out()
    assert load_tokens(store).session_id == answer["sessionId"]


def test_a_public_endpoint_is_asked_without_signing_in(server: Server) -> None:
    """A request with httpx's `auth=None` needs no sign-in."""
    with client_with(Auth(server.url)) as application:
        assert application.get("/healthz", auth=None).status_code == 200
        with pytest.raises(MissingToken, match="sign_in"):
            application.get("/healthz")


def test_signing_in_works_after_the_session_has_ended(server: Server, client: httpx.Client, store: TokenStore) -> None:
    """After the end of a session every request raises its reason, until the next sign-in."""
    email = sign_up(client)
    auth = Auth(server.url, store)
    auth.sign_in(email, PASSWORD)
    client.post("/logout-everywhere", headers={"authorization": f"Bearer {load_tokens(store).access_token}"})
    with client_with(auth) as application:
        for _ in range(2):
            with pytest.raises(SessionEnded) as ended:
                application.get("/profile")
            assert ended.value.reason == "logout_everywhere"
        assert store.load() is None
        auth.sign_in(email, PASSWORD)
        assert application.get("/profile").status_code == 200
