"""Sessions that are bound to a browser (W3C DBSC), over HTTP, in this process and with a clock that the test moves."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from handstamp.clock import now_ms as right_now
from handstamp.domain.session import Session
from handstamp.storage.store import Rows
from handstamp.web.edge import Edge
from tests.builders import NOW_MS, Clock
from tests.deployment import ISSUER, caller, settings_in
from tests.devices import Device, challenge_in
from tests.integration.helpers import expect_ended, expect_problem, set_cookies
from tests.postgres import fresh_database
from tests.serving import EMAIL, PASSWORD

pytestmark = pytest.mark.anyio
OWN_PAGE = {"origin": ISSUER, "sec-fetch-site": "same-origin"}
ACCESS, REFRESH, PASS = "__Host-handstamp-access", "__Host-handstamp-refresh", "__Host-handstamp-bound"
ACCESS_LIFETIME_S, LEEWAY_S = 900, 5
DELIVERIES = pytest.mark.parametrize("delivery", ["cookie", "split"])


def _recording(endpoint: Any, paths: set[str]) -> Any:
    """Return `Edge.endpoint`, with the paths for which it is called added to `paths`."""

    def record(self: Edge, handler: Any, *, path: str, **options: Any) -> Any:
        paths.add(path)
        return endpoint(self, handler, path=path, **options)

    return record


class Site:
    """A service, and what browsers do with it."""

    def __init__(self, running: Deployment, clock: Clock) -> None:
        """Serve a deployment."""
        self.running = running
        self.clock = clock
        self.transport = httpx.ASGITransport(make_application(running))

    def browser(self) -> Browser:
        """Return a browser without cookies."""
        return Browser(self, httpx.AsyncClient(transport=self.transport, base_url=ISSUER, headers=OWN_PAGE))

    async def row(self, sid: str) -> Session:
        """Return the row of a session."""
        found = await self.running.store.session(sid)
        assert found is not None
        return found[0]

    async def snapshot(self, sid: str) -> list[Any]:
        """Return the session, its account with factors and identities, and how many sessions the person has."""

        async def read(rows: Rows) -> list[Any]:
            session, account = await rows.sessions.get(sid) or (None, None)
            assert session is not None
            assert account is not None
            page = await rows.sessions.list_page(account.id, before=None, now_ms=self.clock(), limit=100)
            return [session, account, await rows.factors.get(account.id), await rows.identities.list_of(account.id), len(page)]

        return await self.running.store.read(read)

    async def events(self, sid: str) -> list[str]:
        """Return the kinds of a session's events, oldest first."""
        found = await self.running.store.read(lambda rows: rows.events.list_about(sid, limit=100))
        return sorted(event.kind for event in found)


class Browser:
    """A cookie jar and a key. The jar can be copied, the key cannot."""

    def __init__(self, site: Site | None, client: httpx.AsyncClient) -> None:
        """Begin without a session. Only copies need the site."""
        self.site, self.client, self.device = site, client, Device()
        self.sid = self.challenge = self.invitation = ""

    async def sign_in(self, delivery: str) -> httpx.Response:
        """Sign in, without binding the session."""
        answer = await self.client.post("/login", json={"email": EMAIL, "password": PASSWORD, "delivery": delivery})
        assert answer.status_code == 200, answer.text
        self.sid = answer.json()["sessionId"]
        if invitation := answer.headers.get("secure-session-registration"):
            self.invitation = challenge_in(invitation)
        return answer

    async def register(self, **options: Any) -> httpx.Response:
        """Register the key."""
        proof = self.device.prove(self.invitation, registers=True, **options)
        return await self.client.post("/device/start", headers={"secure-session-response": proof})

    async def bound(self, delivery: str) -> Browser:
        """Sign in and register the key. Return this browser."""
        await self.sign_in(delivery)
        answer = await self.register()
        assert answer.json()["session_identifier"] == self.sid
        self.challenge = challenge_in(answer.headers["secure-session-challenge"])
        return self

    async def renew(self, proof: str = "", **headers: str) -> httpx.Response:
        """Send a renewal, by default with the proof that is right."""
        sent = {
            "sec-secure-session-id": self.sid,
            "secure-session-response": proof or self.device.prove(self.challenge),
        } | headers
        answer = await self.client.post("/device/refresh", headers=sent)
        if "secure-session-challenge" in answer.headers and answer.status_code == 200:
            self.challenge = challenge_in(answer.headers["secure-session-challenge"])
        return answer

    def copied(self) -> Browser:
        """Return the browser of a thief, who has a copy of everything but the key."""
        assert self.site is not None
        thief = self.site.browser()
        thief.client.cookies.update(self.client.cookies)
        thief.sid, thief.challenge, thief.invitation = self.sid, self.challenge, self.invitation
        return thief


