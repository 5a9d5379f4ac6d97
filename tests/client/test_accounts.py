"""Accounts by the client, against the real service: sign up, get one's data, delete the account. In threads and coroutines."""

from __future__ import annotations

import inspect

import httpx
import msgspec
import pytest

from handstamp import AccountExists, InvalidFields, MissingToken, SessionEnded
from handstamp.client import Accounts, Auth, MailSent, MemoryTokens, StoredTokens
from tests.client.helpers import MINUTE_MS, Do, expire_access_token, keep, load_tokens
from tests.client.hostile import Hostile
from tests.integration.helpers import Mint, new_email
from tests.serving import PASSWORD, Server

METHODS = [name for name, _ in inspect.getmembers(Accounts, inspect.isfunction) if not name.startswith("_")]


def test_every_method_has_a_twin_with_the_same_arguments() -> None:
    """One for threads, one for coroutines."""
    plain = [name for name in METHODS if not name.endswith("_async")]
    assert sorted(METHODS) == sorted([*plain, *(f"{name}_async" for name in plain)])
    for name in plain:
        twins = [inspect.signature(getattr(Accounts, each)) for each in (name, f"{name}_async")]
        assert twins[0] == twins[1], name


def test_a_person_signs_up_reads_and_deletes_their_account(do: Do, server: Server) -> None:
    """The tokens leave the store with the account, and the address can be used again."""
    email, auth = new_email(), Auth(server.url, MemoryTokens())
    assert do(auth.accounts, "register", email, PASSWORD) is None
    with pytest.raises(AccountExists):
        do(auth.accounts, "register", email, PASSWORD)
    with pytest.raises(MissingToken):
        do(auth.accounts, "export")
    auth.sign_in(email, PASSWORD)
    data = do(auth.accounts, "export")
    assert data["account"][0]["email"] == email
    with pytest.raises(InvalidFields):
        do(auth.accounts, "delete", "another@example.com")
    assert do(auth.accounts, "export")["id"] == data["id"]
    do(auth.accounts, "delete", email)
    assert auth._store.load() is None
    with pytest.raises(MissingToken):
        do(auth.accounts, "export")
    assert do(auth.accounts, "register", email, PASSWORD) is None


def test_a_sign_up_without_an_answer_is_repeated_and_creates_one_account(proxy: Hostile, client: httpx.Client) -> None:
    """The repeat has the same idempotency key, and gets the answer of the first request."""
    email = new_email()
    proxy.play("drop", "cut", path="/register")
    assert Auth(proxy.url, MemoryTokens()).accounts.register(email, PASSWORD) is None
    assert len(proxy.questions) == 3
    assert client.post("/register", json={"email": email, "password": PASSWORD}).status_code == 409


def test_an_expired_token_is_renewed(server: Server, mint: Mint) -> None:
    """A call to the service itself renews as requests to APIs do, and an ended session is reported and forgotten."""
    email, auth = new_email(), Auth(server.url, MemoryTokens())
    auth.accounts.register(email, PASSWORD)
    auth.sign_in(email, PASSWORD)
    tokens = expire_access_token(load_tokens(auth._store), mint)
    keep(auth._store, older(tokens))
    assert auth.accounts.export()["account"][0]["email"] == email
    assert load_tokens(auth._store).access_token != tokens.access_token
    keep(auth._store, older(load_tokens(auth._store)))
    with server.client() as client:
        token = load_tokens(auth._store).access_token
        client.post("/logout-everywhere", headers={"authorization": f"Bearer {token}"}).raise_for_status()
    with pytest.raises(SessionEnded):
        auth.accounts.export()
    assert auth._store.load() is None


def older(tokens: StoredTokens) -> StoredTokens:
    """Return the tokens with an age at which a refusal may mean that they have expired."""
    return msgspec.structs.replace(tokens, obtained_at_ms=tokens.obtained_at_ms - MINUTE_MS)


def test_nothing_shows_the_ticket() -> None:
    """It is as good as the code's other half."""
    sent = MailSent(email="ada@example.com", expires_in_s=3600, code_expires_in_s=600, ticket="a secret")
    assert "secret" not in f"{sent!r} {sent}"
