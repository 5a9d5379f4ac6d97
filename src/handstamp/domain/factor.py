"""The second factors of an account: what it has, who must have one, and what may be removed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec

from .assurance import is_as_strong
from .proof import Proof

Method = Literal["totp", "passkey", "recovery_code"]
"""What completes a sign-in that began with a password or a code by mail."""
FactorKind = Literal["totp", "passkey", "recovery_codes"]
"""What a person adds, replaces or removes."""


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

    @property
    def methods(self) -> tuple[Method, ...]:
        """What completes a sign-in, the safest first. Recovery codes only replace a factor that is there."""
        found: list[Method] = ["passkey"] if self.passkeys else []
        if self.has_totp:
            found.append("totp")
        if found and self.recovery_codes:
            found.append("recovery_code")
        return tuple(found)


class FactorPolicy(msgspec.Struct, frozen=True):
    """Who must have a second factor: no account, every account, or those who have one of `roles`."""

    is_required: bool = False
    roles: tuple[str, ...] = ()

    def requires(self, roles: Collection[str]) -> bool:
        """Return whether an account with these roles must have a second factor."""
        return self.is_required or any(role in self.roles for role in roles)


OPTIONAL = FactorPolicy()
"""Nobody must have one."""


class Lacking(msgspec.Struct, frozen=True):
    """What a sign-in needs before its session begins: one of `methods`, or a new factor, one of `enrol`. One of them is empty."""

    methods: tuple[Method, ...] = ()
    enrol: tuple[Literal["passkey", "totp"], ...] = ()


def find_lacking(proof: Proof, factors: Factors, policy: FactorPolicy, roles: Collection[str]) -> Lacking | None:
    """Return what a proof lacks to begin a session, None if it is complete.

    Args:
        proof: What was proved so far.
        factors: Those of the account.
        policy: Who must have a second factor.
        roles: Those of the account.
    """
    if is_as_strong(proof.acr, "mfa"):
        return None
    if factors.is_any:
        return Lacking(methods=factors.methods)
    return Lacking(enrol=("passkey", "totp")) if policy.requires(roles) else None


def add_factor(first: Proof, amr: Collection[str], *, acr: str, now_ms: int) -> Proof:
    """Return the proof of a person who has completed a sign-in.

    Args:
        first: What was proved before.
        amr: The methods of the factor (RFC 8176).
        acr: "mfa", or "phr" for a passkey.
        now_ms: The time at which the factor was proved, in milliseconds since 1970.
    """
    methods = tuple(dict.fromkeys((*first.amr, *amr, "mfa")))
    return msgspec.structs.replace(first, amr=methods, acr=acr, authenticated_at_ms=now_ms)
