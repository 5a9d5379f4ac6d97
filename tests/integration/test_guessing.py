"""Tests of the limits of guessing with a clock that the test moves: the ceiling, who lifts it, and what is recorded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from handstamp.assemble.deployment import Deployment
from handstamp.domain.account import Account
from handstamp.domain.event import Event
from handstamp.domain.policy import DAY_MS, HOUR_MS
from handstamp.domain.session import Session
from handstamp.domain.throttle import MAX_CONSECUTIVE, Failures
from handstamp.errors import AccountExists, InvalidCredentials, TooManyAttempts
from handstamp.logger import LogLine
from handstamp.service.parts.devices import EarlierSignIns
from handstamp.service.parts.throttling import Counter, Counters
from handstamp.service.parts.tokens import TokenPair
from handstamp.storage.store.failures import Count
from tests.builders import Clock
from tests.deployment import caller, deployed, operator
from tests.postgres import fresh_database

pytestmark = pytest.mark.anyio
EMAIL, PASSWORD = "ada@example.com", "kelp lantern rivet 41 of the tests"
NEW_PASSWORD = "another kelp lantern rivet of the tests"
SECRET = "kJ8v_Zq3Wm1xT7yB4nR0pL6sD9fG2hCa"
WRONG = "a sentence that ada never said"
HOME, AWAY = "192.0.2.1", "198.51.100.7"


async def sign_in(
    running: Deployment, clock: Clock, password: str = PASSWORD, *, ip: str = AWAY, cookie: str = "", email: str = EMAIL
) -> TokenPair:
    """Sign in as a browser that may have a device cookie."""
    earlier = EarlierSignIns(cookie=cookie)
    return await running.sign_in(email, password, delivery="split", caller=caller(clock, ip), earlier=earlier)


async def make_known(running: Deployment, clock: Clock) -> tuple[Account, str]:
    """Create the account and sign in at home. Return the account and the cookie of that browser."""
    account = await running.create_account(EMAIL, PASSWORD, caller(clock))
    pair = await sign_in(running, clock, ip=HOME)
    return account, running.devices.remember("", pair.subject)


async def set_failures(running: Deployment, counters: Counters, failures: Failures) -> None:
    """Write the failures of an attempt's counters of its account, as many attempts would over days."""
    counts = [Count(counter.key, failures, counter.account) for counter in counters.each if counter.account]
    await running.store.transact(lambda rows: rows.failures.save_many(counts))


def strangers(running: Deployment, ip: str = AWAY) -> Counters:
    """Return the counters of an attempt on the account by a stranger."""
    return running.sign_in._throttling.of_unknown_device(EMAIL, ip, subject="ada-id", at_home=False)


def long_ago(clock: Clock, consecutive: int) -> Failures:
    """Return failures whose level has leaked away, so that only the ceiling counts."""
    return Failures(level=0, consecutive=consecutive, last_at_ms=clock() - DAY_MS, forgotten_at_ms=None)


async def kinds_of(running: Deployment, subject: str) -> list[str]:
    """Return the kinds of the stored events of an account, oldest first."""
    events: list[Event] = await running.store.read(lambda rows: rows.events.list_about(subject, limit=99))
    return [event.kind for event in events]


def audit_lines(caplog: pytest.LogCaptureFixture, kind: str) -> list[dict[str, Any]]:
    """Return the fields of the audit lines of a kind."""
    lines = [record.msg for record in caplog.records if record.name == "handstamp.audit"]
    return [dict(line.fields) for line in lines if isinstance(line, LogLine) and line.event == kind]


