"""Every store returns every field of every struct as it was written, with its type."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import types
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from handstamp.domain.account import Account
from handstamp.domain.credential import Credential
from handstamp.domain.event import Event
from handstamp.domain.grant import Grant
from handstamp.domain.keyring import KeyRecord
from handstamp.domain.receipt import Receipt
from handstamp.domain.recovery_code import RecoveryCode
from handstamp.domain.revocation import Revocation
from handstamp.domain.session import FIXED_AT_START, Session
from handstamp.domain.throttle import Failures
from handstamp.domain.totp import Totp
from handstamp.storage.postgres.store import COLUMN_TYPES, PostgresStore
from handstamp.storage.postgres.transaction import numbered
from handstamp.storage.sql.columns import Columns
from handstamp.storage.sqlite.store import SqliteStore
from handstamp.storage.store import Rows, Store, Transaction, Update
from handstamp.storage.store.failures import Count
from tests.postgres import fresh_database

_unique = itertools.count()
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
INTEGERS = st.integers(1, 2**53 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS, lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values of an annotated type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(sorted(arguments))
    if origin in (Union, types.UnionType):
        return st.one_of(*map(values_of, arguments))
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=4).map(tuple)
    if origin is dict:
        return st.dictionaries(TEXTS, values_of(arguments[1]), max_size=4)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return structs_of(kind)
    known = {int: INTEGERS, str: TEXTS, bool: st.booleans(), bytes: st.binary(max_size=40), type(None): st.none(), Any: JSON}
    return known[kind]


def structs_of(struct: type[Any], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for structs of a class; `given` replaces the strategies of some fields."""
    return st.builds(struct, **{name: values_of(kind) for name, kind in get_type_hints(struct).items()} | given)


def describe_with_types(value: object) -> str:
    """Return a text that also differs for equal values of different types, such as 1 and True, or a list and a tuple."""
    if isinstance(value, msgspec.Struct):
        return describe_with_types({name: getattr(value, name) for name in value.__struct_fields__})
    if isinstance(value, dict):
        return f"dict{sorted((name, describe_with_types(item)) for name, item in value.items())}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}{[describe_with_types(item) for item in value]}"
    return f"{type(value).__name__} {value!r}"


class Opened(NamedTuple):
    """A store, its database, and a function that runs coroutines."""

    store: Store
    path: Path | None
    url: str | None
    run: Callable[[Any], Any]


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def open_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """Open a store of each kind, for all examples."""

    async def enter() -> tuple[Store, Path | None, str | None]:
        path = url = None
        store: Store
        if request.param == "postgres":
            url = await stack.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
            store = PostgresStore(url)
        else:
            path = tmp_path_factory.mktemp("columns") / "store.db"
            store = SqliteStore(path)
        await store.open()
        stack.push_async_callback(store.close)
        return store, path, url

    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        yield Opened(*runner.run(enter()), runner.run)
        runner.run(stack.aclose())


class Written(NamedTuple):
    """The functions that make, write and read a struct."""

    values: Callable[[], st.SearchStrategy[Any]]
    write: Callable[[Transaction, Any], Awaitable[object]]
    read: Callable[[Rows, Any], Awaitable[Any]]


async def _session_of(rows: Rows, written: Session) -> Session | None:
    found = await rows.sessions.get(written.id)
    return found and found[0]


async def _key_of(rows: Rows, written: KeyRecord) -> KeyRecord:
    return next(record for record in await rows.keys.list_all() if record.kid == written.kid)


async def _event_of(rows: Rows, written: Event) -> Event:
    return (await rows.events.list_about(written.sid or "", limit=1))[0]


async def _revocation_of(rows: Rows, written: Revocation) -> Revocation:
    """Return the last revocation, with the number of `written` instead of the store's."""
    return msgspec.structs.replace(await rows.revocations.get_last(), seq=written.seq)


async def _replace_app(rows: Transaction, written: Totp) -> None:
    await rows.totp.save(msgspec.structs.replace(written, sealed=b"another", created_at_ms=7, last_step=7, used_at_ms=7))
    await rows.totp.save(written)


async def _code_of(rows: Rows, written: RecoveryCode) -> RecoveryCode:
    (found,) = await rows.recovery_codes.list_of(written.account_id)
    return found


def _names() -> st.SearchStrategy[str]:
    return st.builds(lambda text: f"{next(_unique)} {text}", TEXTS)


