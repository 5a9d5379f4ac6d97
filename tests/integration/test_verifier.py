"""Tests of the verifier against the real service: it needs three lines to set up, and it refuses every ended session."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from handstamp import AccessClaims, ConfigurationError, KeySet, SessionEnded, Verifier
from handstamp.crypto import jws
from tests.commands import run_command
from tests.hostile import INTROSPECT, JWKS, STALL, hostile
from tests.integration.helpers import SignedIn, expect_ended, refresh, sign_in, sign_in_new_user, sign_up
from tests.serving import PASSWORD, Server
from tests.verifying import SOON_S, credential_for, eventually, try_token, verifier_of, wait_for_outcome

NEW_PASSWORD = "another kelp lantern rivet of the tests"


@pytest.fixture(scope="module")
def credential(server: Server) -> str:
    """Return a credential of the module's server."""
    return credential_for(server, "tests")


@pytest.fixture(scope="module")
def feed_verifier(server: Server, credential: str) -> Iterator[Verifier]:
    """Yield a verifier that follows the module's server."""
    with verifier_of(server.url, credential=credential, timeout_s=10, max_staleness_s=30) as verifier:
        yield verifier


def verifier_threads() -> set[threading.Thread]:
    """Return the threads that verifiers have started."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("handstamp")}


# --- set-up


def test_three_lines_verify_a_token(server: Server, client: httpx.Client, credential: str) -> None:
    """The documented three lines create a verifier, verify a token and read its typed claims (R2, R3, R6)."""
    signed_in = sign_in_new_user(client)
    verifier = Verifier(server.url, audience=server.url, credential=credential)
    claims = verifier.verify(signed_in.access)
    assert type(claims) is AccessClaims
    assert (claims.iss, claims.aud, claims.sid, claims.client_id) == (server.url, server.url, signed_in.sid, "handstamp")
    assert claims.iat <= time.time() < claims.exp
    assert isinstance(claims.roles, tuple)
    verifier.close()


def test_before_the_first_snapshot_the_service_is_asked(server: Server, client: httpx.Client, credential: str) -> None:
    """Before the first snapshot, the verifier asks the service about each token. A revoked token is refused even then."""
    good, over = sign_in_new_user(client), sign_in_new_user(client)
    assert client.post("/logout", headers=over.bearer).status_code == 204
    for signed_in, word in ((good, "ok"), (over, "session_ended")):
        with verifier_of(server.url, credential=credential, timeout_s=10, wait=False) as verifier:
            assert try_token(verifier, signed_in.access) == word


def test_status_shows_metrics(server: Server, credential: str) -> None:
    """`status` reports values for monitoring: first not ready, then ready with small ages and no problem (R82)."""
    with verifier_of(server.url, credential=credential, timeout_s=10, wait=False) as verifier:
        before = verifier.status()
        assert (before.is_ready, before.feed_age_s, before.keys_age_s, before.cached_tokens) == (False, None, None, 0)
        assert verifier.wait_until_ready(SOON_S)
        status = verifier.status()
        assert status.is_ready
        assert 0 <= (status.feed_age_s or 0) < SOON_S
        assert 0 <= (status.keys_age_s or 0) < SOON_S
        assert abs(status.clock_offset_s) < 5
        assert status.problem == ""


def test_nothing_shows_the_secret(server: Server, credential: str) -> None:
    """The secret appears neither in the verifier's repr nor in its status after a failure (R83)."""
    secret = credential.partition(":")[2]
    with verifier_of(server.url, credential=credential.replace(secret, f"wrong-{secret}"), timeout_s=10, wait=False) as verifier:
        assert not verifier.wait_until_ready(1)
        assert eventually(lambda: "401" in verifier.status().problem)
        shown = f"{verifier!r} {verifier} {verifier.status()}"
        assert server.url in shown
        assert secret not in shown


