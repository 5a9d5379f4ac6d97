"""Measure refreshes in tables of ten thousand, a million and ten million sessions.

The rows are inserted in bulk, in the random order of their ids. The real use case then refreshes random sessions of the whole
table. All sizes of a store are open and take turns, so that a slow machine affects all of them.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec
import typer

from handstamp.assemble.deployment import Deployment
from handstamp.assemble.stores import migrate
from handstamp.clock import now_ms
from handstamp.config.loading import load
from handstamp.config.logs import configure_logging
from handstamp.domain.account import Account
from handstamp.domain.grant import NOTHING
from handstamp.domain.policy import DAY_MS, HOUR_MS, Policy
from handstamp.domain.proof import Proof
from handstamp.domain.session import Session, start
from handstamp.service.operating.housekeeping import PAUSE_S, PURGE_BATCH
from handstamp.service.parts.caller import Caller
from handstamp.storage.sql import accounts, sessions

from .plot import Series, bars
from .report import AsJson, Promise, Table, percentile, progress, show
from .service import temporary_folder

_SECRET = "0123456789abcdef" * 4
_POLICY = Policy()
_AT_ONCE = 16
_ROUND = 480
_SESSIONS_EACH = 4
"""Sessions per account."""
_EXPIRED_OF = 10
"""One session in this many has ended, and its row can be purged."""
_PURGE_S = 15.0
_LIFETIME_DAYS = 30
_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"


class Measured(msgspec.Struct):
    """The figures of one size of one store. Times are milliseconds."""

    store: str
    rows: int
    load_s: float = 0.0
    session_bytes: float = 0.0
    account_bytes: float = 0.0
    rates: list[float] = []
    times_ms: list[float] = []
    purged_per_s: float = 0.0
    purge_times_ms: list[float] = []


class PopulatedDeployment:
    """A deployment with a table of a given size."""

    def __init__(self, kind: str, rows: int, running: Deployment, began_ms: int) -> None:
        """Keep a deployment whose store is open."""
        self.measured = Measured(kind, rows)
        self.running = running
        self._began_ms = began_ms
        self._unused = iter(random.Random(rows).sample(range(rows), min(rows, 500_000)))  # noqa: S311 - a sample

    async def renew(self, count: int) -> tuple[float, list[float]]:
        """Refresh `count` sessions once, several at a time; return the total seconds and each latency in ms."""
        living = (number for number in self._unused if number % _EXPIRED_OF)
        tokens = [
            self.running.tokens.mint(session_of(number, self._began_ms), NOTHING, now_ms()).refresh_token
            for number in islice(living, count)
        ]
        waiting, times_ms = iter(tokens), []

        async def go_on() -> None:
            for token in waiting:
                began = time.perf_counter()
                await self.running.refresh(token, way="cookie", caller=Caller(now_ms=now_ms()))
                times_ms.append(1000 * (time.perf_counter() - began))

        began = time.perf_counter()
        await asyncio.gather(*(go_on() for _ in range(_AT_ONCE)))
        return time.perf_counter() - began, times_ms

    async def measure(self) -> None:
        """Measure one turn."""
        took_s, times_ms = await self.renew(_ROUND)
        self.measured.rates.append(len(times_ms) / took_s)
        self.measured.times_ms += times_ms

    async def measure_purge(self) -> None:
        """Purge for some seconds, as housekeeping does, while sessions are refreshed."""
        store, now, began = self.running.store, now_ms(), time.perf_counter()
        purged = 0

        async def purge() -> None:
            nonlocal purged
            while batch := await store.transact(lambda rows: rows.purge(now_ms=now, limit=PURGE_BATCH)):
                purged += batch
                await asyncio.sleep(PAUSE_S)

        purging = asyncio.create_task(purge())
        while not purging.done() and time.perf_counter() - began < _PURGE_S:
            times_ms = (await self.renew(_ROUND // 4))[1]
            self.measured.purge_times_ms += times_ms
            if not times_ms:  # a small table has no more unused sessions
                await asyncio.sleep(PAUSE_S)
        self.measured.purged_per_s = purged / (time.perf_counter() - began)
        purging.cancel()
        await asyncio.gather(purging, return_exceptions=True)


def session_of(number: int, now: int) -> Session:
    """Return the session with this number: always the same, with an id like the service's."""
    digest = hashlib.sha256(b"session %d" % number).digest()
    began_ms = now - number % (12 * DAY_MS)
    account = account_of(number // _SESSIONS_EACH, now)
    made = start(
        base64.urlsafe_b64encode(digest[:16]).decode().rstrip("="),
        Proof(subject=account.id, account=account, amr=("pwd",), authenticated_at_ms=began_ms),
        delivery="cookie",
        user_agent=_USER_AGENT,
        ip=f"192.0.{number % 256}.{digest[0]}",
        now_ms=began_ms,
        policy=_POLICY,
    )
    return made if number % _EXPIRED_OF else msgspec.structs.replace(made, expires_at_ms=now - 2 * HOUR_MS - number)


def account_of(number: int, now: int) -> Account:
    """Return the account with this number."""
    return Account(
        id=base64.urlsafe_b64encode(hashlib.sha256(b"account %d" % number).digest()[:16]).decode().rstrip("="),
        email=f"person-{number}@example.com",
        password_hash="$argon2id$v=19$m=19456,t=2,p=1$" + 66 * "A",
        created_at_ms=now,
    )


@asynccontextmanager
async def on_sqlite(folder: Path, rows: int) -> AsyncIterator[PopulatedDeployment]:
    """Create a table of `rows` sessions in a file, and open a deployment on it."""
    file, began_ms = folder / f"{rows}.db", now_ms()
    running = await _service(f"sqlite:///{file}")
    async with running.open():
        pass  # opening creates the tables
    sizes, began = [], time.perf_counter()
    connection = sqlite3.connect(file)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -4000000"):
        connection.execute(f"PRAGMA {pragma}")
    for table, fields, values in _tables(rows, began_ms):
        connection.executemany(f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({', '.join('?' * len(fields))})", values)
        connection.commit()
        sizes.append(file.stat().st_size)
    connection.close()
    deployment = PopulatedDeployment("SQLite", rows, running, began_ms)
    deployment.measured.load_s = time.perf_counter() - began
    deployment.measured.account_bytes = sizes[0] / max(1, rows // _SESSIONS_EACH)
    deployment.measured.session_bytes = (sizes[1] - sizes[0]) / rows
    async with running.open():
        await running.keys.maintain(now_ms())
        yield deployment


@asynccontextmanager
async def on_postgresql(server: str, rows: int) -> AsyncIterator[PopulatedDeployment]:
    """Create a table of `rows` sessions in a new database, and open a deployment on it."""
    name = f"handstamp_scale_{rows}"
    await _execute(server, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
    url, began_ms = urlunsplit(urlsplit(server)._replace(path=f"/{name}")), now_ms()
    try:
        running = await _service(url)
        connection = await asyncpg.connect(url, command_timeout=None)
        began, sizes = time.perf_counter(), []
        for table, fields, values in _tables(rows, began_ms):
            await connection.copy_records_to_table(table, columns=fields, records=values)
            await connection.execute(f"VACUUM ANALYZE {table}")
            sizes.append(await connection.fetchval("SELECT pg_total_relation_size($1::text::regclass)", table))
        await connection.execute("CHECKPOINT")
        await connection.close()
        deployment = PopulatedDeployment("PostgreSQL", rows, running, began_ms)
        deployment.measured.load_s = time.perf_counter() - began
        deployment.measured.account_bytes = sizes[0] / max(1, rows // _SESSIONS_EACH)
        deployment.measured.session_bytes = sizes[1] / rows
        async with running.open():
            await running.keys.maintain(now_ms())
            yield deployment
    finally:
        await _execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def main(
    *,
    rows: Annotated[list[int] | None, typer.Option(help="How many sessions. The first is the ruler.")] = None,
    postgres: Annotated[str, typer.Option(help="A PostgreSQL server, where databases may be made.", metavar="URL")] = "",
    rounds: Annotated[int, typer.Option(help=f"How many turns of {_ROUND} renewals each size takes.", min=1)] = 9,
    plot: Annotated[Path | None, typer.Option(help="Draw the figures into this SVG file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the rates of refreshes and purges by table size, and the bytes of a session."""
    configure_logging(logging.WARNING)
    rows = rows or [10_000, 1_000_000, 10_000_000]
    if min(rows) < (needs := 2 * _ROUND * (rounds + 1)):
        raise typer.BadParameter(
            f"{min(rows):,} sessions are too few for {rounds} turns: each is renewed once, take {needs:,} or more"
        )
    with temporary_folder() as folder:
        measured = asyncio.run(_measure(folder, rows, postgres, rounds))
    if plot is not None:
        plot.write_text(_draw(measured), encoding="utf-8")
    rulers = {one.store: one for one in reversed(measured)}
    columns_shown = ("sessions", "renewals/s", "x", "p50 ms", "p99 ms", "x", "purged/s", "p99 beside ms", "bytes each", "load s")
    tables = [
        Table(store, columns_shown, [_row(one, rulers[store]) for one in measured if one.store == store])
        for store in dict.fromkeys(one.store for one in measured)
    ]
    needed = max(one.rows for one in measured) / (_LIFETIME_DAYS * 86400)
    slowest = min(median(one.rates) / median(rulers[one.store].rates) for one in measured)
    purged = min(one.purged_per_s for one in measured)
    show(
        "scale",
        notes=(
            f"{rounds} turns of {_ROUND} renewals of sessions picked at random, {_AT_ONCE} at once, in one process, no HTTP.",
            f"Purged beside it in batches of {PURGE_BATCH}, for up to {_PURGE_S:g} s; x is in relation to the smallest table.",
        ),
        tables=tables,
        promises=(
            Promise("larger tables renew as fast as the smallest", f"{slowest:.2f} x", "> 0.8 x", slowest > 0.8),
            Promise(
                "purging keeps up",
                f"{purged:,.0f} rows/s",
                f"> {needed:,.1f} a second expire",
                purged > needed,
            ),
        ),
        packages=("asyncpg",),
        as_json=as_json,
    )


async def _measure(folder: Path, sizes: Sequence[int], server: str, rounds: int) -> list[Measured]:
    measured = []
    for kind in ("SQLite", "PostgreSQL") if server else ("SQLite",):
        async with AsyncExitStack() as opened:
            deployments = []
            for rows in sizes:
                progress(f"{kind}: making {rows:,} sessions")
                made = on_sqlite(folder, rows) if kind == "SQLite" else on_postgresql(server, rows)
                deployments.append(await opened.enter_async_context(made))
            for turn in range(rounds + 1):
                progress(f"{kind}: turn {turn} of {rounds}" if turn else f"{kind}: warming up")
                for deployment in deployments:
                    await (deployment.measure() if turn else deployment.renew(_ROUND))
            for deployment in deployments:
                progress(f"{kind}: purging {deployment.measured.rows:,} sessions")
                await deployment.measure_purge()
            measured += [deployment.measured for deployment in deployments]
    return measured


def _row(one: Measured, ruler: Measured) -> tuple[str | int | float, ...]:
    rate, p99 = median(one.rates), percentile(one.times_ms, 99)
    return (
        f"{one.rows:,}",
        rate,
        rate / median(ruler.rates),
        percentile(one.times_ms, 50),
        p99,
        p99 / percentile(ruler.times_ms, 99),
        one.purged_per_s,
        percentile(one.purge_times_ms, 99),
        one.session_bytes,
        one.load_s,
    )


def _draw(measured: Sequence[Measured]) -> str:
    sizes = [f"{one.rows:,} sessions" for one in measured if one.store == measured[0].store]
    stores = list(dict.fromkeys(one.store for one in measured))

    def series(value: Callable[[Measured], float]) -> list[Series]:
        return [Series(store, [value(one) for one in measured if one.store == store]) for store in stores]

    return bars(
        "Renewing and purging in tables of different sizes",
        groups=sizes,
        panels={
            "renewals per second": series(lambda one: median(one.rates)),
            "p99 of a renewal, ms": series(lambda one: percentile(one.times_ms, 99)),
            "p99 while rows are purged, ms": series(lambda one: percentile(one.purge_times_ms, 99)),
            "bytes per session, with indexes": series(lambda one: one.session_bytes),
        },
    )


def _tables(rows: int, now: int) -> Iterator[tuple[str, tuple[str, ...], Iterator[tuple[Any, ...]]]]:
    people = (tuple(accounts.COLUMNS.encode(account_of(number, now))) for number in range(max(1, rows // _SESSIONS_EACH)))
    yield "account", accounts.COLUMNS.names, people
    yield "session", sessions.COLUMNS.names, (tuple(sessions.COLUMNS.encode(session_of(number, now))) for number in range(rows))


async def _service(database: str) -> Deployment:
    settings = load(database=database, issuer="http://localhost:8000", secret=_SECRET)
    await migrate(settings)
    return Deployment(settings)


async def _execute(server: str, *statements: str) -> None:
    connection = await asyncpg.connect(server)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


if __name__ == "__main__":
    typer.run(main)
