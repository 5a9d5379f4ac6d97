"""Recovery codes: ten texts that a person keeps on paper, each of which replaces the second factor once."""

from __future__ import annotations

import msgspec

CODES = 10
"""How many a person gets at once. Ten new ones replace all others."""


class RecoveryCode(msgspec.Struct, frozen=True, kw_only=True):
    """The row of one code.

    Attributes:
        account_id: The account.
        hash: The hash of the code, from `handstamp.crypto.recovery_codes`.
        created_at_ms: When the ten were made, in milliseconds since 1970.
        used_at_ms: When it was used, None if it has not been.
    """

    account_id: str
    hash: bytes
    created_at_ms: int
    used_at_ms: int | None = None

    def __repr__(self) -> str:
        """Return a text without the hash."""
        return f"RecoveryCode(account_id={self.account_id!r})"
