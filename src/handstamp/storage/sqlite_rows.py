"""Rows of the SQLite store: the statements, and how a row becomes a value.

The methods are `async` because the protocol is; on SQLite none of them waits. The hot ones have plain twins (`get_session`,
`put_session`, `put_event`), which `update_session` calls.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from ..domain.account import Account
from ..domain.client import Client
from ..domain.event import Event
from ..domain.grant import Grant
from ..domain.keyring import KeyRecord
from ..domain.policy import DAY_MS, HOUR_MS
from ..domain.revocation import Revocation, forgotten_at_s
from ..domain.session import RevokedWhy, Session
from ..domain.throttle import LONGEST_MEMORY_MS, Failures

EVENT_MEMORY_MS = 90 * DAY_MS
SESSION_AFTERLIFE_MS = HOUR_MS
"""Rows stay a little past their session's end, so that a client that comes back late hears the true reason."""

_ACCOUNT = Account.__struct_fields__
_SESSION = Session.__struct_fields__
_CHANGING = ("generation", "rotated_at_ms", "recovered_at_ms", "revoked_at_ms", "revoked_why", "seen_at_ms")

# The pieces put together here are the names of fields above; values always travel as parameters.
_SELECT_ACCOUNT = f"SELECT {', '.join(_ACCOUNT)} FROM account"
_INSERT_ACCOUNT = (
    f"INSERT INTO account ({', '.join(_ACCOUNT)}) VALUES ({', '.join('?' * len(_ACCOUNT))}) ON CONFLICT (email) DO NOTHING"
)
_UPDATE_ACCOUNT = f"UPDATE account SET {', '.join(f'{name} = ?' for name in _ACCOUNT[1:])} WHERE id = ?"
_SELECT_SESSION = f"SELECT {', '.join(_SESSION)} FROM session"
_SELECT_BOTH = (
    f"SELECT {', '.join(f's.{name}' for name in _SESSION)}, {', '.join(f'a.{name}' for name in _ACCOUNT)} "
    "FROM session s LEFT JOIN account a ON a.id = s.subject WHERE s.id = ?"
)
_INSERT_SESSION = f"INSERT INTO session ({', '.join(_SESSION)}) VALUES ({', '.join('?' * len(_SESSION))})"
_UPDATE_SESSION = f"UPDATE session SET {', '.join(f'{name} = ?' for name in _CHANGING)} WHERE id = ?"
_INSERT_REVOCATION = "INSERT INTO revocation (kind, name, exp_s) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_SELECT_REVOCATION = "SELECT kind, name, exp_s, seq FROM revocation"
_SELECT_CLIENT = "SELECT id, name, secret_hash, created_at_ms FROM client"

_to_json = msgspec.json.Encoder().encode
_texts = msgspec.json.Decoder(tuple[str, ...]).decode
_grant = msgspec.json.Decoder(Grant).decode
_detail = msgspec.json.Decoder(dict[str, str | int | None]).decode


def _account(row: Sequence[Any]) -> Account:
    values = dict(zip(_ACCOUNT, row, strict=True))
    return Account(**values | {"email_verified": bool(values["email_verified"]), "roles": _texts(values["roles"])})


def _session(row: Sequence[Any]) -> Session:
    values = dict(zip(_SESSION, row, strict=True))
    values["amr"] = _texts(values["amr"])
    values["granted"] = _grant(values["granted"]) if values["granted"] != "{}" else Grant()
    return Session(**values)


def _client(row: Sequence[Any]) -> Client:
    return Client(id=row[0], name=row[1], secret_hash=row[2], created_at_ms=row[3])


def _columns(value: Account | Session) -> list[Any]:
    """Return a struct's values as SQLite keeps them: lists as JSON text, truth as 0 and 1."""
    return [
        _to_json(item).decode() if isinstance(item, tuple | Grant) else int(item) if isinstance(item, bool) else item
        for item in (getattr(value, name) for name in value.__struct_fields__)
    ]


