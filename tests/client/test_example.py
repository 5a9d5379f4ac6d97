"""The command of `examples/client`, run as its docstring says, against a service and the API of another example."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from handstamp.client import FileTokens
from handstamp.crypto.identifiers import new_id
from tests.client.helpers import generation, keep, load_tokens, stale
from tests.commands import environment_with, run_command
from tests.integration.helpers import sign_up
from tests.serving import PASSWORD, Server, free_port

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE_S = 60


@pytest.fixture
def api(server: Server, tmp_path: Path) -> Iterator[str]:
    """Run the Starlette example and yield its URL."""
    port = free_port()
    made = run_command(server.folder, "credentials", "create", f"orders-{new_id()}", "--json").stdout
    credential = json.loads(made)["credential"]
    command = [sys.executable, "-m", "uvicorn", "--log-level", "warning", "--port", str(port), "orders:app"]
    environment = environment_with({}) | {"AUTH_ISSUER": server.url, "AUTH_CREDENTIAL": credential}
    with (tmp_path / "api.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=EXAMPLES / "asgi", env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(f"http://localhost:{port}/healthz"):
            assert time.monotonic() < deadline, (tmp_path / "api.log").read_text()
            time.sleep(0.05)
        yield f"http://localhost:{port}"
    finally:
        process.kill()
        process.wait()


def test_the_command_stays_signed_in(server: Server, client: httpx.Client, api: str, tmp_path: Path) -> None:
    """The command signs in, places an order, renews in two processes at once and signs out. It prints each step."""
    tokens = tmp_path / "tokens.json"

    def orders(*arguments: str, stdin: str = "") -> tuple[int, str]:
        settings = {"AUTH_ISSUER": server.url, "ORDERS_API": api, "ORDERS_TOKENS": str(tokens), "NO_PROXY": "localhost"}
        ran = subprocess.run(
            [sys.executable, str(EXAMPLES / "client" / "orders.py"), *arguments],
            env=os.environ | settings,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return ran.returncode, ran.stdout + ran.stderr

    assert orders("list") == (1, "No session is stored: call sign_in() first.\n")
    email = sign_up(client)
    assert orders("sign-in", email, stdin=f"{PASSWORD}\n") == (0, f"Signed in as {email}.\n")
    assert tokens.stat().st_mode & 0o777 == 0o600
    assert orders("place") == (0, "Placed order 1.\n")
    store = FileTokens(tokens)
    session = load_tokens(store).session_id
    keep(store, stale(load_tokens(store)))
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: orders("list"), range(2))) == [(0, "Your orders: [1]\n")] * 2
    assert generation(server, session) == 1
    assert orders("sign-out") == (0, "Signed out, here and at the service.\n")
    assert not tokens.exists()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
