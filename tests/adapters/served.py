"""Applications that test_servers.py runs under real servers. Import few modules: every server process imports this one."""

from __future__ import annotations

from fastapi import Depends, FastAPI, Request, WebSocket
from starlette.types import Receive, Scope, Send

from handstamp.testing import LocalIssuer, SignedIn
from handstamp.verify.asgi import HandstampMiddleware
from handstamp.verify.fastapi import Require

issuer = LocalIssuer()
require = Require(issuer.verifier)
fastapi = FastAPI()


signed_in: list[SignedIn] = []


@fastapi.get("/token")
async def token() -> str:
    """Return the access token of a new session."""
    signed_in.append(issuer.signed_in("ada"))
    return signed_in[-1].token


@fastapi.get("/sign-out")
async def sign_out() -> None:
    """End the last session."""
    signed_in[-1].sign_out()


@fastapi.post("/length", dependencies=[Depends(require())])
async def length(request: Request) -> int:
    """Return the length of the body."""
    return len(await request.body())


@fastapi.websocket("/live", dependencies=[Depends(require())])
async def live(socket: WebSocket) -> None:
    """Greet and close."""
    await socket.accept()
    await socket.send_text(socket.state.claims.sub)
    await socket.close()


@fastapi.websocket("/inner")
async def inner(socket: WebSocket) -> None:
    """Greet and close; the middleware has authenticated."""
    await live(socket)


_protected = HandstampMiddleware(fastapi, verifier=issuer.verifier)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve /inner behind the middleware, and everything else without it."""
    await (_protected if scope.get("path") == "/inner" else fastapi)(scope, receive, send)
