"""Another address for an account: who must agree, and how the victim of a takeover gets the account back."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.domain.mail import AddressChanged, ConfirmNewAddress, ResetPassword, SignUpExists
from handstamp.domain.policy import DAY_MS
from handstamp.domain.session import FRESH_MS
from handstamp.service.parts.caller import Caller
from tests.integration.helpers import expect_ended, expect_problem
from tests.mailed import PASSWORD, Mailed, mailed, token_in
from tests.postgres import fresh_database

pytestmark = pytest.mark.anyio
ADA, NEXT, EVE, EVE_TOO = "ada@example.com", "ada@example.org", "eve@example.net", "eve@example.info"
NEW = "another sentence, hers alone"


class Person:
    """A person or a thief who is signed in to Ada's account."""

    def __init__(self, service: Mailed, client: httpx.AsyncClient) -> None:
        """Use a client of the service."""
        self.service, self.client = service, client

    async def sign_in(self, email: str = ADA, password: str = PASSWORD) -> httpx.Response:
        """Sign in."""
        answer = await self.client.post("/login", json={"email": email, "password": password, "delivery": "json"})
        if answer.status_code == 200:
            self.client.headers["authorization"] = f"Bearer {answer.json()['accessToken']}"
        return answer

    async def post(self, path: str, **body: str) -> httpx.Response:
        """Send a request, a moment after the last one, so that mails have an order."""
        self.service.clock.advance(ms=1)
        return await self.client.post(path, json=body)

    async def change(self, email: str) -> str:
        """Ask for a new address, and confirm it by the link. Return the link that undoes it, "" if there is none."""
        assert (await self.post("/email/change", email=email)).status_code == 202
        link = (await self.service.content(email)).link
        assert (await self.post("/email/change/confirm", token=token_in(link))).status_code == 200
        told = [letter.content for letter in await self.service.letters() if isinstance(letter.content, AddressChanged)]
        return next((content.undo_link for content in reversed(told) if content.new == email and content.undo_link), "")


async def a_person(service: Mailed, *, verified: bool = True, ip: str = "192.0.2.1") -> Person:
    """Return Ada, signed in, with an account whose address is verified."""
    found = await service.deployment.accounts.list_page()
    if not found:
        account_id = await service.create_account(ADA)
        if verified:
            await verify(service, account_id)
    person = Person(service, await service.program(ip))
    assert (await person.sign_in()).status_code == 200
    return person


async def verify(service: Mailed, account_id: str) -> None:
    """Verify an account's address by its mail."""
    deployment, caller = service.deployment, Caller(now_ms=service.clock())
    await deployment.verify_address.ask(account_id, caller, browser="b" * 43)
    program = await service.program()
    answer = await program.post("/email/verify/confirm", json={"token": token_in((await service.content(ADA)).link)})
    assert answer.status_code == 200


async def address_of(person: Person) -> tuple[str, bool]:
    """Return the address of the account and whether it is verified."""
    profile: dict[str, Any] = (await person.client.get("/profile")).json()
    return profile["email"], profile["emailVerified"]


async def test_the_old_address_stays_until_the_new_one_is_proven(tmp_path: Path) -> None:
    """Both are told, sessions go on, and one signs in with the new one. A link is used once."""
    async with mailed(tmp_path) as service:
        ada = await a_person(service)
        answer = await ada.post("/email/change", email=" Ada@Example.org ")
        assert (answer.status_code, answer.json()["email"]) == (202, NEXT)
        content = await service.content(NEXT)
        assert isinstance(content, ConfirmNewAddress)
        assert await address_of(ada) == (ADA, True)
        confirmed = await ada.post("/email/change/confirm", code=content.code, ticket=answer.json()["ticket"])
        assert confirmed.json() == {"email": NEXT, "emailVerified": True}
        assert await address_of(ada) == (NEXT, True)
        told = {letter.to: letter.content for letter in await service.letters() if isinstance(letter.content, AddressChanged)}
        assert (told[ADA].old, told[ADA].new, told[NEXT].undo_link) == (ADA, NEXT, "")
        assert told[ADA].undo_link
        expect_problem(await ada.post("/email/change/confirm", token=token_in(content.link)), 422, "invalid_code")
        assert (await ada.sign_in(NEXT)).status_code == 200
        assert (await Person(service, await service.program()).sign_in(ADA)).status_code == 401


async def test_a_change_needs_a_fresh_sign_in(tmp_path: Path) -> None:
    """An older session is told to sign in again. One's own address is none that one could change to."""
    async with mailed(tmp_path) as service:
        ada = await a_person(service)
        own = await ada.post("/email/change", email=ADA)
        assert [field["name"] for field in expect_problem(own, 422, "invalid_request")["fields"]] == ["email"]
        service.clock.advance(ms=FRESH_MS)
        expect_problem(await ada.post("/email/change", email=NEXT), 401, "insufficient_user_authentication")
        assert [letter for letter in await service.letters() if letter.to == NEXT] == []


