"""Access tokens of any content, and a real verifier that accepts them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from ..crypto import jws
from ..crypto.dpop import make_dpop_proof
from ..crypto.identifiers import new_id
from ..crypto.jwk import KeySet, SigningKey
from ..domain.claims import ACCESS_TYPE, AccessClaims, ActorClaim, Confirmation
from ..domain.grant import parse_grant, parse_subject
from ..domain.issuer import Issuer
from ..domain.policy import MAX_LEEWAY_S
from ..errors import HandstampError, Unavailable
from ..verify.cache import Cache
from ..verify.jwks import GivenKeys
from ..verify.revocations import RevocationSet
from ..verify.service import Introspection
from ..verify.verifier import Verifier
from ..wire.cookies import cookie_name
from .clock import VirtualClock
from .feed import LocalFeed

_CACHE_SIZE = 1000


class SignedIn:
    """A signed-in user: an access token, and its session."""

    def __init__(self, issuer: LocalIssuer, claims: AccessClaims, token: str, key: SigningKey | None = None) -> None:
        """Create it; use `LocalIssuer.signed_in` in tests."""
        self._issuer = issuer
        self._key = key
        self.claims = claims
        """What the token says."""
        self.token = token
        """The access token."""

    @property
    def headers(self) -> dict[str, str]:
        """The header that carries the token as a bearer token, as which one that is bound to a key is refused."""
        return {"Authorization": f"Bearer {self.token}"}

    def headers_for(self, method: str, url: str) -> dict[str, str]:
        """Return the headers for one request with a token that is bound to a key: the token, and a new proof (RFC 9449).

        Args:
            method: The method of the request.
            url: Its public URL, at the `resource` of your adapter.

        Raises:
            ValueError: The token is bound to no key: sign in with `bound=True`.
        """
        if self._key is None:
            raise ValueError("the token is bound to no key: sign in with bound=True")
        now_s = self._issuer.clock() // 1000
        proof = make_dpop_proof(self._key, method=method, url=url, now_s=now_s, access_token=self.token)
        return {"Authorization": f"DPoP {self.token}", "DPoP": proof}

    @property
    def cookies(self) -> dict[str, str]:
        """The cookie that carries the token. Unsafe requests with it also need `Sec-Fetch-Site: same-origin`."""
        return {cookie_name("access", Issuer(self.claims.iss)): self.token}

    def sign_out(self) -> None:
        """End the session. A verifier that follows the feed refuses the token from now on."""
        self._issuer.end_session(self.claims)


class LocalIssuer:
    """Issues access tokens, and stands in for the service of a real `Verifier`.

    Until it is closed, the verifier accepts the tokens of this issuer alone and sends no request. Signatures, claims, times,
    scopes, roles, policies and answers are checked by the same code as in production.
    """

    def __init__(self, verifier: Verifier | None = None, *, clock: VirtualClock | None = None) -> None:
        """Take over a verifier until `close`.

        Args:
            verifier: The one of your application, or None to create one for `https://auth.example.com`.
            clock: The clock of issuer and verifier, by default a new one.
        """
        self.clock: VirtualClock = VirtualClock() if clock is None else clock
        """The time for issuer and verifier."""
        self.verifier: Verifier = verifier or Verifier(
            "https://auth.example.com", audience="https://api.example.com", credential="tests:not used"
        )
        """The verifier that accepts the tokens."""
        self._key = SigningKey.generate("ES256")
        self._keys = KeySet([self._key.public])
        self._ended: dict[str, int] = {}
        self._feed = LocalFeed()
        self._revoked = RevocationSet()
        parts: dict[str, Any] = {
            "_cache": Cache(_CACHE_SIZE),
            "_clock": self.clock,
            "_feed": self._feed,
            "_introspect": self._introspect,
            "_keys": GivenKeys(self._keys),
            "_revoked": self._revoked,
            "_unreachable_until_ms": 0,
        }
        self._replaced = {name: vars(self.verifier)[name] for name in parts}
        vars(self.verifier).update(parts)

    def __enter__(self) -> Self:
        """Return the issuer."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the issuer."""
        self.close()

    def close(self) -> None:
        """Give the verifier back as it was."""
        vars(self.verifier).update(self._replaced)

    def signed_in(
        self,
        subject: str = "ada",
        *,
        scope: str = "",
        roles: Sequence[str] = (),
        claims: Mapping[str, Any] | None = None,
        audience: str | None = None,
        lifetime_s: int = 900,
        age_s: int = 0,
        signed_in_ago_s: int | None = None,
        acr: str | None = None,
        bound: bool = False,
        operator: str = "",
    ) -> SignedIn:
        """Sign a user in.

        Args:
            subject: Who it is (`sub`), 1 to 255 characters.
            scope: A space-separated list.
            roles: The roles.
            claims: Claims of the application's own.
            audience: Whom the token is for, by default the verifier. Any other is refused.
            lifetime_s: Seconds for which the token is valid, 1 to 3600.
            age_s: Seconds since the token was issued.
            signed_in_ago_s: Seconds since the user proved who they are, by default as `age_s`.
            acr: How strongly: "pwd", "mfa", "phr", or a value of the application's own.
            operator: The account of an operator who acts in the place of the user, for support. The service gives such tokens the
                scope `read`, or `read write`: give the same.
            bound: True to bind the token to a new key, whose proof must come with each request: see `SignedIn.headers_for`.

        Raises:
            InvalidFields: The service would not issue such a token either.
            ValueError: `lifetime_s` is out of its bounds.
        """
        if not 1 <= lifetime_s <= 3600:
            raise ValueError("lifetime_s must be between 1 and 3600")
        grant, now_s = parse_grant(scope=scope, roles=roles, claims=claims), self.clock() // 1000 - age_s
        key = SigningKey.generate("ES256") if bound else None
        issued = AccessClaims(
            iss=self.verifier.issuer,
            aud=self.verifier.audience[0] if audience is None else audience,
            sub=parse_subject(subject),
            client_id="handstamp",
            iat=now_s,
            exp=now_s + lifetime_s,
            jti=new_id(),
            sid=new_id(),
            auth_time=now_s if signed_in_ago_s is None else self.clock() // 1000 - signed_in_ago_s,
            acr=acr,
            cnf=None if key is None else Confirmation(key.kid),
            actor=ActorClaim(sub=operator, sid=new_id()) if operator else None,
            scope=grant.scope,
            roles=grant.roles,
            extra=dict(grant.claims),
        )
        return SignedIn(self, issued, jws.sign(issued.to_members(), self._key, typ=ACCESS_TYPE), key)

    def expired(self, subject: str = "ada", **options: Any) -> SignedIn:
        """Return a user whose access token has expired. The options are those of `signed_in`."""
        return self.signed_in(subject, **{"age_s": options.get("lifetime_s", 900) + MAX_LEEWAY_S + 1} | options)

    def ended(self, subject: str = "ada", **options: Any) -> SignedIn:
        """Return a user who has signed out. The options are those of `signed_in`."""
        person = self.signed_in(subject, **options)
        person.sign_out()
        return person

    def advance(self, *, seconds: float) -> None:
        """Move the clock of issuer and verifier forward. Raises `ValueError` for a negative number."""
        self.clock.advance(seconds=seconds)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Make the service unreachable for the length of a `with` block.

        Routes with `check="live"` answer 503 at once, those with `"feed"` once more than `max_staleness_s` has passed: `advance`
        the clock.
        """
        self._feed.silent_since_ms = self.clock()
        try:
            yield
        finally:
            self._feed.silent_since_ms = None
            vars(self.verifier)["_unreachable_until_ms"] = 0
            self._tell_verifier()

    def end_session(self, claims: AccessClaims) -> None:
        """End the session of a token, as a sign-out does."""
        self._ended[claims.sid] = claims.exp
        if self._feed.silent_since_ms is None:
            self._tell_verifier()

    def _tell_verifier(self) -> None:
        if self.verifier.follows_feed:  # without a credential, it never learns of a sign-out
            for sid, exp_s in self._ended.items():
                self._revoked.add(sid, exp_s)

    def _introspect(self, token: str) -> Introspection:
        """Answer as the service does (RFC 7662)."""
        if self._feed.silent_since_ms is not None:
            raise Unavailable("the test has made the service unreachable")
        try:
            claims = jws.verify(token, self._keys, typ=ACCESS_TYPE, shape=AccessClaims)
        except HandstampError:
            return Introspection(active=False)
        is_active = claims.sid not in self._ended and self.clock() // 1000 < claims.exp
        return Introspection(active=is_active, sid=claims.sid, jti=claims.jti)
