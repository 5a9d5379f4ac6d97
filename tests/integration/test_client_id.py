"""Test of the OAuth client to which a session's tokens are issued."""

from __future__ import annotations

from pathlib import Path

import pytest

from handstamp.verify.verifier import Verifier
from tests.builders import Clock
from tests.deployment import ISSUER, caller, deployed, start_session

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("client_id", ["handstamp", "another-app"])
async def test_every_token_of_a_session_names_its_client(tmp_path: Path, client_id: str) -> None:
    """The first and the refreshed access token name the session's client (RFC 9068 §2.2)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        verifier = Verifier(ISSUER, audience=ISSUER, keys=running.keys.verifying, check="offline", clock=clock)
        _, pair = await start_session(running, clock, client_id=client_id)
        clock.advance(seconds=60)
        refreshed = await running.refresh(pair.refresh_token, way="body", caller=caller(clock))
        for token in (pair.access_token, refreshed.access_token):
            assert verifier.verify(token).client_id == client_id
