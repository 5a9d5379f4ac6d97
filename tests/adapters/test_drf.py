"""What is specific to Django REST framework: permissions, renderers, other authentication classes."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.test import Client, RequestFactory, override_settings
from drf_spectacular.generators import SchemaGenerator
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import (
    BasePermission,
    DjangoModelPermissions,
    DjangoModelPermissionsOrAnonReadOnly,
    DjangoObjectPermissions,
    IsAdminUser,
    IsAuthenticated,
    IsAuthenticatedOrReadOnly,
)
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView, exception_handler

import handstamp.verify.spectacular  # noqa: F401 - as a project's urls.py does
from handstamp import ConfigurationError
from handstamp.verify.django import require as handstamp_require
from handstamp.verify.drf import HandstampAuthentication, Principal, Refused, require
from handstamp.wire.bearer import BOUND_TOKEN
from tests.adapters.django_project import HANDSTAMP, OURS, serve_introspection, site
from tests.adapters.local import COOKIE, a_token, a_verifier, bearer
from tests.serving import free_port

PROBLEM = "application/problem+json"
DJANGO_TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
AWAY = {**HANDSTAMP, "CHECK": "live", "CREDENTIAL": "orders:secret"}
"""Settings with which the verifier must introspect. Tests add a SERVICE_URL where no service listens."""


class Whose(APIView):
    """A view that returns the token's subject. Each test sets its permissions."""

    permission_classes: ClassVar[list[Any]] = []

    def get(self, request: Request) -> Response:
        """Return the subject, for every method."""
        return Response(str(request.user))

    post = get


def whose(*permissions: Any, authenticators: list[Any] | None = None, renderers: list[Any] | None = None) -> Any:
    """Return the view with these permissions."""
    classes = authenticators if authenticators is not None else [HandstampAuthentication]
    return Whose.as_view(
        permission_classes=list(permissions), authentication_classes=classes, renderer_classes=renderers or [JSONRenderer]
    )


def test_authentication_alone_allows_anonymous_requests() -> None:
    """Authentication alone refuses only invalid tokens; permissions refuse requests without one, as DRF defines it."""
    with site({"open": whose()}, middleware=()):
        assert Client().get("/open").json() == "None"
        assert Client().get("/open", headers=bearer()).json() == "ada-id"
        assert Client().get("/open", headers={"authorization": "Bearer rubbish"}).status_code == 401


def test_request_user_is_a_principal() -> None:
    """The principal has the attributes that throttles and other permissions read."""
    claims = a_verifier().verify(a_token())
    person = Principal(claims)
    assert (person.pk, person.id, str(person)) == ("ada-id", "ada-id", "ada-id")
    assert (person.is_authenticated, person.is_anonymous) == (True, False)


def test_is_authenticated_answers_with_our_challenge() -> None:
    """Without a token, `IsAuthenticated` gives our status and challenge. The body is DRF's own."""
    with site({"orders": whose(IsAuthenticated)}, middleware=()):
        refused = Client().get("/orders")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        refused = Client().get("/orders", headers={"authorization": "Bearer rubbish"})
        assert (refused.status_code, refused.headers["content-type"]) == (401, PROBLEM)
        assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token", error_description="invalid_token"'
        assert Client().get("/orders", headers=bearer()).status_code == 200


def test_function_views_are_protected() -> None:
    """Function views are protected through DRF's decorators."""

    @api_view(["GET"])
    @permission_classes([require(scope="orders:read")])
    def orders(request: Request) -> Response:
        return Response(request.auth.sub)

    with site({"orders": orders}, middleware=()):
        assert Client().get("/orders").status_code == 401
        assert Client().get("/orders", headers=bearer()).status_code == 403
        assert Client().get("/orders", headers=bearer(scope="orders:read")).json() == "ada-id"


def test_refusals_are_problems_for_every_accept_header() -> None:
    """The body is a problem whatever `Accept` says, because a browser's script reads `code`."""
    with site({"reports": whose(require(role="admin"), renderers=[BrowsableAPIRenderer, JSONRenderer])}, middleware=()):
        refused = Client().get("/reports", headers=bearer() | {"accept": "text/html"})
        assert (refused.status_code, refused.headers["content-type"]) == (403, PROBLEM)
        assert refused.json()["status"] == 403
        assert refused.headers["cache-control"] == "no-store"


def test_permissions_can_be_combined() -> None:
    """`require` works with `&`, and as the last operand of `|`."""

    class FromHere(BasePermission):
        def has_permission(self, request: Request, _: Any) -> bool:
            return "x-here" in request.headers

    here: Any = FromHere
    with site({"either": whose(here | require(role="admin")), "both": whose(here & require())}, middleware=()):
        assert Client().get("/either", headers={"x-here": "1"}).status_code == 200
        assert Client().get("/either", headers=bearer(roles=("admin",))).status_code == 200
        refused = Client().get("/either", headers=bearer())
        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
        assert Client().get("/both", headers=bearer()).status_code == 403
        assert Client().get("/both", headers=bearer() | {"x-here": "1"}).status_code == 200


