"""Tests of cookies: which tokens are set as cookies, with which attributes, and when cookies are deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.integration.helpers import (
    EPOCH,
    Cookie,
    SignedIn,
    client_of,
    expect_ended,
    expect_problem,
    profile,
    read_claims,
    refresh,
    run_server,
    session_row,
    set_cookies,
    sign_in,
    sign_in_new_user,
    sign_up,
    token_cookies,
)
from tests.serving import PASSWORD, Server, cookie_name

pytestmark = pytest.mark.xdist_group("cookies")
DELIVERIES = ["json", "split", "cookie"]
FORTNIGHT = str(14 * 86400)
ISSUER = "https://auth.example.com"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with an https issuer, as behind a proxy that terminates TLS."""
    with run_server(tmp_path_factory.mktemp("secure"), ISSUER=ISSUER) as server:
        yield server


@pytest.fixture(scope="module")
def secure_client(secure: Server) -> Iterator[httpx.Client]:
    """Return a client of the server with the https issuer."""
    with client_of(secure) as client:
        yield client


@pytest.fixture(scope="module", params=["http", "https"])
def client_and_issuer(
    request: pytest.FixtureRequest, server: Server, client: httpx.Client, secure_client: httpx.Client
) -> tuple[httpx.Client, str]:
    """Return a client and its issuer: plain http on loopback, or https."""
    return (client, server.url) if request.param == "http" else (secure_client, ISSUER)


def expected_attributes(issuer: str, delivery: str) -> dict[str, dict[str, str]]:
    """Return the attributes that a delivery's cookies must have, by name."""
    secure = {"secure": ""} if issuer == ISSUER else {}
    common = {"path": "/", "max-age": FORTNIGHT, "httponly": ""} | secure
    same_site = {"refresh": "Strict", "access": "Lax"}
    kinds = {"json": [], "split": ["refresh"], "cookie": ["refresh", "access"]}[delivery]
    return {cookie_name(kind, issuer): common | {"samesite": same_site[kind]} for kind in kinds}


def attributes_of(cookies: dict[str, Cookie]) -> dict[str, dict[str, str]]:
    """Return the attributes of an answer's cookies, by name."""
    return {name: dict(cookie.attributes) for name, cookie in cookies.items()}


def expect_deleted(answer: httpx.Response, issuer: str, *kinds: str) -> None:
    """Assert that an answer deletes these cookies (default: both), with the attributes with which they were set (T31)."""
    wanted = {
        name: values | {"max-age": "0", "expires": EPOCH}
        for name, values in expected_attributes(issuer, "cookie").items()
        if not kinds or any(kind in name for kind in kinds)
    }
    cookies = set_cookies(answer)
    assert attributes_of(cookies) == wanted
    assert {cookie.value for cookie in cookies.values()} == {""}


def test_the_exact_lines_of_a_secure_sign_in(secure_client: httpx.Client) -> None:
    """A secure sign-in sets a `Set-Cookie` line for each token, and one for the device (R55, R58, T10, T11).

    All are `__Host-` cookies with Path=/, Secure, HttpOnly and SameSite, and without Domain.
    """
    email = sign_up(secure_client)
    body = {"email": email, "password": PASSWORD, "delivery": "cookie"}
    answer = secure_client.post("/login", json=body, headers={"sec-fetch-site": "same-origin"})
    cookies = set_cookies(answer)
    renewal, access, device = (cookies[f"__Host-handstamp-{name}"].value for name in ("refresh", "access", "device"))
    assert answer.headers.get_list("set-cookie") == [
        f"__Host-handstamp-refresh={renewal}; Path=/; Max-Age={FORTNIGHT}; Secure; HttpOnly; SameSite=Strict",
        f"__Host-handstamp-access={access}; Path=/; Max-Age={FORTNIGHT}; Secure; HttpOnly; SameSite=Lax",
        f"__Host-handstamp-device={device}; Path=/; Max-Age=34560000; Secure; HttpOnly; SameSite=Lax",
    ]


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_tokens_that_travel_as_cookies_are_never_in_a_body(client_and_issuer: tuple[httpx.Client, str], delivery: str) -> None:
    """Signing in, refreshing and changing the password set the right cookies; no body has their tokens (R55, R59, T7)."""
    client, issuer = client_and_issuer
    email = sign_up(client)
    body = {"email": email, "password": PASSWORD, "delivery": delivery}
    login = client.post("/login", json=body, headers={"sec-fetch-site": "same-origin"})
    signed_in = sign_in(client, email, delivery=delivery, origin=issuer)
    renewal = refresh(client, signed_in)
    signed_in = signed_in.after(renewal)
    change = client.post(
        "/password",
        json={"currentPassword": PASSWORD, "newPassword": "another kelp lantern rivet of the tests"},
        headers=signed_in.headers,
    )
    for answer in (login, renewal, change):
        assert answer.status_code == 200, answer.text
        assert attributes_of(token_cookies(answer)) == expected_attributes(issuer, delivery)
        assert ("refreshToken" in answer.json()) == (delivery == "json")
        assert ("accessToken" in answer.json()) == (delivery != "cookie")
        for cookie in set_cookies(answer).values():
            assert cookie.value not in answer.text
            assert cookie.value.rpartition(".")[2] not in answer.text


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_other_answers_hold_no_token(client_and_issuer: tuple[httpx.Client, str], delivery: str) -> None:
    """Neither the profile nor the list of sessions contains a token or sets a cookie (R59)."""
    client, issuer = client_and_issuer
    signed_in = sign_in_new_user(client, delivery=delivery, origin=issuer)
    for path in ("/profile", "/sessions"):
        answer = client.get(path, headers=signed_in.headers)
        assert answer.status_code == 200
        assert set_cookies(answer) == {}
        assert signed_in.access not in answer.text
        assert signed_in.refresh not in answer.text


