"""What is specific to Flask: blueprints, preflights, its error handlers, `async` views."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Blueprint, Flask, abort, g, request
from flask.testing import FlaskClient
from flask_cors import CORS, cross_origin
from werkzeug.exceptions import HTTPException

from handstamp import ConfigurationError, Verifier
from handstamp.verify.flask import Refused, Require
from tests.adapters.django_project import serve_introspection
from tests.adapters.local import APP_ORIGIN, AUDIENCE, COOKIE, ISSUER, KEYS, a_token, a_verifier, bearer
from tests.serving import free_port


@pytest.fixture
def require() -> Require:
    """Return the `Require` that the views of a test use."""
    return Require(a_verifier(), trusted_origins=[APP_ORIGIN])


def client_of(view: Any) -> FlaskClient:
    """Return a client of an application with one view."""
    app = Flask(__name__)
    app.testing = True
    app.add_url_rule("/orders", "orders", view, methods=["GET", "POST"])
    return app.test_client(use_cookies=False)


def whose() -> str:
    """Return the token's subject."""
    claims = g.claims
    return str(claims.sub)


def test_a_view_keeps_its_name(require: Require) -> None:
    """The decorator keeps the view's name. Flask derives the endpoint from it, and two endpoints must differ."""
    assert require()(whose).__name__ == "whose"


def test_preflights_are_answered_without_the_view(require: Require) -> None:
    """Preflights, which carry no credentials, are answered without a token."""
    asks = {"origin": APP_ORIGIN, "access-control-request-method": "POST"}
    assert client_of(require()(whose)).options("/orders", headers=asks).status_code == 200


def blueprint_of(require: Require, view: Any = None, *, cors: str = "") -> FlaskClient:
    """Return a client of an application with a protected blueprint, and Flask-CORS before or after it."""
    admin = Blueprint("admin", __name__)
    app = Flask(__name__)
    if cors == "before":
        CORS(app, origins=[APP_ORIGIN])

    @admin.before_request
    @require(role="admin")
    def only_admins() -> None:
        g.seen = g.claims.sub

    admin.add_url_rule("/reports", "reports", view or whose, methods=["GET", "PUT"])
    if cors == "blueprint":
        CORS(admin, origins=[APP_ORIGIN])
    app.register_blueprint(admin)
    if cors == "after":
        CORS(app, origins=[APP_ORIGIN])
    return app.test_client(use_cookies=False)


def test_a_blueprint_can_be_protected(require: Require) -> None:
    """One decorated `before_request` function protects a whole blueprint."""
    client = blueprint_of(require)
    assert client.get("/reports").status_code == 401
    assert client.get("/reports", headers=bearer()).status_code == 403
    assert client.get("/reports", headers=bearer(roles=("admin",))).text == "ada-id"


PREFLIGHT = {"origin": APP_ORIGIN, "access-control-request-method": "PUT"}


@pytest.mark.parametrize("cors", ["before", "after", "blueprint"])
def test_a_preflight_passes_a_protected_blueprint(require: Require, cors: str) -> None:
    """A browser sends a preflight without credentials. Flask-CORS answers it, wherever it stands."""
    client = blueprint_of(require, cors=cors)
    answer = client.options("/reports", headers=PREFLIGHT)
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == APP_ORIGIN
    refused = client.put("/reports", headers={"origin": APP_ORIGIN})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, APP_ORIGIN)
    admitted = client.put("/reports", headers=bearer(roles=("admin",)) | {"origin": APP_ORIGIN})
    assert (admitted.text, admitted.headers["access-control-allow-origin"]) == ("ada-id", APP_ORIGIN)


def test_only_a_true_preflight_passes(require: Require) -> None:
    """Every other OPTIONS request needs a token, and so does a preflight that only the view could answer."""
    client = blueprint_of(require)
    for headers in ({}, {"origin": APP_ORIGIN}, {"access-control-request-method": "PUT"}):
        assert client.options("/reports", headers=headers).status_code == 401
    entered: list[str] = []

    def answers_itself() -> str:
        entered.append(request.method)
        return "secret"

    app = Flask(__name__)
    app.add_url_rule("/view", "view", require()(answers_itself), methods=["OPTIONS"], provide_automatic_options=False)
    assert app.test_client().options("/view", headers=PREFLIGHT).status_code == 401
    client = blueprint_of(require, view=answers_itself)
    client.application.add_url_rule("/admin.own", "admin.own", answers_itself, methods=["OPTIONS"])
    assert client.options("/admin.own", headers=PREFLIGHT).status_code == 401
    assert entered == []


@pytest.mark.parametrize("order", ["outside", "inside", "blueprint"])
def test_a_decorator_of_flask_cors_answers_in_either_order(require: Require, order: str) -> None:
    """`cross_origin` may stand above or below `require`. The view itself is never entered without a token."""
    entered: list[str] = []

    def view() -> str:
        entered.append(request.method)
        return whose()

    cors = cross_origin(origins=[APP_ORIGIN])
    if order == "blueprint":
        client, path = blueprint_of(require, view=cors(view)), "/reports"
    else:
        client, path = client_of(cors(require()(view)) if order == "outside" else require()(cors(view))), "/orders"
    answer = client.options(path, headers=PREFLIGHT)
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == APP_ORIGIN
    assert client.get(path).status_code == 401
    assert entered == []
    assert client.get(path, headers=bearer(roles=("admin",))).text == "ada-id"
    client.application.config["CORS_AUTOMATIC_OPTIONS"] = False  # now Flask-CORS leaves preflights to the view
    client.application.testing = False
    assert b"ada" not in client.options(path, headers=PREFLIGHT).data


# --- the verifier


