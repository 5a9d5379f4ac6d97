"""The OAuth 2 endpoints: token, revocation, introspection, and the metadata that names them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.helpers import (
    Credential,
    Mint,
    SignedIn,
    client_of,
    create_credential,
    event_kinds,
    expect_ended,
    profile,
    read_claims,
    refresh,
    run_on_deployment,
    run_server,
    session_row,
    sign_in,
    sign_in_new_user,
    sign_up,
)
from tests.serving import PASSWORD, Server

pytestmark = pytest.mark.xdist_group("oauth")
FORM = "application/x-www-form-urlencoded"
ERRORS = {
    *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"),
    *("temporarily_unavailable", "access_denied", "server_error"),
}
"""The codes of RFC 6749 §5.2, and those of §4.1.2.1 that have their own status."""
INACTIVE = b'{"active":false}'
PATH = "/.well-known/oauth-authorization-server"
TENANT = "https://auth.example.com/some/tenant"


@pytest.fixture(scope="module")
def credential(server: Server) -> Credential:
    """Return the credential of another service, which verifies tokens."""
    return create_credential(server)


@pytest.fixture
def ada(client: httpx.Client) -> SignedIn:
    """Return a new session whose tokens travel in bodies."""
    return sign_in_new_user(client)


def renew(client: httpx.Client, token: str, **fields: str) -> httpx.Response:
    """Present a refresh token at the token endpoint."""
    return client.post("/token", data={"grant_type": "refresh_token", "refresh_token": token} | fields)


def introspect(client: httpx.Client, credential: Credential, token: str) -> httpx.Response:
    """Introspect a token."""
    return client.post("/introspect", data={"token": token}, auth=credential.basic)


def expect_error(answer: httpx.Response, status: int, error: str) -> str:
    """Assert that an answer is this error as RFC 6749 §5.2 writes it, and return its description."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    body = answer.json()
    assert body.keys() == {"error", "error_description"}
    assert body["error"] == error, body
    assert error in ERRORS
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", body["error_description"]), "RFC 6749 §5.2 allows no others"
    assert ("www-authenticate" in answer.headers) == (status == 401)
    description: str = body["error_description"]
    return description


@contextmanager
def store_away(server: Server) -> Iterator[None]:
    """Make the database unavailable, and available again at the end."""
    away = server.folder / "away"
    away.mkdir(exist_ok=True)
    files = list(server.folder.glob("handstamp.db*"))
    for file in files:
        file.rename(away / file.name)
    yield
    for file in files:
        (away / file.name).rename(file)


# --- POST /token


def test_a_refresh_returns_the_next_pair(client: httpx.Client, ada: SignedIn) -> None:
    """The answer has all members of RFC 6749 §5.1, a new refresh token, and correct lifetimes (R36 and R45)."""
    answer = renew(client, ada.refresh)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    assert "set-cookie" not in answer.headers
    tokens = answer.json()
    assert tokens.keys() == {
        *("access_token", "token_type", "expires_in", "refresh_token", "refresh_expires_in", "session_id"),
    }
    assert (tokens["token_type"], tokens["session_id"]) == ("Bearer", ada.sid)
    assert client.get("/profile", headers={"authorization": f"Bearer {tokens['access_token']}"}).status_code == 200
    before, after = read_claims(ada.refresh), read_claims(tokens["refresh_token"])
    assert (after["gen"], after["sid"]) == (before["gen"] + 1, ada.sid)
    for token, lifetime in (("access_token", tokens["expires_in"]), ("refresh_token", tokens["refresh_expires_in"])):
        assert abs(read_claims(tokens[token])["exp"] - time.time() - lifetime) < 30
    assert tokens["expires_in"] == 900


def test_many_refreshes_leave_one_session(client: httpx.Client, server: Server, ada: SignedIn) -> None:
    """Ten refreshes, by /token and /refresh in turns, leave one session at generation ten."""
    token = ada.refresh
    for _ in range(5):
        token = renew(client, token).json()["refresh_token"]
        token = client.post("/refresh", json={"refreshToken": token}).json()["refreshToken"]
    assert session_row(server, ada.sid)["generation"] == 10


