"""Hostile requests: each gets a documented answer, never a 5xx, shows no internals, changes nothing, and the service goes on.

All endpoints share one body parser and one token check. Both are tested in depth at one endpoint, and each endpoint is tested to
use them.
"""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from handstamp.web.operation import Operation
from handstamp.web.routing import OPERATIONS
from tests.integration.helpers import (
    CODES,
    PROBLEM,
    Mint,
    SignedIn,
    expect_problem,
    no_row_changes,
    profile,
    read_claims,
    refresh,
    send_raw,
    session_row,
    sign_in_new_user,
)
from tests.serving import PASSWORD, Server, cookie_name

pytestmark = pytest.mark.xdist_group("bad-input")
JSON = "application/json"
ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
MB = 1024 * 1024
DEEP = 30_000
GIVEAWAYS = ("Traceback", 'File "', "sqlite", "SELECT ", "INSERT ", "msgspec", "starlette")
IN_LOG = ("Traceback", "unexpected_error", "internal_error", "exc_info", '"level": "error"', "SELECT ", "INSERT ")

WITH_BODY = [each for each in OPERATIONS if each.body is not None and each.credential != "operator"]
"""Those of operators are in test_admin_access.py."""
WITHOUT_BODY = [operation for operation in OPERATIONS if operation.body is None and operation.form is None]
WITH_ACCESS = [operation for operation in OPERATIONS if operation.credential == "access"]
FIELDS: dict[str, dict[str, Any]] = {
    "/register": {"email": "grace@example.com", "password": PASSWORD},
    "/login": {"email": "grace@example.com", "password": PASSWORD},
    "/register/confirm": {"token": "rubbish"},
    "/login/code": {"email": "grace@example.com"},
    "/login/code/confirm": {"code": "123456", "ticket": "rubbish"},
    "/email/verify": {"email": "grace@example.com", "password": PASSWORD},
    "/email/verify/confirm": {"code": "123456"},
    "/password/reset": {"email": "grace@example.com"},
    "/password/reset/confirm": {"newPassword": "another kelp lantern rivet of the tests", "token": "rubbish"},
    "/email/change": {"email": "grace@example.com"},
    "/email/change/confirm": {"token": "rubbish"},
    "/email/change/undo": {"token": "rubbish"},
    "/factors/undo": {"token": "rubbish"},
    "/profile": {"name": "Grace"},
    "/me/delete": {"email": "grace@example.com"},
    "/login/second-factor": {"challenge": "rubbish", "code": "123456"},
    "/login/step-up": {"code": "123456"},
    "/login/passkey/options": {"challenge": "rubbish"},
    "/login/passkey": {"challenge": "rubbish", "passkey": {"id": "x"}},
    "/totp": {"challenge": "rubbish"},
    "/totp/confirm": {"enrolment": "rubbish", "code": "123456"},
    "/passkeys/options": {"challenge": "rubbish"},
    "/passkeys": {"passkeyChallenge": "rubbish", "passkey": {"id": "x"}},
    "/passkeys/{id}": {"name": "Blue key"},
    "/login/with/{provider}": {"returnTo": "/account"},
    "/login/with/{provider}/complete": {"challenge": "rubbish", "ticket": "rubbish", "answer": {"code": "rubbish"}},
    "/identities/with/{provider}": {"returnTo": "/account"},
    "/identities/with/{provider}/complete": {"challenge": "rubbish", "ticket": "rubbish", "answer": {"code": "rubbish"}},
    "/identities/token": {"provider": "google", "accessToken": "rubbish"},
    "/refresh": {"refreshToken": "rubbish"},
    "/logout": {"refreshToken": "rubbish", "accessToken": "rubbish"},
    "/password": {"currentPassword": PASSWORD, "newPassword": "another kelp lantern rivet of the tests"},
}
"""A body of the right form for each endpoint that reads one."""

NOTHING: dict[str, tuple[bytes, ...]] = {
    "/email/verify": (),
    "/profile": (b"",),
    "/login/passkey/options": (),
    "/totp": (),
    "/passkeys/options": (),
    "/login/with/{provider}": (),
    "/identities/with/{provider}": (),
}
"""The bodies without a member that an endpoint refuses, if not all: some need none, and `/profile` may change nothing."""


def name_of(operation: Operation) -> str:
    """Return an operation's name in test ids."""
    return f"{operation.method} {operation.path}"


