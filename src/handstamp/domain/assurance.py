"""How strongly a person has proved who they are: the `acr` of a session and of its tokens (RFC 9470, OpenID Connect Core §2)."""

from __future__ import annotations

from .claims import AccessClaims

ACR_VALUES = ("pwd", "mfa", "phr")
"""From the least to the most strict: one factor that can be typed, two factors, and one that cannot be phished (a passkey).

`phr` is the value of OpenID Connect EAP ACR Values 1.0 §4.
"""


def is_as_strong(acr: str | None, wanted: str) -> bool:
    """Return whether a proof of class `acr` is enough where `wanted` is required. A value of neither kind equals itself alone."""
    if acr in ACR_VALUES and wanted in ACR_VALUES:
        return ACR_VALUES.index(acr) >= ACR_VALUES.index(wanted)
    return acr == wanted


def is_recent(claims: AccessClaims, now_ms: int, *, max_age_s: int, leeway_s: int) -> bool:
    """Return whether the person proved who they are at most `max_age_s` seconds before `now_ms` (milliseconds since 1970).

    Args:
        claims: Those of a valid token.
        now_ms: The verifier's clock.
        max_age_s: Seconds.
        leeway_s: Seconds by which the issuer's clock may be behind the verifier's.
    """
    return now_ms // 1000 - claims.auth_time <= max_age_s + leeway_s