def test_a_repeat_within_grace_gets_the_same_refresh_token(client: httpx.Client, ada: SignedIn) -> None:
    """A client that lost the answer repeats the request and is not signed out (T1 and T2)."""
    first, again = renew(client, ada.refresh).json(), renew(client, ada.refresh).json()
    assert again["refresh_token"] == first["refresh_token"]
    assert read_claims(again["access_token"])["jti"] != read_claims(first["access_token"])["jti"]
    assert client.post("/refresh", json={"refreshToken": ada.refresh}).json()["refreshToken"] == first["refresh_token"]


def test_client_id_handstamp_is_accepted(client: httpx.Client, ada: SignedIn) -> None:
    """`client_id=handstamp` is the client of these tokens; it has no secret."""
    assert read_claims(ada.access)["client_id"] == "handstamp"
    assert renew(client, ada.refresh, client_id="handstamp").status_code == 200


def test_empty_and_unknown_parameters_are_ignored(client: httpx.Client, ada: SignedIn) -> None:
    """A parameter without a value counts as absent, and unknown ones are ignored (RFC 6749 §3.2)."""
    extra = {"scope": "", "client_id": "", "client_secret": "", "resource": "https://api.example.com", "x": "y"}
    answer = client.post(
        "/token?anything=else",
        content=f"grant_type=refresh_token&refresh_token={ada.refresh}&" + "&".join(f"{k}={v}" for k, v in extra.items()),
        headers={"content-type": f"{FORM}; charset=UTF-8"},
    )
    assert answer.status_code == 200, answer.text


def over_by_time(client: httpx.Client, mint: Mint) -> str:
    """Return a refresh token that expired an hour ago."""
    now_s = int(time.time())
    return mint.refresh(sign_in_new_user(client).refresh, iat=now_s - 7200, exp=now_s - 3600)


def reused(client: httpx.Client, _: Mint) -> str:
    """Return a refresh token that was replaced twice."""
    ada = sign_in_new_user(client)
    renewed = ada.after(refresh(client, ada))
    renewed.after(refresh(client, renewed))
    return ada.refresh


def signed_out(client: httpx.Client, _: Mint) -> str:
    """Return the refresh token of a session that was ended."""
    ada = sign_in_new_user(client)
    assert client.post("/logout", headers=ada.bearer).status_code == 204
    return ada.refresh


def of_an_old_password(client: httpx.Client, _: Mint) -> str:
    """Return the refresh token of a session from before the password was changed."""
    ada = sign_in_new_user(client)
    body = {"currentPassword": PASSWORD, "newPassword": "another kelp lantern rivet of the tests"}
    assert client.post("/password", json=body, headers=ada.bearer).status_code == 200
    return ada.refresh


def with_another_signature(client: httpx.Client, _: Mint) -> str:
    """Return a refresh token whose signature was changed."""
    head, claims, signature = sign_in_new_user(client).refresh.split(".")
    return f"{head}.{claims}.{signature[:-2]}{'AA' if signature[-2:] != 'AA' else 'BA'}"


NO_GRANT: dict[str, Callable[[httpx.Client, Mint], str]] = {
    "rubbish": lambda _c, _m: "rubbish",
    "nearly a token": lambda _c, _m: "a.b.c",
    "another signature": with_another_signature,
    "over": over_by_time,
    "reused": reused,
    "signed out": signed_out,
    "an old password's": of_an_old_password,
    "a session that is no more": lambda c, m: m.refresh(sign_in_new_user(c).refresh, sid="nobody"),
    "another person's": lambda c, m: m.refresh(sign_in_new_user(c).refresh, sub="somebody else"),
    "of a browser, split": lambda c, _m: sign_in_new_user(c, delivery="split").refresh,
    "of a browser, cookie": lambda c, _m: sign_in_new_user(c, delivery="cookie").refresh,
    "an access token": lambda c, _m: sign_in_new_user(c).access,
    "another issuer's": lambda c, m: m.refresh(
        sign_in_new_user(c).refresh, iss="https://other.example", aud="https://other.example"
    ),
    "for another audience": lambda c, m: m.refresh(sign_in_new_user(c).refresh, aud="https://other.example"),
    "another type": lambda c, m: m.refresh(sign_in_new_user(c).refresh, typ="at+jwt"),
}


@pytest.fixture(scope="module")
def invalid_grant(client: httpx.Client) -> httpx.Response:
    """Return the answer to a text that is no token."""
    answer = renew(client, "rubbish")
    expect_error(answer, 400, "invalid_grant")
    return answer


