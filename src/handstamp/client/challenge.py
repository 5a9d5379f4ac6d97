"""What a 401 says: whether a renewal would help. Pure, but for the body that `must_be_read` asks for.

A resource server says it in `WWW-Authenticate` (RFC 6750 §3.1: `error="invalid_token"` for a token that is "expired, revoked,
malformed, or invalid"); those with Handstamp's adapters add the code, as `error_description` and in the body (RFC 9457).
"""

from __future__ import annotations

import re
from typing import Literal

import httpx
import msgspec

from .service import MAX_ANSWER_BYTES, PROBLEM

Refusal = Literal["expired_token", "session_ended", "invalid_token"]
_CHALLENGE = re.compile(r'(?:^|,\s*)bearer\s.*?\berror\s*=\s*"?invalid_token\b', re.IGNORECASE | re.ASCII)
_CODE = re.compile(r'\berror_description\s*=\s*"(expired_token|session_ended)"', re.ASCII)


class _Coded(msgspec.Struct):
    code: Literal["expired_token", "session_ended", "invalid_token"]


def must_be_read(response: httpx.Response) -> bool:
    """Say whether only the body tells why: something on the way may have taken `WWW-Authenticate` off."""
    length = response.headers.get("content-length", "")
    return (
        response.status_code == 401
        and "www-authenticate" not in response.headers
        and _media_type(response) == PROBLEM
        and length.isdigit()
        and int(length) <= MAX_ANSWER_BYTES
    )


def refusal(response: httpx.Response) -> Refusal | None:
    """Return why the token was refused, `invalid_token` for whatever reason it was, None if something else is the matter.

    The body is looked at if `must_be_read`, and must have been read then.
    """
    if response.status_code != 401:
        return None
    if must_be_read(response):
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
