"""Tests the running service against its OpenAPI document, with requests generated from the document.

Schemathesis runs as a process of its own. Its pytest plugin is off, because it would be imported, and its cases generated, each
time tests are collected.
"""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path

import pytest

from handstamp.web.routing import OPERATIONS
from tests.integration.helpers import create_credential, profile, run_server, sign_in_new_user

pytestmark = pytest.mark.slow
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
EXAMPLES = 40
"""Random requests per endpoint. Requests that try each rule of the schema once come in addition."""
READ_WITH_TOKEN = ("/profile", "/sessions")
"""Endpoints called with a valid access token. The other endpoints that take one would end its session."""


def test_generated_requests_get_documented_answers(tmp_path: Path) -> None:
    """Valid and slightly invalid requests get a documented status, type and body (R74, R81)."""
    with run_server(tmp_path, SIGN_IN_BY_CODE="on") as server, server.client() as client:
        ada, service = sign_in_new_user(client), create_credential(server, "resource-server")
        basic = base64.b64encode(f"{service.id}:{service.secret}".encode()).decode()
        authorizations = dict.fromkeys(READ_WITH_TOKEN, f"Bearer {ada.access}") | {
            operation.path: f"Basic {basic}" for operation in OPERATIONS if operation.credential == "client"
        }
        (tmp_path / "schemathesis.toml").write_text(
            "".join(
                f'[[operations]]\ninclude-path = "{path}"\nheaders = {{ Authorization = "{value}" }}\n'
                for path, value in authorizations.items()
            )
        )
        options = ["--phases=examples,coverage,fuzzing", f"--max-examples={EXAMPLES}", "--generation-deterministic"]
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
                *("--config-file=schemathesis.toml", "run", f"{server.url}/openapi.json", f"--checks={','.join(CHECKS)}"),
                *(*options, "--suppress-health-check=all", "--continue-on-failure", "--no-color"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (tested,) = re.findall(r"Tested: (\d+)", done.stdout)
        assert int(tested) == len(OPERATIONS), done.stdout
        assert profile(client, ada).status_code == 200
        log = server.log.read_text()
        assert "Traceback" not in log
        assert "unexpected_error" not in log