PASSWORD_CHANGE = next(operation for operation in WITH_BODY if operation.path == "/password")
"""Needs an access token and two fields, so that everything a parser can get wrong can be seen here."""


def in_chunks(body: bytes) -> Iterator[bytes]:
    """Yield a body in pieces, so that its length is not declared."""
    return (body[start : start + 65536] for start in range(0, len(body), 65536))


def with_field(operation: Operation, field: str, value: bytes) -> bytes:
    """Return a body whose first field has exactly these bytes as its value."""
    others = {name: text for name, text in FIELDS[operation.path].items() if name != field}
    tail = b", " + json.dumps(others).encode()[1:] if others else b"}"
    return b'{"%s": %s%s' % (field.encode(), value, tail)


BROKEN = {
    "half an object": b"{",
    "cut off": b'{"email": "ada@exam',
    "single quotes": b"{'email': 'ada@example.com'}",
    "nearly null": b"nul",
    "not a number": b"NaN",
    "two values": b"{} {}",
    "trailing comma": b'{"email": "a",}',
    "a form": b"email=ada%40example.com&password=x",
    "half an array": b"[1",
    "utf-16": '{"email": "ada@example.com"}'.encode("utf-16"),
    "binary": bytes(range(256)),
    "only NUL": b"\x00" * 100,
    "white space": b" \n\t ",
    "deep arrays": b"[" * DEEP,
    "deep objects": b'{"a":' * (DEEP // 3),
    "deep and closed": b"[" * DEEP + b"]" * DEEP,
}
OTHER_TYPES = {
    "array": b"[]",
    "array of it": b'[{"email": "a"}]',
    "string": b'"x"',
    "number": b"1",
    "null": b"null",
    "true": b"true",
}
NOT_TEXT = {
    "null": b"null",
    "number": b"1",
    "fraction": b"0.5",
    "huge number": b"1e400",
    "true": b"true",
    "array": b"[]",
    "array of text": b'["ada@example.com"]',
    "object": b"{}",
    "deep arrays": b"[" * 1000 + b"]" * 1000,
}
BAD_TEXT = {
    "lone surrogate": b'"\\ud800"',
    "surrogates the wrong way round": b'"\\udc00\\ud800"',
    "raw control character": b'"a\x00b"',
    "invalid utf-8": b'"\xff\xfe"',
    "overlong utf-8": b'"\xc0\xaf"',
    "surrogate in utf-8": b'"\xed\xa0\x80"',
    "unknown escape": b'"\\x41"',
    "unfinished": b'"abc',
    "60 kB": b'"' + b"x" * 60_000 + b'"',
    "too deep": b"[" * DEEP,
    "number, then nothing": b"1, ",
    "number, then invalid utf-8": b'1, "y": "\xff"',
    "number, then a lone surrogate": b'1, "y": "\\ud800"',
    "number, then too deep": b'1, "y": ' + b"[" * DEEP,
}
NOT_JSON = ("deep arrays",)
"""The value above that the parser itself refuses."""
CONTROL = {
    "NUL": b'"ada\\u0000@example.com"',
    "escape": b'"\\u001b[31mada"',
    "line break": b'"ada\\r\\nBcc: x"',
    "bell": b'"\\u0007"',
}
OTHER_MEDIA_TYPES = ("application/x-www-form-urlencoded", "text/plain", "application/jsonp", "application/xml", "")
UNKNOWN_MEMBERS = ("", "isAdmin", "__proto__", "refresh_token", "a\x00b", "x" * 5000)


@pytest.fixture(scope="module")
def ada(client: httpx.Client) -> SignedIn:
    """Return a session that must survive every test of this module."""
    return sign_in_new_user(client)


@pytest.fixture(autouse=True)
def no_side_effects(server: Server, client: httpx.Client, ada: SignedIn) -> Iterator[None]:
    """Check after each test that no row was added or deleted, no error was logged, and the service answers."""
    logged = server.log.stat().st_size
    with no_row_changes(server):
        yield
    with server.log.open("rb") as log:
        log.seek(logged)
        text = log.read().decode()
    assert [word for word in IN_LOG if word in text] == []
    assert profile(client, ada).status_code == 200


def expect_refused(answer: httpx.Response, *, or_signed_out: bool = False) -> None:
    """Assert that an answer is a documented problem without internals; 204 is accepted if `or_signed_out`."""
    if or_signed_out and answer.status_code == 204:
        return
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["code"] in CODES
    assert answer.json()["status"] == answer.status_code
    assert [word for word in GIVEAWAYS if word in answer.text] == []


def assert_refused(answers: Mapping[str, httpx.Response]) -> None:
    """Assert that every answer is a documented problem."""
    for answer in answers.values():
        expect_refused(answer)


def statuses(answers: Mapping[str, httpx.Response]) -> dict[str, int]:
    """Return the status of each answer."""
    return {name: answer.status_code for name, answer in answers.items()}


def named(answer: httpx.Response) -> list[str]:
    """Return the fields that a problem names."""
    return [wrong["name"] for wrong in answer.json()["fields"]]


def send(client: httpx.Client, operation: Operation, ada: SignedIn, content: Any, media_type: str = JSON) -> httpx.Response:
    """Call an operation with this body, with an access token if the operation needs one."""
    headers = {"content-type": media_type} | (ada.bearer if operation.credential == "access" else {})
    return client.request(
        operation.method, operation.path.format(id="nobodys", provider="nobodys"), content=content, headers=headers
    )


# --- the parser, by way of one endpoint that reads two fields


def test_a_body_that_is_not_json_is_400(client: httpx.Client, ada: SignedIn) -> None:
    """A body that cannot be parsed, or that is another type than an object, is 400 (R74, R80)."""
    bodies = BROKEN | OTHER_TYPES
    answers = {name: send(client, PASSWORD_CHANGE, ada, body) for name, body in bodies.items()}
    assert_refused(answers)
    assert statuses(answers) == dict.fromkeys(bodies, 400)


@pytest.mark.parametrize("field", FIELDS[PASSWORD_CHANGE.path])
def test_a_field_that_is_not_text_is_named(client: httpx.Client, ada: SignedIn, field: str) -> None:
    """A field of another type is 422, and the answer names it. What the parser refuses is 400: how deep depends on Python."""
    answers = {
        name: send(client, PASSWORD_CHANGE, ada, with_field(PASSWORD_CHANGE, field, value)) for name, value in NOT_TEXT.items()
    }
    assert_refused(answers)
    refused = statuses(answers)
    assert {refused.pop(name) for name in NOT_JSON} <= {400, 422}
    assert refused == dict.fromkeys([name for name in NOT_TEXT if name not in NOT_JSON], 422)
    assert {tuple(named(answer)) for name, answer in answers.items() if name not in NOT_JSON} == {(field,)}


@pytest.mark.parametrize("field", FIELDS[PASSWORD_CHANGE.path])
def test_undecodable_fields_are_refused(client: httpx.Client, ada: SignedIn, field: str) -> None:
    """Bad escapes, bad UTF-8, unterminated text, and a wrong field before something unreadable: 400 or 422 (R74, R80)."""
    answers = {
        name: send(client, PASSWORD_CHANGE, ada, with_field(PASSWORD_CHANGE, field, value)) for name, value in BAD_TEXT.items()
    }
    assert_refused(answers)
    assert set(statuses(answers).values()) <= {400, 422}


@pytest.mark.parametrize(
    "body",
    [b'{"password": "' + b"x" * MB + b'"}', b" " * (64 * 1024 + 1), b"[" * 100_000, b"\x00" * (10 * MB)],
    ids=["password of 1 MB", "one byte too many", "100,000 levels", "10 MB"],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_body_that_is_too_large_is_413(client: httpx.Client, ada: SignedIn, body: bytes, chunked: bool) -> None:
    """More than 64 KiB are refused, announced or not, before anything costly (R67, R74)."""
    answer = send(client, PASSWORD_CHANGE, ada, in_chunks(body) if chunked else body)
    expect_refused(answer)
    assert answer.status_code == 413


# --- every endpoint reads its body with that parser


@pytest.mark.parametrize("operation", WITH_BODY, ids=name_of)
def test_every_endpoint_refuses_a_broken_body(client: httpx.Client, ada: SignedIn, operation: Operation) -> None:
    """Bodies that are broken, too large, of another media type or empty are refused everywhere, signing out included."""
    sound = json.dumps(FIELDS[operation.path]).encode()
    answers = {
        "cut off": send(client, operation, ada, BROKEN["cut off"]),
        "too large": send(client, operation, ada, b" " * (64 * 1024 + 1)),
        **{media_type: send(client, operation, ada, sound, media_type) for media_type in OTHER_MEDIA_TYPES},
    }
    assert_refused(answers)
    assert statuses(answers) == {"cut off": 400, "too large": 413} | dict.fromkeys(OTHER_MEDIA_TYPES, 415)
    for body in NOTHING.get(operation.path, (b"", b"{}")):
        expect_refused(send(client, operation, ada, body), or_signed_out=operation.path == "/logout")


@pytest.mark.parametrize("operation", WITH_BODY, ids=name_of)
def test_every_field_of_every_endpoint_is_checked(client: httpx.Client, ada: SignedIn, operation: Operation) -> None:
    """Wrong and unknown fields are named; no address, password or token contains a control character (R84)."""
    for field in FIELDS[operation.path]:
        answer = send(client, operation, ada, with_field(operation, field, b"1"))
        expect_refused(answer)
        assert (answer.status_code, named(answer)) == (422, [field])
        for value in CONTROL.values():
            answer = send(client, operation, ada, with_field(operation, field, value))
            expect_refused(answer, or_signed_out=operation.path == "/logout")
    for member in UNKNOWN_MEMBERS:
        answer = send(client, operation, ada, json.dumps({**FIELDS[operation.path], member: "x"}).encode())
        expect_refused(answer)
        assert (answer.status_code, member in named(answer)) == (422, True)


@pytest.mark.parametrize("operation", WITHOUT_BODY, ids=name_of)
def test_an_endpoint_that_reads_no_body_ignores_it(client: httpx.Client, operation: Operation) -> None:
    """An endpoint that takes no body answers as if there were none, however large or broken it is."""
    path = operation.path.format(id="nobodys", provider="nobodys")
    for body in (b"{", b"[" * 100_000, in_chunks(b"\xff" * MB)):
        answer = client.request(operation.method, path, content=body, headers={"content-type": JSON})
        if operation.credential is None or operation.path.startswith("/device/"):  # a browser is told that there is no session
            assert answer.status_code == 200
        else:
            expect_problem(answer, 401, "invalid_client" if operation.credential == "client" else "missing_token")


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"99999999999999999999999", b"0x10", b"1, 2"])
def test_an_invalid_content_length_is_refused(server: Server, length: bytes) -> None:
    """A `Content-Length` that is no number, or no sensible one, gets a 4xx or a closed connection."""
    request = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %s\r\n\r\n{}"
    answer = send_raw(server, request % length)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("path", ["/sessions/%00", "/sessions/%ff%fe", "/sessions/" + "x" * 8_000, "/sessions/'%20OR%201=1--"])
