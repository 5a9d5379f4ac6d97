"""Middleware for Starlette and every other ASGI application.

```python
verifier = Verifier("https://auth.example.com", audience="https://api.example.com", credential=CREDENTIAL)
app = HandstampMiddleware(app, verifier=verifier)  # protects the whole application
Route("/reports", reports, middleware=[Middleware(HandstampMiddleware, verifier=verifier, role="admin")])  # one route
claims = request.state.claims  # in an endpoint; without Starlette: scope["state"]["claims"]
```

Put middleware that answers CORS preflights around this one: browsers send preflights without credentials (Fetch §4.8), and its
headers let a page read why it was refused. Around the whole application, this middleware does not know what single routes
require: where routes differ in `check`, give each its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from typing import Any

from ..errors import ConfigurationError, HandstampError
from ..wire import HeaderValues
from ..wire.problems import Refusal
from .authenticator import AnyVerifier, Authenticator, Needs, refuse
from .verifier import Check

__all__ = ["HandstampMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
_POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1


class HandstampMiddleware:
    """Authenticates requests, and WebSockets before they are accepted. Puts the claims into `scope["state"]`."""

    def __init__(
        self,
        app: Application,
        *,
        verifier: AnyVerifier,
        trusted_origins: Collection[str] = (),
        scope: str = "",
        role: str = "",
        check: Check | None = None,
        public: Collection[str] = ("/healthz",),
    ) -> None:
        """Protect an application.

        Args:
            app: The ASGI application.
            verifier: Verifies the access tokens.
            trusted_origins: Origins whose pages may send unsafe requests with the access cookie.
            scope: A space-separated list of scopes, all of which are required.
            role: A role that is required.
            check: How to learn that a session has ended, by default the verifier's `check`.
            public: Paths that need no token. They are compared exactly, decoded, without the prefix under which `app` is mounted.

        Raises:
            ConfigurationError: `public` or `trusted_origins` is malformed.
        """
        if not all(path.startswith("/") for path in public):  # also refuses a string, which is a collection of characters
            raise ConfigurationError(f"public is a list of paths that begin with a slash, as ['/healthz']; not {public!r}.")
        self._app = app
        self._authenticator = Authenticator(verifier, trusted_origins=trusted_origins)
        self._needs = Needs(scope, role, check)
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. Errors that the application raises pass through."""
        if scope["type"] != "lifespan" and _path(scope) not in self._public:
            method: str = scope.get("method", "GET")
            try:
                claims = await self._authenticator.authenticate_async(method, header_values(scope), self._needs)
            except HandstampError as error:
                await _send_refusal(refuse(error), scope, send)
                return
            scope.setdefault("state", {})["claims"] = claims
        await self._app(scope, receive, send)


def header_values(scope: Scope) -> HeaderValues:
    """Return the function that looks up headers of an ASGI connection.

    It hides the cookies of WebSockets: a page of any site can open a WebSocket with the person's cookies, and CORS does not
    apply.
    """

    def values(name: str) -> Sequence[str]:
        if name == "cookie" and scope["type"] == "websocket":
            return ()
        wanted = name.encode("latin-1")
        return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted]

    return values


def _path(scope: Scope) -> str:
    """Return the path without the prefix of the mount, by the same rule as Starlette."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    inside = path.removeprefix(prefix)
    return inside if inside.startswith("/") or inside == "" else path


async def _send_refusal(refusal: Refusal, scope: Scope, send: Send) -> None:
    """Send a refusal. A WebSocket that is not accepted yet can only be closed, unless the server has an extension for answers."""
    if scope["type"] == "websocket" and "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    headers = [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
    headers.append((b"content-length", str(len(refusal.body)).encode()))
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": refusal.body})
