"""The service dies at every step of every sign-in, or the account changes there. Real stores, two nodes.

One node answers until it reaches a chosen access to the store, and dies there: before the access, with a transaction that is
never committed, or after the commit with the answer lost. The client sends the request again to the other node, as clients do,
and goes on. All places are tried, one after the other.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from handstamp.domain.totp import Totp
from handstamp.storage.postgres.store import PostgresStore
from handstamp.storage.sqlite.store import SqliteStore
from tests.deployment import caller
from tests.ways_in import (
    AFTERWARDS,
    EMAIL,
    ENROLLING,
    WHERE,
    WITH_FACTORS,
    Person,
    RefusedError,
    Way,
    a_person,
    by_app,
    by_new_app,
    by_new_passkey,
    by_passkey,
    die,
    prepare,
    replay,
)

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@pytest.fixture(autouse=True)
def timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test's clock be that of all, as with SQLite."""
    monkeypatch.setattr(PostgresStore, "time", SqliteStore.time)


STORES = pytest.mark.parametrize("store", ["sqlite", "postgres"])


@STORES
@pytest.mark.parametrize("way", [*WITH_FACTORS, *ENROLLING])
async def test_a_crash_gives_no_session_and_costs_no_factor(
    tmp_path: Path, way: Way, store: str, request: pytest.FixtureRequest, count: Callable[[str], None]
) -> None:
    """Wherever it is, the sign-in goes on at the other node. It ends with one session, which replays do not double."""
    server = request.getfixturevalue("postgres_server") if store == "postgres" else ""
    policy = {"second_factor": "required"} if way in ENROLLING else {}
    async with a_person(tmp_path, server, **policy) as ada:
        crashes = 0
        for number, where in ((number, where) for number in itertools.count(1) for where in WHERE):
            await prepare(ada, way)
            ada.nodes[0].plan(number, where, die)
            answer = await way(ada)
            assert answer.status_code == 200, (number, where, answer.text)
            (begun,) = await ada.expect_sound()
            crashes += ada.crashes
            if number > ada.nodes[0].accesses and not ada.crashes:
                break
            if store == "sqlite":  # what is refused does not depend on the store
                await replay(ada)
            assert [session.id for session in await ada.expect_sound()] == [begun.id]
            factors = (await ada.nodes[1].running.accounts.list_factors(EMAIL, caller(ada.clock))).factors
            assert (factors.has_totp, factors.passkeys) == (way != by_new_passkey, int(way != by_new_app))
            assert factors.recovery_codes == len(ada.codes)
            if store == "sqlite":
                await ada.forget()
                assert (await AFTERWARDS.get(way, way)(ada)).status_code == 200
        assert crashes >= 4
        count(f"{crashes} crashes")


async def disable(ada: Person) -> None:
    """An operator disables the account."""
    await ada.nodes[1].running.accounts.disable(EMAIL, caller(ada.clock))


async def end_all(ada: Person) -> None:
    """The person signs out everywhere."""
    await ada.nodes[1].running.sign_out.end_all(ada.account_id, caller(ada.clock))


async def remove(ada: Person) -> None:
    """All factors are lost but for a new app, as after a visit to the operator."""
    await ada.nodes[1].running.accounts.reset_factors(EMAIL, caller(ada.clock))
    await ada.nodes[1].running.store.transact(lambda rows: rows.totp.save(another_app(ada)))


def another_app(ada: Person) -> Totp:
    """Return an app whose secret the person does not have."""
    sealed = ada.nodes[1].running.totp_secrets.seal(secrets.token_bytes(20), ada.account_id)
    return Totp(account_id=ada.account_id, sealed=sealed, last_step=0, created_at_ms=ada.clock(), used_at_ms=ada.clock())


@STORES
@pytest.mark.parametrize("act", [disable, end_all, remove])
async def test_what_happens_in_the_middle_counts(
    tmp_path: Path, act: Callable[[Person], Awaitable[None]], store: str, request: pytest.FixtureRequest
) -> None:
    """Between any two accesses to the store: then the sign-in gives no session, or ends with the others."""
    server = request.getfixturevalue("postgres_server") if store == "postgres" else ""
    async with a_person(tmp_path, server) as ada:
        for way in WITH_FACTORS if store == "sqlite" else (by_app, by_passkey):
            for number in itertools.count(1):
                await prepare(ada, way)
                ada.nodes[0].plan(number, "before", partial(act, ada))
                with suppress(RefusedError):
                    await way(ada)
                if ada.nodes[0].accesses < number:
                    break
                # What ends all sessions before the account is read comes before the sign-in. A passkey tells the account late.
                is_earlier = act is end_all and number <= (2 if way is by_passkey else 1)
                assert len(await ada.sessions()) == is_earlier, (way, number)
                await ada.nodes[1].running.accounts.enable(EMAIL, caller(ada.clock))
            assert number > 3, way
