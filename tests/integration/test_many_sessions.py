"""Tests of the limit on sessions, and of ending many at once, on both stores."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from handstamp.assemble.deployment import Deployment
from handstamp.domain.account import Account
from handstamp.domain.event import Event
from handstamp.domain.proof import Proof
from handstamp.domain.session import Session
from handstamp.embedded import Handstamp
from handstamp.errors import SessionEnded, Unavailable
from handstamp.service.parts.tokens import TokenPair
from handstamp.service.sessions.sweeping import BATCH
from handstamp.storage.store import Rows, Transaction, Update
from tests.builders import DAY_MS, Clock, a_session
from tests.deployment import ISSUER, caller, deployed
from tests.integration.helpers import run_server
from tests.postgres import fresh_database
from tests.serving import EMAIL, PASSWORD

pytestmark = pytest.mark.anyio
Opening = Callable[..., AbstractAsyncContextManager[Deployment]]


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the deployment."""
    return Clock()


@pytest.fixture(params=["sqlite", "postgres"])
async def opening(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Opening]:
    """Return a function that opens a deployment with these settings. Further calls open the same one, as other nodes do."""
    async with AsyncExitStack() as kept:
        fixed: dict[str, object] = {"secret": "a secret of the test, thirty-two bytes"}
        if request.param == "postgres":
            fixed["database"] = await kept.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
        yield lambda **fields: deployed(tmp_path, clock, **fixed | fields)


async def create_account(running: Deployment, clock: Clock) -> Account:
    """Create an account with a real password."""
    return await running.create_account(EMAIL, PASSWORD, caller(clock))


async def begin(running: Deployment, clock: Clock, account: Account | None) -> TokenPair:
    """Begin a session for an account, or for a subject that has none."""
    proof = Proof(subject=account.id if account else "ada", account=account, amr=("pwd",), authenticated_at_ms=clock())
    return await running.begin_session(proof, delivery="json", caller=caller(clock))


async def add_sessions(running: Deployment, clock: Clock, account: Account | None, number: int, *, name: str = "many") -> None:
    """Insert sessions of an account, or of a subject that has none."""
    subject, epoch = (account.id, account.epoch) if account else ("ada", None)

    async def insert(rows: Transaction) -> None:
        for each in range(number):
            await rows.sessions.insert(a_session(id=f"{name}-{each:05}", subject=subject, epoch=epoch, now_ms=clock()))

    await running.store.transact(insert)


async def living(running: Deployment, clock: Clock, subject: str | None = None) -> list[Session]:
    """Return the active sessions."""
    found, _ = await running.sessions.list_all(subject, caller(clock))
    return found


async def reason_of(running: Deployment, clock: Clock, pair: TokenPair) -> str | None:
    """Return why a session has ended, None if it goes on."""
    try:
        await running.refresh(pair.refresh_token, way="body", caller=caller(clock))
    except SessionEnded as ended:
        return ended.reason
    return None


async def revoked_sids(rows: Rows) -> set[str]:
    """Return the sessions in the feed."""
    return {entry.name for entry in await rows.revocations.list_since(0, limit=100_000) if entry.exp_s}


async def events_of(running: Deployment, about: str) -> list[Event]:
    """Return the last events about a subject or a session."""
    return await running.store.read(lambda rows: rows.events.list_about(about, limit=9))


@pytest.mark.parametrize("has_account", [True, False])
async def test_a_further_sign_in_ends_the_session_seen_the_longest_ago(opening: Opening, clock: Clock, has_account: bool) -> None:
    """It ends in the same transaction, with a reason, an event and a revocation of its own. Others go on."""
    async with opening(sessions_per_account=3) as running:
        account = await create_account(running, clock) if has_account else None
        pairs = []
        for _ in range(3):
            pairs.append(await begin(running, clock, account))
            clock.advance(seconds=1)
        await running.refresh(pairs[0].refresh_token, way="body", caller=caller(clock))
        newest = await begin(running, clock, account)
        assert {session.id for session in await living(running, clock)} == {
            each.session_id for each in (pairs[0], pairs[2], newest)
        }
        (ended,) = [event for event in await events_of(running, pairs[1].session_id) if event.kind == "session_ended"]
        assert ended.detail == {"why": "session_limit"}
        assert await running.store.read(revoked_sids) == {pairs[1].session_id}
        assert await reason_of(running, clock, pairs[1]) == "session_limit"
        assert await reason_of(running, clock, newest) is None


