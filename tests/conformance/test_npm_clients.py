"""Runs certified, unmodified OAuth clients of another language, as an independent reading of the RFCs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.helpers import create_credential
from tests.npm import PATIENCE_S, install_scripts
from tests.serving import EMAIL, PASSWORD, Server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("npm-clients")]
SOURCE = Path(__file__).with_name("node")
SESSIONS = 12
CHECKS = (
    "oauth4webapi discovers",
    "oauth4webapi renews",
    "oauth4webapi validates access tokens",
    "oauth4webapi uses an access token",
    "oauth4webapi introspects",
    "oauth4webapi revokes",
    "oauth4webapi proves its key",
    "openid-client renews",
    "openid-client proves its key",
    "openid-client introspects",
    "openid-client revokes",
)
"""The names of the checks in `node/clients.mjs`."""
ALGORITHMS = ("ES256", "Ed25519", "RS256")


@pytest.fixture(scope="module")
def scripts() -> Path:
    """Return a folder with the scripts and their packages."""
    return install_scripts(SOURCE)


def node_major() -> int:
    """Return the major version of Node."""
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0])


@pytest.fixture(scope="module", params=ALGORITHMS)
def outcomes(
    request: pytest.FixtureRequest, scripts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str | None]]:
    """Run all clients against a service with each algorithm in turn; yield the error of each check, or None."""
    if request.param == "Ed25519" and node_major() < 20:
        pytest.skip("Node 18 reads an Ed25519 key only under its former algorithm name, EdDSA (T20).")
    server = Server(tmp_path_factory.mktemp("npm"), ALGORITHM=request.param)
    try:
        server.start()
        assert server.register().status_code == 201
        service = create_credential(server, "resource-server")
        given = {
            "issuer": server.url,
            "audience": server.url,
            "algorithm": request.param,
            "account": {"email": EMAIL, "password": PASSWORD},
            "service": {"id": service.id, "secret": service.secret},
            "sessions": [server.login() for _ in range(SESSIONS)],
        }
        ran = subprocess.run(
            ["node", "clients.mjs"],
            cwd=scripts,
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        yield json.loads(ran.stdout)
        assert "Traceback" not in server.log.read_text()
    finally:
        server.kill()


@pytest.mark.parametrize("check", CHECKS)
def test_certified_clients_work_with_the_service(outcomes: dict[str, str | None], check: str) -> None:
    """oauth4webapi and openid-client work with every endpoint, from the metadata alone (R2, R8, R33, R34, R49, R50)."""
    assert outcomes[check] is None, outcomes[check]


def test_the_list_of_checks_is_complete(outcomes: dict[str, str | None]) -> None:
    """`CHECKS` contains all checks of the script."""
    assert tuple(outcomes) == CHECKS