async def test_the_hundredth_failure_in_a_row_locks_unknown_devices_until_an_operator_unlocks(tmp_path: Path) -> None:
    """Time does not lift the lock, and home is not exempt (NIST SP 800-63B-4 §3.2.2). A known device is not concerned."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account, cookie = await make_known(running, clock)
        await set_failures(running, strangers(running), long_ago(clock, MAX_CONSECUTIVE - 1))
        assert await running.accounts.find_locked([account], caller(clock)) == set()
        with pytest.raises(InvalidCredentials):
            await sign_in(running, clock, WRONG)
        assert await running.accounts.find_locked([account], caller(clock)) == {EMAIL}
        for days in (0, 1, 400):
            clock.advance(ms=days * DAY_MS)
            for ip in (AWAY, HOME, "203.0.113.9", ""):
                with pytest.raises(TooManyAttempts) as refused:
                    await sign_in(running, clock, ip=ip)
                assert refused.value.is_locked
                assert "unlock" in str(refused.value)
        with pytest.raises(InvalidCredentials):
            await sign_in(running, clock, WRONG, cookie=cookie)
        await running.accounts.unlock(EMAIL, caller(clock))
        assert await running.accounts.find_locked([account], caller(clock)) == set()
        assert (await sign_in(running, clock)).session_id
        kinds = await kinds_of(running, account.id)
        assert kinds[-3:] == ["account_locked", "account_unlocked", "signed_in"]


async def test_a_success_on_a_known_device_lifts_the_lock(tmp_path: Path) -> None:
    """The person is there and knows the password, so the failures of strangers are disregarded."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        _, cookie = await make_known(running, clock)
        await set_failures(running, strangers(running), long_ago(clock, MAX_CONSECUTIVE))
        with pytest.raises(TooManyAttempts):
            await sign_in(running, clock)
        assert (await sign_in(running, clock, cookie=cookie)).session_id
        assert (await sign_in(running, clock)).session_id


async def test_a_known_device_has_a_ceiling_of_its_own(tmp_path: Path) -> None:
    """A hundred failures on it lock it, and no other device. An operator unlocks it."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account, cookie = await make_known(running, clock)
        device = running.sign_in._throttling.of_device(EMAIL, AWAY, cookie.split(".")[1], subject="ada-id")
        await set_failures(running, device, long_ago(clock, MAX_CONSECUTIVE - 1))
        with pytest.raises(InvalidCredentials):
            await sign_in(running, clock, WRONG, cookie=cookie)
        clock.advance(ms=30 * DAY_MS)
        with pytest.raises(TooManyAttempts) as refused:
            await sign_in(running, clock, cookie=cookie)
        assert (refused.value.is_locked, refused.value.limit) == (True, "device")
        assert (await sign_in(running, clock)).session_id
        with pytest.raises(TooManyAttempts):
            await sign_in(running, clock, cookie=cookie)
        await running.accounts.unlock(EMAIL, caller(clock))
        assert (await sign_in(running, clock, cookie=cookie)).session_id
        assert "account_locked" in await kinds_of(running, account.id)


async def test_collected_device_cookies_do_not_add_up(tmp_path: Path) -> None:
    """Somebody who once knew the password and kept a hundred cookies has fifty guesses at once, not five hundred."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account, own = await make_known(running, clock)
        await running.accounts.set_password(EMAIL, NEW_PASSWORD, caller(clock))
        refused = 0
        for _ in range(60):
            cookie = running.devices.remember("", account.id)
            with pytest.raises((InvalidCredentials, TooManyAttempts)) as answer:
                await sign_in(running, clock, PASSWORD, cookie=cookie)
            refused += answer.type is TooManyAttempts
        assert refused == 10
        clock.advance(ms=HOUR_MS)
        assert (await sign_in(running, clock, NEW_PASSWORD, cookie=own)).session_id


async def test_an_address_without_an_account_is_locked_alike(tmp_path: Path) -> None:
    """The lock does not tell who has an account, and no event names an account that does not exist (T24)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await running.create_account(EMAIL, PASSWORD, caller(clock))
        answers = []
        for email in (EMAIL, "nobody@example.com"):
            counters = running.sign_in._throttling.of_unknown_device(
                email, AWAY, subject="ada-id" if email == EMAIL else None, at_home=False
            )
            await set_failures(running, counters, long_ago(clock, MAX_CONSECUTIVE - 1))
            with pytest.raises(InvalidCredentials):
                await sign_in(running, clock, WRONG, email=email)
            with pytest.raises(TooManyAttempts) as refused:
                await sign_in(running, clock, email=email)
            answers.append((str(refused.value), refused.value.retry_after_s))
        assert answers[0] == answers[1]


async def test_an_attack_from_everywhere_cannot_lock_within_days(tmp_path: Path) -> None:
    """A fresh network for each guess: twenty guesses are free, then all but one an hour are refused, and not even hashed."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await make_known(running, clock)
        refused, wrong = 0, 0
        for number in range(100):
            with pytest.raises((InvalidCredentials, TooManyAttempts)) as answer:
                await sign_in(running, clock, WRONG, ip=f"203.0.{number}.1")
            wrong += answer.type is InvalidCredentials
            refused += answer.type is TooManyAttempts
            assert not getattr(answer.value, "is_locked", False)
            clock.advance(seconds=20)
        assert (wrong, refused) == (25, 75)
        assert (await sign_in(running, clock, ip=HOME)).session_id, "the waits do not apply at home"


