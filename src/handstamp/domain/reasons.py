"""Why sessions end: the one list of reasons, each with its sentence for the person."""

from __future__ import annotations

from typing import Literal, cast

from ..text import mark

RevokedWhy = Literal[
    "logout",
    "logout_everywhere",
    "reuse",
    "password_changed",
    "disabled",
    "admin",
    "session_limit",
    "provider_logout",
    "impersonation_ended",
]
"""The reasons that are written into a session's row when it is revoked."""

EndReason = Literal[RevokedWhy, "idle", "expired", "unbound"]
"""All reasons. The last three follow from the times in the row and are never written."""

END_REASONS: dict[EndReason, str] = {
    "logout": mark("You signed out."),
    "logout_everywhere": mark("You signed out everywhere."),
    "reuse": mark("You were signed out because an old copy of your sign-in was used. If that was not you, change your password."),
    "idle": mark("You were signed out because you were away for a long time."),
    "expired": mark("You were signed out because this sign-in has expired."),
    "unbound": mark(
        "You were signed out because this service accepts only sign-ins that are bound to their device, "
        "and this browser or program did not bind it."
    ),
    "password_changed": mark("You were signed out because your password was changed."),
    "disabled": mark("You were signed out because the account was disabled."),
    "admin": mark("You were signed out by an operator of this service."),
    "session_limit": mark(
        "You were signed out here because you are signed in on too many devices, and this one was not used lately."
    ),
    "provider_logout": mark("You were signed out because you signed out of the service with which you had signed in here."),
    "impersonation_ended": mark("You stopped looking at this account for support, or may not look at it any more."),
}

HOW_SESSIONS_END: dict[EndReason, str] = {
    "logout": mark("The session ended, because the person signed out."),
    "logout_everywhere": mark("The session ended, because the person signed out everywhere."),
    "reuse": mark("The session ended, because an old copy of its refresh token was used."),
    "idle": mark("The session ended, because it had not been renewed for too long."),
    "expired": mark("The session ended, because it had reached its longest life."),
    "unbound": mark("The session ended, because its device did not bind it in time."),
    "password_changed": mark("The session ended, because the password was changed."),
    "disabled": mark("The session ended, because the account was disabled or deleted."),
    "admin": mark("The session ended, because an operator ended it."),
    "session_limit": mark("The session ended, because the person began too many others, and it was not used lately."),
    "provider_logout": mark("The session ended, because the person signed out of the service through which it began."),
    "impersonation_ended": mark("The session ended, because support stopped looking at the account."),
}
"""The reasons in the history of a session, which the person and operators read."""


def sentence_of(reason: str | None, *, otherwise: str) -> str:
    """Return the sentence for a reason, or `otherwise` if there is no reason or it is unknown."""
    return END_REASONS.get(cast("EndReason", reason), otherwise)
