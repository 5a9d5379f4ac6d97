"""Dependencies for FastAPI.

```python
require = Require(Verifier("https://auth.example.com", audience="https://api.example.com", credential=CREDENTIAL))

@app.get("/orders")
async def orders(claims: Annotated[AccessClaims, Depends(require(scope="orders:read"))]): return orders_of(claims.sub)
```

A whole application or router: `FastAPI(dependencies=[Depends(require())])`. `CORSMiddleware` answers preflights before any
dependency runs, and lets a page read why it was refused. WebSockets are authenticated before they are accepted, and by the header
alone.

Tests replace the claims of all routes: `app.dependency_overrides[require.claims] = lambda: claims`. The application writes
refusals itself if it has a handler for `Refused`, for `HTTPException` or for the status.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

import msgspec
from fastapi import Depends, HTTPException, Request, Response, Security, WebSocket, WebSocketException
from fastapi.exception_handlers import http_exception_handler
from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBase, HTTPBearer
from fastapi.openapi.models import SecurityBase as SecurityModel
from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase

from ..domain.claims import AccessClaims
from ..errors import HandstampError, reduce_error
from ..wire.bearer import BOUND_TOKEN
from ..wire.problems import Refusal
from .asgi import POLICY_VIOLATION, can_answer, header_values, public_path, selecting_protocol
from .authenticator import AnyVerifier, Authenticator, Impersonation, Needs
from .verifier import Check

__all__ = ["Refused", "Require"]

_DECLARED = "handstamp.declared"


class Require:
    """Makes the dependencies of routes. Create one per application and call it for each route."""

    def __init__(
        self,
        verifier: AnyVerifier | Callable[[], AnyVerifier],
        *,
        trusted_origins: Collection[str] = (),
        resource: str | None = None,
    ) -> None:
        """Create it.

        Args:
            verifier: A `Verifier`, or `Handstamp.verifier`, or a function that creates one at the first request.
            trusted_origins: Origins (`https://app.example.com`) whose pages may send unsafe requests with the access cookie.
            resource: The public URL of this API. Without it, no token that is bound to a key can be used here (RFC 9449).
                Refusals say where tokens come from (RFC 9728): serve `resource_metadata()`.

        Raises:
            ConfigurationError: An origin is not in the form that browsers send, or `resource` is no https URL without query.
        """
        authenticator = self._authenticator = Authenticator(verifier, trusted_origins=trusted_origins, resource=resource)
        in_cookie = Security(_CookieScheme(authenticator))
        bound = Depends(_pass) if resource is None else Security(_BoundScheme())

        class Claims(SecurityBase):
            scheme_name = "bearer"
            model = HTTPBearer(bearerFormat="JWT", description="The access token")

            async def __call__(
                self,
                connection: HTTPConnection,
                scopes: SecurityScopes = SecurityScopes(),  # noqa: B008 - FastAPI gives those of the dependency that asks
                _cookie: None = in_cookie,
                _bound: None = bound,
            ) -> AccessClaims:
                declared = connection.scope.setdefault("state", {}).pop(_DECLARED, Needs())
                return await _authenticate(authenticator, connection, declared, needed=scopes.scope_str)

        self.claims: Callable[..., Awaitable[AccessClaims]] = Claims()
        """The dependency from which all others of this `Require` get the claims. Tests replace it in `dependency_overrides`."""

    def resource_metadata(self) -> dict[str, Any]:
        """Return the metadata (RFC 9728 §2) for a route at `/.well-known/oauth-protected-resource`, followed by the API's path.

        Raises:
            ConfigurationError: `resource` was not given.
        """
        return self._authenticator.resource_metadata()

    def __call__(
        self,
        *,
        scope: str = "",
        role: str = "",
        check: Check | None = None,
        fresh: str | int | None = None,
        acr: str = "",
        impersonation: Impersonation = "safe",
    ) -> Callable[..., Awaitable[AccessClaims]]:
        """Return a dependency whose value is the claims. It refuses every other request with an answer that says why.

        Args:
            scope: A space-separated list of scopes, all of which are required. The OpenAPI document lists them.
            role: A role that is required.
            check: How to learn that a session has ended, by default the verifier's `check`.
            fresh: The longest time since the person proved who they are, as "5m" or in seconds. Later, they are asked again.
            acr: How strongly they must have proved it: "mfa" for a second factor, "phr" for a passkey.
            impersonation: When it serves an operator who acts in the place of the person, for support: "safe" for reading alone
                unless the token has the scope `write`, "write" only with that scope, "always" or "never".

        Raises:
            ConfigurationError: An argument is malformed, or `check` needs a credential that the verifier does not have.
        """
        needs = self._authenticator.declare(scope, role, check, fresh, acr, impersonation=impersonation)
        authenticator, claims_of = self._authenticator, Security(self.claims, scopes=scope.split())

        async def require(connection: HTTPConnection, claims: AccessClaims = claims_of) -> AccessClaims:
            if not authenticator.satisfies(connection.scope.get("state", {}), needs):
                return await _authenticate(authenticator, connection, needs)  # FastAPI cached a result of a weaker check
            return _require(authenticator, connection, claims, needs)

        if check is None and impersonation == "safe":
            return require
        first = Needs(check=check, impersonation=impersonation)

        async def declare(connection: HTTPConnection) -> None:
            connection.scope.setdefault("state", {})[_DECLARED] = first

        declared = Depends(declare)

        # FastAPI resolves parameters in order: `claims` reads what `declare` has written.
        async def require_with_check(
            connection: HTTPConnection, _declared: None = declared, claims: AccessClaims = claims_of
        ) -> AccessClaims:
            return await require(connection, claims)

        return require_with_check


class Refused(HTTPException):
    """A refused request. Its `body` is sent as it is, unless the application has a handler for this exception or its status.

    Attributes:
        code: What is wrong, for programs.
        body: The body of the answer (RFC 9457).
        problem: The same, decoded. It is the `detail` too, for handlers of every `HTTPException`.
        media_type: The media type of the body.
    """

    def __init__(self, refusal: Refusal) -> None:
        """Create the exception from the answer to send."""
        self.code: str = refusal.code
        self.body: bytes = refusal.body
        self.problem: dict[str, Any] = msgspec.json.decode(refusal.body)
        self.media_type: str = refusal.media_type
        super().__init__(refusal.status, detail=self.problem, headers=refusal.headers)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how pickle and copy restore the exception."""
        return reduce_error(self)


