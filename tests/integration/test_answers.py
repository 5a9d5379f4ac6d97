"""Tests of what all answers have: security headers, caching, challenges and problems.

They also cover the documents about the service.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.crypto.jwk import KeySet
from handstamp.embedded import Handstamp
from handstamp.errors import InvalidToken
from handstamp.verify.verifier import Verifier
from tests.integration.helpers import (
    Mint,
    SignedIn,
    client_of,
    damaged_account,
    expect_problem,
    read_claims,
    refresh,
    run_server,
    sign_in_new_user,
    sign_up,
)
from tests.serving import PASSWORD, Server

pytestmark = pytest.mark.xdist_group("answers")
ENDPOINTS = {
    ("GET", "/admin/accounts"),
    ("GET", "/admin/accounts/{id}/history"),
    ("POST", "/admin/accounts/{id}/sign-out"),
    ("POST", "/admin/accounts/{id}/impersonate"),
    ("POST", "/admin/accounts/{id}/impersonation-link"),
    ("GET", "/admin/sessions"),
    ("DELETE", "/admin/sessions/{id}"),
    ("GET", "/admin/sessions/{id}/history"),
    ("GET", "/admin/events"),
    ("GET", "/admin/statistics"),
    ("GET", "/admin/mails"),
    ("POST", "/admin/mails/retry"),
    ("DELETE", "/admin/mails/{id}"),
    ("GET", "/admin/receivers"),
    ("GET", "/admin/credentials"),
    ("POST", "/admin/credentials"),
    ("DELETE", "/admin/credentials/{id}"),
    ("GET", "/admin/keys"),
    ("POST", "/admin/keys"),
    ("POST", "/admin/keys/{id}/retire"),
    ("POST", "/admin/keys/{id}/void"),
    ("POST", "/admin/accounts"),
    ("GET", "/admin/accounts/{id}"),
    ("GET", "/admin/accounts/{id}/export"),
    ("PATCH", "/admin/accounts/{id}"),
    ("DELETE", "/admin/accounts/{id}"),
    *(
        ("POST", f"/admin/accounts/{{id}}/{word}")
        for word in ("email", "password", "grant", "revoke", "disable", "enable", "unlock", "reset-factors", "reset-mail")
    ),
    ("POST", "/register"),
    ("POST", "/register/confirm"),
    ("POST", "/login"),
    ("POST", "/login/code"),
    ("POST", "/login/code/confirm"),
    ("POST", "/email/verify"),
    ("POST", "/email/verify/confirm"),
    ("POST", "/password/reset"),
    ("POST", "/password/reset/confirm"),
    ("POST", "/email/change"),
    ("POST", "/email/change/confirm"),
    ("POST", "/email/change/undo"),
    ("POST", "/factors/undo"),
    ("POST", "/login/second-factor"),
    ("POST", "/login/step-up"),
    ("GET", "/factors"),
    ("POST", "/login/passkey/options"),
    ("POST", "/login/passkey"),
    ("GET", "/passkeys"),
    ("POST", "/passkeys/options"),
    ("POST", "/passkeys"),
    ("PATCH", "/passkeys/{id}"),
    ("DELETE", "/passkeys/{id}"),
    ("GET", "/.well-known/webauthn"),
    ("GET", "/metrics"),
    ("GET", "/providers"),
    ("POST", "/login/with/{provider}"),
    ("POST", "/login/with/{provider}/complete"),
    ("GET", "/identities"),
    ("POST", "/identities/with/{provider}"),
    ("POST", "/identities/with/{provider}/complete"),
    ("DELETE", "/identities/{id}"),
    ("POST", "/identities/token"),
    ("POST", "/backchannel-logout/{provider}"),
    ("GET", "/diagnostics"),
    ("POST", "/totp"),
    ("POST", "/totp/confirm"),
    ("DELETE", "/totp"),
    ("POST", "/recovery-codes"),
    ("POST", "/refresh"),
    ("POST", "/device/start"),
    ("POST", "/device/refresh"),
    ("GET", "/profile"),
    ("POST", "/profile"),
    ("GET", "/me/export"),
    ("POST", "/me/delete"),
    ("POST", "/logout"),
    ("POST", "/logout-everywhere"),
    ("GET", "/sessions"),
    ("DELETE", "/sessions/{id}"),
    ("POST", "/password"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/.well-known/oauth-authorization-server"),
    ("POST", "/token"),
    ("POST", "/revoke"),
    ("POST", "/introspect"),
    ("GET", "/revocations"),
}
OAUTH_PATHS = {"/token", "/revoke", "/introspect", "/backchannel-logout/{provider}"}
STRICT = "default-src 'none'; frame-ancestors 'none'"


@pytest.fixture(scope="module")
def ada(client: httpx.Client) -> SignedIn:
    """Return a session that no test ends."""
    return sign_in_new_user(client)


@pytest.fixture(scope="module")
def https_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Return a client of a server with an https issuer that trusts one origin."""
    folder = tmp_path_factory.mktemp("https")
    settings = {"ISSUER": "https://auth.example.com", "TRUSTED_ORIGINS": "https://app.example.com"}
    with run_server(folder, **settings) as server, client_of(server) as client:
        yield client


