"""Tests of promises in the README that no other file covers."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.builders import Clock
from tests.deployment import caller, deployed, start_session
from tests.integration.helpers import running
from tests.serving import EMAIL, PASSWORD, ColdServer, Server


@pytest.mark.anyio
async def test_a_thousand_renewals_leave_one_row(tmp_path: Path) -> None:
    """A thousand refreshes update one row in place, and no other table grows (R90)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        _, pair = await start_session(running, clock)
        for _ in range(1000):
            clock.advance(seconds=60)
            pair = await running.refresh(pair.refresh_token, way="body", caller=caller(clock))
    with closing(sqlite3.connect(tmp_path / "handstamp.db")) as database:
        assert database.execute("SELECT count(*), max(generation) FROM session").fetchone() == (1, 1000)
        assert database.execute("SELECT count(*) FROM event WHERE sid IS NOT NULL").fetchone() == (0,)


@pytest.mark.anyio
async def test_the_service_purges_expired_rows(tmp_path: Path) -> None:
    """Housekeeping deletes expired sessions in batches and keeps active ones (R90)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        for _ in range(450):
            await start_session(running, clock)
        clock.advance(seconds=31 * 86400)
        _, living = await start_session(running, clock)
        assert await running.housekeeping.run_once() == 450
        assert (await running.refresh(living.refresh_token, way="body", caller=caller(clock))).session_id == living.session_id
        assert await running.housekeeping.run_once() == 0


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_flood_of_sign_ins_does_not_stop_other_requests(tmp_path: Path) -> None:
    """Sign-ins beyond the queue get 503 with Retry-After, and refreshes are answered meanwhile (R73)."""
    with running(ColdServer(tmp_path)) as server:
        await flood_with_sign_ins(server)


async def flood_with_sign_ins(server: Server) -> None:
    """Sign in three hundred times at once, refresh meanwhile, and check every answer."""
    server.register()
    tokens = server.login()
    limits = httpx.Limits(max_connections=400)
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, verify=False, timeout=60, limits=limits) as client:
        flood = [asyncio.create_task(client.post("/login", json={"email": EMAIL, "password": PASSWORD})) for _ in range(300)]
        renewals = 0
        while not all(attempt.done() for attempt in flood):
            answer = await client.post("/refresh", json={"refreshToken": tokens["refreshToken"]})
            assert answer.status_code == 200, answer.text
            tokens = answer.json()
            renewals += 1
        answers = [attempt.result() for attempt in flood]
    assert {answer.status_code for answer in answers} == {200, 503}
    refused = [answer for answer in answers if answer.status_code == 503]
    assert all(answer.json()["code"] == "unavailable" and int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert renewals > 0


def test_database_and_log_contain_no_credential(serve: Callable[..., Server]) -> None:
    """No text in the database works as a token, and neither the database nor the log contains a secret (R43, R83)."""
    server = serve()
    password = "nobody prints what ada types"
    server.register(password=password)
    tokens = server.login(password=password)
    secrets = [password, tokens["accessToken"], tokens["refreshToken"], (server.folder / "handstamp.secret").read_text().strip()]
    with server.client() as client:
        for _ in range(3):
            tokens = client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}).json()
            secrets += [tokens["accessToken"], tokens["refreshToken"]]
        client.post("/refresh", json={"refreshToken": secrets[2]})  # reuse
        client.post("/login", json={"email": EMAIL, "password": "a wrong password, but long"})
        client.get("/profile", headers={"Authorization": f"Bearer {tokens['accessToken']}x"})
        with closing(sqlite3.connect(server.folder / "handstamp.db")) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            values = {value for table in tables for row in database.execute(f"SELECT * FROM {table}") for value in row}
        for text in (value for value in values if isinstance(value, str)):
            tried = client.post("/refresh", json={"refreshToken": text[:8000]})
            assert tried.status_code == 401, text
    written = server.log.read_text() + "".join(repr(value) for value in values)
    signatures = [secret.rpartition(".")[2] for secret in secrets]
    assert not [secret for secret in [*secrets, *signatures, "a wrong password"] if secret in written]
    assert "reuse_detected" in written
    assert "sign_in_failed" in server.log.read_text()
