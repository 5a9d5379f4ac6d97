"""Mail: the one list of its kinds, what each carries, the row that waits to be sent, and when sending is tried again."""

from __future__ import annotations

from typing import Literal, cast

import msgspec

from .factor import FactorKind
from .policy import DAY_MS, HOUR_MS, SECOND_MS

MailKind = Literal[
    "account_deleted",
    "address_changed",
    "change_email",
    "identity_changed",
    "new_device",
    "password_changed",
    "recovery_code_used",
    "register",
    "register_existing",
    "reset_password",
    "second_factor_changed",
    "second_factor_guessed",
    "second_factors_reset",
    "session_reused",
    "sign_in_code",
    "support_looks",
    "verify_email",
]

LINK_WORTH_MS = HOUR_MS
"""How long a mail with a link is worth sending: as long as the link is valid."""
NOTICE_WORTH_MS = 2 * DAY_MS
"""After that long, mail that could not be delivered is given up."""
KEPT_MS = NOTICE_WORTH_MS + DAY_MS
"""After that long, a row is deleted in any case."""
_FIRST_PAUSE_MS = 30 * SECOND_MS
_LONGEST_PAUSE_MS = HOUR_MS
_MOST_DOUBLINGS = 7


class MailRule(msgspec.Struct, frozen=True):
    """What a kind of mail is for, how long it is worth sending, and whether `MAIL_NOTICES` can turn it off."""

    description: str
    worth_ms: int = NOTICE_WORTH_MS
    is_notice: bool = False


MAIL_KINDS: dict[MailKind, MailRule] = {
    "account_deleted": MailRule("the account was deleted", is_notice=True),
    "address_changed": MailRule(
        "the account has another address; to the old one, with a link that undoes it, and to the new one"
    ),
    "change_email": MailRule("proves a new address before the account gets it", LINK_WORTH_MS),
    "identity_changed": MailRule("a sign-in with another service was added or removed", is_notice=True),
    "new_device": MailRule("a sign-in on a device that was not known", is_notice=True),
    "password_changed": MailRule("the password was changed or reset", is_notice=True),
    "recovery_code_used": MailRule("a recovery code was used to sign in", is_notice=True),
    "register": MailRule("proves the address of a person who creates an account", LINK_WORTH_MS),
    "register_existing": MailRule("a person wanted to create an account with an address that has one", LINK_WORTH_MS),
    "reset_password": MailRule("lets the owner of an account choose a new password", LINK_WORTH_MS),
    "second_factor_changed": MailRule("a second factor was added or removed", is_notice=True),
    "second_factor_guessed": MailRule("five second factors were wrong, in a sign-in or in a session", is_notice=True),
    "second_factors_reset": MailRule("an operator removed all second factors", is_notice=True),
    "session_reused": MailRule("an old copy of a sign-in was used, and its session ended", is_notice=True),
    "sign_in_code": MailRule("signs the owner of an account in", LINK_WORTH_MS),
    "support_looks": MailRule("an operator looks at the account as its person"),
    "verify_email": MailRule("proves the address of an account", LINK_WORTH_MS),
}


