"""What every store must do. One suite; a new store joins by adding itself to `stores`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from handstamp.domain.account import Account
from handstamp.domain.credential import Credential
from handstamp.domain.event import Event
from handstamp.domain.impersonation import Impersonator
from handstamp.domain.keyring import KeyRecord
from handstamp.domain.mail import KEPT_MS, Mail
from handstamp.domain.network import network_of
from handstamp.domain.one_time import OneTime, Purpose
from handstamp.domain.receipt import LIFETIME_MS, Receipt
from handstamp.domain.revocation import Revocation, forgotten_at_s
from handstamp.domain.session import Session, revoke
from handstamp.domain.throttle import Failures
from handstamp.errors import NotFound
from handstamp.service.operating import audit_trail
from handstamp.service.operating.audit_trail import AuditTrail
from handstamp.storage.postgres.store import PostgresStore
from handstamp.storage.sqlite.store import SqliteStore
from handstamp.storage.store import Rows, Store, Transaction, Update
from handstamp.storage.store.failures import Count
from tests.builders import DAY_MS, HOUR_MS, NOW_MS, a_mail, a_session, a_sweep, an_account
from tests.postgres import fresh_database
from tests.prepared import prepare_database

pytestmark = pytest.mark.anyio
Opened = Callable[[], Awaitable[Store]]
End = Callable[[Store, str], Awaitable[object]]
ENDED_MS = NOW_MS + 1
CHANGE_PATIENCE_S = 60.0


@pytest.fixture(params=["sqlite", "postgres"])
async def another(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    """Return a function that opens the same store once more, as another process would."""
    async with AsyncExitStack() as opened:
        if request.param == "postgres":
            url = await opened.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
        kinds: dict[str, Callable[[], Store]] = {
            "sqlite": lambda: SqliteStore(prepare_database(tmp_path / "store.db")),
            "postgres": lambda: PostgresStore(url),
        }

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
                    await rows.sessions.insert(thing)
                case Account():
                    assert await rows.accounts.insert(thing)
                case KeyRecord():
                    await rows.keys.insert(thing)

    await store.transact(insert)


async def session_in(store: Store, sid: str = "session-id") -> Session:
    """Return a session's row."""
    found = await store.read(lambda rows: rows.sessions.get(sid))
    assert found is not None
    return found[0]


def advance(session: Session | None, _: Account | None) -> Update[int]:
    """Decide to advance by one generation."""
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


async def test_deciding_about_an_unknown_session_gets_none(store: Store) -> None:
    """The decision is called with None if the session does not exist."""
    assert await store.read(lambda rows: rows.sessions.get("nobody")) is None
    assert await store.update_session("nobody", lambda session, account: Update((session, account))) == (None, None)


async def test_unstorable_text_is_not_found(store: Store) -> None:
    """The caller gets None, and other callers in the same batch are not affected."""
    await add(store, a_session())
    for name in ("\0", "a\0b"):
        assert await store.read(lambda rows, name=name: rows.sessions.get(name)) is None  # type: ignore[misc]
        assert await store.read(lambda rows, name=name: rows.credentials.get(name)) is None  # type: ignore[misc]
        assert await store.read(lambda rows, name=name: rows.accounts.get_by_email(name)) is None  # type: ignore[misc]
        both = (store.update_session(name, lambda session, _: Update(session)), store.update_session("session-id", advance))
        assert (await asyncio.gather(*both))[0] is None
    assert (await session_in(store)).generation == 2


async def test_many_accounts_are_inserted_at_once_and_those_that_are_taken_left_out(store: Store) -> None:
    """An address or an id that another account has keeps out its own row alone, also one of the same call."""
    taken = an_account(id="ada-id", email="ada@example.com")
    await add(store, taken)
    others = [an_account(id=f"id-{number}", email=f"p{number}@example.com", roles=("ops",)) for number in range(3)]
    same_address = an_account(id="other", email="ada@example.com")
    same_id = an_account(id="ada-id", email="other@example.com")
    twice = an_account(id="twice", email="p1@example.com")

    async def insert(rows: Transaction) -> set[str]:
        assert await rows.accounts.insert_many([]) == set()
        return await rows.accounts.insert_many([same_address, *others, same_id, twice])

    assert await store.transact(insert) == {"id-0", "id-1", "id-2"}
    found = await store.read(lambda rows: rows.accounts.list_page(after="", limit=10))
    assert sorted(found, key=lambda account: account.id) == sorted([taken, *others], key=lambda account: account.id)
    some = await store.read(lambda rows: rows.accounts.list_of(emails=["ada@example.com", "nobody"], ids=["id-2", "ada-id"]))
    assert sorted(account.id for account in some) == ["ada-id", "id-2"]
    assert await store.read(lambda rows: rows.accounts.list_of(emails=[], ids=[])) == []


async def test_many_events_are_recorded_at_once_and_ids_of_deleted_accounts_found(store: Store) -> None:
    """Other events about an account do not make it a deleted one."""
    kinds = {"a": "account_created", "b": "account_deleted", "c": "account_disabled"}
    events = [Event(at_ms=NOW_MS, kind=kind, subject=subject) for subject, kind in kinds.items()]  # type: ignore[arg-type]

    async def insert(rows: Transaction) -> None:
        await rows.events.insert_many([])
        await rows.events.insert_many(events)

    await store.transact(insert)
    for event in events:
        assert await store.read(lambda rows, event=event: rows.events.list_about(event.subject, limit=9)) == [event]  # type: ignore[misc]
    assert await store.read(lambda rows: rows.events.list_deleted(["a", "b", "c", "d"])) == {"b"}


async def test_an_account_is_loaded_only_for_sessions_with_an_epoch(store: Store) -> None:
    """A subject of an application may equal an account's id without being that account."""
    account = an_account(id="ada-id", roles=("admin", "ops"), disabled_at_ms=NOW_MS)
    await add(store, account, a_session(id="ours", epoch=0), a_session(id="theirs", epoch=None))
    ours = await store.read(lambda rows: rows.sessions.get("ours"))
    theirs = await store.read(lambda rows: rows.sessions.get("theirs"))
    assert ours is not None
    assert theirs is not None
    assert (ours[1], theirs[1]) == (account, None)


async def test_a_decision_is_written_and_returned(store: Store) -> None:
    """The row and the event are stored, and the answer is returned."""
    await add(store, a_session())
    event = Event(at_ms=NOW_MS, kind="recovered", subject="ada-id", sid="session-id", detail={"presented": 3})

    def decide(session: Session | None, _: Account | None) -> Update[str]:
        assert session is not None
        return Update("done", msgspec.structs.replace(session, recovered_at_ms=NOW_MS + 1), (event,))

    assert await store.update_session("session-id", decide) == "done"
    assert (await session_in(store)).recovered_at_ms == NOW_MS + 1
    assert await store.read(lambda rows: rows.events.list_about("session-id", limit=10)) == [event]
    assert await store.read(lambda rows: rows.events.list_about("ada-id", limit=10)) == [event]


