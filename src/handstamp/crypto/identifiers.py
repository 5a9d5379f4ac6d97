"""Names that nobody can guess."""

from __future__ import annotations

import secrets


def new_id() -> str:
    """Return 128 random bits as 22 characters of URL-safe text: a session's, a token's or an account's name."""
    return secrets.token_urlsafe(16)
