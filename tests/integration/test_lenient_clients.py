"""What clients really send: empty bodies, byte order marks, foreign headers; and what they must not make costly."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.helpers import expect_problem
from tests.serving import EMAIL, PASSWORD, Server

_BOM = b"\xef\xbb\xbf"
_JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module", autouse=True)
def account(server: Server) -> None:
    """Make the account of this file."""
    server.register()


@pytest.fixture
def browser(server: Server) -> Iterator[httpx.Client]:
    """Return a client that is signed in as a single-page application is: its refresh token is a cookie."""
    with server.client(headers={"origin": server.url}) as client:
        answer = client.post("/login", json={"email": EMAIL, "password": PASSWORD, "delivery": "split"})
        assert answer.status_code == 200, answer.text
        yield client


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b' {"refreshToken": null} ', _BOM + b"{}"])
def test_a_refresh_by_cookie_may_have_a_body_without_a_token(browser: httpx.Client, body: bytes) -> None:
    """Axios and Angular send `{}` or `null` where an application passes nothing."""
    assert browser.post("/refresh", content=body, headers=_JSON).status_code == 200


def test_a_token_beside_the_cookie_is_still_refused(browser: httpx.Client) -> None:
    """Only a text is an answer to the same question twice."""
    expect_problem(browser.post("/refresh", json={"refreshToken": "x"}), 400, "invalid_request")


def test_a_refresh_without_any_token_says_that_one_is_missing(server: Server) -> None:
    """An empty object is not a wrong field."""
    with server.client() as client:
        expect_problem(client.post("/refresh", json={}), 401, "missing_token")


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"{", "application/json"),
        (b"x=1", "text/plain"),
        (b'{"no": 1}', "application/json"),
        (b"[]", "application/json"),
        (b"1" * 70_000, "text/plain"),
    ],
)
@pytest.mark.parametrize("way", ["cookie", "header"])
def test_sign_out_ends_the_session_for_any_body(server: Server, body: bytes, media_type: str, way: str) -> None:
    """The sessions that cookies and headers name have ended when 204 is answered."""
    tokens = server.login()
    with server.client(headers={"origin": server.url}) as client:
        if way == "cookie":
            client.post("/login", json={"email": EMAIL, "password": PASSWORD, "delivery": "split"})
        else:
            client.headers["authorization"] = f"Bearer {tokens['accessToken']}"
        answer = client.post("/logout", content=body, headers={"content-type": media_type})
        assert answer.status_code == 204
        if way == "cookie":
            assert client.post("/refresh").status_code == 401
        else:
            assert client.get("/profile").json()["reason"] == "logout"


def test_sign_out_with_only_an_unreadable_body_is_an_error(server: Server) -> None:
    """204 would mean that a session has ended, and the token in the body could not be read."""
    with server.client() as client:
        expect_problem(client.post("/logout", content=b"{", headers=_JSON), 400, "invalid_request")


def test_a_byte_order_mark_is_ignored(server: Server) -> None:
    """Some Windows programs write one in front of UTF-8."""
    body = _BOM + json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
    with server.client() as client:
        assert client.post("/login", content=body, headers=_JSON).status_code == 200


def test_a_compressed_body_is_refused_with_words(server: Server) -> None:
    """A few bytes could unpack to gigabytes."""
    with server.client() as client:
        answer = client.post("/login", content=b"\x1f\x8b", headers={**_JSON, "content-encoding": "gzip"})
        expect_problem(answer, 415, "invalid_request")
        assert "Content-Encoding" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "content"),
    [
        ("GET", "/sign-in?" + "a&" * 2000, {}, b""),
        ("GET", "/profile", {"cookie": ";" * 4000}, b""),
        ("POST", "/login", _JSON, json.dumps({f"m{n}": 1 for n in range(5000)}).encode()),
        ("POST", "/refresh", _JSON, json.dumps({f"m{n}": 1 for n in range(5000)}).encode()),
    ],
)
def test_too_many_items_are_refused_before_parsing(
    server: Server, method: str, path: str, headers: dict[str, str], content: bytes
) -> None:
    """The number of fields, cookies and members is bounded (R74)."""
    with server.client() as client:
        answer = client.request(method, path, headers=headers, content=content)
    assert answer.status_code in (400, 422)
    assert len(answer.content) < 10_000


def test_a_cookie_without_origin_gets_a_hint(browser: httpx.Client) -> None:
    """Without Origin and Sec-Fetch-Site it is no page of another origin that is refused."""
    del browser.headers["origin"]
    answer = browser.post("/refresh")
    expect_problem(answer, 403, "cross_site")
    assert '"delivery": "json"' in answer.json()["detail"]


def test_white_space_around_an_address_is_ignored(server: Server) -> None:
    """Pasted addresses bring it along."""
    with server.client() as client:
        assert client.post("/login", json={"email": f" {EMAIL}\n", "password": PASSWORD}).status_code == 200


def test_a_password_of_combining_marks_costs_no_time(server: Server) -> None:
    """It is longer than any password, which is known before it is composed."""
    hostile = "a" + "\u0301\u0316" * 5_000
    with server.client(headers={"origin": server.url}) as client:
        answer = client.post("/sign-in", data={"email": EMAIL, "password": hostile})
        assert answer.status_code == 413
        assert client.get("/healthz").status_code == 200
