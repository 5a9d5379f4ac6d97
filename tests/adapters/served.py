"""Applications that test_servers.py runs under real servers. Import few modules: every server process imports this one."""

from __future__ import annotations

from fastapi import Depends, FastAPI, Request, WebSocket

from handstamp.testing import LocalIssuer
from handstamp.verify.asgi import HandstampMiddleware
from handstamp.verify.fastapi import Require

issuer = LocalIssuer()
require = Require(issuer.verifier)
fastapi = FastAPI()


@fastapi.get("/healthz")
async def healthz() -> str:
    """Say that the server runs."""
    return "ok"


ada = issuer.signed_in("ada")


@fastapi.get("/token")
async def token() -> str:
    """Return an access token."""
    return ada.token


@fastapi.get("/sign-out")
async def sign_out() -> None:
    """End the session of that token."""
    ada.sign_out()


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


asgi = HandstampMiddleware(fastapi, verifier=issuer.verifier, public=["/healthz", "/token", "/sign-out"])
