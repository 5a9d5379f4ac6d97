"""`kill -9` at random moments: acknowledged changes are kept, clients that retry stay signed in, and no session comes back."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from tests.certificates import create_certificate
from tests.devices import challenge_in
from tests.hostile import Asked, Script, answer
from tests.integration.test_device_bound import Browser
from tests.relying_party.upstream import CLIENT_ID, CLIENT_SECRET, Upstream
from tests.serving import EMAIL, Server
from tests.verifying import eventually

pytestmark = [pytest.mark.slow, pytest.mark.anyio]
KILLS = int(os.environ.get("HANDSTAMP_TEST_KILLS", "8"))
CHAINS = 12
_MANY = 20_000


class Client:
    """A device that keeps its newest refresh token and retries until it receives an answer."""

    def __init__(self, tokens: dict[str, str]) -> None:
        """Keep the tokens of a sign-in."""
        self.refresh_token = tokens["refreshToken"]
        self.access_token = tokens["accessToken"]
        self.sid = tokens["sessionId"]
        self.renewals = 0
        self.signed_out = False
        self.hears_no_more = False

    async def renew_until_cut_off(self, http: httpx.AsyncClient, sign_out_after: int | None) -> None:
        """Refresh repeatedly until the server is killed; sign out after `sign_out_after` refreshes, if given."""
        try:
            while not self.signed_out:
                if self.renewals == sign_out_after:
                    self.hears_no_more = True
                    answer = await http.post("/logout", json={"refreshToken": self.refresh_token})
                    assert answer.status_code == 204, answer.text
                    self.signed_out = True
                    return
                await self.renew(http)
        except httpx.TransportError:
            return

    async def renew(self, http: httpx.AsyncClient) -> None:
        """Refresh once, and keep the new tokens."""
        answer = await http.post("/refresh", json={"refreshToken": self.refresh_token})
        assert answer.status_code == 200, answer.text
        tokens = answer.json()
        self.refresh_token, self.access_token = tokens["refreshToken"], tokens["accessToken"]
        self.renewals += 1


async def test_nothing_is_lost_when_the_process_is_killed(serve: Callable[..., Server], count: Callable[[str], None]) -> None:
    """Kill the service at a random moment under load, restart it on the same file, and repeat."""
    server = serve()
    server.register()
    dice = random.Random(20261123)
    clients = [Client(server.login()) for _ in range(CHAINS)]
    ended: list[Client] = []
    for kill in range(KILLS):
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, verify=False, timeout=20) as http:
            leaver = clients[0]
            work = [
                asyncio.create_task(
                    client.renew_until_cut_off(http, leaver.renewals + dice.randrange(9) if client is leaver else None)
                )
                for client in clients
            ]
            await asyncio.sleep(dice.uniform(0.02, 0.25))
            server.kill()
            await asyncio.gather(*work)
        server.start()
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, verify=False, timeout=20) as http:
            for client in clients:
                if not client.hears_no_more:
                    await client.renew(http)  # retries the request that the kill interrupted
                    profile = await http.get("/profile", headers={"Authorization": f"Bearer {client.access_token}"})
                    assert profile.status_code == 200, profile.text
            if leaver.hears_no_more:  # the answer may be lost; a second sign-out certainly revokes the session
                assert (await http.post("/logout", json={"refreshToken": leaver.refresh_token})).status_code == 204
                leaver.signed_out = True
            ended += [client for client in clients if client.signed_out]
            for client in ended:
                refused = await http.post("/refresh", json={"refreshToken": client.refresh_token})
                assert (refused.status_code, refused.json()["code"]) == (401, "session_ended"), f"kill {kill}: it came back"
                refused = await http.get("/profile", headers={"Authorization": f"Bearer {client.access_token}"})
                assert (refused.status_code, refused.json()["code"]) == (401, "session_ended")
        clients = [client for client in clients if not client.signed_out]
        clients += [Client(server.login()) for _ in range(CHAINS - len(clients))]
    renewals = sum(client.renewals for client in [*clients, *ended])
    assert ended, "no sign-out in any trial"
    assert renewals > KILLS * CHAINS, "there was no load"
    with closing(sqlite3.connect(server.folder / "handstamp.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        reuse = database.execute("SELECT count(*) FROM event WHERE kind IN ('reuse_detected', 'caught_up')").fetchone()
    assert reuse == (0,), "an honest retry was taken for theft, or a commit was forgotten"
    count(f"{KILLS} kills, {renewals} renewals, {len(ended)} signed out, account {EMAIL}: nothing lost")


class SecureServer(Server):
    """A server over https, as browsers want it for bound sessions."""

    def __init__(self, folder: Path) -> None:
        """Make a certificate."""
        certificate = create_certificate(folder)
        super().__init__(folder, "--tls-cert", str(certificate), "--tls-key", str(certificate.with_name("key.pem")))
        self.url = self.settings["ISSUER"] = f"https://localhost:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        """Return a client that accepts the certificate."""
        return super().client(**{"verify": False} | options)


async def renew_bound(browser: Browser) -> None:
    """Renew as a browser does: if the proof is refused, sign the challenge in the answer and ask once more."""
    answer = await browser.renew()
    if answer.status_code == 403:
        browser.challenge = challenge_in(answer.headers["secure-session-challenge"])
        answer = await browser.renew()
    assert answer.status_code == 200, answer.text


async def test_bound_browsers_survive_kills_and_a_storm_of_503(tmp_path: Path, count: Callable[[str], None]) -> None:
    """A kill or an outage at any moment of a renewal ends no session, unbinds none and costs at most one more challenge.

    Programs with bound sessions are in the crowd of `test_history.py`.
    """
    server = SecureServer(tmp_path)
    dice, renewals = random.Random(20261128), 0

    async def renew_until_cut_off(browser: Browser) -> None:
        nonlocal renewals
        with suppress(httpx.TransportError):
            while True:
                await renew_bound(browser)
                renewals += 1

    async with AsyncExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        assert server.register().status_code == 201
        browsers = []
        for number in range(6):
            headers = {"origin": server.url, "sec-fetch-site": "same-origin"}
            http = httpx.AsyncClient(base_url=server.url, trust_env=False, verify=False, timeout=30, headers=headers)
            browser = Browser(None, await stack.enter_async_context(http))
            browsers.append(await browser.bound("cookie" if number % 2 else "split"))
        for _ in range(4):
            work = [asyncio.create_task(renew_until_cut_off(browser)) for browser in browsers]
            await asyncio.sleep(dice.uniform(0.02, 0.25))
            server.kill()
            await asyncio.gather(*work)
            server.start()
            await asyncio.gather(*map(renew_bound, browsers))
        with closing(sqlite3.connect(server.folder / "handstamp.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for answer in await asyncio.gather(*(browser.renew() for browser in browsers * 2)):
                assert (answer.status_code, answer.headers.get_list("set-cookie")) == (503, []), answer.text
            other.execute("ROLLBACK")
        await asyncio.gather(*map(renew_bound, browsers))
    sids = ", ".join(f"'{browser.sid}'" for browser in browsers)
    assert (
        _find(server, f"SELECT count(*) FROM session WHERE id IN ({sids}) AND bound_by = 'dbsc' AND revoked_at_ms IS NULL") == 6
    )
    assert _find(server, "SELECT count(*) FROM event WHERE kind IN ('reuse_detected', 'caught_up', 'session_ended')") == 0
    assert renewals > 6, "there was no load"
    count(f"4 kills, {renewals} renewals, 6 browsers: nothing lost")


async def test_an_acknowledged_sign_out_survives_a_kill_in_the_same_instant(serve: Callable[..., Server]) -> None:
    """The service sends the 204 after the revocation is on the disk."""
    server = serve()
    server.register()
    for _ in range(3):
        tokens = server.login()
        with server.client() as client:
            assert client.post("/logout", json={"refreshToken": tokens["refreshToken"]}).status_code == 204
            server.kill()
        server.start()
        with server.client() as client:
            assert client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}).json()["reason"] == "logout"
            gone = client.get("/profile", headers={"Authorization": f"Bearer {tokens['accessToken']}"})
            assert gone.json()["code"] == "session_ended"


def test_a_sign_out_everywhere_that_was_killed_half_way_is_finished(
    serve: Callable[..., Server], count: Callable[[str], None]
) -> None:
    """Thousands of sessions end in many transactions. After a kill between two of them, the next start ends the others."""
    server = serve()
    server.register()
    tokens = server.login()
    with closing(sqlite3.connect(server.folder / "handstamp.db")) as database, database:
        row = dict(zip(*_columns_and_row(database, tokens["sessionId"]), strict=True))
        names = ", ".join(row)
        database.executemany(
            f"INSERT INTO session ({names}) VALUES ({', '.join('?' * len(row))})",
            [tuple((row | {"id": f"many-{number:05}"}).values()) for number in range(_MANY)],
        )
    headers = {"Authorization": f"Bearer {tokens['accessToken']}"}
    with server.client(timeout=60) as client, ThreadPoolExecutor() as threads:
        ending = threads.submit(client.post, "/logout-everywhere", headers=headers)
        assert eventually(lambda: bool(_find(server, "SELECT 1 FROM sweep")))
        server.kill()
        with suppress(httpx.TransportError):
            ending.result()
    left = _find(server, "SELECT count(*) FROM session WHERE revoked_at_ms IS NULL")
    assert left, "the kill came too late for this test to show anything"
    server.start()
    with server.client() as client:
        assert client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}).json()["code"] == "session_ended"
    assert eventually(lambda: not _find(server, "SELECT 1 FROM sweep"))
    assert not _find(server, "SELECT 1 FROM session WHERE revoked_at_ms IS NULL")
    assert _find(server, "SELECT count(*) FROM revocation WHERE exp_s > 0") == _MANY + 1
    count(f"killed when {left} of {_MANY + 1} sessions were left")


class OnceOnly(Upstream):
    """A provider that redeems each code once. A test can act before it answers."""

    def __init__(self) -> None:
        """Listen on a loopback port."""
        super().__init__()
        self.act: Callable[[], object] = lambda: None
        self.codes: set[str] = set()

    def _redeem(self, asked: Asked) -> Script:
        code = asked.form["code"]
        if code in self.codes:
            return answer({"error": "invalid_grant"}, 400)
        self.codes.add(code)
        self.act()
        return super()._redeem(asked)


def come_back(server: Server, upstream: OnceOnly, code: str) -> dict[str, Any]:
    """Let a program begin a sign-in with the provider, and its person come back. Return what completes it."""
    with server.client() as client:
        begun = client.post("/login/with/company", json={"returnTo": "http://127.0.0.1:7777/back"}).json()
        asked = dict(parse_qsl(urlsplit(begun["url"]).query))
        upstream.nonce = asked["nonce"]
        query = {"state": asked["state"], "code": code}
        back = client.get("/sign-in/with/company/callback", params=query, headers={"sec-fetch-site": "cross-site"})
        assert back.status_code == 303, back.text
    fields = dict(parse_qsl(urlsplit(back.headers["location"]).query))
    return {"challenge": begun["challenge"], "ticket": begun["ticket"], "answer": fields}


def complete(server: Server, body: dict[str, Any]) -> httpx.Response | None:
    """Complete a sign-in. Return None if the service is killed meanwhile."""
    with server.client() as client, suppress(httpx.TransportError):
        return client.post("/login/with/company/complete", json=body)
    return None


def test_a_sign_in_with_a_provider_is_whole_or_did_not_happen(tmp_path: Path) -> None:
    """Killed after the provider has redeemed the code, it leaves nothing. Killed after the commit, it can be asked for again."""
    with OnceOnly() as upstream, ExitStack() as stack:
        table = {"label": "Work", "issuer": upstream.url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        server = Server(tmp_path, PROVIDERS=json.dumps({"company": table}), OUTBOUND_ALLOW="127.0.0.1")
        stack.callback(server.stop)
        server.start()
        body = come_back(server, upstream, "code-1")
        upstream.act = server.kill
        assert complete(server, body) is None
        upstream.act = lambda: None
        assert (_count_rows(server), upstream.codes) == ([0, 0, 0, 0], {"code-1"})
        server.start()
        refused = complete(server, body)
        assert refused is not None
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_provider_answer"), refused.text

        body = come_back(server, upstream, "code-2")
        with ThreadPoolExecutor() as threads:
            completing = threads.submit(complete, server, body)
            assert eventually(lambda: bool(_find(server, "SELECT count(*) FROM session")))
            server.kill()
            completing.result()
        server.start()
        again = complete(server, body)
        assert again is not None
        assert again.status_code == 200, again.text
        assert _find(server, f"SELECT id = '{again.json()['sessionId']}' FROM session") == 1
        assert _count_rows(server) == [1, 1, 1, 1]


def _count_rows(server: Server) -> list[int]:
    """Return how many rows there are of what a first sign-in with a provider makes."""
    return [_find(server, f"SELECT count(*) FROM {name}") for name in ("account", "identity", "session", "provider_session")]


def _columns_and_row(database: sqlite3.Connection, sid: str) -> tuple[list[str], tuple[object, ...]]:
    found = database.execute("SELECT * FROM session WHERE id = ?", (sid,))
    return [name for name, *_ in found.description], found.fetchone()


def _find(server: Server, query: str) -> int:
    """Return the one value that a query gives, 0 if there is no row."""
    with closing(sqlite3.connect(server.folder / "handstamp.db")) as database:
        return int((database.execute(query).fetchone() or (0,))[0])
