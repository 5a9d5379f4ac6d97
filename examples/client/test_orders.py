"""Tests of the command. The service and a small orders API run on a thread.

pip install pytest 'handstamp[server,client]'
"""

import io
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

os.environ.setdefault("AUTH_ISSUER", "https://auth.example.com")
os.environ.setdefault("ORDERS_API", "https://api.example.com")

import orders

from handstamp.client import Auth, FileTokens
from handstamp.embedded import Handstamp
from handstamp.testing import VirtualClock
from handstamp.verify.asgi import HandstampMiddleware

PERSON = {"email": "ada@example.com", "password": secrets.token_urlsafe()}
Command = Callable[..., tuple[int, str]]


async def list_orders(_: Request) -> JSONResponse:
    return JSONResponse({"orders": [1]})


@pytest.fixture
def url(tmp_path: Path, handstamp_clock: VirtualClock) -> Iterator[str]:
    """Serve an orders API with its own sign-in under /auth, and return its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://localhost:{listening.getsockname()[1]}"
    auth = Handstamp(database=f"sqlite:///{tmp_path}/auth.db", issuer=f"{url}/auth", clock=handstamp_clock)
    signed_in = [Middleware(HandstampMiddleware, verifier=auth.verifier)]
    routes = [Mount("/auth", auth.asgi), Route("/orders", list_orders, middleware=signed_in)]
    app = Starlette(routes=routes, lifespan=auth.lifespan)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    assert httpx.post(f"{url}/auth/register", json=PERSON, trust_env=False, timeout=60).status_code == 201
    yield url
    server.should_exit = True
    thread.join()


@pytest.fixture
def command(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handstamp_clock: VirtualClock) -> Command:
    """Return a function that runs the command; it returns the exit status and the output."""
    auth = Auth(f"{url}/auth", FileTokens(tmp_path / "tokens.json"), origins=[url], clock=handstamp_clock)
    monkeypatch.setattr(orders, "auth", auth)
    monkeypatch.setattr(orders, "api", url)
    monkeypatch.setenv("NO_PROXY", "localhost")

    def run(*arguments: str, stdin: str = "") -> tuple[int, str]:
        output = io.StringIO()
        monkeypatch.setattr(sys, "argv", ["orders.py", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        monkeypatch.setattr(sys, "stdout", output)
        monkeypatch.setattr(sys, "stderr", output)
        return orders.main(), output.getvalue()

    return run


def test_the_command_stays_signed_in(command: Command, handstamp_clock: VirtualClock) -> None:
    assert command("sign-in", PERSON["email"], stdin=PERSON["password"]) == (0, "Signed in as ada@example.com.\n")
    assert command("list") == (0, "Your orders: [1]\n")
    handstamp_clock.advance(seconds=7 * 24 * 3600)
    assert command("list") == (0, "Your orders: [1]\n")
    assert command("sign-out") == (0, "Signed out, here and at the service.\n")
    assert command("list") == (1, "No session is stored: call sign_in() first.\n")


def test_a_wrong_password_is_refused(command: Command) -> None:
    status, output = command("sign-in", PERSON["email"], stdin="another sentence than that")
    assert (status, output) == (1, "That e-mail address and password do not match.\n")
