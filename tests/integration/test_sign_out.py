"""Tests of sign-out over a real socket: it always succeeds and takes effect before the next request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.commands import run_command
from tests.integration.helpers import (
    Mint,
    SignedIn,
    change_session,
    cookies_by_kind,
    event_kinds,
    expect_ended,
    expect_problem,
    no_row_changes,
    profile,
    refresh,
    send_raw,
    session_row,
    set_cookies,
    sign_in,
    sign_in_new_user,
    sign_up,
)
from tests.serving import PASSWORD, Server, cookie_name

pytestmark = pytest.mark.xdist_group("sign-out")
DELIVERIES = ["json", "split", "cookie"]
NEW_PASSWORD = "another kelp lantern rivet of the tests"
BOTH = {"refresh", "access"}


def expect_cleared(answer: httpx.Response) -> None:
    """Assert that an answer is 204 and deletes both cookies."""
    assert (answer.status_code, answer.content) == (204, b""), answer.text
    assert {name: cookie.value for name, cookie in cookies_by_kind(answer).items()} == dict.fromkeys(BOTH, "")


def expect_session_ended(client: httpx.Client, signed_in: SignedIn, reason: str) -> None:
    """Assert that both tokens of a session are refused for this reason."""
    expect_ended(profile(client, signed_in), reason)
    expect_ended(refresh(client, signed_in), reason)


# --- one session


WAYS: dict[str, Callable[[SignedIn, Mint], dict[str, Any]]] = {
    "access token": lambda one, _: {"headers": one.bearer},
    "access token in the body": lambda one, _: {"json": {"accessToken": one.access}},
    "access token that is over": lambda one, mint: {"headers": {"authorization": f"Bearer {mint.expired_access(one.access)}"}},
    "access token in lower-case bearer": lambda one, _: {"headers": {"authorization": f"bearer {one.access}"}},
    "refresh token in the body": lambda one, _: {"json": {"refreshToken": one.refresh}},
    "refresh token as bearer": lambda one, _: {"headers": {"authorization": f"Bearer {one.refresh}"}},
    "refresh token that is over": lambda one, mint: {
        "json": {"refreshToken": mint.refresh(one.refresh, iat=1_700_000_000, exp=1_700_000_001)}
    },
    "both in the body": lambda one, _: {"json": {"refreshToken": one.refresh, "accessToken": one.access}},
    "rubbish beside it": lambda one, _: {"headers": one.bearer, "json": {"refreshToken": "rubbish"}},
}


@pytest.mark.parametrize("way", WAYS)
def test_signing_out_twice_with_any_token_succeeds(client: httpx.Client, mint: Mint, way: str) -> None:
    """Any token of a session signs it out: 204, effective at once, and 204 again (R47, R48, T12)."""
    signed_in = sign_in_new_user(client)
    expect_cleared(client.post("/logout", **WAYS[way](signed_in, mint)))
    expect_session_ended(client, signed_in, "logout")
    expect_cleared(client.post("/logout", **WAYS[way](signed_in, mint)))
    expect_session_ended(client, signed_in, "logout")


@pytest.mark.parametrize("delivery", ["split", "cookie"])
def test_signing_out_twice_with_cookies_succeeds(client: httpx.Client, delivery: str) -> None:
    """A browser's cookies sign the session out and are deleted each time (R48)."""
    signed_in = sign_in_new_user(client, delivery=delivery)
    for _ in range(2):
        expect_cleared(client.post("/logout", headers=signed_in.cookies))
        expect_session_ended(client, signed_in, "logout")


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_token_that_was_rotated_away_signs_out(server: Server, client: httpx.Client, delivery: str) -> None:
    """A superseded refresh token signs the session out and raises no reuse alarm (T12)."""
    chain = [sign_in_new_user(client, delivery=delivery)]
    for _ in range(3):
        chain.append(chain[-1].after(refresh(client, chain[-1])))
    oldest = chain[0]
    request: dict[str, Any] = {"json": {"refreshToken": oldest.refresh}} if delivery == "json" else {"headers": oldest.cookies}
    for _ in range(2):
        expect_cleared(client.post("/logout", **request))
    for holder in chain:
        expect_session_ended(client, holder, "logout")
    assert "reuse_detected" not in event_kinds(server, oldest.sid)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"json": {}},
        {"headers": {"authorization": "Bearer rubbish"}},
        {"headers": {"authorization": "Bearer a.b.c"}},
        {"headers": {"authorization": "Basic YWRhOnBhc3N3b3Jk"}},
        {"headers": {"authorization": "rubbish"}},
        {"json": {"refreshToken": "rubbish"}},
        {"json": {"refreshToken": ""}},
        {"json": {"accessToken": "\x00", "refreshToken": "é" * 100}},
        {"headers": {"cookie": "{refresh}=rubbish; {access}=", "sec-fetch-site": "same-origin"}},
    ],
)
def test_missing_and_malformed_tokens_end_no_session(server: Server, client: httpx.Client, request_: dict[str, Any]) -> None:
    """A sign-out without a valid token changes nothing and answers 204, also when repeated (R48, T12)."""
    names = {kind: cookie_name(kind, server.url) for kind in BOTH}
    headers = {name: value.format(**names) for name, value in request_.get("headers", {}).items()}
    with no_row_changes(server):
        for _ in range(2):
            expect_cleared(client.post("/logout", headers=headers, json=request_.get("json")))


