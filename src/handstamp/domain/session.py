"""A session: one sign-in, its chain of refresh tokens, and its end."""

from __future__ import annotations

from typing import Literal

import msgspec

from .account import Account
from .delivery import Delivery
from .grant import Grant
from .impersonation import Impersonator
from .network import network_of
from .policy import BINDING_MS, MINUTE_MS, Policy
from .proof import FIRST_PARTY, Proof
from .reasons import EndReason, RevokedWhy

BoundBy = Literal["dbsc", "dpop"]
"""How a device proves the key of a session: the browser by itself (W3C DBSC), or the program (RFC 9449)."""


class Session(msgspec.Struct, frozen=True):
    """The row of a session. It is all that rotation needs, and holds no token and no hash of one.

    Times are milliseconds since 1970, UTC. Optional fields:

    - `epoch`: the account's epoch at sign-in. None if the subject is not an account of this service.
    - `client_id`: the OAuth client that the tokens are issued to.
    - `generation`: the number of the current refresh token, which was minted at `rotated_at_ms`.
    - `revoked_at_ms`, `revoked_why`: set together, once, and never cleared.
    - `amr`, `acr`: how the person was authenticated at `authenticated_at_ms` (RFC 8176, RFC 9470).
    - `bound_key`, `bound_by`: the public key that must sign each refresh, as JSON (RFC 7638 §3.3), and how the device proves it.
      They are set at `bound_at_ms`, together, and never changed.
    - `bind_by_ms`: when the session ends if it is not bound by then. None if it need not be bound.
    - `device`: a name of the device for people; "" if it has none.
    - `impersonator`: the operator who acts in it in the place of its person; None in sessions of the person.
    - `granted`: what the application granted to the session's tokens at the start.
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
    client_id: str = FIRST_PARTY
    generation: int = 0
    recovered_at_ms: int | None = None
    revoked_at_ms: int | None = None
    revoked_why: RevokedWhy | None = None
    amr: tuple[str, ...] = ()
    acr: str | None = None
    bound_key: str | None = None
    bound_by: BoundBy | None = None
    bound_at_ms: int | None = None
    bind_by_ms: int | None = None
    device: str = ""
    impersonator: Impersonator | None = None
    granted: Grant = msgspec.field(default_factory=Grant)


FRESH_MS = 10 * MINUTE_MS
"""How long after signing in a person may export and delete the account and change its address (RFC 9470)."""
FIXED_AT_START = frozenset(
    {"id", "subject", "epoch", "client_id", "expires_at_ms", "idle_lifetime_ms", "delivery", "bind_by_ms"}
    | {"user_agent", "ip", "created_at_ms", "impersonator", "granted"}
)
"""The fields that never change. An update writes all others."""


def start(sid: str, proof: Proof, *, delivery: Delivery, user_agent: str, ip: str, now_ms: int, policy: Policy) -> Session:
    """Return the row of a session that starts now, with generation 0. Its `expires_at_ms` is final."""
    expires_at_ms = now_ms + policy.session_lifetime_ms
    return Session(
        id=sid,
        subject=proof.subject,
        epoch=None if proof.account is None else proof.account.epoch,
        client_id=proof.client_id,
        rotated_at_ms=now_ms,
        expires_at_ms=expires_at_ms if proof.ends_by_ms is None else min(expires_at_ms, proof.ends_by_ms),
        idle_lifetime_ms=policy.idle_lifetime_ms,
        delivery=delivery,
        authenticated_at_ms=proof.authenticated_at_ms,
        amr=proof.amr,
        acr=proof.acr,
        user_agent=user_agent,
        ip=ip,
        created_at_ms=now_ms,
        seen_at_ms=now_ms,
        bind_by_ms=now_ms + BINDING_MS if policy.device_binding == "required" else None,
        impersonator=proof.impersonator,
        granted=proof.grant,
    )


def refresh_expires_at_s(session: Session) -> int:
    """Return the `exp` of the session's current refresh token, in seconds since 1970."""
    end_ms = min(session.rotated_at_ms + session.idle_lifetime_ms, session.expires_at_ms)
    if session.bind_by_ms is not None and session.bound_key is None:
        end_ms = min(end_ms, session.bind_by_ms)
    return end_ms // 1000


def end_reason(session: Session, account: Account | None, now_ms: int) -> EndReason | None:
    """Return why the session has ended at `now_ms`, or None if it is alive.

    `account` is that of the session, None if there is none. A session also ends when its account is deleted, is disabled or gets
    another epoch, even if the session's own row does not say so yet. The first reason counts: what revokes all sessions of a
    person also writes into rows of sessions that have ended by themselves before.
    """
    ends_at_ms = refresh_expires_at_s(session) * 1000
    if now_ms >= ends_at_ms and (session.revoked_at_ms is None or session.revoked_at_ms >= ends_at_ms):
        if session.bind_by_ms is not None and session.bound_key is None:
            return "unbound"
        return "idle" if session.rotated_at_ms + session.idle_lifetime_ms < session.expires_at_ms else "expired"
    if session.revoked_why is not None:
        return session.revoked_why
    if session.epoch is not None:
        if account is None or account.disabled_at_ms is not None:
            return "disabled"
        if account.epoch != session.epoch:
            return "logout_everywhere"
    return None


def home_network_of(session: Session) -> str:
    """Return the network in which the person began a session. "" for one that an operator began: it is none of the person's."""
    return network_of(session.ip) if session.impersonator is None else ""


def is_fresh(session: Session, now_ms: int) -> bool:
    """Return True if the person proved who they are so lately that they may change who owns the account (`FRESH_MS`)."""
    return now_ms - session.authenticated_at_ms < FRESH_MS


def revoke(session: Session, why: RevokedWhy, now_ms: int) -> Session:
    """Return the session as revoked. A session that was revoked before keeps its time and reason."""
    if session.revoked_why is not None:
        return session
    return msgspec.structs.replace(session, revoked_at_ms=now_ms, revoked_why=why)
