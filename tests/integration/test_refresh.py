"""Tests of the refresh over a real socket: rotation, safe retries and reuse detection."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.integration.helpers import (
    Mint,
    change_session,
    client_of,
    cookies_by_kind,
    event_kinds,
    expect_ended,
    expect_problem,
    profile,
    read_claims,
    refresh,
    refresh_concurrently,
    run_server,
    session_row,
    set_cookies,
    sign_in_new_user,
)
from tests.serving import Server

pytestmark = pytest.mark.xdist_group("refresh")
DELIVERIES = ["json", "split", "cookie"]
NAMES = {"json": set(), "split": {"refresh"}, "cookie": {"refresh", "access"}}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that follows RFC 9700 strictly: no grace period, no late retry and no catching up."""
    folder = tmp_path_factory.mktemp("strict")
    with run_server(folder, GRACE="0", RECOVERY_INTERVAL="off", CATCH_UP="false") as server:
        yield server


@pytest.fixture(scope="module")
def strict_client(strict: Server) -> Iterator[httpx.Client]:
    """Yield a client of the strict server."""
    with client_of(strict) as client:
        yield client


def age_rotation(server: Server, sid: str, seconds: int) -> None:
    """Move a session's last rotation into the past."""
    change_session(server, sid, rotated_at_ms=session_row(server, sid)["rotated_at_ms"] - 1000 * seconds)


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_renewing_replaces_both_tokens(client: httpx.Client, delivery: str) -> None:
    """A refresh returns a new pair of tokens by the session's delivery, and both are valid (R36)."""
    before = sign_in_new_user(client, delivery=delivery)
    answer = refresh(client, before)
    after = before.after(answer)
    assert after.sid == before.sid
    assert {after.access, after.refresh}.isdisjoint({before.access, before.refresh})
    assert profile(client, after).status_code == 200
    assert set(cookies_by_kind(answer)) == NAMES[delivery]
    assert refresh(client, after).status_code == 200


def test_repeated_renewals_use_one_row(server: Server, client: httpx.Client) -> None:
    """Fifty refreshes in sequence leave one row at generation fifty (R36, R90)."""
    signed_in = sign_in_new_user(client)
    seen = {signed_in.refresh}
    for generation in range(1, 51):
        signed_in = signed_in.after(refresh(client, signed_in))
        assert read_claims(signed_in.refresh)["gen"] == generation
        seen.add(signed_in.refresh)
    assert len(seen) == 51
    assert session_row(server, signed_in.sid)["generation"] == 50


def test_sign_in_claims_are_kept(client: httpx.Client) -> None:
    """A refresh keeps `auth_time`, `acr`, `amr`, `sub`, `sid` and `aud`; each access token has its own `jti` (R3)."""
    before = sign_in_new_user(client)
    first = read_claims(before.access)
    second = read_claims(before.after(refresh(client, before)).access)
    assert {name: first[name] for name in ("iss", "aud", "sub", "sid", "auth_time", "acr", "amr", "client_id")} == {
        name: second[name] for name in ("iss", "aud", "sub", "sid", "auth_time", "acr", "amr", "client_id")
    }
    assert first["jti"] != second["jti"]


def test_the_previous_access_token_stays_valid_after_a_renewal(client: httpx.Client) -> None:
    """The previous access token stays valid after a refresh, so that requests in progress succeed."""
    before = sign_in_new_user(client)
    assert refresh(client, before).status_code == 200
    assert profile(client, before).status_code == 200


# --- retries


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_retry_gets_the_same_refresh_token(server: Server, client: httpx.Client, delivery: str) -> None:
    """A client that retries after a lost answer gets the identical refresh token and a new access token (T1)."""
    before = sign_in_new_user(client, delivery=delivery)
    first, again = refresh(client, before), refresh(client, before)
    one, other = before.after(first), before.after(again)
    assert one.refresh == other.refresh
    assert one.access != other.access
    assert set(cookies_by_kind(again)) == NAMES[delivery]
    assert session_row(server, before.sid)["generation"] == 1
    assert profile(client, one).status_code == profile(client, other).status_code == 200
    assert refresh(client, other).status_code == 200


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_ten_tabs_at_once_get_one_refresh_token(server: Server, client: httpx.Client, delivery: str) -> None:
    """Ten concurrent refreshes return the same refresh token, and the session stays active (R38, T4, T5)."""
    before = sign_in_new_user(client, delivery=delivery)
    tabs = [before.after(answer) for answer in refresh_concurrently(client, before, 10)]
    assert len({tab.refresh for tab in tabs}) == 1
    assert len({tab.access for tab in tabs}) == 10
    assert session_row(server, before.sid)["generation"] == 1
    assert all(profile(client, tab).status_code == 200 for tab in tabs)
    assert refresh(client, tabs[0]).status_code == 200


