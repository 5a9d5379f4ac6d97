"""The verifier connects with https: it checks certificates and uses the environment's proxy."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import create_certificate, serve_with
from tests.commands import environment_with
from tests.hostile import Hostile, hostile
from tests.tunnels import Tunnels
from tests.verifying import CREDENTIAL

PROGRAM = """
import sys
from handstamp import HandstampError, Verifier

url, token, credential = sys.argv[1:]
verifier = Verifier(url, audience=url, credential=credential, timeout_s=10)
try:
    print(verifier.verify(token, check="live").sub)
except HandstampError as error:
    print(error.why)
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a certificate for localhost, with its key in the same folder."""
    return create_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def issuer(certificate: Path) -> Iterator[Hostile]:
    """Run a valid issuer over TLS."""
    with hostile(tls=serve_with(certificate)) as server:
        yield server


def verify_in_process(issuer: Hostile, **environment: str) -> str:
    """Verify a token in a process with these environment variables and return what it printed."""
    clean = {name: value for name, value in environment_with({}).items() if not name.lower().endswith("_proxy")}
    arguments = [sys.executable, "-c", PROGRAM, issuer.url, issuer.token(), CREDENTIAL]
    done = subprocess.run(arguments, env=clean | environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_certificate_of_an_unknown_authority_is_refused(issuer: Hostile) -> None:
    """A certificate of an unknown authority is refused before the credential or a token is sent (R34)."""
    assert "CERTIFICATE_VERIFY_FAILED" in verify_in_process(issuer)
    assert issuer.asked == []


def test_a_known_certificate_is_accepted(issuer: Hostile, certificate: Path) -> None:
    """The verifier trusts the certificates in `SSL_CERT_FILE`."""
    assert verify_in_process(issuer, SSL_CERT_FILE=str(certificate)) == "account-1"


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_the_proxy_of_the_environment_forwards_tls(issuer: Hostile, certificate: Path, scheme: str) -> None:
    """The proxy sees the host, the port and its own login, but neither the credential nor the token."""
    with Tunnels(issuer.port) as tunnels:
        environment = {"SSL_CERT_FILE": str(certificate), "https_proxy": scheme + tunnels.address}
        assert verify_in_process(issuer, **environment) == "account-1"
        assert len(tunnels.requests) >= 2
        login = base64.b64encode(b"ada:p@ss").decode()
        for request in tunnels.requests:
            assert request.startswith(f"CONNECT localhost:{issuer.port} HTTP/1.")
            assert f"Proxy-Authorization: Basic {login}" in request
            assert "\r\nAuthorization:" not in request
        tunnels.requests.clear()
        assert verify_in_process(issuer, **environment, no_proxy="localhost") == "account-1"
        assert tunnels.requests == []
        tunnels.shutdown()