def _sessions() -> st.SearchStrategy[Session]:
    """Return a strategy for sessions in which fields that belong together are both set or both None."""

    def pair(session: Session) -> Session:
        changes: dict[str, Any] = {}
        if session.revoked_at_ms is None or session.revoked_why is None:
            changes |= {"revoked_at_ms": None, "revoked_why": None}
        if None in (session.bound_at_ms, session.bound_key, session.bound_by):
            changes |= {"bound_at_ms": None, "bound_key": None, "bound_by": None}
        return msgspec.structs.replace(session, **changes)

    return structs_of(Session, id=_names()).map(pair)


KEPT: dict[type[Any], Written] = {
    Account: Written(
        lambda: structs_of(Account, id=_names(), email=_names()),
        lambda r, v: r.accounts.insert(v),
        lambda r, v: r.accounts.get(v.id),
    ),
    Session: Written(_sessions, lambda r, v: r.sessions.insert(v), _session_of),
    KeyRecord: Written(lambda: structs_of(KeyRecord, kid=_names()), lambda r, v: r.keys.insert(v), _key_of),
    Credential: Written(
        lambda: structs_of(Credential, id=_names(), name=_names()),
        lambda r, v: r.credentials.insert(v),
        lambda r, v: r.credentials.get(v.id),
    ),
    Totp: Written(lambda: structs_of(Totp, account_id=_names()), _replace_app, lambda r, v: r.totp.get(v.account_id)),
    RecoveryCode: Written(
        lambda: structs_of(RecoveryCode, account_id=_names()),
        lambda r, v: r.recovery_codes.replace(v.account_id, [v]),
        _code_of,
    ),
    Event: Written(lambda: structs_of(Event, sid=_names()), lambda r, v: r.events.insert(v), _event_of),
    Revocation: Written(lambda: structs_of(Revocation, name=_names()), lambda r, v: r.revocations.insert(v), _revocation_of),
}
shared_store = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.parametrize("struct", KEPT, ids=lambda struct: struct.__name__)
@shared_store
@given(data=st.data())
def test_every_field_comes_back_as_it_was_written(open_store: Opened, struct: type[Any], data: st.DataObject) -> None:
    """Every field of a struct is read with the value and type that were written."""
    kept = KEPT[struct]
    written = data.draw(kept.values())
    open_store.run(open_store.store.transact(_calling(kept.write, written)))
    found = open_store.run(open_store.store.read(_calling(kept.read, written)))
    assert describe_with_types(found) == describe_with_types(written)


@shared_store
@given(account=structs_of(Account, id=_names(), email=_names()), session=_sessions(), is_of_account=st.booleans())
def test_the_fast_read_of_a_session_returns_every_field(
    open_store: Opened, account: Account, session: Session, is_of_account: bool
) -> None:
    """`session` reads the same as the tables, with and without an account."""
    if is_of_account:
        session = msgspec.structs.replace(session, subject=account.id)

    async def write(rows: Transaction) -> None:
        await rows.accounts.insert(account)
        await rows.sessions.insert(session)

    open_store.run(open_store.store.transact(write))
    found = open_store.run(open_store.store.session(session.id))
    assert describe_with_types(found) == describe_with_types(
        (session, account if is_of_account and session.epoch is not None else None)
    )


def _calling(work: Callable[[Any, Any], Awaitable[Any]], value: Any) -> Callable[[Any], Awaitable[Any]]:
    async def call(rows: Any) -> Any:
        return await work(rows, value)

    return call


@shared_store
@given(count=structs_of(Failures), key=_names())
def test_counts_of_failures_come_back_as_they_were_written(open_store: Opened, count: Failures, key: str) -> None:
    """Failure counts are read as they were written, also when they replace others."""

    async def save(rows: Transaction) -> None:
        await rows.failures.save_many([Count(key, Failures(level=7, consecutive=7, last_at_ms=7), "ada")])
        await rows.failures.save_many([Count(key, count)])

    open_store.run(open_store.store.transact(save))
    assert open_store.run(open_store.store.read(lambda rows: rows.failures.get_many([key]))) == [count]


@shared_store
@given(receipt=structs_of(Receipt, key=_names()))
def test_receipts_come_back_as_they_were_written(open_store: Opened, receipt: Receipt) -> None:
    """Receipts are read as they were written, also when they replace others."""

    async def save(rows: Transaction) -> None:
        await rows.receipts.save(Receipt(key=receipt.key, request="", result="", at_ms=7))
        await rows.receipts.save(receipt)

    open_store.run(open_store.store.transact(save))
    assert open_store.run(open_store.store.read(lambda rows: rows.receipts.get(receipt.key))) == receipt