async def test_a_decision_that_raises_writes_nothing(store: Store) -> None:
    """Of changes that arrive together, only those that fail are undone."""
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
        await rows.sessions.insert(a_session(id="half"))
        assert await rows.sessions.get("half") is not None
        raise NotFound("on purpose")

    with pytest.raises(NotFound, match="on purpose"):
        await store.transact(half)
    assert await store.read(lambda rows: rows.sessions.get("half")) is None


async def test_decisions_about_one_session_are_serialised(store: Store) -> None:
    """Each decision sees the result of the one before: a hundred at once produce a hundred different generations."""
    await add(store, a_session())
    generations = await asyncio.gather(*(store.update_session("session-id", advance) for _ in range(100)))
    assert sorted(generations) == list(range(1, 101))


async def test_decisions_of_two_processes_are_serialised(another: Opened) -> None:
    """Two connections to one store never decide on the same row at the same time."""
    first, second = await another(), await another()
    await add(first, a_session())
    asked = (store.update_session("session-id", advance) for _ in range(40) for store in (first, second))
    assert sorted(await asyncio.gather(*asked)) == list(range(1, 81))


async def test_a_read_sees_what_another_process_has_committed(another: Opened) -> None:
    """At once: a sign-out is effective everywhere when it is answered."""
    first, second = await another(), await another()
    await add(first, a_session())
    for generation in range(1, 20):
        await first.update_session("session-id", advance)
        assert (await session_in(second)).generation == generation


async def test_committed_changes_survive_a_process_that_never_closes(another: Opened) -> None:
    """A change is durable before it is answered: a store that is never closed loses nothing."""
    await add(await another(), a_session(generation=4))
    assert (await session_in(await another())).generation == 4


async def test_a_change_that_was_cancelled_before_it_began_is_skipped(store: Store) -> None:
    """A request that was cancelled while it waited does not rotate the session."""
    await add(store, a_session())
    first = asyncio.create_task(store.update_session("session-id", advance))
    second = asyncio.create_task(store.update_session("session-id", advance))
    await asyncio.sleep(0)
    second.cancel()
    assert await first == 1
    with pytest.raises(asyncio.CancelledError):
        await second
    assert (await session_in(store)).generation == 1


async def test_revoking_ends_all_live_sessions_of_one_subject(store: Store) -> None:
    """A session that was revoked before keeps its reason, and sessions of other subjects stay live."""
    await add(
        store,
        a_session(id="one"),
        a_session(id="two"),
        revoke(a_session(id="gone"), "reuse", NOW_MS + 1),
        a_session(id="past", expires_at_ms=NOW_MS + 10),
        a_session(id="bob", subject="bob-id"),
    )
    sweep = a_sweep(why="password_changed")
    assert await store.transact(lambda rows: rows.sessions.end_batch(sweep, now_ms=NOW_MS + 10, limit=100)) == 2
    why = {sid: (await session_in(store, sid)).revoked_why for sid in ("one", "two", "gone", "past", "bob")}
    assert why == {"one": "password_changed", "two": "password_changed", "gone": "reuse", "past": None, "bob": None}


async def test_the_sessions_of_an_epoch_end_in_batches(store: Store) -> None:
    """Those of a lower epoch, and those without one that had begun. A sweep that finds fewer than its limit is complete."""
    await add(
        store,
        *(a_session(id=f"old-{number}", epoch=number % 3) for number in range(6)),
        a_session(id="new", epoch=3),
        a_session(id="own"),
        a_session(id="later", created_at_ms=NOW_MS + 1),
    )
    sweep = a_sweep(epoch=3)
    ended = [await store.transact(lambda rows: rows.sessions.end_batch(sweep, now_ms=ENDED_MS, limit=3)) for _ in range(4)]
    assert ended == [3, 3, 1, 0]
    assert sorted(await revoked_names(store)) == [*(f"old-{number}" for number in range(6)), "own"]
    assert (await session_in(store, "new")).revoked_why is None
    assert (await session_in(store, "later")).revoked_why is None


async def test_the_sessions_of_a_deleted_account_are_forgotten_in_batches(store: Store) -> None:
    """All rows go, and the tokens of those that lived are revoked."""
    await add(
        store,
        *(a_session(id=f"live-{number}", epoch=0) for number in range(3)),
        revoke(a_session(id="gone"), "logout", NOW_MS - 1),
        a_session(id="past", expires_at_ms=NOW_MS),
        a_session(id="bob", subject="bob-id"),
    )
    sweep = a_sweep(epoch=1, forgets=True)
    ended = [await store.transact(lambda rows: rows.sessions.end_batch(sweep, now_ms=ENDED_MS, limit=3)) for _ in range(2)]
    assert ended == [3, 2]
    assert sorted(await revoked_names(store)) == ["live-0", "live-1", "live-2"]
    assert await store.read(lambda rows: rows.sessions.list_page(None, now_ms=0, limit=9)) == [await session_in(store, "bob")]


async def test_a_sweep_is_stored_until_it_is_finished(store: Store) -> None:
    """It comes back as it was written, to those who finish it and, once nobody works on it, to others."""
    first, second = a_sweep(epoch=4, forgets=True, touched_at_ms=NOW_MS), a_sweep(why="disabled", touched_at_ms=NOW_MS + 9)

    async def insert(rows: Transaction) -> None:
        for sweep in (first, second, a_sweep(subject="bob-id", touched_at_ms=NOW_MS + 20)):
            await rows.sweeps.insert(sweep)

    await store.transact(insert)
    found = await store.read(lambda rows: rows.sweeps.get_first("ada-id"))
    assert found is not None
    assert found == msgspec.structs.replace(first, id=found.id)
    assert await store.read(lambda rows: rows.sweeps.get_abandoned(before_ms=NOW_MS)) is None
    assert await store.read(lambda rows: rows.sweeps.get_abandoned(before_ms=NOW_MS + 1)) == found
    await store.transact(lambda rows: rows.sweeps.touch(found.id, now_ms=NOW_MS + 20))
    other = await store.read(lambda rows: rows.sweeps.get_abandoned(before_ms=NOW_MS + 10))
    assert other is not None
    assert other.why == "disabled"
    await store.transact(lambda rows: rows.sweeps.delete(found.id))
    assert await store.read(lambda rows: rows.sweeps.get_first("ada-id")) == other


async def test_live_sessions_are_listed_in_pages(store: Store) -> None:
    """Those that end last come first. Revoked and expired sessions are left out, and the limit is respected."""
    await add(
        store,
        a_session(id="old", now_ms=NOW_MS),
        a_session(id="new", now_ms=NOW_MS + 3),
        a_session(id="new-too", now_ms=NOW_MS + 3),
        a_session(id="mid", now_ms=NOW_MS + 2, subject="bob-id"),
        a_session(id="past", expires_at_ms=NOW_MS + 5),
        revoke(a_session(id="revoked"), "logout", NOW_MS),
    )

    async def listed(subject: str | None, limit: int, after: Session | None = None) -> list[Session]:
        before = (after.expires_at_ms, after.id) if after else None
        return await store.read(lambda rows: rows.sessions.list_page(subject, before=before, now_ms=NOW_MS + 5, limit=limit))

    everybody = await listed(None, 10)
    assert [session.id for session in everybody] == ["new-too", "new", "mid", "old"]
    assert await listed("ada-id", 10) == [session for session in everybody if session.subject == "ada-id"]
    assert await listed(None, 2) == everybody[:2]
    for number, session in enumerate(everybody, 1):
        assert await listed(None, 10, after=session) == everybody[number:]


