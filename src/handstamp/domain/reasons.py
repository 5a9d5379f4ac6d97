"""Why sessions end: the one list of reasons, each with its sentence for the person."""

from __future__ import annotations

from typing import Literal, cast

RevokedWhy = Literal["logout", "logout_everywhere", "reuse", "password_changed", "disabled", "admin", "session_limit"]
"""The reasons that are written into a session's row when it is revoked."""

EndReason = Literal[RevokedWhy, "idle", "expired"]
"""All reasons. The last two follow from the times in the row and are never written."""

END_REASONS: dict[EndReason, str] = {
    "logout": "You signed out.",
    "logout_everywhere": "You signed out everywhere.",
    "reuse": "You were signed out because an old copy of your sign-in was used. If that was not you, change your password.",
    "idle": "You were signed out because you were away for a long time.",
    "expired": "You were signed out because this sign-in has expired.",
    "password_changed": "You were signed out because your password was changed.",
    "disabled": "You were signed out because the account was disabled.",
    "admin": "You were signed out by an operator of this service.",
    "session_limit": "You were signed out here because you are signed in on too many devices, and this one was not used lately.",
}


def sentence_of(reason: str | None, *, otherwise: str) -> str:
    """Return the sentence for a reason, or `otherwise` if there is no reason or it is unknown."""
    return END_REASONS.get(cast("EndReason", reason), otherwise)
