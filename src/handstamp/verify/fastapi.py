"""For FastAPI: a dependency that gives a route the claims of whoever is signed in.

```python
require = Require(Verifier("https://auth.example.com", audience="https://api.example.com", credential=CREDENTIAL))

@app.get("/orders")
async def orders(claims: Annotated[AccessClaims, Depends(require(scope="orders:read"))]): return orders_of(claims.sub)
```

For a whole application or router: `FastAPI(dependencies=[Depends(require())])`. `CORSMiddleware` answers preflights before any
dependency, and lets a page read why it was refused. Websockets take the token in the header alone, and are refused before they
are accepted.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

import msgspec
from fastapi import HTTPException, Request, Response, Security
from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBearer
from fastapi.openapi.models import SecurityBase as Described
from fastapi.requests import HTTPConnection
from fastapi.security.base import SecurityBase

from ..domain.claims import AccessClaims
from ..errors import HandstampError
from .asgi import header_values
from .bearer import Bearer, Needs, Verifies, refuse
from .verifier import Check

__all__ = ["Refused", "Require"]


class Require:
    """What routes need. Make one for the application and call it for each route."""

    def __init__(self, verifier: Verifies, *, trusted_origins: Collection[str] = ()) -> None:
        """Take the verifier, and the origins whose pages may use the access cookie here."""
        self._bearer = Bearer(verifier, trusted_origins=trusted_origins)
        self._schemes = (
            _Scheme("bearer", HTTPBearer(bearerFormat="JWT", description="The access token")),
            _Scheme("cookie", APIKey.model_validate({"in": APIKeyIn.cookie, "name": self._bearer.cookie})),
        )

    def __call__(self, *, scope: str = "", role: str = "", check: Check | None = None) -> Callable[..., Awaitable[AccessClaims]]:
        """Return a dependency that gives the claims, or refuses the request with an answer that says why.

        `scope` is a space-separated list, all of which are needed; the OpenAPI document of the application shows it.
        """
        needs = Needs(scope, role, check)
        in_header, in_cookie = (Security(scheme, scopes=scope.split()) for scheme in self._schemes)

        async def claims(connection: HTTPConnection, _header: None = in_header, _cookie: None = in_cookie) -> AccessClaims:
            method: str = connection.scope.get("method", "GET")
            try:
                found = await self._bearer.authenticate_async(method, header_values(connection.scope), needs)
            except HandstampError as error:
                raise _refused(error, connection) from error
            connection.scope.setdefault("state", {})["claims"] = found  # for `EndWithSession`, which sees no dependencies
            return found

        return claims


class Refused(HTTPException):
    """A request that is refused. Its `body` goes out as it is, unless the application handles this class or status itself.

    `problem` is what the body says (RFC 9457); whoever handles any `HTTPException` alike finds it in `detail`.
    """

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Take the answer."""
        self.body = body
        self.problem: dict[str, Any] = msgspec.json.decode(body)
        self.media_type = headers.pop("content-type")
        super().__init__(status, detail=self.problem, headers=headers)


class _Scheme(SecurityBase):
    """Puts into the OpenAPI document how the token travels. Reading it is the bearer's."""

    def __init__(self, name: str, model: Described) -> None:
        self.scheme_name = name
        self.model = model

    async def __call__(self) -> None:
        pass


def _refused(error: HandstampError, connection: HTTPConnection) -> Refused:
    """Return the refusal, after making sure that the application knows how to write it.

    A dependency cannot answer, only raise, and FastAPI writes any `HTTPException` as `{"detail": …}`. So its handler is added by
    the first refusal instead of by every application. Were the place to be gone one day, status and headers would still be right.
    """
    handlers, _ = connection.scope.get("starlette.exception_handlers", ({}, {}))
    handlers.setdefault(Refused, _write)
    return Refused(*refuse(error))


async def _write(_: Request, refused: Refused) -> Response:
    return Response(refused.body, refused.status_code, refused.headers, refused.media_type)