def test_an_offline_verifier_needs_no_credential_and_starts_nothing(server: Server, client: httpx.Client) -> None:
    """An offline verifier accepts tokens of ended sessions until they expire. It starts no thread."""
    before, signed_in = verifier_threads(), sign_in_new_user(client)
    verifier = Verifier(server.url, audience=server.url, check="offline", timeout_s=10)
    assert verifier.wait_until_ready(SOON_S)
    assert try_token(verifier, signed_in.access) == "ok"
    assert client.post("/logout", headers=signed_in.bearer).status_code == 204
    assert try_token(verifier, signed_in.access) == "ok"
    assert not {thread for thread in verifier_threads() - before if thread.name == "handstamp-revocations"}
    assert verifier.status().feed_age_s is None


@pytest.mark.parametrize(
    ("problem", "options"),
    [
        ("credential", {"credential": "secret"}),
        ("credential", {"credential": ":secret"}),
        ("credential", {"credential": "id:"}),
        ("credential", {"credential": ""}),
        ("credential", {}),
        ("credential", {"check": "live"}),
        ("check must be", {"credential": "id:secret", "check": "none"}),
        ("check must be", {"credential": "id:secret", "check": ""}),
        ("check must be", {"credential": "id:secret", "check": True}),
        ("https", {"url": "http://auth.example.com", "credential": "id:secret"}),
        ("https", {"url": "http://auth.example.com", "check": "offline"}),
        ("https", {"url": "http://192.0.2.1:8000", "check": "offline"}),
        ("https", {"url": "http://localhost.example.com", "check": "offline"}),
        ("https", {"url": "http://localhost:8000@example.com", "check": "offline"}),
        ("https", {"url": "http://127.0.0.1.example.com", "check": "offline"}),
        ("https", {"url": "ftp://localhost", "check": "offline"}),
        ("https", {"url": "file:///etc/passwd", "check": "offline"}),
        ("https", {"url": "localhost:8000", "check": "offline"}),
        ("https", {"url": "", "check": "offline"}),
        ("https", {"service_url": "http://auth.internal", "credential": "id:secret"}),
        ("https", {"service_url": "http://auth.internal", "keys": KeySet([]), "credential": "id:secret"}),
    ],
)
def test_insecure_arguments_are_refused(problem: str, options: dict[str, Any]) -> None:
    """Insecure options raise `ConfigurationError` at construction, with a message that names the fix (R26, R86)."""
    url = options.pop("url", "https://auth.example.com")
    with pytest.raises(ConfigurationError, match=problem):
        Verifier(url, audience="api", **options)


@pytest.mark.parametrize(
    "number",
    [
        *({"leeway_s": value} for value in (-1, 61, float("nan"))),
        *({"max_staleness_s": value} for value in (-1, 0, 2, 3601, float("inf"), float("nan"))),
        *({"timeout_s": value} for value in (-1, 0, 61, 1e300, float("inf"), float("nan"))),
        *({"cache_size": value} for value in (-1, -10_000)),
    ],
    ids=str,
)
def test_numbers_have_bounds(number: dict[str, Any]) -> None:
    """Numeric options are bounded, so that none can disable a check or make a request wait for ever (R19, R26)."""
    (name,) = number
    with pytest.raises(ValueError, match=name):
        Verifier("https://auth.example.com", audience="api", credential="id:secret", **number)


def test_loopback_urls_may_be_http() -> None:
    """Plain HTTP is allowed for loopback URLs.

    With given keys and no credential any URL is allowed, because nothing is sent.
    """
    for url in (
        "http://localhost:8000",
        "http://127.0.0.1",
        "http://[::1]:80",
        "http://auth.localhost",
        "https://auth.example.com",
    ):
        Verifier(url, audience="api", credential="id:secret")
    Verifier("http://auth.internal", audience="api", keys=KeySet([]), check="offline")


# --- closing the verifier