@asynccontextmanager
async def site_in(folder: Path, *, now_ms: int = NOW_MS, **settings: object) -> AsyncIterator[Site]:
    """Run a service with one account in this process."""
    clock = Clock(now_ms)
    running = Deployment(settings_in(folder, **settings), clock=clock)
    async with running.open():
        await running.keys.maintain(clock())
        site = Site(running, clock)
        await running.create_account(EMAIL, PASSWORD, caller(clock))
        yield site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Return a service with the defaults."""
    async with site_in(tmp_path) as running:
        yield running


@DELIVERIES
async def test_a_browser_binds_its_session_and_renews_it(site: Site, delivery: str, caplog: pytest.LogCaptureFixture) -> None:
    """The sign-in invites it, the key is stored, the cookie ends with the token, and each renewal is one step of the chain."""
    browser = site.browser()
    signed_in = await browser.sign_in(delivery)
    assert signed_in.headers["secure-session-registration"].startswith('(ES256);path="/device/start";challenge="')
    answer = await browser.register()
    name = ACCESS if delivery == "cookie" else PASS
    assert answer.json() == {
        "session_identifier": browser.sid,
        "refresh_url": "/device/refresh",
        "scope": {"include_site": False, "scope_specification": [{"type": "exclude", "domain": "*", "path": "/assets"}]},
        "credentials": [{"type": "cookie", "name": name, "attributes": "Path=/; Secure; HttpOnly; SameSite=Lax"}],
    }
    cookies = set_cookies(answer)
    assert set(cookies) == {name, REFRESH}
    assert cookies[name].attributes["max-age"] == str(ACCESS_LIFETIME_S)
    row = await site.row(browser.sid)
    assert (row.bound_by, row.generation) == ("dbsc", 0)
    assert row.bound_at_ms == site.clock()
    assert await site.events(browser.sid) == ["device_bound", "signed_in"]
    assert "bound to its device" in (await browser.client.get("/account")).text

    asked = await browser.renew(proof="none")
    expect_problem(asked, 403, "proof_required")
    assert not set_cookies(asked)
    caplog.clear()
    caplog.set_level(logging.DEBUG, "handstamp.audit")
    for generation in (1, 2):
        browser.challenge = challenge_in(asked.headers["secure-session-challenge"])
        assert asked.headers["secure-session-challenge"].endswith(f';id="{browser.sid}"')
        asked = await browser.renew()
        assert asked.status_code == 200
        assert set(set_cookies(asked)) == {name, REFRESH}
        assert (await site.row(browser.sid)).generation == generation
    lines: list[Any] = [record.msg for record in caplog.records if record.name == "handstamp.audit"]
    assert [line.event for line in lines if line.fields.get("sid") == browser.sid] == ["device_renewed", "device_renewed"]


async def test_values_may_come_in_quotes(site: Site) -> None:
    """The draft writes the values in quotes, and Chromium 156 sends them without."""
    browser = await site.browser().bound("cookie")
    quoted = {"sec-secure-session-id": f'"{browser.sid}"'}
    assert (await browser.renew(f'"{browser.device.prove(browser.challenge)}"', **quoted)).status_code == 200


@DELIVERIES
async def test_a_copy_of_everything_but_the_key_gets_nowhere(site: Site, delivery: str) -> None:
    """The thief never renews, never ends the session, and is served by nothing after the access token's life (R46)."""
    browser = await site.browser().bound(delivery)
    before = await site.row(browser.sid)
    thief = browser.copied()
    forged = thief.device.prove(browser.challenge)
    for _ in range(3):
        expect_problem(await thief.renew(forged), 403, "proof_required")
    site.clock.advance(seconds=ACCESS_LIFETIME_S + LEEWAY_S)
    expect_problem(await thief.renew(forged), 403, "proof_required")
    expect_problem(await thief.client.post("/refresh"), 403, "proof_required")
    assert "Where you are signed in" not in (await thief.client.get("/account?here=", follow_redirects=True)).text
    expect_problem(await thief.client.get("/profile"), 401, "expired_token" if delivery == "cookie" else "missing_token")
    assert await site.row(browser.sid) == before

    assert (await browser.renew()).status_code == 200
    assert "Where you are signed in" in (await browser.client.get("/account")).text
    for _ in range(2):  # the copy is old now: still no weapon against the owner
        expect_problem(await thief.renew(forged), 403, "proof_required")
        expect_problem(await thief.client.post("/refresh"), 403, "proof_required")
    assert (await browser.renew()).status_code == 200
    assert (await site.row(browser.sid)).revoked_why is None


