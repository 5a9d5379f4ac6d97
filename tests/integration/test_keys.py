"""Tests of signing keys over months of a deployment's life, on a real database with a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from handstamp.assemble.deployment import Deployment
from handstamp.config.secret_file import load_master_secret
from handstamp.crypto import jws
from handstamp.crypto.algorithms import ALGORITHMS
from handstamp.crypto.jwk import KeySet
from handstamp.domain.grant import NOTHING
from handstamp.domain.keyring import JWKS_MAX_AGE_S, PUBLISH_AHEAD_MS, ROTATE_AFTER_MS, SLACK_MS, KeyRecord
from handstamp.errors import ConfigurationError, HandstampError, InvalidToken, NotFound
from handstamp.service.parts.caller import Caller
from handstamp.verify.verifier import Verifier
from tests.builders import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, SECOND_MS, Clock, a_session
from tests.deployment import ISSUER, caller, deployed, operator, settings_in, start_session

EMAIL, PASSWORD = "ada@example.com", "kelp lantern rivet 41 of the tests"
HOUSEKEEPING_MS = 30 * SECOND_MS
KEPT_MS = HOUR_MS + (JWKS_MAX_AGE_S + 60) * SECOND_MS
"""How long a key stays published after it stops signing.

It is the sum of the longest access token lifetime, the JWKS cache time and the leeway.
"""

pytestmark = pytest.mark.anyio


def mint_token(running: Deployment, clock: Clock) -> str:
    """Return an access token that the service mints now."""
    return running.tokens.mint(a_session(now_ms=clock()), NOTHING, clock()).access_token


def kid_of(token: str) -> str:
    """Return the key id in a token's header."""
    return jws.split(token)[0].kid


def published_kids(running: Deployment) -> set[str]:
    """Return the ids of the keys in the published key set."""
    return {key["kid"] for key in json.loads(running.keys.jwks)["keys"]}


async def key_states(running: Deployment, clock: Clock) -> list[str]:
    """Return the states of all keys, oldest first."""
    return [state for _, state in await running.keys.list_all(clock())]


def read_all_but_the_secret(folder: Path) -> bytes:
    """Return the content of all files in the folder except the secret file."""
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.name != "handstamp.secret")


# --- the first key


async def test_a_clock_that_is_set_back_a_little_after_the_first_start_leaves_a_key_that_signs(tmp_path: Path) -> None:
    """A new machine starts, makes its key, and half a minute later NTP sets its clock back, also across a restart."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        kids = published_kids(running)
        clock.advance(seconds=-30)
        assert {kid_of(mint_token(running, clock))} == kids
        await running.keys.require_ready(clock())
    clock.advance(seconds=-30 * 60)
    async with deployed(tmp_path, clock) as running:
        assert {kid_of(mint_token(running, clock))} == published_kids(running) == kids


# --- automatic rotation


async def test_keys_rotate_automatically_after_ninety_days(tmp_path: Path) -> None:
    """Keys rotate automatically after ninety days.

    The successor is published ahead, takes over, and the old key is retired and deleted, exact to
    the second (R30).
    """
    clock = Clock()
    end_ms = NOW_MS - SLACK_MS + ROTATE_AFTER_MS
    async with deployed(tmp_path, clock) as running:
        (first,) = published_kids(running)
        assert await key_states(running, clock) == ["active"]

        clock.now_ms = end_ms - PUBLISH_AHEAD_MS - SECOND_MS
        await running.housekeeping.run_once()
        assert published_kids(running) == {first}

        clock.advance(seconds=1)
        await running.housekeeping.run_once()
        (second,) = published_kids(running) - {first}
        assert await key_states(running, clock) == ["active", "published"]
        assert kid_of(mint_token(running, clock)) == first

        clock.now_ms = end_ms - 1
        assert kid_of(mint_token(running, clock)) == first
        clock.now_ms = end_ms
        assert kid_of(mint_token(running, clock)) == second, "the new key takes over by the clock, not by housekeeping"
        assert await key_states(running, clock) == ["retiring", "active"]

        clock.now_ms = end_ms + KEPT_MS - 1
        await running.housekeeping.run_once()
        assert published_kids(running) == {first, second}
        clock.advance(ms=1)
        await running.housekeeping.run_once()
        assert published_kids(running) == {second}
        assert await key_states(running, clock) == ["active"]


async def test_a_service_that_slept_for_a_year_catches_up(tmp_path: Path) -> None:
    """After a year's pause, the old key signs until its successor has been published for long enough."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        (first,) = published_kids(running)
    clock.advance(ms=365 * DAY_MS)
    async with deployed(tmp_path, clock) as running:
        assert await key_states(running, clock) == ["active", "published"]
        assert kid_of(mint_token(running, clock)) == first
        clock.advance(ms=PUBLISH_AHEAD_MS)
        await running.housekeeping.run_once()
        assert kid_of(mint_token(running, clock)) != first
        clock.advance(ms=KEPT_MS)
        await running.housekeeping.run_once()
        assert await key_states(running, clock) == ["active"]


