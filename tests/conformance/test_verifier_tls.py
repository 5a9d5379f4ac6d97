"""The verifier reaches the service over https: certificates are checked, and the environment's proxy sees TLS alone."""

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

from tests.certificates import making
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
    """A proxy that connects whoever asks with CONNECT (RFC 9110 §9.3.6) to one port, and keeps what was sent before TLS began."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        """Listen on a port of this machine."""
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.upstream = port
        self.requests: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        """User, password, host and port, as in a URL."""
        return f"ada:p%40ss@127.0.0.1:{self.server_address[1]}"


class Tunnel(socketserver.BaseRequestHandler):
    """One connection of it."""

    server: Tunnels

    def handle(self) -> None:
        """Connect, and pass on both directions until one side closes."""
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
    """Make a certificate for localhost; its key lies beside it."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(making(folder / "certificate.pem", folder / "key.pem"), check=True, capture_output=True)
    return folder / "certificate.pem"


@pytest.fixture
def issuer(certificate: Path) -> Iterator[Hostile]:
    """Serve a sound issuer over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with hostile(tls=context) as server:
        yield server


def verified(issuer: Hostile, **environment: str) -> str:
    """Verify a token in a process with these variables and return what it printed."""
    clean = {name: value for name, value in environment_with({}).items() if not name.lower().endswith("_proxy")}
    arguments = [sys.executable, "-c", PROGRAM, issuer.url, issuer.token(), CREDENTIAL]
    done = subprocess.run(arguments, env=clean | environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_certificate_of_an_unknown_authority_is_refused(issuer: Hostile) -> None:
    """Neither the credential nor the token is sent there (R34)."""
    assert "CERTIFICATE_VERIFY_FAILED" in verified(issuer)
    assert issuer.asked == []


def test_a_known_certificate_is_accepted(issuer: Hostile, certificate: Path) -> None:
    """The operating system's store counts, or `SSL_CERT_FILE`."""
    assert verified(issuer, SSL_CERT_FILE=str(certificate)) == "account-1"


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_the_proxy_of_the_environment_forwards_tls(issuer: Hostile, certificate: Path, scheme: str) -> None:
    """It learns host and port and its own login, and neither the credential nor the token."""
    with Tunnels(issuer.port) as tunnels:
        environment = {"SSL_CERT_FILE": str(certificate), "https_proxy": scheme + tunnels.address}
        assert verified(issuer, **environment) == "account-1"
        assert len(tunnels.requests) >= 2
        login = base64.b64encode(b"ada:p@ss").decode()
        for request in tunnels.requests:
            assert request.startswith(f"CONNECT localhost:{issuer.port} HTTP/1.")
            assert f"Proxy-Authorization: Basic {login}" in request
            assert "\r\nAuthorization:" not in request
        tunnels.requests.clear()
        assert verified(issuer, **environment, no_proxy="localhost") == "account-1"
        assert tunnels.requests == []
        tunnels.shutdown()
