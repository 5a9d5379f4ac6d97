"""Start the applications of `examples/`, each as its own process that trusts a real service."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from handstamp.crypto.identifiers import new_id
from tests.commands import environment_with, run_command
from tests.integration.helpers import new_email
from tests.serving import PASSWORD, Server, free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
_UVICORN = ("-m", "uvicorn", "--log-level", "warning", "--port", "{port}")
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "fastapi": (*_UVICORN, "orders:app"),
    "asgi": (*_UVICORN, "orders:app"),
    "django": ("orders.py", "runserver", "--noreload", "{port}"),
    "django async": (*_UVICORN, "--lifespan", "off", "orders:asgi"),
    "drf": ("orders.py", "runserver", "--noreload", "{port}"),
    "flask": ("-m", "flask", "--app", "orders", "run", "--port", "{port}"),
}
"""The command of each example, as its module docstring gives it."""
_START_PATIENCE_S = 120.0

Applications = Mapping[str, httpx.Client]


@contextmanager
def all_examples(server: Server) -> Iterator[Applications]:
    """Start every example with a credential for `server` and yield a client for each."""
    credential = json.loads(command(server, "credentials", "create", f"orders-{new_id()}", "--json"))["credential"]
    environment = environment_with({}) | {"AUTH_ISSUER": server.url, "AUTH_CREDENTIAL": credential}
    with ExitStack() as stack:
        clients = {name: stack.enter_context(_run_example(name, server.folder, environment)) for name in COMMANDS}
        for name, client in clients.items():
            _wait_for(name, client, server.folder)
        yield clients


def command(server: Server, *arguments: str, stdin: str = "") -> str:
    """Run a `handstamp` command beside a server and return what it printed."""
    ran = run_command(server.folder, *arguments, stdin=stdin)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def new_admin(server: Server) -> str:
    """Create an account with the role `admin` and return its address."""
    email = new_email("admin")
    command(server, "users", "create", email, "--role", "admin", "--password-stdin", stdin=PASSWORD)
    return email


@contextmanager
def _run_example(name: str, folder: Path, environment: Mapping[str, str]) -> Iterator[httpx.Client]:
    port = free_port()
    arguments = [part.format(port=port) for part in COMMANDS[name]]
    with _log(name, folder).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=EXAMPLES / name.split(maxsplit=1)[0], env=environment, stdout=log, stderr=log
        )
    try:
        with httpx.Client(base_url=f"http://localhost:{port}", trust_env=False, timeout=30, verify=False) as client:
            yield client
    finally:
        process.kill()
        process.wait()


def _wait_for(name: str, client: httpx.Client, folder: Path) -> None:
    deadline = time.monotonic() + _START_PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if client.get("/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"the {name} example did not start:\n{_log(name, folder).read_text()}")


def _log(name: str, folder: Path) -> Path:
    return folder / f"{name.replace(' ', '-')}.log"
