"""A complete service in this process, on a real SQLite file, with a clock that a test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from handstamp.assemble.deployment import Deployment
from handstamp.config.loading import load
from handstamp.config.secret_file import load_master_secret
from handstamp.config.settings import Settings
from handstamp.crypto.identifiers import new_id
from handstamp.domain.delivery import Delivery
from handstamp.domain.grant import NOTHING
from handstamp.domain.proof import FIRST_PARTY, Proof
from handstamp.domain.session import Session, start
from handstamp.service.parts.caller import Caller
from handstamp.service.parts.tokens import TokenPair
from handstamp.storage.sqlite.store import SqliteStore
from handstamp.storage.store import Transaction
from tests.builders import Clock
from tests.prepared import prepare_database

ISSUER = "https://auth.example.com"


def settings_in(folder: Path, **fields: object) -> Settings:
    """Return settings for a deployment in `folder`. Unless they name a database, there is one without rows."""
    path = folder / "handstamp.db"
    settings = load({}, **{"database": f"sqlite:///{path}", "issuer": ISSUER} | fields)
    if "database" not in fields and not path.exists():
        load_master_secret(settings)
        prepare_database(path)
    return settings


@asynccontextmanager
async def deployed(folder: Path, clock: Clock, **fields: object) -> AsyncIterator[Deployment]:
    """Open a service in `folder` and close it at the end."""
    running = Deployment(settings_in(folder, **fields), clock=clock)
    async with running.open():
        await running.keys.maintain(clock())
        yield running


def crash(running: Deployment) -> None:
    """Stop a service like a killed process: pending changes are not committed, and only the files are closed."""
    store = running.store
    assert isinstance(store, SqliteStore)
    for connection in (store._reader, store._writer):
        connection.close()
    store._disk.shutdown(wait=False)
    running.hashing.close()


def caller(clock: Clock, ip: str = "192.0.2.1") -> Caller:
    """Return the caller of a request at the clock's time."""
    return Caller(now_ms=clock(), ip=ip, user_agent="test")


def operator(clock: Clock) -> Caller:
    """Return the caller of a command."""
    return Caller(now_ms=clock(), user_agent="handstamp command line", actor="operator")


async def start_session(
    running: Deployment,
    clock: Clock,
    *,
    subject: str = "ada-id",
    epoch: int | None = None,
    delivery: Delivery = "json",
    client_id: str = FIRST_PARTY,
) -> tuple[Session, TokenPair]:
    """Start a session without a password; return its row and its first token pair."""
    proof = Proof(subject=subject, amr=("pwd",), authenticated_at_ms=clock(), client_id=client_id)
    session = start(
        new_id(),
        proof,
        delivery=delivery,
        user_agent="test",
        ip="192.0.2.1",
        now_ms=clock(),
        policy=running.settings.policy,
    )
    session = msgspec.structs.replace(session, epoch=epoch)

    async def begin(rows: Transaction) -> TokenPair:
        await rows.sessions.insert(session)
        return running.tokens.mint(session, NOTHING, clock())

    return session, await running.store.transact(begin)
