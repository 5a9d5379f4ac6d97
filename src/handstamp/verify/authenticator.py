"""Authenticates an HTTP request, or makes the answer that refuses it (RFC 6750). Every adapter uses this.

An adapter passes the method and a function that looks up headers. It gets the claims or an error; `refuse` turns an error into
status, headers and body. So all frameworks refuse alike, and as the service does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, MutableMapping
from typing import Any, Literal, NamedTuple, Protocol, get_args

import msgspec

from ..crypto.dpop import DpopProofs
from ..crypto.identifiers import new_id
from ..domain.assurance import is_as_strong
from ..domain.claims import AccessClaims
from ..domain.duration import parse_duration
from ..domain.issuer import Issuer, origin_of
from ..errors import (
    ConfigurationError,
    HandstampError,
    Impersonated,
    InsufficientAuthentication,
    InsufficientScope,
    MissingToken,
)
from ..forking import ProcessLock
from ..wire import HeaderValues
from ..wire.bearer import sent_token
from ..wire.cookies import cookie_name, only_value, parse_cookies
from ..wire.cross_site import SAFE_METHODS, require_allowed_origin
from ..wire.problems import Refusal, refusal_of
from .resource import Resource
from .verifier import Check, is_stricter, require_possible

Impersonation = Literal["safe", "write", "always", "never"]
"""When a route serves an operator who acts in the place of a person, for support.

- `safe`: for GET, HEAD and OPTIONS, and for all methods if the token has the scope `write`.
- `write`: only if the token has that scope, as for a GET that changes something.
- `always`: for all methods, as for a POST that only reads.
- `never`.
"""
_IMPERSONATIONS = get_args(Impersonation)
_ACR = re.compile(r"[!#-\[\]-~]{1,255}", re.ASCII)
"""A value that can be written into a challenge between quotes (RFC 9470 §3)."""
_log = logging.getLogger("handstamp.verify")


class AnyVerifier(Protocol):
    """A `Verifier`, or `Handstamp.verifier` of the embedded service."""

    @property
    def issuer(self) -> str:
        """The issuer whose tokens are accepted."""

    @property
    def check(self) -> Check:
        """The policy of routes that do not declare one."""

    @property
    def follows_feed(self) -> bool:
        """True if `confirm` can tell that a session has ended."""

    @property
    def max_staleness_s(self) -> float:
        """Seconds that may pass until `confirm` tells it."""

    def verify(
        self, token: str, *, check: Check | None = None, proved: str | None = None, impersonation: bool = False
    ) -> AccessClaims:
        """Return the claims of a valid token."""

    async def verify_async(
        self, token: str, *, check: Check | None = None, proved: str | None = None, impersonation: bool = False
    ) -> AccessClaims:
        """Do the same without blocking the event loop."""

    def now_ms(self) -> int:
        """Return the time by the verifier's clock."""

    def is_recent(self, claims: AccessClaims, *, max_age_s: int) -> bool:
        """Return whether the person of verified claims proved who they are at most `max_age_s` seconds ago."""

    async def confirm(self, claims: AccessClaims) -> None:
        """Raise `SessionEnded` if the session of the claims has ended, `Unavailable` if that is unknown."""


class Needs(NamedTuple):
    """What a route requires."""

    scope: str = ""
    """A space-separated list of scopes, all of which are required."""
    role: str = ""
    check: Check | None = None
    """How to learn that the session has ended."""
    fresh_s: int | None = None
    """How many seconds ago the person may have proved who they are, None for as long as the session lives."""
    acr: str = ""
    """How strongly they must have proved it: `pwd`, `mfa`, `phr` or a value of the application's own, "" for anyhow."""
    impersonation: Impersonation = "safe"

    def for_socket(self) -> Needs:
        """Return what a WebSocket requires here: its messages may change something, so it is no safe method."""
        return self._replace(impersonation="write") if self.impersonation == "safe" else self


class _Sent(msgspec.Struct, frozen=True, gc=False):
    """An access token as it was sent."""

    token: str
    is_dpop: bool
    """True if it must come with a proof of its key. A token that is bound to one is valid in no other way."""
    proved: str | None
    """What `Verifier.verify` requires of the key. The proof is read afterwards, so that strangers' proofs cost nothing."""


