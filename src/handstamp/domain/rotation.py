"""Refresh: the one decision of this project, as a pure function.

Read the table in `decide` from top to bottom; it is the whole rule. RFC 9700 §4.14.2 asks for rotation with reuse detection;
the repeat and the rationed recovery are what make it bearable when answers get lost.
"""

from __future__ import annotations

import msgspec

from .account import Account
from .claims import RefreshClaims
from .policy import Policy
from .session import EndReason, Session, end_reason, revoke


class Rotate(msgspec.Struct, frozen=True):
    """The normal case: the current token was presented. Write `session`, answer its new pair."""

    session: Session


class Repeat(msgspec.Struct, frozen=True):
    """Two tabs at once, or a retry after a lost answer: write nothing, answer the same current refresh token again."""

    session: Session


class Recover(msgspec.Struct, frozen=True):
    """A late retry, as from a phone that was put away: as `Repeat`, and `session` remembers that its ration is used."""

    session: Session


class Reuse(msgspec.Struct, frozen=True):
    """An old copy was used, by the thief or by the owner: write `session`, which is revoked, and refuse."""

    session: Session


class CatchUp(msgspec.Struct, frozen=True):
    """The database has forgotten a commit: write `session`, which goes on behind the presented token."""

    session: Session


class Ended(msgspec.Struct, frozen=True):
    """The session is over, or there is none: refuse."""

    reason: EndReason


Outcome = Rotate | Repeat | Recover | Reuse | CatchUp | Ended


def decide(  # noqa: PLR0911 - the rows of the table
    session: Session | None, account: Account | None, claims: RefreshClaims, now_ms: int, policy: Policy
) -> Outcome:
    """Decide what a refresh token does to its session. Pure: the caller holds the row and writes what is answered.

    `claims` are those of a token whose signature, type, issuer, audience and expiry hold; `account` is the session's, read
    under the same lock. The outcome's `session` is the row after the decision. `now_ms` is since 1970.
    """
    if session is None:
        return Ended("expired")  # rows outlive their sessions' absolute end, so a missing one is past it
    over = end_reason(session, account, now_ms)
    if over is not None:
        return Ended(over)

    presented, current = claims.gen, session.generation
    if presented == current:
        return Rotate(_advance(session, current + 1, now_ms))
    if presented > current:
        if policy.catch_up:
            return CatchUp(_advance(session, presented + 1, now_ms))
        return Reuse(revoke(session, "reuse", now_ms))
    if presented == current - 1 and _is_within_grace(session, now_ms, policy):
        return Repeat(session)
    if presented == current - 1 and _may_recover(session, now_ms, policy):
        return Recover(msgspec.structs.replace(session, recovered_at_ms=now_ms, seen_at_ms=now_ms))
    return Reuse(revoke(session, "reuse", now_ms))


def _advance(session: Session, generation: int, now_ms: int) -> Session:
    return msgspec.structs.replace(session, generation=generation, rotated_at_ms=now_ms, seen_at_ms=now_ms)


def _is_within_grace(session: Session, now_ms: int, policy: Policy) -> bool:
    """The window opens at the rotation, and once more at the one late repeat: two tabs may wake up at once, too."""
    opened_at_ms = max(session.rotated_at_ms, session.recovered_at_ms or 0)
    return policy.grace_ms > 0 and now_ms - opened_at_ms <= policy.grace_ms


def _may_recover(session: Session, now_ms: int, policy: Policy) -> bool:
    if policy.recovery_interval_ms is None:
        return False
    return session.recovered_at_ms is None or now_ms - session.recovered_at_ms >= policy.recovery_interval_ms
