"""Impersonation: an operator looks at an account as its person, in a short session of its own (RFC 8693 §1.1)."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from ..errors import InvalidFields
from ..text import mark
from .claims import READ, WRITE
from .event import Event
from .grant import Grant
from .policy import MINUTE_MS, SECOND_MS

ImpersonationPolicy = Literal["off", "read", "write"]
"""What operators may do as another person: nothing, read, or also change."""
LIFETIME_MS = 30 * MINUTE_MS
"""How long such a session lives at most, whatever is refreshed."""
LINK_MS = 2 * MINUTE_MS
"""How long the link is accepted that opens one in another browser."""
REASON_MAX_LENGTH = 200
NEVER_MS = SECOND_MS
"""When the person of such a session has proved who they are. Tokens must have a time; this one is recent for no route."""
_WORDS = re.compile(r"[^a-z0-9]+")


class Impersonator(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts in a session in the place of its person.

    Attributes:
        account_id: The operator's account.
        sid: The session of the operator in which it began. It ends with that one.
        reason: Why, as the person reads it.
        writes: Whether it may change something in applications. It never may in this service.
    """

    account_id: str
    sid: str
    reason: str = ""
    writes: bool = False


def normalise_reason(text: str) -> str:
    """Return why an operator looks at an account, as the person reads it: one line, without white space around it.

    Raises:
        InvalidFields: If it is empty, too long, or has control characters.
    """
    text = text.strip()
    if not 0 < len(text) <= REASON_MAX_LENGTH or not text.isprintable():
        raise InvalidFields(
            [("reason", mark("must be one line of 1 to %(limit)s characters: the person reads it", limit=REASON_MAX_LENGTH))]
        )
    return text


def narrow(grant: Grant, impersonator: Impersonator) -> Grant:
    """Return what the tokens of an impersonated session contain of what the person's contain.

    The first scopes are `read`, and `write` if the operator may change something. Without it, only scopes for reading are left
    (`orders:read`, `read_orders`), so that applications refuse changes that know nothing of impersonation.
    """
    scopes = grant.scope.split()
    own = [READ, WRITE] if impersonator.writes else [READ]
    kept = scopes if impersonator.writes else [scope for scope in scopes if _is_for_reading(scope)]
    return msgspec.structs.replace(grant, scope=" ".join(dict.fromkeys([*own, *kept])))


def describe_end(sid: str, *, subject: str, account_id: str, at_ms: int) -> Event:
    """Return the event of an impersonated session that ends together with what it depends on.

    Args:
        sid: The session.
        subject: The person.
        account_id: The operator.
        at_ms: Milliseconds since 1970.
    """
    return Event(
        at_ms=at_ms,
        kind="session_ended",
        subject=subject,
        sid=sid,
        operator=f"account:{account_id}",
        detail={"why": "impersonation_ended"},
    )


def _is_for_reading(scope: str) -> bool:
    words = _WORDS.split(scope.lower())
    return READ in words and WRITE not in words
