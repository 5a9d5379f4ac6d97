"""What is specific to Django: settings, the order of middleware, marks on views, CSRF, async."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import cache_page

from handstamp import ConfigurationError
from handstamp.verify.django import HandstampMiddleware, authenticator, public, require
from handstamp.wire.problems import Refusal
from tests.adapters.django_project import CSRF, HANDSTAMP, OURS, serve_introspection, site
from tests.adapters.local import APP_ORIGIN, COOKIE, a_token
from tests.adapters.local import bearer as with_bearer
from tests.serving import free_port

BARE: tuple[str, ...] = (CSRF,)
"""The middleware of a project that uses only our decorator."""


def whose(request: HttpRequest) -> HttpResponse:
    """Respond with the token's subject."""
    return HttpResponse(request.claims.sub)


async def whose_async(request: HttpRequest) -> HttpResponse:
    """Respond with the token's subject, from a coroutine."""
    return HttpResponse(request.claims.sub)


def has_claims(request: HttpRequest) -> HttpResponse:
    """Respond with whether the request has claims."""
    return HttpResponse(str(hasattr(request, "claims")))


def strict() -> Any:
    """Return a test client with Django's CSRF check enabled."""
    return Client(enforce_csrf_checks=True)


# --- settings


def test_all_invalid_settings_are_reported_together() -> None:
    """One error lists all unknown and all missing names, and the names that exist."""
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
        ({**HANDSTAMP, "CHECK": "feed", "CREDENTIAL": None}, "needs a credential"),
        ({**HANDSTAMP, "CHECK": "alive"}, "check must be one of"),
        ({**HANDSTAMP, "TRUSTED_ORIGINS": APP_ORIGIN}, "trusted_origins is a list"),
    ],
)
def test_the_middleware_refuses_invalid_settings(given: object, said: str) -> None:
    """Invalid settings raise when the process starts, not at the first request."""
    with override_settings(HANDSTAMP=given), pytest.raises(ConfigurationError, match=said):
        HandstampMiddleware(whose)


def test_the_middleware_must_precede_djangos_csrf_check() -> None:
    """Below Django's CSRF check it would never see requests that carry a token but no form."""
    with override_settings(MIDDLEWARE=[CSRF, OURS]), pytest.raises(ConfigurationError, match=r"^Move"):
        HandstampMiddleware(whose)


def test_a_process_has_one_authenticator() -> None:
    """The process shares one authenticator until the settings are overridden."""
    first = authenticator()
    assert authenticator() is first
    with override_settings(HANDSTAMP={**HANDSTAMP, "LEEWAY_S": 0}):
        assert authenticator() is not first


# --- which views are protected


def test_views_are_protected_unless_public() -> None:
    """A view without a mark is protected. Only views marked `public` are open."""
    with site({"orders": whose, "healthz": public(has_claims), "copy": has_claims}):
        assert Client().get("/orders").status_code == 401
        assert Client().get("/orders", headers=with_bearer()).content == b"ada-id"
        assert Client().get("/healthz", headers={"authorization": "Bearer rubbish"}).content == b"False"
        assert Client().get("/copy").status_code == 401, "the same view elsewhere is not public"


