"""Rows of every store that speaks SQL: the statements, and how a row becomes a value.

The statements are those that SQLite and PostgreSQL both understand, with `?` for each value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from ...domain.account import Account
from ...domain.credential import Client
from ...domain.event import Event
from ...domain.grant import Grant
from ...domain.keyring import KeyRecord
from ...domain.policy import DAY_MS, HOUR_MS
from ...domain.revocation import Revocation, forgotten_at_s
from ...domain.session import RevokedWhy, Session
from ...domain.throttle import LONGEST_MEMORY_MS, Failures

EVENT_MEMORY_MS = 90 * DAY_MS
SESSION_AFTERLIFE_MS = HOUR_MS
"""Rows stay a little past their session's end, so that a client that comes back late hears the true reason."""

# Columns are named and ordered as the fields, whose last two are not plain: so a row is, but for those, its value.
_ACCOUNT = Account.__struct_fields__
_SESSION = Session.__struct_fields__
CHANGING = ("generation", "rotated_at_ms", "recovered_at_ms", "revoked_at_ms", "revoked_why", "seen_at_ms")

# The pieces put together here are the names of fields above; values always travel as parameters.
SELECT_ACCOUNT = f"SELECT {', '.join(_ACCOUNT)} FROM account"
_INSERT_ACCOUNT = (
    f"INSERT INTO account ({', '.join(_ACCOUNT)}) VALUES ({', '.join('?' * len(_ACCOUNT))}) "
    "ON CONFLICT (email) DO NOTHING RETURNING id"
)
_UPDATE_ACCOUNT = f"UPDATE account SET {', '.join(f'{name} = ?' for name in _ACCOUNT[1:])} WHERE id = ?"
SELECT_SESSION = f"SELECT {', '.join(_SESSION)} FROM session"
SELECT_BOTH = (
    f"SELECT {', '.join(f's.{name}' for name in _SESSION)}, {', '.join(f'a.{name}' for name in _ACCOUNT)} "
    "FROM session s LEFT JOIN account a ON a.id = s.subject WHERE s.id = ?"
)
_INSERT_SESSION = f"INSERT INTO session ({', '.join(_SESSION)}) VALUES ({', '.join('?' * len(_SESSION))})"
UPDATE_SESSION = f"UPDATE session SET {', '.join(f'{name} = ?' for name in CHANGING)} WHERE id = ?"
INSERT_REVOCATION = "INSERT INTO revocation (kind, name, exp_s) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_SELECT_REVOCATION = "SELECT kind, name, exp_s, seq FROM revocation"
INSERT_EVENT = "INSERT INTO event (at_ms, kind, subject, sid, ip, detail) VALUES (?, ?, ?, ?, ?, ?)"
_SELECT_CLIENT = "SELECT id, name, secret_hash, created_at_ms FROM client"

_to_json = msgspec.json.Encoder().encode
_texts = msgspec.json.Decoder(tuple[str, ...]).decode
_grant = msgspec.json.Decoder(Grant).decode
_detail = msgspec.json.Decoder(dict[str, str | int | None]).decode


def account_of(row: Sequence[Any]) -> Account:
    """Return what `SELECT_ACCOUNT` found."""
    return Account(*[*row[:-2], bool(row[-2]), _texts(row[-1])])


def session_of(row: Sequence[Any]) -> Session:
    """Return what `SELECT_SESSION` found."""
    return Session(*[*row[:-2], _texts(row[-2]), _grant(row[-1])])


def _client(row: Sequence[Any]) -> Client:
    return Client(id=row[0], name=row[1], secret_hash=row[2], created_at_ms=row[3])


def columns(value: Account | Session) -> list[Any]:
    """Return a struct's values as SQLite keeps them: lists as JSON text, truth as 0 and 1."""
    return [
        _to_json(item).decode() if isinstance(item, tuple | Grant) else int(item) if isinstance(item, bool) else item
        for item in (getattr(value, name) for name in value.__struct_fields__)
    ]


def both_of(row: Sequence[Any]) -> tuple[Session, Account | None]:
    """Return what `SELECT_BOTH` found."""
    session, account = session_of(row[: len(_SESSION)]), row[len(_SESSION) :]
    has_account = session.epoch is not None and account[0] is not None
    return session, account_of(account) if has_account else None


