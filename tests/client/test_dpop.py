"""`Auth(..., dpop=True)`: sessions that are bound to a key beside the tokens (RFC 9449)."""

from __future__ import annotations

import json
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path

import httpx
import msgspec
import pytest
from flask import Flask, Response, redirect

from handstamp import ConfigurationError, Verifier
from handstamp.client import Auth, FileTokens, TokenStore
from handstamp.clock import now_ms
from handstamp.verify.flask import Require
from tests.client.applications import async_client_with, client_with
from tests.client.helpers import load_tokens
from tests.commands import run_command
from tests.integration.helpers import expect_problem, sign_up
from tests.serving import PASSWORD, Server

pytestmark = pytest.mark.anyio
API = "https://api.example.com"


def test_a_copy_of_the_tokens_is_worthless(server: Server, client: httpx.Client, store: TokenStore) -> None:
    """The client proves its key with each request and renewal; who has the tokens alone gets nothing, and ends nothing."""
    auth = Auth(server.url, store, dpop=True)
    auth.sign_in(sign_up(client), PASSWORD)
    tokens = load_tokens(store)
    assert tokens.key not in ("", repr(tokens), str(auth))
    with client_with(auth) as application:
        for _ in range(2):
            assert application.get("/profile?a=b").status_code == 200
        expect_problem(client.get("/profile", headers={"authorization": f"Bearer {tokens.access_token}"}), 401, "invalid_token")
        expect_problem(client.post("/refresh", json={"refreshToken": tokens.refresh_token}), 400, "invalid_dpop_proof")
    store.save(msgspec.structs.replace(tokens, obtained_at_ms=now_ms() - 10**9))  # it has expired, and is renewed
    auth = Auth(server.url, store, dpop=True)
    with client_with(auth) as application:
        assert application.get("/profile").status_code == 200
    renewed = load_tokens(store)
    assert (renewed.key, renewed.session_id) == (tokens.key, tokens.session_id)
    assert renewed.refresh_token != tokens.refresh_token
    assert auth.accounts.export()["account"]
    auth.sign_out()
    assert store.load() is None


async def test_another_process_goes_on_with_the_file(server: Server, client: httpx.Client, tmp_path: Path) -> None:
    """The key is in the file of the tokens, so a restart does not lose it."""
    path = tmp_path / "tokens.json"
    await Auth(server.url, FileTokens(path), dpop=True).sign_in_async(sign_up(client), PASSWORD)
    assert path.stat().st_mode & 0o777 == 0o600
    async with async_client_with(Auth(server.url, FileTokens(path), dpop=True)) as application:
        assert (await application.get("/profile")).status_code == 200


@pytest.mark.parametrize("wrong_s", [-4000, 4000])
def test_a_wrong_clock_is_corrected(server: Server, client: httpx.Client, store: TokenStore, wrong_s: int) -> None:
    """The service gives a nonce, and its `Date` makes the next proofs right."""
    auth = Auth(server.url, store, dpop=True, clock=lambda: now_ms() + wrong_s * 1000)
    auth.sign_in(sign_up(client), PASSWORD)
    assert load_tokens(store).key
    asked: list[int] = []
    with client_with(auth) as application:
        application.event_hooks = {"response": [lambda response: asked.append(response.status_code)]}
        for _ in range(2):
            assert application.get("/profile").status_code == 200
    assert asked == [200, 200]


def test_an_api_gets_proofs_too(server: Server, client: httpx.Client, store: TokenStore) -> None:
    """Also after a redirect, which needs another, and when only the API's clock tells that ours is wrong."""
    state = {"wrong_s": 0}
    auth = Auth(server.url, store, origins=[API], dpop=True, clock=lambda: now_ms() + state["wrong_s"] * 1000)
    auth.sign_in(sign_up(client), PASSWORD)
    app, require = Flask(__name__), Require(Verifier(server.url, audience=server.url, check="offline"), resource=API)
    app.add_url_rule("/new", "new", require()(lambda: "ok"))
    app.add_url_rule("/old", "old", lambda: redirect("/new"))

    @app.after_request
    def add_date(response: Response) -> Response:
        response.headers["date"] = formatdate(usegmt=True)  # as servers do
        return response

    with httpx.Client(auth=auth, transport=httpx.WSGITransport(app), base_url=API, follow_redirects=True) as api:
        assert api.get("/new").text == "ok"
        assert api.get("/old").text == "ok"
        state["wrong_s"] = 4000
        assert api.get("/new").text == "ok"


def test_operators_see_what_is_bound(server: Server, client: httpx.Client, store: TokenStore) -> None:
    """`handstamp sessions list` says how, and `handstamp why` when."""
    email = sign_up(client)
    Auth(server.url, store, dpop=True).sign_in(email, PASSWORD)
    (listed,) = json.loads(run_command(server.folder, "sessions", "list", email, "--json").stdout)
    assert (listed["id"], listed["boundBy"]) == (load_tokens(store).session_id, "dpop")
    assert "was bound to its device" in run_command(server.folder, "why", email).stdout


def test_a_bound_session_stays_bound(server: Server, client: httpx.Client, store: TokenStore) -> None:
    """Its key is stored beside the tokens, so a client without `dpop` uses it too. Only its next session has none."""
    email = sign_up(client)
    Auth(server.url, store, dpop=True).sign_in(email, PASSWORD)
    auth = Auth(server.url, store)
    with client_with(auth) as application:
        assert application.get("/profile").status_code == 200
        auth.sign_in(email, PASSWORD)
        assert load_tokens(store).key == ""
        assert application.get("/profile").status_code == 200


def test_a_client_without_bound_sessions_loads_no_cryptography() -> None:
    """It starts faster without. A bound session loads it with its first proof."""
    program = (
        "import sys, handstamp.client; handstamp.client.Auth('https://auth.example.com'); print('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout == "False\n"


def test_bound_tokens_without_their_key_are_refused(server: Server) -> None:
    """They would be refused at each request."""
    answer = {"accessToken": "a", "refreshToken": "b", "expiresIn": 900, "sessionId": "c", "tokenType": "DPoP"}
    with pytest.raises(ConfigurationError, match="bound to a key"):
        Auth(server.url, tokens=answer)
