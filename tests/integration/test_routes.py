"""Tests of routing: middleware around the application sees every request and its route."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from handstamp.embedded import Handstamp
from handstamp.web import app
from handstamp.web.edge import Edge
from handstamp.web.operation import Operation, UseCases
from handstamp.web.pages.routes import page_routes
from handstamp.web.routing import OPERATIONS
from tests.administering import serving
from tests.deployment import ISSUER
from tests.serving import cookie_name

pytestmark = pytest.mark.anyio
Seen = list[tuple[str, str | None, str | None]]
PAGES = [
    *(("GET", path) for path in ("/", "/sign-in", "/create-account", "/account", "/signed-out", "/docs", "/openapi.json")),
    *(("POST", path) for path in ("/sign-in", "/create-account", "/account/end-session", "/account/password")),
    *(("POST", path) for path in ("/account/sign-out", "/account/sign-out-everywhere")),
    ("GET", "/handstamp.js"),
]

ALL_ON: dict[str, Any] = {"metrics_address": "credential", "smtp_url": "inbox", "sign_in_by_code": "on"}
"""Settings with which no operation is turned off."""


class Tracer:
    """Middleware that records each request's route after the answer, as tracing middleware does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.seen: Seen = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)
        route = scope.get("route")
        self.seen.append((scope["method"], getattr(route, "path", None), getattr(route, "name", None)))


@asynccontextmanager
async def serve_traced(folder: Path, *, mounted_at: str = "") -> AsyncIterator[tuple[httpx.AsyncClient, Tracer]]:
    """Yield a client of a running service and the middleware around it."""
    auth = Handstamp(database=f"sqlite:///{folder}/handstamp.db", issuer=f"http://localhost{mounted_at}", **ALL_ON)
    tracer = Tracer(Starlette(routes=[Mount(mounted_at, auth.asgi)]) if mounted_at else auth.asgi)
    transport = httpx.ASGITransport(tracer)
    async with auth, httpx.AsyncClient(transport=transport, base_url=f"http://localhost{mounted_at}") as client:
        yield client, tracer


@asynccontextmanager
async def serve_at(folder: Path, *, issuer: str) -> AsyncIterator[tuple[httpx.AsyncClient, Tracer]]:
    """Do the same for a service that is not mounted, as `handstamp serve` runs it. Paths of the client start at its root."""
    auth = Handstamp(database=f"sqlite:///{folder}/handstamp.db", issuer=issuer, **ALL_ON)
    tracer = Tracer(auth.asgi)
    async with auth, httpx.AsyncClient(transport=httpx.ASGITransport(tracer), base_url="http://localhost") as client:
        yield client, tracer


async def send_bare(client: httpx.AsyncClient, operation: Operation) -> httpx.Response:
    """Send a request without a token, a body or a credential."""
    return await client.request(operation.method, operation.path.format(id="some-session", provider="some-provider"))


@pytest.mark.parametrize("mounted_at", ["", "/auth"])
async def test_a_middleware_sees_every_operation_with_its_route(tmp_path: Path, mounted_at: str) -> None:
    """The scope holds the route's path and name, whatever the answer. The name is the operation id of the OpenAPI document."""
    async with serve_traced(tmp_path, mounted_at=mounted_at) as (client, tracer):
        for operation in OPERATIONS:
            assert (await send_bare(client, operation)).status_code not in (404, 405)
    expected: Seen = [(each.method, each.path, each.run.__name__) for each in OPERATIONS]
    assert tracer.seen == expected


async def test_a_middleware_sees_every_page_and_file(tmp_path: Path) -> None:
    """Middleware also sees pages, the OpenAPI document and its viewer, styles and scripts."""
    async with serve_traced(tmp_path) as (client, tracer):
        for method, path in PAGES:
            assert (await client.request(method, path)).status_code not in (404, 405)
        assert (await client.get("/assets/base.css")).status_code == 200
    assert [(method, path) for method, path, _ in tracer.seen] == [*PAGES, ("GET", "/assets/{name:path}")]
    names = [name for _, _, name in tracer.seen]
    assert len(set(names)) == len(names), "each has a name of its own"


