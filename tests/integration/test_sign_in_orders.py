"""Every order of three steps in one sign-in, on the real service. None gives a session without all factors, or a second one."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handstamp.domain.assurance import is_as_strong
from handstamp.domain.attempt import LIFETIME_MS, MAX_TRIES
from handstamp.storage.postgres.store import PostgresStore
from handstamp.storage.sqlite.store import SqliteStore
from tests.deployment import caller
from tests.ways_in import EMAIL, Person, a_person, add_app, add_passkey, by_app, prepare

pytestmark = pytest.mark.anyio
RIGHT = ("code", "recovery code", "passkey")
WRONG = ("wrong", "used", "empty", "elsewhere", "of another sign-in", "enrol")
ENDS = ("wrong five times", "late", "signed out everywhere", "disabled", "reset")


async def use_passkey(ada: Person, held: dict[str, str]) -> dict[str, Any]:
    """Return what completes a sign-in with the passkey, as far as the service lets it begin."""
    begun = (await ada.nodes[0].client.post("/login/passkey/options", json=held)).json()
    if "publicKey" not in begun:
        return {"passkey": {"id": "none"}, "passkeyChallenge": "none"}
    return {"passkey": ada.device.use(begun["publicKey"]), "passkeyChallenge": begun["challenge"]}


async def write_answer(ada: Person, step: str, held: dict[str, str], used: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a step sends besides the challenge and the ticket."""
    if step == "passkey":
        return await use_passkey(ada, held)
    if step == "of another sign-in":
        return await use_passkey(ada, await ada.login())
    wrong = f"{(int(ada.app.now()) + 1) % 1_000_000:06}"
    sent: dict[str, dict[str, Any]] = {
        "recovery code": {"recoveryCode": ada.codes[-1]},
        "used": used[-1],
        "empty": {},
        "wrong": {"code": wrong},
    }
    if step in sent:
        return sent[step]
    return {"code": ada.code()} | ({"ticket": secrets.token_urlsafe(32)} if step == "elsewhere" else {})


async def send(ada: Person, step: str, held: dict[str, str], used: list[dict[str, Any]], node: int) -> bool:
    """Take a step that asks for a session, at one of the nodes. Return whether there is one."""
    if step == "enrol":
        answer = await ada.nodes[node].client.post("/totp", json=held)
        assert answer.json()["code"] == "invalid_challenge"
        return False
    sent = await write_answer(ada, step, held, used)
    answer = await ada.nodes[node].client.post("/login/second-factor", json=held | sent)
    assert answer.status_code in {200, 401, 422, 429}, (step, answer.text)
    if answer.status_code == 200:
        used.append(sent)
        ada.codes = [code for code in ada.codes if code != sent.get("recoveryCode")]
    return "accessToken" in answer.json()


async def end(ada: Person, step: str, held: dict[str, str], used: list[dict[str, Any]], node: int) -> None:
    """Let happen what ends a sign-in. After a reset the owner has new factors at once."""
    running = ada.nodes[node].running
    now = caller(ada.clock)
    match step:
        case "wrong five times":
            for _ in range(MAX_TRIES):
                await send(ada, "wrong", held, used, node)
        case "late":
            ada.clock.advance(ms=LIFETIME_MS)
        case "signed out everywhere":
            await running.sign_out.end_all(ada.account_id, now)
        case "disabled":
            await running.accounts.disable(EMAIL, now)
            await running.accounts.enable(EMAIL, now)
        case _:
            await running.accounts.reset_factors(EMAIL, now)
            ada.clock.advance(ms=1)
            token = (await ada.login())["accessToken"]
            await add_app(ada, {}, token=token)
            await add_passkey(ada, {}, token=token)


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_every_order_of_three_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, request: pytest.FixtureRequest, count: Callable[[str], None]
) -> None:
    """All 196 pairs of what a person, a thief and an operator can do, and then the passkey. The nodes take turns.

    On PostgreSQL the 39 pairs of a right step with another one or with an end: what else is refused does not depend on the store.
    """
    monkeypatch.setattr(PostgresStore, "time", SqliteStore.time)
    server = request.getfixturevalue("postgres_server") if store == "postgres" else ""
    async with a_person(tmp_path, server) as ada:
        used: list[dict[str, Any]] = [{"code": "000000"}]
        pairs = list(itertools.product((*RIGHT, *WRONG, *ENDS), repeat=2))
        if server:
            pairs = [pair for pair in pairs if {*pair}.intersection(RIGHT) and not {*pair}.intersection(WRONG)]
        for pair in pairs:
            await prepare(ada, by_app)
            await ada.nodes[0].running.accounts.unlock(EMAIL, caller(ada.clock))
            held, is_open, sessions = await ada.login(), True, 0
            for node, step in zip((0, 1, 0), (*pair, "passkey"), strict=True):
                if step in ENDS:
                    await end(ada, step, held, used, node)
                    is_open = False
                    sessions = 0 if step in {"signed out everywhere", "disabled"} else sessions + (step == "reset")
                else:
                    expected = is_open and step in RIGHT
                    assert await send(ada, step, held, used, node) == expected, (pair, step)
                    is_open, sessions = is_open and not expected, sessions + expected
            found = await ada.sessions()
            assert len(found) == sessions, pair
            assert all(is_as_strong(session.acr, "mfa") for session in found), pair
        count(f"{len(pairs)} orders")
