"""Whom an account is at other providers of identities (OpenID Connect), and which sessions began there."""

from __future__ import annotations

import msgspec

MOST = 10
"""Identities of one account."""
UNCLAIMED_MS = 60 * 60 * 1000
"""How long tokens are kept of a sign-in that does not become complete."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The row that links a person at a provider to an account. Times are milliseconds since 1970.

    Attributes:
        id: Random. By it the person removes the link.
        issuer: The issuer of the provider. Issuer and subject are unique together.
        subject: Its id of the person.
        account_id: The account.
        provider: The name of the provider in the settings.
        email: Their address there, as of the last sign-in. It only helps to tell two identities apart.
        created_at_ms: When it was linked.
        used_at_ms: When it was used last.
    """

    id: str
    issuer: str
    subject: str
    account_id: str
    provider: str
    email: str
    created_at_ms: int
    used_at_ms: int

    def __repr__(self) -> str:
        """Return a text without what names the person."""
        return f"Identity({self.provider!r})"


class ProviderSession(msgspec.Struct, frozen=True, kw_only=True):
    """The row that links a session to the one at the provider by which it began.

    Attributes:
        sid: Our session.
        issuer: The provider.
        subject: The person there.
        at_provider: The session there, "" if the provider has named none.
        expires_at_ms: When our session ends in any case.
    """

    sid: str
    issuer: str
    subject: str
    at_provider: str
    expires_at_ms: int

    def __repr__(self) -> str:
        """Return a text without what names the person."""
        return f"ProviderSession(sid={self.sid!r})"


class LogoutRow(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a logout token that was accepted, so that it is refused when it comes again.

    `at_ms` is when it arrived: a sign-in that began before and names the same session does not become complete.
    """

    issuer: str
    jti: str
    subject: str
    at_provider: str
    at_ms: int
    expires_at_ms: int

    def __repr__(self) -> str:
        """Return a text without what names the person."""
        return f"LogoutRow(jti={self.jti!r})"


class SealedTokens(msgspec.Struct, frozen=True, kw_only=True):
    """The row of the tokens of a person at a provider, sealed with the master secret. `at_ms` is when they were stored."""

    issuer: str
    subject: str
    sealed: bytes
    at_ms: int

    def __repr__(self) -> str:
        """Return a text without what names the person."""
        return "SealedTokens(****)"


class Through(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The provider through which a person signs in, for when the session begins. It travels with a sign-in of two steps, sealed.

    Attributes:
        provider: The name of the provider in the settings.
        issuer: See `Identity`.
        subject: See there.
        email: See there.
        at_provider: The session there, "" if the provider has named none.
        may_link: Whether the person there may be linked to the account. If not, they must still be linked to it.
        since_ms: When the person came back from there. A logout token that has arrived since ends the sign-in.
    """

    provider: str
    issuer: str
    subject: str
    email: str
    at_provider: str
    may_link: bool
    since_ms: int

    def __repr__(self) -> str:
        """Return a text without what names the person."""
        return f"Through({self.provider!r})"