async def test_sessions_that_can_be_missed_are_found(store: Store) -> None:
    """First those that are over, then those that were seen the longest ago, and never the given one."""

    async def names(limit: int) -> set[str]:
        found = await store.read(lambda rows: rows.sessions.list_dispensable(ours, now_ms=now_ms, limit=limit))
        return {session.id for session in found}

    ours = a_session(id="ours", epoch=2, now_ms=NOW_MS + DAY_MS)
    await add(
        store,
        ours,
        a_session(id="seen-late", epoch=2, seen_at_ms=NOW_MS + 50),
        a_session(id="seen-early", epoch=2, seen_at_ms=NOW_MS + 10, now_ms=NOW_MS + 5),
        a_session(id="without-epoch", seen_at_ms=NOW_MS + 20),
        a_session(id="idle", epoch=2, seen_at_ms=NOW_MS + 90, rotated_at_ms=NOW_MS - 20 * DAY_MS),
        a_session(id="older-epoch", epoch=1, seen_at_ms=NOW_MS + 95),
        revoke(a_session(id="revoked", epoch=2), "logout", NOW_MS),
        a_session(id="past", epoch=2, expires_at_ms=NOW_MS),
        a_session(id="bob", subject="bob-id"),
    )
    now_ms = NOW_MS + DAY_MS
    expected = ["idle", "older-epoch", "seen-early", "without-epoch", "seen-late"]
    assert [await names(limit) for limit in range(7)] == [set(expected[:limit]) for limit in range(7)]
    counts = [await store.read(lambda rows, n=n: rows.sessions.count_unrevoked("ada-id", now_ms=now_ms, limit=n)) for n in (3, 9)]  # type: ignore[misc]
    assert counts == [3, 6]
    assert await store.read(lambda rows: rows.sessions.count_unrevoked("nobody", now_ms=now_ms, limit=9)) == 0


async def test_events_are_read_backwards(store: Store) -> None:
    """All, or those of one subject, below a number; and the number of the last one before a time is found."""
    events = [
        Event(at_ms=NOW_MS + at_ms, kind="signed_in", subject=subject)
        for at_ms, subject in ((0, "ada"), (10, "bob"), (30, "ada"), (20, None), (40, "ada"))
    ]
    await store.transact(lambda rows: rows.events.insert_many(events))
    page = await store.read(lambda rows: rows.events.list_back(before=2**62, subject=None, limit=4))
    assert [event for _, event in page] == events[:0:-1]
    last = page[-1][0]
    rest = await store.read(lambda rows: rows.events.list_back(before=last, subject=None, limit=4))
    assert [event for _, event in rest] == events[:1]
    own = await store.read(lambda rows: rows.events.list_back(before=page[0][0], subject="ada", limit=4))
    assert [event for _, event in own] == [events[2], events[0]]
    for at_ms, place in ((0, 0), (1, rest[0][0]), (21, page[1][0]), (2**40, page[0][0])):
        found = await store.read(lambda rows, at_ms=at_ms: rows.events.find_place(NOW_MS + at_ms))  # type: ignore[misc]
        assert found == place, at_ms


async def test_accounts_are_listed_by_address_or_id_alone(store: Store) -> None:
    """None of one kind does not mean none at all."""
    ada, bob = an_account(id="id-ada", email="ada@example.com"), an_account(id="id-bob", email="bob@example.com")
    await add(store, ada, bob)
    assert await store.read(lambda rows: rows.accounts.list_of(emails=(), ids=("id-ada", "nobody"))) == [ada]
    assert await store.read(lambda rows: rows.accounts.list_of(emails=("bob@example.com",), ids=())) == [bob]
    assert await store.read(lambda rows: rows.accounts.list_of(emails=(), ids=())) == []


async def test_an_address_has_one_account(store: Store) -> None:
    """The second insert returns False and changes nothing, also if both run at once."""

    async def insert(account: Account) -> bool:
        return await store.transact(lambda rows: rows.accounts.insert(account))

    rivals = [an_account(id=f"rival-{number}") for number in range(8)]
    assert sorted(await asyncio.gather(*map(insert, rivals))) == [False] * 7 + [True]
    accounts = await store.read(lambda rows: rows.accounts.list_page(after="", limit=10))
    assert len(accounts) == 1


async def test_accounts_are_found_listed_and_changed(store: Store) -> None:
    """By id, by address, page by page."""
    people = [an_account(id=f"id-{name}", email=f"{name}@example.com") for name in ("cleo", "ada", "bob")]
    await add(store, *people)
    fields = {"epoch": 4, "roles": ("x",), "email_verified": True, "disabled_at_ms": NOW_MS}
    changed = msgspec.structs.replace(people[1], name="Ada Ω", language="pt-BR", password_hash="", **fields)
    await store.transact(lambda rows: rows.accounts.update(changed))
    assert await store.read(lambda rows: rows.accounts.get("id-ada")) == changed
    assert await store.read(lambda rows: rows.accounts.get_by_email("ada@example.com")) == changed
    assert await store.read(lambda rows: rows.accounts.get_by_email("Ada@example.com")) is None
    first = await store.read(lambda rows: rows.accounts.list_page(after="", limit=2))
    rest = await store.read(lambda rows: rows.accounts.list_page(after=first[-1].email, limit=2))
    assert [account.email.partition("@")[0] for account in first + rest] == ["ada", "bob", "cleo"]


async def test_all_that_is_stored_about_a_subject_is_listed_page_by_page(store: Store) -> None:
    """Sessions, live or not, and events: each once, and none of another subject."""
    ours = [a_session(id=f"sid-{number}", ip=f"192.0.{number % 3}.1", now_ms=NOW_MS - number * HOUR_MS) for number in range(7)]
    ended = msgspec.structs.replace(a_session(id="ended"), ip="", revoked_at_ms=NOW_MS, revoked_why="logout")
    await add(store, *ours, ended, a_session(id="theirs", subject="bob-id"))

    async def record(rows: Transaction) -> None:
        for number in range(7):
            await rows.events.insert(Event(at_ms=NOW_MS, kind="signed_in", subject="ada-id", sid=f"sid-{number}"))
            await rows.events.insert(Event(at_ms=NOW_MS, kind="signed_in", subject="bob-id", sid="theirs"))

    await store.transact(record)

    async def read(rows: Rows) -> tuple[list[str], list[str | None]]:
        found, events, place, number = [], [], ("", ""), 0
        while page := await rows.sessions.list_all_of("ada-id", after=place, limit=3):
            place = (network_of(page[-1].ip), page[-1].id)
            found += [session.id for session in page]
        while numbered := await rows.events.list_all_of("ada-id", after=number, limit=3):
            number = numbered[-1][0]
            events += [event.sid for _, event in numbered]
        return found, events

    found, events = await store.read(read)
    assert sorted(found) == sorted(session.id for session in (*ours, ended))
    assert events == [session.id for session in ours]


