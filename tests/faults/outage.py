"""Helpers for store outages: devices that retry, and the answers that are allowed while the store is unavailable."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx

from tests.serving import EMAIL, PASSWORD

PATIENCE_S = 90.0
_PAUSE_S = 0.05
_DONE = {"/healthz": 200, "/readyz": 200, "/profile": 200, "/refresh": 200, "/login": 200, "/logout": 204}


def patient_client() -> httpx.AsyncClient:
    """Return a client that opens a connection for each request, because a node may close an idle one just as it is reused."""
    return httpx.AsyncClient(
        trust_env=False, timeout=PATIENCE_S, limits=httpx.Limits(max_connections=200, max_keepalive_connections=0)
    )


class Nodes:
    """Sends requests to random nodes and counts the answers. In any state of the store, an answer is correct or 503."""

    def __init__(self, http: httpx.AsyncClient, urls: Sequence[str]) -> None:
        """Keep the client and the URLs of the nodes."""
        self.urls = urls
        self.answers: Counter[str] = Counter()
        self._http = http

    async def ask(self, path: str, *, node: str = "", access_token: str = "", **body: str) -> httpx.Response:
        """Send a request to `node`, or to a random one. Assert that a 503 has Retry-After and shows no internal details."""
        headers = {"authorization": f"Bearer {access_token}"} if access_token else {}
        url = (node or random.choice(self.urls)) + path
        answer = await self._http.request("POST" if body else "GET", url, headers=headers, json=body or None)
        self.answers[f"{path} {answer.status_code}"] += 1
        if answer.status_code == 503:
            assert answer.json()["code"] == "unavailable"
            assert int(answer.headers["retry-after"]) >= 1
            said = f"{answer.json()['title']} {answer.json()['detail']}".lower()  # not the random id
            assert not any(word in said for word in ("sql", "disk", "lock", "connection", "traceback"))
        return answer

    async def sign_in(self) -> Device:
        """Sign in, with retries until it succeeds."""
        answer = await self.until_answered(lambda: self.ask("/login", email=EMAIL, password=PASSWORD))
        assert answer.status_code == 200, answer.text
        return Device(self, answer.json())

    async def until_answered(self, ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        """Retry while the answer is 503 or missing; return the first other answer."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            try:
                answer = await ask()
            except httpx.TransportError:
                self.answers["no answer"] += 1
            else:
                if answer.status_code != 503:
                    return answer
            await asyncio.sleep(_PAUSE_S)
        raise AssertionError(f"no verifier has answered for {PATIENCE_S:g} s")

    def counts(self) -> str:
        """Return the number of answers for each path and status, for the test's output."""
        return ", ".join(f"{count:,} {what}" for what, count in sorted(self.answers.items()))


class Device:
    """Holds one session's newest tokens."""

    def __init__(self, nodes: Nodes, tokens: Mapping[str, Any]) -> None:
        """Keep the tokens of a sign-in."""
        self._nodes = nodes
        self.tokens = tokens

    async def renew(self, *, node: str = "") -> httpx.Response:
        """Refresh once, and keep the new tokens."""
        answer = await self._nodes.ask("/refresh", node=node, refreshToken=self.tokens["refreshToken"])
        if answer.status_code == 200:
            self.tokens = answer.json()
        return answer

    async def sign_out(self) -> httpx.Response:
        """Sign out once."""
        return await self._nodes.ask("/logout", refreshToken=self.tokens["refreshToken"])

    async def profile(self, *, node: str = "") -> httpx.Response:
        """Request the profile with the access token."""
        return await self._nodes.ask("/profile", node=node, access_token=self.tokens["accessToken"])

    async def require_active(self) -> None:
        """Assert that the session is still active, with retries until a node answers."""
        for ask in (self.renew, self.profile):
            answer = await self._nodes.until_answered(ask)
            assert answer.status_code == 200, answer.text

    async def sign_out_with_retries(self) -> None:
        """Sign out, with retries until it succeeds."""
        answer = await self._nodes.until_answered(self.sign_out)
        assert answer.status_code == 204, answer.text

    async def require_ended(self, reason: str = "logout") -> None:
        """Assert that every node refuses both tokens for this reason."""
        for url in self._nodes.urls:
            for ask in (self.renew, self.profile):
                answer = await self._nodes.until_answered(lambda ask=ask, url=url: ask(node=url))  # type: ignore[misc]
                assert (answer.status_code, answer.json()["code"]) == (401, "session_ended"), answer.text
                assert answer.json()["reason"] == reason


async def ask_everything(nodes: Nodes, staying: Device, leaving: Device) -> list[str]:
    """Send each kind of request once. Assert that each succeeds or gets 503; return the paths of the successful ones."""
    answers = await asyncio.gather(
        nodes.ask("/healthz"),
        nodes.ask("/readyz"),
        nodes.ask("/login", email=EMAIL, password=PASSWORD),
        staying.renew(),
        staying.profile(),
        leaving.sign_out(),
    )
    for answer in answers:
        assert answer.status_code in (_DONE[answer.url.path], 503), answer.text
    done = [answer.url.path for answer in answers if answer.status_code != 503]
    assert "/healthz" in done
    return done


def require_still_retrying(retrying: Sequence[asyncio.Task[None]]) -> None:
    """Assert that none of these tasks has finished."""
    for task in retrying:
        if task.done():
            task.result()  # the error of the task is more informative
        assert not task.done(), "a commit was acknowledged that was impossible"