def test_a_user_of_another_authentication_class_has_no_claims() -> None:
    """A request that another class authenticated gets 403, not 401, and no claims."""

    class Machine(BaseAuthentication):
        def authenticate(self, _: Request) -> tuple[str, str]:
            return "machine", "a token of another kind"

    with site({"orders": whose(require(), authenticators=[HandstampAuthentication, Machine])}, middleware=()):
        assert Client().get("/orders").status_code == 403
        assert Client().get("/orders", headers=bearer()).status_code == 200


def test_a_view_without_our_authentication_has_no_claims() -> None:
    """Without our authentication class the token is not read, so the permission refuses with 401."""
    with site({"orders": whose(require(), authenticators=[])}, middleware=()):
        assert Client().get("/orders", headers=bearer()).status_code == 401


def test_another_sites_page_cannot_write_with_the_cookie() -> None:
    """A cross-site request with the cookie gets 403 without a challenge."""
    headers = {"cookie": f"{COOKIE}={a_token()}", "sec-fetch-site": "cross-site", "origin": "https://evil.example"}
    with site({"orders": whose(require())}, middleware=()):
        refused = Client(enforce_csrf_checks=True).post("/orders", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "cross_site")
    assert "www-authenticate" not in refused.headers


def test_authentication_uses_the_permissions_check() -> None:
    """Authentication applies the policy of the view's permissions: `offline` works in an outage, `live` gives 503."""
    views = {"orders": whose(require()), "prices": whose(require(check="offline"))}
    with site(views, middleware=(), HANDSTAMP={**AWAY, "SERVICE_URL": f"http://localhost:{free_port()}"}):
        assert Client().get("/prices", headers=bearer()).status_code == 200
        refused = Client().get("/orders", headers=bearer())
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) >= 1


def test_a_check_set_on_the_permission_alone_applies() -> None:
    """If `get_permissions` returns a stricter policy, the token is verified again under that policy."""

    class Choosy(Whose):
        def get_permissions(self) -> list[Any]:
            return [require(check="live")()]

    settings = {**AWAY, "CHECK": "offline", "SERVICE_URL": f"http://localhost:{free_port()}"}
    with site({"orders": Choosy.as_view()}, middleware=(), HANDSTAMP=settings):
        assert Client().get("/orders", headers=bearer()).status_code == 503


def test_force_authenticate_works() -> None:
    """`force_authenticate` needs only claims, not a token."""
    client: Any = APIClient()
    claims = a_verifier().verify(a_token(scope="orders:read"))
    client.force_authenticate(Principal(claims), claims)
    with site({"orders": whose(require(scope="orders:read")), "reports": whose(require(role="admin"))}, middleware=()):
        assert client.get("/orders").json() == "ada-id"
        assert client.get("/reports").status_code == 403


def test_a_check_that_the_verifier_cannot_do_fails_where_it_is_declared() -> None:
    """A policy that needs a credential fails at the view, and not at its first request."""
    without = {name: value for name, value in HANDSTAMP.items() if name != "CREDENTIAL"}
    with override_settings(HANDSTAMP=without), pytest.raises(ConfigurationError, match="needs a credential"):
        require(check="live")


# --- permissions of the framework


class Things(Whose):
    """A view of a model, for permissions that ask for one. Its table does not exist."""

    queryset = Group.objects.none()


@pytest.mark.parametrize(
    ("permission", "reading", "writing", "anonymous"),
    [
        (IsAdminUser, 403, 403, 401),
        (DjangoModelPermissions, 200, 403, 401),
        (DjangoModelPermissionsOrAnonReadOnly, 200, 403, 200),
        (DjangoObjectPermissions, 200, 403, 401),
        (IsAuthenticatedOrReadOnly, 200, 200, 200),
    ],
)
def test_permissions_of_the_framework_find_what_they_read(permission: Any, reading: int, writing: int, anonymous: int) -> None:
    """A permission that asks Django's user model refuses with 403, because a token has none of Django's permissions."""
    view = Things.as_view(permission_classes=[permission], authentication_classes=[HandstampAuthentication])
    anonymous_user = {"UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser"}
    with site({"things": view}, middleware=(), REST_FRAMEWORK=anonymous_user):
        assert Client().get("/things", headers=bearer()).status_code == reading
        assert Client().post("/things", headers=bearer()).status_code == writing
        assert Client().get("/things").status_code == anonymous


def test_the_principal_has_what_an_anonymous_user_has() -> None:
    """Whatever code reads from Django's `AnonymousUser` without touching the database, it can read from a principal."""
    person = Principal(a_verifier().verify(a_token()))
    for name in ("pk", "id", "username", "is_staff", "is_active", "is_superuser", "is_anonymous", "is_authenticated"):
        assert hasattr(AnonymousUser(), name)
        assert hasattr(person, name)
    assert (person.is_staff, person.is_superuser, person.is_active) == (False, False, True)
    assert (person.get_username(), person.username) == ("ada-id", "ada-id")
    assert (person.has_perm("auth.add_user"), person.has_perms(["auth.add_user"]), person.has_module_perms("auth")) == (
        False,
    ) * 3
    assert person.has_perms([])


