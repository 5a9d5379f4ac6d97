"""The modules that commands import at their start. They are counted, because seconds depend on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from handstamp.cli import COMMANDS, app
from tests.commands import environment_with, environment_without_coverage, output_of, run_command

WEB = {"starlette", "uvicorn", "httptools", "uvloop", "jinja2", "babel", "fastapi", "email_validator", "dns", "click"}
"""Modules that only a server needs."""
HEAVY = WEB | {"asyncio", "msgspec", "cryptography", "argon2", "ssl", "http", "sqlite3", "rich", "pydantic", "structlog"}
_PROGRAM = """
import json, sys
from handstamp.cli import main
try:
    main()
except SystemExit as leaving:
    assert leaving.code == 0, leaving.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
_REQUESTS = """
import asyncio, gc, json, sys
from handstamp.assemble.application import application

async def serve():
    app = application()
    scope = {"type": "http", "method": "GET", "path": "/healthz", "root_path": "", "query_string": b"", "headers": [],
             "client": ("127.0.0.1", 1), "server": ("localhost", 8000), "scheme": "http", "http_version": "1.1"}
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        if message["type"] == "http.response.start":
            assert message["status"] in (200, 401), message
    counts = [0, 0, 0]
    def count(phase, info):
        counts[info["generation"]] += phase == "start"
    gc.callbacks.append(count)
    for _ in range(2000):
        await app({**scope, "state": {}}, receive, send)
    gc.callbacks.remove(count)
    for path in ("/sign-in", "/profile"):
        await app({**scope, "path": path, "headers": [(b"accept-language", b"en-GB, de;q=0.5")], "state": {}}, receive, send)
    before = "babel" in sys.modules
    await app({**scope, "path": "/sign-in", "headers": [(b"accept-language", b"de")], "state": {}}, receive, send)
    print(json.dumps([gc.get_freeze_count(), counts, before, "babel" in sys.modules]))

asyncio.run(serve())
"""


def modules_of(folder: Path, *arguments: str) -> set[str]:
    """Return the modules that a command has imported when it ends."""
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        cwd=folder,
        env=environment_without_coverage(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(result.stderr))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a database."""
    folder = tmp_path_factory.mktemp("operated")
    output_of(run_command(folder, "migrate"))
    output_of(run_command(folder, "credentials", "create", "orders"))
    return folder


def test_help_imports_only_the_command_line(tmp_path: Path) -> None:
    """`handstamp --help` imports no command and no dependency of a command (the limit is 0.25 s of processor time)."""
    loaded = modules_of(tmp_path, "--help")
    assert loaded & HEAVY == set()
    assert {name for name in loaded if name.startswith("handstamp")} == {
        *("handstamp", "handstamp.cli", "handstamp.cli.common", "handstamp.errors", "handstamp.text"),
    }


@pytest.mark.parametrize("name", ["keys", "users", "sessions", "credentials"])
def test_lists_import_no_web_server(name: str, folder: Path) -> None:
    """A list waits neither for the import of a web server nor for Rich, which only a table on a terminal needs."""
    loaded = modules_of(folder, name, "list")
    assert loaded & (WEB | {"rich", "pydantic"}) == set()
    assert not [name for name in loaded if name.startswith("handstamp.web")]


def test_startup_objects_are_frozen_for_the_collector(tmp_path: Path) -> None:
    """Objects of the start-up are frozen, and 2,000 requests create so few cycles that the collector seldom runs."""
    ran = subprocess.run(
        [sys.executable, "-c", _REQUESTS], cwd=tmp_path, env=environment_with({"ISSUER": "http://localhost:8000"}),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    frozen, collections, *has_babel = json.loads(ran.stdout)
    assert frozen > 10_000
    assert collections[1:] == [0, 0]
    assert collections[0] <= 2
    assert has_babel == [False, True]  # it is imported when somebody reads another language than English


def test_the_command_list_repeats_each_commands_help(tmp_path: Path) -> None:
    """The texts in `handstamp --help` equal the help of each command, although it imports none of them."""
    for name, summary in COMMANDS.items():
        help_text = " ".join(output_of(run_command(tmp_path, name, "--help")).split())
        assert summary in help_text, name
    assert app.info.name == "handstamp"
