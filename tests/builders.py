"""Values for tests. Each has valid default fields; a test passes only the fields that matter to it."""

from __future__ import annotations

from typing import Any

from handstamp.domain.account import Account
from handstamp.domain.claims import RefreshClaims
from handstamp.domain.mail import Mail
from handstamp.domain.passkey import Passkey
from handstamp.domain.policy import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Policy
from handstamp.domain.proof import Proof
from handstamp.domain.session import Session, refresh_expires_at_s, start
from handstamp.domain.sweep import Sweep

__all__ = [
    "DAY_MS",
    "HOUR_MS",
    "MINUTE_MS",
    "NOW_MS",
    "SECOND_MS",
    "Clock",
    "a_mail",
    "a_passkey",
    "a_session",
    "a_sweep",
    "an_account",
    "claims_of",
]

NOW_MS = 1_800_000_000_000
ISSUER = "https://auth.example.com"


class Clock:
    """A clock that a test moves. Calling it returns milliseconds since 1970."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        """Set the clock to `now_ms`."""
        self.now_ms = now_ms

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ms

    def advance(self, *, ms: int = 0, seconds: int = 0) -> None:
        """Move the clock forward."""
        self.now_ms += ms + seconds * SECOND_MS


def an_account(**fields: Any) -> Account:
    """Return an account that can sign in."""
    defaults: dict[str, Any] = {
        "id": "ada-id",
        "email": "ada@example.com",
        "password_hash": "$argon2id$none",
        "created_at_ms": NOW_MS,
    }
    return Account(**defaults | fields)


def a_session(*, policy: Policy | None = None, **fields: Any) -> Session:
    """Return a session that starts at `NOW_MS`."""
    now_ms = fields.pop("now_ms", NOW_MS)
    proof = Proof(subject=fields.pop("subject", "ada-id"), amr=("pwd",), authenticated_at_ms=now_ms)
    fresh = start(
        fields.pop("id", "session-id"),
        proof,
        delivery=fields.pop("delivery", "json"),
        user_agent="test",
        ip="192.0.2.1",
        now_ms=now_ms,
        policy=policy or Policy(),
    )
    values = {name: getattr(fresh, name) for name in fresh.__struct_fields__}
    return Session(**values | fields)


def a_sweep(**fields: Any) -> Sweep:
    """Return a sweep of a subject that has no account, for the sessions that began until `NOW_MS`."""
    defaults: dict[str, Any] = {"subject": "ada-id", "why": "logout_everywhere", "at_ms": NOW_MS, "epoch": None}
    return Sweep(**defaults | fields)


def a_mail(**fields: Any) -> Mail:
    """Return a mail that is due at `NOW_MS`."""
    defaults: dict[str, Any] = {
        "id": "mail-id",
        "kind": "password_changed",
        "account": "ada-id",
        "sealed": b"sealed",
        "created_at_ms": NOW_MS,
        "next_at_ms": NOW_MS,
    }
    return Mail(**defaults | fields)


def claims_of(session: Session, *, generation: int | None = None) -> RefreshClaims:
    """Return the claims of a session's current refresh token, or of another generation of it."""
    return RefreshClaims(
        iss=ISSUER,
        aud=ISSUER,
        sub=session.subject,
        sid=session.id,
        gen=session.generation if generation is None else generation,
        iat=session.rotated_at_ms // 1000,
        exp=refresh_expires_at_s(session),
    )


def a_passkey(name: str, account_id: str, created_at_ms: int) -> Passkey:
    """Return the row of a passkey that is synced. No authenticator has it."""
    return Passkey(
        id=name,
        account_id=account_id,
        handle="handle",
        public_key=b"key",
        sign_count=0,
        name="",
        aaguid="00000000-0000-0000-0000-000000000000",
        transports=("internal", "hybrid"),
        is_backed_up=True,
        created_at_ms=created_at_ms,
        used_at_ms=created_at_ms,
    )
