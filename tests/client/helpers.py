"""What the client's tests share: people who are signed in, and tokens at every stage of their life."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from handstamp.client import StoredTokens, TokenStore
from handstamp.clock import now_ms
from tests.integration.helpers import Mint, new_email, session_row, sign_up
from tests.serving import PASSWORD, Server

MINUTE_MS = 60_000


def somebodys_answer(client: httpx.Client) -> dict[str, Any]:
    """Make an account, sign in and return the token answer."""
    answer = client.post("/login", json={"email": sign_up(client, new_email()), "password": PASSWORD, "delivery": "json"})
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def tokens_of(answer: Mapping[str, Any], issuer: str, *, age_ms: int = MINUTE_MS) -> StoredTokens:
    """Return the tokens of an answer that arrived so long ago."""
    return StoredTokens(
        issuer=issuer,
        session_id=answer["sessionId"],
        access_token=answer["accessToken"],
        refresh_token=answer["refreshToken"],
        expires_in_s=answer["expiresIn"],
        obtained_at_ms=now_ms() - age_ms,
    )


def stale(tokens: StoredTokens) -> StoredTokens:
    """Return them as they are when their time is over by every clock of this machine."""
    return msgspec.structs.replace(tokens, obtained_at_ms=now_ms() - tokens.expires_in_s * 1000)


def due(tokens: StoredTokens) -> StoredTokens:
    """Return them as they are half a minute before their time is over."""
    return msgspec.structs.replace(tokens, obtained_at_ms=now_ms() - tokens.expires_in_s * 1000 + MINUTE_MS // 2)


def expired(tokens: StoredTokens, mint: Mint) -> StoredTokens:
    """Return them with an access token that is over, which only the service knows."""
    return msgspec.structs.replace(tokens, access_token=mint.expired_access(tokens.access_token))


def keep(store: TokenStore, tokens: StoredTokens) -> None:
    """Put tokens into a store as an earlier run of the program has left them."""
    with store.locked(1):
        store.save(tokens)


def held(store: TokenStore) -> StoredTokens:
    """Return what a store holds, which is something."""
    tokens = store.load()
    assert tokens is not None
    return tokens


def generation(server: Server, sid: str) -> int:
    """Return how many rotations a session has seen."""
    number: int = session_row(server, sid)["generation"]
    return number