async def test_sign_ins_at_once_end_no_more_than_needed(opening: Opening, clock: Clock, count: Callable[[str], None]) -> None:
    """Two nodes begin two dozen sessions at once. At each moment at most the limit is alive, and in the end exactly that many."""
    async with opening(sessions_per_account=5) as one, opening(sessions_per_account=5) as other:
        account = await create_account(one, clock)
        beginning = [asyncio.create_task(begin((one, other)[number % 2], clock, account)) for number in range(24)]
        most = 0
        while not all(task.done() for task in beginning):
            most = max(most, len(await living(one, clock)))
            await asyncio.sleep(0.02)
        pairs = await asyncio.gather(*beginning)
        assert most <= 5
        alive = {session.id for session in await living(other, clock)}
        assert len(alive) == 5
        assert await one.store.read(revoked_sids) == {pair.session_id for pair in pairs} - alive
        count(f"24 sign-ins at once with a limit of 5: never more than {most} sessions")


async def test_a_session_that_is_over_is_not_counted_against_others(opening: Opening, clock: Clock) -> None:
    """One that is idle gives up its place before any that is alive, and keeps its own reason."""
    async with opening(sessions_per_account=2) as running:
        idle = await begin(running, clock, None)
        clock.advance(ms=10 * DAY_MS)
        alive = await begin(running, clock, None)
        clock.advance(ms=5 * DAY_MS)
        newest = await begin(running, clock, None)
        assert {session.id for session in await living(running, clock)} == {alive.session_id, newest.session_id}
        with pytest.raises(SessionEnded) as ended:
            await running.sessions.require_living(idle.session_id, clock())
        assert ended.value.reason == "idle"


async def test_a_lowered_limit_is_reached_with_the_next_sign_in(opening: Opening, clock: Clock) -> None:
    """However many there are, and without one large transaction."""
    async with opening(sessions_per_account=3) as running:
        account = await create_account(running, clock)
        await add_sessions(running, clock, account, 130)
        clock.advance(seconds=1)
        largest = watch_transactions(running)
        newest = await begin(running, clock, account)
        found = await living(running, clock)
        assert len(found) == 3
        assert found[0].id == newest.session_id
        assert max(largest) <= 50


@pytest.mark.parametrize("has_account", [True, False])
async def test_many_sessions_end_in_batches_within_one_call(opening: Opening, clock: Clock, has_account: bool) -> None:
    """No transaction ends more than a batch, and the answer waits for the last one. Later sign-ins are not affected."""
    async with opening(sessions_per_account=10_000) as running:
        account = await create_account(running, clock) if has_account else None
        subject = account.id if account else "ada"
        await add_sessions(running, clock, account, 3 * BATCH + 7)
        sizes = watch_transactions(running)
        assert await running.sign_out.end_all(subject, caller(clock)) == 3 * BATCH + 7
        assert sizes == [BATCH, BATCH, BATCH, 7]
        assert await living(running, clock) == []
        assert len(await running.store.read(revoked_sids)) == 3 * BATCH + 7
        events = [(event.kind, event.detail) for event in await events_of(running, subject)][-2:]
        assert events == [
            ("logged_out_everywhere", {"why": "logout_everywhere", "sessions": BATCH}),
            ("sessions_swept", {"why": "logout_everywhere", "sessions": 2 * BATCH + 7}),
        ]
        assert await running.store.read(lambda rows: rows.sweeps.get_first(subject)) is None
        clock.advance(seconds=1)
        account = msgspec.structs.replace(account, epoch=1) if account else None
        assert await reason_of(running, clock, await begin(running, clock, account)) is None


async def test_few_sessions_end_in_the_transaction_of_the_change(opening: Opening, clock: Clock) -> None:
    """Nothing is left to be finished."""
    async with opening() as running:
        await add_sessions(running, clock, None, 30)
        sizes = watch_transactions(running)
        assert await running.sign_out.end_all("ada", caller(clock)) == 30
        assert sizes == [30]