async def test_guesses_from_one_ipv6_site_share_a_budget(tmp_path: Path) -> None:
    """A client with 65,536 networks does not have as many budgets of a network; ten of them use up the site's."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        throttling, ip = running.sign_in._throttling, "2001:db8:1:ffff::1"
        network, site = throttling.of_network(ip).each
        smaller, new_accounts = throttling.of_new_accounts(ip).each
        assert site.limit.free == 10 * network.limit.free
        assert new_accounts.limit.free == 10 * smaller.limit.free

        async def use_up(counter: Counter) -> None:
            full = Failures(1000 * counter.limit.free, 1, clock(), forgotten_at_ms=clock() + DAY_MS)
            await running.store.transact(lambda rows: rows.failures.save_many([Count(counter.key, full)]))

        await use_up(site)
        for address, is_refused in (("2001:db8:1:7::1", True), ("2001:db8:2::1", False), (AWAY, False)):
            with pytest.raises(TooManyAttempts if is_refused else InvalidCredentials):
                await sign_in(running, clock, WRONG, ip=address)
        await use_up(new_accounts)
        with pytest.raises(TooManyAttempts):
            await running.register("eve@example.com", PASSWORD, caller(clock, "2001:db8:1:8::1"))
        created = await running.register("eve@example.com", PASSWORD, caller(clock, "2001:db8:2::1"))
        assert created.email == "eve@example.com"


async def test_clients_without_an_address_do_not_share_one_network(tmp_path: Path) -> None:
    """Behind a Unix socket nobody's failures delay another account (and the account's own counter still counts)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await running.create_account(EMAIL, PASSWORD, caller(clock))
        for _ in range(19):
            with pytest.raises(InvalidCredentials):
                await sign_in(running, clock, WRONG, ip="", email="nobody@example.com")
        assert (await sign_in(running, clock, ip="")).session_id
        for _ in range(60):
            with pytest.raises(AccountExists):
                await running.register(EMAIL, PASSWORD, caller(clock, ip=""))
        for email in (EMAIL, "bob@example.com"):
            with pytest.raises(InvalidCredentials):
                await sign_in(running, clock, WRONG, ip="", email=email)
        with pytest.raises(InvalidCredentials):
            await sign_in(running, clock, WRONG, ip="", email="nobody@example.com")
        with pytest.raises(TooManyAttempts):
            await sign_in(running, clock, WRONG, ip="", email="nobody@example.com")


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Return the URL of an empty database of either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/handstamp.db"
        return
    async with fresh_database(request.getfixturevalue("postgres_server")) as url:
        yield url


@pytest.mark.usefixtures("real_hashing")  # so that all are at it at once
@pytest.mark.parametrize("is_known", [False, True], ids=["stranger", "known device"])
async def test_many_guesses_at_once_do_not_exceed_the_limit(tmp_path: Path, database: str, is_known: bool) -> None:
    """Of many concurrent guesses, all beyond the limit are refused, by two nodes together (R71)."""
    clock = Clock()
    settings = {"database": database, "secret": SECRET, "hashing_threads": 2}  # 8 places in the queue for one network
    async with deployed(tmp_path, clock, **settings) as running, deployed(tmp_path, clock, **settings) as other:
        _, cookie = await make_known(running, clock)
        cookie = cookie if is_known else ""
        guesses = [f"the wrong sentence number {number}" for number in range(14)]  # a right one among them would reset the rest
        attempts = [sign_in(node, clock, guess, cookie=cookie) for node, guess in zip([running, other] * 7, guesses, strict=True)]
        answers = [type(answer) for answer in await asyncio.gather(*attempts, return_exceptions=True)]
        assert answers.count(InvalidCredentials) == 5
        assert answers.count(TooManyAttempts) == len(guesses) - 5
        with pytest.raises(TooManyAttempts):
            await sign_in(other, clock, cookie=cookie)


