"""Tests of known devices over a real socket: where a person has signed in before, failures of strangers do not delay them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.commands import run_command
from tests.integration.helpers import (
    SignedIn,
    client_of,
    expect_problem,
    mint_of,
    new_address,
    new_email,
    profile,
    refresh,
    run_server,
    running,
    set_cookies,
    sign_in,
    sign_up,
)
from tests.serving import PASSWORD, Server, cookie_name

pytestmark = pytest.mark.xdist_group("known-devices")
WRONG = "a sentence that ada never said"
NEW_PASSWORD = "another kelp lantern rivet of the tests"
ISSUER = "https://auth.example.com"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server behind a local proxy, so that tests can choose the client's address."""
    with running(Server(tmp_path_factory.mktemp("devices"), TRUSTED_PROXIES="127.0.0.1")) as server:
        yield server


def name_of(client: httpx.Client) -> str:
    """Return the name of the device cookie of the client's service."""
    return cookie_name("device", str(client.base_url))


def attempt(client: httpx.Client, email: str, password: str, ip: str, **headers: str) -> httpx.Response:
    """Try to sign in from an address, as a browser."""
    sent = {"x-forwarded-for": ip, "sec-fetch-site": "same-origin"} | headers
    return client.post("/login", json={"email": email, "password": password}, headers=sent)


def device_of(client: httpx.Client, email: str, *, before: str = "", ip: str = "", password: str = PASSWORD) -> str:
    """Sign in as a browser that may have a device cookie, and return the one that it has then."""
    cookie = {"cookie": f"{name_of(client)}={before}"} if before else {}
    answer = attempt(client, email, password, ip or new_address(), **cookie)
    assert answer.status_code == 200, answer.text
    return set_cookies(answer)[name_of(client)].value


def with_device(client: httpx.Client, value: str) -> dict[str, str]:
    """Return the header of a browser that has a device cookie alone."""
    return {"cookie": f"{name_of(client)}={value}"}


def use_up(client: httpx.Client, email: str, ip: str) -> None:
    """Fail from an address until it has to wait."""
    statuses = [attempt(client, email, WRONG, ip).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]


@pytest.mark.parametrize("issuer", ["", ISSUER], ids=["http", "https"])
def test_the_exact_line_of_a_device_cookie(issuer: str, tmp_path: Path) -> None:
    """It is HttpOnly, Lax, of this host alone and lives for 400 days; on plain http without prefix and `Secure`."""
    settings = {"ISSUER": issuer} if issuer else {}
    headers = {"sec-fetch-site": "same-origin"}
    with run_server(tmp_path, **settings) as server, client_of(server, headers=headers) as client:
        email = sign_up(client)
        for delivery in ("split", "cookie", "json"):
            answer = client.post("/login", json={"email": email, "password": PASSWORD, "delivery": delivery})
            lines = [line for line in answer.headers.get_list("set-cookie") if "handstamp-device" in line]
            if delivery == "json":
                assert lines == []
                continue
            name, secure = cookie_name("device", server.url), "Secure; " if issuer else ""
            value = set_cookies(answer)[name].value
            assert lines == [f"{name}={value}; Path=/; Max-Age=34560000; {secure}HttpOnly; SameSite=Lax"]
            assert [len(part) for part in value.split(".")] == [2, 22, 16]


def test_strangers_on_the_same_network_do_not_delay_a_known_device(client: httpx.Client) -> None:
    """Failures of a neighbour behind the same address use up the pair, and the known browser signs in all the same (R71)."""
    email, office = sign_up(client), new_address()
    device = device_of(client, email, ip=office)
    use_up(client, email, office)
    expect_problem(attempt(client, email, PASSWORD, office), 429, "too_many_attempts")
    assert attempt(client, email, PASSWORD, office, **with_device(client, device)).status_code == 200
    assert attempt(client, email, PASSWORD, office).status_code == 200, "that success resets the account's counters"