Ask = Callable[[httpx.Client], httpx.Response]
ANSWERS: dict[str, tuple[int, Ask]] = {
    "200 token answer": (200, lambda c: refresh(c, sign_in_new_user(c))),
    "200 profile": (200, lambda c: c.get("/profile", headers=sign_in_new_user(c).bearer)),
    "200 sessions": (200, lambda c: c.get("/sessions", headers=sign_in_new_user(c).bearer)),
    "200 jwks": (200, lambda c: c.get("/.well-known/jwks.json")),
    "200 openapi": (200, lambda c: c.get("/openapi.json")),
    "200 docs": (200, lambda c: c.get("/docs")),
    "200 docs.js": (200, lambda c: c.get("/assets/docs.js")),
    "200 docs.css": (200, lambda c: c.get("/assets/docs.css")),
    "200 metadata": (200, lambda c: c.get("/.well-known/oauth-authorization-server")),
    "200 renewed by OAuth": (
        200,
        lambda c: c.post("/token", data={"grant_type": "refresh_token", "refresh_token": sign_in_new_user(c).refresh}),
    ),
    "200 revoked by OAuth": (200, lambda c: c.post("/revoke", data={"token": "x"})),
    "200 healthz": (200, lambda c: c.get("/healthz")),
    "200 readyz": (200, lambda c: c.get("/readyz")),
    "200 head": (200, lambda c: c.head("/healthz")),
    "201 register": (201, lambda c: c.post("/register", json={"email": f"x{id(c)}@example.com", "password": PASSWORD})),
    "204 logout": (204, lambda c: c.post("/logout")),
    "204 everywhere": (204, lambda c: c.post("/logout-everywhere", headers=sign_in_new_user(c).bearer)),
    "304 jwks": (
        304,
        lambda c: c.get("/.well-known/jwks.json", headers={"if-none-match": c.get("/.well-known/jwks.json").headers["etag"]}),
    ),
    "400": (400, lambda c: c.post("/login", content=b"{", headers={"content-type": "application/json"})),
    "401 missing": (401, lambda c: c.get("/profile")),
    "401 invalid": (401, lambda c: c.get("/profile", headers={"authorization": "Bearer x"})),
    "401 client": (401, lambda c: c.get("/revocations")),
    "401 credentials": (
        401,
        lambda c: c.post("/login", json={"email": "nobody@example.com", "password": "a sentence nobody says"}),
    ),
    "403": (403, lambda c: c.post("/login", json={}, headers={"sec-fetch-site": "cross-site"})),
    "404 route": (404, lambda c: c.get("/nowhere")),
    "404 session": (404, lambda c: c.delete("/sessions/nobodys", headers=sign_in_new_user(c).bearer)),
    "405": (405, lambda c: c.put("/login")),
    "409": (409, lambda c: c.post("/register", json={"email": sign_up(c), "password": PASSWORD})),
    "413": (413, lambda c: c.post("/login", content=b"x" * 70_000, headers={"content-type": "application/json"})),
    "415": (415, lambda c: c.post("/login", content=b"x", headers={"content-type": "text/plain"})),
    "422": (422, lambda c: c.post("/login", json={})),
}


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_every_answer_has_the_security_headers(client: httpx.Client, https_client: httpx.Client, scheme: str, kind: str) -> None:
    """Every answer has nosniff, no-referrer, CSP and CORP headers; only https answers have HSTS (R78)."""
    status, ask = ANSWERS[kind]
    answer = ask(client if scheme == "http" else https_client)
    assert answer.status_code == status, answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    is_public = "jwks" in kind or "metadata" in kind  # scripts of every origin may read these
    assert answer.headers["cross-origin-resource-policy"] == ("cross-origin" if is_public else "same-origin")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith(STRICT) if "docs" in kind else policy == STRICT
    assert answer.headers.get("cross-origin-opener-policy") == ("same-origin" if kind == "200 docs" else None)
    transport = answer.headers.get("strict-transport-security")
    assert transport == ("max-age=31536000" if scheme == "https" else None)
    assert "server" not in answer.headers
    assert "x-powered-by" not in answer.headers


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("issuer", "wanted"), [("https://auth.example.com", "max-age=31536000; includeSubDomains"), ("http://localhost", None)]
)
async def test_hsts_covers_subdomains_if_the_operator_says_so(tmp_path: Path, issuer: str, wanted: str | None) -> None:
    """`HSTS_INCLUDE_SUBDOMAINS` adds the directive (RFC 6797 §6.1.2). Without https there is no such header."""
    auth = Handstamp(database=f"sqlite:///{tmp_path}/handstamp.db", issuer=issuer, hsts_include_subdomains=True)
    async with auth, httpx.AsyncClient(transport=httpx.ASGITransport(auth.asgi), base_url=issuer) as client:
        for path in ("/healthz", "/sign-in", "/nowhere"):
            assert (await client.get(path)).headers.get("strict-transport-security") == wanted