@DELIVERIES
async def test_a_proof_is_for_one_session_and_one_generation(site: Site, delivery: str) -> None:
    """A proof that was used, that is for another session or that a registration has made renews nothing."""
    browser, other = await site.browser().bound(delivery), await site.browser().bound(delivery)
    used = browser.device.prove(browser.challenge)
    assert (await browser.renew(used)).status_code == 200
    registration = browser.device.prove(browser.invitation, registers=True)
    wrong = [
        used,
        browser.device.prove(other.challenge),
        other.device.prove(browser.challenge),
        registration,
        browser.device.prove(browser.invitation),
        browser.device.prove(browser.challenge, aud=f"{ISSUER}/device/start"),
    ]
    before = await site.row(browser.sid)
    for proof in wrong:
        refused = await browser.renew(proof)
        expect_problem(refused, 403, "proof_required")
        assert challenge_in(refused.headers["secure-session-challenge"]) == browser.challenge
    assert await site.row(browser.sid) == before
    assert (await browser.renew()).status_code == 200


@DELIVERIES
async def test_a_lost_answer_and_a_restored_profile_go_on(site: Site, delivery: str) -> None:
    """With the key, an old refresh token continues the session, at once and much later, and no proof is accepted twice."""
    browser = await site.browser().bound(delivery)
    old = browser.copied()
    old.device = browser.device
    for _ in range(3):
        await browser.renew()
    first = await old.renew()
    expect_problem(first, 403, "proof_required")
    site.clock.advance(seconds=3 * 86_400)
    old.challenge = challenge_in(first.headers["secure-session-challenge"])
    assert (await old.renew()).status_code == 200
    assert (await site.row(browser.sid)).generation == 4
    assert "recovered" in await site.events(browser.sid)
    expect_problem(await browser.renew(old.device.prove(browser.challenge)), 403, "proof_required")
    browser.challenge = old.challenge
    assert (await browser.renew()).status_code == 200


async def test_in_split_delivery_scripts_get_what_is_left_of_the_pass(site: Site) -> None:
    """`/refresh` writes nothing, and its access token ends with the pass: only the browser can prolong anything."""
    browser = await site.browser().bound("split")
    before = await site.row(browser.sid)
    site.clock.advance(seconds=600)
    answer = await browser.client.post("/refresh")
    assert answer.json()["expiresIn"] == ACCESS_LIFETIME_S - 600
    assert (await site.row(browser.sid)) == before
    assert PASS not in set_cookies(answer)
    site.clock.advance(seconds=300)
    expect_problem(await browser.client.post("/refresh"), 403, "proof_required")
    assert (await browser.renew()).status_code == 200
    assert (await browser.client.post("/refresh")).json()["expiresIn"] == ACCESS_LIFETIME_S


async def test_in_cookie_delivery_refresh_answers_what_is_left_of_the_access_cookie(site: Site) -> None:
    """A script that refreshes although the browser does so by itself disturbs nothing."""
    browser = await site.browser().bound("cookie")
    site.clock.advance(seconds=600)
    assert (await browser.client.post("/refresh")).json()["expiresIn"] == ACCESS_LIFETIME_S - 600
    assert [entry["bound"] for entry in (await browser.client.get("/sessions")).json()["sessions"]] == [True]
    assert (await site.row(browser.sid)).generation == 0


