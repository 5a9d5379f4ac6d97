"""Serves the logo and the colours of a deployment."""

from __future__ import annotations

import hashlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..domain.brand import Brand
from .answers import MAX_TAGS_LENGTH

# An SVG may hold scripts. As an image of a page it runs none; opened by its address it has no origin and may load nothing.
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
}


def brand_routes(brand: Brand) -> list[Route]:
    """Return the routes of `/brand/logo` and `/brand/colors.css`, if the deployment has its own."""
    routes = []
    if brand.logo is not None:
        routes.append(_route("/brand/logo", brand.logo.content, brand.logo.media_type))
    if brand.light:
        routes.append(_route("/brand/colors.css", _styles(brand).encode("ascii"), "text/css"))
    return routes


def _route(path: str, content: bytes, media_type: str) -> Route:
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'

    async def show(request: Request) -> Response:
        headers = {**_HEADERS, "etag": etag}
        if etag in request.headers.get("if-none-match", "")[:MAX_TAGS_LENGTH]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return Route(path, show, methods=["GET"])


def _styles(brand: Brand) -> str:
    """Return the accent of both schemes. Text on it is white on light pages, where it is dark, and the reverse."""
    return (
        f":root {{ --accent: {brand.light}; --on-accent: #ffffff; }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ --accent: {brand.dark}; --on-accent: #101313; }} }}\n"
    )