class SqliteTransaction:
    """Implements `handstamp.storage.store.Transaction` on a connection whose transaction somebody else begins and ends."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take a connection."""
        self._run = connection.execute
        self._run_each = connection.executemany

    # --- sessions

    def get_session(self, sid: str) -> tuple[Session, Account | None] | None:
        row = self._run(_SELECT_BOTH, (sid,)).fetchone()
        if row is None:
            return None
        session, account = _session(row[: len(_SESSION)]), row[len(_SESSION) :]
        has_account = session.epoch is not None and account[0] is not None
        return session, _account(account) if has_account else None

    def put_session(self, session: Session) -> None:
        self._run(_UPDATE_SESSION, (*(getattr(session, name) for name in _CHANGING), session.id))
        if session.revoked_at_ms is not None:
            self._run(_INSERT_REVOCATION, ("sid", session.id, forgotten_at_s(session.revoked_at_ms)))

    async def session(self, sid: str) -> tuple[Session, Account | None] | None:
        return self.get_session(sid)

    async def save_session(self, session: Session) -> None:
        self.put_session(session)

    async def insert_session(self, session: Session) -> None:
        self._run(_INSERT_SESSION, _columns(session))

    async def live_sessions(self, subject: str | None, *, now_ms: int, limit: int) -> list[Session]:
        of_subject = "" if subject is None else "subject = ? AND "
        sql = f"{_SELECT_SESSION} WHERE {of_subject}revoked_at_ms IS NULL AND expires_at_ms > ? ORDER BY seen_at_ms DESC LIMIT ?"
        parameters = (now_ms, limit) if subject is None else (subject, now_ms, limit)
        return [_session(row) for row in self._run(sql, parameters)]

    async def revoke_sessions(self, subject: str, why: RevokedWhy, *, now_ms: int) -> int:
        sql = (
            "UPDATE session SET revoked_at_ms = ?, revoked_why = ? "
            "WHERE subject = ? AND revoked_at_ms IS NULL AND expires_at_ms > ? RETURNING id"
        )
        ended = self._run(sql, (now_ms, why, subject, now_ms)).fetchall()
        exp_s = forgotten_at_s(now_ms)
        self._run_each(_INSERT_REVOCATION, [("sid", sid, exp_s) for (sid,) in ended])
        return len(ended)

    async def has_session_from(self, subject: str, ip: str) -> bool:
        return self._run("SELECT 1 FROM session WHERE subject = ? AND ip = ? LIMIT 1", (subject, ip)).fetchone() is not None

    # --- accounts

    async def account(self, account_id: str) -> Account | None:
        row = self._run(f"{_SELECT_ACCOUNT} WHERE id = ?", (account_id,)).fetchone()
        return None if row is None else _account(row)

    async def account_by_email(self, email: str) -> Account | None:
        row = self._run(f"{_SELECT_ACCOUNT} WHERE email = ?", (email,)).fetchone()
        return None if row is None else _account(row)

    async def accounts(self, *, after: str, limit: int) -> list[Account]:
        return [_account(row) for row in self._run(f"{_SELECT_ACCOUNT} WHERE email > ? ORDER BY email LIMIT ?", (after, limit))]

    async def insert_account(self, account: Account) -> bool:
        return self._run(_INSERT_ACCOUNT, _columns(account)).rowcount == 1

    async def save_account(self, account: Account) -> None:
        self._run(_UPDATE_ACCOUNT, (*_columns(account)[1:], account.id))

    # --- failed sign-ins

    async def failures(self, keys: Sequence[str]) -> list[Failures]:
        found = (self._run("SELECT count, last_at_ms FROM failure WHERE key = ?", (key,)).fetchone() for key in keys)
        return [Failures() if row is None else Failures(*row) for row in found]

    async def save_failures(self, key: str, failures: Failures) -> None:
        self._run("INSERT OR REPLACE INTO failure VALUES (?, ?, ?)", (key, failures.count, failures.last_at_ms))

    async def forget_failures(self, key: str) -> None:
        self._run("DELETE FROM failure WHERE key = ?", (key,))

    # --- signing keys

    async def keys(self) -> list[KeyRecord]:
        rows = self._run(
            "SELECT kid, algorithm, sealed, created_at_ms, active_from_ms FROM signing_key ORDER BY active_from_ms, kid"
        )
        return [
            KeyRecord(kid=kid, algorithm=algorithm, sealed=sealed, created_at_ms=created, active_from_ms=active)
            for kid, algorithm, sealed, created, active in rows
        ]

    async def insert_key(self, record: KeyRecord) -> None:
        values = (record.kid, record.algorithm, record.sealed, record.created_at_ms, record.active_from_ms)
        self._run("INSERT INTO signing_key VALUES (?, ?, ?, ?, ?)", values)

    async def delete_key(self, kid: str) -> None:
        self._run("DELETE FROM signing_key WHERE kid = ?", (kid,))

    # --- revocations, and who may follow them

    async def revocations(self, *, since: int, limit: int) -> list[Revocation]:
        rows = self._run(f"{_SELECT_REVOCATION} WHERE seq >= ? ORDER BY seq LIMIT ?", (since, limit))
        return [Revocation(*row) for row in rows]

    async def last_revocation(self) -> Revocation:
        return Revocation(*self._run(f"{_SELECT_REVOCATION} ORDER BY seq DESC LIMIT 1").fetchone())

    async def add_revocation(self, revocation: Revocation) -> None:
        self._run(_INSERT_REVOCATION, (revocation.kind, revocation.name, revocation.exp_s))

    async def client(self, client_id: str) -> Client | None:
        row = self._run(f"{_SELECT_CLIENT} WHERE id = ?", (client_id,)).fetchone()
        return None if row is None else _client(row)

    async def clients(self) -> list[Client]:
        return [_client(row) for row in self._run(f"{_SELECT_CLIENT} ORDER BY name")]

    async def insert_client(self, client: Client) -> bool:
        values = (client.id, client.name, client.secret_hash, client.created_at_ms)
        return self._run("INSERT INTO client VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING", values).rowcount == 1

    async def delete_client(self, client_id: str) -> None:
        self._run("DELETE FROM client WHERE id = ?", (client_id,))

    # --- the audit trail

    def put_event(self, event: Event) -> None:
        self._run(
            "INSERT INTO event (at_ms, kind, subject, sid, ip, detail) VALUES (?, ?, ?, ?, ?, ?)",
            (event.at_ms, event.kind, event.subject, event.sid, event.ip, _to_json(event.detail).decode()),
        )

    async def add_event(self, event: Event) -> None:
        self.put_event(event)

    async def events(self, about: str, *, limit: int) -> list[Event]:
        rows = self._run(
            "SELECT at_ms, kind, subject, sid, ip, detail FROM event WHERE subject = ? OR sid = ? ORDER BY id DESC LIMIT ?",
            (about, about, limit),
        ).fetchall()
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
        return sum(
            self._run(
                f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {age} <= ? {last.get(table, '')} LIMIT ?)",
                (until, limit),
            ).rowcount
            for table, key, age, until in ages
        )