@pytest.mark.parametrize(
    "kind", [kind for kind in ANSWERS if not any(public in kind for public in ("jwks", "metadata", "docs", "openapi"))]
)
def test_no_cache_keeps_tokens_or_personal_data(client: httpx.Client, kind: str) -> None:
    """Every answer with tokens or personal data, and every error, is `no-store` (R76)."""
    assert ANSWERS[kind][1](client).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("kind", [kind for kind in ANSWERS if int(kind[:3]) >= 400])
def test_every_error_is_a_full_problem(client: httpx.Client, kind: str) -> None:
    """Every error is an RFC 9457 problem with all members and a code (R80). Each request has its own id."""
    status, ask = ANSWERS[kind]
    codes = {401: ("missing_token", "invalid_token", "invalid_credentials", "invalid_client"), 403: ("cross_site",)}
    codes |= {404: ("not_found",), 409: ("account_exists",)}
    first, second = ask(client), ask(client)
    problem = first.json()
    assert problem["code"] in codes.get(status, ("invalid_request",))
    assert expect_problem(first, status, problem["code"])["instance"] != second.json()["instance"]
    assert problem["type"].endswith(problem["code"])
    assert problem.keys() <= {"type", "title", "status", "detail", "instance", "code", "fields"}


def test_a_refused_preflight_is_a_problem_too(https_client: httpx.Client) -> None:
    """A refused CORS preflight is answered with a problem, as every other refusal is."""
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = https_client.options("/refresh", headers=headers)
    assert answer.status_code >= 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_unexpected_error_discloses_nothing(server: Server, client: httpx.Client) -> None:
    """A row that cannot be decoded fails the request without details. The log has them, and no secret (R80, R83)."""
    signed_in = sign_in_new_user(client)
    start = server.log.stat().st_size
    with damaged_account(server, signed_in.email):
        answers = [
            client.post("/login", json={"email": signed_in.email, "password": PASSWORD}),
            client.get("/profile", headers=signed_in.bearer),
            refresh(client, signed_in),
        ]
    for answer in answers:
        assert answer.status_code in (500, 503)
        assert answer.headers["content-type"] == "application/problem+json"
        assert not set(answer.json()) - {"type", "title", "status", "detail", "instance", "code"}
        assert "rubbish" not in answer.text
        assert "Traceback" not in answer.text
    log = server.log.read_bytes()[start:].decode()
    assert log
    for secret in (PASSWORD, signed_in.access, signed_in.refresh, signed_in.access[:60], signed_in.refresh[:60]):
        assert secret not in log


def test_a_body_that_fails_is_not_written_to_the_log(server: Server, client: httpx.Client) -> None:
    """A body that cannot be decoded does not appear in the log (R83)."""
    secret = "a sentence that stays in this body"
    for body in (
        b'{"email": "ada@example.com", "password": "%s", "delivery": 1, ',
        b'{"password": "%s"',
        b'{"password": "%s", "email": "\xff"}',
    ):
        client.post("/login", content=body % secret.encode(), headers={"content-type": "application/json"})
    assert secret not in server.log.read_text()


