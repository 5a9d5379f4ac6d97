"""Decide what a refresh does, as a pure function.

The table in `decide`, read from top to bottom, is the whole rule. RFC 9700 §4.14.2 requires rotation with reuse detection. The
repeat and the limited recovery keep people signed in when an answer gets lost. For a session that is bound to a device, a proof
of the device's key comes first: a copy of its tokens neither renews nor ends it.
"""

from __future__ import annotations

import msgspec

from .account import Account
from .claims import RefreshClaims
from .policy import Policy
from .reasons import EndReason
from .session import Session, end_reason, revoke


class Rotate(msgspec.Struct, frozen=True):
    """The current token was presented, the normal case. Write `session` and answer its new pair."""

    session: Session


class Repeat(msgspec.Struct, frozen=True):
    """Two tabs at once, a retry after a lost answer, or a bound session that was proved lately.

    Write nothing and answer the same current refresh token again.
    """

    session: Session


class Recover(msgspec.Struct, frozen=True):
    """A late retry, for example from a phone that was asleep. Answer the current token of `session`, and write it."""

    session: Session


class Reuse(msgspec.Struct, frozen=True):
    """An old copy was used, by a thief or by the owner. Write `session`, which is revoked, and refuse."""

    session: Session


class CatchUp(msgspec.Struct, frozen=True):
    """The database has lost a commit. Write `session`, which continues after the presented token."""

    session: Session


class Challenge(msgspec.Struct, frozen=True):
    """The session is bound to a device whose key was not proved. Write nothing, revoke nothing, and ask for a proof."""

    session: Session


class Ended(msgspec.Struct, frozen=True):
    """The session has ended or does not exist. Refuse."""

    reason: EndReason


Outcome = Rotate | Repeat | Recover | Reuse | CatchUp | Challenge | Ended


def decide(  # noqa: PLR0911 - the rows of the table
    session: Session | None,
    account: Account | None,
    claims: RefreshClaims,
    now_ms: int,
    policy: Policy,
    *,
    is_proved: bool = False,
    was_proved: bool = False,
) -> Outcome:
    """Decide what a refresh token does to its session. The caller holds the lock on the row and writes the outcome.

    Args:
        session: The row, or None if there is none.
        account: The account of the session, read under the same lock, or None if it has none.
        claims: Those of a token whose signature, type, issuer, audience and expiry are valid.
        now_ms: Milliseconds since 1970.
        policy: The grace window, the recovery interval and whether to catch up.
        is_proved: True if the request has proved the key of a bound session, for the generation in its row. Sessions that are
            not bound need no proof.
        was_proved: True if the request has a credential that an earlier proof has made and that is still valid, such as a bound
            access cookie. The caller answers only what is left of it.

    Returns:
        The outcome. Its `session` is the row after the decision.
    """
    if session is None:
        return Ended("expired")  # rows are kept until after the absolute end of their session, so a missing one has expired
    ended = end_reason(session, account, now_ms)
    if ended is not None:
        return Ended(ended)
    if session.bound_key is not None and not is_proved:
        return Repeat(session) if was_proved else Challenge(session)

    presented, current = claims.gen, session.generation
    if presented == current:
        return Rotate(_advance(session, current + 1, now_ms))
    if presented > current:
        if policy.catch_up:
            return CatchUp(_advance(session, presented + 1, now_ms))
        return Reuse(revoke(session, "reuse", now_ms))
    is_repeat = presented == current - 1 and _is_within_grace(session, now_ms, policy)
    if session.bound_by == "dbsc":  # the generation moves on, so that no proof is accepted twice
        session = _advance(session, current + 1, now_ms)
        return Rotate(session) if is_repeat else Recover(msgspec.structs.replace(session, recovered_at_ms=now_ms))
    if is_repeat:
        return Repeat(session)
    # With a proof, an old copy is that of the device itself, such as a restored profile.
    if session.bound_key is not None or (presented == current - 1 and _may_recover(session, now_ms, policy)):
        return Recover(msgspec.structs.replace(session, recovered_at_ms=now_ms, seen_at_ms=now_ms))
    return Reuse(revoke(session, "reuse", now_ms))


def _advance(session: Session, generation: int, now_ms: int) -> Session:
    return msgspec.structs.replace(session, generation=generation, rotated_at_ms=now_ms, seen_at_ms=now_ms)


def _is_within_grace(session: Session, now_ms: int, policy: Policy) -> bool:
    """Return True within the grace window.

    It opens at the rotation, and once more at the late repeat: several tabs may wake up together.
    """
    opened_at_ms = max(session.rotated_at_ms, session.recovered_at_ms or 0)
    return policy.grace_ms > 0 and now_ms - opened_at_ms <= policy.grace_ms


def _may_recover(session: Session, now_ms: int, policy: Policy) -> bool:
    if policy.recovery_interval_ms is None:
        return False
    return session.recovered_at_ms is None or now_ms - session.recovered_at_ms >= policy.recovery_interval_ms
