"""Tests of requests from other sites' pages, and of what scripts of other origins may read (CORS)."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.helpers import (
    SignedIn,
    client_of,
    expect_problem,
    new_address,
    profile,
    run_server,
    running,
    session_row,
    set_cookies,
    sign_in_new_user,
    sign_up,
)
from tests.serving import PASSWORD, Server

pytestmark = pytest.mark.xdist_group("cross-site")
ISSUER = "https://auth.example.com"
APP = "https://app.example.com"
ADMIN = "http://localhost:5173"
EVIL = "https://evil.example"
SIBLING = "https://blog.example.com"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that trusts two origins, one of them on loopback, for development."""
    folder = tmp_path_factory.mktemp("trusting")
    settings = {"ISSUER": ISSUER, "TRUSTED_ORIGINS": f"{APP}, {ADMIN}", "TRUSTED_PROXIES": "127.0.0.1"}
    with running(Server(folder, **settings)) as server:
        yield server


@pytest.fixture(scope="module")
def isolated_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Return a client of a server that trusts no other origin."""
    with run_server(tmp_path_factory.mktemp("alone"), ISSUER=ISSUER) as server, client_of(server) as client:
        yield client


Sent = dict[str, str]
ORIGINS: list[tuple[Sent, bool]] = [
    # Sec-Fetch-Site alone decides
    ({"sec-fetch-site": "same-origin"}, True),
    ({"sec-fetch-site": "none"}, True),
    ({"sec-fetch-site": "same-origin", "origin": ISSUER}, True),
    ({"sec-fetch-site": "none", "origin": "null"}, True),
    ({"sec-fetch-site": "same-site"}, False),
    ({"sec-fetch-site": "cross-site"}, False),
    ({"sec-fetch-site": ""}, False),
    ({"sec-fetch-site": "SAME-ORIGIN"}, False),
    ({"sec-fetch-site": "same-origin, cross-site"}, False),
    # another value passes only with a trusted origin
    ({"sec-fetch-site": "same-site", "origin": APP}, True),
    ({"sec-fetch-site": "cross-site", "origin": ADMIN}, True),
    ({"sec-fetch-site": "same-site", "origin": SIBLING}, False),
    ({"sec-fetch-site": "cross-site", "origin": EVIL}, False),
    ({"sec-fetch-site": "cross-site", "origin": "null"}, False),
    ({"sec-fetch-site": "cross-site", "origin": ISSUER}, False),
    ({"sec-fetch-site": "rubbish", "origin": ISSUER}, False),
    # browsers without Sec-Fetch-Site
    ({"origin": ISSUER}, True),
    ({"origin": APP}, True),
    ({"origin": ADMIN}, True),
    ({"origin": SIBLING}, False),
    ({"origin": EVIL}, False),
    ({"origin": "null"}, False),
    ({"origin": ""}, False),
    ({"origin": "http://auth.example.com"}, False),
    ({"origin": f"{ISSUER}:8443"}, False),
    ({"origin": f"{ISSUER}."}, False),
    ({"origin": f"{ISSUER}.evil.example"}, False),
    ({"origin": f"{EVIL}/?{APP}"}, False),
    ({"origin": f"{APP}, {EVIL}"}, False),
    ({"origin": "http://localhost:5174"}, False),
    # neither
    ({}, False),
    ({"referer": f"{ISSUER}/login"}, False),
    ({"x-forwarded-host": "auth.example.com", "host": "auth.example.com"}, False),
]
UNSAFE = ["/refresh", "/logout", "/logout-everywhere", "/password", "DELETE", "/register", "/login"]


def cookies_of(signed_in: SignedIn) -> Sent:
    """Return the cookies without the headers that name the page."""
    return {"cookie": signed_in.cookies["cookie"]}


def send_change(client: httpx.Client, path: str, signed_in: SignedIn, headers: Sent) -> httpx.Response:
    """Send a valid request to an endpoint that changes state."""
    bodies = {
        "/password": {"currentPassword": PASSWORD, "newPassword": "another kelp lantern rivet of the tests"},
        "/register": {"email": f"x{new_address()}@example.com", "password": PASSWORD},
        "/login": {"email": signed_in.email, "password": PASSWORD},
    }
    if path == "DELETE":
        return client.delete(f"/sessions/{signed_in.sid}", headers=headers)
    return client.post(path, headers=headers, json=bodies[path]) if path in bodies else client.post(path, headers=headers)


@pytest.mark.parametrize(("sent", "passes"), ORIGINS, ids=str)
def test_which_origins_may_refresh_with_a_cookie(server: Server, client: httpx.Client, sent: Sent, passes: bool) -> None:
    """The service's own pages and trusted origins pass; everything else gets 403 and changes nothing (R60, R61, R65)."""
    signed_in = sign_in_new_user(client, delivery="cookie", origin=ISSUER)
    answer = client.post("/refresh", headers=cookies_of(signed_in) | sent)
    if passes:
        assert answer.status_code == 200, answer.text
    else:
        expect_problem(answer, 403, "cross_site")
        assert set_cookies(answer) == {}
    assert session_row(server, signed_in.sid)["generation"] == passes


