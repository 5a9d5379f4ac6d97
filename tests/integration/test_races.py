"""Tests of races between the steps of one use case: other requests run while a password is hashed."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

import pytest

from handstamp.assemble.deployment import Deployment
from handstamp.crypto.passwords import PasswordHasher
from handstamp.domain.event import Event
from handstamp.domain.limits import NetworkLimits
from handstamp.domain.policy import HOUR_MS
from handstamp.domain.session import Session
from handstamp.errors import ExpiredToken, InvalidCredentials, SessionEnded, TooManyAttempts, Unavailable
from handstamp.service.parts.hashing import QUEUE_PER_THREAD, Hashing
from handstamp.service.parts.tokens import TokenPair
from handstamp.storage.store import Rows
from handstamp.verify.verifier import Verifier
from tests.builders import Clock
from tests.deployment import ISSUER, caller, deployed, start_session

pytestmark = pytest.mark.anyio
EMAIL, PASSWORD = "ada@example.com", "kelp lantern rivet 41 of the tests"


async def sign_in(running: Deployment, clock: Clock, password: str = PASSWORD) -> TokenPair:
    """Sign in as an API client."""
    return await running.sign_in(EMAIL, password, delivery="json", caller=caller(clock))


async def list_session_events(sid: str, rows: Rows) -> list[Event]:
    """Return the events of a session."""
    return await rows.events.list_about(sid, limit=9)


async def list_active_sessions(running: Deployment, clock: Clock) -> list[Session]:
    """Return all active sessions."""
    found, _ = await running.sessions.list_all(None, caller(clock))
    return found


@pytest.mark.usefixtures("real_hashing")
async def test_a_sign_in_overtaken_by_a_change_starts_no_session(tmp_path: Path) -> None:
    """A sign-in fails if the epoch changed while its password was hashed, although the password was right (T22, T23)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await running.create_account(EMAIL, PASSWORD, caller(clock))
        began = asyncio.create_task(sign_in(running, clock))
        await asyncio.sleep(0)
        assert running.hashing._inside == 1, "the sign-in has not come to its hashing"
        await running.accounts.disable(EMAIL, caller(clock))
        await running.accounts.enable(EMAIL, caller(clock))
        with pytest.raises(InvalidCredentials):
            await began
        assert await list_active_sessions(running, clock) == []
        assert (await sign_in(running, clock)).session_id


