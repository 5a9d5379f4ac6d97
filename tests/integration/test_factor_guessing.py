"""Guessing codes of an authenticator app: counted per account, apart from passwords, and no weapon against the owner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from handstamp.config.secret_file import load_master_secret
from handstamp.domain.mail import SecondFactorGuessed
from handstamp.domain.policy import DAY_MS
from handstamp.domain.throttle import FACTOR, MAX_CONSECUTIVE, Failures
from handstamp.service.mailing.outbox import Letters
from handstamp.storage.store.failures import Count
from tests.deployment import caller
from tests.integration.helpers import expect_problem
from tests.integration.test_second_factor import EMAIL, PASSWORD, Person, a_person

pytestmark = pytest.mark.anyio


async def guess(ada: Person) -> int:
    """Sign in with the password, as a thief who knows it, and send a wrong code. Return the status."""
    wrong = f"{(int(ada.code()) + 1) % 1_000_000:06}"
    return (await ada.complete(await ada.login(), code=wrong)).status_code


async def lock(ada: Person) -> None:
    """Lock every unknown device, with the last of a hundred guesses."""
    account = await ada.running.accounts.get_by_email(EMAIL)
    (counter,) = ada.running.throttling.of_factor(account.id, "totp").each
    before = Failures(level=1, consecutive=MAX_CONSECUTIVE - 1, last_at_ms=ada.clock() - DAY_MS, forgotten_at_ms=None)
    counted = Count(counter.key, before, counter.account)
    await ada.running.store.transact(lambda rows: rows.failures.save_many([counted]))
    assert [await guess(ada) for _ in range(2)] == [422, 429]


async def test_who_knows_the_password_waits_after_five_wrong_codes(tmp_path: Path) -> None:
    """A new attempt with the right password has no new budget, and the right code waits too."""
    async with a_person(tmp_path) as ada:
        assert [await guess(ada) for _ in range(FACTOR.free + 1)] == [422] * FACTOR.free + [429]
        answer = await ada.complete(await ada.login(), code=ada.code())
        expect_problem(answer, 429, "too_many_attempts")
        ada.clock.advance(ms=FACTOR.first_wait_ms)
        assert (await ada.complete(await ada.login(), code=ada.next_code())).status_code == 200
        assert [await guess(ada) for _ in range(FACTOR.free + 1)] == [422] * FACTOR.free + [429], "a success forgives"


async def test_a_new_password_by_mail_gives_no_new_guesses(tmp_path: Path) -> None:
    """A thief who reads the mailbox could set one after each hundred. Only the factor and an operator reset the count."""
    async with a_person(tmp_path) as ada:
        assert [await guess(ada) for _ in range(FACTOR.free + 1)][-1] == 429
        await ada.running.store.transact(lambda rows: ada.running.throttling.forget(rows, EMAIL))
        assert await guess(ada) == 429


async def test_the_owner_is_not_locked_out(tmp_path: Path) -> None:
    """A hundred wrong codes lock unknown devices. A known device, a recovery code and an operator still help."""
    async with a_person(tmp_path) as ada:
        signed_in = (await ada.complete(await ada.login(), code=ada.next_code())).json()
        await lock(ada)
        ada.clock.advance(ms=400 * DAY_MS)
        assert await guess(ada) == 429, "time does not unlock"
        recovered = await ada.complete(await ada.login(), recoveryCode=ada.recovery_codes[0])
        assert recovered.status_code == 200, recovered.text
        assert await guess(ada) == 429, "a recovery code does not give the thief more guesses"
        first = await ada.login()
        known = {"authorization": f"Bearer {signed_in['accessToken']}"}
        body = {"challenge": first["challenge"], "ticket": first["ticket"], "code": ada.next_code()}
        answer = await ada.client.post("/login/second-factor", json=body, headers=known)
        assert answer.status_code == 200, answer.text
        assert await guess(ada) == 422, "the success on a known device unlocks"


async def test_an_operator_unlocks(tmp_path: Path) -> None:
    """`users unlock` does what the refusal says."""
    async with a_person(tmp_path) as ada:
        await lock(ada)
        answer = await ada.complete(await ada.login(), code=ada.code())
        assert "unlock" in answer.json()["detail"]
        await ada.running.accounts.unlock(EMAIL, caller(ada.clock))
        assert (await ada.complete(await ada.login(), code=ada.next_code())).status_code == 200


async def count_mails(ada: Person) -> int:
    """Return how many mails tell that somebody may know the password."""
    mails = await ada.running.store.read(lambda rows: rows.mails.list_newest(limit=99))
    return [mail.kind for mail in mails].count("second_factor_guessed")


async def test_the_owner_is_told_of_a_right_password_with_wrong_codes(tmp_path: Path) -> None:
    """By one mail, whatever is guessed, over any number of sign-ins. More wrong ones send no more, on that day."""
    async with a_person(tmp_path, smtp_url="smtp://localhost:2525", mail_from="no-reply@example.com") as ada:
        wrong = ["00000-00000-00000-00000-0000"] * 4
        for code in wrong:
            expect_problem(await ada.complete(await ada.login(), recoveryCode=code), 422, "invalid_code")
        assert await count_mails(ada) == 0
        assert await guess(ada) == 422
        assert await count_mails(ada) == 1
        for _ in range(12):
            await ada.complete(await ada.login(), recoveryCode=wrong[0])
        assert await count_mails(ada) == 1
        ada.clock.advance(ms=2 * DAY_MS)
        for _ in range(4):
            await ada.complete(await ada.login(), recoveryCode=wrong[0])
        assert (await ada.complete(await ada.login(), code=ada.next_code())).status_code == 200
        expect_problem(await ada.complete(await ada.login(), code=ada.code()), 422, "invalid_code")  # used, and not wrong
        for _ in range(4):
            await ada.complete(await ada.login(), recoveryCode=wrong[0])
        assert await count_mails(ada) == 1, "a success forgives, and a code that was used is no guess"
        await ada.complete(await ada.login(), recoveryCode=wrong[0])
        assert await count_mails(ada) == 2


async def test_the_owner_is_told_of_wrong_codes_in_a_session(tmp_path: Path) -> None:
    """By the same one mail a day: who has a copy of the session guesses at the factor that it asks for. A right code forgives."""
    async with a_person(tmp_path, smtp_url="smtp://localhost:2525", mail_from="no-reply@example.com") as ada:
        token = (await ada.complete(await ada.login(), code=ada.next_code())).json()["accessToken"]

        async def step_up(times: int, answer: dict[str, Any], code: str) -> None:
            for _ in range(times):
                expect_problem(await ada.post("/login/step-up", answer, token=token), 422, code)

        wrong = {"recoveryCode": "00000-00000-00000-00000-0000"}
        await step_up(4, wrong, "invalid_code")
        await step_up(1, {"code": ada.code()}, "invalid_code")  # used, and not wrong
        assert await count_mails(ada) == 0
        assert (await ada.post("/login/step-up", {"code": ada.next_code()}, token=token)).status_code == 200
        await step_up(4, wrong, "invalid_code")
        assert await count_mails(ada) == 0, "a success forgives"
        await step_up(1, wrong, "invalid_code")
        mails = await ada.running.store.read(lambda rows: rows.mails.list_newest(limit=99))
        opened = map(Letters(load_master_secret(ada.running.settings)).open, mails)
        assert SecondFactorGuessed(in_session=True) in [letter.content for letter in opened]
        await step_up(5, wrong, "invalid_code")
        await ada.complete(await ada.login(), recoveryCode=wrong["recoveryCode"])
        assert await count_mails(ada) == 1


async def test_a_stranger_sends_no_mail(tmp_path: Path) -> None:
    """Who does not know the password can guess at nothing: a wrong one has no second step."""
    async with a_person(tmp_path, smtp_url="smtp://localhost:2525", mail_from="no-reply@example.com") as ada:
        for _ in range(6):
            await ada.post("/login", {"email": EMAIL, "password": "not the right sentence"})
            await ada.post("/login/second-factor", {"challenge": "x" * 200, "code": "123456"})
        assert await count_mails(ada) == 0


async def test_an_operator_sees_the_guesses(tmp_path: Path) -> None:
    """And whether they have locked unknown devices."""
    async with a_person(tmp_path) as ada:
        accounts = ada.running.accounts
        assert (await accounts.list_factors(EMAIL, caller(ada.clock)))[4:] == (0, False)
        await lock(ada)
        assert (await accounts.list_factors(EMAIL, caller(ada.clock)))[4:] == (MAX_CONSECUTIVE, True)
        await accounts.unlock(EMAIL, caller(ada.clock))
        assert (await accounts.list_factors(EMAIL, caller(ada.clock)))[4:] == (0, False)


async def test_a_reset_ends_the_sign_ins_that_have_begun(tmp_path: Path) -> None:
    """A thief with the password, who waits before the second step, cannot go on, and cannot add a factor in it."""
    async with a_person(tmp_path) as ada:
        waiting, tried, complete = await ada.login(), await ada.login(), await ada.login()
        await ada.complete(tried, recoveryCode="0" * 24)
        code = ada.next_code()
        assert (await ada.complete(complete, code=code)).status_code == 200
        for _ in range(2):
            account = await ada.running.accounts.reset_factors(EMAIL, caller(ada.clock))
            for first in (waiting, tried, complete):
                expect_problem(await ada.complete(first, code=code), 422, "invalid_challenge")
                held = {"challenge": first["challenge"], "ticket": first["ticket"]}
                expect_problem(await ada.post("/totp", held), 422, "invalid_challenge")
            ada.clock.advance(seconds=1)
            token = (await ada.login())["accessToken"]
            await ada.enrol(token)
            waiting = await ada.login()
        assert (await ada.complete(waiting, code=ada.next_code())).status_code == 200, "later ones are not concerned"
        ada.clock.advance(ms=DAY_MS)
        await ada.running.accounts.delete(EMAIL, caller(ada.clock))
        assert not await ada.running.store.read(lambda rows: rows.attempts.get_many([f"end of {account.id}"]))


async def test_counts_are_exported_and_deleted_with_the_account(tmp_path: Path) -> None:
    """No count stays behind."""
    async with a_person(tmp_path) as ada:
        await guess(ada)
        account = await ada.running.accounts.get_by_email(EMAIL)
        throttling, store = ada.running.throttling, ada.running.store
        assert len(await store.read(lambda rows: throttling.list_counts(rows, account, limit=9))) == 2
        await ada.running.accounts.delete(EMAIL, caller(ada.clock))
        assert await store.read(lambda rows: throttling.list_counts(rows, account, limit=9)) == []


async def test_a_stranger_without_the_password_reaches_no_count(tmp_path: Path) -> None:
    """No challenge, so nothing to guess at."""
    async with a_person(tmp_path) as ada:
        account = await ada.running.accounts.get_by_email(EMAIL)
        await ada.post("/login", {"email": EMAIL, "password": f"not {PASSWORD}"})
        for challenge in ("", "x" * 200):
            assert (await ada.post("/login/second-factor", {"challenge": challenge, "code": "123456"})).status_code >= 400
        counters = ada.running.throttling.of_factor(account.id, "totp").each
        found = await ada.running.store.read(lambda rows: rows.failures.get_many([each.key for each in counters]))
        assert [each.consecutive for each in found] == [0]
