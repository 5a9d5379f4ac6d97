"""Tests of registration and sign-in over a real socket."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import httpx
import pytest

from tests.commands import run_command
from tests.integration.helpers import (
    client_of,
    cookies_by_kind,
    expect_ended,
    expect_problem,
    new_address,
    new_email,
    no_row_changes,
    profile,
    read_claims,
    refresh,
    row_counts,
    run_server,
    running,
    set_cookies,
    sign_in,
    sign_in_new_user,
    sign_up,
)
from tests.serving import PASSWORD, Server

pytestmark = pytest.mark.xdist_group("sign-in")
WRONG = "a sentence that ada never said"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server behind a local proxy, so that tests can choose the client's address."""
    with running(Server(tmp_path_factory.mktemp("sign-in"), TRUSTED_PROXIES="127.0.0.1")) as server:
        yield server


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Yield a client of a server without a trusted proxy and with closed registration."""
    with run_server(tmp_path_factory.mktemp("plain"), REGISTRATION="closed") as server, client_of(server) as client:
        yield client


def try_sign_in(client: httpx.Client, email: str, password: str = WRONG, address: str = "") -> httpx.Response:
    """Try to sign in from an address."""
    headers = {"x-forwarded-for": address} if address else {}
    return client.post("/login", json={"email": email, "password": password}, headers=headers)


# --- register


def test_registering_creates_an_account(client: httpx.Client) -> None:
    """Registration answers 201 with the account's public members and without its password."""
    email = new_email()
    answer = client.post("/register", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 201
    user = answer.json()["user"]
    assert answer.json().keys() == {"user"}
    assert user.keys() == {"id", "email", "emailVerified", "name", "roles", "createdAt"}
    assert (user["email"], user["emailVerified"], user["roles"]) == (email, False, [])
    assert user["createdAt"].endswith("Z")
    assert answer.headers["cache-control"] == "no-store"


def test_a_person_can_register_with_a_name(client: httpx.Client) -> None:
    """The name is stored in its normalised form, and the profile shows it."""
    email = new_email()
    answer = client.post("/register", json={"email": email, "password": PASSWORD, "name": "  Ada   Lovelace "})
    assert answer.json()["user"]["name"] == "Ada Lovelace"
    assert profile(client, sign_in(client, email)).json()["name"] == "Ada Lovelace"


def test_registering_starts_no_session(client: httpx.Client) -> None:
    """Registration starts no session: the answer has no token and no cookie."""
    answer = client.post("/register", json={"email": new_email(), "password": PASSWORD})
    assert set_cookies(answer) == {}
    assert "Token" not in answer.text


@pytest.mark.parametrize("spelling", [str, str.upper, str.title], ids=["the same", "upper case", "title case"])
def test_an_address_is_registered_once(client: httpx.Client, spelling: type[str]) -> None:
    """A second account for an address is refused, whatever its case (R11)."""
    email = sign_up(client)
    answer = client.post(
        "/register", json={"email": spelling(email), "password": PASSWORD}, headers={"x-forwarded-for": new_address()}
    )
    expect_problem(answer, 409, "account_exists")
    assert set_cookies(answer) == {}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, {"email", "password"}),
        ({"email": "grace@example.com"}, {"password"}),
        ({"password": PASSWORD}, {"email"}),
        ({"email": "nobody", "password": PASSWORD}, {"email"}),
        ({"email": "a@b@example.com", "password": PASSWORD}, {"email"}),
        ({"email": "grace@example.com\r\nBcc: all@example.com", "password": PASSWORD}, {"email"}),
        ({"email": "g" * 250 + "@example.com", "password": PASSWORD}, {"email"}),
        ({"email": "grace@example.com", "password": "x" * 14}, {"password"}),
        ({"email": "grace@example.com", "password": "passwordpassword"}, {"password"}),
        ({"email": "grace@example.com", "password": "grace@example.com"}, {"password"}),
        ({"email": "grace@example.com", "password": "a tab\tcannot be typed"}, {"password"}),
        ({"email": 1, "password": ["x"]}, {"email", "password"}),
        ({"email": None, "password": None}, {"email", "password"}),
        ({"email": "grace@example.com", "password": PASSWORD, "name": "Grace\r\nBcc: all@example.com"}, {"name"}),
        ({"email": "grace@example.com", "password": PASSWORD, "name": 1}, {"name"}),
        ({"email": "grace@example.com", "password": PASSWORD, "roles": ["admin"]}, {"roles"}),
        ({"email": "grace@example.com", "password": PASSWORD, "emailVerified": True}, {"emailVerified"}),
    ],
)
def test_each_invalid_field_is_named(server: Server, client: httpx.Client, fields: dict[str, object], wrong: set[str]) -> None:
    """Invalid fields are answered with 422 and a message for each. Users cannot give themselves roles."""
    with no_row_changes(server):
        problem = expect_problem(client.post("/register", json=fields), 422, "invalid_request")
    assert {field["name"] for field in problem["fields"]} == wrong
    assert all(field["problem"] for field in problem["fields"])
    assert PASSWORD not in str(problem)