async def test_a_decision_about_a_session_can_add_mail(store: Store) -> None:
    """It is written with the session, and told to those who wait for changes; mail of an account is found and removed."""
    await add(store, a_session(id="sid"))
    mails = [a_mail(id=f"mail-{number}", account=account) for number, account in enumerate(("ada", "ada", "bob"))]

    def decide(session: Session | None, _: Account | None) -> Update[None]:
        assert session is not None
        return Update(None, revoke(session, "reuse", NOW_MS), (), tuple(mails))

    await store.update_session("sid", decide)
    assert await store.read(lambda rows: rows.mails.list_of("ada", limit=9)) == mails[:2]
    await store.transact(lambda rows: rows.mails.delete_of("ada"))
    assert await store.read(lambda rows: rows.mails.list_newest(limit=9)) == mails[2:]


async def test_a_session_like_another_is_found(store: Store) -> None:
    """The same subject, network and `User-Agent`, whether it has ended or not."""
    await add(store, revoke(a_session(id="sid"), "logout", NOW_MS))
    network = network_of(a_session().ip)

    async def look(rows: Rows) -> list[bool]:
        asked = [("ada-id", network, "test"), ("bob-id", network, "test"), ("ada-id", "", "test"), ("ada-id", network, "other")]
        return [await rows.sessions.has_any_like(*each) for each in asked]

    assert await store.read(look) == [True, False, False, False]


async def test_grants_of_an_account_are_listed_and_later_ones_removed(store: Store) -> None:
    """`delete_later_undos` takes those that undo something and were issued afterwards, and leaves the earlier ones."""
    purposes: tuple[Purpose, ...] = ("undo_factor", "undo_change", "undo_change", "undo_factor")
    first, second, third, fourth = (
        a_grant(id=f"undo-{number}", purpose=purpose, account_id="ada", created_at_ms=NOW_MS + number, expires_at_ms=NOW_MS + 9)
        for number, purpose in enumerate(purposes)
    )
    bobs = a_grant(id="bobs", purpose="undo_factor", account_id="bob", created_at_ms=NOW_MS + 4, expires_at_ms=NOW_MS + 9)
    other = a_grant(id="reset", purpose="reset_password", account_id="ada", created_at_ms=NOW_MS + 5)
    await add_grants(store, first, second, third, fourth, bobs, other)
    assert await store.read(lambda rows: rows.one_time.list_of("ada", limit=9)) == [first, second, third, fourth, other]
    await store.transact(lambda rows: rows.one_time.delete_later_undos(second))
    assert await store.read(lambda rows: rows.one_time.list_of("ada", limit=9)) == [first, second, other]
    assert await store.read(lambda rows: rows.one_time.list_of("bob", limit=9)) == [bobs]

    async def look(rows: Rows) -> list[bool]:
        return [
            await rows.one_time.has_undo(name, now_ms=now_ms)
            for name, now_ms in (("ada", NOW_MS), ("ada", NOW_MS + 9), ("bob", NOW_MS))
        ]

    assert await store.read(look) == [True, False, False]


async def test_failures_are_counted_by_key_and_forgotten(store: Store) -> None:
    """An unknown key has none. Keys are found in the order in which they were asked for."""
    one, two, three = (Failures(1000 * number, number, NOW_MS + number) for number in (1, 2, 3))

    async def change(rows: Transaction) -> None:
        await rows.failures.save_many([Count("c", one), Count("a", one), Count("b", one)])
        await rows.failures.save_many([Count("b", two), Count("d", three, "ada")])
        await rows.failures.delete_many(["a", "unknown"])

    await store.transact(change)
    found = await store.read(lambda rows: rows.failures.get_many(["b", "a", "c", "d", "unknown"]))
    assert found == [two, Failures(), one, three, Failures()]


async def test_the_failures_of_an_account_are_forgotten_together(store: Store) -> None:
    """Those of another account, and those of no account, stay. A key may move to another account."""
    one = Failures(1000, 1, NOW_MS)

    async def change(rows: Transaction) -> list[int]:
        await rows.failures.save_many([Count("pair", one, "ada"), Count("device", one, "ada"), Count("moved", one, "ada")])
        await rows.failures.save_many([Count("bob", one, "bob"), Count("network", one), Count("moved", one, "bob")])
        assert await rows.failures.list_of("ada", limit=1) != []
        return [await rows.failures.delete_of(account) for account in ("ada", "ada", "nobody")]

    assert await store.transact(change) == [2, 0, 0]
    found = await store.read(lambda rows: rows.failures.get_many(["pair", "device", "moved", "bob", "network"]))
    assert found == [Failures(), Failures(), one, one, one]


async def test_receipts_are_found_by_key_and_deleted_after_their_lifetime(store: Store) -> None:
    """A newer receipt replaces one with the same key."""
    old = Receipt(key="a", request="r", result="account", at_ms=NOW_MS - LIFETIME_MS)
    new = Receipt(key="b", request="s", result="session", at_ms=NOW_MS - LIFETIME_MS + 1)

    async def save(rows: Transaction) -> None:
        await rows.receipts.save(old)
        await rows.receipts.save(msgspec.structs.replace(new, request="other", result="other", at_ms=NOW_MS - LIFETIME_MS))
        await rows.receipts.save(new)

    await store.transact(save)
    assert [await store.read(_receipt(key)) for key in ("a", "b", "c")] == [old, new, None]
    assert await store.transact(lambda rows: rows.purge(now_ms=NOW_MS, limit=9)) == 1
    assert [await store.read(_receipt(key)) for key in ("a", "b")] == [None, new]


def _receipt(key: str) -> Callable[[Rows], Awaitable[Receipt | None]]:
    return lambda rows: rows.receipts.get(key)


async def test_keys_are_kept_in_the_order_in_which_they_take_over(store: Store) -> None:
    """Sealed bytes come back as they were."""
    later = KeyRecord(kid="k2", algorithm="Ed25519", sealed=b"\x00\xff", created_at_ms=NOW_MS, active_from_ms=NOW_MS + 9)
    sooner = KeyRecord(kid="k9", algorithm="ES256", sealed=b"", created_at_ms=NOW_MS, active_from_ms=NOW_MS)
    await add(store, later, sooner)
    assert await store.read(lambda rows: rows.keys.list_all()) == [sooner, later]
    await store.transact(lambda rows: rows.keys.delete("k9"))
    assert await store.read(lambda rows: rows.keys.list_all()) == [later]


async def test_networks_of_earlier_sessions_are_known(store: Store) -> None:
    """Ended sessions count too, and an IPv6 session stands for its /64. An unknown address is no network."""
    await add(store, revoke(a_session(id="one"), "logout", NOW_MS))
    await add(store, a_session(id="two", ip="2001:db8:1:2::3"), a_session(id="three", ip=""))

    async def has_any_from(subject: str, network: str) -> bool:
        return await store.read(lambda rows: rows.sessions.has_any_from(subject, network))

    assert await has_any_from("ada-id", "192.0.2.1")
    assert await has_any_from("ada-id", network_of("2001:db8:1:2:ffff::1"))
    assert not await has_any_from("ada-id", network_of("2001:db8:1:3::3"))
    assert not await has_any_from("ada-id", "192.0.2.2")
    assert not await has_any_from("bob-id", "192.0.2.1")
    assert not await has_any_from("ada-id", "")


