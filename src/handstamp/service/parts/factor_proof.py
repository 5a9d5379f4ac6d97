"""What a prover of a second factor returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

import msgspec

from ...domain.event import Event
from ...storage.store import Transaction
from .caller import Caller


class FactorProof(NamedTuple):
    """A second factor that was right, and is not used up yet.

    Attributes:
        amr: The methods that were used (RFC 8176).
        confirm: The first step of the transaction that has the effect. It uses the factor up, and raises if another request has
            done so meanwhile.
        events: What `confirm` has recorded, to be logged after the commit.
        acr: How strong the sign-in is with it: "mfa", or "phr" for a passkey.
    """

    amr: tuple[str, ...]
    confirm: Callable[[Transaction], Awaitable[None]]
    events: list[Event]
    acr: str = "mfa"


class GivenFactor(msgspec.Struct, frozen=True, kw_only=True):
    """What a person answers when a second factor is asked for: one of these. All are "" where only a password was asked for.

    Attributes:
        code: Six digits of an authenticator app.
        recovery_code: A recovery code.
        passkey: What the browser returned for a passkey, as JSON (Web Authentication Level 3 §5.1.8).
        challenge: The attempt to which the passkey's answer belongs.
    """

    code: str = ""
    recovery_code: str = ""
    passkey: str = ""
    challenge: str = ""

    def __repr__(self) -> str:
        """Return a text without the secrets."""
        return "GivenFactor(****)"


class PasskeyAnswers(Protocol):
    """Judges the answers of passkeys, as a second factor."""

    async def prove_factor(self, account_id: str, answer: GivenFactor, caller: Caller, *, within: str) -> FactorProof:
        """Return the proof of a passkey of an account, used within a sign-in or a session.

        Raises:
            InvalidPasskey: If it is not accepted.
            InvalidChallenge: If the ceremony has expired or was used.
            Unavailable: If the store does not answer.
        """
