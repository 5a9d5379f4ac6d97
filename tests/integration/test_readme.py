"""Tests of the commands and programs in the README, run as they are printed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.commands import environment_with, run_process
from tests.serving import EMAIL, PASSWORD, Server, free_port
from tests.verifying import eventually

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_tour_prints_what_it_shows(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Every command of the tour prints the output that the README shows."""
    server = serve()
    tour = README.read_text().split("## A tour")[1].split("\n## ")[0]
    commands = "\n".join(re.findall(r"```sh\n(.*?)```", tour, re.DOTALL))
    shown = "".join(re.findall(r"```(?:json|text)\n(.*?)```", tour, re.DOTALL))
    script = commands.replace("localhost:8000", f"localhost:{server.port}")
    ran = subprocess.run(["bash", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stderr == ""
    assert re.fullmatch(re.escape(shown).replace("…", '[^"]+'), ran.stdout), f"shown:\n{shown}\nprinted:\n{ran.stdout}"


def test_the_three_lines_verify_a_token(serve: Callable[..., Server]) -> None:
    """The README's three lines for another service verify a token."""
    server = serve()
    section = README.read_text().split("## In your other services")[1].split("\n## ")[0]
    (command,) = re.findall(r"```sh\n\.venv/bin/handstamp (.*?)#", section)
    lines = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    made = run_process(server.folder, *command.split())
    credential = made.stdout.splitlines()[1].strip()
    server.register()
    tokens = server.login()
    program = lines.replace("http://localhost:8000", server.url).replace("ID:SECRET", credential)
    known: dict[str, Any] = {"token": tokens["accessToken"]}
    exec(program, known)
    assert known["claims"].sid == tokens["sessionId"]
    known["verifier"].close()


def test_the_twelve_lines_are_an_application(tmp_path: Path) -> None:
    """The README's application of twelve lines signs up, signs in, accepts the token, signs out and refuses it.

    Only the port is changed.
    """
    section = README.read_text().split("## In your own application")[1].split("\n## ")[0]
    (application,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len([line for line in application.splitlines() if line]) == 12
    (command,) = re.findall(r"^uvicorn .*", section, re.MULTILINE)
    port = free_port()
    (tmp_path / "app.py").write_text(application.replace("localhost:8000", f"localhost:{port}"))
    arguments = [sys.executable, "-m", *command.split(), "--port", str(port), "--log-level", "warning"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(arguments, cwd=tmp_path, env=environment_with({}), stdout=log, stderr=log) as process,
        httpx.Client(base_url=f"http://localhost:{port}", trust_env=False, timeout=30) as client,
    ):
        try:
            assert eventually(lambda: _answers(client), within_s=60), (tmp_path / "log").read_text()
            person = {"email": EMAIL, "password": PASSWORD}
            assert client.get("/hello").status_code == 401
            account = client.post("/auth/register", json=person).json()["user"]["id"]
            tokens = client.post("/auth/login", json=person).json()
            bearer = {"authorization": f"Bearer {tokens['accessToken']}"}
            assert client.get("/hello", headers=bearer).json() == f"Hello, {account}"
            assert client.post("/auth/logout", headers=bearer).status_code == 204
            refused = client.get("/hello", headers=bearer)
            assert (refused.status_code, refused.json()["code"], refused.json()["reason"]) == (401, "session_ended", "logout")
            assert "<form" in client.get("/auth/create-account").text
        finally:
            process.terminate()
    assert process.returncode == -signal.SIGTERM  # uvicorn shuts down, then raises the signal again


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/auth/readyz").status_code == 200
    except httpx.TransportError:
        return False