def test_a_repeat_extends_nothing(server: Server, client: httpx.Client) -> None:
    """The grace period starts at the rotation; a repeat does not extend it (T2)."""
    before = sign_in_new_user(client)
    assert refresh(client, before).status_code == 200
    row = session_row(server, before.sid)
    assert refresh(client, before).status_code == 200
    assert session_row(server, before.sid) == row


def test_one_late_retry_is_answered_and_remembered(server: Server, client: httpx.Client) -> None:
    """One late retry is answered, hours after the rotation, and recorded (T1). A phone that was switched off sends one."""
    before = sign_in_new_user(client)
    after = before.after(refresh(client, before))
    age_rotation(server, before.sid, 3 * 3600)
    late = before.after(refresh(client, before))
    assert read_claims(late.refresh)["gen"] == read_claims(after.refresh)["gen"]
    assert session_row(server, before.sid)["recovered_at_ms"] is not None
    assert event_kinds(server, before.sid)[-1] == "recovered"
    assert refresh(client, late).status_code == 200


def test_a_second_late_retry_within_a_day_is_reuse(server: Server, client: httpx.Client) -> None:
    """A second late retry within a day counts as reuse, so that a thief cannot follow the owner undetected (T3)."""
    first = sign_in_new_user(client)
    second = first.after(refresh(client, first))
    age_rotation(server, first.sid, 3600)
    assert refresh(client, first).status_code == 200
    assert refresh(client, second).status_code == 200
    now_ms = int(time.time() * 1000)
    change_session(server, first.sid, rotated_at_ms=now_ms - 3_600_000, recovered_at_ms=now_ms - 7_200_000)
    expect_ended(refresh(client, second), "reuse")


# --- reuse


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("generations_ago", [2, 3, 4])
def test_an_ancestor_ends_the_session(server: Server, client: httpx.Client, generations_ago: int, delivery: str) -> None:
    """A refresh token two or more generations old counts as theft: all tokens of the session are refused (R9, R37, T3)."""
    chain = [sign_in_new_user(client, delivery=delivery)]
    while len(chain) < 5:
        chain.append(chain[-1].after(refresh(client, chain[-1])))
    current = chain[-1]
    answer = refresh(client, current, chain[-1 - generations_ago].refresh)
    expect_ended(answer, "reuse")
    assert set(cookies_by_kind(answer)) == (set() if delivery == "json" else NAMES["cookie"])
    for holder in chain:
        expect_ended(profile(client, holder), "reuse")
        expect_ended(refresh(client, holder), "reuse")
    assert event_kinds(server, current.sid)[-1] == "reuse_detected"


def test_reuse_ends_one_session_not_the_persons_others(client: httpx.Client) -> None:
    """Reuse ends only the affected session, not the person's other sessions (T26)."""
    stolen = sign_in_new_user(client)
    other = client.post("/login", json={"email": stolen.email, "password": "kelp lantern rivet 41 of the tests"}).json()
    chain = stolen
    for _ in range(2):
        chain = chain.after(refresh(client, chain))
    expect_ended(refresh(client, stolen), "reuse")
    assert client.get("/profile", headers={"authorization": f"Bearer {other['accessToken']}"}).status_code == 200


def test_an_ended_session_stays_ended_silently(server: Server, client: httpx.Client) -> None:
    """Reuse after the session has ended records no second alarm (T26)."""
    first = sign_in_new_user(client)
    second = first.after(refresh(client, first))
    assert refresh(client, second).status_code == 200
    for _ in range(3):
        expect_ended(refresh(client, first), "reuse")
    assert event_kinds(server, first.sid).count("reuse_detected") == 1


def test_an_expired_ancestor_revokes_nothing(server: Server, client: httpx.Client, mint: Mint) -> None:
    """An expired old refresh token, as from a backup, is not a sign of theft and ends no session (T26)."""
    signed_in = sign_in_new_user(client)
    for _ in range(3):
        signed_in = signed_in.after(refresh(client, signed_in))
    now_s = int(time.time())
    old = mint.refresh(signed_in.refresh, gen=0, iat=now_s - 2_000_000, exp=now_s - 800_000)
    expect_problem(refresh(client, signed_in, old), 401, "session_ended")
    assert session_row(server, signed_in.sid)["revoked_why"] is None
    assert refresh(client, signed_in).status_code == 200


# --- the strict server


def test_strict_mode_treats_the_first_repeat_as_reuse(strict_client: httpx.Client) -> None:
    """Without grace and recovery, the first repeat ends the session, as RFC 9700 §4.14.2 requires."""
    before = sign_in_new_user(strict_client)
    after = before.after(refresh(strict_client, before))
    expect_ended(refresh(strict_client, before), "reuse")
    expect_ended(profile(strict_client, after), "reuse")
    expect_ended(refresh(strict_client, after), "reuse")