def test_the_browsable_api_shows_the_person() -> None:
    """The framework's pages read the user too."""
    with site({"orders": whose(renderers=[BrowsableAPIRenderer])}, middleware=(), TEMPLATES=DJANGO_TEMPLATES):
        shown = Client().get("/orders", headers=bearer() | {"accept": "text/html"})
        assert (shown.status_code, b"ada-id" in shown.content) == (200, True)


def test_a_request_without_a_view_is_authenticated() -> None:
    """A request that a middleware or a test has made has no parser context, or an empty one."""
    django_request = RequestFactory().get("/orders", headers=bearer())
    for request in (Request(django_request), django_request):
        found = HandstampAuthentication().authenticate(request)
        assert found is not None
        assert str(found[0]) == "ada-id"
    with pytest.raises(Refused) as refused:
        HandstampAuthentication().authenticate(RequestFactory().get("/orders", headers={"authorization": "Bearer rubbish"}))
    assert (refused.value.code, refused.value.status_code) == ("invalid_token", 401)


# --- refusals of the application's own


def own_form(error: Exception, context: Any) -> Response | None:
    """Write refusals as this application writes all errors."""
    if isinstance(error, Refused):
        return Response({"error": error.code}, error.status_code)
    return exception_handler(error, context)


def more_members(error: Exception, context: Any) -> Response | None:
    """Add a member to what the framework writes."""
    response = exception_handler(error, context)
    if response is not None:
        response.data["see"] = "/help"
    return response


@pytest.mark.parametrize("renderers", [[JSONRenderer], [BrowsableAPIRenderer, JSONRenderer]], ids=["JSON", "pages"])
def test_an_application_may_write_refusals_itself(renderers: list[Any]) -> None:
    """The project's exception handler decides the body. The headers that tell a client what to do stay."""
    for handler, body, media_type in (
        (own_form, {"error": "missing_token"}, "application/json"),
        (more_members, {"code": "missing_token", "see": "/help"}, PROBLEM),
    ):
        settings = {"EXCEPTION_HANDLER": f"{__name__}.{handler.__name__}"}
        with site({"orders": whose(require(), renderers=renderers)}, middleware=(), REST_FRAMEWORK=settings):
            refused = Client().get("/orders", headers={"accept": "application/json"})
        assert (refused.status_code, refused.headers["content-type"]) == (401, media_type)
        assert (refused.headers["www-authenticate"], refused.headers["cache-control"]) == ("Bearer", "no-store")
        assert body.items() <= refused.json().items()


def test_a_refusal_of_the_applications_own_may_be_a_page() -> None:
    """What the application writes is rendered as the client and the view agreed."""
    settings = {"EXCEPTION_HANDLER": f"{__name__}.own_form"}
    view = whose(require(), renderers=[BrowsableAPIRenderer, JSONRenderer])
    with site({"orders": view}, middleware=(), REST_FRAMEWORK=settings, TEMPLATES=DJANGO_TEMPLATES):
        refused = Client().get("/orders", headers={"accept": "text/html"})
    assert (refused.status_code, refused.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert b"missing_token" in refused.content


# --- one verification, and the document


def test_the_service_is_asked_once_a_request() -> None:
    """Middleware, authentication and permissions share one introspection."""

    class Choosy(Whose):
        def get_permissions(self) -> list[Any]:
            return [require(check="live")(), require(check="live", scope="orders:read")()]

    with serve_introspection() as (url, asked), override_settings(HANDSTAMP={**HANDSTAMP, "SERVICE_URL": url}):
        views = {"orders": Choosy.as_view(), "live": handstamp_require(check="live")(whose(require(check="live")))}
        with site(views, middleware=(OURS,), HANDSTAMP={**HANDSTAMP, "SERVICE_URL": url}):
            for path in views:
                asked.clear()
                assert Client().get(f"/{path}", headers=bearer(scope="orders:read")).status_code == 200
                assert asked == ["/introspect"]


@pytest.mark.parametrize("resource", [None, "https://api.example.com"])
def test_the_document_says_how_to_authenticate(capfd: pytest.CaptureFixture[str], resource: str | None) -> None:
    """drf-spectacular knows the authentication class, and that header or cookie is enough.

    An API that knows its own URL takes tokens that are bound to a key, too.
    """
    settings = {**HANDSTAMP, **({} if resource is None else {"RESOURCE": resource})}
    with site({"orders": whose(require())}, middleware=(), ALLOWED_HOSTS=["*"], HANDSTAMP=settings):
        document = SchemaGenerator().get_schema(request=None, public=True)
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The access token"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    if resource is not None:
        schemes["dpop"] = {"type": "http", "scheme": "DPoP", "description": BOUND_TOKEN}
    assert document["components"]["securitySchemes"] == schemes
    assert document["paths"]["/orders"]["get"]["security"] == [{name: []} for name in schemes]
    assert "could not resolve authenticator" not in capfd.readouterr().err
