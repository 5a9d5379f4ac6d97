"""The header fields of Device Bound Session Credentials (W3C, editor's draft of February 2026).

The draft writes the values as strings of RFC 9651, in quotes. Chromium 156 sends them without, so both are read.
"""

from __future__ import annotations

from collections.abc import Sequence

REGISTRATION = "secure-session-registration"
"""Invites the browser to make a key (§9.1)."""
CHALLENGE = "secure-session-challenge"
"""What the browser signs at the next renewal (§9.2)."""
RESPONSE = "secure-session-response"
"""The browser's proof (§9.3)."""
SESSION_ID = "sec-secure-session-id"
"""Which session the browser renews."""
SKIPPED = "secure-session-skipped"
"""Why the browser sent a request although it could not renew its cookie, such as an outage."""
START_PATH = "/device/start"
REFRESH_PATH = "/device/refresh"


def read_value(values: Sequence[str]) -> str:
    """Return the value of a header field without quotes; "" if it did not come, or more than once."""
    return values[0].strip(" \t").strip('"') if len(values) == 1 else ""


def write_registration(path: str, challenge: str) -> str:
    """Return the value that invites the browser to register a key at a path of this service."""
    return f'(ES256);path="{path}";challenge="{challenge}"'


def write_challenge(challenge: str, sid: str) -> str:
    """Return the value that tells the browser what to sign next for a session."""
    return f'"{challenge}";id="{sid}"'
