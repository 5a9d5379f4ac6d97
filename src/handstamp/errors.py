"""Every error that Handstamp raises, in one family.

```
HandstampError
├── InvalidRequest            invalid_request      what was sent cannot be understood
│   ├── InvalidFields                              it was understood, and single fields are wrong
│   ├── RequestTooLarge
│   └── UnsupportedMediaType
├── NotSignedIn               the request proves nobody's identity
│   ├── MissingToken          missing_token
│   ├── InvalidToken          invalid_token
│   ├── ExpiredToken          expired_token        it was good, and is over: refresh
│   ├── SessionEnded          session_ended        the one after which a client forgets its tokens
│   ├── InvalidCredentials    invalid_credentials
│   └── InvalidClient         invalid_client       a service, not a person, did not prove who it is
├── NotAllowed
│   ├── InsufficientScope     insufficient_scope
│   └── CrossSite             cross_site
├── NotFound                  not_found
├── AccountExists             account_exists
├── TooManyAttempts           too_many_attempts    has `retry_after_s`
├── Unavailable               unavailable          has `retry_after_s`; a dependency failed, nobody is signed out
└── ConfigurationError        configuration_error  the process refuses to start
```

`code` is stable: programs switch on it. `str(error)` is for people and never holds a secret. `InvalidToken.why` says which
check failed; it is for logs and for `handstamp token inspect`, and is never sent to whoever presented the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class HandstampError(Exception):
    """The root of the family. `code` names the kind of error for programs."""

    code: ClassVar[str] = "internal_error"


class InvalidRequest(HandstampError):
    """The request cannot be understood, or holds two answers to one question (cookie and body, say)."""

    code = "invalid_request"


class InvalidFields(InvalidRequest):
    """Fields with a wrong value: `fields` pairs each field's name with what is wrong and how to mend it."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        """Take (name, problem) pairs; the problems are shown to the person who typed the values."""
        super().__init__("; ".join(f"{name}: {problem}" if name else problem for name, problem in fields))
        self.fields = tuple(fields)


class RequestTooLarge(InvalidRequest):
    """The body is larger than any honest one."""


class UnsupportedMediaType(InvalidRequest):
    """The body is not of the media type that this endpoint reads."""


class NotSignedIn(HandstampError):
    """The request does not prove who is asking."""


class MissingToken(NotSignedIn):
    """No credential was sent where one is needed."""

    code = "missing_token"

    def __init__(self, needed: str = "This request needs an access token: send 'Authorization: Bearer <token>'.") -> None:
        """Say what to send."""
        super().__init__(needed)


class InvalidToken(NotSignedIn):
    """The token is not one of ours, not of this kind, or not for this audience; the answer never says which."""

    code = "invalid_token"

    def __init__(self, why: str) -> None:
        """Keep `why`, the check that failed, for logs only."""
        super().__init__("The token is not valid here.")
        self.why = why


class ExpiredToken(NotSignedIn):
    """The access token was ours and good, and its time is over. Refresh and try again."""

    code = "expired_token"

    def __init__(self) -> None:
        """Say what to do next."""
        super().__init__("The access token is over. Renew it with the refresh token, then try again.")


class SessionEnded(NotSignedIn):
    """The session is over for good; `reason` is one of `handstamp.domain.session.EndReason`.

    A verifier elsewhere learns only that it is over: `reason` is None there. Whoever then refreshes hears the reason.
    """

    code = "session_ended"

    def __init__(self, reason: str | None = None, *, session_lives: bool = False) -> None:
        """Keep the reason; the sentence shown for it belongs to whoever speaks to the person.

        `session_lives`: it is over for this old copy of its refresh token alone, somebody else of the same person goes on.
        """
        super().__init__(f"The session has ended{f' ({reason})' if reason else ''}. Sign in again.")
        self.reason = reason
        self.session_lives = session_lives


class InvalidCredentials(NotSignedIn):
    """Unknown address, wrong password or disabled account: one error, so that nobody learns which."""

    code = "invalid_credentials"

    def __init__(self) -> None:
        """Say the one sentence."""
        super().__init__("That e-mail address and password do not match.")


class InvalidClient(NotSignedIn):
    """A service sent no credential of its own, or a wrong one (RFC 6749 §5.2)."""

    code = "invalid_client"


class NotAllowed(HandstampError):
    """It is known who asks; this is not theirs to do, or not from there."""


class InsufficientScope(NotAllowed):
    """The access token lacks a scope or a role that the resource wants (RFC 6750 §3.1)."""

    code = "insufficient_scope"

    def __init__(self, *, scope: str = "", role: str = "") -> None:
        """Name what is wanted: a space-separated list of scopes, or a role."""
        wanted = f"the scope {scope!r}" if scope else f"the role {role!r}"
        super().__init__(f"The access token does not have {wanted}, which this needs.")
        self.scope = scope
        self.role = role


class CrossSite(NotAllowed):
    """Another site's page caused this request."""

    code = "cross_site"

    def __init__(self) -> None:
        """Say what an operator can change."""
        super().__init__(
            "This request came from a page of another origin. If that page is yours, add its origin to the trusted origins."
        )


class NotFound(HandstampError):
    """There is no such thing, or it belongs to somebody else; the answer is the same."""

    code = "not_found"


class AccountExists(HandstampError):
    """Somebody has registered this address already."""

    code = "account_exists"

    def __init__(self) -> None:
        """Say what to do instead."""
        super().__init__("There is an account with this e-mail address already. Sign in instead.")


class TooManyAttempts(HandstampError):
    """Too many failed sign-ins; try again in `retry_after_s` seconds."""

    code = "too_many_attempts"

    def __init__(self, retry_after_s: int) -> None:
        """Take the seconds until the next attempt is looked at."""
        super().__init__(f"Too many attempts that failed. Try again in {retry_after_s} seconds.")
        self.retry_after_s = retry_after_s


class Unavailable(HandstampError):
    """Something Handstamp depends on cannot answer now. Nobody was signed out and nothing was let in; try again."""

    code = "unavailable"

    def __init__(self, why: str, retry_after_s: int = 1) -> None:
        """Keep `why` for logs only: it may name files and servers."""
        super().__init__("The service cannot answer this right now, and nobody is signed out by that. Try again shortly.")
        self.why = why
        self.retry_after_s = retry_after_s


class ConfigurationError(HandstampError):
    """The process refuses to start as it is configured; `problems` names every mistake and its mend."""

    code = "configuration_error"

    def __init__(self, *problems: str) -> None:
        """Take one sentence a problem."""
        super().__init__("\n".join(problems))
        self.problems = problems
