"""The service is killed, cut off, restored or frozen: each route follows its `check`, and revoked sessions stay revoked."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from handstamp import Verifier
from handstamp.verify import jwks, revocations
from handstamp.verify.verifier import Check
from tests.commands import run_command
from tests.hostile import FEED, INTROSPECT, hostile, html
from tests.serving import Server
from tests.verifying import ShiftedClock, credential_for, eventually, try_token, verifier_of, wait_for_outcome

pytestmark = pytest.mark.slow

Serve = Callable[..., Server]
EXPECTED: dict[Check, set[str]] = {"feed": {"ok", "unavailable"}, "live": {"unavailable"}, "offline": {"ok"}}
"""The outcomes that a valid token may have while the service is unavailable, for each `check`."""


def start_service(serve: Serve) -> tuple[Server, str]:
    """Start a service with one account, and return a credential for its verifiers."""
    server = serve()
    assert server.register().status_code == 201
    return server, credential_for(server, "tests")


@pytest.fixture(autouse=True)
def short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between retries."""
    monkeypatch.setattr(jwks, "RETRY_MS", 200)
    monkeypatch.setattr(revocations, "_MAX_PAUSE_S", 0.4)


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """Run one service for the tests that do not damage it; return it with a credential."""
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        assert server.register().status_code == 201
        yield server, credential_for(server, "tests")
    finally:
        server.kill()


def sign_out(server: Server, token: str) -> None:
    """End the session of an access token."""
    with server.client() as client:
        assert client.post("/logout", headers={"authorization": f"Bearer {token}"}).status_code == 204


def token_of(server: Server) -> str:
    """Sign in and return the access token."""
    token: str = server.login()["accessToken"]
    return token


def test_each_route_does_what_it_declared_while_the_service_is_killed(serve: Serve) -> None:
    """With "feed", tokens are accepted for `max_staleness_s`, then 503; with "live", 503 at once (R54, R88, T30).

    With "offline", they stay accepted. Revoked sessions stay revoked for all verifiers, during and after the outage.
    """
    server, credential = start_service(serve)
    staying, leaving = token_of(server), token_of(server)
    options = {"credential": credential, "timeout_s": 2}
    with ExitStack() as stack:
        verifier = stack.enter_context(verifier_of(server.url, **options))
        bystander = stack.enter_context(verifier_of(server.url, **options, check="live", wait=False))
        sign_out(server, leaving)
        assert try_token(bystander, leaving) == "session_ended"
        wait_for_outcome(verifier, leaving, "session_ended")
        assert (try_token(verifier, staying), try_token(bystander, staying)) == ("ok", "ok")

        server.kill()
        assert try_token(bystander, staying) == try_token(bystander, leaving) == "unavailable"
        words: list[str] = []
        deadline = time.monotonic() + 20
        while words[-1:] != ["unavailable"]:
            assert time.monotonic() < deadline
            for check, expected in EXPECTED.items():
                word = try_token(verifier, staying, check)
                assert word in expected, (check, word)
                if check == "feed" and words[-1:] != [word]:
                    words.append(word)
                assert try_token(verifier, leaving, check) == "session_ended"
            time.sleep(0.02)
        assert words == ["ok", "unavailable"]
        newcomer = stack.enter_context(verifier_of(server.url, **options, wait=False))
        assert not newcomer.wait_until_ready(0.5)
        for check in EXPECTED:
            assert try_token(newcomer, staying, check) == try_token(newcomer, leaving, check) == "unavailable"

        server.start()
        for each in (verifier, bystander, newcomer):
            assert wait_for_outcome(each, staying, "ok") <= {"unavailable"}
            assert wait_for_outcome(each, leaving, "session_ended") <= {"unavailable"}
            assert wait_for_outcome(each, leaving, "session_ended", "live") <= {"unavailable"}
        with verifier_of(server.url, **options) as fresh:
            assert (try_token(fresh, leaving, "offline"), try_token(fresh, leaving), try_token(fresh, staying)) == (
                "session_ended",
                "session_ended",
                "ok",
            )
        sign_out(server, staying)
        for each in (verifier, newcomer):
            assert wait_for_outcome(each, staying, "session_ended") <= {"ok"}


def test_a_frozen_service_counts_as_unavailable(shared_server: tuple[Server, str]) -> None:
    """A frozen service accepts connections and never answers: "live" gives 503 within the timeout, and later recovers."""
    (server, credential), clock = shared_server, ShiftedClock()
    assert server.process is not None
    staying, leaving = token_of(server), token_of(server)
    with verifier_of(server.url, credential=credential, timeout_s=0.5, clock=clock) as verifier:
        sign_out(server, leaving)
        wait_for_outcome(verifier, leaving, "session_ended")
        server.process.send_signal(signal.SIGSTOP)
        try:
            assert try_token(verifier, staying, "live") == "unavailable"
            assert eventually(lambda: verifier.status().problem != "")
            clock.shift_s = 4
            assert try_token(verifier, staying) == "unavailable"
            assert try_token(verifier, leaving) == "session_ended"
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert wait_for_outcome(verifier, staying, "ok") <= {"unavailable"}
        assert eventually(lambda: verifier.status().problem == "")
        sign_out(server, staying)
        assert wait_for_outcome(verifier, staying, "session_ended") <= {"ok"}


