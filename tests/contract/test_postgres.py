"""What only PostgreSQL has: other schemas, other nodes, servers that go away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest

from handstamp.domain.account import Account
from handstamp.domain.event import Event
from handstamp.domain.revocation import Revocation
from handstamp.domain.session import Session, revoke
from handstamp.errors import ConfigurationError, Unavailable
from handstamp.service.operating.audit_trail import POLL_S, AuditTrail
from handstamp.storage import migrations
from handstamp.storage.migrations import Migration
from handstamp.storage.postgres import store as postgres
from handstamp.storage.postgres.schema import migrate
from handstamp.storage.postgres.store import PostgresStore
from handstamp.storage.store import Rows, Transaction, Update
from tests.builders import NOW_MS, a_session, a_sweep, an_account
from tests.cutting import CuttingProxy
from tests.postgres import PgBouncer, execute, fresh_database, own_server, pgbouncer

pytestmark = pytest.mark.anyio
SOON_S = 60.0
_LATER = "ALTER TABLE session ADD later text; CREATE INDEX ON session (later);"
NOWHERE = "postgresql://me:s3cret@127.0.0.1:1/x"
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
async def url(postgres_server: str) -> AsyncIterator[str]:
    """Give the URL of an empty database with our schema."""
    async with fresh_database(postgres_server) as fresh:
        yield fresh


@asynccontextmanager
async def open_store(url: str, *, connections: int = 10) -> AsyncIterator[PostgresStore]:
    """Open a store and close it at the end."""
    store = PostgresStore(url, connections=connections)
    await store.open()
    yield store
    await store.close()


async def add(store: PostgresStore, *names: str) -> None:
    """Start sessions of these names."""

    async def insert(rows: Transaction) -> None:
        for name in names:
            await rows.sessions.insert(a_session(id=name))

    await store.transact(insert)


def advance(session: Session | None, _: Account | None) -> Update[int]:
    """Decide to advance by one generation, or answer -1 for a session that has ended."""
    assert session is not None
    if session.revoked_at_ms is not None:
        return Update(-1)
    after = msgspec.structs.replace(session, generation=session.generation + 1)
    return Update(after.generation, after)


def end(session: Session | None, _: Account | None) -> Update[None]:
    """Decide to end it."""
    assert session is not None
    return Update(None, revoke(session, "logout", NOW_MS))


async def wait_for_locks(url: str, *, waits: bool = True) -> None:
    """Return once a connection waits for a lock in this database, or once none does."""
    async with asyncio.timeout(SOON_S):
        while True:
            if bool(await fetch(url, _WAITING)) == waits:
                return
            await asyncio.sleep(0.02)


# --- the schema


async def test_an_empty_database_is_refused_with_the_command_to_run(postgres_server: str) -> None:
    """A start creates nothing. Several processes may migrate at once, and one of them does it."""
    async with fresh_database(postgres_server, migrated=False) as url:
        with pytest.raises(ConfigurationError, match="handstamp migrate"):
            await PostgresStore(url).open()
        names = await asyncio.gather(*(migrate(url) for _ in range(4)))
        assert sorted(map(len, names)) == [0, 0, 0, 1]
        async with open_store(url):
            pass


async def test_a_database_of_a_newer_version_is_refused(url: str) -> None:
    """Neither a start nor a migration changes it."""
    await execute(url, "INSERT INTO schema_migration VALUES (9999, 'future', 'x')")
    for attempt in (PostgresStore(url).open, partial(migrate, url)):
        with pytest.raises(ConfigurationError, match="newer"):
            await attempt()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
async def test_a_database_that_cannot_hold_every_text_is_refused(postgres_server: str, encoding: str) -> None:
    """With words that say how to make another one, by `migrate` and by a start. Nothing is created in it."""
    async with fresh_database(postgres_server, migrated=False, encoding=encoding) as url:
        for attempt in (partial(migrate, url), PostgresStore(url).open):
            with pytest.raises(ConfigurationError, match=f"{encoding}, which cannot .*CREATE DATABASE .*UTF8"):
                await attempt()
        assert await fetch(url, "SELECT to_regclass('schema_migration')") is None


async def test_an_error_about_a_value_is_not_an_outage(url: str) -> None:
    """Trying again later cannot help, so it is not `Unavailable`. The next transaction on that connection works."""
    async with open_store(url, connections=1) as store:
        for value in ("a\0b", "\ud800"):
            with pytest.raises((asyncpg.DataError, UnicodeEncodeError)):
                await add(store, value)
            assert await store.read(lambda rows, value=value: rows.sessions.get(value)) is None  # type: ignore[misc]
        await add(store, "s")


async def test_another_programs_database_is_unchanged(postgres_server: str) -> None:
    """It has tables with our names, but not our migration history."""
    async with fresh_database(postgres_server, migrated=False) as url:
        await execute(url, "CREATE TABLE session (id text)")
        with pytest.raises(ConfigurationError, match="another program"):
            await migrate(url)


async def test_an_unreachable_server_is_a_clear_error_without_the_password() -> None:
    """It stops a start and a migration."""
    for attempt in (PostgresStore(NOWHERE).open, partial(migrate, NOWHERE)):
        with pytest.raises(ConfigurationError, match="cannot be opened") as refused:
            await attempt()
        assert "s3cret" not in str(refused.value)
    assert "s3cret" not in repr(PostgresStore(NOWHERE))


async def test_no_statement_needs_to_be_prepared(url: str) -> None:
    """Behind PgBouncer in transaction mode the next statement may go to another connection."""
    async with open_store(f"{url}&pgbouncer=true" if "?" in url else f"{url}?pgbouncer=true") as store:
        await add(store, "s")
        assert await store.update_session("s", advance) == 1


async def test_a_migration_does_not_disturb_a_running_service(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old version keeps serving while its tables get a column and an index. The new one does not start until then."""
    newer = [*migrations.load_migrations("postgres"), Migration(2, "later", _LATER)]
    async with open_store(url) as older:
        await add(older, *map(str, range(8)))

        async def go_on(steps: int) -> None:
            for _ in range(steps):
                await asyncio.gather(*(older.update_session(str(number), advance) for number in range(8)))
                await older.transact(lambda rows: rows.sessions.end_batch(a_sweep(subject="nobody"), now_ms=NOW_MS, limit=9))
                assert await older.read(lambda rows: rows.sessions.get("3")) is not None

        async def go_on_until(done: asyncio.Event) -> None:
            while not done.is_set():
                await go_on(1)

        await go_on(2)
        done = asyncio.Event()
        serving = asyncio.create_task(go_on_until(done))
        monkeypatch.setattr(migrations, "load_migrations", lambda _: newer)
        with pytest.raises(ConfigurationError, match="handstamp migrate"):
            await PostgresStore(url).open()
        applied = await asyncio.gather(*(migrate(url) for _ in range(3)))
        assert sorted(applied) == [[], [], ["later"]]
        async with open_store(url) as younger:
            await younger.update_session("3", advance)
            done.set()
            await serving
            await go_on(2)


