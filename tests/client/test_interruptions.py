"""A caller goes away during a renewal: no token is lost, no other caller waits for ever, no event loop is blocked."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.client import Auth, FileTokens, TokenStore
from tests.client.applications import async_client_with, client_with
from tests.client.helpers import generation, keep, load_tokens, stale, tokens_of
from tests.client.hostile import Hostile
from tests.serving import Server

pytestmark = pytest.mark.anyio
PATIENCE_S = 60


@pytest.fixture
def auth(proxy: Hostile, store: TokenStore, answer: dict[str, Any]) -> Auth:
    """Return an `Auth` that renews at its next request; the proxy holds the response until it is released."""
    keep(store, stale(tokens_of(answer, proxy.url)))
    proxy.play("hold")
    return Auth(proxy.url, store, timeout_s=PATIENCE_S)


async def arrival(proxy: Hostile) -> None:
    """Wait until the proxy has received the request."""
    assert await asyncio.to_thread(proxy.arrived.acquire, timeout=PATIENCE_S)


async def test_a_task_that_is_cancelled_costs_nothing(proxy: Hostile, server: Server, auth: Auth, answer: dict[str, Any]) -> None:
    """A cancelled task's renewal goes on and its result is kept: the next request uses it. One request, one rotation."""
    async with async_client_with(auth) as application, asyncio.timeout(PATIENCE_S):
        task = asyncio.create_task(application.get("/profile"))
        await arrival(proxy)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proxy.release.set()
        assert (await application.get("/profile")).status_code == 200
    assert len(proxy.refresh_tokens) == 1
    assert generation(server, answer["sessionId"]) == 1


async def test_cancelling_one_task_does_not_affect_the_others(proxy: Hostile, auth: Auth) -> None:
    """Cancelling one task does not cancel the others, even if that task had started the renewal."""
    async with async_client_with(auth) as application, asyncio.timeout(PATIENCE_S):
        tasks = [asyncio.create_task(application.get("/profile")) for _ in range(20)]
        await arrival(proxy)
        for task in tasks[:-1]:
            task.cancel()
        proxy.release.set()
        assert (await tasks[-1]).status_code == 200
        assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks[:-1], return_exceptions=True))
    assert len(proxy.refresh_tokens) == 1


async def test_a_client_that_is_closed_costs_nothing(proxy: Hostile, auth: Auth) -> None:
    """Closing a client may fail its own request, but not the renewal. Another client uses the result."""
    async with asyncio.timeout(PATIENCE_S):
        application = async_client_with(auth)
        task = asyncio.create_task(application.get("/profile"))
        await arrival(proxy)
        await application.aclose()
        proxy.release.set()
        await asyncio.gather(task, return_exceptions=True)
        async with async_client_with(auth) as another:
            assert (await another.get("/profile")).status_code == 200
        await application.aclose()
    assert len(proxy.refresh_tokens) == 1


def test_a_client_that_is_closed_costs_nothing_in_threads(proxy: Hostile, auth: Auth) -> None:
    """Closing a client in a thread does not stop the renewal either."""
    application = client_with(auth)

    def ask() -> None:
        with suppress(httpx.TransportError, RuntimeError):  # the client was closed
            application.get("/profile")

    thread = threading.Thread(target=ask)
    thread.start()
    assert proxy.arrived.acquire(timeout=PATIENCE_S)
    application.close()
    proxy.release.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    application.close()
    with client_with(auth) as another:
        assert another.get("/profile").status_code == 200
    assert len(proxy.refresh_tokens) == 1


def test_an_event_loop_that_ends_costs_nothing(proxy: Hostile, auth: Auth, store: TokenStore, answer: dict[str, Any]) -> None:
    """The response to a renewal is kept even if it arrives after the event loop was closed."""

    async def ask(limit_s: float) -> int:
        async with async_client_with(auth) as application, asyncio.timeout(limit_s):
            return (await application.get("/profile")).status_code

    with pytest.raises(TimeoutError):
        asyncio.run(ask(0.3))
    assert proxy.arrived.acquire(timeout=PATIENCE_S)
    proxy.release.set()
    deadline = time.monotonic() + PATIENCE_S
    while load_tokens(store).refresh_token == answer["refreshToken"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert asyncio.run(ask(PATIENCE_S)) == 200
    assert len(proxy.refresh_tokens) == 1


async def test_the_event_loop_runs_while_another_holds_the_lock(server: Server, answer: dict[str, Any], tmp_path: Path) -> None:
    """Waiting for the file's lock and for the service does not block the event loop."""
    store = FileTokens(tmp_path / "tokens.json")
    keep(store, stale(tokens_of(answer, server.url)))
    locked, unlock = threading.Event(), threading.Event()

    def hold() -> None:
        with FileTokens(tmp_path / "tokens.json").locked(PATIENCE_S):
            locked.set()
            unlock.wait(PATIENCE_S)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(PATIENCE_S)
    async with async_client_with(Auth(server.url, store)) as application, asyncio.timeout(PATIENCE_S):
        task = asyncio.create_task(application.get("/profile"))
        turns = 0
        began = time.monotonic()
        while time.monotonic() - began < 0.3:
            await asyncio.sleep(0.01)
            turns += 1
        assert not task.done()
        unlock.set()
        assert (await task).status_code == 200
    holder.join()
    assert turns >= 5
