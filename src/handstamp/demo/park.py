"""The park: a page that plays the life of both tokens with real requests, beside the real service.

What a page cannot do itself is done here, for the demonstration alone: an answer that is lost on its way, a copy of a card
that script cannot read, a thief with a client of its own, and a look at cookies and into the store.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

import msgspec
from starlette.applications import Starlette
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
from .cards import Cards, lines_of
from .thief import renew_with

_ANSWER = "park-answer"
"""The request header with which the page asks for an answer to be `late` or `lost`."""
_LATE_S = 0.4
_HOLD_AT_MOST_S = 10.0
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_Handle = Callable[[Request], Awaitable[Response]]


class Park:
    """Serves the page at `/park`; everything else is the real service's, whose answers it may hold back."""

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
        """Take the service, what it works with, where it listens, and the address and password of somebody who may sign in."""
        self._service = service
        self._cards = Cards(tokens, cookie=Cookies(secure=issuer.is_https).refresh)
        self._store = store
        self._clock = clock
        self._issuer = issuer
        self._address = address
        self._own = SecurityHeaders(Starlette(routes=self._routes(person)), is_https=False, varies_by_origin=False)

    def _routes(self, person: tuple[str, str]) -> list[Route]:
        modules = ("park", "story", "visitor", "conversation", "wire")
        return [
            Route("/", _to_the_park, methods=["GET"]),
            _file("/park", "park.html", "text/html", person),
            _file("/park/park.css", "park.css", "text/css"),
            *(_file(f"/park/{name}.js", f"{name}.js", "text/javascript") for name in modules),
            Route("/park/visit", _from_the_page(self._visit), methods=["GET"]),
            Route("/park/copy", _from_the_page(self._copy), methods=["POST"]),
            Route("/park/thief", _from_the_page(self._thief), methods=["POST"]),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._service(scope, receive, send)
        elif scope["path"] == "/" or f"{scope['path']}/".startswith("/park/"):
            await self._own(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the service do all it does, then let its answer go, late or never, with what script cannot see of it."""
        headers = Headers(scope=scope)
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = self._cards.overheard(self._cards.carried(headers), lines_of(message["headers"], b"set-cookie"))
                message = {**message, "headers": [*message["headers"], (b"park-overheard", said.encode("ascii"))]}
            answer.append(message)

        await self._service(scope, receive, keep)
        match headers.get(_ANSWER):
            case "late":
                await asyncio.sleep(_LATE_S)
            case "lost":
                await _until_hung_up(receive)
            case _:
                pass
        for message in answer:
            await send(message)

    async def _visit(self, request: Request) -> Response:
        """Say what the browser's card says and what the store knows: of the session asked for, or else of the card's."""
        card = self._cards.read(self._cards.carried(request.headers))
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
        """Hand out the card, as malware on the visitor's machine would: the one way around HttpOnly, and not a web page's."""
        return _json({"refreshToken": self._cards.carried(request.headers)})

    async def _thief(self, request: Request) -> Response:
        """Renew with a copied card from another client; return what the service answered it."""
        try:
            copied = msgspec.json.decode(await request.body(), type=dict[str, str])["refreshToken"]
        except (msgspec.DecodeError, KeyError):
            return write_problem(InvalidRequest("Send the copied card as 'refreshToken'."))
        if self._cards.read(copied) is None:  # nothing else is put into a header, either
            return write_problem(InvalidRequest("That is no card of this park."))
        return _json(await asyncio.to_thread(renew_with, copied, self._cards, issuer=self._issuer, address=self._address))


async def _until_hung_up(receive: Receive) -> None:
    """Wait until whoever asked is no longer there to hear the answer."""
    try:
        async with asyncio.timeout(_HOLD_AT_MOST_S):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass  # it waits after all, and gets its answer


def _from_the_page(handle: _Handle) -> _Handle:
    """Return a handler that answers the park's own page alone; not another site's, even if its name leads to this machine."""

    async def guarded(request: Request) -> Response:
        is_own = request.headers.getlist("sec-fetch-site") == ["same-origin"] and is_loopback(request.url.hostname or "")
        return await handle(request) if is_own else write_problem(CrossSite())

    return guarded


async def _to_the_park(_: Request) -> Response:
    return RedirectResponse("/park", 303)


def _file(path: str, name: str, media_type: str, person: tuple[str, str] = ("", "")) -> Route:
    text = files(__package__).joinpath(name).read_text("utf-8")
    if name.endswith(".html"):
        text = text.replace("{email}", html.escape(person[0])).replace("{password}", html.escape(person[1]))

    async def show(_: Request) -> Response:
        return Response(text, media_type=media_type, headers={"content-security-policy": _POLICY, "cache-control": "no-store"})

    return Route(path, show, methods=["GET"])


def _json(answer: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(answer), 200, {"cache-control": "no-store"}, "application/json")
