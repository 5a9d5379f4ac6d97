"""Tests the running service against its OpenAPI document, with requests generated from the document.

Schemathesis runs as a process of its own. Its pytest plugin is off, because it would be imported, and its cases generated, each
time tests are collected.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from handstamp.web.routing import OPERATIONS
from tests.commands import run_command
from tests.integration.helpers import create_credential, profile, run_server, sign_in
from tests.serving import PASSWORD

pytestmark = pytest.mark.slow
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
ADA = "ada@another.example"
HOOKS = """
import schemathesis

@schemathesis.hook
def before_call(context, case, kwargs):
    authorization = {authorizations!r}.get(case.operation.path)
    if authorization is not None:
        case.headers["Authorization"] = authorization
"""
"""Gives each request the credential of its endpoint."""
EXAMPLES = 5
"""Random requests per endpoint. Requests that try each rule of the schema once come in addition."""
WITH_TOKEN = ("/profile", "/sessions", "/me/export", "/email/verify", "/email/change")
"""Endpoints called with a valid access token. The others that take one would end its session. `/me/delete` would do it, too:
generated requests learn the address that confirms it from other answers."""
MAIL = {"SMTP_URL": "inbox", "SIGN_IN_BY_CODE": "on"}
"""Without mail, most operations for it are not found."""


def test_generated_requests_get_documented_answers(tmp_path: Path) -> None:
    """Valid and slightly invalid requests get a documented status, type and body (R74, R81)."""
    with run_server(tmp_path, **MAIL) as server, server.client() as client:
        made = run_command(tmp_path, "users", "create", ADA, "--password-stdin", stdin=PASSWORD, **server.settings)
        assert made.returncode == 0, made.stderr
        ada, service = sign_in(client, ADA), create_credential(server, "resource-server")
        basic = base64.b64encode(f"{service.id}:{service.secret}".encode()).decode()
        authorizations = dict.fromkeys(WITH_TOKEN, f"Bearer {ada.access}") | {
            operation.path: f"Basic {basic}" for operation in OPERATIONS if operation.credential == "client"
        }
        (tmp_path / "hooks.py").write_text(HOOKS.format(authorizations=authorizations))
        options = ["--phases=examples,coverage,fuzzing", f"--max-examples={EXAMPLES}", "--generation-deterministic"]
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
                *("run", f"{server.url}/openapi.json", f"--checks={','.join(CHECKS)}"),
                *(*options, "--suppress-health-check=all", "--continue-on-failure", "--no-color"),
            ],
            cwd=tmp_path,
            env=os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (tested,) = re.findall(r"Tested: (\d+)", done.stdout)
        assert int(tested) == len(OPERATIONS), done.stdout
        assert profile(client, ada).status_code == 200
        log = server.log.read_text()
        assert '"mail_requested"' in log
        assert '"profile_changed"' in log
        assert "Traceback" not in log
        assert "unexpected_error" not in log
