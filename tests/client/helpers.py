"""Helpers for the client's tests: sign-ins, and tokens at every stage of their life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import msgspec
import trio

from handstamp.client import Accounts, StoredTokens, TokenStore
from handstamp.clock import now_ms
from tests.integration.helpers import Mint, new_email, session_row, sign_up
from tests.serving import PASSWORD, Server

MINUTE_MS = 60_000
Do = Callable[..., Any]
"""Calls a method of `Accounts` by its name, or awaits its twin."""


def do_sync(accounts: Accounts, method: str, /, *arguments: Any, **options: Any) -> Any:
    """Call a method."""
    return getattr(accounts, method)(*arguments, **options)


def do_asyncio(accounts: Accounts, method: str, /, *arguments: Any, **options: Any) -> Any:
    """Await its twin under asyncio."""

    async def call() -> Any:
        return await getattr(accounts, f"{method}_async")(*arguments, **options)

    return asyncio.run(call())


def do_trio(accounts: Accounts, method: str, /, *arguments: Any, **options: Any) -> Any:
    """Await its twin under trio."""

    async def call() -> Any:
        return await getattr(accounts, f"{method}_async")(*arguments, **options)

    return trio.run(call)


def sign_in_new_account(client: httpx.Client) -> dict[str, Any]:
    """Create an account, sign in and return the token response."""
    answer = client.post("/login", json={"email": sign_up(client, new_email()), "password": PASSWORD, "delivery": "json"})
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def tokens_of(answer: Mapping[str, Any], issuer: str, *, age_ms: int = MINUTE_MS) -> StoredTokens:
    """Return the tokens of a response that arrived `age_ms` ago."""
    return StoredTokens(
        issuer=issuer,
        session_id=answer["sessionId"],
        access_token=answer["accessToken"],
        refresh_token=answer["refreshToken"],
        expires_in_s=answer["expiresIn"],
        obtained_at_ms=now_ms() - age_ms,
    )


def stale(tokens: StoredTokens) -> StoredTokens:
    """Return the tokens with an age at which they have expired by this machine's clock."""
    return msgspec.structs.replace(tokens, obtained_at_ms=now_ms() - tokens.expires_in_s * 1000)


def due(tokens: StoredTokens) -> StoredTokens:
    """Return the tokens with an age at which they expire in half a minute."""
    return msgspec.structs.replace(tokens, obtained_at_ms=now_ms() - tokens.expires_in_s * 1000 + MINUTE_MS // 2)


def expire_access_token(tokens: StoredTokens, mint: Mint) -> StoredTokens:
    """Return the tokens with an expired access token; by their recorded age they look fresh."""
    return msgspec.structs.replace(tokens, access_token=mint.expired_access(tokens.access_token))


def keep(store: TokenStore, tokens: StoredTokens) -> None:
    """Save tokens in a store, as an earlier run of the program would."""
    with store.locked(1):
        store.save(tokens)


def load_tokens(store: TokenStore) -> StoredTokens:
    """Return the tokens in a store; fail if there are none."""
    tokens = store.load()
    assert tokens is not None
    return tokens


def generation(server: Server, sid: str) -> int:
    """Return the number of rotations of a session."""
    number: int = session_row(server, sid)["generation"]
    return number
