"""One-time grants: what the link and the code of a mail allow, once, and when they are accepted.

A link is 256 random bits and opens in any browser. A code has six digits, so it is accepted only in the browser that asked for
the mail, and only a few are looked at. `decide` is the one rule; `handstamp.service.parts.one_time` finds the row and writes it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .account import Account
from .impersonation import LINK_MS
from .policy import DAY_MS, HOUR_MS, MINUTE_MS

Purpose = Literal[
    "register", "verify_email", "sign_in", "reset_password", "change_email", "undo_change", "undo_factor", "impersonate"
]
Shown = Literal["link", "code", "wrong_code"]
"""What a request shows: the link's token, the right code, or another code."""
Verdict = Literal["accepted", "wrong", "used", "expired", "exhausted", "void"]
MAX_LOOKS = 5
"""How many codes are looked at for one grant, right or wrong. After that its link alone is accepted."""
CODE_LIFETIME_MS = 10 * MINUTE_MS
UNDO_MS = 7 * DAY_MS
"""How long a link is accepted that undoes what a thief did."""
UNDO_REACH_MS = UNDO_MS
"""How long before its mail that link reaches back. A second factor that is older had been told for as long as a link is valid."""


class PurposeRule(msgspec.Struct, frozen=True, kw_only=True):
    """What the grants of a purpose have in common.

    Attributes:
        page: The path of the page that the link opens. Opening it uses nothing up; its button does.
        lifetime_ms: How long the link is accepted.
        has_code: Whether the mail also carries a code.
        survives_changes: Whether the grant stays valid after a new password, a new address or the end of all sessions, and after
            an interruption of the service. A link that undoes a hostile change must.
    """

    page: str
    lifetime_ms: int = HOUR_MS
    has_code: bool = True
    survives_changes: bool = False


PURPOSES: dict[Purpose, PurposeRule] = {
    "register": PurposeRule(page="/create-account/confirm"),
    "verify_email": PurposeRule(page="/verify"),
    "sign_in": PurposeRule(page="/sign-in/confirm"),
    "reset_password": PurposeRule(page="/reset"),
    "change_email": PurposeRule(page="/change-email"),
    "undo_change": PurposeRule(page="/undo-change", lifetime_ms=UNDO_MS, has_code=False, survives_changes=True),
    "undo_factor": PurposeRule(page="/undo-factor", lifetime_ms=UNDO_MS, has_code=False, survives_changes=True),
    "impersonate": PurposeRule(page="/look", lifetime_ms=LINK_MS, has_code=False),
}


class OneTime(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a grant. Times are milliseconds since 1970.

    Attributes:
        id: A random text that is part of no link.
        purpose: What it allows.
        email: The normalised address that the mail goes to.
        account_id: The account that it is about. None for `register`, and for an address without an account: such a grant is
            never accepted, but takes the same steps. Once `register` is used, the account that was created.
        account_email: The address of the account when the grant was issued, "" without an account.
        epoch: The epoch of the account when the grant was issued.
        link_hash: The SHA-256 of the link's token.
        code_hash: A keyed hash of the code; None if there is no code.
        browser_hash: The SHA-256 of the secret of the browser that asked, to which the code is bound.
        created_at_ms: When the mail was asked for.
        code_expires_at_ms: From when on the code is refused.
        expires_at_ms: From when on the link is refused, and the row may be deleted.
        ip: The address from which the mail was asked for.
        user_agent: What sent that request, as it called itself.
        looks: How many codes have been looked at.
        used_at_ms: When it was used, None if it has not been.
        details: What the purpose needs, such as the hash of the password of a sign-up.
    """

    id: str
    purpose: Purpose
    email: str
    account_id: str | None
    account_email: str = ""
    epoch: int | None = None
    link_hash: bytes
    code_hash: bytes | None
    browser_hash: bytes
    created_at_ms: int
    code_expires_at_ms: int
    expires_at_ms: int
    ip: str = ""
    user_agent: str = ""
    looks: int = 0
    used_at_ms: int | None = None
    details: dict[str, str] = {}

    def __repr__(self) -> str:
        """Return a text without the address, the hashes and the details."""
        return f"OneTime(id={self.id!r}, purpose={self.purpose!r})"


class Decision(msgspec.Struct, frozen=True):
    """What a link or a code is worth. `grant` is the row to write, which has changed if a code was looked at."""

    verdict: Verdict
    grant: OneTime


def issue(
    purpose: Purpose,
    *,
    id: str,  # noqa: A002 - the name of the field
    email: str,
    account: Account | None,
    link_hash: bytes,
    code_hash: bytes | None,
    browser_hash: bytes,
    now_ms: int,
) -> OneTime:
    """Return the row of a new grant, with the lifetimes of its purpose. Arguments are the fields of `OneTime`."""
    return OneTime(
        id=id,
        purpose=purpose,
        email=email,
        account_id=None if account is None else account.id,
        account_email="" if account is None else account.email,
        epoch=None if account is None else account.epoch,
        link_hash=link_hash,
        code_hash=code_hash,
        browser_hash=browser_hash,
        created_at_ms=now_ms,
        code_expires_at_ms=now_ms + CODE_LIFETIME_MS,
        expires_at_ms=now_ms + PURPOSES[purpose].lifetime_ms,
    )


def decide(grant: OneTime, account: Account | None, shown: Shown, now_ms: int) -> Decision:
    """Judge a link or a code.

    A wrong code gets the same verdicts whether there is an account or not, so that guessing does not tell.

    Args:
        grant: The row.
        account: The account that has the grant's address (`register`), or the one with the grant's `account_id`; None if there is
            none.
        shown: What the request shows.
        now_ms: Milliseconds since 1970.
    """
    if grant.used_at_ms is not None:
        return Decision("used", grant)
    if now_ms >= (grant.expires_at_ms if shown == "link" else grant.code_expires_at_ms):
        return Decision("expired", grant)
    if shown != "link":
        if grant.code_hash is None or grant.looks >= MAX_LOOKS:
            return Decision("exhausted", grant)
        grant = msgspec.structs.replace(grant, looks=grant.looks + 1)
        if shown == "wrong_code":
            return Decision("wrong", grant)
    return Decision("accepted" if _is_allowed_by(account, grant) else "void", grant)


def use(grant: OneTime, account_id: str, now_ms: int) -> OneTime:
    """Return an accepted grant as used for an account. Its details are dropped: nothing needs them any more."""
    return msgspec.structs.replace(grant, used_at_ms=now_ms, account_id=account_id, details={})


def _is_allowed_by(account: Account | None, grant: OneTime) -> bool:
    """Return whether nothing has happened to the account since the grant was issued that makes it void."""
    if grant.purpose == "register":
        return account is None
    if account is None or account.id != grant.account_id or account.disabled_at_ms is not None:
        return False
    is_unchanged = (account.epoch, account.email) == (grant.epoch, grant.account_email)
    return is_unchanged or PURPOSES[grant.purpose].survives_changes