async def test_a_taken_address_is_no_answer(tmp_path: Path) -> None:
    """The answer is that of a free one; its owner reads what happened. Taken meanwhile, the change is refused."""
    async with mailed(tmp_path) as service:
        ada = await a_person(service)
        await service.create_account(NEXT)
        taken, free = await ada.post("/email/change", email=NEXT), await ada.post("/email/change", email=EVE)
        assert (taken.status_code, taken.json().keys()) == (free.status_code, free.json().keys())
        assert await service.content(NEXT) == SignUpExists()
        link = (await service.content(EVE)).link
        await service.create_account(EVE)
        expect_problem(await ada.post("/email/change/confirm", token=token_in(link)), 409, "account_exists")
        assert await address_of(ada) == (ADA, True)


@pytest.mark.parametrize("end", ["everywhere", "password"])
async def test_a_change_in_progress_ends_with_the_sessions(tmp_path: Path, end: str) -> None:
    """The owner who ends a thief's session also ends what the thief has begun with it."""
    async with mailed(tmp_path) as service:
        thief, ada = await a_person(service, ip="198.51.100.7"), await a_person(service)
        await thief.post("/email/change", email=EVE)
        link = (await service.content(EVE)).link
        if end == "everywhere":
            await ada.post("/logout-everywhere")
        else:
            await ada.post("/password", currentPassword=PASSWORD, newPassword=NEW)
        expect_problem(await thief.post("/email/change/confirm", token=token_in(link)), 422, "invalid_code")


async def test_the_victim_wins_against_a_thief_who_knows_the_rules(tmp_path: Path) -> None:
    """The thief changes the address twice and the password, by the account page and by mail, undoes, and cannot delete.

    The link to the oldest address wins: it ends all sessions, voids later links and passwords, and only its mailbox gets a mail
    with which to choose a new password.
    """
    async with mailed(tmp_path) as service:
        thief = await a_person(service, ip="198.51.100.7")
        undo = await thief.change(EVE)
        undo_of_thief = await thief.change(EVE_TOO)
        expect_problem(await thief.post("/me/delete", email=EVE_TOO), 409, "deletion_blocked")
        changed = await thief.post("/password", currentPassword=PASSWORD, newPassword=NEW)
        thief.client.headers["authorization"] = f"Bearer {changed.json()['accessToken']}"
        await thief.post("/password/reset", email=EVE_TOO)
        by_mail = (await service.content(EVE_TOO)).link
        assert (await thief.post("/password/reset/confirm", token=token_in(by_mail), newPassword=NEW + "!")).status_code == 204
        assert (await thief.sign_in(EVE_TOO, NEW + "!")).status_code == 200
        await thief.post("/password/reset", email=EVE_TOO)
        pending = (await service.content(EVE_TOO)).link
        service.clock.advance(ms=6 * DAY_MS)

        victim = Person(service, await service.program())
        assert (await victim.post("/email/change/undo", token=token_in(undo))).status_code == 204
        for password in (PASSWORD, NEW, NEW + "!"):
            for email in (ADA, EVE_TOO):
                assert (
                    await Person(service, await service.program(f"203.0.113.{len(password)}")).sign_in(email, password)
                ).status_code == 401
        thief_profile = await thief.client.get("/profile")
        assert thief_profile.status_code == 401
        for link, path in (
            (undo_of_thief, "/email/change/undo"),
            (pending, "/password/reset/confirm"),
            (undo, "/email/change/undo"),
        ):
            body = {"newPassword": NEW} if "reset" in path else {}
            expect_problem(await thief.post(path, token=token_in(link), **body), 422, "invalid_code")

        content = await service.content(ADA)
        assert isinstance(content, ResetPassword)
        assert content.code == ""
        assert (
            await victim.post("/password/reset/confirm", token=token_in(content.link), newPassword=PASSWORD)
        ).status_code == 204
        assert (await victim.sign_in(ADA, PASSWORD)).status_code == 200
        assert await address_of(victim) == (ADA, True)
        assert (await victim.post("/me/delete", email=ADA)).status_code == 204


async def test_an_undo_by_the_thief_does_not_stop_the_victim(tmp_path: Path) -> None:
    """The link to a later address takes the account back to the thief, and the link to the first one to its owner."""
    async with mailed(tmp_path) as service:
        thief = await a_person(service, ip="198.51.100.7")
        undo = await thief.change(EVE)
        undo_of_thief = await thief.change(EVE_TOO)
        assert (await thief.post("/email/change/undo", token=token_in(undo_of_thief))).status_code == 204
        victim = Person(service, await service.program())
        assert (await victim.post("/email/change/undo", token=token_in(undo))).status_code == 204
        assert (await service.deployment.accounts.get_by_email(ADA)).password_hash == ""


