"""From an HTTP request to claims, or to the answer that refuses it: what every adapter shares (RFC 6750).

An adapter hands in the method and a way to look up headers, and gets claims or an error of the family; `answer` turns the error
into status, headers and body. So all frameworks refuse alike, and as the service itself does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

import msgspec

from ..crypto.identifiers import new_id
from ..domain.claims import AccessClaims
from ..domain.issuer import Issuer, origin_of
from ..errors import ConfigurationError, HandstampError, InsufficientScope, InvalidRequest, InvalidToken, MissingToken
from ..wire import problems
from ..wire.cross_site import SAFE_METHODS
from ..wire.cross_site import check as check_origin
from .verifier import Check

HeaderValues = Callable[[str], Sequence[str]]
"""Returns all values of the header of that lower-case name."""
_log = logging.getLogger("handstamp.verify")


class Verifies(Protocol):
    """What tells whether a token holds: a `Verifier`, or an embedded Handstamp's."""

    @property
    def issuer(self) -> str:
        """Whose tokens these are."""

    def verify(self, token: str, *, check: Check | None = None) -> AccessClaims:
        """Return the claims of a token that holds."""

    async def verify_async(self, token: str, *, check: Check | None = None) -> AccessClaims:
        """Do the same without holding up an event loop."""


class Needs(NamedTuple):
    """What a route wants: all scopes of a space-separated list, a role, and how revocation is checked there."""

    scope: str = ""
    role: str = ""
    check: Check | None = None


class Answer(NamedTuple):
    """How a request is refused."""

    status: int
    headers: dict[str, str]
    body: bytes


class Bearer:
    """Authenticates requests with one verifier."""

    def __init__(self, verifier: Verifies, *, trusted_origins: Collection[str] = ()) -> None:
        """Take the verifier, and the origins (`https://app.example.com`) whose pages may use the access cookie here.

        The cookie comes only where this application and the service share a host; the service's own origin is trusted.
        Raises `ConfigurationError` for an origin that no browser would send.
        """
        self.verifier = verifier
        issuer = Issuer(verifier.issuer)
        self._own_origin = issuer.origin
        self._trusted = frozenset(_sound_origins(trusted_origins))
        self.cookie = access_cookie(secure=issuer.is_https)

    def authenticate(self, method: str, values: HeaderValues, needs: Needs = Needs()) -> AccessClaims:  # noqa: B008 - immutable
        """Return the claims of whoever asks. May ask the service, and then takes as long as that.

        Raises `MissingToken`, `InvalidToken`, `ExpiredToken`, `SessionEnded`, `InsufficientScope`, `CrossSite`,
        `InvalidRequest`, `Unavailable`.
        """
        return suffices(self.verifier.verify(self.token(method, values), check=needs.check), needs)

    async def authenticate_async(
        self,
        method: str,
        values: HeaderValues,
        needs: Needs = Needs(),  # noqa: B008 - immutable
    ) -> AccessClaims:
        """Do the same without holding up an event loop."""
        return suffices(await self.verifier.verify_async(self.token(method, values), check=needs.check), needs)

    def token(self, method: str, values: HeaderValues) -> str:
        """Return the access token from `Authorization`, or else from its cookie, which must not come from another site's page."""
        cookies = cookie_values(values("cookie")).get(self.cookie)
        if cookies is not None and method not in SAFE_METHODS:
            check_origin(values("sec-fetch-site"), values("origin"), own=self._own_origin, trusted=self._trusted)
        token = bearer_token(values("authorization"))
        if token is None and cookies is not None:
            token = only_value(self.cookie, cookies)
        if token is None:
            raise MissingToken
        return token


def bearer_token(authorization: Sequence[str]) -> str | None:
    """Return the token of the `Authorization` header, None where it is absent or of another scheme (RFC 6750 §2.1)."""
    if len(authorization) > 1:
        raise InvalidRequest("There is more than one Authorization header.")
    scheme, _, token = (authorization[0] if authorization else "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    if not token:
        raise InvalidToken("Authorization: Bearer without a token")
    return token.strip(" ")


def access_cookie(*, secure: bool) -> str:
    """Return the name of the access token's cookie; the prefix keeps sibling subdomains from setting it (ASVS 3.3)."""
    return "__Host-handstamp-access" if secure else "handstamp-access"


def cookie_values(headers: Sequence[str]) -> dict[str, set[str]]:
    """Return all values of each cookie: a reader that takes the first or the last could be fed a foreign one (T16).

    Around a name only spaces and tabs are no part of it (RFC 6265 §5.2). To a browser a no-break space before `__Host-` makes it
    another name, without the prefix's protection.
    """
    found: dict[str, set[str]] = {}
    for header in headers:
        for pair in header.split(";"):
            name, _, value = pair.partition("=")
            found.setdefault(name.strip(" \t"), set()).add(value.strip(" \t").strip('"'))
    return found


def only_value(name: str, values: set[str]) -> str | None:
    """Return the one value of a cookie, None for an empty one. Raises `InvalidRequest` where there are two."""
    distinct = values - {""}
    if len(distinct) > 1:
        raise InvalidRequest(f"There are two different cookies named {name}: delete this site's cookies and sign in again.")
    return next(iter(distinct), None)


def answer(error: HandstampError) -> Answer:
    """Return how `error` is told to the client; what only the log may see goes there, under the same request id.

    A `ConfigurationError` is the application's own mistake, not an answer: it is raised again, for whoever runs it to see.
    """
    if isinstance(error, ConfigurationError):
        raise error
    instance = new_id()
    sent = problems.problem(error, instance=instance)
    level = logging.WARNING if sent.status >= 500 else logging.INFO
    _log.log(level, "request refused: %s, %s (request %s)", error.code, getattr(error, "why", "") or "-", instance)
    return Answer(sent.status, problems.headers(error) | {"content-type": problems.MEDIA_TYPE}, msgspec.json.encode(sent))


def suffices(claims: AccessClaims, needs: Needs) -> AccessClaims:
    """Return the claims if they have the scopes and the role. Raises `InsufficientScope`."""
    if needs.scope and not set(needs.scope.split()) <= set(claims.scope.split()):
        raise InsufficientScope(scope=needs.scope)
    if needs.role and needs.role not in claims.roles:
        raise InsufficientScope(role=needs.role)
    return claims


def _sound_origins(origins: Collection[str]) -> Collection[str]:
    if isinstance(origins, str):  # it would be taken for a list of letters
        raise ConfigurationError(f"trusted_origins is a list: write [{origins!r}].")
    wrong = [origin for origin in origins if origin != origin_of(origin)]
    if wrong:
        raise ConfigurationError(*(f"No browser sends the origin {it!r}: write it as 'https://app.example.com'." for it in wrong))
    return origins
