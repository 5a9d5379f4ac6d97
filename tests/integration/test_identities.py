"""Adding and removing other services, signing in with them as a program, their sign-outs, and their tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from handstamp.assemble.application import make_application
from handstamp.config.secret_file import load_master_secret
from handstamp.domain.attempt import AWAY_MS
from handstamp.domain.mail import IdentityChanged
from handstamp.domain.provider import ProviderLogout, ProviderTokens
from handstamp.domain.session import FRESH_MS
from handstamp.embedded import Handstamp
from handstamp.errors import NotFound, ProviderRefused
from handstamp.service.mailing.outbox import Letters
from handstamp.service.parts.caller import Caller
from tests.authenticator import Authenticator
from tests.builders import Clock
from tests.deployment import ISSUER, caller, deployed
from tests.devices import Device, challenge_in
from tests.integration.helpers import expect_ended, expect_problem, read_claims
from tests.integration.test_provider_sign_in import ADA, EMAIL, PASSWORD, events_of, sessions_of
from tests.postgres import fresh_database
from tests.providers import (
    FROM_THERE,
    HERE,
    FakeProvider,
    Visitor,
    add_provider,
    create_account,
    fields_of,
    open_browser,
    state_of,
    visiting,
)

pytestmark = pytest.mark.anyio
GOOGLE = "https://google.example"
BACK = "http://127.0.0.1:7777/back"


class Program:
    """A program without cookies, whose person uses a browser that has none of its cookies either."""

    def __init__(self, visitor: Visitor) -> None:
        """Use the service of a visitor."""
        self.visitor, self.provider = visitor, visitor.provider
        self.client = open_browser(visitor.running)
        self.token: dict[str, str] = {}

    async def begin(self, path: str = "/login/with/google", **body: Any) -> dict[str, Any]:
        """Ask for the URL."""
        answer = await self.client.post(path, json={"returnTo": BACK} | body, headers=self.token)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def go(self, begun: dict[str, Any], **person: Any) -> dict[str, Any]:
        """Let the person sign in there. Return what the program completes the sign-in with."""
        asked = self.provider.began[-1]["request"]
        query = {"state": asked.state, "code": self.provider.sign_in(**person)}
        answer = await self.client.get("/sign-in/with/google/callback", params=query, headers=FROM_THERE)
        assert answer.status_code == 303, answer.text
        there = answer.headers["location"]
        assert there.startswith(f"{BACK}?")
        return {"challenge": begun["challenge"], "ticket": begun["ticket"], "answer": fields_of(there)}

    async def sign_in(self, **person: Any) -> dict[str, Any]:
        """Sign in."""
        body = await self.go(await self.begin(), **person)
        answer = await self.client.post("/login/with/google/complete", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        self.token = {"authorization": f"Bearer {found['accessToken']}"}
        return found


async def test_a_program_signs_in_with_a_browser(tmp_path: Path) -> None:
    """The answer comes to its own address, and is of use with its challenge and its ticket alone."""
    async with visiting(tmp_path) as visitor:
        program = Program(visitor)
        found = await program.sign_in(**ADA)
        assert read_claims(found["accessToken"])["amr"] == ["fed"]
        assert found["refreshToken"]
        body = await program.go(await program.begin(), **ADA)
        other = await program.begin()
        for change in ({"ticket": other["ticket"]}, {"challenge": other["challenge"]}, {"challenge": "x"}):
            answer = await program.client.post("/login/with/google/complete", json=body | change)
            expect_problem(answer, 422, "invalid_challenge")
        assert (await program.client.post("/login/with/google/complete", json=body)).status_code == 200


async def test_an_answer_that_was_sent_to_a_thief_opens_nothing(tmp_path: Path) -> None:
    """The attack: Eve begins as a program and sends Ada the URL. The answer goes to a program on Ada's machine, not to Eve."""
    async with visiting(tmp_path, trusted_origins=("https://app.example.com",)) as visitor:
        eve = Program(visitor)
        for return_to in (
            "https://evil.example/",
            "http://192.0.2.7:80/",
            "http://localhost:80/",
            "http://127.0.0.1:80@evil.example/",
            "",
        ):
            answer = await eve.client.post("/login/with/google", json={"returnTo": return_to})
            expect_problem(answer, 422, "invalid_request")
        answer = await eve.client.post("/login/with/google", json={"returnTo": "https://app.example.com/back?a=b"})
        assert answer.status_code == 200
        state = visitor.provider.began[-1]["request"].state
        for forged in (state[:43] + "x" * (len(state) - 43), "y" * 43 + state[43:]):
            found = await visitor.client.get("/sign-in/with/google/callback", params={"state": forged}, headers=FROM_THERE)
            assert "location" not in found.headers
        visitor.clock.advance(seconds=AWAY_MS // 1000)
        found = await visitor.client.get("/sign-in/with/google/callback", params={"state": state}, headers=FROM_THERE)
        assert "location" not in found.headers


async def test_a_page_of_an_application_gets_the_url(tmp_path: Path) -> None:
    """From a browser, the service completes the sign-in, and the answer holds no secret."""
    async with visiting(tmp_path, trusted_origins=("https://app.example.com",)) as visitor:
        headers = {"origin": "https://app.example.com", "sec-fetch-site": "same-site"}
        body = {"returnTo": "https://app.example.com/orders"}
        begun = await visitor.client.post("/login/with/google", json=body, headers=headers)
        assert begun.json().keys() == {"url", "expiresIn"}
        state = visitor.provider.began[-1]["request"].state
        answer = await visitor.come_back(state, code=visitor.provider.sign_in(**ADA))
        assert answer.headers["location"] == "https://app.example.com/orders"
        assert await visitor.whoami() == EMAIL
        assert (await visitor.client.get("/providers")).json() == {"providers": [{"name": "google", "label": "Google"}]}


async def add_by_page(visitor: Visitor, **person: Any) -> httpx.Response:
    """Press the button of the account's page, and sign in at the provider."""
    page = await visitor.send("/account/identities", provider="google")
    assert page.status_code == 200, page.text
    assert "nonce=n%3B1" in page.text
    state = visitor.provider.began[-1]["request"].state
    return await visitor.come_back(state, code=visitor.provider.sign_in(**person))


async def sign_in_by_page(visitor: Visitor) -> None:
    """Type the address and the password."""
    answer = await visitor.send("/sign-in", email=EMAIL, password=PASSWORD)
    assert answer.status_code == 303, answer.text


async def test_a_person_adds_a_provider_and_removes_it(tmp_path: Path) -> None:
    """On the page of the account: any person there, whatever their address. Both are recorded and told by mail."""
    mail: dict[str, Any] = {"smtp_url": "smtp://mail.example.com:25", "mail_from": "Handstamp <no-reply@example.com>"}
    async with visiting(tmp_path, **mail) as visitor:
        account = await create_account(visitor, password=PASSWORD, is_verified=False)
        await sign_in_by_page(visitor)
        visitor.clock.advance(seconds=1)
        answer = await add_by_page(visitor, subject="work-1", email="a.lovelace@work.example", email_verified=False)
        assert answer.headers["location"] == "/account/sign-in?done=linked"
        page = await visitor.page("/account/sign-in?done=linked")
        assert "a.lovelace@work.example" in page
        assert await visitor.whoami() == EMAIL
        assert await sessions_of(visitor, account.id) == 1

        async with open_browser(visitor.running) as client:
            other = Visitor(visitor.running, visitor.clock, client, visitor.provider)
            await other.sign_in(subject="work-1", email="", email_verified=False)
            assert await other.whoami() == EMAIL

        (identity,) = await visitor.identities()
        assert (await visitor.send("/account/identities/remove", id=identity.id)).headers["location"].endswith("done=unlinked")
        assert await visitor.identities() == []
        kinds = [event.kind for event in await events_of(visitor, account.id) if event.kind.startswith("identity")]
        assert kinds == ["identity_linked", "identity_unlinked"]
        mails = await visitor.running.store.read(lambda rows: rows.mails.list_of(account.id, limit=9))
        assert [mail.kind for mail in mails] == ["identity_changed"] * 2


@pytest.mark.parametrize("has_factor", [False, True])
async def test_a_provider_that_a_thief_added_is_undone(tmp_path: Path, has_factor: bool) -> None:
    """By the link of its mail, if the password alone was enough to add it. With a second factor there is no link."""
    mail: dict[str, Any] = {"smtp_url": "smtp://mail.example.com:25", "mail_from": "Handstamp <no-reply@example.com>"}
    async with visiting(tmp_path, **mail) as visitor:
        account = await create_account(visitor, password=PASSWORD, is_verified=True)
        await sign_in_by_page(visitor)
        if has_factor:
            token = (await visitor.client.post("/refresh", headers=HERE)).json()["accessToken"]
            own = {"authorization": f"Bearer {token}"}
            begun = (await visitor.client.post("/totp", json={}, headers=HERE | own)).json()
            code = pyotp.TOTP(begun["secret"].replace(" ", "")).at(visitor.clock() // 1000)
            body = {"enrolment": begun["enrolment"], "code": code}
            assert (await visitor.client.post("/totp/confirm", json=body, headers=HERE | own)).status_code == 200
        visitor.clock.advance(seconds=1)
        await add_by_page(visitor, subject="thief", email="eve@example.net", email_verified=True)
        mails = await visitor.running.store.read(lambda rows: rows.mails.list_of(account.id, limit=9))
        letters = map(Letters(load_master_secret(visitor.running.settings)).open, mails)
        (link,) = [letter.content.undo_link for letter in letters if isinstance(letter.content, IdentityChanged)]
        assert (link == "") is has_factor
        if has_factor:
            return
        answer = await visitor.client.post("/factors/undo", json={"token": link.partition("token=")[2]}, headers=HERE)
        assert answer.status_code == 204, answer.text
        assert await visitor.identities() == []
        assert await sessions_of(visitor, account.id) == 0
        async with open_browser(visitor.running) as client:
            thief = Visitor(visitor.running, visitor.clock, client, visitor.provider)
            await thief.sign_in(subject="thief", email="eve@example.net", email_verified=True)
            assert await thief.whoami() == "eve@example.net", "an account of their own, and not Ada's"


async def test_another_browser_does_not_add_its_person(tmp_path: Path) -> None:
    """The attack: Eve begins to add a provider in her browser, and brings Ada's to the end of it with Eve's answer."""
    async with visiting(tmp_path) as visitor, open_browser(visitor.running) as client:
        eve = Visitor(visitor.running, visitor.clock, client, visitor.provider)
        await eve.sign_in(subject="eve-9", email="eve@example.com", email_verified=True)
        await create_account(visitor, password=PASSWORD, is_verified=True)
        await sign_in_by_page(visitor)
        await eve.send("/account/identities", provider="google")
        state = visitor.provider.began[-1]["request"].state
        answer = await visitor.come_back(state, code=visitor.provider.sign_in(subject="eve-8"))
        assert answer.status_code == 422
        assert await visitor.identities() == []
        # And the answer of a sign-in adds nothing, nor the other way round.
        program = Program(visitor)
        program.token = {"authorization": f"Bearer {(await visitor.client.post('/refresh', headers=HERE)).json()['accessToken']}"}
        body = await program.go(await program.begin(), subject="eve-8")
        answer = await program.client.post("/identities/with/google/complete", json=body, headers=program.token)
        expect_problem(answer, 422, "invalid_challenge")
        body = await program.go(await program.begin("/identities/with/google"), subject="eve-8")
        expect_problem(await program.client.post("/login/with/google/complete", json=body), 422, "invalid_challenge")


async def test_a_link_needs_the_session_in_which_it_began(tmp_path: Path) -> None:
    """One that has ended, or another one of the person or of somebody else, adds nothing."""
    async with visiting(tmp_path) as visitor:
        program, other = Program(visitor), Program(visitor)
        await program.sign_in(**ADA)
        await other.sign_in(subject="eve-9", email="eve@example.com", email_verified=True)
        body = await program.go(await program.begin("/identities/with/google"), subject="ada-2")
        answer = await other.client.post("/identities/with/google/complete", json=body, headers=other.token)
        expect_problem(answer, 422, "invalid_challenge")
        await visitor.running.sign_out.end_all((await visitor.account()).id, caller(visitor.clock))
        answer = await program.client.post("/identities/with/google/complete", json=body, headers=program.token)
        expect_ended(answer, "logout_everywhere")
        assert [each.subject for each in await visitor.identities()] == ["ada-1"]


async def test_a_page_adds_only_what_the_session_of_the_browser_has_begun(tmp_path: Path) -> None:
    """Without the session's cookies nothing is added, nor when its access ends that a key must renew (W3C DBSC)."""
    async with visiting(tmp_path) as visitor:
        await create_account(visitor, password=PASSWORD, is_verified=True)
        device = Device()
        for is_bound in (False, True):
            answer = await visitor.send("/sign-in", email=EMAIL, password=PASSWORD)
            invitation = challenge_in(answer.headers["secure-session-registration"])
            if is_bound:
                proof = {"secure-session-response": device.prove(invitation, registers=True)}
                assert (await visitor.client.post("/device/start", headers=HERE | proof)).json()["session_identifier"]
            assert (await visitor.send("/account/identities", provider="google")).status_code == 200
            state = visitor.provider.began[-1]["request"].state
            if is_bound:
                visitor.clock.advance(seconds=900)
            else:
                visitor.client.cookies.delete("__Host-handstamp-refresh")
            answer = await visitor.come_back(state, code=visitor.provider.sign_in(subject="thief-1"))
            assert answer.headers["location"].startswith("/sign-in"), answer.text
            assert await visitor.identities() == []


async def test_an_old_proof_adds_and_removes_nothing(tmp_path: Path) -> None:
    """A session that is a while old asks who it is first."""
    async with visiting(tmp_path) as visitor:
        await visitor.sign_in(**ADA)
        visitor.clock.advance(seconds=FRESH_MS // 1000)
        token = (await visitor.client.post("/refresh", headers=HERE)).json()["accessToken"]
        bearer = HERE | {"authorization": f"Bearer {token}"}
        (identity,) = await visitor.identities()
        for answer in (
            await visitor.client.post("/identities/with/google", json={"returnTo": BACK}, headers=bearer),
            await visitor.client.delete(f"/identities/{identity.id}", headers=bearer),
        ):
            expect_problem(answer, 401, "insufficient_user_authentication")
        answer = await visitor.send("/account/identities/remove", id=identity.id)
        assert answer.headers["location"].startswith("/sign-in?again")


async def test_a_person_at_a_provider_has_one_account(tmp_path: Path) -> None:
    """Adding one that is another account's is refused; adding one's own again changes nothing."""
    async with visiting(tmp_path) as visitor:
        await visitor.sign_in(**ADA)
        async with open_browser(visitor.running) as client:
            bob = Visitor(visitor.running, visitor.clock, client, visitor.provider)
            await bob.sign_in(subject="bob", email="bob@example.com", email_verified=True)
            answer = await add_by_page(bob, **ADA)
            assert answer.status_code == 409
            assert "belongs to another account here" in answer.text
            assert (await add_by_page(bob, subject="bob")).status_code == 303
            assert [each.subject for each in await bob.identities("bob@example.com")] == ["bob"]


async def test_the_last_way_stays(tmp_path: Path) -> None:
    """Until there is a password, which a person without one sets after a fresh sign-in; then the provider can go."""
    async with visiting(tmp_path) as visitor:
        await visitor.sign_in(**ADA)
        (identity,) = await visitor.identities()
        answer = await visitor.send("/account/identities/remove", id=identity.id)
        assert answer.status_code == 409
        assert "This is your only way to sign in." in answer.text
        token = (await visitor.client.post("/refresh", headers=HERE)).json()["accessToken"]
        answer = await visitor.client.delete(f"/identities/{identity.id}", headers=HERE | {"authorization": f"Bearer {token}"})
        expect_problem(answer, 409, "last_way")
        expect_problem(
            await visitor.client.delete("/identities/unknown", headers=HERE | {"authorization": f"Bearer {token}"}),
            404,
            "not_found",
        )
        page = await visitor.page("/account/sign-in")
        assert "Your account has no password." in page
        assert "current_password" not in page
        assert (await visitor.send("/account/password", new_password="short")).status_code == 422
        assert (await visitor.send("/account/password", new_password=PASSWORD)).status_code == 303
        answer = await visitor.send("/account/password", new_password="another kelp lantern rivet 41")
        assert answer.status_code == 422  # now there is one, and it must be shown
        visitor.clock.advance(seconds=1)
        assert (await visitor.send("/account/identities/remove", id=identity.id)).status_code == 303
        assert (await Program(visitor).client.post("/login", json={"email": EMAIL, "password": PASSWORD})).status_code == 200


async def test_a_passkey_is_another_way(tmp_path: Path) -> None:
    """A person whose only way in is a provider adds a passkey. Then the provider can go, and the passkey signs in alone."""
    async with visiting(tmp_path) as visitor:
        program = Program(visitor)
        await program.sign_in(**ADA)
        (identity,) = await visitor.identities()
        begun = (await program.client.post("/passkeys/options", json={}, headers=program.token)).json()
        device = Authenticator(ISSUER)
        made = {"passkeyChallenge": begun["challenge"], "ticket": begun.get("ticket"), "passkey": device.make(begun["publicKey"])}
        assert (await program.client.post("/passkeys", json=made, headers=program.token)).status_code == 201
        removed = await program.client.delete(f"/identities/{identity.id}", headers=program.token)
        assert removed.status_code == 204, removed.text
        begun = (await program.client.post("/login/passkey/options", json={})).json()
        proof = {"challenge": begun["challenge"], "ticket": begun.get("ticket"), "passkey": device.use(begun["publicKey"])}
        signed_in = await program.client.post("/login/passkey", json=proof)
        assert read_claims(signed_in.json()["accessToken"])["amr"] != ["fed"]


async def test_a_program_binds_the_session_to_its_key(tmp_path: Path) -> None:
    """The proof comes with the request that completes the sign-in, as with every other way (RFC 9449 §5)."""
    async with visiting(tmp_path) as visitor:
        program, device = Program(visitor), Device()
        body = await program.go(await program.begin(), **ADA)
        path = "/login/with/google/complete"
        claims = {"jti": "jti-1", "htm": "POST", "htu": f"{ISSUER}{path}", "iat": visitor.clock() // 1000}
        proof = device.sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": device.jwk}, claims)
        answer = await program.client.post(path, json=body, headers={"dpop": proof})
        assert answer.json()["tokenType"] == "DPoP", answer.text
        assert read_claims(answer.json()["accessToken"])["cnf"] == {"jkt": device.key.kid}


async def test_a_provider_that_is_gone_is_no_way(tmp_path: Path) -> None:
    """Links to one that the settings have no more count for nothing, and can be removed."""
    github = FakeProvider("github")
    async with visiting(tmp_path, github) as visitor:
        await visitor.sign_in(**ADA)
        state = await visitor.leave(provider="github")
        await visitor.come_back(state, provider="github", code=github.sign_in(**ADA | {"subject": "77"}))
        mapping: Any = visitor.running.providers
        del mapping["github"]
        ours = {each.provider: each for each in await visitor.identities()}
        assert (await visitor.send("/account/identities/remove", id=ours["google"].id)).status_code == 409
        assert (await visitor.send("/account/identities/remove", id=ours["github"].id)).status_code == 303


async def test_a_first_password_needs_a_fresh_proof(tmp_path: Path) -> None:
    """The attack: an open browser gets a password that only the attacker knows."""
    async with visiting(tmp_path) as visitor:
        await visitor.sign_in(**ADA)
        visitor.clock.advance(seconds=FRESH_MS // 1000)
        token = (await visitor.client.post("/refresh", headers=HERE)).json()["accessToken"]
        answer = await visitor.client.post(
            "/password", json={"newPassword": PASSWORD}, headers=HERE | {"authorization": f"Bearer {token}"}
        )
        expect_problem(answer, 401, "insufficient_user_authentication")


def logout_of(visitor: Visitor, token: str, **fields: Any) -> str:
    """Let the provider sign a logout token."""
    now_ms = visitor.clock()
    usual: dict[str, Any] = {
        "subject": "ada-1",
        "session_id": "",
        "token_id": token,
        "issued_at_ms": now_ms,
        "expires_at_ms": now_ms + 120_000,
    }
    visitor.provider.logouts[token] = ProviderLogout(provider="google", issuer=GOOGLE, **usual | fields)
    return token


async def send_logout(visitor: Visitor, token: str, provider: str = "google") -> httpx.Response:
    """Send a logout token, as a provider does."""
    async with open_browser(visitor.running) as client:
        return await client.post(f"/backchannel-logout/{provider}", data={"logout_token": token})


async def test_signing_out_there_ends_the_sessions_that_began_there(tmp_path: Path) -> None:
    """Those of the session that the token names, or all of the person; never those that began another way."""
    async with visiting(tmp_path) as visitor:
        account = await create_account(visitor, password=PASSWORD, is_verified=True)
        await visitor.client.post("/login", json={"email": EMAIL, "password": PASSWORD})
        programs = [Program(visitor) for _ in range(3)]
        found = [await each.sign_in(**ADA, session_id=name) for each, name in zip(programs, ("a", "b", ""), strict=True)]
        assert await sessions_of(visitor, account.id) == 4
        answer = await send_logout(visitor, logout_of(visitor, "1", session_id="a"))
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        profile = await programs[0].client.get("/profile", headers=programs[0].token)
        expect_ended(profile, "provider_logout")
        assert await sessions_of(visitor, account.id) == 3
        assert (await send_logout(visitor, logout_of(visitor, "2"))).status_code == 200
        assert await sessions_of(visitor, account.id) == 1
        ended = [event.detail for event in await events_of(visitor, account.id) if event.kind == "session_ended"]
        assert ended == [{"why": "provider_logout"}] * 3
        assert len(found) == 3


async def test_a_logout_token_counts_once_and_for_what_was_before_it(tmp_path: Path) -> None:
    """The attack: a token is sent again, or is held back, to sign a person out who has signed in since."""
    async with visiting(tmp_path) as visitor:
        token = logout_of(visitor, "1")
        held_back = logout_of(visitor, "2")
        assert (await send_logout(visitor, token)).status_code == 200
        visitor.clock.advance(seconds=61)
        await visitor.sign_in(**ADA)
        answer = await send_logout(visitor, token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert (await send_logout(visitor, held_back)).status_code == 200
        assert (await send_logout(visitor, "forged")).status_code == 400
        assert await visitor.whoami() == EMAIL
        assert (await send_logout(visitor, token, "nobody")).status_code == 404


async def test_a_logout_stops_a_sign_in_that_is_in_progress(tmp_path: Path) -> None:
    """It arrives while the person types the second factor: no session begins."""
    async with visiting(tmp_path, second_factor="required") as visitor:
        await visitor.sign_in(**ADA, session_id="a")
        page = await visitor.page("/sign-in/enrol/totp")
        visitor.clock.advance(seconds=1)
        assert (await send_logout(visitor, logout_of(visitor, "1", session_id="a"))).status_code == 200
        enrolment, challenge = (
            page.split(f'name="{name}" value="', 1)[1].split('"', 1)[0] for name in ("enrolment", "challenge")
        )
        secret = page.split('class="key"', 1)[1].split(">", 1)[1].split("<", 1)[0].replace(" ", "").strip()
        code = code_of(secret, visitor.clock)
        await visitor.send("/sign-in/enrol/totp", enrolment=enrolment, challenge=challenge, code=code)
        answer = await visitor.send("/sign-in/second-step", challenge=challenge, way="totp")
        assert answer.status_code in (403, 422), answer.status_code
        assert await visitor.whoami() == ""
        assert await visitor.identities() == []


def code_of(secret: str, clock: Clock) -> str:
    """Return the code of an authenticator app."""
    return pyotp.TOTP(secret).at(clock() // 1000)


async def test_tokens_are_kept_and_renewed(tmp_path: Path) -> None:
    """Sealed; the application gets valid ones, renewed once for many who ask at the same time."""
    async with visiting(tmp_path) as visitor:
        kept = ProviderTokens(access_token="at-0", refresh_token="rt-0", expires_at_ms=visitor.clock() + 120_000)
        await visitor.sign_in(**ADA, tokens=kept)
        account, get = await visitor.account(), visitor.running.kept_tokens
        row = await visitor.running.store.read(lambda rows: rows.identities.get_tokens(GOOGLE, "ada-1"))
        assert row is not None
        assert b"at-0" not in row.sealed
        assert await get(account.id, "google", caller(visitor.clock)) == kept
        visitor.clock.advance(seconds=61)
        found = await asyncio.gather(*(get(account.id, "google", caller(visitor.clock)) for _ in range(3)))
        assert [each.access_token for each in found] == ["at-1"] * 3
        assert visitor.provider.renewed == [kept]
        with pytest.raises(NotFound):
            await get("nobody", "google", caller(visitor.clock))
        visitor.provider.refuses_renewal = True
        visitor.clock.advance(seconds=4000)
        with pytest.raises(ProviderRefused):
            await get(account.id, "google", caller(visitor.clock))


async def test_a_sign_in_without_a_refresh_token_keeps_the_one_before(tmp_path: Path) -> None:
    """Google gives one at the first consent alone."""
    async with visiting(tmp_path) as visitor:
        expires_at_ms = visitor.clock() + 120_000
        await visitor.sign_in(**ADA, tokens=ProviderTokens(access_token="a", refresh_token="rt-0", expires_at_ms=expires_at_ms))
        await visitor.sign_in(**ADA, tokens=ProviderTokens(access_token="b", expires_at_ms=expires_at_ms))
        account, get = await visitor.account(), visitor.running.kept_tokens
        assert (await get(account.id, "google", caller(visitor.clock))).access_token == "b"
        visitor.clock.advance(seconds=120)
        assert (await get(account.id, "google", caller(visitor.clock))).access_token == "at-1"
        assert [each.refresh_token for each in visitor.provider.renewed] == ["rt-0"]


async def test_all_of_it_is_exported_and_deleted(tmp_path: Path) -> None:
    """Without the tokens."""
    async with visiting(tmp_path) as visitor:
        program = Program(visitor)
        await program.sign_in(**ADA, session_id="a", tokens=ProviderTokens(access_token="hush"))
        export = (await program.client.get("/me/export", headers=program.token)).json()
        (identity, session) = export["identities"]
        assert (identity["issuer"], identity["subject"], session["atProvider"]) == (GOOGLE, "ada-1", "a")
        assert "hush" not in str(export)
        answer = await program.client.post("/me/delete", json={"email": EMAIL}, headers=program.token)
        assert answer.status_code == 204

        async def left(rows: Any) -> list[Any]:
            return [
                await rows.identities.get(GOOGLE, "ada-1"),
                await rows.identities.get_tokens(GOOGLE, "ada-1"),
                *await rows.provider_sessions.list_named(GOOGLE, subject="ada-1", at_provider="", after="", limit=9),
            ]

        assert await visitor.running.store.read(left) == [None, None]


@asynccontextmanager
async def two_nodes(folder: Path, server: str) -> AsyncIterator[tuple[Visitor, Visitor]]:
    """Run two nodes on one store with one provider, and one browser whose requests go to either."""
    clock, provider = Clock(), FakeProvider()
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {"secret": "a master secret of a test: 0123456789abcdef"}
        if server:
            settings["database"] = await stack.enter_async_context(fresh_database(server))
        visitors = []
        for _ in range(2):
            running = await stack.enter_async_context(deployed(folder, clock, **settings))
            await running.keys.maintain(running.clock())
            add_provider(running, provider)
            client = await stack.enter_async_context(open_browser(running))
            visitors.append(Visitor(running, clock, client, provider))
        visitors[1].client._cookies = visitors[0].client.cookies  # one browser
        yield visitors[0], visitors[1]


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_two_nodes_share_a_sign_in(tmp_path: Path, store: str, request: pytest.FixtureRequest) -> None:
    """It begins at one and ends at the other; of two at once with one answer, both show the one session."""
    server = request.getfixturevalue("postgres_server") if store == "postgres" else ""
    async with two_nodes(tmp_path, server) as (here, there):
        state = await here.leave()
        answer = await there.come_back(state, code=here.provider.sign_in(**ADA))
        assert answer.headers["location"] == "/account"
        assert await here.whoami() == EMAIL
        state = await here.leave()
        code = here.provider.sign_in(**ADA)
        answers = await asyncio.gather(here.come_back(state, code=code), there.come_back(state, code=code))
        assert [each.headers.get("location") for each in answers] == ["/account"] * 2, [each.text for each in answers]
        now = Caller(now_ms=here.running.clock())  # PostgreSQL keeps its own time
        found, _ = await here.running.sessions.list_all((await here.account()).id, now)
        assert len(found) == 1


async def test_a_server_of_the_application_gets_the_token(tmp_path: Path) -> None:
    """With its credential and the person's access token; with one of them alone, nobody does."""
    async with visiting(tmp_path) as visitor:
        program = Program(visitor)
        found = await program.sign_in(**ADA, tokens=ProviderTokens(access_token="at-0", scope="calendar"))
        credential, secret = await visitor.running.credentials.create("orders", caller(visitor.clock))
        ours, body = (credential.id, secret), {"provider": "google", "accessToken": found["accessToken"]}
        answer = await program.client.post("/identities/token", json=body, auth=ours)
        assert answer.json() == {"accessToken": "at-0", "scope": "calendar"}
        assert answer.headers["cache-control"] == "no-store"
        expect_problem(await program.client.post("/identities/token", json=body, headers=program.token), 401, "invalid_client")
        forged = body | {"accessToken": found["refreshToken"]}
        expect_problem(await program.client.post("/identities/token", json=forged, auth=ours), 401, "invalid_token")
        unknown = body | {"provider": "github"}
        expect_problem(await program.client.post("/identities/token", json=unknown, auth=ours), 404, "not_found")
        await visitor.running.sign_out.end_all((await visitor.account()).id, caller(visitor.clock))
        expect_ended(await program.client.post("/identities/token", json=body, auth=ours), "logout_everywhere")


async def test_it_works_inside_an_application(tmp_path: Path) -> None:
    """Under the path at which the application has mounted it, and with its own way to the tokens."""
    clock, provider = Clock(), FakeProvider()
    auth = Handstamp(clock=clock, database=f"sqlite:///{tmp_path}/app.db", issuer="http://localhost:9000/auth")
    add_provider(auth._deployment, provider)
    auth._application = make_application(auth._deployment)
    transport = httpx.ASGITransport(Starlette(routes=[Mount("/auth", auth.asgi)]))
    async with auth, httpx.AsyncClient(transport=transport, base_url="http://localhost:9000", headers=HERE) as client:
        page = (await client.get("/auth/sign-in")).text
        assert 'href="/auth/sign-in/with/google?' in page
        state = state_of((await client.get("/auth/sign-in/with/google?return_to=/orders")).headers["location"])
        assert provider.began[-1]["request"].redirect_uri == "http://localhost:9000/auth/sign-in/with/google/callback"
        query = {"state": state, "code": provider.sign_in(**ADA, tokens=ProviderTokens(access_token="at-0"))}
        first = await client.get("/auth/sign-in/with/google/callback", params=query)
        assert "0;url=/auth/sign-in/with/google/callback?" in first.text
        answer = await client.get("/auth/sign-in/with/google/callback", params=query | {"here": ""})
        assert answer.headers["location"] == "/orders"
        tokens = (await client.post("/auth/refresh")).json()
        subject = read_claims(tokens["accessToken"])["sub"]
        assert (await auth.provider_tokens(subject, "google")).access_token == "at-0"
