"""The examples of embedding, started as their first lines say, on real sockets."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.commands import environment_with
from tests.serving import EMAIL, PASSWORD, cookie_name, free_port

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def example(folder: Path, name: str, module: str, issuer_variable: str, *options: str) -> Iterator[httpx.Client]:
    """Run an example with uvicorn in `folder`; give an HTTP client for it."""
    port = free_port()
    paths = os.pathsep.join([str(EXAMPLES / name), os.environ.get("PYTHONPATH", "")])
    environment = environment_with({}) | {"PYTHONPATH": paths, "SHOP_PASSWORD": PASSWORD}
    environment[issuer_variable] = f"http://localhost:{port}/auth"
    arguments = [sys.executable, "-m", "uvicorn", f"{module}:app", "--port", str(port), "--log-level", "warning", *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://localhost:{port}", trust_env=False, timeout=30, verify=False) as client:
            deadline = time.monotonic() + 30
            while True:
                try:
                    client.get("/auth/readyz").raise_for_status()
                    break
                except httpx.HTTPError:
                    assert time.monotonic() < deadline, (folder / "log").read_text()
                    assert process.poll() is None, (folder / "log").read_text()
                    time.sleep(0.05)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    """Return the header that carries an access token."""
    return {"authorization": f"Bearer {tokens['accessToken']}"}


def test_a_sign_out_takes_effect_in_every_worker(tmp_path: Path) -> None:
    """With three processes on one file, a sign-out is effective in each of them at once."""
    with example(tmp_path, "embedded", "notes", "NOTES_ISSUER", "--workers", "3") as client:
        assert client.post("/auth/register", json={"email": EMAIL, "password": PASSWORD}).status_code == 201
        seen = set()
        for _ in range(10):
            tokens = client.post("/auth/login", json={"email": EMAIL, "password": PASSWORD}).json()
            for _ in range(4):
                with httpx.Client(base_url=client.base_url, trust_env=False, verify=False) as fresh:  # a new connection
                    answer = fresh.get("/notes", headers=bearer(tokens))
                assert answer.status_code == 200
                seen.add(answer.json()["process"])
            assert client.post("/auth/logout", headers=bearer(tokens)).status_code == 204
            for _ in range(4):
                with httpx.Client(base_url=client.base_url, trust_env=False, verify=False) as fresh:
                    answer = fresh.get("/notes", headers=bearer(tokens))
                assert (answer.status_code, answer.json()["code"]) == (401, "session_ended")
        assert len(seen) > 1, "all requests fell into one process"


def test_mounted_endpoints_know_their_path(tmp_path: Path) -> None:
    """Issuer, metadata, documentation and security headers are correct under the mount path."""
    with example(tmp_path, "embedded", "notes", "NOTES_ISSUER") as client:
        issuer = f"{str(client.base_url).rstrip('/')}/auth"
        metadata = client.get("/auth/.well-known/oauth-authorization-server").json()
        assert (metadata["issuer"], metadata["token_endpoint"]) == (issuer, f"{issuer}/token")
        assert client.get("/auth/.well-known/jwks.json").json()["keys"]
        assert client.get("/auth/docs").status_code == 200
        assert client.get("/auth/nothing").json()["code"] == "not_found"
        assert client.get("/auth/healthz").headers["x-content-type-options"] == "nosniff"
        refused = client.get("/notes")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the shop."""
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="module")
def shop(folder: Path) -> Iterator[httpx.Client]:
    """Run the shop example."""
    with example(folder, "own-users", "shop", "SHOP_ISSUER") as client:
        yield client


