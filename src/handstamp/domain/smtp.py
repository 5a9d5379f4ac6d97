"""The mail server of a deployment, and the address that its mail comes from."""

from __future__ import annotations

from typing import Literal

import msgspec

Protection = Literal["starttls", "tls", "none"]
"""How the connection is protected: TLS after a greeting (RFC 3207), TLS from the first byte (RFC 8314 §3.3), or not at all."""


class SmtpServer(msgspec.Struct, frozen=True, kw_only=True):
    """A mail server that accepts mail for sending (RFC 6409). Without `user`, the service does not sign in there."""

    host: str
    port: int
    protection: Protection
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        """Return a text without user and password."""
        return f"SmtpServer({self.describe()!r})"

    def describe(self) -> str:
        """Return host and port, for people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Mailbox(msgspec.Struct, frozen=True):
    """An address, and the name that people see beside it (RFC 5322 §3.4); "" for none."""

    name: str
    address: str
