"""Step-up inside an application (RFC 9470): for its own users and for accounts, in FastAPI and in any ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyotp
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from handstamp import AccessClaims
from handstamp.domain.session import Session
from handstamp.embedded import Handstamp, TokenPair
from handstamp.errors import InvalidFields, SessionEnded
from handstamp.storage.postgres.store import PostgresStore
from handstamp.storage.sqlite.store import SqliteStore
from handstamp.verify.asgi import HandstampMiddleware
from handstamp.verify.fastapi import Require
from tests.builders import MINUTE_MS, SECOND_MS, Clock
from tests.postgres import fresh_database
from tests.serving import PASSWORD

pytestmark = pytest.mark.anyio
ORIGIN = "https://app.example.com"
NEEDED: dict[str, Any] = {"fresh": "5m", "acr": "mfa"}
REFUSED = 'Bearer error="insufficient_user_authentication", max_age="300", acr_values="mfa"'


class Shop:
    """An application with a protected route of each kind, and Handstamp inside."""

    def __init__(self, auth: Handstamp, clock: Clock, client: httpx.AsyncClient) -> None:
        """Talk to the application with `client`."""
        self.auth, self.clock, self.client = auth, clock, client

    async def ask(self, token: str) -> list[tuple[int, str | None]]:
        """Return what both routes answer: the status and the challenge."""
        headers = {"authorization": f"Bearer {token}"}
        answers = [await self.client.post(path, headers=headers) for path in ("/refund", "/asgi/")]
        return [(answer.status_code, answer.headers.get("www-authenticate")) for answer in answers]

    async def row(self, sid: str) -> Session:
        """Return the row of a session."""
        found = await self.auth.verifier._sessions._store.session(sid)
        assert found is not None
        return found[0]

    async def send(self, path: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
        """Send a request to Handstamp's endpoints, which is accepted."""
        answer = await self.client.post(f"/auth{path}", json=body, headers={"authorization": f"Bearer {token}"} if token else {})
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found


async def whose(request: Request) -> PlainTextResponse:
    """Answer with the subject."""
    return PlainTextResponse(request.state.claims.sub)


@asynccontextmanager
async def a_shop(folder: Path, database: str = "") -> AsyncIterator[Shop]:
    """Run the application."""
    clock = Clock()
    database = database or f"sqlite:///{folder}/app.db"
    auth = Handstamp(database=database, issuer=f"{ORIGIN}/auth", secret="a-secret-of-32-bytes-0123456789-abcdef", clock=clock)
    app, claims_of = FastAPI(), Depends(Require(auth.verifier)(**NEEDED))
    app.mount("/auth", auth.asgi)
    app.mount(
        "/asgi", HandstampMiddleware(Starlette(routes=[Route("/", whose, methods=["POST"])]), verifier=auth.verifier, **NEEDED)
    )

    @app.post("/refund")
    async def refund(claims: AccessClaims = claims_of) -> str:
        return claims.sub

    async with auth, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
        yield Shop(auth, clock, client)


@pytest.fixture(params=["sqlite", "postgres"])
async def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """Return the application, on each store. The test's clock is that of all."""
    monkeypatch.setattr(PostgresStore, "time", SqliteStore.time)
    if request.param == "sqlite":
        async with a_shop(tmp_path) as running:
            yield running
    else:
        async with fresh_database(request.getfixturevalue("postgres_server")) as url, a_shop(tmp_path, url) as running:
            yield running


async def renewed(shop: Shop, pair: TokenPair) -> TokenPair:
    """Return the tokens that follow."""
    return await shop.auth.sessions.refresh(pair.refresh_token)


