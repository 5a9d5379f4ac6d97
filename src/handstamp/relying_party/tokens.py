"""What a token endpoint answers (RFC 6749 §5.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..domain.provider import ProviderTokens
from ..errors import ProviderUnavailable

MAX_TOKEN_LENGTH = 32 * 1024
_TOKEN = re.compile(r"[!-~]+", re.ASCII)
_MAX_LIFETIME_S = 10 * 365 * 86_400


def read_tokens(members: Mapping[str, Any], *, now_ms: int, previous: ProviderTokens | None = None) -> ProviderTokens:
    """Return the tokens of an answer; what a renewal leaves out stays as it was (§6).

    Raises:
        ProviderUnavailable: If there is no bearer token.
    """
    access_token, kind = members.get("access_token"), members.get("token_type")
    if not _is_token(access_token) or not isinstance(kind, str) or kind.lower() != "bearer":
        raise ProviderUnavailable("the provider answered without a bearer token")
    renewing = members.get("refresh_token")
    scope = members.get("scope")
    lifetime_s = _read_lifetime(members.get("expires_in"))
    return ProviderTokens(
        access_token=str(access_token),
        refresh_token=str(renewing) if _is_token(renewing) else previous.refresh_token if previous else "",
        scope=scope if isinstance(scope, str) and len(scope) <= 4096 else previous.scope if previous else "",
        expires_at_ms=None if lifetime_s is None else now_ms + lifetime_s * 1000,
    )


def _is_token(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TOKEN_LENGTH and _TOKEN.fullmatch(value) is not None


def _read_lifetime(value: object) -> int | None:
    """Return seconds. Some providers write them as text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_LIFETIME_S:
        return None
    return int(value)
