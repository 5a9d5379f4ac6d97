"""Hooks that misbehave: no token is issued, no session is lost, and other requests are not delayed. All parts are real."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections import UserDict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.embedded import Handstamp
from handstamp.errors import ConfigurationError, SessionEnded, Unavailable
from handstamp.service.parts import granting
from tests.embedded.test_sessions import ISSUER, embedded
from tests.serving import EMAIL, PASSWORD

pytestmark = pytest.mark.anyio


class Rude(BaseException):
    """A direct subclass of `BaseException`, as some test frameworks and tracing libraries raise."""


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("kind", [StopIteration, asyncio.CancelledError, SystemExit, GeneratorExit, Rude])
async def test_a_failing_hook_is_unavailable(kind: type[BaseException], is_async: bool, tmp_path: Path) -> None:
    """Any exception of a hook means 503 at once, even those that would stop an event loop."""
    is_well = True

    def plain(_: str) -> None:
        if not is_well:
            raise kind

    async def coroutine(subject: str) -> None:
        plain(subject)

    async with embedded(tmp_path, claims=coroutine if is_async else plain) as auth:
        pair = await auth.sessions.start("42")
        is_well = False
        failed: BaseException | None = None
        try:
            await auth.sessions.refresh(pair.refresh_token)
        except BaseException as problem:  # noqa: BLE001 - some of these would stop the test's loop
            failed = problem
        assert isinstance(failed, Unavailable)
        assert "longer than" not in failed.why
        is_well = True
        assert (await auth.sessions.refresh(pair.refresh_token)).outcome == "rotated"


async def test_a_cancelled_caller_is_not_a_failed_hook(tmp_path: Path) -> None:
    """Cancelling the call raises `CancelledError` and loses no session."""
    asked, is_well = asyncio.Event(), True

    async def hook(_: str) -> None:
        if not is_well:
            asked.set()
            await asyncio.Event().wait()

    async with embedded(tmp_path, claims=hook) as auth:
        pair = await auth.sessions.start("42")
        is_well = False
        task = asyncio.create_task(auth.sessions.refresh(pair.refresh_token))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        is_well = True
        assert (await auth.sessions.refresh(pair.refresh_token)).outcome == "rotated"


async def test_a_hook_that_ignores_cancellation_is_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is answered although the hook ignores cancellation."""
    monkeypatch.setattr(granting, "PATIENCE_S", 0.2)
    never = asyncio.Event()

    async def stubborn(_: str) -> None:
        while not never.is_set():
            try:
                await never.wait()
            except asyncio.CancelledError:
                continue

    async with embedded(tmp_path, claims=stubborn) as auth:
        asyncio.get_running_loop().call_later(3, never.set)
        with pytest.raises(Unavailable):
            await auth.sessions.start("42")
        assert not never.is_set()
        never.set()


def test_a_hook_that_hangs_does_not_keep_the_process_alive(tmp_path: Path) -> None:
    """With twenty hanging hooks, other requests are answered and the process still stops on a signal."""
    program = """
import asyncio, sys, threading
from handstamp.embedded import Handstamp
from handstamp.service.parts import granting
granting.PATIENCE_S = 0.2
async def main():
    settings = {"database": f"sqlite:///{sys.argv[1]}/app.db", "issuer": "https://a.example.com"}
    async with Handstamp(claims=lambda _: threading.Event().wait(), **settings) as auth:
        asked = [asyncio.create_task(auth.sessions.start(str(number))) for number in range(20)]
        assert await auth.sessions.of("0") == []
        await asyncio.wait(asked)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, timeout=20)


class Detached(UserDict[str, Any]):
    """A mapping that raises when it is read, like a row of a closed database session."""

    def __getitem__(self, name: str) -> Any:
        """Raise an error."""
        raise ConnectionError(f"postgresql://shop:secret@db has closed the connection, {name} cannot be loaded")


@pytest.mark.parametrize("answer", [Detached(scope="a"), {"claims": Detached(branch="Bern")}, {5: "a"}, object()])
async def test_a_hooks_result_that_raises_on_access_is_unavailable(answer: Any, tmp_path: Path) -> None:
    """A failure while the result is read means 503, and the answer does not show the database's message."""
    granted: list[Any] = [None]
    async with embedded(tmp_path, claims=lambda _: granted[0]) as auth:
        pair = await auth.sessions.start("42")
        granted[0] = answer
        with pytest.raises(Unavailable) as failed:
            await auth.sessions.refresh(pair.refresh_token)
        assert "secret" not in failed.value.why
        granted[0] = None
        assert (await auth.sessions.refresh(pair.refresh_token)).outcome == "rotated"