async def test_an_undo_ends(tmp_path: Path) -> None:
    """After seven days the account is the new owner's, who can delete it. Before, an operator can."""
    async with mailed(tmp_path) as service:
        ada = await a_person(service)
        undo = await ada.change(NEXT)
        service.clock.advance(ms=7 * DAY_MS)
        assert (await ada.sign_in(NEXT)).status_code == 200
        expect_problem(await ada.post("/email/change/undo", token=token_in(undo)), 422, "invalid_code")
        assert (await ada.post("/me/delete", email=NEXT)).status_code == 204
        ada = await a_person(service)
        await ada.change(NEXT)
        await service.deployment.accounts.delete(NEXT, Caller(now_ms=service.clock()))


async def test_an_address_that_was_never_proven_undoes_nothing(tmp_path: Path) -> None:
    """Whoever has that mailbox may be a stranger, by a slip of the keyboard. They are told, and get no link."""
    async with mailed(tmp_path) as service:
        ada = await a_person(service, verified=False)
        assert await ada.change(NEXT) == ""
        assert (await ada.post("/me/delete", email=NEXT)).status_code == 204


async def test_an_old_address_with_another_account_is_not_taken(tmp_path: Path) -> None:
    """The link stays valid, so that it works once that account is gone."""
    async with mailed(tmp_path) as service:
        ada = await a_person(service)
        undo = await ada.change(NEXT)
        await service.create_account(ADA)
        expect_problem(await ada.post("/email/change/undo", token=token_in(undo)), 409, "account_exists")
        assert await address_of(ada) == (NEXT, True)
        await service.deployment.accounts.delete(ADA, Caller(now_ms=service.clock()))
        assert (await ada.post("/email/change/undo", token=token_in(undo))).status_code == 204
        expect_ended(await ada.client.get("/profile"), "password_changed")


async def test_the_pages_change_and_undo_without_script(tmp_path: Path) -> None:
    """The account page leads to the form, the mail to a page with one button. In another browser it says who asked."""
    async with mailed(tmp_path) as service:
        await a_person(service)
        ada, phone = await service.browser(), await service.browser("198.51.100.7")
        await ada.post("/sign-in", data={"email": ADA, "password": PASSWORD})
        page = (await ada.get("/account")).text
        assert "is verified" in page
        assert "/account/email" in page
        assert ADA in (await ada.get("/account/email")).text
        answer = await ada.post("/account/email", data={"email": NEXT})
        assert (answer.status_code, answer.headers["location"]) == (303, "/change-email/code")
        assert NEXT in (await ada.get("/change-email/code")).text
        wrong = await ada.post("/change-email/code", data={"code": "12"})
        assert wrong.status_code == 422
        path = (await service.content(NEXT)).link.removeprefix("http://localhost")
        page = (await phone.get(path)).text
        assert "another browser" in page
        assert NEXT in page
        done = await phone.post("/change-email", data={"token": token_in(path)})
        assert (done.status_code, done.headers["location"]) == (303, "/sign-in?done=address")
        assert NEXT in (await ada.get("/account?done=address")).text

        told = [letter.content for letter in await service.letters() if letter.to == ADA]
        undo = next(content.undo_link for content in told if isinstance(content, AddressChanged)).removeprefix("http://localhost")
        page = (await phone.get(undo)).text
        assert ADA in page
        assert "Take the address back" in page
        assert NEXT in (await ada.get("/account")).text, "a page behind a link changes nothing"
        assert "Your address is back" in (await phone.post("/undo-change", data={"token": token_in(undo)})).text
        assert (await phone.post("/undo-change", data={"token": token_in(undo)})).status_code == 422
        assert (await ada.get("/account")).status_code == 303


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_of_what_comes_at_once_one_counts(tmp_path: Path, store: str, request: pytest.FixtureRequest) -> None:
    """Two confirmations, then the undoing twice beside a reset by the thief: each link is used once, and the owner wins."""
    async with AsyncExitStack() as stack:
        database = f"sqlite:///{tmp_path}/handstamp.db"
        if store == "postgres":
            database = await stack.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
        service = await stack.enter_async_context(mailed(tmp_path, database=database, secret=secrets.token_urlsafe(32)))
        thief = await a_person(service, ip="198.51.100.7")
        await thief.post("/email/change", email=EVE)
        token = token_in((await service.content(EVE)).link)
        answers = await asyncio.gather(*(thief.post("/email/change/confirm", token=token) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 422, 422]
        told = [letter.content for letter in await service.letters() if isinstance(letter.content, AddressChanged)]
        assert len(told) == 2
        undo = token_in(next(content.undo_link for content in told if content.undo_link))
        await thief.post("/password/reset", email=EVE)
        reset = token_in((await service.content(EVE)).link)
        answers = await asyncio.gather(
            thief.post("/password/reset/confirm", token=reset, newPassword=NEW),
            *(thief.post("/email/change/undo", token=undo) for _ in range(2)),
        )
        assert sorted(answer.status_code for answer in answers[1:]) == [204, 422]
        account = await service.deployment.accounts.get_by_email(ADA)
        assert account.password_hash == ""
        assert (await thief.sign_in(ADA, NEW)).status_code == 401