class _Verified(msgspec.Struct, frozen=True, gc=False):
    """What has been verified for a request: another requirement of the same request need not verify it again."""

    sent: _Sent
    check: Check
    claims: AccessClaims


class Authenticator:
    """Authenticates requests with one verifier."""

    def __init__(
        self,
        verifier: AnyVerifier | Callable[[], AnyVerifier],
        *,
        trusted_origins: Collection[str] = (),
        resource: str | None = None,
    ) -> None:
        """Create it.

        Args:
            verifier: Verifies the access tokens, or a function that creates the verifier when it is first needed.
            trusted_origins: Origins (`https://app.example.com`) whose pages may send unsafe requests with the access cookie. The
                issuer's own origin is always trusted. Browsers send the cookie only if this application and the service share a
                host name.
            resource: The public URL of this API. Proofs of programs are for URLs of its origin (RFC 9449): without it, no token
                that is bound to a key can be used here. It also tells clients where tokens come from (RFC 9728): challenges
                name its metadata and the scopes that a route requires.

        Raises:
            ConfigurationError: An origin is not in the form that browsers send, or `resource` is no https URL without query.
        """
        self._resource = None if resource is None else Resource(resource)
        self._proofs = DpopProofs("" if resource is None else origin_of(resource))
        self._scopes: set[str] = set()
        self._make_verifier: Callable[[], AnyVerifier] | None = None
        self._making = ProcessLock()
        self._trusted = frozenset(_require_origins(trusted_origins))
        self._declared: set[Check] = set()
        if callable(verifier):
            self._make_verifier = verifier
        else:
            self._use(verifier)

    @property
    def verifier(self) -> AnyVerifier:
        """The verifier. Raises what the function raises that makes it."""
        if self._make_verifier is not None:
            with self._making:  # several first requests may arrive at once
                if self._make_verifier is not None:
                    self._use(self._make_verifier())
        return self._verifier

    @property
    def cookie(self) -> str:
        """The name of the access cookie."""
        _ = self.verifier
        return self._cookie

    @property
    def accepts_bound_tokens(self) -> bool:
        """Whether tokens that are bound to a key can be used here: the URL of this API is configured."""
        return self._resource is not None

    def declare(
        self,
        scope: str,
        role: str,
        check: Check | None,
        fresh: str | int | None = None,
        acr: str = "",
        *,
        impersonation: Impersonation = "safe",
    ) -> Needs:
        """Return the requirements of a route.

        Raises:
            ConfigurationError: `fresh` is no duration, `acr` is no single word, `impersonation` is unknown, or `check` is unknown
                or needs a credential that the verifier does not have. If the verifier does not exist yet, its function raises
                the last one later.
        """
        needs = make_needs(scope, role, check, fresh, acr, impersonation=impersonation)
        self._scopes.update(scope.split())
        if check is not None:
            self._declared.add(check)
            if self._make_verifier is None:
                require_possible(check, follows_feed=self._verifier.follows_feed)
        return needs

    def resource_metadata(self) -> dict[str, Any]:
        """Return the metadata of the protected resource (RFC 9728 §2), with the scopes that its routes have declared.

        Raises:
            ConfigurationError: The `resource` is not known.
        """
        if self._resource is None:
            raise ConfigurationError("Give the URL of this API as resource='https://api.example.com' to describe it.")
        return self._resource.metadata(self.verifier.issuer, sorted(self._scopes))

    def refuse(self, error: HandstampError, needs: Needs = Needs()) -> Refusal:  # noqa: B008 - immutable
        """Return the answer to a request that failed, as the function `refuse`. The challenge says where to get a token."""
        refusal = refuse(error)
        challenge = refusal.headers.get("www-authenticate")
        if challenge is not None and self._resource is not None:
            refusal.headers["www-authenticate"] = self._resource.describe(challenge, needs.scope)
        return refusal

    def authenticate(
        self,
        method: str,
        values: HeaderValues,
        needs: Needs = Needs(),  # noqa: B008 - immutable
        *,
        path: str = "",
        memory: MutableMapping[str, Any] | None = None,
    ) -> AccessClaims:
        """Return the claims of a request. Blocks if the service must be asked.

        Args:
            method: The HTTP method in upper case.
            values: Looks up the headers of the request.
            needs: What the route requires.
            path: The whole path of the request, decoded, with the prefix under which the application is mounted.
            memory: Belongs to this request alone. If an earlier call for the request has verified the token as strictly, its
                result is used again.

        Raises:
            InvalidRequest: There are two tokens of one kind.
            MissingToken: There is none.
            CrossSite: The access cookie came with an unsafe request of another origin's page.
            InsufficientScope, InsufficientAuthentication, Impersonated: As `require`.
            BoundTokenRefused: The token is bound to a key, and its proof is not valid for this request.
            InvalidToken, ExpiredToken, SessionEnded, Unavailable, ConfigurationError: As `Verifier.verify`, and if the token is
                bound to a key and `resource` is not configured.
        """
        verifier = self.verifier
        sent = self._token(method, values)
        known = None if memory is None else self._recall(memory, sent)
        try:
            if known is not None and self._is_as_strict(known, needs):
                return self.require(known.claims, needs, method)
            claims = verifier.verify(sent.token, check=needs.check, proved=sent.proved, impersonation=True)
            if sent.is_dpop and known is None:
                self._require_proof(claims, sent.token, method, path, values)
            if memory is not None:
                memory[self._memory_key] = _Verified(sent, needs.check or verifier.check, claims)
            return self.require(claims, needs, method)
        except HandstampError as error:
            error.is_dpop = sent.is_dpop
            raise

    async def authenticate_async(
        self,
        method: str,
        values: HeaderValues,
        needs: Needs = Needs(),  # noqa: B008 - immutable
        *,
        path: str = "",
        memory: MutableMapping[str, Any] | None = None,
    ) -> AccessClaims:
        """Do the same as `authenticate` without blocking the event loop."""
        verifier = self.verifier
        sent = self._token(method, values)
        known = None if memory is None else self._recall(memory, sent)
        try:
            if known is not None and self._is_as_strict(known, needs):
                return self.require(known.claims, needs, method)
            claims = await verifier.verify_async(sent.token, check=needs.check, proved=sent.proved, impersonation=True)
            if sent.is_dpop and known is None:
                self._require_proof(claims, sent.token, method, path, values)
            if memory is not None:
                memory[self._memory_key] = _Verified(sent, needs.check or verifier.check, claims)
            return self.require(claims, needs, method)
        except HandstampError as error:
            error.is_dpop = sent.is_dpop
            raise

    def _require_proof(self, claims: AccessClaims, token: str, method: str, path: str, values: HeaderValues) -> None:
        """Read the proof that came with a valid token, once for a request (RFC 9449 §7)."""
        if self._resource is None and claims.cnf is not None:
            raise ConfigurationError(
                "A token that is bound to a key came (DPoP). Give the public URL of this API, for example "
                "resource='https://api.example.com': proofs are made for it, and no header of the request tells it reliably."
            )
        self._proofs.require(claims, token, values("dpop"), method=method, path=path, now_ms=self._verifier.now_ms())

    def require(self, claims: AccessClaims, needs: Needs, method: str) -> AccessClaims:
        """Return verified claims if they have what a route requires of a person for a method.

        Raises:
            Impersonated: An operator acts in the place of the person, and the route does not serve them, or asks for a proof.
            InsufficientScope: They lack a scope or the role.
            InsufficientAuthentication: The person proved too long ago, or not strongly enough, who they are (RFC 9470).
        """
        refused: HandstampError
        if claims.actor is not None and not _serves_operator(claims, needs, method):
            refused = Impersonated()
        elif needs.scope and not set(needs.scope.split()) <= set(claims.scope.split()):
            refused = InsufficientScope(scope=needs.scope)
        elif needs.role and needs.role not in claims.roles:
            refused = InsufficientScope(role=needs.role)
        elif (needs.acr and not is_as_strong(claims.acr, needs.acr)) or (
            needs.fresh_s is not None and not self.verifier.is_recent(claims, max_age_s=needs.fresh_s)
        ):
            refused = InsufficientAuthentication(max_age_s=needs.fresh_s, acr=needs.acr)
        else:
            return claims
        refused.is_dpop = claims.cnf is not None
        raise refused

    def satisfies(self, memory: MutableMapping[str, Any], needs: Needs) -> bool:
        """Return whether this request's token was verified as strictly as a route needs, or was not verified at all.

        In the latter case the claims are not ours: a test has replaced them.
        """
        known: _Verified | None = memory.get(self._memory_key)
        return known is None or self._is_as_strict(known, needs)

    def _use(self, verifier: AnyVerifier) -> None:
        for check in tuple(self._declared):  # another thread may declare one
            require_possible(check, follows_feed=verifier.follows_feed)
        issuer = Issuer(verifier.issuer)
        self._verifier = verifier
        self._memory_key = f"handstamp.verified.{id(verifier)}"  # a route may accept the tokens of two issuers
        self._own_origin = issuer.origin
        self._cookie = cookie_name("access", issuer)
        self._make_verifier = None

    def _recall(self, memory: MutableMapping[str, Any], sent: _Sent) -> _Verified | None:
        known: _Verified | None = memory.get(self._memory_key)
        return None if known is None or known.sent != sent else known

    def _is_as_strict(self, known: _Verified, needs: Needs) -> bool:
        return not is_stricter(needs.check or self._verifier.check, known.check)

    def _token(self, method: str, values: HeaderValues) -> _Sent:
        """Return the access token of the `Authorization` header, or else of the access cookie."""
        sent_cookies = values("cookie")
        cookies = parse_cookies(sent_cookies).get(self._cookie) if sent_cookies else None
        if cookies is not None and method not in SAFE_METHODS:
            require_allowed_origin(values, carries_cookie=True, own=self._own_origin, trusted=self._trusted)
        token, is_dpop = sent_token(values("authorization"))
        if token is None and cookies is not None:
            token = only_value(self._cookie, cookies)
        if token is None:
            raise MissingToken
        return _Sent(token, is_dpop, "any" if is_dpop else None)


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


