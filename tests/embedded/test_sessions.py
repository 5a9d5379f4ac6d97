"""Sessions of an application's own users, in the same process, on a real SQLite file."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from handstamp.embedded import Handstamp
from handstamp.errors import ConfigurationError, InvalidFields, InvalidToken, SessionEnded, Unavailable
from handstamp.service.parts import granting
from tests.builders import Clock

pytestmark = pytest.mark.anyio
ISSUER = "https://app.example.com/auth"


@asynccontextmanager
async def embedded(folder: Path, **options: Any) -> AsyncIterator[Handstamp]:
    """Open a `Handstamp` as an application does."""
    auth = Handstamp(**{"database": f"sqlite:///{folder}/app.db", "issuer": ISSUER} | options)
    async with auth:
        yield auth


async def test_a_session_for_a_subject_without_an_account(tmp_path: Path) -> None:
    """A session without an account can be started, used, refreshed and ended. Its end is effective for the next request."""
    async with embedded(tmp_path) as auth:
        first = await auth.sessions.start("42", claims={"plan": "pro"}, scope="orders:read", roles=["admin"], ip="192.0.2.1")
        said = await auth.verifier.verify_async(first.access_token)
        assert (said.sub, said.scope, said.roles, said.extra) == ("42", "orders:read", ("admin",), {"plan": "pro"})
        second = await auth.sessions.refresh(first.refresh_token)
        again = await auth.sessions.refresh(first.refresh_token)
        assert (first.outcome, second.outcome, again.outcome) == ("started", "rotated", "repeated")
        assert again.refresh_token == second.refresh_token
        assert (await auth.verifier.verify_async(again.access_token)).extra == {"plan": "pro"}
        assert [session.id for session in await auth.sessions.of("42")] == [first.session_id]
        assert await auth.sessions.end(first.session_id)
        assert not await auth.sessions.end(first.session_id)
        for token in (first.access_token, again.access_token):
            with pytest.raises(SessionEnded) as over:
                await auth.verifier.verify_async(token)
            assert over.value.reason == "logout"
        with pytest.raises(SessionEnded):
            await auth.sessions.refresh(again.refresh_token)
        with pytest.raises(SessionEnded):
            await auth.verifier.confirm(said)


async def test_ending_all_sessions_affects_one_subject(tmp_path: Path) -> None:
    """`end_all` returns the number of active sessions that it ended."""
    async with embedded(tmp_path) as auth:
        mine = [await auth.sessions.start("42") for _ in range(3)]
        other = await auth.sessions.start("43")
        assert await auth.sessions.end_all("42") == 3
        assert await auth.sessions.end_all("42") == 0
        for pair in mine:
            with pytest.raises(SessionEnded):
                await auth.verifier.verify_async(pair.access_token)
        assert (await auth.verifier.verify_async(other.access_token)).sub == "43"


async def test_a_refresh_token_is_accepted_by_its_own_delivery_only(tmp_path: Path) -> None:
    """A refresh token that was delivered as a cookie is refused in a body, and the session stays active (T8)."""
    async with embedded(tmp_path) as auth:
        pair = await auth.sessions.start("42", delivery="cookie")
        with pytest.raises(InvalidToken):
            await auth.sessions.refresh(pair.refresh_token)
        assert (await auth.sessions.refresh(pair.refresh_token, delivery="cookie")).outcome == "rotated"


async def test_the_answer_puts_each_token_by_delivery(tmp_path: Path) -> None:
    """A token that is set as a cookie is never in the body."""
    async with embedded(tmp_path) as auth:
        pair = await auth.sessions.start("42", delivery="cookie")
        answer = auth.answer(pair)
        assert pair.access_token.encode() not in answer.body
        assert pair.refresh_token.encode() not in answer.body
        set_cookies = " ".join(answer.headers.getlist("set-cookie"))
        assert "__Host-handstamp-access=" in set_cookies
        assert "__Host-handstamp-refresh=" in set_cookies
        assert pair.access_token not in repr(pair)


async def test_errors_are_answered_as_by_the_service(tmp_path: Path) -> None:
    """An application's own routes can answer with the same status, problem and Retry-After."""
    async with embedded(tmp_path) as auth:
        answer = auth.answer(Unavailable("the reason is for the log"))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert b"the reason" not in bytes(answer.body)
        assert auth.answer(SessionEnded("reuse")).status_code == 401


