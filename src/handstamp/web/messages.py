"""The bodies of requests and answers. They parse what comes in, and the OpenAPI document is made of them."""

from __future__ import annotations

import datetime
import functools
from typing import Annotated, Any

import msgspec

from ..crypto.jws import MAX_TOKEN_LENGTH
from ..domain.account import EMAIL_MAX_LENGTH, PASSWORD_MAX_BYTES, Account
from ..domain.grant import NOTHING
from ..domain.session import Delivery, Session
from ..service.parts.granting import combine_grants
from ..service.sessions.revocations import Page


def _described(text: str, **bounds: Any) -> msgspec.Meta:
    return msgspec.Meta(description=text, **bounds)


Email = Annotated[
    str, _described("An e-mail address; case does not matter", max_length=EMAIL_MAX_LENGTH, examples=["ada@example.com"])
]
Password = Annotated[str, _described("The password", max_length=PASSWORD_MAX_BYTES, examples=["a sentence only ada would say"])]
NewPassword = Annotated[
    str,
    _described(
        "At most 256 characters, counted after normalisation (NFC); how many at least is the service's setting, 15 by default",
        max_length=PASSWORD_MAX_BYTES,
        examples=["a sentence only ada would say"],
    ),
]
Token = Annotated[str, _described("A token, as it was answered", max_length=MAX_TOKEN_LENGTH)]
Seconds = Annotated[int, _described("Whole seconds from now")]
Time = Annotated[datetime.datetime, _described("UTC", tz=True)]
SessionId = Annotated[str, _described("Names the session; also the `sid` claim of its tokens")]
How = Annotated[
    Delivery,
    _described(
        "`json`: both tokens in bodies; `split`: the refresh token as a cookie; `cookie`: both as cookies. Fixed at sign-in"
    ),
]