async def test_a_verifier_that_only_polls_never_meets_an_unknown_key(tmp_path: Path) -> None:
    """Tokens minted throughout a rotation verify with a key set that is up to five minutes old (R30)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        start_ms = NOW_MS + ROTATE_AFTER_MS - PUBLISH_AHEAD_MS - 10 * MINUTE_MS
        clock.now_ms = start_ms
        await running.housekeeping.run_once()
        cached, fetched_at_ms = KeySet.from_jwks(running.keys.jwks), clock()
        verifier = Verifier(ISSUER, audience=ISSUER, keys=lambda: cached, check="offline", clock=clock)
        alive: list[tuple[int, str]] = []
        signers: list[str] = []
        while clock() < start_ms + HOUR_MS:
            if (clock() - start_ms) % HOUSEKEEPING_MS == 0:
                await running.housekeeping.run_once()
            if clock() - fetched_at_ms >= JWKS_MAX_AGE_S * SECOND_MS:
                cached, fetched_at_ms = KeySet.from_jwks(running.keys.jwks), clock()
            token = mint_token(running, clock)
            signers.append(kid_of(token))
            alive = [(end_ms, kept) for end_ms, kept in alive if clock() < end_ms]
            alive.append((clock() + 15 * MINUTE_MS, token))
            for _, kept in (alive[0], alive[len(alive) // 2], alive[-1]):
                verifier.verify(kept)
            clock.advance(seconds=10)
        assert len(set(signers)) == 2
        assert signers == sorted(signers, key=signers.index), "no going back to the old key"


async def test_manual_rotation_publishes_ahead(tmp_path: Path) -> None:
    """`rotate` returns the successor. The old key signs until the successor takes over."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        (first,) = published_kids(running)
        clock.advance(seconds=60)
        second = await running.keys.rotate(operator(clock))
        assert published_kids(running) == {first, second.kid}
        assert second.active_from_ms == clock() + PUBLISH_AHEAD_MS
        assert kid_of(mint_token(running, clock)) == first
        clock.advance(ms=PUBLISH_AHEAD_MS)
        assert kid_of(mint_token(running, clock)) == second.kid


