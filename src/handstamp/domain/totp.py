"""Codes of an authenticator app (TOTP): what is stored, and which code is accepted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .policy import SECOND_MS

DIGITS = 6
STEP_MS = 30 * SECOND_MS
WINDOW = 1
"""How many steps before and after the current one are accepted (RFC 6238 §5.2). Clocks may differ by half a minute."""


class Totp(msgspec.Struct, frozen=True, kw_only=True):
    """The authenticator app of an account, confirmed with a first code. An account has at most one.

    Attributes:
        account_id: The account.
        sealed: The secret, sealed with the master secret.
        created_at_ms: When it was confirmed, in milliseconds since 1970.
        last_step: The step of the last code that was used. Neither it nor an earlier one is accepted again (RFC 6238 §5.2).
        used_at_ms: When the last code was used.
    """

    account_id: str
    sealed: bytes
    created_at_ms: int
    last_step: int
    used_at_ms: int

    def __repr__(self) -> str:
        """Return a text without the secret."""
        return f"Totp(account_id={self.account_id!r}, last_step={self.last_step})"


def use(totp: Totp, steps: Sequence[int], now_ms: int) -> Totp | None:
    """Return the row after a code was used, or None if the code is wrong or was used already.

    Args:
        totp: The row.
        steps: The steps whose code was sent, from `handstamp.crypto.totp.find_steps`.
        now_ms: Milliseconds since 1970.
    """
    newest = max(steps, default=-1)
    return msgspec.structs.replace(totp, last_step=newest, used_at_ms=now_ms) if newest > totp.last_step else None
