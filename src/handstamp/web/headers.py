"""The header fields that every answer has, and those that let pages of trusted origins read it (CORS)."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..current_request import CURRENT
from ..errors import CrossSite, InvalidRequest
from ..wire.device import REFRESH_PATH, START_PATH
from ..wire.headers import SECURITY_HEADERS
from .answers import write_problem

_HSTS_MAX_AGE_S = 365 * 24 * 60 * 60
_PREFLIGHT_MAX_AGE_S = 600
_METHODS = ("GET", "POST", "PATCH", "DELETE")


class SecurityHeaders:
    """Adds the security headers to every answer, unless it has its own (OWASP ASVS 3.4), and the id of the request."""

    def __init__(self, app: ASGIApp, *, is_https: bool, varies_by_origin: bool, hsts_includes_subdomains: bool = False) -> None:
        """Wrap an application.

        Args:
            app: What answers.
            is_https: True to tell browsers that this host is always https (RFC 6797).
            hsts_includes_subdomains: True to tell them the same of all its subdomains.
            varies_by_origin: True if answers to trusted origins differ. Every answer then says so, also those to others: a cache
                must not give one origin's answer to another.
        """
        self._app = app
        headers = dict(SECURITY_HEADERS)
        if varies_by_origin:
            headers["vary"] = "Origin"
        if is_https:
            subdomains = "; includeSubDomains" if hsts_includes_subdomains else ""
            headers["strict-transport-security"] = f"max-age={_HSTS_MAX_AGE_S}{subdomains}"
        self._headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        self._names = {name for name, _ in self._headers}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one connection. Neither this nor what it sends has a coroutine of its own: each would double the cost."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)

        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = self._complete(message["headers"])
            return send(message)

        return self._app(scope, receive, send_with_headers)

    def _complete(self, headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        added = self._headers
        own = dict(headers)  # names are in lower case (ASGI)
        if not self._names.isdisjoint(own):
            added = [each for each in added if each[0] not in own or _is_missing_in_vary(each, own)]
        request = CURRENT.get()
        if request is None:
            return [*headers, *added]
        return [*headers, *added, (b"x-request-id", request.id.encode("ascii"))]


def _is_missing_in_vary(header: tuple[bytes, bytes], own: dict[bytes, bytes]) -> bool:
    """Return whether a header is a further `Vary` of an answer that has one. Its lines add up (RFC 9110 §5.3)."""
    name, value = header
    return name == b"vary" and value not in own[name]


def with_cors(app: ASGIApp, trusted_origins: Collection[str]) -> ASGIApp:
    """Return an application whose answers the scripts of these origins may read, with cookies (Fetch standard, CORS protocol)."""
    return _Cors(
        app,
        allow_origins=sorted(trusted_origins),
        allow_credentials=True,
        allow_methods=_METHODS,
        allow_headers=["*"],
        expose_headers=["Retry-After", "WWW-Authenticate", "DPoP-Nonce", "X-Request-ID"],
        max_age=_PREFLIGHT_MAX_AGE_S,
    )


class _Cors(CORSMiddleware):
    """Starlette's middleware, except for what it says about refused preflights, and that no script reads what browsers bind."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["path"].endswith((START_PATH, REFRESH_PATH)):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return whether a page of that origin may send that request."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        if not self.is_allowed_origin(request_headers["origin"]):
            return write_problem(CrossSite())
        refused = InvalidRequest(f"Pages of trusted origins may use the methods {', '.join(_METHODS)}, and no other.")
        return write_problem(refused)
