"""An issuer in this process, for tests that need no service. Its verifier has the keys and sends no requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from handstamp import AccessClaims, KeySet, Verifier
from handstamp.crypto import jws
from handstamp.crypto.jwk import SigningKey
from handstamp.domain.claims import ACCESS_TYPE

ISSUER = "https://auth.example.com"
AUDIENCE = "https://api.example.com"
APP_ORIGIN = "https://app.example.com"
COOKIE = "__Host-handstamp-access"
_KEY = SigningKey.generate("ES256")
KEYS = KeySet([_KEY.public])

Message = MutableMapping[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]


def a_verifier() -> Verifier:
    """Return a verifier of this issuer's tokens."""
    return Verifier(ISSUER, audience=AUDIENCE, keys=KEYS, check="offline")


def a_token(**changes: Any) -> str:
    """Return an access token that is valid now and expires in 15 minutes."""
    now_s = int(time.time())
    right: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada-id",
        "client_id": "handstamp",
        "iat": now_s,
        "exp": now_s + 900,
        "jti": "token-1",
        "sid": "session-1",
        "auth_time": now_s,
    }
    return jws.sign(AccessClaims(**right | changes), _KEY, typ=ACCESS_TYPE)


def bearer(**changes: Any) -> dict[str, str]:
    """Return the header with an access token."""
    return {"authorization": f"Bearer {a_token(**changes)}"}


def connect(application: Application, scope: dict[str, Any], headers: dict[str, str] | None = None) -> list[Message]:
    """Open a connection to an ASGI application as a server does, and return the messages that it sends."""
    sent: list[Message] = []
    opening = {"websocket": "websocket.connect", "lifespan": "lifespan.startup", "http": "http.request"}[scope["type"]]

    async def receive() -> Message:
        return {"type": opening}

    async def send(message: Message) -> None:
        sent.append(message)

    listed = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    defaults: dict[str, Any] = {"path": "/", "root_path": "", "query_string": b"", "headers": listed}
    asyncio.run(call_application(application, defaults | scope, receive, send))
    return sent


async def call_application(application: Application, scope: Any, receive: Any, send: Any) -> None:
    """Await the application, which may be any awaitable."""
    await application(scope, receive, send)