@pytest.mark.parametrize("text", ["", "x", ".", "9999999999999.", "99999999999999999999.x", "1800000900.AAAA"])
async def test_a_pass_cannot_be_made_up(site: Site, text: str) -> None:
    """A wrong pass is none."""
    browser = await site.browser().bound("split")
    sent = {"cookie": f"{REFRESH}={browser.client.cookies[REFRESH]}; {PASS}={text}"}
    expect_problem(await site.browser().client.post("/refresh", headers=sent), 403, "proof_required")


async def test_a_key_is_registered_in_time_once_and_by_the_browser_that_signed_in(site: Site) -> None:
    """Without the challenge of the sign-in, too late, or beside another key, the session stays as it is."""
    browser = site.browser()
    await browser.sign_in("cookie")
    guessing = browser.copied()
    guessing.invitation = "guess"
    expect_problem(await guessing.register(), 400, "invalid_request")
    again = await browser.register(), await browser.register()
    assert [answer.json()["session_identifier"] for answer in again] == [browser.sid] * 2
    other = browser.copied()
    assert (await other.register()).json() == {"continue": False}
    assert (await site.row(browser.sid)).bound_key is not None

    late = site.browser()
    await late.sign_in("cookie")
    site.clock.advance(seconds=300)
    answer = await late.register()
    assert (answer.json(), dict(set_cookies(answer))) == ({"continue": False}, {})
    assert (await site.row(late.sid)).bound_key is None
    assert (await late.client.post("/refresh")).status_code == 200


@DELIVERIES
async def test_a_copied_registration_is_worth_no_more_than_its_first_answer(site: Site, delivery: str) -> None:
    """Its proof has no time in it. A lost answer is repeated with what is left of it, and after the first renewal not at all."""
    browser = await site.browser().bound(delivery)
    registration = {"secure-session-response": browser.device.prove(browser.invitation, registers=True)}
    thief = browser.copied().client
    site.clock.advance(seconds=600)
    again = await thief.post("/device/start", headers=registration)
    name = ACCESS if delivery == "cookie" else PASS
    assert set_cookies(again)[name].attributes["max-age"] == str(ACCESS_LIFETIME_S - 600)

    await browser.renew()
    before = await site.row(browser.sid)
    for left_s in (0, 300):
        site.clock.advance(seconds=left_s)
        refused = await thief.post("/device/start", headers=registration)
        assert (refused.json(), dict(set_cookies(refused))) == ({"continue": False}, {})
    assert await site.row(browser.sid) == before
    assert (await browser.renew()).status_code == 200


async def test_a_session_that_has_ended_ends_in_the_browser_too(site: Site) -> None:
    """401 only for that, with the cookies deleted."""
    browser = await site.browser().bound("split")
    await site.running.sign_out.end_one(browser.sid, caller(site.clock))
    answer = await browser.renew()
    expect_ended(answer, "logout")
    assert {name: cookie.attributes["max-age"] for name, cookie in set_cookies(answer).items()} == {
        REFRESH: "0",
        ACCESS: "0",
        PASS: "0",
    }


async def test_a_browser_session_without_its_cookies_is_forgotten(site: Site) -> None:
    """After a sign-out, or if another session has taken the place of its cookies, which stay as they are."""
    browser = await site.browser().bound("split")
    left = await browser.client.post("/logout")
    assert left.status_code == 204
    assert set(set_cookies(left)) == {REFRESH, ACCESS, PASS}
    assert (await browser.renew()).json() == {"session_identifier": browser.sid, "continue": False}

    first = browser.sid
    await browser.bound("split")
    answer = await browser.renew(**{"sec-secure-session-id": first})
    assert answer.json() == {"session_identifier": first, "continue": False}
    assert not set_cookies(answer)
    assert (await browser.renew()).status_code == 200


@DELIVERIES
async def test_a_new_password_invites_the_browser_again(site: Site, delivery: str) -> None:
    """The new session is another one, and gets a key of its own."""
    browser = await site.browser().bound(delivery)
    token = (await browser.client.post("/refresh")).json().get("accessToken")
    bearer = {"authorization": f"Bearer {token}"} if token else {}
    fields = {"currentPassword": PASSWORD, "newPassword": f"{PASSWORD} more"}
    answer = await browser.client.post("/password", json=fields, headers=bearer)
    assert answer.json()["sessionId"] != browser.sid
    browser.sid = answer.json()["sessionId"]
    browser.invitation = challenge_in(answer.headers["secure-session-registration"])
    browser.device = Device()
    assert (await browser.register()).json()["session_identifier"] == browser.sid