@pytest.mark.parametrize("case", NO_GRANT)
def test_every_invalid_token_gets_the_same_answer(
    client: httpx.Client, mint: Mint, invalid_grant: httpx.Response, case: str
) -> None:
    """The answers have the same bytes and headers, so no client learns what is wrong with a token (R42)."""
    answer = renew(client, NO_GRANT[case](client, mint))
    assert (answer.status_code, answer.content) == (400, invalid_grant.content)
    once = ("date", "x-request-id")  # these differ between any two answers
    headers = [[field for field in found.headers.multi_items() if field[0] not in once] for found in (answer, invalid_grant)]
    assert headers[0] == headers[1]


def test_a_disabled_account_gets_the_same_answer(server: Server, client: httpx.Client, invalid_grant: httpx.Response) -> None:
    """Disabling an account ends all its sessions, here as at /refresh (R42)."""
    ada = sign_in_new_user(client)
    run_on_deployment(server, lambda opened, caller: opened.accounts.disable(ada.email, caller))
    assert renew(client, ada.refresh).content == invalid_grant.content
    expect_ended(refresh(client, ada), "disabled")


def test_reuse_at_the_token_endpoint_ends_the_session(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """An old copy ends the session, and with it all its tokens, at this endpoint too (R37)."""
    second = renew(client, ada.refresh).json()["refresh_token"]
    third = renew(client, second).json()
    expect_error(renew(client, ada.refresh), 400, "invalid_grant")
    expect_error(renew(client, third["refresh_token"]), 400, "invalid_grant")
    assert client.get("/profile", headers={"authorization": f"Bearer {third['access_token']}"}).json()["reason"] == "reuse"
    assert "reuse_detected" in event_kinds(server, ada.sid)


@pytest.mark.parametrize("delivery", ["split", "cookie"])
def test_a_cookie_session_survives_the_token_endpoint(client: httpx.Client, delivery: str) -> None:
    """The refresh token of a cookie session is refused here, and the session stays active (T7 and T8)."""
    ada = sign_in_new_user(client, delivery=delivery)
    expect_error(renew(client, ada.refresh), 400, "invalid_grant")
    assert refresh(client, ada).status_code == 200


GRANTS = ["password", "authorization_code", "client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer", "REFRESH_TOKEN"]


@pytest.mark.parametrize("grant", GRANTS)
def test_other_grants_are_refused(client: httpx.Client, ada: SignedIn, grant: str) -> None:
    """There is no `password` grant: people type passwords at /login alone (RFC 9700 §2.4)."""
    fields = {"username": ada.email, "password": PASSWORD, "grant_type": grant, "refresh_token": ada.refresh}
    expect_error(client.post("/token", data=fields), 400, "unsupported_grant_type")
    assert refresh(client, ada).json()["refreshToken"] != ada.refresh


@pytest.mark.parametrize("scope", ["openid", "offline_access email", "*", " "])
def test_a_scope_in_the_request_is_refused(client: httpx.Client, ada: SignedIn, scope: str) -> None:
    """A refresh never widens the scope of a session (R41), and a refused request does not rotate."""
    expect_error(renew(client, ada.refresh, scope=scope), 400, "invalid_scope")
    assert read_claims(renew(client, ada.refresh).json()["refresh_token"])["gen"] == 1


@pytest.mark.parametrize("endpoint", ["/token", "/revoke"])
def test_another_client_id_is_refused(client: httpx.Client, ada: SignedIn, endpoint: str) -> None:
    """Tokens are bound to their client: another `client_id` is refused (R41)."""
    fields = {"grant_type": "refresh_token", "refresh_token": ada.refresh, "token": ada.refresh, "client_id": "somebody-else"}
    expect_error(client.post(endpoint, data=fields), 401, "invalid_client")
    assert profile(client, ada).status_code == 200
    assert read_claims(renew(client, ada.refresh).json()["refresh_token"])["gen"] == 1


@pytest.mark.parametrize("endpoint", ["/token", "/revoke"])
@pytest.mark.parametrize("way", ["Basic", "form"])
def test_a_service_credential_cannot_refresh_or_revoke(
    client: httpx.Client, credential: Credential, ada: SignedIn, endpoint: str, way: str
) -> None:
    """A verifier sees many tokens. Its credential lets it read, and neither refresh nor revoke (R49)."""
    fields = {"grant_type": "refresh_token", "refresh_token": ada.refresh, "token": ada.refresh}
    if way == "Basic":
        answer = client.post(endpoint, data=fields, auth=credential.basic)
    else:
        answer = client.post(endpoint, data=fields | credential.fields)
    expect_error(answer, 400, "unauthorized_client")
    assert profile(client, ada).status_code == 200
    assert read_claims(renew(client, ada.refresh).json()["refresh_token"])["gen"] == 1


@pytest.mark.parametrize("endpoint", ["/token", "/revoke"])
def test_a_wrong_credential_is_refused(client: httpx.Client, credential: Credential, ada: SignedIn, endpoint: str) -> None:
    """No credential is needed, but a wrong one is refused (RFC 6749 §5.2)."""
    fields = {"grant_type": "refresh_token", "refresh_token": ada.refresh, "token": ada.refresh}
    for answer in (
        client.post(endpoint, data=fields, auth=httpx.BasicAuth(credential.id, "wrong")),
        client.post(endpoint, data=fields | {"client_id": "handstamp", "client_secret": "x"}),
        client.post(endpoint, data=fields, headers={"authorization": "Basic rubbish"}),
    ):
        expect_error(answer, 401, "invalid_client")
    assert profile(client, ada).status_code == 200


def test_tokens_in_the_query_string_are_ignored(client: httpx.Client, ada: SignedIn) -> None:
    """A refresh token in the query string is ignored, and GET does not refresh (R44)."""
    address = f"/token?grant_type=refresh_token&refresh_token={ada.refresh}"
    expect_error(client.post(address, data={"grant_type": "refresh_token"}), 400, "invalid_request")
    expect_error(client.post(address, headers={"content-type": FORM}), 400, "invalid_request")
    assert client.get(address).status_code == 405
    expect_error(client.post(f"/revoke?token={ada.refresh}", headers={"content-type": FORM}), 400, "invalid_request")
    assert profile(client, ada).status_code == 200
    assert read_claims(renew(client, ada.refresh).json()["refresh_token"])["gen"] == 1


# --- forms are decoded strictly


@pytest.fixture(scope="module")
def unchanged_session(client: httpx.Client) -> SignedIn:
    """Return a session that no refused form may change."""
    return sign_in_new_user(client)


UNREADABLE: dict[str, Callable[[str], bytes]] = {
    "nothing": lambda _: b"",
    "no grant": lambda token: f"refresh_token={token}&x=y".encode(),
    "a grant twice": lambda token: f"grant_type=refresh_token&grant_type=refresh_token&refresh_token={token}".encode(),
    "a token twice": lambda token: (
        f"grant_type=refresh_token&refresh_token={token}&refresh_token={token}&token=a&token=b".encode()
    ),
    "an unknown one twice": lambda token: f"grant_type=refresh_token&refresh_token={token}&token={token}&x=1&x=2".encode(),
    "a name in two spellings": lambda t: (
        f"grant_type=refresh_token&refresh_token={t}&token={t}&%74oken={t}&grant%5Ftype=a".encode()
    ),
    "bytes that are no text": lambda token: f"grant_type=refresh_token&refresh_token={token}&token={token}&x=".encode() + b"\xff",
    "escapes that are no text": lambda token: f"grant_type=refresh_token&refresh_token={token}&token={token}&x=%ff".encode(),
    "many fields": lambda t: f"grant_type=refresh_token&refresh_token={t}&token={t}".encode() + b"&a=b" * 40,
    "a token of 9 kB": lambda _: b"grant_type=refresh_token&refresh_token=" + b"x" * 9000 + b"&token=" + b"x" * 9000,
}


@pytest.mark.parametrize("endpoint", ["/token", "/revoke", "/introspect"])
@pytest.mark.parametrize("case", UNREADABLE)
def test_an_invalid_form_is_refused(
    client: httpx.Client, credential: Credential, unchanged_session: SignedIn, endpoint: str, case: str
) -> None:
    """Duplicate, missing and undecodable parameters get 400 (RFC 6749 §3.2, R74)."""
    auth: dict[str, Any] = {"auth": credential.basic} if endpoint == "/introspect" else {}
    content = UNREADABLE[case](unchanged_session.refresh)
    answer = client.post(endpoint, content=content, headers={"content-type": FORM}, **auth)
    expect_error(answer, 400, "invalid_request")
    assert profile(client, unchanged_session).status_code == 200


@pytest.mark.parametrize("endpoint", ["/token", "/revoke", "/introspect"])
@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "multipart/form-data; boundary=x", "", "x"])
def test_other_media_types_are_415(
    client: httpx.Client, credential: Credential, unchanged_session: SignedIn, endpoint: str, media_type: str
) -> None:
    """These endpoints accept forms alone, as the others accept JSON alone (R63)."""
    fields = {"grant_type": "refresh_token", "refresh_token": unchanged_session.refresh, "token": unchanged_session.refresh}
    content = json.dumps(fields) if "json" in media_type else "&".join(f"{name}={value}" for name, value in fields.items())
    headers = {"content-type": media_type} if media_type else {}
    answer = client.post(endpoint, content=content.encode(), headers=headers, auth=credential.basic)
    expect_error(answer, 415, "invalid_request")
    assert profile(client, unchanged_session).status_code == 200