async def test_purging_deletes_expired_rows_in_small_batches(store: Store) -> None:
    """Rows that are still needed stay. A batch has at most `limit` rows of each table."""
    await add(store, *(a_session(id=f"old-{number}", expires_at_ms=NOW_MS - DAY_MS) for number in range(5)))
    await add(store, a_session(id="living"), a_session(id="just over", expires_at_ms=NOW_MS - 1))

    old, new = Failures(1, 1, 0, forgotten_at_ms=NOW_MS), Failures(1, 1, 0, forgotten_at_ms=NOW_MS + 1)
    lasting = Failures(1, 1, 0, forgotten_at_ms=None)

    async def leave_traces(rows: Transaction) -> None:
        await rows.failures.save_many([Count("old", old), Count("new", new), Count("lasting", lasting)])
        await rows.events.insert(Event(at_ms=NOW_MS - 91 * DAY_MS, kind="signed_in", subject="ada-id"))
        await rows.events.insert(Event(at_ms=NOW_MS - 89 * DAY_MS, kind="session_ended", subject="ada-id"))

    await store.transact(leave_traces)
    purged = [await store.transact(lambda rows: rows.purge(now_ms=NOW_MS, limit=3)) for _ in range(3)]
    assert purged == [3 + 1 + 1, 2, 0]
    assert await store.transact(lambda rows: rows.purge(now_ms=NOW_MS, limit=3, audit_retention_ms=90 * DAY_MS)) == 0
    assert await store.read(lambda rows: rows.sessions.get("living")) is not None
    assert await store.read(lambda rows: rows.sessions.get("just over")) is not None
    assert await store.read(lambda rows: rows.failures.get_many(["old", "new", "lasting"])) == [Failures(), new, lasting]
    assert [event.kind for event in await store.read(lambda rows: rows.events.list_about("ada-id", limit=9))] == ["session_ended"]


async def test_events_come_back_oldest_first(store: Store) -> None:
    """The limit keeps the newest."""
    events = [Event(at_ms=NOW_MS + n, kind="signed_in", subject="ada-id", sid=f"s{n}", ip="::1") for n in range(4)]

    async def record(rows: Transaction) -> None:
        for event in events:
            await rows.events.insert(event)

    await store.transact(record)
    assert await store.read(lambda rows: rows.events.list_about("ada-id", limit=3)) == events[1:]
    assert await store.read(lambda rows: rows.events.list_about("s2", limit=3)) == [events[2]]


async def test_the_audit_trail_is_exported_in_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that goes on after the last number of another one repeats nothing, and times can be chosen."""
    monkeypatch.setattr(audit_trail, "PAGE_SIZE", 2)
    trail = AuditTrail(store=store)
    assert [page async for page in trail.export()] == []

    async def record(*numbers: int) -> None:
        for n in numbers:
            event = Event(at_ms=NOW_MS + n, kind="signed_in", sid=f"s{n}", user_agent="curl", actor="operator", detail={"n": n})
            await store.transact(lambda rows, event=event: rows.events.insert(event))  # type: ignore[misc]

    await record(0, 1, 2, 3, 4)
    pages = [page async for page in trail.export()]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [event.sid for page in pages for _, event in page] == ["s0", "s1", "s2", "s3", "s4"]
    assert (pages[0][1][1].actor, pages[0][1][1].user_agent, pages[0][1][1].detail) == ("operator", "curl", {"n": 1})
    await record(5)
    assert [[event.sid for _, event in page] async for page in trail.export(after=pages[-1][-1][0])] == [["s5"]]
    chosen = trail.export(since_ms=NOW_MS + 2, before_ms=NOW_MS + 4)
    assert [[event.sid for _, event in page] async for page in chosen] == [["s2", "s3"]]


async def test_reading_does_not_wait_for_writing(store: Store) -> None:
    """A read between commits sees the last one completely."""
    await add(store, a_session())
    writes = [asyncio.create_task(store.update_session("session-id", advance)) for _ in range(50)]
    seen: list[int] = []

    async def look(rows: Rows) -> int:
        found = await rows.sessions.get("session-id")
        return found[0].generation if found else -1

    while not all(write.done() for write in writes):
        seen.append(await store.read(look))
        await asyncio.sleep(0)
    assert seen == sorted(seen)
    assert await store.read(look) == 50


# --- revocations


def ended(session: Session | None, _: Account | None) -> Update[None]:
    """Decide to end a session."""
    assert session is not None
    return Update(None, revoke(session, "logout", ENDED_MS))


async def end_by_decision(store: Store, sid: str) -> None:
    """End a session as signing out does."""
    await store.update_session(sid, ended)


async def end_by_saving(store: Store, sid: str) -> None:
    """End a session in a transaction of many writes."""
    session = revoke(await session_in(store, sid), "logout", ENDED_MS)
    await store.transact(lambda rows: rows.sessions.update(session))


async def end_by_subject(store: Store, sid: str) -> None:
    """End all sessions of the session's subject."""
    subject = (await session_in(store, sid)).subject
    await store.transact(lambda rows: rows.sessions.end_batch(a_sweep(subject=subject), now_ms=ENDED_MS, limit=100))


ENDS: dict[str, End] = {"update_session": end_by_decision, "save_session": end_by_saving, "end_batch": end_by_subject}
each_end = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)


async def list_revocations(store: Store, *, since: int = 0) -> list[Revocation]:
    """Return the revocations, without the first row of all, which concerns no session."""
    found = await store.read(lambda rows: rows.revocations.list_since(since, limit=10_000))
    return [revocation for revocation in found if revocation.exp_s > 0]


async def revoked_names(store: Store) -> list[str]:
    """Return the names of the revoked sessions and keys, in the order of their revocation."""
    return [revocation.name for revocation in await list_revocations(store)]


async def test_a_new_store_has_a_placeholder_revocation(store: Store) -> None:
    """A reader's place is always found: the first row concerns no session and has expired from the start."""
    last = await store.read(lambda rows: rows.revocations.get_last())
    assert (last.kind, last.exp_s, len(last.name)) == ("sid", 0, 32)
    assert await store.read(lambda rows: rows.revocations.list_since(0, limit=10)) == [last]


@each_end
async def test_the_end_of_a_session_writes_one_revocation(store: Store, end: End) -> None:
    """However the session ends, there is one revocation for as long as any of its tokens can be valid (R47 and R53)."""
    await add(store, a_session(id="ends"), a_session(id="lives", subject="bob-id"))
    before = await store.read(lambda rows: rows.revocations.get_last())
    await end(store, "ends")
    (revocation,) = await list_revocations(store)
    assert revocation == Revocation("sid", "ends", forgotten_at_s(ENDED_MS), revocation.seq)
    assert revocation.seq > before.seq
    assert revocation.exp_s * 1000 >= ENDED_MS + HOUR_MS + 60_000, "a token of an hour, and a clock that is a minute late"
    assert await store.read(lambda rows: rows.revocations.get_last()) == revocation


@each_end
@pytest.mark.parametrize("again", ENDS.values(), ids=ENDS)
async def test_a_session_that_ends_twice_has_one_revocation(store: Store, end: End, again: End) -> None:
    """A second end of any kind adds nothing and changes nothing."""
    await add(store, a_session(id="ends"))
    await end(store, "ends")
    first = await list_revocations(store)
    await again(store, "ends")
    assert await list_revocations(store) == first