def test_any_unknown_session_id_is_404(client: httpx.Client, ada: SignedIn, path: str) -> None:
    """A path parameter is a value, never SQL (R80)."""
    expect_problem(client.delete(path, headers=ada.bearer), 404, "not_found")


# --- tokens


def segment(value: dict[str, Any] | bytes) -> str:
    """Return one segment of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def header_of(token: str) -> dict[str, Any]:
    """Return what the header of a token says."""
    first = token.partition(".")[0]
    header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    return header


def forgeries(token: str) -> dict[str, str]:
    """Return what attackers make of a token that they saw."""
    head, claims, signature = token.split(".")
    header, body = header_of(token), read_claims(token)
    return {
        "alg none": f"{segment(header | {'alg': 'none'})}.{claims}.",
        "alg none with signature": f"{segment(header | {'alg': 'none'})}.{claims}.{signature}",
        "alg nOnE": f"{segment(header | {'alg': 'nOnE'})}.{claims}.AA",
        "other algorithm": f"{segment(header | {'alg': 'HS256' if header['alg'] != 'HS256' else 'ES256'})}.{claims}.{signature}",
        "path as kid": f"{segment(header | {'kid': '../../../../dev/null'})}.{claims}.{signature}",
        "SQL as kid": f"{segment(header | {'kid': 'x UNION SELECT 1'})}.{claims}.{signature}",
        "huge kid": f"{segment(header | {'kid': 'x' * 5000})}.{claims}.{signature}",
        "number as kid": f"{segment(header | {'kid': 1})}.{claims}.{signature}",
        "own key": f"{segment(header | {'jwk': {'kty': 'oct', 'k': 'AAAA'}})}.{claims}.{signature}",
        "own key's address": f"{segment(header | {'jku': 'http://127.0.0.1:1/jwks.json'})}.{claims}.{signature}",
        "crit": f"{segment(header | {'crit': ['x'], 'x': 1})}.{claims}.{signature}",
        "other subject": f"{head}.{segment(body | {'sub': 'somebody-else'})}.{signature}",
        "longer life": f"{head}.{segment(body | {'exp': body['exp'] + 1})}.{signature}",
        "no signature": f"{head}.{claims}.",
        "empty claims": f"{head}..{signature}",
        "two segments": f"{head}.{claims}",
        "four segments": f"{token}.{signature}",
        "five segments": f"{head}.{claims}.{signature}.AA.AA",
        "padding": f"{token}=",
        "standard alphabet": token.replace("-", "+").replace("_", "/") + "+/",
        "a blank inside": f"{head}. {claims}.{signature}",
        "JSON serialisation": json.dumps({"protected": head, "payload": claims, "signature": signature}),
        "deep header": f"{segment(b'{' * 3000)}.{claims}.{signature}",
        "binary header": f"{segment(bytes(range(256)))}.{claims}.{signature}",
        "zeros as signature": f"{head}.{claims}.{'A' * len(signature)}",
        "too long": f"{head}.{claims}.{signature}{'A' * 9000}",
        "only dots": "..",
        "a word": "rubbish",
    }


def codes(answers: Mapping[str, httpx.Response]) -> dict[str, tuple[int, str]]:
    """Return status and code of each problem."""
    return {name: (answer.status_code, answer.json()["code"]) for name, answer in answers.items()}


def test_forged_access_tokens_are_refused(client: httpx.Client, ada: SignedIn) -> None:
    """Every forgery gets the same answer, which gives no reason (R12 to R24, T17 to T19)."""
    forged = forgeries(ada.access)
    answers = {name: client.get("/profile", headers={"authorization": f"Bearer {token}"}) for name, token in forged.items()}
    assert codes(answers) == dict.fromkeys(forged, (401, "invalid_token"))


@pytest.mark.parametrize("operation", WITH_ACCESS, ids=name_of)
def test_every_endpoint_checks_its_access_token(client: httpx.Client, ada: SignedIn, operation: Operation) -> None:
    """No endpoint accepts another person's claims, a missing signature, or a refresh token (R22, T19)."""
    path, body = operation.path.format(id=ada.sid, provider="nobodys"), FIELDS.get(operation.path)
    if operation.path in {"/email/verify", "/totp", "/passkeys/options"}:  # there a body is instead of an access token
        body = None
    forged = forgeries(ada.access)
    bearers = [forged["alg none"], forged["other subject"], ada.refresh]
    cookie = {"cookie": f"{cookie_name('access', ada.origin)}={ada.refresh}", "sec-fetch-site": "same-origin"}
    for headers in (*({"authorization": f"Bearer {token}"} for token in bearers), cookie):
        expect_problem(client.request(operation.method, path, json=body, headers=headers), 401, "invalid_token")


