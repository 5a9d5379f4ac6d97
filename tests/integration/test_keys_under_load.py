"""Signing keys rotate in a real service under load, with all times of the timetable a hundred times shorter.

`test_keys.py` shows the times as they are, with a clock that it moves.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from handstamp import KeySet, Verifier
from handstamp.crypto import jws
from handstamp.domain.claims import ACCESS_TYPE, AccessClaims
from handstamp.verify import jwks
from tests.serving import EMAIL, PASSWORD, Server

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
MAX_AGE_S = 1
YOUNG_S = 3.0
"""How long a token is verified again and again. A key stays published for longer after its last token."""
ROTATIONS = 4
CHAINS, POLLERS, PAUSE_S = 4, 4, 0.1
TIMES = f"""
import handstamp.domain.keyring as keyring
keyring.JWKS_MAX_AGE_S = {MAX_AGE_S}
keyring.PUBLISH_AHEAD_MS = 5_000
keyring.ROTATE_AFTER_MS = 2_000
keyring.KEEP_MS = 10_000
import handstamp.service.operating.housekeeping as housekeeping
housekeeping.INTERVAL_S = housekeeping.ABANDONED_AFTER_S = 0.2
"""


class RotatingServer(Server):
    """A service that rotates its key every two seconds."""

    first = Server.first + f"exec({TIMES!r}); "
    is_warm = False


class Poller:
    """A verifier of the simplest kind: it fetches the keys when its copy has expired, and at no other time."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Create it without keys."""
        self._client = client
        self._keys = KeySet([])
        self._expires_at = 0.0

    async def verify(self, token: str) -> AccessClaims:
        """Return the claims. Raises `InvalidToken` if the key is not in the copy."""
        if monotonic() >= self._expires_at:
            asked_at = monotonic()
            answer = await self._client.get("/.well-known/jwks.json")
            max_age = re.search(r"max-age=(\d+)", answer.headers["cache-control"])
            assert max_age is not None
            self._keys, self._expires_at = KeySet.from_jwks(answer.content), asked_at + int(max_age[1])
        return jws.verify(token, self._keys, typ=ACCESS_TYPE, shape=AccessClaims)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Run the service."""
    running = RotatingServer(tmp_path)
    try:
        yield running.start()
    finally:
        running.stop()


async def test_rotations_under_load_refuse_no_token(
    server: Server, monkeypatch: pytest.MonkeyPatch, count: Callable[[str], None]
) -> None:
    """Whoever polls as often as the key set says accepts every token: simple verifiers, ours, and the service itself."""
    monkeypatch.setattr(jwks, "_MIN_AGE_S", MAX_AGE_S)
    signed_by: list[str] = []
    verified = 0
    assert server.register().status_code == 201

    async def renew(client: httpx.AsyncClient, tokens: dict[str, Any]) -> None:
        nonlocal verified
        pollers = [Poller(client) for _ in range(POLLERS)]
        with Verifier(server.url, audience=server.url, check="offline", timeout_s=30) as verifier:
            young: list[tuple[float, str]] = []
            while len(set(signed_by)) <= ROTATIONS:
                answer = await client.post("/refresh", json={"refreshToken": tokens["refreshToken"]})
                assert answer.status_code == 200, answer.text
                tokens = answer.json()
                token = tokens["accessToken"]
                signed_by.append(jws.split(token)[0].kid)
                young = [(at, other) for at, other in young if at > monotonic() - YOUNG_S] + [(monotonic(), token)]
                for _, each in (young[0], young[-1]):
                    for poller in pollers:
                        await poller.verify(each)
                    await verifier.verify_async(each)
                    profile = await client.get("/profile", headers={"authorization": f"Bearer {each}"})
                    assert profile.status_code == 200, profile.text
                    verified += len(pollers) + 2
                await asyncio.sleep(PAUSE_S)

    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client, asyncio.TaskGroup() as chains:
        for _ in range(CHAINS):
            signed_in = await client.post("/login", json={"email": EMAIL, "password": PASSWORD})
            chains.create_task(renew(client, signed_in.json()))
    count(f"{len(set(signed_by)) - 1} rotations, {verified} verifications, none refused")
