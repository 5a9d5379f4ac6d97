"""Responses that are lost, cut, late or not the service's: the client retries with the same token and stays signed in."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from handstamp.client import Auth, FileTokens, MemoryTokens, TokenStore
from handstamp.errors import Unavailable
from tests.client.applications import async_client_with, client_with
from tests.client.helpers import due, generation, keep, load_tokens, stale, tokens_of
from tests.client.hostile import Hostile, Trick
from tests.integration.helpers import expect_ended, sign_up
from tests.serving import PASSWORD, Server

pytestmark = pytest.mark.anyio
LOST: tuple[tuple[Trick, ...], ...] = (
    ("drop",),
    ("cut",),
    ("refuse",),
    ("html",),
    ("502",),
    ("500",),
    ("drop", "cut", "502"),
)
NEVER: tuple[Trick, ...] = ("hang", "hear and hang", "dribble", "endless")


@pytest.mark.parametrize("tricks", LOST, ids="+".join)
def test_a_lost_answer_is_retried(
    proxy: Hostile, server: Server, store: TokenStore, answer: dict[str, Any], tricks: tuple[Trick, ...]
) -> None:
    """A lost response is requested again with the same token within grace: one rotation, and the request succeeds."""
    keep(store, stale(tokens_of(answer, proxy.url)))
    proxy.play(*tricks)
    with client_with(Auth(proxy.url, store, timeout_s=20)) as application:
        assert application.get("/profile").status_code == 200
        assert generation(server, answer["sessionId"]) == 1
        assert proxy.refresh_tokens == [answer["refreshToken"]] * (len(tricks) + 1)
        keep(store, stale(load_tokens(store)))  # the saved tokens can be renewed again
        assert application.get("/profile").status_code == 200
    assert generation(server, answer["sessionId"]) == 2


@pytest.mark.parametrize("trick", NEVER)
async def test_a_timeout_is_retried(proxy: Hostile, server: Server, answer: dict[str, Any], trick: Trick) -> None:
    """The client's time-out ends a response that never completes; the retry succeeds."""
    store = MemoryTokens()
    keep(store, stale(tokens_of(answer, proxy.url)))
    proxy.play(trick)
    began = time.monotonic()
    async with async_client_with(Auth(proxy.url, store, timeout_s=1.5)) as application:
        assert (await application.get("/profile")).status_code == 200
    assert time.monotonic() - began < 15
    assert generation(server, answer["sessionId"]) == 1


@pytest.mark.parametrize("trick", [*NEVER, "drop", "html", "502", "500"])
def test_persistent_failures_are_unavailable(proxy: Hostile, server: Server, answer: dict[str, Any], trick: Trick) -> None:
    """The client raises `Unavailable` in time and keeps the tokens. Once the service is back, renewal succeeds."""
    store = MemoryTokens()
    tokens = stale(tokens_of(answer, proxy.url))
    keep(store, tokens)
    proxy.play(*[trick] * 4)
    began = time.monotonic()
    with client_with(Auth(proxy.url, store, timeout_s=0.2, grace_s=0.5)) as application:
        with pytest.raises(Unavailable) as away:
            application.get("/profile")
        assert away.value.retry_after_s == 1
        assert load_tokens(store) == tokens
        questions = len(proxy.refresh_tokens)
        with pytest.raises(Unavailable):  # immediately, without a request
            application.get("/profile")
        assert len(proxy.refresh_tokens) == questions
    assert time.monotonic() - began < 15
    assert set(proxy.refresh_tokens) == {tokens.refresh_token}
    assert "eyJ" not in str(away.value) + away.value.why
    proxy.play()
    with client_with(Auth(proxy.url, store)) as application:
        assert application.get("/profile").status_code == 200
    assert generation(server, answer["sessionId"]) == 1


def test_an_answer_without_an_end_is_not_read_to_its_end(proxy: Hostile, answer: dict[str, Any]) -> None:
    """The client stops reading an endless body at its size limit, long before the time-out."""
    store = MemoryTokens()
    keep(store, stale(tokens_of(answer, proxy.url)))
    proxy.play("endless")
    with client_with(Auth(proxy.url, store, timeout_s=20, grace_s=0)) as application, pytest.raises(Unavailable) as away:
        application.get("/profile")
    assert "more than 65536 bytes" in away.value.why


@pytest.mark.parametrize(("trick", "after_s"), [("429", 7), ("503", 3)])
def test_retry_after_is_obeyed(proxy: Hostile, store: TokenStore, answer: dict[str, Any], trick: Trick, after_s: int) -> None:
    """The client obeys `Retry-After`, passes it on in the error and keeps the tokens."""
    tokens = stale(tokens_of(answer, proxy.url))
    keep(store, tokens)
    proxy.play(trick)
    with client_with(Auth(proxy.url, store)) as application:
        with pytest.raises(Unavailable) as away:
            application.get("/profile")
        assert away.value.retry_after_s == after_s
        with pytest.raises(Unavailable) as still_away:
            application.get("/profile")
        assert 1 <= still_away.value.retry_after_s <= after_s
    assert len(proxy.refresh_tokens) == 1
    assert load_tokens(store) == tokens


@pytest.mark.slow
def test_a_renewal_is_retried_a_second_after_a_failure(proxy: Hostile, answer: dict[str, Any]) -> None:
    """A second after a failure the client tries again."""
    store = MemoryTokens()
    keep(store, stale(tokens_of(answer, proxy.url)))
    proxy.play("drop")
    with client_with(Auth(proxy.url, store, grace_s=0)) as application:
        with pytest.raises(Unavailable) as away:
            application.get("/profile")
        time.sleep(away.value.retry_after_s + 0.1)
        assert application.get("/profile").status_code == 200