def test_forged_refresh_tokens_are_refused(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """No forgery renews a session, by body or by cookie (R12 to R24)."""
    forged = forgeries(ada.refresh)
    answers = {name: client.post("/refresh", json={"refreshToken": token}) for name, token in forged.items()}
    assert set(codes(answers).values()) == {(401, "invalid_token"), (422, "invalid_request")}
    for token in forged.values():
        if not set(token) & set(' ",;'):
            cookie = {"cookie": f"{cookie_name('refresh', ada.origin)}={token}", "sec-fetch-site": "same-origin"}
            expect_problem(client.post("/refresh", headers=cookie), 401, "invalid_token")
    assert session_row(server, ada.sid)["generation"] == 0


@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_forged_tokens_end_no_session(client: httpx.Client, ada: SignedIn, kind: str) -> None:
    """Signing out answers a forgery like any other unusable token, and ends no session (R48)."""
    for token in forgeries(getattr(ada, kind)).values():
        expect_refused(client.post("/logout", json={f"{kind}Token": token}), or_signed_out=True)
        expect_refused(client.post("/logout", headers={"authorization": f"Bearer {token}"}), or_signed_out=True)
    assert profile(client, ada).status_code == 200


@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_one_changed_bit_is_refused(server: Server, client: httpx.Client, ada: SignedIn, kind: str) -> None:
    """A token with one bit of any of its characters changed is no token of ours (R16, R23)."""
    token: str = getattr(ada, kind)
    for place, character in enumerate(token):
        if character == ".":
            continue
        changed = f"{token[:place]}{ALPHABET[ALPHABET.index(character) ^ 1 << place % 6]}{token[place + 1 :]}"
        if kind == "access":
            answer = client.get("/profile", headers={"authorization": f"Bearer {changed}"})
        else:
            answer = client.post("/refresh", json={"refreshToken": changed})
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), (place, answer.text)
    assert session_row(server, ada.sid)["generation"] == 0