def test_closed_registration_is_404(plain: httpx.Client) -> None:
    """With closed registration, a valid request is answered with 404."""
    expect_problem(plain.post("/register", json={"email": new_email(), "password": PASSWORD}), 404, "not_found")


@pytest.mark.parametrize("length", [15, 16, 64, 255, 256])
def test_passwords_of_every_allowed_length_sign_in(client: httpx.Client, length: int) -> None:
    """Passwords of 15 to 256 characters are accepted, including spaces, and none is truncated (R67)."""
    words = "where the river bends i once lost a red kite, and nobody but me remembers its name: "
    password = "".join(f"{number} {words}" for number in range(4))[:length]
    email = sign_up(client, password=password)
    assert sign_in(client, email, password=password).access
    expect_problem(try_sign_in(client, email, password[:-1], new_address()), 401, "invalid_credentials")


@pytest.mark.parametrize("password", ["brief and bad!", "x y" * 86, "a quiet otter " * 19], ids=["14", "258", "266"])
def test_passwords_of_other_lengths_cannot_be_chosen(client: httpx.Client, password: str) -> None:
    """Passwords with fewer than 15 or more than 256 characters are refused (R67)."""
    problem = expect_problem(client.post("/register", json={"email": new_email(), "password": password}), 422, "invalid_request")
    assert [field["name"] for field in problem["fields"]] == ["password"]


@pytest.mark.parametrize("sign", ["é", "😀"], ids=["two bytes", "four bytes"])
def test_length_counts_characters_not_bytes(client: httpx.Client, sign: str) -> None:
    """The length bounds count code points, not bytes: 256 emoji are accepted and 257 refused (R67)."""
    password = "".join(f"{chr(ord(sign) + number % 50)}" for number in (7 * n * n + n for n in range(256)))
    email = sign_up(client, password=password)
    assert sign_in(client, email, password=password).access
    expect_problem(client.post("/register", json={"email": new_email(), "password": password + sign}), 422, "invalid_request")


def test_unicode_forms_of_a_password_are_equal(client: httpx.Client) -> None:
    """The NFC and NFD forms of a password are the same password, because keyboards compose accents differently (R67)."""
    password = "le café était déjà fermé"
    composed, decomposed = (unicodedata.normalize(form, password) for form in ("NFC", "NFD"))
    assert composed != decomposed
    email = sign_up(client, password=decomposed)
    assert sign_in(client, email, password=composed).access
    assert sign_in(client, email, password=decomposed).access


# --- sign in


def test_each_sign_in_is_a_new_session(client: httpx.Client) -> None:
    """Two sign-ins create two sessions without a common token, and the first stays active (T15)."""
    email = sign_up(client)
    first, second = sign_in(client, email), sign_in(client, email)
    assert first.sid != second.sid
    assert {first.access, first.refresh}.isdisjoint({second.access, second.refresh})
    assert profile(client, first).status_code == profile(client, second).status_code == 200


def test_the_token_answer_says_what_the_tokens_say(client: httpx.Client) -> None:
    """`expiresIn`, `refreshExpiresIn` and `sessionId` equal the claims of the tokens, in whole seconds (R45)."""
    answer = client.post("/login", json={"email": sign_up(client), "password": PASSWORD})
    body = answer.json()
    assert body.keys() == {"accessToken", "tokenType", "expiresIn", "refreshToken", "refreshExpiresIn", "sessionId"}
    assert body["tokenType"] == "Bearer"
    access, renewal = read_claims(body["accessToken"]), read_claims(body["refreshToken"])
    assert body["expiresIn"] == access["exp"] - access["iat"] == 900
    assert body["refreshExpiresIn"] == renewal["exp"] - renewal["iat"] == 14 * 86400
    assert body["sessionId"] == access["sid"] == renewal["sid"]
    assert answer.headers["cache-control"] == "no-store"