def test_cookies_are_small_and_hold_no_address(secure_client: httpx.Client) -> None:
    """Each cookie has at most 4096 bytes, both have less than 6 KB, and no claim is an e-mail address (R4, R10)."""
    signed_in = sign_in_new_user(secure_client, delivery="cookie", origin=ISSUER)
    answer = refresh(secure_client, signed_in)
    lines = [len(line) for line in answer.headers.get_list("set-cookie")]
    assert max(lines) <= 4096
    assert sum(lines) < 6 * 1024
    for cookie in set_cookies(answer).values():
        assert not any("@" in str(value) for value in read_claims(cookie.value).values())


def test_both_cookies_live_as_long_as_the_refresh_token(client_and_issuer: tuple[httpx.Client, str]) -> None:
    """The access cookie outlives its token, so that the token is reported as expired, not as missing (T34)."""
    client, issuer = client_and_issuer
    answer = refresh(client, sign_in_new_user(client, delivery="cookie", origin=issuer))
    assert {cookie.attributes["max-age"] for cookie in token_cookies(answer).values()} == {str(answer.json()["refreshExpiresIn"])}


@pytest.mark.parametrize("delivery", ["split", "cookie"])
@pytest.mark.parametrize(
    "leave",
    [
        lambda client, one: client.post("/logout", headers=one.cookies),
        lambda client, one: client.post("/logout-everywhere", headers=one.cookies | one.bearer),
        lambda client, one: client.delete(f"/sessions/{one.sid}", headers=one.cookies | one.bearer),
    ],
    ids=["logout", "logout-everywhere", "delete"],
)
def test_signing_out_deletes_the_cookies(
    client_and_issuer: tuple[httpx.Client, str], delivery: str, leave: Callable[[httpx.Client, SignedIn], httpx.Response]
) -> None:
    """A sign-out deletes the cookies with the attributes they were set with, plus Max-Age=0 and a past Expires (R57, T31)."""
    client, issuer = client_and_issuer
    answer = leave(client, sign_in_new_user(client, delivery=delivery, origin=issuer))
    assert answer.status_code == 204
    expect_deleted(answer, issuer)


@pytest.mark.parametrize("path", ["/refresh", "/profile", "/sessions", "/logout-everywhere", "/password"])
def test_an_ended_session_clears_its_cookies_at_every_endpoint(client_and_issuer: tuple[httpx.Client, str], path: str) -> None:
    """Every endpoint that learns from a cookie that its session has ended deletes that cookie (R57, T5 and T6).

    An access cookie is deleted alone: a concurrent request may have set the refresh cookie of a new session meanwhile.
    """
    client, issuer = client_and_issuer
    signed_in = sign_in_new_user(client, delivery="cookie", origin=issuer)
    assert client.post("/logout", headers=signed_in.bearer).status_code == 204
    method = "GET" if path in ("/profile", "/sessions") else "POST"
    answer = client.request(method, path, headers=signed_in.cookies)
    expect_problem(answer, 401, "session_ended")
    expect_deleted(answer, issuer, *(() if path == "/refresh" else ("access",)))


