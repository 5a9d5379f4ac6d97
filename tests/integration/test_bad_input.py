"""Whatever is sent: a known answer, never a 5xx, nothing of the inside shown, nothing changed, and the service goes on."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from handstamp.web.routes import OPERATIONS, Operation
from tests.integration.helpers import (
    CODES,
    PROBLEM,
    Mint,
    SignedIn,
    expect_problem,
    profile,
    raw,
    read_claims,
    refresh,
    row_counts,
    session_row,
    somebody,
)
from tests.serving import PASSWORD, Server

pytestmark = pytest.mark.xdist_group("bad-input")
JSON = "application/json"
ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
MB = 1024 * 1024
DEEP = 30_000
GIVEAWAYS = ("Traceback", 'File "', "sqlite", "SELECT ", "INSERT ", "msgspec", "starlette")
IN_LOG = ("Traceback", "unexpected_error", "internal_error", "exc_info", '"level": "error"', "SELECT ", "INSERT ")

WITH_BODY = [operation for operation in OPERATIONS if operation.body is not None]
WITHOUT_BODY = [operation for operation in OPERATIONS if operation.body is None and operation.form is None]
WITH_ACCESS = [operation for operation in OPERATIONS if operation.credential == "access"]
FIELDS: dict[str, dict[str, str]] = {
    "/register": {"email": "grace@example.com", "password": PASSWORD},
    "/login": {"email": "grace@example.com", "password": PASSWORD},
    "/refresh": {"refreshToken": "rubbish"},
    "/logout": {"refreshToken": "rubbish", "accessToken": "rubbish"},
    "/password": {"currentPassword": PASSWORD, "newPassword": "another sentence that only ada says"},
}
"""For each endpoint that reads a body, one of the right form."""


def name_of(operation: Operation) -> str:
    """Return how a test calls an operation."""
    return f"{operation.method} {operation.path}"


EACH_FIELD = [(operation, field) for operation in WITH_BODY for field in FIELDS[operation.path]]


def field_name(value: Operation | str) -> str:
    """Return how a test calls an operation, or a field of it."""
    return value if isinstance(value, str) else name_of(value)


def with_field(operation: Operation, field: str, value: bytes) -> bytes:
    """Return a body in which one field is exactly these bytes, the first of all."""
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
    "byte order mark": b"\xef\xbb\xbf{}",
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
CONTROL = {
    "NUL": b'"ada\\u0000@example.com"',
    "escape": b'"\\u001b[31mada"',
    "line break": b'"ada\\r\\nBcc: x"',
    "bell": b'"\\u0007"',
}


@pytest.fixture(scope="module")
def ada(client: httpx.Client) -> SignedIn:
    """Return a session that all of this must leave as it is."""
    return somebody(client)


@pytest.fixture(autouse=True)
def nothing_happens(server: Server, client: httpx.Client, ada: SignedIn) -> Iterator[None]:
    """After each test: no row more or less, no error in the log, and the service serves."""
    rows, logged = row_counts(server), server.log.stat().st_size
    yield
    assert row_counts(server) == rows
    with server.log.open("rb") as log:
        log.seek(logged)
        text = log.read().decode()
    assert [word for word in IN_LOG if word in text] == []
    assert profile(client, ada).status_code == 200


def expect_refused(answer: httpx.Response, *, or_signed_out: bool = False) -> None:
    """Assert that an answer is a problem of the contract, which gives nothing away; `/logout` may have done its work."""
    if or_signed_out and answer.status_code == 204:
        return
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["code"] in CODES
    assert answer.json()["status"] == answer.status_code
    assert [word for word in GIVEAWAYS if word in answer.text] == []


def send(client: httpx.Client, operation: Operation, ada: SignedIn, content: Any, media_type: str = JSON) -> httpx.Response:
    """Call an operation, signed in where that matters, with this body."""
    headers = {"content-type": media_type} | (ada.bearer if operation.credential == "access" else {})
    return client.request(operation.method, operation.path.replace("{id}", "nobodys"), content=content, headers=headers)


@pytest.mark.parametrize("operation", WITH_BODY, ids=name_of)
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_what_is_no_json_is_400(client: httpx.Client, ada: SignedIn, operation: Operation, body: bytes) -> None:
    """A body that cannot be read is 400 everywhere, signing out included (R74, R80)."""
    answer = send(client, operation, ada, body)
    expect_refused(answer)
    assert answer.status_code == 400


@pytest.mark.parametrize("operation", WITH_BODY, ids=name_of)
@pytest.mark.parametrize("body", OTHER_TYPES.values(), ids=OTHER_TYPES)
def test_what_is_no_object_is_400(client: httpx.Client, ada: SignedIn, operation: Operation, body: bytes) -> None:
    """JSON of another type than an object is a request that cannot be understood."""
    answer = send(client, operation, ada, body)
    expect_refused(answer)
    assert answer.status_code == 400


@pytest.mark.parametrize("operation", WITH_BODY, ids=name_of)
def test_an_empty_body_is_no_error_of_ours(client: httpx.Client, ada: SignedIn, operation: Operation) -> None:
    """Nothing at all, and an object with nothing in it, are refused, but for signing out."""
    for body in (b"", b"{}"):
        expect_refused(send(client, operation, ada, body), or_signed_out=operation.path == "/logout")


@pytest.mark.parametrize(("operation", "field"), EACH_FIELD, ids=field_name)
@pytest.mark.parametrize("value", NOT_TEXT.values(), ids=NOT_TEXT)
def test_a_field_that_is_no_text_is_named(
    client: httpx.Client, ada: SignedIn, operation: Operation, field: str, value: bytes
) -> None:
    """A field of another type is 422 and named."""
    answer = send(client, operation, ada, with_field(operation, field, value))
    expect_refused(answer)
    assert answer.status_code in (400, 422)
    if answer.status_code == 422:
        assert [wrong["name"] for wrong in answer.json()["fields"]] == [field]


@pytest.mark.parametrize(("operation", "field"), EACH_FIELD, ids=field_name)
@pytest.mark.parametrize("value", BAD_TEXT.values(), ids=BAD_TEXT)
def test_a_field_that_cannot_be_read_is_refused(
    client: httpx.Client, ada: SignedIn, operation: Operation, field: str, value: bytes
) -> None:
    """Bad escapes, bad UTF-8, texts without an end, and a wrong field before something unreadable: 400 or 422 (R74, R80)."""
    answer = send(client, operation, ada, with_field(operation, field, value))
    expect_refused(answer)
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize(("operation", "field"), EACH_FIELD, ids=field_name)
@pytest.mark.parametrize("value", CONTROL.values(), ids=CONTROL)
def test_control_characters_in_a_field_are_refused(
    client: httpx.Client, ada: SignedIn, operation: Operation, field: str, value: bytes
) -> None:
    """No address, password or token holds a control character (R84)."""
    answer = send(client, operation, ada, with_field(operation, field, value))
    expect_refused(answer, or_signed_out=operation.path == "/logout")


@pytest.mark.parametrize("operation", WITH_BODY, ids=name_of)
@pytest.mark.parametrize("member", ["", "isAdmin", "__proto__", "refresh_token", "a\u0000b", "x" * 5000])
def test_a_field_too_many_is_named(client: httpx.Client, ada: SignedIn, operation: Operation, member: str) -> None:
    """A misspelt or invented field is not passed over in silence."""
    answer = send(client, operation, ada, json.dumps({**FIELDS[operation.path], member: "x"}).encode())
    expect_refused(answer)
    assert answer.status_code == 422
    assert member in [wrong["name"] for wrong in answer.json()["fields"]]


@pytest.mark.parametrize("operation", WITH_BODY, ids=name_of)
@pytest.mark.parametrize(
    "body",
    [b'{"password": "' + b"x" * MB + b'"}', b" " * (64 * 1024 + 1), b"[" * 100_000, b"\x00" * (10 * MB)],
    ids=["password of 1 MB", "one byte too many", "100,000 levels", "10 MB"],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_body_that_is_too_large_is_413(
    client: httpx.Client, ada: SignedIn, operation: Operation, body: bytes, chunked: bool
) -> None:
    """More than 64 KiB are refused, announced or not, before anything costly (R67, R74)."""
    content = (body[start : start + 65536] for start in range(0, len(body), 65536)) if chunked else body
    answer = send(client, operation, ada, content)
    expect_refused(answer)
    assert answer.status_code == 413


@pytest.mark.parametrize("operation", WITH_BODY, ids=name_of)
@pytest.mark.parametrize(
    "media_type", ["application/x-www-form-urlencoded", "text/plain", "application/jsonp", "application/xml", ""]
)
def test_other_media_types_are_415(client: httpx.Client, ada: SignedIn, operation: Operation, media_type: str) -> None:
    """Only JSON is read at these endpoints, whatever the body holds (R63)."""
    answer = send(client, operation, ada, json.dumps(FIELDS[operation.path]).encode(), media_type)
    expect_refused(answer)
    assert answer.status_code == 415


@pytest.mark.parametrize("operation", WITHOUT_BODY, ids=name_of)
@pytest.mark.parametrize(
    "body", [b"{", b"\xff" * 1000, b"[" * 100_000, b"\x00" * (10 * MB)], ids=["broken", "binary", "deep", "10 MB"]
)
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_body_where_none_is_read_changes_nothing(
    client: httpx.Client, operation: Operation, body: bytes, chunked: bool
) -> None:
    """An endpoint that takes no body answers as if there were none."""
    path = operation.path.replace("{id}", "nobodys")
    content = (body[start : start + 65536] for start in range(0, len(body), 65536)) if chunked else body
    answer = client.request(operation.method, path, content=content, headers={"content-type": JSON})
    if operation.credential is None:
        assert answer.status_code == 200
    else:
        expect_problem(answer, 401, "invalid_client" if operation.credential == "client" else "missing_token")


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"99999999999999999999999", b"0x10", b"1, 2"])
def test_a_length_that_is_none_is_refused(server: Server, length: bytes) -> None:
    """A `Content-Length` that is no number, or no sensible one, gets a 4xx or a closed connection."""
    request = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %s\r\n\r\n{}"
    answer = raw(server, request % length)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("path", ["/sessions/%00", "/sessions/%ff%fe", "/sessions/" + "x" * 10_000, "/sessions/'%20OR%201=1--"])
def test_any_name_of_a_session_is_just_unknown(client: httpx.Client, ada: SignedIn, path: str) -> None:
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


FORGERIES = list(forgeries(f"{segment({'alg': 'ES256', 'kid': 'x', 'typ': 'at+jwt'})}.{segment({'exp': 1})}.AA"))


@pytest.mark.parametrize("operation", WITH_ACCESS, ids=name_of)
@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_access_tokens_are_refused_everywhere(
    client: httpx.Client, ada: SignedIn, operation: Operation, forgery: str
) -> None:
    """Every endpoint refuses every forgery with the one answer that says nothing about why (R12 to R24, T17 to T19)."""
    path = operation.path.replace("{id}", ada.sid)
    headers = {"authorization": f"Bearer {forgeries(ada.access)[forgery]}"}
    expect_problem(client.request(operation.method, path, headers=headers), 401, "invalid_token")


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_refresh_tokens_are_refused(server: Server, client: httpx.Client, ada: SignedIn, forgery: str) -> None:
    """No forgery renews or ends a session, by whatever way it comes (R12 to R24)."""
    token = forgeries(ada.refresh)[forgery]
    answer = client.post("/refresh", json={"refreshToken": token})
    assert (answer.status_code, answer.json()["code"]) in ((401, "invalid_token"), (422, "invalid_request"))
    cookie = {"cookie": f"handstamp-refresh={token}", "sec-fetch-site": "same-origin"}
    if not set(token) & set(' ",;'):
        expect_problem(client.post("/refresh", headers=cookie), 401, "invalid_token")
    assert session_row(server, ada.sid)["generation"] == 0


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_forged_tokens_sign_nobody_out(client: httpx.Client, ada: SignedIn, kind: str, forgery: str) -> None:
    """Signing out takes a forgery with the calm of any other rubbish, and ends nothing (R48)."""
    token = forgeries(getattr(ada, kind))[forgery]
    answers = [
        client.post("/logout", json={f"{kind}Token": token}),
        client.post("/logout", headers={"authorization": f"Bearer {token}"}),
    ]
    for answer in answers:
        expect_refused(answer, or_signed_out=True)
    assert profile(client, ada).status_code == 200


@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_one_bit_makes_it_another_token(server: Server, client: httpx.Client, ada: SignedIn, kind: str) -> None:
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


@pytest.mark.parametrize("operation", WITH_ACCESS, ids=name_of)
def test_a_refresh_token_is_no_access_token(client: httpx.Client, ada: SignedIn, operation: Operation) -> None:
    """Neither in the header nor in the access cookie does a refresh token open anything (R22, T19)."""
    path = operation.path.replace("{id}", ada.sid)
    cookie = {"cookie": f"handstamp-access={ada.refresh}", "sec-fetch-site": "same-origin"}
    for headers in ({"authorization": f"Bearer {ada.refresh}"}, cookie):
        expect_problem(client.request(operation.method, path, headers=headers), 401, "invalid_token")


def test_an_access_token_is_no_refresh_token(client: httpx.Client, ada: SignedIn) -> None:
    """Neither in the body nor in the refresh cookie does an access token renew anything (R22, T19)."""
    cookie = {"cookie": f"handstamp-refresh={ada.access}", "sec-fetch-site": "same-origin"}
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
def test_claims_that_do_not_hold_are_refused(
    client: httpx.Client, ada: SignedIn, mint: Mint, changes: dict[str, Any], code: str
) -> None:
    """Even with our own signature every claim must hold; only one that is right but for its time is called expired (R23)."""
    token = mint.access(ada.access, **changes)
    expect_problem(client.get("/profile", headers={"authorization": f"Bearer {token}"}), 401, code)


def test_two_authorization_headers_are_refused(client: httpx.Client, ada: SignedIn) -> None:
    """Two credentials are no credential, even if they are the same."""
    headers = [("authorization", ada.bearer["authorization"])] * 2
    expect_problem(client.get("/profile", headers=headers), 400, "invalid_request")


@pytest.mark.parametrize("scheme", ["Basic", "Digest", "DPoP", "Token", ""])
def test_other_schemes_are_no_token(client: httpx.Client, ada: SignedIn, scheme: str) -> None:
    """Only `Bearer` is read."""
    headers = {"authorization": f"{scheme} {ada.access}".strip()}
    expect_problem(client.get("/profile", headers=headers), 401, "missing_token")


@pytest.mark.parametrize("name", ["access_token", "accessToken", "token"])
def test_a_token_in_an_address_is_not_seen(client: httpx.Client, ada: SignedIn, name: str) -> None:
    """Tokens in addresses end up in logs, so none is taken from there (R44)."""
    expect_problem(client.get("/profile", params={name: ada.access}), 401, "missing_token")


def test_no_secret_stands_in_the_log(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """After all of this the log holds no token, no part of one that signs, and no password (R83)."""
    client.post("/refresh", json={"refreshToken": ada.access})
    client.get("/profile", headers={"authorization": f"Bearer {ada.refresh}"})
    lines = [line for line in server.log.read_text().splitlines() if line.startswith("{")]  # the greeting shows an example
    log = "\n".join(lines)
    assert "signed_in" in log
    for secret in (ada.access, ada.refresh, ada.access.rpartition(".")[2], ada.refresh.rpartition(".")[2], PASSWORD):
        assert secret not in log
