"""The types that messages of several capabilities share. They parse what comes in, and the OpenAPI document describes them."""

from __future__ import annotations

import datetime
import functools
from typing import Annotated, Any

import msgspec

from ...crypto.jws import MAX_TOKEN_LENGTH
from ...domain.account import EMAIL_MAX_LENGTH, NAME_MAX_LENGTH, NAME_MAX_TYPED, PASSWORD_MAX_BYTES
from ...domain.delivery import DELIVERIES, Delivery
from ...domain.impersonation import Impersonator
from ...languages.choice import LANGUAGES


def described(text: str, **bounds: Any) -> msgspec.Meta:
    """Return the description of a field, with its bounds."""
    return msgspec.Meta(description=text, **bounds)


Email = Annotated[
    str, described("An e-mail address; case does not matter", max_length=EMAIL_MAX_LENGTH, examples=["ada@example.com"])
]
_EXAMPLE_PASSWORD = "write your own password here"  # noqa: S105 - which no account can have: it is a common password
Password = Annotated[str, described("The password", max_length=PASSWORD_MAX_BYTES, examples=[_EXAMPLE_PASSWORD])]
NewPassword = Annotated[
    str,
    described(
        "At most 256 characters after normalisation (NFC). The minimum is a setting of the service, 15 by default",
        max_length=PASSWORD_MAX_BYTES,
        examples=[_EXAMPLE_PASSWORD],
    ),
]
Language = Annotated[
    str,
    described(
        f"The language of the person's pages and mails: {', '.join(LANGUAGES)}; empty for that of each browser", max_length=8
    ),
]
Name = Annotated[
    str,
    described(
        f"What the person wants to be called: one line of at most {NAME_MAX_LENGTH} characters",
        max_length=NAME_MAX_TYPED,
        examples=["Ada Lovelace"],
    ),
]
Token = Annotated[str, described("A token, as the service issued it", max_length=MAX_TOKEN_LENGTH)]
Challenge = Annotated[str, described("The `challenge` that an answer had", max_length=4096)]
Ticket = Annotated[
    str, described("The `ticket` that an answer had, for clients without cookies: codes and challenges need it", max_length=64)
]
Seconds = Annotated[int, described("Whole seconds from now")]
Time = Annotated[datetime.datetime, described("UTC", tz=True)]
SessionId = Annotated[str, described("The id of the session; also the `sid` claim of its tokens")]
How = Annotated[
    Delivery,
    described(f"{'; '.join(f'`{name}`: {rule.travel}' for name, rule in DELIVERIES.items())}. Fixed at sign-in"),
]


class RequestShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The body of a request. It holds secrets, so its repr shows no field."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(****)"


class AnswerShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of an answer."""


class ActorShape(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """An operator who acts in the place of the person, for support (RFC 8693)."""

    id: Annotated[str, described("The operator's account")]
    reason: str
    write: Annotated[bool, described("Whether applications may accept changes. This service accepts none")]


def describe_actor(by: Impersonator) -> ActorShape:
    """Return who acts in a session in the place of its person."""
    return ActorShape(id=by.account_id, reason=by.reason, write=by.writes)


Acting = Annotated[ActorShape | msgspec.UnsetType, described("Only if an operator acts in the place of the person")]


@functools.lru_cache(maxsize=4096)
def utc(at_ms: int) -> datetime.datetime:
    """Return a time as JSON shows it (RFC 3339, UTC, whole seconds).

    Args:
        at_ms: Milliseconds since 1970.
    """
    return datetime.datetime.fromtimestamp(at_ms // 1000, tz=datetime.UTC)