def test_reuse_deletes_the_cookies(client_and_issuer: tuple[httpx.Client, str]) -> None:
    """A reuse answer deletes both cookies if the refresh token came in a cookie."""
    client, issuer = client_and_issuer
    chain = [sign_in_new_user(client, delivery="cookie", origin=issuer)]
    for _ in range(2):
        chain.append(chain[-1].after(refresh(client, chain[-1])))
    answer = refresh(client, chain[0])
    assert answer.json()["reason"] == "reuse"
    expect_deleted(answer, issuer)


def test_an_ended_bearer_token_clears_no_cookie(client: httpx.Client) -> None:
    """An ended bearer token clears no cookies, because they may belong to another, active session."""
    ended, living = sign_in_new_user(client), sign_in_new_user(client, delivery="split")
    assert client.post("/logout", headers=ended.bearer).status_code == 204
    answer = client.get("/profile", headers=ended.bearer | {"cookie": living.cookies["cookie"]})
    expect_problem(answer, 401, "session_ended")
    assert set_cookies(answer) == {}


def test_no_temporary_refusal_clears_a_cookie(client_and_issuer: tuple[httpx.Client, str]) -> None:
    """400, 403, 409, 415, 422 and 429 clear no cookie (T5, T32)."""
    client, issuer = client_and_issuer
    signed_in = sign_in_new_user(client, delivery="cookie", origin=issuer)
    cookies, taken = signed_in.cookies, sign_up(client)
    as_json = {"content-type": "application/json"}
    wrong = {"email": signed_in.email, "password": "a sentence that ada never said"}
    answers = [
        client.post("/refresh", content=b"{", headers=cookies | as_json),
        client.post("/refresh", content=b"x=1", headers=cookies | {"content-type": "application/x-www-form-urlencoded"}),
        client.post("/refresh", json={"refreshToken": signed_in.refresh}, headers=cookies),
        client.post("/refresh", headers=cookies | {"sec-fetch-site": "cross-site"}),
        client.post("/logout", headers=cookies | {"sec-fetch-site": "cross-site"}),
        client.post("/register", json={"email": taken, "password": PASSWORD}, headers=cookies),
        client.post("/password", json={"currentPassword": 1}, headers=cookies),
        client.delete("/sessions/nobodys", headers=cookies),
        *(client.post("/login", json=wrong, headers=cookies) for _ in range(6)),
    ]
    assert [answer.status_code for answer in answers] == [400, 415, 400, 403, 403, 409, 422, 404, *[401] * 5, 429]
    assert all(set_cookies(answer) == {} for answer in answers)
    assert refresh(client, signed_in).status_code == 200


@pytest.mark.parametrize("kind", ["refresh", "access"])
@pytest.mark.parametrize("order", [1, -1], ids=["own first", "foreign first"])
@pytest.mark.parametrize("joined", [True, False], ids=["one header", "two headers"])
def test_two_different_cookies_of_one_name_are_refused(
    server: Server, client: httpx.Client, kind: str, order: int, joined: bool
) -> None:
    """Two different cookies of one name give 400 in either order, and both sessions stay active (T16)."""
    own, foreign = sign_in_new_user(client, delivery="cookie"), sign_in_new_user(client, delivery="cookie")
    tokens = [getattr(own, kind), getattr(foreign, kind)][::order]
    pairs = [f"{cookie_name(kind, server.url)}={token}" for token in tokens]
    headers = [("sec-fetch-site", "same-origin"), *(("cookie", text) for text in (["; ".join(pairs)] if joined else pairs))]
    method, path = ("POST", "/refresh") if kind == "refresh" else ("GET", "/profile")
    answer = client.request(method, path, headers=headers)
    expect_problem(answer, 400, "invalid_request")
    assert set_cookies(answer) == {}
    assert session_row(server, own.sid)["generation"] == session_row(server, foreign.sid)["generation"] == 0
    assert profile(client, own).status_code == profile(client, foreign).status_code == 200