@pytest.mark.parametrize("way", ["update_session", "transaction"])
@shared_store
@given(before=_sessions(), after=_sessions())
def test_an_update_writes_every_field_that_may_change(open_store: Opened, way: str, before: Session, after: Session) -> None:
    """An update writes every field of the struct, except the ones that are named as constant."""
    fixed = {name: getattr(before, name) for name in FIXED_AT_START}
    after = msgspec.structs.replace(after, **fixed)
    assume(before.revoked_at_ms is None or after.revoked_at_ms is not None)  # a revoked session stays revoked

    async def update(rows: Transaction) -> None:
        await rows.sessions.update(after)

    open_store.run(open_store.store.transact(_calling(KEPT[Session].write, before)))
    if way == "update_session":
        open_store.run(open_store.store.update_session(before.id, lambda *_: Update(None, after)))
    else:
        open_store.run(open_store.store.transact(update))
    found = open_store.run(open_store.store.read(_calling(_session_of, before)))
    assert describe_with_types(found) == describe_with_types(after)


def test_step_up_and_binding_are_written() -> None:
    """Authentication, bound key and device are not among the fields that are fixed at the start of a session."""
    assert FIXED_AT_START.isdisjoint({"authenticated_at_ms", "amr", "acr", "bound_key", "bound_by", "bound_at_ms", "device"})
    assert set(Session.__struct_fields__) > FIXED_AT_START


@shared_store
@given(before=structs_of(Account, id=_names(), email=_names()), after=structs_of(Account, email=_names()))
def test_an_update_writes_every_field_of_an_account(open_store: Opened, before: Account, after: Account) -> None:
    """An update writes all fields of an account except its id, which never changes."""
    after = msgspec.structs.replace(after, id=before.id)

    async def change(rows: Transaction) -> Account | None:
        await rows.accounts.insert(before)
        await rows.accounts.update(after)
        return await rows.accounts.get(before.id)

    assert describe_with_types(open_store.run(open_store.store.transact(change))) == describe_with_types(after)


# --- field types that no struct uses yet


class Scratch(msgspec.Struct, frozen=True):
    """A struct with a required and an optional field of every type that a column can hold."""

    number: int
    truth: bool
    text: str
    word: Literal["one", "two"]
    raw: bytes
    words: tuple[str, ...]
    numbers: tuple[int, ...] | None
    members: dict[str, bool | None]
    granted: Grant
    no_number: int | None
    no_truth: bool | None
    no_text: str | None
    no_word: Literal["one", "two"] | None
    no_raw: bytes | None
    no_members: dict[str, int] | None
    not_granted: Grant | None


class NamedScratch(Scratch, frozen=True, kw_only=True):
    """The same struct with additional keyword-only fields."""

    more: tuple[bool, ...] = ()
    flag: bool = False


SQLITE_TYPES = {"integer": "INTEGER", "boolean": "INTEGER", "text": "TEXT", "json": "TEXT", "blob": "BLOB"}


@pytest.mark.parametrize("struct", [Scratch, NamedScratch])
@settings(shared_store, max_examples=10)
@given(data=st.data())
def test_every_field_type_round_trips(open_store: Opened, struct: type[Any], data: st.DataObject) -> None:
    """A struct of this test is written and read by its annotations alone."""
    columns = Columns(struct)
    values = data.draw(st.lists(structs_of(struct), min_size=1, max_size=5))
    types = SQLITE_TYPES if open_store.path else COLUMN_TYPES
    defined = [f"{c.name} {types[c.kind]}{'' if c.is_nullable else ' NOT NULL'}" for c in columns.columns]
    create = f"CREATE TEMPORARY TABLE scratch (row bigint, {', '.join(defined)})".replace("bigint", types["integer"])
    insert = f"INSERT INTO scratch (row, {columns.list}) VALUES (?, {columns.marks})"
    select = f"SELECT {columns.list} FROM scratch ORDER BY row"
    rows = [(number, *columns.encode(value)) for number, value in enumerate(values)]
    if open_store.path:
        with closing(sqlite3.connect(open_store.path)) as connection:
            connection.execute(f"{create} STRICT")
            connection.executemany(insert, rows)
            found = connection.execute(select).fetchall()
    else:
        found = open_store.run(_on_postgres(open_store.url, create, insert, rows, select))
    assert [describe_with_types(columns.decode(row)) for row in found] == [describe_with_types(value) for value in values]


async def _on_postgres(url: str | None, create: str, insert: str, rows: Sequence[Any], select: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(create)
        await connection.executemany(numbered(insert), rows)
        return await connection.fetch(select)
    finally:
        await connection.close()


@pytest.mark.parametrize("kind", [float, int | str, Literal[1, 2], Any])
def test_a_field_that_no_column_can_hold_is_refused(kind: Any) -> None:
    """A field type without a column type raises an error at import."""
    struct = msgspec.defstruct("Broken", [("fine", str), ("broken", kind)])
    with pytest.raises(TypeError, match="'broken'"):
        Columns(struct)
