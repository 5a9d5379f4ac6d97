"""The verifier connects with https: it checks certificates and uses the environment's proxy."""

from __future__ import annotations

import base64
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.certificates import build_command
from tests.commands import environment_with
from tests.hostile import Hostile, hostile
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


class Tunnels(socketserver.ThreadingTCPServer):
    """A proxy that connects every CONNECT request (RFC 9110 §9.3.6) to one port and records the requests."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        """Listen on a port of this machine."""
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.upstream = port
        self.requests: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        """The user, password, host and port of the proxy, as in a URL."""
        return f"ada:p%40ss@127.0.0.1:{self.server_address[1]}"


class Tunnel(socketserver.BaseRequestHandler):
    """One connection to the proxy."""

    server: Tunnels

    def handle(self) -> None:
        """Connect, then forward both directions until one side closes."""
        self.server.requests.append(self.request.recv(65536).decode())
        with socket.create_connection(("127.0.0.1", self.server.upstream)) as upstream:
            self.request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=_pass_on, args=(upstream, self.request))
            back.start()
            _pass_on(self.request, upstream)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a certificate for localhost, with its key in the same folder."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(build_command(folder / "certificate.pem", folder / "key.pem"), check=True, capture_output=True)
    return folder / "certificate.pem"


@pytest.fixture
def issuer(certificate: Path) -> Iterator[Hostile]:
    """Run a valid issuer over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with hostile(tls=context) as server:
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