@pytest.mark.usefixtures("real_hashing")  # so that all are at it at once
async def test_many_guesses_at_once_do_not_pass_the_ceiling(tmp_path: Path) -> None:
    """Also the hundredth failure is counted once. What was hashed beside it is refused."""
    clock = Clock()
    async with deployed(tmp_path, clock, hashing_threads=2) as running:
        _, cookie = await make_known(running, clock)
        device = running.sign_in._throttling.of_device(EMAIL, AWAY, cookie.split(".")[1], subject="ada-id")
        await set_failures(running, device, long_ago(clock, MAX_CONSECUTIVE - 1))
        attempts = [sign_in(running, clock, guess, cookie=cookie) for guess in (*[WRONG] * 6, PASSWORD)]
        answers = [type(answer) for answer in await asyncio.gather(*attempts, return_exceptions=True)]
        assert answers.count(InvalidCredentials) == 1
        assert answers.count(TooManyAttempts) == 6


async def test_a_device_is_known_after_the_secret_was_changed(tmp_path: Path) -> None:
    """A cookie of a previous secret is taken and replaced by one of the current secret; without the previous one it is not."""
    clock = Clock()
    old, new = SECRET, "w3Vt-Yb7Qe9sA1uX5oM2kJ6rH8cN4dZf"
    async with deployed(tmp_path, clock, secret=old) as running:
        account, cookie = await make_known(running, clock)
    async with deployed(tmp_path, clock, secret=new, previous_secrets=old) as running:
        assert running.devices.find(account.id, EarlierSignIns(cookie=cookie)) == cookie.split(".")[1]
        renewed = running.devices.remember(cookie, account.id)
        assert renewed.split(".")[:2] == cookie.split(".")[:2]
        assert len(renewed.split(".")) == 3, "the old tag is replaced"
        await running.keys.reseal(operator(clock))
    async with deployed(tmp_path, clock, secret=new) as running:
        assert running.devices.find(account.id, EarlierSignIns(cookie=cookie)) is None
        assert running.devices.find(account.id, EarlierSignIns(cookie=renewed)) is not None


async def test_a_clock_that_was_far_ahead_shuts_nobody_out(tmp_path: Path) -> None:
    """Failures that were counted forty days in the future delay nobody once the clock is right again."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await make_known(running, clock)
        ahead = Failures(level=30_000, consecutive=30, last_at_ms=clock() + 40 * DAY_MS, forgotten_at_ms=None)
        await set_failures(running, strangers(running), ahead)
        assert (await sign_in(running, clock)).session_id


@pytest.mark.parametrize("how", ["unlock", "enable", "set-password", "rename"])
async def test_operators_unlock_with_a_line_and_an_event(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each way that lets a person sign in again forgets the failures in the same transaction, and says so once."""
    clock = Clock()
    caplog.set_level(logging.INFO, "handstamp.audit")
    async with deployed(tmp_path, clock) as running:
        account, _ = await make_known(running, clock)
        await set_failures(running, strangers(running), long_ago(clock, MAX_CONSECUTIVE))
        match how:
            case "unlock":
                await running.accounts.unlock(EMAIL, caller(clock))
            case "enable":
                await running.accounts.enable(EMAIL, caller(clock))
            case "rename":
                await running.accounts.rename(EMAIL, "ada@example.org", caller(clock))
            case _:
                await running.accounts.set_password(EMAIL, NEW_PASSWORD, caller(clock))
        assert [line["subject"] for line in audit_lines(caplog, "account_unlocked")] == [account.id]
        assert (await kinds_of(running, account.id)).count("account_unlocked") == 1
        email, password = {"rename": ("ada@example.org", PASSWORD), "set-password": (EMAIL, NEW_PASSWORD)}.get(
            how, (EMAIL, PASSWORD)
        )
        assert (await sign_in(running, clock, password, email=email)).session_id
        if how == "rename":
            successor = await running.create_account(EMAIL, PASSWORD, caller(clock))
            assert (await sign_in(running, clock)).subject == successor.id


