"""What every adapter does, tested on the running examples: real processes, real tokens, one set of answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.adapters.examples import Applications, new_admin
from tests.integration.helpers import Mint, SignedIn, change_session, expect_problem, refresh, sign_in, sign_in_new_user
from tests.serving import PASSWORD, Server, cookie_name

pytestmark = pytest.mark.xdist_group("adapters")
FEED_PATIENCE_S = 5.0
"""A loose limit for a busy machine. The documented limit is one second, and another test measures it."""
SAME_PAGE = {"sec-fetch-site": "same-origin"}
OTHER_PAGE = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
INVALID = 'Bearer error="invalid_token", error_description="invalid_token"'


@pytest.fixture(scope="module")
def ada(client: httpx.Client) -> SignedIn:
    """Sign in an account that stays signed in for the whole module."""
    return sign_in_new_user(client)


@pytest.fixture(scope="module")
def admin(client: httpx.Client, server: Server) -> SignedIn:
    """Sign in an account with the role `admin`."""
    return sign_in(client, new_admin(server))


def with_token(token: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"authorization": f"Bearer {token}"}


def with_cookie(signed_in: SignedIn, token: str = "") -> dict[str, str]:
    """Return a Cookie header with the session's access token, or with `token`, between two other cookies."""
    return {"cookie": f"theme=dark; {cookie_name('access', signed_in.origin)}={token or signed_in.access}; other=1"}


def challenge(answer: httpx.Response) -> str:
    """Return the only challenge of a response (RFC 6750 §3)."""
    (value,) = answer.headers.get_list("www-authenticate")
    return str(value)


def expect_invalid(answer: httpx.Response) -> None:
    """Assert that a response calls the token invalid and gives no further reason."""
    expect_problem(answer, 401, "invalid_token")
    assert challenge(answer) == INVALID


# --- who gets in


def test_a_public_route_needs_no_token(application: httpx.Client) -> None:
    """A public route needs no token."""
    assert application.get("/healthz").json() == {"status": "ok"}


def test_a_signed_in_user_gets_their_own_data(application: httpx.Client, ada: SignedIn, client: httpx.Client) -> None:
    """The claims reach the route: each account sees only its own orders."""
    placed = application.post("/orders", headers=ada.bearer)
    assert placed.status_code == 201, placed.text
    assert placed.json()["id"] in application.get("/orders", headers=ada.bearer).json()["orders"]
    assert application.get("/orders", headers=sign_in_new_user(client).bearer).json() == {"orders": []}


def test_the_scheme_is_case_insensitive(application: httpx.Client, ada: SignedIn) -> None:
    """RFC 9110 §11.1: `bearer` is `Bearer`."""
    assert application.get("/orders", headers={"authorization": f"bearer {ada.access}"}).status_code == 200


def test_a_route_requires_a_role(application: httpx.Client, admin: SignedIn) -> None:
    """A route that requires a role admits an account with that role."""
    assert application.get("/reports", headers=admin.bearer).status_code == 200


def test_a_route_requires_a_scope(application: httpx.Client, ada: SignedIn, mint: Mint) -> None:
    """A token whose scopes include the required one is admitted, on a route that introspects."""
    token = mint.access(ada.access, scope="orders:read orders:write")
    assert application.delete("/orders/1", headers=with_token(token)).status_code == 204


# --- who does not


def test_no_token_is_answered_with_a_bare_challenge(application: httpx.Client) -> None:
    """RFC 6750 §3.1: no error code where no token was sent."""
    for answer in (application.get("/orders"), application.post("/orders"), application.get("/reports")):
        expect_problem(answer, 401, "missing_token")
        assert challenge(answer) == "Bearer"


def test_other_schemes_count_as_no_token(application: httpx.Client) -> None:
    """Credentials of another scheme, as some proxies add, count as no token."""
    answer = application.get("/orders", headers={"authorization": "Basic YWRhOnB3ZA=="})
    expect_problem(answer, 401, "missing_token")


@pytest.mark.parametrize(
    "sent", [b"Bearer rubbish", b"Bearer a.b.c", b"Bearer", b"Bearer " + b"x" * 9000, "Bearer ünsinn".encode()]
)
def test_a_malformed_token_is_refused(application: httpx.Client, sent: bytes) -> None:
    """Malformed credentials never cause 500, and the response never says which check failed."""
    expect_invalid(application.get("/orders", headers={b"authorization": sent}))