def make_needs(
    scope: str = "",
    role: str = "",
    check: Check | None = None,
    fresh: str | int | None = None,
    acr: str = "",
    *,
    impersonation: Impersonation = "safe",
) -> Needs:
    """Return the requirements of a route as they are written in its declaration.

    Args:
        scope: A space-separated list.
        role: A role.
        check: How to learn that the session has ended.
        fresh: The longest time since the person proved who they are, as "5m" or in seconds.
        acr: How strongly they must have proved it.
        impersonation: When it serves an operator who acts in the place of the person.

    Raises:
        ConfigurationError: `fresh` is no duration, `acr` is no single word, or `impersonation` is unknown.
    """
    if impersonation not in _IMPERSONATIONS:
        raise ConfigurationError(f"impersonation must be one of {', '.join(_IMPERSONATIONS)}, not {impersonation!r}.")
    if acr and not _ACR.fullmatch(acr):
        raise ConfigurationError(f"acr names one class, such as 'mfa'; not {acr!r}.")
    try:
        fresh_s = None if fresh is None else parse_duration(fresh)
    except ValueError:
        raise ConfigurationError(f"fresh is a duration, as '5m', '1h' or a number of seconds; not {fresh!r}.") from None
    return Needs(scope, role, check, fresh_s, acr, impersonation)


def _serves_operator(claims: AccessClaims, needs: Needs, method: str) -> bool:
    """Return whether a route serves an operator who acts in the place of a person. One who must prove who they are cannot."""
    if needs.fresh_s is not None or needs.acr or needs.impersonation == "never":
        return False
    is_reading = needs.impersonation == "safe" and method in SAFE_METHODS
    return is_reading or needs.impersonation == "always" or not claims.is_read_only


def _require_origins(origins: Collection[str]) -> Collection[str]:
    if isinstance(origins, str):  # a string is a collection too: of its characters
        raise ConfigurationError(f"trusted_origins is a list: write [{origins!r}].")
    wrong = [origin for origin in origins if origin != origin_of(origin)]
    if wrong:
        raise ConfigurationError(*(f"No browser sends the origin {it!r}: write it as 'https://app.example.com'." for it in wrong))
    return origins
