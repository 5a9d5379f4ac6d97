"""Self-signed certificates."""

from __future__ import annotations

from pathlib import Path


def build_command(certificate: Path, key: Path, *, name: str = "localhost") -> list[str]:
    """Return the command that creates a self-signed certificate and its key."""
    return [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
        *("-keyout", str(key), "-out", str(certificate)),
    ]