@pytest.mark.parametrize("header", [b"Bearer", b"Bearer ", b"bearer"])
def test_an_empty_bearer_ends_no_session(server: Server, header: bytes) -> None:
    """`Authorization: Bearer` without a token is ignored; sign-out never answers 401 (T12)."""
    request = b"POST /logout HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert send_raw(server, request % header).startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize(
    "changes", [{"iss": "https://other.example"}, {"aud": "https://other.example"}], ids=["other issuer", "other audience"]
)
def test_a_foreign_token_ends_nothing(client: httpx.Client, mint: Mint, changes: dict[str, str]) -> None:
    """Tokens of another issuer or for another audience end no session (R6)."""
    signed_in = sign_in_new_user(client)
    for body in (
        {"refreshToken": mint.refresh(signed_in.refresh, **changes)},
        {"accessToken": mint.access(signed_in.access, **changes)},
    ):
        assert client.post("/logout", json=body).status_code == 204
    assert profile(client, signed_in).status_code == 200


def test_tokens_of_two_sessions_end_both(client: httpx.Client) -> None:
    """The access token of one session and the refresh token of another end both sessions (T13)."""
    first, second = sign_in_new_user(client), sign_in_new_user(client)
    expect_cleared(client.post("/logout", headers=first.bearer, json={"refreshToken": second.refresh}))
    expect_session_ended(client, first, "logout")
    expect_session_ended(client, second, "logout")


def test_two_authorization_headers_end_both(client: httpx.Client) -> None:
    """A sign-out with two `Authorization` headers ends both sessions (T12, T13)."""
    first, second = sign_in_new_user(client), sign_in_new_user(client)
    expect_cleared(client.post("/logout", headers=[*first.bearer.items(), *second.bearer.items()]))
    expect_session_ended(client, first, "logout")
    expect_session_ended(client, second, "logout")


def test_cookies_and_header_of_two_sessions_end_both(client: httpx.Client) -> None:
    """The cookies of one session and the bearer token of another end both sessions (T13)."""
    first, second = sign_in_new_user(client, delivery="cookie"), sign_in_new_user(client)
    expect_cleared(client.post("/logout", headers=first.cookies | second.bearer))
    expect_session_ended(client, first, "logout")
    expect_session_ended(client, second, "logout")


def test_signing_out_ends_this_session_alone(client: httpx.Client) -> None:
    """A sign-out does not end the person's other sessions."""
    email = sign_up(client)
    phone, laptop = sign_in(client, email), sign_in(client, email)
    assert client.post("/logout", headers=phone.bearer).status_code == 204
    assert profile(client, laptop).status_code == 200


