"""What Django adds: settings, the middleware's order, marks on views, CSRF, async."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import msgspec
import pytest
from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import cache_page

from handstamp import ConfigurationError
from handstamp.verify.django import HandstampMiddleware, authenticator, public, require
from tests.adapters.django_project import CSRF, HANDSTAMP, OURS, site
from tests.adapters.local import APP_ORIGIN, COOKIE, a_token
from tests.adapters.local import bearer as with_bearer
from tests.serving import free_port

BARE: tuple[str, ...] = (CSRF,)
"""The middleware of a project that has only our decorator."""


def whose(request: HttpRequest) -> HttpResponse:
    """Say whose token it was."""
    return HttpResponse(request.claims.sub)


async def whose_async(request: HttpRequest) -> HttpResponse:
    """Say whose token it was, in a coroutine."""
    return HttpResponse(request.claims.sub)


def nobody(request: HttpRequest) -> HttpResponse:
    """Say whether there are claims."""
    return HttpResponse("somebody" if hasattr(request, "claims") else "nobody")


def strict() -> Any:
    """Return a client for which Django checks forgery as for a browser."""
    return Client(enforce_csrf_checks=True)


# --- settings


def test_every_mistake_in_the_settings_is_named_at_once() -> None:
    """Unknown and missing names, with those that are known."""
    with (
        override_settings(HANDSTAMP={"ISUER": "https://a.example", "AUDIENCES": "b"}),
        pytest.raises(ConfigurationError) as raised,
    ):
        authenticator()
    assert [problem.split(".")[0] + "." for problem in raised.value.problems] == [
        "HANDSTAMP in the Django settings needs 'ISSUER'.",
        "HANDSTAMP in the Django settings needs 'AUDIENCE'.",
        "HANDSTAMP['ISUER'] in the Django settings is unknown.",
        "HANDSTAMP['AUDIENCES'] in the Django settings is unknown.",
    ]
    assert "ISSUER" in raised.value.problems[2]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "needs 'ISSUER'"),
        (None, "needs 'ISSUER'"),
        ({**HANDSTAMP, "CHECK": "feed"}, "needs a credential"),
        ({**HANDSTAMP, "CHECK": "alive"}, "check must be one of"),
        ({**HANDSTAMP, "TRUSTED_ORIGINS": APP_ORIGIN}, "trusted_origins is a list"),
    ],
)
def test_the_middleware_refuses_to_start_without_sound_settings(given: object, said: str) -> None:
    """Not at the first request: when the process starts."""
    with override_settings(HANDSTAMP=given), pytest.raises(ConfigurationError, match=said):
        HandstampMiddleware(whose)


def test_the_middleware_refuses_to_stand_below_djangos_csrf_check() -> None:
    """There it would never see the requests that carry a token and no form."""
    with override_settings(MIDDLEWARE=[CSRF, OURS]), pytest.raises(ConfigurationError, match=r"^Move"):
        HandstampMiddleware(whose)


def test_one_bearer_a_process() -> None:
    """Until a test overrides the settings."""
    first = authenticator()
    assert authenticator() is first
    with override_settings(HANDSTAMP={**HANDSTAMP, "LEEWAY_S": 0}):
        assert authenticator() is not first


# --- which views are protected


def test_every_view_is_protected_but_the_public_ones() -> None:
    """Whoever forgets a view has forgotten to open it, not to close it."""
    with site({"orders": whose, "healthz": public(nobody), "copy": nobody}):
        assert Client().get("/orders").status_code == 401
        assert Client().get("/orders", headers=with_bearer()).content == b"ada-id"
        assert Client().get("/healthz", headers={"authorization": "Bearer rubbish"}).content == b"nobody"
        assert Client().get("/copy").status_code == 401, "the same view elsewhere is not public"


def test_a_mark_that_a_decorator_loses_leaves_the_view_protected() -> None:
    """Not every decorator carries attributes over."""

    def forgetful(view: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(request: HttpRequest) -> Any:
            return view(request)

        return wrapper

    with site({"healthz": forgetful(public(nobody)), "reports": forgetful(require(role="admin")(whose))}):
        assert Client().get("/healthz").status_code == 401
        assert Client().get("/reports").status_code == 401
        assert Client().get("/reports", headers=with_bearer()).status_code == 403


@pytest.mark.parametrize("middleware", [(OURS, CSRF), BARE], ids=["with the middleware", "alone"])
def test_the_decorator_says_what_a_view_needs(middleware: tuple[str, ...]) -> None:
    """With the middleware and without it, on functions, on classes, and one above the other."""

    class Orders(View):
        def get(self, request: HttpRequest) -> HttpResponse:
            return whose(request)

    @method_decorator(require(scope="orders:read"), name="dispatch")
    class Decorated(Orders):
        pass

    wanted = require(scope="orders:read")
    views = {
        "function": wanted(whose),
        "class": wanted(Orders.as_view()),
        "method": Decorated.as_view(),
        "both": wanted(require(role="admin")(whose)),
    }
    with site(views, middleware=middleware):
        for name in views:
            assert Client().get(f"/{name}").status_code == 401
            refused = Client().get(f"/{name}", headers=with_bearer(roles=("admin",)))
            assert (refused.status_code, refused.headers["www-authenticate"]) == (
                403,
                'Bearer error="insufficient_scope", scope="orders:read"',
            )
            admitted = with_bearer(scope="orders:read", roles=("admin",))
            assert Client().get(f"/{name}", headers=admitted).content == b"ada-id"
        assert Client().get("/both", headers=with_bearer(scope="orders:read")).status_code == 403


def test_a_page_from_the_cache_is_for_those_only_who_may_see_it() -> None:
    """The middleware has judged by what the view declares before any other decorator answers in its place."""
    with site({"reports": cache_page(60)(require(role="admin")(whose))}):
        assert Client().get("/reports", headers=with_bearer(roles=("admin",))).status_code == 200
        assert Client().get("/reports", headers=with_bearer()).status_code == 403
        assert Client().get("/reports").status_code == 401


def test_the_applications_own_errors_are_its_own() -> None:
    """Also those of our family: who raises them in a view has something else in mind."""

    def broken(_: HttpRequest) -> HttpResponse:
        raise ConfigurationError("the application's")

    with site({"orders": require()(broken)}), pytest.raises(ConfigurationError, match="the application's"):
        Client().get("/orders", headers=with_bearer())


# --- forged requests


@pytest.mark.parametrize("middleware", [(OURS, CSRF), BARE], ids=["with the middleware", "alone"])
def test_a_token_is_all_that_an_unsafe_request_needs(middleware: tuple[str, ...]) -> None:
    """Django's own check is for forms; ours has said already where a cookie comes from."""
    with site({"orders": require()(whose)}, middleware=middleware):
        assert strict().post("/orders", headers=with_bearer()).status_code == 200
        cookie = {"cookie": f"{COOKIE}={a_token()}", "sec-fetch-site": "same-site"}
        assert strict().post("/orders", headers=cookie | {"origin": APP_ORIGIN}).status_code == 200
        refused = strict().post("/orders", headers=cookie | {"origin": "https://other.example.com"})
        assert (refused.status_code, refused.json()["code"]) == (403, "cross_site")