def test_a_known_device_has_a_budget_of_its_own(client: httpx.Client) -> None:
    """Its own failures delay it, wherever it is, and nobody else (R71)."""
    email, office = sign_up(client), new_address()
    device = device_of(client, email, ip=office)
    for _ in range(5):
        expect_problem(attempt(client, email, WRONG, new_address(), **with_device(client, device)), 401, "invalid_credentials")
    expect_problem(attempt(client, email, PASSWORD, new_address(), **with_device(client, device)), 429, "too_many_attempts")
    assert attempt(client, email, PASSWORD, office).status_code == 200
    expect_problem(attempt(client, email, PASSWORD, office, **with_device(client, device)), 429, "too_many_attempts")


def test_a_device_cookie_helps_with_no_other_account(client: httpx.Client) -> None:
    """A browser that is known to one account is a stranger to every other."""
    ada, bob, office = sign_up(client), sign_up(client, new_email("bob")), new_address()
    device = device_of(client, bob, ip=office)
    use_up(client, ada, office)
    expect_problem(attempt(client, ada, PASSWORD, office, **with_device(client, device)), 429, "too_many_attempts")


@pytest.mark.parametrize("kind", ["tag", "device", "version", "shorter", "longer", "empty", "two", "spaces", "not ascii"])
def test_a_forged_device_cookie_is_a_stranger_and_no_error(client: httpx.Client, kind: str) -> None:
    """Whatever is no cookie of ours is ignored: it neither helps nor fails a sign-in, which replaces it."""
    email, office = sign_up(client), new_address()
    device = device_of(client, email, ip=office)
    use_up(client, email, office)
    version, name, tag = device.split(".")
    cookie = {
        "tag": f"{version}.{name}.{tag[::-1]}",
        "device": f"{version}.{name[::-1]}.{tag}",
        "version": f"v2.{name}.{tag}",
        "shorter": f"{version}.{name}",
        "longer": ".".join((version, name, *[tag] * 6)),
        "empty": "",
        "two": f"{device}; {name_of(client)}={version}.{name}.{tag[::-1]}",
        "spaces": f"{version}.{name}. {tag[1:]}",
        "not ascii": f"{version}.{name}.{tag[:-1]}é",
    }[kind]
    body = {"email": email, "password": PASSWORD}

    def sent_from(ip: str) -> httpx.Response:
        headers = {"x-forwarded-for": ip, "sec-fetch-site": "same-origin", "cookie": f"{name_of(client)}={cookie}"}
        return client.post("/login", json=body, headers=httpx.Headers(headers, encoding="latin-1"))

    expect_problem(sent_from(office), 429, "too_many_attempts")
    answer = sent_from(new_address())
    assert answer.status_code == 200
    assert set_cookies(answer)[name_of(client)].value.split(".")[0] == "v1"


def test_a_shared_computer_remembers_five_people(client: httpx.Client) -> None:
    """The browser keeps its id and the last five tags, newest first, each once."""
    people, device, devices = [sign_up(client) for _ in range(6)], "", []
    for email in people:
        device = device_of(client, email, before=device)
        devices.append(device.split("."))
    assert len({parts[1] for parts in devices}) == 1
    assert [len(parts) - 2 for parts in devices] == [1, 2, 3, 4, 5, 5]
    assert devices[-1][3:] == devices[-2][2:-1]
    again = device_of(client, people[4], before=device).split(".")
    assert again[2:] == [devices[-1][3], devices[-1][2], *devices[-1][4:]]
    office = new_address()
    use_up(client, people[0], office)
    expect_problem(attempt(client, people[0], PASSWORD, office, **with_device(client, device)), 429, "too_many_attempts")
    use_up(client, people[1], office)
    assert attempt(client, people[1], PASSWORD, office, **with_device(client, device)).status_code == 200


def test_signing_out_keeps_the_device(client: httpx.Client) -> None:
    """No sign-out and no ended session deletes the device cookie."""
    email = sign_up(client)
    signed_in = sign_in(client, email, delivery="cookie")
    for answer in (
        client.post("/logout", headers=signed_in.cookies),
        client.get("/profile", headers=signed_in.cookies),
        refresh(client, signed_in),
    ):
        assert name_of(client) not in set_cookies(answer)


def test_refreshing_and_failing_set_no_device_cookie(client: httpx.Client) -> None:
    """Only a proved password makes a device known."""
    email = sign_up(client)
    signed_in = sign_in(client, email, delivery="cookie")
    assert name_of(client) not in set_cookies(refresh(client, signed_in))
    assert set_cookies(attempt(client, email, WRONG, new_address())) == {}


