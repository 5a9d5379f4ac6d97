r"""A shop with its own users. Handstamp keeps them signed in and has no accounts.

pip install 'handstamp[server,fastapi]' websockets
export SHOP_PASSWORD=$(openssl rand -base64 18)
uvicorn shop:app --port 9000
curl localhost:9000/login -H 'Content-Type: application/json' -d "{\"name\": \"ada\", \"password\": \"$SHOP_PASSWORD\"}"
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from fastapi import Depends, FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from handstamp import AccessClaims, HandstampError
from handstamp.embedded import Handstamp
from handstamp.verify.fastapi import Require
from handstamp.verify.sockets import EndWithSession

# --- the shop's own users; a real shop has a table


@dataclass
class User:
    """A user of the shop."""

    number: int
    password_hash: str
    is_clerk: bool


PASSWORD = os.environ.get("SHOP_PASSWORD") or secrets.token_urlsafe()
hasher = PasswordHasher()
users = {"ada": User(42, hasher.hash(PASSWORD), is_clerk=True)}


def claims_of(subject: str) -> dict[str, Any]:
    """Return the claims of a user's tokens. It runs for each new token, so a lost right is missing from the next one."""
    user = {str(user.number): user for user in users.values()}[subject]
    return {"scope": "orders:read orders:write" if user.is_clerk else "orders:read", "claims": {"branch": "Bern"}}


# --- Handstamp: refresh and sign-out are mounted; the shop implements the sign-in

auth = Handstamp(
    database="sqlite:///shop.db",
    issuer=os.environ.get("SHOP_ISSUER", "http://localhost:9000/auth"),
    registration="closed",
    claims=claims_of,
)
shop = FastAPI(title="Shop", lifespan=auth.lifespan)
shop.mount("/auth", auth.asgi)  # /auth/refresh, /auth/logout, /auth/sessions …
require = Require(auth.verifier)
app = EndWithSession(shop, verifier=auth.verifier)


@shop.exception_handler(HandstampError)
async def refused(_: Request, error: HandstampError) -> Response:
    return auth.answer(error)  # for example 503 with Retry-After if no token could be issued


class Login(BaseModel):
    """The body of a sign-in."""

    name: str
    password: str


@shop.post("/login")
async def login(sent: Login, request: Request) -> Response:
    user = users.get(sent.name)
    try:
        await asyncio.to_thread(hasher.verify, user.password_hash if user else users["ada"].password_hash, sent.password)
    except VerifyMismatchError:
        user = None
    if user is None:
        raise HTTPException(401, "That name and password do not match.")
    ip = request.client.host if request.client else ""
    pair = await auth.sessions.start(str(user.number), ip=ip, user_agent=request.headers.get("user-agent", ""))
    return auth.answer(pair)


@shop.post("/dismiss/{name}", dependencies=[Depends(require(scope="orders:write"))])
async def dismiss(name: str) -> dict[str, int]:
    return {"sessions": await auth.sessions.end_all(str(users[name].number))}


@shop.get("/orders")
async def orders(claims: Annotated[AccessClaims, Depends(require(scope="orders:read"))]) -> dict[str, Any]:
    return {"of": claims.sub, "branch": claims.extra["branch"]}


# --- a fresh proof (RFC 9470): the shop asks, since it knows the passwords


class Confirmation(BaseModel):
    """The password, typed once more."""

    password: str


@shop.post("/confirm")
async def confirm(sent: Confirmation, claims: Annotated[AccessClaims, Depends(require())]) -> None:
    user = next(user for user in users.values() if str(user.number) == claims.sub)
    try:
        await asyncio.to_thread(hasher.verify, user.password_hash, sent.password)
    except VerifyMismatchError:
        raise HTTPException(401, "That is not your password.") from None
    await auth.sessions.step_up(claims.sid, subject=claims.sub, amr=["pwd"], acr="pwd")


@shop.post("/orders/{number}/refund", dependencies=[Depends(require(fresh="5m"))])
async def refund_order(number: int) -> dict[str, int]:
    return {"refunded": number}


# --- open connections end with the session


@shop.websocket("/ticks")
async def ticks(socket: WebSocket, _: Annotated[AccessClaims, Depends(require())]) -> None:
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())


@shop.get("/events")
async def events(_: Annotated[AccessClaims, Depends(require())]) -> StreamingResponse:
    async def stream() -> AsyncIterator[str]:
        while True:
            yield "data: tick\n\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(stream(), media_type="text/event-stream")
