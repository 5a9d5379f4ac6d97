"""A sign-in that is not complete, or another ceremony of several steps: what it is, and whether it may go on.

What an attempt knows travels with the client, sealed. So nothing that strangers begin is stored. A row is written once something
of it must not be repeated: a code that was looked at, or its success.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .delivery import Delivery
from .identity import Through
from .policy import MINUTE_MS
from .provider import ProviderRequest

Purpose = Literal[
    "second_factor",
    "step_up",
    "passkey_sign_in",
    "passkey_enrolment",
    "provider_sign_in",
    "provider_link",
    "provider_relay",
]
Verdict = Literal["open", "expired", "elsewhere", "used", "exhausted"]
LIFETIME_MS = 5 * MINUTE_MS
ENROLMENT_MS = 15 * MINUTE_MS
"""The life of a sign-in in which the person must add a factor: a QR code is to be scanned, or a passkey to be made."""
AWAY_MS = 30 * MINUTE_MS
"""The life of a sign-in for which the person is at a provider, where they may have to find a password or a second factor."""
MAX_TRIES = 5
"""How many codes are looked at in one attempt. More end the attempt, not the account."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What an attempt knows. Times are milliseconds since 1970.

    Attributes:
        id: 128 random bits as text.
        purpose: What it is for.
        browser_hash: The SHA-256 of the secret of the browser that began it.
        created_at_ms: When it began.
        expires_at_ms: From when on it is refused.
        subject: The account, "" if it is not known yet.
        epoch: The epoch of the account.
        amr: The methods that were used so far (RFC 8176).
        acr: How strongly, None if that has no class yet.
        delivery: How the tokens of the session will travel.
        challenge: What an authenticator signs, "" if none does.
        sid: The session in which it takes place, "" if in none.
        through: The provider that has proved the person, None without one.
        asked: What a provider was asked, None if none was.
        return_to: Where the visitor goes afterwards, "" for the account's page.
    """

    id: str
    purpose: Purpose
    browser_hash: bytes
    created_at_ms: int
    expires_at_ms: int
    subject: str = ""
    epoch: int = 0
    amr: tuple[str, ...] = ()
    acr: str | None = None
    delivery: Delivery = "json"
    challenge: str = ""
    sid: str = ""
    through: Through | None = None
    asked: ProviderRequest | None = None
    return_to: str = ""

    def __repr__(self) -> str:
        """Return a text without the challenge and the hash."""
        return f"Attempt(id={self.id!r}, purpose={self.purpose!r})"


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of an attempt.

    Attributes:
        id: That of the attempt.
        account_id: The account, "" if it is not known.
        tries: How many codes were looked at.
        enrolled: The factor that was added in it ("totp" or "passkey"), which counts as proved; "" if none was.
        used_at_ms: When it succeeded, None if it has not.
        expires_at_ms: From when on the row may be deleted.
    """

    id: str
    account_id: str
    expires_at_ms: int
    tries: int = 0
    enrolled: Literal["", "totp", "passkey"] = ""
    used_at_ms: int | None = None


def judge(attempt: Attempt, row: AttemptRow | None, *, purpose: Purpose, browser_hash: bytes | None, now_ms: int) -> Verdict:
    """Return whether an attempt may go on.

    Args:
        attempt: What the client has sent back.
        row: Its row, None if there is none.
        purpose: What the client wants to do with it.
        browser_hash: The hash of the secret of the client, None if it has shown none.
        now_ms: Milliseconds since 1970.
    """
    if attempt.purpose != purpose or browser_hash != attempt.browser_hash:
        return "elsewhere"
    if not attempt.created_at_ms - MINUTE_MS <= now_ms < attempt.expires_at_ms:
        return "expired"
    if row is not None and row.used_at_ms is not None:
        return "used"
    if row is not None and row.tries >= MAX_TRIES:
        return "exhausted"
    return "open"


def row_of(attempt: Attempt) -> AttemptRow:
    """Return the first row of an attempt."""
    return AttemptRow(id=attempt.id, account_id=attempt.subject, expires_at_ms=attempt.expires_at_ms)


def count_try(row: AttemptRow) -> AttemptRow:
    """Return the row after one more code was looked at."""
    return msgspec.structs.replace(row, tries=row.tries + 1)


def enrol(row: AttemptRow, factor: str) -> AttemptRow:
    """Return the row after a factor was added."""
    return msgspec.structs.replace(row, enrolled=factor)


def use(row: AttemptRow, now_ms: int) -> AttemptRow:
    """Return the row after the attempt has succeeded."""
    return msgspec.structs.replace(row, used_at_ms=now_ms)
