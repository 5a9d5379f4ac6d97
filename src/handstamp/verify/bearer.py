"""From an HTTP request to claims, or to the answer that refuses it: what every adapter shares (RFC 6750).

An adapter hands in the method and a way to look up headers, and gets claims or an error of the family; `refuse` turns the error
into status, headers and body. So all frameworks refuse alike, and as the service itself does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from ..crypto.identifiers import new_id
from ..domain.claims import AccessClaims
from ..domain.issuer import Issuer, origin_of
from ..errors import ConfigurationError, HandstampError, InsufficientScope, MissingToken
from ..wire.bearer import bearer_token
from ..wire.cookies import access_cookie, only_value, parse_cookies
from ..wire.cross_site import SAFE_METHODS, require_allowed_origin
from ..wire.problems import Refusal, refusal_of
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
        cookies = parse_cookies(values("cookie")).get(self.cookie)
        if cookies is not None and method not in SAFE_METHODS:
            require_allowed_origin(values("sec-fetch-site"), values("origin"), own=self._own_origin, trusted=self._trusted)
        token = bearer_token(values("authorization"))
        if token is None and cookies is not None:
            token = only_value(self.cookie, cookies)
        if token is None:
            raise MissingToken
        return token


def refuse(error: HandstampError) -> Refusal:
    """Return the answer to a request that failed, and log the details under the same request id.

    Raises:
        ConfigurationError: `error` is one. That is the application's own mistake, and no client should see it.
    """
    if isinstance(error, ConfigurationError):
        raise error
    instance = new_id()
    refusal = refusal_of(error, instance=instance)
    level = logging.WARNING if refusal.status >= 500 else logging.INFO
    _log.log(level, "request refused: %s, %s (request %s)", error.code, getattr(error, "why", "") or "-", instance)
    return refusal


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
