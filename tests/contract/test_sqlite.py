"""What only SQLite has: other processes on the same file, replaced files, and migrations at a start."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import uvloop

from handstamp.domain.account import Account
from handstamp.domain.event import Event
from handstamp.domain.revocation import Revocation
from handstamp.domain.session import Session, revoke
from handstamp.errors import ConfigurationError
from handstamp.storage import migrations
from handstamp.storage.migrations import Migration
from handstamp.storage.sqlite.store import SqliteStore
from handstamp.storage.store import Transaction, Update
from tests.builders import NOW_MS, a_session

pytestmark = pytest.mark.anyio
PATIENCE_S = 60.0
ELSEWHERE = """
import asyncio, sys
from pathlib import Path
from handstamp.domain.session import revoke
from handstamp.storage.sqlite.store import SqliteStore
from handstamp.storage.store import Update

async def main(path, *sids):
    store = SqliteStore(Path(path))
    await store.open()
    print("ready", flush=True)
    sys.stdin.readline()
    for sid in sids:
        await store.update_session(sid, lambda session, _: Update(None, revoke(session, "admin", 1)))
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""
"""Ends sessions from another process, one commit each, when it gets a line."""

COMES_AND_GOES = """
import asyncio, sys
from pathlib import Path
from handstamp.storage.sqlite.store import SqliteStore

async def main(path):
    for _ in range(40):
        store = SqliteStore(Path(path))
        await store.open()
        await store.close()

sys.stdin.readline()
asyncio.run(main(sys.argv[1]))
"""
"""Opens a file and closes it again, many times, when it gets a line."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database is."""
    return tmp_path / "store.db"


@asynccontextmanager
async def open_store(path: Path) -> AsyncIterator[SqliteStore]:
    """Open a store and close it at the end."""
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