def test_a_view_that_loses_its_public_mark_is_protected() -> None:
    """A decorator that drops attributes drops the mark: the view stays protected, and never becomes public."""

    def forgetful(view: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(request: HttpRequest) -> Any:
            return view(request)

        return wrapper

    with site({"healthz": forgetful(public(has_claims)), "reports": forgetful(require(role="admin")(whose))}):
        assert Client().get("/healthz").status_code == 401
        assert Client().get("/reports").status_code == 401
        assert Client().get("/reports", headers=with_bearer()).status_code == 403


@pytest.mark.parametrize("middleware", [(OURS, CSRF), BARE], ids=["with the middleware", "alone"])
def test_the_decorator_sets_a_views_requirements(middleware: tuple[str, ...]) -> None:
    """The decorator works with and without the middleware, on functions and classes, and stacked."""

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


def test_cached_pages_are_protected_too() -> None:
    """The middleware checks a view's requirements before `cache_page` can return a cached response."""
    with site({"reports": cache_page(60)(require(role="admin")(whose))}):
        assert Client().get("/reports", headers=with_bearer(roles=("admin",))).status_code == 200
        assert Client().get("/reports", headers=with_bearer()).status_code == 403
        assert Client().get("/reports").status_code == 401


def test_errors_of_the_application_pass_through() -> None:
    """An exception that a view raises passes through unchanged, even if it is one of Handstamp's classes."""

    def broken(_: HttpRequest) -> HttpResponse:
        raise ConfigurationError("the application's")

    with site({"orders": require()(broken)}), pytest.raises(ConfigurationError, match="the application's"):
        Client().get("/orders", headers=with_bearer())


# --- forged requests


@pytest.mark.parametrize("middleware", [(OURS, CSRF), BARE], ids=["with the middleware", "alone"])
def test_a_bearer_request_needs_no_csrf_token(middleware: tuple[str, ...]) -> None:
    """Django's CSRF check is for forms. The adapter has already checked the origin of a request with a cookie."""
    with site({"orders": require()(whose)}, middleware=middleware):
        assert strict().post("/orders", headers=with_bearer()).status_code == 200
        cookie = {"cookie": f"{COOKIE}={a_token()}", "sec-fetch-site": "same-site"}
        assert strict().post("/orders", headers=cookie | {"origin": APP_ORIGIN}).status_code == 200
        refused = strict().post("/orders", headers=cookie | {"origin": "https://other.example.com"})
        assert (refused.status_code, refused.json()["code"]) == (403, "cross_site")


def test_an_undecorated_view_needs_only_a_valid_token() -> None:
    """The middleware runs before Django's CSRF check and marks the request as checked."""
    with site({"orders": whose}):
        assert strict().post("/orders", headers=with_bearer()).status_code == 200


def test_public_views_keep_djangos_protection() -> None:
    """Public views ignore tokens, so Django's CSRF check applies to their forms."""
    with site({"contact": public(has_claims)}):
        assert strict().get("/contact").status_code == 200
        refused = strict().post("/contact", headers=with_bearer())
        assert refused.status_code == 403
        assert b"CSRF" in refused.content


# --- async


@pytest.mark.anyio
@pytest.mark.parametrize("middleware", [(OURS, CSRF), BARE], ids=["with the middleware", "alone"])
async def test_async_views_are_protected(middleware: tuple[str, ...]) -> None:
    """An asynchronous server protects functions, coroutines and class-based views."""

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
@pytest.mark.parametrize("middleware", [(OURS, CSRF), BARE], ids=["with the middleware", "alone"])
@pytest.mark.parametrize("name", ["dispatch", "get"])
async def test_a_decorated_method_of_an_async_view_is_protected(middleware: tuple[str, ...], name: str) -> None:
    """`method_decorator` works on `dispatch`, which is no coroutine function, and on a handler. Refusals are awaited too."""

    @method_decorator([require(role="admin"), require(scope="orders:read")], name=name)
    class Orders(View):
        async def get(self, request: HttpRequest) -> HttpResponse:
            return await whose_async(request)

    class Open(View):
        @method_decorator(public)
        def dispatch(self, *args: Any, **kwargs: Any) -> Any:
            return super().dispatch(*args, **kwargs)

        async def get(self, request: HttpRequest) -> HttpResponse:
            return has_claims(request)

    admitted = with_bearer(scope="orders:read", roles=("admin",))
    with site({"orders": Orders.as_view(), "open": Open.as_view()}, middleware=middleware):
        assert (await AsyncClient().get("/orders")).status_code == 401
        for claims in ({"roles": ("admin",)}, {"scope": "orders:read"}):
            assert (await AsyncClient().get("/orders", headers=with_bearer(**claims))).status_code == 403
        assert (await AsyncClient().get("/orders", headers=admitted)).content == b"ada-id"
        assert (await AsyncClient().post("/orders", headers=admitted)).status_code == 405
        assert (await AsyncClient().get("/open")).content == b"False"
    with site({"orders": Orders.as_view()}, middleware=middleware):  # the same view under a synchronous server
        responses = [await sync_to_async(Client().get)("/orders", headers=headers) for headers in ({}, admitted)]
        assert [response.status_code for response in responses] == [401, 200]


@pytest.mark.anyio
async def test_a_public_async_view_stays_async() -> None:
    """`public` keeps a coroutine function recognisable as one, so Django awaits it."""

    async def has_claims_async(request: HttpRequest) -> HttpResponse:
        return has_claims(request)

    with site({"healthz": public(has_claims_async), "orders": whose_async}):
        assert (await AsyncClient().get("/healthz")).content == b"False"
        assert (await AsyncClient().get("/orders")).status_code == 401
        assert (await AsyncClient().get("/orders", headers=with_bearer())).content == b"ada-id"


def test_async_middleware_uses_no_thread() -> None:
    """`process_view` is a coroutine function in an async server.

    Django would run a plain function on the one thread that all requests share, so a slow one would block them all.
    """
    assert iscoroutinefunction(HandstampMiddleware(whose_async).process_view)
    assert not iscoroutinefunction(HandstampMiddleware(whose).process_view)


# --- how revocation is checked


def test_the_middleware_uses_the_decorators_check() -> None:
    """The middleware applies the policy of a view's decorator: `offline` works in an outage, `live` gives 503."""
    settings = {**HANDSTAMP, "CHECK": "live", "CREDENTIAL": "orders:secret", "SERVICE_URL": f"http://localhost:{free_port()}"}
    with site({"orders": whose, "prices": require(check="offline")(whose)}, HANDSTAMP=settings):
        assert Client().get("/prices", headers=with_bearer()).status_code == 200
        refused = Client().get("/orders", headers=with_bearer())
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) >= 1