def test_a_view_without_a_mark_needs_no_more() -> None:
    """The middleware stands above Django's, and tells it."""
    with site({"orders": whose}):
        assert strict().post("/orders", headers=with_bearer()).status_code == 200


def test_public_views_keep_djangos_protection() -> None:
    """Nobody's token stands for them: a form on a public page is checked as ever."""
    with site({"contact": public(nobody)}):
        assert strict().get("/contact").status_code == 200
        refused = strict().post("/contact", headers=with_bearer())
        assert refused.status_code == 403
        assert b"CSRF" in refused.content


# --- async


@pytest.mark.anyio
@pytest.mark.parametrize("middleware", [(OURS, CSRF), BARE], ids=["with the middleware", "alone"])
async def test_coroutines_are_protected_alike(middleware: tuple[str, ...]) -> None:
    """Views of both kinds, in an asynchronous server; a class as a whole too."""

    class Orders(View):
        async def get(self, request: HttpRequest) -> HttpResponse:
            return await whose_async(request)

    wanted = require(role="admin")
    views = {"coroutine": wanted(whose_async), "function": wanted(whose), "class": wanted(Orders.as_view())}
    assert iscoroutinefunction(views["coroutine"])
    assert iscoroutinefunction(views["class"])
    with site(views, middleware=middleware):
        for name in views:
            assert (await AsyncClient().get(f"/{name}")).status_code == 401
            assert (await AsyncClient().get(f"/{name}", headers=with_bearer())).status_code == 403
            assert (await AsyncClient().get(f"/{name}", headers=with_bearer(roles=("admin",)))).content == b"ada-id"