async def test_immediate_rotation_invalidates_no_token(tmp_path: Path) -> None:
    """Five rotations a minute apart invalidate no token. Exactly one key is active at any time."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        verifier = Verifier(ISSUER, audience=ISSUER, keys=lambda: running.keys.verifying, check="offline", clock=clock)
        alive: list[tuple[int, str]] = []
        for minute in range(90):
            if minute < 5:
                await running.keys.rotate(operator(clock))
            await running.housekeeping.run_once()
            assert (await key_states(running, clock)).count("active") == 1
            alive = [(end_ms, token) for end_ms, token in alive if clock() < end_ms]
            alive.append((clock() + 15 * MINUTE_MS, mint_token(running, clock)))
            for _, token in alive:
                verifier.verify(token)
            clock.advance(ms=MINUTE_MS)
        assert await key_states(running, clock) == ["active"]


async def test_two_services_on_one_database_rotate_once(tmp_path: Path) -> None:
    """Two processes that find a rotation due at the same moment publish one successor and agree on it."""
    clock = Clock()
    async with deployed(tmp_path, clock) as one, deployed(tmp_path, clock) as other:
        assert published_kids(one) == published_kids(other)
        assert len(published_kids(one)) == 1
        clock.now_ms = NOW_MS + ROTATE_AFTER_MS
        await asyncio.gather(*(running.keys.maintain(clock()) for running in (one, other) for _ in range(5)))
        await asyncio.gather(one.housekeeping.run_once(), other.housekeeping.run_once())
        assert await key_states(one, clock) == ["active", "published"]
        assert published_kids(one) == published_kids(other)
        clock.advance(ms=PUBLISH_AHEAD_MS)
        assert kid_of(mint_token(one, clock)) == kid_of(mint_token(other, clock))
        clock.advance(ms=KEPT_MS)
        await asyncio.gather(one.housekeeping.run_once(), other.housekeeping.run_once())
        assert published_kids(one) == published_kids(other)
        assert await key_states(one, clock) == ["active"]


async def test_two_services_on_a_fresh_database_make_one_key(tmp_path: Path) -> None:
    """Services that start at the same moment on a new database create one key together."""
    clock = Clock()
    services = [Deployment(settings_in(tmp_path), clock=clock) for _ in range(5)]
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(running.open()) for running in services))
        await asyncio.gather(*(running.keys.maintain(clock()) for running in services))
        assert len({frozenset(published_kids(running)) for running in services}) == 1
        assert await key_states(services[0], clock) == ["active"]


async def test_keys_of_another_process_are_loaded_in_time(tmp_path: Path) -> None:
    """A key that one process publishes is loaded by the next housekeeping of the other, long before it signs."""
    clock = Clock()
    async with deployed(tmp_path, clock) as one, deployed(tmp_path, clock) as other:
        record = await one.keys.rotate(operator(clock))
        clock.advance(ms=2 * HOUSEKEEPING_MS)
        await other.housekeeping.run_once()
        assert record.kid in published_kids(other)
        assert PUBLISH_AHEAD_MS - 2 * HOUSEKEEPING_MS >= JWKS_MAX_AGE_S * SECOND_MS


# --- retiring by hand


async def require_only_kid(running: Deployment, clock: Clock) -> str:
    """Return the id of the only key."""
    ((record, _),) = await running.keys.list_all(clock())
    return record.kid


async def test_retiring_the_active_key_publishes_its_successor(tmp_path: Path) -> None:
    """A retired key signs until its successor has been published for long enough.

    Its tokens stay valid until they expire (R30).
    """
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        first, before = await require_only_kid(running, clock), mint_token(running, clock)
        clock.advance(seconds=60)
        assert await running.keys.retire(first, operator(clock)) == "active"
        assert await key_states(running, clock) == ["active", "published"]
        assert kid_of(mint_token(running, clock)) == first
        assert await running.keys.retire(first, operator(clock)) == "active"
        assert await key_states(running, clock) == ["active", "published"], "asking twice makes no second successor"
        clock.advance(ms=PUBLISH_AHEAD_MS)
        assert kid_of(mint_token(running, clock)) != first
        running.verifier.verify(before)
        assert await running.keys.retire(first, operator(clock)) == "retiring"
        assert await key_states(running, clock) == ["retiring", "active"]
        clock.advance(ms=KEPT_MS)
        await running.housekeeping.run_once()
        assert first not in published_kids(running)


async def test_retiring_a_key_that_has_not_signed_removes_it(tmp_path: Path) -> None:
    """A key that has not signed is deleted when it is retired. The active key keeps signing."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        first = await require_only_kid(running, clock)
        second = await running.keys.rotate(operator(clock))
        assert await running.keys.retire(second.kid, operator(clock)) == "published"
        assert published_kids(running) == {first}
        clock.advance(ms=PUBLISH_AHEAD_MS)
        assert kid_of(mint_token(running, clock)) == first