def test_the_verifier_may_be_given_by_the_application_factory() -> None:
    """Views are decorated where they are defined; each application of the factory has its own verifier."""
    require = Require(trusted_origins=[APP_ORIGIN])
    view = require(scope="orders:read")(whose)
    client, other = client_of(view), client_of(view)
    with pytest.raises(ConfigurationError, match="init_app"):
        client.get("/orders", headers=bearer())
    require.init_app(client.application, a_verifier())
    require.init_app(other.application, Verifier(ISSUER, audience="https://other.example.com", keys=KEYS, check="offline"))
    assert client.get("/orders", headers=bearer(scope="orders:read")).text == "ada-id"
    assert client.get("/orders", headers=bearer()).status_code == 403
    assert other.get("/orders", headers=bearer(scope="orders:read")).status_code == 401
    cookie = {"cookie": f"{COOKIE}={a_token(scope='orders:read')}", "sec-fetch-site": "same-site", "origin": APP_ORIGIN}
    assert client.post("/orders", headers=cookie).status_code == 200


def test_the_verifier_may_be_created_at_the_first_request() -> None:
    """A function creates the verifier once."""
    made: list[Verifier] = []

    def make() -> Verifier:
        made.append(a_verifier())
        return made[-1]

    client = client_of(Require(make)()(whose))
    assert made == []
    for _ in range(2):
        assert client.get("/orders", headers=bearer()).text == "ada-id"
    assert len(made) == 1


@pytest.mark.parametrize("handled", [401, Refused, HTTPException, Exception], ids=str)
def test_an_application_may_write_refusals_itself(require: Require, handled: Any) -> None:
    """The application's handler for the status or the class decides the body. The headers stay."""
    client = client_of(require()(whose))
    client.application.register_error_handler(handled, lambda refused: (f"sorry: {refused.refusal.code}", refused.code))
    answer = client.get("/orders")
    assert (answer.status_code, answer.text) == (401, "sorry: missing_token")
    assert (answer.headers["www-authenticate"], answer.headers["cache-control"]) == ("Bearer", "no-store")
    assert client.get("/orders", headers=bearer()).text == "ada-id"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (400, {"cookie": f"{COOKIE}=a; {COOKIE}=b", "sec-fetch-site": "same-origin"}),
        (403, {"cookie": f"{COOKIE}=a", "origin": "https://other.example.com"}),
        (503, bearer()),
    ],
)
def test_the_handler_of_each_status_is_found(require: Require, status: int, headers: dict[str, str]) -> None:
    """Flask looks for a handler by the class of the exception, so each status has its own. Without one, it is a problem."""
    away = Verifier(ISSUER, audience=AUDIENCE, check="offline", service_url=f"http://localhost:{free_port()}", timeout_s=1)
    view = Require(away)()(whose) if status == 503 else require()(whose)
    plain = client_of(view).post("/orders", headers=headers)
    assert (plain.status_code, plain.content_type) == (status, "application/problem+json")
    client = client_of(view)
    client.application.register_error_handler(status, lambda refused: (f"sorry: {refused.code}", refused.code))
    assert client.post("/orders", headers=headers).text == f"sorry: {status}"


def test_a_refusal_of_a_blueprint_is_a_problem_with_its_headers(require: Require) -> None:
    """The refusal of a `before_request` function is complete too."""
    answer = blueprint_of(require).get("/reports")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json is not None
    assert answer.json["code"] == "missing_token"


def test_errors_of_the_application_pass_through(require: Require) -> None:
    """Exceptions that a view raises pass through unchanged: Flask's, and also Handstamp's own classes."""

    def teapot() -> str:
        abort(418)

    def broken() -> str:
        raise ConfigurationError("the application's")

    assert client_of(require()(teapot)).get("/orders", headers=bearer()).status_code == 418
    with pytest.raises(ConfigurationError, match="the application's"):
        client_of(require()(broken)).get("/orders", headers=bearer())


def test_a_check_that_the_verifier_cannot_do_fails_where_it_is_declared(require: Require) -> None:
    """A policy that needs a credential fails at the view, or where the application gets its verifier."""
    with pytest.raises(ConfigurationError, match="needs a credential"):
        require(check="live")
    late = Require()
    late(check="live")
    with pytest.raises(ConfigurationError, match="needs a credential"):
        late.init_app(Flask(__name__), a_verifier())


def test_a_request_is_checked_once() -> None:
    """The blueprint's function and the view share one introspection."""
    with serve_introspection() as (url, asked):
        verifier = Verifier(ISSUER, audience=AUDIENCE, keys=KEYS, credential="orders:secret", check="live", service_url=url)
        require = Require(verifier)
        client = blueprint_of(require, require(check="live", scope="orders:read")(require()(whose)))
        for _ in range(2):
            asked.clear()
            assert client.get("/reports", headers=bearer(scope="orders:read", roles=("admin",))).text == "ada-id"
            assert asked == ["/introspect"]


def test_a_trusted_origin_may_write_with_the_cookie(require: Require) -> None:
    """A request with the cookie may write if its origin is one of `trusted_origins`."""
    client = client_of(require()(whose))
    headers = {"cookie": f"{COOKIE}={a_token()}", "sec-fetch-site": "same-site"}
    assert client.post("/orders", headers=headers | {"origin": APP_ORIGIN}).status_code == 200
    assert client.post("/orders", headers=headers | {"origin": "https://other.example.com"}).status_code == 403


def test_flask_runs_async_views(require: Require) -> None:
    """The decorator works on coroutine functions, which `flask[async]` runs as functions."""

    async def whose_async() -> str:
        return whose()

    client = client_of(require()(whose_async))
    assert client.get("/orders").status_code == 401
    assert client.get("/orders", headers=bearer()).text == "ada-id"