@pytest.mark.anyio
async def test_a_public_coroutine_stays_one() -> None:
    """Django awaits what says that it is to be awaited."""

    async def nobody_async(request: HttpRequest) -> HttpResponse:
        return nobody(request)

    with site({"healthz": public(nobody_async), "orders": whose_async}):
        assert (await AsyncClient().get("/healthz")).content == b"nobody"
        assert (await AsyncClient().get("/orders")).status_code == 401
        assert (await AsyncClient().get("/orders", headers=with_bearer())).content == b"ada-id"


def test_in_an_asynchronous_server_no_thread_is_taken_for_it() -> None:
    """Django would run a function on the one thread that all requests share, and one that asks the service would hold up all."""
    assert iscoroutinefunction(HandstampMiddleware(whose_async).process_view)
    assert not iscoroutinefunction(HandstampMiddleware(whose).process_view)


# --- how revocation is checked


@contextmanager
def introspecting() -> Iterator[tuple[str, list[str]]]:
    """Answer every introspection with yes; give the address, and the list of paths that were asked."""
    asked: list[str] = []
    yes = msgspec.json.encode({"active": True, "sid": "session-1", "jti": "token-1"})

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            asked.append(self.path)
            self.send_response(200)
            self.send_header("content-length", str(len(yes)))
            self.end_headers()
            self.wfile.write(yes)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{listening.server_address[1]}", asked
        listening.shutdown()
        thread.join()


def test_the_decorators_policy_holds_in_the_middleware_too() -> None:
    """A view that allows for an outage is not refused by a middleware that does not; the others are."""
    settings = {**HANDSTAMP, "CHECK": "live", "CREDENTIAL": "orders:secret", "SERVICE_URL": f"http://localhost:{free_port()}"}
    with site({"orders": whose, "prices": require(check="offline")(whose)}, HANDSTAMP=settings):
        assert Client().get("/prices", headers=with_bearer()).status_code == 200
        refused = Client().get("/orders", headers=with_bearer())
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) >= 1


def test_the_service_is_asked_once_a_request() -> None:
    """The decorator relies on what the middleware has heard."""
    with introspecting() as (url, asked):
        settings = {**HANDSTAMP, "CREDENTIAL": "orders:secret", "SERVICE_URL": url}
        with site({"orders": require(check="live")(whose)}, HANDSTAMP=settings):
            assert Client().get("/orders", headers=with_bearer()).status_code == 200
    assert asked == ["/introspect"]


def test_a_decorator_between_keeps_the_marks() -> None:
    """As long as it is written as decorators are."""

    def polite(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def wrapper(request: HttpRequest) -> Any:
            return view(request)

        return wrapper

    with site({"healthz": polite(public(nobody)), "orders": polite(require(role="admin")(whose))}):
        assert Client().get("/healthz").status_code == 200
        assert strict().post("/orders", headers=with_bearer(roles=("admin",))).status_code == 200