async def test_an_application_renews_the_proof_of_its_own_user(shop: Shop) -> None:
    """The same session carries the new proof from the next refresh on. Nothing else of it changes, and it is recorded."""
    pair = await shop.auth.sessions.start("42", roles=["clerk"])
    assert await shop.ask(pair.access_token) == [(401, REFUSED)] * 2
    before = await shop.row(pair.session_id)
    shop.clock.advance(seconds=1)
    await shop.auth.sessions.step_up(
        pair.session_id, subject="42", amr=["pwd", "otp"], acr="mfa", ip="192.0.2.7", user_agent="Firefox"
    )
    changed = {"authenticated_at_ms": shop.clock(), "amr": ("pwd", "otp"), "acr": "mfa"}
    assert await shop.row(pair.session_id) == msgspec.structs.replace(before, **changed)
    assert await shop.ask(pair.access_token) == [(401, REFUSED)] * 2, "a token says what was true when it was minted"
    pair = await renewed(shop, pair)
    assert await shop.ask(pair.access_token) == [(200, None)] * 2
    claims = await shop.auth.verifier.verify_async(pair.access_token)
    assert (claims.auth_time, claims.amr, claims.acr) == (shop.clock() // SECOND_MS, ("pwd", "otp"), "mfa")
    events = await shop.auth._deployment.store.read(lambda rows: rows.events.list_all_of("42", after=0, limit=10))
    (recorded,) = [event for _, event in events if event.kind == "stepped_up"]
    assert (recorded.actor, recorded.sid, recorded.ip, recorded.detail) == (
        "application",
        pair.session_id,
        "192.0.2.7",
        {"amr": "pwd otp"},
    )
    shop.clock.advance(ms=6 * MINUTE_MS)
    pair = await renewed(shop, pair)
    assert await shop.ask(pair.access_token) == [(401, REFUSED)] * 2, "the proof is too old"
    await shop.auth.sessions.step_up(pair.session_id, subject="42", amr=["pop"], acr="phr")
    pair = await renewed(shop, pair)
    assert await shop.ask(pair.access_token) == [(200, None)] * 2
    await shop.auth.sessions.step_up(pair.session_id, subject="42", amr=["pwd"], acr="pwd")
    assert await shop.ask((await renewed(shop, pair)).access_token) == [(401, REFUSED)] * 2, "a weaker proof is not called strong"


async def test_a_proof_that_does_not_count(shop: Shop) -> None:
    """Of another person, for a session that has ended or never was, for an account, or in words that no proof has."""
    pair, other = await shop.auth.sessions.start("42"), await shop.auth.sessions.start("43")
    body = {"email": "ada@example.com", "password": PASSWORD}
    await shop.send("/register", body)
    claims = await shop.auth.verifier.verify_async((await shop.send("/login", body))["accessToken"])
    rows = {sid: await shop.row(sid) for sid in (pair.session_id, claims.sid)}
    proof: dict[str, Any] = {"amr": ["otp"], "acr": "mfa"}
    for sid, subject in ((pair.session_id, "43"), (claims.sid, claims.sub)):
        with pytest.raises(InvalidFields, match="subject"):
            await shop.auth.sessions.step_up(sid, subject=subject, **proof)
    for wrong, name in (({"amr": "otp"}, "amr"), ({"acr": "a b"}, "acr"), ({"subject": ""}, "subject"), ({"ip": 5}, "ip")):
        with pytest.raises(InvalidFields, match=name):
            await shop.auth.sessions.step_up(pair.session_id, **{"subject": "42"} | proof | wrong)
    with pytest.raises(InvalidFields, match="session_id"):
        await shop.auth.sessions.step_up(None, subject="42", **proof)  # type: ignore[arg-type]
    assert {sid: await shop.row(sid) for sid in rows} == rows
    await shop.auth.sessions.end(other.session_id)
    for sid, reason in ((other.session_id, "logout"), ("none", "expired"), ("ü\ud800", "expired"), ("\0", "expired")):
        with pytest.raises(SessionEnded) as ended:
            await shop.auth.sessions.step_up(sid, subject="43", **proof)
        assert ended.value.reason == reason


async def test_a_proof_does_not_revive_a_session(shop: Shop) -> None:
    """A sign-out everywhere at the same moment wins, in whatever order they come."""
    pairs = [await shop.auth.sessions.start("42") for _ in range(4)]

    async def prove(sid: str) -> None:
        with suppress(SessionEnded):
            await shop.auth.sessions.step_up(sid, subject="42", amr=["otp"], acr="mfa")

    await asyncio.gather(
        *(prove(pair.session_id) for pair in pairs[:2]),
        shop.auth.sessions.end_all("42"),
        *(prove(pair.session_id) for pair in pairs[2:]),
    )
    assert await shop.auth.sessions.of("42") == []
    for pair in pairs:
        with pytest.raises(SessionEnded):
            await renewed(shop, pair)


async def test_people_with_an_account_prove_it_at_the_mounted_endpoint(tmp_path: Path) -> None:
    """With the code of an app. The application's routes let them in after the refresh, and not before."""
    async with a_shop(tmp_path) as shop:
        body = {"email": "ada@example.com", "password": PASSWORD}
        await shop.send("/register", body)
        pair = await shop.send("/login", body)
        assert await shop.ask(pair["accessToken"]) == [(401, REFUSED)] * 2
        begun = await shop.send("/totp", {}, pair["accessToken"])
        app = pyotp.TOTP(begun["secret"].replace(" ", ""))
        code = app.at(shop.clock() // SECOND_MS)
        await shop.send("/totp/confirm", {"enrolment": begun["enrolment"], "code": code}, pair["accessToken"])
        shop.clock.advance(ms=6 * MINUTE_MS)
        pair = await shop.send("/refresh", {"refreshToken": pair["refreshToken"]})
        assert await shop.ask(pair["accessToken"]) == [(401, REFUSED)] * 2
        proved = await shop.send("/login/step-up", {"code": app.at(shop.clock() // SECOND_MS)}, pair["accessToken"])
        assert proved["acr"] == "mfa"
        pair = await shop.send("/refresh", {"refreshToken": pair["refreshToken"]})
        assert await shop.ask(pair["accessToken"]) == [(200, None)] * 2
