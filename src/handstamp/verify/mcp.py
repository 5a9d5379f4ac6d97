"""For servers of the Model Context Protocol that the official `mcp` SDK runs.

```python
verifier = Verifier("https://auth.example.com", audience="https://tools.example.com/mcp", credential=CREDENTIAL)
server = MCPServer(
    "tools",
    token_verifier=HandstampTokenVerifier(verifier),
    auth=AuthSettings(
        issuer_url="https://auth.example.com",
        resource_server_url="https://tools.example.com/mcp",
        required_scopes=["tools"],
        validate_token_resource=False,  # the verifier checks the audience
    ),
)
app = GuardMcp(server.streamable_http_app(), verifier=verifier, resource="https://tools.example.com/mcp")
```

The SDK refuses requests, names the resource metadata in each challenge and publishes that metadata (RFC 9728). `GuardMcp` adds
what it cannot do: an outage is answered 503, open streams end with the session of their token, and tokens that are bound to a
key come with its proof (DPoP, RFC 9449). In a tool,
`get_access_token()` of the SDK returns the token with its `subject`, `scopes` and `claims`.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NamedTuple

import msgspec
from mcp.server.auth.provider import AccessToken, TokenVerifier

from ..domain.claims import AccessClaims
from ..errors import HandstampError, Impersonated, InvalidRequest, NotSignedIn
from ..wire.bearer import sent_token
from .asgi import Application, Receive, Scope, Send, header_values, public_path, write_refusal
from .authenticator import AnyVerifier, Authenticator, Needs
from .sockets import EndWithSession
from .verifier import Check, require_possible

__all__ = ["GuardMcp", "HandstampTokenVerifier"]


class _Verified(NamedTuple):
    """What `GuardMcp` has verified for a request, so that the SDK's question does not ask the service again."""

    verifier: AnyVerifier
    token: str
    check: Check | None
    claims: AccessClaims


_verified: ContextVar[list[_Verified]] = ContextVar("handstamp_verified", default=[])  # noqa: B039 - nothing is added to it
"""At most one, which answers one question. Tasks that a request starts inherit its context and may outlive it by hours."""


class HandstampTokenVerifier(TokenVerifier):
    """Verifies access tokens for the SDK."""

    def __init__(self, verifier: AnyVerifier, *, check: Check | None = None) -> None:
        """Create it.

        Args:
            verifier: A `Verifier`, or `Handstamp.verifier`.
            check: How to learn that a session has ended, by default the verifier's `check`.

        Raises:
            ConfigurationError: `check` needs a credential that the verifier does not have.
        """
        self._verifier = verifier
        self._check = check if check is None else require_possible(check, follows_feed=verifier.follows_feed)

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what the SDK needs to know about a token, None if it is not valid.

        Raises:
            Unavailable: The service must be asked and does not answer. `GuardMcp` answers 503.
        """
        known = _verified.get()
        if known and known[0][:3] == (self._verifier, token, self._check):
            claims = known.pop().claims
        else:
            try:
                claims = await self._verifier.verify_async(token, check=self._check)
            except (NotSignedIn, Impersonated):  # the SDK knows no operators who act in the place of a person
                return None
        return AccessToken(
            token=token,
            client_id=claims.client_id,
            scopes=claims.scope.split(),
            expires_at=claims.exp,
            resource=claims.aud if isinstance(claims.aud, str) else None,
            subject=claims.sub,
            claims=_members_of(claims),
        )


class GuardMcp:
    """Answers 503 while tokens cannot be verified, ends streams with their session, and reads the proofs of bound tokens.

    The application refuses all else.
    """

    def __init__(
        self, app: Application, *, verifier: AnyVerifier, check: Check | None = None, resource: str | None = None
    ) -> None:
        """Wrap the SDK's application.

        Args:
            app: `server.streamable_http_app()`.
            verifier: The one of its `HandstampTokenVerifier`.
            check: That of its `HandstampTokenVerifier`.
            resource: The public URL of the server, its `resource_server_url`. Proofs are made for it: without it, no token that
                is bound to a key can be used here.

        Raises:
            ConfigurationError: The verifier does not follow the feed, so it never learns that a session has ended; or `resource`
                is no https URL.
        """
        self._app = EndWithSession(app, verifier=verifier)
        self._authenticator = Authenticator(verifier, resource=resource)
        self._verifier = verifier
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            verified = await self._verify(scope)
        except HandstampError as error:
            await write_refusal(self._authenticator.refuse(error))(scope, receive, send)
            return
        if verified is None:
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["claims"] = verified.claims
        known = [verified]
        mark = _verified.set(known)
        try:
            await self._app(scope, receive, send)
        finally:
            known.clear()
            _verified.reset(mark)

    async def _verify(self, scope: Scope) -> _Verified | None:
        """Verify the token of a request. Return None if there is none or it is not valid: the application refuses that.

        The application knows bearer tokens alone. So a bound token is refused here, or handed on as one with its proof checked.
        """
        values = header_values(scope)
        is_dpop = False
        try:
            token, is_dpop = sent_token(values("authorization"))
            if token is None:
                return None
            if not is_dpop:
                return _Verified(self._verifier, token, self._check, await self._verifier.verify_async(token, check=self._check))
            claims = await self._authenticator.authenticate_async(
                scope["method"],
                lambda name: () if name == "cookie" else values(name),
                Needs(check=self._check),
                path=public_path(scope),
            )
        except (NotSignedIn, InvalidRequest):
            if is_dpop:
                raise
            return None
        others = [(name, value) for name, value in scope["headers"] if name.lower() != b"authorization"]
        scope["headers"] = [*others, (b"authorization", b"Bearer " + token.encode("latin-1"))]
        return _Verified(self._verifier, token, self._check, claims)


def _members_of(claims: AccessClaims) -> dict[str, Any]:
    members: dict[str, Any] = msgspec.to_builtins(claims.to_members())
    return members