def test_changing_the_password_makes_the_device_known(client: httpx.Client) -> None:
    """The person has just proved the current password in this browser."""
    email, office = sign_up(client), new_address()
    signed_in = sign_in(client, email, delivery="split")
    body = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
    device = set_cookies(client.post("/password", json=body, headers=signed_in.cookies | signed_in.bearer))[name_of(client)].value
    use_up(client, email, office)
    assert attempt(client, email, NEW_PASSWORD, office, **with_device(client, device)).status_code == 200


def test_the_pages_recognise_a_device_too(server: Server, client: httpx.Client) -> None:
    """The sign-in form sets the cookie and reads it."""
    email, office = sign_up(client), new_address()
    form, sent = {"email": email, "password": PASSWORD}, {"x-forwarded-for": office, "origin": server.url}
    answer = client.post("/sign-in", data=form, headers=sent)
    assert answer.status_code == 303
    device = set_cookies(answer)[name_of(client)].value
    use_up(client, email, office)
    assert client.post("/sign-in", data=form, headers=sent).status_code == 429
    assert client.post("/sign-in", data=form, headers=sent | with_device(client, device)).status_code == 303


def test_the_device_cookie_is_no_credential(client: httpx.Client) -> None:
    """With it alone a request is not signed in, and needs no origin, since there is nothing that another site could misuse."""
    email = sign_up(client)
    device = with_device(client, device_of(client, email))
    expect_problem(client.get("/profile", headers=device), 401, "missing_token")
    expect_problem(client.post("/refresh", headers=device), 401, "missing_token")
    answer = client.post("/login", json={"email": email, "password": PASSWORD}, headers=device)
    assert answer.status_code == 200, "a request without Origin and without a token's cookie passes the cross-site rule"
    assert client.post("/logout", headers=device).status_code == 204


# --- clients that keep their tokens