@pytest.mark.parametrize("path", UNSAFE)
@pytest.mark.parametrize(
    "sent",
    [{"sec-fetch-site": "same-site", "origin": SIBLING}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}, {}],
    ids=str,
)
def test_unsafe_endpoints_refuse_cross_site_requests(server: Server, client: httpx.Client, path: str, sent: Sent) -> None:
    """Every unsafe endpoint checks the origin of a request with a token's cookie (R60, R62, R65, T14)."""
    signed_in = sign_in_new_user(client, delivery="cookie", origin=ISSUER)
    before = session_row(server, signed_in.sid)
    answer = send_change(client, path, signed_in, cookies_of(signed_in) | sent)
    expect_problem(answer, 403, "cross_site")
    assert set_cookies(answer) == {}
    assert session_row(server, signed_in.sid) == before


@pytest.mark.parametrize("path", UNSAFE)
@pytest.mark.parametrize("sent", [{"sec-fetch-site": "same-origin"}, {"origin": ISSUER}, {"origin": APP}], ids=str)
def test_unsafe_endpoints_serve_own_and_trusted_origins(client: httpx.Client, path: str, sent: Sent) -> None:
    """The same requests succeed from the service's own pages and from a trusted origin."""
    signed_in = sign_in_new_user(client, delivery="cookie", origin=ISSUER)
    assert send_change(client, path, signed_in, cookies_of(signed_in) | sent).status_code in (200, 201, 204)


@pytest.mark.parametrize("path", ["/refresh", "/logout", "/logout-everywhere", "/password", "DELETE"])
@pytest.mark.parametrize("kind", ["refresh", "access"])
def test_a_cookie_needs_the_check_even_with_a_header(client: httpx.Client, path: str, kind: str) -> None:
    """`Authorization` does not switch the check off if one of the two cookies comes with it (T14)."""
    signed_in = sign_in_new_user(client, delivery="cookie", origin=ISSUER)
    cookie = {"cookie": f"__Host-handstamp-{kind}={getattr(signed_in, kind)}"}
    expect_problem(send_change(client, path, signed_in, signed_in.bearer | cookie | {"origin": EVIL}), 403, "cross_site")


@pytest.mark.parametrize("value", ["", "rubbish", '""'])
def test_an_empty_cookie_needs_the_check_too(client: httpx.Client, value: str) -> None:
    """The check depends on the cookie's name alone, not on its value."""
    cookie = {"cookie": f"__Host-handstamp-refresh={value}"}
    expect_problem(client.post("/logout", headers=cookie | {"sec-fetch-site": "cross-site"}), 403, "cross_site")


@pytest.mark.parametrize("sent", [{"sec-fetch-site": "cross-site", "origin": EVIL}, {"origin": EVIL}, {}], ids=str)
def test_a_bearer_token_needs_no_check(client: httpx.Client, sent: Sent) -> None:
    """No browser adds `Authorization` by itself, so another site's page cannot cause such a request."""
    signed_in = sign_in_new_user(client)
    for path in ("/refresh", "/logout"):
        headers, body = (sent, {"refreshToken": signed_in.refresh}) if path == "/refresh" else (signed_in.bearer | sent, None)
        assert client.post(path, headers=headers, json=body or {}).status_code in (200, 204)