def test_strict_mode_ends_the_session_on_concurrent_use(strict_client: httpx.Client) -> None:
    """Without grace, one of ten concurrent refreshes gets tokens, and the session then ends (R38)."""
    before = sign_in_new_user(strict_client)
    answers = refresh_concurrently(strict_client, before, 10)
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 9
    (winner,) = [before.after(answer) for answer in answers if answer.status_code == 200]
    expect_ended(refresh(strict_client, winner), "reuse")


def test_strict_mode_treats_a_token_ahead_of_the_database_as_reuse(strict: Server, strict_client: httpx.Client) -> None:
    """With catching up disabled, a token newer than the restored database counts as reuse."""
    signed_in = sign_in_new_user(strict_client)
    signed_in = signed_in.after(refresh(strict_client, signed_in))
    change_session(strict, signed_in.sid, generation=0)
    expect_ended(refresh(strict_client, signed_in), "reuse")


# --- a restored database


@pytest.mark.slow
def test_a_restored_database_ends_no_session(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A token newer than the restored row is accepted: the generation catches up and an event is recorded."""
    folder = tmp_path_factory.mktemp("restored")
    with ExitStack() as stack:
        first = stack.enter_context(run_server(folder))
        issuer = first.url
        client = stack.enter_context(client_of(first))
        chain = [sign_in_new_user(client)]
        for _ in range(5):
            chain.append(chain[-1].after(refresh(client, chain[-1])))
    change_session(first, chain[0].sid, generation=2)
    with run_server(folder, ISSUER=issuer) as second, client_of(second) as client:
        after = chain[-1].after(refresh(client, chain[-1]))
        assert read_claims(after.refresh)["gen"] == 6
        assert event_kinds(second, after.sid)[-1] == "caught_up"
        assert refresh(client, after).status_code == 200


# --- refused refreshes


def test_an_unrenewed_session_becomes_idle(server: Server, client: httpx.Client, mint: Mint) -> None:
    """After the idle lifetime the refresh token and the access token are refused (R40)."""
    signed_in = sign_in_new_user(client)
    age_rotation(server, signed_in.sid, 14 * 86400)
    expired = mint.refresh(
        signed_in.refresh, **{name: read_claims(signed_in.refresh)[name] - 14 * 86400 for name in ("iat", "exp")}
    )
    expect_ended(refresh(client, signed_in, expired), "idle")
    expect_ended(refresh(client, signed_in), "idle")
    expect_ended(profile(client, signed_in), "idle")


def test_a_session_past_its_absolute_end_has_expired(server: Server, client: httpx.Client) -> None:
    """A refresh extends the idle lifetime, never the absolute lifetime (R39, R40)."""
    signed_in = sign_in_new_user(client)
    signed_in = signed_in.after(refresh(client, signed_in))
    change_session(server, signed_in.sid, expires_at_ms=int(time.time() * 1000) - 1)
    expect_ended(refresh(client, signed_in), "expired")
    expect_ended(profile(client, signed_in), "expired")


def test_no_token_outlives_its_session(server: Server, client: httpx.Client) -> None:
    """Tokens issued shortly before the session's absolute end expire with the session (R39)."""
    signed_in = sign_in_new_user(client)
    end_s = int(time.time()) + 100
    change_session(server, signed_in.sid, expires_at_ms=end_s * 1000)
    answer = refresh(client, signed_in)
    after = signed_in.after(answer)
    assert read_claims(after.access)["exp"] == read_claims(after.refresh)["exp"] == end_s
    assert 0 < answer.json()["expiresIn"] <= 100
    assert 0 < answer.json()["refreshExpiresIn"] <= 100


def test_a_session_that_the_database_never_had_has_expired(client: httpx.Client, mint: Mint) -> None:
    """A valid token without a row belongs to an expired session, because rows are kept past the session's end."""
    signed_in = sign_in_new_user(client)
    expect_ended(refresh(client, signed_in, mint.refresh(signed_in.refresh, sid="no-such-session")), "expired")


@pytest.mark.parametrize("delivery", ["split", "cookie"])
@pytest.mark.parametrize("same", [True, False], ids=["the same token", "another token"])
def test_cookie_and_body_together_are_refused(server: Server, client: httpx.Client, delivery: str, same: bool) -> None:
    """A refresh token in the cookie and in the body gives 400, clears no cookie and changes nothing (T7)."""
    signed_in = sign_in_new_user(client, delivery=delivery)
    token = signed_in.refresh if same else sign_in_new_user(client).refresh
    answer = client.post("/refresh", json={"refreshToken": token}, headers=signed_in.cookies)
    expect_problem(answer, 400, "invalid_request")
    assert set_cookies(answer) == {}
    assert session_row(server, signed_in.sid)["generation"] == 0
    assert refresh(client, signed_in).status_code == 200


@pytest.mark.parametrize("delivery", ["split", "cookie"])
def test_a_cookies_token_in_a_body_is_refused_and_the_session_lives(server: Server, client: httpx.Client, delivery: str) -> None:
    """A cookie's refresh token is refused in a body, so a script cannot use one that it has read (R59, T7, T8)."""
    signed_in = sign_in_new_user(client, delivery=delivery)
    answer = client.post("/refresh", json={"refreshToken": signed_in.refresh})
    expect_problem(answer, 401, "invalid_token")
    assert set_cookies(answer) == {}
    assert session_row(server, signed_in.sid)["generation"] == 0
    assert refresh(client, signed_in).status_code == 200


def test_an_apps_token_in_a_cookie_is_refused_and_the_session_lives(server: Server, client: httpx.Client) -> None:
    """A refresh token delivered as JSON is refused in a cookie (T8)."""
    signed_in = sign_in_new_user(client)
    answer = client.post("/refresh", headers=signed_in.cookies)
    expect_problem(answer, 401, "invalid_token")
    assert set_cookies(answer) == {}
    assert session_row(server, signed_in.sid)["generation"] == 0
    assert refresh(client, signed_in).status_code == 200


@pytest.mark.parametrize("generations_ago", [1, 2])
def test_an_old_token_by_the_wrong_delivery_revokes_nothing(client: httpx.Client, generations_ago: int) -> None:
    """The delivery is checked before the generation, so a wrong delivery never ends a session (T8)."""
    chain = [sign_in_new_user(client, delivery="cookie")]
    for _ in range(2):
        chain.append(chain[-1].after(refresh(client, chain[-1])))
    answer = client.post("/refresh", json={"refreshToken": chain[-1 - generations_ago].refresh})
    expect_problem(answer, 401, "invalid_token")
    assert refresh(client, chain[-1]).status_code == 200


def test_a_refresh_without_a_token_is_401(client: httpx.Client) -> None:
    """A refresh without a refresh token is refused and clears no cookie."""
    without_body, without_field = client.post("/refresh"), client.post("/refresh", json={})
    expect_problem(without_body, 401, "missing_token")
    expect_problem(without_field, 401, "missing_token")
    assert set_cookies(without_body) == set_cookies(without_field) == {}


@pytest.mark.parametrize("where", ["query", "header"])
def test_a_refresh_token_in_other_places_is_ignored(client: httpx.Client, where: str) -> None:
    """A refresh token is accepted in a body or its cookie, never in the URL or as a bearer token (R44)."""
    signed_in = sign_in_new_user(client)
    if where == "query":
        answer = client.post("/refresh", params={"refreshToken": signed_in.refresh})
    else:
        answer = client.post("/refresh", headers={"authorization": f"Bearer {signed_in.refresh}"})
    expect_problem(answer, 401, "missing_token")
    expect_problem(client.get("/refresh", params={"refreshToken": signed_in.refresh}), 405, "invalid_request")


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_an_ended_session_clears_cookies_only_for_cookie_requests(client: httpx.Client, delivery: str) -> None:
    """`session_ended` deletes the cookies only if the refresh token came in a cookie (T5, T6)."""
    signed_in = sign_in_new_user(client, delivery=delivery)
    assert client.post("/logout", headers=signed_in.bearer).status_code == 204
    answer = refresh(client, signed_in)
    expect_ended(answer, "logout")
    cleared = cookies_by_kind(answer)
    assert set(cleared) == (set() if delivery == "json" else NAMES["cookie"])
    assert all(cookie.value == "" for cookie in cleared.values())


def test_other_refusals_clear_no_cookie(client: httpx.Client, mint: Mint) -> None:
    """A bad signature, another type of token and another site's page clear no cookies (T5, T32)."""
    signed_in = sign_in_new_user(client, delivery="cookie")
    head, _, tail = signed_in.refresh.rpartition(".")
    for token in (f"{head}.{'A' * len(tail)}", signed_in.access, mint.refresh(signed_in.refresh, iss="https://other.example")):
        answer = refresh(client, signed_in, token)
        expect_problem(answer, 401, "invalid_token")
        assert set_cookies(answer) == {}
    answer = client.post("/refresh", headers=signed_in.cookies | {"sec-fetch-site": "cross-site"})
    expect_problem(answer, 403, "cross_site")
    assert set_cookies(answer) == {}
    assert refresh(client, signed_in).status_code == 200