def test_a_closed_verifier_asks_the_service(server: Server, client: httpx.Client, credential: str) -> None:
    """A closed verifier has stopped its thread and asks the service about each token."""
    before = verifier_threads()
    verifier = Verifier(server.url, audience=server.url, credential=credential, timeout_s=10, max_staleness_s=6)
    signed_in = sign_in_new_user(client)
    with verifier:
        assert verifier.wait_until_ready(SOON_S)
        assert try_token(verifier, signed_in.access) == "ok"
        assert verifier_threads() - before
    assert eventually(lambda: not verifier_threads() - before)
    assert try_token(verifier, signed_in.access) == "ok"
    assert client.post("/logout", headers=signed_in.bearer).status_code == 204
    assert try_token(verifier, signed_in.access) == "session_ended"
    assert not verifier_threads() - before


def test_waiting_for_a_closed_verifier_does_not_spin(credential: str) -> None:
    """`wait_until_ready` on a closed verifier returns False without a busy loop."""
    with hostile() as away:
        away.answers[JWKS] = [STALL]
        verifier = Verifier(away.url, audience=away.url, credential=credential)
        verifier.close()
        began = time.process_time()
        assert not verifier.wait_until_ready(2)
        assert time.process_time() - began < 0.5
        assert away.count(JWKS) <= 1


def test_waiting_until_ready_does_not_flood_a_service_that_fails(credential: str) -> None:
    """`wait_until_ready` retries a few times a second, because the service may be starting."""
    with hostile() as failing:
        failing.answers[JWKS] = failing.answers["/revocations"] = []
        with verifier_of(failing.url, credential=credential, wait=False) as verifier:
            assert not verifier.wait_until_ready(1.5)
        assert 2 <= failing.count(JWKS) <= 6


def test_an_unreferenced_verifier_ends_its_thread(server: Server, credential: str) -> None:
    """A garbage-collected verifier stops its thread, even if it was never closed.

    An application that reloads often must not collect threads.
    """
    before = verifier_threads()
    verifier = Verifier(server.url, audience=server.url, credential=credential, max_staleness_s=3, timeout_s=10)
    assert verifier.wait_until_ready(SOON_S)
    assert verifier_threads() - before
    del verifier
    gc.collect()
    assert eventually(lambda: not verifier_threads() - before)


# --- ending a session


def _logout(_: Server, client: httpx.Client, ada: SignedIn) -> None:
    assert client.post("/logout", headers=ada.bearer).status_code == 204


def _logout_everywhere(_: Server, client: httpx.Client, ada: SignedIn) -> None:
    assert client.post("/logout-everywhere", headers=ada.bearer).status_code == 204