async def test_retiring_an_unknown_key_changes_nothing(tmp_path: Path) -> None:
    """An unknown key id raises `NotFound` from `retire` and from `void`."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        first = await require_only_kid(running, clock)
        for act in (running.keys.retire, running.keys.void):
            with pytest.raises(NotFound, match="handstamp keys list"):
                await act("nosuchkey", operator(clock))
        assert await require_only_kid(running, clock) == first
        assert await voided_kids(running) == []


# --- a key that has leaked


async def voided_kids(running: Deployment) -> list[str]:
    """Return the ids of the keys in the revocation feed."""
    found = await running.store.read(lambda rows: rows.revocations.list_since(0, limit=100))
    return [entry.name for entry in found if entry.kind == "kid"]


async def test_voiding_the_active_key_leaves_one_that_signs(tmp_path: Path) -> None:
    """Voiding the active key invalidates its tokens at once.

    Another key signs at once, and the feed announces the voided key (R31).
    """
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        leaked, before = await require_only_kid(running, clock), mint_token(running, clock)
        running.verifier.verify(before)
        await running.keys.void(leaked, operator(clock))
        with pytest.raises(InvalidToken):
            running.verifier.verify(before)
        fresh = await require_only_kid(running, clock)
        assert fresh != leaked
        assert published_kids(running) == {fresh}
        running.verifier.verify(mint_token(running, clock))
        (entry,) = await running.store.read(lambda rows: rows.revocations.list_since(2, limit=9))
        assert (entry.kind, entry.name) == ("kid", leaked)
        assert entry.exp_s * 1000 >= clock() + HOUR_MS + MINUTE_MS
        with pytest.raises(NotFound):
            await running.keys.void(leaked, operator(clock))


@pytest.mark.parametrize("which", ["retiring", "active", "published"])
async def test_voiding_one_of_three_keys_leaves_the_others(tmp_path: Path, which: str) -> None:
    """Voiding any of three keys removes only that key. One of the two others, which verifiers already know, signs."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await running.keys.rotate(operator(clock))
        clock.advance(ms=PUBLISH_AHEAD_MS)
        await running.keys.rotate(operator(clock))
        named: dict[str, str] = {state: record.kid for record, state in await running.keys.list_all(clock())}
        assert named.keys() == {"retiring", "active", "published"}
        await running.keys.void(named[which], operator(clock))
        others = {kid for state, kid in named.items() if state != which}
        assert published_kids(running) == others
        assert await voided_kids(running) == [named[which]]
        signer = kid_of(mint_token(running, clock))
        assert signer == (named["retiring"] if which == "active" else named["active"])
        running.verifier.verify(mint_token(running, clock))
        clock.advance(ms=PUBLISH_AHEAD_MS)
        await running.housekeeping.run_once()
        assert named[which] not in published_kids(running)
        running.verifier.verify(mint_token(running, clock))


async def test_voiding_does_not_activate_a_waiting_successor_early(tmp_path: Path) -> None:
    """A published successor takes over only after verifiers have fetched it. Until then a new key signs."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        leaked = await require_only_kid(running, clock)
        successor = await running.keys.rotate(operator(clock))
        await running.keys.void(leaked, operator(clock))
        assert await key_states(running, clock) == ["active", "published"]
        assert kid_of(mint_token(running, clock)) not in (leaked, successor.kid)
        clock.advance(ms=PUBLISH_AHEAD_MS)
        assert kid_of(mint_token(running, clock)) == successor.kid


async def test_voiding_does_not_restore_a_removed_key(tmp_path: Path) -> None:
    """Voiding never reactivates an expired predecessor. Verifiers have dropped it, and housekeeping would delete it."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        old = await require_only_kid(running, clock)
        await running.keys.rotate(operator(clock))
        clock.advance(ms=PUBLISH_AHEAD_MS + KEPT_MS)
        assert await key_states(running, clock) == ["gone", "active"]
        leaked = kid_of(mint_token(running, clock))
        await running.keys.void(leaked, operator(clock))
        assert kid_of(mint_token(running, clock)) not in (old, leaked)
        await running.housekeeping.run_once()
        running.verifier.verify(mint_token(running, clock))


