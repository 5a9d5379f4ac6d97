"""Other services with which people sign in (OpenID providers, GitHub): their settings, and what they say about a person."""

from __future__ import annotations

from typing import Literal

import msgspec

Preset = Literal["", "google", "microsoft", "apple", "github"]
"""What is known of a provider without asking it; "" for any OpenID provider."""
SecretPlace = Literal["", "header", "form"]
"""Where a client secret is sent; "" for where the provider says."""


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A provider, as the operator describes it.

    Attributes:
        name: What it is called in URLs and in the database: 1 to 32 of a-z, 0-9 and -. It must never change.
        preset: What is known of it without asking it.
        label: What the button on the sign-in page calls it.
        issuer: Its issuer, byte for byte as its ID tokens carry it in `iss`.
        client_id: What it calls this service.
        client_secret: The secret of this service there, "" for none.
        client_secret_file: The file of that secret, "" for none.
        client_secret_in: Where it is sent: some providers accept one place for each client, and do not say which.
        private_key: The key that signs in its place (`private_key_jwt`, Apple), as PEM; "" for none.
        private_key_file: The file of that key, "" for none.
        key_id: What the provider calls that key.
        team_id: The team at Apple, "" elsewhere.
        scopes: What is asked for.
        trusts_email: True to take its addresses for verified though it does not say so: it is the operator's own directory.
        keeps_tokens: True to keep its tokens for the application, sealed.
    """

    name: str
    preset: Preset
    label: str
    issuer: str
    client_id: str
    client_secret: str = ""
    client_secret_file: str = ""
    client_secret_in: SecretPlace = ""
    private_key: str = ""
    private_key_file: str = ""
    key_id: str = ""
    team_id: str = ""
    scopes: tuple[str, ...] = ()
    trusts_email: bool = False
    keeps_tokens: bool = False

    def __repr__(self) -> str:
        """Return a text without secrets."""
        return f"ProviderSettings(name={self.name!r}, issuer={self.issuer!r})"


class ProviderRequest(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What must be known of a sign-in with a provider when its answer comes. It is sealed, and bound to the browser.

    Attributes:
        provider: The name of the provider: an answer of another one is not accepted (mix-up, RFC 9700 §4.4).
        state: What the answer must repeat.
        nonce: What the ID token must repeat.
        verifier: The secret of PKCE (RFC 7636), which the provider gets with the code.
        redirect_uri: Where the answer is expected.
        max_age_s: The greatest age of the sign-in at the provider, None for any.
    """

    provider: str
    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    max_age_s: int | None = None

    def __repr__(self) -> str:
        """Return a text without secrets."""
        return f"ProviderRequest(provider={self.provider!r})"


class ProviderTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a provider, with which an application can use its API in the name of the person.

    Attributes:
        access_token: The access token.
        refresh_token: The refresh token, "" for none.
        scope: What they allow, "" if the provider does not say.
        expires_at_ms: When the access token expires, in milliseconds since 1970; None if the provider does not say.
    """

    access_token: str
    refresh_token: str = ""
    scope: str = ""
    expires_at_ms: int | None = None

    def __repr__(self) -> str:
        """Return a text without the tokens."""
        return f"ProviderTokens(scope={self.scope!r}, expires_at_ms={self.expires_at_ms!r})"


class ProviderIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says about a person who has just signed in there. All of it is verified to come from there.

    Attributes:
        provider: The name of the provider here.
        issuer: Its issuer. With `subject` it names the person for ever; an address does not.
        subject: Its id of the person: 1 to 255 printable characters.
        email: The address, as the provider writes it; "" for none.
        email_verified: True only if the provider says so, or if the operator trusts all its addresses.
        name: The name of the person for people, at most 200 characters; "" for none.
        amr: The methods with which the person signed in there (RFC 8176), if it says so.
        auth_time_s: When the person signed in there, in seconds since 1970; None if it does not say so.
        session_id: Its id of the session (`sid`), which a back-channel logout names; "" for none.
        tokens: The tokens, None unless `keeps_tokens` is set.
    """

    provider: str
    issuer: str
    subject: str
    email: str = ""
    email_verified: bool = False
    name: str = ""
    amr: tuple[str, ...] = ()
    auth_time_s: int | None = None
    session_id: str = ""
    tokens: ProviderTokens | None = None


class ProviderLogout(msgspec.Struct, frozen=True, kw_only=True):
    """A valid logout token (OpenID Connect Back-Channel Logout 1.0 §2.4): the sessions of a person there have ended.

    Attributes:
        provider: The name of the provider here.
        issuer: Its issuer.
        subject: Its id of the person, "" if only `session_id` is given.
        session_id: Its id of the session, "" for all sessions of the person.
        token_id: Its `jti`. The same one must not be accepted again until `expires_at_ms`.
        issued_at_ms: When it was made, in milliseconds since 1970. Sessions that began later are not meant.
        expires_at_ms: When it is not accepted any more.
    """

    provider: str
    issuer: str
    subject: str
    session_id: str
    token_id: str
    issued_at_ms: int
    expires_at_ms: int
