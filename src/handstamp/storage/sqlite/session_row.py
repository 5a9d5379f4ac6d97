"""Reads a session and its account as one JSON value. Every request with an access token reads one, and every refresh.

The `sqlite3` module makes a description of each column at each read, and locks the connection several times for each value: 36
columns take four times as long as one. One JSON value that msgspec decodes takes a quarter less time than 36 columns.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...domain.account import Account
from ...domain.session import Session
from ..sql import accounts, sessions
from ..sql.columns import Column


def _as_json(table: str, column: Column) -> str:
    """Return the SQL of a column's value, as `json_array` takes it."""
    name = f"{table}.{column.name}"
    match column.kind:
        case "json":
            return f"json({name})"
        case "boolean":
            return f"json(CASE WHEN {name} THEN 'true' WHEN NOT {name} THEN 'false' END)"
    return name


_VALUES = [_as_json("s", each) for each in sessions.COLUMNS.columns] + [_as_json("a", each) for each in accounts.COLUMNS.columns]
SELECT = f"SELECT json_array({', '.join(_VALUES)}) FROM session s LEFT JOIN account a ON a.id = s.subject WHERE s.id = ?"
_WIDTH = len(sessions.COLUMNS.names)
_TYPES = [field.type for field in msgspec.structs.fields(Session)]
_TYPES += [field.type | None for field in msgspec.structs.fields(Account)]  # all are null where there is no account
_decode: Any = msgspec.json.Decoder(tuple[tuple(_TYPES)]).decode  # type: ignore[misc]  # made of the fields


def decode(value: str) -> tuple[Session, Account | None]:
    """Return the session and the account of a row of `SELECT`."""
    values = _decode(value)
    session = Session(*values[:_WIDTH])
    has_account = session.epoch is not None and values[_WIDTH] is not None
    return session, Account(*values[_WIDTH:]) if has_account else None
