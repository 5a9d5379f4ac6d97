"""What every store must do. One suite; a new store joins by adding itself to `stores`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from handstamp.domain.account import Account
from handstamp.domain.event import Event
from handstamp.domain.keyring import KeyRecord
from handstamp.domain.session import Session, revoke
from handstamp.domain.throttle import Failures
from handstamp.errors import NotFound
from handstamp.storage.sqlite import SqliteStore
from handstamp.storage.store import Rows, Store, Transaction, Update
from tests.builders import DAY_MS, NOW_MS, a_session, an_account

pytestmark = pytest.mark.anyio
Opened = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["sqlite"])
async def another(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    """Return a function that opens the same store once more, as another process would."""
    kinds: dict[str, Callable[[], Store]] = {"sqlite": lambda: SqliteStore(tmp_path / "store.db")}
    async with AsyncExitStack() as opened:

        async def open_one() -> Store:
            store = kinds[request.param]()
            await store.open()
            opened.push_async_callback(store.close)
            return store

        yield open_one


@pytest.fixture
async def store(another: Opened) -> Store:
    """Return an empty store."""
    return await another()


async def add(store: Store, *things: Session | Account | KeyRecord) -> None:
    """Insert rows."""

    async def insert(rows: Transaction) -> None:
        for thing in things:
            match thing:
                case Session():
                    await rows.insert_session(thing)
                case Account():
                    assert await rows.insert_account(thing)
                case KeyRecord():
                    await rows.insert_key(thing)

    await store.transact(insert)


async def session_in(store: Store, sid: str = "session-id") -> Session:
    """Return a session's row."""
    found = await store.read(lambda rows: rows.session(sid))
    assert found is not None
    return found[0]


def advance(session: Session | None, _: Account | None) -> Update[int]:
    """Decide to go one generation on."""
    assert session is not None
    after = msgspec.structs.replace(session, generation=session.generation + 1)
    return Update(after.generation, after)


async def test_a_session_comes_back_as_it_was_written(store: Store) -> None:
    """Every field survives, absent ones too."""
    plain = a_session(id="plain")
    full = revoke(a_session(id="full", epoch=3, recovered_at_ms=NOW_MS + 5, generation=9, delivery="cookie"), "reuse", NOW_MS + 7)
    await add(store, plain, full)
    assert await session_in(store, "plain") == plain
    assert await session_in(store, "full") == full


async def test_an_unknown_session_is_none_and_is_decided_upon(store: Store) -> None:
    """A decision about a session that is not there is asked all the same."""
    assert await store.read(lambda rows: rows.session("nobody")) is None
    assert await store.update_session("nobody", lambda session, account: Update((session, account))) == (None, None)


async def test_a_session_comes_with_its_account_only_where_it_has_an_epoch(store: Store) -> None:
    """A subject of an application's own may be spelt like an account's id without being that account."""
    account = an_account(id="ada-id", roles=("admin", "ops"), disabled_at_ms=NOW_MS)
    await add(store, account, a_session(id="ours", epoch=0), a_session(id="theirs", epoch=None))
    ours = await store.read(lambda rows: rows.session("ours"))
    theirs = await store.read(lambda rows: rows.session("theirs"))
    assert ours is not None
    assert theirs is not None
    assert (ours[1], theirs[1]) == (account, None)


async def test_a_decision_is_written_and_answered(store: Store) -> None:
    """The row, the event and the answer belong together."""
    await add(store, a_session())
    event = Event(at_ms=NOW_MS, kind="recovered", subject="ada-id", sid="session-id", detail={"presented": 3})

    def decide(session: Session | None, _: Account | None) -> Update[str]:
        assert session is not None
        return Update("done", msgspec.structs.replace(session, recovered_at_ms=NOW_MS + 1), (event,))

    assert await store.update_session("session-id", decide) == "done"
    assert (await session_in(store)).recovered_at_ms == NOW_MS + 1
    assert await store.read(lambda rows: rows.events("session-id", limit=10)) == [event]
    assert await store.read(lambda rows: rows.events("ada-id", limit=10)) == [event]


