"""Serves the OpenAPI document, and the page that shows it with Swagger UI (docs/decisions/0017-api-viewer.md)."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...wire.headers import OPENED_ALONE

_POLICY = (
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:"
)


def documentation_routes(make_document: Callable[[], bytes]) -> list[Route]:
    """Return the routes of `/docs` and `/openapi.json`.

    Args:
        make_document: Returns the OpenAPI document. It takes tens of milliseconds, so it is called on a thread when the document
            is first requested.
    """
    document = functools.cache(make_document)
    page = files(__package__).joinpath("templates", "docs.html").read_text("utf-8")

    async def show_page(_: Request) -> Response:
        return Response(page, media_type="text/html", headers={"content-security-policy": _POLICY, **OPENED_ALONE})

    async def show_document(_: Request) -> Response:
        return Response(await asyncio.to_thread(document), media_type="application/json")

    return [Route("/docs", show_page, methods=["GET"]), Route("/openapi.json", show_document, methods=["GET"])]