@pytest.mark.parametrize("way", ["everywhere", "disable", "password", "delete"])
async def test_a_sweep_that_was_cut_off_is_finished_by_another_process(opening: Opening, clock: Clock, way: str) -> None:
    """After the first batch every session is over for the service. Housekeeping tells the verifiers of the rest."""
    async with opening(sessions_per_account=10_000) as running:
        account = await create_account(running, clock)
        left = await begin(running, clock, account)
        await add_sessions(running, clock, account, 2 * BATCH + 7)
        await add_sessions(running, clock, None, 9, name="other")
        dies_after(running, 1)
        with suppress(Unavailable):
            await end_everything(running, clock, account, way)
        assert len(await running.store.read(revoked_sids)) == BATCH
        assert await reason_of(running, clock, left) is not None
    clock.advance(seconds=1)
    async with opening() as next_one, opening() as another:
        next_one.sweeping._clock = another.sweeping._clock = clock  # PostgreSQL has its own
        await asyncio.gather(next_one.housekeeping.run_once(), another.housekeeping.run_once())
        assert len(await next_one.store.read(revoked_sids)) == BATCH, "another process may be at it"
        clock.advance(seconds=3)
        await asyncio.gather(next_one.housekeeping.run_once(), another.housekeeping.run_once())
        assert len(await next_one.store.read(revoked_sids)) == 2 * BATCH + 8
        assert await living(next_one, clock, account.id) == []
        assert len(await living(next_one, clock)) == 9
        assert await next_one.store.read(lambda rows: rows.sweeps.get_first(account.id)) is None


async def test_a_changed_password_answers_although_the_rest_cannot_end_now(opening: Opening, clock: Clock) -> None:
    """The device that changed the password stays signed in. Losing its new tokens would sign it out."""
    async with opening(sessions_per_account=10_000) as running:
        account = await create_account(running, clock)
        pair = await begin(running, clock, account)
        await add_sessions(running, clock, account, BATCH)
        session, _ = await running.sessions.require_living(pair.session_id, clock())
        dies_after(running, 1)
        after = await running.change_password(session, account, PASSWORD, "another sentence, hers alone", caller(clock))
    async with opening() as running:
        assert await reason_of(running, clock, after) is None
        assert await reason_of(running, clock, pair) in ("password_changed", "logout_everywhere")
        assert [session.id for session in await living(running, clock)] == [after.session_id]


async def test_lists_are_paged_to_the_end(opening: Opening, clock: Clock) -> None:
    """Each session is listed once, although they are refreshed meanwhile, and a list that is cut says so."""
    async with opening(sessions_per_account=1_000) as running:
        for number in range(9):
            await add_sessions(running, clock, None, 50, name=f"hour-{number}")
            clock.advance(seconds=3600)
        first = await running.sessions.list_page("ada", caller(clock))
        assert first.following is not None
        await running.store.update_session("hour-0-00000", lambda session, _: touch(session, clock))
        second = await running.sessions.list_page("ada", caller(clock), before=first.following)
        third = await running.sessions.list_page("ada", caller(clock), before=second.following)
        assert third.following is None
        ids = [session.id for page in (first, second, third) for session in page.sessions]
        assert len(ids) == len(set(ids)) == 450
        assert (await running.sessions.list_all("ada", caller(clock), limit=450))[1] is False
        found, is_cut = await running.sessions.list_all("ada", caller(clock), limit=449)
        assert (len(found), is_cut, found[0].id) == (449, True, "hour-0-00000")


async def test_counting_and_listing_use_the_index(tmp_path: Path, clock: Clock) -> None:
    """A person's ended sessions cost a sign-in and a list nothing, and no list is sorted as a whole."""
    async with deployed(tmp_path, clock) as running:
        explained: list[str] = []
        connection = running.store._reader.get()  # type: ignore[attr-defined]

        async def ask(rows: Rows) -> None:
            await rows.sessions.count_unrevoked("ada", now_ms=clock(), limit=100)
            await rows.sessions.list_page("ada", now_ms=clock(), limit=100)
            await rows.sessions.list_page("ada", before=(1, "x"), now_ms=clock(), limit=100)

        connection.set_trace_callback(explained.append)
        await running.store.read(ask)
        connection.set_trace_callback(None)
        plans = [
            " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}"))
            for sql in explained
            if sql.startswith("SELECT")
        ]
        assert len(plans) == 3
        assert all("INDEX session_unrevoked (subject=? AND expires_at_ms" in plan for plan in plans), plans
        assert "COVERING INDEX" in plans[0], "counting reads no row"
        assert not any("TEMP B-TREE" in plan for plan in plans), plans