async def test_tokens_too_large_for_a_cookie_are_not_issued(tmp_path: Path) -> None:
    """Claims of the start and of the hook may together exceed the limit. Nothing is issued and the session is kept."""
    granted: dict[str, Any] = {}
    async with embedded(tmp_path, claims=lambda _: granted) as auth:
        pair = await auth.sessions.start("42", claims={"a": "x" * 1500})
        granted["claims"] = {"b": "x" * 1500}
        with pytest.raises(Unavailable) as failed:
            await auth.sessions.refresh(pair.refresh_token)
        assert "grant fewer scopes, roles or claims" in failed.value.why
        granted["claims"] = {"b": "x" * 500}
        renewed = await auth.sessions.refresh(pair.refresh_token)
        assert renewed.outcome == "rotated"
        assert len(renewed.access_token) <= 3800


@pytest.mark.parametrize("after", [{1}, ["x" * 1800]])
async def test_a_hooks_result_is_copied(after: Any, tmp_path: Path) -> None:
    """The token has the claims as they were checked, even if the hook's owner changes its lists while the database is locked."""
    shared: list[Any] = ["Bern"]
    called = asyncio.Event()

    async def hook(_: str) -> dict[str, Any]:
        called.set()
        return {"claims": {"branch": shared}}

    async with embedded(tmp_path, claims=hook) as auth:
        with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            task = asyncio.create_task(auth.sessions.start("42"))
            await called.wait()
            for _ in range(20):  # the result is checked within a few turns of the loop; then the session waits for the database
                await asyncio.sleep(0)
            shared[:] = [after]
            other.execute("ROLLBACK")
        assert (await auth.verifier.verify_async((await task).access_token)).extra == {"branch": ["Bern"]}


async def test_a_hook_may_call_the_sessions(tmp_path: Path) -> None:
    """No lock is held during a hook. A hook may end its own session, and a hook that recurses fails alone."""
    inside: list[Callable[[], Any]] = []

    async def hook(_: str) -> None:
        for call in inside:
            await call()

    async with embedded(tmp_path, claims=hook) as auth, asyncio.timeout(20):
        pair = await auth.sessions.start("42")
        inside[:] = [lambda: auth.sessions.start("43")]
        with pytest.raises(Unavailable) as failed:
            await auth.sessions.refresh(pair.refresh_token)
        assert "longer than" not in failed.value.why  # the recursion is detected without a timeout
        inside[:] = [lambda: auth.sessions.of("42"), lambda: auth.sessions.end(pair.session_id)]
        with pytest.raises(SessionEnded):
            await auth.sessions.refresh(pair.refresh_token)


async def test_accounts_are_granted_by_the_hook_too(tmp_path: Path) -> None:
    """The hook runs at sign-in, refresh and password change. If it fails, each gets 503 and can be retried."""
    is_well = True

    def hook(subject: str) -> dict[str, Any]:
        if not is_well:
            raise LookupError(subject)
        return {"claims": {"of": subject}}

    async with (
        embedded(tmp_path, claims=hook) as auth,
        httpx.AsyncClient(transport=httpx.ASGITransport(auth.asgi), base_url="https://app.example.com") as client,
    ):
        credentials = {"email": EMAIL, "password": PASSWORD}
        assert (await client.post("/register", json=credentials)).status_code == 201
        tokens: dict[str, Any] = {}
        for path in ("/login", "/refresh", "/password"):
            fields = {
                "/login": credentials,
                "/refresh": {"refreshToken": tokens.get("refreshToken")},
                "/password": {"currentPassword": PASSWORD, "newPassword": f"{PASSWORD} again"},
            }[path]
            headers = {"authorization": f"Bearer {tokens['accessToken']}"} if path == "/password" else {}
            is_well = False
            failed = await client.post(path, json=fields, headers=headers)
            assert (failed.status_code, failed.json()["code"], failed.headers["retry-after"]) == (503, "unavailable", "1")
            is_well = True
            tokens = (await client.post(path, json=fields, headers=headers)).json()
            said = await auth.verifier.verify_async(tokens["accessToken"])
            assert said.extra == {"of": said.sub}
            assert [session.id for session in await auth.sessions.of(said.sub)] == [said.sid]


def test_a_hook_that_is_not_callable_is_a_configuration_error(tmp_path: Path) -> None:
    """The mistake is reported before the first request."""
    with pytest.raises(ConfigurationError, match="claims"):
        Handstamp(database=f"sqlite:///{tmp_path}/app.db", issuer=ISSUER, claims={"scope": "a"})  # type: ignore[arg-type]