def test_an_access_token_is_refused_as_refresh_token(client: httpx.Client, ada: SignedIn) -> None:
    """Neither in the body nor in the refresh cookie does an access token renew anything (R22, T19)."""
    cookie = {"cookie": f"{cookie_name('refresh', ada.origin)}={ada.access}", "sec-fetch-site": "same-origin"}
    expect_problem(client.post("/refresh", json={"refreshToken": ada.access}), 401, "invalid_token")
    expect_problem(client.post("/refresh", headers=cookie), 401, "invalid_token")


@pytest.mark.parametrize("typ", ["JWT", "rt+jwt", "at+jwt2", ""])
def test_a_good_signature_under_another_type_is_refused(client: httpx.Client, ada: SignedIn, mint: Mint, typ: str) -> None:
    """The type is checked even where our own key has signed (R21, R22)."""
    token = mint.access(ada.access, typ=typ)
    expect_problem(client.get("/profile", headers={"authorization": f"Bearer {token}"}), 401, "invalid_token")
    token = mint.refresh(ada.refresh, typ=typ if typ != "rt+jwt" else "at+jwt")
    expect_problem(refresh(client, ada, token), 401, "invalid_token")


@pytest.mark.parametrize("typ", ["application/at+jwt", "AT+JWT"])
def test_the_long_form_of_the_type_is_the_same_type(client: httpx.Client, ada: SignedIn, mint: Mint, typ: str) -> None:
    """Media types are compared without case and without `application/` (R21)."""
    token = mint.access(ada.access, typ=typ)
    assert client.get("/profile", headers={"authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://other.example"}, "invalid_token"),
        ({"aud": "https://other.example"}, "invalid_token"),
        ({"aud": []}, "invalid_token"),
        ({"iat": 4_000_000_000, "exp": 4_000_000_900}, "invalid_token"),
        ({"nbf": 4_000_000_000}, "invalid_token"),
        ({"exp": 4_000_000_000}, "invalid_token"),
        ({"iat": 1_700_000_000, "exp": 1_700_000_900}, "expired_token"),
        ({"sid": "no-such-session"}, "session_ended"),
    ],
)
def test_invalid_claims_in_a_token_are_refused(
    client: httpx.Client, ada: SignedIn, mint: Mint, changes: dict[str, Any], code: str
) -> None:
    """Even with our own signature every claim must hold; only one that is right but for its time is called expired (R23)."""
    token = mint.access(ada.access, **changes)
    expect_problem(client.get("/profile", headers={"authorization": f"Bearer {token}"}), 401, code)


