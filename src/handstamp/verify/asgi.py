"""Middleware for Starlette and every other ASGI application.

```python
verifier = Verifier("https://auth.example.com", audience="https://api.example.com", credential=CREDENTIAL)
app = HandstampMiddleware(app, verifier=verifier)  # protects the whole application
Route("/reports", reports, middleware=[Middleware(HandstampMiddleware, verifier=verifier, role="admin")])  # one route
claims = request.state.claims  # in an endpoint; without Starlette: scope["state"]["claims"]
```

`on_refusal` writes refusals in your own form: `on_refusal=lambda refusal: JSONResponse({"error": refusal.code}, refusal.status)`.

Put middleware that answers CORS preflights around this one: browsers send preflights without credentials (Fetch §4.8), and its
headers let a page read why it was refused. Around the whole application, this middleware does not know what single routes
require: where routes differ in `check`, give each its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from typing import Any

import msgspec

from ..errors import ConfigurationError, HandstampError
from ..wire import HeaderValues
from ..wire.problems import Refusal
from .authenticator import AnyVerifier, Authenticator, Impersonation
from .resource import Resource
from .verifier import Check

__all__ = ["HandstampMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
POLICY_VIOLATION = 1008
"""The close code of a WebSocket that is refused (RFC 6455 §7.4.1)."""
PROTOCOL = "handstamp"
"""The subprotocol that the browser client offers beside the token (RFC 6455 §1.9)."""
_TOKEN = "handstamp.token."  # noqa: S105 - the name of a field
_PROOF = "handstamp.proof."


def write_refusal(refusal: Refusal) -> Application:
    """Return the application that sends a refusal as it is."""

    async def answer(scope: Scope, _: Receive, send: Send) -> None:
        kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
        fields = {**refusal.headers, "content-type": refusal.media_type, "content-length": str(len(refusal.body))}
        headers = [(name.encode(), value.encode()) for name, value in fields.items()]
        await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
        await send({"type": f"{kind}.body", "body": refusal.body})

    return answer


class HandstampMiddleware:
    """Authenticates requests, and WebSockets before they are accepted. Puts the claims into `scope["state"]`."""

    def __init__(
        self,
        app: Application,
        *,
        verifier: AnyVerifier | Callable[[], AnyVerifier],
        trusted_origins: Collection[str] = (),
        scope: str = "",
        role: str = "",
        check: Check | None = None,
        fresh: str | int | None = None,
        acr: str = "",
        impersonation: Impersonation = "safe",
        public: Collection[str] = ("/healthz",),
        on_refusal: Callable[[Refusal], Application] = write_refusal,
        resource: str | None = None,
    ) -> None:
        """Protect an application.

        Args:
            app: The ASGI application.
            verifier: Verifies the access tokens, or a function that creates the verifier at the first request.
            trusted_origins: Origins whose pages may send unsafe requests with the access cookie.
            scope: A space-separated list of scopes, all of which are required.
            role: A role that is required.
            check: How to learn that a session has ended, by default the verifier's `check`.
            fresh: The longest time since the person proved who they are, as "5m" or in seconds. Later, they are asked again.
            acr: How strongly they must have proved it: "mfa" for a second factor, "phr" for a passkey.
            impersonation: When it serves an operator who acts in the place of the person, for support: "safe" for reading alone
                unless the token has the scope `write`, "write" only with that scope, "always" or "never".
            public: Paths that need no token. They are compared exactly, decoded, without the prefix under which `app` is mounted.
            on_refusal: Returns the ASGI application that answers a refused request, for example a Starlette `Response`. The
                headers of the refusal are added to those that it does not send itself.
            resource: The public URL of this API. Without it, no token that is bound to a key can be used here (RFC 9449).
                Refusals say where tokens come from (RFC 9728), and the middleware answers requests for the metadata: give it
                to the middleware around the whole application, too.

        Raises:
            ConfigurationError: An argument is malformed, or `check` needs a
                credential that the verifier does not have.
        """
        if not all(path.startswith("/") for path in public):  # also refuses a string, which is a collection of characters
            raise ConfigurationError(f"public is a list of paths that begin with a slash, as ['/healthz']; not {public!r}.")
        self._app = app
        self._authenticator = Authenticator(verifier, trusted_origins=trusted_origins, resource=resource)
        self._metadata_path = None if resource is None else Resource(resource).path
        self._needs = self._authenticator.declare(scope, role, check, fresh, acr, impersonation=impersonation)
        self._public = frozenset(public)
        self._on_refusal = on_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. Errors that the application raises pass through."""
        if scope["type"] == "http" and _path(scope) == self._metadata_path:
            await _write_json(self._authenticator.resource_metadata(), send)
            return
        if scope["type"] != "lifespan" and _path(scope) not in self._public:
            state = scope.setdefault("state", {})
            needs = self._needs.for_socket() if scope["type"] == "websocket" else self._needs
            try:
                state["claims"] = await self._authenticator.authenticate_async(
                    scope.get("method", "GET"), header_values(scope), needs, path=public_path(scope), memory=state
                )
            except HandstampError as error:
                await self._refuse(self._authenticator.refuse(error, self._needs), scope, receive, send)
                return
        await self._app(scope, receive, selecting_protocol(scope, send))

    async def _refuse(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request. A WebSocket can only be closed, unless the server has an extension for answers."""
        if not can_answer(scope):
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"].endswith("http.response.start"):
                given = {name.lower() for name, _ in message.get("headers", ())}
                ours = ((name.encode(), value.encode()) for name, value in refusal.headers.items())
                message["headers"] = [*message.get("headers", ()), *(field for field in ours if field[0] not in given)]
            await send(message)

        await self._on_refusal(refusal)(scope, receive, send_with_headers)


def can_answer(scope: Scope) -> bool:
    """Return whether a connection can be answered. A WebSocket before its acceptance can be with an extension (ASGI)."""
    return scope["type"] != "websocket" or "websocket.http.response" in (scope.get("extensions") or {})


def header_values(scope: Scope) -> HeaderValues:
    """Return the function that looks up headers of an ASGI connection.

    It hides the cookies of WebSockets: a page of any site can open a WebSocket with the person's cookies, and CORS does not
    apply. A script cannot send `Authorization` with a WebSocket: a token that it offers as a subprotocol counts as that header,
    and a proof as the header `DPoP`.
    """

    def values(name: str) -> Sequence[str]:
        wanted = name.encode("latin-1")
        found = [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted]
        if scope["type"] == "websocket":
            if name == "cookie":
                return ()
            if name == "authorization":
                scheme = "DPoP" if _offered(scope, _PROOF) else "Bearer"
                return [*found, *(f"{scheme} {token}" for token in _offered(scope, _TOKEN))]
            if name == "dpop":
                return [*found, *_offered(scope, _PROOF)]
        return found

    return values


def selecting_protocol(scope: Scope, send: Send) -> Send:
    """Return a `send` that accepts a WebSocket with the subprotocol `handstamp` if the client offered a token by it.

    Browsers close a WebSocket for which none of the offered subprotocols is selected. An application's own choice stays.
    """
    if scope["type"] != "websocket" or not _offered(scope, _TOKEN):
        return send

    async def send_with_protocol(message: Message) -> None:
        if message["type"] == "websocket.accept" and not message.get("subprotocol"):
            message = {**message, "subprotocol": PROTOCOL}
        await send(message)

    return send_with_protocol


def _offered(scope: Scope, prefix: str) -> list[str]:
    return [offered.removeprefix(prefix) for offered in scope.get("subprotocols", ()) if offered.startswith(prefix)]


def public_path(scope: Scope) -> str:
    """Return the path with the prefix of the mount, whether or not the server has left it there."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "").rstrip("/")
    return path if path == prefix or path.startswith(f"{prefix}/") else prefix + path


def _path(scope: Scope) -> str:
    """Return the path without the prefix of the mount, by the same rule as Starlette."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    inside = path.removeprefix(prefix)
    return inside if inside.startswith("/") or inside == "" else path


async def _write_json(document: object, send: Send) -> None:
    body = msgspec.json.encode(document)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