changes_of: Callable[[Session], tuple[Any, ...]] = attrgetter(*CHANGING, "id")
"""Return the values of `UPDATE_SESSION`."""


def revocation_of(session: Session) -> tuple[str, str, int]:
    """Return the values of `INSERT_REVOCATION` for a session that is revoked."""
    assert session.revoked_at_ms is not None  # noqa: S101 - for whoever reads, and the type checker
    return "sid", session.id, forgotten_at_s(session.revoked_at_ms)


def event_columns(event: Event) -> tuple[Any, ...]:
    """Return the values of `INSERT_EVENT`."""
    return event.at_ms, event.kind, event.subject, event.sid, event.ip, _to_json(event.detail).decode()


class SqlRows(ABC):
    """Implements `handstamp.storage.store.Transaction` on a connection whose transaction somebody else begins and ends."""

    @abstractmethod
    async def _run(self, sql: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        """Execute a statement and return all rows that it gives."""

    async def _add_revocations(self, entries: Sequence[tuple[str, str, int]]) -> None:
        """Add (kind, name, end) of each, so that numbers grow in the order of commits."""
        for entry in entries:
            await self._run(INSERT_REVOCATION, entry)

    # --- sessions

    async def session(self, sid: str) -> tuple[Session, Account | None] | None:
        rows = await self._run(SELECT_BOTH, (sid,))
        return both_of(rows[0]) if rows else None

    async def save_session(self, session: Session) -> None:
        await self._run(UPDATE_SESSION, changes_of(session))
        if session.revoked_at_ms is not None:
            await self._add_revocations([revocation_of(session)])

    async def insert_session(self, session: Session) -> None:
        await self._run(_INSERT_SESSION, columns(session))

    async def live_sessions(self, subject: str | None, *, now_ms: int, limit: int) -> list[Session]:
        of_subject = "" if subject is None else "subject = ? AND "
        sql = f"{SELECT_SESSION} WHERE {of_subject}revoked_at_ms IS NULL AND expires_at_ms > ? ORDER BY seen_at_ms DESC LIMIT ?"
        parameters = (now_ms, limit) if subject is None else (subject, now_ms, limit)
        return [session_of(row) for row in await self._run(sql, parameters)]

    async def revoke_sessions(self, subject: str, why: RevokedWhy, *, now_ms: int) -> int:
        sql = (
            "UPDATE session SET revoked_at_ms = ?, revoked_why = ? "
            "WHERE subject = ? AND revoked_at_ms IS NULL AND expires_at_ms > ? RETURNING id"
        )
        ended = await self._run(sql, (now_ms, why, subject, now_ms))
        exp_s = forgotten_at_s(now_ms)
        await self._add_revocations([("sid", sid, exp_s) for (sid,) in ended])
        return len(ended)

    async def has_session_from(self, subject: str, ip: str) -> bool:
        return bool(await self._run("SELECT 1 FROM session WHERE subject = ? AND ip = ? LIMIT 1", (subject, ip)))

    # --- accounts

    async def account(self, account_id: str) -> Account | None:
        rows = await self._run(f"{SELECT_ACCOUNT} WHERE id = ?", (account_id,))
        return account_of(rows[0]) if rows else None

    async def account_by_email(self, email: str) -> Account | None:
        rows = await self._run(f"{SELECT_ACCOUNT} WHERE email = ?", (email,))
        return account_of(rows[0]) if rows else None

    async def accounts(self, *, after: str, limit: int) -> list[Account]:
        return [
            account_of(row) for row in await self._run(f"{SELECT_ACCOUNT} WHERE email > ? ORDER BY email LIMIT ?", (after, limit))
        ]

    async def insert_account(self, account: Account) -> bool:
        return bool(await self._run(_INSERT_ACCOUNT, columns(account)))

    async def save_account(self, account: Account) -> None:
        await self._run(_UPDATE_ACCOUNT, (*columns(account)[1:], account.id))

    # --- failed sign-ins

    async def failures(self, keys: Sequence[str]) -> list[Failures]:
        found = [await self._run("SELECT count, last_at_ms FROM failure WHERE key = ?", (key,)) for key in keys]
        return [Failures(*rows[0]) if rows else Failures() for rows in found]

    async def save_failures(self, key: str, failures: Failures) -> None:
        sql = (
            "INSERT INTO failure (key, count, last_at_ms) VALUES (?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET count = excluded.count, last_at_ms = excluded.last_at_ms"
        )
        await self._run(sql, (key, failures.count, failures.last_at_ms))

    async def forget_failures(self, key: str) -> None:
        await self._run("DELETE FROM failure WHERE key = ?", (key,))

    # --- signing keys

    async def keys(self) -> list[KeyRecord]:
        rows = await self._run(
            "SELECT kid, algorithm, sealed, created_at_ms, active_from_ms FROM signing_key ORDER BY active_from_ms, kid"
        )
        return [
            KeyRecord(kid=kid, algorithm=algorithm, sealed=sealed, created_at_ms=created, active_from_ms=active)
            for kid, algorithm, sealed, created, active in rows
        ]

    async def insert_key(self, record: KeyRecord) -> None:
        values = (record.kid, record.algorithm, record.sealed, record.created_at_ms, record.active_from_ms)
        await self._run("INSERT INTO signing_key VALUES (?, ?, ?, ?, ?)", values)

    async def delete_key(self, kid: str) -> None:
        await self._run("DELETE FROM signing_key WHERE kid = ?", (kid,))

    # --- revocations, and who may follow them

    async def revocations(self, *, since: int, limit: int) -> list[Revocation]:
        rows = await self._run(f"{_SELECT_REVOCATION} WHERE seq >= ? ORDER BY seq LIMIT ?", (since, limit))
        return [Revocation(*row) for row in rows]

    async def last_revocation(self) -> Revocation:
        return Revocation(*(await self._run(f"{_SELECT_REVOCATION} ORDER BY seq DESC LIMIT 1"))[0])

    async def add_revocation(self, revocation: Revocation) -> None:
        await self._add_revocations([(revocation.kind, revocation.name, revocation.exp_s)])

    async def client(self, client_id: str) -> Client | None:
        rows = await self._run(f"{_SELECT_CLIENT} WHERE id = ?", (client_id,))
        return _client(rows[0]) if rows else None

    async def clients(self) -> list[Client]:
        return [_client(row) for row in await self._run(f"{_SELECT_CLIENT} ORDER BY name")]

    async def insert_client(self, client: Client) -> bool:
        values = (client.id, client.name, client.secret_hash, client.created_at_ms)
        return bool(await self._run("INSERT INTO client VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING RETURNING id", values))

    async def delete_client(self, client_id: str) -> None:
        await self._run("DELETE FROM client WHERE id = ?", (client_id,))

    # --- the audit trail

    async def add_event(self, event: Event) -> None:
        await self._run(INSERT_EVENT, event_columns(event))

    async def events(self, about: str, *, limit: int) -> list[Event]:
        rows = await self._run(
            "SELECT at_ms, kind, subject, sid, ip, detail FROM event WHERE subject = ? OR sid = ? ORDER BY id DESC LIMIT ?",
            (about, about, limit),
        )
        return [
            Event(at_ms=at_ms, kind=kind, subject=subject, sid=sid, ip=ip, detail=_detail(detail))
            for at_ms, kind, subject, sid, ip, detail in reversed(rows)
        ]

    # --- housekeeping

    async def purge(self, *, now_ms: int, limit: int) -> int:
        ages = (
            ("session", "id", "expires_at_ms", now_ms - SESSION_AFTERLIFE_MS),
            ("failure", "key", "last_at_ms", now_ms - LONGEST_MEMORY_MS),
            ("event", "id", "at_ms", now_ms - EVENT_MEMORY_MS),
            ("revocation", "seq", "exp_s", now_ms // 1000),
        )
        last = {"revocation": "AND seq < (SELECT max(seq) FROM revocation)"}
        total = 0
        for table, key, age, until in ages:
            old = f"SELECT {key} FROM {table} WHERE {age} <= ? {last.get(table, '')} LIMIT ?"
            total += len(await self._run(f"DELETE FROM {table} WHERE {key} IN ({old}) RETURNING {key}", (until, limit)))
        return total
