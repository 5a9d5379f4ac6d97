"""Self-signed certificates."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def build_command(certificate: Path, key: Path, *, name: str = "localhost") -> list[str]:
    """Return the command that creates a self-signed certificate and its key."""
    return [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
        *("-keyout", str(key), "-out", str(certificate)),
    ]


def create_certificate(folder: Path) -> Path:
    """Create a certificate for localhost in a folder, with its key beside it, and return its file."""
    subprocess.run(build_command(folder / "certificate.pem", folder / "key.pem"), check=True, capture_output=True)
    return folder / "certificate.pem"


def serve_with(certificate: Path) -> ssl.SSLContext:
    """Return the context of a server with a certificate of `create_certificate`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context
