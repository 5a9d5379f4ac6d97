"""The header fields that every answer has, and those that let pages of trusted origins read it (CORS)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..clock import monotonic_s
from ..current_request import CURRENT
from ..errors import CrossSite, InvalidRequest
from ..wire.device import REFRESH_PATH, START_PATH
from ..wire.headers import SECURITY_HEADERS
from .answers import write_problem

_HSTS_MAX_AGE_S = 365 * 24 * 60 * 60
_PREFLIGHT_MAX_AGE_S = 600
_METHODS = ("GET", "POST", "PATCH", "DELETE")
TimeRequest = Callable[[str, str, int, float], None]
"""Takes the path of the route of an answered request ("other" if it has none), its method, the status and the seconds."""


class SecurityHeaders:
    """Adds the security headers to an answer, unless it has its own (OWASP ASVS 3.4), and the id of the request.

    It is no layer around the application, which would have to look at every message of an answer.
    """

    def __init__(self, *, is_https: bool, varies_by_origin: bool, hsts_includes_subdomains: bool = False) -> None:
        """Prepare the fields.

        Args:
            is_https: True to tell browsers that this host is always https (RFC 6797).
            hsts_includes_subdomains: True to tell them the same of all its subdomains.
            varies_by_origin: True if answers to trusted origins differ. Every answer then says so, also those to others: a cache
                must not give one origin's answer to another.
        """
        headers = dict(SECURITY_HEADERS)
        if varies_by_origin:
            headers["vary"] = "Origin"
        if is_https:
            subdomains = "; includeSubDomains" if hsts_includes_subdomains else ""
            headers["strict-transport-security"] = f"max-age={_HSTS_MAX_AGE_S}{subdomains}"
        self._headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        self._names = {name for name, _ in self._headers}

    def add_to(self, response: Response) -> None:
        """Complete the header fields of an answer, before it is sent."""
        headers, added = response.raw_headers, self._headers
        own = dict(headers)  # names are in lower case (ASGI)
        if not self._names.isdisjoint(own):
            added = [each for each in added if each[0] not in own or _is_missing_in_vary(each, own)]
        request = CURRENT.get()
        if request is None:
            response.raw_headers = [*headers, *added]
        else:
            response.raw_headers = [*headers, *added, (b"x-request-id", request.id.encode("ascii"))]


def _is_missing_in_vary(header: tuple[bytes, bytes], own: dict[bytes, bytes]) -> bool:
    """Return whether a header is a further `Vary` of an answer that has one. Its lines add up (RFC 9110 §5.3)."""
    name, value = header
    return name == b"vary" and value not in own[name]


def with_cors(
    app: ASGIApp, trusted_origins: Collection[str], headers: SecurityHeaders, time_request: TimeRequest | None
) -> ASGIApp:
    """Return an application whose answers the scripts of these origins may read, with cookies (Fetch standard, CORS protocol).

    Args:
        app: The application. Its answers have the security headers.
        trusted_origins: The origins.
        headers: For the answers to preflights, which are given here.
        time_request: What those are reported to.
    """
    made = _Cors(
        app,
        allow_origins=sorted(trusted_origins),
        allow_credentials=True,
        allow_methods=_METHODS,
        allow_headers=["*"],
        expose_headers=["Retry-After", "WWW-Authenticate", "DPoP-Nonce", "X-Request-ID"],
        max_age=_PREFLIGHT_MAX_AGE_S,
    )
    made.security_headers, made.time_request = headers, time_request
    return made


class _Cors(CORSMiddleware):
    """Starlette's middleware, except for what it says about refused preflights, and that no script reads what browsers bind."""

    security_headers: SecurityHeaders
    time_request: TimeRequest | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        is_from_page = scope["type"] == "http" and any(name == b"origin" for name, _ in scope["headers"])
        if not is_from_page or scope["path"].endswith((START_PATH, REFRESH_PATH)):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return whether a page of that origin may send that request."""
        began_s = monotonic_s()
        response = super().preflight_response(request_headers)
        if response.status_code >= 400:
            response = self._refuse(request_headers["origin"])
        self.security_headers.add_to(response)
        if self.time_request is not None:
            self.time_request("other", "OPTIONS", response.status_code, monotonic_s() - began_s)
        return response

    def _refuse(self, origin: str) -> Response:
        if not self.is_allowed_origin(origin):
            return write_problem(CrossSite())
        refused = InvalidRequest(f"Pages of trusted origins may use the methods {', '.join(_METHODS)}, and no other.")
        return write_problem(refused)

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """Let a trusted origin read an answer. That answers differ by origin, all of them say already."""
        if message["type"] == "http.response.start":
            headers, origin = MutableHeaders(scope=message), request_headers["origin"]
            headers.update(self.simple_headers)
            if self.is_allowed_origin(origin):
                headers["access-control-allow-origin"] = origin
        await send(message)