def test_tokens_hold_the_promised_claims_and_no_address(server: Server, client: httpx.Client) -> None:
    """The tokens have exactly the promised claims, and none of them identifies the person (R2, R3, R4, R6, R8)."""
    answer = client.post("/login", json={"email": sign_up(client), "password": PASSWORD}).json()
    access, renewal = read_claims(answer["accessToken"]), read_claims(answer["refreshToken"])
    assert access.keys() == {"iss", "aud", "sub", "client_id", "iat", "exp", "jti", "sid", "auth_time", "acr", "amr"}
    assert renewal.keys() == {"iss", "aud", "sub", "sid", "gen", "iat", "exp"}
    assert access["iss"] == renewal["iss"] == renewal["aud"] == server.url
    assert access["sub"] == renewal["sub"]
    assert renewal["gen"] == 0


def test_an_address_signs_in_in_any_case(client: httpx.Client) -> None:
    """The email address is not case-sensitive at sign-in."""
    email = sign_up(client)
    assert sign_in(client, email.upper()).access


@pytest.mark.parametrize(
    ("sent_by", "delivery"),
    [
        ({}, "json"),
        ({"sec-fetch-site": "same-origin"}, "split"),
        ({"sec-fetch-site": "none"}, "split"),
        ({"origin": "own"}, "split"),
        ({"origin": "own", "sec-fetch-site": "same-origin"}, "split"),
        ({"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}, "json"),
    ],
)
def test_the_default_delivery_depends_on_the_client(
    server: Server, client: httpx.Client, sent_by: dict[str, str], delivery: str
) -> None:
    """Without a named delivery, a browser gets its refresh token in a cookie. Other clients get both tokens as JSON."""
    headers = {name: server.url if value == "own" else value for name, value in sent_by.items()}
    answer = client.post("/login", json={"email": sign_up(client), "password": PASSWORD}, headers=headers)
    assert answer.status_code == 200
    assert ("refreshToken" in answer.json()) == (delivery == "json")
    assert set(cookies_by_kind(answer)) == (set() if delivery == "json" else {"refresh"})
    listed = client.get("/sessions", headers={"authorization": f"Bearer {answer.json()['accessToken']}"}).json()["sessions"]
    assert [entry["delivery"] for entry in listed] == [delivery]


@pytest.mark.parametrize("delivery", ["json", "split", "cookie"])
@pytest.mark.parametrize("sent_by", ["sec-fetch-site", "origin"])
def test_a_browser_may_name_its_delivery(server: Server, client: httpx.Client, delivery: str, sent_by: str) -> None:
    """A browser gets the delivery that it names."""
    headers = {sent_by: server.url if sent_by == "origin" else "same-origin"}
    answer = client.post("/login", json={"email": sign_up(client), "password": PASSWORD, "delivery": delivery}, headers=headers)
    names = {"json": set(), "split": {"refresh"}, "cookie": {"refresh", "access"}}[delivery]
    assert set(cookies_by_kind(answer)) == names
    assert ("accessToken" in answer.json()) == (delivery != "cookie")
    assert ("refreshToken" in answer.json()) == (delivery == "json")


@pytest.mark.parametrize("delivery", ["split", "cookie"])
def test_a_program_gets_no_delivery_that_it_could_never_use(client: httpx.Client, server: Server, delivery: str) -> None:
    """Without `Origin` and `Sec-Fetch-Site` every later request with the cookie would be refused. No session begins."""
    email = sign_up(client)
    before = (row_counts(server)["session"], row_counts(server)["account"])
    answer = client.post("/login", json={"email": email, "password": PASSWORD, "delivery": delivery})
    (field,) = expect_problem(answer, 422, "invalid_request")["fields"]
    assert field["name"] == "delivery"
    assert '"json"' in field["problem"]
    for path, address in (("/sign-in", email), ("/create-account", new_email())):
        page = client.post(path, data={"email": address, "password": PASSWORD, "delivery": delivery})
        assert (page.status_code, "POST /login" in page.text) == (400, True)
    assert (row_counts(server)["session"], row_counts(server)["account"]) == before
    assert "refreshToken" in client.post("/login", json={"email": email, "password": PASSWORD, "delivery": "json"}).json()


@pytest.mark.parametrize("delivery", ["", "cookies", "JSON", 1, ["json"]])
def test_an_unknown_delivery_is_refused(client: httpx.Client, delivery: object) -> None:
    """A delivery other than the three is reported as an invalid field."""
    answer = client.post("/login", json={"email": new_email(), "password": PASSWORD, "delivery": delivery})
    assert [field["name"] for field in expect_problem(answer, 422, "invalid_request")["fields"]] == ["delivery"]


@pytest.mark.parametrize("presented", ["split", "cookie"])
@pytest.mark.parametrize("delivery", ["json", "split", "cookie"])
def test_signing_in_ends_the_session_in_the_cookies(client: httpx.Client, presented: str, delivery: str) -> None:
    """A sign-in ends the session whose cookies came with the request, so that no unused session is left (T15)."""
    before = sign_in_new_user(client, delivery=presented)
    answer = client.post(
        "/login", json={"email": before.email, "password": PASSWORD, "delivery": delivery}, headers=before.cookies
    )
    assert answer.status_code == 200
    expect_ended(profile(client, before), "logout")
    expect_ended(refresh(client, before), "logout")
    kept = {"json": set(), "split": {"refresh"}, "cookie": {"refresh", "access"}}[delivery]
    assert {name for name, cookie in cookies_by_kind(answer).items() if cookie.value} == kept
    assert {name for name, cookie in cookies_by_kind(answer).items() if not cookie.value} == {"refresh", "access"} - kept


def test_another_persons_session_in_the_cookies_ends_too(client: httpx.Client) -> None:
    """On a shared browser, a sign-in ends the previous person's session (T15)."""
    before, email = sign_in_new_user(client, delivery="cookie"), sign_up(client)
    answer = client.post("/login", json={"email": email, "password": PASSWORD, "delivery": "cookie"}, headers=before.cookies)
    assert answer.status_code == 200
    expect_ended(refresh(client, before), "logout")


def test_a_wrong_password_ends_nothing(client: httpx.Client) -> None:
    """A failed sign-in does not end the session whose cookies came with it."""
    before = sign_in_new_user(client, delivery="cookie")
    answer = client.post(
        "/login", json={"email": before.email, "password": WRONG}, headers=before.cookies | {"x-forwarded-for": new_address()}
    )
    expect_problem(answer, 401, "invalid_credentials")
    assert set_cookies(answer) == {}
    assert profile(client, before).status_code == 200
    assert refresh(client, before).status_code == 200


@pytest.mark.parametrize("member", ["sessionId", "sid", "session", "accessToken"])
def test_a_client_cannot_choose_its_session(client: httpx.Client, member: str) -> None:
    """Session fixation is impossible: sign-in refuses every field that names a session (T15)."""
    body = {"email": new_email(), "password": PASSWORD, member: "chosen-by-somebody"}
    expect_problem(client.post("/login", json=body), 422, "invalid_request")


# --- one answer for every refused sign-in


def test_unknown_wrong_and_disabled_get_the_same_answer(server: Server, client: httpx.Client) -> None:
    """Unknown addresses, wrong passwords and disabled accounts get the same answer (R72, T24).

    Only the request id and the date differ.
    """
    known, disabled = sign_up(client), sign_up(client)
    done = run_command(server.folder, "users", "disable", disabled, ISSUER=server.url)
    assert done.returncode == 0, done.stderr
    address = new_address()
    answers = [
        try_sign_in(client, known, WRONG, address),
        try_sign_in(client, new_email("nobody"), PASSWORD, address),
        try_sign_in(client, disabled, PASSWORD, address),
        try_sign_in(client, disabled, WRONG, address),
    ]
    ids = [expect_problem(answer, 401, "invalid_credentials")["instance"] for answer in answers]
    bodies = {answer.content.replace(name.encode(), b"") for answer, name in zip(answers, ids, strict=True)}
    own = {"date", "x-request-id"}
    headers = {tuple((key, value) for key, value in answer.headers.items() if key not in own) for answer in answers}
    assert (len(bodies), len(headers), len(set(ids))) == (1, 1, 4)
    assert answers[0].headers["www-authenticate"] == "Bearer"


# --- throttling


def test_the_sixth_attempt_after_five_failures_must_wait(client: httpx.Client) -> None:
    """After five failures for one address from one network, even the right password gets 429 (R71)."""
    email, address = sign_up(client), new_address()
    for _ in range(5):
        expect_problem(try_sign_in(client, email, WRONG, address), 401, "invalid_credentials")
    answer = try_sign_in(client, email, PASSWORD, address)
    expect_problem(answer, 429, "too_many_attempts")
    assert 25 <= int(answer.headers["retry-after"]) <= 30
    assert set_cookies(answer) == {}


def test_unknown_addresses_are_throttled_equally(client: httpx.Client) -> None:
    """An unknown address is throttled in the same way, so the limit does not reveal accounts (T24)."""
    email, address = new_email("nobody"), new_address()
    for _ in range(5):
        expect_problem(try_sign_in(client, email, WRONG, address), 401, "invalid_credentials")
    expect_problem(try_sign_in(client, email, WRONG, address), 429, "too_many_attempts")


def test_a_stranger_does_not_lock_the_owner_out(client: httpx.Client) -> None:
    """Failures from one network do not throttle the same account from another network (R71)."""
    email, stranger = sign_up(client), new_address()
    for _ in range(5):
        try_sign_in(client, email, WRONG, stranger)
    expect_problem(try_sign_in(client, email, PASSWORD, stranger), 429, "too_many_attempts")
    assert try_sign_in(client, email, PASSWORD, new_address()).status_code == 200


def test_failures_count_for_the_pair_not_for_the_network_alone(client: httpx.Client) -> None:
    """Failures for one account do not throttle other accounts on the same network (R71)."""
    forgetful, colleague, office = sign_up(client), sign_up(client), new_address()
    for _ in range(5):
        try_sign_in(client, forgetful, WRONG, office)
    expect_problem(try_sign_in(client, forgetful, PASSWORD, office), 429, "too_many_attempts")
    assert try_sign_in(client, colleague, PASSWORD, office).status_code == 200


def test_one_ipv6_network_counts_as_one_client(client: httpx.Client) -> None:
    """All addresses of one IPv6 /64 share one limit (R71)."""
    email = sign_up(client)
    for number in range(5):
        try_sign_in(client, email, WRONG, f"2001:db8:5:6::{number + 1}")
    expect_problem(try_sign_in(client, email, PASSWORD, "2001:db8:5:6:7:8:9:a"), 429, "too_many_attempts")
    assert try_sign_in(client, email, PASSWORD, "2001:db8:5:7::1").status_code == 200


def test_a_success_resets_the_failures(client: httpx.Client) -> None:
    """A successful sign-in resets the count of failures."""
    email, address = sign_up(client), new_address()
    for _ in range(2):
        for _ in range(4):
            expect_problem(try_sign_in(client, email, WRONG, address), 401, "invalid_credentials")
        assert try_sign_in(client, email, PASSWORD, address).status_code == 200


def test_x_forwarded_for_is_ignored_without_a_trusted_proxy(plain: httpx.Client) -> None:
    """Without a trusted proxy, a spoofed `X-Forwarded-For` does not bypass the limit (R75)."""
    email = new_email("nobody")
    for _ in range(5):
        expect_problem(try_sign_in(plain, email, WRONG, new_address()), 401, "invalid_credentials")
    expect_problem(try_sign_in(plain, email, WRONG, new_address()), 429, "too_many_attempts")


def test_only_the_address_that_the_proxy_added_counts(client: httpx.Client) -> None:
    """Only the entry that the trusted proxy appended counts; entries sent by the client are ignored (R75)."""
    email, address = sign_up(client), new_address()
    for _ in range(5):
        try_sign_in(client, email, WRONG, f"{new_address()}, {address}")
    expect_problem(try_sign_in(client, email, PASSWORD, f"{new_address()}, {address}"), 429, "too_many_attempts")


def test_the_list_of_sessions_shows_where_each_came_from(client: httpx.Client) -> None:
    """The list of sessions shows the address from the proxy and a sanitised, truncated user agent (R75, R84)."""
    email, address = sign_up(client), new_address()
    answer = client.post(
        "/login",
        json={"email": email, "password": PASSWORD},
        headers=[(b"x-forwarded-for", address.encode()), (b"user-agent", b"ada's phone\t\x9b" + b"x" * 1000)],
    )
    bearer = {"authorization": f"Bearer {answer.json()['accessToken']}"}
    (entry,) = client.get("/sessions", headers=bearer).json()["sessions"]
    assert entry["ip"] == address
    assert entry["userAgent"] == ("ada's phone" + "x" * 1000)[:256]