async def test_reuse_ends_the_session(tmp_path: Path) -> None:
    """The rules of rotation are the same for an application's own subjects."""
    clock = Clock()
    async with embedded(tmp_path, clock=clock, recovery_interval="off") as auth:
        first = await auth.sessions.start("42")
        second = await auth.sessions.refresh(first.refresh_token)
        clock.advance(seconds=11)
        with pytest.raises(SessionEnded) as over:
            await auth.sessions.refresh(first.refresh_token)
        assert over.value.reason == "reuse"
        with pytest.raises(SessionEnded):
            await auth.verifier.verify_async(second.access_token)


@pytest.mark.parametrize("subject", ["", "x" * 10_000, "a\nb", 42])
async def test_invalid_subjects_are_refused(subject: Any, tmp_path: Path) -> None:
    """An invalid subject starts no session, and the error says what to change."""
    async with embedded(tmp_path) as auth:
        with pytest.raises(InvalidFields, match="subject"):
            await auth.sessions.start(subject)


async def test_invalid_claims_are_refused(tmp_path: Path) -> None:
    """Invalid claims start no session, and the error names them."""
    async with embedded(tmp_path) as auth:
        for claims in ({"sub": "43"}, {"f": object()}, {"x": "y" * 2000}):
            with pytest.raises(InvalidFields, match="claims"):
                await auth.sessions.start("42", claims=claims)
        assert await auth.sessions.of("42") == []


# --- the hook


async def asynchronously(subject: str) -> dict[str, Any]:
    """Grant claims that depend on the subject."""
    await asyncio.sleep(0)
    return {"scope": "orders:read", "roles": ["clerk"], "claims": {"tenant": f"of-{subject}"}}


def plainly(subject: str) -> dict[str, Any]:
    """Grant the same claims from a plain function."""
    return {"scope": "orders:read", "roles": ["clerk"], "claims": {"tenant": f"of-{subject}"}}


def handing_on(subject: str) -> Any:
    """Return the coroutine of another function, like a decorator."""
    return asynchronously(subject)


class Granter:
    """An object that grants the same claims."""

    async def __call__(self, subject: str) -> dict[str, Any]:
        """Grant the claims."""
        return plainly(subject)


@pytest.mark.parametrize("hook", [asynchronously, plainly, Granter(), handing_on])
async def test_the_hook_is_called_for_each_token(hook: Callable[[str], Any], tmp_path: Path) -> None:
    """The hook may be a function, a coroutine function or an object. Its claims override those of the start."""
    async with embedded(tmp_path, claims=hook) as auth:
        pair = await auth.sessions.start("42", roles=["admin"], claims={"tenant": "none", "plan": "pro"})
        for token in (pair.access_token, (await auth.sessions.refresh(pair.refresh_token)).access_token):
            said = await auth.verifier.verify_async(token)
            assert (said.scope, said.roles) == ("orders:read", ("admin", "clerk"))
            assert said.extra == {"tenant": "of-42", "plan": "pro"}


async def test_a_hook_can_reduce_grants(tmp_path: Path) -> None:
    """The hook's claims are not stored. They apply only to the tokens of that mint."""
    granted: list[dict[str, Any] | None] = [{"scope": "a"}, None, {}]
    async with embedded(tmp_path, claims=lambda _: granted.pop(0)) as auth:
        pair = await auth.sessions.start("42")
        scopes = [(await auth.verifier.verify_async(pair.access_token)).scope]
        for _ in range(2):
            pair = await auth.sessions.refresh(pair.refresh_token)
            scopes.append((await auth.verifier.verify_async(pair.access_token)).scope)
        assert scopes == ["a", "", ""]