@contextmanager
def elsewhere(path: Path, sids: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Have another process ready to end these sessions."""
    arguments = [sys.executable, "-c", ELSEWHERE, str(path), *sids]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


def start(process: subprocess.Popen[str]) -> None:
    """Tell a waiting process to begin."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.close()
    process.stdin = None


async def add_sessions(store: SqliteStore, sids: list[str]) -> None:
    """Insert sessions."""

    async def insert(rows: Transaction) -> None:
        for sid in sids:
            await rows.sessions.insert(a_session(id=sid))

    await store.transact(insert)


async def session_in(store: SqliteStore, sid: str) -> Session:
    """Return a session's row."""
    found = await store.read(lambda rows: rows.sessions.get(sid))
    assert found is not None
    return found[0]


async def list_revocations(store: SqliteStore, *, since: int = 0) -> list[Revocation]:
    """Return the revocations from a number on, without the first row of all."""
    found = await store.read(lambda rows: rows.revocations.list_since(since, limit=10_000))
    return [revocation for revocation in found if revocation.exp_s > 0]


# --- other processes


async def test_a_reader_misses_nothing_that_three_processes_write(path: Path) -> None:
    """Three processes commit in turns. A reader that continues from the last number sees each end once (T29)."""
    sids = [f"s{number}" for number in range(240)]
    async with open_store(path) as store, open_store(path) as reader:
        await add_sessions(store, sids)
        with elsewhere(path, sids[:80]) as one, elsewhere(path, sids[80:160]) as other:

            async def end_mine() -> None:
                for sid in sids[160:]:
                    await store.update_session(sid, _end)

            start(one)
            start(other)
            mine = asyncio.create_task(end_mine())
            seen: list[Revocation] = []
            async with asyncio.timeout(PATIENCE_S):
                while len(seen) < len(sids):
                    seen += await list_revocations(reader, since=seen[-1].seq + 1 if seen else 0)
                    await asyncio.sleep(0)
            await mine
            assert (one.wait(PATIENCE_S), other.wait(PATIENCE_S)) == (0, 0)
        assert sorted(entry.name for entry in seen) == sorted(sids)
        assert seen == await list_revocations(reader)
        writers = [int(entry.name[1:]) // 80 for entry in seen]
        turns = sum(before != after for before, after in pairwise(writers))
        assert turns > 2, "the writers came one after the other, and nothing was shown"


def test_processes_that_start_and_stop_at_once_wait_for_each_other(path: Path) -> None:
    """Creating tables, switching to WAL, recovery and the last close lock the file: the others wait and then succeed."""
    arguments = [sys.executable, "-c", COMES_AND_GOES, str(path)]
    processes = [subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    with ThreadPoolExecutor(len(processes)) as pool:
        outcomes = list(pool.map(lambda process: process.communicate("go\n", timeout=PATIENCE_S), processes))
    assert [problem for _, problem in outcomes] == ["", "", "", ""]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]


async def test_opening_a_store_twice_takes_no_lock_from_the_first(path: Path) -> None:
    """A process that closes any descriptor of a file loses its locks on it. Another process would then delete the WAL (POSIX)."""
    sids = ["s0", "s1", "s2"]
    async with open_store(path) as store:
        await add_sessions(store, sids)
        async with open_store(path):
            pass
        with elsewhere(path, ["s0"]) as process:
            start(process)
            assert process.wait(PATIENCE_S) == 0
        assert [entry.name for entry in await list_revocations(store)] == ["s0"]
        await store.update_session("s1", _end)
        with elsewhere(path, ["s2"]) as process:
            start(process)
            assert process.wait(PATIENCE_S) == 0
        assert [entry.name for entry in await list_revocations(store)] == sids
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_changes_of_another_process_are_noticed(path: Path) -> None:
    """`changes` yields again after a commit that another process made."""
    async with open_store(path) as store:
        await add_sessions(store, ["s0"])
        with elsewhere(path, ["s0"]) as process:
            changes = store.changes()
            await anext(changes)
            waiting = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0)
            start(process)
            async with asyncio.timeout(PATIENCE_S):
                await waiting
        assert [entry.name for entry in await list_revocations(store)] == ["s0"]


async def test_an_idle_store_reports_no_change(path: Path) -> None:
    """While no process commits, `changes` does not yield, so a follower makes no query each 50 ms."""
    async with open_store(path) as store:
        changes = store.changes()
        await anext(changes)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                await anext(changes)


@pytest.mark.parametrize("moved", ["exchanged", "away and back"])
async def test_a_replaced_file_is_a_change(path: Path, moved: str) -> None:
    """A restored backup is noticed even if nothing was committed to either file (R54)."""
    async with open_store(path) as store:
        await add_sessions(store, ["s0"])
    async with open_store(path) as store:
        changes = store.changes()
        await anext(changes)
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        copy = path.with_name("copy.db")
        if moved == "exchanged":
            shutil.copy(path, copy)
            shutil.move(copy, path)
        pause_s = 0.1
        while moved == "away and back" and not waiting.done():
            shutil.move(path, copy)
            await asyncio.sleep(pause_s)  # for the poll that finds no file
            shutil.move(copy, path)
            await asyncio.wait([waiting], timeout=pause_s)
            pause_s *= 2
        async with asyncio.timeout(PATIENCE_S):
            await waiting


def _end(session: Session | None, _: Account | None) -> Update[None]:
    assert session is not None
    return Update(None, revoke(session, "logout", NOW_MS))


async def test_reads_of_one_turn_share_a_transaction(path: Path) -> None:
    """For any number of reads that arrive together, the file is locked and checked once."""
    async with open_store(path) as store:
        await add_sessions(store, ["s0"])
        connection, statements = store._reader.get(), list[str]()
        await asyncio.sleep(0)
        connection.set_trace_callback(lambda statement: statements.append(statement.split()[0]))
        await asyncio.gather(*(store.session("s0") for _ in range(5)), store.read(lambda rows: rows.sessions.get("s0")))
        await asyncio.sleep(0)
        await store.session("s0")
        await asyncio.sleep(0)
    assert statements == ["BEGIN", *["SELECT"] * 6, "COMMIT", "BEGIN", "SELECT", "COMMIT"]


async def test_the_wal_is_checkpointed_despite_constant_reads(path: Path) -> None:
    """Reads that stayed open during each commit would make the log grow while the service is busy."""
    event = Event(at_ms=NOW_MS, kind="signed_in", ip="", detail={"padding": 400_000 * "x"})
    async with open_store(path) as store:
        await add_sessions(store, ["s0"])
        for _ in range(30):  # three times what SQLite lets its log grow to
            await commit_during_a_read(store, event)
        assert path.with_name(f"{path.name}-wal").stat().st_size < 6_000_000


async def test_reads_are_kept_apart_from_a_commit(path: Path) -> None:
    """The shared transaction ends before a commit, is not opened during it, and is shared again after it."""
    async with open_store(path) as store:
        connection, reader = store._reader.get(), store._reader
        reader.begin()
        assert connection.in_transaction
        with reader.apart():
            assert not connection.in_transaction
            reader.begin()
            assert not connection.in_transaction
        reader.begin()
        assert connection.in_transaction


async def commit_during_a_read(store: SqliteStore, event: Event) -> None:
    """Let a commit finish in the same turn of the event loop in which a read begins."""
    is_free = threading.Event()
    store._disk.submit(is_free.wait)
    writing = asyncio.create_task(store.transact(lambda rows: rows.events.insert(event)))
    while not store._writer.get().in_transaction:  # noqa: ASYNC110 - nothing else tells of it
        await asyncio.sleep(0)
    await store.session("s0")
    is_free.set()
    store._disk.submit(int).result(PATIENCE_S)  # which comes behind the commit
    await writing


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("heard", ["by the loop", "by a thread"])
def test_a_reader_that_learns_of_an_end_sees_it(path: Path, loop: Callable[[], asyncio.AbstractEventLoop], heard: str) -> None:
    """Even in the turn in which an older read has just opened the shared transaction."""

    async def main() -> None:
        async with open_store(path) as store:
            await add_sessions(store, ["s0"])
            with closing(sqlite3.connect(path, isolation_level=None)) as elsewhere:
                for attempt in range(20):
                    elsewhere.execute("UPDATE session SET revoked_at_ms = NULL, revoked_why = NULL")
                    await asyncio.sleep(0)
                    assert await why(store) is None
                    elsewhere.execute("UPDATE session SET revoked_at_ms = ?, revoked_why = 'logout'", (NOW_MS + attempt,))
                    answer = asyncio.get_running_loop().create_future()
                    if heard == "by the loop":
                        asyncio.get_running_loop().call_soon(answer.set_result, None)
                    else:
                        threading.Thread(
                            target=asyncio.get_running_loop().call_soon_threadsafe, args=(answer.set_result, None)
                        ).start()
                    await answer
                    assert await why(store) == "logout"

    async def why(store: SqliteStore) -> str | None:
        session, _ = await store.session("s0") or (None, None)
        assert session is not None
        return session.revoked_why

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


async def test_waiting_inside_a_transaction_is_refused(path: Path) -> None:
    """The write lock is held, so work that awaits anything but rows would block all other requests."""

    async def dawdle(rows: Transaction) -> None:
        await rows.sessions.insert(a_session(id="dawdler"))
        await asyncio.sleep(0)

    async with open_store(path) as store:
        with pytest.raises(RuntimeError, match="await its rows and nothing else"):
            await store.transact(dawdle)
        assert await store.read(lambda rows: rows.sessions.get("dawdler")) is None
        await store.transact(lambda rows: rows.sessions.insert(a_session(id="next")))


# --- the schema


async def test_a_file_of_another_encoding_is_refused(path: Path) -> None:
    """Even if it is empty. SQLite keeps the encoding of a file for ever."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (x); DROP TABLE t;")
    with pytest.raises(ConfigurationError, match="UTF-16le"):
        await SqliteStore(path).open()


async def test_a_newer_version_adds_its_migrations_and_keeps_every_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are applied once, all or nothing."""
    async with open_store(path) as store:
        await add_sessions(store, ["s0"])
        await store.update_session("s0", _end)
        before, revoked = await session_in(store, "s0"), await list_revocations(store)
    later = Migration(2, "later", "ALTER TABLE session ADD COLUMN later TEXT;\nCREATE INDEX later ON session (later);\n")
    broken = Migration(3, "broken", "CREATE TABLE fine (id TEXT);\nCREATE TABLE session (id TEXT);\n")
    known = migrations.load_migrations("sqlite")
    monkeypatch.setattr(migrations, "load_migrations", lambda _: [*known, later, broken])
    with pytest.raises(ConfigurationError, match="already exists"):
        await SqliteStore(path).open()
    assert _columns(path, "fine") == []
    assert "later" not in _columns(path, "session"), "a migration that fails takes the others with it"
    monkeypatch.setattr(migrations, "load_migrations", lambda _: [*known, later])
    for _ in range(2):
        async with open_store(path) as store:
            assert (await session_in(store, "s0"), await list_revocations(store)) == (before, revoked)
    assert "later" in _columns(path, "session")
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match="newer Handstamp"):
        await SqliteStore(path).open()


def _columns(path: Path, table: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


async def test_a_cursor_of_another_database_is_unknown(tmp_path: Path) -> None:
    """The first row of each database has a random name, so that two feeds have no cursor in common."""
    names = set()
    for number in range(3):
        async with open_store(tmp_path / f"{number}.db") as store:
            names.add((await store.read(lambda rows: rows.revocations.get_last())).name)
    assert len(names) == 3