def tokens_of(server: Server, one: SignedIn, kind: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the headers and the members of the body by which a client shows a token of an earlier session."""
    match kind:
        case "refresh":
            return {}, {"refreshToken": one.refresh}
        case "refresh in the header":
            return {"authorization": f"Bearer {one.refresh}"}, {}
        case "access":
            return one.bearer, {}
        case _:
            return {"authorization": f"Bearer {mint_of(server).expired_access(one.access)}"}, {}


@pytest.mark.parametrize("state", ["living", "ended"])
@pytest.mark.parametrize("kind", ["refresh", "refresh in the header", "access", "expired access"])
def test_a_token_of_an_earlier_session_makes_a_device_known(server: Server, client: httpx.Client, kind: str, state: str) -> None:
    """A native client is known by any token that it still has. The sign-in begins a new session and ends none (T15)."""
    email, office = sign_up(client), new_address()
    one = sign_in(client, email)
    if state == "ended":
        assert client.post("/logout", headers=one.bearer).status_code == 204
    headers, members = tokens_of(server, one, kind)
    use_up(client, email, office)
    body, ip = {"email": email, "password": PASSWORD}, {"x-forwarded-for": office}
    answer = client.post("/login", json=body | members, headers=headers | ip)
    assert answer.status_code == 200, answer.text
    assert answer.json()["sessionId"] != one.sid
    assert profile(client, one).status_code == (200 if state == "living" else 401)


def test_its_failures_are_counted_by_session(client: httpx.Client) -> None:
    """The token of one session has the same budget in every place, and that of another session another."""
    email = sign_up(client)
    one, other = sign_in(client, email), sign_in(client, email)
    body = {"email": email, "password": WRONG}
    for headers, members in ((one.bearer, {}), ({}, {"refreshToken": one.refresh})) * 2:
        assert client.post("/login", json=body | members, headers=headers | {"x-forwarded-for": new_address()}).status_code == 401
    current = {"currentPassword": WRONG, "newPassword": NEW_PASSWORD}
    assert client.post("/password", json=current, headers=one.bearer).status_code == 401
    for answer in (
        client.post("/login", json=body | {"refreshToken": one.refresh}, headers={"x-forwarded-for": new_address()}),
        client.post("/password", json=current, headers=one.bearer),
    ):
        expect_problem(answer, 429, "too_many_attempts")
    assert client.post("/password", json=current, headers=other.bearer).status_code == 401


def test_a_token_of_another_account_or_another_issuer_helps_nobody(client: httpx.Client) -> None:
    """Only our signature and the subject of the account count. Whatever else comes along is ignored."""
    ada, office = sign_up(client), new_address()
    bob = sign_in(client, sign_up(client, new_email("bob")))
    mine = sign_in(client, ada)
    use_up(client, ada, office)
    head, payload, signature = mine.refresh.split(".")
    foreign = [bob.refresh, f"{head}.{payload}.{signature[::-1]}", f"{head}.{bob.refresh.split('.')[1]}.{signature}", "x", ""]
    for token in foreign:
        body = {"email": ada, "password": PASSWORD, "refreshToken": token}
        answer = client.post("/login", json=body, headers={"x-forwarded-for": office})
        expect_problem(answer, 429, "too_many_attempts")
    for header in (bob.bearer["authorization"], "Bearer", "Bearer x", "Basic eDp5", "nonsense"):
        body = {"email": ada, "password": PASSWORD}
        answer = client.post("/login", json=body, headers={"x-forwarded-for": new_address(), "authorization": header})
        assert answer.status_code == 200, "a header that is no token does not fail a sign-in"


def test_a_guess_at_an_unknown_address_with_a_token_is_answered_alike(client: httpx.Client) -> None:
    """A token does not tell whether the address that was typed has an account (T24)."""
    one = sign_in(client, sign_up(client))
    for email in (new_email("nobody"), sign_up(client, new_email("bob"))):
        office = new_address()
        statuses = [attempt(client, email, WRONG, office, **one.bearer).status_code for _ in range(6)]
        assert statuses == [401] * 5 + [429]


# --- networks


def test_home_is_the_network_not_the_address(client: httpx.Client) -> None:
    """The /64 where a person has had a session is home, and an IPv6 client counts as one with its whole network."""
    email = sign_up(client)
    assert attempt(client, email, PASSWORD, "2001:db8:7:1::1").status_code == 200
    fail_from_many_networks(client, email, 20)
    expect_problem(attempt(client, email, PASSWORD, "2001:db8:7:2::1"), 429, "too_many_attempts")
    assert attempt(client, email, PASSWORD, "2001:db8:7:1:ffff::2").status_code == 200


def fail_from_many_networks(client: httpx.Client, email: str, times: int) -> None:
    """Fail once from each of so many networks."""
    for _ in range(times):
        expect_problem(attempt(client, email, WRONG, new_address()), 401, "invalid_credentials")


def test_many_networks_do_not_delay_a_known_device(client: httpx.Client) -> None:
    """Twenty failures from twenty networks delay every unknown device away from home, and no known one (R71)."""
    email = sign_up(client)
    device = device_of(client, email)
    fail_from_many_networks(client, email, 20)
    elsewhere = new_address()
    answer = attempt(client, email, PASSWORD, elsewhere)
    expect_problem(answer, 429, "too_many_attempts")
    assert attempt(client, email, PASSWORD, elsewhere, **with_device(client, device)).status_code == 200


# --- operators


@pytest.mark.parametrize("how", ["unlock", "enable", "set-password"])
def test_an_operator_lifts_every_wait_at_once(server: Server, client: httpx.Client, how: str) -> None:
    """The run_server service accepts the next attempt from every network and every device."""
    email, office = sign_up(client), new_address()
    device = device_of(client, email)
    use_up(client, email, office)
    for _ in range(5):
        attempt(client, email, WRONG, office, **with_device(client, device))
    expect_problem(attempt(client, email, PASSWORD, office, **with_device(client, device)), 429, "too_many_attempts")
    options, password = (["--password-stdin"], NEW_PASSWORD) if how == "set-password" else ([], PASSWORD)
    done = run_command(server.folder, "users", how, email, *options, stdin=f"{password}\n", ISSUER=server.url)
    assert done.returncode == 0, done.stderr
    assert email in done.stdout
    assert attempt(client, email, password, office, **with_device(client, device)).status_code == 200
    assert attempt(client, email, password, office).status_code == 200