def test_a_broken_feed_alone_causes_introspection(shared_server: tuple[Server, str]) -> None:
    """If a proxy cuts long polls, introspection gives the correct answer for active and revoked sessions (T30)."""
    (server, credential), clock = shared_server, ShiftedClock()
    staying, leaving = token_of(server), token_of(server)
    with (
        hostile(upstream=server.port) as proxy,
        verifier_of(server.url, credential=credential, service_url=proxy.url, clock=clock, timeout_s=10) as verifier,
    ):
        assert try_token(verifier, staying) == try_token(verifier, leaving) == "ok"
        assert proxy.count(INTROSPECT) == 0
        for script in ([], html(502)):
            proxy.answers[FEED] = script
            before = proxy.count(FEED)
            assert eventually(lambda before=before: proxy.count(FEED) > before)  # type: ignore[misc]
            clock.shift_s += 4
            assert try_token(verifier, staying) == "ok"
        sign_out(server, leaving)
        assert try_token(verifier, leaving) == "session_ended"
        assert try_token(verifier, leaving, "offline") == "ok", "an offline verifier learned of a sign-out"
        assert try_token(verifier, staying) == "ok"
        assert proxy.count(INTROSPECT) == 4
        del proxy.answers[FEED]
        assert wait_for_outcome(verifier, leaving, "session_ended", "offline") <= {"ok"}


def test_a_restored_database_revives_no_session(serve: Serve) -> None:
    """The verifier's cursor is unknown after a restore. It reads the whole feed again, and keeps what it knew (T29)."""
    server, credential = start_service(serve)
    database = server.folder / "handstamp.db"
    staying, first, second, third = (token_of(server) for _ in range(4))
    with verifier_of(server.url, credential=credential, timeout_s=2) as verifier:
        sign_out(server, token_of(server))
        backup = _backup(database, server.folder / "backup.db")
        sign_out(server, first)
        sign_out(server, second)
        for token in (first, second):
            wait_for_outcome(verifier, token, "session_ended")
        server.kill()
        for file in server.folder.glob("handstamp.db*"):
            file.unlink()
        backup.rename(database)
        server.start()
        sign_out(server, third)  # this revocation gets the number that `first` had
        assert wait_for_outcome(verifier, third, "session_ended", "offline") <= {"ok", "unavailable"}
        assert eventually(lambda: verifier.status().problem == "")
        for token in (first, second, third):
            for check in ("offline", "feed", "live"):
                assert try_token(verifier, token, check) == "session_ended"
        assert wait_for_outcome(verifier, staying, "ok") <= {"unavailable"}


def test_a_wrong_clock_revives_no_session(shared_server: tuple[Server, str]) -> None:
    """A clock set forward drops entries early. When set back, the feed is stale until the verifier has read all of it again."""
    (server, credential), clock = shared_server, ShiftedClock()
    staying, leaving = token_of(server), token_of(server)
    with verifier_of(server.url, credential=credential, clock=clock, timeout_s=10) as verifier:
        sign_out(server, leaving)
        wait_for_outcome(verifier, leaving, "session_ended")
        for _ in range(2):
            clock.shift_s = 7200
            assert try_token(verifier, staying) == "expired_token"
            assert eventually(lambda: verifier.status().entries == 0)
            clock.shift_s = 0
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                assert (try_token(verifier, staying), try_token(verifier, leaving)) == ("ok", "session_ended")
            assert eventually(lambda: verifier.status().entries >= 1)
        clock.shift_s = -86_400
        assert try_token(verifier, staying) == "invalid_token", "it is not issued yet"
        assert try_token(verifier, leaving) != "ok"
        clock.shift_s = 0
        assert wait_for_outcome(verifier, staying, "ok") <= {"unavailable"}
        assert try_token(verifier, leaving) == "session_ended"


def test_a_removed_credential_is_refused(shared_server: tuple[Server, str]) -> None:
    """Once the feed is stale, tokens get 503 and are never accepted, and `status()` names the credential."""
    (server, mended_credential), clock = shared_server, ShiftedClock()
    credential = credential_for(server, "removed")
    staying, leaving, later = (token_of(server) for _ in range(3))
    with verifier_of(server.url, credential=credential, timeout_s=10, clock=clock) as verifier:
        sign_out(server, leaving)
        wait_for_outcome(verifier, leaving, "session_ended")
        assert run_command(server.folder, "credentials", "remove", "removed").returncode == 0
        assert eventually(lambda: "credential" in verifier.status().problem)
        sign_out(server, later)
        assert try_token(verifier, later, "live") == "unavailable"
        assert try_token(verifier, staying) in {"ok", "unavailable"}
        clock.shift_s = 4
        assert try_token(verifier, staying) == try_token(verifier, later) == "unavailable"
        for check in ("offline", "feed", "live"):
            assert try_token(verifier, leaving, check) == "session_ended"
        assert credential not in verifier.status().problem
        with Verifier(server.url, audience=server.url, credential=mended_credential, timeout_s=10) as mended:
            assert (try_token(mended, staying), try_token(mended, later)) == ("ok", "session_ended")


def _backup(database: Path, to: Path) -> Path:
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)
    return to
