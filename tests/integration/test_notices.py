"""Notices by mail: what people are told, when they are not, and that a notice stands or falls with what it tells of."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from handstamp.assemble.deployment import Deployment
from handstamp.domain.account import Account
from handstamp.domain.mail import AccountDeleted, AddressChanged, AnyContent, NewDevice, PasswordChanged, SessionReused, kind_of
from handstamp.errors import InvalidCredentials, SessionEnded
from handstamp.service.mailing.notices import SIGN_UP_MS
from handstamp.service.parts.caller import Caller
from handstamp.service.parts.devices import EarlierSignIns
from handstamp.service.parts.tokens import TokenPair
from handstamp.storage.sqlite.store import SqliteStore
from tests.authenticator import Authenticator, encode
from tests.builders import DAY_MS, HOUR_MS, MINUTE_MS, Clock
from tests.deployment import ISSUER, deployed
from tests.integration.test_passkeys import add
from tests.integration.test_second_factor import a_person

pytestmark = pytest.mark.anyio
EMAIL, PASSWORD = "ada@example.com", "kelp lantern rivet 41 of the tests"
NEW = "another sentence, hers alone"
MAIL = {"smtp_url": "smtp://localhost:2525", "mail_from": "no-reply@example.com"}


class Ada:
    """A person with an account that is older than a sign-up, and the service in this process. Nothing sends its mail."""

    def __init__(self, running: Deployment, clock: Clock) -> None:
        """Use a deployment."""
        self.running, self.clock = running, clock

    def caller(self, *, ip: str = "192.0.2.1", user_agent: str = "Firefox/140.0") -> Caller:
        """Return the caller of a request from a device."""
        return Caller(now_ms=self.clock(), ip=ip, user_agent=user_agent)

    async def sign_in(self, caller: Caller | None = None, *, device: str = "", password: str = PASSWORD) -> TokenPair:
        """Sign in, with the cookie of a device."""
        earlier = EarlierSignIns(cookie=device)
        return await self.running.sign_in(EMAIL, password, delivery="json", caller=caller or self.caller(), earlier=earlier)

    async def account(self) -> Account:
        """Return the account."""
        return await self.running.accounts.get_by_email(EMAIL)

    async def take_mail(self) -> list[tuple[str, AnyContent]]:
        """Return the recipients and contents of the mails that wait, oldest first, and remove them."""
        found = await self.running.store.read(lambda rows: rows.mails.list_newest(limit=99))
        letters = [self.running.outbox._letters.open(mail) for mail in reversed(found)]
        for mail in found:
            await self.running.store.transact(lambda rows, each=mail.id: rows.mails.delete(each))  # type: ignore[misc]
        return [(letter.to, letter.content) for letter in letters]


@asynccontextmanager
async def ada_in(folder: Path, **settings: object) -> AsyncIterator[Ada]:
    """Run the service, with an account."""
    clock = Clock()
    async with deployed(folder, clock, **MAIL | settings) as running:
        ada = Ada(running, clock)
        await running.create_account(EMAIL, PASSWORD, ada.caller())
        yield ada


async def test_a_sign_in_on_a_new_device_is_told_once(tmp_path: Path) -> None:
    """Another network or another browser is new. A known device is not, nor is the same browser without its cookie."""
    async with ada_in(tmp_path) as ada:
        await ada.sign_in()
        ada.clock.advance(ms=SIGN_UP_MS)
        assert await ada.take_mail() == [], "the first hour belongs to the sign-up"
        await ada.sign_in()
        assert await ada.take_mail() == [], "the browser has dropped its cookie, and is not new"
        await ada.sign_in(ada.caller(ip="198.51.100.7"))
        assert await ada.take_mail() == [(EMAIL, NewDevice())]
        await ada.sign_in(ada.caller(ip="198.51.100.7"))
        assert await ada.take_mail() == []
        await ada.sign_in(ada.caller(user_agent="curl/8"))
        assert await ada.take_mail() == [(EMAIL, NewDevice())]
        cookie = ada.running.devices.remember("", (await ada.account()).id)
        await ada.sign_in(ada.caller(ip="203.0.113.9"), device=cookie)
        assert await ada.take_mail() == [], "a laptop that travels is known by its cookie"
        with pytest.raises(InvalidCredentials):
            await ada.sign_in(ada.caller(ip="203.0.113.10"), password=NEW)
        assert await ada.take_mail() == [], "a wrong password is no sign-in"


async def test_a_new_password_is_told(tmp_path: Path) -> None:
    """Also one that an operator sets. A change that fails tells nothing."""
    async with ada_in(tmp_path) as ada:
        pair = await ada.sign_in()
        session, account = await ada.running.sessions.require_living(pair.session_id, ada.clock())
        with pytest.raises(InvalidCredentials):
            await ada.running.change_password(session, account, NEW, NEW, ada.caller())
        assert await ada.take_mail() == []
        await ada.running.change_password(session, account, PASSWORD, NEW, ada.caller())
        assert await ada.take_mail() == [(EMAIL, PasswordChanged())]
        await ada.running.accounts.set_password(EMAIL, PASSWORD, ada.caller())
        assert await ada.take_mail() == [(EMAIL, PasswordChanged())]


async def test_the_end_by_reuse_is_told_once(tmp_path: Path) -> None:
    """The mail is written with the end of the session. Later uses of old copies find an ended session, and tell nothing."""
    async with ada_in(tmp_path) as ada:
        first = await ada.sign_in()
        pair = first
        for _ in range(3):
            pair = await ada.running.refresh(pair.refresh_token, way="body", caller=ada.caller())
            ada.clock.advance(ms=MINUTE_MS)
        assert await ada.take_mail() == []
        for token in (first.refresh_token, first.refresh_token, pair.refresh_token):
            with pytest.raises(SessionEnded):
                await ada.running.refresh(token, way="body", caller=ada.caller(ip="198.51.100.7"))
        assert await ada.take_mail() == [(EMAIL, SessionReused())]


async def test_a_refresh_costs_no_statement_more(tmp_path: Path) -> None:
    """A refresh without reuse runs the same statements whether mail is on or off, and a sign-in on a known device too."""
    counts = []
    for number, smtp_url in enumerate((MAIL["smtp_url"], "")):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with ada_in(folder, smtp_url=smtp_url) as ada:
            ada.clock.advance(ms=DAY_MS)
            cookie = ada.running.devices.remember("", (await ada.account()).id)
            statements: list[str] = []
            store = ada.running.store
            assert isinstance(store, SqliteStore)
            store._writer.get().set_trace_callback(statements.append)
            pair = await ada.sign_in(device=cookie)
            await ada.running.refresh(pair.refresh_token, way="body", caller=ada.caller())
            counts.append([re.sub(r"'[^']*'|[0-9]+", "?", statement) for statement in statements])
    assert counts[0] == counts[1]
    assert any("UPDATE session" in statement for statement in counts[0])


async def test_an_operators_changes_are_told(tmp_path: Path) -> None:
    """Another address to both, without a link: the operator decides. A deletion to the address that there was."""
    async with ada_in(tmp_path) as ada:
        await ada.running.accounts.rename(EMAIL, "ada@example.org", ada.caller())
        told = AddressChanged(old=EMAIL, new="ada@example.org")
        assert sorted(await ada.take_mail(), key=str) == [(EMAIL, told), ("ada@example.org", told)]
        await ada.running.accounts.rename("ada@example.org", "ada@example.org", ada.caller())
        assert await ada.take_mail() == []
        await ada.running.accounts.delete("ada@example.org", ada.caller())
        assert await ada.take_mail() == [("ada@example.org", AccountDeleted())]


async def test_each_change_of_factors_is_told(tmp_path: Path) -> None:
    """What is added, replaced, used up or removed, by the person and by an operator. What is refused is not."""
    async with a_person(tmp_path, enrolled=False, **MAIL) as person:
        told = partial(tell_factors, Ada(person.running, person.clock))
        token = (await person.login())["accessToken"]
        headers = {"authorization": f"Bearer {token}"}
        await told()
        await person.enrol(token)
        assert await told() == [("second_factor_changed", "totp", False)]
        key = Authenticator(ISSUER)
        assert (await add(person, key, token)).status_code == 201
        assert await told() == [("second_factor_changed", "passkey", False)]
        assert (await add(person, key, token)).status_code == 422
        codes = (await person.post("/recovery-codes", token=token)).json()["recoveryCodes"]
        assert await told() == [("second_factor_changed", "recovery_codes", False)]
        assert (await person.complete(await person.login(), recoveryCode=codes[0])).status_code == 200
        assert ("recovery_code_used", None, None) in await told()
        for path, factor in ((f"/passkeys/{encode(key.id)}", "passkey"), ("/totp", "totp")):
            assert (await person.client.delete(path, headers=headers)).is_success
            assert await told() == [("second_factor_changed", factor, True)]
            await person.client.delete(path, headers=headers)
            assert await told() == [], "it was gone"
        await person.enrol(token)
        await told()
        await person.running.accounts.reset_factors(EMAIL, Caller(now_ms=person.clock(), actor="operator"))
        assert await told() == [("second_factors_reset", None, None)]


async def tell_factors(ada: Ada) -> list[tuple[str, str | None, bool | None]]:
    """Return the kinds of the mails that wait, with the factor and whether it was removed, and remove them."""
    found = [content for to, content in await ada.take_mail() if to == EMAIL]
    return [(kind_of(each), getattr(each, "factor", None), getattr(each, "was_removed", None)) for each in found]


async def test_a_deletion_withdraws_mail_that_waits(tmp_path: Path) -> None:
    """Nothing about the person is sent any more but the news of the deletion itself."""
    async with ada_in(tmp_path) as ada:
        await ada.running.accounts.set_password(EMAIL, NEW, ada.caller())
        pair = await ada.sign_in(password=NEW)
        session, account = await ada.running.sessions.require_living(pair.session_id, ada.clock())
        await ada.running.delete_account(session, account, EMAIL, ada.caller())
        assert await ada.take_mail() == [(EMAIL, AccountDeleted())]


@pytest.mark.parametrize("notices", ["none", "session_reused"])
async def test_kinds_are_turned_off(tmp_path: Path, notices: str) -> None:
    """With `MAIL_NOTICES`. A kind that is left is still told."""
    async with ada_in(tmp_path, mail_notices=notices) as ada:
        first = await ada.sign_in()
        ada.clock.advance(ms=DAY_MS)
        await ada.sign_in(ada.caller(ip="198.51.100.7"))
        pair = await ada.running.refresh(first.refresh_token, way="body", caller=ada.caller())
        pair = await ada.running.refresh(pair.refresh_token, way="body", caller=ada.caller())
        ada.clock.advance(ms=HOUR_MS)
        with pytest.raises(SessionEnded):
            await ada.running.refresh(first.refresh_token, way="body", caller=ada.caller())
        await ada.running.accounts.set_password(EMAIL, NEW, ada.caller())
        assert await ada.take_mail() == ([] if notices == "none" else [(EMAIL, SessionReused())])


async def test_nobody_is_told_with_mail_off(tmp_path: Path) -> None:
    """No row is written that nothing would ever send."""
    async with ada_in(tmp_path, smtp_url="") as ada:
        ada.clock.advance(ms=DAY_MS)
        await ada.sign_in(ada.caller(ip="198.51.100.7"))
        await ada.running.accounts.set_password(EMAIL, NEW, ada.caller())
        assert await ada.take_mail() == []
