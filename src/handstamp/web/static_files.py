"""Serves the files of `static/`: styles, scripts, the browser client and the viewer of the API, each with an ETag."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from .answers import MAX_TAGS_LENGTH

_CLIENT_MAX_AGE_S = 3600
_MODULE_MAX_AGE_S = 365 * 86_400
_REVALIDATED = {"cache-control": "no-cache"}
"""Browsers ask each time and get 304. After an update no page runs with the style or script of the version before."""
_FOR_EVERY_ORIGIN = {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"}
_CLIENT = _FOR_EVERY_ORIGIN | {"cache-control": f"public, max-age={_CLIENT_MAX_AGE_S}"}
_MODULE = _FOR_EVERY_ORIGIN | {"cache-control": f"public, max-age={_MODULE_MAX_AGE_S}, immutable"}
"""The name of a module has the hash of its bytes, so a browser client never runs with a module of another version."""


def static_routes() -> list[Route]:
    """Return the routes of the files for our own pages, and of the browser client, which pages of any origin may load.

    The client loads its modules when they are first used.
    """
    files, client, modules = _Files(_REVALIDATED), _Files(_CLIENT), _Files(_MODULE)

    async def show_file(request: Request) -> Response:
        return await files.get_response(request.path_params["name"], request.scope)

    async def show_client(request: Request) -> Response:
        return await client.get_response("handstamp.js", request.scope)

    async def show_module(request: Request) -> Response:
        return await modules.get_response(f"handstamp-{request.path_params['name']}.js", request.scope)

    return [
        Route("/assets/{name:path}", show_file, methods=["GET"]),
        Route("/handstamp.js", show_client, methods=["GET"]),
        Route("/handstamp-{name}.js", show_module, methods=["GET"]),
    ]


class _Files(StaticFiles):
    """Starlette's, which answers conditional requests (RFC 9110 §13), with headers of our own on every answer.

    Of a request's headers it sees a short `If-None-Match` alone. Reading a long one, or a long `Range`, costs milliseconds; the
    files are small, and a server may ignore `Range` (RFC 9110 §14.2).
    """

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__(packages=[("handstamp.web", "static")])
        self._own_headers = headers

    async def get_response(self, path: str, scope: Scope) -> Response:
        headers = [each for each in scope["headers"] if each[0] == b"if-none-match" and len(each[1]) <= MAX_TAGS_LENGTH]
        return await super().get_response(path, {**scope, "headers": headers})

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        if response.headers.get("content-type", "").startswith("application/javascript"):  # mimetypes before Python 3.12
            response.headers["content-type"] = "text/javascript; charset=utf-8"
        response.headers.update(self._own_headers)
        return response
