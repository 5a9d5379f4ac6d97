"""The park: a page that shows the life of both tokens, in front of the real service.

This module does what a page cannot do, for the demonstration alone:

- hold back or lose the answer to a request,
- copy the refresh token out of its HttpOnly cookie,
- send the thief's request from another client,
- report cookies and the stored session to the page.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..clock import Clock
from ..domain.issuer import Issuer, is_loopback
from ..domain.reasons import sentence_of
from ..domain.session import end_reason
from ..errors import CrossSite, InvalidRequest
from ..service.parts.tokens import TokenIssuer
from ..storage.store import Store
from ..web.answers import write_problem
from ..web.cookies import Cookies
from ..web.headers import SecurityHeaders
from ..web.routing import Routes
from .cards import Cards, header_values
from .thief import renew_with

_ANSWER = "park-answer"
"""The request header with which the page asks for the answer to be delayed (`late`) or lost (`lost`)."""
_LATE_S = 0.4
_LONGEST_HOLD_S = 10.0
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_Handle = Callable[[Request], Awaitable[Response]]


class Park:
    """Serves the page at `/park` and passes all other requests to the real service, whose answers it may hold back."""

    def __init__(
        self,
        service: ASGIApp,
        *,
        tokens: TokenIssuer,
        store: Store,
        clock: Clock,
        issuer: Issuer,
        address: tuple[str, int],
        person: tuple[str, str],
    ) -> None:
        """Keep the service and its parts, the address on which it listens, and the e-mail address and password of its account."""
        self._service = service
        self._cards = Cards(tokens, cookie=Cookies(issuer).refresh)
        self._store = store
        self._clock = clock
        self._issuer = issuer
        self._address = address
        self._pages = Routes(self._routes(person), service, SecurityHeaders(is_https=False, varies_by_origin=False))

    def _routes(self, person: tuple[str, str]) -> list[Route]:
        modules = ("park", "story", "visitor", "conversation", "wire", "key")
        return [
            Route("/", _redirect_to_park, methods=["GET"]),
            _file_route("/park", "park.html", "text/html", person),
            _file_route("/park/park.css", "park.css", "text/css"),
            *(_file_route(f"/park/{name}.js", f"{name}.js", "text/javascript") for name in modules),
            Route("/park/visit", _require_own_page(self._visit), methods=["GET"]),
            Route("/park/copy", _require_own_page(self._copy), methods=["POST"]),
            Route("/park/thief", _require_own_page(self._thief), methods=["POST"]),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._service(scope, receive, send)
        elif scope["path"] == "/" or f"{scope['path']}/".startswith("/park/"):
            await self._pages(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the service, then send its answer with a description of its cookies: at once, late, or never."""
        headers = Headers(scope=scope)
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = self._cards.from_request(headers)
                cookies = self._cards.describe_cookies(sent, header_values(message["headers"], b"set-cookie"))
                message = {**message, "headers": [*message["headers"], (b"park-overheard", cookies.encode("ascii"))]}
            answer.append(message)

        await self._service(scope, receive, keep)
        match headers.get(_ANSWER):
            case "late":
                await asyncio.sleep(_LATE_S)
            case "lost":
                await _wait_for_disconnect(receive)
            case _:
                pass
        for message in answer:
            await send(message)

    async def _visit(self, request: Request) -> Response:
        """Return the generation of the browser's card and the stored state of a session: the one named, or else the card's."""
        card = self._cards.read(self._cards.from_request(request.headers))
        sid = request.query_params.get("session") or (card.sid if card else "")
        found = await self._store.session(sid) if sid and sid.isascii() else None
        if found is None:
            return _json({"session": None, "card": None, "generation": None, "over": None, "words": "", "email": ""})
        session, account = found
        over = end_reason(session, account, self._clock())
        return _json(
            {
                "session": sid,
                "card": card.gen if card is not None and card.sid == sid else None,
                "generation": session.generation,
                "over": over,
                "words": sentence_of(over, otherwise=""),
                "email": account.email if account else "",
            }
        )

    async def _copy(self, request: Request) -> Response:
        """Return the card itself. It stands for malware on the visitor's machine."""
        return _json({"refreshToken": self._cards.from_request(request.headers)})

    async def _thief(self, request: Request) -> Response:
        """Renew with a copied card from another client, and return the service's answer."""
        try:
            copied = msgspec.json.decode(await request.body(), type=dict[str, str])["refreshToken"]
        except (msgspec.DecodeError, KeyError):
            return write_problem(InvalidRequest("Send the copied card as 'refreshToken'."))
        if self._cards.read(copied) is None:  # so only a valid token gets into the thief's Cookie header
            return write_problem(InvalidRequest("That is no card of this park."))
        return _json(await asyncio.to_thread(renew_with, copied, self._cards, issuer=self._issuer, address=self._address))


async def _wait_for_disconnect(receive: Receive) -> None:
    """Wait until the client has closed the connection, at most ten seconds."""
    try:
        async with asyncio.timeout(_LONGEST_HOLD_S):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass  # the client is still waiting, so it gets its answer


def _require_own_page(handle: _Handle) -> _Handle:
    """Return a handler that refuses requests of other sites, even of a site whose name resolves to this machine."""

    async def guarded(request: Request) -> Response:
        is_own = request.headers.getlist("sec-fetch-site") == ["same-origin"] and is_loopback(request.url.hostname or "")
        return await handle(request) if is_own else write_problem(CrossSite())

    return guarded


async def _redirect_to_park(_: Request) -> Response:
    return RedirectResponse("/park", 303)


def _file_route(path: str, name: str, media_type: str, person: tuple[str, str] = ("", "")) -> Route:
    text = files(__package__).joinpath("static", name).read_text("utf-8")
    if name.endswith(".html"):
        text = text.replace("{email}", html.escape(person[0])).replace("{password}", html.escape(person[1]))

    async def show(_: Request) -> Response:
        return Response(text, media_type=media_type, headers={"content-security-policy": _POLICY, "cache-control": "no-store"})

    return Route(path, show, methods=["GET"])


def _json(answer: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(answer), 200, {"cache-control": "no-store"}, "application/json")
