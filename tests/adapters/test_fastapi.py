"""What is specific to FastAPI: the OpenAPI document, exception handlers, application-wide dependencies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.requests import HTTPConnection
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware

from handstamp import AccessClaims, ConfigurationError, Unavailable, Verifier
from handstamp.verify.asgi import HandstampMiddleware
from handstamp.verify.fastapi import Refused, Require
from handstamp.verify.verifier import Check
from handstamp.wire.bearer import BOUND_TOKEN
from tests.adapters.local import APP_ORIGIN, COOKIE, ISSUER, a_token, a_verifier, bearer, connect
from tests.integration.helpers import expect_problem

SCOPE_OF_A_REQUEST: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": []}


@pytest.fixture
def require() -> Require:
    """Return the `Require` that the routes of a test use."""
    return Require(a_verifier(), trusted_origins=[APP_ORIGIN])


async def ask(app: FastAPI, method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request to an application in this process."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client:
        return await client.request(method, path, **options)


def an_application(dependency: Callable[..., Any], **options: Any) -> FastAPI:
    """Return an application with one route, which returns the token's subject."""
    app = FastAPI(**options)

    async def whose(claims: AccessClaims = Depends(dependency)) -> str:  # noqa: B008 - FastAPI's own syntax
        return claims.sub

    app.get("/orders")(whose)
    app.post("/orders")(whose)
    return app


