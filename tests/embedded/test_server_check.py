"""An application is told which options of its server are unsafe, once, and only if that is certain. The servers are real."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.commands import environment_with
from tests.serving import free_port
from tests.verifying import eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("server-check")]
UPGRADES = "server_reads_bodies_as_requests"
CLIENTS = "server_trusts_every_client"
_APPLICATION = """
import os
from fastapi import FastAPI
from handstamp.embedded import Handstamp

auth = Handstamp(database="sqlite:///app.db", issuer="http://localhost/auth")
app = FastAPI(lifespan=auth.lifespan)
app.mount("/auth", auth.asgi)
if os.environ.get("WRAPPED"):
    @app.middleware("http")
    async def wrap(request, call_next):
        return await call_next(request)
"""


@pytest.mark.parametrize(
    ("options", "wrapped", "expected"),
    [
        (["--http", "httptools"], "", {UPGRADES}),
        (["--http", "httptools", "--forwarded-allow-ips", "127.0.0.1, *"], "", {UPGRADES, CLIENTS}),
        (["--http", "httptools", "--forwarded-allow-ips", "*", "--no-proxy-headers"], "", {UPGRADES}),
        (["--http", "h11"], "", set()),
        (["--http", "h11", "--forwarded-allow-ips", "*"], "", {CLIENTS}),
        (["--http", "httptools"], "yes", set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unsafe_options_are_named_once(tmp_path: Path, options: list[str], wrapped: str, expected: set[str]) -> None:
    """Uvicorn with httptools, and trust in every client, are warned about at the first request. h11 is not.

    A middleware that wraps `receive` hides the server, and then nothing is said.
    """
    (tmp_path / "application.py").write_text(_APPLICATION)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "application:app", "--port", str(port), "--log-level", "warning", *options]
    environment = environment_with({}) | {"WRAPPED": wrapped, "PYTHONPATH": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=log)
    try:
        with httpx.Client(base_url=f"http://localhost:{port}/auth", trust_env=False, verify=False) as client:
            assert eventually(lambda: _answers(client), within_s=60)
            assert [client.get("/healthz").status_code for _ in range(3)] == [200] * 3
    finally:
        process.terminate()
        process.wait(60)
    text = (tmp_path / "log").read_text()
    for event in (UPGRADES, CLIENTS):
        assert text.count(event) == int(event in expected), text


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False