async def test_voiding_a_key_ends_no_session(tmp_path: Path) -> None:
    """Refresh tokens use a different key, so clients refresh and receive tokens of the new signing key."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        session, pair = await start_session(running, clock)
        leaked = kid_of(pair.access_token)
        await running.keys.void(leaked, operator(clock))
        renewed = await running.refresh(pair.refresh_token, way="body", caller=caller(clock))
        assert (renewed.session_id, kid_of(renewed.access_token) != leaked) == (session.id, True)
        assert running.verifier.verify(renewed.access_token).sid == session.id


async def test_a_voided_key_stays_void_after_a_restart(tmp_path: Path) -> None:
    """Neither a restart nor another process's housekeeping restores a voided key or accepts its tokens."""
    clock = Clock()
    async with deployed(tmp_path, clock) as one, deployed(tmp_path, clock) as other:
        leaked, before = await require_only_kid(one, clock), mint_token(one, clock)
        await one.keys.void(leaked, operator(clock))
        await other.housekeeping.run_once()
        for running in (one, other):
            assert leaked not in published_kids(running)
            with pytest.raises(InvalidToken):
                running.verifier.verify(before)
    async with deployed(tmp_path, clock) as running:
        assert leaked not in published_kids(running)
        with pytest.raises(InvalidToken):
            running.verifier.verify(before)


async def test_a_process_that_missed_the_notification_learns_of_a_void_key(tmp_path: Path) -> None:
    """A process that follows the revocations in the store drops a voided key without waiting for housekeeping (R31)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as one, deployed(tmp_path, clock) as other:
        leaked, before = await require_only_kid(one, clock), mint_token(one, clock)
        following = [asyncio.create_task(work.run()) for work in (other.changes, other.revocations)]
        other.verifier.verify(before)
        await one.keys.void(leaked, operator(clock))
        async with asyncio.timeout(20):
            while leaked in published_kids(other):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
        with pytest.raises(InvalidToken):
            other.verifier.verify(before)
        assert kid_of(mint_token(other, clock)) == kid_of(mint_token(one, clock)) != leaked
        for task in following:
            task.cancel()


async def test_concurrent_housekeeping_does_not_restore_a_void_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key voided while another process runs housekeeping is not restored from that process's earlier read (R31)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as one, deployed(tmp_path, clock) as other:
        await one.keys.rotate(operator(clock))
        clock.advance(ms=PUBLISH_AHEAD_MS + KEPT_MS)
        leaked = kid_of(mint_token(one, clock))
        tidy_up = one.keys._delete

        async def void_meanwhile(gone: Sequence[KeyRecord], who: Caller) -> None:
            await other.keys.void(leaked, operator(clock))
            await one.keys.load(who.now_ms)
            await tidy_up(gone, who)

        monkeypatch.setattr(one.keys, "_delete", void_meanwhile)
        await one.keys.maintain(clock())
        assert leaked not in published_kids(one)
        assert kid_of(mint_token(one, clock)) == kid_of(mint_token(other, clock)) != leaked


async def test_two_operators_may_void_one_key(tmp_path: Path) -> None:
    """Of two simultaneous calls, one voids the key and the other raises `NotFound`. There is one new key and one feed entry."""
    clock = Clock()
    async with deployed(tmp_path, clock) as one, deployed(tmp_path, clock) as other:
        leaked = await require_only_kid(one, clock)
        outcomes = await asyncio.gather(
            *(running.keys.void(leaked, operator(clock)) for running in (one, other)), return_exceptions=True
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "NotFound"]
        assert await key_states(one, clock) == ["active"]
        assert await voided_kids(one) == [leaked]


# --- changing the algorithm


async def test_another_algorithm_is_a_rotation(tmp_path: Path) -> None:
    """A change from ES256 to Ed25519 ends no session.

    The new key is published before it signs, and old tokens stay valid until they expire.
    """
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        before = mint_token(running, clock)
    clock.advance(seconds=60)
    async with deployed(tmp_path, clock, algorithm="Ed25519") as running:
        verifier = Verifier(ISSUER, audience=ISSUER, keys=lambda: running.keys.verifying, check="offline", clock=clock)
        assert await key_states(running, clock) == ["active", "published"]
        assert jws.split(mint_token(running, clock))[0].alg == "ES256"
        verifier.verify(before)
        clock.advance(ms=PUBLISH_AHEAD_MS)
        after = mint_token(running, clock)
        assert jws.split(after)[0].alg == "Ed25519"
        verifier.verify(before)
        verifier.verify(after)
        for _ in range(3):
            await running.housekeeping.run_once()
        assert await key_states(running, clock) == ["retiring", "active"]
        clock.advance(ms=KEPT_MS)
        await running.housekeeping.run_once()
        assert await key_states(running, clock) == ["active"]


async def test_secrets_and_public_keys_are_never_mixed(tmp_path: Path) -> None:
    """Tokens signed with ES256 are invalid under HS256 and the reverse. An HS256 secret is never published (R13, T18)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        public = mint_token(running, clock)
    async with deployed(tmp_path, clock, algorithm="HS256") as running:
        secret = mint_token(running, clock)
        assert jws.split(secret)[0].alg == "HS256"
        assert running.keys.jwks == b'{"keys":[]}'
        running.verifier.verify(secret)
        with pytest.raises(InvalidToken):
            running.verifier.verify(public)
        await running.housekeeping.run_once()
        assert running.keys.jwks == b'{"keys":[]}'
    async with deployed(tmp_path, clock) as running:
        assert jws.split(mint_token(running, clock))[0].alg == "ES256"
        with pytest.raises(InvalidToken):
            running.verifier.verify(secret)