@pytest.mark.parametrize("endpoint", ["/token", "/revoke", "/introspect"])
def test_a_form_that_is_too_large_is_413(client: httpx.Client, endpoint: str) -> None:
    """64 KiB is the limit of every body (R74)."""
    answer = client.post(endpoint, content=b"token=" + b"x" * 65536, headers={"content-type": FORM})
    expect_error(answer, 413, "invalid_request")


def test_two_ways_of_sending_a_credential_are_refused(
    client: httpx.Client, credential: Credential, unchanged_session: SignedIn
) -> None:
    """A credential comes by HTTP Basic or in the form, not in both (RFC 6749 §2.3), and not in two headers."""
    fields = {"token": unchanged_session.access}
    expect_error(client.post("/introspect", data=fields | credential.fields, auth=credential.basic), 400, "invalid_request")
    header = next(credential.basic.auth_flow(httpx.Request("GET", "http://localhost"))).headers["authorization"]
    headers = [("authorization", header), ("authorization", header)]
    expect_error(client.post("/introspect", data=fields, headers=headers), 400, "invalid_request")


def test_another_sites_page_is_refused(client: httpx.Client) -> None:
    """If a browser adds the cookies, the cross-site rule applies here too (R60)."""
    ada = sign_in_new_user(client, delivery="cookie")
    for endpoint in ("/token", "/revoke", "/introspect"):
        headers = {**ada.cookies, "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        fields = {"grant_type": "refresh_token", "refresh_token": ada.refresh, "token": ada.refresh}
        expect_error(client.post(endpoint, data=fields, headers=headers), 403, "access_denied")
    assert profile(client, ada).status_code == 200


# --- POST /revoke

WAYS: dict[str, Callable[[SignedIn, Mint], str]] = {
    "refresh token": lambda a, _: a.refresh,
    "access token": lambda a, _: a.access,
    "expired access token": lambda a, m: m.expired_access(a.access),
    "expired refresh token": lambda a, m: m.refresh(a.refresh, iat=int(time.time()) - 7200, exp=int(time.time()) - 3600),
}


def expect_done(answer: httpx.Response) -> None:
    """Assert that an answer is exactly 200 and empty: some clients refuse 204 (RFC 7009 §2.2)."""
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("hint", ["", "refresh_token", "access_token", "nonsense"])
@pytest.mark.parametrize("way", WAYS)
def test_revoking_ends_the_session(client: httpx.Client, mint: Mint, ada: SignedIn, way: str, hint: str) -> None:
    """Either kind of token, expired or not, whatever the hint says, voids all tokens of the session at once (R49)."""
    other = sign_in(client, ada.email)
    fields = {"token": WAYS[way](ada, mint), "token_type_hint": hint}
    expect_done(client.post("/revoke", data=fields))
    expect_ended(profile(client, ada), "logout")
    expect_ended(refresh(client, ada), "logout")
    expect_error(renew(client, ada.refresh), 400, "invalid_grant")
    assert profile(client, other).status_code == 200
    expect_done(client.post("/revoke", data=fields))


def test_revoking_with_a_rotated_token_is_not_reuse(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """An old copy signs out too, and this is not reported as reuse (T12)."""
    second = renew(client, ada.refresh).json()["refresh_token"]
    renew(client, second)
    expect_done(client.post("/revoke", data={"token": ada.refresh}))
    expect_ended(profile(client, ada), "logout")
    assert "reuse_detected" not in event_kinds(server, ada.sid)


@pytest.mark.parametrize("delivery", ["split", "cookie"])
def test_a_browsers_session_can_be_revoked_too(client: httpx.Client, delivery: str) -> None:
    """A session can be ended with its token, whatever its delivery is."""
    ada = sign_in_new_user(client, delivery=delivery)
    expect_done(client.post("/revoke", data={"token": ada.refresh}))
    expect_ended(profile(client, ada), "logout")


def test_an_unknown_token_gets_200(client: httpx.Client, mint: Mint, ada: SignedIn) -> None:
    """Unknown tokens get the same 200 (RFC 7009 §2.2), and no session ends."""
    elsewhere = "https://other.example"
    for token in (
        "rubbish",
        "a.b.c",
        mint.access(ada.access, iss=elsewhere),
        mint.access(ada.access, aud=elsewhere),
        mint.refresh(ada.refresh, iss=elsewhere, aud=elsewhere),
        mint.refresh(ada.refresh, sid="nobody"),
        with_another_signature(client, mint),
    ):
        expect_done(client.post("/revoke", data={"token": token}))
    assert profile(client, ada).status_code == 200
    assert refresh(client, ada).status_code == 200


# --- POST /introspect


@pytest.mark.parametrize("way", ["Basic", "form"])
@pytest.mark.parametrize("delivery", ["json", "split", "cookie"])
def test_an_active_token_is_described(client: httpx.Client, credential: Credential, delivery: str, way: str) -> None:
    """The answer has all claims of the token, and `token_type` (RFC 7662 §2.2, R50)."""
    ada = sign_in_new_user(client, delivery=delivery)
    if way == "Basic":
        answer = introspect(client, credential, ada.access)
    else:
        answer = client.post("/introspect", data={"token": ada.access, **credential.fields})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
    assert answer.headers["cache-control"] == "no-store"
    claims = read_claims(ada.access)
    assert answer.json() == {"active": True, "token_type": "Bearer"} | claims
    assert {"iss", "aud", "sub", "client_id", "iat", "exp", "jti", "sid", "auth_time", "acr", "amr"} == claims.keys()


def test_roles_and_scope_are_described_if_there_are_any(
    server: Server, client: httpx.Client, credential: Credential, mint: Mint
) -> None:
    """They are the same as in the token, or absent."""
    email = "roles@example.com"
    run_on_deployment(server, lambda opened, caller: opened.create_account(email, PASSWORD, caller, roles=("admin", "ops")))
    ada = sign_in(client, email)
    assert introspect(client, credential, ada.access).json()["roles"] == ["admin", "ops"]
    scoped = mint.access(ada.access, scope="read write", roles=())
    described = introspect(client, credential, scoped).json()
    assert (described["scope"], "roles" in described) == ("read write", False)


INACTIVES: dict[str, Callable[[httpx.Client, Mint], str]] = {
    "rubbish": lambda _c, _m: "rubbish",
    "nearly a token": lambda _c, _m: "a.b.c",
    "a refresh token": lambda c, _m: sign_in_new_user(c).refresh,
    "over": lambda c, m: m.expired_access(sign_in_new_user(c).access),
    "not yet": lambda c, m: m.access(sign_in_new_user(c).access, iat=int(time.time()) + 600, exp=int(time.time()) + 1200),
    "another issuer's": lambda c, m: m.access(sign_in_new_user(c).access, iss="https://other.example"),
    "for another audience": lambda c, m: m.access(sign_in_new_user(c).access, aud="https://other.example"),
    "a session that is no more": lambda c, m: m.access(sign_in_new_user(c).access, sid="nobody"),
    "another type": lambda c, m: m.access(sign_in_new_user(c).access, typ="JWT"),
    "life too long": lambda c, m: m.access(sign_in_new_user(c).access, exp=int(time.time()) + 7200),
}


@pytest.mark.parametrize("case", INACTIVES)
def test_an_invalid_token_is_inactive_and_nothing_more(
    client: httpx.Client, credential: Credential, mint: Mint, case: str
) -> None:
    """The answer is exactly `{"active":false}` and gives no reason (RFC 7662 §2.2, R50)."""
    answer = introspect(client, credential, INACTIVES[case](client, mint))
    assert (answer.status_code, answer.content) == (200, INACTIVE)
    assert answer.headers["cache-control"] == "no-store"


def test_an_ended_session_is_inactive_at_once(server: Server, client: httpx.Client, credential: Credential) -> None:
    """It does not matter how it ended: by signing out, here or everywhere, by an operator, or with its account (R25 and R50)."""
    email = sign_up(client)
    one, two, three, four = (sign_in(client, email) for _ in range(4))
    assert introspect(client, credential, one.access).json()["active"] is True
    client.post("/logout", headers=one.bearer)
    run_on_deployment(server, lambda opened, caller: opened.sign_out.end_by_operator(two.sid, caller))
    for ended in (one, two):
        assert introspect(client, credential, ended.access).content == INACTIVE
    assert introspect(client, credential, three.access).json()["active"] is True
    client.post("/logout-everywhere", headers=three.bearer)
    assert introspect(client, credential, four.access).content == INACTIVE
    five = sign_in(client, email)
    run_on_deployment(server, lambda opened, caller: opened.accounts.disable(email, caller))
    assert introspect(client, credential, five.access).content == INACTIVE


def test_introspection_needs_a_credential(client: httpx.Client, credential: Credential, ada: SignedIn) -> None:
    """Introspection needs a service credential, whatever the token is (RFC 7662 §2.1)."""
    for options in (
        {},
        {"auth": httpx.BasicAuth(credential.id, "wrong")},
        {"auth": httpx.BasicAuth("nobody", credential.secret)},
        {"headers": ada.bearer},
        {"data": {"token": ada.access, "client_id": credential.id}},
        {"data": {"token": ada.access, "client_id": "handstamp"}},
        {"data": {"token": ada.access, "client_secret": credential.secret}},
        {"data": {"token": ada.access, "client_id": credential.id, "client_secret": "wrong"}},
    ):
        for token in (ada.access, "rubbish"):
            answer = client.post("/introspect", **{"data": {"token": token}} | options)
            expect_error(answer, 401, "invalid_client")
            assert answer.headers["www-authenticate"].startswith("Basic ")


def test_a_removed_credential_is_refused_at_once(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """A credential is not cached: once removed, it is refused at once."""
    credential = create_credential(server)
    assert introspect(client, credential, ada.access).status_code == 200
    run_on_deployment(server, lambda opened, caller: opened.credentials.remove(credential.id, caller))
    expect_error(introspect(client, credential, ada.access), 401, "invalid_client")


def test_introspection_changes_nothing(server: Server, client: httpx.Client, credential: Credential, ada: SignedIn) -> None:
    """Introspection only reads: the session's row does not change, not even for a refresh token."""
    before = session_row(server, ada.sid)
    for token in (ada.access, ada.refresh, "rubbish"):
        introspect(client, credential, token)
    assert session_row(server, ada.sid) == before


# --- while the store is unavailable


def test_an_unavailable_store_ends_no_session(
    server: Server, client: httpx.Client, credential: Credential, ada: SignedIn
) -> None:
    """The answer is 503 with Retry-After, not "inactive", "invalid_grant" or "revoked"; later all tokens are valid (R88, T32)."""
    with store_away(server):
        for answer in (
            introspect(client, credential, ada.access),
            client.post("/introspect", data={"token": ada.access, **credential.fields}),
            renew(client, ada.refresh),
            client.post("/revoke", data={"token": ada.refresh}),
            client.post("/revoke", data={"token": ada.refresh}, auth=credential.basic),
        ):
            expect_error(answer, 503, "temporarily_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        assert client.get(PATH).status_code == 200
    assert introspect(client, credential, ada.access).json()["active"] is True
    assert profile(client, ada).status_code == 200
    assert read_claims(renew(client, ada.refresh).json()["refresh_token"])["gen"] == 1


# --- metadata


def test_the_metadata_names_the_endpoints(server: Server, client: httpx.Client, credential: Credential, ada: SignedIn) -> None:
    """`issuer` equals `iss` byte for byte, every URL answers, and what is said about it is true (R8 and R33)."""
    answer = client.get(PATH)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found = answer.json()
    assert found["issuer"] == server.url == read_claims(ada.access)["iss"]
    assert found == {
        "issuer": server.url,
        "jwks_uri": f"{server.url}/.well-known/jwks.json",
        "token_endpoint": f"{server.url}/token",
        "revocation_endpoint": f"{server.url}/revoke",
        "introspection_endpoint": f"{server.url}/introspect",
        "grant_types_supported": ["refresh_token"],
        "response_types_supported": [],
        "acr_values_supported": ["pwd", "mfa", "phr"],
        "dpop_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }
    assert client.get(found["jwks_uri"]).json()["keys"]
    assert client.post(found["introspection_endpoint"], data={"token": "x"}, auth=credential.basic).content == INACTIVE
    expect_error(
        client.post(found["token_endpoint"], data={"grant_type": "refresh_token", "refresh_token": "x"}), 400, "invalid_grant"
    )
    expect_done(client.post(found["revocation_endpoint"], data={"token": "x"}))


@pytest.mark.parametrize("path", [PATH, "/.well-known/jwks.json"])
def test_public_documents_may_be_cached(client: httpx.Client, path: str) -> None:
    """It is public, has a maximum age and an ETag, and is never a redirect (R34)."""
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert re.fullmatch(r"public, max-age=\d+", answer.headers["cache-control"])
    assert re.fullmatch(r'"[0-9a-f]{32}"', answer.headers["etag"])
    assert client.get(path).headers["etag"] == answer.headers["etag"]
    for tag in (answer.headers["etag"], f"W/{answer.headers['etag']}", f'"x", {answer.headers["etag"]}', "*"):
        again = client.get(path, headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]
        assert again.headers["cache-control"] == answer.headers["cache-control"]
    assert client.get(path, headers={"if-none-match": '"x"'}).content == answer.content
    head = client.head(path)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", answer.headers["etag"])
    assert client.get(f"{path}/").status_code == 404


def test_an_issuer_with_a_path_has_its_metadata_at_both_places(tmp_path: Path) -> None:
    """RFC 8414 §3.1 puts the issuer's path behind the well-known name; proxies strip it, or keep it in front (R33)."""
    with run_server(tmp_path, ISSUER=TENANT) as server, client_of(server) as client:
        answers = [client.get(path) for path in (PATH, f"{PATH}/some/tenant", f"/some/tenant{PATH}")]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert len({answer.content for answer in answers}) == 1
        found = answers[0].json()
        assert found["issuer"] == TENANT
        addresses = {value for name, value in found.items() if name.endswith(("_uri", "_endpoint"))}
        assert addresses == {f"{TENANT}/{name}" for name in (".well-known/jwks.json", "token", "revoke", "introspect")}
        assert client.get(f"{PATH}/some/tenant", headers={"if-none-match": answers[0].headers["etag"]}).status_code == 304
        for path in (f"{PATH}/some", f"{PATH}/other", f"{PATH}/some/tenant/"):
            assert client.get(path).status_code == 404, path
        headers = {"origin": "https://auth.example.com", "sec-fetch-site": "same-origin"}
        email = sign_up(client)
        answer = client.post("/login", json={"email": email, "password": PASSWORD, "delivery": "json"}, headers=headers)
        assert read_claims(answer.json()["accessToken"])["iss"] == TENANT


def test_an_issuer_without_a_path_has_one_place(client: httpx.Client) -> None:
    """No path below it exists."""
    assert client.get(f"{PATH}/tenant").status_code == 404


def test_no_token_or_secret_is_logged(server: Server, client: httpx.Client, credential: Credential, ada: SignedIn) -> None:
    """The log has neither tokens nor secrets, valid or not, and no unexpected error (R83)."""
    start = server.log.stat().st_size
    renewed = renew(client, ada.refresh).json()
    introspect(client, credential, ada.access)
    client.post("/introspect", data={"token": ada.access, "client_id": credential.id, "client_secret": "wrong secret here"})
    client.post("/revoke", data={"token": ada.refresh})
    logged = server.log.read_text()
    for secret in (ada.access, ada.refresh, renewed["access_token"], renewed["refresh_token"], credential.secret, "wrong secret"):
        assert secret not in logged
        assert secret.rpartition(".")[2] not in logged
    assert "unexpected_error" not in logged[start:]
    assert "Traceback" not in logged[start:]
