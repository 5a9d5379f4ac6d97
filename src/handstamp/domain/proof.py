"""The result of a way of signing in."""

from __future__ import annotations

import msgspec

from .account import Account
from .grant import NOTHING, Grant
from .identity import Through
from .impersonation import Impersonator

FIRST_PARTY = "handstamp"
"""The `client_id` of sessions that begin at our own endpoints (RFC 9068 §2.2 requires one)."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a way of signing in has proved. It begins no session: only `handstamp.service.sessions.begin` does.

    Attributes:
        subject: Whose session it will be: the id of an account, or a subject of an application with its own users.
        account: The account as it must be when the session begins: still there, enabled, and of this epoch. None if the subject
            is not an account.
        amr: The methods that were used, such as ("pwd",) (RFC 8176).
        acr: The authentication context class, None if the way of signing in names none (RFC 9470).
        authenticated_at_ms: When the person proved who they are, in milliseconds since 1970.
        client_id: The OAuth client that the tokens are issued to.
        grant: What the session's tokens contain besides the roles of the account.
        through: The provider that has proved the person, None without one. It is linked to the account when the session begins.
        impersonator: The operator who will act in the session in the place of its person, None in those of the person.
        ends_by_ms: When the session ends at the latest, in milliseconds since 1970; None if the policy alone decides.
    """

    subject: str
    amr: tuple[str, ...]
    authenticated_at_ms: int
    account: Account | None = None
    acr: str | None = None
    client_id: str = FIRST_PARTY
    grant: Grant = NOTHING
    through: Through | None = None
    impersonator: Impersonator | None = None
    ends_by_ms: int | None = None