class _Request(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What a client sends. Holds secrets, so it is never shown."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(****)"


class RegisterRequest(_Request, frozen=True, kw_only=True, rename="camel"):
    """Make an account."""

    email: Email
    password: NewPassword


class LoginRequest(_Request, frozen=True, kw_only=True, rename="camel"):
    """Sign in. `delivery` says how the session's tokens travel; the default is `split` for browsers and `json` for others."""

    email: Email
    password: Password
    delivery: How | msgspec.UnsetType = msgspec.UNSET


class RefreshRequest(_Request, frozen=True, kw_only=True, rename="camel"):
    """Renew. Sessions whose refresh token is a cookie send no body."""

    refresh_token: Token


class LogoutRequest(_Request, frozen=True, kw_only=True, rename="camel"):
    """Any token of the session, valid, expired or already rotated."""

    refresh_token: Token | msgspec.UnsetType = msgspec.UNSET
    access_token: Token | msgspec.UnsetType = msgspec.UNSET


class PasswordRequest(_Request, frozen=True, kw_only=True, rename="camel"):
    """Change the password."""

    current_password: Password
    new_password: Annotated[NewPassword, msgspec.Meta(examples=["another sentence, known to nobody else"])]


class _Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the service sends."""


class TokenAnswer(_Answer, frozen=True, kw_only=True, rename="camel"):
    """A session's tokens, without those that travel as cookies. Lifetimes are whole seconds."""

    access_token: str | msgspec.UnsetType = msgspec.UNSET
    token_type: str
    expires_in: Seconds
    refresh_token: str | msgspec.UnsetType = msgspec.UNSET
    refresh_expires_in: Seconds
    session_id: SessionId

    def __repr__(self) -> str:
        """Name the session; the tokens are its owner's."""
        return f"TokenAnswer(session_id={self.session_id!r})"


class User(_Answer, frozen=True, kw_only=True, rename="camel"):
    """A person's account."""

    id: str
    email: str
    email_verified: bool
    roles: tuple[str, ...]
    created_at: Time


class RegisterAnswer(_Answer, frozen=True, kw_only=True, rename="camel"):
    """The account that was made."""

    user: User


class ThisSession(_Answer, frozen=True, kw_only=True, rename="camel"):
    """The session that asks."""

    id: str
    created_at: Time
    authenticated_at: Time
    expires_at: Time


class ProfileAnswer(_Answer, frozen=True, kw_only=True, rename="camel"):
    """Who is signed in. `email` and what follows from an account are null where the subject is no account of this service."""

    id: str
    email: str | None
    email_verified: bool
    roles: tuple[str, ...]
    created_at: Time | None
    session: ThisSession


class SessionEntry(_Answer, frozen=True, kw_only=True, rename="camel"):
    """One of a person's living sessions."""

    id: str
    current: bool
    created_at: Time
    seen_at: Time
    expires_at: Time
    user_agent: str
    ip: str
    delivery: How


class SessionsAnswer(_Answer, frozen=True, kw_only=True, rename="camel"):
    """A person's living sessions, last seen first."""

    sessions: tuple[SessionEntry, ...]


class JwksAnswer(_Answer, frozen=True, kw_only=True, rename="camel"):
    """The public keys that access tokens are signed with (RFC 7517 §5)."""

    keys: tuple[dict[str, str], ...]


class _Form(msgspec.Struct, frozen=True, kw_only=True):
    """What other software sends, as a form. What is unknown in it is passed over (RFC 6749 §3.2). Holds secrets."""

    client_id: Annotated[str, _described("Instead of HTTP Basic authentication")] = ""
    client_secret: Annotated[str, _described("With `client_id`")] = ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(****)"


class TokenForm(_Form, frozen=True, kw_only=True):
    """Renew (RFC 6749 §6), for software that speaks OAuth 2. `client_id` is `handstamp` or absent; there is no secret."""

    grant_type: Annotated[str, _described("`refresh_token`", examples=["refresh_token"])]
    refresh_token: Token = ""
    scope: Annotated[str, _described("At most what the session has")] = ""


class RevokeForm(_Form, frozen=True, kw_only=True):
    """End the session of a token of either kind (RFC 7009 §2.1). `client_id` is `handstamp` or absent."""

    token: Token
    token_type_hint: Annotated[str, _described("Is not needed")] = ""


class IntrospectForm(_Form, frozen=True, kw_only=True):
    """Ask whether an access token holds (RFC 7662 §2.1)."""

    token: Token
    token_type_hint: Annotated[str, _described("Is not needed")] = ""


class OAuthTokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The new pair (RFC 6749 §5.1). Lifetimes are whole seconds."""

    access_token: str
    token_type: str
    expires_in: Seconds
    refresh_token: str
    refresh_expires_in: Seconds
    session_id: SessionId

    def __repr__(self) -> str:
        """Name the session; the tokens are its owner's."""
        return f"OAuthTokenAnswer(session_id={self.session_id!r})"


class IntrospectAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether an access token holds, and what it says if it does (RFC 7662 §2.2)."""

    active: bool
    iss: str = ""
    aud: str | tuple[str, ...] = ""
    sub: str = ""
    client_id: str = ""
    token_type: str = ""
    iat: int = 0
    exp: int = 0
    jti: str = ""
    sid: str = ""
    auth_time: int = 0
    scope: str = ""
    roles: tuple[str, ...] = ()


class OAuthProblem(msgspec.Struct, frozen=True, kw_only=True):
    """An error of the OAuth endpoints (RFC 6749 §5.2). Switch on `error`."""

    error: str
    error_description: Annotated[str, _described("For people")]


class MetadataAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where things are (RFC 8414 §2)."""

    issuer: str
    jwks_uri: str
    token_endpoint: str
    revocation_endpoint: str
    introspection_endpoint: str
    grant_types_supported: tuple[str, ...] = ("refresh_token",)
    response_types_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("none",)
    revocation_endpoint_auth_methods_supported: tuple[str, ...] = ("none",)
    introspection_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic", "client_secret_post")


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something whose tokens are void until `exp`, seconds since 1970: a session (`sid`) or a signing key (`kid`)."""

    sid: str = ""
    kid: str = ""
    exp: int


class RevocationsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What ended since the cursor that was sent."""

    entries: tuple[Entry, ...]
    cursor: Annotated[str, _described("Send it as `after` next time")]
    snapshot: Annotated[bool, _described("Everything from the beginning: the cursor was unknown")]
    more: Annotated[bool, _described("There is more already: ask again at once")]
    now: Annotated[int, _described("The service's time, seconds since 1970")]


class HealthAnswer(_Answer, frozen=True, kw_only=True, rename="camel"):
    """The service's state, in a word."""

    status: str


@functools.lru_cache(maxsize=4096)
def utc(at_ms: int) -> datetime.datetime:
    """Return milliseconds since 1970 as the time that JSON shows (RFC 3339, UTC)."""
    return datetime.datetime.fromtimestamp(at_ms // 1000, tz=datetime.UTC)


def user(account: Account) -> User:
    """Return what a person may see of their account."""
    return User(
        id=account.id,
        email=account.email,
        email_verified=account.email_verified,
        roles=account.roles,
        created_at=utc(account.created_at_ms),
    )


def profile(session: Session, account: Account | None) -> ProfileAnswer:
    """Return who is signed in, by which session."""
    return ProfileAnswer(
        id=session.subject,
        email=account.email if account else None,
        email_verified=account.email_verified if account else False,
        roles=combine_grants(session, account, NOTHING).roles,
        created_at=utc(account.created_at_ms) if account else None,
        session=ThisSession(
            id=session.id,
            created_at=utc(session.created_at_ms),
            authenticated_at=utc(session.authenticated_at_ms),
            expires_at=utc(session.expires_at_ms),
        ),
    )


def session_entry(session: Session, *, current: str) -> SessionEntry:
    """Return one line of a person's list; `current` is the id of the session that asks."""
    return SessionEntry(
        id=session.id,
        current=session.id == current,
        created_at=utc(session.created_at_ms),
        seen_at=utc(session.seen_at_ms),
        expires_at=utc(session.expires_at_ms),
        user_agent=session.user_agent,
        ip=session.ip,
        delivery=session.delivery,
    )


def field_problems(shape: type[msgspec.Struct], members: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (field, what is wrong) for every field of a body that does not fit its shape."""
    known = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    problems = [(name, "is not a field of this request") for name in members if name not in known]
    for name, field in known.items():
        if name not in members:
            if field.required:
                problems.append((name, "is missing"))
            continue
        try:
            msgspec.convert(members[name], field.type)
        except msgspec.ValidationError as problem:
            problems.append((name, str(problem)))
    return problems


def revocations(page: Page, now_ms: int) -> RevocationsAnswer:
    """Return what the feed says."""
    return RevocationsAnswer(
        entries=tuple(Entry(exp=entry.exp_s, **{entry.kind: entry.name}) for entry in page.entries),
        cursor=page.cursor,
        snapshot=page.is_snapshot,
        more=page.has_more,
        now=now_ms // 1000,
    )


def metadata(issuer: str) -> MetadataAnswer:
    """Return the document of RFC 8414 for an issuer."""
    return MetadataAnswer(
        issuer=issuer,
        jwks_uri=f"{issuer}/.well-known/jwks.json",
        token_endpoint=f"{issuer}/token",
        revocation_endpoint=f"{issuer}/revoke",
        introspection_endpoint=f"{issuer}/introspect",
    )
