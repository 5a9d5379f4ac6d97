"""Reads from a 401 whether renewing the token would help.

A resource server says so in `WWW-Authenticate`: `error="invalid_token"` is for a token that is "expired, revoked, malformed, or
invalid" (RFC 6750 §3.1). Handstamp's adapters add the error code, as `error_description` and in the body (RFC 9457).
"""

from __future__ import annotations

import re
from typing import Literal

import httpx
import msgspec

from .answers import MAX_ANSWER_BYTES, PROBLEM

RefusalReason = Literal["expired_token", "session_ended", "invalid_token"]
_CHALLENGE = re.compile(r'(?:^|,\s*)(?:bearer|dpop)\s.*?\berror\s*=\s*"?invalid_token\b', re.IGNORECASE | re.ASCII)
_CODE = re.compile(r'\berror_description\s*=\s*"(expired_token|session_ended)"', re.ASCII)


class _Coded(msgspec.Struct):
    code: Literal["expired_token", "session_ended", "invalid_token"]


def needs_body(response: httpx.Response) -> bool:
    """Return whether the body must be read to learn the reason: a proxy may have removed `WWW-Authenticate`."""
    length = response.headers.get("content-length", "")
    return (
        response.status_code == 401
        and "www-authenticate" not in response.headers
        and _media_type(response) == PROBLEM
        and length.isdigit()
        and int(length) <= MAX_ANSWER_BYTES
    )


def refusal_reason(response: httpx.Response) -> RefusalReason | None:
    """Return why the token was refused, `invalid_token` if the answer does not say, None if the token was not the reason.

    If `needs_body` is true, the body must have been read.
    """
    if response.status_code != 401:
        return None
    if needs_body(response):
        try:
            return msgspec.json.decode(response.content, type=_Coded).code
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
    challenges = ", ".join(response.headers.get_list("www-authenticate"))
    if not _CHALLENGE.search(challenges):
        return None
    match _CODE.search(challenges):
        case None:
            return "invalid_token"
        case found:
            return "expired_token" if found[1] == "expired_token" else "session_ended"


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
