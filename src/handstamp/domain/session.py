"""A session: one sign-in, its one chain of refresh tokens, and how it ends."""

from __future__ import annotations

from typing import Literal

import msgspec

from .account import Account
from .grant import NOTHING, Grant
from .policy import Policy

Delivery = Literal["json", "split", "cookie"]
"""How a session's tokens travel: `json` both in bodies, `split` the refresh token as a cookie, `cookie` both as cookies."""

RevokedWhy = Literal["logout", "logout_everywhere", "reuse", "password_changed", "disabled", "admin"]
EndReason = Literal["logout", "logout_everywhere", "reuse", "password_changed", "disabled", "admin", "idle", "expired"]


class Session(msgspec.Struct, frozen=True):
    """The row of a session: everything that rotation needs, and no token or hash of one.

    `generation` is the number of the one refresh token that is current; `rotated_at_ms` is when it was minted. `epoch` is the
    account's epoch at sign-in, or None where the subject is no account of ours. `revoked_*` are set once and never cleared.
    `granted` is what the application said at the start about the session's tokens. Times are milliseconds since 1970.
    """

    id: str
    subject: str
    epoch: int | None
    rotated_at_ms: int
    expires_at_ms: int
    idle_lifetime_ms: int
    delivery: Delivery
    authenticated_at_ms: int
    user_agent: str
    ip: str
    created_at_ms: int
    seen_at_ms: int
    generation: int = 0
    recovered_at_ms: int | None = None
    revoked_at_ms: int | None = None
    revoked_why: RevokedWhy | None = None
    amr: tuple[str, ...] = ()
    granted: Grant = msgspec.field(default_factory=Grant)


def start(
    sid: str,
    *,
    subject: str,
    epoch: int | None,
    delivery: Delivery,
    amr: tuple[str, ...],
    user_agent: str,
    ip: str,
    now_ms: int,
    policy: Policy,
    granted: Grant = NOTHING,
) -> Session:
    """Return the row of a session that begins now: generation 0, and an end that nothing will move."""
    return Session(
        id=sid,
        subject=subject,
        epoch=epoch,
        rotated_at_ms=now_ms,
        expires_at_ms=now_ms + policy.session_lifetime_ms,
        idle_lifetime_ms=policy.idle_lifetime_ms,
        delivery=delivery,
        authenticated_at_ms=now_ms,
        amr=amr,
        user_agent=user_agent,
        ip=ip,
        created_at_ms=now_ms,
        seen_at_ms=now_ms,
        granted=granted,
    )


def refresh_expires_at_s(session: Session) -> int:
    """Return the `exp` of the session's current refresh token, in seconds since 1970."""
    return min(session.rotated_at_ms + session.idle_lifetime_ms, session.expires_at_ms) // 1000


def end_reason(session: Session, account: Account | None, now_ms: int) -> EndReason | None:
    """Say why the session is over at `now_ms`, or None while it lives.

    `account` is the session's, None where there is no account. A session of an account that has gone, was
    disabled or has moved to another epoch is over even where nobody came to write it into the row.
    """
    if session.revoked_why is not None:
        return session.revoked_why
    if now_ms >= refresh_expires_at_s(session) * 1000:
        return "idle" if session.rotated_at_ms + session.idle_lifetime_ms < session.expires_at_ms else "expired"
    if session.epoch is not None:
        if account is None or account.disabled_at_ms is not None:
            return "disabled"
        if account.epoch != session.epoch:
            return "logout_everywhere"
    return None


def revoke(session: Session, why: RevokedWhy, now_ms: int) -> Session:
    """Return the session ended, for `why`. One that was revoked before keeps its first time and reason."""
    if session.revoked_why is not None:
        return session
    return msgspec.structs.replace(session, revoked_at_ms=now_ms, revoked_why=why)
