"""Adapters in the workers of gunicorn, forked from a process whose verifier is in use: threads, greenlets, event loops."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.commands import environment_with
from tests.integration.helpers import sign_in_new_user
from tests.integration.test_metrics import Metrics
from tests.serving import Server, free_port
from tests.verifying import SOON_S, credential_for, eventually

ROOT = Path(__file__).parents[2]
WORKERS = {
    "gthread": ("wsgi", "gthread", "--threads", "4"),
    "gevent": ("wsgi", "gevent"),
    "uvicorn": ("asgi", "uvicorn_worker.UvicornWorker"),
}


@contextmanager
def preloading(server: Server, kind: str, folder: Path) -> Iterator[httpx.Client]:
    """Run an application of `preloaded` in two workers; yield a client that opens a connection for each request."""
    application, worker, *options = WORKERS[kind]
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers=2", f"--bind=127.0.0.1:{port}", f"-k{worker}"]
    credential = credential_for(server, f"{kind}-{port}")
    (counts := folder / "counts").mkdir()
    environment = environment_with({}) | {
        "AUTH_ISSUER": server.url,
        "AUTH_CREDENTIAL": credential,
        "PROMETHEUS_MULTIPROC_DIR": str(counts),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *options, f"tests.adapters.preloaded:{application}"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        url, limits = f"http://127.0.0.1:{port}", httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=url, trust_env=False, verify=False, timeout=60, limits=limits) as client:
            yield client
    finally:
        process.terminate()
        process.wait(SOON_S)


def ask(client: httpx.Client, path: str, headers: dict[str, str]) -> tuple[str, int] | None:
    """Return the worker and the status, None while no worker listens."""
    try:
        answer = client.get(path, headers=headers)
    except httpx.TransportError:
        return None
    return answer.headers["x-worker"], answer.status_code


def ask_until(client: httpx.Client, path: str, headers: dict[str, str], expected: int) -> dict[str, int]:
    """Send requests, eight at once, until the last status of each of two workers is the expected one; return these."""
    last: dict[str, int] = {}
    deadline = time.monotonic() + SOON_S
    with ThreadPoolExecutor(8) as pool:
        while not (len(last) == 2 and set(last.values()) == {expected}):
            assert time.monotonic() < deadline, last
            last |= dict(filter(None, pool.map(lambda _: ask(client, path, headers), range(8))))
            time.sleep(0.02)
    return last


@pytest.mark.slow
@pytest.mark.parametrize("kind", WORKERS)
def test_forked_workers_refuse_an_ended_session(kind: str, server: Server, client: httpx.Client, tmp_path: Path) -> None:
    """Each worker follows the feed by itself, asks the service over connections of its own, and knows each session apart."""
    ada, bob = sign_in_new_user(client), sign_in_new_user(client)
    with preloading(server, kind, tmp_path) as application:
        workers = ask_until(application, "/feed", ada.bearer, 200)
        assert ask_until(application, "/live", ada.bearer, 200) == workers
        assert ask_until(application, "/offline", bob.bearer, 200) == workers
        assert client.post("/logout", headers=ada.bearer).status_code == 204
        refused = dict.fromkeys(workers, 401)
        assert ask_until(application, "/offline", ada.bearer, 401) == refused
        assert ask_until(application, "/live", ada.bearer, 401) == ask_until(application, "/feed", ada.bearer, 401) == refused
        assert ask_until(application, "/feed", bob.bearer, 200) == workers
        if WORKERS[kind][0] == "wsgi":
            seen = Metrics(application.get("/metrics").text)
            count = partial(seen.value, "handstamp_verifier_verifications_total", verifier=server.url)
            assert count(outcome="session_ended") >= 3 * len(workers), "one worker tells what all have counted"
            assert eventually(lambda: Metrics(application.get("/metrics").text).value("handstamp_verifier_ready") == 1)
    assert "Traceback" not in (tmp_path / "log").read_text()