def test_a_request_is_checked_once() -> None:
    """The decorator reuses the middleware's result, so one request causes one introspection."""
    with serve_introspection() as (url, asked):
        settings = {**HANDSTAMP, "CREDENTIAL": "orders:secret", "SERVICE_URL": url}
        with site({"orders": require(check="live")(whose)}, HANDSTAMP=settings):
            assert Client().get("/orders", headers=with_bearer()).status_code == 200
    assert asked == ["/introspect"]


def test_marks_survive_other_decorators() -> None:
    """A decorator that uses `functools.wraps` keeps the marks."""

    def polite(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def wrapper(request: HttpRequest) -> Any:
            return view(request)

        return wrapper

    with site({"healthz": polite(public(has_claims)), "orders": polite(require(role="admin")(whose))}):
        assert Client().get("/healthz").status_code == 200
        assert strict().post("/orders", headers=with_bearer(roles=("admin",))).status_code == 200


def test_a_check_that_the_verifier_cannot_do_fails_where_it_is_declared() -> None:
    """A policy that needs a credential fails at the view, and not at its first request."""
    with override_settings(HANDSTAMP={**HANDSTAMP, "CREDENTIAL": None}):
        with pytest.raises(ConfigurationError, match="needs a credential"):
            require(check="live")
        require(check="offline")


# --- refusals of the application's own


def own_form(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """Write refusals as this project writes all errors."""
    return HttpResponse(f"{request.path}: {refusal.code}", "text/plain", refusal.status, headers={"cache-control": "private"})


@pytest.mark.anyio
@pytest.mark.parametrize("given", [own_form, f"{__name__}.own_form"], ids=["function", "path"])
async def test_a_project_may_write_refusals_itself(given: object) -> None:
    """A setting names the function. The headers that tell a client what to do are added; those that it sets stay."""
    views = {"orders": whose, "async": whose_async, "reports": require(role="admin")(whose)}
    with site(views, HANDSTAMP={**HANDSTAMP, "ON_REFUSAL": given}):
        for path in views:
            refused = await AsyncClient().get(f"/{path}")
            assert (refused.status_code, refused.content.decode()) == (401, f"/{path}: missing_token")
            assert (refused.headers["www-authenticate"], refused.headers["cache-control"]) == ("Bearer", "private")
            assert refused.headers["content-type"] == "text/plain"
        assert (await AsyncClient().get("/orders", headers=with_bearer())).content == b"ada-id"
    with site(views):
        assert (await AsyncClient().get("/orders")).json()["code"] == "missing_token"


def test_a_function_that_does_not_exist_is_reported_at_the_start() -> None:
    """A wrong path fails when the process starts, not at the first refusal."""
    for given in ("nowhere.at_all", 3):
        with (
            override_settings(HANDSTAMP={**HANDSTAMP, "ON_REFUSAL": given}),
            pytest.raises(ConfigurationError, match="ON_REFUSAL"),
        ):
            HandstampMiddleware(whose)