def touch(session: Session | None, clock: Clock) -> Update[None]:
    """Decide that a session was seen now."""
    assert session is not None
    return Update(None, msgspec.structs.replace(session, seen_at_ms=clock()))


async def end_everything(running: Deployment, clock: Clock, account: Account, way: str) -> None:
    """End all sessions of an account."""
    match way:
        case "everywhere":
            await running.sign_out.end_all(account.id, caller(clock))
        case "disable":
            await running.accounts.disable(EMAIL, caller(clock))
        case "password":
            await running.accounts.set_password(EMAIL, "another sentence, hers alone", caller(clock))
        case _:
            await running.accounts.delete(EMAIL, caller(clock))


def watch_transactions(running: Deployment) -> list[int]:
    """Return a list that grows by the number of revocations of each further transaction that adds some."""
    sizes: list[int] = []
    transact = running.store.transact

    async def counted(work: Any) -> Any:
        before = len(await running.store.read(revoked_sids))
        result = await transact(work)
        added = len(await running.store.read(revoked_sids)) - before
        sizes.extend([added] if added else [])
        return result

    running.store.transact = counted  # type: ignore[method-assign]
    return sizes


def dies_after(running: Deployment, transactions: int) -> None:
    """Make every transaction after so many fail, as if the process had been killed."""
    transact = running.store.transact
    left = transactions

    async def limited(work: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Unavailable("the process is gone")
        return await transact(work)

    running.store.transact = limited  # type: ignore[method-assign]


def test_the_answer_and_the_page_say_that_a_list_goes_on(tmp_path: Path) -> None:
    """`GET /sessions` has 200 sessions and the place of the next page; "Your account" says so in words."""
    with run_server(tmp_path, SESSIONS_PER_ACCOUNT="1000") as server, server.client() as client:
        server.register()
        client.post("/login", json={"email": EMAIL, "password": PASSWORD}, headers={"sec-fetch-site": "same-origin"})
        tokens = server.login()
        assert "There are more" not in client.get("/account").text
        with closing(sqlite3.connect(tmp_path / "handstamp.db")) as database, database:
            database.row_factory = sqlite3.Row
            row = dict(database.execute("SELECT * FROM session WHERE id = ?", (tokens["sessionId"],)).fetchone())
            database.executemany(
                f"INSERT INTO session ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                [tuple((row | {"id": f"many-{number:05}"}).values()) for number in range(450)],
            )
        headers = {"Authorization": f"Bearer {tokens['accessToken']}"}
        pages = [client.get("/sessions", headers=headers).json()]
        while pages[-1]["next"]:
            pages.append(client.get("/sessions", params={"after": pages[-1]["next"]}, headers=headers).json())
        assert [len(page["sessions"]) for page in pages] == [200, 200, 52]
        assert len({session["id"] for page in pages for session in page["sessions"]}) == 452
        assert "There are more" in client.get("/account").text
        for after in ("x", "1.", "1.a/b", "9" * 99, "-1.a"):
            answer = client.get("/sessions", params={"after": after}, headers=headers)
            assert (answer.status_code, answer.json()["fields"][0]["name"]) == (422, "after")


async def test_an_embedding_application_has_the_limit_too(tmp_path: Path) -> None:
    """For subjects of its own. `of` returns all active sessions."""
    settings: dict[str, Any] = {"database": f"sqlite:///{tmp_path}/app.db", "issuer": ISSUER, "sessions_per_account": 250}
    async with Handstamp(**settings) as auth:
        pairs = [await auth.sessions.start("42") for _ in range(252)]
        await auth.sessions.start("43")
        assert {session.id for session in await auth.sessions.of("42")} == {pair.session_id for pair in pairs[2:]}
        with pytest.raises(SessionEnded) as ended:
            await auth.sessions.refresh(pairs[0].refresh_token)
        assert ended.value.reason == "session_limit"