@pytest.mark.parametrize(("sent", "passes"), [row for row in ORIGINS if row[0].keys() & {"sec-fetch-site", "origin"}], ids=str)
def test_which_origins_may_sign_in_from_a_browser(client: httpx.Client, sent: Sent, passes: bool) -> None:
    """Login CSRF: another site's page cannot sign a visitor in to another account (R62, T15)."""
    answer = client.post("/login", json={"email": sign_up(client), "password": PASSWORD}, headers=sent)
    if passes:
        assert answer.status_code == 200, answer.text
    else:
        expect_problem(answer, 403, "cross_site")
        assert set_cookies(answer) == {}


def test_a_refused_sign_in_costs_no_attempt(client: httpx.Client) -> None:
    """The check comes before the password, so another site's page cannot use up a person's attempts."""
    email, address = sign_up(client), {"x-forwarded-for": new_address()}
    body = {"email": email, "password": "a sentence that ada never said"}
    for _ in range(6):
        expect_problem(client.post("/login", json=body, headers=address | {"origin": EVIL}), 403, "cross_site")
    assert client.post("/login", json=body | {"password": PASSWORD}, headers=address).status_code == 200


def test_a_client_without_browser_headers_signs_in(client: httpx.Client) -> None:
    """Applications and scripts send neither header and no cookie."""
    assert client.post("/login", json={"email": sign_up(client), "password": PASSWORD}).status_code == 200


@pytest.mark.parametrize("path", ["/login", "/refresh", "/register", "/password"])
@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"])
def test_bodies_that_a_form_can_send_are_refused(client: httpx.Client, path: str, media_type: str) -> None:
    """A cross-site form can send these media types without a preflight, so the JSON endpoints refuse them (R63)."""
    signed_in = sign_in_new_user(client)
    body = b'{"email":"a@example.com","password":"kelp lantern rivet 41 of the tests"}'
    answer = client.post(path, content=body, headers=signed_in.bearer | {"content-type": media_type})
    expect_problem(answer, 415, "invalid_request")
    assert profile(client, signed_in).status_code == 200