# --- all sessions of a person


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_signing_out_everywhere_ends_every_session(client: httpx.Client, delivery: str) -> None:
    """Sign-out everywhere ends all sessions of the person, including the current one, and no others (R51)."""
    email, stranger = sign_up(client), sign_in_new_user(client)
    others = [sign_in(client, email, delivery=kind) for kind in DELIVERIES]
    this = sign_in(client, email, delivery=delivery)
    answer = client.post("/logout-everywhere", headers=this.headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert set(cookies_by_kind(answer)) == (set() if delivery == "json" else BOTH)
    for signed_in in (*others, this):
        expect_session_ended(client, signed_in, "logout_everywhere")
    assert profile(client, stranger).status_code == 200


def test_signing_in_in_the_same_second_as_signing_out_everywhere_works(client: httpx.Client) -> None:
    """Sign-out everywhere ends sessions, not all tokens issued before a time. A sign-in in the same second is valid (T21)."""
    before = sign_in_new_user(client)
    assert client.post("/logout-everywhere", headers=before.bearer).status_code == 204
    after = sign_in(client, before.email)
    assert profile(client, after).status_code == 200
    assert refresh(client, after).status_code == 200
    expect_session_ended(client, before, "logout_everywhere")


def test_signing_out_everywhere_requires_a_valid_access_token(client: httpx.Client, mint: Mint) -> None:
    """Sign-out everywhere requires a valid access token; an expired one or a refresh token is refused."""
    signed_in = sign_in_new_user(client)
    expired = {"authorization": f"Bearer {mint.expired_access(signed_in.access)}"}
    expect_problem(client.post("/logout-everywhere"), 401, "missing_token")
    expect_problem(client.post("/logout-everywhere", headers=expired), 401, "expired_token")
    expect_problem(
        client.post("/logout-everywhere", headers={"authorization": f"Bearer {signed_in.refresh}"}), 401, "invalid_token"
    )
    assert profile(client, signed_in).status_code == 200


# --- the list of sessions


def test_the_list_shows_the_living_sessions_last_seen_first(client: httpx.Client) -> None:
    """The list shows the person's active sessions, last seen first, and marks the current one (R51)."""
    email = sign_up(client)
    first, second, third = (sign_in(client, email, delivery=delivery) for delivery in DELIVERIES)
    gone = sign_in(client, email)
    assert client.post("/logout", headers=gone.bearer).status_code == 204
    first = first.after(refresh(client, first))
    answer = client.get("/sessions", headers=second.headers)
    assert answer.headers["cache-control"] == "no-store"
    listed = answer.json()["sessions"]
    assert [entry["id"] for entry in listed] == [first.sid, third.sid, second.sid]
    assert [entry["current"] for entry in listed] == [False, False, True]
    assert [entry["delivery"] for entry in listed] == ["json", "cookie", "split"]
    for entry in listed:
        assert entry.keys() == {"id", "current", "createdAt", "seenAt", "expiresAt", "userAgent", "ip", "delivery", "bound"}
        assert entry["createdAt"] <= entry["seenAt"] < entry["expiresAt"]


def test_the_profile_shows_account_and_session(client: httpx.Client) -> None:
    """`/profile` returns the person and the session for every delivery."""
    for delivery in DELIVERIES:
        signed_in = sign_in_new_user(client, delivery=delivery)
        body = profile(client, signed_in).json()
        assert body.keys() == {"id", "email", "emailVerified", "name", "language", "roles", "createdAt", "session"}
        assert body["session"].keys() == {"id", "createdAt", "authenticatedAt", "expiresAt"}
        assert (body["email"], body["session"]["id"]) == (signed_in.email, signed_in.sid)


def test_the_list_shows_only_own_sessions(client: httpx.Client) -> None:
    """The list shows only the person's own sessions."""
    ada, grace = sign_in_new_user(client), sign_in_new_user(client)
    listed = client.get("/sessions", headers=ada.headers).json()["sessions"]
    assert grace.sid not in [entry["id"] for entry in listed]
    assert len(listed) == 1


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_ending_another_session_of_ones_own(client: httpx.Client, delivery: str) -> None:
    """A person can end another of their sessions. The cookies of the current one stay (R51)."""
    email = sign_up(client)
    phone, laptop = sign_in(client, email), sign_in(client, email, delivery=delivery)
    answer = client.delete(f"/sessions/{phone.sid}", headers=laptop.headers)
    assert (answer.status_code, answer.content, set_cookies(answer)) == (204, b"", {})
    expect_session_ended(client, phone, "logout")
    assert profile(client, laptop).status_code == 200
    again = client.delete(f"/sessions/{phone.sid}", headers=laptop.headers)
    assert (again.status_code, set_cookies(again)) == (204, {})


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_ending_this_session(client: httpx.Client, delivery: str) -> None:
    """Ending the current session is a sign-out and deletes its cookies."""
    signed_in = sign_in_new_user(client, delivery=delivery)
    answer = client.delete(f"/sessions/{signed_in.sid}", headers=signed_in.headers)
    assert answer.status_code == 204
    assert set(cookies_by_kind(answer)) == (set() if delivery == "json" else BOTH)
    expect_session_ended(client, signed_in, "logout")


def test_another_users_session_is_404(client: httpx.Client) -> None:
    """Another person's session gets the same 404 as an unknown session, and it stays active."""
    ada, grace = sign_in_new_user(client), sign_in_new_user(client)
    answers = [client.delete(f"/sessions/{sid}", headers=ada.headers) for sid in (grace.sid, "0" * 22, "%00", "x" * 4000)]
    problems = [expect_problem(answer, 404, "not_found") for answer in answers]
    assert len({str({key: problem[key] for key in problem if key != "instance"}) for problem in problems}) == 1
    assert profile(client, grace).status_code == 200


# --- password and account


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_new_password_ends_every_other_session_and_replaces_this_one(client: httpx.Client, delivery: str) -> None:
    """A password change ends all sessions and starts a new one with the same delivery (R52, T23)."""
    email = sign_up(client)
    other, this = sign_in(client, email), sign_in(client, email, delivery=delivery)
    body = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
    answer = client.post("/password", json=body, headers=this.headers)
    after = this.after(answer)
    assert after.sid not in (this.sid, other.sid)
    assert ("refreshToken" in answer.json()) == (delivery == "json")
    assert profile(client, after).status_code == 200
    assert refresh(client, after).status_code == 200
    expect_session_ended(client, other, "password_changed")
    expect_session_ended(client, this, "password_changed")
    expect_problem(client.post("/login", json={"email": email, "password": PASSWORD}), 401, "invalid_credentials")
    assert sign_in(client, email, password=NEW_PASSWORD).access


def test_sessions_started_right_after_a_password_change_are_active(client: httpx.Client) -> None:
    """Sign-ins in the same second as the password change belong to the new epoch and are valid (T21)."""
    this = sign_in_new_user(client)
    after = this.after(
        client.post("/password", json={"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}, headers=this.bearer)
    )
    fresh = sign_in(client, this.email, password=NEW_PASSWORD)
    assert profile(client, after).status_code == profile(client, fresh).status_code == 200
    assert refresh(client, after).status_code == refresh(client, fresh).status_code == 200


def test_a_session_of_an_older_epoch_has_ended(server: Server, client: httpx.Client) -> None:
    """A session of an older epoch is refused even if its own row is not revoked (T23).

    A sign-in that overlaps the change can leave such a row.
    """
    signed_in = sign_in_new_user(client)
    assert session_row(server, signed_in.sid)["epoch"] == 0
    left_behind = sign_in(client, signed_in.email)
    assert client.post("/logout-everywhere", headers=signed_in.bearer).status_code == 204
    change_session(server, left_behind.sid, revoked_at_ms=None, revoked_why=None)
    expect_session_ended(client, left_behind, "logout_everywhere")


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_the_current_password_must_be_right(client: httpx.Client, delivery: str) -> None:
    """A password change with a wrong current password is refused and changes nothing (R69)."""
    signed_in = sign_in_new_user(client, delivery=delivery)
    body = {"currentPassword": "not the sentence ada says", "newPassword": NEW_PASSWORD}
    answer = client.post("/password", json=body, headers=signed_in.headers)
    expect_problem(answer, 401, "invalid_credentials")
    assert set_cookies(answer) == {}
    assert profile(client, signed_in).status_code == 200
    assert sign_in(client, signed_in.email).access


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, {"newPassword"}),
        ({"newPassword": NEW_PASSWORD}, {"currentPassword"}),
        ({"currentPassword": PASSWORD}, {"newPassword"}),
        ({"currentPassword": PASSWORD, "newPassword": "brief"}, {"newPassword"}),
        ({"currentPassword": PASSWORD, "newPassword": "passwordpassword"}, {"newPassword"}),
        ({"currentPassword": "", "newPassword": NEW_PASSWORD}, {"currentPassword"}),
        ({"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD, "email": "a@example.com"}, {"email"}),
    ],
)
def test_wrong_fields_change_no_password(client: httpx.Client, fields: dict[str, str], wrong: set[str]) -> None:
    """Each invalid field is named, and the session stays active."""
    signed_in = sign_in_new_user(client)
    problem = expect_problem(client.post("/password", json=fields, headers=signed_in.bearer), 422, "invalid_request")
    assert {field["name"] for field in problem["fields"]} == wrong
    assert profile(client, signed_in).status_code == 200


def test_guessing_the_current_password_is_limited(client: httpx.Client) -> None:
    """After five wrong current passwords the sixth attempt gets 429; other endpoints are not affected (R71)."""
    signed_in = sign_in_new_user(client)
    body = {"currentPassword": "not the sentence ada says", "newPassword": NEW_PASSWORD}
    answers = [client.post("/password", json=body, headers=signed_in.bearer) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert profile(client, signed_in).status_code == 200


def test_disabling_an_account_ends_its_sessions_at_once(server: Server, client: httpx.Client) -> None:
    """`handstamp users disable` ends every session of the running service at once.

    `enable` restores none of them (R52, T22).
    """
    email = sign_up(client)
    sessions = [sign_in(client, email, delivery=delivery) for delivery in DELIVERIES]
    done = run_command(server.folder, "users", "disable", email, ISSUER=server.url)
    assert done.returncode == 0, done.stderr
    for signed_in in sessions:
        expect_session_ended(client, signed_in, "disabled")
    expect_problem(client.post("/login", json={"email": email, "password": PASSWORD}), 401, "invalid_credentials")
    done = run_command(server.folder, "users", "enable", email, ISSUER=server.url)
    assert done.returncode == 0, done.stderr
    for signed_in in sessions:
        expect_session_ended(client, signed_in, "disabled")
    assert profile(client, sign_in(client, email)).status_code == 200


def test_a_password_set_by_an_operator_ends_the_sessions(server: Server, client: httpx.Client) -> None:
    """`handstamp users set-password` ends all the person's sessions (R52)."""
    signed_in = sign_in_new_user(client)
    done = run_command(
        server.folder, "users", "set-password", signed_in.email, "--password-stdin", stdin=NEW_PASSWORD + "\n", ISSUER=server.url
    )
    assert done.returncode == 0, done.stderr
    expect_session_ended(client, signed_in, "password_changed")
    assert sign_in(client, signed_in.email, password=NEW_PASSWORD).access


@pytest.mark.parametrize("first", ["a", "-"], ids=["a letter first", "a dash first"])
def test_an_operator_ends_one_session(server: Server, client: httpx.Client, first: str) -> None:
    """`handstamp sessions end` ends any session, also one whose id begins with a dash, as one in 64 does (R51)."""
    signed_in = sign_in_new_user(client)
    sid = first + signed_in.sid[1:]
    change_session(server, signed_in.sid, id=sid)
    done = run_command(server.folder, "sessions", "end", sid, ISSUER=server.url)
    assert done.returncode == 0, done.stderr
    assert session_row(server, sid)["revoked_why"] == "admin"
