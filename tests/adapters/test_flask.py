"""What Flask adds: blueprints, preflights, its own error handlers, `async` views."""

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
    """Return what the views of a test need."""
    return Require(a_verifier(), trusted_origins=[APP_ORIGIN])


def client_of(view: Any) -> FlaskClient:
    """Return a client of an application with one view."""
    app = Flask(__name__)
    app.testing = True
    app.add_url_rule("/orders", "orders", view, methods=["GET", "POST"])
    return app.test_client(use_cookies=False)


def whose() -> str:
    """Say whose token it was."""
    claims = g.claims
    return str(claims.sub)


def test_a_view_keeps_its_name(require: Require) -> None:
    """Flask names endpoints by it; two protected views must not be taken for one."""
    assert require()(whose).__name__ == "whose"


def test_preflights_are_answered_without_the_view(require: Require) -> None:
    """Browsers send them without credentials."""
    asks = {"origin": APP_ORIGIN, "access-control-request-method": "POST"}
    assert client_of(require()(whose)).options("/orders", headers=asks).status_code == 200


def test_a_whole_blueprint_can_be_protected(require: Require) -> None:
    """One function before all of its views."""
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
    """A page for every 401 would take the challenge away."""
    client = client_of(require()(whose))
    client.application.register_error_handler(401, lambda _: "please sign in")
    answer = client.get("/orders")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json is not None
    assert answer.json["code"] == "missing_token"


def test_the_applications_own_errors_are_its_own(require: Require) -> None:
    """Those of Flask, and also those of our family: who raises them in a view has something else in mind."""

    def teapot() -> str:
        abort(418)

    def broken() -> str:
        raise ConfigurationError("the application's")

    assert client_of(require()(teapot)).get("/orders", headers=bearer()).status_code == 418
    with pytest.raises(ConfigurationError, match="the application's"):
        client_of(require()(broken)).get("/orders", headers=bearer())


def test_a_policy_that_the_verifier_cannot_follow_is_no_answer(require: Require) -> None:
    """Whoever asks learns nothing of how the application is configured; whoever runs it learns all."""
    with pytest.raises(ConfigurationError, match="needs a credential"):
        client_of(require(check="live")(whose)).get("/orders", headers=bearer())


def test_a_trusted_origin_may_write_with_the_cookie(require: Require) -> None:
    """It was named, so it is ours."""
    client = client_of(require()(whose))
    headers = {"cookie": f"{COOKIE}={a_token()}", "sec-fetch-site": "same-site"}
    assert client.post("/orders", headers=headers | {"origin": APP_ORIGIN}).status_code == 200
    assert client.post("/orders", headers=headers | {"origin": "https://other.example.com"}).status_code == 403


def test_coroutines_run_as_flask_runs_them(require: Require) -> None:
    """`flask[async]` turns them into functions, behind the decorator too."""

    async def whose_async() -> str:
        return whose()

    client = client_of(require()(whose_async))
    assert client.get("/orders").status_code == 401
    assert client.get("/orders", headers=bearer()).text == "ada-id"