# --- 401


CHALLENGES: dict[str, tuple[str, str, Callable[[httpx.Client, SignedIn, Mint], httpx.Response]]] = {
    "no token": ("missing_token", "Bearer", lambda c, _a, _m: c.get("/profile")),
    "no refresh token": ("missing_token", "Bearer", lambda c, _a, _m: c.post("/refresh")),
    "basic": ("missing_token", "Bearer", lambda c, _a, _m: c.get("/profile", headers={"authorization": "Basic eDp5"})),
    "wrong password": (
        "invalid_credentials",
        "Bearer",
        lambda c, _a, _m: c.post("/login", json={"email": "who@example.com", "password": "a sentence nobody says"}),
    ),
    "rubbish": (
        "invalid_token",
        'Bearer error="invalid_token"',
        lambda c, _a, _m: c.get("/profile", headers={"authorization": "Bearer rubbish"}),
    ),
    "rubbish refresh token": (
        "invalid_token",
        'Bearer error="invalid_token"',
        lambda c, _a, _m: c.post("/refresh", json={"refreshToken": "rubbish"}),
    ),
    "refresh token": (
        "invalid_token",
        'Bearer error="invalid_token"',
        lambda c, a, _m: c.get("/profile", headers={"authorization": f"Bearer {a.refresh}"}),
    ),
    "expired": (
        "expired_token",
        'Bearer error="invalid_token"',
        lambda c, a, m: c.get("/profile", headers={"authorization": f"Bearer {m.expired_access(a.access)}"}),
    ),
    "ended": (
        "session_ended",
        'Bearer error="invalid_token"',
        lambda c, a, m: c.get("/profile", headers={"authorization": f"Bearer {m.access(a.access, sid='gone')}"}),
    ),
}


@pytest.mark.parametrize("case", CHALLENGES)
def test_every_401_challenges_as_rfc_6750_says(client: httpx.Client, ada: SignedIn, mint: Mint, case: str) -> None:
    """Every 401 has `WWW-Authenticate: Bearer`, with error="invalid_token" only if a token was sent (R77)."""
    code, challenge, ask = CHALLENGES[case]
    answer = ask(client, ada, mint)
    expect_problem(answer, 401, code)
    (header,) = answer.headers.get_list("www-authenticate")
    assert header == challenge if challenge == "Bearer" else header.startswith(challenge)


def test_no_other_answer_challenges(client: httpx.Client) -> None:
    """Only 401 has a challenge."""
    for kind, (status, ask) in ANSWERS.items():
        if status != 401:
            assert "www-authenticate" not in ask(client).headers, kind


# --- methods and paths


@pytest.mark.parametrize("path", sorted({path for _, path in ENDPOINTS}))
def test_other_methods_are_405_and_allow_names_the_right_ones(client: httpx.Client, path: str) -> None:
    """Every endpoint refuses other methods, also TRACE, and names its own in `Allow` (R81)."""
    methods = {each for each, at in ENDPOINTS if at == path}
    allowed = methods | ({"HEAD"} if "GET" in methods else set())
    for other in sorted({"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "OPTIONS"} - allowed):
        answer = client.request(other, path.format(id="x", provider="x"))
        assert answer.status_code == 405, (other, answer.text)
        assert set(re.split(r",\s*", answer.headers["allow"])) == allowed
        expect_problem(answer, 405, "invalid_request")


@pytest.mark.parametrize("path", ["/nowhere", "/login/", "//login", "/LOGIN", "/docs/", "/sessions/", "/sessions/a/b"])
def test_other_paths_are_404_and_never_redirected(client: httpx.Client, path: str) -> None:
    """Each path has one spelling, and nothing is redirected (R81)."""
    answer = client.get(httpx.URL(str(client.base_url).rstrip("/")).copy_with(raw_path=path.encode()))
    expect_problem(answer, 404, "not_found")


# --- keys


def test_the_published_keys_have_no_private_members(client: httpx.Client, ada: SignedIn) -> None:
    """Every published key is public, has an id and is for signatures.

    The active key is published, the refresh key is not (R29).
    """
    answer = client.get("/.well-known/jwks.json")
    keys = answer.json()["keys"]
    assert answer.headers["content-type"] in ("application/json", "application/jwk-set+json")
    assert keys
    for key in keys:
        assert key.keys().isdisjoint({"d", "p", "q", "dp", "dq", "qi", "k", "oth"})
        assert key["kty"] != "oct"
        assert (key["use"], key["alg"]) == ("sig", "ES256")
    names = [key["kid"] for key in keys]
    assert len(names) == len(set(names))
    kids = {
        kind: json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))["kid"]
        for kind, token in (("access", ada.access), ("refresh", ada.refresh))
    }
    assert kids["access"] in names
    assert kids["refresh"] not in names


