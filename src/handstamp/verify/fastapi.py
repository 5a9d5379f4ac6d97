"""Dependencies for FastAPI.

```python
require = Require(Verifier("https://auth.example.com", audience="https://api.example.com", credential=CREDENTIAL))

@app.get("/orders")
async def orders(claims: Annotated[AccessClaims, Depends(require(scope="orders:read"))]): return orders_of(claims.sub)
```

A whole application or router: `FastAPI(dependencies=[Depends(require())])`. `CORSMiddleware` answers preflights before any
dependency runs, and lets a page read why it was refused. WebSockets are authenticated before they are accepted, and by the header
alone.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

import msgspec
from fastapi import HTTPException, Request, Response, Security
from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBearer
from fastapi.openapi.models import SecurityBase as SecurityModel
from fastapi.requests import HTTPConnection
from fastapi.security.base import SecurityBase

from ..domain.claims import AccessClaims
from ..errors import HandstampError
from .asgi import header_values
from .authenticator import AnyVerifier, Authenticator, Needs, refuse
from .verifier import Check

__all__ = ["Refused", "Require"]


class Require:
    """Makes the dependencies of routes. Create one per application and call it for each route."""

    def __init__(self, verifier: AnyVerifier, *, trusted_origins: Collection[str] = ()) -> None:
        """Create it.

        Args:
            verifier: A `Verifier`, or `Handstamp.verifier`.
            trusted_origins: Origins (`https://app.example.com`) whose pages may send unsafe requests with the access cookie.

        Raises:
            ConfigurationError: An origin is not in the form that browsers send.
        """
        self._authenticator = Authenticator(verifier, trusted_origins=trusted_origins)
        self._schemes = (
            _PassiveScheme("bearer", HTTPBearer(bearerFormat="JWT", description="The access token")),
            _PassiveScheme("cookie", APIKey.model_validate({"in": APIKeyIn.cookie, "name": self._authenticator.cookie})),
        )

    def __call__(self, *, scope: str = "", role: str = "", check: Check | None = None) -> Callable[..., Awaitable[AccessClaims]]:
        """Return a dependency whose value is the claims. It refuses every other request with an answer that says why.

        Args:
            scope: A space-separated list of scopes, all of which are required. The OpenAPI document lists them.
            role: A role that is required.
            check: How to learn that a session has ended, by default the verifier's `check`.
        """
        needs = Needs(scope, role, check)
        in_header, in_cookie = (Security(scheme, scopes=scope.split()) for scheme in self._schemes)

        async def authenticate(connection: HTTPConnection, _header: None = in_header, _cookie: None = in_cookie) -> AccessClaims:
            return await self._authenticate(connection, needs)

        class Unscoped(_Scheme):
            """Documents the header itself, which a dependency with scopes cannot: FastAPI solves one dependency fewer."""

            async def __call__(self, connection: HTTPConnection, _cookie: None = in_cookie) -> AccessClaims:
                return await authenticate(connection)

        header = self._schemes[0]
        return authenticate if scope else Unscoped(header.scheme_name, header.model)

    async def _authenticate(self, connection: HTTPConnection, needs: Needs) -> AccessClaims:
        method: str = connection.scope.get("method", "GET")
        try:
            claims = await self._authenticator.authenticate_async(method, header_values(connection.scope), needs)
        except HandstampError as error:
            raise _exception_for(error, connection) from error
        connection.scope.setdefault("state", {})["claims"] = claims  # for `EndWithSession`, which sees no dependencies
        return claims


class Refused(HTTPException):
    """A refused request. Its `body` is sent as it is, unless the application has a handler for this class or status.

    Attributes:
        body: The body of the answer (RFC 9457).
        problem: The same, decoded. It is the `detail` too, for handlers of every `HTTPException`.
        media_type: The media type of the body.
    """

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Create the exception from the answer to send."""
        self.body = body
        self.problem: dict[str, Any] = msgspec.json.decode(body)
        self.media_type: str = headers.pop("content-type")
        super().__init__(status, detail=self.problem, headers=headers)


class _Scheme(SecurityBase):
    """Adds to the OpenAPI document how the token is sent."""

    def __init__(self, name: str, model: SecurityModel) -> None:
        self.scheme_name = name
        self.model = model


class _PassiveScheme(_Scheme):
    """Only documents. `Require` reads the token."""

    async def __call__(self) -> None:
        pass


def _exception_for(error: HandstampError, connection: HTTPConnection) -> Refused:
    """Return the exception for a refusal, and register the handler that writes it.

    A dependency cannot answer, and FastAPI writes any `HTTPException` as `{"detail": …}`. The first refusal registers the
    handler, so that applications need not. If FastAPI stops exposing its handlers there, the status and headers stay correct and
    only the body differs.
    """
    handlers, _ = connection.scope.get("starlette.exception_handlers", ({}, {}))
    handlers.setdefault(Refused, _write)
    return Refused(*refuse(error))


async def _write(_: Request, refused: Refused) -> Response:
    return Response(refused.body, refused.status_code, refused.headers, refused.media_type)
