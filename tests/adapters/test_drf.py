"""What is specific to Django REST framework: permissions, renderers, other authentication classes."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from django.test import Client
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

from handstamp import ConfigurationError
from handstamp.verify.drf import HandstampAuthentication, Principal, require
from tests.adapters.django_project import HANDSTAMP, site
from tests.adapters.local import COOKIE, a_token, a_verifier, bearer
from tests.serving import free_port

PROBLEM = "application/problem+json"
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


def test_a_check_that_the_verifier_cannot_do_is_a_configuration_error() -> None:
    """A policy that the verifier cannot apply raises ConfigurationError. The client sees no configuration details."""
    with site({"orders": whose(require(check="live"))}, middleware=()), pytest.raises(ConfigurationError, match="credential"):
        Client().get("/orders", headers=bearer())
