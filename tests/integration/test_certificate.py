"""Tests of a TLS certificate that is renewed while the service runs, on real sockets."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from handstamp.web.certificate import Certificate
from tests import certificates
from tests.serving import Server
from tests.verifying import eventually

pytestmark = pytest.mark.xdist_group("certificate")


class Pair:
    """The files of one certificate and its key."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.cert, self.key = folder / "tls.crt", folder / "tls.key"
        subprocess.run(certificates.build_command(self.cert, self.key), check=True, capture_output=True)

    @property
    def presented(self) -> bytes:
        """What a client of a server with this certificate sees, DER."""
        return ssl.PEM_cert_to_DER_cert(self.cert.read_text())


class TlsServer(Server):
    """A server whose clients check no certificate, because it changes."""

    def client(self, **options: object) -> httpx.Client:
        """Return a client."""
        return super().client(**{"verify": False} | options)

    def presented(self) -> bytes:
        """Return the certificate that a new connection gets."""
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", self.port)))


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Server:
    """Return a server that is not started yet, with a certificate in files that tests replace."""
    workers = ("--workers", str(request.param)) if request.param > 1 else ()
    return TlsServer(tmp_path, "--tls-cert", str(tmp_path / "tls.crt"), "--tls-key", str(tmp_path / "tls.key"), *workers)


def all_present(server: TlsServer, pair: Pair) -> bool:
    """Return whether ten new connections, which all workers share, get this certificate."""
    return all(server.presented() == pair.presented for _ in range(10))


def replace_files(folder: Path, pair: Pair) -> None:
    """Rename new files over the old ones, as certbot does."""
    for name, file in (("tls.crt", pair.cert), ("tls.key", pair.key)):
        (folder / f"{name}.new").write_bytes(file.read_bytes())
        (folder / f"{name}.new").rename(folder / name)


@pytest.mark.slow
def test_a_renewed_certificate_is_served_without_a_restart(server: TlsServer, tmp_path: Path) -> None:
    """New connections get it by themselves. A broken pair is logged and changes nothing. Connections stay open throughout."""
    first, second, third = (Pair(tmp_path / name) for name in ("first", "second", "third"))
    server.first += "from handstamp.web import certificate; certificate.POLL_INTERVAL_S = 0.5; "
    replace_files(tmp_path, first)
    try:
        with server.start().client() as client:
            assert all_present(server, first)
            assert client.get("/healthz").status_code == 200
            replace_files(tmp_path, second)
            assert eventually(lambda: all_present(server, second), within_s=60)
            assert client.get("/healthz").status_code == 200  # the connection of the first certificate is still open
            (tmp_path / "tls.crt").write_bytes(third.cert.read_bytes())  # its key has not arrived yet
            assert eventually(lambda: "certificate_refused" in server.log.read_text(), within_s=60)
            assert all_present(server, second)
            (tmp_path / "tls.key").write_bytes(third.key.read_bytes())
            assert eventually(lambda: all_present(server, third), within_s=60)
            assert client.get("/healthz").status_code == 200
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_sighup_reads_the_certificate_at_once(server: TlsServer, tmp_path: Path) -> None:
    """The signal reaches every process. Each logs what is wrong with the files, or serves them, and no request fails."""
    first, second = (Pair(tmp_path / name) for name in ("first", "second"))
    replace_files(tmp_path, first)
    try:
        with server.start().client() as client:
            assert server.process is not None
            server.process.send_signal(signal.SIGHUP)
            workers = max(1, len(server.options) - 4)
            assert eventually(lambda: server.log.read_text().count("certificate_renewed") == workers, within_s=60)
            replace_files(tmp_path, second)
            server.process.send_signal(signal.SIGHUP)
            assert eventually(lambda: all_present(server, second), within_s=60)
            (tmp_path / "tls.key").write_text("rubbish")
            server.process.send_signal(signal.SIGHUP)
            assert eventually(lambda: server.log.read_text().count("certificate_refused") == workers, within_s=60)
            assert all_present(server, second)
            assert client.get("/healthz").status_code == 200
            assert server.process.poll() is None
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_sighup_ends_no_process(serve: Callable[..., Server], options: tuple[str, ...]) -> None:
    """Without TLS there is nothing to read again. The process and its workers go on, even if each gets the signal itself."""
    server = serve(*options)
    with server.client() as client:
        assert client.get("/healthz").status_code == 200
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        os.killpg(server.process.pid, signal.SIGHUP)  # as when a terminal is closed
        for _ in range(20):
            assert client.get("/healthz").status_code == 200
        assert server.register().status_code == 201
        assert client.get("/healthz").status_code == 200
    assert server.kill(signal.SIGTERM) in (0, -signal.SIGTERM)


def test_a_secret_that_kubernetes_exchanges_is_seen(tmp_path: Path) -> None:
    """Kubernetes mounts symbolic links to a folder, and exchanges the folder's link."""
    first, second = Pair(tmp_path / "..first"), Pair(tmp_path / "..second")
    (tmp_path / "..data").symlink_to("..first")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    certificate = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    assert handshake(certificate) == first.presented
    (tmp_path / "..data_tmp").symlink_to("..second")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    certificate.read_again()
    assert handshake(certificate) == second.presented
    assert handshake(certificate, server_name="auth.example.com") == second.presented


def test_what_is_wrong_is_logged_once_for_each_version_of_the_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A missing file, rubbish, another's key and a key with a passphrase: each is named once, and the old pair is served."""
    good, other = Pair(tmp_path / "good"), Pair(tmp_path / "other")
    locked = subprocess.run(
        ["openssl", "pkey", "-in", str(other.key), "-aes256", "-passout", "pass:x"], check=True, capture_output=True
    ).stdout
    replace_files(tmp_path, good)
    certificate = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    for content in (None, b"rubbish", other.key.read_bytes(), locked):
        (tmp_path / "tls.key").unlink(missing_ok=True)
        if content is not None:
            (tmp_path / "tls.key").write_bytes(content)
        if content is locked:
            (tmp_path / "tls.crt").write_bytes(other.cert.read_bytes())
        caplog.clear()
        for _ in range(3):
            certificate.read_again()
        (record,) = caplog.records
        assert "certificate_refused" in record.getMessage()
        assert str(tmp_path / "tls.key") in record.getMessage()
        assert handshake(certificate) == good.presented


def handshake(certificate: Certificate, server_name: str | None = None) -> bytes:
    """Return the certificate that a client gets, through memory instead of a socket."""
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    client = trusting.wrap_bio(inward, outward, server_hostname=server_name)
    server = certificate.context.wrap_bio(outward, inward, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.getpeercert(binary_form=True) or b""
