"""An account as a file contains it: what an import reads and an export writes."""

from __future__ import annotations

import re

import msgspec

from .account import Account

_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,7}", re.ASCII)


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An account in a file, not checked yet. Times are milliseconds since 1970.

    Attributes:
        email: The address. All other fields may be missing.
        id: The `sub` of the person's tokens; "" for a new one.
        password_hash: As the other system has made it; "" for no password.
        created_at_ms: None for the time of the import.
        disabled_at_ms: None for an account that can sign in.
    """

    email: str
    id: str = ""
    name: str = ""
    language: str = ""
    email_verified: bool = False
    roles: tuple[str, ...] = ()
    created_at_ms: int | None = None
    disabled_at_ms: int | None = None
    password_hash: str = ""

    def __repr__(self) -> str:
        """Return a text without the password hash, the address and the name."""
        return f"AccountRecord(id={self.id!r})"


def normalise_language(text: str) -> str:
    """Return a language tag with "-" between its parts (RFC 5646 §2.1); "" if the text is none."""
    tag = text.replace("_", "-")
    return tag if _LANGUAGE.fullmatch(tag) else ""


def record_of(account: Account, *, with_hash: bool) -> AccountRecord:
    """Return what an export writes about an account; its password hash only if asked for."""
    return AccountRecord(
        email=account.email,
        id=account.id,
        name=account.name,
        language=account.language,
        email_verified=account.email_verified,
        roles=account.roles,
        created_at_ms=account.created_at_ms,
        disabled_at_ms=account.disabled_at_ms,
        password_hash=account.password_hash if with_hash else "",
    )
