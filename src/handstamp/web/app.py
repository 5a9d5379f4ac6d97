"""The whole edge as one ASGI application: routes, the documentation page, security headers, start and stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import CrossSite, HandstampError, InvalidRequest, NotFound
from ..wire.problems import MethodNotAllowed
from . import openapi
from .edge import Edge
from .endpoints import Endpoints
from .oauth.endpoints import OAuthEndpoints
from .pages.documentation import documentation_routes
from .pages.site import Pages
from .problems import write_problem
from .routes import routes
from .static_files import static_routes

_STRICT = "default-src 'none'; frame-ancestors 'none'"
_YEAR_S = 365 * 24 * 60 * 60


def asgi(
    endpoints: Endpoints,
    oauth: OAuthEndpoints,
    pages: Pages,
    edge: Edge,
    *,
    version: str,
    running: Callable[[], AbstractAsyncContextManager[None]],
) -> ASGIApp:
    """Return the application. `running` is entered when the server starts and left when it stops."""
    issuer, trusted = edge.issuer, edge.trusted_origins
    own_routes = routes(endpoints, oauth, edge)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with running():
            yield

    application = Starlette(
        routes=[
            *own_routes,
            *pages.routes(),
            *documentation_routes(openapi.document(issuer=issuer.url, version=version, cookies=edge.cookies)),
            *static_routes(),
        ],
        exception_handlers={HTTPException: _write_routing_problem},
        lifespan=lifespan,
    )
    application.router.redirect_slashes = False
    direct = Direct(application, own_routes)
    return SecurityHeaders(
        _cors(direct, trusted) if trusted else direct, is_https=issuer.is_https, varies_by_origin=bool(trusted)
    )


class Direct:
    """Calls an operation by its method and path at once; whatever is no such path goes to Starlette's router.

    The router tries one route after another, behind layers for exceptions that our operations never let out: that took longer
    than verifying a token.
    """

    def __init__(self, app: ASGIApp, operations: Iterable[Route]) -> None:
        """Take the whole application, and those routes of it that may be called directly."""
        self._app = app
        self._run: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            (method, route.path): route.endpoint
            for route in operations
            for method in route.methods or ()
            if not route.param_convertors
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        run = None
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))  # mounted, it has where it is mounted in front
            run = self._run.get((scope["method"], path))
        if run is None:
            await self._app(scope, receive, send)
        else:
            response = await run(Request(scope, receive, send))
            await response(scope, receive, send)


class SecurityHeaders:
    """Adds to every answer what keeps browsers from doing foolish things with it (OWASP ASVS 3.4)."""

    def __init__(self, app: ASGIApp, *, is_https: bool, varies_by_origin: bool) -> None:
        """Wrap an application."""
        self._app = app
        headers = {
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "content-security-policy": _STRICT,
            "cross-origin-resource-policy": "same-origin",
        }
        if varies_by_origin:  # also for whoever is not trusted: a cache must not hand one origin's answer to another
            headers["vary"] = "Origin"
        if is_https:
            headers["strict-transport-security"] = f"max-age={_YEAR_S}"
        self._headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        self._names = {name for name, _ in self._headers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = self._headers
                there = dict(message["headers"])  # in lower case (ASGI)
                if not self._names.isdisjoint(there):
                    added = [header for header in added if header[0] not in there]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class _Cors(CORSMiddleware):
    """Starlette's, but what it refuses is refused in our words."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer whether a page of that origin may send that request."""
        response = super().preflight_response(request_headers)
        return response if response.status_code < 400 else write_problem(CrossSite())


def _cors(app: ASGIApp, trusted: Collection[str]) -> ASGIApp:
    """Let scripts of the trusted origins read answers, with cookies; nobody else (Fetch standard, CORS protocol)."""
    return _Cors(
        app,
        allow_origins=sorted(trusted),
        allow_credentials=True,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["Authorization", "Content-Type"],
        expose_headers=["Retry-After", "WWW-Authenticate"],
        max_age=600,
    )


async def _write_routing_problem(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) and error.headers else {}
    problem: HandstampError
    match status:
        case 404:
            problem = NotFound("There is nothing at this address: see /docs for what there is.")
        case 405:
            problem = MethodNotAllowed(f"This address is there, but not for this method; it takes {headers.get('Allow', '')}.")
        case _:
            problem = InvalidRequest("The request cannot be understood.")
    response = write_problem(problem)
    if "Allow" in headers:
        response.headers["allow"] = headers["Allow"]
    return response