@pytest.mark.anyio
async def test_openapi_lists_a_routes_requirements(require: Require) -> None:
    """The OpenAPI document gives both schemes, header and cookie, and the scopes of each route."""
    document = (await ask(an_application(require(scope="orders:read orders:list")), "GET", "/openapi.json")).json()
    assert document["components"]["securitySchemes"] == {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The access token"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    scopes = ["orders:read", "orders:list"]
    operation = document["paths"]["/orders"]["get"]
    assert operation["security"] == [{"bearer": scopes}, {"cookie": scopes}]
    assert "parameters" not in operation


@pytest.mark.anyio
async def test_openapi_lists_both_schemes_without_scopes(require: Require) -> None:
    """A route without scopes documents the header and the cookie too."""
    document = (await ask(an_application(require(role="admin")), "GET", "/openapi.json")).json()
    assert document["components"]["securitySchemes"].keys() == {"bearer", "cookie"}
    operation = document["paths"]["/orders"]["get"]
    assert operation["security"] == [{"bearer": []}, {"cookie": []}]
    assert "parameters" not in operation


@pytest.mark.anyio
async def test_openapi_lists_bound_tokens_where_they_are_accepted() -> None:
    """An API that knows its own URL takes `Authorization: DPoP` too. The name is that of the IANA registry."""
    bound = Require(a_verifier(), resource="https://api.example.com")
    document = (await ask(an_application(bound(scope="orders:read")), "GET", "/openapi.json")).json()
    assert document["components"]["securitySchemes"]["dpop"] == {"type": "http", "scheme": "DPoP", "description": BOUND_TOKEN}
    scopes = ["orders:read"]
    assert document["paths"]["/orders"]["get"]["security"] == [{"bearer": scopes}, {"cookie": scopes}, {"dpop": scopes}]


@pytest.mark.anyio
async def test_refusals_need_no_exception_handler_in_the_application(require: Require) -> None:
    """The first refusal is a complete problem although the application registered no handler."""
    answer = await ask(an_application(require()), "GET", "/orders")
    expect_problem(answer, 401, "missing_token")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.anyio
async def test_other_exceptions_are_unchanged(require: Require) -> None:
    """Other exceptions keep FastAPI's form, even after a refusal has added Handstamp's handler."""
    app = an_application(require())

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout")

    assert (await ask(app, "GET", "/orders")).status_code == 401
    answer = await ask(app, "GET", "/teapot")
    assert (answer.status_code, answer.json()) == (418, {"detail": "short and stout"})


@pytest.mark.anyio
@pytest.mark.parametrize("handled", [401, Refused, HTTPException, StarletteHTTPException])
async def test_an_application_may_write_refusals_itself(require: Require, handled: int | type[Exception]) -> None:
    """The application's handler for the status, the class or every HTTP exception takes precedence."""
    app = an_application(require())

    @app.exception_handler(handled)
    async def own(_: Request, refused: Refused) -> Response:
        return Response(refused.problem["code"], refused.status_code, refused.headers)

    answer = await ask(app, "GET", "/orders")
    assert (answer.status_code, answer.text, answer.headers["www-authenticate"]) == (401, "missing_token", "Bearer")


@pytest.mark.anyio
async def test_without_our_handler_status_and_headers_are_right(require: Require) -> None:
    """`Refused` itself carries the status, headers and problem, in case a later Starlette moves its handlers."""
    with pytest.raises(Refused) as raised:
        await require.claims(HTTPConnection(dict(SCOPE_OF_A_REQUEST)))
    assert raised.value.status_code == 401
    assert raised.value.headers == {"cache-control": "no-store", "www-authenticate": "Bearer"}
    assert raised.value.code == "missing_token"
    assert vars(raised.value)["detail"] == raised.value.problem
    assert raised.value.problem["code"] == "missing_token"


@pytest.mark.anyio
async def test_a_whole_application_can_be_protected(require: Require) -> None:
    """A dependency of the application protects every route, also when it is mounted in another one."""
    inner = FastAPI(dependencies=[Depends(require(role="admin"))])

    @inner.get("/reports")
    async def reports() -> str:
        return "all"

    app = FastAPI()
    app.mount("/inner", inner)
    assert (await ask(app, "GET", "/inner/reports")).status_code == 401
    expect_problem(await ask(app, "GET", "/inner/reports", headers=bearer()), 403, "insufficient_scope")
    assert (await ask(app, "GET", "/inner/reports", headers=bearer(roles=("admin",)))).json() == "all"


@pytest.mark.anyio
async def test_cors_applications_read_refusals(require: Require) -> None:
    """CORS middleware answers preflights before any dependency runs and lets the page read a refusal."""
    app = an_application(require())
    app.add_middleware(CORSMiddleware, allow_origins=[APP_ORIGIN], allow_headers=["authorization"], allow_methods=["POST"])
    asks = {"origin": APP_ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    assert (await ask(app, "OPTIONS", "/orders", headers=asks)).status_code == 200
    refused = await ask(app, "POST", "/orders", headers={"origin": APP_ORIGIN})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, APP_ORIGIN)


@pytest.mark.anyio
async def test_a_trusted_origin_may_write_with_the_cookie(require: Require) -> None:
    """A request with the cookie may write if its origin is one of `trusted_origins`."""
    headers = {"cookie": f"{COOKIE}={a_token()}", "sec-fetch-site": "same-site"}
    app = an_application(require())
    assert (await ask(app, "POST", "/orders", headers=headers | {"origin": APP_ORIGIN})).status_code == 200
    assert (await ask(app, "POST", "/orders", headers=headers | {"origin": "https://other.example.com"})).status_code == 403


def test_a_check_that_the_verifier_cannot_do_fails_where_it_is_declared(require: Require) -> None:
    """A policy that needs a credential fails at the route, and not at its first request."""
    for check in ("live", "feed"):
        with pytest.raises(ConfigurationError, match="needs a credential"):
            require(check=check)
    with pytest.raises(ConfigurationError, match="check must be"):
        require(check="alive")  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_the_verifier_may_be_created_later() -> None:
    """A function creates the verifier at the first request, once. Until then routes can be declared, and are checked then."""
    made: list[Verifier] = []

    def make() -> Verifier:
        made.append(a_verifier())
        return made[-1]

    require = Require(make, trusted_origins=[APP_ORIGIN])
    app = an_application(require(scope="orders:read"))
    assert made == []
    for _ in range(2):
        assert (await ask(app, "GET", "/orders", headers=bearer(scope="orders:read"))).json() == "ada-id"
    document = (await ask(app, "GET", "/openapi.json")).json()
    assert document["components"]["securitySchemes"]["cookie"]["name"] == COOKIE
    assert len(made) == 1
    too_much = Require(make)
    app = an_application(too_much(check="live"))
    with pytest.raises(ConfigurationError, match="needs a credential"):
        await ask(app, "GET", "/orders", headers=bearer())


# --- one dependency for all


def a_person(**changes: Any) -> AccessClaims:
    """Return claims that a test of an application makes up."""
    return a_verifier().verify(a_token(**changes))


@pytest.mark.anyio
@pytest.mark.parametrize("needs", [{}, {"scope": "orders:read"}, {"role": "admin"}, {"check": "offline"}], ids=str)
async def test_a_test_replaces_the_claims_of_every_route(require: Require, needs: dict[str, Any]) -> None:
    """`dependency_overrides` reaches the claims of each route by one name. What routes require is still checked."""
    app = an_application(require(**needs))
    assert (await ask(app, "GET", "/orders")).status_code == 401
    bob = a_person(sub="bob", scope="orders:read", roles=("admin",))
    app.dependency_overrides[require.claims] = lambda: bob
    assert (await ask(app, "GET", "/orders")).json() == "bob"
    app.dependency_overrides[require.claims] = lambda: a_person(sub="eve")
    assert (await ask(app, "GET", "/orders")).status_code == (403 if needs.keys() & {"scope", "role"} else 200)
    app.dependency_overrides.clear()
    assert (await ask(app, "GET", "/orders")).status_code == 401


class Counting:
    """A verifier that counts what it is asked, and that a test can silence."""

    issuer = ISSUER
    check: Check = "feed"
    follows_feed = True
    max_staleness_s = 30.0

    def __init__(self) -> None:
        """Start with a service that answers."""
        self.asked: list[Check | None] = []
        self.refuses: set[Check | None] = set()
        self._verifier = a_verifier()

    def now_ms(self) -> int:
        """Return the time."""
        return self._verifier.now_ms()

    def verify(
        self, token: str, *, check: Check | None = None, proved: str | None = None, impersonation: bool = False
    ) -> AccessClaims:
        """Verify a token offline, unless this policy is refused."""
        self.asked.append(check)
        if check in self.refuses:
            raise Unavailable("the test says so")
        return self._verifier.verify(token, proved=proved, impersonation=impersonation)

    async def verify_async(
        self, token: str, *, check: Check | None = None, proved: str | None = None, impersonation: bool = False
    ) -> AccessClaims:
        """Do the same."""
        return self.verify(token, check=check, proved=proved, impersonation=impersonation)

    def is_recent(self, claims: AccessClaims, *, max_age_s: int) -> bool:
        """Return whether the user signed in recently."""
        return self._verifier.is_recent(claims, max_age_s=max_age_s)

    async def confirm(self, claims: AccessClaims) -> None:
        """Do nothing."""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("declared", "asked"),
    [
        ([{}, {}, {"scope": "a"}, {"scope": "b"}, {"role": "admin"}], [None]),
        ([{"check": "live"}, {}, {"scope": "a"}, {"check": "live", "scope": "b"}], ["live"]),
        ([{}, {"check": "live"}, {"check": "offline"}, {"check": "live", "role": "admin"}], [None, "live"]),
        ([{"check": "offline"}, {}], ["offline", None]),
        ([{"check": "offline"}, {"check": "offline", "scope": "a"}], ["offline"]),
        ([{"check": "feed"}, {}], ["feed"]),
    ],
    ids=str,
)
async def test_the_credential_is_checked_once_a_request(declared: list[dict[str, Any]], asked: list[Check | None]) -> None:
    """However many dependencies ask, a token is verified once for each stricter policy, and every policy is kept."""
    verifier = Counting()
    require = Require(verifier)
    app = an_application(require(**declared[-1]), dependencies=[Depends(require(**needs)) for needs in declared[:-1]])
    headers = bearer(scope="a b", roles=("admin",))
    for _ in range(2):
        verifier.asked.clear()
        assert (await ask(app, "GET", "/orders", headers=headers)).json() == "ada-id"
        assert verifier.asked == asked
    strictest = asked[-1]
    verifier.refuses = {strictest}
    assert (await ask(app, "GET", "/orders", headers=headers)).status_code == 503


