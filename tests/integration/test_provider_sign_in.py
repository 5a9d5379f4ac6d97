"""Signing in with another service over the pages: the whole way, and whose account it opens."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pyotp
import pytest

from handstamp.config.secret_file import load_master_secret
from handstamp.domain.attempt import AWAY_MS
from handstamp.domain.event import Event
from handstamp.domain.history import tell_event
from handstamp.domain.mail import ResetPassword
from handstamp.domain.provider import ProviderIdentity, ProviderRequest
from handstamp.errors import InvalidProviderAnswer
from handstamp.service.mailing.outbox import Letters
from handstamp.service.parts.caller import Caller
from handstamp.storage.store import Transaction
from tests.authenticator import Authenticator
from tests.builders import SECOND_MS
from tests.deployment import ISSUER, caller
from tests.integration.helpers import read_claims
from tests.mailed import token_in
from tests.postgres import fresh_database
from tests.providers import FROM_THERE, HERE, FakeProvider, Visitor, create_account, fields_of, open_browser, visiting

pytestmark = pytest.mark.anyio
EMAIL, PASSWORD = "ada@example.com", "kelp lantern rivet 41 of the tests"
ADA: dict[str, Any] = {"subject": "ada-1", "email": "Ada@Example.com", "email_verified": True, "name": "Ada Lovelace"}
MAIL: dict[str, Any] = {"smtp_url": "smtp://mail.example.com:25", "mail_from": "Handstamp <no-reply@example.com>"}
APP = "https://app.example.com/orders?page=2"


async def events_of(visitor: Visitor, subject: str) -> list[Event]:
    """Return all that is recorded of an account."""
    found = await visitor.running.store.read(lambda rows: rows.events.list_all_of(subject, after=0, limit=100))
    return [event for _, event in found]


async def sessions_of(visitor: Visitor, subject: str) -> int:
    """Return how many sessions of an account live."""
    return len((await visitor.running.sessions.list_all(subject, Caller(now_ms=visitor.running.clock())))[0])


async def test_the_whole_way(tmp_path: Path) -> None:
    """A new person gets an account, verified and without a password; the second time it is the same account."""
    async with visiting(tmp_path, trusted_origins=("https://app.example.com",)) as visitor:
        page = await visitor.page("/sign-in")
        assert 'href="/sign-in/with/google?return_to=&amp;delivery="' in page
        answer = await visitor.sign_in(f"?return_to={quote(APP)}", **ADA)
        assert (answer.status_code, answer.headers["location"]) == (303, APP)
        account = await visitor.account()
        assert (account.email_verified, account.password_hash, account.name) == (True, "", "Ada Lovelace")
        assert await visitor.whoami() == EMAIL
        (identity,) = await visitor.identities()
        assert (identity.issuer, identity.subject, identity.provider) == ("https://google.example", "ada-1", "google")
        kinds = [event.kind for event in await events_of(visitor, account.id)]
        assert kinds[:3] == ["account_created", "signed_in", "identity_linked"]

        async with open_browser(visitor.running) as client:
            again = Visitor(visitor.running, visitor.clock, client, visitor.provider)
            answer = await again.sign_in(**ADA | {"email": "moved@example.com", "email_verified": False})
            assert answer.headers["location"] == "/account"
            assert await again.whoami() == EMAIL
            assert [each.email for each in await again.identities()] == ["moved@example.com"]
            assert (await again.account()).id == account.id


async def test_the_session_is_like_any_other(tmp_path: Path) -> None:
    """One factor, whatever the provider says of its own; when the person signed in there is when they proved who they are."""
    async with visiting(tmp_path) as visitor:
        signed_in_s = visitor.clock() // 1000 - 700
        await visitor.sign_in(**ADA, amr=("pwd", "mfa"), auth_time_s=signed_in_s)
        token = (await visitor.client.post("/refresh", headers=HERE)).json()["accessToken"]
        claims = read_claims(token)
        assert (claims["amr"], claims["acr"], claims["auth_time"]) == (["fed"], "pwd", signed_in_s)
        event = next(each for each in await events_of(visitor, claims["sub"]) if each.kind == "signed_in")
        assert str(tell_event(event)).startswith("Signed in with Google from ")
        answer = await visitor.client.get("/me/export", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 401
        assert answer.json()["code"] == "insufficient_user_authentication"
        begun = await visitor.client.get("/confirm?return_to=/account/data", headers=HERE)
        assert begun.status_code == 303
        assert begun.headers["location"] == "/sign-in?again=&return_to=%2Faccount%2Fdata"
        page = await visitor.page(begun.headers["location"])
        assert 'href="/sign-in/with/google?again&amp;return_to=%2Faccount%2Fdata&amp;delivery=split"' in page
        await visitor.leave("?again")
        assert visitor.provider.began[-1]["max_age_s"] == 600


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_an_account_that_somebody_registered_before_is_taken_over(
    tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    """The attack: Eve registers Ada's address before Ada comes, with a password, an app, a passkey, a provider and a session."""
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {}
        if store == "postgres":
            database = await stack.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
            settings = {"database": database, "secret": "0123456789abcdef" * 4}
        visitor = await stack.enter_async_context(visiting(tmp_path, **settings))
        await visitor.running.keys.maintain(visitor.running.clock())  # PostgreSQL keeps its own time
        planted = await create_account(visitor, password=PASSWORD, is_verified=False)
        signed_in = await visitor.client.post("/login", json={"email": EMAIL, "password": PASSWORD})
        assert signed_in.status_code == 200, signed_in.text
        eves_token = {"authorization": f"Bearer {signed_in.json()['accessToken']}"}
        begun = (await visitor.client.post("/totp", json={}, headers=eves_token)).json()
        code = pyotp.TOTP(begun["secret"].replace(" ", "")).at(visitor.running.clock() // SECOND_MS)
        added = await visitor.client.post(
            "/totp/confirm", json={"enrolment": begun["enrolment"], "code": code}, headers=eves_token
        )
        assert added.status_code == 200
        asked = (await visitor.client.post("/passkeys/options", json={}, headers=eves_token)).json()
        made = {
            "passkeyChallenge": asked["challenge"],
            "ticket": asked.get("ticket"),
            "passkey": Authenticator(ISSUER).make(asked["publicKey"]),
        }
        assert (await visitor.client.post("/passkeys", json=made, headers=eves_token)).status_code == 201
        await link(visitor, eves_token, subject="eve-9", email="eve@example.com")

        async with open_browser(visitor.running) as client:
            ada = Visitor(visitor.running, visitor.clock, client, visitor.provider)
            answer = await ada.sign_in(**ADA)
            assert answer.headers["location"] == "/account"
            assert await ada.whoami() == EMAIL
            account = await ada.account()
            assert (account.id, account.password_hash, account.email_verified) == (planted.id, "", True)
            assert [each.subject for each in await ada.identities()] == ["ada-1"]
            found = await ada.running.list_factors(account)
            assert not found.factors.is_any
            assert found.factors.recovery_codes == 0
            assert await sessions_of(ada, account.id) == 1
            event = next(each for each in await events_of(ada, account.id) if each.kind == "account_taken_over")
            assert "proved by Google" in tell_event(event)

        assert (await visitor.client.get("/profile", headers=eves_token)).status_code == 401
        assert (await visitor.client.post("/login", json={"email": EMAIL, "password": PASSWORD})).status_code == 401
        await visitor.sign_in(subject="eve-9", email="eve@example.com", email_verified=True)
        assert (await visitor.account("eve@example.com")).id != planted.id


async def link(visitor: Visitor, token: dict[str, str], **person: object) -> None:
    """Add a person at the provider to the account of a token, as a program does."""
    there = "http://127.0.0.1:7777/back"
    begun = (await visitor.client.post("/identities/with/google", json={"returnTo": there}, headers=token)).json()
    state = visitor.provider.began[-1]["request"].state
    relayed = await visitor.client.get(
        "/sign-in/with/google/callback", params={"state": state, "code": visitor.provider.sign_in(**person)}, headers=FROM_THERE
    )
    assert relayed.headers["location"].startswith(f"{there}?")
    body = {"challenge": begun["challenge"], "ticket": begun["ticket"], "answer": fields_of(relayed.headers["location"])}
    done = await visitor.client.post("/identities/with/google/complete", json=body, headers=token)
    assert done.status_code == 200, done.text


async def test_who_resets_the_password_of_an_unproved_account_has_it_alone(tmp_path: Path) -> None:
    """The attack: Eve registers Ada's address, and adds her own provider and app. Ada proves it by resetting the password."""
    async with visiting(tmp_path, **MAIL) as visitor:
        planted = await create_account(visitor, password=PASSWORD, is_verified=False)
        signed_in = await visitor.client.post("/login", json={"email": EMAIL, "password": PASSWORD})
        eve = {"authorization": f"Bearer {signed_in.json()['accessToken']}"}
        await link(visitor, eve, subject="eve-9", email="eve@example.com")
        begun = (await visitor.client.post("/totp", json={}, headers=eve)).json()
        code = pyotp.TOTP(begun["secret"].replace(" ", "")).at(visitor.clock() // 1000)
        proof = {"enrolment": begun["enrolment"], "code": code}
        assert (await visitor.client.post("/totp/confirm", json=proof, headers=eve)).status_code == 200
        assert (await visitor.client.post("/password/reset", json={"email": EMAIL})).status_code == 202
        mails = await visitor.running.store.read(lambda rows: rows.mails.list_of(planted.id, limit=9))
        letters = map(Letters(load_master_secret(visitor.running.settings)).open, mails)
        content: Any = next(letter.content for letter in letters if isinstance(letter.content, ResetPassword))
        body = {"newPassword": "a sentence of Ada's own, hers alone", "token": token_in(content.link)}
        assert (await visitor.client.post("/password/reset/confirm", json=body)).status_code == 204
        visitor.client.cookies.clear()
        ada = await visitor.client.post("/login", json={"email": EMAIL, "password": body["newPassword"]})
        assert "accessToken" in ada.json(), "a planted app would ask her for its code"
        await visitor.sign_in(subject="eve-9", email="eve@example.com", email_verified=True)
        assert await visitor.whoami() == "eve@example.com"
        assert await visitor.identities() == []


async def test_an_address_that_the_provider_has_not_proved_opens_nothing(tmp_path: Path) -> None:
    """The attack: Eve types Ada's address at the provider. The answer is the same whether Ada has an account or not."""
    async with visiting(tmp_path) as visitor:
        pages = []
        for _ in range(2):
            answer = await visitor.sign_in(**ADA | {"subject": "eve-9", "email_verified": False})
            assert answer.status_code == 403
            assert "This sign-in belongs to no account here." in answer.text
            pages.append(answer.text.split("<form", maxsplit=1)[0])
            assert await visitor.whoami() == ""
            await create_account(visitor, password=PASSWORD, is_verified=False) if len(pages) == 1 else None
        assert pages[0] == pages[1]
        assert await visitor.identities() == []


async def test_a_proved_address_links_and_keeps_what_was_there(tmp_path: Path) -> None:
    """Both sides have proved it: password and sessions stay, and the person is told by mail."""
    async with visiting(tmp_path, **MAIL) as visitor:
        account = await create_account(visitor, password=PASSWORD, is_verified=True)
        assert (await visitor.client.post("/login", json={"email": EMAIL, "password": PASSWORD})).status_code == 200
        visitor.clock.advance(seconds=7200)
        async with open_browser(visitor.running) as client:
            other = Visitor(visitor.running, visitor.clock, client, visitor.provider)
            await other.sign_in(**ADA)
            assert await other.whoami() == EMAIL
        assert await sessions_of(visitor, account.id) == 2
        mails = await visitor.running.store.read(lambda rows: rows.mails.list_of(account.id, limit=9))
        assert [mail.kind for mail in mails] == ["identity_changed"]
        assert (await visitor.account()).password_hash == account.password_hash


async def test_two_providers_with_one_address_are_one_account(tmp_path: Path) -> None:
    """Each person there is linked by issuer and subject."""
    github = FakeProvider("github", preset="github")
    async with visiting(tmp_path, github) as visitor:
        await visitor.sign_in(**ADA)
        state = await visitor.leave(provider="github")
        await visitor.come_back(state, provider="github", code=github.sign_in(**ADA | {"subject": "77"}))
        assert {(each.provider, each.subject) for each in await visitor.identities()} == {("google", "ada-1"), ("github", "77")}


async def test_an_address_with_a_new_owner_at_the_provider_opens_nothing(tmp_path: Path) -> None:
    """The attack: Ada's company gives her address to Eve after she has left, who then signs in with the same provider."""
    async with visiting(tmp_path) as visitor:
        await visitor.sign_in(**ADA)
        async with open_browser(visitor.running) as client:
            eve = Visitor(visitor.running, visitor.clock, client, visitor.provider)
            answer = await eve.sign_in(**ADA | {"subject": "eve-9"})
            assert answer.status_code == 403
            assert await eve.whoami() == ""
        assert [each.subject for each in await visitor.identities()] == ["ada-1"]


async def test_no_account_is_created_where_registration_is_closed(tmp_path: Path) -> None:
    """Accounts that operators have created are linked."""
    async with visiting(tmp_path, registration="closed") as visitor:
        assert (await visitor.sign_in(**ADA)).status_code == 403
        await create_account(visitor, password=PASSWORD, is_verified=False)
        assert (await visitor.sign_in(**ADA)).status_code == 303


async def test_a_disabled_account_stays_closed(tmp_path: Path) -> None:
    """By its link as by its address."""
    async with visiting(tmp_path) as visitor:
        await visitor.sign_in(**ADA)
        await visitor.running.accounts.disable(EMAIL, caller(visitor.clock))
        for subject in ("ada-1", "ada-2"):
            answer = await visitor.sign_in(**ADA | {"subject": subject})
            assert answer.status_code == 403
            assert "This sign-in belongs to no account here." in answer.text
        assert await visitor.whoami() == ""


async def test_the_second_factor_comes_before_the_link(tmp_path: Path) -> None:
    """The attack: Eve has got into Ada's mailbox, and at the provider. Without Ada's app she leaves nothing."""
    async with visiting(tmp_path) as visitor:
        account = await create_account(visitor, password=PASSWORD, is_verified=True)
        signed_in = await visitor.client.post("/login", json={"email": EMAIL, "password": PASSWORD})
        token = {"authorization": f"Bearer {signed_in.json()['accessToken']}"}
        begun = (await visitor.client.post("/totp", json={}, headers=token)).json()
        app = pyotp.TOTP(begun["secret"].replace(" ", ""))
        code = app.at(visitor.clock() // SECOND_MS)
        await visitor.client.post("/totp/confirm", json={"enrolment": begun["enrolment"], "code": code}, headers=token)
        visitor.client.cookies.clear()
        visitor.clock.advance(seconds=30)

        state = await visitor.leave(f"?return_to={quote('/account/data')}")
        code = visitor.provider.sign_in(**ADA)
        answer = await visitor.come_back(state, code=code)
        assert answer.headers["location"] == "/sign-in/second-step?return_to=%2Faccount%2Fdata&delivery=split"
        assert await visitor.identities() == []
        assert await visitor.whoami() == ""
        back = await visitor.come_back(state, code=code)  # the browser's way back
        assert back.status_code in (303, 422)

        page = await visitor.page("/sign-in/second-step")
        challenge = page.split('name="challenge" value="', 1)[1].split('"', 1)[0]
        form = {"challenge": challenge, "way": "totp", "code": app.at(visitor.clock() // SECOND_MS)}
        answer = await visitor.send("/sign-in/second-step", **form)
        assert answer.status_code == 303, answer.text
        assert [each.subject for each in await visitor.identities()] == ["ada-1"]
        claims = read_claims((await visitor.client.post("/refresh", headers=HERE)).json()["accessToken"])
        assert (claims["amr"], claims["acr"]) == (["fed", "otp", "mfa"], "mfa")
        begun_there = await visitor.running.store.read(lambda rows: rows.provider_sessions.list_of(account.id, limit=9))
        assert [each.sid for each in begun_there] == [claims["sid"]]


async def test_who_must_have_a_second_factor_adds_one(tmp_path: Path) -> None:
    """The policy applies to people who come from a provider, too."""
    async with visiting(tmp_path, second_factor="required") as visitor:
        answer = await visitor.sign_in(**ADA)
        assert answer.headers["location"].startswith("/sign-in/enrol")
        assert await visitor.whoami() == ""


async def test_the_same_answer_twice_is_one_sign_in(tmp_path: Path) -> None:
    """Two at once, and one more after: the provider is asked once, and each browser page shows the same session."""
    async with visiting(tmp_path) as visitor:
        state = await visitor.leave()
        code = visitor.provider.sign_in(**ADA)
        answers = await asyncio.gather(*(visitor.come_back(state, code=code) for _ in range(2)))
        assert [each.headers["location"] for each in answers] == ["/account"] * 2
        assert visitor.provider.finished == 1
        account = await visitor.account()
        assert await sessions_of(visitor, account.id) == 1


async def test_the_way_back_ends_where_the_sign_in_had_led(tmp_path: Path) -> None:
    """Long after the sign-in is complete, its answer shows who is signed in, and nothing else."""
    async with visiting(tmp_path) as visitor:
        state = await visitor.leave(f"?return_to={quote('/account/data')}")
        trip = dict(visitor.client.cookies)
        code = visitor.provider.sign_in(**ADA)
        assert (await visitor.come_back(state, code=code)).headers["location"] == "/account/data"
        visitor.clock.advance(seconds=300)
        for name, value in trip.items():
            visitor.client.cookies.set(name, value, domain="auth.example.com")
        assert (await visitor.come_back(state, code=code)).headers["location"] == "/account/data"
        await visitor.send("/account/sign-out")
        for name, value in trip.items():
            visitor.client.cookies.set(name, value, domain="auth.example.com")
        answer = await visitor.come_back(state, code=code)
        assert answer.status_code == 422
        assert "Sign in again." in answer.text
        assert visitor.provider.finished == 1


async def test_two_tabs_sign_in_one_after_the_other(tmp_path: Path) -> None:
    """Each tab has its own sign-in; of more than three, the oldest is forgotten."""
    async with visiting(tmp_path) as visitor:
        states = [await visitor.leave() for _ in range(4)]
        trips = [name for name in visitor.client.cookies if "-trip-" in name]
        assert len(trips) == 3
        requests = [each["request"] for each in visitor.provider.began]
        for number in (1, 2):
            visitor.provider.began.append({"request": requests[number]})
            answer = await visitor.come_back(states[number], code=visitor.provider.sign_in(**ADA))
            assert answer.status_code == 303
        visitor.provider.began.append({"request": requests[0]})
        answer = await visitor.come_back(states[0], code=visitor.provider.sign_in(**ADA))
        assert "has not kept the cookie" in answer.text


async def test_without_cookies_the_page_says_so(tmp_path: Path) -> None:
    """And the answer of the provider signs nobody in elsewhere: the attack is a link to one's own answer."""
    async with visiting(tmp_path) as visitor:
        state = await visitor.leave()
        code = visitor.provider.sign_in(**ADA | {"subject": "eve-9", "email": "eve@example.com"})
        async with open_browser(visitor.running) as client:
            ada = Visitor(visitor.running, visitor.clock, client, visitor.provider)
            await ada.leave()
            answer = await ada.come_back(state, code=code)
            assert answer.status_code == 422
            assert "has not kept the cookie" in answer.text
            grant = next(name for name in client.cookies if name.endswith("-grant"))
            stolen = {name: value for name, value in visitor.client.cookies.items() if "-trip-" in name}
            for name, value in stolen.items():
                client.cookies.set(name, value, domain="auth.example.com")
            assert grant in client.cookies
            answer = await ada.come_back(state, code=code)
            assert "was not begun in this browser" in answer.text
            assert await ada.whoami() == ""
        assert visitor.provider.finished == 0


async def test_an_answer_for_another_provider_is_refused(tmp_path: Path) -> None:
    """The attack: a provider that Eve runs sends the browser back to the address of another one (mix-up, RFC 9700 §4.4)."""
    evil = FakeProvider("evil")
    async with visiting(tmp_path, evil) as visitor:
        state = await visitor.leave()
        answer = await visitor.come_back(state, provider="evil", code=visitor.provider.sign_in(**ADA))
        assert answer.status_code == 422
        assert (visitor.provider.finished, evil.finished) == (0, 0)
        assert await visitor.whoami() == ""


async def test_a_person_who_says_no_is_back_at_the_sign_in_page(tmp_path: Path) -> None:
    """With where they wanted to go. Nothing is counted against them."""
    async with visiting(tmp_path, trusted_origins=("https://app.example.com",)) as visitor:
        for _ in range(3):
            state = await visitor.leave(f"?return_to={quote(APP)}")
            answer = await visitor.come_back(state, error="access_denied")
            assert answer.status_code == 403
            assert "The sign-in was cancelled at the other service." in answer.text
            assert APP.replace("&", "&amp;") in answer.text


@pytest.mark.parametrize("state", ["", "short", "x" * 43 + ";a=b", "x" * 60 + "\r\nset-cookie: a=b", "x" * 44])
async def test_a_state_that_is_none_of_ours(tmp_path: Path, state: str) -> None:
    """It is refused before anything is looked up or written into a header."""
    async with visiting(tmp_path) as visitor:
        answer = await visitor.client.get("/sign-in/with/google/callback", params={"state": state, "here": ""}, headers=HERE)
        assert answer.status_code in (400, 422)
        assert "set-cookie" not in answer.headers or "a=b" not in answer.headers["set-cookie"]


async def test_a_sign_in_that_takes_too_long_begins_again(tmp_path: Path) -> None:
    """After half an hour the answer is not looked at."""
    async with visiting(tmp_path) as visitor:
        state = await visitor.leave()
        visitor.clock.advance(seconds=AWAY_MS // 1000)
        answer = await visitor.come_back(state, code=visitor.provider.sign_in(**ADA))
        assert answer.status_code == 422
        assert "This sign-in took too long." in answer.text


async def test_the_answer_of_a_form_is_loaded_again_from_here(tmp_path: Path) -> None:
    """Apple's page posts it from its own site, so without cookies. The form alone signs nobody in."""
    apple = FakeProvider("apple", preset="apple")
    async with visiting(tmp_path, provider=apple) as visitor:
        state = await visitor.leave()
        form = {"state": state, "code": apple.sign_in(**ADA), "user": '{"name":{"firstName":"Ada"}}', "other": "dropped"}
        headers = {"sec-fetch-site": "cross-site", "origin": "https://apple.example"}
        async with open_browser(visitor.running) as without_cookies:
            page = await without_cookies.post("/sign-in/with/apple/callback", data=form, headers=headers)
            assert "set-cookie" not in page.headers
            assert "dropped" not in page.text
        answer = await visitor.load_again(page)
        assert answer.headers["location"] == "/account"
        assert await visitor.whoami() == EMAIL


async def test_the_session_that_was_in_the_browser_ends(tmp_path: Path) -> None:
    """As with every way of signing in (T15)."""
    async with visiting(tmp_path) as visitor:
        await visitor.sign_in(**ADA)
        first = await visitor.account()
        await visitor.sign_in(subject="bob", email="bob@example.com", email_verified=True)
        assert await visitor.whoami() == "bob@example.com"
        assert await sessions_of(visitor, first.id) == 0


async def test_a_page_of_a_stranger_signs_nobody_in(tmp_path: Path) -> None:
    """The attack: a page leads its visitors to the provider, which asks nothing, and they are in another account than before."""
    async with visiting(tmp_path, trusted_origins=("https://app.example.com",)) as visitor:
        for referer in ("https://evil.example/", "https://app.example.com.evil.example/", "", "http://[", "null"):
            headers = FROM_THERE | {"referer": referer}
            answer = await visitor.client.get("/sign-in/with/google?return_to=/account/data", headers=headers)
            assert answer.headers["location"] == "/sign-in?return_to=%2Faccount%2Fdata", referer
            assert "set-cookie" not in answer.headers
        for headers in (FROM_THERE | {"referer": "https://app.example.com/"}, {"sec-fetch-site": "none"}):
            answer = await visitor.client.get("/sign-in/with/google", headers=headers)
            assert answer.headers["location"].startswith("https://google.example/")


async def test_a_callback_leads_to_no_other_page(tmp_path: Path) -> None:
    """The attack: the address of another page in place of the provider's name, so that the service itself leads there."""
    async with visiting(tmp_path) as visitor:
        path = "/sign-in/with/google%3Freturn_to=%252Faccount%252Fdata&x=/callback"
        fields = {"state": "x" * 43, "code": "c"}
        answers = (
            await visitor.client.get(path, params=fields, headers=FROM_THERE),
            await visitor.client.post(path, data=fields, headers=FROM_THERE),
        )
        assert [each.status_code for each in answers] == [404, 404]


async def test_a_link_that_was_removed_meanwhile_stays_removed(tmp_path: Path) -> None:
    """The attack: a sign-in waits for its second step while the person removes the provider with which it began."""
    async with visiting(tmp_path, second_factor="required") as visitor:
        await visitor.sign_in(**ADA)
        challenge = await enrol(visitor)
        assert (await visitor.send("/sign-in/second-step", challenge=challenge, way="totp")).status_code == 303
        account = await visitor.account()
        assert len(await visitor.identities()) == 1
        async with open_browser(visitor.running) as client:
            other = Visitor(visitor.running, visitor.clock, client, visitor.provider)
            await other.sign_in(**ADA)
            page = await other.page("/sign-in/second-step")
            await visitor.running.store.transact(lambda rows: rows.identities.delete_of(account.id))
            code = pyotp.TOTP(SECRETS[-1]).at(visitor.clock() // SECOND_MS + 30)
            visitor.clock.advance(seconds=30)
            form = {"challenge": value_in(page, "challenge"), "way": "totp", "code": code}
            answer = await other.send("/sign-in/second-step", **form)
            assert answer.status_code == 422, answer.status_code
            assert await other.whoami() == ""
        assert await visitor.identities() == []


SECRETS: list[str] = []
"""Of the apps that were added."""


async def enrol(visitor: Visitor) -> str:
    """Add the app that the sign-in wants. Return the challenge with which it goes on."""
    page = await visitor.page("/sign-in/enrol/totp")
    SECRETS.append(page.split('class="key"', 1)[1].split(">", 1)[1].split("<", 1)[0].replace(" ", "").strip())
    form = {name: value_in(page, name) for name in ("enrolment", "challenge")}
    code = pyotp.TOTP(SECRETS[-1]).at(visitor.clock() // SECOND_MS)
    assert (await visitor.send("/sign-in/enrol/totp", **form, code=code)).status_code == 200
    return form["challenge"]


def value_in(page: str, name: str) -> str:
    """Return the value of a hidden field."""
    return page.split(f'name="{name}" value="', 1)[1].split('"', 1)[0]


async def test_where_to_go_is_checked_as_everywhere(tmp_path: Path) -> None:
    """On the way out, and again on the way back. The longest address fits into the cookie."""
    longest = "/" + "x" * 2047
    async with visiting(tmp_path) as visitor:
        answer = await visitor.client.get(f"/sign-in/with/google?return_to={quote('https://evil.example/')}", headers=HERE)
        assert answer.status_code == 400
        answer = await visitor.sign_in(f"?return_to={longest}", **ADA)
        assert answer.headers["location"] == longest
        cookie = max((value for value in visitor.client.cookies.values()), key=len)
        assert len(cookie) < 3_900
        assert (await visitor.client.get("/sign-in/with/nobody", headers=HERE)).status_code == 404


async def test_a_crash_after_the_code_was_redeemed_leaves_nothing(tmp_path: Path) -> None:
    """The person begins again, and gets one account."""
    async with visiting(tmp_path) as visitor:
        state = await visitor.leave()
        code = visitor.provider.sign_in(**ADA)
        store, insert = visitor.running.store, visitor.running.store.transact

        async def fail(_: object) -> None:
            raise asyncio.CancelledError

        store.transact = fail  # type: ignore[method-assign, assignment]  # the process dies between the provider and the commit
        with pytest.raises(asyncio.CancelledError):
            await visitor.come_back(state, code=code)
        store.transact = insert  # type: ignore[method-assign]
        answer = await visitor.come_back(state, code=code)
        assert answer.status_code == 422
        assert await visitor.whoami() == ""
        assert (await visitor.sign_in(**ADA)).status_code == 303
        assert await visitor.whoami() == EMAIL


async def test_two_first_sign_ins_at_once_make_one_account(tmp_path: Path) -> None:
    """On two devices, or with two providers: the second finds what the first has made."""
    github = FakeProvider("github")
    async with visiting(tmp_path, github) as visitor, open_browser(visitor.running) as client:
        other = Visitor(visitor.running, visitor.clock, client, github)
        states = await visitor.leave(), await other.leave()
        answers = await asyncio.gather(
            visitor.come_back(states[0], code=visitor.provider.sign_in(**ADA)),
            other.come_back(states[1], code=github.sign_in(**ADA | {"subject": "77"})),
        )
        assert [each.status_code for each in answers] == [303, 303]
        assert len(await visitor.identities()) == 2


async def test_an_unproved_account_asks_for_its_address(tmp_path: Path) -> None:
    """Where addresses must be verified, a linked provider that proves another address opens nothing yet."""
    async with visiting(tmp_path, **MAIL, require_verified_email=True) as visitor:
        await visitor.sign_in(**ADA)
        account = msgspec.structs.replace(await visitor.account(), email_verified=False)

        async def unverify(rows: Transaction) -> None:
            await rows.accounts.update(account)

        await visitor.running.store.transact(unverify)
        visitor.client.cookies.clear()
        answer = await visitor.sign_in(**ADA | {"email": "other@example.com"})
        assert answer.headers["location"].startswith("/verify/code")
        assert (await visitor.sign_in(**ADA)).headers["location"] == "/account"
        assert (await visitor.account()).email_verified


class Slow(FakeProvider):
    """A provider that answers when it is told to, and accepts no code."""

    def __init__(self) -> None:
        """Create it."""
        super().__init__()
        self.codes_inside: list[str] = []
        self.full = asyncio.Event()
        self.released = asyncio.Event()

    async def finish(self, request: ProviderRequest, answer: Mapping[str, str], *, now_ms: int) -> ProviderIdentity:  # noqa: ARG002 - the Protocol's
        """Wait, then refuse."""
        self.codes_inside.append(answer["code"])
        if len(self.codes_inside) == 3 + 3 + 5:
            self.full.set()
        await self.released.wait()
        raise InvalidProviderAnswer("code")


async def test_a_flood_of_forged_answers_waits_for_itself(tmp_path: Path) -> None:
    """A provider gets few requests at once. One network has three of them, and all others go past those that wait."""
    provider = Slow()
    async with visiting(tmp_path, provider=provider) as visitor:
        trips = visitor.running.provider_trips

        async def come_back(ip: str, number: int = 0) -> None:
            here = caller(visitor.clock, ip)
            away = await trips.begin("google", "provider_sign_in", here)
            here = msgspec.structs.replace(here, browser=away.browser)
            await trips.finish(trips.open(away.sealed, "google", here), {"code": f"{ip} {number}"}, here)

        flood = [asyncio.create_task(come_back("192.0.2.1", number)) for number in range(30)]
        flood += [asyncio.create_task(come_back(f"2001:db8:0:{number}::1")) for number in range(30)]
        others = [asyncio.create_task(come_back(f"198.51.100.{number}")) for number in range(1, 6)]
        async with asyncio.timeout(30):
            await provider.full.wait()
        networks = Counter(code.partition(":")[0].partition(" ")[0] for code in provider.codes_inside)
        assert (networks["192.0.2.1"], networks["2001"]) == (3, 3)
        provider.released.set()
        ends = await asyncio.gather(*flood, *others, return_exceptions=True)
        assert {type(end) for end in ends} == {InvalidProviderAnswer}