@pytest.mark.parametrize(
    "path", ["/login", "/refresh", "/logout", "/logout-everywhere", "/password", "/register", "/sessions/x"], ids=str
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_safe_methods_change_nothing(client: httpx.Client, path: str, method: str) -> None:
    """A link or an image can neither sign in nor sign out (R62)."""
    signed_in = sign_in_new_user(client, delivery="cookie", origin=ISSUER)
    headers = cookies_of(signed_in) | {"sec-fetch-site": "cross-site"}
    assert client.request(method, path, headers=headers).status_code == 405
    assert profile(client, signed_in).status_code == 200


def test_a_cross_site_link_keeps_the_session(client: httpx.Client) -> None:
    """Safe requests with the access cookie pass, so the first page behind a foreign link works (T9)."""
    signed_in = sign_in_new_user(client, delivery="cookie", origin=ISSUER)
    headers = {"cookie": f"__Host-handstamp-access={signed_in.access}", "sec-fetch-site": "cross-site"}
    assert client.get("/profile", headers=headers).status_code == 200


def test_without_trusted_origins_no_other_origin_is_allowed(isolated_client: httpx.Client) -> None:
    """No other origin is trusted by default (R60)."""
    signed_in = sign_in_new_user(isolated_client, delivery="cookie", origin=ISSUER)
    for origin in (APP, ADMIN, SIBLING, EVIL, "null"):
        expect_problem(isolated_client.post("/refresh", headers=cookies_of(signed_in) | {"origin": origin}), 403, "cross_site")
    assert isolated_client.post("/refresh", headers=cookies_of(signed_in) | {"origin": ISSUER}).status_code == 200


def test_the_host_header_is_ignored(isolated_client: httpx.Client) -> None:
    """`Origin` is compared with the configured issuer, not with the request's `Host` (T33)."""
    signed_in = sign_in_new_user(isolated_client, delivery="cookie", origin=ISSUER)
    spoofed = {"host": "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-proto": "https", "origin": EVIL}
    expect_problem(isolated_client.post("/refresh", headers=cookies_of(signed_in) | spoofed), 403, "cross_site")
    genuine = {"host": "10.1.2.3:8000", "origin": ISSUER}
    assert isolated_client.post("/refresh", headers=cookies_of(signed_in) | genuine).status_code == 200


# --- CORS

PATHS = ["/profile", "/healthz", "/nowhere"]
PUBLIC = ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server"]


def cors_headers(answer: httpx.Response) -> Sent:
    """Return the CORS headers of an answer."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", [APP, EVIL, ISSUER, "null"])
def test_by_default_no_other_origin_may_read(isolated_client: httpx.Client, path: str, origin: str) -> None:
    """Without trusted origins, neither an answer nor a preflight has a CORS header (R64)."""
    assert cors_headers(isolated_client.get(path, headers={"origin": origin})) == {}
    preflight = isolated_client.options(path, headers={"origin": origin, "access-control-request-method": "GET"})
    assert cors_headers(preflight) == {}
    assert preflight.status_code in (404, 405)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", [APP, ADMIN])
def test_a_trusted_origin_may_read_with_credentials(client: httpx.Client, path: str, origin: str) -> None:
    """The answer names this origin, allows credentials, and varies by `Origin` (R64)."""
    answer = client.get(path, headers={"origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "origin" in answer.headers["vary"].lower()


ASKED = "authorization,baggage,cache-control,content-type,sentry-trace,traceparent,x-request-id,x-requested-with"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_trusted_origins_preflight_is_granted(client: httpx.Client, method: str) -> None:
    """A trusted origin's script may send tokens, JSON and tracing headers with every method of the API (R64)."""
    asks = {"access-control-request-method": method, "access-control-request-headers": ASKED}
    answer = client.options("/refresh", headers={"origin": APP} | asks)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    assert answer.headers["access-control-allow-headers"] == ASKED
    assert "origin" in answer.headers["vary"].lower()


def test_a_refused_preflight_says_what_is_refused(client: httpx.Client) -> None:
    """A preflight with an unsupported method names the allowed methods, and does not blame a trusted origin."""
    asks = {"access-control-request-method": "PUT"}
    answer = client.options("/refresh", headers={"origin": APP} | asks)
    expect_problem(answer, 400, "invalid_request")
    assert "GET, POST, PATCH, DELETE" in answer.json()["detail"]
    expect_problem(client.options("/refresh", headers={"origin": EVIL} | asks), 403, "cross_site")


@pytest.mark.parametrize("path", PUBLIC)
@pytest.mark.parametrize("origin", [EVIL, "null", ISSUER])
def test_every_origin_may_read_what_is_public(
    client: httpx.Client, isolated_client: httpx.Client, path: str, origin: str
) -> None:
    """Keys and metadata hold no secret, and scripts verify tokens too. With `*`, browsers send no credentials."""
    for service in (client, isolated_client):
        assert cors_headers(service.get(path, headers={"origin": origin}))["access-control-allow-origin"] == "*"


UNLISTED = [EVIL, SIBLING, ISSUER, "null", f"{APP}.evil.example", f"{APP}:8443", "http://app.example.com", "*", ""]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", UNLISTED)
def test_other_origins_are_never_reflected(client: httpx.Client, path: str, origin: str) -> None:
    """No origin is reflected; there is no `*` and no `null` (R64)."""
    assert "access-control-allow-origin" not in client.get(path, headers={"origin": origin}).headers
    preflight = client.options(path, headers={"origin": origin, "access-control-request-method": "POST"})
    assert "access-control-allow-origin" not in preflight.headers


@pytest.mark.parametrize("headers", [{}, {"origin": EVIL}, {"origin": APP}], ids=str)
@pytest.mark.parametrize("path", ["/.well-known/jwks.json", "/profile", "/openapi.json"])
def test_every_answer_varies_by_origin(client: httpx.Client, path: str, headers: Sent) -> None:
    """Every answer has `Vary: Origin`, so that a cache does not give one origin's answer to another (R64)."""
    assert client.get(path, headers=headers).headers.get("vary", "").lower().split(", ").count("origin") == 1


@pytest.mark.parametrize("sent", [{}, {"authorization": "Bearer rubbish"}])
def test_a_trusted_origin_may_read_errors(client: httpx.Client, sent: Sent) -> None:
    """A script needs `code`, `Retry-After` and `WWW-Authenticate` to know what to do next."""
    answer = client.get("/profile", headers=sent | {"origin": APP})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == APP
    exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert {"retry-after", "www-authenticate", "x-request-id"} <= exposed