@pytest.mark.anyio
async def test_middleware_and_dependencies_check_the_credential_once() -> None:
    """The middleware around the application and its dependencies share one verification."""
    verifier = Counting()
    require = Require(verifier)
    inner = an_application(require(scope="a"))
    app = FastAPI()
    app.mount("/", HandstampMiddleware(HandstampMiddleware(inner, verifier=verifier), verifier=verifier, role="admin"))
    assert (await ask(app, "GET", "/orders", headers=bearer(scope="a", roles=("admin",)))).json() == "ada-id"
    assert verifier.asked == [None]


@pytest.mark.anyio
async def test_a_route_may_need_the_tokens_of_two_issuers() -> None:
    """The checks of one verifier do not count for another one."""
    one, other = Counting(), Counting()
    first, second = Require(one), Require(other)
    dependencies = [Depends(it) for it in (first(), second(check="live"), first(check="live"), second(), first(scope="a"))]
    app = an_application(second(scope="a"), dependencies=dependencies)
    assert (await ask(app, "GET", "/orders", headers=bearer(scope="a"))).status_code == 200
    assert (one.asked, other.asked) == ([None, "live"], ["live"])


@pytest.mark.anyio
async def test_included_routers_have_their_own_requirements(require: Require) -> None:
    """A router's dependency holds for its routes, in addition to the application's and the route's."""
    router = APIRouter(dependencies=[Depends(require(role="admin"))])

    @router.get("/reports", dependencies=[Depends(require(scope="reports"))])
    async def reports() -> str:
        return "all"

    app = FastAPI(dependencies=[Depends(require())])
    app.include_router(router)
    for claims, status in (({}, 403), ({"roles": ("admin",)}, 403), ({"roles": ("admin",), "scope": "reports"}, 200)):
        assert (await ask(app, "GET", "/reports", headers=bearer(**claims))).status_code == status


def test_a_websocket_needs_the_header_not_the_cookie(require: Require) -> None:
    """A websocket needs the header. The cookie is ignored, because any site's page can open a websocket with it."""
    app = FastAPI(dependencies=[Depends(require())])

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()

    scope = {"type": "websocket", "path": "/live", "extensions": {"websocket.http.response": {}}, "subprotocols": []}
    assert connect(app, scope, bearer())[0]["type"] == "websocket.accept"
    cookie = {"cookie": f"{COOKIE}={a_token()}", "sec-fetch-site": "same-origin"}
    refused = connect(app, scope, cookie)[0]
    assert (refused["type"], refused["status"]) == ("websocket.http.response.start", 401)
    plain = {name: value for name, value in scope.items() if name != "extensions"}
    assert connect(app, plain, cookie) == [{"type": "websocket.close", "code": 1008, "reason": "missing_token"}]