@pytest.mark.slow
async def test_a_migration_waits_for_a_table_in_use_without_blocking_others(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives up its place in the queue and retries."""
    newer = [*migrations.load_migrations("postgres"), Migration(2, "later", _LATER)]
    monkeypatch.setattr(migrations, "load_migrations", lambda _: newer)
    connection = await asyncpg.connect(url)
    try:
        using = connection.transaction()
        await using.start()
        await connection.execute("SELECT count(*) FROM session")
        migrating = asyncio.create_task(migrate(url))
        for waits in (True, False, True):
            await wait_for_locks(url, waits=waits)
        assert not migrating.done()
        await using.commit()
        assert await migrating == ["later"]
    finally:
        await connection.close()


async def test_returning_a_connection_costs_no_round_trip(url: str) -> None:
    """And a transaction that was left open on it is rolled back."""
    async with open_store(url, connections=1) as store:
        sent: list[str] = []
        connection = await store._pool.acquire()
        connection.add_query_logger(lambda record: sent.append(record.query))
        await connection.execute("BEGIN")
        await connection.execute("CREATE TABLE left_open (id text)")
        await store._pool.release(connection)
        assert sent.pop() == "ROLLBACK"
        sent.clear()
        for _ in range(3):
            assert await store.session("nobody") is None
        assert [query.split()[0] for query in sent] == ["SELECT"] * 3
    assert await fetch(url, "SELECT to_regclass('left_open')") is None


# --- the way there


@pytest.fixture
def bouncer(url: str) -> Iterator[PgBouncer]:
    """Give access to the same database through PgBouncer."""
    with pgbouncer(url) as through:
        yield through


async def test_the_servers_certificate_is_checked(bouncer: PgBouncer) -> None:
    """The name and the authority are checked as the URL demands. Nothing is sent to a server with an unknown certificate."""
    by_name, known = bouncer.url.replace("127.0.0.1", "localhost"), f"sslrootcert={bouncer.certificate}"
    number = f"{bouncer.url}&sslmode"
    for good in (f"{by_name}&sslmode=verify-full&{known}", f"{number}=verify-ca&{known}", f"{number}=require"):
        async with open_store(good) as store:
            await add(store, good)
    for bad in (f"{number}=verify-full&{known}", f"{by_name}&sslmode=verify-full", f"{by_name}&sslmode=verify-ca"):
        with pytest.raises(ConfigurationError, match=r"(?i)certificate"):
            await PostgresStore(bad).open()


async def test_nothing_is_sent_to_a_server_without_tls() -> None:
    """If the URL requires TLS, neither the password nor a query is sent without it."""
    with own_server() as server:
        for mode in ("require", "verify-ca", "verify-full"):
            with pytest.raises(ConfigurationError, match="SSL"):
                await PostgresStore(f"{server.url}?sslmode={mode}").open()


async def test_pgbouncer_works(bouncer: PgBouncer) -> None:
    """In transaction mode and with fewer connections than the stores have, everything works. Changes are found by polling."""
    async with open_store(bouncer.url) as one, open_store(bouncer.url) as other:
        await add(one, *map(str, range(20)))
        for _ in range(5):
            stores = (one, other) * 20
            await asyncio.gather(*(store.update_session(str(number // 2), advance) for number, store in enumerate(stores)))
            await asyncio.gather(*(store.transact(lambda rows: rows.failures.get_many(["x"])) for store in stores))
        found = await asyncio.gather(*(one.read(partial(session, str(number))) for number in range(20)))
        assert {entry.generation for entry in found} == {10}
        changes = other.changes()
        await anext(changes)
        await one.update_session("3", end)
        async with asyncio.timeout(SOON_S):
            await anext(changes)
        assert [entry.name for entry in await other.read(lambda rows: rows.revocations.list_since(0, limit=9))][1:] == ["3"]


async def session(sid: str, rows: Rows) -> Session:
    """Return a session's row."""
    found = await rows.sessions.get(sid)
    assert found is not None
    return found[0]


async def start_all(subject: str, sids: Iterable[str], rows: Transaction) -> None:
    """Start sessions of one subject, one after the other."""
    for sid in sids:
        await rows.sessions.insert(a_session(id=sid, subject=subject))


async def revoke_all(subject: str, rows: Transaction) -> int:
    """Sign a subject out everywhere."""
    return await rows.sessions.end_batch(a_sweep(subject=subject), now_ms=NOW_MS, limit=200)


async def fetch(url: str, query: str) -> Any:
    """Return the one value that a query gives."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


# --- several nodes


async def test_two_nodes_advance_one_session_without_losing_a_step(url: str) -> None:
    """Each generation is answered to exactly one of them, however the batches fall."""
    async with open_store(url) as one, open_store(url) as other:
        await add(one, "s")
        steps = await asyncio.gather(*((one, other)[number % 2].update_session("s", advance) for number in range(200)))
        assert sorted(steps) == list(range(1, 201))


async def test_batches_and_transactions_of_two_nodes_are_serialised(url: str) -> None:
    """While refreshes run, all sessions are revoked: none stays live, and none changes afterwards."""
    names = [f"s{number:02}" for number in range(30)]
    async with open_store(url) as one, open_store(url) as other:
        await add(one, *names)
        refreshing = [asyncio.create_task(one.update_session(name, advance)) for name in names * 5]
        subject = a_session().subject
        assert await other.transact(partial(revoke_all, subject)) == len(names)
        await asyncio.gather(*refreshing)
        assert await asyncio.gather(*(one.update_session(name, advance) for name in names)) == [-1] * len(names)


async def test_a_sign_out_everywhere_and_a_batch_do_not_deadlock(url: str) -> None:
    """Both lock sessions in the order of their ids. A deadlock would take PostgreSQL a second to detect."""
    sids = {f"person-{number}": [f"{number:02}-{device:02}" for device in range(30)] for number in range(40)}
    async with open_store(url) as one, open_store(url) as other:
        for subject, names in sids.items():
            await other.transact(partial(start_all, subject, reversed(names)))
        for subject, names in sids.items():
            renewing = [asyncio.create_task(one.update_session(sid, advance)) for sid in names * 3]
            await asyncio.sleep(random.uniform(0, 0.01))
            assert await other.transact(partial(revoke_all, subject)) == len(names)
            await asyncio.gather(*renewing)
    assert await fetch(url, _DEADLOCKS) == 0


async def test_a_batch_is_repeated_after_a_deadlock(url: str) -> None:
    """Another program locks rows in another order. PostgreSQL aborts the batch, and no caller notices."""
    async with open_store(url) as store:
        await add(store, "a", "b")
        other = await asyncpg.connect(url)
        async with other.transaction():
            await other.execute("SELECT 1 FROM session WHERE id = 'b' FOR UPDATE")
            batch = [asyncio.create_task(store.update_session(name, advance)) for name in ("a", "b")]
            await wait_for_locks(url)
            await other.execute("SELECT 1 FROM session WHERE id = 'a' FOR UPDATE")
        await other.close()
        assert await asyncio.gather(*batch) == [1, 1]
    assert await fetch(url, _DEADLOCKS) == 1


async def test_a_decision_sees_the_account_as_it_is_after_the_lock(url: str) -> None:
    """Changes that were made while the batch waited for the row are visible to the decision."""

    async def begin(rows: Transaction) -> None:
        await rows.accounts.insert(an_account())
        await rows.sessions.insert(a_session(id="s", epoch=0))

    async with open_store(url) as store:
        await store.transact(begin)
        other = await asyncpg.connect(url)
        async with other.transaction():
            await other.execute("SELECT 1 FROM session FOR UPDATE")
            await other.execute("UPDATE account SET epoch = 7")
            deciding = asyncio.create_task(store.update_session("s", lambda _, account: Update(account and account.epoch)))
            await wait_for_locks(url)
            assert not deciding.done()
        await other.close()
        assert await deciding == 7


async def test_the_isolation_level_does_not_depend_on_the_databases_default(url: str) -> None:
    """With another default a refresh would fail if another node has just written its row."""
    name = urlsplit(url).path.strip("/")
    await execute(url, f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    async with open_store(url) as one, open_store(url) as other:
        await add(one, "s")
        steps = await asyncio.gather(*((one, other)[number % 2].update_session("s", advance) for number in range(200)))
        assert sorted(steps) == list(range(1, 201))


async def test_a_reader_of_the_feed_misses_nothing(url: str) -> None:
    """Numbers grow in the order of commits, over two nodes, batches and transactions."""
    names = [f"s{number:03}" for number in range(200)]
    seen: list[Revocation] = []

    async def follow(store: PostgresStore) -> None:
        while not set(names) <= {entry.name for entry in seen}:
            since = seen[-1].seq + 1 if seen else 1

            async def look(rows: Rows, since: int = since) -> list[Revocation]:
                return await rows.revocations.list_since(since, limit=7)

            seen.extend(await store.read(look))

    async def end_in_transaction(store: PostgresStore, name: str) -> None:
        async def work(rows: Transaction) -> None:
            found = await rows.sessions.get(name)
            assert found is not None
            await rows.sessions.update(revoke(found[0], "admin", NOW_MS))

        await store.transact(work)

    async with open_store(url) as one, open_store(url) as other, open_store(url) as third:
        await add(one, *names)
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(follow(third))
            for number, name in enumerate(names):
                store = (one, other)[number % 2]
                await asyncio.sleep(0.002)
                tasks.create_task(end_in_transaction(store, name) if number % 5 == 0 else store.update_session(name, end))
    assert [entry.seq for entry in seen] == sorted({entry.seq for entry in seen})


async def read_audit_trail(store: PostgresStore) -> list[str | None]:
    """Return the sessions of all events."""
    return [event.sid async for page in AuditTrail(store=store).export() for _, event in page]


async def test_an_export_of_the_audit_trail_misses_nothing(url: str) -> None:
    """An event whose transaction commits after one with a higher number is in the export too."""
    async with open_store(url) as store, open_store(url) as other:
        inserted, may_commit = asyncio.Event(), asyncio.Event()

        async def insert_slowly(rows: Transaction) -> None:
            await rows.events.insert(Event(at_ms=NOW_MS, kind="signed_in", sid="slow"))
            inserted.set()
            await may_commit.wait()

        slow = asyncio.create_task(other.transact(insert_slowly))
        await inserted.wait()
        await store.transact(lambda rows: rows.events.insert(Event(at_ms=NOW_MS, kind="signed_in", sid="fast")))
        export = asyncio.create_task(read_audit_trail(store))
        await asyncio.sleep(3 * POLL_S)
        assert not export.done()  # a number below that of the fast one may still appear
        may_commit.set()
        await slow
        assert await export == ["slow", "fast"]


async def test_another_node_is_notified_of_an_end_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By NOTIFY, long before its next poll."""
    monkeypatch.setattr(postgres, "POLL_S", 3600)
    async with open_store(url) as one, open_store(url) as other, asyncio.timeout(SOON_S):
        await add(one, "s")
        changes = other.changes()
        await anext(changes)
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        assert not waiting.done()
        await one.update_session("s", end)
        await waiting
        await changes.aclose()  # type: ignore[attr-defined]


async def test_a_listening_connection_that_has_gone_silent_is_replaced(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall may drop an idle connection without telling either side. Changes would then be found by polling only."""
    monkeypatch.setattr(postgres, "POLL_S", 0.5)
    async with CuttingProxy(url) as proxy, open_store(url) as one, open_store(proxy.url) as other, asyncio.timeout(SOON_S):
        await add(one, "s")
        changes = other.changes()
        await anext(changes)
        proxy.silence()
        for _ in range(3):
            await anext(changes)
        monkeypatch.setattr(postgres, "POLL_S", 3600)
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        await one.update_session("s", end)
        await waiting
        await changes.aclose()  # type: ignore[attr-defined]
        monkeypatch.setattr(postgres, "PATIENCE_S", 0.1)  # with the connection that cannot hear it close


# --- faults


async def test_cut_connections_are_unavailable_and_then_the_store_recovers(url: str) -> None:
    """All connections are cut while refreshes run. Each refresh is answered or `Unavailable`, and answered ones are stored."""
    async with open_store(url) as store:
        await add(store, "s")
        heard = 0
        for _ in range(20):
            tasks = [asyncio.ensure_future(store.update_session("s", advance)) for _ in range(20)]
            await asyncio.sleep(0.002)
            await execute(url, CUT)
            for answer in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(answer, int | Unavailable), answer
                heard = max(heard, answer) if isinstance(answer, int) else heard
        async with asyncio.timeout(SOON_S):
            while True:
                try:
                    assert await store.update_session("s", advance) > heard
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)


async def test_a_lock_that_is_held_too_long_is_unavailable(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool without a free connection is unavailable too. Afterwards the store works again."""
    monkeypatch.setattr(postgres, "PATIENCE_S", 0.3)
    async with open_store(url, connections=1) as store:
        await add(store, "s")
        holder = await asyncpg.connect(url)
        async with holder.transaction(), asyncio.timeout(SOON_S):
            await holder.execute("LOCK TABLE session IN ACCESS EXCLUSIVE MODE")
            reads = [store.read(lambda rows: rows.sessions.get("s")) for _ in range(5)]
            answers = await asyncio.gather(store.update_session("s", advance), *reads, return_exceptions=True)
            assert {type(answer) for answer in answers} == {Unavailable}
        await holder.close()
        assert await store.update_session("s", advance) == 1