@pytest.mark.parametrize("mounted_at", ["", "/auth"])
async def test_a_method_that_a_path_does_not_allow_is_405_and_names_those_it_allows(tmp_path: Path, mounted_at: str) -> None:
    """405 names all allowed methods of the path, even if they have separate handlers (RFC 9110 §15.5.6).

    The middleware sees the path.
    """
    async with serve_traced(tmp_path, mounted_at=mounted_at) as (client, tracer):
        for path, allowed in {
            "/login": "POST",
            "/profile": "GET, HEAD, POST",
            "/sign-in": "GET, HEAD, POST",
            "/sessions/some-session": "DELETE",
            "/assets/base.css": "GET, HEAD",
        }.items():
            answer = await client.put(path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
            assert answer.json()["code"] == "invalid_request"
    paths = ["/login", "/profile", "/sign-in", "/sessions/{id}", "/assets/{name:path}"]
    assert [path for _, path, _ in tracer.seen] == paths


@pytest.mark.parametrize(
    "path", ["/nowhere", "/login/", "/LOGIN", "/login//", "/sessions/", "/sessions/a/b", "/%6Cogin/x", "/login%00"]
)
async def test_only_exact_paths_are_served(tmp_path: Path, path: str) -> None:
    """Only exact paths are served: no redirect, and no folding of case or slashes. The middleware sees no route."""
    async with serve_traced(tmp_path) as (client, tracer):
        answer = await client.post(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert tracer.seen == [("POST", None, None)]


async def test_the_metadata_is_found_behind_an_issuers_path_too(tmp_path: Path) -> None:
    """The metadata is served at both well-known paths.

    RFC 8414 §3.1 appends the issuer's path to the well-known one, and a proxy may forward either
    form.
    """
    async with serve_traced(tmp_path, mounted_at="/auth") as (client, _):
        for path in ("/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/auth"):
            assert (await client.get(path)).json()["issuer"] == "http://localhost/auth"


@pytest.mark.parametrize("prefix", ["", "/auth"], ids=["removed", "kept"])
async def test_a_proxy_may_remove_the_issuers_path_or_keep_it(tmp_path: Path, prefix: str) -> None:
    """Every operation and page is served at both addresses. Links and redirects are those of the issuer in both cases."""
    async with serve_at(tmp_path, issuer="http://localhost/auth") as (client, tracer):
        for operation in OPERATIONS:
            answer = await client.request(
                operation.method, prefix + operation.path.format(id="some-session", provider="some-provider")
            )
            assert answer.status_code not in (404, 405), operation.path
        for method, path in PAGES:
            assert (await client.request(method, prefix + path)).status_code not in (404, 405)
        assert (await client.get(f"{prefix}/assets/base.css")).status_code == 200
        assert (await client.get(f"{prefix}/")).headers["location"] == "/auth/account"
        again = await client.get(f"{prefix}/sign-in?a=b", headers={"sec-fetch-site": "cross-site"})
        assert 'content="0;url=/auth/sign-in?a=b&amp;here="' in again.text
    assert [path for _, path, _ in tracer.seen[: len(OPERATIONS)]] == [operation.path for operation in OPERATIONS]


@pytest.mark.parametrize("path", ["/authlogin", "/auth/auth/login", "/aut/login", "/Auth/login", "//auth/login", "/auth//login"])
async def test_only_the_whole_path_of_the_issuer_is_removed_once(tmp_path: Path, path: str) -> None:
    """Nothing else is served under other names."""
    async with serve_at(tmp_path, issuer="http://localhost/auth") as (client, _):
        assert (await client.post(f"http://localhost{path}")).status_code == 404


async def test_a_mounted_service_has_one_address(tmp_path: Path) -> None:
    """The application has removed the path already, so it is not removed a second time."""
    async with serve_traced(tmp_path, mounted_at="/auth") as (client, _):
        assert (await client.post("http://localhost/auth/auth/login")).status_code == 404


@pytest.mark.parametrize("path", ["/account", "/sessions/x", "/.well-known"])
async def test_an_issuers_path_that_is_one_of_ours_must_be_removed(tmp_path: Path, path: str) -> None:
    """`POST /account/password` is the page's form. Nobody could tell it from `/password` behind a proxy that keeps `/account`."""
    async with serve_at(tmp_path, issuer=f"http://localhost{path}") as (client, tracer):
        await client.post("/account/password")
        assert (await client.post(f"{path}/login")).status_code == 404
    assert tracer.seen[0][1] == "/account/password"


async def test_a_websocket_is_closed(tmp_path: Path) -> None:
    """A WebSocket handshake is refused (RFC 6455 §4.2.2), not answered with HTTP."""
    sent = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    auth = Handstamp(database=f"sqlite:///{tmp_path}/handstamp.db", issuer="http://localhost")
    async with auth:
        scope = {"type": "websocket", "path": "/profile", "headers": [], "query_string": b"", "root_path": ""}
        await auth.asgi(scope, receive, send)  # type: ignore[arg-type]
    assert sent == ["websocket.close"]


async def test_every_reference_of_the_api_document_leads_to_a_component_and_none_to_itself(tmp_path: Path) -> None:
    """The documentation page replaces them with what they name."""
    async with serve_traced(tmp_path) as (client, _):
        api = (await client.get("/openapi.json")).json()

    def follow(part: Any, above: tuple[str, ...] = ()) -> None:
        if isinstance(part, list):
            for each in part:
                follow(each, above)
        elif isinstance(part, dict):
            if "$ref" in part:
                where = part["$ref"]
                assert where not in above
                first, *names = where.split("/")
                assert (first, names[0]) == ("#", "components")
                follow(reduce(getitem, names, api), (*above, where))
            for each in part.values():
                follow(each, above)

    follow(api)
    assert "$ref" in repr(api)


REPEATED = "chosen-by-another-site"


async def test_no_page_repeats_what_a_request_says_beside_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a proxy may compress pages: nobody finds a secret by the length of an answer to what they chose (BREACH)."""
    found: list[Route] = []

    def keep(use: UseCases, edge: Edge) -> list[Route]:
        found.extend(page_routes(use, edge))
        return found

    monkeypatch.setattr(app, "page_routes", keep)
    async with serving(tmp_path) as service:
        person = await service.account("ada@example.com", "admin")
        pair = await service.sign_in(person, delivery="cookie")
        tokens = {"access": pair.access_token, "refresh": pair.refresh_token}
        cookie = "; ".join(f"{cookie_name(kind, ISSUER)}={token}" for kind, token in tokens.items())
        query = dict.fromkeys(("return_to", "email", "error", "code", "state", "token", "lang", "id", "name"), f"/{REPEATED}")
        repeating = set()
        for path in [route.path for route in found if "GET" in (route.methods or ()) and "{" not in route.path]:
            for headers in ({}, {"cookie": cookie, "sec-fetch-site": "same-origin"}):
                answer = await service.client.get(path, params=query, headers=headers)
                service.client.cookies.clear()
                if REPEATED in answer.text:
                    repeating.add(path)
                    secrets = [value.partition("=")[2].partition(";")[0] for value in answer.headers.get_list("set-cookie")]
                    assert not [secret for secret in (*tokens.values(), *secrets) if secret and secret in answer.text], path
        assert {"/sign-in", "/admin"} <= repeating
