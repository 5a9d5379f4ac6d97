"""Whom an account is at other providers of identities (OpenID Connect), and which sessions began there."""

from __future__ import annotations

import msgspec

MOST = 10
"""Identities of one account."""
UNCLAIMED_MS = 60 * 60 * 1000
"""How long tokens are kept of a sign-in that does not become complete."""


class ProviderTokens(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of a provider, for its own APIs.

    Attributes:
        access_token: What the application sends there.
        refresh_token: What gets the next one; "" if there is none.
        scope: What it allows, separated by spaces.
        expires_at_ms: When the access token expires, in milliseconds since 1970; None if the provider does not say so.
    """

    access_token: str
    refresh_token: str = ""
    scope: str = ""
    expires_at_ms: int | None = None

    def __repr__(self) -> str:
        """Return a text without the tokens."""
        return "ProviderTokens(****)"


class ProviderIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """A person, as a provider has proved them. Everything in it was verified.

    Attributes:
        provider: The name of the provider in the settings.
        issuer: Its issuer, as in the ID token.
        subject: The person there. It never changes, and with the issuer it names one person.
        email: Their address; "" if the provider tells none. It can change, and can be given to another person.
        email_verified: Whether the provider has proved that the address is theirs, and may be believed.
        name: What they are called; "" if unknown.
        amr: The methods that the provider has used (RFC 8176), if it is trusted to say so.
        auth_time: When the person signed in there, in seconds since 1970; None if unknown.
        session_id: The session there (`sid`), which a back-channel logout names; "" if unknown.
        tokens: The tokens for its APIs, None if they are not kept.
    """

    provider: str
    issuer: str
    subject: str
    email: str = ""
    email_verified: bool = False
    name: str = ""
    amr: tuple[str, ...] = ()
    auth_time: int | None = None
    session_id: str = ""
    tokens: ProviderTokens | None = None

    def __repr__(self) -> str:
        """Return a text without what names the person."""
        return f"ProviderIdentity({self.provider!r})"


class ProviderLogout(msgspec.Struct, frozen=True, kw_only=True):
    """A verified logout token (OpenID Connect Back-Channel Logout §2.4). `subject` or `session_id` may be "", not both.

    Times are seconds since 1970.
    """

    provider: str
    issuer: str
    jti: str
    issued_at: int
    expires_at: int
    subject: str = ""
    session_id: str = ""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The row that links a person at a provider to an account. Times are milliseconds since 1970.

    Attributes:
        id: Random. By it the person removes the link.
        issuer: See `ProviderIdentity`. Issuer and subject are unique together.
        subject: See there.
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