async def test_a_decision_that_raises_writes_nothing_and_harms_nobody(store: Store) -> None:
    """Of operations that arrive together, the one that fails is undone and the others are not."""
    sids = [f"session-{number}" for number in range(20)]
    await add(store, *(a_session(id=sid) for sid in sids))

    def fail(_: Session | None, __: Account | None) -> Update[int]:
        raise NotFound("on purpose")

    asked = [store.update_session(sid, fail if number % 3 == 0 else advance) for number, sid in enumerate(sids)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for number, (sid, answer) in enumerate(zip(sids, answers, strict=True)):
        assert isinstance(answer, NotFound) if number % 3 == 0 else answer == 1
        assert (await session_in(store, sid)).generation == (0 if number % 3 == 0 else 1)


async def test_a_transaction_that_raises_is_undone_as_a_whole(store: Store) -> None:
    """What was written before the error is gone as well."""

    async def half(rows: Transaction) -> None:
        await rows.insert_session(a_session(id="half"))
        assert await rows.session("half") is not None
        raise NotFound("on purpose")

    with pytest.raises(NotFound, match="on purpose"):
        await store.transact(half)
    assert await store.read(lambda rows: rows.session("half")) is None


async def test_decisions_about_one_session_follow_each_other(store: Store) -> None:
    """Each sees the one before it: a hundred at once make a hundred generations, none twice."""
    await add(store, a_session())
    generations = await asyncio.gather(*(store.update_session("session-id", advance) for _ in range(100)))
    assert sorted(generations) == list(range(1, 101))


async def test_decisions_of_two_processes_follow_each_other(another: Opened) -> None:
    """Two connections to one store never decide on the same row at the same time."""
    first, second = await another(), await another()
    await add(first, a_session())
    asked = (store.update_session("session-id", advance) for _ in range(40) for store in (first, second))
    assert sorted(await asyncio.gather(*asked)) == list(range(1, 81))


async def test_what_one_process_commits_the_next_read_of_another_sees(another: Opened) -> None:
    """At once, without being told: a sign-out holds everywhere with the answer to it."""
    first, second = await another(), await another()
    await add(first, a_session())
    for generation in range(1, 20):
        await first.update_session("session-id", advance)
        assert (await session_in(second)).generation == generation


async def test_what_was_answered_survives_a_process_that_never_closes(another: Opened) -> None:
    """Durable before the answer: a store that is simply dropped loses nothing."""
    await add(await another(), a_session(generation=4))
    assert (await session_in(await another())).generation == 4


async def test_an_operation_whose_caller_went_away_before_it_began_is_left_undone(store: Store) -> None:
    """A request that was cancelled while it waited does not rotate anything behind its client's back."""
    await add(store, a_session())
    first = asyncio.create_task(store.update_session("session-id", advance))
    second = asyncio.create_task(store.update_session("session-id", advance))
    await asyncio.sleep(0)
    second.cancel()
    assert await first == 1
    with pytest.raises(asyncio.CancelledError):
        await second
    assert (await session_in(store)).generation == 1


async def test_revoking_ends_all_living_sessions_of_one_subject(store: Store) -> None:
    """Once and never again: what was revoked before keeps its reason, other people's sessions live."""
    await add(
        store,
        a_session(id="one"),
        a_session(id="two"),
        revoke(a_session(id="gone"), "reuse", NOW_MS + 1),
        a_session(id="past", expires_at_ms=NOW_MS + 10),
        a_session(id="bob", subject="bob-id"),
    )
    ended = await store.transact(lambda rows: rows.revoke_sessions("ada-id", "password_changed", now_ms=NOW_MS + 10))
    assert ended == 2
    why = {sid: (await session_in(store, sid)).revoked_why for sid in ("one", "two", "gone", "past", "bob")}
    assert why == {"one": "password_changed", "two": "password_changed", "gone": "reuse", "past": None, "bob": None}


async def test_living_sessions_are_listed_last_seen_first(store: Store) -> None:
    """Revoked ones and those past their end are left out; a limit is kept."""
    await add(
        store,
        a_session(id="old", seen_at_ms=NOW_MS + 1),
        a_session(id="new", seen_at_ms=NOW_MS + 3),
        a_session(id="mid", seen_at_ms=NOW_MS + 2, subject="bob-id"),
        a_session(id="past", expires_at_ms=NOW_MS + 5),
        revoke(a_session(id="revoked"), "logout", NOW_MS),
    )

    async def listed(subject: str | None, limit: int) -> list[str]:
        found = await store.read(lambda rows: rows.live_sessions(subject, now_ms=NOW_MS + 5, limit=limit))
        return [session.id for session in found]

    assert await listed("ada-id", 10) == ["new", "old"]
    assert await listed(None, 10) == ["new", "mid", "old"]
    assert await listed(None, 2) == ["new", "mid"]


async def test_an_address_has_one_account(store: Store) -> None:
    """The second to take an address is told so and changes nothing, also when both come at once."""

    async def insert(account: Account) -> bool:
        return await store.transact(lambda rows: rows.insert_account(account))

    rivals = [an_account(id=f"rival-{number}") for number in range(8)]
    assert sorted(await asyncio.gather(*map(insert, rivals))) == [False] * 7 + [True]
    accounts = await store.read(lambda rows: rows.accounts(after="", limit=10))
    assert len(accounts) == 1


async def test_accounts_are_found_listed_and_changed(store: Store) -> None:
    """By id, by address, page by page."""
    people = [an_account(id=f"id-{name}", email=f"{name}@example.com") for name in ("cleo", "ada", "bob")]
    await add(store, *people)
    changed = msgspec.structs.replace(people[1], epoch=4, roles=("x",), email_verified=True, disabled_at_ms=NOW_MS)
    await store.transact(lambda rows: rows.save_account(changed))
    assert await store.read(lambda rows: rows.account("id-ada")) == changed
    assert await store.read(lambda rows: rows.account_by_email("ada@example.com")) == changed
    assert await store.read(lambda rows: rows.account_by_email("Ada@example.com")) is None
    first = await store.read(lambda rows: rows.accounts(after="", limit=2))
    rest = await store.read(lambda rows: rows.accounts(after=first[-1].email, limit=2))
    assert [account.email.partition("@")[0] for account in first + rest] == ["ada", "bob", "cleo"]


async def test_failures_are_counted_by_key_and_forgotten(store: Store) -> None:
    """An unknown key has none."""

    async def change(rows: Transaction) -> None:
        await rows.save_failures("a", Failures(1, NOW_MS))
        await rows.save_failures("a", Failures(2, NOW_MS + 1))
        await rows.save_failures("b", Failures(7, NOW_MS))
        await rows.forget_failures("b")

    await store.transact(change)
    assert await store.read(lambda rows: rows.failures(["b", "a", "c"])) == [Failures(), Failures(2, NOW_MS + 1), Failures()]


async def test_keys_are_kept_in_the_order_in_which_they_take_over(store: Store) -> None:
    """Sealed bytes come back as they were."""
    later = KeyRecord(kid="k2", algorithm="Ed25519", sealed=b"\x00\xff", created_at_ms=NOW_MS, active_from_ms=NOW_MS + 9)
    sooner = KeyRecord(kid="k9", algorithm="ES256", sealed=b"", created_at_ms=NOW_MS, active_from_ms=NOW_MS)
    await add(store, later, sooner)
    assert await store.read(lambda rows: rows.keys()) == [sooner, later]
    await store.transact(lambda rows: rows.delete_key("k9"))
    assert await store.read(lambda rows: rows.keys()) == [later]


async def test_it_is_known_where_a_subject_has_signed_in_from(store: Store) -> None:
    """Sessions that ended count too: the person was there."""
    await add(store, revoke(a_session(id="one"), "logout", NOW_MS))
    assert await store.read(lambda rows: rows.has_session_from("ada-id", "192.0.2.1"))
    assert not await store.read(lambda rows: rows.has_session_from("ada-id", "192.0.2.2"))
    assert not await store.read(lambda rows: rows.has_session_from("bob-id", "192.0.2.1"))


async def test_purging_takes_what_is_long_over_in_small_batches(store: Store) -> None:
    """Rows that somebody may still ask for stay; a batch has at most `limit` rows of each kind."""
    await add(store, *(a_session(id=f"old-{number}", expires_at_ms=NOW_MS - DAY_MS) for number in range(5)))
    await add(store, a_session(id="living"), a_session(id="just over", expires_at_ms=NOW_MS - 1))

    async def leave_traces(rows: Transaction) -> None:
        await rows.save_failures("old", Failures(1, NOW_MS - 2 * DAY_MS))
        await rows.save_failures("new", Failures(1, NOW_MS - 1))
        await rows.add_event(Event(at_ms=NOW_MS - 91 * DAY_MS, kind="signed_in", subject="ada-id"))
        await rows.add_event(Event(at_ms=NOW_MS - 89 * DAY_MS, kind="session_ended", subject="ada-id"))

    await store.transact(leave_traces)
    purged = [await store.transact(lambda rows: rows.purge(now_ms=NOW_MS, limit=3)) for _ in range(3)]
    assert purged == [3 + 1 + 1, 2, 0]
    assert await store.read(lambda rows: rows.session("living")) is not None
    assert await store.read(lambda rows: rows.session("just over")) is not None
    assert await store.read(lambda rows: rows.failures(["old", "new"])) == [Failures(), Failures(1, NOW_MS - 1)]
    assert [event.kind for event in await store.read(lambda rows: rows.events("ada-id", limit=9))] == ["session_ended"]


async def test_events_come_back_oldest_first(store: Store) -> None:
    """A limit keeps the newest."""
    events = [Event(at_ms=NOW_MS + n, kind="signed_in", subject="ada-id", sid=f"s{n}", ip="::1") for n in range(4)]

    async def record(rows: Transaction) -> None:
        for event in events:
            await rows.add_event(event)

    await store.transact(record)
    assert await store.read(lambda rows: rows.events("ada-id", limit=3)) == events[1:]
    assert await store.read(lambda rows: rows.events("s2", limit=3)) == [events[2]]


async def test_waiting_inside_a_transaction_is_refused(store: Store) -> None:
    """The write lock is held: whoever awaits anything but rows would hold up everybody, and is told so."""

    async def dawdle(rows: Transaction) -> None:
        await rows.insert_session(a_session(id="dawdler"))
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="await its rows and nothing else"):
        await store.transact(dawdle)
    assert await store.read(lambda rows: rows.session("dawdler")) is None
    await add(store, a_session(id="next"))


async def test_reading_does_not_wait_for_writing(store: Store) -> None:
    """A read in the middle of other people's commits sees the last one, whole."""
    await add(store, a_session())
    writes = [asyncio.create_task(store.update_session("session-id", advance)) for _ in range(50)]
    seen: list[int] = []

    async def look(rows: Rows) -> int:
        found = await rows.session("session-id")
        return found[0].generation if found else -1

    while not all(write.done() for write in writes):
        seen.append(await store.read(look))
        await asyncio.sleep(0)
    assert seen == sorted(seen)
    assert await store.read(look) == 50