async def test_a_live_session_has_no_revocation(store: Store) -> None:
    """A refresh adds none."""
    await add(store, a_session())
    await store.update_session("session-id", advance)
    living = await session_in(store)
    await store.transact(lambda rows: rows.sessions.update(living))
    assert await list_revocations(store) == []


async def test_ending_all_sessions_of_a_subject_adds_a_revocation_for_each_live_one(store: Store) -> None:
    """There is none for sessions that had ended or are of other subjects (T21)."""
    await add(store, *(a_session(id=f"ada-{number}") for number in range(50)))
    await add(store, a_session(id="past", expires_at_ms=ENDED_MS), a_session(id="bob", subject="bob-id"))
    await end_by_decision(store, "ada-7")
    await end_by_subject(store, "ada-0")
    names = await revoked_names(store)
    assert names[0] == "ada-7"
    assert sorted(names) == sorted(f"ada-{number}" for number in range(50))


def impersonated(sid: str, *, within: str, by: str = "ada-id", **fields: Any) -> Session:
    """Return a session of Bob in which an operator acts, that began in one of theirs."""
    return a_session(id=sid, subject="bob-id", impersonator=Impersonator(account_id=by, sid=within), **fields)


@each_end
async def test_what_an_operator_began_in_a_session_ends_with_it(store: Store, end: End) -> None:
    """In the same transaction: rows, revocations and events. The person's own sessions and those of other operators go on."""
    await add(store, a_session(id="of-ada"), a_session(id="of-bob", subject="bob-id"), impersonated("ends", within="of-ada"))
    await add(
        store, impersonated("other", within="of-eve", by="eve-id"), impersonated("past", within="of-ada", expires_at_ms=NOW_MS)
    )
    assert (await session_in(store, "ends")).impersonator == Impersonator(account_id="ada-id", sid="of-ada")
    await end(store, "of-ada")
    assert sorted(await revoked_names(store)) == ["ends", "of-ada"]
    ended = await session_in(store, "ends")
    assert (ended.revoked_why, ended.revoked_at_ms) == ("impersonation_ended", ENDED_MS)
    assert [(await session_in(store, sid)).revoked_why for sid in ("other", "past", "of-bob")] == [None] * 3
    (event,) = await store.read(lambda rows: rows.events.list_about("ends", limit=9))
    assert (event.kind, event.operator, event.subject) == ("session_ended", "account:ada-id", "bob-id")


async def test_impersonated_sessions_end_by_operator_by_session_and_by_person(store: Store) -> None:
    """Only those end that are asked for, and each once. The refresh that shares a transaction brings none back."""
    await add(store, *(impersonated(sid, within=sid[:1]) for sid in ("a1", "a2", "b1")), a_session(id="own", subject="bob-id"))

    async def ended(**which: str) -> list[str]:
        found = await store.transact(lambda rows: rows.sessions.end_impersonations(now_ms=ENDED_MS, **which))
        return sorted(event.sid or "" for event in found)

    assert await ended(by="eve-id") == await ended(by="ada-id", within="c") == await ended(of="ada-id") == []
    assert await ended(by="ada-id", within="a") == ["a1", "a2"]
    assert await ended(of="bob-id") == ["b1"]
    assert await ended(by="ada-id") == []
    await add(store, a_session(id="c"), impersonated("c1", within="c"))
    await asyncio.gather(end_by_decision(store, "c"), store.update_session("c1", advance))
    assert (await session_in(store, "c1")).revoked_why == "impersonation_ended"
    assert sorted(await revoked_names(store)) == ["a1", "a2", "b1", "c", "c1"]


async def test_the_place_of_an_operator_is_none_of_the_person(store: Store) -> None:
    """Otherwise a sign-in with a stolen password from there would look like that of a known device."""
    await add(store, impersonated("looks", within="of-ada"))
    network = network_of("192.0.2.1")
    assert not await store.read(lambda rows: rows.sessions.has_any_from("bob-id", network))
    assert not await store.read(lambda rows: rows.sessions.has_any_like("bob-id", network, "test"))


@each_end
async def test_an_end_that_is_undone_leaves_no_revocation(store: Store, end: End) -> None:
    """Session and revocation are undone together, and another change of the same group is not affected."""
    await add(store, *(a_session(id=sid, subject=sid) for sid in ("fails", "ends")))

    async def fail(rows: Transaction) -> None:
        session = await rows.sessions.get("fails")
        assert session is not None
        if end is end_by_subject:
            assert await rows.sessions.end_batch(a_sweep(subject="fails"), now_ms=ENDED_MS, limit=100) == 1
        else:
            await rows.sessions.update(revoke(session[0], "admin", ENDED_MS))
        assert (await rows.revocations.get_last()).name == "fails"
        raise NotFound("on purpose")

    outcomes = await asyncio.gather(store.transact(fail), end(store, "ends"), store.transact(fail), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotFound, type(None), NotFound]
    assert await revoked_names(store) == ["ends"]
    assert (await session_in(store, "fails")).revoked_why is None


async def test_keys_are_revoked_like_sessions(store: Store) -> None:
    """A key and a session with the same name are different. A second revocation is ignored."""

    async def tell(rows: Transaction) -> None:
        await rows.revocations.insert(Revocation("kid", "same", 1_000))
        await rows.revocations.insert(Revocation("kid", "same", 9_000))
        await rows.revocations.insert(Revocation("sid", "same", 2_000))

    await store.transact(tell)
    found = await list_revocations(store)
    assert [(entry.kind, entry.name, entry.exp_s) for entry in found] == [("kid", "same", 1_000), ("sid", "same", 2_000)]
    assert found[0].seq < found[1].seq


async def test_revocations_are_read_from_a_number_on(store: Store) -> None:
    """The number itself is included, and the limit is respected."""
    await add(store, *(a_session(id=f"s{number}") for number in range(5)))
    for number in range(5):
        await end_by_decision(store, f"s{number}")
    entries = await list_revocations(store)
    assert [entry.name for entry in entries] == [f"s{number}" for number in range(5)]
    assert await list_revocations(store, since=entries[2].seq) == entries[2:]
    assert await store.read(lambda rows: rows.revocations.list_since(entries[1].seq, limit=2)) == entries[1:3]
    assert await store.read(lambda rows: rows.revocations.list_since(entries[4].seq + 1, limit=9)) == []


async def test_a_reader_that_polls_misses_no_revocation(another: Opened) -> None:
    """Two writers commit in turns while a third connection reads from the last number that it saw (T29)."""
    writers, reader = [await another(), await another()], await another()
    sids = [f"s{number}" for number in range(200)]
    await add(reader, *(a_session(id=sid) for sid in sids))
    ends = [asyncio.create_task(end_by_decision(writers[number % 2], sid)) for number, sid in enumerate(sids)]
    seen: list[Revocation] = []
    while len(seen) < len(sids):
        was_done = all(end.done() for end in ends)
        seen += await list_revocations(reader, since=seen[-1].seq + 1 if seen else 0)
        assert not was_done or len(seen) == len(sids), "something was committed behind the reader's back"
        await asyncio.sleep(0)
    await asyncio.gather(*ends)
    assert sorted(entry.name for entry in seen) == sorted(sids)
    assert [entry.seq for entry in seen] == sorted({entry.seq for entry in seen})
    assert await list_revocations(reader) == seen


