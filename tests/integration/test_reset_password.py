"""Choose a new password by mail: what strangers see, what a reset ends, and links that are used too late, twice or elsewhere."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.domain.mail import PasswordChanged, ResetPassword
from handstamp.domain.policy import HOUR_MS
from handstamp.service.parts.caller import Caller
from handstamp.storage.sqlite.store import SqliteStore
from tests.integration.helpers import expect_ended, expect_problem
from tests.mailed import PASSWORD, Mailed, mailed, token_in

pytestmark = pytest.mark.anyio
EMAIL = "ada@example.com"
NEW, OTHER = "another sentence, hers alone", "a third sentence, hers alone"


async def ask(client: httpx.AsyncClient, email: str = EMAIL) -> httpx.Response:
    """Ask for the mail."""
    return await client.post("/password/reset", json={"email": email})


async def confirm(client: httpx.AsyncClient, password: str = NEW, **shown: str) -> httpx.Response:
    """Choose a new password."""
    return await client.post("/password/reset/confirm", json={"newPassword": password, **shown})


async def sign_in(client: httpx.AsyncClient, password: str = PASSWORD) -> httpx.Response:
    """Sign in as Ada."""
    return await client.post("/login", json={"email": EMAIL, "password": password, "delivery": "json"})


async def reset_mail(service: Mailed) -> ResetPassword:
    """Return the newest mail for a new password."""
    found = [letter.content for letter in await service.letters() if isinstance(letter.content, ResetPassword)]
    return found[-1]


async def test_a_reset_ends_everything_and_proves_the_address(tmp_path: Path) -> None:
    """All sessions, links and codes end, the account is unlocked, and the person is told. Nobody is signed in by it."""
    async with mailed(tmp_path) as service:
        account_id = await service.create_account(EMAIL)
        ada, elsewhere = await service.browser(), await service.program()
        before = (await sign_in(elsewhere)).json()
        for _ in range(6):
            await sign_in(elsewhere, "not the password of Ada")
        assert (await sign_in(elsewhere)).status_code == 429
        await ask(ada)
        first = await reset_mail(service)
        service.clock.advance(ms=1)
        await ask(ada)
        second = await reset_mail(service)

        service.clock.advance(ms=1)
        answer = await confirm(ada, token=token_in(second.link))
        assert (answer.status_code, answer.content) == (204, b"")
        assert "set-cookie" not in answer.headers
        for refused in (token_in(first.link), token_in(second.link)):
            expect_problem(await confirm(ada, OTHER, token=refused), 422, "invalid_code")
        elsewhere.headers["authorization"] = f"Bearer {before['accessToken']}"
        expect_ended(await elsewhere.get("/profile"), "password_changed")
        expect_problem(await sign_in(ada), 401, "invalid_credentials")
        assert (await sign_in(ada, NEW)).status_code == 200
        account = await service.deployment.accounts.get_by_email(EMAIL)
        assert (account.id, account.email_verified) == (account_id, True)
        assert await service.content(EMAIL) == PasswordChanged(was_reset=True)
        kinds = [
            event.kind for event in await service.deployment.store.read(lambda rows: rows.events.list_about(account_id, limit=99))
        ]
        assert kinds.count("password_reset") == 1
        assert kinds.count("account_unlocked") == 1


async def test_a_code_counts_in_the_browser_that_asked(tmp_path: Path) -> None:
    """Elsewhere it opens nothing, also with the cookie of another mail. A weak password does not use it up."""
    async with mailed(tmp_path) as service:
        await service.create_account(EMAIL)
        ada, thief = await service.browser(), await service.browser("198.51.100.7")
        await ask(ada)
        code = (await reset_mail(service)).code
        await ask(thief, "eve@example.com")
        expect_problem(await confirm(thief, code=code), 422, "invalid_code")
        for _ in range(6):
            weak = await confirm(ada, "short", code=code)
            assert [field["name"] for field in expect_problem(weak, 422, "invalid_request")["fields"]] == ["newPassword"]
        assert (await confirm(ada, code=code)).status_code == 204


async def test_strangers_learn_nothing(tmp_path: Path) -> None:
    """Known, unknown and disabled addresses: the same answer, the same statements, no hash; only the owner gets mail."""
    async with mailed(tmp_path) as service:
        await service.create_account(EMAIL)
        await service.create_account("off@example.com")
        deployment = service.deployment
        await deployment.accounts.disable("off@example.com", Caller(now_ms=service.clock()))
        store = deployment.store
        assert isinstance(store, SqliteStore)
        deployment.hashing._pool.shutdown()  # a hash would fail
        seen: list[tuple[Any, ...]] = []
        for email in (EMAIL, "nobody@example.com", "off@example.com"):
            statements: list[str] = []
            client = await service.program(f"203.0.113.{len(seen)}")
            store._writer.get().set_trace_callback(statements.append)
            answer = await ask(client, email)
            store._writer.get().set_trace_callback(None)
            forms = [re.sub(r"X?'[^']*'|NULL|[0-9]+", "?", statement) for statement in statements]
            shape = {name: value for name, value in answer.json().items() if name not in ("email", "ticket")}
            seen.append((answer.status_code, sorted(answer.headers), shape, forms, len(answer.content) - len(email)))
            expect_problem(await confirm(client, code="000000", ticket=answer.json()["ticket"]), 422, "invalid_code")
        assert seen[0] == seen[1] == seen[2]
        assert seen[0][0] == 202
        assert any("INSERT INTO mail" in form for form in seen[0][3])
        assert [letter.to for letter in await service.letters()] == [EMAIL]


@pytest.mark.parametrize("change", ["password", "address", "disable", "delete", "everywhere", "hour"])
async def test_a_link_is_void_after_a_change(tmp_path: Path, change: str) -> None:
    """Whatever ends all sessions, or takes the address, also ends the links that were sent before."""
    async with mailed(tmp_path) as service:
        account_id = await service.create_account(EMAIL)
        ada = await service.browser()
        await ask(ada)
        mail = await reset_mail(service)
        caller, deployment = Caller(now_ms=service.clock()), service.deployment
        match change:
            case "password":
                await deployment.accounts.set_password(EMAIL, OTHER, caller)
            case "address":
                await deployment.accounts.rename(EMAIL, "ada@example.org", caller)
            case "disable":
                await deployment.accounts.disable(EMAIL, caller)
            case "delete":
                await deployment.accounts.delete(EMAIL, caller)
            case "everywhere":
                await deployment.sign_out.end_all(account_id, caller)
            case _:
                service.clock.advance(ms=HOUR_MS)
        expect_problem(await confirm(ada, token=token_in(mail.link)), 422, "invalid_code")
        expect_problem(await confirm(ada, code=mail.code), 422, "invalid_code")
        assert (await sign_in(await service.program(), NEW)).status_code == 401


async def test_of_two_resets_at_once_one_succeeds(tmp_path: Path) -> None:
    """The other finds its link void, because the account has changed while its password was hashed."""
    async with mailed(tmp_path) as service:
        await service.create_account(EMAIL)
        ada = await service.browser()
        links = []
        for _ in range(2):
            service.clock.advance(ms=1)
            await ask(ada)
            links.append(token_in((await reset_mail(service)).link))
        tries = [(links[0], NEW), (links[1], OTHER), (links[0], NEW)]
        answers = await asyncio.gather(*(confirm(ada, password, token=token) for token, password in tries))
        assert sorted(answer.status_code for answer in answers) == [204, 422, 422]
        worked = next(password for answer, (_, password) in zip(answers, tries, strict=True) if answer.status_code == 204)
        assert (await sign_in(ada, worked)).status_code == 200


async def test_a_service_without_mail_says_whom_to_ask(tmp_path: Path) -> None:
    """The endpoint is absent, and the page names the contact."""
    async with mailed(tmp_path, smtp_url="", issuer="https://auth.example.com", support_contact="help@example.com") as service:
        browser = await service.browser()
        expect_problem(await ask(browser), 404, "not_found")
        expect_problem(await confirm(browser, token="x" * 43), 404, "not_found")
        page = await browser.get("/forgot")
        assert page.status_code == 200
        assert "cannot send mail" in page.text
        assert "help@example.com" in page.text
        assert (await browser.get("/reset?token=x")).status_code == 404


async def test_the_pages_reset_without_script(tmp_path: Path) -> None:
    """By code in the browser that asked, and by the link in another. Opening the link, as scanners do, uses nothing up."""
    async with mailed(tmp_path) as service:
        await service.create_account(EMAIL)
        ada, phone = await service.browser(), await service.browser("198.51.100.7")
        assert "/forgot" in (await ada.get("/sign-in")).text
        answer = await ada.post("/forgot", data={"email": EMAIL})
        assert (answer.status_code, answer.headers["location"]) == (303, "/reset/code")
        page = (await ada.get("/reset/code")).text
        assert EMAIL in page
        assert 'name="new_password"' in page
        mail = await reset_mail(service)
        short = await ada.post("/reset/code", data={"code": mail.code, "new_password": "short"})
        assert short.status_code == 422
        assert "too short" in short.text

        path = mail.link.removeprefix("http://localhost")
        for _ in range(3):
            assert (await phone.head(path)).status_code in (200, 405)
            page = (await phone.get(path)).text
        assert "another browser" in page
        assert EMAIL in page
        short = await phone.post("/reset", data={"token": token_in(path), "new_password": "short"})
        assert (short.status_code, "too short" in short.text) == (422, True)
        done = await phone.post("/reset", data={"token": token_in(path), "new_password": NEW})
        assert (done.status_code, done.headers["location"]) == (303, "/sign-in?done=reset")
        assert "Your password is set" in (await phone.get("/sign-in?done=reset")).text
        again = await phone.post("/reset", data={"token": token_in(path), "new_password": OTHER})
        assert (again.status_code, "/forgot" in again.text) == (422, True)
        used = await ada.post("/reset/code", data={"code": mail.code, "new_password": OTHER})
        assert used.status_code == 422
        assert (await sign_in(ada, NEW)).status_code == 200