def test_a_refresh_token_is_refused(application: httpx.Client, ada: SignedIn, mint: Mint) -> None:
    """A refresh token is refused, and so is any token of type `rt+jwt`, whatever key signed it."""
    expect_invalid(application.get("/orders", headers=with_token(ada.refresh)))
    expect_invalid(application.get("/orders", headers=with_token(mint.access(ada.access, typ="rt+jwt"))))


def test_a_token_for_another_audience_is_refused(application: httpx.Client, ada: SignedIn, mint: Mint) -> None:
    """A token for another audience is refused."""
    expect_invalid(application.get("/orders", headers=with_token(mint.access(ada.access, aud="https://elsewhere.example"))))


def test_an_expired_token_is_reported_as_expired(application: httpx.Client, ada: SignedIn, mint: Mint) -> None:
    """An expired token gets its own code, which tells the client to renew it."""
    answer = application.get("/orders", headers=with_token(mint.expired_access(ada.access)))
    expect_problem(answer, 401, "expired_token")
    assert challenge(answer) == 'Bearer error="invalid_token", error_description="expired_token"'


def test_a_missing_scope_is_named(application: httpx.Client, ada: SignedIn, mint: Mint) -> None:
    """The challenge names the required scope (RFC 6750 §3). A scope with the same prefix is not enough."""
    for token in (ada.access, mint.access(ada.access, scope="orders:read orders:writes")):
        answer = application.delete("/orders/1", headers=with_token(token))
        expect_problem(answer, 403, "insufficient_scope")
        assert challenge(answer) == 'Bearer error="insufficient_scope", scope="orders:write"'


def test_a_missing_role_is_refused(application: httpx.Client, ada: SignedIn) -> None:
    """A missing role gets 403. A role is not a scope, so the challenge names none."""
    answer = application.get("/reports", headers=ada.bearer)
    expect_problem(answer, 403, "insufficient_scope")
    assert challenge(answer) == 'Bearer error="insufficient_scope"'


def test_two_authorization_headers_are_refused(application: httpx.Client, ada: SignedIn) -> None:
    """Two Authorization headers are refused. Some WSGI servers join them into one invalid value."""
    headers = [("authorization", f"Bearer {ada.access}"), ("authorization", f"Bearer {ada.access}")]
    answer = application.get("/orders", headers=headers)
    assert (answer.status_code, answer.json()["code"]) in {(400, "invalid_request"), (401, "invalid_token")}


# --- the cookie


def test_the_cookie_authenticates_safe_requests(application: httpx.Client, ada: SignedIn) -> None:
    """The cookie authenticates reads, even when a page of another site links to them."""
    assert application.get("/orders", headers=with_cookie(ada) | OTHER_PAGE).status_code == 200


def test_a_same_origin_page_may_write_with_the_cookie(application: httpx.Client, ada: SignedIn) -> None:
    """A same-origin page may write with the cookie. No further proof is required, not even Django's CSRF token."""
    assert application.post("/orders", headers=with_cookie(ada) | SAME_PAGE).status_code == 201


def test_a_page_of_the_service_may_write_with_the_cookie(application: httpx.Client, client: httpx.Client) -> None:
    """A page of the service may write with the cookies that the service set, also without Fetch Metadata."""
    signed_in = sign_in_new_user(client, delivery="cookie")
    headers = {name: value for name, value in signed_in.cookies.items() if name != "sec-fetch-site"}
    assert application.post("/orders", headers=headers).status_code == 201


@pytest.mark.parametrize(
    "origin",
    [OTHER_PAGE, {"sec-fetch-site": "same-site"}, {}, {"origin": "null"}, SAME_PAGE | {"sec-fetch-site": "same-origin, none"}],
    ids=["cross-site", "same-site", "unsaid", "null", "doubled"],
)
def test_another_sites_page_cannot_write_with_the_cookie(
    application: httpx.Client, ada: SignedIn, origin: Mapping[str, str]
) -> None:
    """A cross-site write gets 403 and the cookie is not cleared."""
    answer = application.post("/orders", headers=with_cookie(ada) | dict(origin))
    expect_problem(answer, 403, "cross_site")
    assert "www-authenticate" not in answer.headers
    assert "set-cookie" not in answer.headers


def test_a_cross_site_request_with_a_header_may_write(application: httpx.Client, ada: SignedIn) -> None:
    """A page of another site may write with the header, because no browser adds that header by itself."""
    assert application.post("/orders", headers=ada.bearer | OTHER_PAGE).status_code == 201


