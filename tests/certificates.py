"""Certificates for localhost."""

from __future__ import annotations

from pathlib import Path


def build_command(certificate: Path, key: Path) -> list[str]:
    """Return the command that creates a self-signed certificate and its key."""
    return [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        *("-keyout", str(key), "-out", str(certificate)),
    ]
