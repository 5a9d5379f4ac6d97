"""A sweep: the end of all sessions of one person, which may take several transactions."""

from __future__ import annotations

import msgspec

from .reasons import RevokedWhy


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What ends the sessions of a subject. Times are milliseconds since 1970.

    A sweep that does not fit into one transaction is stored, so that another process finishes it if this one is killed.

    Attributes:
        subject: Whose sessions end.
        why: The reason that is written into their rows.
        at_ms: When the sweep began. Sessions without an epoch end if they had begun by then.
        epoch: The new epoch of the account. Sessions with a lower one end. None if the subject has no account.
        forgets: True to delete the rows of all the subject's sessions, because the account was deleted.
        touched_at_ms: When a process last worked on it.
        id: 0 until the store has assigned it.
    """

    subject: str
    why: RevokedWhy
    at_ms: int
    epoch: int | None
    forgets: bool = False
    touched_at_ms: int = 0
    id: int = 0
