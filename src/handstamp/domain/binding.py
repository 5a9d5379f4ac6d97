"""Bind a session to the key of a device, so that a copy of its tokens renews nothing (W3C DBSC; RFC 9449).

The public key is in the session's row. It is set once, soon after the sign-in, and never changed. `domain.rotation.decide` asks
for a proof of the private key before anything else that a refresh does.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .account import Account
from .policy import BINDING_MS, Policy
from .reasons import EndReason
from .rotation import Ended, Repeat
from .session import BoundBy, Session, end_reason

PROOF_ALGORITHMS = ("ES256",)
"""The algorithms of proofs: P-256 is what every device's secure hardware and every browser has."""


class DeviceKey(msgspec.Struct, frozen=True):
    """A public key whose private key a device holds.

    Attributes:
        jwk: The required members in the order of RFC 7638 §3.3. Its SHA-256 is the thumbprint.
        by: How the device proves it: `dbsc` by the browser itself, `dpop` by the program.
    """

    jwk: str
    by: BoundBy


class Bound(msgspec.Struct, frozen=True):
    """The key is that of the session now. Write `session`."""

    session: Session


class Refused(msgspec.Struct, frozen=True):
    """The session does not get this key. Write nothing, and the session goes on as it is. `why` is for logs."""

    why: Literal["another_key", "used", "off", "too_late"]


def register(
    session: Session | None, account: Account | None, key: DeviceKey, now_ms: int, policy: Policy
) -> Bound | Repeat | Refused | Ended:
    """Decide whether a session gets a key. The caller holds the lock on the row and has checked the proof.

    The same request may come again if its answer got lost. But its proof has no time in it. So it counts only until the first
    renewal, and as long as the access token of the first answer: then a copy of the request is worth no more than that token.

    Args:
        session: The row, or None if there is none.
        account: The account of the session, or None if it has none.
        key: The key, which has signed the challenge of this session's start.
        now_ms: Milliseconds since 1970.
        policy: Whether sessions are bound, and the life of access tokens.
    """
    reason: EndReason | None = "expired" if session is None else end_reason(session, account, now_ms)
    if session is None or reason is not None:
        return Ended(reason or "expired")
    if session.bound_at_ms is not None:
        if (session.bound_key, session.bound_by) != (key.jwk, key.by):
            return Refused("another_key")
        is_first = session.rotated_at_ms <= session.bound_at_ms and now_ms < first_access_end_ms(session, policy)
        return Repeat(session) if is_first else Refused("used")
    if policy.device_binding == "off":
        return Refused("off")
    return Refused("too_late") if now_ms - session.created_at_ms >= BINDING_MS else Bound(bind(session, key, now_ms))


def bind(session: Session, key: DeviceKey, now_ms: int) -> Session:
    """Return the session as bound to a key, for good."""
    return msgspec.structs.replace(session, bound_key=key.jwk, bound_by=key.by, bound_at_ms=now_ms)


def first_access_end_ms(session: Session, policy: Policy) -> int:
    """Return when the access token expires that a bound session got as it was bound, in milliseconds since 1970."""
    return (session.bound_at_ms or 0) + policy.access_lifetime_ms