@pytest.mark.parametrize("pause_ms", [MINUTE_MS, 5 * MINUTE_MS, KEPT_MS, 30 * DAY_MS], ids=["1 min", "5 min", "21 min", "30 d"])
async def test_switching_algorithms_back_and_forth_always_leaves_a_signing_key(tmp_path: Path, pause_ms: int) -> None:
    """A change from ES256 to HS256 and back never leaves the service without a signing key, even after old keys are deleted."""
    clock = Clock()
    async with deployed(tmp_path, clock):
        clock.advance(ms=MINUTE_MS)
    async with deployed(tmp_path, clock, algorithm="HS256"):
        clock.advance(ms=pause_ms)
    async with deployed(tmp_path, clock) as running:
        for _ in range(60):
            running.verifier.verify(mint_token(running, clock))
            assert kid_of(mint_token(running, clock)) in published_kids(running)
            clock.advance(ms=MINUTE_MS)
            await running.housekeeping.run_once()


async def test_a_shorter_access_lifetime_removes_no_key_in_use(tmp_path: Path) -> None:
    """A process with a shorter access lifetime deletes no key that valid tokens need (R30).

    Examples are a command without the service's settings and a node that already has the new
    settings.
    """
    clock = Clock()
    async with deployed(tmp_path, clock, access_lifetime="1h") as running:
        record = await running.keys.rotate(operator(clock))
        clock.now_ms = record.active_from_ms - SECOND_MS
        token = mint_token(running, clock)
        clock.advance(ms=50 * MINUTE_MS)
        await running.housekeeping.run_once()
        running.verifier.verify(token)
        async with deployed(tmp_path, clock, access_lifetime="15m"):
            pass
        await running.housekeeping.run_once()
        running.verifier.verify(token)


async def test_nodes_with_different_algorithms_do_not_create_endless_keys(tmp_path: Path) -> None:
    """Two nodes with different algorithms on one database create a few keys, not one in each housekeeping run.

    This happens while a new setting is rolled out.
    """
    clock = Clock()
    async with deployed(tmp_path, clock) as old, deployed(tmp_path, clock, algorithm="Ed25519") as new:
        for _ in range(20):
            clock.advance(ms=HOUSEKEEPING_MS)
            await old.housekeeping.run_once()
            await new.housekeeping.run_once()
        assert len(await key_states(new, clock)) <= 4


