"""For Starlette, and any other ASGI application: a middleware that lets in whoever is signed in.

```python
verifier = Verifier("https://auth.example.com", audience="https://api.example.com", credential=CREDENTIAL)
app = HandstampMiddleware(app, verifier=verifier)  # the whole application; or one route of Starlette, and what it needs:
Route("/reports", reports, middleware=[Middleware(HandstampMiddleware, verifier=verifier, role="admin")])
claims = request.state.claims  # in the endpoint; without Starlette: scope["state"]["claims"]
```

A middleware that answers CORS preflights goes around this one: browsers send them without credentials (Fetch standard §4.8), and
its headers let a page read why it was refused. Around the whole application it cannot know what single routes declare; where they
differ in `check`, give each route its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from typing import Any

from ..errors import ConfigurationError, HandstampError
from ..wire.problems import Refusal
from .bearer import Bearer, HeaderValues, Needs, Verifies, refuse
from .verifier import Check

__all__ = ["HandstampMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
_POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1


class HandstampMiddleware:
    """Lets a request through with its claims, or answers why not. A websocket is judged once, before it is accepted."""

    def __init__(
        self,
        app: Application,
        *,
        verifier: Verifies,
        trusted_origins: Collection[str] = (),
        scope: str = "",
        role: str = "",
        check: Check | None = None,
        public: Collection[str] = ("/healthz",),
    ) -> None:
        """Protect `app`, except the paths of `public`: exactly these, decoded, without the prefix under which `app` is mounted.

        `scope` is a space-separated list, all of which are needed. Raises `ConfigurationError` for what cannot be meant.
        """
        if not all(path.startswith("/") for path in public):  # nor do the letters of one string
            raise ConfigurationError(f"public is a list of paths that begin with a slash, as ['/healthz']; not {public!r}.")
        self._app = app
        self._bearer = Bearer(verifier, trusted_origins=trusted_origins)
        self._needs = Needs(scope, role, check)
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. The application's own errors are its own."""
        if scope["type"] != "lifespan" and _path(scope) not in self._public:
            try:
                claims = await self._bearer.authenticate_async(scope.get("method", "GET"), header_values(scope), self._needs)
            except HandstampError as error:
                await _refuse(refuse(error), scope, send)
                return
            scope.setdefault("state", {})["claims"] = claims
        await self._app(scope, receive, send)


def header_values(scope: Scope) -> HeaderValues:
    """Return how the headers of a connection are looked up.

    A websocket shows no cookie: any site's page can open one with the person's cookies, and no CORS stands before it.
    """

    def values(name: str) -> Sequence[str]:
        if name == "cookie" and scope["type"] == "websocket":
            return ()
        wanted = name.encode("latin-1")
        return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted]

    return values


def _path(scope: Scope) -> str:
    """Return the path as the application's own routes see it, by the rule that Starlette follows."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    inside = path.removeprefix(prefix)
    return inside if inside.startswith("/") or inside == "" else path


async def _refuse(sent: Refusal, scope: Scope, send: Send) -> None:
    """Send a refusal. A websocket that is not accepted yet needs an ASGI extension for it; without, it is closed (a bare 403)."""
    if scope["type"] == "websocket" and "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    headers = [(name.encode(), value.encode()) for name, value in sent.headers.items()]
    headers.append((b"content-length", str(len(sent.body)).encode()))
    await send({"type": f"{kind}.start", "status": sent.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": sent.body})
