"""`handstamp.client`: what applications write, and the mistakes that a type checker reports."""

from functools import partial
from pathlib import Path
from typing import assert_type

import httpx

from handstamp.client import Auth, FileTokens, MemoryTokens, StoredTokens, TokenStore

ISSUER = "https://auth.example.com"


def check_correct_use() -> None:
    """Use every kind of store, and both kinds of client."""
    stores: list[TokenStore] = [MemoryTokens(), FileTokens(Path("tokens.json"))]
    auth = Auth(ISSUER, stores[0], origins={"https://api.example.com"}, http=partial(httpx.Client, verify=True), timeout_s=2.5)
    Auth(ISSUER, tokens={"accessToken": "…", "refreshToken": "…"})
    assert_type(auth.issuer, str)
    auth.sign_in("ada@example.com", "correct horse battery staple")
    with httpx.Client(auth=auth) as client:
        client.get("https://api.example.com/orders")
    auth.sign_out()


async def check_correct_async_use(auth: Auth) -> None:
    """Use the methods for coroutines."""
    await auth.sign_in_async("ada@example.com", "correct horse battery staple")
    async with httpx.AsyncClient(auth=auth) as client:
        await client.get("https://api.example.com/orders")
    await auth.sign_out_async()


def check_mistakes(auth: Auth, tokens: StoredTokens) -> None:
    """Each line is wrong. An ignore that is not needed fails the check."""
    Auth()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Auth(ISSUER, {})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Auth(ISSUER, tokens=tokens)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Auth(ISSUER, http=httpx.Client())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Auth(ISSUER, http=httpx.AsyncClient)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Auth(ISSUER, timeout_s="4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    auth.sign_in("ada@example.com")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