async def test_disabling_an_account_unlocks_nothing(tmp_path: Path) -> None:
    """Only what lets the person sign in again forgets the failures."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await make_known(running, clock)
        await set_failures(running, strangers(running), long_ago(clock, MAX_CONSECUTIVE))
        await running.accounts.disable(EMAIL, caller(clock))
        with pytest.raises(TooManyAttempts):
            await sign_in(running, clock)


async def test_every_throttled_attempt_leaves_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Sign-in, password change and registration are logged alike, with the limit that refused them (R82)."""
    clock = Clock()
    caplog.set_level(logging.INFO, "handstamp.audit")
    async with deployed(tmp_path, clock) as running:
        await make_known(running, clock)
        session, account = await _newest_session(running, clock)

        async def register() -> object:
            return await running.register(EMAIL, PASSWORD, caller(clock))

        async def change() -> object:
            return await running.change_password(session, account, WRONG, NEW_PASSWORD, caller(clock))

        for attempt, times, failure in (
            (lambda: sign_in(running, clock, WRONG), 5, InvalidCredentials),
            (change, 5, InvalidCredentials),
            (register, 50, AccountExists),
        ):
            for _ in range(times):
                with pytest.raises(failure):
                    await attempt()
            with pytest.raises(TooManyAttempts):
                await attempt()
        lines = audit_lines(caplog, "attempt_throttled")
        assert [(line["operation"], line["limit"], line["retry_after_s"]) for line in lines] == [
            ("sign_in", "pair", 30),
            ("change_password", "device", 30),
            ("register", "network", 30),
        ]
        assert all(line["ip"] for line in lines)
        assert [line["subject"] for line in lines] == [session.subject, session.subject, None]
        assert EMAIL not in str(lines)


async def _newest_session(running: Deployment, clock: Clock) -> tuple[Session, Account | None]:
    (session, *_), _ = await running.sessions.list_all(None, caller(clock))
    return await running.sessions.require_living(session.id, clock())


async def test_a_changed_password_resets_the_accounts_counters(tmp_path: Path) -> None:
    """Whoever has just proved the old password is the person."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await make_known(running, clock)
        await set_failures(running, strangers(running, HOME), long_ago(clock, MAX_CONSECUTIVE))
        session, account = await _newest_session(running, clock)
        await running.change_password(session, account, PASSWORD, NEW_PASSWORD, caller(clock, HOME))
        assert (await sign_in(running, clock, NEW_PASSWORD)).session_id


async def test_strangers_failures_do_not_delay_a_password_change(tmp_path: Path) -> None:
    """The session is the known device, wherever it is."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await make_known(running, clock)
        session, account = await _newest_session(running, clock)
        now = Failures(level=90_000, consecutive=99, last_at_ms=clock(), forgotten_at_ms=None)
        await set_failures(running, strangers(running), now)
        network = running.sign_in._throttling.of_network(AWAY).each
        await running.store.transact(lambda rows: rows.failures.save_many([Count(each.key, now) for each in network]))
        assert (await running.change_password(session, account, PASSWORD, NEW_PASSWORD, caller(clock, AWAY))).session_id


async def test_failures_that_trickle_in_are_forgotten(tmp_path: Path) -> None:
    """Housekeeping deletes counters that have leaked away, and keeps those of the ceiling (R90)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await make_known(running, clock)
        for email in (EMAIL, "nobody@example.com"):
            with pytest.raises(InvalidCredentials):
                await sign_in(running, clock, WRONG, email=email)
        throttling = running.sign_in._throttling
        addresses = [(EMAIL, "ada-id"), ("nobody@example.com", None)]
        attempts = [throttling.of_unknown_device(email, AWAY, subject=subject, at_home=False) for email, subject in addresses]
        counters = [counter for attempt in attempts for counter in attempt.each]
        remaining = []
        for passed_ms in (HOUR_MS, 8 * DAY_MS):
            clock.advance(ms=passed_ms)
            await running.store.transact(lambda rows: rows.purge(now_ms=clock(), limit=99))
            found = await running.store.read(lambda rows: rows.failures.get_many([counter.key for counter in counters]))
            remaining.append([counter.limit.name for counter, each in zip(counters, found, strict=True) if each != Failures()])
        assert remaining == [["account", "account"], ["account"]]