def broken(_: str) -> dict[str, Any]:
    """Raise an error like a broken hook."""
    raise KeyError("the secret of somebody")


@pytest.mark.parametrize(
    "answer",
    [
        broken,
        lambda _: "text",
        lambda _: 5,
        lambda _: {"scopes": "a"},
        lambda _: {"claims": {"sub": "43"}},
        lambda _: {"scope": 5},
        lambda _: {"claims": {"x": "y" * 2000}},
        lambda _: {"claims": [1]},
        lambda _: {"claims": {"f": float("nan")}},
    ],
)
async def test_a_failed_hook_issues_no_token_and_keeps_the_session(answer: Callable[[str], Any], tmp_path: Path) -> None:
    """A failed hook means 503, and the old refresh token stays valid for a later refresh."""
    is_well = True

    def hook(subject: str) -> Any:
        return {} if is_well else answer(subject)

    async with embedded(tmp_path, claims=hook) as auth:
        pair = await auth.sessions.start("42")
        is_well = False
        with pytest.raises(Unavailable) as failed:
            await auth.sessions.refresh(pair.refresh_token)
        assert "secret" not in str(failed.value)
        with pytest.raises(Unavailable):
            await auth.sessions.start("43")
        is_well = True
        assert await auth.sessions.of("43") == []
        assert (await auth.sessions.refresh(pair.refresh_token)).outcome == "rotated"


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_hook_that_hangs_times_out(is_async: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that hangs times out. Other requests are answered meanwhile, and no token is issued."""
    monkeypatch.setattr(granting, "PATIENCE_S", 0.2)
    never = threading.Event()

    async def hang(_: str) -> None:
        await asyncio.Event().wait()

    def block(_: str) -> None:
        never.wait(20)

    async with embedded(tmp_path, claims=hang if is_async else block) as auth:
        with pytest.raises(Unavailable):
            await auth.sessions.start("42")
        assert await auth.sessions.of("42") == []
        never.set()


# --- starting and stopping


async def test_settings_are_validated(tmp_path: Path) -> None:
    """An unknown setting raises an error before the application serves requests."""
    with pytest.raises(ConfigurationError, match="databse"):
        Handstamp(databse=f"sqlite:///{tmp_path}/app.db", issuer=ISSUER)


async def test_use_before_start_is_refused(tmp_path: Path) -> None:
    """If the lifespan is missing, the first request raises an error that says what to write."""
    auth = Handstamp(database=f"sqlite:///{tmp_path}/app.db", issuer=ISSUER)

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(RuntimeError, match="lifespan"):
        await auth.asgi({"type": "http", "path": "/healthz", "method": "GET", "headers": []}, nothing, nothing)
    with pytest.raises(ConfigurationError, match="verify_async"):
        auth.verifier.verify("token")


async def test_it_can_be_started_again(tmp_path: Path) -> None:
    """An application can be stopped and started again. Its sessions stay valid."""
    auth = Handstamp(database=f"sqlite:///{tmp_path}/app.db", issuer=ISSUER)
    async with auth:
        pair = await auth.sessions.start("42")
    auth = Handstamp(database=f"sqlite:///{tmp_path}/app.db", issuer=ISSUER)
    async with auth:
        assert (await auth.verifier.verify_async(pair.access_token)).sub == "42"
        with pytest.raises(RuntimeError, match="already"):
            await auth.__aenter__()


@pytest.mark.parametrize("bind", [False, True])
async def test_an_application_says_whether_a_browser_may_bind_its_session(tmp_path: Path, bind: bool) -> None:
    """By default not: the application may renew its sessions itself, and could not do that with a bound one."""
    async with Handstamp(database=f"sqlite:///{tmp_path}/handstamp.db", issuer="https://auth.example.com") as auth:
        pair = await auth.sessions.start("42", delivery="split", bind=bind)
        assert ("secure-session-registration" in auth.answer(pair).headers) is bind