def sign_in(shop: httpx.Client) -> dict[str, Any]:
    """Sign in with the shop's own endpoint."""
    answer = shop.post("/login", json={"name": "ada", "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def test_own_users_sign_in_renew_and_sign_out(shop: httpx.Client) -> None:
    """The shop checks the password and Handstamp keeps the session. Each token has the claims of the hook."""
    assert shop.post("/login", json={"name": "ada", "password": "a wrong one, and long enough"}).status_code == 401
    tokens = sign_in(shop)
    assert shop.get("/orders", headers=bearer(tokens)).json() == {"of": "42", "branch": "Bern"}
    profile = shop.get("/auth/profile", headers=bearer(tokens)).json()
    assert (profile["id"], profile["email"]) == ("42", None)
    renewed = shop.post("/auth/refresh", json={"refreshToken": tokens["refreshToken"]}).json()
    assert shop.get("/orders", headers=bearer(renewed)).json()["branch"] == "Bern"
    assert shop.post("/auth/logout", headers=bearer(renewed)).status_code == 204
    for old in (tokens, renewed):
        assert shop.get("/orders", headers=bearer(old)).json()["code"] == "session_ended"
    assert shop.post("/auth/register", json={"email": EMAIL, "password": PASSWORD}).status_code == 404


def test_the_shop_asks_for_a_fresh_proof(shop: httpx.Client, folder: Path) -> None:
    """A refund is refused in a session of long ago. When the shop has asked, the next token is accepted."""
    tokens = sign_in(shop)
    with closing(sqlite3.connect(folder / "shop.db", timeout=60)) as database, database:
        database.execute("UPDATE session SET authenticated_at_ms = authenticated_at_ms - 600000")
    old = shop.post("/auth/refresh", json={"refreshToken": tokens["refreshToken"]}).json()
    refused = shop.post("/orders/1/refund", headers=bearer(old))
    assert (refused.status_code, refused.json()["code"]) == (401, "insufficient_user_authentication")
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_user_authentication", max_age="300"'
    assert shop.post("/confirm", json={"password": "a wrong one"}, headers=bearer(old)).status_code == 401
    assert shop.post("/confirm", json={"password": PASSWORD}, headers=bearer(old)).status_code == 200
    fresh = shop.post("/auth/refresh", json={"refreshToken": old["refreshToken"]}).json()
    assert shop.post("/orders/1/refund", headers=bearer(old)).status_code == 401
    assert shop.post("/orders/1/refund", headers=bearer(fresh)).json() == {"refunded": 1}


def test_the_shop_ends_all_sessions_of_a_user(shop: httpx.Client) -> None:
    """An application can end all sessions of a subject, here because a person was dismissed."""
    mine = [sign_in(shop) for _ in range(3)]
    assert shop.post("/dismiss/ada", headers=bearer(mine[0])).json()["sessions"] >= 3
    assert {shop.get("/orders", headers=bearer(tokens)).status_code for tokens in mine} == {401}


def socket_of(shop: httpx.Client, headers: dict[str, str]) -> Any:
    """Open the shop's WebSocket."""
    return connect(f"{str(shop.base_url).replace('http', 'ws')}/ticks", additional_headers=headers, proxy=None)


def test_a_socket_ends_with_its_session(shop: httpx.Client) -> None:
    """An idle socket is closed with 4401 too. The socket of another session stays open."""
    mine, other = sign_in(shop), sign_in(shop)
    with socket_of(shop, bearer(mine)) as socket, socket_of(shop, bearer(other)) as others:
        socket.send("hello")
        assert socket.recv() == "hello"
        assert shop.post("/auth/logout", headers=bearer(mine)).status_code == 204
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "session_ended")
        others.send("still here")
        assert others.recv() == "still here"


def test_a_socket_is_not_opened_without_a_living_session(shop: httpx.Client) -> None:
    """The handshake is refused. An access cookie is not accepted there (T33)."""
    tokens = sign_in(shop)
    shop.post("/auth/logout", headers=bearer(tokens))
    for headers in (
        bearer(tokens),
        {},
        {"cookie": f"{cookie_name('access', str(shop.base_url))}={sign_in(shop)['accessToken']}"},
    ):
        with pytest.raises(InvalidStatus) as refused, socket_of(shop, headers):
            pass
        assert refused.value.response.status_code in (401, 403)


def test_an_event_stream_ends_with_its_session(shop: httpx.Client) -> None:
    """The last event names the reason and the response ends normally, so clients do not see a broken connection."""
    tokens = sign_in(shop)
    with shop.stream("GET", "/events", headers=bearer(tokens)) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()
        assert next(lines) == "data: tick"
        threading.Timer(0.2, lambda: shop.post("/auth/logout", headers=bearer(tokens))).start()
        rest = list(lines)
    assert rest[-3:] == ["event: session_ended", 'data: {"code": "session_ended"}', ""]