class _CookieScheme(SecurityBase):
    """Adds to the OpenAPI document that the token may be in a cookie. `Require.claims` reads it."""

    scheme_name = "cookie"

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    @property
    def model(self) -> SecurityModel:  # type: ignore[override]  # FastAPI only reads it, once the verifier exists
        return APIKey.model_validate({"in": APIKeyIn.cookie, "name": self._authenticator.cookie})

    async def __call__(self) -> None:
        pass


class _BoundScheme(SecurityBase):
    """Adds to the OpenAPI document that the token may be bound to a key. `Require.claims` reads it and its proof."""

    scheme_name = "dpop"
    model = HTTPBase(scheme="DPoP", description=BOUND_TOKEN)

    async def __call__(self) -> None:
        pass


async def _pass() -> None:
    pass


async def _authenticate(
    authenticator: Authenticator, connection: HTTPConnection, needs: Needs, *, needed: str = ""
) -> AccessClaims:
    """Return the claims of a connection. A challenge names the scopes in `needed`, which another dependency requires."""
    scope = connection.scope
    state = scope.setdefault("state", {})
    if isinstance(connection, WebSocket):
        needs = needs.for_socket()
    try:
        claims = await authenticator.authenticate_async(
            scope.get("method", "GET"), header_values(scope), needs, path=public_path(scope), memory=state
        )
    except HandstampError as error:
        raise _exception_for(authenticator.refuse(error, Needs(needs.scope or needed)), connection) from error
    state["claims"] = claims  # for `EndWithSession`, which sees no dependencies
    if isinstance(connection, WebSocket):  # the endpoint gets the same object
        connection.send = selecting_protocol(scope, connection.send)  # type: ignore[assignment, method-assign]
    return claims


def _require(authenticator: Authenticator, connection: HTTPConnection, claims: AccessClaims, needs: Needs) -> AccessClaims:
    if isinstance(connection, WebSocket):
        needs = needs.for_socket()
    try:
        return authenticator.require(claims, needs, connection.scope.get("method", "GET"))
    except HandstampError as error:
        raise _exception_for(authenticator.refuse(error, needs), connection) from error


def _exception_for(refusal: Refusal, connection: HTTPConnection) -> Exception:
    """Return the exception for a refusal, and register the handler that writes it.

    A dependency cannot answer, and FastAPI writes any `HTTPException` as `{"detail": …}`. The first refusal registers the
    handler, so that applications need not. A handler of the application's own for any `HTTPException` stays. If FastAPI stops
    exposing its handlers there, the status and headers stay correct and only the body differs.
    """
    if not can_answer(connection.scope):
        return WebSocketException(POLICY_VIOLATION, refusal.code)
    refused = Refused(refusal)
    handlers, _ = connection.scope.get("starlette.exception_handlers", ({}, {}))
    found = next((handlers[kind] for kind in Refused.__mro__ if kind in handlers), http_exception_handler)
    if found is http_exception_handler:
        handlers[Refused] = _write
    return refused


async def _write(_: Request, refused: Refused) -> Response:
    return Response(refused.body, refused.status_code, refused.headers, refused.media_type)