# --- every algorithm, from sign-in to sign-out


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm_works_for_sign_in_and_refresh(tmp_path: Path, algorithm: str) -> None:
    """Sign-in, verification, refresh and sign-out work with each of the four algorithms (R27)."""
    clock = Clock()
    async with deployed(tmp_path, clock, algorithm=algorithm) as running:
        account = await running.create_account(EMAIL, PASSWORD, caller(clock), roles=("reader",))
        pair = await running.sign_in(EMAIL, PASSWORD, delivery="json", caller=caller(clock))
        clock.advance(seconds=600)
        renewed = await running.refresh(pair.refresh_token, way="body", caller=caller(clock))
        assert renewed.session_id == pair.session_id
        for token in (pair.access_token, renewed.access_token):
            header = jws.split(token)[0]
            assert (header.alg, header.typ) == (algorithm, "at+jwt")
            claims = running.verifier.verify(token)
            assert (claims.sub, claims.sid, claims.roles) == (account.id, pair.session_id, ("reader",))
            assert claims.auth_time == NOW_MS // 1000
            session, owner = await running.sessions.require_living(claims.sid, clock())
            assert (session.generation, owner) == (1, account)
        assert jws.split(renewed.refresh_token)[0].alg == "HS256"
        if algorithm != "HS256":
            keys = KeySet.from_jwks(running.keys.jwks)
            Verifier(ISSUER, audience=ISSUER, keys=keys, check="offline", clock=clock).verify(renewed.access_token)
        await running.sign_out.end_by_tokens([renewed.refresh_token], caller(clock))
        with pytest.raises(HandstampError, match="logout"):
            await running.sessions.require_living(pair.session_id, clock())


# --- keys at rest


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_no_private_key_is_readable_in_the_database(tmp_path: Path, algorithm: str) -> None:
    """No file except the secret file contains a signing key, the master secret or a key derived from it (R32)."""
    clock = Clock()
    async with deployed(tmp_path, clock, algorithm=algorithm) as running:
        await running.create_account(EMAIL, PASSWORD, caller(clock))
        pair = await running.sign_in(EMAIL, PASSWORD, delivery="json", caller=caller(clock))
        await running.keys.rotate(operator(clock))
        secret = load_master_secret(running.settings)
        records = [record for record, _ in await running.keys.list_all(clock())]
        private = [secret.open(record.sealed, context=record.kid) for record in records]
        assert len(private) == 2
        text = (tmp_path / "handstamp.secret").read_bytes().strip()
        hidden = [*private, secret.derive_refresh_key().to_bytes(), secret.derive("seal v1"), text, PASSWORD.encode()]
        hidden += [key[-32:] for key in private] + [key[36:68] for key in private]
        hidden += [token.encode() for token in (pair.access_token, pair.refresh_token)]
        content = read_all_but_the_secret(tmp_path)
        assert content
        for value in hidden:
            assert value not in content
            assert value.hex().encode() not in content


async def test_a_key_row_from_another_row_is_refused(tmp_path: Path) -> None:
    """A sealed key copied into another row cannot be opened. Write access to the database alone cannot swap or plant keys."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await running.keys.rotate(operator(clock))
    with contextlib.closing(sqlite3.connect(tmp_path / "handstamp.db")) as connection, connection:
        (one, other) = connection.execute("SELECT kid, sealed FROM signing_key ORDER BY active_from_ms").fetchall()
        connection.execute("UPDATE signing_key SET sealed = ? WHERE kid = ?", (one[1], other[0]))
        connection.execute("UPDATE signing_key SET sealed = ? WHERE kid = ?", (other[1], one[0]))
    with pytest.raises(ConfigurationError):
        async with deployed(tmp_path, clock):
            pass


async def test_a_refresh_token_survives_every_rotation_of_signing_keys(tmp_path: Path) -> None:
    """Refresh tokens use a key of their own, so neither a rotation nor another algorithm ends a session (T19)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await running.create_account(EMAIL, PASSWORD, caller(clock))
        pair = await running.sign_in(EMAIL, PASSWORD, delivery="json", caller=caller(clock))
    for algorithm in ("Ed25519", "HS256", "ES256"):
        clock.advance(ms=DAY_MS)
        async with deployed(tmp_path, clock, algorithm=algorithm) as running:
            pair = await running.refresh(pair.refresh_token, way="body", caller=caller(clock))
            running.verifier.verify(pair.access_token)
    async with deployed(tmp_path, clock) as running:
        session, _ = await running.sessions.require_living(pair.session_id, clock())
        assert session.generation == 3