@pytest.mark.usefixtures("real_hashing")
async def test_a_password_change_that_a_sign_out_overtook_changes_nothing(tmp_path: Path) -> None:
    """A password change fails if its session ended during hashing. It starts no session and keeps the old password (T6)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await running.create_account(EMAIL, PASSWORD, caller(clock))
        pair = await sign_in(running, clock)
        session, account = await running.sessions.require_living(pair.session_id, clock())
        new = "another sentence, hers alone"
        change = asyncio.create_task(running.change_password(session, account, PASSWORD, new, caller(clock)))
        await asyncio.sleep(0)
        await running.sign_out.end_by_tokens([pair.refresh_token], caller(clock))
        with pytest.raises(SessionEnded):
            await change
        assert await list_active_sessions(running, clock) == []
        with pytest.raises(InvalidCredentials):
            await sign_in(running, clock, new)
        assert (await sign_in(running, clock)).session_id


@pytest.mark.usefixtures("real_hashing")
async def test_concurrent_guesses_are_counted(tmp_path: Path) -> None:
    """Failure counters are checked again before a session starts.

    Of many concurrent guesses, a right one beyond the limit is refused (R71).
    """
    clock = Clock()
    async with deployed(tmp_path, clock, hashing_threads=8) as running:  # so that one network's share of the queue takes all
        await running.create_account(EMAIL, PASSWORD, caller(clock))
        guesses = [*(f"the wrong sentence number {number}" for number in range(20)), PASSWORD]
        answers = await asyncio.gather(*(sign_in(running, clock, guess) for guess in guesses), return_exceptions=True)
        kinds = [type(answer) for answer in answers]
        assert kinds.count(InvalidCredentials) == 5
        assert kinds.count(TooManyAttempts) == len(guesses) - 5, "right or wrong, all behind the limit are answered alike"
        assert kinds[-1] is TooManyAttempts
        assert await list_active_sessions(running, clock) == []
        clock.advance(ms=2 * HOUR_MS)
        assert (await sign_in(running, clock)).session_id


async def test_an_access_token_ends_with_its_idle_session(tmp_path: Path) -> None:
    """An access token expires no later than the refresh token issued with it (R39).

    The test repeats a refresh shortly before the idle end.
    """
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        _, pair = await start_session(running, clock)
        await running.refresh(pair.refresh_token, way="body", caller=caller(clock))
        clock.advance(ms=running.settings.policy.idle_lifetime_ms - 2000)
        again = await running.refresh(pair.refresh_token, way="body", caller=caller(clock))
        assert (again.expires_in_s, again.refresh_expires_in_s) == (2, 2)
        clock.advance(seconds=2)
        with pytest.raises(ExpiredToken):
            Verifier(ISSUER, audience=ISSUER, keys=running.keys.verifying, check="offline", leeway_s=0, clock=clock).verify(
                again.access_token
            )


async def test_an_expired_old_token_leaves_the_session_active(tmp_path: Path) -> None:
    """An expired copy of the refresh token is refused, and the error says that the session is active.

    So no cookies are deleted (T5).
    """
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        _, pair = await start_session(running, clock)
        clock.advance(ms=running.settings.policy.idle_lifetime_ms - 1000)
        renewed = await running.refresh(pair.refresh_token, way="body", caller=caller(clock))
        clock.advance(seconds=1)
        with pytest.raises(SessionEnded) as over:
            await running.refresh(pair.refresh_token, way="body", caller=caller(clock))
        assert over.value.session_lives
        assert (await running.refresh(renewed.refresh_token, way="body", caller=caller(clock))).session_id == renewed.session_id


async def test_a_sign_in_that_replaces_a_session_is_recorded(tmp_path: Path) -> None:
    """A sign-in records the end of the sessions whose tokens were presented.

    A session that had already ended keeps its reason (R82).
    """
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await running.create_account(EMAIL, PASSWORD, caller(clock))
        first, second = await sign_in(running, clock), await sign_in(running, clock)
        await running.sign_out.end_by_operator(second.session_id, caller(clock))
        presented = [first.refresh_token, second.refresh_token]
        await running.sign_in(EMAIL, PASSWORD, delivery="cookie", caller=caller(clock), presented=presented)
        for pair, why in ((first, "logout"), (second, "admin")):
            events = await running.store.read(functools.partial(list_session_events, pair.session_id))
            assert [(event.kind, event.detail.get("why")) for event in events][1:] == [("session_ended", why)]


async def test_a_signing_failure_leaves_the_old_token_valid(tmp_path: Path) -> None:
    """Tokens are signed before the commit. If no key is active, the refresh fails and the same refresh token works later."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        session, pair = await start_session(running, clock)
        clock.advance(ms=-2 * HOUR_MS)  # before the first key becomes active, which is an hour before it was made
        with pytest.raises(Unavailable):
            await running.refresh(pair.refresh_token, way="body", caller=caller(clock))
        clock.advance(ms=2 * HOUR_MS)
        assert (await running.sessions.require_living(session.id, clock()))[0] == session
        assert (await running.refresh(pair.refresh_token, way="body", caller=caller(clock))).refresh_token != pair.refresh_token


@pytest.mark.usefixtures("real_hashing")
async def test_a_password_is_rehashed_after_the_cost_has_changed(tmp_path: Path) -> None:
    """A sign-in rehashes the password if the cost setting has changed, and ends no session (R66, T23)."""
    clock = Clock()
    async with deployed(tmp_path, clock, password_cost="owasp") as running:
        account = await running.create_account(EMAIL, PASSWORD, caller(clock))
        first = await sign_in(running, clock)
        assert account.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    async with deployed(tmp_path, clock, password_cost="rfc9106") as running:
        await sign_in(running, clock)
        raised = await running.accounts.get_by_email(EMAIL)
        assert raised.password_hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
        assert raised.epoch == account.epoch
        assert len(await list_active_sessions(running, clock)) == 2
        assert (await running.refresh(first.refresh_token, way="body", caller=caller(clock))).session_id == first.session_id
        assert (await sign_in(running, clock)).session_id


@pytest.mark.usefixtures("real_hashing")
def test_an_unknown_address_is_hashed_with_the_parameters_of_a_known_one() -> None:
    """An unknown address costs the same hashing work as a known one, and no password matches (R72, T24)."""
    for hasher in (PasswordHasher("owasp"), PasswordHasher("rfc9106")):
        parameters = hasher.hash(PASSWORD).split("$")[:4]
        assert hasher._decoy.split("$")[:4] == parameters
        assert not hasher.matches(None, PASSWORD)


async def test_a_full_queue_refuses_and_recovers() -> None:
    """A full hashing queue raises `Unavailable` with a retry time.

    It accepts work again after the queue has drained (R73, T25).
    """
    hashing = Hashing(PasswordHasher("owasp"), NetworkLimits(10_000).hashing, threads=1)
    asked = [asyncio.create_task(hashing.hash(PASSWORD)) for _ in range(1 + QUEUE_PER_THREAD)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refused:
        await hashing.hash(PASSWORD)
    assert refused.value.retry_after_s > 0
    asked[-1].cancel()  # a client disconnects while it waits
    hashes = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(found, str) for found in hashes) == QUEUE_PER_THREAD
    assert await hashing.matches(await hashing.hash(PASSWORD), PASSWORD)
    hashing.close()
