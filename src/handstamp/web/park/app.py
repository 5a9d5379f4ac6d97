"""The park: a page that plays the life of both tokens with real requests, beside the real service.

What a page cannot do itself is done here: a thief with a client of its own, an answer that is lost on its way, and a look into
the store.
"""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from importlib.resources import files
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...clock import Clock
from ...domain.session import end_reason
from ...storage.store import Store
from ...verify.bearer import cookie_values
from ..transport import Cookies

_HELD_BACK_S = {b"answer=lost": 5.0, b"answer=late": 0.5}
"""How long an answer is on its way, by the query that asks for it: until whoever asked has hung up, or has asked twice."""
_PATIENCE_S = 10.0
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Park:
    """Serves the page at `/park`; everything else is the real service's, whose answers it may lose."""

    def __init__(self, service: ASGIApp, *, store: Store, clock: Clock, issuer: str, person: tuple[str, str]) -> None:
        """Take the service, what it works with, and the address and password of somebody who may sign in."""
        self._service = service
        self._store = store
        self._clock = clock
        self._issuer = issuer
        self._cookie = Cookies(secure=False).refresh
        self._stolen = ""
        self._pages = Starlette(
            routes=[
                _file("/park", "park.html", "text/html", person),
                _file("/park/park.css", "park.css", "text/css"),
                _file("/park/park.js", "park.js", "text/javascript"),
                Route("/park/visit", self._visit, methods=["GET"]),
                Route("/park/copy", self._copy, methods=["POST"]),
                Route("/park/thief", self._thief, methods=["POST"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and f"{scope['path']}/".startswith("/park/"):
            await self._pages(scope, receive, send)
        elif scope["type"] == "http" and scope["query_string"] in _HELD_BACK_S:
            await self._hold_back(scope, receive, send)
        else:
            await self._service(scope, receive, send)

    async def _hold_back(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the service do everything, and its answer take a while."""
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._service(scope, receive, keep)
        await asyncio.sleep(_HELD_BACK_S[scope["query_string"]])
        for message in answer:
            await send(message)

    async def _visit(self, request: Request) -> Response:
        """Say what the store knows of a session: how often it was renewed, and whether and why it is over."""
        sid = request.query_params.get("session", "")
        found = await self._store.read(lambda rows: rows.session(sid)) if sid.isascii() else None
        if found is None:
            return _json({"generation": None, "over": None})
        session, account = found
        return _json({"generation": session.generation, "over": end_reason(session, account, self._clock())})

    async def _copy(self, request: Request) -> Response:
        """Copy the visitor's refresh token, as malware on their machine would, and keep it for the thief."""
        if request.headers.get("sec-fetch-site") != "same-origin":
            return _json({"copied": False}, 403)
        values = cookie_values(request.headers.getlist("cookie")).get(self._cookie, set())
        self._stolen = next(iter(values), "")
        return _json({"copied": bool(self._stolen)}, 200 if self._stolen else 409)

    async def _thief(self, _: Request) -> Response:
        """Renew with the copy from another client, over the network; return what the service answered."""
        return _json(await asyncio.to_thread(self._renew_elsewhere))

    def _renew_elsewhere(self) -> dict[str, Any]:
        headers = {"cookie": f"{self._cookie}={self._stolen}", "origin": self._issuer, "user-agent": "Thief/1.0"}
        request = urllib.request.Request(f"{self._issuer}/refresh", method="POST", headers=headers)  # noqa: S310 - our own address
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(request, timeout=_PATIENCE_S) as answer:
                return {"status": answer.status, "body": msgspec.json.decode(answer.read())}
        except urllib.error.HTTPError as refused:
            return {"status": refused.code, "body": msgspec.json.decode(refused.read())}


def _file(path: str, name: str, media_type: str, person: tuple[str, str] = ("", "")) -> Route:
    text = files(__package__).joinpath(name).read_text("utf-8")
    text = text.replace("{email}", person[0]).replace("{password}", person[1]) if name.endswith(".html") else text

    async def show(_: Request) -> Response:
        headers = {"content-security-policy": _POLICY, "cache-control": "no-store", "x-content-type-options": "nosniff"}
        return Response(text, media_type=media_type, headers=headers)

    return Route(path, show, methods=["GET"])


def _json(answer: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(answer), status, {"cache-control": "no-store"}, "application/json")
