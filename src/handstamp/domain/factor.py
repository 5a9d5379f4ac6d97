"""The second factors of an account: what it has."""

from __future__ import annotations

from typing import Literal

import msgspec

Method = Literal["totp", "passkey", "recovery_code"]
"""What completes a sign-in that began with a password or a code by mail."""


class Factors(msgspec.Struct, frozen=True, kw_only=True):
    """A summary of the second factors of one account.

    Attributes:
        has_totp: Whether it has an authenticator app.
        passkeys: How many passkeys it has.
        recovery_codes: How many recovery codes are left. They are no factor of their own: without another, none is asked for.
    """

    has_totp: bool = False
    passkeys: int = 0
    recovery_codes: int = 0

    @property
    def is_any(self) -> bool:
        """Whether a sign-in of this account needs a second factor."""
        return self.has_totp or self.passkeys > 0
