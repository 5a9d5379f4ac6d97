"""Puts the edge together as one ASGI application: routes, header fields, start and stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from starlette.routing import Router
from starlette.types import ASGIApp

from . import openapi
from .brand import brand_routes
from .edge import Edge
from .headers import SecurityHeaders, TimeRequest, with_cors
from .operation import UseCases
from .pages.documentation import documentation_routes
from .pages.routes import page_routes
from .routing import Routes, operation_routes
from .static_files import static_routes


def asgi(
    use: UseCases,
    edge: Edge,
    *,
    version: str,
    hsts_includes_subdomains: bool,
    time_request: TimeRequest | None,
    running: Callable[[], AbstractAsyncContextManager[None]],
) -> ASGIApp:
    """Return the application.

    It is no `Starlette`, whose layers for exceptions have nothing to do here: the edge turns every exception into an answer. See
    docs/decisions/0018-routing.md.

    Args:
        use: The use cases behind the operations and the pages.
        edge: What every endpoint goes through.
        version: The version that the OpenAPI document names.
        hsts_includes_subdomains: Whether subdomains of the issuer's host are always https too.
        time_request: What each answered request is reported to, if they are timed.
        running: Entered when the server starts, and left when it stops.
    """

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with running():
            yield

    document = partial(openapi.document, issuer=edge.issuer.url, version=version, cookies=edge.cookies)
    table = [
        *operation_routes(use, edge),
        *page_routes(use, edge),
        *documentation_routes(document),
        *static_routes(),
        *brand_routes(use.brand),
    ]
    headers = SecurityHeaders(
        is_https=edge.issuer.is_https,
        hsts_includes_subdomains=hsts_includes_subdomains,
        varies_by_origin=bool(edge.trusted_origins),
    )
    app = Routes(table, Router(lifespan=lifespan), headers, issuer_path=edge.issuer.path, time_request=time_request)
    return with_cors(app, edge.trusted_origins, headers, time_request) if edge.trusted_origins else app
