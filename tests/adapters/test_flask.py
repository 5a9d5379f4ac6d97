"""What is specific to Flask: blueprints, preflights, its error handlers, `async` views."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Blueprint, Flask, abort, g
from flask.testing import FlaskClient

from handstamp import ConfigurationError
from handstamp.verify.flask import Require
from tests.adapters.local import APP_ORIGIN, COOKIE, a_token, a_verifier, bearer


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


def test_a_whole_blueprint_can_be_protected(require: Require) -> None:
    """One decorated `before_request` function protects a whole blueprint."""
    admin = Blueprint("admin", __name__)

    @admin.before_request
    @require(role="admin")
    def only_admins() -> None:
        pass

    admin.add_url_rule("/reports", "reports", whose)
    app = Flask(__name__)
    app.register_blueprint(admin)
    client = app.test_client()
    assert client.get("/reports").status_code == 401
    assert client.get("/reports", headers=bearer()).status_code == 403
    assert client.get("/reports", headers=bearer(roles=("admin",))).text == "ada-id"


def test_handlers_of_the_application_do_not_change_a_refusal(require: Require) -> None:
    """The application's handler for 401 does not replace a refusal, so the challenge stays."""
    client = client_of(require()(whose))
    client.application.register_error_handler(401, lambda _: "please sign in")
    answer = client.get("/orders")
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


def test_a_check_that_the_verifier_cannot_do_is_a_configuration_error(require: Require) -> None:
    """A policy that the verifier cannot apply raises ConfigurationError. The client sees no configuration details."""
    with pytest.raises(ConfigurationError, match="needs a credential"):
        client_of(require(check="live")(whose)).get("/orders", headers=bearer())


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
