"""The audit trail: the one list of event kinds, and the event.

An event about a write is stored in the same transaction as the write. Two kinds of events go to the audit log only: those without
a write (a repeat, a failed sign-in) and routine ones (a refresh is recorded by the session's row).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ..text import mark
from .policy import DAY_MS

AUDIT_RETENTION_MS = 90 * DAY_MS
"""How long events are kept, unless the settings say otherwise."""

Actor = Literal["person", "visitor", "operator", "application", "provider", "service"]
"""Who did it: the person of the account, a client that has not proved who it is, an operator, the application in which Handstamp
runs, another service with which people sign in, or the service by itself."""

EventKind = Literal[
    "account_created",
    "account_deleted",
    "account_disabled",
    "account_enabled",
    "account_locked",
    "account_renamed",
    "account_taken_over",
    "account_unlocked",
    "accounts_exported",
    "attempt_throttled",
    "caught_up",
    "credential_added",
    "credential_removed",
    "data_exported",
    "device_bound",
    "device_renewed",
    "email_change_undone",
    "email_changed",
    "email_verified",
    "factor_added",
    "factor_removed",
    "factor_renamed",
    "factor_undone",
    "factors_reset",
    "identity_linked",
    "identity_unlinked",
    "impersonation_begun",
    "key_added",
    "key_removed",
    "key_resealed",
    "key_voided",
    "logged_out_everywhere",
    "mail_dropped",
    "mail_given_up",
    "mail_requested",
    "mails_retried",
    "profile_changed",
    "proof_failed",
    "password_changed",
    "password_reset",
    "recovered",
    "recovery_code_used",
    "recovery_codes_made",
    "refreshed",
    "repeated",
    "request_repeated",
    "reuse_detected",
    "role_granted",
    "role_revoked",
    "secrets_resealed",
    "session_ended",
    "sessions_swept",
    "sign_in_failed",
    "signed_in",
    "stepped_up",
]

Level = Literal["debug", "info", "warning"]


class EventRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of event means.

    Attributes:
        description: For the documentation.
        actors: Who can do it.
        level: In the audit log: `debug` if routine, `warning` if an operator should see it.
        sentence: What has happened, for people. `%(place)s` stands for where it came from, other names for details.
        by_operator: What has happened, if an operator did it; "" if `sentence` says so already.
    """

    description: str
    actors: tuple[Actor, ...]
    level: Level = "info"
    sentence: str
    by_operator: str = ""