@pytest.mark.parametrize("path", ["/logout", "/login"])
def test_signing_out_and_in_end_the_sessions_of_all_cookies(client: httpx.Client, path: str) -> None:
    """If two cookies have one name, signing out and signing in end the sessions of both (T13, T16)."""
    first, second = sign_in_new_user(client, delivery="cookie"), sign_in_new_user(client, delivery="cookie")
    body = {"email": first.email, "password": PASSWORD} if path == "/login" else {}
    cookie = "; ".join(one.cookies["cookie"] for one in (first, second))
    answer = client.post(path, headers={"cookie": cookie, "sec-fetch-site": "same-origin"}, json=body)
    assert answer.status_code in (200, 204)
    expect_ended(profile(client, first), "logout")
    expect_ended(profile(client, second), "logout")


def test_the_same_cookie_twice_counts_once(client: httpx.Client) -> None:
    """Two cookies with the same value are one token."""
    signed_in = sign_in_new_user(client, delivery="cookie")
    pair = f"{cookie_name('refresh', signed_in.origin)}={signed_in.refresh}"
    answer = client.post("/refresh", headers={"cookie": f"{pair}; {pair}", "sec-fetch-site": "same-origin"})
    assert answer.status_code == 200


@pytest.mark.parametrize("cookie", ["{name}=", "{name}", "other=1", "{name}=x", "handstamp-refresh=x", "{name}1=x", ";;=;"])
def test_other_cookies_count_as_no_token(server: Server, client: httpx.Client, cookie: str) -> None:
    """Empty, foreign and malformed cookies are not tokens, and nothing is cleared."""
    name = cookie_name("refresh", server.url)
    cookie = cookie.format(name=name.upper() if cookie == "{name}=x" else name)
    answer = client.post("/refresh", headers={"cookie": cookie, "sec-fetch-site": "same-origin"})
    expect_problem(answer, 401, "missing_token")
    assert set_cookies(answer) == {}


def test_cookie_names_of_the_other_scheme_are_ignored(client: httpx.Client, secure_client: httpx.Client) -> None:
    """An https service reads only the prefixed names, which no sibling subdomain can set (R55, T16)."""
    plain, secure = sign_in_new_user(client, delivery="cookie"), sign_in_new_user(secure_client, delivery="cookie", origin=ISSUER)
    unprefixed = secure.cookies | {"cookie": replace(secure, origin="http://localhost").cookies["cookie"]}
    prefixed = plain.cookies | {"cookie": replace(plain, origin=ISSUER).cookies["cookie"]}
    for path in ("/refresh", "/logout-everywhere"):
        expect_problem(secure_client.post(path, headers=unprefixed), 401, "missing_token")
        expect_problem(client.post(path, headers=prefixed), 401, "missing_token")


def test_a_real_cookie_jar_follows_the_cookies(server: Server) -> None:
    """The standard library's cookie jar sends the cookies back, follows the rotation and has no token after logout (R57)."""
    headers = {"sec-fetch-site": "same-origin", "origin": server.url}
    with server.client(headers=headers) as browser:
        email = sign_up(browser)
        assert browser.post("/login", json={"email": email, "password": PASSWORD, "delivery": "cookie"}).status_code == 200
        first = dict(browser.cookies)
        device = first.pop(cookie_name("device", server.url))
        assert browser.get("/profile").json()["email"] == email
        assert browser.post("/refresh").status_code == 200
        second = dict(browser.cookies)
        assert second.pop(cookie_name("device", server.url)) == device
        assert first.keys() == second.keys() == {cookie_name("refresh", server.url), cookie_name("access", server.url)}
        assert all(first[name] != second[name] for name in first)
        assert browser.post("/logout").status_code == 204
        assert dict(browser.cookies) == {cookie_name("device", server.url): device}
        expect_problem(browser.get("/profile"), 401, "missing_token")


def test_two_services_on_one_host_leave_each_other_signed_in(server: Server, tmp_path: Path) -> None:
    """Browsers send a cookie to every port of a host (RFC 6265 §8.5). Each service reads, sets and deletes its own alone."""
    with run_server(tmp_path) as other, server.client() as browser:
        for each in (server, other):
            browser.base_url, browser.headers["origin"] = httpx.URL(each.url), each.url
            email = sign_up(browser)
            assert browser.post("/login", json={"email": email, "password": PASSWORD, "delivery": "cookie"}).status_code == 200
        assert len(browser.cookies) == 6
        for each in (server, other, server):
            assert browser.post(f"{each.url}/refresh", headers={"origin": each.url}).status_code == 200
        assert browser.post(f"{other.url}/logout", headers={"origin": other.url}).status_code == 204
        expect_problem(browser.get(f"{other.url}/profile"), 401, "missing_token")
        assert browser.get(f"{server.url}/profile").status_code == 200