def _change_password(_: Server, client: httpx.Client, ada: SignedIn) -> None:
    answer = client.post("/password", headers=ada.bearer, json={"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD})
    assert answer.status_code == 200, answer.text


def _disable(server: Server, _: httpx.Client, ada: SignedIn) -> None:
    assert run_command(server.folder, "users", "disable", ada.email).returncode == 0


def _reuse(_: Server, client: httpx.Client, ada: SignedIn) -> None:
    renewed = ada
    for _number in range(2):
        renewed = renewed.after(refresh(client, renewed))
    expect_ended(refresh(client, ada), "reuse")


def _end_by_operator(server: Server, _: httpx.Client, ada: SignedIn) -> None:
    assert run_command(server.folder, "sessions", "end", ada.sid).returncode == 0


def _end_from_the_list(_: Server, client: httpx.Client, ada: SignedIn) -> None:
    phone = sign_in(client, ada.email)
    assert client.delete(f"/sessions/{ada.sid}", headers=phone.bearer).status_code == 204


def _revoke(_: Server, client: httpx.Client, ada: SignedIn) -> None:
    assert client.post("/revoke", data={"token": ada.refresh}).status_code == 200


@pytest.mark.parametrize(
    ("end", "all_of_hers"),
    [
        (_logout, False),
        (_logout_everywhere, True),
        (_change_password, True),
        (_disable, True),
        (_reuse, False),
        (_end_by_operator, False),
        (_end_from_the_list, False),
        (_revoke, False),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_every_way_a_session_ends_reaches_the_verifier(
    server: Server, client: httpx.Client, feed_verifier: Verifier, end: Callable[..., None], *, all_of_hers: bool
) -> None:
    """Every way to end a session makes the feed check and the live check raise `SessionEnded` (R37, R47, R49, R51, R52).

    Other people's sessions are not affected.
    """
    ada, bob = sign_in_new_user(client), sign_in_new_user(client)
    tablet = sign_in(client, ada.email)
    renewed = refresh(client, tablet)
    tokens = [tablet.access, tablet.after(renewed).access]
    assert {try_token(feed_verifier, token) for token in (ada.access, bob.access, *tokens)} == {"ok"}
    end(server, client, ada)
    assert try_token(feed_verifier, ada.access, "live") == "session_ended"
    assert wait_for_outcome(feed_verifier, ada.access, "session_ended") <= {"ok"}
    assert try_token(feed_verifier, ada.access, "offline") == "session_ended", "known ends are refused with every check"
    if all_of_hers:
        for token in tokens:  # each session has its own entry; entries may arrive separately
            assert wait_for_outcome(feed_verifier, token, "session_ended") <= {"ok"}
    for check in ("feed", "live"):
        assert {try_token(feed_verifier, token, check) for token in tokens} == ({"session_ended"} if all_of_hers else {"ok"})
        assert try_token(feed_verifier, bob.access, check) == "ok"


@pytest.mark.parametrize("end", [_logout, _logout_everywhere])
def test_signing_in_again_is_accepted_at_once(
    server: Server, client: httpx.Client, feed_verifier: Verifier, end: Callable[..., None]
) -> None:
    """Revocation is by session, not by time: a new session is valid in the same second as a sign-out everywhere (T21)."""
    ada = sign_in_new_user(client)
    end(server, client, ada)
    again = sign_in(client, ada.email)
    assert (try_token(feed_verifier, again.access), try_token(feed_verifier, again.access, "live")) == ("ok", "ok")
    wait_for_outcome(feed_verifier, ada.access, "session_ended")
    assert (try_token(feed_verifier, again.access), try_token(feed_verifier, again.access, "live")) == ("ok", "ok")


def test_tokens_stay_valid_across_renewals(client: httpx.Client, feed_verifier: Verifier) -> None:
    """All access tokens of a session stay valid while it is refreshed, and none is valid after it ends (R47)."""
    ada = sign_in_new_user(client)
    tokens = [ada.access]
    for _ in range(3):
        ada = ada.after(refresh(client, ada))
        tokens.append(ada.access)
    for check in ("offline", "feed", "live"):
        assert {try_token(feed_verifier, token, check) for token in tokens} == {"ok"}
    assert client.post("/logout", json={"refreshToken": ada.refresh}).status_code == 204
    for token in tokens:
        wait_for_outcome(feed_verifier, token, "session_ended")


def test_no_other_token_of_the_service_is_an_access_token(client: httpx.Client, feed_verifier: Verifier) -> None:
    """A refresh token and an access token for another audience are refused (R1, R6, T19)."""
    ada = sign_in_new_user(client)
    with Verifier(feed_verifier.issuer, audience="https://api.example.org", check="offline", timeout_s=10) as other:
        for check in ("offline", "feed", "live"):
            assert try_token(feed_verifier, ada.refresh, check) == "invalid_token"
        assert try_token(other, ada.access) == "invalid_token"


# --- keys


def kid_of(token: str) -> str:
    """Return the id of the key that signed a token."""
    return jws.split(token)[0].kid


def test_rotating_and_voiding_a_key(server: Server, client: httpx.Client, credential: str) -> None:
    """A rotation refuses no token. A voided key is soon refused; its sessions refresh and stay active (R30, R31)."""
    ada = sign_in_new_user(client)
    with verifier_of(server.url, credential=credential, timeout_s=10) as verifier:
        assert try_token(verifier, ada.access) == "ok"
        assert run_command(server.folder, "keys", "rotate").returncode == 0
        assert try_token(verifier, ada.access) == try_token(verifier, sign_in_new_user(client).access) == "ok"
        leaked = kid_of(ada.access)
        done = run_command(server.folder, "keys", "retire", leaked, "--now")
        assert done.returncode == 0, done.stderr
        assert wait_for_outcome(verifier, ada.access, "invalid_token") <= {"ok"}
        # The service may load the new key a moment later. Presenting the same refresh token again is a permitted repeat.
        assert eventually(lambda: kid_of(ada.after(refresh(client, ada)).access) != leaked)
        renewed = ada.after(refresh(client, ada))
        assert wait_for_outcome(verifier, renewed.access, "ok") <= {"unavailable"}
        assert try_token(verifier, ada.access) == "invalid_token"
        with verifier_of(server.url, credential=credential, timeout_s=10) as fresh:
            assert (try_token(fresh, ada.access), try_token(fresh, renewed.access)) == ("invalid_token", "ok")


# --- concurrency


def test_sign_outs_reach_the_verifier_under_load(server: Server, client: httpx.Client, credential: str) -> None:
    """Sixteen threads verify while sessions end. Once a thread has seen a session refused, it is never accepted again (R87)."""
    email = sign_up(client)
    sessions = [sign_in(client, email) for _ in range(8)]
    staying = sessions.pop()
    history: dict[tuple[int, str], list[str]] = {}
    stop = threading.Event()
    with verifier_of(server.url, credential=credential, timeout_s=10, max_staleness_s=30, cache_size=6) as verifier:

        def work(number: int) -> None:
            is_last_round = False
            while not is_last_round:
                is_last_round = stop.is_set()
                for signed_in in (*sessions, staying):
                    words = history.setdefault((number, signed_in.sid), [])
                    word = try_token(verifier, signed_in.access)
                    if words[-1:] != [word]:
                        words.append(word)

        with ThreadPoolExecutor(16) as pool:
            workers = [pool.submit(work, number) for number in range(16)]
            for signed_in in sessions:
                assert client.post("/logout", headers=signed_in.bearer).status_code == 204
                time.sleep(0.02)
            is_over = eventually(lambda: all(try_token(verifier, each.access) == "session_ended" for each in sessions))
            stop.set()
        for worker in workers:
            worker.result()
    assert is_over
    for (_, sid), words in history.items():
        assert words == ["ok"] if sid == staying.sid else words in (["ok", "session_ended"], ["session_ended"]), words


@pytest.mark.anyio
async def test_a_stalling_service_does_not_hold_up_the_loop(server: Server, client: httpx.Client, credential: str) -> None:
    """Two hundred live checks against a stalled service raise `Unavailable` and do not block the event loop (R88)."""
    signed_in = await asyncio.to_thread(sign_in_new_user, client)
    with hostile(upstream=server.port) as between:
        between.answers[INTROSPECT] = [STALL]
        options = {"credential": credential, "service_url": between.url, "timeout_s": 2, "check": "live"}
        with verifier_of(server.url, wait=False, **options) as verifier:
            turns = 0

            async def count_turns() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0.01)

            async def ask() -> str:
                try:
                    claims = await verifier.verify_async(signed_in.access)
                except Exception as refused:  # noqa: BLE001 - the test compares its type
                    return type(refused).__name__
                return claims.sid

            counting = asyncio.create_task(count_turns())
            asked = [asyncio.create_task(ask()) for _ in range(200)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            assert turns > 3, "the loop stood still until the first answer"
            assert set(await asyncio.gather(*asked)) == {"Unavailable"}
            del between.answers[INTROSPECT]
            async with asyncio.timeout(SOON_S):
                while await ask() == "Unavailable":  # for a second after a failure the service is not asked
                    turns += 1
                    await asyncio.sleep(0.1)
            assert set(await asyncio.gather(*(ask() for _ in range(200)))) == {signed_in.sid}
            await asyncio.to_thread(client.post, "/logout", headers=signed_in.bearer)
            assert set(await asyncio.gather(*(ask() for _ in range(50)))) == {"SessionEnded"}
            counting.cancel()


@pytest.mark.anyio
async def test_cached_results_need_no_thread(client: httpx.Client, feed_verifier: Verifier) -> None:
    """A cached verification takes microseconds, so it runs on the event loop and starts no thread."""
    signed_in = await asyncio.to_thread(sign_in_new_user, client)
    assert (await feed_verifier.verify_async(signed_in.access)).sid == signed_in.sid
    before = threading.active_count()
    assert {(await feed_verifier.verify_async(signed_in.access)).sid for _ in range(1000)} == {signed_in.sid}
    assert threading.active_count() <= before
    await asyncio.to_thread(client.post, "/logout", headers=signed_in.bearer)
    await asyncio.to_thread(wait_for_outcome, feed_verifier, signed_in.access, "session_ended")
    with pytest.raises(SessionEnded):
        await feed_verifier.verify_async(signed_in.access)


# --- processes

FORKING = """
import os, sys, threading, time
from handstamp import HandstampError, Verifier

url, credential, mine, other = sys.argv[1:]
verifier = Verifier(url, audience=url, credential=credential, timeout_s=10, max_staleness_s=30)
assert verifier.wait_until_ready(20), verifier.status()
assert verifier.verify(mine).sid and verifier.verify(other).sid

def try_token(token, check=None):
    try:
        verifier.verify(token, check=check)
    except HandstampError as refused:
        return refused.code
    return "ok"

def follows():
    return [thread.name for thread in threading.enumerate()].count("handstamp-revocations")

def wait_for_the_end(who):
    assert try_token(mine) == try_token(other) == "ok", verifier.status()
    assert verifier.wait_until_ready(20), verifier.status()
    assert follows() == 1
    os.write(1, f"{who} ready\\n".encode())
    deadline = time.monotonic() + 30
    while try_token(mine, "offline") != "session_ended":
        assert time.monotonic() < deadline, verifier.status()
        time.sleep(0.02)
    assert try_token(mine) == "session_ended" and try_token(other) == "ok"
    os.write(1, f"{who} refuses\\n".encode())

children = []
for number in range(2):
    child = os.fork()
    if not child:
        assert follows() == 0, "a thread does not survive a fork, and none is started before it is needed"
        wait_for_the_end(f"child-{number}")
        sys.exit(0)  # not os._exit: whatever is done at the end must not hang
    children.append(child)
wait_for_the_end("parent")
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
os.write(1, b"done\\n")
"""


def test_a_forked_process_starts_its_own_feed(server: Server, client: httpx.Client, credential: str) -> None:
    """Forked workers and their parent each follow the feed and refuse sessions that end after the fork (T30)."""
    ada, bob = sign_in_new_user(client), sign_in_new_user(client)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, server.url, credential, ada.access, bob.access],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        watchdog = threading.Timer(90, running.kill)
        watchdog.start()
        try:
            assert running.stdout is not None
            ready = {running.stdout.readline().strip() for _ in range(3)}
            assert ready == {"child-0 ready", "child-1 ready", "parent ready"}
            assert client.post("/logout", headers=ada.bearer).status_code == 204
            said_then, errors = running.communicate()
        finally:
            watchdog.cancel()
    assert errors == ""
    assert sorted(said_then.splitlines()) == ["child-0 refuses", "child-1 refuses", "done", "parent refuses"]
    assert running.returncode == 0


NO_THREADS = """
import sys, threading
from handstamp import Verifier

url, credential, token = sys.argv[1:]
verifier = Verifier(url, audience=url, credential=credential, timeout_s=10)
normal = threading.stack_size(1 << 46)  # more than there is: no thread can be started
for _ in range(3):
    assert verifier.verify(token).sid
assert threading.active_count() == 1 and "thread" in verifier.status().problem, verifier.status()
threading.stack_size(normal)
assert verifier.verify(token).sid
assert verifier.wait_until_ready(20), verifier.status()
assert verifier.status().feed_age_s is not None and verifier.status().problem == ""
print("done")
"""


def test_thread_creation_is_retried(server: Server, client: httpx.Client, credential: str) -> None:
    """While no thread can be started, the verifier asks the service about each token (R26).

    It starts the thread as soon as it can.
    """
    done = subprocess.run(
        [sys.executable, "-c", NO_THREADS, server.url, credential, sign_in_new_user(client).access],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