def test_two_cookies_of_one_name_are_refused(application: httpx.Client, ada: SignedIn) -> None:
    """Two cookies of one name are refused, because a sibling subdomain may have set one of them."""
    two = f"{with_cookie(ada)['cookie']}; {with_cookie(ada, 'other')['cookie']}"
    answer = application.get("/orders", headers={"cookie": two})
    expect_problem(answer, 400, "invalid_request")


def test_the_header_overrides_the_cookie(application: httpx.Client, ada: SignedIn) -> None:
    """The header takes precedence over the cookie, whether the header is valid or not."""
    assert application.get("/orders", headers=ada.bearer | with_cookie(ada, "stale")).status_code == 200
    expect_invalid(application.get("/orders", headers=with_token("stale") | with_cookie(ada)))


# --- signed out


def test_after_sign_out_the_token_is_refused(application: httpx.Client, client: httpx.Client, mint: Mint) -> None:
    """After sign-out, a `live` route refuses the next request; other routes refuse as soon as the feed has reported it."""
    leaving = sign_in_new_user(client)
    writer = with_token(mint.access(leaving.access, scope="orders:write"))
    assert application.get("/orders", headers=leaving.bearer).status_code == 200
    assert application.delete("/orders/1", headers=writer).status_code == 204
    assert client.post("/logout", headers=leaving.bearer).status_code == 204
    answer = application.delete("/orders/1", headers=writer)
    expect_problem(answer, 401, "session_ended")
    assert challenge(answer) == 'Bearer error="invalid_token", error_description="session_ended"'
    deadline = time.monotonic() + FEED_PATIENCE_S
    while (answer := application.get("/orders", headers=leaving.bearer)).status_code == 200:
        assert time.monotonic() < deadline, "the feed has not reported a sign-out"
        time.sleep(0.02)
    assert "reason" not in expect_problem(answer, 401, "session_ended")


# --- a fresh proof


def test_a_refund_needs_a_fresh_proof(applications: Applications, client: httpx.Client, server: Server) -> None:
    """Every framework refuses an old proof in the same words. After a step-up, the next token of the same session is accepted."""
    begun = sign_in_new_user(client)
    change_session(server, begun.sid, authenticated_at_ms=int(time.time() - 600) * 1000)
    old = begun.after(refresh(client, begun))
    refused = {name: it.post("/orders/1/refund", headers=old.bearer) for name, it in applications.items()}
    assert [refusal(answer) for answer in refused.values()] == [refusal(refused["fastapi"])] * len(applications)
    expect_problem(refused["fastapi"], 401, "insufficient_user_authentication")
    assert challenge(refused["fastapi"]) == 'Bearer error="insufficient_user_authentication", max_age="300"'
    assert client.post("/login/step-up", json={"password": PASSWORD}, headers=old.bearer).status_code == 200
    fresh = old.after(refresh(client, old))
    assert fresh.sid == begun.sid
    for name, application in applications.items():
        assert application.post("/orders/1/refund", headers=old.bearer).status_code == 401, name
        answer = application.post("/orders/1/refund", headers=fresh.bearer)
        assert (answer.status_code, answer.json()) == (202, {"refunded": 1}), name


# --- all alike


def test_all_frameworks_answer_alike(applications: Applications, ada: SignedIn, mint: Mint) -> None:
    """Status, headers and body of a refusal are equal in every framework, except for the request id."""
    asked: list[tuple[str, str, dict[str, str]]] = [
        ("GET", "/orders", {}),
        ("POST", "/orders", {}),
        ("GET", "/orders", with_token("rubbish")),
        ("GET", "/orders", with_token(ada.refresh)),
        ("GET", "/orders", with_token(mint.expired_access(ada.access))),
        ("GET", "/orders", {"cookie": f"{with_cookie(ada, 'a')['cookie']}; {with_cookie(ada, 'b')['cookie']}"}),
        ("GET", "/reports", ada.bearer),
        ("DELETE", "/orders/1", ada.bearer),
        ("POST", "/orders", with_cookie(ada) | OTHER_PAGE),
    ]
    for method, path, headers in asked:
        answers = {name: refusal(it.request(method, path, headers=headers)) for name, it in applications.items()}
        first = next(iter(answers.values()))
        assert answers == dict.fromkeys(answers, first), (method, path, headers)


def refusal(answer: httpx.Response) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return the parts of a refusal that must be equal in every framework."""
    assert answer.status_code >= 400, answer.text
    names = ("content-type", "cache-control", "www-authenticate", "retry-after")
    problem: dict[str, Any] = answer.json()
    del problem["instance"]
    return answer.status_code, {name: answer.headers[name] for name in names if name in answer.headers}, problem
