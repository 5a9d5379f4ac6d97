"""The audit trail: the one list of event kinds, and the event.

An event about a write is stored in the same transaction as the write. Two kinds of events go to the audit log only: those without
a write (a repeat, a failed sign-in) and routine ones (a refresh is recorded by the session's row).
"""

from __future__ import annotations

from typing import Literal

import msgspec

Actor = Literal["person", "visitor", "operator", "application", "service"]
"""Who did it: the person of the account, a client that is not signed in, an operator, the application in which Handstamp runs, or
the service by itself."""

EventKind = Literal[
    "account_created",
    "account_deleted",
    "account_disabled",
    "account_enabled",
    "account_locked",
    "account_renamed",
    "account_unlocked",
    "attempt_throttled",
    "caught_up",
    "credential_added",
    "credential_removed",
    "email_change_undone",
    "email_changed",
    "email_verified",
    "key_added",
    "key_removed",
    "key_resealed",
    "key_voided",
    "logged_out_everywhere",
    "mail_given_up",
    "mail_requested",
    "profile_changed",
    "password_changed",
    "password_reset",
    "recovered",
    "refreshed",
    "repeated",
    "request_repeated",
    "reuse_detected",
    "role_granted",
    "role_revoked",
    "session_ended",
    "sessions_swept",
    "sign_in_failed",
    "signed_in",
]

Level = Literal["debug", "info", "warning"]


class EventRule(msgspec.Struct, frozen=True):
    """What a kind of event means, and its level in the audit log: `debug` if routine, `warning` if an operator should see it."""

    description: str
    level: Level = "info"


EVENT_KINDS: dict[EventKind, EventRule] = {
    "account_created": EventRule("an account was created"),
    "account_deleted": EventRule("an account was deleted with all that belongs to it; its id is not used again"),
    "account_disabled": EventRule("an operator disabled an account; its sessions ended"),
    "account_enabled": EventRule("an operator enabled an account again"),
    "account_locked": EventRule("too many sign-ins in a row failed; `limit` says for which devices none is accepted", "warning"),
    "account_renamed": EventRule("an operator gave an account another address"),
    "account_unlocked": EventRule("an operator unlocked an account; its failed attempts were forgotten"),
    "attempt_throttled": EventRule(
        "an attempt was refused because too many had failed; `limit` says which were counted", "warning"
    ),
    "caught_up": EventRule("a refresh token was ahead of the database, which had lost a commit", "warning"),
    "credential_added": EventRule("a service credential was added"),
    "credential_removed": EventRule("a service credential was removed"),
    "email_change_undone": EventRule(
        "the owner of an account's old address has taken it back; all sessions ended, and the password was removed", "warning"
    ),
    "email_changed": EventRule("a person gave an account another address, and has shown that its mail reaches them"),
    "email_verified": EventRule("a person has shown that they read the mail of their address"),
    "key_added": EventRule("a signing key was published"),
    "key_removed": EventRule("a signing key was deleted; no valid token depends on it"),
    "key_resealed": EventRule("a signing key was sealed again, with the current master secret"),
    "key_voided": EventRule("an operator voided a leaked signing key; its tokens are invalid"),
    "logged_out_everywhere": EventRule("all sessions of a person ended"),
    "mail_given_up": EventRule("a mail could not be delivered and was given up; `because` says why", "warning"),
    "mail_requested": EventRule("a mail with a link or a code was asked for; `purpose` says what it allows"),
    "profile_changed": EventRule("a person changed the name or the language of the account"),
    "password_changed": EventRule("a password was changed; all other sessions ended"),
    "password_reset": EventRule("a new password was set with a link or a code that came by mail; all sessions ended"),
    "recovered": EventRule("the previous refresh token was used late and accepted once"),
    "refreshed": EventRule("a session got its next pair of tokens", "debug"),
    "repeated": EventRule("a refresh was repeated within the grace period"),
    "request_repeated": EventRule("a sign-in, registration or password change was sent again and got the same answer"),
    "reuse_detected": EventRule("an old refresh token was used; the session ended", "warning"),
    "role_granted": EventRule("an operator gave an account a role"),
    "role_revoked": EventRule("an operator took a role from an account"),
    "session_ended": EventRule("one session ended; `why` is the reason"),
    "sessions_swept": EventRule("the other sessions of a person ended, too many for one transaction; `why` is the reason"),
    "sign_in_failed": EventRule("a sign-in failed"),
    "signed_in": EventRule("a session started"),
}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the audit trail. It never holds a password, a token, a cookie, or an address that a stranger typed.

    `at_ms` is milliseconds since 1970, UTC. `sid` is the session; `ip` and `user_agent` are those of the client, "" without one.
    """

    at_ms: int
    kind: EventKind
    subject: str | None = None
    sid: str | None = None
    ip: str = ""
    user_agent: str = ""
    actor: Actor = "service"
    detail: dict[str, str | int | None] = {}