def test_the_refresh_token_does_not_follow_a_redirect(proxy: Hostile, answer: dict[str, Any]) -> None:
    """The client never follows a redirect with the refresh token."""
    store = MemoryTokens()
    tokens = stale(tokens_of(answer, proxy.url))
    keep(store, tokens)
    proxy.play("away")
    with client_with(Auth(proxy.url, store), follow_redirects=True) as application, pytest.raises(Unavailable) as away:
        application.get("/profile")
    assert "URL" in away.value.why
    assert proxy.other_hosts_bodies == []
    assert load_tokens(store) == tokens


def test_a_strict_service_gets_one_request(proxy: Hostile, answer: dict[str, Any]) -> None:
    """With `grace_s=0` the client never retries, because the service would treat a repeat as reuse."""
    store = MemoryTokens()
    keep(store, stale(tokens_of(answer, proxy.url)))
    proxy.play("502")
    with client_with(Auth(proxy.url, store, grace_s=0)) as application, pytest.raises(Unavailable):
        application.get("/profile")
    assert len(proxy.refresh_tokens) == 1


def test_an_outage_is_invisible_while_the_token_is_valid(proxy: Hostile, answer: dict[str, Any]) -> None:
    """While the access token is valid, a renewal that fails in the background does not affect requests."""
    store = MemoryTokens()
    tokens = due(tokens_of(answer, proxy.url))
    keep(store, tokens)
    proxy.play("503", "503", "503")
    with client_with(Auth(proxy.url, store)) as application:
        for _ in range(3):
            assert application.get("/profile").status_code == 200
            assert proxy.arrived.acquire(timeout=5) or len(proxy.refresh_tokens) == 1
            proxy.arrived.release()
    assert load_tokens(store) == tokens


def test_a_refused_request_during_an_outage_is_unavailable(proxy: Hostile, server: Server, answer: dict[str, Any]) -> None:
    """A refused request whose renewal fails raises `Unavailable`. A 401 would suggest that the session has ended."""
    tokens = tokens_of(answer, proxy.url)
    elsewhere = httpx.MockTransport(lambda _: httpx.Response(401, headers={"www-authenticate": 'Bearer error="invalid_token"'}))
    store = MemoryTokens()
    keep(store, tokens)
    proxy.play("503")
    with client_with(Auth(proxy.url, store), transport=elsewhere) as application, pytest.raises(Unavailable):
        application.get("/profile")
    assert load_tokens(store) == tokens
    assert generation(server, answer["sessionId"]) == 0


@pytest.mark.slow
def test_an_answer_that_cannot_be_saved_is_kept(proxy: Hostile, server: Server, answer: dict[str, Any], tmp_path: Any) -> None:
    """Tokens that cannot be saved are not used. They are saved later, without a second refresh, which would be reuse."""
    store = Full(tmp_path / "tokens.json")
    tokens = stale(tokens_of(answer, proxy.url))
    keep(store, tokens)
    auth = Auth(proxy.url, store)
    store.is_full = True
    with client_with(auth) as application:
        for _ in range(3):
            with pytest.raises(Unavailable):
                application.get("/profile")
            time.sleep(1.05)
        assert load_tokens(store) == tokens
        assert len(proxy.refresh_tokens) == 1
        store.is_full = False
        assert application.get("/profile").status_code == 200
    assert len(proxy.refresh_tokens) == 1
    assert generation(server, answer["sessionId"]) == 1


class Full(FileTokens):
    """A token file on a disk that is full while `is_full` is set."""

    is_full = False

    def save(self, tokens: Any) -> None:
        """Raise the error of a full disk."""
        if self.is_full:
            raise Unavailable("No space left on device")
        super().save(tokens)


@pytest.mark.parametrize("tricks", LOST, ids="+".join)
def test_a_sign_in_is_retried_and_begins_one_session(proxy: Hostile, client: httpx.Client, tricks: tuple[Trick, ...]) -> None:
    """All requests of one sign-in have the same idempotency key, so those that arrive begin one session."""
    store = MemoryTokens()
    proxy.play(*tricks, path="/login")
    Auth(proxy.url, store).sign_in(sign_up(client), PASSWORD)
    assert len(proxy.questions) == len(tricks) + 1
    bearer = {"authorization": f"Bearer {load_tokens(store).access_token}"}
    (session,) = client.get("/sessions", headers=bearer).json()["sessions"]
    assert session["id"] == load_tokens(store).session_id


def test_a_sign_in_is_sent_once_to_a_service_that_allows_no_repeats(proxy: Hostile, client: httpx.Client) -> None:
    """With `grace_s=0` each request that arrives would begin a session."""
    store = MemoryTokens()
    proxy.play("drop", path="/login")
    with pytest.raises(Unavailable):
        Auth(proxy.url, store, grace_s=0).sign_in(sign_up(client), PASSWORD)
    assert len(proxy.questions) == 1
    assert store.load() is None


def test_sign_out_is_retried(proxy: Hostile, store: TokenStore, client: httpx.Client, answer: dict[str, Any]) -> None:
    """A sign-out without a response is retried, because it is idempotent."""
    proxy.play("drop", "502", path="/logout")
    Auth(proxy.url, store, tokens=answer).sign_out()
    assert len(proxy.questions) == 3
    assert store.load() is None
    expect_ended(client.post("/refresh", json={"refreshToken": answer["refreshToken"]}), "logout")