def test_two_authorization_headers_are_refused(client: httpx.Client, ada: SignedIn) -> None:
    """Two credentials are no credential, even if they are the same."""
    headers = [("authorization", ada.bearer["authorization"])] * 2
    expect_problem(client.get("/profile", headers=headers), 400, "invalid_request")


@pytest.mark.parametrize("scheme", ["Basic", "Digest", "Token", ""])
def test_other_schemes_count_as_no_token(client: httpx.Client, ada: SignedIn, scheme: str) -> None:
    """Only `Bearer` and `DPoP` are read."""
    headers = {"authorization": f"{scheme} {ada.access}".strip()}
    expect_problem(client.get("/profile", headers=headers), 401, "missing_token")


@pytest.mark.parametrize("name", ["access_token", "accessToken", "token"])
def test_a_token_in_the_url_is_ignored(client: httpx.Client, ada: SignedIn, name: str) -> None:
    """Tokens in addresses end up in logs, so none is taken from there (R44)."""
    expect_problem(client.get("/profile", params={name: ada.access}), 401, "missing_token")


def test_no_secret_is_logged(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """After all of this the log holds no token, no part of one that signs, and no password (R83)."""
    client.post("/refresh", json={"refreshToken": ada.access})
    client.get("/profile", headers={"authorization": f"Bearer {ada.refresh}"})
    lines = [line for line in server.log.read_text().splitlines() if line.startswith("{")]  # the greeting shows an example
    log = "\n".join(lines)
    assert "signed_in" in log
    for secret in (ada.access, ada.refresh, ada.access.rpartition(".")[2], ada.refresh.rpartition(".")[2], PASSWORD):
        assert secret not in log