EVENT_KINDS: dict[EventKind, EventRule] = {
    "account_created": EventRule(
        description="an account was created",
        actors=("person", "operator", "application"),
        sentence=mark("The account was created from %(place)s."),
        by_operator=mark("An operator created the account."),
    ),
    "account_deleted": EventRule(
        description="an account was deleted with all that belongs to it; its id is not used again",
        actors=("person", "operator"),
        sentence=mark("The person deleted the account from %(place)s."),
        by_operator=mark("An operator deleted the account."),
    ),
    "account_disabled": EventRule(
        description="an operator disabled an account; its sessions ended",
        actors=("operator",),
        sentence=mark("An operator disabled the account, and its sessions ended."),
    ),
    "account_enabled": EventRule(
        description="an operator enabled an account again",
        actors=("operator",),
        sentence=mark("An operator enabled the account again."),
    ),
    "account_locked": EventRule(
        description="too many sign-ins in a row failed; `limit` says for which devices none is accepted",
        actors=("visitor",),
        level="warning",
        sentence=mark(
            "Too many sign-ins in a row failed, the last from %(place)s. "
            "The account is locked for such devices until an operator unlocks it."
        ),
    ),
    "account_renamed": EventRule(
        description="an operator gave an account another address",
        actors=("operator",),
        sentence=mark("An operator gave the account another address."),
    ),
    "account_taken_over": EventRule(
        description="`provider` proved the owner of an address that was not verified; what had opened the account is gone",
        actors=("person",),
        level="warning",
        sentence=mark(
            "The owner of the address was proved by %(label)s, from %(place)s. "
            "Nobody had proved it before, so all sessions ended, and the password and all other ways to sign in were removed."
        ),
    ),
    "account_unlocked": EventRule(
        description="an operator unlocked an account; its failed attempts were forgotten",
        actors=("person", "operator"),
        sentence=mark("The failed attempts on the account were forgotten."),
        by_operator=mark("An operator unlocked the account, and the failed attempts were forgotten."),
    ),
    "accounts_exported": EventRule(
        description="an operator got a list of all accounts",
        actors=("operator",),
        sentence=mark("An operator exported all accounts."),
    ),
    "attempt_throttled": EventRule(
        description="an attempt was refused because too many had failed; `limit` says which were counted",
        actors=("visitor",),
        level="warning",
        sentence=mark("An attempt from %(place)s was refused, because too many had failed."),
    ),
    "caught_up": EventRule(
        description="a refresh token was ahead of the database, which had lost a commit",
        actors=("person", "operator"),
        level="warning",
        sentence=mark("A refresh token from %(place)s was ahead of the database, which had lost a commit. The session went on."),
    ),
    "credential_added": EventRule(
        description="a service credential was added",
        actors=("operator",),
        sentence=mark("An operator added the service credential %(name)s."),
    ),
    "credential_removed": EventRule(
        description="a service credential was removed",
        actors=("operator",),
        sentence=mark("An operator removed the service credential %(name)s."),
    ),
    "data_exported": EventRule(
        description="a copy of all data of a person was made",
        actors=("person", "operator"),
        sentence=mark("A copy of all data of the account was made from %(place)s."),
        by_operator=mark("An operator made a copy of all data of the account."),
    ),
    "device_bound": EventRule(
        description="a session was bound to its device, which proves its key at each renewal; `by` says how",
        actors=("person", "operator"),
        sentence=mark("The sign-in from %(place)s was bound to its device."),
    ),
    "device_renewed": EventRule(
        description="a device proved its key, and its session got the next pair of tokens",
        actors=("person", "operator"),
        level="debug",
        sentence=mark("The device at %(place)s proved that it is the one that signed in."),
    ),
    "email_change_undone": EventRule(
        description="the owner of an account's old address has taken it back; all sessions ended, and the password, "
        "other services and recent second factors were removed",
        actors=("person",),
        level="warning",
        sentence=mark(
            "The owner of the old address took it back from %(place)s. All sessions ended, and the password, the sign-ins with "
            "other services and the new second factors were removed."
        ),
    ),
    "email_changed": EventRule(
        description="a person gave an account another address, and has shown that its mail reaches them",
        actors=("person",),
        sentence=mark("The address was changed from %(place)s."),
    ),
    "email_verified": EventRule(
        description="a person has shown that they read the mail of their address",
        actors=("person",),
        sentence=mark("The address was verified from %(place)s."),
    ),
    "factor_added": EventRule(
        description="a person added a second factor, or replaced it; `factor` says which",
        actors=("person",),
        sentence=mark("A second factor was added from %(place)s."),
    ),
    "factor_removed": EventRule(
        description="a person removed a second factor; `factor` says which",
        actors=("person",),
        sentence=mark("A second factor was removed from %(place)s."),
    ),
    "factor_renamed": EventRule(
        description="a person gave a passkey another name",
        actors=("person",),
        sentence=mark("A passkey got another name from %(place)s."),
    ),
    "factor_undone": EventRule(
        description="a person used the link of a mail about a way to sign in that they had not added; all sessions ended, "
        "and the password, other services and recent second factors were removed",
        actors=("person",),
        level="warning",
        sentence=mark(
            "With a link that came by mail, the person said from %(place)s that a new way to sign in was not theirs. "
            "All sessions ended, and the password, the sign-ins with other services and the new second factors were removed."
        ),
    ),
    "factors_reset": EventRule(
        description="all second factors and recovery codes of an account were removed; `because` says why",
        actors=("person", "operator"),
        sentence=mark("All second factors and recovery codes were removed from %(place)s."),
        by_operator=mark("An operator removed all second factors and recovery codes."),
    ),
    "identity_linked": EventRule(
        description="a sign-in with another service was added to an account; `provider` says which",
        actors=("person",),
        sentence=mark("Signing in with %(label)s was added from %(place)s."),
    ),
    "identity_unlinked": EventRule(
        description="a sign-in with another service was removed from an account; `provider` says which",
        actors=("person",),
        sentence=mark("Signing in with %(label)s was removed from %(place)s."),
    ),
    "impersonation_begun": EventRule(
        description="an operator began to look at an account as its person; `access` says what they may do, `reason` why",
        actors=("operator",),
        level="warning",
        sentence=mark("Support began to look at the account as the person: “%(reason)s”."),
    ),
    "key_added": EventRule(
        description="a signing key was published",
        actors=("operator", "service"),
        sentence=mark("The signing key %(kid)s was published."),
    ),
    "key_removed": EventRule(
        description="a signing key was deleted; no valid token depends on it",
        actors=("operator", "service"),
        sentence=mark("The signing key %(kid)s was deleted, because no valid token depended on it."),
    ),
    "key_resealed": EventRule(
        description="a signing key was sealed again, with the current master secret",
        actors=("operator",),
        sentence=mark("The signing key %(kid)s was sealed with the current master secret."),
    ),
    "key_voided": EventRule(
        description="an operator voided a leaked signing key; its tokens are invalid",
        actors=("operator",),
        sentence=mark("An operator voided the signing key %(kid)s, and its tokens became invalid."),
    ),
    "logged_out_everywhere": EventRule(
        description="all sessions of a person ended",
        actors=("person", "operator", "application"),
        sentence=mark("The person signed out everywhere, from %(place)s. Sessions that ended: %(sessions)s."),
        by_operator=mark("An operator ended all sessions. Sessions that ended: %(sessions)s."),
    ),
    "mail_dropped": EventRule(
        description="an operator deleted a mail that waited to be sent",
        actors=("operator",),
        sentence=mark("An operator deleted a mail that waited to be sent."),
    ),
    "mail_given_up": EventRule(
        description="a mail could not be delivered and was given up; `because` says why",
        actors=("service",),
        level="warning",
        sentence=mark("A mail could not be delivered and was given up."),
    ),
    "mail_requested": EventRule(
        description="a mail with a link or a code was asked for; `purpose` says what it allows",
        actors=("person", "visitor", "operator"),
        sentence=mark("A mail with a link or a code was asked for from %(place)s."),
        by_operator=mark("An operator had a mail sent with which the person chooses a new password."),
    ),
    "mails_retried": EventRule(
        description="an operator had mail that had failed tried again now; `count` says how many",
        actors=("operator",),
        sentence=mark("An operator had mail that had failed tried again. Mails: %(count)s."),
    ),
    "profile_changed": EventRule(
        description="the name or the language of an account was changed",
        actors=("person", "operator"),
        sentence=mark("The name or the language was changed from %(place)s."),
        by_operator=mark("An operator changed the name or the language."),
    ),
    "proof_failed": EventRule(
        description="a wrong proof came for a session that is, or should become, bound to its device; `why` says what is wrong",
        actors=("visitor",),
        level="warning",
        sentence=mark("From %(place)s, somebody used the tokens of a sign-in without the device that it is bound to."),
    ),
    "password_changed": EventRule(
        description="a password was changed; all other sessions ended",
        actors=("person", "operator"),
        sentence=mark("The password was changed from %(place)s, and the other sessions ended."),
        by_operator=mark("An operator set another password, and the sessions ended."),
    ),
    "password_reset": EventRule(
        description="a new password was set with a link or a code that came by mail; all sessions ended",
        actors=("person",),
        sentence=mark("A new password was set from %(place)s with a link or a code that came by mail. All sessions ended."),
    ),
    "recovered": EventRule(
        description="the previous refresh token was used late and accepted once",
        actors=("person", "operator"),
        sentence=mark(
            "The previous refresh token came late from %(place)s, and was accepted once. This happens when an answer gets lost."
        ),
    ),
    "recovery_code_used": EventRule(
        description="a recovery code took the place of a second factor; `left` says how many are left",
        actors=("person",),
        level="warning",
        sentence=mark("A recovery code was used from %(place)s. Codes that are left: %(left)s."),
    ),
    "recovery_codes_made": EventRule(
        description="a person got ten new recovery codes; the ones before are void",
        actors=("person",),
        sentence=mark("Ten new recovery codes were made from %(place)s, and the ones before became void."),
    ),
    "refreshed": EventRule(
        description="a session got its next pair of tokens",
        actors=("person", "operator"),
        level="debug",
        sentence=mark("The session was renewed from %(place)s."),
    ),
    "repeated": EventRule(
        description="a refresh was repeated within the grace period",
        actors=("person", "operator"),
        sentence=mark("A renewal was repeated from %(place)s."),
    ),
    "request_repeated": EventRule(
        description="a request was sent again and got the same answer, without a second effect",
        actors=("person", "operator"),
        sentence=mark("A request was sent again from %(place)s, and got the same answer."),
        by_operator=mark("An operator sent a request again, and it had no second effect."),
    ),
    "reuse_detected": EventRule(
        description="an old refresh token was used; the session ended",
        actors=("visitor",),
        level="warning",
        sentence=mark(
            "An old copy of the refresh token was used from %(place)s: number %(presented)s, when %(generation)s was current. "
            "The session was ended."
        ),
    ),
    "role_granted": EventRule(
        description="an operator gave an account a role",
        actors=("operator",),
        sentence=mark("An operator gave the account the role %(role)s."),
    ),
    "role_revoked": EventRule(
        description="an operator took a role from an account",
        actors=("operator",),
        sentence=mark("An operator took the role %(role)s from the account."),
    ),
    "secrets_resealed": EventRule(
        description="secrets of people were sealed again with the current master secret; `what` says which, `count` how many",
        actors=("operator",),
        sentence=mark("An operator had secrets sealed with the current master secret. Secrets: %(count)s."),
    ),
    "session_ended": EventRule(
        description="one session ended; `why` is the reason",
        actors=("person", "operator", "application", "provider", "service"),
        sentence=mark("The session ended."),
    ),
    "sessions_swept": EventRule(
        description="the other sessions of a person ended, too many for one transaction; `why` is the reason",
        actors=("service",),
        sentence=mark("The other sessions ended too. Sessions that ended: %(sessions)s."),
    ),
    "sign_in_failed": EventRule(
        description="a sign-in failed",
        actors=("person", "visitor"),
        sentence=mark("A sign-in from %(place)s failed."),
    ),
    "signed_in": EventRule(
        description="a session started",
        actors=("person", "application"),
        sentence=mark("Signed in from %(place)s."),
    ),
    "stepped_up": EventRule(
        description="a person proved again who they are, in the same session; `amr` says how",
        actors=("person", "application"),
        sentence=mark("The person proved again who they are, from %(place)s."),
    ),
}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the audit trail. It never holds a password, a token, a cookie, or an address that a stranger typed.

    `at_ms` is milliseconds since 1970, UTC. `sid` is the session; `ip` and `user_agent` are those of the client, "" without one.
    `operator` is the operator that acted over the network, as `account:ID` or `credential:ID`.
    """

    at_ms: int
    kind: EventKind
    subject: str | None = None
    sid: str | None = None
    ip: str = ""
    user_agent: str = ""
    actor: Actor = "service"
    operator: str | None = None
    detail: dict[str, str | int | None] = {}
