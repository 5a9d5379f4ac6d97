"""Another process locks the SQLite file for half a minute and is killed: writes get 503 until then, and succeed afterwards."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.faults.outage import Nodes, ask_everything, patient_client, require_still_retrying
from tests.serving import Server

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.xdist_group("locked")]
SECONDS = float(os.environ.get("HANDSTAMP_TEST_LOCKED_SECONDS", "30"))
DEVICES = 12
_HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
database.execute("PRAGMA cache_size = 1")
database.execute(sys.argv[2])
database.execute("DELETE FROM session")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(database: Path, begin: str) -> Iterator[None]:
    """Hold the lock in another process, with an uncommitted change. The process is killed at the end."""
    arguments = [sys.executable, "-c", _HOLD, str(database), begin]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
            yield
            assert other.poll() is None, "it did not hold the lock so long"
        finally:
            other.kill()


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_half_a_minute_under_lock_ends_no_session(
    begin: str, serve: Callable[..., Server], count: Callable[[str], None]
) -> None:
    """No request waits for the end of the lock: writes get 503, and reads succeed."""
    server = serve()
    server.register()
    database = server.folder / "handstamp.db"
    rounds = 0
    async with patient_client() as http:
        nodes = Nodes(http, [server.url])
        staying, leaving, gone, unlucky, *others = [await nodes.sign_in() for _ in range(DEVICES)]
        await gone.sign_out_with_retries()
        before = unlucky.tokens
        await unlucky.renew()
        unlucky.tokens = before  # as if the answer had been lost; the retry will be late
        with locked(database, begin):
            retrying = [asyncio.create_task(device.require_active()) for device in (unlucky, *others)]
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                done = await ask_everything(nodes, staying, leaving)
                assert sorted(done) == ["/healthz", "/profile", "/readyz"]
                assert (await gone.profile()).status_code == 401
                rounds += 1
            require_still_retrying(retrying)
        await asyncio.gather(*retrying)
        await staying.require_active()
        assert (await leaving.profile()).status_code == 200, "503 is no sign-out"
        await leaving.sign_out_with_retries()
        for device in (leaving, gone):
            await device.require_ended()
    count(f"locked for {SECONDS:g} s by {begin}, everything asked {rounds} times: {nodes.counts()}")
    assert rounds > 1
    with closing(sqlite3.connect(database)) as rows:
        assert rows.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert rows.execute("SELECT count(*) FROM event WHERE kind = 'reuse_detected'").fetchone() == (0,)