async def test_purging_deletes_revocations_when_the_last_token_has_expired(store: Store) -> None:
    """To the second, in small batches. The last revocation stays, so that a reader's place is found (R53 and R90)."""
    await add(store, *(a_session(id=f"s{number}") for number in range(7)))
    for number in range(7):
        await end_by_decision(store, f"s{number}")
    over_ms = forgotten_at_s(ENDED_MS) * 1000

    async def purge(now_ms: int) -> list[str]:
        await store.transact(lambda rows: rows.purge(now_ms=now_ms, limit=3))
        return await revoked_names(store)

    await purge(over_ms - 1)
    assert await purge(over_ms - 1) == [f"s{number}" for number in range(7)]
    assert await purge(over_ms) == ["s3", "s4", "s5", "s6"]
    assert await purge(over_ms) == ["s6"]
    assert await purge(over_ms) == ["s6"]
    last = (await list_revocations(store))[0]
    await add(store, a_session(id="next"))
    await end_by_decision(store, "next")
    assert [entry.name for entry in await list_revocations(store, since=last.seq)] == ["s6", "next"]


# --- credentials of services


async def test_credentials_are_listed_by_name(store: Store) -> None:
    """They come back unchanged, in the order of their names, and are found by id."""
    zoe = Credential(id="1", name="zoe", secret_hash=b"\x00\xff", created_at_ms=NOW_MS)
    ann = Credential(id="2", name="ann", secret_hash=b"", created_at_ms=NOW_MS + 1)

    async def insert(rows: Transaction) -> None:
        for client in (zoe, ann):
            assert await rows.credentials.insert(client)

    await store.transact(insert)
    assert await store.read(lambda rows: rows.credentials.list_all()) == [ann, zoe]
    assert await store.read(lambda rows: rows.credentials.get("1")) == zoe
    assert await store.read(lambda rows: rows.credentials.get("zoe")) is None
    await store.transact(lambda rows: rows.credentials.delete("1"))
    assert await store.read(lambda rows: rows.credentials.get("1")) is None
    assert await store.read(lambda rows: rows.credentials.list_all()) == [ann]


async def test_a_name_has_one_credential(store: Store) -> None:
    """The second insert returns False and changes nothing, also if both run at once."""

    async def insert(number: int) -> bool:
        client = Credential(id=f"id-{number}", name="orders", secret_hash=bytes([number]), created_at_ms=NOW_MS)
        return await store.transact(lambda rows: rows.credentials.insert(client))

    assert sorted(await asyncio.gather(*map(insert, range(8)))) == [False] * 7 + [True]
    (kept,) = await store.read(lambda rows: rows.credentials.list_all())
    assert kept.secret_hash == bytes([int(kept.id.removeprefix("id-"))])


# --- mail


async def add_mail(store: Store, *mails: Mail) -> None:
    """Insert mail."""

    async def insert(rows: Transaction) -> None:
        for mail in mails:
            await rows.mails.insert(mail)

    await store.transact(insert)


async def claim(store: Store, now_ms: int = NOW_MS) -> Mail | None:
    """Take the next mail that is due, for a second."""
    return await store.transact(lambda rows: rows.mails.claim(now_ms=now_ms, until_ms=now_ms + 1000))


async def test_mail_is_claimed_in_the_order_of_its_time(store: Store) -> None:
    """Each is claimed once. Mail of the development inbox is never due, and a claim ends by itself."""
    first, second = a_mail(id="first", next_at_ms=NOW_MS - 1), a_mail(id="second", account=None)
    later, shown = a_mail(id="later", next_at_ms=NOW_MS + 1), a_mail(id="shown", next_at_ms=None)
    await add_mail(store, shown, later, second, first)
    assert await store.read(lambda rows: rows.mails.get_next_at_ms()) == NOW_MS - 1
    claimed = [await claim(store) for _ in range(3)]
    assert claimed == [
        msgspec.structs.replace(first, tries=1, next_at_ms=NOW_MS + 1000),
        msgspec.structs.replace(second, tries=1, next_at_ms=NOW_MS + 1000),
        None,
    ]
    for name, was_there in (("first", True), ("later", True), ("none", False)):
        assert await store.transact(lambda rows, name=name: rows.mails.delete(name)) == was_there  # type: ignore[misc]
    assert await claim(store, NOW_MS + 999) is None
    again = await claim(store, NOW_MS + 1000)
    assert again == msgspec.structs.replace(second, tries=2, next_at_ms=NOW_MS + 2000)
    assert await store.read(lambda rows: rows.mails.get("second")) == again
    assert await store.read(lambda rows: rows.mails.get("shown")) == shown


async def test_processes_share_mail(another: Opened) -> None:
    """Those that claim at the same time get different mails, and no mail is claimed twice."""
    stores = [await another() for _ in range(3)]
    await add_mail(stores[0], *(a_mail(id=f"mail-{number}") for number in range(20)))
    claimed: list[Mail] = []

    async def claim_all(store: Store) -> None:
        while (mail := await claim(store)) is not None:
            claimed.append(mail)

    await asyncio.gather(*map(claim_all, stores))
    assert sorted(mail.id for mail in claimed) == sorted(f"mail-{number}" for number in range(20))


async def test_only_the_last_claim_postpones_a_mail(store: Store) -> None:
    """A process that was slow does not put off a mail that another one has taken over."""
    await add_mail(store, a_mail())
    slow = await claim(store)
    fast = await claim(store, NOW_MS + 1000)
    assert slow is not None
    assert fast is not None
    await store.transact(lambda rows: rows.mails.postpone(slow, next_at_ms=NOW_MS + 5, error="slow"))
    assert await store.read(lambda rows: rows.mails.get("mail-id")) == fast
    await store.transact(lambda rows: rows.mails.postpone(fast, next_at_ms=NOW_MS + DAY_MS, error="451 busy"))
    postponed = msgspec.structs.replace(fast, next_at_ms=NOW_MS + DAY_MS, error="451 busy")
    assert await store.read(lambda rows: rows.mails.list_newest(limit=2)) == [postponed]


async def test_postponed_mail_is_made_due(store: Store) -> None:
    """Mail that a process is sending right now is left alone."""
    await add_mail(store, a_mail(id="away"), a_mail(id="sending", next_at_ms=NOW_MS + 1))
    away = await claim(store)
    assert away is not None
    await store.transact(lambda rows: rows.mails.postpone(away, next_at_ms=NOW_MS + DAY_MS, error="451 busy"))
    sending = await claim(store, NOW_MS + 1)
    assert await store.transact(lambda rows: rows.mails.retry(now_ms=NOW_MS + 2, limit=9)) == 1
    assert await store.read(lambda rows: rows.mails.get("sending")) == sending
    due = await claim(store, NOW_MS + 2)
    assert due is not None
    assert (due.id, due.tries, due.error) == ("away", 2, "")