class Content(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What one kind of mail carries. The tag of each class is its kind."""

    def __repr__(self) -> str:
        """Return a text without the links and codes."""
        return f"{type(self).__name__}(****)"


class _Linked(Content, frozen=True):
    """Mail with a link to a page, and a code for people who read mail on another device ("" if there is none)."""

    link: str
    code: str = ""


class VerifyEmail(_Linked, frozen=True, tag="verify_email"):
    """To the address of an account, which is not proven yet."""


class ConfirmSignUp(_Linked, frozen=True, tag="register"):
    """To the address of a person who creates an account."""


class SignUpExists(Content, frozen=True, tag="register_existing"):
    """To the owner of an account, because a person wanted to create one with the same address."""


class ResetPassword(_Linked, frozen=True, tag="reset_password"):
    """To the owner of an account who has forgotten the password."""


class ConfirmNewAddress(_Linked, frozen=True, tag="change_email"):
    """To the new address of an account, before the account gets it."""


class AddressChanged(Content, frozen=True, tag="address_changed"):
    """To the old and to the new address of an account. `undo_link` is for the old one, and "" in the mail to the new one."""

    old: str
    new: str
    undo_link: str = ""


class SignInCode(_Linked, frozen=True, tag="sign_in_code"):
    """To the owner of an account who signs in by mail."""


class NewDevice(Content, frozen=True, tag="new_device"):
    """A notice."""


class PasswordChanged(Content, frozen=True, tag="password_changed"):
    """A notice. `was_reset` is True if it was done by a link that came by mail."""

    was_reset: bool = False


class SecondFactorChanged(Content, frozen=True, tag="second_factor_changed"):
    """A notice. `factor` is what was added or removed; `undo_link` is for the first one of an account, else ""."""

    factor: FactorKind
    was_removed: bool = False
    undo_link: str = ""


class SecondFactorGuessed(Content, frozen=True, tag="second_factor_guessed"):
    """A notice: several second factors were wrong, after a right first step of a sign-in or in a session."""

    in_session: bool = False


class IdentityChanged(Content, frozen=True, tag="identity_changed"):
    """A notice. `label` is what people call the service with which one can sign in, or can no more.

    `undo_link` is for one that was added to an account without a second factor, else "".
    """

    label: str
    was_removed: bool = False
    undo_link: str = ""


class SecondFactorsReset(Content, frozen=True, tag="second_factors_reset"):
    """A notice: an operator removed all second factors and recovery codes."""


class SessionReused(Content, frozen=True, tag="session_reused"):
    """A notice."""


class RecoveryCodeUsed(Content, frozen=True, tag="recovery_code_used"):
    """A notice. `left` is the number of codes that are not used yet."""

    left: int


class SupportLooks(Content, frozen=True, tag="support_looks"):
    """To the person of an account at which an operator looks. It cannot be turned off.

    `by` is the name of the operator, "" if their account has none; `reason` is why. `may_change` is True if they may do more than
    read.
    """

    by: str
    reason: str
    may_change: bool = False


class AccountDeleted(Content, frozen=True, tag="account_deleted"):
    """A notice."""


Request = ConfirmNewAddress | ConfirmSignUp | ResetPassword | SignInCode | SignUpExists | VerifyEmail
"""Mail that a person has asked for."""
Notice = (
    AccountDeleted
    | AddressChanged
    | IdentityChanged
    | NewDevice
    | PasswordChanged
    | RecoveryCodeUsed
    | SecondFactorChanged
    | SecondFactorGuessed
    | SecondFactorsReset
    | SessionReused
)
"""Mail about what has happened to an account."""
AnyContent = Request | Notice | SupportLooks


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """All that a message is made of. It is sealed as long as it waits.

    Attributes:
        to: The address; "" for a letter that is not sent (see `Outbox.add`).
        language: The language of the person, as BCP 47 has it; "" if unknown.
        at_ms: When the mail was asked for, or when it happened, in milliseconds since 1970.
        ip: The client's address, "" if unknown.
        user_agent: The client's `User-Agent`, "" if there was none.
        content: What the mail is about.
    """

    to: str
    language: str
    at_ms: int
    ip: str
    user_agent: str
    content: AnyContent

    def __repr__(self) -> str:
        """Return a text without the address and the content."""
        return f"Letter({kind_of(self.content)!r})"


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """One mail that waits in the outbox. The row is deleted once the mail is sent or given up. Times are milliseconds since 1970.

    Attributes:
        id: Random. The `Message-ID` is made of it, so that a mail that was sent twice can be recognised.
        kind: The kind, for operators.
        account: The id of the account that it is about, None if there is none.
        sealed: The `Letter`, sealed with the master secret.
        created_at_ms: When it was written.
        tries: How often a process has begun to send it.
        next_at_ms: When it may be sent, or tried again if the process that is sending it has died. None if it is only shown in
            the development inbox.
        error: Why the last try failed; "" before the first, and while a process is sending the mail.
    """

    id: str
    kind: MailKind
    account: str | None
    sealed: bytes
    created_at_ms: int
    tries: int = 0
    next_at_ms: int | None
    error: str = ""


def kind_of(content: Content) -> MailKind:
    """Return the kind of a mail with this content."""
    return cast("MailKind", content.__struct_config__.tag)  # a test compares the tags with the kinds


def undoes(content: Content) -> bool:
    """Return whether a mail has a link that undoes what it tells of. It is sent although notices of its kind are turned off."""
    return getattr(content, "undo_link", "") != ""


def is_worth_sending(mail: Mail, now_ms: int) -> bool:
    """Return whether a mail is still of use: its link is valid, or its news are not too old."""
    rule = MAIL_KINDS.get(mail.kind)  # None if a newer version has written it
    return now_ms - mail.created_at_ms < (rule.worth_ms if rule else NOTICE_WORTH_MS)


def pause_ms(tries: int) -> int:
    """Return how long to wait after a mail has failed so many times: 30 seconds, doubled each time, at most an hour."""
    return min(_FIRST_PAUSE_MS << min(tries - 1, _MOST_DOUBLINGS), _LONGEST_PAUSE_MS)