async def test_a_limit_is_never_429_and_a_failure_never_401(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 429 Chromium would forget its session. After 503 it tries again with the next request."""
    browser = await site.browser().bound("cookie")
    proof = browser.device.prove(browser.challenge)
    with monkeypatch.context() as patched:
        patched.setattr(site.running.keys, "_signers", ())
        expect_problem(await browser.renew(proof), 503, "unavailable")
    assert (await browser.renew(proof)).status_code == 200


async def test_pages_of_other_origins_can_do_nothing_here(tmp_path: Path) -> None:
    """Not even those of trusted origins: no request of theirs passes, and no script reads an answer."""
    app = "https://app.example.com"
    async with site_in(tmp_path, trusted_origins=app) as site:
        browser = await site.browser().bound("cookie")
        for path in ("/device/start", "/device/refresh"):
            for headers in ({"origin": app, "sec-fetch-site": "same-site"}, {"origin": "null", "sec-fetch-site": "cross-site"}):
                answer = await browser.client.post(path, headers=headers)
                expect_problem(answer, 403, "cross_site")
                assert not [name for name in answer.headers if name.startswith("access-control")]
            preflight = {"origin": app, "access-control-request-method": "POST"}
            assert "access-control-allow-origin" not in (await browser.client.options(path, headers=preflight)).headers
        renewed = await browser.renew()
        assert renewed.json()["allowed_refresh_initiators"] == ["app.example.com"]


async def test_a_link_of_another_site_ends_nothing(site: Site) -> None:
    """The browser then sends no strict cookie. As long as the session is active, it must keep its own, and try again later."""
    browser = await site.browser().bound("cookie")
    elsewhere = site.browser()
    expect_problem(
        await elsewhere.client.post("/device/refresh", headers={"sec-secure-session-id": browser.sid}), 503, "unavailable"
    )
    assert (await browser.renew()).status_code == 200
    await site.running.sign_out.end_one(browser.sid, caller(site.clock))
    gone = await elsewhere.client.post("/device/refresh", headers={"sec-secure-session-id": browser.sid})
    assert gone.json() == {"session_identifier": browser.sid, "continue": False}


async def test_no_browser_is_invited_where_it_could_bind_nothing(tmp_path: Path) -> None:
    """Not for `json`, and not over http. Nor where binding is off, see `test_dpop.py`."""
    for name in ("http", "json"):
        (tmp_path / name).mkdir()
    async with site_in(tmp_path / "http", issuer="http://localhost:8000") as site:
        browser = site.browser()
        browser.client.headers["origin"] = "http://localhost:8000"
        assert "secure-session-registration" not in (await browser.sign_in("cookie")).headers
    async with site_in(tmp_path / "json") as site:
        assert "secure-session-registration" not in (await site.browser().sign_in("json")).headers


@asynccontextmanager
async def two_nodes(
    folder: Path, kind: str, request: pytest.FixtureRequest, **settings: object
) -> AsyncIterator[tuple[Site, Site]]:
    """Run two services with one database and one secret."""
    async with AsyncExitStack() as stack:
        shared: dict[str, object] = {"secret": "0123456789abcdef" * 4, **settings}
        if kind == "postgresql":
            shared["database"] = await stack.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
        first = await stack.enter_async_context(site_in(folder, now_ms=right_now(), **shared))
        second = Deployment(settings_in(folder, **shared), clock=first.clock)
        await stack.enter_async_context(second.open())
        yield first, Site(second, first.clock)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_two_nodes_accept_a_proof_once(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """Of requests with one proof, sent to both at once, one renews. The others get the next challenge, and then renew too."""
    async with two_nodes(tmp_path, kind, request) as (first, second):
        browser = await first.browser().bound("cookie")
        elsewhere = browser.copied()
        elsewhere.client = second.browser().client
        elsewhere.client.cookies.update(browser.client.cookies)
        proof = browser.device.prove(browser.challenge)
        answers = await asyncio.gather(*(each.renew(proof) for each in (browser, elsewhere) * 3))
        assert sorted(answer.status_code for answer in answers) == [200, *([403] * 5)]
        assert {challenge_in(answer.headers["secure-session-challenge"]) for answer in answers} == {
            first.running.challenges.make(browser.sid, 1)
        }
        for node in (first, second):
            row = await node.row(browser.sid)
            assert (row.generation, row.bound_by, row.revoked_why) == (1, "dbsc", None)


async def test_pages_without_the_cookie_load_themselves_again(site: Site) -> None:
    """Once, so that the browser renews it; then they ask to sign in. If the browser could not reach us, they say so."""
    browser = await site.browser().bound("split")
    site.clock.advance(seconds=ACCESS_LIFETIME_S)
    first = await browser.client.get("/account")
    assert 'content="0;url=/account?here="' in first.text
    second = await browser.client.get("/account?here=")
    assert (second.status_code, second.headers["location"]) == (303, "/sign-in")
    assert "autocomplete" in (await browser.client.get("/sign-in")).text
    skipped = await browser.client.get("/account", headers={"secure-session-skipped": "server_error"})
    assert skipped.status_code == 503
    assert not set_cookies(skipped)
    assert (await browser.renew()).status_code == 200
    assert "Where you are signed in" in (await browser.client.get("/account")).text


ENDING = ("/logout", "/revoke", "/account/sign-out")
"""What takes any token of a session: signing out needs no signature."""
OWNER = "Ada the owner"
"""What every answer to the person shows, and no answer to others."""


@pytest.mark.parametrize("kind", ["cookie", "split", "json"])
async def test_no_endpoint_serves_a_copy_after_the_access_token(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every path of API and pages is asked with all cookies and tokens of a bound session, and nothing changes (R46)."""
    paths: set[str] = set()
    monkeypatch.setattr(Edge, "endpoint", _recording(Edge.endpoint, paths))
    mail: dict[str, Any] = {
        "smtp_url": "smtp://mail.example.com:25",
        "mail_from": "Handstamp <no-reply@example.com>",
        "sign_in_by_code": "on",
    }
    async with site_in(tmp_path, **mail, impersonation="write") as site:
        browser = await site.browser().bound(kind) if kind != "json" else site.browser()
        if kind == "json":
            signed = {"htm": "POST", "htu": f"{ISSUER}/login", "iat": site.clock() // 1000, "jti": "j"}
            proof = browser.device.sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": browser.device.jwk}, signed)
            browser.client.headers["dpop"] = proof
            answer = await browser.sign_in("json")
        else:
            answer = await browser.client.post("/refresh")
        tokens, account = answer.json(), (await site.snapshot(browser.sid))[1]
        await site.running.store.transact(lambda rows: rows.accounts.update(msgspec.structs.replace(account, name=OWNER)))
        thief = site.browser().client
        thief.cookies.update(browser.client.cookies)
        headers = {"authorization": f"DPoP {tokens['accessToken']}"} if "accessToken" in tokens else {}

        async def ask(method: str, path: str, **content: Any) -> bool:
            answer = await thief.request(method, re.sub(r"{\w+}", browser.sid, path), headers=headers, **content)
            kept = {name for name, cookie in set_cookies(answer).items() if cookie.attributes["max-age"] != "0"}
            return bool(kept & {ACCESS, REFRESH, PASS}) or OWNER in answer.text or '"accessToken":' in answer.text

        if kind != "json":
            headers["authorization"] = f"Bearer {tokens.get('accessToken', thief.cookies.get(ACCESS))}"
            assert [path for path in ("/account", "/profile", "/nowhere") if await ask("GET", path)] == ["/account", "/profile"]
        site.clock.advance(seconds=ACCESS_LIFETIME_S + LEEWAY_S)
        before = await site.snapshot(browser.sid)
        document = (await thief.get("/openapi.json")).json()["paths"]
        for path in sorted(paths - set(ENDING)):
            assert not await ask("GET", path), path
            assert not await ask("POST", path, data={"refresh_token": tokens.get("refreshToken", "")}), path
            for method, operation in document.get(path, {}).items():
                (sent,) = operation.get("requestBody", {"content": {"": {}}})["content"].values()
                body = sent.get("example", {}) | ({"refreshToken": tokens.get("refreshToken")} if path == "/refresh" else {})
                assert not await ask(method, path, json=body), (method, path)
        assert await site.snapshot(browser.sid) == before