async def test_mail_is_listed_newest_first_and_purged(store: Store) -> None:
    """A limit cuts the oldest off. Rows that no sender has removed are deleted after three days."""
    await add_mail(
        store, *(a_mail(id=f"mail-{age}", created_at_ms=NOW_MS - age, next_at_ms=None) for age in (0, KEPT_MS - 1, KEPT_MS))
    )
    assert [mail.id for mail in await store.read(lambda rows: rows.mails.list_newest(limit=2))] == [
        "mail-0",
        f"mail-{KEPT_MS - 1}",
    ]
    assert await store.transact(lambda rows: rows.purge(now_ms=NOW_MS, limit=9)) == 1
    assert len(await store.read(lambda rows: rows.mails.list_newest(limit=9))) == 2
    assert await store.read(lambda rows: rows.mails.get_next_at_ms()) is None


# --- noticing changes


async def test_changes_of_any_process_are_noticed(another: Opened) -> None:
    """`changes` yields at once, and again after a commit by this object or by another one on the same store."""
    store, other = await another(), await another()
    await add(store, a_session(id="own"), a_session(id="others"))
    changes = store.changes()
    async with asyncio.timeout(CHANGE_PATIENCE_S):
        await anext(changes)
        for writer, sid in ((store, "own"), (other, "others"), (store, "own"), (other, "others")):
            waiting = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0)
            await writer.update_session(sid, advance)
            await waiting
    assert (await session_in(store, "own")).generation == 2


async def test_a_read_after_a_noticed_change_sees_it(another: Opened) -> None:
    """However commits and reads interleave, the last read comes after the last commit."""
    store, other = await another(), await another()
    sids = [f"s{number}" for number in range(40)]
    await add(store, *(a_session(id=sid) for sid in sids))

    async def commit() -> None:
        for number, sid in enumerate(sids):
            await end_by_decision((store, other)[number % 2], sid)
            await asyncio.sleep(0.002 * (number % 5))

    committing = asyncio.create_task(commit())
    async with asyncio.timeout(CHANGE_PATIENCE_S):
        async for _ in store.changes():
            if await revoked_names(store) == sids:
                break
    await committing


def a_grant(**fields: object) -> OneTime:
    """Return a one-time grant that was issued at `NOW_MS`."""
    name = str(fields.get("id", "grant"))
    defaults: dict[str, object] = {
        "id": name,
        "purpose": "sign_in",
        "email": "ada@example.com",
        "account_id": "ada-id",
        "link_hash": f"link of {name}".encode(),
        "code_hash": b"code",
        "browser_hash": b"browser",
        "created_at_ms": NOW_MS,
        "code_expires_at_ms": NOW_MS + 1,
        "expires_at_ms": NOW_MS + HOUR_MS,
    }
    return OneTime(**defaults | fields)  # type: ignore[arg-type]


async def add_grants(store: Store, *grants: OneTime) -> None:
    """Insert one-time grants."""

    async def insert(rows: Transaction) -> None:
        for grant in grants:
            await rows.one_time.insert(grant)

    await store.transact(insert)


async def test_a_one_time_grant_comes_back_by_id_link_and_browser(store: Store) -> None:
    """Every field survives, absent ones too. A browser's grants come newest first, of one purpose, and no more than asked for."""
    full = a_grant(id="full", account_email="ada@example.com", epoch=3, ip="192.0.2.1", user_agent="x", looks=2)
    full = msgspec.structs.replace(full, used_at_ms=NOW_MS, details={"password_hash": "$argon2id$ ü"})
    plain = a_grant(id="plain", account_id=None, code_hash=None, created_at_ms=NOW_MS + 5)
    others = a_grant(id="other purpose", purpose="register"), a_grant(id="other browser", browser_hash=b"another")
    await add_grants(store, full, plain, *others)
    assert await store.read(lambda rows: rows.one_time.get("full")) == full
    assert await store.read(lambda rows: rows.one_time.get_by_link(b"link of plain")) == plain
    assert await store.read(lambda rows: rows.one_time.get_by_link(b"none")) is None
    assert await store.read(lambda rows: rows.one_time.list_by_browser(b"browser", "sign_in", limit=9)) == [plain, full]
    assert await store.read(lambda rows: rows.one_time.list_by_browser(b"browser", "sign_in", limit=1)) == [plain]


async def test_a_one_time_grant_changes_and_goes(store: Store) -> None:
    """An update writes what changes. The others of its purpose and address go with its use, those of an account with it."""
    grant, sibling = a_grant(), a_grant(id="sibling")
    kept = a_grant(id="purpose", purpose="verify_email"), a_grant(id="address", email="eve@example.com", account_id="eve-id")
    await add_grants(store, grant, sibling, *kept)
    after = msgspec.structs.replace(grant, looks=3, used_at_ms=NOW_MS, account_id="new-id", details={"a": "b"})

    async def use(rows: Transaction) -> None:
        await rows.one_time.update(after)
        await rows.one_time.delete_others(after)

    await store.transact(use)
    found = await store.read(lambda rows: rows.one_time.list_by_browser(b"browser", "sign_in", limit=9))
    assert sorted(found, key=lambda each: each.id) == [kept[1], after]
    await store.transact(lambda rows: rows.one_time.delete_of("eve-id"))
    assert await store.read(lambda rows: rows.one_time.get("address")) is None
    assert await store.read(lambda rows: rows.one_time.get("purpose")) == kept[0]


async def test_one_time_grants_that_do_not_survive_a_backup_go(store: Store) -> None:
    """All but those that undo a change of address."""
    undo = a_grant(id="undo", purpose="undo_change")
    await add_grants(store, a_grant(), a_grant(id="register", purpose="register", email="new@example.com"), undo)
    assert await store.transact(lambda rows: rows.one_time.delete_unfit_for_backups()) == 2
    assert await store.read(lambda rows: rows.one_time.list_by_browser(b"browser", "undo_change", limit=9)) == [undo]


async def test_expired_one_time_grants_are_purged(store: Store) -> None:
    """From the end of the link on, used or not."""
    await add_grants(store, a_grant(), a_grant(id="later", expires_at_ms=NOW_MS + HOUR_MS + 1))
    assert await store.transact(lambda rows: rows.purge(now_ms=NOW_MS + HOUR_MS - 1, limit=10)) == 0
    assert await store.transact(lambda rows: rows.purge(now_ms=NOW_MS + HOUR_MS, limit=10)) == 1
    assert await store.read(lambda rows: rows.one_time.get("later")) is not None


async def test_of_two_uses_of_one_grant_one_sees_the_other(another: Opened) -> None:
    """Two processes that use two grants of one address at once: one finds its grant gone."""
    stores = [await another(), await another()]
    grants = [a_grant(id="first"), a_grant(id="second")]
    await add_grants(stores[0], *grants)

    async def use(store: Store, grant: OneTime) -> bool:
        async def work(rows: Transaction) -> bool:
            if await rows.one_time.get(grant.id) is None:
                return False
            await rows.one_time.update(msgspec.structs.replace(grant, used_at_ms=NOW_MS))
            await rows.one_time.delete_others(grant)
            return True

        return await store.transact(work)

    assert sorted(await asyncio.gather(*map(use, stores, grants))) == [False, True]