def test_the_published_keys_may_be_cached(client: httpx.Client) -> None:
    """The key set is public and has a maximum age. A request with another ETag gets the whole document (R34)."""
    answer = client.get("/.well-known/jwks.json")
    assert re.fullmatch(r"public, max-age=\d+", answer.headers["cache-control"])
    assert client.get("/.well-known/jwks.json", headers={"if-none-match": '"other"'}).content == answer.content


@pytest.mark.parametrize("sent", ["{}", '"other", {}', "W/{}", "*"], ids=["the same", "one of two", "weak", "any"])
def test_a_client_with_the_current_keys_gets_304(client: httpx.Client, sent: str) -> None:
    """`If-None-Match` is compared weakly, because a compressing proxy makes tags weak (RFC 9110 §13.1.2, R34)."""
    answer = client.get("/.well-known/jwks.json")
    again = client.get("/.well-known/jwks.json", headers={"if-none-match": sent.format(answer.headers["etag"])})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == answer.headers["etag"]
    assert again.headers["cache-control"] == answer.headers["cache-control"]


def test_a_token_verifies_with_the_published_keys_alone(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """The published keys verify access tokens and no refresh tokens (R22)."""
    keys = KeySet.from_jwks(client.get("/.well-known/jwks.json").content)
    verifier = Verifier(server.url, audience=server.url, keys=keys, check="offline")
    assert verifier.verify(ada.access).sid == ada.sid == read_claims(ada.access)["sid"]
    with pytest.raises(InvalidToken):
        verifier.verify(ada.refresh)


# --- documents about the service


def test_health_and_readiness(client: httpx.Client) -> None:
    """A process with a store and an active key reports that it is alive and ready."""
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_the_openapi_document_lists_exactly_the_endpoints(server: Server, client: httpx.Client) -> None:
    """The document is OpenAPI 3.1 in JSON and lists exactly the endpoints of the contract. Its server is the issuer's URL."""
    answer = client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": server.url}]
    assert {(method.upper(), path) for path, methods in document["paths"].items() for method in methods} == ENDPOINTS


def test_the_openapi_document_is_consistent(client: httpx.Client) -> None:
    """Every reference resolves, every operation has its own id, and every error is a problem or an OAuth error."""
    document = client.get("/openapi.json").json()
    for reference in re.findall(r'"\$ref": ?"#/([^"]+)"', json.dumps(document)):
        found: Any = document
        for step in reference.split("/"):
            found = found[step]
    operations = [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]
    assert len({operation["operationId"] for _, operation in operations}) == len(operations)
    for path, operation in operations:
        for status, response in operation["responses"].items():
            assert response["description"]
            if int(status) >= 400:
                assert list(response["content"]) == ["application/json" if path in OAUTH_PATHS else "application/problem+json"]


def test_the_example_password_of_the_openapi_document_is_refused(client: httpx.Client) -> None:
    """No account can have a password that documents print."""
    example = client.get("/openapi.json").json()["paths"]["/register"]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
    problem = expect_problem(client.post("/register", json=example), 422, "invalid_request")
    assert [field for field in problem["fields"] if field["name"] == "password"], problem


def test_the_documentation_page_loads_nothing_from_other_origins(client: httpx.Client) -> None:
    """`/docs` loads only its own scripts and styles, forbids all others by policy and has no inline code (R78)."""
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
    assert (policy["frame-ancestors"], policy["base-uri"], policy["form-action"]) == ("'none'", "'none'", "'none'")
    assert not re.search(r"<script(?![^>]*\bsrc=)", page.text)
    assert not re.search(r"<style|\son\w+=|\sstyle=|javascript:", page.text)
    for source in re.findall(r'<(?:script|link|img)[^>]*?\s(?:src|href)="([^"]+)"', page.text):
        if not source.startswith("data:"):
            assert "//" not in source
            linked = client.get(page.url.join(source))
            assert linked.status_code == 200
            assert linked.headers["content-type"].partition(";")[0] in ("text/css", "text/javascript", "image/svg+xml")
